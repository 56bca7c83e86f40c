/* SPDX-License-Identifier: MIT
 *
 * System control port A (92h): fast A20 gate and fast reset, and the OR of both A20 sources.
 *
 * Port (base 0): 92. Output pin 0 pulses to reset the machine; pin it to a request, not to the
 * reset itself, because it is driven in the middle of an access.
 */
#pragma once

#include "devices/device.h"

extern const struct device_type port92_type; /* takes no config */

enum { PORT92_PIN_RESET };

/* The keyboard controller's A20 gate output; has the shape of irq_line.set (pin is ignored). */
void port92_set_a20(void *self, unsigned pin, bool level);
