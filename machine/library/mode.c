/* SPDX-License-Identifier: MIT
 *
 * Segments without descriptor tables, and the modes in which code can start at once.
 */
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "machine/library/library.h"
#include "mem/base/bits.h"

enum { PAGE_TABLE_PAGES = 6, PTE_P_RW_US = 7, PDE_PS = 1 << 7, ENTRIES = 512 };

static enum lockstep_status check_index(struct lockstep_machine *m, unsigned index)
{
    if (index > LOCKSTEP_GS)
        return library_fail(m, LOCKSTEP_INVALID, "There is no segment register %u.", index);
    return LOCKSTEP_OK;
}

static struct lockstep_segment real_segment(u16 selector, bool code)
{
    const u32 data = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED;

    return (struct lockstep_segment){.base = (u64)selector << 4,
                                     .limit = 0xffff,
                                     .attributes = code ? data | ATTR_CODE : data,
                                     .selector = selector};
}

static struct lockstep_segment flat_segment(u16 selector, unsigned bits, unsigned dpl, bool code)
{
    u32 attr = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED | ATTR_G | dpl << ATTR_DPL_SHIFT;

    attr |= code ? ATTR_CODE : 0;
    attr |= bits == 64 && code ? ATTR_L : bits == 16 ? 0 : ATTR_DB;
    return (struct lockstep_segment){.limit = 0xffffffff, .attributes = attr, .selector = selector};
}

static struct lockstep_state empty_state(void)
{
    return (struct lockstep_state){.size = sizeof(struct lockstep_state),
                                   .version = LOCKSTEP_STATE_VERSION};
}

static enum lockstep_status load(struct lockstep_machine *m, unsigned cpu, unsigned index,
                                 const struct lockstep_segment *segment, int cpl)
{
    struct lockstep_state s = empty_state();
    enum lockstep_status st = lockstep_get_state(m, cpu, LOCKSTEP_STATE_SEGMENTS, &s);

    if (st)
        return st;
    s.segment[index] = *segment;
    if (cpl >= 0)
        s.cpl = (u32)cpl;
    return lockstep_set_state(m, cpu, LOCKSTEP_STATE_SEGMENTS, &s);
}

enum lockstep_status lockstep_set_real_segment(struct lockstep_machine *m, unsigned cpu,
                                               enum lockstep_segment_index index, uint16_t selector)
{
    struct lockstep_segment segment = real_segment(selector, index == LOCKSTEP_CS);
    enum lockstep_status st = library_idle(m);

    if (!st)
        st = check_index(m, index);
    return st ? st : load(m, cpu, index, &segment, -1);
}

enum lockstep_status lockstep_set_flat_segment(struct lockstep_machine *m, unsigned cpu,
                                               enum lockstep_segment_index index, uint16_t selector,
                                               unsigned bits, unsigned dpl)
{
    struct lockstep_segment segment = flat_segment(selector, bits, dpl & 3, index == LOCKSTEP_CS);
    bool sets_cpl = index == LOCKSTEP_CS || index == LOCKSTEP_SS;
    enum lockstep_status st = library_idle(m);

    if (!st)
        st = check_index(m, index);
    if (st)
        return st;
    if ((bits != 16 && bits != 32 && bits != 64) || dpl > 3)
        return library_fail(m, LOCKSTEP_INVALID, "Segments have 16, 32 or 64 bits and DPL 0 to 3.");
    return load(m, cpu, index, &segment, sets_cpl ? (int)dpl : -1);
}

/* -- modes -- */

/* A PML4, a PDPT and four page directories with 2 MiB pages: 4 GiB mapped to themselves. */
static enum lockstep_status write_tables(struct lockstep_machine *m, u64 at)
{
    u64 *table = at % PAGE_SIZE ? NULL : lockstep_memory(m, at, PAGE_TABLE_PAGES * PAGE_SIZE);

    if (!table)
        return library_fail(m, LOCKSTEP_INVALID,
                            "There are no six pages of memory for page tables at 0x%llx.",
                            (unsigned long long)at);
    memset(table, 0, PAGE_TABLE_PAGES * PAGE_SIZE);
    table[0] = (at + PAGE_SIZE) | PTE_P_RW_US;
    for (unsigned n = 0; n < 4; n++)
        table[ENTRIES + n] = (at + (2 + n) * PAGE_SIZE) | PTE_P_RW_US;
    for (u64 n = 0; n < 4ull * ENTRIES; n++)
        table[2 * ENTRIES + n] = n << 21 | PTE_P_RW_US | PDE_PS;
    return lockstep_memory_changed(m, at, PAGE_TABLE_PAGES * PAGE_SIZE);
}

/* x87 and SSE always; AVX and what is above where the model has it. */
static void enable_fpu(const struct vcpu *v, struct lockstep_state *s)
{
    s->cr0 = CR0_ET | CR0_NE | CR0_MP;
    s->cr4 =
        (vcpu_has(v, FEAT_FXSR) ? CR4_OSFXSR : 0) | (vcpu_has(v, FEAT_SSE) ? CR4_OSXMMEXCPT : 0);
    s->xcr0 = XCR0_X87;
    if (vcpu_has(v, FEAT_XSAVE)) {
        s->cr4 |= CR4_OSXSAVE;
        s->xcr0 = v->model->xcr0_supported;
    }
}

static void enter_state(struct lockstep_state *s, unsigned bits, u64 page_tables)
{
    s->rflags = F_1;
    for (unsigned n = 0; n <= LOCKSTEP_GS; n++)
        s->segment[n] =
            bits == 16 ? real_segment(0, n == LOCKSTEP_CS)
                       : flat_segment(n == LOCKSTEP_CS ? 0x08 : 0x10, bits, 0, n == LOCKSTEP_CS);
    s->ldtr = (struct lockstep_segment){.attributes = SYS_LDT | ATTR_NULL};
    s->tr = (struct lockstep_segment){.limit = 0xffff, .attributes = ATTR_P | SYS_TSS_BUSY};
    s->cpl = 0;
    s->gdtr = s->idtr = (struct lockstep_table){.limit = 0};
    s->efer = 0;
    s->cr3 = 0;
    if (bits != 16)
        s->cr0 |= CR0_PE;
    if (bits == 64) {
        s->cr0 |= CR0_PG;
        s->cr4 |= CR4_PAE;
        s->cr3 = page_tables;
        s->efer = EFER_LME | EFER_LMA;
    }
    s->activity = LOCKSTEP_ACTIVE;
    s->interrupt_shadow = 0;
}

enum lockstep_status lockstep_enter_mode(struct lockstep_machine *m, unsigned cpu, unsigned bits,
                                         uint64_t page_tables)
{
    const u32 parts = LOCKSTEP_STATE_GENERAL | LOCKSTEP_STATE_SEGMENTS | LOCKSTEP_STATE_CONTROL |
                      LOCKSTEP_STATE_ACTIVITY;
    struct lockstep_state s = empty_state();
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st)
        st = library_idle(m);
    if (st)
        return st;
    if (bits != 16 && bits != 32 && bits != 64)
        return library_fail(m, LOCKSTEP_INVALID, "Modes have 16, 32 or 64 bits, not %u.", bits);
    if (bits == 64 && !vcpu_has(v, FEAT_LM))
        return library_fail(m, LOCKSTEP_INVALID, "This processor model has no long mode.");
    if (bits == 64)
        st = write_tables(m, page_tables);
    if (!st)
        st = lockstep_get_state(m, cpu, parts, &s);
    if (st)
        return st;
    enable_fpu(v, &s);
    enter_state(&s, bits, page_tables);
    st = lockstep_set_state(m, cpu, parts, &s);
    if (!st)
        fpu_init(&v->fpu);
    tlb_flush_all(&v->tlb);
    return st;
}
