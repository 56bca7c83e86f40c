/* SPDX-License-Identifier: MIT
 *
 * The 8254 interval timer and the system control port B (61h) that gates and shows its counter 2.
 *
 * Ports (base 0): 40-43, 61. Output pin 0 follows OUT of counter 0 (IRQ0).
 */
#pragma once

#include "devices/device.h"

#define I8254_HZ 1193182ull /* 14.31818 MHz / 12 */

extern const struct device_type i8254_type; /* takes no config */

enum { I8254_PIN_IRQ };

/* Whether the speaker is driven high now: port 61h bit 1 and OUT of counter 2. */
bool i8254_speaker(void *self);
