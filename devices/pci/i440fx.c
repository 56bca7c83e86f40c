/* SPDX-License-Identifier: MIT
 *
 * 82441FX host bridge; see i440fx.h. Register numbers and meanings: 82441FX datasheet section 3.2.
 *
 * RAM below 1 MiB lies in struct ram at its guest-physical address.
 */
#include "devices/pci/i440fx.h"

#include "mem/base/bits.h"

enum {
    REG_PAM = 0x59, /* seven bytes */
    REG_FDHC = 0x68,
    REG_SMRAM = 0x72,
    REG_TRC = 0x93,
};

enum { SMRAM_OPEN = 0x40, SMRAM_CLOSED = 0x20, SMRAM_LOCK = 0x10, SMRAM_ENABLE = 0x08 };
enum { SMRAM_WRITABLE = 0x78, SMRAM_WRITABLE_LOCKED = 0x28 };
enum { TRC_RESET_CPU = 0x04, TRC_HARD = 0x02 };

enum { SEGMENTS = 13 }; /* F0000h-FFFFFh, then twelve of 16 KiB from C0000h */

/* A region that comes and goes. */
struct window {
    bool present;
    unsigned id;
    u64 base;   /* of the region present */
    u32 access; /* of the region present */
};

struct i440fx {
    struct pci_function pci;
    struct i440fx_config config;
    struct physmap *map;
    struct log *log;
    unsigned pci_hole;
    struct window shadow[SEGMENTS];
    struct window smram;
    struct window dram_hole;
    u8 trc;
};

/* Offset, value after reset, writable bits. */
static const struct pci_register registers[] = {
    {0x50, 0x00, 0xff},           {0x51, 0x00, 0xff}, /* PMCCFG */
    {0x52, 0x00, 0xff},                               /* DETURBO */
    {0x53, 0x80, 0xff},                               /* DBC */
    {0x54, 0x00, 0x02},                               /* AXC */
    {0x55, 0x00, 0xff},           {0x56, 0x00, 0xff}, /* DRT */
    {0x57, 0x01, 0xff},                               /* DRAMC */
    {0x58, 0x10, 0xff},                               /* DRAMT */
    {0x59, 0x00, 0x30},                               /* PAM0 */
    {0x5a, 0x00, 0x33},           {0x5b, 0x00, 0x33}, {0x5c, 0x00, 0x33}, {0x5d, 0x00, 0x33},
    {0x5e, 0x00, 0x33},           {0x5f, 0x00, 0x33}, {0x60, 0x01, 0xff}, {0x61, 0x01, 0xff},
    {0x62, 0x01, 0xff},           {0x63, 0x01, 0xff}, /* DRB */
    {0x64, 0x01, 0xff},           {0x65, 0x01, 0xff}, {0x66, 0x01, 0xff}, {0x67, 0x01, 0xff},
    {0x68, 0x00, 0xc0},                               /* FDHC */
    {0x70, 0x00, 0xf8},                               /* MTT */
    {0x71, 0x10, 0xff},                               /* CLT */
    {0x72, 0x02, SMRAM_WRITABLE}, {0x90, 0x00, 0xff}, /* ERRCMD */
    {0x93, 0x00, 0x0e},                               /* TRC */
};

/* Makes window show region, or nothing when region is NULL. */
static void show(struct i440fx *p, struct window *w, const struct region *region)
{
    if (w->present && region && w->base == region->base && w->access == region->access)
        return;
    if (w->present)
        physmap_remove(p->map, w->id);
    w->present = false;
    if (!region)
        return;
    if (physmap_add(p->map, region, &w->id) != ST_OK) {
        log_warn(p->log, "i440fx: cannot map %s at 0x%llx: out of memory", region->name,
                 (unsigned long long)region->base);
        return;
    }
    w->present = true;
    w->base = region->base;
    w->access = region->access;
}

/* Segment 0 is ruled by the high half of PAM0; the others follow half by half. */
static void update_segment(struct i440fx *p, unsigned segment)
{
    u8 pam = p->pci.config[REG_PAM + (segment + 1) / 2];
    unsigned bits = segment % 2 ? pam & 3 : pam >> 4 & 3;
    struct region region = {
        .name = "shadow RAM",
        .kind = REGION_RAM,
        .access = (enum region_access)bits, /* bit 0 read enable, bit 1 write enable */
        .base = segment ? 0xc0000 + (segment - 1) * KIB(16) : 0xf0000,
        .size = segment ? KIB(16) : KIB(64),
        .priority = PRIO_SHADOW,
    };

    static_assert(REGION_READ == 1 && REGION_WRITE == 2, "PAM bits are the access bits");
    region.ram_offset = region.base;
    show(p, &p->shadow[segment], bits ? &region : NULL);
}

/* There is no SMM: the space is visible only while firmware holds it open. */
static void update_smram(struct i440fx *p)
{
    static const struct region region = {
        .name = "SMRAM",
        .kind = REGION_RAM,
        .access = REGION_RW,
        .base = 0xa0000,
        .size = KIB(128),
        .priority = PRIO_OVERLAY,
        .ram_offset = 0xa0000,
    };
    u8 *smram = &p->pci.config[REG_SMRAM];
    bool open;

    if (*smram & SMRAM_LOCK) {
        *smram &= (u8)~SMRAM_OPEN;
        p->pci.writable[REG_SMRAM] = SMRAM_WRITABLE_LOCKED;
    }
    open = (*smram & (SMRAM_OPEN | SMRAM_CLOSED | SMRAM_ENABLE)) == (SMRAM_OPEN | SMRAM_ENABLE);
    show(p, &p->smram, open ? &region : NULL);
}

static void update_dram_hole(struct i440fx *p)
{
    unsigned where = p->pci.config[REG_FDHC] >> 6;
    struct region region = {
        .name = "fixed DRAM hole",
        .kind = REGION_HOLE,
        .access = REGION_RW,
        .base = where == 1 ? KIB(512) : MIB(15),
        .size = where == 1 ? KIB(128) : MIB(1),
        .priority = PRIO_RAM + 1,
    };

    show(p, &p->dram_hole, where == 1 || where == 2 ? &region : NULL);
}

/* The processor is reset when RCPU goes from 0 to 1 (datasheet 3.2.27). */
static void update_trc(struct i440fx *p)
{
    u8 rising = p->pci.config[REG_TRC] & (u8)~p->trc;

    p->trc = p->pci.config[REG_TRC];
    if (rising & TRC_RESET_CPU)
        p->config.reset(p->config.opaque, p->trc & TRC_HARD);
}

static void config_written(void *self, unsigned offset, unsigned size)
{
    struct i440fx *p = self;
    unsigned end = offset + size;

    if (offset < REG_PAM + 7 && end > REG_PAM)
        for (unsigned i = 0; i < SEGMENTS; i++)
            update_segment(p, i);
    if (offset <= REG_FDHC && end > REG_FDHC)
        update_dram_hole(p);
    if (offset <= REG_SMRAM && end > REG_SMRAM)
        update_smram(p);
    if (offset <= REG_TRC && end > REG_TRC)
        update_trc(p);
}

static enum status i440fx_init(void *self, const struct device_env *env, const void *config,
                               struct error *err)
{
    static const struct pci_header header = {
        .vendor = 0x8086, .device = 0x1237, .revision = 0x02, .class_code = 0x060000};
    static const struct region hole = {
        .name = "PCI below 1 MiB",
        .kind = REGION_HOLE,
        .access = REGION_RW,
        .base = 0xa0000,
        .size = KIB(384),
        .priority = PRIO_RAM + 1,
    };
    struct i440fx *p = self;
    enum status status;

    p->config = *(const struct i440fx_config *)config;
    p->map = env->map;
    p->log = env->log;
    if (physmap_ram(p->map)->size < MIB(1))
        return error_set(err, ST_INVALID, "A PC needs at least 1 MiB of RAM; give -m 1M or more.");
    pci_function_init(&p->pci, &header, config_written, p);
    pci_function_add_registers(&p->pci, registers, ARRAY_SIZE(registers));
    pci_put16(p->pci.initial, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
    pci_put16(p->pci.writable, PCI_COMMAND, PCI_COMMAND_PARITY | PCI_COMMAND_SERR);
    pci_put16(p->pci.initial, PCI_STATUS, 0x0280); /* medium DEVSEL, fast back-to-back */
    p->pci.writable[PCI_INTERRUPT_LINE] = 0;
    p->pci.clearable[0x91] = 0x11; /* ERRSTS */
    status = physmap_add(p->map, &hole, &p->pci_hole);
    if (status != ST_OK)
        return error_set(err, status, "The host bridge cannot map the memory below 1 MiB.");
    status = pci_bus_add(p->config.bus, &p->pci, 0, err);
    if (status != ST_OK)
        physmap_remove(p->map, p->pci_hole);
    return status;
}

static void i440fx_reset(void *self)
{
    struct i440fx *p = self;

    p->pci.writable[REG_SMRAM] = SMRAM_WRITABLE;
    pci_function_reset(&p->pci);
    p->trc = 0;
    config_written(p, 0, PCI_CONFIG_SIZE);
}

static void i440fx_fini(void *self)
{
    struct i440fx *p = self;

    for (unsigned i = 0; i < SEGMENTS; i++)
        show(p, &p->shadow[i], NULL);
    show(p, &p->smram, NULL);
    show(p, &p->dram_hole, NULL);
    physmap_remove(p->map, p->pci_hole);
    pci_bus_remove(p->config.bus, &p->pci);
}

static const struct device_field i440fx_fields[] = {DEVICE_FIELD(i440fx, pci.config),
                                                    DEVICE_FIELD(i440fx, pci.writable),
                                                    DEVICE_FIELD(i440fx, trc),
                                                    {0}};

const struct device_type i440fx_type = {
    .name = "i440fx",
    .state_size = sizeof(struct i440fx),
    .init = i440fx_init,
    .reset = i440fx_reset,
    .fini = i440fx_fini,
    .save = i440fx_fields,
};
