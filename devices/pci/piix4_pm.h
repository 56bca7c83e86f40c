/* SPDX-License-Identifier: MIT
 *
 * The power management function of the 82371AB (PIIX4), PCI function 3 of the south bridge: ACPI
 * registers, PM timer, system control interrupt, soft-off, SMI command port, SMBus host controller.
 *
 * For the ACPI tables (offsets from the base in configuration register 40h):
 *   PM1a event +0 (4 bytes), PM1a control +4 (2), PM timer +8 (4, 24 bits), GPE0 +0Ch (4);
 *   SMI_CMD B2h, ACPI_ENABLE F1h, ACPI_DISABLE F0h; SCI is ISA IRQ 9, level.
 *   Only soft-off is offered: \_S5 with SLP_TYP 0. No C2 or C3, no throttling.
 *
 * Pins (env->irq): one, ISA IRQ 9 (SCI, and the SMBus interrupt where software routes it there).
 */
#pragma once

#include "devices/pci/pci.h"

enum {
    PIIX4_ACPI_ENABLE = 0xf1,
    PIIX4_ACPI_DISABLE = 0xf0,
    PIIX4_SLP_TYP_S5 = 0,
};

/* Events of the GPE0 block, as bit numbers. */
enum piix4_gpe {
    PIIX4_GPE_THERMAL = 0,
    PIIX4_GPE_USB = 8,
    PIIX4_GPE_GPI = 9,
    PIIX4_GPE_RING = 10,
    PIIX4_GPE_LID = 11,
};

struct piix4_pm;

struct piix4_pm_config {
    struct pci_bus *bus;
    u8 slot; /* device number of the south bridge */
    /* The guest turned the machine off. Only notes the request. */
    void (*soft_off)(void *opaque);
    void *opaque;
};

extern const struct device_type
    piix4_pm_type; /* config: struct piix4_pm_config; ports at base B2h */

/* The power button was pressed shortly. */
void piix4_pm_power_button(struct piix4_pm *pm);
/* The RTC alarm went off (IRQ 8 rose). */
void piix4_pm_rtc_alarm(struct piix4_pm *pm);
/* A general-purpose event happened. */
void piix4_pm_gpe(struct piix4_pm *pm, enum piix4_gpe event);
