/* SPDX-License-Identifier: MIT
 *
 * The 82441FX host bridge (PMC), PCI function 00:00.0: shadowing of C0000h-FFFFFh (PAM), compatible
 * SMRAM at A0000h-BFFFFh, the fixed DRAM hole, and the reset register TRC.
 *
 * It owns what the processor sees between 640 KiB and 1 MiB, in layers of the physical map:
 *   PRIO_RAM          guest RAM, mapped by the machine through the whole megabyte
 *   PRIO_RAM + 1      a hole over A0000h-FFFFFh: accesses forwarded to PCI that nobody answers
 *   PRIO_ROM          firmware and option ROMs, mapped by the machine
 *   PRIO_SHADOW       RAM again, per segment and direction, as PAM says
 *   PRIO_MMIO         the VGA window, mapped by its device
 *   PRIO_OVERLAY      RAM at A0000h-BFFFFh while SMRAM is open
 */
#pragma once

#include "devices/pci/pci.h"

struct i440fx_config {
    struct pci_bus *bus;
    /* The guest asked for a reset: hard (whole machine) or processor only. Only notes the request,
     * the machine acts after the instruction. */
    void (*reset)(void *opaque, bool hard);
    void *opaque;
};

extern const struct device_type i440fx_type; /* config: struct i440fx_config */
