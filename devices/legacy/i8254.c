/* SPDX-License-Identifier: MIT
 *
 * Intel 8254 programmable interval timer (order 231164) and port 61h. Counters are advanced lazily,
 * in closed form, to the CLK pulse that the clock shows now: CLK pulse n falls at n / 1193182 s
 * after power-on, computed in 128 bits, so nothing drifts. One timer follows OUT of counter 0.
 *
 * Invariant: counter.tick never runs ahead of the clock, and every register access syncs first.
 * Undefined by the datasheet and chosen here: a count of 1 in modes 2 and 3 acts like the chip's
 * counting element that has passed its comparison, and runs once around before it fires.
 */
#include "devices/legacy/i8254.h"

enum { CONTROL_PORT = 3, COUNTERS = 3, SPEAKER = 2 };
enum { RW_LATCH, RW_LSB, RW_MSB, RW_WORD };
enum { STATUS_OUT = 0x80, STATUS_NULL = 0x40 };
enum { PORT61_GATE2 = 0x01, PORT61_SPEAKER = 0x02, PORT61_REFRESH = 0x10, PORT61_OUT2 = 0x20 };
enum { REFRESH_TICKS = 18 }; /* counter 1 of the PC/AT: a refresh request every 15.085 us */

struct counter {
    u64 tick;      /* CLK pulses since power-on that have been counted */
    u16 ce;        /* counting element, as read: binary or BCD digits */
    u16 cr;        /* count register */
    u32 half_left; /* mode 3: pulses to the end of this half */
    u16 latch;     /* output latch */
    u8 control;    /* bits 5-0 of the last control word */
    u8 low;        /* first byte of a two-byte write */
    u8 status;     /* latched status */
    u8 latched;    /* bytes of the output latch still to read */
    bool status_latched;
    bool write_high; /* the next write is the second byte */
    bool read_high;  /* the next unlatched read is the second byte */
    bool null_count; /* CR has not reached CE */
    bool written;    /* a count was written since the control word */
    bool loaded;     /* CE holds a count and may run */
    bool load;       /* the next CLK pulse moves CR to CE */
    bool armed;      /* the terminal count is still to come */
    bool halted;     /* mode 0, between the two bytes of a count */
    bool gate;
    bool out;
    bool rose, fell; /* OUT since the last look */
};

struct i8254 {
    struct device_env env;
    struct timer timer; /* the next edge of OUT0 that matters */
    struct counter counter[COUNTERS];
    u8 port61; /* the writable bits */
};

static unsigned counter_mode(const struct counter *c)
{
    unsigned mode = (c->control >> 1) & 7;

    return mode > 5 ? mode - 4 : mode; /* modes 6 and 7 are 2 and 3 */
}

static bool counter_bcd(const struct counter *c)
{
    return c->control & 1;
}

/* The pulses from one value of CE to the same value again. */
static u32 counter_modulus(const struct counter *c)
{
    return counter_bcd(c) ? 10000 : 65536;
}

/* Pulses from value down to zero; zero itself stands for a full turn. Digits above 9 count as such,
 * because the chip decrements each digit to 0 before it borrows. */
static u32 count_ticks(const struct counter *c, u16 value)
{
    u32 ticks = value;

    if (counter_bcd(c)) {
        ticks = 0;
        for (unsigned shift = 16; shift; shift -= 4)
            ticks = ticks * 10 + ((value >> (shift - 4)) & 0xf);
    }
    return ticks ? ticks : counter_modulus(c);
}

/* value after n decrements. */
static u16 count_down(const struct counter *c, u16 value, u64 n)
{
    u16 result = 0;

    if (!counter_bcd(c))
        return (u16)(value - n);
    for (unsigned shift = 0; shift < 16; shift += 4) {
        u64 digit = (value >> shift) & 0xf;
        u64 borrows = n <= digit ? 0 : (n - digit + 9) / 10;

        result |= (u16)((digit + borrows * 10 - n) << shift);
        n = borrows;
    }
    return result;
}

static void counter_set_out(struct counter *c, bool out)
{
    c->rose |= out && !c->out;
    c->fell |= !out && c->out;
    c->out = out;
}

/* Mode 3 counts down an even number by two, twice; an odd count makes the high half one pulse
 * longer (datasheet, "Mode 3: Square Wave Mode"). */
static void load_half(struct counter *c)
{
    c->ce = c->cr & 0xfffe;
    c->half_left = count_ticks(c, c->ce) / 2 + (c->out && (c->cr & 1));
    c->null_count = false;
}

/* The CLK pulse that moves CR to CE. */
static void counter_load(struct counter *c)
{
    unsigned mode = counter_mode(c);

    c->load = false;
    c->loaded = true;
    c->armed = true;
    c->null_count = false;
    c->ce = c->cr;
    if (mode != 0)
        counter_set_out(c, mode != 1);
    if (mode == 3)
        load_half(c);
}

static bool counter_runs(const struct counter *c)
{
    unsigned mode = counter_mode(c);

    return c->loaded && !c->halted && (c->gate || mode == 1 || mode == 5);
}

/* Modes 0 and 1: OUT rises once at zero, the count goes on. Returns the pulses used, at most n. */
static u64 run_one_shot(struct counter *c, u64 n)
{
    u32 left = count_ticks(c, c->ce);

    if (c->armed && n >= left) {
        c->ce = 0;
        c->armed = false;
        counter_set_out(c, true);
        return left;
    }
    c->ce = count_down(c, c->ce, n);
    return n;
}

/* Mode 2: low for the one pulse in which CE is 1, then CE is reloaded. */
static u64 run_rate(struct counter *c, u64 n)
{
    u32 left;

    if (!c->out) {
        u32 period = count_ticks(c, c->cr);

        c->ce = c->cr;
        c->null_count = false;
        counter_set_out(c, true);
        if (period == 1)
            period += counter_modulus(c);
        if (n <= period)
            return 1;
        c->fell = true; /* whole periods go by at once */
        return 1 + (n - 1) / period * period;
    }
    left = count_ticks(c, c->ce) - 1;
    if (!left)
        left = counter_modulus(c);
    if (n < left) {
        c->ce = count_down(c, c->ce, n);
        return n;
    }
    c->ce = 1;
    counter_set_out(c, false);
    return left;
}

static u64 run_square(struct counter *c, u64 n)
{
    u64 used = c->half_left;
    u64 period;

    if (n < used) {
        c->ce = count_down(c, c->ce, 2 * n);
        c->half_left -= (u32)n;
        return n;
    }
    counter_set_out(c, !c->out);
    load_half(c);
    period = 2 * (u64)(count_ticks(c, c->ce) / 2) + (c->cr & 1);
    if (n - used < period)
        return used;
    c->rose = c->fell = true;
    return used + (n - used) / period * period;
}

/* Modes 4 and 5: one pulse low at zero. */
static u64 run_strobe(struct counter *c, u64 n)
{
    u32 left = count_ticks(c, c->ce);

    if (!c->out) {
        c->ce = count_down(c, c->ce, 1);
        counter_set_out(c, true);
        return 1;
    }
    if (c->armed && n >= left) {
        c->ce = 0;
        c->armed = false;
        counter_set_out(c, false);
        return left;
    }
    c->ce = count_down(c, c->ce, n);
    return n;
}

/* Up to n pulses; returns how many were dealt with. */
static u64 counter_run(struct counter *c, u64 n)
{
    if (c->load) {
        counter_load(c);
        return 1;
    }
    if (!counter_runs(c)) {
        if (counter_mode(c) == 4)
            counter_set_out(c, true); /* a strobe lasts one pulse, gate or not */
        return n;
    }
    switch (counter_mode(c)) {
    case 0:
    case 1: return run_one_shot(c, n);
    case 2: return run_rate(c, n);
    case 3: return run_square(c, n);
    default: return run_strobe(c, n);
    }
}

/* Every mode reaches a state that takes all remaining pulses after a few steps. */
static void counter_advance(struct counter *c, u64 tick)
{
    while (c->tick < tick)
        c->tick += counter_run(c, tick - c->tick);
}

/* Pulses until OUT may rise (mode 3: change), or CLOCK_NEVER. The fall of mode 2 is left out: it
 * comes one pulse before the rise, and is shown together with it. */
static u64 counter_next_edge(const struct counter *c)
{
    if (c->load)
        return 1;
    if (!counter_runs(c))
        return c->out || counter_mode(c) != 4 ? CLOCK_NEVER : 1;
    switch (counter_mode(c)) {
    case 2:
        if (!c->out)
            return 1;
        return c->ce == 1 ? counter_modulus(c) + 1 : count_ticks(c, c->ce);
    case 3: return c->half_left;
    case 4:
    case 5:
        if (!c->out)
            return 1;
        break;
    }
    return c->armed ? count_ticks(c, c->ce) : CLOCK_NEVER;
}

static u64 tick_now(const struct i8254 *s)
{
    return (u64)((u128)clock_now(s->env.clock) * I8254_HZ / NS_PER_SECOND);
}

/* The first nanosecond at which tick_now() shows tick. */
static u64 tick_time(u64 tick)
{
    return (u64)(((u128)tick * NS_PER_SECOND + I8254_HZ - 1) / I8254_HZ);
}

/* Shows OUT0 on the interrupt line. Any number of missed rises makes one edge; the line then stays
 * up until the next event, so that a late rise is not taken back before the guest could see it. */
static void drive_irq(struct i8254 *s)
{
    struct counter *c = &s->counter[0];
    u64 next = counter_next_edge(c);

    if (c->rose) {
        device_irq_set(&s->env, I8254_PIN_IRQ, false);
        device_irq_set(&s->env, I8254_PIN_IRQ, true);
    } else if (c->fell) {
        device_irq_set(&s->env, I8254_PIN_IRQ, false);
    }
    c->rose = c->fell = false;
    timer_arm(&s->timer, next == CLOCK_NEVER ? CLOCK_NEVER : tick_time(c->tick + next));
}

static struct counter *sync(struct i8254 *s, unsigned index)
{
    counter_advance(&s->counter[index], tick_now(s));
    if (index == 0)
        drive_irq(s);
    return &s->counter[index];
}

static void timer_fired(void *opaque)
{
    sync(opaque, 0);
}

static void counter_set_gate(struct counter *c, bool gate)
{
    unsigned mode = counter_mode(c);
    bool rising = gate && !c->gate;

    c->gate = gate;
    if ((mode == 2 || mode == 3) && !gate)
        counter_set_out(c, true); /* at once, without a CLK pulse */
    if (rising && c->written && (mode == 1 || mode == 2 || mode == 3 || mode == 5))
        c->load = true;
}

static void counter_control(struct counter *c, u8 control)
{
    c->control = control & 0x3f;
    c->null_count = true;
    c->written = c->loaded = c->load = c->armed = c->halted = false;
    c->write_high = c->read_high = c->status_latched = false;
    c->latched = 0;
    counter_set_out(c, counter_mode(c) != 0);
}

static void latch_count(struct counter *c)
{
    if (c->latched)
        return;
    c->latch = c->ce;
    c->latched = (c->control >> 4) == RW_WORD ? 2 : 1;
}

static void latch_status(struct counter *c)
{
    if (c->status_latched)
        return;
    c->status_latched = true;
    c->status = (u8)((c->out ? STATUS_OUT : 0) | (c->null_count ? STATUS_NULL : 0) | c->control);
}

static void write_control(struct i8254 *s, u8 value)
{
    if (value >> 6 == 3) {
        for (unsigned i = 0; i < COUNTERS; i++) {
            if (!(value & (2 << i)))
                continue;
            sync(s, i);
            if (!(value & 0x20))
                latch_count(&s->counter[i]);
            if (!(value & 0x10))
                latch_status(&s->counter[i]);
        }
    } else if ((value & 0x30) >> 4 == RW_LATCH) {
        latch_count(sync(s, value >> 6));
    } else {
        counter_control(sync(s, value >> 6), value);
    }
}

static void counter_write_count(struct counter *c, u16 count)
{
    unsigned mode = counter_mode(c);

    c->cr = count;
    c->null_count = true;
    c->halted = false;
    if (mode == 0)
        counter_set_out(c, false);
    /* Modes 2 and 3 take a later count at the end of the period, 1 and 5 with the next trigger. */
    if (mode == 0 || mode == 4 || ((mode == 2 || mode == 3) && !c->written))
        c->load = true;
    c->written = true;
}

static void counter_write(struct counter *c, u8 value)
{
    switch (c->control >> 4) {
    case RW_LSB: counter_write_count(c, value); return;
    case RW_MSB: counter_write_count(c, (u16)(value << 8)); return;
    }
    if (!c->write_high) {
        c->low = value;
        if (counter_mode(c) == 0) { /* "writing the first byte disables counting" */
            c->halted = true;
            c->load = false;
            counter_set_out(c, false);
        }
    } else {
        counter_write_count(c, (u16)(value << 8 | c->low));
    }
    c->write_high = !c->write_high;
}

static u8 counter_read(struct counter *c)
{
    unsigned access = c->control >> 4;
    bool high = access == RW_MSB;
    u16 count = c->ce;

    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latched) {
        count = c->latch;
        c->latched--;
    }
    if (access == RW_WORD) {
        high = c->read_high;
        c->read_high = !c->read_high;
    }
    return (u8)(high ? count >> 8 : count);
}

static u64 i8254_read(void *self, u64 offset, unsigned size)
{
    (void)size;
    if (offset == CONTROL_PORT)
        return ~0ull; /* "no-operation": the bus floats */
    return counter_read(sync(self, (unsigned)offset));
}

static void i8254_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct i8254 *s = self;

    (void)size;
    if (offset == CONTROL_PORT)
        write_control(s, (u8)value);
    else
        counter_write(sync(s, (unsigned)offset), (u8)value);
    drive_irq(s);
}

/* NMI status and control register, PIIX4 datasheet 4.2.6.1: bits 7-6 would show NMI sources that
 * this PC does not have. */
static u64 port61_read(void *self, u64 offset, unsigned size)
{
    struct i8254 *s = self;
    u8 value = s->port61;

    (void)offset;
    (void)size;
    if (tick_now(s) / REFRESH_TICKS & 1)
        value |= PORT61_REFRESH;
    if (sync(s, SPEAKER)->out)
        value |= PORT61_OUT2;
    return value;
}

static void port61_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct i8254 *s = self;

    (void)offset;
    (void)size;
    s->port61 = value & 0x0f;
    counter_set_gate(sync(s, SPEAKER), value & PORT61_GATE2);
}

bool i8254_speaker(void *self)
{
    struct i8254 *s = self;

    return (s->port61 & PORT61_SPEAKER) && sync(s, SPEAKER)->out;
}

static const struct device_pio i8254_pio[] = {
    {0x40, 4, {i8254_read, i8254_write, SIZE_1}},
    {0x61, 1, {port61_read, port61_write, SIZE_1}},
    {0},
};

static enum status i8254_init(void *self, const struct device_env *env, const void *config,
                              struct error *err)
{
    struct i8254 *s = self;

    (void)config;
    (void)err;
    s->env = *env;
    timer_init(&s->timer, env->clock, "i8254", timer_fired, s);
    return ST_OK;
}

/* The chip's state is undefined until a control word: mode 0 without a count is the quiet one. */
static void i8254_reset(void *self)
{
    struct i8254 *s = self;

    s->port61 = 0;
    for (unsigned i = 0; i < COUNTERS; i++) {
        s->counter[i] = (struct counter){.tick = tick_now(s), .gate = i != SPEAKER};
        counter_control(&s->counter[i], RW_WORD << 4);
    }
    device_irq_set(&s->env, I8254_PIN_IRQ, false);
    drive_irq(s);
}

static void i8254_fini(void *self)
{
    timer_cancel(&((struct i8254 *)self)->timer);
}

static const struct device_field i8254_save[] = {
    DEVICE_FIELD(i8254, counter),
    DEVICE_FIELD(i8254, port61),
    {0},
};

const struct device_type i8254_type = {
    .name = "i8254",
    .state_size = sizeof(struct i8254),
    .irq_pins = 1,
    .pio = i8254_pio,
    .init = i8254_init,
    .reset = i8254_reset,
    .fini = i8254_fini,
    .save = i8254_save,
};
