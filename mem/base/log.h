/* SPDX-License-Identifier: MIT
 *
 * One log per machine: trace categories chosen with -d, a sink chosen with -D, guest misuse
 * rate-limited. Also check(), the assertion that stays on in every build.
 *
 * Threads: every function may be called from any thread.
 */
#pragma once

#include <stdio.h>

#include "mem/base/types.h"

/* Trace categories, the words of -d. */
enum log_category {
    LOG_IN_ASM = 1u << 0,     /* in_asm: each instruction as it is first decoded */
    LOG_INT = 1u << 1,        /* int: exceptions and interrupts as they are delivered */
    LOG_MMIO = 1u << 2,       /* mmio: every access to a device register, memory or port */
    LOG_CPU = 1u << 3,        /* cpu: registers before each executed instruction */
    LOG_GUEST = 1u << 4,      /* guest_errors: misuse of devices by the guest */
    LOG_EXEC = 1u << 5,       /* exec: the address of each executed instruction */
    LOG_OUT_ASM = 1u << 6,    /* out_asm: guest and host code of each block when it is translated */
    LOG_HV1 = 1u << 7,        /* hv1: Hv#1's CPUID leaves, MSRs and hypercalls by name */
    LOG_CONTENTION = 1u << 8, /* contention: at the end, what processors waited for each other */
};

struct log {
    FILE *sink;      /* not owned unless owned is true */
    u32 categories;  /* enum log_category bits that are on */
    u32 guest_lines; /* lines of log_guest() so far, for the limit */
    bool owned;
};

/* Starts with no category on and stderr as the sink. */
void log_init(struct log *log);
/* Closes the sink if the log owns it. */
void log_fini(struct log *log);

static inline bool log_on(const struct log *log, enum log_category category)
{
    return unlikely(log->categories & category);
}

/* Writes a trace line (format without newline) if the category is on. */
void log_trace(struct log *log, enum log_category category, const char *format, ...) PRINTF(3, 4);
/* Always writes a line: what a person must know (one line per event, never per access). */
void log_warn(struct log *log, const char *format, ...) PRINTF(2, 3);
/* The guest did something a device does not define. Written with -d guest_errors only, and no more
 * than 1000 lines a run. */
void log_guest(struct log *log, const char *format, ...) PRINTF(2, 3);

/* An invariant of ours is broken (never reachable from a guest): print and abort. On in all builds.
 */
#define check(expr, ...)                                                                           \
    do {                                                                                           \
        if (unlikely(!(expr)))                                                                     \
            check_failed(__FILE__, __LINE__, #expr, __VA_ARGS__);                                  \
    } while (0)

NORETURN void check_failed(const char *file, int line, const char *expr, const char *format, ...)
    PRINTF(4, 5);
