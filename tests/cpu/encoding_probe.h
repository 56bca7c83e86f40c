/* SPDX-License-Identifier: MIT
 *
 * Whether the host takes an encoding: one instruction is executed in this process, in 64-bit or
 * 32-bit code, and a signal tells how it ended. Millions of them run in seconds. For encodings that
 * cannot do harm only (VEX, EVEX): memory operands are [rdi], index registers 4 and 20 are zero.
 */
#pragma once

#include <signal.h>
#include <ucontext.h>
#include <sys/mman.h>

#include "mem/base/bits.h"
#include "mem/base/log.h"

enum { PROBE_BYTES = 16384, PROBE_INSN = 0x400, PROBE_RETURN = 0x800, PROBE_DATA = 0x2000 };

struct encoding_probe {
    u8 *page; /* below 4 GiB: entry, instruction, way back, data */
    u64 saved_rsp;
    u32 mxcsr;
    int signal;
    u64 entry; /* far pointer to the code to enter: 32-bit offset, selector */
};

static struct encoding_probe probe_state;

static inline void probe_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)info;
    probe_state.signal = number;
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(probe_state.page + PROBE_RETURN);
    uc->uc_mcontext.gregs[REG_CSGSFS] =
        (uc->uc_mcontext.gregs[REG_CSGSFS] & ~0xffffll) | 0x33; /* Linux: 64-bit user code */
}

static inline u8 *probe_put(u8 *p, const void *bytes, size_t count)
{
    memcpy(p, bytes, count);
    return p + count;
}
#define PROBE_PUT(p, string) probe_put(p, string, sizeof(string) - 1)

static inline u8 *probe_pointer(u8 *p, const void *pointer)
{
    return probe_put(p, &pointer, 8);
}

/* The way in: saves registers, clears index registers, points rdi at the data, jumps. */
static inline void probe_emit_entry(struct encoding_probe *s, bool avx512)
{
    u8 *p = PROBE_PUT(s->page, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57\x48\xb8");

    p = PROBE_PUT(probe_pointer(p, &s->saved_rsp), "\x48\x89\x20\x48\xb8"); /* mov [rax], rsp */
    p = PROBE_PUT(probe_pointer(p, &s->mxcsr), "\x0f\xae\x18");             /* stmxcsr [rax] */
    p = PROBE_PUT(p, "\xc5\xd9\xef\xe4");                                   /* vpxor xmm4 */
    if (avx512)
        p = PROBE_PUT(p, "\x62\xa1\x5d\x40\xef\xe4"); /* vpxord zmm20 */
    p = PROBE_PUT(p, "\x48\xbf");
    p = PROBE_PUT(probe_pointer(p, s->page + PROBE_DATA), "\x48\xb8");
    p = PROBE_PUT(probe_pointer(p, &s->entry), "\xff\x28"); /* jmp far [rax] */
    check(p <= s->page + PROBE_INSN, "probe entry is too long");
}

static inline void probe_emit_return(struct encoding_probe *s)
{
    u8 *p = PROBE_PUT(s->page + PROBE_RETURN, "\x48\xb8");

    p = PROBE_PUT(probe_pointer(p, &s->mxcsr), "\x0f\xae\x10\x48\xb8"); /* ldmxcsr [rax] */
    p = PROBE_PUT(probe_pointer(p, &s->saved_rsp), "\x48\x8b\x20");     /* mov rsp, [rax] */
    PROBE_PUT(p, "\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xfc\xc5\xf8\x77\xc3");
}

static inline void probe_open(bool avx512)
{
    struct encoding_probe *s = &probe_state;
    static const int signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS, SIGTRAP};
    struct sigaction action = {.sa_sigaction = probe_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t stack = {.ss_size = 1 << 16};

    s->page = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    check(s->page != MAP_FAILED, "no low executable page");
    stack.ss_sp =
        mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(stack.ss_sp != MAP_FAILED && !sigaltstack(&stack, NULL), "no signal stack");
    for (unsigned n = 0; n < sizeof(signals) / sizeof(signals[0]); n++)
        sigaction(signals[n], &action, NULL);
    probe_emit_entry(s, avx512);
    probe_emit_return(s);
}

/* Executes the instruction at the start of bytes as 64-bit (32-bit) code; NOPs follow it. The
 * signal it raised, 0 for none. */
static inline int probe_execute(const u8 *bytes, unsigned count, bool code64)
{
    struct encoding_probe *s = &probe_state;
    u8 *p = probe_put(s->page + PROBE_INSN, bytes, count);

    p = PROBE_PUT(p, "\x90\x90");
    if (code64) {
        p = PROBE_PUT(p, "\xff\x25\x00\x00\x00\x00"); /* jmp [rip] */
        probe_pointer(p, s->page + PROBE_RETURN);
    } else {
        u64 target = (u64)(s->page + PROBE_RETURN) | 0x33ull << 32;

        p = PROBE_PUT(p, "\xea"); /* jmp 0x33:return */
        probe_put(p, &target, 6);
    }
    s->entry = (u64)(s->page + PROBE_INSN) | (code64 ? 0x33ull : 0x23ull) << 32; /* Linux's */
    s->signal = 0;
    __asm__ volatile("call *%0" ::"r"(s->page)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc",
                       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return s->signal;
}
