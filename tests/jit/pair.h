/* SPDX-License-Identifier: MIT
 *
 * Two processors of tests/cpu/machine.h side by side: one runs in the interpreter, the other in
 * translated code. After each run everything an instruction can change must be the same.
 */
#pragma once

#include <check.h>

#include "jit/jit.h"
#include "tests/cpu/machine.h"

enum { PAIR_MEMORY = 1 << 20, PAIR_BUDGET = 1000000 };

struct pair {
    struct machine interp, jit;
    char difference[4096];
};

static const struct jit_options pair_counted = {.optimisations = JIT_ALL, .counted = true};

static inline void pair_create(struct pair *p, const struct jit_options *options)
{
    struct error err = {""};

    machine_create(&p->interp);
    machine_create(&p->jit);
    check(!jit_create(p->jit.v, options, &err), "%s", err.text);
}

static inline void pair_destroy(struct pair *p)
{
    jit_destroy(p->jit.v);
    machine_destroy(&p->interp);
    machine_destroy(&p->jit);
}

static inline void pair_start(struct pair *p, enum machine_mode mode)
{
    machine_start(&p->interp, mode);
    machine_start(&p->jit, mode);
}

static inline void pair_put(struct pair *p, u64 gpa, const void *bytes, size_t size)
{
    machine_put(&p->interp, gpa, bytes, size);
    machine_put(&p->jit, gpa, bytes, size);
}

static inline void pair_set(struct pair *p, unsigned reg, u64 value)
{
    p->interp.v->gpr[reg] = p->jit.v->gpr[reg] = value;
}

static inline void pair_flags(struct pair *p, u64 flags)
{
    p->interp.v->rflags = p->jit.v->rflags = flags | 2;
    vcpu_update_mode(p->interp.v);
    vcpu_update_mode(p->jit.v);
}

/* Code at MACHINE_CODE, followed by HLT. */
static inline void pair_code(struct pair *p, const void *bytes, size_t size)
{
    machine_code(&p->interp, bytes, size);
    machine_code(&p->jit, bytes, size);
}
#define PAIR_CODE(p, ...) pair_code(p, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

static inline void pair_note(struct pair *p, const char *what, u64 interp, u64 jit)
{
    size_t at = strlen(p->difference);

    if (interp != jit)
        snprintf(p->difference + at, sizeof(p->difference) - at, "%s: interp %lx, jit %lx\n", what,
                 interp, jit);
}

static inline void pair_compare_vectors(struct pair *p)
{
    const struct fpu *a = &p->interp.v->fpu, *b = &p->jit.v->fpu;
    char name[32];

    for (unsigned n = 0; n < 32; n++)
        for (unsigned q = 0; q < 8; q++) {
            snprintf(name, sizeof(name), "zmm%u[%u]", n, q);
            pair_note(p, name, load_le(&a->zmm[n][8 * q], 8), load_le(&b->zmm[n][8 * q], 8));
        }
    for (unsigned n = 0; n < 8; n++) {
        snprintf(name, sizeof(name), "k%u", n);
        pair_note(p, name, a->k[n], b->k[n]);
    }
    for (unsigned n = 0; n < 160; n += 8) {
        snprintf(name, sizeof(name), "fx+%u", n);
        pair_note(p, name, load_le(a->fx + n, 8), load_le(b->fx + n, 8));
    }
    pair_note(p, "mxcsr", a->mxcsr, b->mxcsr);
}

static inline void pair_compare_segments(struct pair *p)
{
    char name[32];

    for (unsigned s = 0; s < SEG_COUNT; s++) {
        const struct segment *a = &p->interp.v->seg[s], *b = &p->jit.v->seg[s];

        snprintf(name, sizeof(name), "segment %u", s);
        pair_note(p, name, a->base, b->base);
        pair_note(p, name, (u64)a->limit << 32 | a->attr, (u64)b->limit << 32 | b->attr);
        pair_note(p, name, a->selector, b->selector);
    }
}

static inline void pair_compare_memory(struct pair *p, u64 size)
{
    const u8 *a = p->interp.ram.hva, *b = p->jit.ram.hva;
    char name[32];

    if (!memcmp(a, b, size))
        return;
    for (u64 n = 0; n < size; n += 8)
        if (memcmp(a + n, b + n, 8)) {
            snprintf(name, sizeof(name), "memory %lx", n);
            pair_note(p, name, load_le(a + n, 8), load_le(b + n, 8));
        }
}

/* What differs, in words; "" if nothing does. */
static inline const char *pair_difference(struct pair *p)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct vcpu *a = p->interp.v, *b = p->jit.v;

    p->difference[0] = 0;
    for (unsigned n = 0; n < 16; n++)
        pair_note(p, names[n], a->gpr[n], b->gpr[n]);
    pair_note(p, "rip", a->rip, b->rip);
    pair_note(p, "rflags", a->rflags, b->rflags);
    pair_note(p, "icount", a->icount, b->icount);
    pair_note(p, "cpl", a->cpl, b->cpl);
    pair_note(p, "shadow", a->shadow, b->shadow);
    pair_note(p, "activity", a->activity, b->activity);
    pair_note(p, "events", a->events, b->events);
    pair_note(p, "cr0", a->cr0, b->cr0);
    pair_note(p, "cr2", a->cr2, b->cr2);
    pair_note(p, "cr3", a->cr3, b->cr3);
    pair_note(p, "cr4", a->cr4, b->cr4);
    pair_note(p, "xcr0", a->xcr0, b->xcr0);
    pair_note(p, "dr6", a->dr6, b->dr6);
    pair_compare_segments(p);
    pair_compare_vectors(p);
    pair_compare_memory(p, PAIR_MEMORY);
    return p->difference;
}

#define PAIR_SAME(p) ck_assert_str_eq(pair_difference(p), "")

/* Runs both for at most budget instructions, and compares. */
static inline enum vcpu_exit pair_run(struct pair *p, u64 budget)
{
    enum vcpu_exit a = interp_run(p->interp.v, budget), b = jit_run(p->jit.v, budget);

    PAIR_SAME(p);
    ck_assert_int_eq(a, b);
    return b;
}

/* Puts code there and runs it in a mode with the registers as they are: the vector that ended it,
 * or -1 for its HLT. */
static inline int pair_execute(struct pair *p, const void *code, size_t size)
{
    pair_code(p, code, size);
    ck_assert_int_eq(pair_run(p, PAIR_BUDGET), EXIT_IDLE);
    return machine_vector(&p->jit);
}
#define PAIR_EXECUTE(p, ...)                                                                       \
    pair_execute(p, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* Back to the start of the code, running, all else as it is. */
static inline void pair_again(struct pair *p)
{
    struct vcpu *both[] = {p->interp.v, p->jit.v};

    for (unsigned n = 0; n < 2; n++) {
        both[n]->activity = ACTIVITY_RUN;
        both[n]->rip = MACHINE_CODE;
    }
}

static inline struct jit_stats pair_stats(const struct pair *p)
{
    struct jit_stats s;

    jit_stats(p->jit.v, &s);
    return s;
}
