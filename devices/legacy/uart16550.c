/* SPDX-License-Identifier: MIT
 *
 * NS16550AF UART with FIFOs (National Semiconductor datasheet, TL/C/8652). A character is sent as
 * fast as the back end takes it; while the back end is full, characters wait in the transmit FIFO
 * and THRE stays low, so a guest that looks at THRE loses nothing. The baud rate matters only for
 * the receive time-out.
 *
 * Invariant: interrupt sources are latched in `pending`, IIR is computed from them; update_irq() is
 * the only place that drives the line.
 */
#include "devices/legacy/uart16550.h"

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };
enum { IER_RDI = 0x01, IER_THRI = 0x02, IER_RLSI = 0x04, IER_MSI = 0x08 };
enum { IIR_MSI = 0x00, IIR_NONE = 0x01, IIR_THRI = 0x02, IIR_RDI = 0x04, IIR_RLSI = 0x06 };
enum { IIR_TIMEOUT = 0x0c, IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04, FCR_KEPT = 0xc9 };
enum { LCR_LENGTH = 0x03, LCR_STOP = 0x04, LCR_PARITY = 0x08, LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10 };
enum {
    LSR_DR = 0x01,
    LSR_OE = 0x02,
    LSR_PE = 0x04,
    LSR_FE = 0x08,
    LSR_BI = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_FIFO_ERROR = 0x80,
    LSR_ERRORS = LSR_OE | LSR_PE | LSR_FE | LSR_BI,
};
enum { MSR_DCTS = 0x01, MSR_DDSR = 0x02, MSR_TERI = 0x04, MSR_DDCD = 0x08 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_DELTAS = 0x0f };
enum { FIFO_SIZE = 16, BAUD_BASE = 115200 };

struct fifo {
    u8 data[FIFO_SIZE];
    u8 errors[FIFO_SIZE]; /* LSR bits of each character */
    u8 count;
};

struct uart16550 {
    struct device_env env;
    struct chardev *chardev;
    struct timer timeout; /* four character times since the last one came or went */
    struct fifo rx;
    struct fifo tx;
    u16 divisor;
    u8 ier;
    u8 fcr;
    u8 lcr;
    u8 mcr;
    u8 lsr_errors; /* OE, and PE, FE, BI of the character on top */
    u8 msr;
    u8 scratch;
    bool thre_pending;
    bool timeout_pending;
};

static bool fifo_enabled(const struct uart16550 *s)
{
    return s->fcr & FCR_ENABLE;
}

static unsigned fifo_depth(const struct uart16550 *s)
{
    return fifo_enabled(s) ? FIFO_SIZE : 1;
}

static unsigned rx_trigger(const struct uart16550 *s)
{
    static const u8 level[4] = {1, 4, 8, 14};

    return fifo_enabled(s) ? level[s->fcr >> 6] : 1;
}

static void fifo_push(struct fifo *f, u8 data, u8 errors)
{
    f->data[f->count] = data;
    f->errors[f->count] = errors;
    f->count++;
}

static u8 fifo_pop(struct fifo *f)
{
    u8 data = f->data[0];

    f->count--;
    for (unsigned i = 0; i < f->count; i++) {
        f->data[i] = f->data[i + 1];
        f->errors[i] = f->errors[i + 1];
    }
    return data;
}

/* ns for one character: start, data, parity and stop bits at 115200 / divisor. A divisor of 0
 * divides by 65536, as a 16-bit counter does. */
static u64 character_ns(const struct uart16550 *s)
{
    u64 bits =
        1 + 5 + (s->lcr & LCR_LENGTH) + (s->lcr & LCR_PARITY ? 1 : 0) + (s->lcr & LCR_STOP ? 2 : 1);

    return bits * (s->divisor ? s->divisor : 65536u) * NS_PER_SECOND / BAUD_BASE;
}

static u8 data_mask(const struct uart16550 *s)
{
    return (u8)(0xff >> (3 - (s->lcr & LCR_LENGTH)));
}

/* The identification of the most urgent source, datasheet table IV. */
static u8 identify(const struct uart16550 *s)
{
    if ((s->ier & IER_RLSI) && s->lsr_errors)
        return IIR_RLSI;
    if ((s->ier & IER_RDI) && s->rx.count >= rx_trigger(s))
        return IIR_RDI;
    if ((s->ier & IER_RDI) && s->timeout_pending)
        return IIR_TIMEOUT;
    if ((s->ier & IER_THRI) && s->thre_pending)
        return IIR_THRI;
    if ((s->ier & IER_MSI) && (s->msr & MSR_DELTAS))
        return IIR_MSI;
    return IIR_NONE;
}

static void update_irq(struct uart16550 *s)
{
    device_irq_set(&s->env, UART16550_PIN_IRQ, identify(s) != IIR_NONE);
}

/* The receive FIFO changed: the time-out starts over (datasheet "FIFO Interrupt Mode Operation").
 */
static void restart_timeout(struct uart16550 *s)
{
    s->timeout_pending = false;
    if (fifo_enabled(s) && s->rx.count)
        timer_arm(&s->timeout, clock_now(s->env.clock) + 4 * character_ns(s));
    else
        timer_cancel(&s->timeout);
}

static void timeout_fired(void *opaque)
{
    struct uart16550 *s = opaque;

    s->timeout_pending = true;
    update_irq(s);
}

/* A character arrives from the line. */
static void receive_one(struct uart16550 *s, u8 data, u8 errors)
{
    if (s->rx.count == fifo_depth(s)) {
        s->lsr_errors |= LSR_OE;
        if (fifo_enabled(s))
            return;      /* lost in the shift register; the FIFO stays */
        s->rx.count = 0; /* without FIFO the new character overwrites the old one */
    }
    if (!s->rx.count)
        s->lsr_errors |= errors; /* "revealed when its character is at the top of the FIFO" */
    fifo_push(&s->rx, data, errors);
    restart_timeout(s);
}

static bool in_loop(const struct uart16550 *s)
{
    return s->mcr & MCR_LOOP;
}

static size_t line_can_receive(void *opaque)
{
    const struct uart16550 *s = opaque;

    return in_loop(s) ? 0 : fifo_depth(s) - s->rx.count;
}

static void line_receive(void *opaque, const u8 *data, size_t size)
{
    struct uart16550 *s = opaque;

    for (size_t i = 0; i < size; i++)
        receive_one(s, data[i] & data_mask(s), 0);
    update_irq(s);
}

static void line_event(void *opaque, enum chardev_event event)
{
    struct uart16550 *s = opaque;

    if (event == CHARDEV_BREAK && !in_loop(s))
        receive_one(s, 0, LSR_BI | LSR_FE);
    update_irq(s);
}

/* Sends what waits; THRE rises when the last character has left the transmit FIFO. */
static void transmit(struct uart16550 *s)
{
    bool had = s->tx.count;

    while (s->tx.count) {
        if (in_loop(s))
            receive_one(s, s->tx.data[0], 0);
        else if (!chardev_write(s->chardev, s->tx.data, 1))
            break;
        fifo_pop(&s->tx);
    }
    if (had && !s->tx.count)
        s->thre_pending = true;
    update_irq(s);
}

static void line_writable(void *opaque)
{
    transmit(opaque);
}

/* A write with no room is lost, as the datasheet says of a THR that is not empty. */
static void write_thr(struct uart16550 *s, u8 value)
{
    s->thre_pending = false;
    update_irq(s);
    if (s->tx.count == fifo_depth(s))
        s->tx.count--; /* the new character overwrites the newest */
    fifo_push(&s->tx, value & data_mask(s), 0);
    transmit(s);
}

static u8 read_rbr(struct uart16550 *s)
{
    u8 data;

    if (!s->rx.count)
        return s->rx.data[0];
    data = fifo_pop(&s->rx);
    if (s->rx.count)
        s->lsr_errors |= s->rx.errors[0];
    restart_timeout(s);
    update_irq(s);
    chardev_accept_input(s->chardev);
    return data;
}

static void clear_rx(struct uart16550 *s)
{
    s->rx.count = 0;
    restart_timeout(s);
}

static void write_fcr(struct uart16550 *s, u8 value)
{
    bool changed = (value ^ s->fcr) & FCR_ENABLE;

    /* "Bit 0 must be a 1 when other FCR bits are written to or they will not be programmed." */
    s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    if (changed || ((value & FCR_ENABLE) && (value & FCR_CLEAR_RX)))
        clear_rx(s);
    if (changed || ((value & FCR_ENABLE) && (value & FCR_CLEAR_TX))) {
        s->thre_pending |= s->tx.count != 0;
        s->tx.count = 0;
    }
    update_irq(s);
    chardev_accept_input(s->chardev);
}

static void write_ier(struct uart16550 *s, u8 value)
{
    bool enabled = (value & IER_THRI) && !(s->ier & IER_THRI);

    s->ier = value & 0x0f;
    if (enabled && !s->tx.count)
        s->thre_pending = true;
    update_irq(s);
}

/* The modem lines as they are: of the cable, or of the loop (DTR to DSR, RTS to CTS, OUT1 to RI,
 * OUT2 to DCD). With a cable, the other end is always ready. */
static u8 modem_lines(const struct uart16550 *s)
{
    if (!in_loop(s))
        return s->chardev ? MSR_CTS | MSR_DSR | MSR_DCD : 0;
    return (u8)((s->mcr & MCR_DTR ? MSR_DSR : 0) | (s->mcr & MCR_RTS ? MSR_CTS : 0) |
                (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void update_modem(struct uart16550 *s)
{
    u8 lines = modem_lines(s);
    u8 changed = (lines ^ s->msr) & 0xf0;

    if (!(changed & s->msr & MSR_RI)) /* TERI: only the trailing edge counts */
        changed &= (u8)~MSR_RI;
    s->msr = lines | (s->msr & MSR_DELTAS) | changed >> 4;
    update_irq(s);
}

static void write_mcr(struct uart16550 *s, u8 value)
{
    bool left_loop = in_loop(s) && !(value & MCR_LOOP);

    s->mcr = value & 0x1f;
    update_modem(s);
    transmit(s);
    if (left_loop)
        chardev_accept_input(s->chardev);
}

static void write_lcr(struct uart16550 *s, u8 value)
{
    bool breaks = (value & LCR_BREAK) && !(s->lcr & LCR_BREAK);

    s->lcr = value;
    if (breaks && in_loop(s)) /* the loop carries the break to the receiver */
        receive_one(s, 0, LSR_BI | LSR_FE);
    update_irq(s);
}

static u8 read_lsr(struct uart16550 *s)
{
    u8 value = s->lsr_errors;

    if (s->rx.count)
        value |= LSR_DR;
    if (!s->tx.count)
        value |= LSR_THRE | LSR_TEMT;
    for (unsigned i = 0; fifo_enabled(s) && i < s->rx.count; i++) {
        if (s->rx.errors[i])
            value |= LSR_FIFO_ERROR;
    }
    s->lsr_errors = 0;
    update_irq(s);
    return value;
}

static u8 read_iir(struct uart16550 *s)
{
    u8 id = identify(s);

    if (id == IIR_THRI) {
        s->thre_pending = false;
        update_irq(s);
    }
    return id | (fifo_enabled(s) ? IIR_FIFO : 0);
}

static u8 read_msr(struct uart16550 *s)
{
    u8 value = s->msr;

    s->msr &= (u8)~MSR_DELTAS;
    update_irq(s);
    return value;
}

static u64 uart16550_read(void *self, u64 offset, unsigned size)
{
    struct uart16550 *s = self;
    bool dlab = s->lcr & LCR_DLAB;

    (void)size;
    switch (offset) {
    case REG_DATA: return dlab ? s->divisor & 0xff : read_rbr(s);
    case REG_IER: return dlab ? s->divisor >> 8 : s->ier;
    case REG_IIR_FCR: return read_iir(s);
    case REG_LCR: return s->lcr;
    case REG_MCR: return s->mcr;
    case REG_LSR: return read_lsr(s);
    case REG_MSR: return read_msr(s);
    default: return s->scratch;
    }
}

static void uart16550_write(void *self, u64 offset, u64 wide, unsigned size)
{
    struct uart16550 *s = self;
    bool dlab = s->lcr & LCR_DLAB;
    u8 value = (u8)wide;

    (void)size;
    switch (offset) {
    case REG_DATA:
        if (dlab)
            s->divisor = (s->divisor & 0xff00) | value;
        else
            write_thr(s, value);
        break;
    case REG_IER:
        if (dlab)
            s->divisor = (u16)((s->divisor & 0xff) | value << 8);
        else
            write_ier(s, value);
        break;
    case REG_IIR_FCR: write_fcr(s, value); break;
    case REG_LCR: write_lcr(s, value); break;
    case REG_MCR: write_mcr(s, value); break;
    case REG_SCR: s->scratch = value; break;
    default: break; /* LSR and MSR: "writing is not recommended", factory test */
    }
}

static enum status uart16550_init(void *self, const struct device_env *env, const void *config,
                                  struct error *err)
{
    struct uart16550 *s = self;
    const struct chardev_device device = {
        .can_receive = line_can_receive,
        .receive = line_receive,
        .event = line_event,
        .writable = line_writable,
        .opaque = s,
    };

    (void)err;
    s->env = *env;
    s->chardev = ((const struct uart16550_config *)config)->chardev;
    s->divisor = 12; /* undefined at power-on: 9600 baud */
    timer_init(&s->timeout, env->clock, "uart16550", timeout_fired, s);
    chardev_connect(s->chardev, &device);
    return ST_OK;
}

/* Master Reset, datasheet table I: scratch and divisor are not affected. */
static void uart16550_reset(void *self)
{
    struct uart16550 *s = self;

    s->ier = s->fcr = s->lcr = s->mcr = 0;
    s->rx.count = s->tx.count = 0;
    s->rx.data[0] = 0;
    s->lsr_errors = 0;
    s->thre_pending = s->timeout_pending = false;
    s->msr = modem_lines(s);
    timer_cancel(&s->timeout);
    update_irq(s);
    chardev_accept_input(s->chardev);
}

static void uart16550_fini(void *self)
{
    struct uart16550 *s = self;
    const struct chardev_device nobody = {0};

    timer_cancel(&s->timeout);
    chardev_connect(s->chardev, &nobody);
}

static const struct device_pio uart16550_pio[] = {
    {0, 8, {uart16550_read, uart16550_write, SIZE_1}},
    {0},
};

static const struct device_field uart16550_save[] = {
    DEVICE_FIELD(uart16550, rx),
    DEVICE_FIELD(uart16550, tx),
    DEVICE_FIELD(uart16550, divisor),
    DEVICE_FIELD(uart16550, ier),
    DEVICE_FIELD(uart16550, fcr),
    DEVICE_FIELD(uart16550, lcr),
    DEVICE_FIELD(uart16550, mcr),
    DEVICE_FIELD(uart16550, lsr_errors),
    DEVICE_FIELD(uart16550, msr),
    DEVICE_FIELD(uart16550, scratch),
    DEVICE_FIELD(uart16550, thre_pending),
    DEVICE_FIELD(uart16550, timeout_pending),
    {0},
};

const struct device_type uart16550_type = {
    .name = "uart16550",
    .state_size = sizeof(struct uart16550),
    .irq_pins = 1,
    .pio = uart16550_pio,
    .init = uart16550_init,
    .reset = uart16550_reset,
    .fini = uart16550_fini,
    .save = uart16550_save,
};
