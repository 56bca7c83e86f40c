/* SPDX-License-Identifier: MIT
 *
 * The inside of struct hv1, shared by the files of this folder.
 */
#pragma once

#include <pthread.h>

#include "hv1/hv1.h"
#include "hv1/spec.h"

/* A page that hides what lies at a guest-physical address. Its memory is a page of struct ram
 * beyond the guest's own, so that code on it is translated and invalidated like any other. */
struct overlay {
    const char *name;
    u64 ram_offset;
    u8 *hva;
    int priority; /* each its own: two pages at one address are no conflict, one hides the other */
    bool read_only;
    bool mapped;
    unsigned region;
};

/* One synthetic timer (TLFS "Synthetic timers"). */
struct hv1_timer {
    struct hv1_vp *vp;
    struct timer timer;
    u64 config, count;
    u64 due;        /* when it expires, 100 ns of reference time; 0: not armed */
    u64 alarm;      /* when to look at it: due, or sooner or later to make up for missed ticks */
    u64 expiration; /* of the message */
    bool message;   /* waits for its slot */
};

enum { PORT_BUFFERS = 16 }; /* TLFS "Guest message buffers" */

/* Messages posted to one SINT, oldest first. */
struct message_queue {
    unsigned count;
    struct hv_message items[PORT_BUFFERS];
};

struct hv1_vp {
    struct hv1 *hv1;
    struct vcpu *vcpu;
    unsigned index;
    u64 vp_assist, scontrol, siefp, simp;
    u64 sint[HV_SINTS];
    u64 auto_eoi[4];    /* atomic: vectors of SINTs with AutoEOI */
    u64 eoi_vectors[4]; /* atomic: vectors of all SINTs: their EOI lets queues go on */
    struct hv1_timer stimer[HV_STIMERS];
    struct overlay assist, sief, sim;
    pthread_mutex_t lock;                  /* queues, sint, slots as this side uses them, timers */
    struct message_queue *queue[HV_SINTS]; /* NULL: nothing was ever posted */
    u32 waiting; /* atomic; bit n: SINTn has a message that its slot had no room for */
};

enum connection_kind { CONNECTION_NONE, CONNECTION_MESSAGE, CONNECTION_EVENT };
enum { CONNECTIONS = 256 };

struct connection {
    u8 kind; /* enum connection_kind */
    u8 vp, sint;
};

struct hv1 {
    struct hv1_config config;
    struct hv1_vp *vps;
    u64 guest_os_id, hypercall, reference_tsc;
    u64 crash[5];
    unsigned crash_reports; /* so far */
    u64 tsc_invariant;
    struct overlay hypercall_page, tsc_page;
    /* Reference time = ((TSC + tsc_shift) * scale >> 64) + tsc_offset; changed under the platform's
     * lock, read by anybody under time_sequence (odd: being changed). */
    u64 scale; /* 0: the TSC is too slow for it */
    u64 tsc_shift;
    u64 tsc_offset;
    u32 time_sequence;
    u32 page_sequence; /* the last one that was valid */
    struct connection connections[CONNECTIONS];
};

static inline bool hv1_has(const struct hv1 *h, u32 switches)
{
    return (h->config.profile.switches & switches) == switches;
}

static inline struct hv1_vp *hv1_vp_of(const struct hv1 *h, const struct vcpu *v)
{
    return &h->vps[v->index];
}

static inline void hv1_lock(const struct hv1 *h)
{
    if (h->config.platform.lock)
        h->config.platform.lock(h->config.platform.opaque);
}

static inline void hv1_unlock(const struct hv1 *h)
{
    if (h->config.platform.unlock)
        h->config.platform.unlock(h->config.platform.opaque);
}

static inline void vp_interrupt(const struct hv1_vp *vp, u8 vector)
{
    vp->hv1->config.platform.interrupt(vp->hv1->config.platform.opaque, vp->vcpu, vector);
}

/* profile.c: whether any hypercall does something; otherwise the page only says that none does. */
bool hv1_has_hypercalls(const struct hv1_profile *profile);

/* overlay.c. All under the platform's lock. */

/* Takes page number `page` of the overlay pages. */
void overlay_init(struct hv1 *h, struct overlay *o, const char *name, unsigned page,
                  bool read_only);
/* Puts the page where a register says, or away; value as the register holds it. */
void overlay_place(struct hv1 *h, struct overlay *o, u64 value);
/* Stores on behalf of the hypervisor. */
void overlay_write(struct hv1 *h, struct overlay *o, unsigned offset, const void *data,
                   unsigned size);
void overlay_clear(struct hv1 *h, struct overlay *o);
/* size bytes at hva, in an overlay page, were stored to. */
void overlay_written(struct hv1 *h, const u8 *hva, unsigned size);
/* Whether the address in a page register lies in the guest's physical address space. */
bool overlay_address_valid(const struct hv1 *h, u64 value);

/* msr.c */
bool hv1_msr_read(void *hv1, struct vcpu *v, u32 msr, u64 *value);
bool hv1_msr_write(void *hv1, struct vcpu *v, u32 msr, u64 value);

/* time.c */
void time_init_scale(struct hv1 *h);
/* Makes the page agree with the vCPUs' TSCs. */
void time_update(struct hv1 *h);
/* The first ns of the clock at which the reference time is at least `time`. */
u64 time_to_ns(struct hv1 *h, u64 time);

/* synic.c */
void synic_reset(struct hv1_vp *vp);
bool synic_read(struct hv1_vp *vp, u32 msr, u64 *value);
bool synic_write(struct hv1_vp *vp, u32 msr, u64 value);
/* Tries to deliver what waits for SINTs (a bit each). */
void synic_scan(struct hv1_vp *vp, u32 sints);
/* With the VP's lock. */
void synic_post_timer(struct hv1_timer *t);
enum hv_status synic_post(struct hv1_vp *vp, unsigned sint, const struct hv_message *message);
enum hv_status synic_signal(struct hv1_vp *vp, unsigned sint, unsigned flag);
/* Raises the SINT's interrupt unless it is masked or polled. */
void synic_raise(const struct hv1_vp *vp, unsigned sint);

/* stimer.c */
void stimer_init(struct hv1_vp *vp);
void stimer_reset(struct hv1_vp *vp);
void stimer_cancel(struct hv1_vp *vp);
u64 stimer_read(struct hv1_vp *vp, u32 msr);
bool stimer_write(struct hv1_vp *vp, u32 msr, u64 value);

/* crash.c */
void crash_report(struct hv1 *h, u64 control);

/* hypercall.c */

/* One call while it is served. */
struct hypercall {
    struct hv1 *hv1;
    struct hv1_vp *vp;
    u16 code;
    unsigned variable;        /* bytes of the variable header */
    unsigned header;          /* bytes of the fixed header */
    unsigned rep_start, reps; /* [rep_start, reps) are to be done; no rep call: 0, 0 */
    unsigned done;            /* reps completed, counted from 0 */
    u8 input[4096];           /* header, variable header, list */
};

static inline const u8 *call_list(const struct hypercall *c)
{
    return c->input + c->header + c->variable;
}

typedef enum hv_status call_fn(struct hypercall *c);

/* calls_flush.c, calls_ipi.c, calls_synic.c */
call_fn call_flush_space, call_flush_list, call_flush_space_ex, call_flush_list_ex;
call_fn call_ipi, call_ipi_ex;
call_fn call_spin_wait;
call_fn call_post_message, call_signal_event;

/* Reads an HV_VP_SET of `bytes` bytes (with its banks) into a mask. false: malformed (3). *all: its
 * format says all processors. */
bool vp_set_read(const struct hv1 *h, const u8 *set, unsigned bytes, u64 vps[HV1_VP_WORDS],
                 bool *all);
/* Every VP. */
void vp_set_all(const struct hv1 *h, u64 vps[HV1_VP_WORDS]);
/* Clears VPs that do not exist. */
void vp_set_trim(const struct hv1 *h, u64 vps[HV1_VP_WORDS]);
