/* SPDX-License-Identifier: MIT
 *
 * The person's terminal: raw mode while the guest owns it, Ctrl-A as the way out, restored on every
 * way a process can end.
 */
#pragma once

#include <termios.h>

#include "mem/base/types.h"

struct machine;

struct terminal {
    bool raw;    /* saved holds what to restore */
    bool escape; /* Ctrl-A was typed, the next key is for us */
    struct termios saved;
    struct machine *machine;         /* for the keys that act on it */
    void (*break_key)(void *opaque); /* Ctrl-A b */
    void *opaque;
};

/* Puts standard input into raw mode if it is a terminal; otherwise nothing happens. */
void terminal_open(struct terminal *terminal);
/* Restores the terminal. Async-signal-safe, idempotent. */
void terminal_close(struct terminal *terminal);
/* Sees each byte typed, before the guest does: a chardev_filter_fn. Ctrl-A h help, x quit, s save
 * the text screen to the terminal, p power button, b break, Ctrl-A itself. */
bool terminal_filter(void *terminal, u8 byte);
