/* SPDX-License-Identifier: MIT
 *
 * What native.c (the parent), native_setup.c (the child while it is still a C program) and
 * native_child.c (the child afterwards) share. All of it lies in one shared mapping, the region:
 * control, signal stack, three images of the arena, cases, outcomes.
 */
#pragma once

#include <linux/filter.h>

#include "frontend/conform/arena.h"

enum {
    /* The signal stack with, below it, a guard page and a page that points to the control block.
     * Aligned to its size, so that a handler finds that page from its stack pointer. */
    NATIVE_STACK_BLOCK = 64 * 1024,
    NATIVE_KEEP = 2,     /* mappings that the child keeps: its code and the region */
    NATIVE_FILTER = 32,  /* longest seccomp program */
    NATIVE_TICK_MS = 50, /* of processor time; a case that sees two ticks hangs */
};

#define NATIVE_AUTODISARM BIT(31) /* SS_AUTODISARM of uapi linux/signal.h */

enum native_failure { FAIL_NONE, FAIL_LDT, FAIL_SIGNALS, FAIL_TIMER, FAIL_ARENA, FAIL_SECCOMP };

struct native_range {
    u64 start, end;
};

struct native_control {
    /* Futex words. go: batches ordered; done: batches finished, ~0u while the child starts. */
    u32 go, done;
    u32 first, count;          /* of the batch: cases [first, count) */
    u32 current;               /* the case that runs; cases before it have their outcome */
    u32 tick_go, tick_current; /* what ran at the last tick of the watchdog */
    bool running;              /* the child's first signal has come */

    /* Constant for the child. */
    bool fsgsbase;    /* RDFSBASE and its like work */
    u64 signal_stack; /* the block of NATIVE_STACK_BLOCK bytes */
    int arena_fd;
    u64 arena_fd_offset; /* of the arena's image in the region's file */
    u64 signal_mask;     /* while a case runs */
    u64 xcr0;
    u32 xstate_offset[16];                 /* of each component in the standard format; 0: none */
    struct native_range own;               /* the code of native_child.c */
    struct native_range keep[NATIVE_KEEP]; /* ascending, whole pages */
    u8 *arena, *start, *filled; /* images: the arena itself, as the case started, without case */
    struct conform_case *cases;
    struct conform_outcome *outcomes;
    struct sock_fprog filter;
    struct sock_filter filter_code[NATIVE_FILTER];

    /* Why the child could not start. */
    u32 failed; /* enum native_failure */
    int failed_errno;
};

/* native_child.c: the code that stays mapped. The bounds are the linker's. */
extern const char __start_lockstep_native_child[], __stop_lockstep_native_child[];
/* The addresses behind its two SYSCALL instructions; the filter allows no other. */
extern const char native_child_call_end[], native_child_return_end[];
/* The handler of every signal. */
void native_child_entry(int number);
/* Leaves the C program for good: stack_top is that of the signal stack. */
NORETURN void native_child_start(struct native_control *control, u64 stack_top);

/* native_setup.c: the child from fork() to native_child_start(). */
NORETURN void native_child_setup(struct native_control *control);
/* The filter that the child installs on itself; filled by the parent. */
void native_filter_make(struct native_control *control);
