/* SPDX-License-Identifier: MIT
 *
 * A whole machine that runs one of the guests of guests.asm as its BIOS, with its first serial port
 * in memory and isa-debug-exit at F4h.
 */
#pragma once

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "devices/backend/chardev_memory.h"
#include "machine/machine.h"
#include "mem/base/bits.h"

/* In the order of guests.asm. */
enum guest {
    GUEST_EXIT,
    GUEST_POWER_OFF,
    GUEST_TRIPLE_FAULT,
    GUEST_RESET_CF9,
    GUEST_RESET_92,
    GUEST_RESET_8042,
    GUEST_RESET_TRIPLE,
    GUEST_HALT,
    GUEST_SCREEN,
    GUEST_ECHO,
    GUEST_WORK,
    GUEST_SPIN,
    GUEST_SLEEP,
    GUEST_SMP,
    GUEST_HELLO,
    GUEST_POWER_BUTTON,
    GUEST_A20,
    GUEST_SMP_RESET,
    GUEST_FPU,
    GUEST_FAULT_LOOP,
    GUEST_MWAIT,
};

enum {
    GUEST_OUTPUT_MAX = 0x4000,
    GUEST_IMAGE_SIZE = 0x10000,
    GUEST_AT_SELECT = 0xffe0,
    GUEST_AT_PARAMETER = 0xffe4
};

struct guest_machine {
    struct log log;
    struct error err;
    int image_fd;
    char image_path[32];
    struct chardev *serial;
    struct machine_config config;
    struct machine *machine;
};

/* The image of guests.asm with a guest chosen, as a file that only this process sees. */
static inline int guest_image(enum guest guest, u32 parameter)
{
    u8 image[GUEST_IMAGE_SIZE];
    FILE *file = fopen(GUEST_IMAGE, "rb");
    int fd = memfd_create("guest", 0);

    ck_assert_msg(file && fread(image, 1, sizeof(image), file) == sizeof(image), GUEST_IMAGE);
    fclose(file);
    image[GUEST_AT_SELECT] = (u8)guest;
    store_le(image + GUEST_AT_PARAMETER, parameter, 4);
    ck_assert_int_eq(write(fd, image, sizeof(image)), sizeof(image));
    return fd;
}

/* Fills in a config that tests may change before guest_create(). */
static inline void guest_prepare(struct guest_machine *g, enum guest guest, u32 parameter)
{
    memset(g, 0, sizeof(*g));
    log_init(&g->log);
    g->image_fd = guest_image(guest, parameter);
    snprintf(g->image_path, sizeof(g->image_path), "/proc/self/fd/%d", g->image_fd);
    ck_assert_int_eq(chardev_memory_create(&g->serial, GUEST_OUTPUT_MAX, &g->err), ST_OK);
    machine_config_defaults(&g->config);
    g->config.ram_size = MIB(4);
    g->config.bios = g->image_path;
    g->config.serial[0] = g->serial;
    g->config.debug_exit = true;
    g->config.debug_exit_base = 0xf4;
    g->config.debug_exit_size = 4;
    g->config.log = &g->log;
}

static inline void guest_create(struct guest_machine *g)
{
    ck_assert_msg(machine_create(&g->machine, &g->config, &g->err) == ST_OK, "%s", g->err.text);
}

static inline void guest_destroy(struct guest_machine *g)
{
    machine_destroy(g->machine);
    chardev_destroy(g->serial);
    close(g->image_fd);
    log_fini(&g->log);
}

/* Runs to the end, which must be this one; returns the code. */
static inline int guest_run(struct guest_machine *g, enum machine_end want)
{
    int code = -1;

    ck_assert_int_eq(machine_run(g->machine, &code), want);
    return code;
}

/* What a guest does from power-on in default settings: its end, and its code. */
static inline void guest_check(enum guest guest, enum machine_end want, int want_code)
{
    struct guest_machine g;

    guest_prepare(&g, guest, 0);
    guest_create(&g);
    ck_assert_int_eq(guest_run(&g, want), want_code);
    guest_destroy(&g);
}

/* A thread that stops the machine after 100 ms. */
static inline void *stop_later(void *machine)
{
    const struct timespec ts = {.tv_nsec = 100000000};

    nanosleep(&ts, NULL);
    machine_stop(machine);
    return NULL;
}
