/* SPDX-License-Identifier: MIT
 *
 * The I/O APIC 82093AA with 24 pins, in its version 20h form (the EOI register of the later south
 * bridges). Redirection entries turn pins into messages on the APIC bus.
 */
#pragma once

#include "devices/apic/apic_bus.h"
#include "devices/device.h"

enum { IOAPIC_PINS = 24 };

#define IOAPIC_DEFAULT_BASE 0xfec00000ull

struct ioapic;

struct ioapic_config {
    struct apic_bus *bus;
};

extern const struct device_type ioapic_type; /* config: struct ioapic_config */
/* The register page (4 KiB); self is the struct ioapic. */
extern const struct io_ops ioapic_mmio_ops;

/* An irq_line can call this directly: opaque is the struct ioapic. level true means active: the
 * polarity bit is kept for the guest but changes nothing, because a wire's owner already speaks in
 * terms of "asserted". */
void ioapic_set_pin(void *ioapic, unsigned pin, bool level);
