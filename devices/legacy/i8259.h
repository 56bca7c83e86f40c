/* SPDX-License-Identifier: MIT
 *
 * The PC's pair of 8259A interrupt controllers with the ELCR of the PCI chip sets.
 *
 * Ports (base 0): 20-21 master, A0-A1 slave, 4D0-4D1 ELCR. Output pin 0 is INTR, a level.
 */
#pragma once

#include "devices/device.h"

extern const struct device_type i8259_type; /* takes no config */

enum { I8259_PIN_INTR };

/* An input wire, IRQ0-IRQ15; has the shape of irq_line.set. IRQ2 is the cascade and ignored. */
void i8259_set_irq(void *self, unsigned pin, bool level);
/* Whether INTR is raised. */
bool i8259_intr(const void *self);
/* The two INTA cycles: the vector of the highest pending request, which goes in service; the
 * spurious IRQ7 or IRQ15 vector if the request is gone. */
int i8259_acknowledge(void *self);
