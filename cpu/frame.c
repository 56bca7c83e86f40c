/* SPDX-License-Identifier: MIT
 *
 * Building stack frames (frame.h), and finding the stack of an inner ring in the TSS.
 *
 * Pushes onto an inner ring's stack are made as supervisor accesses to which EFLAGS.AC of the
 * interrupted program gives no right (SMAP), others with the privileges of the current CPL.
 */
#include "cpu/frame.h"

void frame_begin(struct frame *f, const struct vcpu *v, unsigned width, u32 error)
{
    f->ss = v->seg[SEG_SS];
    f->width = width ? (u8)width : v->stack_size;
    f->rsp = f->width == 4 ? (u32)v->gpr[RSP] : v->gpr[RSP];
    f->error = error;
    f->inner = false;
    f->count = 0;
}

void frame_begin_inner(struct frame *f, const struct ring_stack *stack, u32 error)
{
    f->ss = stack->ss;
    f->width = stack->width;
    f->rsp = stack->rsp;
    f->error = error;
    f->inner = true;
    f->count = 0;
}

void frame_push(struct frame *f, u64 value, unsigned size)
{
    struct frame_slot *slot = &f->slot[f->count];
    u64 mask = f->width == 8 ? ~0ull : size_mask(f->width);

    check(f->count < FRAME_SLOTS, "stack frame of more than %d slots", FRAME_SLOTS);
    f->count++;
    f->rsp = f->width == 2 ? (f->rsp & ~mask) | ((f->rsp - size) & mask) : (f->rsp - size) & mask;
    *slot = (struct frame_slot){.offset = f->rsp & mask, .value = value, .size = (u8)size};
}

static bool slot_linear(struct vcpu *v, const struct frame *f, struct frame_slot *slot)
{
    if (f->width == 8) {
        slot->gla = slot->offset;
        if (!vcpu_canonical(v, slot->gla) || !vcpu_canonical(v, slot->gla + slot->size - 1))
            return raise_ss(v, f->error);
        return true;
    }
    slot->gla = (u32)(f->ss.base + slot->offset);
    return segment_covers(&f->ss, slot->offset, slot->size) || raise_ss(v, f->error);
}

static bool slot_probe(struct vcpu *v, const struct frame *f, const struct frame_slot *slot)
{
    if (f->inner)
        return sys_probe_write(v, slot->gla, slot->size);
    if (v->align_check && slot->gla % slot->size)
        return raise_fault_error(v, VEC_AC, 0);
    return lin_probe_write(v, slot->gla, slot->size);
}

bool frame_check(struct vcpu *v, struct frame *f)
{
    for (unsigned n = 0; n < f->count; n++) {
        if (!slot_linear(v, f, &f->slot[n]) || !slot_probe(v, f, &f->slot[n]))
            return false;
    }
    return true;
}

bool frame_write(struct vcpu *v, const struct frame *f)
{
    for (unsigned n = 0; n < f->count; n++) {
        const struct frame_slot *slot = &f->slot[n];

        if (f->inner ? !sys_write(v, slot->gla, slot->size, slot->value)
                     : !lin_write(v, slot->gla, slot->size, slot->value))
            return false;
    }
    v->gpr[RSP] = f->rsp;
    return true;
}

bool frame_store(struct vcpu *v, struct frame *f)
{
    for (unsigned n = 0; n < f->count; n++) {
        struct frame_slot *slot = &f->slot[n];

        if (!slot_linear(v, f, slot) || !slot_probe(v, f, slot) ||
            !lin_write(v, slot->gla, slot->size, slot->value))
            return false;
    }
    return true;
}

/* -- stacks of inner rings -- */

/* Long mode: SS becomes null with RPL = CPL (SDM 3A 6.14.2). */
static bool ring_stack_long(struct vcpu *v, unsigned cpl, unsigned ist, u32 ext,
                            struct ring_stack *stack)
{
    u32 offset = ist ? 28 + ist * 8 : 4 + cpl * 8;

    if (offset + 7 > v->tr.limit)
        return raise_ts(v, selector_error(v->tr.selector, ext));
    stack->width = 8;
    stack->has_descriptor = false;
    stack->ss = segment_null((u16)cpl, cpl);
    return tss_read(v, offset, 8, &stack->rsp);
}

static bool ring_stack_check(struct vcpu *v, unsigned cpl, u16 selector, u32 ext,
                             struct ring_stack *stack)
{
    if (!stack_fetch(v, selector, cpl, VEC_TS, ext, &stack->d))
        return false;
    stack->ss = segment_from_descriptor(selector, &stack->d);
    stack->has_descriptor = true;
    stack->width = stack->ss.attr & ATTR_DB ? 4 : 2;
    return true;
}

bool ring_stack_read(struct vcpu *v, unsigned cpl, unsigned ist, u32 ext, struct ring_stack *stack)
{
    bool wide = attr_sys_type(v->tr.attr & ~2u) == SYS_TSS;
    unsigned size = wide ? 4 : 2;
    u32 offset = wide ? 4 + cpl * 8 : 2 + cpl * 4;
    u64 selector;

    if (v->long_mode)
        return ring_stack_long(v, cpl, ist, ext, stack);
    if (offset + size + 1 > v->tr.limit)
        return raise_ts(v, selector_error(v->tr.selector, ext));
    return tss_read(v, offset, size, &stack->rsp) && tss_read(v, offset + size, 2, &selector) &&
           ring_stack_check(v, cpl, (u16)selector, ext, stack);
}
