/* SPDX-License-Identifier: MIT
 *
 * The 8042 keyboard controller with a PS/2 keyboard on its first port; nothing is plugged into the
 * second one, and it says so.
 *
 * Ports (base 0): 60, 64. Output pins: IRQ1 and IRQ12 (levels, while the byte waits), A20 (level;
 * to port92_set_a20), RESET (pulses in the middle of an access: pin it to a request).
 */
#pragma once

#include "devices/device.h"
#include "devices/key.h"

extern const struct device_type i8042_type; /* takes no config */

enum { I8042_PIN_IRQ1, I8042_PIN_IRQ12, I8042_PIN_A20, I8042_PIN_RESET };

/* A key of the keyboard goes down or up; a repeated state or a code without a key does nothing. The
 * board repeats a held key by itself. */
void i8042_key(void *self, enum key key, bool down);
