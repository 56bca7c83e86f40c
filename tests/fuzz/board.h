/* SPDX-License-Identifier: MIT
 *
 * The whole PC without a running processor, for targets that play the guest's part on its buses:
 * counted time that only the target moves, 1 MiB of guarded RAM, a ROM of noise, a serial port in
 * memory.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cpu/msr.h"
#include "devices/backend/chardev_memory.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/i8259.h"
#include "machine/internal.h"
#include "mem/base/bits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/guard.h"

enum { BOARD_ROM_SIZE = 0x10000, BOARD_SERIAL_BYTES = 256, BOARD_TIMER_ROUNDS = 64 };

struct board {
    struct log log;
    struct chardev *serial;
    struct machine *m;
};

/* A BIOS image without code, as a file that only this process sees. */
static inline void board_rom(char *path, size_t size)
{
    u8 image[BOARD_ROM_SIZE];
    u64 state = 1;
    int fd = memfd_create("rom", 0);

    for (unsigned n = 0; n < sizeof(image); n++)
        image[n] = (u8)fuzz_random(&state);
    check(fd >= 0 && write(fd, image, sizeof(image)) == sizeof(image), "no image");
    snprintf(path, size, "/proc/self/fd/%d", fd);
}

/* hv: an -hv argument; with Hv#1 there are its test device's connections, too. */
static inline void board_create_hv(struct board *b, const char *hv)
{
    static char rom[32];
    struct machine_config config;
    struct error err = {""};

    if (!rom[0])
        board_rom(rom, sizeof(rom));
    log_init(&b->log);
    b->log.sink = fopen("/dev/null", "w");
    b->log.owned = true;
    check(b->log.sink && !chardev_memory_create(&b->serial, BOARD_SERIAL_BYTES, &err), "%s",
          err.text);
    machine_config_defaults(&config);
    config.ram_size = MIB(1);
    config.cpu = "x86-64"; /* quicker to make than max: each CPUID of a virtual host is an exit */
    config.topology = (struct cpu_topology){1, 2, 1};
    config.bios = rom;
    config.serial[0] = b->serial;
    config.debug_exit = true;
    config.debug_exit_base = 0xf4;
    config.debug_exit_size = 4;
    config.time = TIME_COUNTED;
    config.log = &b->log;
    config.hv = hv;
    config.hv_testdev = hv && strcmp(hv, "off") && strcmp(hv, "min");
    check(!machine_create(&b->m, &config, &err), "%s", err.text);
}

static inline void board_create(struct board *b)
{
    board_create_hv(b, NULL);
}

static inline void board_destroy(struct board *b)
{
    machine_destroy(b->m);
    chardev_destroy(b->serial);
    log_fini(&b->log);
}

/* As the run loop does: time passes, and what is due fires. Timers that re-arm themselves for the
 * past would keep the loop busy for ever. */
static inline void board_advance(struct board *b, u64 ns)
{
    u64 now = time_now(&b->m->time) + ns;
    unsigned rounds = 0;

    time_skip_to(&b->m->time, now);
    while (clock_next_deadline(&b->m->clock) <= now && rounds < BOARD_TIMER_ROUNDS) {
        clock_run(&b->m->clock);
        rounds++;
    }
}

/* What the guest asked the run loop for. */
static inline void board_serve(struct board *b)
{
    u32 requests = __atomic_exchange_n(&b->m->requests, 0, __ATOMIC_SEQ_CST);
    u8 output[64];

    while (chardev_memory_take(b->serial, output, sizeof(output)))
        continue;
    if (requests & REQUEST_RESET)
        machine_reset(b->m);
}
