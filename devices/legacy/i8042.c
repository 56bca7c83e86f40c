/* SPDX-License-Identifier: MIT
 *
 * 8042 keyboard and auxiliary device controller (IBM PS/2 Hardware Interface Technical Reference;
 * commands as in the AT and PS/2 BIOS listings). The controller works at once; a byte from the
 * keyboard takes one frame on the wire, so that whoever reads port 60 twice sees the same byte
 * twice.
 *
 * Invariant: the output buffer holds one byte. The keyboard's bytes wait for it to be empty, the
 * controller's own answers overwrite it, as its firmware does.
 */
#include "devices/legacy/i8042.h"
#include "devices/legacy/ps2_keyboard.h"

enum {
    STATUS_OBF = 0x01,
    STATUS_SYS = 0x04,
    STATUS_COMMAND = 0x08,
    STATUS_UNLOCKED = 0x10,
    STATUS_AUX = 0x20,
    STATUS_TIMEOUT = 0x40,
};
enum {
    CONFIG_INT1 = 0x01,
    CONFIG_INT12 = 0x02,
    CONFIG_SYS = 0x04,
    CONFIG_DISABLE1 = 0x10,
    CONFIG_DISABLE2 = 0x20,
    CONFIG_TRANSLATE = 0x40,
};
enum {
    OUTPUT_RESET = 0x01,
    OUTPUT_A20 = 0x02,
    OUTPUT_IRQ1 = 0x10,
    OUTPUT_IRQ12 = 0x20,
    OUTPUT_CLOCK = 0x40,
    OUTPUT_DATA = 0x80,
};
/* Input port: not locked (bit 7), colour (6), no manufacturing jumper (5), 256 KiB on board (4). */
enum { INPUT_PORT = 0xb0 };
enum { FRAME_NS = 700000 }; /* 11 bits at about 16 kHz */
enum { RAM_SIZE = 32, RESEND = 0xfe, BREAK_PREFIX = 0xf0 };

enum command {
    CMD_READ_RAM = 0x20,  /* to 3F */
    CMD_WRITE_RAM = 0x60, /* to 7F */
    CMD_TEST_PASSWORD = 0xa4,
    CMD_DISABLE_AUX = 0xa7,
    CMD_ENABLE_AUX = 0xa8,
    CMD_TEST_AUX = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_TEST_KEYBOARD = 0xab,
    CMD_DISABLE_KEYBOARD = 0xad,
    CMD_ENABLE_KEYBOARD = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_WRITE_KEYBOARD_BUFFER = 0xd2,
    CMD_WRITE_AUX_BUFFER = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_READ_TEST = 0xe0,
    CMD_PULSE = 0xf0, /* to FF */
};

struct i8042 {
    struct device_env env;
    struct timer frame; /* the byte on the wire from the keyboard */
    struct ps2_keyboard keyboard;
    u8 ram[RAM_SIZE]; /* byte 0 is the command byte, "config" */
    u8 status;
    u8 data;           /* output buffer */
    u8 output;         /* output port, bits 0 and 1 */
    u8 command;        /* waits for its data byte, 0 none */
    bool break_prefix; /* translation: F0 went by */
};

static u8 *config(struct i8042 *s)
{
    return &s->ram[0];
}

static void update_irq(struct i8042 *s)
{
    bool full = s->status & STATUS_OBF;
    bool aux = s->status & STATUS_AUX;

    device_irq_set(&s->env, I8042_PIN_IRQ1, full && !aux && (*config(s) & CONFIG_INT1));
    device_irq_set(&s->env, I8042_PIN_IRQ12, full && aux && (*config(s) & CONFIG_INT12));
}

/* Puts a byte in the output buffer; flags are STATUS_AUX and STATUS_TIMEOUT. */
static void put(struct i8042 *s, u8 byte, u8 flags)
{
    if (s->status & STATUS_OBF) { /* overwritten: the line must show an edge for the new byte */
        s->status &= (u8)~STATUS_OBF;
        update_irq(s);
    }
    s->data = byte;
    s->status &= (u8) ~(STATUS_AUX | STATUS_TIMEOUT);
    s->status |= STATUS_OBF | flags;
    update_irq(s);
}

/* Starts the next frame if the keyboard has a byte and may send it. */
static void poll_keyboard(struct i8042 *s)
{
    bool may = !(s->status & STATUS_OBF) && !(*config(s) & CONFIG_DISABLE1) &&
               ps2_keyboard_pending(&s->keyboard);

    if (!may)
        timer_cancel(&s->frame); /* clock held low: the board sends the byte again later */
    else if (!timer_armed(&s->frame))
        timer_arm(&s->frame, clock_now(s->env.clock) + FRAME_NS);
}

static void keyboard_ready(void *opaque)
{
    poll_keyboard(opaque);
}

/* Set 2 to set 1, whatever the byte means: the controller does not tell answers from codes. */
static bool translate(struct i8042 *s, u8 *byte)
{
    u8 one = *byte;

    if (one == BREAK_PREFIX) {
        s->break_prefix = true;
        return false;
    }
    if (one < 0x80)
        one = ps2_set2_to_set1[one];
    else if (one == 0x83 || one == 0x84)
        one = one == 0x83 ? 0x41 : 0x54;
    *byte = s->break_prefix ? one | 0x80 : one;
    s->break_prefix = false;
    return true;
}

static void frame_fired(void *opaque)
{
    struct i8042 *s = opaque;
    u8 byte;

    if ((s->status & STATUS_OBF) || !ps2_keyboard_pending(&s->keyboard))
        return; /* an answer of the controller came first: starts again when that is read */
    byte = ps2_keyboard_take(&s->keyboard);
    if (!(*config(s) & CONFIG_TRANSLATE) || translate(s, &byte))
        put(s, byte, 0);
    poll_keyboard(s);
}

static void write_config(struct i8042 *s, u8 value)
{
    *config(s) = value & 0x7f;
    s->status = (u8)((s->status & ~STATUS_SYS) | (value & CONFIG_SYS));
    if (!(value & CONFIG_TRANSLATE))
        s->break_prefix = false;
    update_irq(s);
    poll_keyboard(s);
}

static void set_a20(struct i8042 *s, bool open)
{
    s->output = open ? s->output | OUTPUT_A20 : s->output & (u8)~OUTPUT_A20;
    device_irq_set(&s->env, I8042_PIN_A20, open);
}

/* Bit 0 low holds the processor in reset; nothing is done after the pulse, which may reset us. */
static void write_output(struct i8042 *s, u8 value)
{
    set_a20(s, value & OUTPUT_A20);
    if (!(value & OUTPUT_RESET))
        device_irq_pulse(&s->env, I8042_PIN_RESET);
}

static u8 read_output(const struct i8042 *s)
{
    u8 value = s->output | OUTPUT_RESET | OUTPUT_CLOCK | OUTPUT_DATA;

    if (s->status & STATUS_OBF)
        value |= s->status & STATUS_AUX ? OUTPUT_IRQ12 : OUTPUT_IRQ1;
    return value;
}

/* Test inputs: the clock lines, low while the port is disabled. */
static u8 read_test(struct i8042 *s)
{
    return (u8)((*config(s) & CONFIG_DISABLE1 ? 0 : 1) | (*config(s) & CONFIG_DISABLE2 ? 0 : 2));
}

static void change_config(struct i8042 *s, u8 clear, u8 set)
{
    write_config(s, (u8)((*config(s) & ~clear) | set));
}

static void simple_command(struct i8042 *s, u8 command)
{
    switch (command) {
    case CMD_TEST_PASSWORD: put(s, 0xf1, 0); break; /* none is set */
    case CMD_DISABLE_AUX: change_config(s, 0, CONFIG_DISABLE2); break;
    case CMD_ENABLE_AUX: change_config(s, CONFIG_DISABLE2, 0); break;
    case CMD_TEST_AUX: put(s, 0x00, 0); break; /* the lines are good */
    case CMD_SELF_TEST:
        s->status |= STATUS_SYS;
        *config(s) |= CONFIG_SYS;
        put(s, 0x55, 0);
        break;
    case CMD_TEST_KEYBOARD: put(s, 0x00, 0); break;
    case CMD_DISABLE_KEYBOARD: change_config(s, 0, CONFIG_DISABLE1); break;
    case CMD_ENABLE_KEYBOARD: change_config(s, CONFIG_DISABLE1, 0); break;
    case CMD_READ_INPUT: put(s, INPUT_PORT, 0); break;
    case CMD_READ_OUTPUT: put(s, read_output(s), 0); break;
    case CMD_A20_OFF: set_a20(s, false); break;
    case CMD_A20_ON: set_a20(s, true); break;
    case CMD_READ_TEST: put(s, read_test(s), 0); break;
    case CMD_WRITE_OUTPUT:
    case CMD_WRITE_KEYBOARD_BUFFER:
    case CMD_WRITE_AUX_BUFFER:
    case CMD_WRITE_AUX: s->command = command; break;
    default: log_guest(s->env.log, "i8042: unknown command %02x", command); break;
    }
}

static void write_command(struct i8042 *s, u8 command)
{
    s->status |= STATUS_COMMAND;
    s->command = 0;
    if (command >= CMD_PULSE) {
        if (!(command & OUTPUT_RESET))
            device_irq_pulse(&s->env, I8042_PIN_RESET);
    } else if ((command & 0xe0) == CMD_READ_RAM) {
        put(s, s->ram[command & 0x1f], 0);
    } else if ((command & 0xe0) == CMD_WRITE_RAM) {
        s->command = command;
    } else {
        simple_command(s, command);
    }
}

static void write_data(struct i8042 *s, u8 value)
{
    u8 command = s->command;

    s->status &= (u8)~STATUS_COMMAND;
    s->command = 0;
    if ((command & 0xe0) == CMD_WRITE_RAM) {
        if (command & 0x1f)
            s->ram[command & 0x1f] = value;
        else
            write_config(s, value);
        return;
    }
    switch (command) {
    case CMD_WRITE_OUTPUT: write_output(s, value); break;
    case CMD_WRITE_KEYBOARD_BUFFER: put(s, value, 0); break;
    case CMD_WRITE_AUX_BUFFER: put(s, value, STATUS_AUX); break;
    case CMD_WRITE_AUX: /* nobody clocks the byte in: a transmit time-out */
        *config(s) &= (u8)~CONFIG_DISABLE2;
        put(s, RESEND, STATUS_AUX | STATUS_TIMEOUT);
        break;
    default: /* a byte for the keyboard enables its port */
        change_config(s, CONFIG_DISABLE1, 0);
        s->break_prefix = false;
        ps2_keyboard_write(&s->keyboard, value);
        break;
    }
}

static u8 read_data(struct i8042 *s)
{
    if (s->status & STATUS_OBF) {
        s->status &= (u8) ~(STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT);
        update_irq(s);
        poll_keyboard(s);
    }
    return s->data;
}

static u64 i8042_read_data(void *self, u64 offset, unsigned size)
{
    (void)offset;
    (void)size;
    return read_data(self);
}

static u64 i8042_read_status(void *self, u64 offset, unsigned size)
{
    (void)offset;
    (void)size;
    return ((struct i8042 *)self)->status;
}

static void i8042_write_data(void *self, u64 offset, u64 value, unsigned size)
{
    (void)offset;
    (void)size;
    write_data(self, (u8)value);
}

static void i8042_write_command(void *self, u64 offset, u64 value, unsigned size)
{
    (void)offset;
    (void)size;
    write_command(self, (u8)value);
}

void i8042_key(void *self, enum key key, bool down)
{
    ps2_keyboard_key(&((struct i8042 *)self)->keyboard, key, down);
}

static const struct device_pio i8042_pio[] = {
    {0x60, 1, {i8042_read_data, i8042_write_data, SIZE_1}},
    {0x64, 1, {i8042_read_status, i8042_write_command, SIZE_1}},
    {0},
};

static enum status i8042_init(void *self, const struct device_env *env, const void *cfg,
                              struct error *err)
{
    struct i8042 *s = self;

    (void)cfg;
    (void)err;
    s->env = *env;
    timer_init(&s->frame, env->clock, "i8042", frame_fired, s);
    ps2_keyboard_init(&s->keyboard, env->clock, keyboard_ready, s);
    return ST_OK;
}

/* As the BIOS's power-on test leaves it, but with the interrupts off: translation on. */
static void i8042_reset(void *self)
{
    struct i8042 *s = self;

    timer_cancel(&s->frame);
    ps2_keyboard_reset(&s->keyboard);
    for (unsigned i = 0; i < RAM_SIZE; i++)
        s->ram[i] = 0;
    *config(s) = CONFIG_TRANSLATE;
    s->status = STATUS_UNLOCKED;
    s->data = s->command = 0;
    s->break_prefix = false;
    set_a20(s, true); /* the output port's pins float high */
    update_irq(s);
}

static void i8042_fini(void *self)
{
    struct i8042 *s = self;

    timer_cancel(&s->frame);
    timer_cancel(&s->keyboard.repeat);
}

static const struct device_field i8042_save[] = {
    DEVICE_FIELD(i8042, keyboard.down),
    DEVICE_FIELD(i8042, keyboard.no_repeat),
    DEVICE_FIELD(i8042, keyboard.no_break),
    DEVICE_FIELD(i8042, keyboard.repeat_key),
    DEVICE_FIELD(i8042, keyboard.queue),
    DEVICE_FIELD(i8042, keyboard.queued),
    DEVICE_FIELD(i8042, keyboard.reply),
    DEVICE_FIELD(i8042, keyboard.replies),
    DEVICE_FIELD(i8042, keyboard.last),
    DEVICE_FIELD(i8042, keyboard.command),
    DEVICE_FIELD(i8042, keyboard.set),
    DEVICE_FIELD(i8042, keyboard.leds),
    DEVICE_FIELD(i8042, keyboard.typematic),
    DEVICE_FIELD(i8042, keyboard.scanning),
    DEVICE_FIELD(i8042, keyboard.overrun),
    DEVICE_FIELD(i8042, ram),
    DEVICE_FIELD(i8042, status),
    DEVICE_FIELD(i8042, data),
    DEVICE_FIELD(i8042, output),
    DEVICE_FIELD(i8042, command),
    DEVICE_FIELD(i8042, break_prefix),
    {0},
};

const struct device_type i8042_type = {
    .name = "i8042",
    .state_size = sizeof(struct i8042),
    .irq_pins = 4,
    .pio = i8042_pio,
    .init = i8042_init,
    .reset = i8042_reset,
    .fini = i8042_fini,
    .save = i8042_save,
};
