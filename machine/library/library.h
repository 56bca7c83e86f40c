/* SPDX-License-Identifier: MIT
 *
 * The inside of the public library (include/lockstep.h), shared by the files of this folder.
 */
#pragma once

#include "cpu/hooks.h"
#include "cpu/vcpu.h"
#include "include/lockstep.h"
#include "machine/time.h"
#include "mem/base/log.h"
#include "mem/physmap.h"
#include "mem/ram.h"

struct machine;
struct chardev;

/* A CPU-only machine. */
struct cell {
    struct ram ram; /* what mappings of library memory are cut from */
    u64 ram_used;   /* bytes from its start that were part of a mapping at some time */
    struct physmap *map;
    struct pio_bus pio;
    struct time_source time;
    struct cpu_model *model;
    struct vcpu_platform platform;
    struct vcpu *vcpu;
    u64 cr8;
    u64 random;        /* counted clock: state of the RDRAND generator */
    bool stop;         /* lockstep_stop(), atomic */
    u64 interrupts[4]; /* requested vectors, atomic */
    struct mapping *mappings;
    unsigned mapping_count;
    struct port_range *ports;
};

enum { SERIAL_PORTS = 4 };

/* A PC with what the machine borrows from its maker. */
struct pc {
    struct machine *machine;
    char *strings[6]; /* model, kernel, initrd, append, bios, hv */
    struct chardev *serial[SERIAL_PORTS];
};

/* Where straight code goes on, per processor; for the block hook. */
struct flow {
    u64 next;
    bool ended;
};

struct lockstep_machine {
    struct log log;
    struct error err;
    bool running;
    struct cell *cell; /* one of the two */
    struct pc *pc;
    struct flow *flow; /* one per processor */

    struct lockstep_hooks hooks;
    struct vcpu_hooks vcpu_hooks; /* what every processor has installed */
    u64 stop_vectors[4];

    /* the run in progress */
    bool until_set, until_armed;
    u64 until;
    u32 hook_end; /* enum lockstep_end a hook decided on */
    u32 end_cpu;
    struct lockstep_exception last;
};

/* error.c: records a sentence and returns the status. */
enum lockstep_status library_fail(struct lockstep_machine *m, enum lockstep_status status,
                                  const char *format, ...) PRINTF(3, 4);
enum lockstep_status library_status(enum status status);
/* The common checks: a machine, one that is not running, a processor of it. On failure *status is
 * set and the result is NULL. */
struct vcpu *library_vcpu(struct lockstep_machine *m, unsigned cpu, enum lockstep_status *status);
enum lockstep_status library_idle(struct lockstep_machine *m);

/* create.c */
unsigned library_cpu_count(const struct lockstep_machine *m);
struct vcpu *library_cpu(const struct lockstep_machine *m, unsigned cpu);
struct physmap *library_map(const struct lockstep_machine *m);
struct ram *library_ram(const struct lockstep_machine *m);

/* cell.c: CPU-only machines. */
MUST_USE enum status cell_create(struct cell **cell, const struct lockstep_cpu_config *config,
                                 struct log *log, struct error *err);
void cell_destroy(struct cell *cell);
void cell_interrupt(struct cell *cell, u8 vector);

/* mapping.c */
void cell_mappings_destroy(struct cell *cell);

/* pc.c: whole PCs. */
MUST_USE enum status library_pc_create(struct pc **pc, const struct lockstep_pc_config *config,
                                       struct log *log, struct error *err);
void library_pc_destroy(struct pc *pc);

/* serial.c: a serial line whose other end is the program. */
MUST_USE enum status serial_create(struct chardev **c, unsigned port, lockstep_serial_fn *output,
                                   void *opaque, struct error *err);
size_t serial_feed(struct chardev *c, const u8 *bytes, size_t count);

/* hooks.c: installs on all processors what hooks, stops and `until` need. */
void library_install_hooks(struct lockstep_machine *m);
