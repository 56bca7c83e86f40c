/* SPDX-License-Identifier: MIT
 *
 * Making, attaching and resetting: the partition and its virtual processors.
 */
#include "hv1/hv1.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/msr.h"
#include "hv1/internal.h"

enum { PAGE_HYPERCALL, PAGE_TSC, PAGE_FIRST_VP, PAGES_A_VP = 3, FILL_INT3 = 0xcc };

/* A call and a return; or, where no call does anything, code that says so: MOV EAX, 2
 * (HV_STATUS_INVALID_HYPERCALL_CODE); MOV EDX, 0; RET, right in both modes. Never changed: Windows
 * watches the page (Microsoft's requirements). */
static void fill_hypercall_page(struct hv1 *h)
{
    static const u8 vmcall[] = {0x0f, 0x01, 0xc1, 0xc3}, vmmcall[] = {0x0f, 0x01, 0xd9, 0xc3};
    static const u8 stub[] = {0xb8, 2, 0, 0, 0, 0xba, 0, 0, 0, 0, 0xc3};
    u8 *page = h->hypercall_page.hva;

    memset(page, FILL_INT3, PAGE_SIZE);
    if (!hv1_has_hypercalls(&h->config.profile))
        memcpy(page, stub, sizeof(stub));
    else if (!strcmp(h->config.model->vendor, "GenuineIntel"))
        memcpy(page, vmcall, sizeof(vmcall));
    else
        memcpy(page, vmmcall, sizeof(vmmcall));
    overlay_written(h, page, PAGE_SIZE);
}

static void init_vp(struct hv1 *h, unsigned index)
{
    struct hv1_vp *vp = &h->vps[index];
    unsigned page = PAGE_FIRST_VP + index * PAGES_A_VP;

    vp->hv1 = h;
    vp->index = index;
    pthread_mutex_init(&vp->lock, NULL);
    overlay_init(h, &vp->assist, "VP assist page", page, false);
    overlay_init(h, &vp->sim, "SIM page", page + 1, false);
    overlay_init(h, &vp->sief, "SIEF page", page + 2, false);
    stimer_init(vp);
    for (unsigned n = 0; n < HV_SINTS; n++)
        vp->sint[n] = HV_SINT_RESET;
}

enum status hv1_create(struct hv1 **hv1, const struct hv1_config *config, struct error *err)
{
    struct hv1 *h = calloc(1, sizeof(*h));

    *hv1 = h;
    if (!h)
        return error_set(err, ST_NO_MEMORY, "No memory for the hypervisor interface; free some.");
    h->config = *config;
    h->vps = calloc(config->cpus, sizeof(*h->vps));
    if (!h->vps) {
        free(h);
        *hv1 = NULL;
        return error_set(err, ST_NO_MEMORY,
                         "No memory for %u virtual processors; lower -smp or free some.",
                         config->cpus);
    }
    overlay_init(h, &h->hypercall_page, "hypercall page", PAGE_HYPERCALL, true);
    overlay_init(h, &h->tsc_page, "reference TSC page", PAGE_TSC, true);
    for (unsigned n = 0; n < config->cpus; n++)
        init_vp(h, n);
    fill_hypercall_page(h);
    time_init_scale(h);
    time_update(h);
    return ST_OK;
}

void hv1_destroy(struct hv1 *h)
{
    if (!h)
        return;
    for (unsigned n = 0; n < h->config.cpus; n++) {
        stimer_cancel(&h->vps[n]);
        for (unsigned s = 0; s < HV_SINTS; s++)
            free(h->vps[n].queue[s]);
        pthread_mutex_destroy(&h->vps[n].lock);
    }
    free(h->vps);
    free(h);
}

enum status hv1_attach(struct hv1 *h, struct vcpu *v, struct error *err)
{
    enum status st;

    check(v->index < h->config.cpus, "vCPU %u of %u", v->index, h->config.cpus);
    st = cpu_msr_register(v, HV_X64_MSR_FIRST, HV_X64_MSR_LAST, hv1_msr_read, hv1_msr_write, h);
    if (st)
        return error_set(err, st, "The MSRs of the hypervisor interface are taken.");
    h->vps[v->index].vcpu = v;
    return ST_OK;
}

static void reset_vp(struct hv1_vp *vp)
{
    stimer_reset(vp);
    synic_reset(vp);
    vp->vp_assist = 0;
    overlay_place(vp->hv1, &vp->assist, 0);
    overlay_clear(vp->hv1, &vp->assist);
}

void hv1_vp_reset(struct hv1 *h, struct vcpu *v)
{
    hv1_lock(h);
    reset_vp(hv1_vp_of(h, v));
    hv1_unlock(h);
}

void hv1_reset(struct hv1 *h)
{
    hv1_lock(h);
    for (unsigned n = 0; n < h->config.cpus; n++)
        reset_vp(&h->vps[n]);
    h->guest_os_id = h->hypercall = h->reference_tsc = h->tsc_invariant = 0;
    memset(h->crash, 0, sizeof(h->crash));
    overlay_place(h, &h->hypercall_page, 0);
    overlay_place(h, &h->tsc_page, 0);
    time_update(h);
    hv1_unlock(h);
}

/* -- the assist page (TLFS "EOI assist"): bit 0 of its first word says that no EOI is needed -- */

enum { NO_EOI_REQUIRED = 1 };

static u32 *assist_word(const struct hv1_vp *vp)
{
    return (u32 *)vp->assist.hva;
}

bool hv1_eoi_offer(struct hv1 *h, struct vcpu *v)
{
    struct hv1_vp *vp = hv1_vp_of(h, v);

    if (!(vp->vp_assist & HV_PAGE_ENABLE) || !hv1_has(h, HV1_APIC))
        return false;
    __atomic_fetch_or(assist_word(vp), NO_EOI_REQUIRED, __ATOMIC_SEQ_CST);
    overlay_written(h, vp->assist.hva, sizeof(u32));
    return true;
}

bool hv1_eoi_skipped(struct hv1 *h, const struct vcpu *v)
{
    return !(__atomic_load_n(assist_word(hv1_vp_of(h, v)), __ATOMIC_SEQ_CST) & NO_EOI_REQUIRED);
}

void hv1_eoi_withdraw(struct hv1 *h, struct vcpu *v)
{
    struct hv1_vp *vp = hv1_vp_of(h, v);

    __atomic_fetch_and(assist_word(vp), ~(u32)NO_EOI_REQUIRED, __ATOMIC_SEQ_CST);
    overlay_written(h, vp->assist.hva, sizeof(u32));
}

/* -- what a snapshot carries -- */

const struct device_field hv1_fields[] = {
    DEVICE_FIELD(hv1, guest_os_id),
    DEVICE_FIELD(hv1, hypercall),
    DEVICE_FIELD(hv1, reference_tsc),
    DEVICE_FIELD(hv1, crash),
    DEVICE_FIELD(hv1, tsc_invariant),
    DEVICE_FIELD(hv1, scale),
    DEVICE_FIELD(hv1, tsc_shift),
    DEVICE_FIELD(hv1, tsc_offset),
    DEVICE_FIELD(hv1, page_sequence),
    DEVICE_FIELD(hv1, connections),
    {0},
};

/* The queues hang from the VP: at most PORT_BUFFERS messages a SINT, saved by their own count. */
const struct device_field hv1_vp_fields[] = {
    DEVICE_FIELD(hv1_vp, vp_assist),
    DEVICE_FIELD(hv1_vp, scontrol),
    DEVICE_FIELD(hv1_vp, siefp),
    DEVICE_FIELD(hv1_vp, simp),
    DEVICE_FIELD(hv1_vp, sint),
    DEVICE_FIELD(hv1_vp, waiting),
    {0},
};
