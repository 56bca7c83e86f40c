/* SPDX-License-Identifier: MIT
 *
 * A 16550A UART. Eight ports from the part's base; output pin 0 is INTRPT (not gated by OUT2).
 */
#pragma once

#include "devices/chardev.h"
#include "devices/device.h"

struct uart16550_config {
    struct chardev *chardev; /* the other end of the cable; NULL: no cable. Outlives the device. */
};

extern const struct device_type uart16550_type; /* takes struct uart16550_config */

enum { UART16550_PIN_IRQ };
