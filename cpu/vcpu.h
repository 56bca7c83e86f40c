/* SPDX-License-Identifier: MIT
 *
 * The state of one emulated processor and the contract between it, its engines and the platform.
 *
 * struct vcpu is owned by the thread that runs it. Others may only call vcpu_signal() and
 * vcpu_clear_signal(), which touch `events` atomically. Everything architectural is a plain field:
 * RFLAGS, RIP and segments are always exact between instructions.
 *
 * A safe point is where a vCPU looks at its events between instructions, or is outside its engine:
 * nothing that was looked up before (a host address, a permission) is used after it.
 */
#pragma once

#include "cpu/regs.h"
#include "mem/base/log.h"
#include "mem/base/status.h"
#include "mem/bus.h"
#include "mem/physmap.h"
#include "mem/tlb.h"
#include "mem/tlb_request.h"

struct vcpu;
struct insn;
struct cpu_model;    /* cpu/cpuid.h: what this processor offers */
struct decode_cache; /* cpu/decode_cache.h */
struct vcpu_hooks;   /* cpu/hooks.h */
struct native;       /* cpu/native.h: thunks that run SIMD and x87 on the host */
struct msr_table;    /* cpu/msr.h */
struct jit;          /* jit/jit.h: the translator, if this vCPU has one */

/* A segment register with its hidden part. base is 64 bits wide for FS/GS. limit is in bytes,
 * scaled by G already. */
struct segment {
    u64 base;
    u32 limit;
    u32 attr; /* enum seg_attr */
    u16 selector;
};

struct table_reg {
    u64 base;
    u16 limit;
};

/* x87, SSE, AVX and AVX-512 state. Vector registers are flat 64-byte rows: xmm, ymm and zmm are
 * the low parts of the same row. */
struct fpu {
    u8 zmm[32][64] ALIGNED(64);
    /* The x87 half of an FXSAVE64 image (SDM 1 10.5.1): FCW, FSW, abridged FTW, FOP, FIP, FDP, then
     * MXCSR and MXCSR_MASK, then ST0-ST7 in 16-byte slots; the rest is scratch. */
    u8 fx[512] ALIGNED(64);
    u8 fx_header[64]; /* behind it, as translated code loads the image with XRSTOR */
    u64 k[8];
    u32 mxcsr;
    u16 fcs, fds; /* selectors for the 32-bit formats */
};

/* A recorded exception, between `return false` of a body and its delivery. */
struct fault {
    u8 vector;
    bool has_error;
    bool pending;
    u32 error;
    u64 cr2; /* for #PF; written to CR2 at delivery */
    u64 dr6; /* for #DB: bits to merge into DR6 at delivery */
};

/* What can interrupt the instruction stream, in `events`. */
enum vcpu_event {
    EVENT_INTR = 1u << 0, /* the platform has an interrupt for this vCPU (level: cleared by it) */
    EVENT_NMI = 1u << 1,
    EVENT_SMI = 1u << 2,
    EVENT_INIT = 1u << 3,
    EVENT_SIPI = 1u << 4, /* sipi_vector holds the vector */
    EVENT_STOP = 1u << 5, /* return to the machine loop at the next instruction boundary; cleared
                             by the engine as it returns EXIT_STOP */
    EVENT_TLB = 1u << 6,  /* flush the whole TLB at the next instruction boundary */
    EVENT_TRAP = 1u << 7, /* own: pending_db or a shadow must be looked at after this instruction */
    EVENT_SYNC = 1u << 8, /* somebody waits for a safe point, or code has changed: syncing() and
                             synced() are due */
    EVENT_FORGET = 1u << 9, /* `requests` name translations to forget */
    EVENTS_AT_ONCE =
        EVENT_STOP | EVENT_TLB | EVENT_SYNC | EVENT_FORGET, /* never stay pending at a safe point */
};

enum vcpu_activity {
    ACTIVITY_RUN,
    ACTIVITY_HLT,
    ACTIVITY_MWAIT,
    ACTIVITY_WAIT_SIPI,
    ACTIVITY_SHUTDOWN
};

/* Why engine_run() returned. */
enum vcpu_exit {
    EXIT_BUDGET,   /* the budget of instructions is used up */
    EXIT_STOP,     /* EVENT_STOP was set */
    EXIT_STALLED,  /* much happened and little or nothing retired (cpu/engine.h) */
    EXIT_IDLE,     /* activity is HLT, MWAIT or WAIT_SIPI and nothing wakes it */
    EXIT_SHUTDOWN, /* triple fault */
    EXIT_HOOK,     /* a hook asked for it (cpu/hooks.h) */
    EXIT_MISMATCH, /* -engine check: the engines differ */
};

/* What a vCPU needs from above; handed in at construction, all but wake() called on the vCPU's
 * thread. Those that only several threads need may be NULL. */
struct vcpu_platform {
    void *opaque;
    struct pio_bus *pio;
    /* Takes the pending interrupt: its vector, or -1 if it went away. */
    int (*intr_acknowledge)(void *opaque, struct vcpu *v);
    /* CR8 (the LAPIC's TPR >> 4). */
    u64 (*cr8_read)(void *opaque, struct vcpu *v);
    void (*cr8_write)(void *opaque, struct vcpu *v, u64 value);
    /* The guest's time-stamp counter before IA32_TSC_ADJUST and offsets. */
    u64 (*tsc)(void *opaque, struct vcpu *v);
    /* IA32_TSC_DEADLINE must follow a TSC that was written. */
    void (*tsc_changed)(void *opaque, struct vcpu *v);
    /* FERR#: x87 error with CR0.NE = 0 (IRQ 13); level. */
    void (*ferr)(void *opaque, struct vcpu *v, bool level);
    /* After INIT or power-on reset of this vCPU, so that its LAPIC follows. */
    void (*reset)(void *opaque, struct vcpu *v, bool init);
    /* VMCALL and VMMCALL; false after recording a fault. NULL: #UD. */
    bool (*hypercall)(void *opaque, struct vcpu *v);
    /* Seconds-free randomness for RDRAND/RDSEED; false: none available now (CF = 0). */
    bool (*random)(void *opaque, struct vcpu *v, u64 *value);
    /* A vCPU that sleeps outside its engine (v->asleep) got an event; any thread,
     * async-signal-safe. */
    void (*wake)(void *opaque, struct vcpu *v);
    /* EVENT_SYNC was seen at a safe point: before the events that came with it are looked at, and
     * when they have been obeyed. */
    void (*syncing)(void *opaque, struct vcpu *v);
    void (*synced)(void *opaque, struct vcpu *v);
    /* Until resume_others() no other vCPU is inside an instruction that could touch memory: for
     * accesses that are atomic in the guest and that no host instruction can do. They nest. */
    void (*stop_others)(void *opaque, struct vcpu *v);
    void (*resume_others)(void *opaque, struct vcpu *v);
    /* The guest spins: whoever holds what it waits for may run. */
    void (*yield)(void *opaque, struct vcpu *v);
    /* MWAIT is ACTIVITY_MWAIT; who runs the vCPU ends it soon after vcpu_monitor_hit(). Else it
     * ends at once. */
    bool mwait_sleeps;
    u64 tsc_hz;
    u64 apic_bus_hz;
    /* tsc() is the host's counter minus tsc_host_start, so that translated code can read it. */
    bool tsc_is_host;
    u64 tsc_host_start;
};

enum { JIT_SLOTS = 12, PAUSES_PER_YIELD = 256 };

struct vcpu {
    /* -- what executing an ordinary instruction touches -- */
    u64 gpr[16];
    u64 rip;      /* of the instruction being executed */
    u64 next_rip; /* where it continues; bodies of branches change it */
    u64 rflags;
    struct tlb_table *tlb_now; /* first-level table of the current context */
    u32 events;                /* enum vcpu_event, atomic */
    u8 cpl;
    u8 code_size;     /* 2, 4 or 8: default size of CS */
    u8 stack_size;    /* 2, 4 or 8: width of the stack pointer */
    u8 shadow;        /* 1: interrupts are held off for the next instruction (STI, MOV SS, POP SS);
                         2: also debug traps and NMI (MOV SS, POP SS) */
    bool long_mode;   /* EFER.LMA */
    bool align_check; /* CPL 3, CR0.AM, EFLAGS.AC */
    bool careful;     /* TF, RF or breakpoints: one instruction at a time with debug checks */
    bool repeat; /* set by the body of a REP instruction that is not finished: it runs again, counts
                    as not retired, and next_rip is ignored. With `careful` set a body does one
                    iteration at a time. Cleared by the run loop */
    bool hooked; /* there is an instruction hook: one instruction at a time */
    bool hook_stop; /* a hook said stop: the engine is on its way out with EXIT_HOOK */
    struct segment seg[SEG_COUNT];
    u64 icount; /* instructions retired */
    struct fault fault;
    u32 asleep; /* atomic: nobody runs it, and an event must wake its thread (platform->wake) */
    i32 pauses_left; /* PAUSE instructions until the next yield(); translated code counts, too */
    u32 stalls;      /* in this slice: faults and pieces of REP instructions (engine.h) */

    /* -- the rest of the architecture -- */
    struct segment ldtr, tr;
    struct table_reg gdtr, idtr;
    u64 cr0, cr2, cr3, cr4, xcr0, efer;
    u64 pdpte[4];
    u64 dr[4], dr6, dr7;
    u32 pkru;
    u64 star, lstar, cstar, fmask, kernel_gs_base;
    u64 sysenter_cs, sysenter_esp, sysenter_eip;
    u64 tsc_aux, tsc_adjust, tsc_offset, xss, pat, misc_enable;
    u64 pending_db;   /* DR6 bits of debug traps collected during this instruction */
    bool nmi_blocked; /* until IRET */
    u8 sipi_vector;
    enum vcpu_activity activity;
    const u64 *monitor_line; /* MONITOR: host address of the line; NULL: it is no memory */
    bool monitor_armed;
    struct fpu fpu;

    /* -- for translated code (jit/), which finds all of this at fixed distances -- */
    struct {
        struct vcpu *self;
        u64 entry;                  /* a scratch word that survives a TLB refill */
        u64 target;                 /* where translated code is entered; a scratch word inside it */
        struct tlb_site *site_over; /* whose misses have to be judged, or NULL */
        void *left;                 /* the block that a shared check made leave, or NULL */
        void *link;                 /* why it was left: the jump that wants its block, or NULL */
        u64 budget;                 /* counted: instructions that may still retire */
        u64 end;                    /* counted: icount where the budget is used up */
        u64 slot[JIT_SLOTS];        /* host address - guest address of pages that were checked */
        void *cache;                /* targets of indirect jumps */
        u32 seen;                   /* the events that need no attention now */
        u32 mode;                   /* of the block that was entered */
        u32 attention; /* set by vcpu_signal(): translated code leaves at its next look */
        /* Translated code runs on a stack of its own, which holds return addresses: where that is
         * now, its outermost entry, how deep its low 16 bits may get before a call leaves (all
         * ones: attention is set), and where the host's own stack is. */
        u16 return_limit;
        u64 return_sp, return_top, host_sp;
        u32 host_mxcsr;
        bool vectors; /* the guest's vectors, opmasks and MXCSR are in the host's registers */
        u32 flags;    /* lower half: AH after LAHF, AL after SETO; or with bit 1 how to make them */
        /* x87: where it is (enum jit_x87), as the host saved it, and what its pointers follow
         * from: places of the last x87 instruction and of the last with an operand in memory in the
         * translator's arena, 0: as in fpu.fx; the offset of that operand. */
        u8 x87;
        u32 x87_insn, x87_data;
        u64 x87_fdp;
        /* Segments outside 64-bit mode: where loads and stores must end; where expand-down ones
         * begin. */
        u64 bound[SEG_COUNT][2], low[SEG_COUNT];
        u8 x87_image[576] ALIGNED(64);
        /* Where translated code met no page in the window; all ones: nowhere canonical. */
        u64 window_address;
        struct jit *owner;
    } jit;

    /* -- wiring -- */
    unsigned index; /* 0 = boot processor */
    u32 apic_id;
    bool bsp;
    const struct cpu_model *model;
    struct msr_table *msr;
    struct physmap *map;
    struct ram *ram;
    struct tlb tlb;
    struct tlb_requests requests; /* EVENT_FORGET */
    struct decode_cache *decode;
    struct native *native;
    const struct vcpu_platform *platform;
    const struct vcpu_hooks *hooks; /* NULL: none */
    struct log *log;
    u64 monitor_seen[CACHE_LINE / 8]; /* what MONITOR found in the line */
};

/* Allocates a processor in power-on reset state. platform, map, log and model must outlive it. Most
 * of it stays untouched (tlb); behind it, at WINDOW_GUARD_AT, is address space for the guard of the
 * window (mem/window.h). */
MUST_USE enum status vcpu_create(struct vcpu **v, unsigned index, u32 apic_id, struct physmap *map,
                                 const struct cpu_model *model,
                                 const struct vcpu_platform *platform, struct log *log,
                                 struct error *err);
void vcpu_destroy(struct vcpu *v);
/* Power-on reset, or INIT (SDM 3A table 9-1: INIT keeps FPU, SSE, MSRs, caches). */
void vcpu_reset(struct vcpu *v, bool init);

/* Re-derives cpl-dependent fields (code_size, stack_size, long_mode, align_check, careful, tlb_now)
 * after a change of CS, SS, CR0, CR4, EFER, RFLAGS, CPL or DR7. */
void vcpu_update_mode(struct vcpu *v);
/* The registers a page walk needs; user: as a user-mode access; implicit: supervisor access that
 * the processor makes on its own (descriptor tables, TSS, ...). */
struct paging_ctx vcpu_paging_ctx(const struct vcpu *v, bool user, bool implicit);

/* Raises or clears events from any thread. */
void vcpu_signal(struct vcpu *v, u32 events);
void vcpu_clear_signal(struct vcpu *v, u32 events);
/* At a safe point, by the vCPU's own thread: does what other threads asked for (EVENT_SYNC,
 * EVENT_TLB, EVENT_FORGET). Returns the events that were seen. */
u32 vcpu_obey_others(struct vcpu *v);
/* Whether the line that MONITOR saw holds something else now. Called by its own thread. */
bool vcpu_monitor_hit(const struct vcpu *v);
/* By the vCPU's own thread; others may look. */
static inline void vcpu_set_activity(struct vcpu *v, enum vcpu_activity activity)
{
    __atomic_store_n(&v->activity, activity, __ATOMIC_SEQ_CST);
}
/* Makes translated code look at events soon, from any thread. */
static inline void vcpu_nudge(struct vcpu *v)
{
    __atomic_store_n(&v->jit.attention, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&v->jit.return_limit, (u16)~0u, __ATOMIC_RELEASE);
}

/* All registers as text, for crash reports. At most size bytes with the final NUL. */
void vcpu_dump(const struct vcpu *v, char *text, size_t size);

static inline bool vcpu_real_mode(const struct vcpu *v)
{
    return !(v->cr0 & CR0_PE);
}
static inline bool vcpu_v86(const struct vcpu *v)
{
    return (v->rflags & F_VM) != 0;
}
static inline bool vcpu_protected(const struct vcpu *v)
{
    return (v->cr0 & CR0_PE) && !vcpu_v86(v);
}
static inline bool vcpu_64bit(const struct vcpu *v)
{
    return v->code_size == 8;
}
static inline unsigned vcpu_iopl(const struct vcpu *v)
{
    return (v->rflags & F_IOPL) >> F_IOPL_SHIFT;
}
static inline u16 vcpu_pcid(const struct vcpu *v)
{
    return v->cr4 & CR4_PCIDE ? v->cr3 & 0xfff : 0;
}
