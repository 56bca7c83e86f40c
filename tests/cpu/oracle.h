/* SPDX-License-Identifier: MIT
 *
 * The host processor as the judge of integer instructions: one instruction, given as bytes, runs
 * natively between a load and a store of all registers but RSP, and in the interpreter's body for
 * it. Memory operands lie in a window below 4 GiB on both sides: RDI, and RSI where the test says
 * so, are given relative to the operand in it.
 *
 * Flags that the manuals leave undefined are compared on AMD hosts only: there the interpreter
 * promises them, too.
 */
#pragma once

#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "cpu/insn.h"
#include "tests/cpu/machine.h"

enum {
    ORACLE_WINDOW = 1024,
    ORACLE_OPERAND = 512
}; /* memory around the operand, and where it is */

struct oracle_state {
    u64 gpr[16];
    u64 rflags;
    u8 window[ORACLE_WINDOW];
};

struct oracle {
    struct machine m;
    u8 *code;   /* host code */
    u8 *window; /* ORACLE_WINDOW bytes; RDI = 0 stands for ORACLE_OPERAND in it */
    bool rsi_relative;
    bool careful; /* the guest goes one iteration at a time */
    u64 seed;
};

/* Where the host's registers go. Order: gpr[0..15], rflags. */
static u64 oracle_regs[17];
static sigjmp_buf oracle_fault;

static inline void oracle_signal(int number)
{
    siglongjmp(oracle_fault, number);
}

static inline void oracle_create(struct oracle *o)
{
    memset(o, 0, sizeof(*o));
    machine_create(&o->m);
    machine_start(&o->m, MACHINE_LONG);
    o->code = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    check(o->code != MAP_FAILED, "no host code page");
    o->window = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    check(o->window != MAP_FAILED, "no host window below 4 GiB");
    o->seed = 88172645463325252ull;
    signal(SIGFPE, oracle_signal);
    signal(SIGILL, oracle_signal);
    signal(SIGSEGV, oracle_signal);
}

static inline void oracle_destroy(struct oracle *o)
{
    munmap(o->window, PAGE_SIZE);
    munmap(o->code, PAGE_SIZE);
    machine_destroy(&o->m);
}

static inline u64 oracle_random(struct oracle *o)
{
    o->seed ^= o->seed << 13;
    o->seed ^= o->seed >> 7;
    o->seed ^= o->seed << 17;
    return o->seed;
}

/* Values at the edges of every size as often as random ones. */
static inline u64 oracle_value(struct oracle *o)
{
    static const u64 edges[] = {0,
                                1,
                                2,
                                7,
                                8,
                                0xf,
                                0x10,
                                0x7f,
                                0x80,
                                0xff,
                                0x7fff,
                                0x8000,
                                0xffff,
                                0x7fffffff,
                                0x80000000,
                                0xffffffff,
                                0x7fffffffffffffff,
                                0x8000000000000000,
                                0xffffffffffffffff};
    u64 r = oracle_random(o);

    switch (r >> 60 & 3) {
    case 0: return edges[r % ARRAY_SIZE(edges)];
    case 1: return (1ull << r % 64) - (r >> 8) % 3;
    case 2: return oracle_random(o) & 0xff;
    default: return oracle_random(o);
    }
}

/* AMD's family 19h, which is followed in what manuals leave open. */
static inline bool oracle_family_19h(void)
{
    static int known = -1; /* CPUID takes its time under a hypervisor */
    unsigned eax, ebx, ecx, edx;

    __builtin_cpu_init();
    if (known < 0)
        known = __builtin_cpu_is("amd") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) &&
                (eax >> 8 & 0xf) + (eax >> 20 & 0xff) == 0x19;
    return known;
}

static inline u8 *oracle_emit(u8 *p, const void *bytes, size_t size)
{
    memcpy(p, bytes, size);
    return p + size;
}

/* mov rax, imm64 */
static inline u8 *oracle_load_address(u8 *p, const void *address)
{
    u64 value = (u64)address;

    p = oracle_emit(p, "\x48\xb8", 2);
    return oracle_emit(p, &value, 8);
}

/* Registers with the base in RAX: store 89, load 8b. RSP stays ours, RAX goes last. */
static inline u8 *oracle_move_all(u8 *p, u8 opcode)
{
    for (unsigned r = RCX; r <= R15; r++) {
        if (r == RSP)
            continue;
        *p++ = (u8)(0x48 | (r >= 8 ? 4 : 0));
        *p++ = opcode;
        *p++ = (u8)(0x40 | (r & 7) << 3);
        *p++ = (u8)(r * 8);
    }
    return p;
}

/* 0, or the signal that the code on the host page raised. */
static inline int oracle_call(const struct oracle *o)
{
    int number = sigsetjmp(oracle_fault, 1);

    if (!number)
        ((void (*)(void))o->code)();
    return number;
}

/* Runs the bytes on the host from s; 0 or the signal that stopped them. */
static inline int oracle_host(struct oracle *o, const u8 *bytes, unsigned size,
                              struct oracle_state *s)
{
    static const u8 save[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    static const u8 restore[] = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};
    u8 *p = o->code;
    const u64 base = (u64)o->window + ORACLE_OPERAND;
    int number;

    memcpy(o->window, s->window, ORACLE_WINDOW);
    memcpy(oracle_regs, s->gpr, sizeof(s->gpr));
    oracle_regs[RDI] += base;
    oracle_regs[RSI] += o->rsi_relative ? base : 0;
    oracle_regs[16] = s->rflags;
    p = oracle_emit(p, save, sizeof(save));
    p = oracle_load_address(p, oracle_regs);
    p = oracle_move_all(p, 0x8b);
    p = oracle_emit(p, "\xff\xb0\x80\x00\x00\x00\x9d", 7); /* push [rax+128]; popf */
    p = oracle_emit(p, "\x48\x8b\x00", 3);                 /* mov rax, [rax] */
    p = oracle_emit(p, bytes, size);
    p = oracle_emit(p, "\x48\xa3", 2); /* mov [oracle_regs], rax */
    p = oracle_emit(p, &(u64){(u64)oracle_regs}, 8);
    p = oracle_emit(p, "\x9c", 1); /* pushf */
    p = oracle_load_address(p, oracle_regs);
    p = oracle_move_all(p, 0x89);
    p = oracle_emit(p, "\x8f\x80\x80\x00\x00\x00\xfc", 7); /* pop [rax+128]; cld */
    oracle_emit(p, restore, sizeof(restore));
    number = oracle_call(o);
    if (number)
        return number;
    memcpy(s->gpr, oracle_regs, sizeof(s->gpr));
    s->gpr[RDI] -= base;
    s->gpr[RSI] -= o->rsi_relative ? base : 0;
    s->rflags = oracle_regs[16];
    memcpy(s->window, o->window, ORACLE_WINDOW);
    return 0;
}

/* The same in the interpreter's body: true, or false with the fault in o->m.v->fault. RSP is not
 * looked at. */
static inline bool oracle_guest(struct oracle *o, const u8 *bytes, unsigned size,
                                struct oracle_state *s, struct insn *i)
{
    const struct decode_ctx ctx = {.code_size = 8, .protected_mode = true};
    u8 *window = o->m.ram.hva + MACHINE_DATA;
    const u64 base = MACHINE_DATA + ORACLE_OPERAND;
    struct vcpu *v = o->m.v;
    bool ok;

    check(insn_decode(&ctx, bytes, size, i) == DECODE_OK && i->len == size,
          "decoding %02x %02x %02x", bytes[0], bytes[1], bytes[2]);
    memcpy(window, s->window, ORACLE_WINDOW);
    memcpy(v->gpr, s->gpr, sizeof(v->gpr));
    v->gpr[RDI] += base;
    v->gpr[RSI] += o->rsi_relative ? base : 0;
    v->rflags = s->rflags;
    v->rip = MACHINE_CODE;
    v->next_rip = v->rip + size;
    v->fault.pending = false;
    v->careful = o->careful;
    do {
        v->repeat = false;
        ok = insn_bodies[i->id](v, i);
    } while (ok && v->repeat);
    v->gpr[RDI] -= base;
    v->gpr[RSI] -= o->rsi_relative ? base : 0;
    memcpy(s->gpr, v->gpr, sizeof(v->gpr));
    s->rflags = v->rflags;
    memcpy(s->window, window, ORACLE_WINDOW);
    return ok;
}

/* Whether the host executes the instructions of a feature that the tests need. */
static inline bool oracle_host_has(unsigned feature)
{
    unsigned a, b = 0, c = 0, d;

    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    switch (feature) {
    case FEAT_BMI1: return b & bit_BMI;
    case FEAT_BMI2: return b & bit_BMI2;
    case FEAT_ADX: return b & bit_ADX;
    case FEAT_LZCNT: __get_cpuid(0x80000001, &a, &b, &c, &d); return c & bit_LZCNT;
    case FEAT_POPCNT: return __builtin_cpu_supports("popcnt");
    case FEAT_SSE42: return __builtin_cpu_supports("sse4.2");
    case FEAT_MOVBE: __get_cpuid(1, &a, &b, &c, &d); return c & bit_MOVBE;
    case FEAT_CX16: __get_cpuid(1, &a, &b, &c, &d); return c & bit_CMPXCHG16B;
    case FEAT_LAHF_LM_OR_32: __get_cpuid(0x80000001, &a, &b, &c, &d); return c & bit_LAHF_LM;
    default: return true;
    }
}
