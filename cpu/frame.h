/* SPDX-License-Identifier: MIT
 *
 * Stack frames of far calls, interrupts and task switches: values are collected first, then all
 * places are checked in the order in which they are pushed, then everything is written. So a frame
 * that faults anywhere leaves memory as it was.
 */
#pragma once

#include "cpu/segment.h"

enum { FRAME_SLOTS = 40 }; /* a call gate pushes at most 31 parameters and 4 more */

struct frame_slot {
    u64 offset; /* in the stack segment */
    u64 gla;
    u64 value;
    u8 size;
};

struct frame {
    struct segment ss;
    u64 rsp;    /* after what was pushed so far; a 16-bit stack keeps the upper bits */
    u32 error;  /* of the #SS for a stack that is too small */
    u8 width;   /* of the stack pointer: 2, 4, 8 (8: flat, no segment) */
    bool inner; /* pushed with the privileges of a CPL below the current one */
    unsigned count;
    struct frame_slot slot[FRAME_SLOTS];
};

/* A stack taken from the TSS for an inner ring or an interrupt stack table entry. */
struct ring_stack {
    struct segment ss;
    u64 rsp;
    u8 width;
    bool has_descriptor; /* d is the descriptor of ss */
    struct descriptor d;
};

/* On the current stack. width 0: as it is; 8: as a 64-bit stack (a gate into 64-bit code). */
void frame_begin(struct frame *f, const struct vcpu *v, unsigned width, u32 error);
/* On a stack from the TSS, to be used at CPL < 3. */
void frame_begin_inner(struct frame *f, const struct ring_stack *stack, u32 error);
void frame_push(struct frame *f, u64 value, unsigned size);
/* Checks and writes one slot after the other on the current ring's stack: a fault leaves those
 * before it in memory. RSP stays; the caller sets it to f->rsp. */
bool frame_store(struct vcpu *v, struct frame *f);
/* #SS(error), #PF or #AC if one of the slots cannot be written. */
bool frame_check(struct vcpu *v, struct frame *f);
/* After frame_check(): writes the slots and sets RSP. SS is the caller's business. */
bool frame_write(struct vcpu *v, const struct frame *f);

/* SS:RSP for ring cpl from the current TSS (SDM 3A 7.2.1, 7.7); ist 1..7 (long mode): from the
 * interrupt stack table. #TS, #SS with ext in the error code. */
bool ring_stack_read(struct vcpu *v, unsigned cpl, unsigned ist, u32 ext, struct ring_stack *stack);
