/* SPDX-License-Identifier: MIT
 *
 * What an observer outside sees of a processor while it runs: instructions, memory, ports,
 * exceptions, CPUID. Hooks never change what the guest computes, but for a replaced CPUID result
 * and for stopping.
 *
 * The interpreter pays for hooks only where it is off its fast path already: an instruction hook
 * makes it take its careful path, a memory hook keeps every page out of the first-level TLB, so
 * that all accesses go through cpu/access.c and cpu/rmw.c. Called on the vCPU's thread.
 */
#pragma once

#include "cpu/exception.h"
#include "cpu/vcpu.h"
#include "mem/walk.h"

struct cpuid_result;

/* One access of an instruction, or of the processor to its tables (not the page walk's). */
struct vcpu_access {
    enum access_kind kind;
    u64 gla;
    u64 gpa; /* of the first byte */
    unsigned size;
    const u8 *bytes; /* what was read, or has been written */
};

/* An exception or interrupt that is about to be delivered. */
struct vcpu_event_info {
    u8 vector;
    enum event_kind kind;
    bool has_error;
    u32 error;
    u64 cr2;        /* #PF: the address */
    u64 dr6;        /* #DB: bits that delivery merges into DR6 */
    u64 return_rip; /* what delivery pushes */
};

/* Any function may be NULL. */
struct vcpu_hooks {
    void *opaque;
    /* Before each instruction; once for a REP instruction. False: stop before it (EXIT_HOOK). */
    bool (*insn)(void *opaque, struct vcpu *v, const struct insn *i);
    /* After each access. */
    void (*memory)(void *opaque, struct vcpu *v, const struct vcpu_access *access);
    void (*port)(void *opaque, struct vcpu *v, u16 port, unsigned size, bool write, u64 value);
    /* False: it is not delivered, the engine returns EXIT_HOOK. An instruction that raised it is
     * executed again when the vCPU runs on; a trap or hardware interrupt is forgotten. */
    bool (*event)(void *opaque, struct vcpu *v, const struct vcpu_event_info *event);
    void (*cpuid)(void *opaque, struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_result *r);
};

/* Installs hooks (kept, not copied) in place of others, or none (NULL). On the vCPU's thread; takes
 * effect at the next instruction. To be called again after a member has changed. */
void vcpu_set_hooks(struct vcpu *v, const struct vcpu_hooks *hooks);

/* For the code that meets hooks; v->hooks is not NULL. With v->tlb.watch_all there is a memory
 * hook. */
void hook_memory(struct vcpu *v, enum access_kind kind, u64 gla, u64 gpa, const void *bytes,
                 unsigned size);
void hook_port(struct vcpu *v, u16 port, unsigned size, bool write, u64 value);
/* Before each instruction that is not a continued REP. False: v->hook_stop is set, leave. */
bool hook_insn(struct vcpu *v, const struct insn *i);
/* Before a delivery. False: v->hook_stop is set, nothing may be delivered. */
bool hook_event(struct vcpu *v, const struct vcpu_event_info *event);
