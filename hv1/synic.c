/* SPDX-License-Identifier: MIT
 *
 * The synthetic interrupt controller of a VP (TLFS "Inter-partition communication", "SynIC"): 16
 * sources, a page of message slots, a page of event flags, and the queues behind the slots.
 *
 * The lock of the VP guards queues, slots and timers against other senders; the guest empties a
 * slot at any time. `waiting` names the SINTs whose queue is not empty, so that EOI and EOM cost
 * one load when there is nothing to do.
 */
#include <stdlib.h>
#include <string.h>

#include "hv1/internal.h"

enum { FLAGS_A_SINT = 2048 };

/* -- interrupts -- */

static u64 *vector_word(u64 *set, u8 vector)
{
    return &set[vector / 64];
}

static bool vector_in(const u64 *set, u8 vector)
{
    return __atomic_load_n(&set[vector / 64], __ATOMIC_RELAXED) >> vector % 64 & 1;
}

/* What the local APIC asks at every interrupt, made ready. */
static void note_vectors(struct hv1_vp *vp)
{
    u64 auto_eoi[4] = {0}, all[4] = {0};

    for (unsigned n = 0; n < HV_SINTS; n++) {
        u8 vector = (u8)vp->sint[n];

        if (vp->sint[n] & HV_SINT_MASKED)
            continue;
        *vector_word(all, vector) |= BIT(vector % 64);
        if (vp->sint[n] & HV_SINT_AUTO_EOI)
            *vector_word(auto_eoi, vector) |= BIT(vector % 64);
    }
    for (unsigned n = 0; n < 4; n++) {
        __atomic_store_n(&vp->auto_eoi[n], auto_eoi[n], __ATOMIC_RELAXED);
        __atomic_store_n(&vp->eoi_vectors[n], all[n], __ATOMIC_RELAXED);
    }
}

bool hv1_auto_eoi(struct hv1 *h, const struct vcpu *v, u8 vector)
{
    return vector_in(hv1_vp_of(h, v)->auto_eoi, vector);
}

void synic_raise(const struct hv1_vp *vp, unsigned sint)
{
    u64 value = __atomic_load_n(&vp->sint[sint], __ATOMIC_RELAXED);

    if (!(value & (HV_SINT_MASKED | HV_SINT_POLLING)))
        vp_interrupt(vp, (u8)value);
}

/* -- messages -- */

static struct hv_message *slot_of(const struct hv1_vp *vp, unsigned sint)
{
    return (struct hv_message *)vp->sim.hva + sint;
}

static bool messages_enabled(const struct hv1_vp *vp)
{
    return (vp->scontrol & 1) && (vp->simp & HV_PAGE_ENABLE);
}

static struct hv1_timer *waiting_timer(struct hv1_vp *vp, unsigned sint)
{
    for (unsigned n = 0; n < HV_STIMERS; n++)
        if (vp->stimer[n].message && HV_STIMER_SINT(vp->stimer[n].config) == sint)
            return &vp->stimer[n];
    return NULL;
}

static bool anything_waits(struct hv1_vp *vp, unsigned sint)
{
    return waiting_timer(vp, sint) || (vp->queue[sint] && vp->queue[sint]->count);
}

static void timer_message(struct hv1_timer *t, struct hv_message *m)
{
    const struct hv_timer_payload payload = {.index = (u32)(t - t->vp->stimer),
                                             .expiration = t->expiration,
                                             .delivery = hv1_time(t->vp->hv1)};

    *m = (struct hv_message){.type = HV_MESSAGE_TIMER_EXPIRED, .payload_size = sizeof(payload)};
    memcpy(m->payload, &payload, sizeof(payload));
}

/* Takes the next message for a SINT out of its buffer. Timers come first: they have one each. */
static void take_message(struct hv1_vp *vp, unsigned sint, struct hv_message *m)
{
    struct hv1_timer *t = waiting_timer(vp, sint);
    struct message_queue *q = vp->queue[sint];

    if (t) {
        timer_message(t, m);
        t->message = false;
        return;
    }
    *m = q->items[0];
    q->count--;
    memmove(&q->items[0], &q->items[1], q->count * sizeof(q->items[0]));
}

/* The type goes last: who sees it sees the whole message (TLFS "Message handling"). */
static void fill_slot(struct hv1_vp *vp, unsigned sint)
{
    struct hv_message *slot = slot_of(vp, sint), m;

    take_message(vp, sint, &m);
    if (anything_waits(vp, sint))
        m.flags |= HV_MESSAGE_PENDING;
    memcpy((u8 *)slot + sizeof(m.type), (u8 *)&m + sizeof(m.type),
           offsetof(struct hv_message, payload) - sizeof(m.type) + m.payload_size);
    __atomic_store_n(&slot->type, m.type, __ATOMIC_RELEASE);
    overlay_written(vp->hv1, (u8 *)slot, sizeof(*slot));
    synic_raise(vp, sint);
}

/* Whether the slot is free; if not, tells the guest that something waits. It may free the slot just
 * before it is told, so that is looked at once more. */
static bool slot_free(struct hv1_vp *vp, unsigned sint)
{
    struct hv_message *slot = slot_of(vp, sint);

    if (!__atomic_load_n(&slot->type, __ATOMIC_SEQ_CST))
        return true;
    __atomic_fetch_or(&slot->flags, HV_MESSAGE_PENDING, __ATOMIC_SEQ_CST);
    overlay_written(vp->hv1, &slot->flags, 1);
    return !__atomic_load_n(&slot->type, __ATOMIC_SEQ_CST);
}

/* With the VP's lock. */
static void deliver(struct hv1_vp *vp, unsigned sint)
{
    if (anything_waits(vp, sint) && messages_enabled(vp) && slot_free(vp, sint))
        fill_slot(vp, sint);
    if (anything_waits(vp, sint))
        __atomic_fetch_or(&vp->waiting, 1u << sint, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&vp->waiting, ~(1u << sint), __ATOMIC_SEQ_CST);
}

void synic_scan(struct hv1_vp *vp, u32 sints)
{
    if (!(__atomic_load_n(&vp->waiting, __ATOMIC_SEQ_CST) & sints))
        return;
    pthread_mutex_lock(&vp->lock);
    for (unsigned n = 0; n < HV_SINTS; n++)
        if (sints & 1u << n)
            deliver(vp, n);
    pthread_mutex_unlock(&vp->lock);
}

/* An interrupt has ended: SINTs with its vector may go on (TLFS "Messages"). */
void hv1_eoi(struct hv1 *h, struct vcpu *v, u8 vector)
{
    struct hv1_vp *vp = hv1_vp_of(h, v);
    u32 sints = 0;

    if (!__atomic_load_n(&vp->waiting, __ATOMIC_RELAXED) || !vector_in(vp->eoi_vectors, vector))
        return;
    for (unsigned n = 0; n < HV_SINTS; n++)
        if ((u8)vp->sint[n] == vector)
            sints |= 1u << n;
    synic_scan(vp, sints);
}

/* A message that still waits is not followed by a second one. With the VP's lock. */
void synic_post_timer(struct hv1_timer *t)
{
    t->message = true;
    deliver(t->vp, HV_STIMER_SINT(t->config));
}

static enum hv_status enqueue(struct hv1_vp *vp, unsigned sint, const struct hv_message *m)
{
    if (!messages_enabled(vp))
        return HV_STATUS_INVALID_SYNIC_STATE;
    if (!vp->queue[sint])
        vp->queue[sint] = calloc(1, sizeof(*vp->queue[sint]));
    if (!vp->queue[sint] || vp->queue[sint]->count == PORT_BUFFERS)
        return HV_STATUS_INSUFFICIENT_BUFFERS;
    vp->queue[sint]->items[vp->queue[sint]->count++] = *m;
    return HV_STATUS_SUCCESS;
}

enum hv_status synic_post(struct hv1_vp *vp, unsigned sint, const struct hv_message *m)
{
    enum hv_status status;

    pthread_mutex_lock(&vp->lock);
    status = enqueue(vp, sint, m);
    if (status == HV_STATUS_SUCCESS)
        deliver(vp, sint);
    pthread_mutex_unlock(&vp->lock);
    return status;
}

/* -- event flags -- */

static bool events_enabled(struct hv1_vp *vp, unsigned sint)
{
    bool enabled;

    pthread_mutex_lock(&vp->lock);
    enabled =
        (vp->scontrol & 1) && (vp->siefp & HV_PAGE_ENABLE) && !(vp->sint[sint] & HV_SINT_MASKED);
    pthread_mutex_unlock(&vp->lock);
    return enabled;
}

enum hv_status synic_signal(struct hv1_vp *vp, unsigned sint, unsigned flag)
{
    u8 *byte = vp->sief.hva + sint * (FLAGS_A_SINT / 8) + flag / 8, bit = (u8)(1u << flag % 8);

    if (!events_enabled(vp, sint))
        return HV_STATUS_INVALID_SYNIC_STATE;
    if (!(__atomic_fetch_or(byte, bit, __ATOMIC_SEQ_CST) & bit)) {
        overlay_written(vp->hv1, byte, 1);
        synic_raise(vp, sint);
    }
    return HV_STATUS_SUCCESS;
}

/* -- registers -- */

static bool write_sint(struct hv1_vp *vp, unsigned n, u64 value)
{
    if (!(value & HV_SINT_MASKED) && (value & HV_SINT_VECTOR) < 16)
        return false;
    pthread_mutex_lock(&vp->lock);
    __atomic_store_n(&vp->sint[n], value, __ATOMIC_RELAXED);
    note_vectors(vp);
    pthread_mutex_unlock(&vp->lock);
    return true;
}

/* Senders on other threads look at these. */
static void set_register(struct hv1_vp *vp, u64 *reg, u64 value)
{
    pthread_mutex_lock(&vp->lock);
    *reg = value;
    pthread_mutex_unlock(&vp->lock);
}

static void place_page(struct hv1_vp *vp, struct overlay *o, u64 *reg, u64 value)
{
    hv1_lock(vp->hv1);
    set_register(vp, reg, value);
    overlay_place(vp->hv1, o, value);
    hv1_unlock(vp->hv1);
}

bool synic_read(struct hv1_vp *vp, u32 msr, u64 *value)
{
    switch (msr) {
    case HV_X64_MSR_SCONTROL: *value = vp->scontrol; return true;
    case HV_X64_MSR_SVERSION: *value = 1; return true;
    case HV_X64_MSR_SIEFP: *value = vp->siefp; return true;
    case HV_X64_MSR_SIMP: *value = vp->simp; return true;
    case HV_X64_MSR_EOM: *value = 0; return true;
    case HV_X64_MSR_SINT0 ... HV_X64_MSR_SINT15:
        *value = vp->sint[msr - HV_X64_MSR_SINT0];
        return true;
    default: return false;
    }
}

bool synic_write(struct hv1_vp *vp, u32 msr, u64 value)
{
    switch (msr) {
    case HV_X64_MSR_SCONTROL: set_register(vp, &vp->scontrol, value); break;
    case HV_X64_MSR_SIEFP: place_page(vp, &vp->sief, &vp->siefp, value); break;
    case HV_X64_MSR_SIMP: place_page(vp, &vp->sim, &vp->simp, value); break;
    case HV_X64_MSR_EOM: break;
    case HV_X64_MSR_SINT0 ... HV_X64_MSR_SINT15:
        if (!write_sint(vp, msr - HV_X64_MSR_SINT0, value))
            return false;
        break;
    default: return false;
    }
    synic_scan(vp, ~0u); /* EOM says so; what was disabled may have become enabled */
    return true;
}

void synic_reset(struct hv1_vp *vp)
{
    vp->scontrol = vp->siefp = vp->simp = 0;
    overlay_place(vp->hv1, &vp->sim, 0);
    overlay_place(vp->hv1, &vp->sief, 0);
    pthread_mutex_lock(&vp->lock);
    overlay_clear(vp->hv1, &vp->sim);
    overlay_clear(vp->hv1, &vp->sief);
    for (unsigned n = 0; n < HV_SINTS; n++) {
        vp->sint[n] = HV_SINT_RESET;
        if (vp->queue[n])
            vp->queue[n]->count = 0;
    }
    note_vectors(vp);
    __atomic_store_n(&vp->waiting, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&vp->lock);
}
