/* SPDX-License-Identifier: MIT
 *
 * The enhanced keyboard (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary
 * Device Controller" and "101- and 102-Key Keyboards"). Set 2 codes are the rows of key.def; set 1
 * is their translation, as on the real board.
 *
 * Invariant: a key's whole sequence is queued or none of it, so the guest never sees half a code;
 * what does not fit leaves one overrun code in the place kept for it.
 */
#include <string.h>

#include "devices/legacy/ps2_keyboard.h"
#include "mem/base/log.h"

enum { ACK = 0xfa, RESEND = 0xfe, BAT_OK = 0xaa, ECHO = 0xee, BREAK = 0xf0 };
enum { LED_NUM = 0x02 };
enum { TYPEMATIC_DEFAULT = 0x2b }; /* 500 ms, 10.9 a second */

enum command {
    CMD_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SET = 0xf0,
    CMD_ID = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_ALL_TYPEMATIC = 0xf7,
    CMD_ALL_MAKE_BREAK = 0xf8,
    CMD_ALL_MAKE = 0xf9,
    CMD_ALL_ANY = 0xfa,
    CMD_KEY_TYPEMATIC = 0xfb,
    CMD_KEY_MAKE_BREAK = 0xfc,
    CMD_KEY_MAKE = 0xfd,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};

enum kind { TYPEMATIC = 1, MAKE_BREAK, MAKE_ONLY };

struct key_row {
    u32 set2;
    u8 set3;
    u8 kind;
};

static const struct key_row key_rows[KEY_COUNT] = {
#define KEY(name, usage, set2, set3, kind) [usage] = {set2, set3, kind},
#include "devices/key.def"
#undef KEY
};

const u8 ps2_set2_to_set1[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

/* One key's bytes, collected before they are queued. */
struct sequence {
    u8 set;
    u8 count;
    u8 bytes[PS2_QUEUE_SIZE];
};

static bool key_bit(const u64 *map, unsigned key)
{
    return map[key / 64] >> (key % 64) & 1;
}

static void key_bit_set(u64 *map, unsigned key, bool value)
{
    u64 bit = BIT(key % 64);

    map[key / 64] = value ? map[key / 64] | bit : map[key / 64] & ~bit;
}

static bool is_down(const struct ps2_keyboard *kbd, enum key left, enum key right)
{
    return key_bit(kbd->down, left) || key_bit(kbd->down, right);
}

static void add(struct sequence *q, u8 byte)
{
    if (q->count < sizeof(q->bytes))
        q->bytes[q->count++] = byte;
}

/* The bytes of one set 2 code, with the prefix that its upper bits hold; in set 1 a break code is
 * the make code with bit 7, in set 2 it follows F0. */
static void add_code(struct sequence *q, u32 code, bool down)
{
    u8 low = (u8)code;

    if (code >> 8)
        add(q, (u8)(code >> 8));
    if (q->set == 1) {
        /* F7 is 83 and the Alt+PrtSc code 84: the two above the table. */
        u8 one = low < 0x80 ? ps2_set2_to_set1[low] : low == 0x83 ? 0x41 : 0x54;

        add(q, down ? one : one | 0x80);
        return;
    }
    if (!down)
        add(q, BREAK);
    add(q, low);
}

/* Print Screen: a shifted keypad star of the old board, or SysRq together with Alt. */
static void add_print_screen(const struct ps2_keyboard *kbd, struct sequence *q, bool down)
{
    bool bare = is_down(kbd, KEY_LEFT_SHIFT, KEY_RIGHT_SHIFT) ||
                is_down(kbd, KEY_LEFT_CTRL, KEY_RIGHT_CTRL);

    if (is_down(kbd, KEY_LEFT_ALT, KEY_RIGHT_ALT)) {
        add_code(q, 0x84, down);
        return;
    }
    if (down && !bare)
        add_code(q, 0xe012, true);
    add_code(q, 0xe07c, down);
    if (!down && !bare)
        add_code(q, 0xe012, false);
}

/* Pause: Ctrl and Num Lock of the old board, sent as a whole when it goes down; Break with Ctrl. */
static void add_pause(const struct ps2_keyboard *kbd, struct sequence *q)
{
    if (is_down(kbd, KEY_LEFT_CTRL, KEY_RIGHT_CTRL)) {
        add_code(q, 0xe07e, true);
        add_code(q, 0xe07e, false);
        return;
    }
    add_code(q, 0xe114, true);
    add_code(q, 0x77, true);
    add_code(q, 0xe114, false);
    add_code(q, 0x77, false);
}

static bool is_navigation(enum key key)
{
    return (key >= KEY_INSERT && key <= KEY_UP) || key == KEY_KP_SLASH;
}

/* The grey navigation keys must mean the same whatever Shift and Num Lock are: the board takes
 * Shift back (or feigns it, for Num Lock) around them. */
static void add_navigation(const struct ps2_keyboard *kbd, struct sequence *q, enum key key,
                           bool down)
{
    bool left = key_bit(kbd->down, KEY_LEFT_SHIFT);
    bool right = key_bit(kbd->down, KEY_RIGHT_SHIFT);
    bool num = (kbd->leds & LED_NUM) && !left && !right && key != KEY_KP_SLASH;

    if (!down)
        add_code(q, key_rows[key].set2, false);
    if (left)
        add_code(q, 0xe012, !down);
    if (right)
        add_code(q, 0xe059, !down);
    if (num)
        add_code(q, 0xe012, down);
    if (down)
        add_code(q, key_rows[key].set2, true);
}

static void make_sequence(const struct ps2_keyboard *kbd, struct sequence *q, enum key key,
                          bool down)
{
    q->set = kbd->set;
    q->count = 0;
    if (kbd->set == 3) {
        if (!down && key_bit(kbd->no_break, key))
            return;
        if (!down)
            add(q, BREAK);
        add(q, key_rows[key].set3);
    } else if (key == KEY_PRINT_SCREEN) {
        add_print_screen(kbd, q, down);
    } else if (key == KEY_PAUSE) {
        if (down)
            add_pause(kbd, q);
    } else if (is_navigation(key)) {
        add_navigation(kbd, q, key, down);
    } else {
        add_code(q, key_rows[key].set2, down);
    }
}

static void queue_sequence(struct ps2_keyboard *kbd, const struct sequence *q)
{
    if (!q->count || kbd->overrun)
        return;
    if (kbd->queued + q->count <= PS2_QUEUE_SIZE) {
        memcpy(kbd->queue + kbd->queued, q->bytes, q->count);
        kbd->queued += q->count;
    } else {
        kbd->queue[kbd->queued++] = kbd->set == 1 ? 0xff : 0x00;
        kbd->overrun = true;
    }
    kbd->ready(kbd->opaque);
}

static void send_key(struct ps2_keyboard *kbd, enum key key, bool down)
{
    struct sequence q;

    if (!kbd->scanning)
        return;
    make_sequence(kbd, &q, key, down);
    queue_sequence(kbd, &q);
}

/* Command F3: bits 6-5 are the delay in 250 ms, 4-0 the period, (8 + A) * 2^B / 240 s. */
static u64 repeat_delay(const struct ps2_keyboard *kbd)
{
    return (u64)((kbd->typematic >> 5 & 3) + 1) * 250 * 1000000;
}

static u64 repeat_period(const struct ps2_keyboard *kbd)
{
    return ((8ull + (kbd->typematic & 7)) << (kbd->typematic >> 3 & 3)) * NS_PER_SECOND / 240;
}

static bool key_repeats(const struct ps2_keyboard *kbd, enum key key)
{
    return kbd->set == 3 ? !key_bit(kbd->no_repeat, key) : key != KEY_PAUSE;
}

static void repeat_fired(void *opaque)
{
    struct ps2_keyboard *kbd = opaque;

    send_key(kbd, (enum key)kbd->repeat_key, true);
    timer_arm(&kbd->repeat, clock_now(kbd->repeat.clock) + repeat_period(kbd));
}

static void stop_repeat(struct ps2_keyboard *kbd)
{
    kbd->repeat_key = 0;
    timer_cancel(&kbd->repeat);
}

void ps2_keyboard_key(struct ps2_keyboard *kbd, enum key key, bool down)
{
    if ((unsigned)key >= KEY_COUNT || !key_rows[key].kind || key_bit(kbd->down, key) == down)
        return;
    /* The state of the modifiers at the time of the key, without the key itself, makes the code. */
    send_key(kbd, key, down);
    key_bit_set(kbd->down, key, down);
    if (!down) {
        if (kbd->repeat_key == (u32)key)
            stop_repeat(kbd);
        return;
    }
    stop_repeat(kbd);
    if (kbd->scanning && key_repeats(kbd, key)) {
        kbd->repeat_key = key;
        timer_arm(&kbd->repeat, clock_now(kbd->repeat.clock) + repeat_delay(kbd));
    }
}

static void clear_queue(struct ps2_keyboard *kbd)
{
    kbd->queued = 0;
    kbd->overrun = false;
    stop_repeat(kbd);
}

static void set_kind(struct ps2_keyboard *kbd, unsigned key, bool repeats, bool breaks)
{
    key_bit_set(kbd->no_repeat, key, !repeats);
    key_bit_set(kbd->no_break, key, !breaks);
}

/* Commands F7 to FA for every key, FB to FD for the key with this set 3 code. */
static void set_kinds(struct ps2_keyboard *kbd, u8 command, unsigned code)
{
    u8 what = command >= CMD_KEY_TYPEMATIC ? command - 4 : command;

    for (unsigned key = 0; key < KEY_COUNT; key++) {
        if (command == CMD_ALL_ANY)
            set_kind(kbd, key, true, true);
        else if (command <= CMD_ALL_MAKE || key_rows[key].set3 == code)
            set_kind(kbd, key, what == CMD_ALL_TYPEMATIC, what == CMD_ALL_MAKE_BREAK);
    }
}

static void set_defaults(struct ps2_keyboard *kbd)
{
    kbd->set = 2;
    kbd->typematic = TYPEMATIC_DEFAULT;
    for (unsigned key = 0; key < KEY_COUNT; key++)
        set_kind(kbd, key, key_rows[key].kind == TYPEMATIC, key_rows[key].kind == MAKE_BREAK);
    clear_queue(kbd);
}

static void reply(struct ps2_keyboard *kbd, u8 byte)
{
    if (kbd->replies < PS2_REPLY_SIZE)
        kbd->reply[kbd->replies++] = byte;
}

static void write_argument(struct ps2_keyboard *kbd, u8 byte)
{
    u8 command = kbd->command;

    kbd->command = 0;
    if (command == CMD_SET && byte > 3) {
        kbd->command = command; /* asks for the byte again */
        reply(kbd, RESEND);
        return;
    }
    reply(kbd, ACK);
    switch (command) {
    case CMD_LEDS: kbd->leds = byte & 7; break;
    case CMD_RATE: kbd->typematic = byte & 0x7f; break;
    case CMD_SET:
        if (!byte)
            reply(kbd, kbd->set);
        else
            kbd->set = byte;
        break;
    default: /* FB to FD take codes until the next command */
        set_kinds(kbd, command, byte);
        kbd->command = command;
        break;
    }
}

static void write_command(struct ps2_keyboard *kbd, u8 byte)
{
    kbd->command = 0;
    if (byte != CMD_ECHO && byte != CMD_RESEND)
        reply(kbd, ACK);
    switch (byte) {
    case CMD_LEDS:
    case CMD_RATE: kbd->command = byte; break;
    case CMD_SET:
    case CMD_KEY_TYPEMATIC:
    case CMD_KEY_MAKE_BREAK:
    case CMD_KEY_MAKE:
        kbd->command = byte;
        clear_queue(kbd); /* codes of the old set or kind */
        break;
    case CMD_ECHO: reply(kbd, ECHO); break;
    case CMD_ID:
        reply(kbd, 0xab);
        reply(kbd, 0x83);
        break;
    case CMD_ENABLE:
        clear_queue(kbd);
        kbd->scanning = true;
        break;
    case CMD_DISABLE:
        set_defaults(kbd);
        kbd->scanning = false;
        break;
    case CMD_DEFAULTS: set_defaults(kbd); break;
    case CMD_ALL_TYPEMATIC:
    case CMD_ALL_MAKE_BREAK:
    case CMD_ALL_MAKE:
    case CMD_ALL_ANY:
        clear_queue(kbd);
        set_kinds(kbd, byte, 0);
        break;
    case CMD_RESEND: reply(kbd, kbd->last); break;
    case CMD_RESET:
        set_defaults(kbd);
        kbd->leds = 0;
        kbd->scanning = true;
        reply(kbd, BAT_OK);
        break;
    }
}

static bool is_command(u8 byte)
{
    return byte >= CMD_LEDS && byte != 0xef && byte != 0xf1;
}

void ps2_keyboard_write(struct ps2_keyboard *kbd, u8 byte)
{
    kbd->replies = 0; /* the host pulled the clock low: what was not sent is lost */
    if (is_command(byte))
        write_command(kbd, byte);
    else if (kbd->command)
        write_argument(kbd, byte);
    else
        reply(kbd, RESEND);
    kbd->ready(kbd->opaque);
}

bool ps2_keyboard_pending(const struct ps2_keyboard *kbd)
{
    return kbd->replies || kbd->queued;
}

u8 ps2_keyboard_take(struct ps2_keyboard *kbd)
{
    check(ps2_keyboard_pending(kbd), "no byte to take");
    if (kbd->replies) {
        kbd->last = kbd->reply[0];
        memmove(kbd->reply, kbd->reply + 1, --kbd->replies);
    } else {
        kbd->last = kbd->queue[0];
        memmove(kbd->queue, kbd->queue + 1, --kbd->queued);
        kbd->overrun = kbd->overrun && kbd->queued; /* the overrun code is the last */
    }
    return kbd->last;
}

void ps2_keyboard_reset(struct ps2_keyboard *kbd)
{
    memset(kbd->down, 0, sizeof(kbd->down));
    set_defaults(kbd);
    kbd->leds = kbd->command = kbd->replies = kbd->last = 0;
    kbd->scanning = true;
}

void ps2_keyboard_init(struct ps2_keyboard *kbd, struct clock *clock, void (*ready)(void *opaque),
                       void *opaque)
{
    kbd->ready = ready;
    kbd->opaque = opaque;
    timer_init(&kbd->repeat, clock, "ps2_keyboard", repeat_fired, kbd);
    ps2_keyboard_reset(kbd);
}
