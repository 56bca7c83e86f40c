/* SPDX-License-Identifier: MIT
 *
 * The debug console of virtual machines: two write-only byte ports, 402h for firmware and E9h for
 * kernels (base 0), that go to one character device. A read answers E9h, by which the guest knows
 * that it is there.
 */
#pragma once

#include "devices/chardev.h"
#include "devices/device.h"

struct debugcon_config {
    struct chardev *chardev; /* outlives the device; NULL swallows the output */
};

extern const struct device_type debugcon_type; /* takes struct debugcon_config */
