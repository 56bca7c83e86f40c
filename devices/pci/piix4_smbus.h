/* SPDX-License-Identifier: MIT
 *
 * The SMBus host controller inside the PIIX4's power management function, with no slave attached:
 * every transaction ends with a device error. Used by piix4_pm.c only. 82371AB datasheet 7.3.
 */
#pragma once

#include "mem/bus.h"

enum { PIIX4_SMBUS_PORTS = 16, PIIX4_SMBUS_BLOCK = 32 };

struct piix4_smbus {
    u8 regs[PIIX4_SMBUS_PORTS];
    u8 block[PIIX4_SMBUS_BLOCK]; /* the block data buffer */
    u8 block_index;              /* below PIIX4_SMBUS_BLOCK */
};

void piix4_smbus_reset(struct piix4_smbus *smbus);
/* One byte at offset 0..15. */
u8 piix4_smbus_read(struct piix4_smbus *smbus, unsigned offset);
void piix4_smbus_write(struct piix4_smbus *smbus, unsigned offset, u8 value);
/* Whether it wants an interrupt. */
bool piix4_smbus_interrupt(const struct piix4_smbus *smbus);
