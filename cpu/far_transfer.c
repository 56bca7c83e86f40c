/* SPDX-License-Identifier: MIT
 *
 * Far CALL and JMP: real and V86 mode, code segments, call gates of 16, 32 and 64 bits with stack
 * switch and parameter copy, task gates and TSSs (SDM 2 "CALL", "JMP"; SDM 3A 5.8).
 *
 * Order of work: all checks but that of the target's offset, the return address word by word, that
 * check, then the accessed bits, then the registers. Frames on inner rings are checked as a whole
 * before they are written.
 */
#include "cpu/frame.h"
#include "cpu/segment.h"

struct call_gate {
    u16 selector;
    u64 offset;
    unsigned params;
    unsigned size; /* of what is pushed: 2, 4 or 8 */
};

/* SDM 2 "CALL", REAL-ADDRESS-MODE: the offset is held against the limit that CS has and keeps. */
static bool far_real(struct vcpu *v, u16 selector, u64 offset, unsigned osz, bool call)
{
    struct frame f;

    if (call) {
        frame_begin(&f, v, 0, 0);
        frame_push(&f, v->seg[SEG_CS].selector, osz);
        frame_push(&f, v->next_rip & size_mask(osz), osz);
        if (!frame_store(v, &f))
            return false;
    }
    if (offset > v->seg[SEG_CS].limit)
        return raise_gp(v, 0);
    if (call)
        v->gpr[RSP] = f.rsp;
    segment_load_real(v, SEG_CS, selector);
    v->next_rip = offset;
    return true;
}

/* The return address on the current stack, then CS:offset at the same privilege level. */
static bool enter_same(struct vcpu *v, u16 selector, struct descriptor *d, u64 offset,
                       unsigned push_size, unsigned width)
{
    struct frame f;

    if (push_size) {
        frame_begin(&f, v, width, 0);
        frame_push(&f, v->seg[SEG_CS].selector, push_size);
        frame_push(&f, v->next_rip, push_size);
        if (!frame_store(v, &f))
            return false;
    }
    if (!code_rip_check(v, descriptor_attr(d), descriptor_limit(d), offset, 0) ||
        !descriptor_touch(v, d))
        return false;
    if (push_size)
        v->gpr[RSP] = f.rsp;
    code_enter(v, selector, v->cpl, d, offset);
    return true;
}

/* The return address is pushed with the stack of the new mode: a call from 64-bit to compatibility
 * code uses ESP. */
static unsigned stack_width_in(const struct vcpu *v, const struct descriptor *d)
{
    if (v->long_mode && (descriptor_attr(d) & ATTR_L))
        return 8;
    return v->seg[SEG_SS].attr & ATTR_DB ? 4 : 2;
}

/* SDM 2 "CALL", CONFORMING and NONCONFORMING-CODE-SEGMENT: the RPL counts for the latter only. */
static bool far_code(struct vcpu *v, u16 selector, struct descriptor *d, u64 offset, unsigned osz,
                     bool call)
{
    if (!attr_is_conforming(descriptor_attr(d)) && (selector & 3) > v->cpl)
        return raise_gp(v, selector_error(selector, 0));
    if (!code_check(v, selector, v->cpl, VEC_GP, 0, d))
        return false;
    return enter_same(v, selector, d, offset, call ? osz : 0, stack_width_in(v, d));
}

/* -- call gates -- */

static struct call_gate gate_parse(const struct vcpu *v, const struct descriptor *d)
{
    struct call_gate g = {.selector = (u16)(d->low >> 16), .offset = d->low & 0xffff, .size = 2};

    g.params = (d->low >> 32) & 31;
    if (attr_sys_type(descriptor_attr(d)) == SYS_CALL_GATE16)
        return g;
    g.offset |= (d->low >> 32) & 0xffff0000;
    g.size = 4;
    if (v->long_mode) {
        g.offset |= d->high << 32;
        g.params = 0;
        g.size = 8;
    }
    return g;
}

/* Parameters are copied from the caller's stack, highest address first, so that they end up in the
 * same order. */
static bool push_params(struct vcpu *v, struct frame *f, const struct call_gate *g)
{
    u64 value;

    for (unsigned n = g->params; n-- > 0;) {
        if (!stack_peek(v, n * g->size, g->size, &value))
            return false;
        frame_push(f, value, g->size);
    }
    return true;
}

/* SDM 2 "CALL", MORE-PRIVILEGE: SS:rSP of the caller, parameters, CS:rIP of the caller; a 64-bit
 * gate has no parameters and a null SS (SDM 3A 5.8.5.1). */
static bool gate_inner(struct vcpu *v, const struct call_gate *g, struct descriptor *code)
{
    unsigned cpl = attr_dpl(descriptor_attr(code));
    struct ring_stack stack;
    struct frame f;

    if (!ring_stack_read(v, cpl, 0, 0, &stack))
        return false;
    frame_begin_inner(&f, &stack, selector_error(stack.ss.selector, 0));
    frame_push(&f, v->seg[SEG_SS].selector, g->size);
    frame_push(&f, v->gpr[RSP], g->size);
    if (!push_params(v, &f, g))
        return false;
    frame_push(&f, v->seg[SEG_CS].selector, g->size);
    frame_push(&f, v->next_rip, g->size);
    if (!frame_check(v, &f) ||
        !code_rip_check(v, descriptor_attr(code), descriptor_limit(code), g->offset, 0))
        return false;
    if (!descriptor_touch(v, code) || (stack.has_descriptor && !descriptor_touch(v, &stack.d)))
        return false;
    if (!frame_write(v, &f))
        return false;
    v->seg[SEG_SS] = stack.ss;
    v->seg[SEG_SS].attr |= stack.has_descriptor ? ATTR_ACCESSED : 0;
    code_enter(v, g->selector, cpl, code, g->offset);
    return true;
}

/* SDM 2 "CALL", "JMP", CALL-GATE: a jump stays at its level, a call may go inwards. */
static bool gate_target(struct vcpu *v, const struct call_gate *g, bool call)
{
    struct descriptor d;
    u32 attr, error = selector_error(g->selector, 0);
    bool same;

    if (!gate_code_fetch(v, g->selector, 0, &d))
        return false;
    attr = descriptor_attr(&d);
    same = attr_is_conforming(attr) || attr_dpl(attr) == v->cpl;
    if (!call && !same)
        return raise_gp(v, error);
    if (!(attr & ATTR_P))
        return raise_np(v, error);
    if (!same)
        return gate_inner(v, g, &d);
    return enter_same(v, g->selector, &d, g->offset, call ? g->size : 0, g->size == 8 ? 8 : 0);
}

static bool far_gate(struct vcpu *v, u16 selector, struct descriptor *d, bool call)
{
    u32 error = selector_error(selector, 0);
    struct call_gate g;

    if (v->long_mode) {
        if (!descriptor_fetch(v, selector, true, VEC_GP, 0, d))
            return false;
        /* The upper half must not look like a descriptor (SDM 3A 5.8.3.1). */
        if ((d->high >> 40) & 0x1f)
            return raise_gp(v, error);
    }
    if (!(descriptor_attr(d) & ATTR_P))
        return raise_np(v, error);
    g = gate_parse(v, d);
    return gate_target(v, &g, call);
}

/* -- tasks -- */

/* SDM 2 "CALL", TASK-GATE and TASK-STATE-SEGMENT. */
static bool far_task(struct vcpu *v, u16 selector, const struct descriptor *d, bool call)
{
    struct task_request r = {.selector = selector,
                             .reason = call ? TASK_CALL : TASK_JUMP,
                             .rip = v->next_rip,
                             .rflags = v->rflags};

    if (attr_sys_type(descriptor_attr(d)) == SYS_TASK_GATE) {
        if (!(descriptor_attr(d) & ATTR_P))
            return raise_np(v, selector_error(selector, 0));
        r.selector = (u16)(d->low >> 16);
    }
    return task_switch(v, &r);
}

/* SDM 2 "CALL": DPL against CPL and RPL is #GP before presence is #NP, for gates and TSSs alike.
 * Long mode has 64-bit call gates only (SDM 3A 5.8.3.1, 7.7). */
static bool far_system(struct vcpu *v, u16 selector, struct descriptor *d, bool call)
{
    u32 attr = descriptor_attr(d), error = selector_error(selector, 0);
    int type = attr_sys_type(attr);
    bool gate = type == SYS_CALL_GATE || (type == SYS_CALL_GATE16 && !v->long_mode);
    bool task = type == SYS_TASK_GATE || type == SYS_TSS || type == SYS_TSS16;

    if (!gate && (!task || v->long_mode))
        return raise_gp(v, error);
    if (attr_dpl(attr) < v->cpl || attr_dpl(attr) < (selector & 3u))
        return raise_gp(v, error);
    return gate ? far_gate(v, selector, d, call) : far_task(v, selector, d, call);
}

static bool far_transfer(struct vcpu *v, u16 selector, u64 offset, unsigned osz, bool call)
{
    struct descriptor d;

    offset &= size_mask(osz);
    if (!vcpu_protected(v))
        return far_real(v, selector, offset, osz, call);
    if (selector_is_null(selector))
        return raise_gp(v, 0);
    if (!descriptor_fetch(v, selector, false, VEC_GP, 0, &d))
        return false;
    if (attr_is_code(descriptor_attr(&d)))
        return far_code(v, selector, &d, offset, osz, call);
    if (descriptor_attr(&d) & ATTR_S)
        return raise_gp(v, selector_error(selector, 0));
    return far_system(v, selector, &d, call);
}

bool far_call(struct vcpu *v, u16 selector, u64 offset, unsigned osz)
{
    return far_transfer(v, selector, offset, osz, true);
}

bool far_jump(struct vcpu *v, u16 selector, u64 offset, unsigned osz)
{
    return far_transfer(v, selector, offset, osz, false);
}
