/* SPDX-License-Identifier: MIT
 *
 * PIIX4 SMBus host controller; see piix4_smbus.h.
 *
 * A transaction is over in the write that starts it, so HOST_BUSY never shows.
 */
#include "devices/pci/piix4_smbus.h"

#include <string.h>

enum {
    SMBHSTSTS = 0x00,
    SMBSLVSTS = 0x01,
    SMBHSTCNT = 0x02,
    SMBBLKDAT = 0x07,
};

enum { STS_DEV_ERR = 0x04, STS_FAILED = 0x10, STS_EVENTS = 0x1e };
enum { CNT_INTEREN = 0x01, CNT_KILL = 0x02, CNT_START = 0x40 };

/* Bits that software may write, by register; status registers are cleared by ones. */
static const u8 writable[PIIX4_SMBUS_PORTS] = {
    [SMBHSTCNT] = 0x1f, [0x03] = 0xff, [0x04] = 0xff,
    [0x05] = 0xff,      [0x06] = 0xff, /* CMD ADD DAT */
    [0x08] = 0x0f,                     /* SLVCNT */
    [0x0a] = 0xff,      [0x0b] = 0xff, /* SLVEVT */
};

void piix4_smbus_reset(struct piix4_smbus *smbus)
{
    memset(smbus, 0, sizeof(*smbus));
}

/* Reading the control register rewinds the block buffer (7.3.3). */
u8 piix4_smbus_read(struct piix4_smbus *smbus, unsigned offset)
{
    u8 value;

    if (offset == SMBHSTCNT)
        smbus->block_index = 0;
    if (offset != SMBBLKDAT)
        return smbus->regs[offset];
    value = smbus->block[smbus->block_index];
    smbus->block_index = (smbus->block_index + 1) % PIIX4_SMBUS_BLOCK;
    return value;
}

void piix4_smbus_write(struct piix4_smbus *smbus, unsigned offset, u8 value)
{
    switch (offset) {
    case SMBHSTSTS:
    case SMBSLVSTS: smbus->regs[offset] &= (u8)~value; return;
    case SMBBLKDAT:
        smbus->block[smbus->block_index] = value;
        smbus->block_index = (smbus->block_index + 1) % PIIX4_SMBUS_BLOCK;
        return;
    default: break;
    }
    smbus->regs[offset] = value & writable[offset];
    /* Nobody acknowledges the address; with KILL set the host gives up by itself. */
    if (offset == SMBHSTCNT && (value & CNT_START))
        smbus->regs[SMBHSTSTS] |= value & CNT_KILL ? STS_FAILED : STS_DEV_ERR;
}

bool piix4_smbus_interrupt(const struct piix4_smbus *smbus)
{
    return (smbus->regs[SMBHSTCNT] & CNT_INTEREN) && (smbus->regs[SMBHSTSTS] & STS_EVENTS);
}
