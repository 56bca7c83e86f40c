/* SPDX-License-Identifier: MIT
 *
 * Local APIC: life cycle, modes (IA32_APIC_BASE), the interrupt queue, the local vector table and
 * the LINT pins. SDM 3A 10.4 to 10.8, 10.12.5.
 *
 * Invariant: intr_level, what the sink knows, is true if there is something to acknowledge,
 * whenever the lock is free.
 */
#include "devices/apic/lapic_internal.h"

#include <string.h>

#include "mem/base/bits.h"

/* -- Threads --------------------------------------------------------------------------------- */

void lapic_enter(const struct lapic *l)
{
    pthread_mutex_lock((pthread_mutex_t *)&l->lock);
}

void lapic_leave_unchanged(const struct lapic *l)
{
    pthread_mutex_unlock((pthread_mutex_t *)&l->lock);
}

void lapic_leave(struct lapic *l)
{
    const struct lapic_sink *sink = &l->config.sink;
    const struct lapic_after after = l->after;
    u64 base = l->base_msr;

    l->after = (struct lapic_after){0};
    pthread_mutex_unlock(&l->lock);
    if (after.eoi)
        apic_bus_eoi(l->config.bus, after.eoi_vector);
    if (after.assist_eoi)
        l->assist.eoi(l->assist.opaque, after.eoi_vector);
    if (after.send)
        apic_bus_send(l->config.bus, &after.message);
    if (after.map)
        sink->map(sink->opaque, (base & (LAPIC_BASE_EN | LAPIC_BASE_EXTD)) == LAPIC_BASE_EN,
                  align_down(base, PAGE_SIZE));
    if (after.targets_changed)
        apic_bus_targets_changed(l->config.bus);
}

/* -- The 256-bit registers ------------------------------------------------------------------- */

static void vector_set(u32 *bits, u8 vector)
{
    __atomic_fetch_or(&bits[vector / 32], 1u << vector % 32, __ATOMIC_SEQ_CST);
}

static void vector_clear(u32 *bits, u8 vector)
{
    __atomic_fetch_and(&bits[vector / 32], ~(1u << vector % 32), __ATOMIC_SEQ_CST);
}

static bool vector_test(const u32 *bits, u8 vector)
{
    return __atomic_load_n(&bits[vector / 32], __ATOMIC_SEQ_CST) >> vector % 32 & 1;
}

/* The highest vector that is set and not `but`, or 0: vectors below 16 never are. */
static u8 vector_highest_but(const u32 *bits, u8 but)
{
    for (unsigned word = 8; word-- > 0;) {
        u32 value = __atomic_load_n(&bits[word], __ATOMIC_SEQ_CST);

        if (word == but / 32)
            value &= ~(1u << but % 32);
        if (value)
            return (u8)(word * 32 + 31 - (unsigned)__builtin_clz(value));
    }
    return 0;
}

static u8 vector_highest(const u32 *bits)
{
    return vector_highest_but(bits, 0);
}

/* -- Priorities ------------------------------------------------------------------------------ */

/* SDM 3A 10.8.3.1. */
static u32 priority_with(const struct lapic *l, u32 in_service)
{
    u32 tpr = __atomic_load_n(&l->tpr, __ATOMIC_RELAXED);

    return tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0;
}

u32 lapic_ppr(const struct lapic *l)
{
    return priority_with(l, vector_highest(l->isr));
}

bool lapic_arbitrates(const struct lapic *l)
{
    return lapic_software_enabled(l);
}

u8 lapic_processor_priority(const struct lapic *l)
{
    return (u8)lapic_ppr(l);
}

u32 lapic_apr(const struct lapic *l)
{
    u32 tpr = l->tpr, requested = vector_highest(l->irr), in_service = vector_highest(l->isr);
    u32 higher;

    if (tpr >> 4 >= requested >> 4 && tpr >> 4 > in_service >> 4)
        return tpr;
    higher = requested & tpr & 0xf0;
    return higher > (in_service & 0xf0) ? higher : in_service & 0xf0;
}

/* -- What the processor sees ----------------------------------------------------------------- */

static bool lint_is_extint(const struct lapic *l, unsigned pin)
{
    u32 lvt = l->lvt[LVT_LINT0 + pin];

    return !(lvt & LVT_MASKED) && bits_get(lvt, 8, 3) == APIC_EXTINT;
}

/* ExtINT is level sensitive and knows no priority (SDM 3A 10.5.1). With the APIC disabled, LINT0 is
 * the processor's INTR pin (10.4.3). */
static bool extint_pending(const struct lapic *l)
{
    if (!lapic_enabled(l))
        return l->lint_level & BIT(LAPIC_LINT0);
    if (__atomic_load_n(&l->extint_latched, __ATOMIC_SEQ_CST))
        return true;
    return ((l->lint_level & BIT(LAPIC_LINT0)) && lint_is_extint(l, LAPIC_LINT0)) ||
           ((l->lint_level & BIT(LAPIC_LINT1)) && lint_is_extint(l, LAPIC_LINT1));
}

/* The vector to deliver now, or 0. While the guest may have skipped an EOI, what waits for that EOI
 * counts as deliverable: the vCPU then settles and looks again. */
static u8 deliverable_vector(const struct lapic *l)
{
    u8 vector = vector_highest(l->irr), in_service = vector_highest(l->isr);

    if (__atomic_load_n(&l->offered, __ATOMIC_SEQ_CST))
        in_service = vector_highest_but(l->isr, in_service);
    return vector >> 4 > priority_with(l, in_service) >> 4 ? vector : 0;
}

void lapic_update_intr(struct lapic *l)
{
    bool pending = extint_pending(l) || deliverable_vector(l);

    if (__atomic_exchange_n(&l->intr_level, pending, __ATOMIC_SEQ_CST) != pending)
        l->config.sink.intr(l->config.sink.opaque, pending);
}

bool lapic_has_interrupt(const struct lapic *l)
{
    return __atomic_load_n(&l->intr_level, __ATOMIC_SEQ_CST);
}

static void end_offer(struct lapic *l)
{
    __atomic_store_n(&l->offered, false, __ATOMIC_SEQ_CST);
    l->assist.withdraw(l->assist.opaque);
}

static bool requested(const struct lapic *l)
{
    return vector_highest(l->irr) || extint_pending(l);
}

static void settle_offer(struct lapic *l)
{
    if (l->assist.skipped(l->assist.opaque)) {
        __atomic_store_n(&l->offered, false, __ATOMIC_SEQ_CST);
        lapic_eoi(l);
    } else if (requested(l)) {
        end_offer(l);
        lapic_update_intr(l);
    }
}

/* Offers are made and ended by the vCPU's thread alone. */
void lapic_settle(struct lapic *l)
{
    if (!l->offered)
        return;
    lapic_enter(l);
    settle_offer(l);
    lapic_leave(l);
}

/* The vector goes into service. Its EOI may be skipped if nothing waits for it: it is an edge and
 * no other interrupt is requested (TLFS "EOI assist"); or it needs none (AutoEOI). */
static void enter_service(struct lapic *l, u8 vector)
{
    bool level = vector_test(l->tmr, vector);

    vector_clear(l->irr, vector);
    if (l->assist.auto_eoi && l->assist.auto_eoi(l->assist.opaque, vector))
        return;
    vector_set(l->isr, vector);
    if (l->assist.auto_eoi && !level && !requested(l))
        __atomic_store_n(&l->offered, l->assist.offer(l->assist.opaque), __ATOMIC_SEQ_CST);
}

static u8 acknowledge_vector(struct lapic *l)
{
    u8 vector = deliverable_vector(l);

    if (!vector)
        return (u8)l->svr; /* SDM 3A 10.9: not entered in ISR, needs no EOI */
    enter_service(l, vector);
    return vector;
}

/* The 8259 answers outside of the lock, as it may drive LINT0 meanwhile. */
u8 lapic_acknowledge(struct lapic *l)
{
    bool extint;
    u8 vector = 0;

    lapic_settle(l);
    lapic_enter(l);
    extint = extint_pending(l);
    if (extint)
        __atomic_store_n(&l->extint_latched, false, __ATOMIC_SEQ_CST);
    else
        vector = acknowledge_vector(l);
    if (extint) {
        lapic_leave_unchanged(l);
        vector = l->config.sink.extint_acknowledge(l->config.sink.opaque);
        lapic_enter(l);
    }
    lapic_update_intr(l);
    lapic_leave(l);
    return vector;
}

u8 lapic_get_tpr(const struct lapic *l)
{
    return (u8)(__atomic_load_n(&l->tpr, __ATOMIC_RELAXED) >> 4);
}

void lapic_set_tpr(struct lapic *l, u8 cr8)
{
    lapic_enter(l);
    lapic_write_tpr(l, (u32)(cr8 & 0xf) << 4);
    lapic_leave(l);
}

void lapic_write_tpr(struct lapic *l, u32 value)
{
    __atomic_store_n(&l->tpr, value, __ATOMIC_RELAXED);
    lapic_update_intr(l);
}

void lapic_set_assist(struct lapic *l, const struct lapic_assist *assist)
{
    l->assist = *assist;
}

bool lapic_requested(const struct lapic *l)
{
    bool any;

    lapic_enter(l);
    any = requested(l);
    lapic_leave_unchanged(l);
    return any;
}

/* -- Accepting ------------------------------------------------------------------------------- */

/* Enters a vector into IRR. Illegal ones are dropped with an error (SDM 3A 10.5.2). */
static void request_vector(struct lapic *l, u8 vector, bool level)
{
    if (vector < 16) {
        lapic_error(l, ESR_RECEIVED_ILLEGAL_VECTOR);
        return;
    }
    if (level)
        vector_set(l->tmr, vector);
    else
        vector_clear(l->tmr, vector);
    vector_set(l->irr, vector);
    lapic_update_intr(l);
    if (l->assist.auto_eoi)
        l->assist.requested(l->assist.opaque);
}

void lapic_error(struct lapic *l, u32 errors)
{
    __atomic_fetch_or(&l->esr_pending, errors, __ATOMIC_SEQ_CST);
    if (l->lvt[LVT_ERROR] & LVT_MASKED)
        return;
    /* Once until the next write to ESR (SDM 3A 10.5.3). Disarming comes first: an illegal vector in
     * the error entry itself is an error, too. */
    if (__atomic_exchange_n(&l->error_armed, false, __ATOMIC_SEQ_CST))
        lapic_fire_lvt(l, LVT_ERROR);
}

static bool accept(struct lapic *l, const struct apic_message *m)
{
    const struct lapic_sink *sink = &l->config.sink;

    if (!lapic_enabled(l))
        return false;
    switch ((enum apic_mode)m->mode) {
    case APIC_FIXED:
    case APIC_LOWEST_PRIORITY:
        if (!lapic_software_enabled(l)) /* SDM 3A 10.4.7.2 */
            return false;
        request_vector(l, m->vector, m->level);
        return true;
    case APIC_SMI: sink->smi(sink->opaque); return true;
    case APIC_NMI: sink->nmi(sink->opaque); return true;
    case APIC_INIT: sink->init(sink->opaque); return true;
    case APIC_SIPI: sink->sipi(sink->opaque, m->vector); return true;
    case APIC_EXTINT:
        if (!lapic_software_enabled(l))
            return false;
        __atomic_store_n(&l->extint_latched, true, __ATOMIC_SEQ_CST);
        lapic_update_intr(l);
        return true;
    case APIC_RESERVED_3: break;
    }
    return false;
}

bool lapic_accept(struct lapic *l, const struct apic_message *m)
{
    bool accepted;

    lapic_enter(l);
    accepted = accept(l, m);
    lapic_leave(l);
    return accepted;
}

void lapic_eoi(struct lapic *l)
{
    u8 vector = vector_highest(l->isr);

    if (!vector)
        return;
    vector_clear(l->isr, vector);
    if (vector_test(l->tmr, vector)) {
        for (unsigned entry = LVT_LINT0; entry <= LVT_LINT1; entry++) {
            u32 *lvt = &l->lvt[entry];

            if (!(*lvt & LVT_REMOTE_IRR) || (u8)*lvt != vector)
                continue;
            *lvt &= ~(u32)LVT_REMOTE_IRR;
            if (l->lint_level & BIT(entry - LVT_LINT0))
                lapic_fire_lvt(l, entry);
        }
        if (!(l->svr & SVR_SUPPRESS_EOI)) {
            l->after.eoi = true;
            l->after.eoi_vector = vector;
        }
    }
    lapic_update_intr(l);
    if (l->assist.auto_eoi) {
        l->after.assist_eoi = true;
        l->after.eoi_vector = vector;
    }
}

void lapic_write_eoi(struct lapic *l)
{
    if (l->offered)
        end_offer(l);
    lapic_eoi(l);
}

void lapic_end_of_interrupt(struct lapic *l)
{
    lapic_settle(l);
    lapic_enter(l);
    lapic_write_eoi(l);
    lapic_leave(l);
}

/* -- Local vector table and pins ------------------------------------------------------------- */

u32 lapic_lvt_mask(const struct lapic *l, enum lapic_lvt entry)
{
    switch (entry) {
    case LVT_TIMER: return l->config.tsc_deadline ? 0x700ff : 0x300ff;
    case LVT_THERMAL:
    case LVT_PERF: return 0x107ff;
    case LVT_LINT0:
    case LVT_LINT1: return 0x1a7ff;
    case LVT_ERROR:
    case LVT_COUNT: break;
    }
    return 0x100ff;
}

/* A pin is level sensitive in fixed mode only: NMI, SMI and INIT are always edges (SDM 3A 10.5.1).
 */
static bool lint_is_level(u32 lvt)
{
    return bits_get(lvt, 8, 3) == APIC_FIXED && (lvt & LVT_LEVEL);
}

void lapic_fire_lvt(struct lapic *l, enum lapic_lvt entry)
{
    const struct lapic_sink *sink = &l->config.sink;
    u32 lvt = l->lvt[entry];
    bool pin = entry == LVT_LINT0 || entry == LVT_LINT1;

    if (lvt & LVT_MASKED)
        return;
    switch ((enum apic_mode)bits_get(lvt, 8, 3)) {
    case APIC_FIXED:
        if (pin && lint_is_level(lvt) && (u8)lvt >= 16)
            l->lvt[entry] |= LVT_REMOTE_IRR;
        request_vector(l, (u8)lvt, pin && lint_is_level(lvt));
        break;
    case APIC_SMI: sink->smi(sink->opaque); break;
    case APIC_NMI: sink->nmi(sink->opaque); break;
    case APIC_INIT: sink->init(sink->opaque); break;
    case APIC_EXTINT: /* a level, see extint_pending() */
    case APIC_LOWEST_PRIORITY:
    case APIC_RESERVED_3:
    case APIC_SIPI: break;
    }
}

/* Delivers a level-sensitive pin that is active and not waiting for its EOI. */
static void service_level_pin(struct lapic *l, unsigned pin)
{
    u32 lvt = l->lvt[LVT_LINT0 + pin];

    if ((l->lint_level & BIT(pin)) && lint_is_level(lvt) && !(lvt & LVT_REMOTE_IRR))
        lapic_fire_lvt(l, LVT_LINT0 + pin);
}

void lapic_write_lvt(struct lapic *l, enum lapic_lvt entry, u32 value)
{
    u32 old = l->lvt[entry];

    value &= lapic_lvt_mask(l, entry);
    if (!lapic_software_enabled(l))
        value |= LVT_MASKED;
    if (entry == LVT_TIMER) {
        lapic_timer_write_lvt(l, value);
        return;
    }
    if (lint_is_level(value))
        value |= old & LVT_REMOTE_IRR;
    l->lvt[entry] = value;
    if (entry == LVT_LINT0 || entry == LVT_LINT1)
        service_level_pin(l, entry - LVT_LINT0);
    lapic_update_intr(l);
}

void lapic_set_lint(void *lapic, unsigned pin, bool level)
{
    struct lapic *l = lapic;
    bool rising;

    lapic_enter(l);
    rising = level && !(l->lint_level & BIT(pin));
    check(pin <= LAPIC_LINT1, "lapic has no LINT%u", pin);
    l->lint_level = (u8)((l->lint_level & ~BIT(pin)) | (level ? BIT(pin) : 0));
    if (!lapic_enabled(l)) {
        if (pin == LAPIC_LINT1 && rising)
            l->config.sink.nmi(l->config.sink.opaque);
    } else if (lint_is_level(l->lvt[LVT_LINT0 + pin])) {
        service_level_pin(l, pin);
    } else if (rising) {
        lapic_fire_lvt(l, LVT_LINT0 + pin);
    }
    lapic_update_intr(l);
    lapic_leave(l);
}

/* SDM 3A 10.9 and 10.4.7.2: disabling masks every LVT entry; enabling unmasks none. */
void lapic_write_svr(struct lapic *l, u32 value)
{
    bool was_enabled = lapic_software_enabled(l);

    __atomic_store_n(&l->svr, value, __ATOMIC_RELAXED);
    if (!(value & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVT_COUNT; i++)
            l->lvt[i] |= LVT_MASKED;
        lapic_update_intr(l);
    } else if (!was_enabled) {
        l->after.targets_changed = true;
    }
}

/* -- Modes and life cycle -------------------------------------------------------------------- */

bool lapic_enabled(const struct lapic *l)
{
    return __atomic_load_n(&l->base_msr, __ATOMIC_RELAXED) & LAPIC_BASE_EN;
}

u32 lapic_read_ldr(const struct lapic *l)
{
    u32 id = l->config.apic_id;

    return lapic_x2apic(l) ? (id >> 4) << 16 | 1u << (id & 0xf) : l->ldr; /* SDM 3A 10.12.10.2 */
}

/* Registers to the state of SDM 3A 10.4.7.1. The wires keep their levels. */
static void reset_registers(struct lapic *l)
{
    memset(l->irr, 0, sizeof(l->irr));
    memset(l->isr, 0, sizeof(l->isr));
    memset(l->tmr, 0, sizeof(l->tmr));
    l->tpr = 0;
    l->ldr = 0;
    l->dfr = ~0u;
    l->svr = 0xff;
    l->esr = 0;
    l->esr_pending = 0;
    l->error_armed = true;
    l->icr = 0;
    l->extint_latched = false;
    l->offered = false;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] = LVT_MASKED;
    lapic_timer_reset(l);
    lapic_update_intr(l);
}

u64 lapic_base_read(const struct lapic *l)
{
    return __atomic_load_n(&l->base_msr, __ATOMIC_RELAXED);
}

static bool write_base(struct lapic *l, u64 value)
{
    const u64 mode_bits = LAPIC_BASE_EN | LAPIC_BASE_EXTD;
    u64 reserved = 0x2ff | ~(BIT(l->config.maxphyaddr) - 1);
    u64 from = l->base_msr & mode_bits, to = value & mode_bits;
    bool was_enabled = lapic_enabled(l);

    if (!l->config.x2apic)
        reserved |= LAPIC_BASE_EXTD;
    /* SDM 3A 10.12.5: x2APIC is entered from xAPIC and left by disabling only. */
    if ((value & reserved) || to == LAPIC_BASE_EXTD || (to == mode_bits && !from) ||
        (from == mode_bits && to == LAPIC_BASE_EN))
        return false;
    __atomic_store_n(&l->base_msr, value, __ATOMIC_RELAXED);
    if (was_enabled && !lapic_enabled(l))
        reset_registers(l); /* 10.4.3: what was set up may be lost; it is */
    l->after.map = l->after.targets_changed = true;
    lapic_update_intr(l);
    return true;
}

bool lapic_base_write(struct lapic *l, u64 value)
{
    bool valid;

    lapic_enter(l);
    valid = write_base(l, value);
    lapic_leave(l);
    return valid;
}

void lapic_init_reset(struct lapic *l)
{
    lapic_enter(l);
    reset_registers(l);
    lapic_leave(l);
}

static enum status lapic_init(void *self, const struct device_env *env, const void *config,
                              struct error *err)
{
    struct lapic *l = self;
    const struct lapic_config *c = config;

    if (c->bus_hz < 1000000 || c->maxphyaddr < 32 || c->maxphyaddr > 52)
        return error_set(err, ST_INVALID,
                         "The local APIC needs a bus of at least 1 MHz and 32 to "
                         "52 bits of physical address.");
    pthread_mutex_init(&l->lock, NULL);
    l->config = *c;
    l->clock = env->clock;
    l->log = env->log;
    lapic_timer_init(l);
    return apic_bus_add(c->bus, l, err);
}

static void lapic_reset(void *self)
{
    struct lapic *l = self;

    lapic_enter(l);
    l->base_msr = LAPIC_DEFAULT_BASE | LAPIC_BASE_EN | (l->config.bsp ? LAPIC_BASE_BSP : 0);
    reset_registers(l);
    l->after.map = true;
    lapic_leave(l);
}

static void lapic_fini(void *self)
{
    struct lapic *l = self;

    timer_cancel(&l->timer);
    apic_bus_remove(l->config.bus, l);
    pthread_mutex_destroy(&l->lock);
}

static const struct device_field lapic_fields[] = {
    DEVICE_FIELD(lapic, base_msr),
    DEVICE_FIELD(lapic, irr),
    DEVICE_FIELD(lapic, isr),
    DEVICE_FIELD(lapic, tmr),
    DEVICE_FIELD(lapic, tpr),
    DEVICE_FIELD(lapic, ldr),
    DEVICE_FIELD(lapic, dfr),
    DEVICE_FIELD(lapic, svr),
    DEVICE_FIELD(lapic, esr),
    DEVICE_FIELD(lapic, esr_pending),
    DEVICE_FIELD(lapic, error_armed),
    DEVICE_FIELD(lapic, icr),
    DEVICE_FIELD(lapic, lvt),
    DEVICE_FIELD(lapic, lint_level),
    DEVICE_FIELD(lapic, extint_latched),
    DEVICE_FIELD(lapic, intr_level),
    DEVICE_FIELD(lapic, offered),
    DEVICE_FIELD(lapic, divide),
    DEVICE_FIELD(lapic, initial_count),
    DEVICE_FIELD(lapic, count_start),
    DEVICE_FIELD(lapic, start_ns),
    DEVICE_FIELD(lapic, counting),
    DEVICE_FIELD(lapic, tsc_deadline),
    DEVICE_FIELD(lapic, due),
    {0},
};

const struct device_type lapic_type = {
    .name = "lapic",
    .state_size = sizeof(struct lapic),
    .init = lapic_init,
    .reset = lapic_reset,
    .fini = lapic_fini,
    .save = lapic_fields,
};
