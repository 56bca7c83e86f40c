/* SPDX-License-Identifier: MIT
 *
 * The local APIC of one vCPU: xAPIC registers in memory, x2APIC registers as MSRs, its timer, its
 * two local pins and the queue of interrupts for the processor (SDM 3A chapter 10).
 *
 * Version 14h: six LVT entries, EOI-broadcast suppression. The CPU side (acknowledge, TPR, MSRs,
 * MMIO) belongs to the vCPU's thread; lapic_accept() may be called by any sender.
 */
#pragma once

#include "devices/apic/apic_bus.h"
#include "devices/device.h"

enum {
    LAPIC_LINT0 = 0, /* the 8259's INTR output */
    LAPIC_LINT1 = 1, /* the NMI wire */
};

#define LAPIC_DEFAULT_BASE 0xfee00000ull
#define LAPIC_BASE_BSP     BIT(8)
#define LAPIC_BASE_EXTD    BIT(10) /* x2APIC mode */
#define LAPIC_BASE_EN      BIT(11)

/* Upcalls; every one must be set. They record what happened for the vCPU and return: none of them
 * may call back into the local APIC, but extint_acknowledge, which may drive LINT0. */
struct lapic_sink {
    void (*intr)(void *opaque, bool pending); /* lapic_has_interrupt() changed to pending */
    void (*nmi)(void *opaque);
    void (*smi)(void *opaque);
    void (*init)(void *opaque);                      /* the vCPU answers with lapic_init_reset() */
    void (*sipi)(void *opaque, u8 vector);           /* start at vector << 12 if waiting for it */
    u8 (*extint_acknowledge)(void *opaque);          /* INTA cycle to the 8259: its vector */
    void (*map)(void *opaque, bool mapped, u64 gpa); /* where the register page answers from now */
    u64 (*tsc_to_ns)(void *opaque, u64 tsc);         /* first clock ns at which the TSC is >= tsc;
                                                      * CLOCK_NEVER if it is too far away */
    void *opaque;
};

struct lapic_config {
    struct apic_bus *bus;
    struct lapic_sink sink;
    u32 apic_id;
    bool bsp;
    bool x2apic;         /* CPUID.1:ECX.x2APIC */
    bool tsc_deadline;   /* CPUID.1:ECX.TSC_Deadline */
    u64 bus_hz;          /* timer input before the divider; 10^9: one count a nanosecond */
    unsigned maxphyaddr; /* bits, for the reserved bits of IA32_APIC_BASE */
};

/* What a hypervisor interface adds (Hv#1, TLFS "Virtual interrupts"): a page in which the guest may
 * note that it skips an EOI, interrupts without EOI, and news about EOIs and requests. Called on
 * the vCPU's thread, but requested(), which any sender calls. */
struct lapic_assist {
    /* Whether this vector, being acknowledged, is to end at once. */
    bool (*auto_eoi)(void *opaque, u8 vector);
    /* Allows the guest to skip the EOI of the interrupt it is given now. false: no page for it. */
    bool (*offer)(void *opaque);
    bool (*skipped)(void *opaque);        /* whether it did; asked after offer() only */
    void (*withdraw)(void *opaque);       /* takes the permission back */
    void (*eoi)(void *opaque, u8 vector); /* an interrupt has ended */
    void (*requested)(void *opaque);      /* a vector was entered into IRR */
    void *opaque;
};

extern const struct device_type lapic_type; /* config: struct lapic_config */
/* The register page; self is the struct lapic. */
extern const struct io_ops lapic_mmio_ops;

/* The processor side. */

/* Whether lapic_acknowledge() would return an interrupt now (RFLAGS.IF is the caller's business).
 */
bool lapic_has_interrupt(const struct lapic *lapic);
/* Takes the interrupt: its vector, now in service; or the spurious vector when there is none. */
u8 lapic_acknowledge(struct lapic *lapic);
/* CR8: TPR bits 7:4. Writing clears bits 3:0 (SDM 3A 10.8.6.1). */
u8 lapic_get_tpr(const struct lapic *lapic);
void lapic_set_tpr(struct lapic *lapic, u8 cr8);
/* MSRs 800h-8FFh. false: #GP(0), nothing changed. */
MUST_USE bool lapic_msr_read(struct lapic *lapic, u32 msr, u64 *value);
MUST_USE bool lapic_msr_write(struct lapic *lapic, u32 msr, u64 value);
/* IA32_APIC_BASE (1Bh). false: #GP(0), nothing changed. */
u64 lapic_base_read(const struct lapic *lapic);
MUST_USE bool lapic_base_write(struct lapic *lapic, u64 value);
/* IA32_TSC_DEADLINE (6E0h); the CPU raises #GP where CPUID does not offer it. */
u64 lapic_tsc_deadline_read(const struct lapic *lapic);
void lapic_tsc_deadline_write(struct lapic *lapic, u64 tsc);
/* The relation between TSC and clock changed (WRMSR to IA32_TSC or IA32_TSC_ADJUST). */
void lapic_tsc_changed(struct lapic *lapic);
/* Connects a hypervisor interface; all callbacks must be set. Not while the vCPU runs. */
void lapic_set_assist(struct lapic *lapic, const struct lapic_assist *assist);
/* Performs the EOI that the guest has skipped; withdraws the permission to skip it if another
 * interrupt waits. lapic_acknowledge() and register accesses do it; the vCPU's thread only. */
void lapic_settle(struct lapic *lapic);
/* EOI, ICR (destination in 63:32 as the current mode has it) and TPR in either mode, as registers
 * of a hypervisor interface. */
void lapic_end_of_interrupt(struct lapic *lapic);
u64 lapic_icr_read(const struct lapic *lapic);
void lapic_icr_write(struct lapic *lapic, u64 value);
u8 lapic_tpr_read(const struct lapic *lapic);
void lapic_tpr_write(struct lapic *lapic, u8 value);
/* Whether any interrupt is requested, whatever its priority. */
bool lapic_requested(const struct lapic *lapic);
/* CPUID.1:EDX.APIC follows the global enable bit. */
bool lapic_enabled(const struct lapic *lapic);
/* The effect of INIT: registers to reset values; IA32_APIC_BASE and the ID stay (10.4.7.3). */
void lapic_init_reset(struct lapic *lapic);

/* The wires. An irq_line can call lapic_set_lint directly: opaque is the struct lapic, pin
 * LAPIC_LINT0 or LAPIC_LINT1, level true when active (the polarity bits change nothing). */
void lapic_set_lint(void *lapic, unsigned pin, bool level);

/* For the bus. */

/* Whether a message that names a destination is meant for this APIC. */
bool lapic_matches(const struct lapic *lapic, const struct apic_message *message);
/* Takes a message. false: refused (the APIC is disabled, or the mode means nothing to it). */
bool lapic_accept(struct lapic *lapic, const struct apic_message *message);
/* Whether it takes part in lowest-priority arbitration, and the priority (PPR) that decides it. */
bool lapic_arbitrates(const struct lapic *lapic);
u8 lapic_processor_priority(const struct lapic *lapic);
