/* SPDX-License-Identifier: MIT
 *
 * Everything a person can choose about a machine; the command line and the library fill it in.
 * Strings are borrowed and must outlive machine_create().
 */
#pragma once

#include "cpu/cpuid.h"
#include "jit/jit.h"
#include "machine/time.h"
#include "mem/base/log.h"

struct chardev;

enum engine_kind { ENGINE_INTERP, ENGINE_JIT, ENGINE_CHECK };

#define MACHINE_RAM_MIN     MIB(1)
#define MACHINE_RAM_MAX     GIB(1024)
#define MACHINE_RAM_DEFAULT MIB(512)
#define MACHINE_VCPUS_MAX   255
#define MACHINE_SERIAL_MAX  4

struct machine_config {
    u64 ram_size;                 /* bytes */
    const char *cpu;              /* -cpu argument, "" for max */
    struct cpu_topology topology; /* product: number of vCPUs */
    const char *bios;             /* path, "none" to enter the kernel directly, NULL for SeaBIOS */
    const char *kernel;
    const char *initrd;
    const char *append;
    struct chardev *serial[MACHINE_SERIAL_MAX]; /* NULL: no such port */
    struct chardev *debugcon;                   /* NULL: output is dropped */
    bool debug_exit;                            /* the isa-debug-exit device */
    u16 debug_exit_base;
    u16 debug_exit_size;
    bool testdev; /* the pc-testdev device */
    bool no_reboot;
    const char *hv;  /* -hv argument, NULL for full */
    bool hv_testdev; /* the hyperv-testdev device */
    enum engine_kind engine;
    bool exact;       /* instructions are counted in real time, too: budgets and reports need it */
    u64 jit_off;      /* enum jit_optimisation: what the translator is to leave out */
    bool own_process; /* nobody else in it maps memory where he likes, or wants SIGSEGV */
    bool jit_stats;   /* prints what the translator did when the machine ends */
    u64 jit_cache;    /* bytes of translated code; 0: the default */
    enum time_kind time;
    u64 ips;        /* for TIME_COUNTED; 0: the default rate */
    u64 slowness;   /* for TIME_REAL: guest time passes so many times slower; 0: as the host's */
    u64 wall_start; /* seconds since 1970 UTC; 0: now (real) or the fixed date (counted) */
    struct log *log;
};

/* The values a person gets without options. log and chardevs are left NULL. */
void machine_config_defaults(struct machine_config *config);
