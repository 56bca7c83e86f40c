/* SPDX-License-Identifier: MIT
 *
 * State of a local APIC, shared by lapic.c (interrupt queue, pins, modes), lapic_regs.c (MMIO and
 * MSR access), lapic_timer.c and lapic_ipi.c.
 *
 * Threads: everything is behind `lock`, taken by every public function with lapic_enter(). It is
 * the innermost but for the clock's queue: what calls out of the local APIC (messages, EOI to the
 * I/O APIC, a new place in memory) is noted in `after` and done by lapic_leave(), with the lock
 * released. Words that senders look at while they choose a receiver (base_msr, svr, isr, tpr, ldr,
 * dfr) are atomic, so that choosing locks nothing.
 */
#pragma once

#include <pthread.h>

#include "devices/apic/lapic.h"

/* Register numbers: xAPIC offset >> 4, x2APIC MSR - 800h (SDM 3A table 10-1 and 10-6). */
enum lapic_reg {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_RRD = 0x0c,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR2 = 0x31,
    REG_LVT = 0x32, /* six of them, in the order of enum lapic_lvt */
    REG_INITIAL_COUNT = 0x38,
    REG_CURRENT_COUNT = 0x39,
    REG_DIVIDE = 0x3e,
    REG_SELF_IPI = 0x3f,
};

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

enum {
    LVT_DELIVERY_STATUS = 1u << 12,
    LVT_REMOTE_IRR = 1u << 14,
    LVT_LEVEL = 1u << 15,
    LVT_MASKED = 1u << 16,
};

enum { SVR_ENABLE = 1u << 8, SVR_SUPPRESS_EOI = 1u << 12 };

/* SDM 3A 10.5.3. */
enum {
    ESR_SEND_ILLEGAL_VECTOR = 1u << 5,
    ESR_RECEIVED_ILLEGAL_VECTOR = 1u << 6,
    ESR_ILLEGAL_REGISTER = 1u << 7,
};

enum lapic_timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE, TIMER_RESERVED };

/* What is due outside of the lock. */
struct lapic_after {
    bool eoi;        /* of a level interrupt: eoi_vector */
    bool assist_eoi; /* of any: the same */
    u8 eoi_vector;
    bool send;
    struct apic_message message;
    bool map;
    bool targets_changed;
};

struct lapic {
    pthread_mutex_t lock;
    struct lapic_after after;
    struct lapic_config config;
    struct clock *clock;
    struct log *log;
    struct timer timer;

    u64 base_msr;
    u32 irr[8]; /* bit v % 32 of word v / 32 */
    u32 isr[8];
    u32 tmr[8];
    u32 tpr;
    u32 ldr; /* xAPIC only; x2APIC derives it from the ID */
    u32 dfr;
    u32 svr;
    u32 esr;
    u32 esr_pending; /* detected since the last write to ESR */
    bool error_armed;
    u64 icr;
    u32 lvt[LVT_COUNT];
    u8 lint_level;              /* bit per pin */
    bool extint_latched;        /* an ExtINT message waits for its INTA */
    bool intr_level;            /* what the sink was told last */
    bool offered;               /* the guest may skip the EOI of what is highest in service */
    struct lapic_assist assist; /* auto_eoi NULL: none */

    /* The counter: count_start counts at start_ns, going down. */
    u32 divide;
    u32 initial_count;
    u32 count_start;
    u64 start_ns;
    u64 due; /* when the timer fires, ns, or CLOCK_NEVER; `timer` only wakes somebody up then */
    bool counting;
    u64 tsc_deadline; /* 0: not armed */
};

static inline bool lapic_x2apic(const struct lapic *l)
{
    return __atomic_load_n(&l->base_msr, __ATOMIC_RELAXED) & LAPIC_BASE_EXTD;
}
static inline bool lapic_software_enabled(const struct lapic *l)
{
    return lapic_enabled(l) && (__atomic_load_n(&l->svr, __ATOMIC_RELAXED) & SVR_ENABLE);
}

/* lapic.c */
void lapic_enter(const struct lapic *l);
/* For who has only read. */
void lapic_leave_unchanged(const struct lapic *l);
void lapic_leave(struct lapic *l);
void lapic_update_intr(struct lapic *l);
/* Records errors (ESR bits) and raises the error interrupt once until ESR is written. */
void lapic_error(struct lapic *l, u32 errors);
/* An LVT entry's source fired: delivers as its entry says, nothing if masked. */
void lapic_fire_lvt(struct lapic *l, enum lapic_lvt entry);
void lapic_write_lvt(struct lapic *l, enum lapic_lvt entry, u32 value);
void lapic_write_svr(struct lapic *l, u32 value);
void lapic_eoi(struct lapic *l);
/* The EOI register is written; what was skipped has been settled. */
void lapic_write_eoi(struct lapic *l);
void lapic_write_tpr(struct lapic *l, u32 value);
void lapic_write_icr(struct lapic *l, u64 value);
u32 lapic_ppr(const struct lapic *l);
/* The APR register (SDM 3A 10.6.2.4). */
u32 lapic_apr(const struct lapic *l);
u32 lapic_read_ldr(const struct lapic *l);
/* The bits of an LVT entry that software may write. */
u32 lapic_lvt_mask(const struct lapic *l, enum lapic_lvt entry);

/* lapic_timer.c */
void lapic_timer_init(struct lapic *l);
void lapic_timer_reset(struct lapic *l);
u32 lapic_timer_current(const struct lapic *l);
void lapic_timer_write_initial(struct lapic *l, u32 count);
void lapic_timer_write_divide(struct lapic *l, u32 value);
/* Stores the timer's LVT entry (reserved bits already cleared) and acts on a change of mode. */
void lapic_timer_write_lvt(struct lapic *l, u32 value);

/* lapic_ipi.c */
void lapic_send_icr(struct lapic *l);
void lapic_send_self(struct lapic *l, u8 vector);
