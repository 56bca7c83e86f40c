/* SPDX-License-Identifier: MIT
 *
 * Overlay pages (TLFS "GPA overlay pages"): guest RAM, devices or holes below them are hidden while
 * they are there, and untouched.
 */
#include <string.h>

#include "hv1/internal.h"

u64 hv1_ram_size(unsigned cpus)
{
    return (2 + 3 * (u64)cpus) * PAGE_SIZE;
}

void overlay_init(struct hv1 *h, struct overlay *o, const char *name, unsigned page, bool read_only)
{
    u64 offset = h->config.ram_offset + (u64)page * PAGE_SIZE;

    *o = (struct overlay){.name = name,
                          .ram_offset = offset,
                          .hva = physmap_ram(h->config.map)->hva + offset,
                          .priority = PRIO_OVERLAY + (int)page,
                          .read_only = read_only};
}

bool overlay_address_valid(const struct hv1 *h, u64 value)
{
    return !(value >> h->config.model->maxphyaddr);
}

void overlay_place(struct hv1 *h, struct overlay *o, u64 value)
{
    const struct region region = {.name = o->name,
                                  .kind = REGION_RAM,
                                  .access = REGION_RW,
                                  .base = value & PAGE_MASK,
                                  .size = PAGE_SIZE,
                                  .priority = o->priority,
                                  .ram_offset = o->ram_offset,
                                  .write_faults = o->read_only};

    if (!(value & HV_PAGE_ENABLE) || !overlay_address_valid(h, value)) {
        if (o->mapped)
            physmap_remove(h->config.map, o->region);
        o->mapped = false;
        return;
    }
    if (o->mapped) {
        if (physmap_change(h->config.map, o->region, &region) != ST_OK)
            log_warn(h->config.log, "no memory to move the %s to 0x%lx", o->name, region.base);
        return;
    }
    o->mapped = physmap_add(h->config.map, &region, &o->region) == ST_OK;
    if (!o->mapped)
        log_warn(h->config.log, "no memory to place the %s at 0x%lx", o->name, region.base);
}

void overlay_written(struct hv1 *h, const u8 *hva, unsigned size)
{
    ram_written(physmap_ram(h->config.map), hva, size);
}

void overlay_write(struct hv1 *h, struct overlay *o, unsigned offset, const void *data,
                   unsigned size)
{
    memcpy(o->hva + offset, data, size);
    overlay_written(h, o->hva + offset, size);
}

void overlay_clear(struct hv1 *h, struct overlay *o)
{
    memset(o->hva, 0, PAGE_SIZE);
    overlay_written(h, o->hva, PAGE_SIZE);
}
