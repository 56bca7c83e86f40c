/* SPDX-License-Identifier: MIT
 *
 * The ISA bridge of the 82371SB (PIIX3), PCI function 0: routing of the PCI interrupt wires to ISA
 * interrupts, and the reset control register at CF9h. The ELCR belongs to the 8259 pair.
 *
 * As on every 440FX PC, PCI interrupts reach the interrupt controllers (8259 and I/O APIC alike) as
 * ISA IRQs 3-7, 9-12, 14, 15 only; there are no separate I/O APIC pins for PIRQs, and the DSDT's
 * link devices read and write the PIRQRC registers 60h-63h.
 *
 * Pins (env->irq): 16, one per ISA IRQ; the level is the OR of the PIRQs routed there. The machine
 * ORs it with what else drives that IRQ and fans it out to the 8259 and the I/O APIC.
 */
#pragma once

#include "devices/pci/pci.h"

struct piix3_config {
    struct pci_bus *bus;
    u8 slot; /* device number, 1 on a PC */
    /* The guest asked for a reset: hard (whole machine) or processor only. Only notes the request,
     * the machine acts after the instruction. */
    void (*reset)(void *opaque, bool hard);
    void *opaque;
};

extern const struct device_type piix3_type; /* config: struct piix3_config */
