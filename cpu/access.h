/* SPDX-License-Identifier: MIT
 *
 * Guest memory as instructions see it: segment checks, linear access through the soft TLB,
 * read-modify-write, stack, instruction fetch. The fast paths are inline; everything unusual (TLB
 * miss, page crossing, MMIO, code pages, watchpoints, alignment check) is in access.c.
 *
 * All functions return false after recording a fault; nothing has been stored then, even if the
 * second of two pages faulted. Values are zero-extended to 64 bits.
 */
#pragma once

#include "cpu/exception.h"
#include "cpu/vcpu.h"
#include "mem/base/bits.h"

/* Out-of-line halves of the inline functions below. size 1..64. */
bool lin_read_slow(struct vcpu *v, u64 gla, void *out, unsigned size);
bool lin_write_slow(struct vcpu *v, u64 gla, const void *in, unsigned size);

/* -- linear addresses, with the privileges of the current CPL -- */

static ALWAYS_INLINE bool lin_read(struct vcpu *v, u64 gla, unsigned size, u64 *value)
{
    const u8 *p = tlb_read_ptr(v->tlb_now, gla, size);

    if (unlikely(!p || v->align_check)) {
        *value = 0;
        return lin_read_slow(v, gla, value, size);
    }
    *value = load_le(p, size);
    return true;
}

static ALWAYS_INLINE bool lin_write(struct vcpu *v, u64 gla, unsigned size, u64 value)
{
    u8 *p = tlb_write_ptr(v->tlb_now, gla, size);

    if (unlikely(!p || v->align_check))
        return lin_write_slow(v, gla, &value, size);
    store_le(p, value, size);
    return true;
}

/* #AC(0) for an operand that is not a multiple of alignment (a power of two) where alignment is
 * checked (SDM 3A table 6-7): for operands that go through the block functions below. */
static inline bool lin_aligned(struct vcpu *v, u64 gla, unsigned alignment)
{
    if (likely(!v->align_check) || !(gla & (alignment - 1)))
        return true;
    return raise_fault_error(v, VEC_AC, 0);
}

/* Blocks of 1..4096 bytes (vector operands, FXSAVE areas). No #AC. All or nothing. */
bool lin_read_block(struct vcpu *v, u64 gla, void *out, unsigned size);
bool lin_write_block(struct vcpu *v, u64 gla, const void *in, unsigned size);
/* Faults if size bytes at gla could not be read (written): for instructions that must check before
 * they start. */
bool lin_probe_read(struct vcpu *v, u64 gla, unsigned size);
bool lin_probe_write(struct vcpu *v, u64 gla, unsigned size);

/* -- implicit supervisor accesses (descriptor tables, TSS), size 1, 2, 4, 8 -- */
bool sys_read(struct vcpu *v, u64 gla, unsigned size, u64 *value);
bool sys_write(struct vcpu *v, u64 gla, unsigned size, u64 value);
bool sys_probe_write(struct vcpu *v, u64 gla, unsigned size);
/* Atomically sets bits in the byte at gla (descriptor accessed, TSS busy); LOCKed as hardware does.
 */
bool sys_set_bits(struct vcpu *v, u64 gla, u8 bits);
/* The same; *old is the byte before. */
bool sys_claim_bits(struct vcpu *v, u64 gla, u8 bits, u8 *old);
bool sys_clear_bits(struct vcpu *v, u64 gla, u8 bits);

/* -- segmentation -- */

/* Out of line: protected-mode limit, type and rights checks; canonical check with the right vector.
 */
bool seg_check(struct vcpu *v, enum seg seg, u64 offset, unsigned size, enum access_kind kind,
               u64 *gla);
/* The same without recording a fault: whether the access would pass. */
bool seg_try(const struct vcpu *v, enum seg seg, u64 offset, unsigned size, enum access_kind kind,
             u64 *gla);

/* Logical to linear address for a data access of size bytes at offset (already cut to the address
 * size). #SS(0) for SS, else #GP(0); SDM 3A 5.3, 5.4, and canonicality in 64-bit mode (SDM
 * 1 3.3.7.1). */
static ALWAYS_INLINE bool seg_to_linear(struct vcpu *v, enum seg seg, u64 offset, unsigned size,
                                        enum access_kind kind, u64 *gla)
{
    if (likely(vcpu_64bit(v))) {
        u64 a = offset + (seg >= SEG_FS ? v->seg[seg].base : 0);

        if (likely((u64)((i64)(offset << 16) >> 16) == offset && (u64)((i64)(a << 16) >> 16) == a &&
                   (u64)((i64)((a + size - 1) << 16) >> 16) == a + size - 1)) {
            *gla = a;
            return true;
        }
    }
    return seg_check(v, seg, offset, size, kind, gla);
}

static ALWAYS_INLINE bool seg_read(struct vcpu *v, enum seg seg, u64 offset, unsigned size,
                                   u64 *value)
{
    u64 gla;

    return seg_to_linear(v, seg, offset, size, ACCESS_READ, &gla) && lin_read(v, gla, size, value);
}

static ALWAYS_INLINE bool seg_write(struct vcpu *v, enum seg seg, u64 offset, unsigned size,
                                    u64 value)
{
    u64 gla;

    return seg_to_linear(v, seg, offset, size, ACCESS_WRITE, &gla) &&
           lin_write(v, gla, size, value);
}

/* -- read-modify-write -- */

enum rmw_notify {
    RMW_RAM = 1,  /* ram_written() after the store */
    RMW_HOOK = 2, /* a memory hook wants to see loads and stores */
};

/* One operand that will be stored to: translated for writing before it is read, so that a
 * read-modify-write instruction faults with W=1 and before changing anything. */
struct rmw {
    u64 gla;
    u8 *hva;                 /* directly addressable (one page of memory), else NULL */
    unsigned size;           /* 1, 2, 4, 8 or 16 */
    u8 notify;               /* enum rmw_notify: what else is due */
    bool device;             /* (partly) no memory: read once, written once, never compared again */
    struct tlb_page page[2]; /* the slow cases: MMIO, or split over two pages */
    unsigned first;          /* bytes in the first page */
};

/* A host pointer for reading and writing size bytes, or NULL: take rmw_begin(). */
static ALWAYS_INLINE u8 *rmw_ptr(const struct vcpu *v, u64 gla, unsigned size)
{
    return likely(!v->align_check) ? tlb_write_ptr(v->tlb_now, gla, size) : NULL;
}

bool rmw_begin_slow(struct vcpu *v, u64 gla, unsigned size, struct rmw *m);

/* Prepares [gla, gla+size) for reading and writing. */
static ALWAYS_INLINE bool rmw_begin(struct vcpu *v, u64 gla, unsigned size, struct rmw *m)
{
    u8 *hva = rmw_ptr(v, gla, size);

    if (unlikely(!hva))
        return rmw_begin_slow(v, gla, size, m);
    m->gla = gla;
    m->hva = hva;
    m->size = size;
    m->notify = 0;
    m->device = false;
    return true;
}
/* Around the one load and one store of a locked instruction, so that nobody comes in between where
 * the operand is (partly) no memory. */
void rmw_lock_device(struct vcpu *v, const struct rmw *m);
void rmw_unlock_device(struct vcpu *v, const struct rmw *m);
static ALWAYS_INLINE void rmw_lock(struct vcpu *v, const struct rmw *m)
{
    if (unlikely(m->device))
        rmw_lock_device(v, m);
}
static ALWAYS_INLINE void rmw_unlock(struct vcpu *v, const struct rmw *m)
{
    if (unlikely(m->device))
        rmw_unlock_device(v, m);
}
/* The operand's value now; size <= 8. */
u64 rmw_read(struct vcpu *v, const struct rmw *m);
void rmw_write(struct vcpu *v, const struct rmw *m, u64 value);
/* Atomically replaces *expected by desired (16-byte values in two halves, low first). false: memory
 * differed, *expected holds what was there. On every path atomic against other vCPUs. Where there
 * is no memory (m->device) the register is read once and written once, with the old value on false;
 * loops that retry use rmw_write() there. */
bool rmw_cas(struct vcpu *v, const struct rmw *m, u64 *expected, u64 desired);
/* The same for CMPXCHG, whose load nothing else makes: a memory hook sees it, too, as with
 * rmw_cas16(). */
bool rmw_cmpxchg(struct vcpu *v, const struct rmw *m, u64 *expected, u64 desired);
bool rmw_cas16(struct vcpu *v, const struct rmw *m, u64 expected[2], const u64 desired[2]);

/* -- stack: the stack pointer's width is v->stack_size -- */

static inline u64 stack_mask(const struct vcpu *v)
{
    return v->stack_size == 8 ? ~0ull : v->stack_size == 4 ? 0xffffffffull : 0xffffull;
}
/* Writes RSP with the width of the stack (upper bits of a 32-bit ESP write are cleared in long mode
 * only through gpr writes elsewhere; a 16-bit stack keeps the upper bits). */
static inline void stack_set(struct vcpu *v, u64 rsp)
{
    u64 mask = stack_mask(v);

    v->gpr[RSP] = v->stack_size == 2 ? (v->gpr[RSP] & ~mask) | (rsp & mask) : rsp & mask;
}
/* Pushes size bytes; RSP changes only if the store succeeded. */
bool stack_push(struct vcpu *v, u64 value, unsigned size);
/* Reads size bytes at RSP + offset without changing RSP. */
bool stack_peek(struct vcpu *v, unsigned offset, unsigned size, u64 *value);
/* Pops: peek at 0 and RSP += size. */
bool stack_pop(struct vcpu *v, unsigned size, u64 *value);

/* -- instruction fetch -- */

/* Copies up to 15 bytes of code at CS:rip into buf, fewer if the segment limit or an unreadable
 * next page comes first; *gpa is the physical address of the first byte, *hva its host address or
 * NULL. *count: how many. false: the first byte faults (#PF, #GP), recorded. */
bool fetch_bytes(struct vcpu *v, u64 rip, u8 buf[15], unsigned *count, u64 *gpa, u8 **hva);
/* The instruction at rip needs more bytes than fetch_bytes() gave: records the fault that byte
 * number `count` raises (#PF with its address, #GP(0) for the limit, or #GP(0) for > 15 bytes). */
bool fetch_fault(struct vcpu *v, u64 rip, unsigned count);

/* -- port I/O (permission checks: SDM 1 19.5) -- */
bool io_permitted(struct vcpu *v, u16 port, unsigned size);
