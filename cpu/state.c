/* SPDX-License-Identifier: MIT
 *
 * Life of a vCPU: creation, reset (SDM 3A table 9-1), derived fields, events, register dump.
 */
#include "cpu/vcpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/decode_cache.h"
#include "cpu/fpu.h"
#include "cpu/msr.h"
#include "cpu/native.h"
#include "mem/base/bits.h"
#include "mem/window.h"

/* A vCPU, and the address space behind it that translated code reaches (mem/window.h). */
#define MEMORY_SIZE (WINDOW_GUARD_AT + WINDOW_GUARD_SIZE)
static_assert(sizeof(struct vcpu) <= WINDOW_GUARD_AT, "the guard is behind it");

enum status vcpu_create(struct vcpu **out, unsigned index, u32 apic_id, struct physmap *map,
                        const struct cpu_model *model, const struct vcpu_platform *platform,
                        struct log *log, struct error *err)
{
    enum status st = ST_NO_MEMORY;
    struct vcpu *v =
        mmap(NULL, MEMORY_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (v != MAP_FAILED && mprotect(v, sizeof(*v), PROT_READ | PROT_WRITE)) {
        munmap(v, MEMORY_SIZE);
        v = MAP_FAILED;
    }
    if (v == MAP_FAILED)
        return error_set(err, ST_NO_MEMORY, "No memory for a virtual processor; free some memory.");
    v->index = index;
    v->apic_id = apic_id;
    v->bsp = index == 0;
    v->model = model;
    v->map = map;
    v->ram = physmap_ram(map);
    v->platform = platform;
    v->log = log;
    v->pauses_left = PAUSES_PER_YIELD;
    st = tlb_create(&v->tlb, map, err);
    if (st)
        goto fail_tlb;
    tlb_requests_init(&v->requests);
    st = decode_cache_create(&v->decode, v, err);
    if (st)
        goto fail_decode;
    st = native_create(&v->native, err);
    if (st)
        goto fail_native;
    st = msr_table_create(v, err);
    if (st)
        goto fail_msr;
    vcpu_reset(v, false);
    *out = v;
    return ST_OK;

fail_msr:
    native_destroy(v->native);
fail_native:
    decode_cache_destroy(v->decode);
fail_decode:
    tlb_requests_destroy(&v->requests);
    tlb_destroy(&v->tlb);
fail_tlb:
    munmap(v, MEMORY_SIZE);
    return st;
}

void vcpu_destroy(struct vcpu *v)
{
    if (!v)
        return;
    msr_table_destroy(v);
    native_destroy(v->native);
    decode_cache_destroy(v->decode);
    tlb_requests_destroy(&v->requests);
    tlb_destroy(&v->tlb);
    munmap(v, MEMORY_SIZE);
}

static void reset_segments(struct vcpu *v)
{
    const u32 data = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED;

    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] = (struct segment){.limit = 0xffff, .attr = data};
    v->seg[SEG_CS] = (struct segment){
        .selector = 0xf000, .base = 0xffff0000, .limit = 0xffff, .attr = data | ATTR_CODE};
    v->ldtr = (struct segment){.limit = 0xffff, .attr = ATTR_P | SYS_LDT};
    v->tr = (struct segment){.limit = 0xffff, .attr = ATTR_P | SYS_TSS_BUSY};
    v->gdtr = v->idtr = (struct table_reg){.limit = 0xffff};
}

void vcpu_reset(struct vcpu *v, bool init)
{
    for (unsigned r = 0; r < 16; r++)
        v->gpr[r] = 0;
    v->gpr[RDX] = v->model->signature;
    v->rip = v->next_rip = 0xfff0;
    v->rflags = F_1;
    reset_segments(v);
    v->cr0 = CR0_ET | (init ? v->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW);
    v->cr2 = v->cr3 = v->cr4 = v->efer = 0;
    for (unsigned n = 0; n < 4; n++)
        v->dr[n] = v->pdpte[n] = 0;
    v->dr6 = DR6_FIXED;
    v->dr7 = DR7_FIXED;
    v->pending_db = 0;
    v->shadow = 0;
    v->nmi_blocked = false;
    v->monitor_armed = false;
    v->fault.pending = false;
    v->cpl = 0;
    if (!init) {
        v->xcr0 = XCR0_X87;
        v->pkru = 0;
        fpu_reset(&v->fpu);
        msr_reset(v);
    }
    __atomic_and_fetch(&v->events, EVENTS_AT_ONCE | (init ? EVENT_SIPI | EVENT_INTR : 0u),
                       __ATOMIC_SEQ_CST);
    vcpu_set_activity(v, v->bsp ? ACTIVITY_RUN : ACTIVITY_WAIT_SIPI);
    tlb_flush_all(&v->tlb);
    debug_update(v);
    vcpu_update_mode(v);
    if (v->platform->reset)
        v->platform->reset(v->platform->opaque, v, init);
}

void vcpu_update_mode(struct vcpu *v)
{
    const struct segment *cs = &v->seg[SEG_CS];
    enum tlb_context context = TLB_SUPERVISOR;

    v->long_mode = (v->efer & EFER_LMA) != 0;
    if (v->long_mode && (cs->attr & ATTR_L))
        v->code_size = 8;
    else
        v->code_size = cs->attr & ATTR_DB ? 4 : 2;
    v->stack_size = v->code_size == 8 ? 8 : v->seg[SEG_SS].attr & ATTR_DB ? 4 : 2;
    v->align_check = v->cpl == 3 && (v->cr0 & CR0_AM) && (v->rflags & F_AC);
    v->careful = (v->rflags & (F_TF | F_RF)) || (v->dr7 & DR7_ENABLED);
    if (v->cpl == 3)
        context = TLB_USER;
    else if (v->rflags & F_AC)
        context = TLB_SUPERVISOR_AC;
    v->tlb_now = &v->tlb.tables[context];
}

struct paging_ctx vcpu_paging_ctx(const struct vcpu *v, bool user, bool implicit)
{
    return (struct paging_ctx){
        .cr0 = v->cr0,
        .cr3 = v->cr3,
        .cr4 = v->cr4,
        .efer = v->efer,
        .pdpte = {v->pdpte[0], v->pdpte[1], v->pdpte[2], v->pdpte[3]},
        .pkru = v->pkru,
        .maxphyaddr = v->model->maxphyaddr,
        .user = user,
        .smap_override = !implicit && (v->rflags & F_AC),
        .page1g = vcpu_has(v, FEAT_PAGE1GB),
    };
}

void vcpu_signal(struct vcpu *v, u32 events)
{
    __atomic_or_fetch(&v->events, events, __ATOMIC_SEQ_CST);
    vcpu_nudge(v);
    if (unlikely(__atomic_load_n(&v->asleep, __ATOMIC_SEQ_CST)))
        v->platform->wake(v->platform->opaque, v);
}

void vcpu_clear_signal(struct vcpu *v, u32 events)
{
    __atomic_and_fetch(&v->events, ~events, __ATOMIC_SEQ_CST);
}

static int dump_segment(char *text, size_t size, const char *name, const struct segment *s)
{
    return snprintf(text, size, "%-3s=%04x base=%016lx limit=%08x attr=%05x\n", name, s->selector,
                    s->base, s->limit, s->attr);
}

void vcpu_dump(const struct vcpu *v, char *text, size_t size)
{
    static const char *const gpr_names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                              "RSI", "RDI", "R8 ", "R9 ", "R10", "R11",
                                              "R12", "R13", "R14", "R15"};
    static const char *const seg_names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    size_t at = 0;

#define PUT(call) (at += (size_t)(call), at = at < size ? at : size - 1)
    PUT(snprintf(text, size, "CPU %u after %lu instructions\n", v->index, v->icount));
    for (unsigned r = 0; r < 16; r++)
        PUT(snprintf(text + at, size - at, "%s=%016lx%c", gpr_names[r], v->gpr[r],
                     r % 4 == 3 ? '\n' : ' '));
    PUT(snprintf(text + at, size - at, "RIP=%016lx RFL=%08lx CPL=%u activity=%d\n", v->rip,
                 v->rflags, v->cpl, (int)v->activity));
    for (unsigned s = 0; s < SEG_COUNT; s++)
        PUT(dump_segment(text + at, size - at, seg_names[s], &v->seg[s]));
    PUT(dump_segment(text + at, size - at, "LDT", &v->ldtr));
    PUT(dump_segment(text + at, size - at, "TR", &v->tr));
    PUT(snprintf(text + at, size - at, "GDT=%016lx limit=%04x  IDT=%016lx limit=%04x\n",
                 v->gdtr.base, v->gdtr.limit, v->idtr.base, v->idtr.limit));
    PUT(snprintf(text + at, size - at, "CR0=%08lx CR2=%016lx CR3=%016lx CR4=%08lx EFER=%04lx\n",
                 v->cr0, v->cr2, v->cr3, v->cr4, v->efer));
    PUT(snprintf(text + at, size - at, "DR6=%08lx DR7=%08lx XCR0=%lx\n", v->dr6, v->dr7, v->xcr0));
#undef PUT
}
