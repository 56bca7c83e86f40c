/* SPDX-License-Identifier: MIT
 *
 * MC146818A real-time clock (Motorola datasheet; PIIX4 datasheet 4.2.7) and CMOS RAM. Nothing runs
 * in the background: the divider chain has an origin, second boundary n lies at origin + n s, and
 * the time registers hold the time of boundary `second` until somebody looks. Interrupt flags are
 * computed the same way; one timer exists only while an enabled interrupt is still to come.
 *
 * Invariant: after sync(), everything up to the clock's now has happened. The time registers are
 * kept as the guest wrote them until the next update, which brings wild values back into range. The
 * divider runs with DV = 010 (32,768 Hz) and stands still with every other value.
 */
#include "devices/legacy/rtc.h"

enum {
    REG_SECONDS = 0x00,
    REG_SECONDS_ALARM = 0x01,
    REG_MINUTES = 0x02,
    REG_MINUTES_ALARM = 0x03,
    REG_HOURS = 0x04,
    REG_HOURS_ALARM = 0x05,
    REG_WEEKDAY = 0x06,
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    REG_CENTURY = 0x32,
};
enum { A_UIP = 0x80, A_DV = 0x70, A_DV_32768 = 0x20, A_RS = 0x0f };
enum {
    B_SET = 0x80,
    B_PIE = 0x40,
    B_AIE = 0x20,
    B_UIE = 0x10,
    B_SQWE = 0x08,
    B_DM = 0x04,
    B_24H = 0x02
};
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
enum { D_VRT = 0x80, ALARM_ANY = 0xc0, HOURS_PM = 0x80 };

enum { BANK_SIZE = 128, NMI_MASK = 0x80, OSCILLATOR_HZ = 32768, SECONDS_PER_DAY = 86400 };
/* UIP rises tBUC = 244 us before the update cycle, which takes tUC = 1984 us at 32,768 Hz. */
#define UIP_NS (244000u + 1984000u)

struct rtc {
    struct device_env env;
    struct timer timer;
    u64 ticks;   /* oscillator ticks since origin whose PF was taken into account */
    u64 second;  /* boundaries since origin that the time registers include */
    i64 origin;  /* ns since power-on of boundary 0 of the divider; below 0 for one before power-on
                  */
    u8 index[2]; /* of ports 70 (with NMI mask) and 72 */
    u8 bank[2][BANK_SIZE];
};

struct civil {
    unsigned second, minute, hour, day, month, year; /* year in full */
};

static u8 *regs(struct rtc *s)
{
    return s->bank[0];
}

static u8 encode(struct rtc *s, unsigned value)
{
    return (u8)(regs(s)[REG_B] & B_DM ? value : value / 10 << 4 | value % 10);
}

/* A register's value, brought into [low, high]. */
static unsigned decode(struct rtc *s, u8 raw, unsigned low, unsigned high)
{
    unsigned value = regs(s)[REG_B] & B_DM ? raw : (raw >> 4) * 10u + (raw & 15);

    return value < low ? low : value > high ? high : value;
}

static u8 encode_hour(struct rtc *s, unsigned hour)
{
    if (regs(s)[REG_B] & B_24H)
        return encode(s, hour);
    return (u8)(encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOURS_PM : 0));
}

static unsigned decode_hour(struct rtc *s, u8 raw)
{
    if (regs(s)[REG_B] & B_24H)
        return decode(s, raw, 0, 23);
    return decode(s, raw & 0x7f, 1, 12) % 12 + (raw & HOURS_PM ? 12 : 0);
}

static bool leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const u8 days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && leap(year));
}

/* Days from 1 January of year 0 (proleptic Gregorian) to 1 January of year. */
static u64 days_before_year(u64 year)
{
    return year ? year * 365 + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 : 0;
}

static u64 civil_days(const struct civil *t)
{
    u64 days = days_before_year(t->year) + t->day - 1;

    for (unsigned month = 1; month < t->month; month++)
        days += month_days(t->year, month);
    return days;
}

static void civil_from_days(struct civil *t, u64 days)
{
    u64 year = days * 400 / 146097; /* within one year of the truth */

    while (days_before_year(year) > days)
        year--;
    while (days_before_year(year + 1) <= days)
        year++;
    days -= days_before_year(year);
    t->year = (unsigned)year;
    for (t->month = 1; days >= month_days(t->year, t->month); t->month++)
        days -= month_days(t->year, t->month);
    t->day = (unsigned)days + 1;
}

static void read_time(struct rtc *s, struct civil *t)
{
    const u8 *r = regs(s);

    t->second = decode(s, r[REG_SECONDS], 0, 59);
    t->minute = decode(s, r[REG_MINUTES], 0, 59);
    t->hour = decode_hour(s, r[REG_HOURS]);
    t->month = decode(s, r[REG_MONTH], 1, 12);
    t->year = decode(s, r[REG_CENTURY], 0, 99) * 100 + decode(s, r[REG_YEAR], 0, 99);
    t->day = decode(s, r[REG_DAY], 1, month_days(t->year, t->month));
}

static void write_time(struct rtc *s, const struct civil *t)
{
    u8 *r = regs(s);

    r[REG_SECONDS] = encode(s, t->second);
    r[REG_MINUTES] = encode(s, t->minute);
    r[REG_HOURS] = encode_hour(s, t->hour);
    r[REG_DAY] = encode(s, t->day);
    r[REG_MONTH] = encode(s, t->month);
    r[REG_YEAR] = encode(s, t->year % 100);
    r[REG_CENTURY] = encode(s, t->year / 100 % 100);
}

static unsigned day_second(const struct civil *t)
{
    return t->hour * 3600 + t->minute * 60 + t->second;
}

/* Seconds (1..86400) from t to the next time that matches the alarm registers, 0 if none does. An
 * alarm byte of C0 to FF matches everything. */
static unsigned alarm_distance(struct rtc *s, const struct civil *t)
{
    const u8 *r = regs(s);
    unsigned now = day_second(t);

    for (unsigned when = now + 1; when <= now + SECONDS_PER_DAY;) {
        unsigned hour = when / 3600 % 24, minute = when / 60 % 60, second = when % 60;

        if (r[REG_HOURS_ALARM] < ALARM_ANY && r[REG_HOURS_ALARM] != encode_hour(s, hour))
            when = (when / 3600 + 1) * 3600;
        else if (r[REG_MINUTES_ALARM] < ALARM_ANY && r[REG_MINUTES_ALARM] != encode(s, minute))
            when = (when / 60 + 1) * 60;
        else if (r[REG_SECONDS_ALARM] < ALARM_ANY && r[REG_SECONDS_ALARM] != encode(s, second))
            when++;
        else
            return when - now;
    }
    return 0;
}

static bool divider_runs(struct rtc *s)
{
    return (regs(s)[REG_A] & A_DV) == A_DV_32768;
}

/* ns since boundary 0 of the divider. */
static u64 divider_ns(struct rtc *s)
{
    return clock_now(s->env.clock) - (u64)s->origin;
}

/* Oscillator ticks between two periodic interrupts, 0 if off (datasheet table 5). */
static u64 period_ticks(struct rtc *s)
{
    unsigned rate = regs(s)[REG_A] & A_RS;

    if (!rate)
        return 0;
    return 1ull << (rate <= 2 ? rate + 6 : rate - 1);
}

/* count seconds go by in the time registers. */
static void advance_time(struct rtc *s, u64 count)
{
    struct civil t;
    unsigned alarm;
    u64 total, days;

    read_time(s, &t);
    alarm = alarm_distance(s, &t);
    if (alarm && alarm <= count)
        regs(s)[REG_C] |= C_AF;
    regs(s)[REG_C] |= C_UF;
    total = day_second(&t) + count;
    days = total / SECONDS_PER_DAY;
    total %= SECONDS_PER_DAY;
    t.hour = (unsigned)(total / 3600);
    t.minute = (unsigned)(total / 60 % 60);
    t.second = (unsigned)(total % 60);
    if (days) {
        unsigned weekday = decode(s, regs(s)[REG_WEEKDAY], 1, 7);

        regs(s)[REG_WEEKDAY] = encode(s, (unsigned)((weekday - 1 + days) % 7 + 1));
        civil_from_days(&t, civil_days(&t) + days);
    }
    write_time(s, &t);
}

/* ns since power-on at which oscillator tick n after origin is over. */
static u64 tick_time(struct rtc *s, u64 n)
{
    return (u64)s->origin + (u64)(((u128)n * NS_PER_SECOND + OSCILLATOR_HZ - 1) / OSCILLATOR_HZ);
}

/* Lets everything happen that is due, without touching the interrupt line. */
static void advance(struct rtc *s)
{
    u64 period = period_ticks(s);
    u64 ns, ticks, second;

    if (!divider_runs(s))
        return;
    ns = divider_ns(s);
    ticks = (u64)((u128)ns * OSCILLATOR_HZ / NS_PER_SECOND);
    second = ns / NS_PER_SECOND;
    if (period && ticks / period > s->ticks / period)
        regs(s)[REG_C] |= C_PF;
    if (second > s->second && !(regs(s)[REG_B] & B_SET))
        advance_time(s, second - s->second);
    s->ticks = ticks;
    s->second = second;
}

/* The next moment at which an enabled interrupt sets its flag, or CLOCK_NEVER. */
static u64 next_event(struct rtc *s)
{
    u8 b = regs(s)[REG_B];
    u64 period = period_ticks(s);
    u64 when = CLOCK_NEVER;
    u64 seconds = 0;

    if (!divider_runs(s) || (regs(s)[REG_C] & C_IRQF))
        return CLOCK_NEVER;
    if ((b & B_PIE) && period)
        when = tick_time(s, (s->ticks / period + 1) * period);
    if (b & B_SET)
        return when;
    if (b & B_UIE) {
        seconds = 1;
    } else if (b & B_AIE) {
        struct civil t;

        read_time(s, &t);
        seconds = alarm_distance(s, &t);
    }
    if (seconds) {
        u64 at = (u64)s->origin + (s->second + seconds) * NS_PER_SECOND;

        when = at < when ? at : when;
    }
    return when;
}

/* IRQF = PF.PIE + AF.AIE + UF.UIE; the line follows it. Nothing is due before register C is read
 * once the line is up, so that a guest that falls behind sees one interrupt. */
static void update_irq(struct rtc *s)
{
    u8 *r = regs(s);
    bool irq = r[REG_C] & r[REG_B] & (C_PF | C_AF | C_UF);

    r[REG_C] = irq ? r[REG_C] | C_IRQF : r[REG_C] & (u8)~C_IRQF;
    device_irq_set(&s->env, RTC_PIN_IRQ, irq);
    timer_arm(&s->timer, next_event(s));
}

static void timer_fired(void *opaque)
{
    advance(opaque);
    update_irq(opaque);
}

static void write_a(struct rtc *s, u8 value)
{
    bool ran = divider_runs(s);

    regs(s)[REG_A] = value & (u8)~A_UIP;
    if (divider_runs(s) && !ran) {
        /* "The first update cycle begins one-half second later." */
        s->origin = (i64)(clock_now(s->env.clock) - NS_PER_SECOND / 2);
        s->second = 0;
        s->ticks = OSCILLATOR_HZ / 2;
    }
}

static void write_register(struct rtc *s, unsigned index, u8 value)
{
    switch (index) {
    case REG_A: write_a(s, value); break;
    case REG_B:
        regs(s)[REG_B] = value & B_SET ? value & (u8)~B_UIE : value; /* SET clears UIE */
        break;
    case REG_C:
    case REG_D: break; /* read-only */
    default: regs(s)[index] = value; break;
    }
}

static u8 read_a(struct rtc *s)
{
    u64 left = NS_PER_SECOND - divider_ns(s) % NS_PER_SECOND;
    bool uip = divider_runs(s) && !(regs(s)[REG_B] & B_SET) && left <= UIP_NS;

    return regs(s)[REG_A] | (uip ? A_UIP : 0);
}

static u8 read_c(struct rtc *s)
{
    u8 value = regs(s)[REG_C];

    regs(s)[REG_C] = 0;
    return value;
}

static u64 rtc_read(void *self, u64 offset, unsigned size)
{
    struct rtc *s = self;
    u8 index = s->index[0] & 0x7f;
    u8 value;

    (void)size;
    if (offset == 0)
        return ~0ull; /* the index is write-only */
    advance(s);
    update_irq(s); /* register C shows IRQF with the flags that became due just now */
    switch (index) {
    case REG_A: value = read_a(s); break;
    case REG_C: value = read_c(s); break;
    case REG_D: value = D_VRT; break;
    default: value = regs(s)[index]; break;
    }
    update_irq(s);
    return value;
}

static void rtc_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct rtc *s = self;

    (void)size;
    if (offset == 0) {
        s->index[0] = (u8)value;
        return;
    }
    advance(s);
    write_register(s, s->index[0] & 0x7f, (u8)value);
    update_irq(s);
}

static u64 extended_read(void *self, u64 offset, unsigned size)
{
    const struct rtc *s = self;

    (void)size;
    return offset ? s->bank[1][s->index[1]] : ~0ull;
}

static void extended_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct rtc *s = self;

    (void)size;
    if (offset)
        s->bank[1][s->index[1]] = (u8)value;
    else
        s->index[1] = value & 0x7f;
}

bool rtc_nmi_masked(const void *self)
{
    return ((const struct rtc *)self)->index[0] & NMI_MASK;
}

static void set_pair(struct rtc *s, unsigned index, u64 value, u64 limit)
{
    if (value > limit)
        value = limit;
    for (u64 byte = 0; limit >> (8 * byte); byte++)
        regs(s)[index + byte] = (u8)(value >> (8 * byte));
}

/* The layout of the AT's CMOS RAM, with the additions that virtual machines' firmware reads: 34-35
 * (64 KiB units above 16 MiB), 5B-5D (64 KiB units above 4 GiB), 5F (further processors), 38 and 3D
 * (boot order). */
static void fill_cmos(struct rtc *s, const struct rtc_config *config)
{
    u64 ram = config->ram_below_4g;
    u64 extended = ram > MIB(1) ? (ram - MIB(1)) >> 10 : 0;
    u16 sum = 0;

    set_pair(s, 0x15, ram < KIB(640) ? ram >> 10 : 640, 0xffff);
    set_pair(s, 0x17, extended, 0xffff);
    set_pair(s, 0x30, extended, 0xffff);
    set_pair(s, 0x34, ram > MIB(16) ? (ram - MIB(16)) >> 16 : 0, 0xffff);
    set_pair(s, 0x5b, config->ram_above_4g >> 16, 0xffffff);
    regs(s)[0x14] = 0x02; /* equipment: a coprocessor */
    regs(s)[0x38] = (u8)(config->boot_order[2] << 4);
    regs(s)[0x3d] = (u8)((config->boot_order[1] << 4) | (config->boot_order[0] & 15));
    regs(s)[0x5f] = (u8)(config->cpus - 1);
    for (unsigned i = 0x10; i <= 0x2d; i++)
        sum += regs(s)[i];
    regs(s)[0x2e] = (u8)(sum >> 8);
    regs(s)[0x2f] = (u8)sum;
}

static enum status rtc_init(void *self, const struct device_env *env, const void *config,
                            struct error *err)
{
    struct rtc *s = self;
    u64 wall = clock_wall_ns(env->clock);
    u64 seconds = wall / NS_PER_SECOND;
    u64 days = seconds / SECONDS_PER_DAY;
    struct civil t = {
        .second = (unsigned)(seconds % 60),
        .minute = (unsigned)(seconds / 60 % 60),
        .hour = (unsigned)(seconds / 3600 % 24),
    };

    (void)err;
    s->env = *env;
    timer_init(&s->timer, env->clock, "rtc", timer_fired, s);
    regs(s)[REG_A] = A_DV_32768 | 6; /* 1024 Hz, as firmware leaves it */
    regs(s)[REG_B] = B_24H;
    s->origin = (i64)(clock_now(env->clock) - wall % NS_PER_SECOND);
    civil_from_days(&t, days + days_before_year(1970));
    write_time(s, &t);
    regs(s)[REG_WEEKDAY] = encode(s, (unsigned)((days + 4) % 7 + 1)); /* 1970 began on a Thursday */
    fill_cmos(s, config);
    return ST_OK;
}

/* RESET leaves time, alarm and RAM alone: they run on the battery. */
static void rtc_reset(void *self)
{
    struct rtc *s = self;

    advance(s);
    regs(s)[REG_B] &= (u8) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    regs(s)[REG_C] = 0;
    s->index[0] = s->index[1] = 0;
    update_irq(s);
}

static void rtc_fini(void *self)
{
    timer_cancel(&((struct rtc *)self)->timer);
}

static const struct device_pio rtc_pio[] = {
    {0x70, 2, {rtc_read, rtc_write, SIZE_1}},
    {0x72, 2, {extended_read, extended_write, SIZE_1}},
    {0},
};

static const struct device_field rtc_save[] = {
    DEVICE_FIELD(rtc, ticks), DEVICE_FIELD(rtc, second), DEVICE_FIELD(rtc, origin),
    DEVICE_FIELD(rtc, index), DEVICE_FIELD(rtc, bank),   {0},
};

const struct device_type rtc_type = {
    .name = "mc146818",
    .state_size = sizeof(struct rtc),
    .irq_pins = 1,
    .pio = rtc_pio,
    .init = rtc_init,
    .reset = rtc_reset,
    .fini = rtc_fini,
    .save = rtc_save,
};
