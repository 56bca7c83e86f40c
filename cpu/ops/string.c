/* SPDX-License-Identifier: MIT
 *
 * MOVS, CMPS, STOS, LODS, SCAS, and REP for all string instructions (SDM 2: REP/REPE/REPNE).
 *
 * Registers are exact after every element, so a fault or an interrupt in the middle leaves a state
 * from which the instruction goes on. Where both operands are plain memory, a stretch inside one
 * page is done through host pointers; the result is that of one element after the other, also for
 * overlapping operands. Pages with decoded code have no write tag and so take the slow way.
 */
#include "cpu/ops/string.h"

#include "cpu/ops/flags.h"

enum {
    STRETCH = 4096, /* iterations of a body before it lets the run loop look at events */
    FEW = 16,       /* elements that are quicker done one by one */
};

static bool events_pending(const struct vcpu *v)
{
    return __atomic_load_n(&v->events, __ATOMIC_RELAXED) != 0;
}

/* Whether a comparing REP ends after an element: REPE on inequality, REPNE on equality. */
static bool compare_ends(const struct vcpu *v, const struct insn *i)
{
    return !(v->rflags & F_ZF) == !!(i->flags & I_REP);
}

bool string_run(struct vcpu *v, const struct insn *i, string_step *step, string_bulk *bulk,
                bool compares)
{
    bool single = v->careful || v->align_check;
    u64 count = string_offset(v, i, RCX), total = 0;

    if (!(i->flags & (I_REP | I_REPNE)))
        return step(v, i);
    while (count) {
        /* The same elements to a stretch whether there is a bulk way or not. */
        u64 room = STRETCH - total;
        u64 done = bulk && !single ? bulk(v, i, count < room ? count : room) : 0;

        if (!done) {
            if (!step(v, i))
                return false;
            done = 1;
        }
        count -= done;
        total += done;
        reg_write(v, RCX, i->asz, count);
        if (compares && compare_ends(v, i))
            return true;
        if (v->careful || total >= STRETCH || (!bulk && events_pending(v))) {
            v->repeat = count != 0;
            return true;
        }
    }
    return true;
}

/* -- stretches in host memory -- */

/* How many of count elements at offset, in the direction of DF, lie on the page of the first. */
static u64 page_room(const struct vcpu *v, enum seg seg, u64 offset, unsigned size, u64 count)
{
    unsigned at = (unsigned)((v->seg[seg].base + offset) % PAGE_SIZE);
    u64 room;

    if (vcpu_64bit(v) && seg < SEG_FS)
        at = (unsigned)(offset % PAGE_SIZE);
    if (at + size > PAGE_SIZE)
        return 0;
    room = (v->rflags & F_DF ? at + size : PAGE_SIZE - at) / size;
    return count < room ? count : room;
}

/* The host address of the lowest of count elements at offset, or NULL if they are not all plain
 * memory inside the segment, or if the index register would wrap. */
static u8 *elements(const struct vcpu *v, const struct insn *i, enum seg seg, u64 offset,
                    unsigned size, u64 count, enum access_kind kind)
{
    unsigned bytes = (unsigned)count * size;
    u64 gla;

    if (v->rflags & F_DF) {
        if (offset < bytes - size)
            return NULL;
        offset -= bytes - size;
    } else if (offset + bytes - 1 < offset || size_cut(offset + bytes - 1, i->asz) < offset) {
        return NULL;
    }
    if (!seg_try(v, seg, offset, bytes, kind, &gla))
        return NULL;
    return kind == ACCESS_WRITE ? tlb_write_ptr(v->tlb_now, gla, bytes)
                                : tlb_read_ptr(v->tlb_now, gla, bytes);
}

/* -- MOVS -- */

static bool movs_step(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!seg_read(v, (enum seg)i->seg, string_offset(v, i, RSI), i->osz, &value) ||
        !seg_write(v, SEG_ES, string_offset(v, i, RDI), i->osz, value))
        return false;
    string_advance(v, i, RSI, 1, i->osz);
    string_advance(v, i, RDI, 1, i->osz);
    return true;
}

/* The host's own MOVS, or with from NULL its STOS, in the guest's direction: each element is one
 * load and one store, in the order that the guest may count on (SDM 3A 8.2.4), and a later element
 * reads what an earlier one has stored. C's routines store some bytes twice, which undoes what
 * another vCPU has stored in between (tests/guest/stores.c). to, from: the lowest elements. */
#define REP_HOST(instruction)                                                                      \
    do {                                                                                           \
        if (down)                                                                                  \
            asm volatile("std; rep " instruction "; cld"                                           \
                         : "+D"(to), "+S"(from), "+c"(count)                                       \
                         : "a"(value)                                                              \
                         : "memory", "cc");                                                        \
        else                                                                                       \
            asm volatile("rep " instruction                                                        \
                         : "+D"(to), "+S"(from), "+c"(count)                                       \
                         : "a"(value)                                                              \
                         : "memory", "cc");                                                        \
    } while (0)

static void rep_host(const struct vcpu *v, const struct insn *i, u8 *to, const u8 *from, u64 count)
{
    const bool down = v->rflags & F_DF;
    const u64 value = v->gpr[RAX], last = (count - 1) * i->osz;

    if (down) {
        to += last;
        from = from ? from + last : NULL;
    }
    switch (i->osz * 2 + (from ? 0 : 1)) {
    case 2: REP_HOST("movsb"); break;
    case 3: REP_HOST("stosb"); break;
    case 4: REP_HOST("movsw"); break;
    case 5: REP_HOST("stosw"); break;
    case 8: REP_HOST("movsl"); break;
    case 9: REP_HOST("stosl"); break;
    case 16: REP_HOST("movsq"); break;
    default: REP_HOST("stosq"); break;
    }
}

/* The same of few elements: the host's REP takes a while to start. */
static ALWAYS_INLINE void few_elements(const struct vcpu *v, u8 *to, const u8 *from, u64 count,
                                       unsigned size)
{
    const bool down = v->rflags & F_DF;

    for (u64 n = 0; n < count; n++) {
        u64 at = (down ? count - 1 - n : n) * size;

        store_le(to + at, from ? load_le(from + at, size) : v->gpr[RAX], size);
    }
}

static void do_elements(const struct vcpu *v, const struct insn *i, u8 *to, const u8 *from,
                        u64 count)
{
    if (count > FEW) {
        rep_host(v, i, to, from, count);
        return;
    }
    switch (i->osz) {
    case 1: few_elements(v, to, from, count, 1); break;
    case 2: few_elements(v, to, from, count, 2); break;
    case 4: few_elements(v, to, from, count, 4); break;
    default: few_elements(v, to, from, count, 8); break;
    }
}

static u64 movs_bulk(struct vcpu *v, const struct insn *i, u64 count)
{
    u64 source = string_offset(v, i, RSI), target = string_offset(v, i, RDI);
    enum seg seg = (enum seg)i->seg;
    const u8 *from;
    u8 *to;

    count = page_room(v, seg, source, i->osz, count);
    count = page_room(v, SEG_ES, target, i->osz, count);
    if (!count)
        return 0;
    from = elements(v, i, seg, source, i->osz, count, ACCESS_READ);
    to = elements(v, i, SEG_ES, target, i->osz, count, ACCESS_WRITE);
    if (!from || !to)
        return 0;
    do_elements(v, i, to, from, count);
    string_advance(v, i, RSI, count, i->osz);
    string_advance(v, i, RDI, count, i->osz);
    return count;
}

bool op_MOVSb(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, movs_step, movs_bulk, false);
}

bool op_MOVSv(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, movs_step, movs_bulk, false);
}

/* -- STOS -- */

static bool stos_step(struct vcpu *v, const struct insn *i)
{
    if (!seg_write(v, SEG_ES, string_offset(v, i, RDI), i->osz, v->gpr[RAX]))
        return false;
    string_advance(v, i, RDI, 1, i->osz);
    return true;
}

static u64 stos_bulk(struct vcpu *v, const struct insn *i, u64 count)
{
    u64 target = string_offset(v, i, RDI);
    u8 *to;

    count = page_room(v, SEG_ES, target, i->osz, count);
    to = count ? elements(v, i, SEG_ES, target, i->osz, count, ACCESS_WRITE) : NULL;
    if (!to)
        return 0;
    do_elements(v, i, to, NULL, count);
    string_advance(v, i, RDI, count, i->osz);
    return count;
}

bool op_STOSb(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, stos_step, stos_bulk, false);
}

bool op_STOSv(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, stos_step, stos_bulk, false);
}

/* -- LODS -- */

static bool lods_step(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!seg_read(v, (enum seg)i->seg, string_offset(v, i, RSI), i->osz, &value))
        return false;
    reg_write(v, RAX, i->osz, value);
    string_advance(v, i, RSI, 1, i->osz);
    return true;
}

/* Only the last element stays. */
static u64 lods_bulk(struct vcpu *v, const struct insn *i, u64 count)
{
    u64 source = string_offset(v, i, RSI);
    enum seg seg = (enum seg)i->seg;
    const u8 *from;

    count = page_room(v, seg, source, i->osz, count);
    from = count ? elements(v, i, seg, source, i->osz, count, ACCESS_READ) : NULL;
    if (!from)
        return 0;
    if (!(v->rflags & F_DF))
        from += (count - 1) * i->osz;
    reg_write(v, RAX, i->osz, load_le(from, i->osz));
    string_advance(v, i, RSI, count, i->osz);
    return count;
}

bool op_LODSb(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, lods_step, lods_bulk, false);
}

bool op_LODSv(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, lods_step, lods_bulk, false);
}

/* -- CMPS and SCAS -- */

static void compare(struct vcpu *v, u64 a, u64 b, unsigned size)
{
    u64 flags;

    switch (size) {
    case 1: flags = flags_sub(a, b, a - b, 1); break;
    case 2: flags = flags_sub(a, b, a - b, 2); break;
    case 4: flags = flags_sub(a, b, a - b, 4); break;
    default: flags = flags_sub(a, b, a - b, 8); break;
    }
    flags_set(v, F_OSZAPC, flags);
}

static bool cmps_step(struct vcpu *v, const struct insn *i)
{
    u64 a, b;

    /* The second operand is read first, as faults show, but for REPE CMPSB (on Zen 4; Zen 3 makes
     * no exception). */
    if (i->osz == 1 && (i->flags & I_REP)) {
        if (!seg_read(v, (enum seg)i->seg, string_offset(v, i, RSI), i->osz, &a) ||
            !seg_read(v, SEG_ES, string_offset(v, i, RDI), i->osz, &b))
            return false;
    } else if (!seg_read(v, SEG_ES, string_offset(v, i, RDI), i->osz, &b) ||
               !seg_read(v, (enum seg)i->seg, string_offset(v, i, RSI), i->osz, &a)) {
        return false;
    }
    compare(v, a, b, i->osz);
    string_advance(v, i, RSI, 1, i->osz);
    string_advance(v, i, RDI, 1, i->osz);
    return true;
}

/* Compares elements until one ends the instruction; a NULL stands for rAX. Returns how many were
 * looked at; the flags are those of the last. */
static u64 compare_elements(struct vcpu *v, const struct insn *i, const u8 *first, const u8 *second,
                            u64 count)
{
    const bool until_different = i->flags & I_REP, down = v->rflags & F_DF;
    const unsigned size = i->osz;
    u64 a = reg_read(v, RAX, size), b = 0, n = 0;

    while (n < count) {
        u64 at = (down ? count - 1 - n : n) * size;

        if (first)
            a = load_le(first + at, size);
        b = load_le(second + at, size);
        n++;
        if ((a == b) != until_different)
            break;
    }
    compare(v, a, b, size);
    return n;
}

static u64 cmps_bulk(struct vcpu *v, const struct insn *i, u64 count)
{
    u64 source = string_offset(v, i, RSI), target = string_offset(v, i, RDI);
    enum seg seg = (enum seg)i->seg;
    const u8 *first, *second;

    count = page_room(v, seg, source, i->osz, count);
    count = page_room(v, SEG_ES, target, i->osz, count);
    if (!count)
        return 0;
    first = elements(v, i, seg, source, i->osz, count, ACCESS_READ);
    second = elements(v, i, SEG_ES, target, i->osz, count, ACCESS_READ);
    if (!first || !second)
        return 0;
    count = compare_elements(v, i, first, second, count);
    string_advance(v, i, RSI, count, i->osz);
    string_advance(v, i, RDI, count, i->osz);
    return count;
}

bool op_CMPSb(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, cmps_step, cmps_bulk, true);
}

bool op_CMPSv(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, cmps_step, cmps_bulk, true);
}

static bool scas_step(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!seg_read(v, SEG_ES, string_offset(v, i, RDI), i->osz, &value))
        return false;
    compare(v, reg_read(v, RAX, i->osz), value, i->osz);
    string_advance(v, i, RDI, 1, i->osz);
    return true;
}

static u64 scas_bulk(struct vcpu *v, const struct insn *i, u64 count)
{
    u64 target = string_offset(v, i, RDI);
    const u8 *second;

    count = page_room(v, SEG_ES, target, i->osz, count);
    second = count ? elements(v, i, SEG_ES, target, i->osz, count, ACCESS_READ) : NULL;
    if (!second)
        return 0;
    count = compare_elements(v, i, NULL, second, count);
    string_advance(v, i, RDI, count, i->osz);
    return count;
}

bool op_SCASb(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, scas_step, scas_bulk, true);
}

bool op_SCASv(struct vcpu *v, const struct insn *i)
{
    return string_run(v, i, scas_step, scas_bulk, true);
}
