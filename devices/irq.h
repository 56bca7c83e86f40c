/* SPDX-License-Identifier: MIT
 *
 * An interrupt line: a wire with a level, from a device's output pin to an input of whatever the
 * machine connected it to. Edge or level is the receiver's business.
 */
#pragma once

#include "mem/base/types.h"

struct irq_line {
    void (*set)(void *opaque, unsigned pin, bool level);
    void *opaque;
    unsigned pin;
};

/* Drives the wire; an unconnected line (set == NULL) swallows it. Repeating a level is harmless. */
static inline void irq_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->opaque, line->pin, level);
}

static inline void irq_pulse(const struct irq_line *line)
{
    irq_set(line, true);
    irq_set(line, false);
}
