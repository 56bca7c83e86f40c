/* SPDX-License-Identifier: MIT
 *
 * Local APIC registers as the guest reaches them: the xAPIC page (SDM 3A 10.4.1) and the x2APIC
 * MSRs (10.12.1), over one common register file.
 *
 * The two differ in what is wrong: xAPIC ignores reserved bits and read-only registers and reports
 * reserved registers in ESR; x2APIC answers all of those with #GP and changes nothing.
 */
#include "devices/apic/lapic_internal.h"

/* Version 14h, six LVT entries, EOI-broadcast suppression (SDM 3A 10.4.8). */
#define LAPIC_VERSION (0x14u | (LVT_COUNT - 1) << 16 | 1u << 24)

enum {
    TPR_MASK = 0xff,
    SVR_MASK = 0x13ff, /* vector, enable, focus checking, EOI-broadcast suppression */
    DIVIDE_MASK = 0xb,
    LDR_MASK = 0xff000000,
    DFR_RESERVED_ONES = 0x0fffffff,
    ICR_LOW_MASK = 0x000ccfff, /* without the delivery status, which is always idle */
    X2APIC_ICR_RESERVED = 0xfff32000,
};

/* -- Common register file -------------------------------------------------------------------- */

static u32 read_id(const struct lapic *l)
{
    return lapic_x2apic(l) ? l->config.apic_id : l->config.apic_id << 24;
}

/* The registers that both views have, low 32 bits. false: there is no such register. */
static bool read_common(const struct lapic *l, unsigned reg, u32 *value)
{
    switch (reg) {
    case REG_ID: *value = read_id(l); return true;
    case REG_VERSION: *value = LAPIC_VERSION; return true;
    case REG_TPR: *value = l->tpr; return true;
    case REG_PPR: *value = lapic_ppr(l); return true;
    case REG_LDR: *value = lapic_read_ldr(l); return true;
    case REG_SVR: *value = l->svr; return true;
    case REG_ISR ... REG_ISR + 7: *value = l->isr[reg - REG_ISR]; return true;
    case REG_TMR ... REG_TMR + 7:
        *value = __atomic_load_n(&l->tmr[reg - REG_TMR], __ATOMIC_SEQ_CST);
        return true;
    case REG_IRR ... REG_IRR + 7:
        *value = __atomic_load_n(&l->irr[reg - REG_IRR], __ATOMIC_SEQ_CST);
        return true;
    case REG_ESR: *value = l->esr; return true;
    case REG_ICR: *value = (u32)l->icr; return true;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1: *value = l->lvt[reg - REG_LVT]; return true;
    case REG_INITIAL_COUNT: *value = l->initial_count; return true;
    case REG_CURRENT_COUNT: *value = lapic_timer_current(l); return true;
    case REG_DIVIDE: *value = l->divide; return true;
    default: return false;
    }
}

/* SDM 3A 10.5.3: shows what was found since the last write and starts anew. */
static void write_esr(struct lapic *l)
{
    l->esr = __atomic_exchange_n(&l->esr_pending, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&l->error_armed, true, __ATOMIC_SEQ_CST);
}

/* Writable registers of both views; value holds no reserved bit. */
static void write_common(struct lapic *l, unsigned reg, u32 value)
{
    switch (reg) {
    case REG_TPR: lapic_write_tpr(l, value); break;
    case REG_EOI: lapic_write_eoi(l); break;
    case REG_SVR: lapic_write_svr(l, value); break;
    case REG_ESR: write_esr(l); break;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1: lapic_write_lvt(l, reg - REG_LVT, value); break;
    case REG_INITIAL_COUNT: lapic_timer_write_initial(l, value); break;
    case REG_DIVIDE: lapic_timer_write_divide(l, value); break;
    default: break;
    }
}

/* -- xAPIC ----------------------------------------------------------------------------------- */

static u32 xapic_read(struct lapic *l, unsigned reg)
{
    u32 value = 0;

    if (read_common(l, reg, &value))
        return value;
    switch (reg) {
    case REG_APR: return lapic_apr(l);
    case REG_EOI: return 0; /* write-only */
    case REG_RRD: return 0; /* remote read is not supported */
    case REG_DFR: return l->dfr;
    case REG_ICR2: return (u32)(l->icr >> 32);
    default: lapic_error(l, ESR_ILLEGAL_REGISTER); return 0;
    }
}

static void xapic_write(struct lapic *l, unsigned reg, u32 value)
{
    switch (reg) {
    case REG_ID: /* fixed by the topology, as on current parts */
    case REG_VERSION:
    case REG_APR:
    case REG_PPR:
    case REG_RRD:
    case REG_ISR ... REG_IRR + 7:
    case REG_CURRENT_COUNT: break; /* read-only */
    case REG_LDR:
        __atomic_store_n(&l->ldr, value & LDR_MASK, __ATOMIC_RELAXED);
        l->after.targets_changed = true;
        break;
    case REG_DFR:
        __atomic_store_n(&l->dfr, value | DFR_RESERVED_ONES, __ATOMIC_RELAXED);
        l->after.targets_changed = true;
        break;
    case REG_TPR: write_common(l, reg, value & TPR_MASK); break;
    case REG_SVR: write_common(l, reg, value & SVR_MASK); break;
    case REG_DIVIDE: write_common(l, reg, value & DIVIDE_MASK); break;
    case REG_EOI:
    case REG_ESR:
    case REG_LVT ... REG_LVT + LVT_COUNT - 1:
    case REG_INITIAL_COUNT: write_common(l, reg, value); break;
    case REG_ICR: lapic_write_icr(l, (l->icr >> 32 << 32) | value); break;
    case REG_ICR2: l->icr = (u64)(value & LDR_MASK) << 32 | (u32)l->icr; break;
    default: lapic_error(l, ESR_ILLEGAL_REGISTER); break;
    }
}

static bool xapic_mapped(const struct lapic *l)
{
    return lapic_enabled(l) && !lapic_x2apic(l);
}

/* Registers are the low four bytes of each 16; the rest reads as zero. Anything but an aligned
 * 32-bit access is undefined (SDM 3A 10.4.1): such reads see the bytes, such writes do nothing. */
static u64 mmio_read(void *self, u64 offset, unsigned size)
{
    struct lapic *l = self;
    u64 value;

    (void)size;
    if (!xapic_mapped(l))
        return ~0ull;
    lapic_settle(l);
    if ((offset & 0xf) >= 4)
        return 0;
    lapic_enter(l);
    value = (u64)xapic_read(l, (unsigned)(offset >> 4)) >> (offset & 3) * 8;
    lapic_leave(l);
    return value;
}

static void mmio_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct lapic *l = self;

    if (!xapic_mapped(l))
        return;
    if ((offset & 0xf) || size != 4) {
        log_guest(l->log, "lapic %u: write of %u bytes at offset 0x%x ignored", l->config.apic_id,
                  size, (unsigned)offset);
        return;
    }
    lapic_settle(l);
    lapic_enter(l);
    xapic_write(l, (unsigned)(offset >> 4), (u32)value);
    lapic_leave(l);
    lapic_settle(l); /* an IPI to itself may wait for the EOI now */
}

const struct io_ops lapic_mmio_ops = {mmio_read, mmio_write, SIZE_ANY};

/* -- x2APIC ---------------------------------------------------------------------------------- */

bool lapic_msr_read(struct lapic *l, u32 msr, u64 *value)
{
    u32 low;
    bool valid;

    lapic_settle(l);
    lapic_enter(l);
    valid = lapic_x2apic(l) && read_common(l, msr - 0x800, &low);
    if (valid)
        *value = msr - 0x800 == REG_ICR ? l->icr : low;
    lapic_leave_unchanged(l);
    return valid;
}

/* The bits that a write may set; false: the register is not writable. */
static bool x2apic_writable(const struct lapic *l, unsigned reg, u64 *mask)
{
    switch (reg) {
    case REG_EOI:
    case REG_ESR: *mask = 0; return true; /* only zero may be written */
    case REG_TPR:
    case REG_SELF_IPI: *mask = 0xff; return true;
    case REG_SVR: *mask = SVR_MASK; return true;
    case REG_ICR: *mask = ~(u64)(u32)X2APIC_ICR_RESERVED; return true;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1:
        /* Delivery status and remote IRR are read-only, not reserved. */
        *mask = lapic_lvt_mask(l, reg - REG_LVT) | LVT_DELIVERY_STATUS;
        if (reg - REG_LVT == LVT_LINT0 || reg - REG_LVT == LVT_LINT1)
            *mask |= LVT_REMOTE_IRR;
        return true;
    case REG_INITIAL_COUNT: *mask = ~0u; return true;
    case REG_DIVIDE: *mask = DIVIDE_MASK; return true;
    default: return false;
    }
}

bool lapic_msr_write(struct lapic *l, u32 msr, u64 value)
{
    unsigned reg = msr - 0x800;
    u64 mask;

    if (!lapic_x2apic(l) || !x2apic_writable(l, reg, &mask) || (value & ~mask))
        return false;
    lapic_settle(l);
    lapic_enter(l);
    switch (reg) {
    case REG_ICR: lapic_write_icr(l, value); break;
    case REG_SELF_IPI: lapic_send_self(l, (u8)value); break;
    default: write_common(l, reg, (u32)value); break;
    }
    lapic_leave(l);
    lapic_settle(l);
    return true;
}

/* -- A hypervisor interface's view ------------------------------------------------------------ */

u64 lapic_icr_read(const struct lapic *l)
{
    u64 icr;

    lapic_enter(l);
    icr = l->icr;
    lapic_leave_unchanged(l);
    return icr;
}

void lapic_write_icr(struct lapic *l, u64 value)
{
    l->icr = (value >> 32 << 32) | (value & ICR_LOW_MASK);
    lapic_send_icr(l);
}

void lapic_icr_write(struct lapic *l, u64 value)
{
    lapic_settle(l);
    if (!lapic_x2apic(l))
        value &= (u64)LDR_MASK << 32 | 0xffffffff;
    lapic_enter(l);
    lapic_write_icr(l, value);
    lapic_leave(l);
    lapic_settle(l);
}

u8 lapic_tpr_read(const struct lapic *l)
{
    return (u8)__atomic_load_n(&l->tpr, __ATOMIC_RELAXED);
}

void lapic_tpr_write(struct lapic *l, u8 value)
{
    lapic_enter(l);
    lapic_write_tpr(l, value);
    lapic_leave(l);
}
