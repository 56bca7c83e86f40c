/* SPDX-License-Identifier: MIT
 *
 * Guest memory from outside: physical, and linear with a processor's paging.
 */
#include "machine/library/library.h"
#include "mem/walk.h"

static enum lockstep_status check_buffer(struct lockstep_machine *m, const void *buffer,
                                         size_t size)
{
    if (!m)
        return LOCKSTEP_INVALID;
    if (!buffer && size)
        return library_fail(m, LOCKSTEP_INVALID, "The buffer is NULL.");
    return LOCKSTEP_OK;
}

static enum lockstep_status not_mapped(struct lockstep_machine *m, u64 address, size_t size)
{
    return library_fail(m, LOCKSTEP_NOT_FOUND, "Not all of the %zu bytes at 0x%llx are mapped.",
                        size, (unsigned long long)address);
}

enum lockstep_status lockstep_read_physical(struct lockstep_machine *m, uint64_t address,
                                            void *buffer, size_t size)
{
    enum lockstep_status st = check_buffer(m, buffer, size);

    if (st)
        return st;
    if (!physmap_read(library_map(m), address, buffer, size))
        return not_mapped(m, address, size);
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_write_physical(struct lockstep_machine *m, uint64_t address,
                                             const void *buffer, size_t size)
{
    enum lockstep_status st = check_buffer(m, buffer, size);

    if (st)
        return st;
    if (!physmap_write(library_map(m), address, buffer, size))
        return not_mapped(m, address, size);
    return LOCKSTEP_OK;
}

/* -- linear -- */

/* Linear addresses are 32 bits wide outside long mode, and canonical in it. */
static bool translate(struct vcpu *v, u64 gla, u64 *gpa)
{
    const unsigned shift = v->cr4 & CR4_LA57 ? 7 : 16;
    struct paging_ctx ctx = vcpu_paging_ctx(v, false, true);

    if (v->long_mode ? (u64)((i64)(gla << shift) >> shift) != gla : gla >> 32 != 0)
        return false;
    return page_walk_probe(v->map, &ctx, gla, gpa);
}

static size_t page_rest(u64 address, size_t size)
{
    size_t rest = PAGE_SIZE - (size_t)(address & ~PAGE_MASK);

    return rest < size ? rest : size;
}

/* Every page is translated before a byte is copied. */
static enum lockstep_status check_linear(struct lockstep_machine *m, struct vcpu *v, u64 address,
                                         size_t size)
{
    u64 gpa;

    for (size_t at = 0; at < size; at += page_rest(address + at, size - at))
        if (address + at < address || !translate(v, address + at, &gpa))
            return library_fail(m, LOCKSTEP_FAULT, "Linear address 0x%llx is not mapped.",
                                (unsigned long long)(address + at));
    return LOCKSTEP_OK;
}

/* One of in and out is NULL. */
static enum lockstep_status copy_linear(struct lockstep_machine *m, unsigned cpu, u64 address,
                                        u8 *out, const u8 *in, size_t size)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);
    bool mapped = true;
    u64 gpa;

    if (!st)
        st = check_buffer(m, out ? out : in, size);
    if (!st)
        st = check_linear(m, v, address, size);
    if (st)
        return st;
    for (size_t at = 0, n; at < size; at += n) {
        n = page_rest(address + at, size - at);
        if (!translate(v, address + at, &gpa))
            mapped = false; /* a store before has changed the page tables */
        else if (out)
            mapped &= physmap_read(v->map, gpa, out + at, n);
        else
            mapped &= physmap_write(v->map, gpa, in + at, n);
    }
    return mapped ? LOCKSTEP_OK : not_mapped(m, address, size);
}

enum lockstep_status lockstep_read_linear(struct lockstep_machine *m, unsigned cpu,
                                          uint64_t address, void *buffer, size_t size)
{
    return copy_linear(m, cpu, address, buffer, NULL, size);
}

enum lockstep_status lockstep_write_linear(struct lockstep_machine *m, unsigned cpu,
                                           uint64_t address, const void *buffer, size_t size)
{
    return copy_linear(m, cpu, address, NULL, buffer, size);
}

enum lockstep_status lockstep_translate(struct lockstep_machine *m, unsigned cpu, uint64_t address,
                                        uint64_t *physical)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st && !physical)
        st = library_fail(m, LOCKSTEP_INVALID, "The place for the address is NULL.");
    if (!st)
        st = check_linear(m, v, address, 1);
    if (!st)
        (void)translate(v, address, physical);
    return st;
}

/* -- pointers -- */

/* Memory as loads see it, page by page: also what stores do not reach. */
static u8 *readable(struct lockstep_machine *m, u64 address, size_t size)
{
    struct phys_page page;
    u8 *start = NULL;

    for (u64 at = 0; at < size; at += page_rest(address + at, size - at)) {
        physmap_lookup(library_map(m), address + at, false, &page);
        if (!page.hva || !ram_contains(library_ram(m), page.hva))
            return NULL;
        if (!at)
            start = page.hva + address % PAGE_SIZE;
        else if (page.hva != start + at)
            return NULL;
    }
    return start;
}

void *lockstep_memory(struct lockstep_machine *m, uint64_t address, size_t size)
{
    void *pointer;

    if (!m || !size || address + size < address)
        return NULL;
    pointer = physmap_ram_pointer(library_map(m), address, size);
    return pointer ? pointer : readable(m, address, size);
}

enum lockstep_status lockstep_memory_changed(struct lockstep_machine *m, uint64_t address,
                                             size_t size)
{
    const u8 *hva = lockstep_memory(m, address, size);

    if (!m)
        return LOCKSTEP_INVALID;
    if (!hva)
        return library_fail(m, LOCKSTEP_INVALID, "There are no %zu bytes of memory at 0x%llx.",
                            size, (unsigned long long)address);
    ram_written(library_ram(m), hva, size);
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_flush_tlb(struct lockstep_machine *m)
{
    if (!m)
        return LOCKSTEP_INVALID;
    for (unsigned n = 0; n < library_cpu_count(m); n++)
        tlb_flush_all(&library_cpu(m, n)->tlb);
    return LOCKSTEP_OK;
}
