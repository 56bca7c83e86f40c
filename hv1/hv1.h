/* SPDX-License-Identifier: MIT
 *
 * Hv#1, Microsoft's hypervisor interface, in software: what the machine above needs of it.
 *
 * One struct hv1 per machine, with one virtual processor (VP) for each vCPU. Rules, values and
 * their reasons: the project's hv1-checklist (its IDs are in test names); Microsoft's "Hypervisor
 * Top Level Functional Specification" (TLFS).
 *
 * Threads: MSRs, CPUID and hypercalls of a VP run on its vCPU's thread, timers on the machine's,
 * reset while no vCPU runs. What changes the memory map happens between platform->lock and unlock;
 * a lock per VP guards its message queues and timers. Lock order: platform, then VP.
 */
#pragma once

#include <stdio.h>

#include "cpu/cpuid.h"
#include "cpu/vcpu.h"
#include "devices/clock.h"
#include "devices/device.h"

struct hv1;

/* -- what is offered -- */

enum hv1_switch {
    HV1_RELAXED = 1u << 0,
    HV1_RUNTIME = 1u << 1,
    HV1_TIME = 1u << 2,
    HV1_SYNIC = 1u << 3,
    HV1_STIMER = 1u << 4,
    HV1_STIMER_DIRECT = 1u << 5,
    HV1_APIC = 1u << 6,
    HV1_RESET = 1u << 7,
    HV1_IDLE = 1u << 8,
    HV1_FREQUENCIES = 1u << 9,
    HV1_CRASH = 1u << 10,
    HV1_XMM_INPUT = 1u << 11,
    HV1_TLBFLUSH = 1u << 12,
    HV1_TLBFLUSH_RANGES = 1u << 13,
    HV1_IPI = 1u << 14,
    HV1_EX_MASKS = 1u << 15,
    HV1_SPINLOCKS = 1u << 16,
    HV1_LOCK = 1u << 17,
    HV1_NO_AUTOEOI = 1u << 18,
    HV1_VERSION = 1u << 19,
    HV1_INVTSC = 1u << 20,
};

enum hv1_level { HV1_OFF, HV1_MIN, HV1_FULL };

struct hv1_profile {
    enum hv1_level level;
    u32 switches; /* enum hv1_switch */
    u32 asked;    /* those that were added by name */
    bool ports;   /* message and event ports exist: hyperv-testdev */
    char vendor[13];
};

/* Reads an -hv argument, as in "full,-stimer,+invtsc,vendor=Example HV". One sentence in err for an
 * unknown profile or switch, or a set that contradicts itself. NULL or "": full. */
MUST_USE enum status hv1_profile_parse(struct hv1_profile *profile, const char *text,
                                       struct error *err);
/* What depends on the number of processors: one sentence if a switch that was asked for by name
 * cannot work with so many, else it is left out. */
MUST_USE enum status hv1_profile_fit(struct hv1_profile *profile, unsigned cpus, struct error *err);
/* The profiles and what each switch does, for -hv help. */
void hv1_help(FILE *out);

/* -- what it needs -- */

enum { HV1_VP_WORDS = 4 }; /* 256 VPs as a bit mask */

/* Translations that VPs must forget. */
struct hv1_flush {
    u64 vps[HV1_VP_WORDS]; /* bit n: the VP with index n */
    struct tlb_forget what;
};

/* Callbacks into the machine; those that name a vCPU may name any. All must be set but lock and
 * unlock. */
struct hv1_platform {
    void *opaque;
    void (*lock)(void *opaque); /* the machine lock; NULL: one thread runs everything */
    void (*unlock)(void *opaque);
    /* The TSC of a vCPU that never wrote it, and the first ns of the clock at which it is at least
     * tsc (CLOCK_NEVER: too far away). */
    u64 (*tsc)(void *opaque);
    u64 (*tsc_to_ns)(void *opaque, u64 tsc);
    u64 (*runtime_ns)(void *opaque, struct vcpu *v); /* how long the vCPU has run */
    /* The local APIC of v. */
    void (*interrupt)(void *opaque, struct vcpu *v, u8 vector); /* fixed, edge */
    void (*apic_settle)(void *opaque, struct vcpu *v);          /* lapic_settle() */
    void (*apic_eoi)(void *opaque, struct vcpu *v);
    u64 (*apic_icr_read)(void *opaque, struct vcpu *v);
    void (*apic_icr_write)(void *opaque, struct vcpu *v, u64 value);
    u8 (*apic_tpr_read)(void *opaque, struct vcpu *v);
    void (*apic_tpr_write)(void *opaque, struct vcpu *v, u8 value);
    /* Returns when no VP of the set can use the old translations any more. from: who asks. */
    void (*flush)(void *opaque, struct vcpu *from, const struct hv1_flush *flush);
    /* v sleeps at the next instruction boundary until an interrupt is requested of its APIC. */
    void (*idle)(void *opaque, struct vcpu *v);
    void (*yield)(void *opaque, struct vcpu *v); /* v spins: others should run */
    void (*reset)(void *opaque);                 /* of the whole machine, soon */
};

struct hv1_config {
    struct hv1_profile profile;
    struct hv1_platform platform;
    struct physmap *map;
    struct clock *clock;
    struct log *log;
    const struct cpu_model *model; /* vendor, frequencies, physical address bits */
    unsigned cpus;                 /* 1 to 255 */
    bool overcommitted;            /* vCPUs share host processors: spinning should be reported */
    u64 ram_offset;                /* in struct ram: hv1_ram_size() bytes for overlay pages */
};

/* Bytes of struct ram for overlay pages, beyond what the guest sees as its RAM. */
u64 hv1_ram_size(unsigned cpus);

/* -- life -- */

/* profile.level must not be HV1_OFF. */
MUST_USE enum status hv1_create(struct hv1 **hv1, const struct hv1_config *config,
                                struct error *err);
void hv1_destroy(struct hv1 *hv1);
/* Gives vCPU v (of index 0 to cpus - 1) its VP: registers MSRs. v must outlive hv1. */
MUST_USE enum status hv1_attach(struct hv1 *hv1, struct vcpu *v, struct error *err);
/* Machine reset: everything but the reference time, for all VPs. The vCPUs have been reset. */
void hv1_reset(struct hv1 *hv1);
/* INIT of one vCPU: its registers, pages, queues and timers. */
void hv1_vp_reset(struct hv1 *hv1, struct vcpu *v);

/* The state that a snapshot carries, beside the overlay pages in struct ram. */
extern const struct device_field hv1_fields[];    /* of struct hv1 */
extern const struct device_field hv1_vp_fields[]; /* of struct hv1_vp */

/* -- called by the processor -- */

/* CPUID 40000000H-400000FFH, a cpuid_range_fn; opaque is the struct hv1. */
bool hv1_cpuid(void *hv1, const struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_result *r);
/* Other leaves that depend on the interface: 80000007H with the switch invtsc. */
void hv1_cpuid_adjust(void *hv1, const struct vcpu *v, u32 leaf, struct cpuid_result *r);
/* VMCALL or VMMCALL at v->rip. false: fault recorded. */
bool hv1_hypercall(struct hv1 *hv1, struct vcpu *v);
/* A vCPU's TSC was written: the reference TSC page must follow. */
void hv1_tsc_changed(struct hv1 *hv1);

/* -- called by the thread of v, outside of the engine -- */

/* It is about to sleep, and will see to v's direct timers itself: they leave the clock's queue. The
 * ns of the clock at which the first one is due; CLOCK_NEVER: there is none. */
u64 hv1_sleeps(struct hv1 *hv1, struct vcpu *v);
/* It has woken up: those that are due expire, the others go back to the queue. */
void hv1_wakes(struct hv1 *hv1, struct vcpu *v);

/* -- called by the local APIC of v (struct lapic_assist) -- */
bool hv1_auto_eoi(struct hv1 *hv1, const struct vcpu *v, u8 vector);
bool hv1_eoi_offer(struct hv1 *hv1, struct vcpu *v);
bool hv1_eoi_skipped(struct hv1 *hv1, const struct vcpu *v);
void hv1_eoi_withdraw(struct hv1 *hv1, struct vcpu *v);
void hv1_eoi(struct hv1 *hv1, struct vcpu *v, u8 vector);

/* The partition's reference time, in 100 ns. */
u64 hv1_time(struct hv1 *hv1);

/* hyperv-testdev: a port of 4 bytes at 3000h by which test kernels make SINT routes and
 * connections. Its config is the struct hv1. */
extern const struct device_type hv1_testdev_type;
