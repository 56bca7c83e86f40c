/* SPDX-License-Identifier: MIT
 *
 * The PS/2 keyboard at the far end of the i8042's first port: commands, scan code sets 1 to 3,
 * typematic repeat, a 16-byte buffer. Not on the bus: the controller owns one and moves its bytes.
 */
#pragma once

#include "devices/clock.h"
#include "devices/key.h"

enum { PS2_QUEUE_SIZE = 16, PS2_REPLY_SIZE = 4 };

struct ps2_keyboard {
    struct timer repeat;
    void (*ready)(void *opaque); /* a byte waits to be taken */
    void *opaque;
    u64 down[4];                  /* by enum key */
    u64 no_repeat[4];             /* set 3: keys that are not typematic */
    u64 no_break[4];              /* set 3: keys that send no break code */
    u32 repeat_key;               /* the last typematic key that went down, 0 none */
    u8 queue[PS2_QUEUE_SIZE + 1]; /* the last place takes the overrun code only */
    u8 queued;
    u8 reply[PS2_REPLY_SIZE]; /* answers, sent before scan codes */
    u8 replies;
    u8 last;      /* the last byte sent, for "resend" */
    u8 command;   /* the command that waits for its argument, 0 none */
    u8 set;       /* scan code set, 1..3 */
    u8 leds;      /* bit 0 scroll lock, 1 num lock, 2 caps lock */
    u8 typematic; /* delay and rate as in command F3 */
    bool scanning;
    bool overrun; /* the last queued byte is the overrun code; nothing follows it */
};

/* The controller's translation of a set 2 code to set 1, by code below 80h. */
extern const u8 ps2_set2_to_set1[128];

/* ready is called with opaque whenever there is a new byte to take. */
void ps2_keyboard_init(struct ps2_keyboard *kbd, struct clock *clock, void (*ready)(void *opaque),
                       void *opaque);
/* Power-on state; keys held down are forgotten. */
void ps2_keyboard_reset(struct ps2_keyboard *kbd);
/* A byte from the host. */
void ps2_keyboard_write(struct ps2_keyboard *kbd, u8 byte);
bool ps2_keyboard_pending(const struct ps2_keyboard *kbd);
/* Takes the next byte; there must be one. */
u8 ps2_keyboard_take(struct ps2_keyboard *kbd);
/* A key goes down or up; repeating a state, or a key that does not exist, does nothing. */
void ps2_keyboard_key(struct ps2_keyboard *kbd, enum key key, bool down);
