/* SPDX-License-Identifier: MIT
 *
 * isa-debug-exit: a write ends the emulator with an exit status of the guest's choice, for test
 * guests.
 */
#pragma once

#include "devices/device.h"

struct debug_exit_config {
    u16 iobase;
    u16 iosize; /* 1..4 ports */
    void (*exit)(void *opaque,
                 int code); /* code: written value * 2 + 1, called during the access */
    void *opaque;
};

/* Takes struct debug_exit_config and claims its ports itself, since both numbers are the user's. */
extern const struct device_type debug_exit_type;
