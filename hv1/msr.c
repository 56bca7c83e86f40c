/* SPDX-License-Identifier: MIT
 *
 * The synthetic MSRs (TLFS "Partition properties", "Virtual processors"). One table says which
 * exist, what they are called and which switch opens them; a closed one is #GP.
 */
#include "hv1/internal.h"

enum msr_access { MSR_R = 1, MSR_W = 2, MSR_RW = 3 };

static const struct msr_row {
    u32 first, last;
    u32 switches;
    u8 access; /* enum msr_access: what is not #GP */
    const char *name;
} rows[] = {
    {HV_X64_MSR_GUEST_OS_ID, HV_X64_MSR_GUEST_OS_ID, 0, MSR_RW, "GUEST_OS_ID"},
    {HV_X64_MSR_HYPERCALL, HV_X64_MSR_HYPERCALL, 0, MSR_RW, "HYPERCALL"},
    {HV_X64_MSR_VP_INDEX, HV_X64_MSR_VP_INDEX, 0, MSR_R, "VP_INDEX"},
    {HV_X64_MSR_RESET, HV_X64_MSR_RESET, HV1_RESET, MSR_RW, "RESET"},
    {HV_X64_MSR_VP_RUNTIME, HV_X64_MSR_VP_RUNTIME, HV1_RUNTIME, MSR_R, "VP_RUNTIME"},
    {HV_X64_MSR_TIME_REF_COUNT, HV_X64_MSR_TIME_REF_COUNT, HV1_TIME, MSR_R, "TIME_REF_COUNT"},
    {HV_X64_MSR_REFERENCE_TSC, HV_X64_MSR_REFERENCE_TSC, HV1_TIME, MSR_RW, "REFERENCE_TSC"},
    {HV_X64_MSR_TSC_FREQUENCY, HV_X64_MSR_TSC_FREQUENCY, HV1_FREQUENCIES, MSR_R, "TSC_FREQUENCY"},
    {HV_X64_MSR_APIC_FREQUENCY, HV_X64_MSR_APIC_FREQUENCY, HV1_FREQUENCIES, MSR_R,
     "APIC_FREQUENCY"},
    {HV_X64_MSR_EOI, HV_X64_MSR_EOI, HV1_APIC, MSR_W, "EOI"},
    {HV_X64_MSR_ICR, HV_X64_MSR_ICR, HV1_APIC, MSR_RW, "ICR"},
    {HV_X64_MSR_TPR, HV_X64_MSR_TPR, HV1_APIC, MSR_RW, "TPR"},
    /* Linux writes it on every CPU without asking CPUID. */
    {HV_X64_MSR_VP_ASSIST_PAGE, HV_X64_MSR_VP_ASSIST_PAGE, 0, MSR_RW, "VP_ASSIST_PAGE"},
    {HV_X64_MSR_SCONTROL, HV_X64_MSR_SCONTROL, HV1_SYNIC, MSR_RW, "SCONTROL"},
    {HV_X64_MSR_SVERSION, HV_X64_MSR_SVERSION, HV1_SYNIC, MSR_R, "SVERSION"},
    {HV_X64_MSR_SIEFP, HV_X64_MSR_SIEFP, HV1_SYNIC, MSR_RW, "SIEFP"},
    {HV_X64_MSR_SIMP, HV_X64_MSR_SIMP, HV1_SYNIC, MSR_RW, "SIMP"},
    {HV_X64_MSR_EOM, HV_X64_MSR_EOM, HV1_SYNIC, MSR_RW, "EOM"},
    {HV_X64_MSR_SINT0, HV_X64_MSR_SINT15, HV1_SYNIC, MSR_RW, "SINT"},
    {HV_X64_MSR_STIMER0_CONFIG, HV_X64_MSR_STIMER3_COUNT, HV1_STIMER, MSR_RW, "STIMER"},
    {HV_X64_MSR_GUEST_IDLE, HV_X64_MSR_GUEST_IDLE, HV1_IDLE, MSR_R, "GUEST_IDLE"},
    {HV_X64_MSR_CRASH_P0, HV_X64_MSR_CRASH_P4, HV1_CRASH, MSR_RW, "CRASH_P"},
    {HV_X64_MSR_CRASH_CTL, HV_X64_MSR_CRASH_CTL, HV1_CRASH, MSR_RW, "CRASH_CTL"},
    {HV_X64_MSR_TSC_INVARIANT_CONTROL, HV_X64_MSR_TSC_INVARIANT_CONTROL, HV1_INVTSC, MSR_RW,
     "TSC_INVARIANT_CONTROL"},
};

static const struct msr_row *find_row(u32 msr)
{
    for (size_t n = 0; n < ARRAY_SIZE(rows); n++)
        if (msr >= rows[n].first && msr <= rows[n].last)
            return &rows[n];
    return NULL;
}

static const struct msr_row *open_row(const struct hv1 *h, u32 msr, enum msr_access access)
{
    const struct msr_row *row = find_row(msr);

    return row && (row->access & access) && hv1_has(h, row->switches) ? row : NULL;
}

static void trace(const struct hv1_vp *vp, u32 msr, const char *verb, u64 value, bool ok)
{
    const struct msr_row *row = find_row(msr);
    char number[4] = "";

    if (!log_on(vp->hv1->config.log, LOG_HV1))
        return;
    if (row && row->first != row->last)
        snprintf(number, sizeof(number), "%u", (msr - row->first) & 0xf);
    log_trace(vp->hv1->config.log, LOG_HV1, "hv1: vp %u %s %s%s (%x) %016lx%s", vp->index, verb,
              row ? row->name : "unknown MSR", number, msr, value, ok ? "" : " -> #GP");
}

/* -- reading -- */

static bool read_apic(struct hv1_vp *vp, u32 msr, u64 *value)
{
    const struct hv1_platform *p = &vp->hv1->config.platform;

    *value = msr == HV_X64_MSR_ICR ? p->apic_icr_read(p->opaque, vp->vcpu)
                                   : p->apic_tpr_read(p->opaque, vp->vcpu);
    return true;
}

/* What another VP may be writing. */
static u64 read_shared(struct hv1 *h, const u64 *word)
{
    u64 value;

    hv1_lock(h);
    value = *word;
    hv1_unlock(h);
    return value;
}

static bool read_open(struct hv1_vp *vp, u32 msr, u64 *value)
{
    struct hv1 *h = vp->hv1;
    const struct hv1_platform *p = &h->config.platform;

    switch (msr) {
    case HV_X64_MSR_GUEST_OS_ID: *value = read_shared(h, &h->guest_os_id); return true;
    case HV_X64_MSR_HYPERCALL: *value = read_shared(h, &h->hypercall); return true;
    case HV_X64_MSR_VP_INDEX: *value = vp->index; return true;
    case HV_X64_MSR_RESET: *value = 0; return true;
    case HV_X64_MSR_VP_RUNTIME: *value = p->runtime_ns(p->opaque, vp->vcpu) / 100; return true;
    case HV_X64_MSR_TIME_REF_COUNT: *value = hv1_time(h); return true;
    case HV_X64_MSR_REFERENCE_TSC: *value = read_shared(h, &h->reference_tsc); return true;
    case HV_X64_MSR_TSC_FREQUENCY: *value = h->config.model->tsc_hz; return true;
    case HV_X64_MSR_APIC_FREQUENCY: *value = h->config.model->apic_bus_hz; return true;
    case HV_X64_MSR_ICR:
    case HV_X64_MSR_TPR: return read_apic(vp, msr, value);
    case HV_X64_MSR_VP_ASSIST_PAGE: *value = vp->vp_assist; return true;
    case HV_X64_MSR_STIMER0_CONFIG ... HV_X64_MSR_STIMER3_COUNT:
        *value = stimer_read(vp, msr);
        return true;
    case HV_X64_MSR_GUEST_IDLE:
        p->idle(p->opaque, vp->vcpu);
        *value = 0;
        return true;
    case HV_X64_MSR_CRASH_P0 ... HV_X64_MSR_CRASH_P4:
        *value = read_shared(h, &h->crash[msr - HV_X64_MSR_CRASH_P0]);
        return true;
    case HV_X64_MSR_CRASH_CTL: *value = HV_CRASH_NOTIFY | HV_CRASH_MESSAGE; return true;
    case HV_X64_MSR_TSC_INVARIANT_CONTROL: *value = read_shared(h, &h->tsc_invariant); return true;
    default: return synic_read(vp, msr, value);
    }
}

bool hv1_msr_read(void *hv1, struct vcpu *v, u32 msr, u64 *value)
{
    struct hv1_vp *vp = hv1_vp_of(hv1, v);
    bool ok = open_row(hv1, msr, MSR_R) && read_open(vp, msr, value);

    trace(vp, msr, "reads", ok ? *value : 0, ok);
    return ok;
}

/* -- writing -- */

/* Without an identity there is no hypercall page (TLFS "Establishing the hypercall interface"). */
static void write_guest_os_id(struct hv1 *h, u64 value)
{
    hv1_lock(h);
    h->guest_os_id = value;
    if (!value) {
        h->hypercall &= ~HV_PAGE_ENABLE;
        overlay_place(h, &h->hypercall_page, h->hypercall);
    }
    hv1_unlock(h);
}

static bool write_hypercall(struct hv1 *h, u64 value)
{
    bool ok;

    hv1_lock(h);
    ok = !(h->hypercall & HV_HYPERCALL_LOCKED) && overlay_address_valid(h, value);
    if (ok) {
        if (!h->guest_os_id)
            value &= ~HV_PAGE_ENABLE;
        if (!hv1_has(h, HV1_LOCK))
            value &= ~HV_HYPERCALL_LOCKED;
        h->hypercall = value;
        overlay_place(h, &h->hypercall_page, value);
    }
    hv1_unlock(h);
    return ok;
}

static void write_reference_tsc(struct hv1 *h, u64 value)
{
    hv1_lock(h);
    h->reference_tsc = value;
    overlay_place(h, &h->tsc_page, value);
    hv1_unlock(h);
}

/* Enabling it clears the field by which an EOI is skipped; nothing else of the page. */
static bool write_assist(struct hv1_vp *vp, u64 value)
{
    const struct hv1_platform *p = &vp->hv1->config.platform;
    const u32 none = 0;

    if (!overlay_address_valid(vp->hv1, value))
        return false;
    p->apic_settle(p->opaque, vp->vcpu);
    hv1_eoi_withdraw(vp->hv1, vp->vcpu);
    hv1_lock(vp->hv1);
    if ((value & HV_PAGE_ENABLE) && !(vp->vp_assist & HV_PAGE_ENABLE))
        overlay_write(vp->hv1, &vp->assist, 0, &none, sizeof(none));
    vp->vp_assist = value;
    overlay_place(vp->hv1, &vp->assist, value);
    hv1_unlock(vp->hv1);
    return true;
}

static bool write_apic(struct hv1_vp *vp, u32 msr, u64 value)
{
    const struct hv1_platform *p = &vp->hv1->config.platform;

    /* The value of EOI is not looked at: the TLFS's own example leaves garbage in EDX:EAX. */
    if (msr == HV_X64_MSR_EOI)
        p->apic_eoi(p->opaque, vp->vcpu);
    else if (msr == HV_X64_MSR_ICR)
        p->apic_icr_write(p->opaque, vp->vcpu, value);
    else
        p->apic_tpr_write(p->opaque, vp->vcpu, (u8)value);
    return true;
}

/* Bit 0 can be set and stays so until reset. */
static bool write_tsc_invariant(struct hv1 *h, u64 value)
{
    if ((value & ~1ull) || (h->tsc_invariant && !value))
        return false;
    __atomic_store_n(&h->tsc_invariant, value, __ATOMIC_RELAXED);
    return true;
}

static bool write_open(struct hv1_vp *vp, u32 msr, u64 value)
{
    struct hv1 *h = vp->hv1;

    switch (msr) {
    case HV_X64_MSR_GUEST_OS_ID: write_guest_os_id(h, value); return true;
    case HV_X64_MSR_HYPERCALL: return write_hypercall(h, value);
    case HV_X64_MSR_RESET:
        if (value & 1)
            h->config.platform.reset(h->config.platform.opaque);
        return true;
    case HV_X64_MSR_REFERENCE_TSC: write_reference_tsc(h, value); return true;
    case HV_X64_MSR_EOI ... HV_X64_MSR_TPR: return write_apic(vp, msr, value);
    case HV_X64_MSR_VP_ASSIST_PAGE: return write_assist(vp, value);
    case HV_X64_MSR_STIMER0_CONFIG ... HV_X64_MSR_STIMER3_COUNT:
        return stimer_write(vp, msr, value);
    case HV_X64_MSR_CRASH_P0 ... HV_X64_MSR_CRASH_P4:
        h->crash[msr - HV_X64_MSR_CRASH_P0] = value;
        return true;
    case HV_X64_MSR_CRASH_CTL: crash_report(h, value); return true;
    case HV_X64_MSR_TSC_INVARIANT_CONTROL: return write_tsc_invariant(h, value);
    default: return synic_write(vp, msr, value);
    }
}

bool hv1_msr_write(void *hv1, struct vcpu *v, u32 msr, u64 value)
{
    struct hv1_vp *vp = hv1_vp_of(hv1, v);
    bool ok = open_row(hv1, msr, MSR_W) && write_open(vp, msr, value);

    trace(vp, msr, "writes", value, ok);
    return ok;
}
