/* SPDX-License-Identifier: MIT */
#include "cpu/hooks.h"

void vcpu_set_hooks(struct vcpu *v, const struct vcpu_hooks *hooks)
{
    bool memory = hooks && hooks->memory;

    v->hooks = hooks;
    v->hooked = hooks && hooks->insn;
    if (memory != v->tlb.watch_all) {
        v->tlb.watch_all = memory;
        tlb_permissions_changed(&v->tlb);
    }
    vcpu_signal(v, EVENT_TRAP); /* a run of decoded instructions in progress ends */
}

void hook_memory(struct vcpu *v, enum access_kind kind, u64 gla, u64 gpa, const void *bytes,
                 unsigned size)
{
    const struct vcpu_access access = {
        .kind = kind, .gla = gla, .gpa = gpa, .size = size, .bytes = bytes};

    v->hooks->memory(v->hooks->opaque, v, &access);
}

void hook_port(struct vcpu *v, u16 port, unsigned size, bool write, u64 value)
{
    if (v->hooks->port)
        v->hooks->port(v->hooks->opaque, v, port, size, write, value);
}

bool hook_insn(struct vcpu *v, const struct insn *i)
{
    v->hook_stop = v->hooks->insn && !v->hooks->insn(v->hooks->opaque, v, i);
    return !v->hook_stop;
}

bool hook_event(struct vcpu *v, const struct vcpu_event_info *event)
{
    v->hook_stop = v->hooks->event && !v->hooks->event(v->hooks->opaque, v, event);
    return !v->hook_stop;
}
