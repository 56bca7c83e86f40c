/* SPDX-License-Identifier: MIT
 *
 * Two cascaded 8259A programmable interrupt controllers (Intel 8259A datasheet, order 231468), as
 * built into the PIIX: buffered mode and ICW3 are accepted and ignored, since the cascade is wired
 * to IR2, and ICW1.LTIM is replaced by the ELCR (PIIX4 datasheet 4.2.2 to 4.2.5).
 *
 * Invariant: what an input requests is derived, never stored twice: level inputs request while
 * their line is up, edge inputs while their edge latch is set, and a falling line clears the latch
 * (the datasheet's "DEFAULT IR7" case: the request must stay up until INTA). INT follows the
 * requests, so one that is withdrawn in time leaves no trace; an INTA that comes all the same gets
 * IR7.
 */
#include "devices/legacy/i8259.h"

enum { MASTER, SLAVE, CASCADE_PIN = 2, SPURIOUS_PIN = 7 };

/* ICW1 and ICW4, datasheet figures 7 and 8. */
enum { ICW1_IC4 = 0x01, ICW1_SNGL = 0x02, ICW1_ICW = 0x10 };
enum { ICW4_AEOI = 0x02, ICW4_SFNM = 0x10 };
/* OCW2 and OCW3, datasheet figure 9. */
enum { OCW2_EOI = 0x20, OCW2_SL = 0x40, OCW2_R = 0x80 };
enum {
    OCW3_RIS = 0x01,
    OCW3_RR = 0x02,
    OCW3_P = 0x04,
    OCW3 = 0x08,
    OCW3_SMM = 0x20,
    OCW3_ESMM = 0x40
};

/* Which word the next write to the odd port is. */
enum init_step { READY, WANT_ICW2, WANT_ICW3, WANT_ICW4 };

struct chip {
    u8 lines;     /* input levels */
    u8 edges;     /* edge latches; a subset of lines */
    u8 elcr;      /* level-triggered inputs */
    u8 elcr_mask; /* writable bits */
    u8 isr;
    u8 imr;
    u8 icw1;
    u8 icw4;
    u8 vector; /* ICW2: T7-T3 */
    u8 lowest; /* the input with the lowest priority */
    u8 step;   /* enum init_step */
    bool rotate_aeoi;
    bool special_mask;
    bool read_isr;
    bool poll;
};

struct i8259 {
    struct device_env env;
    struct chip chip[2];
    bool intr;
};

static u8 chip_irr(const struct chip *c)
{
    return (u8)((c->lines & c->elcr) | (c->edges & ~c->elcr));
}

/* 0 is the highest priority. */
static unsigned chip_priority(const struct chip *c, unsigned pin)
{
    return (pin - c->lowest - 1) & 7;
}

/* The pin with the highest priority among set, or -1. */
static int chip_highest(const struct chip *c, u8 set)
{
    for (unsigned i = 1; i <= 8; i++) {
        unsigned pin = (c->lowest + i) & 7;

        if (set & BIT(pin))
            return (int)pin;
    }
    return -1;
}

/* The input that may interrupt now, or -1. */
static int chip_pending(const struct chip *c, bool master)
{
    int request = chip_highest(c, chip_irr(c) & (u8)~c->imr);
    /* Special mask mode: a masked level in service holds nobody back. */
    int service = chip_highest(c, c->special_mask ? c->isr & (u8)~c->imr : c->isr);

    if (request < 0 || c->step != READY)
        return -1;
    if (service < 0)
        return request;
    /* Special fully nested: the slave is not locked out by its own request in service. */
    if (master && (c->icw4 & ICW4_SFNM) && request == CASCADE_PIN && service == CASCADE_PIN)
        return request;
    return chip_priority(c, (unsigned)request) < chip_priority(c, (unsigned)service) ? request : -1;
}

static void chip_set_line(struct chip *c, unsigned pin, bool level)
{
    u8 bit = (u8)BIT(pin);

    if (level && !(c->lines & bit))
        c->edges |= bit;
    if (!level)
        c->edges &= (u8)~bit;
    c->lines = level ? c->lines | bit : c->lines & (u8)~bit;
}

/* An INTA cycle (or a poll): the pin that goes in service, or -1 if the request has gone. */
static int chip_acknowledge(struct chip *c, bool master)
{
    int pin = chip_pending(c, master);

    if (pin < 0)
        return -1;
    c->edges &= (u8)~BIT(pin);
    if (!(c->icw4 & ICW4_AEOI))
        c->isr |= (u8)BIT(pin);
    else if (c->rotate_aeoi)
        c->lowest = (u8)pin;
    return pin;
}

/* Drives the cascade and INTR from what is pending. */
static void update(struct i8259 *s)
{
    bool intr;

    chip_set_line(&s->chip[MASTER], CASCADE_PIN, chip_pending(&s->chip[SLAVE], false) >= 0);
    intr = chip_pending(&s->chip[MASTER], true) >= 0;
    if (intr != s->intr) {
        s->intr = intr;
        device_irq_set(&s->env, I8259_PIN_INTR, intr);
    }
}

/* INT drops with every INTA and rises again for what is left, so that edges are never merged. */
static void drop_int(struct i8259 *s, unsigned which)
{
    if (which == SLAVE) {
        chip_set_line(&s->chip[MASTER], CASCADE_PIN, false);
    } else if (s->intr) {
        s->intr = false;
        device_irq_set(&s->env, I8259_PIN_INTR, false);
    }
}

void i8259_set_irq(void *self, unsigned pin, bool level)
{
    struct i8259 *s = self;

    if (pin > 15 || pin == CASCADE_PIN)
        return;
    chip_set_line(&s->chip[pin >> 3], pin & 7, level);
    update(s);
}

bool i8259_intr(const void *self)
{
    return ((const struct i8259 *)self)->intr;
}

int i8259_acknowledge(void *self)
{
    struct i8259 *s = self;
    unsigned which = MASTER;
    int pin = chip_acknowledge(&s->chip[MASTER], true);

    drop_int(s, MASTER);
    if (pin == CASCADE_PIN) {
        which = SLAVE;
        pin = chip_acknowledge(&s->chip[SLAVE], false);
        drop_int(s, SLAVE);
    }
    update(s);
    return s->chip[which].vector | (pin < 0 ? SPURIOUS_PIN : pin);
}

/* What ICW1 does at once, datasheet "Initialization Command Words 1 and 2". */
static void write_icw1(struct chip *c, u8 value)
{
    c->icw1 = value;
    c->icw4 = 0;
    c->edges = 0;
    c->imr = 0;
    c->isr = 0;
    c->lowest = 7;
    c->special_mask = false;
    c->rotate_aeoi = false;
    c->read_isr = false;
    c->poll = false;
    c->step = WANT_ICW2;
}

static void write_ocw2(struct chip *c, u8 value)
{
    bool specific = value & OCW2_SL;
    bool rotate = value & OCW2_R;
    int pin = value & 7;

    if (!(value & OCW2_EOI)) {
        if (!specific)
            c->rotate_aeoi = rotate;
        else if (rotate)
            c->lowest = (u8)pin; /* set priority; SL alone is "no operation" */
        return;
    }
    /* A masked level in service survives a non-specific EOI in special mask mode. */
    if (!specific)
        pin = chip_highest(c, c->special_mask ? c->isr & (u8)~c->imr : c->isr);
    if (pin < 0)
        return;
    c->isr &= (u8)~BIT(pin);
    if (rotate)
        c->lowest = (u8)pin;
}

static void write_ocw3(struct chip *c, u8 value)
{
    if (value & OCW3_ESMM)
        c->special_mask = value & OCW3_SMM;
    if (value & OCW3_RR)
        c->read_isr = value & OCW3_RIS;
    if (value & OCW3_P)
        c->poll = true;
}

static void write_odd(struct chip *c, u8 value)
{
    switch (c->step) {
    case READY: c->imr = value; break;
    case WANT_ICW2:
        c->vector = value & 0xf8;
        if (!(c->icw1 & ICW1_SNGL))
            c->step = WANT_ICW3;
        else
            c->step = c->icw1 & ICW1_IC4 ? WANT_ICW4 : READY;
        break;
    case WANT_ICW3: c->step = c->icw1 & ICW1_IC4 ? WANT_ICW4 : READY; break;
    case WANT_ICW4:
        c->icw4 = value;
        c->step = READY;
        break;
    }
}

static void chip_write(struct i8259 *s, unsigned which, u64 offset, u8 value)
{
    struct chip *c = &s->chip[which];

    if (offset)
        write_odd(c, value);
    else if (value & ICW1_ICW)
        write_icw1(c, value);
    else if (value & OCW3)
        write_ocw3(c, value);
    else
        write_ocw2(c, value);
    update(s);
}

/* The read after a poll command is an INTA cycle: bit 7 and the level (datasheet "Poll Command").
 */
static u8 chip_poll(struct i8259 *s, unsigned which)
{
    int pin = chip_acknowledge(&s->chip[which], which == MASTER);

    s->chip[which].poll = false;
    drop_int(s, which);
    update(s);
    return pin < 0 ? SPURIOUS_PIN : (u8)(0x80 | pin);
}

static u8 chip_read(struct i8259 *s, unsigned which, u64 offset)
{
    const struct chip *c = &s->chip[which];

    if (c->poll)
        return chip_poll(s, which);
    if (offset)
        return c->imr;
    return c->read_isr ? c->isr : chip_irr(c);
}

static u64 master_read(void *self, u64 offset, unsigned size)
{
    (void)size;
    return chip_read(self, MASTER, offset);
}

static u64 slave_read(void *self, u64 offset, unsigned size)
{
    (void)size;
    return chip_read(self, SLAVE, offset);
}

static void master_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)size;
    chip_write(self, MASTER, offset, (u8)value);
}

static void slave_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)size;
    chip_write(self, SLAVE, offset, (u8)value);
}

static u64 elcr_read(void *self, u64 offset, unsigned size)
{
    struct i8259 *s = self;

    (void)size;
    return s->chip[offset & 1].elcr;
}

static void elcr_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct i8259 *s = self;
    struct chip *c = &s->chip[offset & 1];

    (void)size;
    c->elcr = (u8)value & c->elcr_mask;
    update(s);
}

static const struct device_pio i8259_pio[] = {
    {0x20, 2, {master_read, master_write, SIZE_1}},
    {0xa0, 2, {slave_read, slave_write, SIZE_1}},
    {0x4d0, 2, {elcr_read, elcr_write, SIZE_1}},
    {0},
};

static enum status i8259_init(void *self, const struct device_env *env, const void *config,
                              struct error *err)
{
    struct i8259 *s = self;

    (void)config;
    (void)err;
    s->env = *env;
    s->chip[MASTER].elcr_mask = 0xf8; /* IRQ0, 1, 2 are always edge */
    s->chip[SLAVE].elcr_mask = 0xde;  /* so are IRQ8 and IRQ13 */
    return ST_OK;
}

/* The chips have no reset pin and start undefined: everything masked until firmware programs them.
 */
static void i8259_reset(void *self)
{
    struct i8259 *s = self;

    for (unsigned i = MASTER; i <= SLAVE; i++) {
        struct chip *c = &s->chip[i];

        write_icw1(c, 0);
        c->step = READY;
        c->imr = 0xff;
        c->vector = 0;
        c->elcr = 0;
    }
    update(s);
}

static const struct device_field i8259_save[] = {
    DEVICE_FIELD(i8259, chip),
    DEVICE_FIELD(i8259, intr),
    {0},
};

const struct device_type i8259_type = {
    .name = "i8259",
    .state_size = sizeof(struct i8259),
    .irq_pins = 1,
    .pio = i8259_pio,
    .init = i8259_init,
    .reset = i8259_reset,
    .save = i8259_save,
};
