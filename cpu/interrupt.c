/* SPDX-License-Identifier: MIT
 *
 * Delivery of interrupts and exceptions (SDM 3A chapter 6, SDM 2 "INT n"): the real-mode vector
 * table, V86 mode with VME redirection, interrupt, trap and task gates, long mode with IST.
 *
 * All checks come before the first store, except accessed bits of descriptors, which are set once
 * the stack frame is known to fit.
 */
#include "cpu/exception.h"
#include "cpu/frame.h"
#include "cpu/hooks.h"
#include "cpu/segment.h"

struct event {
    u8 vector;
    enum event_kind kind;
    bool has_error;
    u32 error;
    u32 ext;   /* EXT bit of error codes (SDM 3A 6.13) */
    u64 rip;   /* to be pushed */
    u64 flags; /* to be pushed */
};

struct idt_gate {
    u16 selector;
    u64 offset;
    unsigned type; /* enum sys_type */
    unsigned dpl;
    unsigned ist;
    unsigned size; /* of what is pushed: 2, 4, 8 */
    bool present;
};

static u32 idt_error(const struct event *e)
{
    return (u32)e->vector << 3 | 2 | e->ext;
}

/* What every handler starts with, in flags and debug state. */
static void event_commit(struct vcpu *v, const struct event *e, u64 cleared)
{
    v->rflags &= ~cleared;
    /* SDM 3B 17.2.4: the processor clears GD on entry to a debug exception handler. */
    if (e->vector == VEC_DB && e->kind != EVENT_SOFTWARE && e->kind != EVENT_HARDWARE)
        v->dr7 &= ~(u64)DR7_GD;
    v->shadow = 0;
    vcpu_update_mode(v);
    v->rip = v->next_rip;
}

/* -- real mode, and V86 interrupts redirected to the 8086 program -- */

/* Pushes FLAGS, CS, IP and goes to the far pointer ivt (SDM 3B 20.1.4). */
static bool enter_8086(struct vcpu *v, const struct event *e, u64 ivt, u64 cleared)
{
    struct frame f;

    frame_begin(&f, v, 0, e->ext);
    frame_push(&f, e->flags, 2);
    frame_push(&f, v->seg[SEG_CS].selector, 2);
    frame_push(&f, e->rip, 2);
    if (!frame_check(v, &f) || !frame_write(v, &f))
        return false;
    segment_load_real(v, SEG_CS, (u16)(ivt >> 16));
    v->next_rip = ivt & 0xffff;
    event_commit(v, e, cleared);
    return true;
}

static bool deliver_real(struct vcpu *v, const struct event *e)
{
    u64 ivt;

    if (e->vector * 4u + 3 > v->idtr.limit)
        return raise_gp(v, idt_error(e));
    if (!sys_read(v, (u32)(v->idtr.base + e->vector * 4u), 4, &ivt))
        return false;
    return enter_8086(v, e, ivt, F_IF | F_TF | F_AC | F_RF);
}

/* The software interrupt redirection bitmap: the 32 bytes below the I/O permission map (SDM 3B
 * 20.3.3). A bitmap outside the TSS is #GP(0). */
static bool vme_redirects(struct vcpu *v, u8 vector, bool *to_8086)
{
    u64 byte;
    u32 map, at;

    if (!tss_io_map(v, &map))
        return false;
    at = map - 32 + vector / 8;
    if (at > v->tr.limit)
        return raise_gp(v, 0);
    if (!tss_read(v, at, 1, &byte))
        return false;
    *to_8086 = !(byte >> (vector % 8) & 1);
    return true;
}

/* SDM 3B table 20-2, methods 5 and 6: below IOPL 3 the program sees VIF as IF, and IOPL 3. */
static bool deliver_vme(struct vcpu *v, struct event *e)
{
    bool virtual_if = vcpu_iopl(v) < 3;
    u64 ivt;

    if (!sys_read(v, e->vector * 4u, 4, &ivt))
        return false;
    if (virtual_if) {
        e->flags = (e->flags & ~(u64)F_IF) | F_IOPL;
        e->flags |= v->rflags & F_VIF ? F_IF : 0;
    }
    return enter_8086(v, e, ivt, F_TF | F_RF | (virtual_if ? F_VIF : F_IF));
}

/* -- gates -- */

static bool gate_read(struct vcpu *v, const struct event *e, struct idt_gate *g)
{
    unsigned size = v->long_mode ? 16 : 8;
    u32 offset = e->vector * size;
    u64 gla = v->idtr.base + offset, low, high = 0;

    if (offset + size - 1 > v->idtr.limit)
        return raise_gp(v, idt_error(e));
    if (!v->long_mode)
        gla = (u32)gla;
    if (!sys_read(v, gla, 8, &low) || (v->long_mode && !sys_read(v, gla + 8, 8, &high)))
        return false;
    *g = (struct idt_gate){.selector = (u16)(low >> 16),
                           .type = (low >> 40) & 0x1f,
                           .dpl = (low >> 45) & 3,
                           .present = (low >> 47) & 1};
    g->offset = low & 0xffff;
    g->size = g->type & 8 ? 4 : 2;
    if (g->size == 4)
        g->offset |= (low >> 32) & 0xffff0000;
    if (v->long_mode) {
        g->offset |= high << 32;
        g->ist = (low >> 32) & 7;
        g->size = 8;
    }
    return true;
}

/* SDM 2 "INT n", PROTECTED-MODE and IA-32e-MODE. */
static bool gate_type_valid(const struct vcpu *v, const struct idt_gate *g)
{
    if (g->type == SYS_INT_GATE || g->type == SYS_TRAP_GATE)
        return true;
    return !v->long_mode &&
           (g->type == SYS_TASK_GATE || g->type == SYS_INT_GATE16 || g->type == SYS_TRAP_GATE16);
}

static bool handler_check(struct vcpu *v, const struct event *e, const struct idt_gate *g,
                          struct descriptor *code)
{
    u32 attr, error = selector_error(g->selector, e->ext);

    if (!gate_code_fetch(v, g->selector, e->ext, code))
        return false;
    attr = descriptor_attr(code);
    /* V86 mode can be left for ring 0 only (SDM 3B 20.3.1.1). */
    if (vcpu_v86(v) && (attr_is_conforming(attr) || attr_dpl(attr) != 0))
        return raise_gp(v, error);
    return attr & ATTR_P || raise_np(v, error);
}

static void push_common(struct frame *f, const struct vcpu *v, const struct event *e, unsigned size)
{
    frame_push(f, e->flags, size);
    frame_push(f, v->seg[SEG_CS].selector, size);
    frame_push(f, e->rip, size);
    if (e->has_error)
        frame_push(f, e->error, size);
}

/* SDM 3A 6.14: SS:RSP is always pushed, on a stack aligned to 16 bytes. */
static bool build_long(struct vcpu *v, const struct event *e, const struct idt_gate *g,
                       unsigned cpl, struct ring_stack *stack, struct frame *f)
{
    bool change = cpl != v->cpl;

    frame_begin(f, v, 8, e->ext);
    if (v->stack_size != 8)
        f->rsp = (u32)f->rsp;
    if (change || g->ist) {
        if (!ring_stack_read(v, cpl, g->ist, e->ext, stack))
            return false;
        f->rsp = stack->rsp;
        f->inner = cpl != 3;
        if (!change)
            stack->ss = v->seg[SEG_SS];
    }
    f->rsp &= ~15ull;
    frame_push(f, v->seg[SEG_SS].selector, 8);
    frame_push(f, v->gpr[RSP], 8);
    push_common(f, v, e, 8);
    return true;
}

/* SDM 2 "INT n", INTER-PRIVILEGE-LEVEL-INTERRUPT and INTERRUPT-FROM-VIRTUAL-8086-MODE. */
static bool build_legacy(struct vcpu *v, const struct event *e, const struct idt_gate *g,
                         unsigned cpl, struct ring_stack *stack, struct frame *f)
{
    static const u8 v86_order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};

    if (cpl == v->cpl) {
        frame_begin(f, v, 0, e->ext);
        push_common(f, v, e, g->size);
        return true;
    }
    if (!ring_stack_read(v, cpl, 0, e->ext, stack))
        return false;
    frame_begin_inner(f, stack, selector_error(stack->ss.selector, e->ext));
    for (unsigned n = 0; vcpu_v86(v) && n < ARRAY_SIZE(v86_order); n++)
        frame_push(f, v->seg[v86_order[n]].selector, g->size);
    frame_push(f, v->seg[SEG_SS].selector, g->size);
    frame_push(f, v->gpr[RSP], g->size);
    push_common(f, v, e, g->size);
    return true;
}

static void leave_v86(struct vcpu *v)
{
    v->seg[SEG_ES] = v->seg[SEG_DS] = segment_null(0, 0);
    v->seg[SEG_FS] = v->seg[SEG_GS] = segment_null(0, 0);
}

static bool deliver_gate(struct vcpu *v, const struct event *e, const struct idt_gate *g)
{
    struct ring_stack stack = {.ss = v->seg[SEG_SS]};
    struct descriptor code;
    struct frame f;
    unsigned cpl;
    u32 attr;

    if (!handler_check(v, e, g, &code))
        return false;
    attr = descriptor_attr(&code);
    cpl = attr_is_conforming(attr) ? v->cpl : attr_dpl(attr);
    if (v->long_mode ? !build_long(v, e, g, cpl, &stack, &f)
                     : !build_legacy(v, e, g, cpl, &stack, &f))
        return false;
    if (!frame_check(v, &f) || !code_rip_check(v, attr, descriptor_limit(&code), g->offset, e->ext))
        return false;
    if (!descriptor_touch(v, &code) || (stack.has_descriptor && !descriptor_touch(v, &stack.d)))
        return false;
    if (!frame_write(v, &f))
        return false;
    if (stack.has_descriptor)
        stack.ss.attr |= ATTR_ACCESSED;
    if (vcpu_v86(v))
        leave_v86(v);
    v->seg[SEG_SS] = stack.ss;
    v->rflags &= ~(u64)F_VM;
    code_enter(v, g->selector, cpl, &code, g->offset);
    event_commit(v, e, F_TF | F_NT | F_RF | (g->type & 1 ? 0 : F_IF));
    return true;
}

/* IF stays what the new task has, and RF is in the image that the old one saves (SDM 3A 7.3, 3B
 * 17.3.1.1). */
static bool deliver_task(struct vcpu *v, const struct event *e, const struct idt_gate *g)
{
    const struct task_request r = {.selector = g->selector,
                                   .reason = TASK_GATE,
                                   .has_error = e->has_error,
                                   .error = e->error,
                                   .ext = e->ext,
                                   .rip = e->rip,
                                   .rflags = e->flags};

    if (!task_switch(v, &r))
        return false;
    event_commit(v, e, 0);
    return true;
}

/* The order of SDM 2 "INT n": type, DPL for software interrupts only, presence. */
static bool deliver_protected(struct vcpu *v, const struct event *e)
{
    struct idt_gate g = {.type = 0};

    if (!gate_read(v, e, &g))
        return false;
    if (!gate_type_valid(v, &g) || (e->kind == EVENT_SOFTWARE && g.dpl < v->cpl))
        return raise_gp(v, idt_error(e));
    if (!g.present)
        return raise_np(v, idt_error(e));
    return g.type == SYS_TASK_GATE ? deliver_task(v, e, &g) : deliver_gate(v, e, &g);
}

/* Software interrupts are shown to hooks before their gate is looked at; faults and hardware
 * interrupts have been shown by the run loop. */
static bool hook_allows(struct vcpu *v, u8 vector, enum event_kind kind, u64 return_rip)
{
    const struct vcpu_event_info event = {.vector = vector, .kind = kind, .return_rip = return_rip};

    if (likely(!v->hooks) || (kind != EVENT_SOFTWARE && kind != EVENT_ICEBP))
        return true;
    return hook_event(v, &event);
}

/* EXT is clear for INT n, INT3 and INTO alone (SDM 3A 6.13). */
bool interrupt_deliver(struct vcpu *v, u8 vector, enum event_kind kind, bool has_error, u32 error,
                       u64 return_rip)
{
    const struct event e = {.vector = vector,
                            .kind = kind,
                            .has_error = has_error,
                            .error = error,
                            .ext = kind != EVENT_SOFTWARE,
                            .rip = return_rip,
                            .flags = v->rflags | (kind == EVENT_EXCEPTION ? F_RF : 0)};

    if (!hook_allows(v, vector, kind, return_rip))
        return false;
    return vcpu_real_mode(v) ? deliver_real(v, &e) : deliver_protected(v, &e);
}

bool interrupt_software(struct vcpu *v, u8 vector)
{
    struct event e = {
        .vector = vector, .kind = EVENT_SOFTWARE, .rip = v->next_rip, .flags = v->rflags};
    bool to_8086 = false;

    if (vcpu_v86(v)) {
        if ((v->cr4 & CR4_VME) && !vme_redirects(v, vector, &to_8086))
            return false;
        if (to_8086)
            return hook_allows(v, vector, EVENT_SOFTWARE, e.rip) && deliver_vme(v, &e);
        if (vcpu_iopl(v) < 3)
            return raise_gp(v, 0);
    }
    return interrupt_deliver(v, vector, EVENT_SOFTWARE, false, 0, v->next_rip);
}
