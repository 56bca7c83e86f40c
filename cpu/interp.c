/* SPDX-License-Identifier: MIT
 *
 * The interpreter's run loop, the reference engine.
 *
 * Ordinary code runs in decoded runs with three compares between instructions: events, decoded code
 * that went stale, end of the run. Whatever needs a look at every boundary (TF, RF, breakpoints, an
 * interrupt shadow, traces) goes through step(). Exceptions are delivered between instructions and
 * nowhere else.
 */
#include "cpu/control.h"
#include "cpu/decode_cache.h"
#include "cpu/engine.h"
#include "cpu/exception.h"
#include "cpu/hooks.h"
#include "cpu/insn.h"

static ALWAYS_INLINE u64 rip_mask(const struct vcpu *v)
{
    return v->code_size == 8 ? ~0ull : v->code_size == 4 ? 0xffffffffull : 0xffffull;
}

/* Runs decoded instructions until something needs attention. false: leave. */
static ALWAYS_INLINE bool execute_run(struct vcpu *v, const struct decode_run *run, u64 end)
{
    const u64 *epoch_at = &v->ram->code_epoch;
    const u64 epoch = __atomic_load_n(epoch_at, __ATOMIC_RELAXED);
    const u32 events = __atomic_load_n(&v->events, __ATOMIC_RELAXED);
    const u64 mask = rip_mask(v), budget = end - v->icount;
    const struct insn *i = run->insns;
    const struct insn *last = i + (run->count < budget ? run->count : budget) - 1;

    for (;; i++) {
        v->next_rip = (v->rip + i->len) & mask;
        if (unlikely(!i->body(v, i)))
            return vcpu_deliver_fault(v);
        if (unlikely(v->repeat)) {
            vcpu_stall(v, STALL_REP);
            return true;
        }
        v->rip = v->next_rip;
        v->icount++;
        if (i == last || unlikely(__atomic_load_n(&v->events, __ATOMIC_RELAXED) != events ||
                                  __atomic_load_n(epoch_at, __ATOMIC_RELAXED) != epoch))
            return true;
    }
}

static void trace(struct vcpu *v, const struct insn *i)
{
    char text[4096];

    if (log_on(v->log, LOG_CPU)) {
        vcpu_dump(v, text, sizeof(text));
        log_trace(v->log, LOG_CPU, "%s", text);
    }
    if (log_on(v->log, LOG_EXEC)) {
        insn_describe(i, text, sizeof(text));
        log_trace(v->log, LOG_EXEC, "%04x:%016lx %s", v->seg[SEG_CS].selector, v->rip, text);
    }
}

/* Whether the single-step trap follows an instruction that began with TF set. Those that enter a
 * handler have cleared TF, or not (SDM 3B 17.3.1.4; SYSCALL and SYSRET: APM 2 13.1.4). */
static bool single_steps(const struct vcpu *v, const struct insn *i)
{
    switch (i->id) {
    case INSN_INT3:
    case INSN_INT1:
    case INSN_INT_Ib:
    case INSN_INTO:
    case INSN_SYSCALL:
    case INSN_SYSRET: return v->rflags & F_TF;
    default: return v->shadow != 2;
    }
}

static u64 exec_address(const struct vcpu *v)
{
    return vcpu_64bit(v) ? v->rip : (u32)(v->seg[SEG_CS].base + v->rip);
}

/* Instruction breakpoints come before the fetch (SDM 3A table 6-2), not behind MOV SS, not with RF.
 */
static u64 breakpoints_here(const struct vcpu *v)
{
    if (!(v->dr7 & DR7_ENABLED) || (v->rflags & F_RF) || v->shadow == 2)
        return 0;
    return debug_match_exec(v, exec_address(v));
}

/* An instruction whose fault a hook stopped is as if it had not been tried. */
static bool fault_in_step(struct vcpu *v, u8 shadow, u64 rf)
{
    if (vcpu_deliver_fault(v))
        return true;
    if (v->hook_stop) {
        v->shadow = shadow;
        v->rflags |= rf;
        vcpu_update_mode(v);
    }
    return false;
}

/* Executes one instruction with every check; again: it is a REP instruction that goes on. false:
 * leave. */
static NOINLINE bool step(struct vcpu *v, bool again)
{
    const u64 hits = breakpoints_here(v), tf = v->rflags & F_TF, rf = v->rflags & F_RF;
    const u8 shadow = v->shadow;
    const struct decode_run *run;
    const struct insn *i;

    if (hits) {
        raise_db(v, hits);
        return vcpu_deliver_fault(v);
    }
    run = decode_cache_lookup(v, v->rip);
    if (!run)
        return vcpu_deliver_fault(v);
    i = run->insns;
    if (v->hooked && !again && !hook_insn(v, i))
        return false;
    trace(v, i);
    if (rf) {
        /* It covers this instruction only; IRET and task switches may set it anew. */
        v->rflags &= ~(u64)F_RF;
        vcpu_update_mode(v);
    }
    v->shadow = 0;
    v->next_rip = (v->rip + i->len) & rip_mask(v);
    if (!i->body(v, i))
        return fault_in_step(v, shadow, rf);
    if (v->repeat) {
        vcpu_stall(v, STALL_REP);
    } else {
        v->rip = v->next_rip;
        v->icount++;
    }
    if (tf && single_steps(v, i)) {
        v->pending_db |= DR6_BS;
        vcpu_signal(v, EVENT_TRAP);
    }
    return true;
}

static ALWAYS_INLINE bool needs_attention(const struct vcpu *v)
{
    return __atomic_load_n(&v->events, __ATOMIC_RELAXED) | v->activity;
}

static ALWAYS_INLINE bool needs_steps(const struct vcpu *v)
{
    return v->careful | v->shadow | v->hooked || log_on(v->log, LOG_CPU | LOG_EXEC);
}

enum vcpu_exit interp_run(struct vcpu *v, u64 budget)
{
    const u64 end = v->icount + budget;
    const struct decode_run *run;
    enum vcpu_exit exit;
    bool alive, again;

    for (;;) {
        if (unlikely(needs_attention(v)) && !vcpu_take_events(v, &exit))
            return exit == EXIT_STOP && vcpu_stalled(v) ? EXIT_STALLED : exit;
        tlb_settle(&v->tlb);
        again = v->repeat;
        v->repeat = false;
        if (unlikely(v->icount == end))
            return EXIT_BUDGET;
        if (unlikely(needs_steps(v))) {
            alive = step(v, again);
        } else {
            run = decode_cache_lookup(v, v->rip);
            alive = likely(run) ? execute_run(v, run, end) : vcpu_deliver_fault(v);
        }
        if (unlikely(!alive))
            return vcpu_leave(v);
    }
}
