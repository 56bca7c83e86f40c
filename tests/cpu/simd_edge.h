/* SPDX-License-Identifier: MIT
 *
 * The host as the judge of faults: memory operands at the end of accessible memory, on both sides.
 * What is accessed, which address faults, what a fault leaves in registers and memory must agree:
 * elements that a mask takes out, gathers that stop half-way, stores that reach over the edge.
 */
#pragma once

#include "tests/cpu/simd_oracle.h"

enum { EDGE_GUEST = 4 << 20, EDGE_BELOW = 2 * PAGE_SIZE, EDGE_ABOVE = 4 * PAGE_SIZE };

struct simd_edge {
    struct simd_oracle o;
    u8 *host; /* the first inaccessible byte; the guest's is EDGE_GUEST */
    unsigned faults;
};

/* After machine_start(). */
static inline void edge_make_hole(struct simd_edge *e)
{
    machine_put_uint(&e->o.m, MACHINE_PML4 + 0x2000 + 2 * 8, 0, 8);
    tlb_flush_all(&e->o.m.v->tlb);
}

static inline void edge_create(struct simd_edge *e)
{
    u8 *pages = mmap(NULL, EDGE_BELOW + EDGE_ABOVE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    check(pages != MAP_FAILED && !mprotect(pages, EDGE_BELOW, PROT_READ | PROT_WRITE), "no pages");
    simd_create(&e->o);
    e->host = pages + EDGE_BELOW;
    e->faults = 0;
    edge_make_hole(e);
}

static inline void edge_destroy(struct simd_edge *e)
{
    munmap(e->host - EDGE_BELOW, EDGE_BELOW + EDGE_ABOVE);
    simd_destroy(&e->o);
}

/* Vector of what the host raised (-1: nothing); #PF with its address as the guest would see it. */
static inline int edge_run_host(struct simd_edge *e, const u8 *bytes, unsigned count, int distance,
                                u64 *address)
{
    struct simd_oracle *o = &e->o;

    memcpy(e->host - WINDOW, o->in.window, WINDOW);
    simd_start_host(o, e->host - distance);
    simd_emit(o, bytes, count);
    simd_resume = o->resume;
    simd_info.si_signo = 0;
    simd_armed = true;
    ((void (*)(struct simd_state *))(void *)o->code)(&o->host);
    simd_armed = false;
    simd_resume = NULL;
    memcpy(o->host.window, e->host - WINDOW, WINDOW);
    *address = (u64)simd_info.si_addr - (u64)e->host + EDGE_GUEST;
    switch (simd_info.si_signo) {
    case 0: return -1;
    case SIGSEGV: return simd_info.si_code == SI_KERNEL ? VEC_GP : VEC_PF;
    case SIGFPE: return VEC_XM;
    default: return VEC_UD;
    }
}

static inline int edge_run_guest(struct simd_edge *e, const struct insn *i, int distance)
{
    struct vcpu *v = e->o.m.v;
    u8 window[WINDOW];
    bool ok;

    simd_load_guest(&e->o);
    machine_put(&e->o.m, EDGE_GUEST - WINDOW, e->o.in.window, WINDOW);
    v->gpr[RDI] = (u64)(EDGE_GUEST - distance);
    v->rip = MACHINE_CODE;
    v->next_rip = v->rip + i->len;
    ok = insn_bodies[i->id](v, i);
    /* simd_same() looks at the other window. */
    check(physmap_read(e->o.m.map, EDGE_GUEST - WINDOW, window, WINDOW), "no window");
    machine_put(&e->o.m, MACHINE_DATA, window, WINDOW);
    return ok ? -1 : v->fault.vector;
}

/* Executes one encoding with RDI at distance bytes before the edge on both sides. */
static inline bool edge_compare(struct simd_edge *e, const u8 *bytes, unsigned count, int distance,
                                char *why, size_t size)
{
    const struct decode_ctx ctx = {.code_size = 8, .protected_mode = true};
    u64 address;
    struct insn i;
    int host, guest;

    if (insn_decode(&ctx, bytes, count, &i) != DECODE_OK)
        SIMD_DIFFERS("does not decode");
    host = edge_run_host(e, bytes, count, distance, &address);
    guest = edge_run_guest(e, &i, distance);
    if (host != guest)
        SIMD_DIFFERS("distance %d k%u %lx: vector %d (cr2 %lx), host %d (%lx)", distance, i.aaa,
                     e->o.in.k[i.aaa], guest, e->o.m.v->fault.cr2, host, address);
    if (host == VEC_PF && e->o.m.v->fault.cr2 != address)
        SIMD_DIFFERS("distance %d k%u %lx: cr2 %lx, host %lx", distance, i.aaa, e->o.in.k[i.aaa],
                     e->o.m.v->fault.cr2, address);
    e->faults += host == VEC_PF;
    return simd_same(&e->o, insn_row(&i)->flags_undefined, why, size);
}

/* Compares memory forms of a row count times. Stops at the first difference and prints it. */
static inline bool edge_check_row(struct simd_edge *e, unsigned id, unsigned count)
{
    const struct insn_row *row = &insn_rows[id];
    char why[200];

    if (decode_row_mod(row) == MOD_REG || !simd_can_judge(&e->o, row))
        return true;
    for (unsigned n = 0; n < count; n++) {
        u8 bytes[16];
        unsigned length = simd_encode_as(&e->o, row, bytes, true);

        simd_random_state(&e->o, false);
        simd_limit_indices(&e->o, bytes, length);
        e->o.done++;
        if (edge_compare(e, bytes, length, (int)simd_below(&e->o, 96) - 16, why, sizeof(why)))
            continue;
        simd_report(row, bytes, length, why);
        return false;
    }
    return true;
}

/* Rows of a space against the host: count random forms of each, and count at the edge of memory.
 * Says how many rows were judged and which could not be. Returns how many differ. */
static inline unsigned edge_check_space(struct simd_edge *e, unsigned space, unsigned count)
{
    unsigned bad = 0, judged = 0, exempt = 0;

    for (unsigned id = 1; id < INSN_COUNT; id++) {
        const struct insn_row *row = &insn_rows[id];

        if (row->key.space != space || !(row->traits & (T_AVX | T_EVEX)))
            continue;
        if (!simd_can_judge(&e->o, row)) {
            printf("%s is exempt: the host has no such instruction\n", row->name);
            exempt++;
            continue;
        }
        judged++;
        bad += !simd_check_row(&e->o, id, count) || !edge_check_row(e, id, count / 2);
    }
    printf("%u rows judged, %u exempt; %u executions, %u exceptions, %u page faults\n", judged,
           exempt, e->o.done, e->o.faults, e->faults);
    return bad;
}
