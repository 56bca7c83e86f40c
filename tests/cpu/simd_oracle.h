/* SPDX-License-Identifier: MIT
 *
 * The host processor as the judge of x87 and SIMD rows: an encoding is made from the row's key and
 * operand letters, runs natively between a load and a store of the complete register state, and in
 * the interpreter's body, from the same state and memory. Everything must agree bit for bit: vector
 * rows with their upper halves, opmasks, x87 registers, tags and words, MXCSR, RFLAGS, memory, and
 * which exception stopped it.
 *
 * RDI holds the address of the memory operand's window (host address there, guest address here) and
 * RSP the stack, so neither is ever a register operand.
 */
#pragma once

#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>
#include <sys/mman.h>

#include "cpu/decode_internal.h"
#include "cpu/fpu.h"
#include "cpu/insn.h"
#include "tests/cpu/machine.h"

enum { WINDOW = 1024, WINDOW_AT = 512 };

struct simd_state {
    u8 zmm[32][64] ALIGNED(64);
    u8 fx[512] ALIGNED(64);
    u64 k[8];
    u64 gpr[16];
    u64 rflags;
    u64 window_pointer;
    u32 mxcsr, host_mxcsr;
    u16 host_fcw;
    u8 window[WINDOW] ALIGNED(64);
};

struct simd_oracle {
    struct machine m;
    u8 *code, *resume; /* resume: behind the instruction under test */
    struct simd_state in, host;
    u64 xcr0; /* of the host; a test may take AVX or AVX-512 out, as if it lacked it */
    u64 seed;
    unsigned faults, done, skipped;
};

static sigjmp_buf simd_jump;
static volatile bool simd_armed; /* a signal now belongs to the instruction under test */
static u32 simd_fault_mxcsr;
/* Where a faulting instruction continues instead of the jump, so that the state it left behind is
 * stored; and what it raised. */
static const u8 *volatile simd_resume;
static siginfo_t simd_info;
static bool simd_installed;

static inline void simd_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    if (!simd_armed) {
        signal(number, SIG_DFL);
        return;
    }
    simd_armed = false;
    simd_info = *info;
    if (simd_resume) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)simd_resume;
        return;
    }
    simd_fault_mxcsr = uc->uc_mcontext.fpregs->mxcsr;
    siglongjmp(simd_jump, number);
}

static inline u64 simd_host_xcr0(void)
{
    u32 eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return XCR0_X87 | XCR0_SSE;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return eax | (u64)edx << 32;
}

static inline void simd_create(struct simd_oracle *o)
{
    struct sigaction action = {.sa_sigaction = simd_signal, .sa_flags = SA_SIGINFO};

    memset(o, 0, sizeof(*o));
    /* Before the first vCPU, and once: its handler must hand on what is not its own. */
    if (!simd_installed)
        sigaction(SIGFPE, &action, NULL);
    simd_installed = true;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    machine_create(&o->m);
    machine_start(&o->m, MACHINE_LONG);
    o->code = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    check(o->code != MAP_FAILED, "no host code page");
    o->xcr0 = simd_host_xcr0();
    o->seed = 88172645463325252ull;
}

static inline void simd_destroy(struct simd_oracle *o)
{
    munmap(o->code, PAGE_SIZE);
    machine_destroy(&o->m);
}

static inline u64 simd_random(struct simd_oracle *o)
{
    o->seed ^= o->seed << 13;
    o->seed ^= o->seed >> 7;
    o->seed ^= o->seed << 17;
    return o->seed * 0x2545f4914f6cdd1dull;
}

static inline unsigned simd_below(struct simd_oracle *o, unsigned n)
{
    return (unsigned)((simd_random(o) >> 33) % n);
}

/* -- the host's features -- */

static inline bool simd_host_has(unsigned feature)
{
    static const struct {
        u32 leaf, subleaf;
        u8 reg, bit;
    } features[] = {
#define FEATURE(id, name, leaf_, subleaf_, reg_, bit_, ...)                                        \
    [FEAT_##id] = {leaf_, subleaf_, reg_, bit_},
#include "cpu/feature.def"
#undef FEATURE
    };
    unsigned r[4] = {0};

    if (feature == FEAT_BASE)
        return true;
    if (!__get_cpuid_count(features[feature].leaf, features[feature].subleaf, &r[0], &r[1], &r[2],
                           &r[3]))
        return false;
    return r[features[feature].reg] >> features[feature].bit & 1;
}

/* Whether the host can judge a row. */
static inline bool simd_can_judge(const struct simd_oracle *o, const struct insn_row *row)
{
    const u64 needed = row->traits & T_EVEX ? XCR0_AVX512 : row->traits & T_AVX ? XCR0_AVX : 0;

    return simd_host_has(row->feature) && (o->xcr0 & needed) == needed;
}

/* -- the native side -- */

/* Registers that the host has not are zero on both sides. */
static inline void simd_limit_state(struct simd_oracle *o)
{
    struct simd_state *s = &o->in;
    unsigned bytes = o->xcr0 & XCR0_ZMM_HI256 ? 64 : o->xcr0 & XCR0_AVX ? 32 : 16;

    for (unsigned n = 0; n < 16; n++)
        memset(s->zmm[n] + bytes, 0, 64 - bytes);
    if (!(o->xcr0 & XCR0_HI16_ZMM))
        memset(s->zmm[16], 0, 16 * 64);
    if (!(o->xcr0 & XCR0_OPMASK))
        memset(s->k, 0, sizeof(s->k));
}

static inline u8 *emit_bytes(u8 *p, const void *bytes, size_t count)
{
    memcpy(p, bytes, count);
    return p + count;
}

/* op, ModRM and disp32 for [rdi + offset]. */
static inline u8 *emit_rdi(u8 *p, const void *opcode, size_t count, unsigned reg, size_t offset)
{
    p = emit_bytes(p, opcode, count);
    *p++ = (u8)(0x87 | (reg & 7) << 3);
    store_le(p, offset, 4);
    return p + 4;
}

#define STATE(member) offsetof(struct simd_state, member)

static inline u8 *emit_vectors(const struct simd_oracle *o, u8 *p, bool store)
{
    bool avx512 = (o->xcr0 & XCR0_AVX512) && simd_host_has(FEAT_AVX512BW);
    unsigned op = store ? 0x11 : 0x10;

    for (unsigned n = 0; n < (avx512 ? 32u : 16u); n++) {
        u8 evex[] = {0x62, (u8)(0xf1 & ~((n & 8) << 4) & ~(n & 16)), 0x7c, 0x48, (u8)op};
        u8 vex[] = {0xc4, (u8)(0xe1 & ~((n & 8) << 4)), 0x7c, (u8)op};
        u8 sse[] = {(u8)(0x40 | (n & 8) >> 1), 0x0f, (u8)op};

        if (avx512)
            p = emit_rdi(p, evex, 5, n, STATE(zmm) + 64 * n);
        else if (o->xcr0 & XCR0_AVX)
            p = emit_rdi(p, vex, 4, n, STATE(zmm) + 64 * n);
        else
            p = emit_rdi(p, sse, 3, n, STATE(zmm) + 64 * n);
    }
    for (unsigned n = 0; avx512 && n < 8; n++)
        p = emit_rdi(p, store ? "\xc4\xe1\xf8\x91" : "\xc4\xe1\xf8\x90", 4, n, STATE(k) + 8 * n);
    return p;
}

static inline u8 *emit_gprs(u8 *p, bool store)
{
    for (unsigned n = 0; n < 16; n++) {
        u8 mov[] = {(u8)(0x48 | (n & 8) >> 1), (u8)(store ? 0x89 : 0x8b)};

        if (n != RSP && n != RDI)
            p = emit_rdi(p, mov, 2, n, STATE(gpr) + 8 * n);
    }
    return p;
}

/* void f(struct simd_state *): loads, executes the bytes, stores. */
static inline void simd_emit(struct simd_oracle *o, const u8 *bytes, unsigned count)
{
    u8 *p = o->code;

    p = emit_bytes(p, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10); /* push rbx rbp r12-r15 */
    p = emit_rdi(p, "\x0f\xae", 2, 3, STATE(host_mxcsr));
    p = emit_rdi(p, "\xd9", 1, 7, STATE(host_fcw));
    p = emit_rdi(p, "\x48\x0f\xae", 3, 1, STATE(fx));
    p = emit_vectors(o, p, false);
    p = emit_rdi(p, "\x0f\xae", 2, 2, STATE(mxcsr));
    p = emit_rdi(p, "\xff", 1, 6, STATE(rflags));
    p = emit_bytes(p, "\x9d", 1); /* popfq */
    p = emit_gprs(p, false);
    p = emit_bytes(p, "\x57", 1); /* push rdi */
    p = emit_rdi(p, "\x48\x8b", 2, 7, STATE(window_pointer));
    p = emit_bytes(p, bytes, count);
    o->resume = p;
    p = emit_bytes(p, "\x5f\x9c", 2); /* pop rdi; pushfq */
    p = emit_gprs(p, true);
    p = emit_rdi(p, "\x8f", 1, 0, STATE(rflags));
    p = emit_rdi(p, "\x0f\xae", 2, 3, STATE(mxcsr));
    p = emit_vectors(o, p, true);
    p = emit_rdi(p, "\x48\x0f\xae", 3, 0, STATE(fx));
    p = emit_bytes(p, "\xdb\xe3", 2); /* fninit */
    p = emit_rdi(p, "\xd9", 1, 5, STATE(host_fcw));
    p = emit_rdi(p, "\x0f\xae", 2, 2, STATE(host_mxcsr));
    if (o->xcr0 & XCR0_AVX)
        p = emit_bytes(p, "\xc5\xf8\x77", 3); /* vzeroupper */
    emit_bytes(p, "\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xfc\xc3", 12);
}

/* o->host becomes what the host starts from, with RDI = operand. */
static inline void simd_start_host(struct simd_oracle *o, void *operand)
{
    simd_limit_state(o);
    o->host = o->in;
    o->host.window_pointer = (u64)operand;
    o->host.rflags = (o->in.rflags & F_OSZAPC) | F_1;
    store_le(o->host.fx + 24, MXCSR_RESET, 4);
}

/* Runs the bytes on the host from o->in into o->host with RDI = operand; returns the signal that
 * stopped it, or 0. */
static inline int simd_run_host_at(struct simd_oracle *o, const u8 *bytes, unsigned count,
                                   void *operand)
{
    int number;

    simd_start_host(o, operand);
    simd_emit(o, bytes, count);
    number = sigsetjmp(simd_jump, 1);
    simd_armed = !number;
    if (!number)
        ((void (*)(struct simd_state *))(void *)o->code)(&o->host);
    else
        __asm__ volatile("fninit\n\tldmxcsr %0" ::"m"((u32){MXCSR_RESET}));
    simd_armed = false;
    return number;
}

static inline int simd_run_host(struct simd_oracle *o, const u8 *bytes, unsigned count)
{
    return simd_run_host_at(o, bytes, count, o->host.window + WINDOW_AT);
}

/* -- the guest side -- */

static inline void simd_load_guest(struct simd_oracle *o)
{
    struct vcpu *v = o->m.v;

    memcpy(v->fpu.zmm, o->in.zmm, sizeof(v->fpu.zmm));
    memcpy(v->fpu.k, o->in.k, sizeof(v->fpu.k));
    memcpy(v->gpr, o->in.gpr, sizeof(v->gpr));
    v->gpr[RDI] = MACHINE_DATA + WINDOW_AT;
    v->gpr[RSP] = MACHINE_STACK;
    v->rflags = (o->in.rflags & F_OSZAPC) | F_1;
    v->fpu.mxcsr = o->in.mxcsr;
    fpu_load_x87(&v->fpu, o->in.fx, true);
    v->fault.pending = false;
    v->repeat = false;
    machine_put(&o->m, MACHINE_DATA, o->in.window, WINDOW);
}

#define SIMD_DIFFERS(...)                                                                          \
    do {                                                                                           \
        snprintf(why, size, __VA_ARGS__);                                                          \
        return false;                                                                              \
    } while (0)

static inline bool simd_same_x87(struct simd_oracle *o, char *why, size_t size)
{
    const struct fpu *fpu = &o->m.v->fpu;
    u8 image[FX_X87_BYTES];

    fpu_save_x87(fpu, image, true);
    if (memcmp(image, o->host.fx, 5))
        SIMD_DIFFERS("fcw %04x fsw %04x ftw %02x, host %04x %04x %02x", fpu_fcw(fpu), fpu_fsw(fpu),
                     image[4], (unsigned)load_le(o->host.fx, 2),
                     (unsigned)load_le(o->host.fx + 2, 2), o->host.fx[4]);
    /* AMD hosts keep error pointers only while an error is pending. */
    if ((load_le(o->host.fx + 2, 2) & FSW_ES) && !(load_le(o->in.fx + 2, 2) & FSW_ES) &&
        memcmp(image + FX_FOP, o->host.fx + FX_FOP, 2))
        SIMD_DIFFERS("fop %04x, host %04x", (unsigned)load_le(image + FX_FOP, 2),
                     (unsigned)load_le(o->host.fx + FX_FOP, 2));
    for (unsigned n = 0; n < 8; n++)
        if (memcmp(image + 32 + 16 * n, o->host.fx + 32 + 16 * n, 10))
            SIMD_DIFFERS("st%u %04lx:%016lx, host %04lx:%016lx", n, load_le(image + 40 + 16 * n, 2),
                         load_le(image + 32 + 16 * n, 8), load_le(o->host.fx + 40 + 16 * n, 2),
                         load_le(o->host.fx + 32 + 16 * n, 8));
    return true;
}

/* An x87 image after the transition to MMX registers. */
static inline void simd_enter_mmx(u8 *fx)
{
    struct fpu fpu = {0};

    fpu_load_x87(&fpu, fx, true);
    fpu_mmx_enter(&fpu);
    fpu_save_x87(&fpu, fx, true);
}

static inline bool simd_same(struct simd_oracle *o, u64 undefined_flags, char *why, size_t size)
{
    struct vcpu *v = o->m.v;
    u64 flags = (v->rflags ^ o->host.rflags) & F_OSZAPC & ~undefined_flags;
    u8 window[WINDOW];

    for (unsigned n = 0; n < 32; n++)
        for (unsigned b = 0; b < 64; b += 8)
            if (memcmp(v->fpu.zmm[n] + b, o->host.zmm[n] + b, 8))
                SIMD_DIFFERS("zmm%u byte %u: %016lx, host %016lx", n, b,
                             load_le(v->fpu.zmm[n] + b, 8), load_le(o->host.zmm[n] + b, 8));
    for (unsigned n = 0; n < 8; n++)
        if (v->fpu.k[n] != o->host.k[n])
            SIMD_DIFFERS("k%u %lx, host %lx", n, v->fpu.k[n], o->host.k[n]);
    for (unsigned n = 0; n < 16; n++)
        if (n != RSP && n != RDI && v->gpr[n] != o->host.gpr[n])
            SIMD_DIFFERS("gpr%u %lx, host %lx", n, v->gpr[n], o->host.gpr[n]);
    if (v->fpu.mxcsr != o->host.mxcsr)
        SIMD_DIFFERS("mxcsr %x, host %x", v->fpu.mxcsr, o->host.mxcsr);
    if (flags)
        SIMD_DIFFERS("rflags %lx, host %lx", v->rflags, o->host.rflags);
    check(physmap_read(o->m.map, MACHINE_DATA, window, WINDOW), "no window");
    for (unsigned n = 0; n < WINDOW; n++)
        if (window[n] != o->host.window[n])
            SIMD_DIFFERS("memory %+d: %02x, host %02x", (int)n - WINDOW_AT, window[n],
                         o->host.window[n]);
    return simd_same_x87(o, why, size);
}

/* Executes the instruction on both sides from o->in. false: they differ, why says how. */
static inline bool simd_compare(struct simd_oracle *o, const u8 *bytes, unsigned count, char *why,
                                size_t size)
{
    const struct decode_ctx ctx = {.code_size = 8, .protected_mode = true};
    struct vcpu *v = o->m.v;
    struct insn i;
    int number = simd_run_host(o, bytes, count);
    unsigned vector;
    bool ok;

    if (insn_decode(&ctx, bytes, count, &i) != DECODE_OK) {
        if (number != SIGILL)
            SIMD_DIFFERS("does not decode, host signal %d", number);
        return true;
    }
    simd_load_guest(o);
    v->rip = MACHINE_CODE;
    v->next_rip = v->rip + i.len;
    ok = insn_bodies[i.id](v, &i);
    if (number) {
        vector = number == SIGFPE    ? (unsigned)VEC_XM
                 : number == SIGSEGV ? (unsigned)VEC_GP
                                     : (unsigned)VEC_UD;
        o->faults++;
        if (ok || v->fault.vector != vector)
            SIMD_DIFFERS("%s vector %u, host signal %d", ok ? "no fault" : "fault", v->fault.vector,
                         number);
        /* Nothing else may have changed, except MXCSR by the exception. */
        o->host = o->in;
        o->host.rflags = (o->in.rflags & F_OSZAPC) | F_1;
        if (number == SIGFPE)
            o->host.mxcsr = simd_fault_mxcsr;
        memcpy(o->host.fx, o->in.fx, sizeof(o->host.fx));
        if (number == SIGFPE && (insn_row(&i)->traits & T_MMX))
            simd_enter_mmx(o->host.fx);
        return simd_same(o, 0, why, size);
    }
    if (!ok)
        SIMD_DIFFERS("fault %u, host has none", v->fault.vector);
    return simd_same(o, insn_row(&i)->flags_undefined, why, size);
}

/* -- random states -- */

static const u64 simd_doubles[] = {
    0,
    0x8000000000000000,
    0x3ff0000000000000,
    0xbff0000000000000,
    0x7ff0000000000000,
    0xfff0000000000000,
    0x7ff8000000000000,
    0xfff8000000000001,
    0x7ff0000000000001, /* signalling */
    0xfff4000000000000,
    1, /* denormal */
    0x800fffffffffffff,
    0x0010000000000000, /* smallest normal */
    0x7fefffffffffffff, /* largest */
    0x41dfffffffc00000, /* 2^31 - 1 */
    0xc1e0000000000000, /* -2^31 */
    0x43e0000000000000, /* 2^63 */
    0x3fe0000000000000,
    0x4004000000000000,
    0x47efffffe0000000, /* largest single */
    0x3810000000000000, /* smallest normal single */
    0x36a0000000000000, /* smallest single */
};
static const u32 simd_floats[] = {
    0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
    0xffc00001, 0x7f800001, 0xffa00000, 1,          0x807fffff, 0x00800000, 0x7f7fffff,
    0x4effffff, 0x4f000000, 0xcf000000, 0x3f000000, 0x40200000, 0x5f000000,
};

/* 64 bytes: floats of one size at the edges, random bits, small numbers, or lengths and masks. */
static inline void simd_random_bytes(struct simd_oracle *o, u8 *bytes, unsigned count)
{
    unsigned kind = simd_below(o, 6);

    for (unsigned b = 0; b < count; b += 8) {
        u64 r = simd_random(o);

        switch (kind) {
        case 0: r = simd_doubles[simd_below(o, ARRAY_SIZE(simd_doubles))]; break;
        case 1:
            r = simd_floats[simd_below(o, ARRAY_SIZE(simd_floats))] |
                (u64)simd_floats[simd_below(o, ARRAY_SIZE(simd_floats))] << 32;
            break;
        case 2: r = (r & 0x800fffffffffffff) | (0x3f0ull + (r >> 52 & 0x1f)) << 52; break;
        case 3: r &= 0x0f0f0f0f0f0f0f0f; break;
        default: break;
        }
        store_le(bytes + b, r, 8);
    }
}

/* An 80-bit register: normal numbers of all sizes, zeros, infinities, NaNs, denormals and the
 * encodings that are none of these. */
static inline void simd_random_st(struct simd_oracle *o, u8 *st)
{
    static const u16 exponents[] = {0,      1,      0x3ffe, 0x3fff, 0x4000, 0x401e, 0x403e,
                                    0x7ffe, 0x7fff, 0x3c00, 0x43ff, 0x3f80, 0x407f};
    static const u64 mantissas[] = {
        0,       1,     BIT(63),     BIT(63) | BIT(62), BIT(63) | 1,
        BIT(62), ~0ull, ~0ull << 11, ~0ull << 40,       BIT(63) | BIT(10)};
    u64 r = simd_random(o);
    u64 mantissa = r & 3 ? simd_random(o) | BIT(63) : mantissas[simd_below(o, 10)];
    unsigned exponent = r & 4 ? 0x3fc0 + simd_below(o, 0x80) : exponents[simd_below(o, 13)];

    if ((r & 0xf00) == 0)
        exponent = mantissa = 0;
    store_le(st, mantissa, 8);
    store_le(st + 8, exponent | (r >> 16 & 1) << 15, 2);
}

static inline void simd_random_x87(struct simd_oracle *o, bool unmasked)
{
    u64 r = simd_random(o);
    unsigned fcw = 0x40 | ((unsigned)r & 0xf00) | (unmasked ? r >> 32 & 0x3f : 0x3f);
    unsigned fsw = (unsigned)(r >> 12) & 0x7f7f;

    memset(o->in.fx, 0, sizeof(o->in.fx));
    store_le(o->in.fx, fcw, 2);
    store_le(o->in.fx + 2, fsw & ~(~fcw & 0x3f), 2); /* nothing pending */
    o->in.fx[4] = (u8)(r >> 40 & 1 ? 0xff : r >> 48);
    for (unsigned n = 0; n < 8; n++)
        simd_random_st(o, o->in.fx + 32 + 16 * n);
}

/* A complete state. unmasked: of SIMD and x87 exceptions, some are. */
static inline void simd_random_state(struct simd_oracle *o, bool unmasked)
{
    u64 r = simd_random(o);

    for (unsigned n = 0; n < 32; n++)
        simd_random_bytes(o, o->in.zmm[n], 64);
    for (unsigned b = 0; b < WINDOW; b += 64)
        simd_random_bytes(o, o->in.window + b, 64);
    for (unsigned n = 0; n < 16; n++)
        o->in.gpr[n] = simd_below(o, 2) ? simd_random(o) : simd_random(o) >> 58;
    for (unsigned n = 0; n < 8; n++) {
        const u64 masks[] = {0, ~0ull, simd_random(o) & 0xffff, simd_random(o)};

        o->in.k[n] = masks[simd_below(o, 4)];
    }
    o->in.rflags = r & F_OSZAPC;
    /* Flags, DAZ, rounding, FTZ at random. */
    o->in.mxcsr = ((u32)(r >> 32) & 0xe07f) | (unmasked ? (u32)(r >> 16) & 0x1f80 : 0x1f80);
    if (simd_below(o, 3))
        o->in.mxcsr &= ~0x3fu;
    simd_random_x87(o, unmasked);
}

/* -- encodings from rows -- */

struct simd_fields {
    unsigned reg, rm, vvvv, w, vl;
    unsigned index; /* vector register of a VSIB operand */
    bool memory, vsib;
};

/* A register number that the file has; general ones avoid RSP and RDI. */
static inline unsigned simd_register(struct simd_oracle *o, unsigned file, unsigned space)
{
    unsigned n;

    switch (file) {
    case FILE_VEC: return simd_below(o, space == SPACE_EVEX ? 32 : 16);
    case FILE_MMX:
    case FILE_K:
    case FILE_ST: return simd_below(o, 8);
    default:
        do
            n = simd_below(o, 16);
        while (n == RSP || n == RDI);
        return n;
    }
}

/* Chooses registers and form for a row. */
static inline void simd_choose(struct simd_oracle *o, const struct insn_row *row, bool memory,
                               struct simd_fields *f)
{
    unsigned mod = decode_row_mod(row);

    *f = (struct simd_fields){.reg = row->key.reg ? row->key.reg - 1u : simd_below(o, 8),
                              .rm = row->key.rm ? row->key.rm - 1u : simd_below(o, 8)};
    f->memory = mod == MOD_MEM || (mod == MOD_ANY && memory);
    f->w = row->key.w == W_0 || row->key.w == W_GPR0 ? 0 : row->key.w ? 1 : simd_below(o, 2);
    f->vl = row->key.l == L_0     ? 0
            : row->key.l == L_1   ? 1
            : row->key.l == L_2   ? 2
            : row->key.l == L_12  ? 1 + simd_below(o, row->key.space == SPACE_EVEX ? 2 : 1)
            : row->key.l == L_LIG ? 0
                                  : simd_below(o, row->key.space == SPACE_EVEX ? 3 : 2);
    for (unsigned n = 0; n < 4 && row->operands[n] != OPND_None; n++) {
        const struct operand_info *info = &operand_infos[row->operands[n]];

        if (info->field == FIELD_REG)
            f->reg = simd_register(o, info->file, row->key.space);
        else if (info->field == FIELD_RM && !f->memory)
            f->rm = simd_register(o, info->file, row->key.space);
        else if (info->field == FIELD_VVVV)
            f->vvvv = simd_register(o, info->file, row->key.space);
        else if (info->field == FIELD_VSIB)
            f->vsib = true;
    }
    while (f->vsib) {
        f->index = simd_register(o, FILE_VEC, row->key.space);
        if (f->index != f->reg && (row->key.space == SPACE_EVEX || f->index != f->vvvv))
            break;
    }
    while (f->vsib && row->key.space == SPACE_VEX && (f->reg == f->vvvv || f->index == f->vvvv))
        f->vvvv = simd_register(o, FILE_VEC, SPACE_VEX);
}

static inline u8 *simd_put_prefixes(struct simd_oracle *o, const struct insn_row *row,
                                    const struct simd_fields *f, u8 *p)
{
    static const u8 mandatory[] = {[PFX_66] = 0x66, [PFX_F3] = 0xf3, [PFX_F2] = 0xf2};
    static const u8 pp[] = {[PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3};
    unsigned prefix = row->key.prefix < ARRAY_SIZE(pp) ? row->key.prefix : 0;
    unsigned rm = f->memory ? 0 : f->rm, r = ~f->reg, b = ~rm, x = ~(f->vsib ? f->index << 1 : rm);
    unsigned v2 = ~(f->vsib ? f->index : f->vvvv);

    switch (row->key.space) {
    case SPACE_LEGACY: {
        unsigned rex = f->w << 3 | (f->reg & 8) >> 1 | (rm & 8) >> 3;

        if (mandatory[prefix])
            *p++ = mandatory[prefix];
        if (rex)
            *p++ = (u8)(0x40 | rex);
        if (row->key.map != MAP_1B)
            *p++ = 0x0f;
        if (row->key.map == MAP_0F38 || row->key.map == MAP_0F3A)
            *p++ = row->key.map == MAP_0F38 ? 0x38 : 0x3a;
        return p;
    }
    case SPACE_VEX:
        if (row->key.map == MAP_0F && !f->w && (b & 8) && simd_below(o, 2)) {
            *p++ = 0xc5;
            *p++ = (u8)((r & 8) << 4 | (~f->vvvv & 15) << 3 | f->vl << 2 | pp[prefix]);
            return p;
        }
        *p++ = 0xc4;
        *p++ = (u8)((r & 8) << 4 | (f->vsib ? (x & 16) << 2 : 0x40) | (b & 8) << 2 | row->key.map);
        *p++ = (u8)(f->w << 7 | (~f->vvvv & 15) << 3 | f->vl << 2 | pp[prefix]);
        return p;
    default: {
        bool to_memory = f->memory && operand_infos[row->operands[0]].field == FIELD_RM;
        bool masked = (row->traits & T_MASK) && (f->vsib || simd_below(o, 2));
        bool zero = masked && (row->traits & T_ZERO) && !to_memory && simd_below(o, 2);
        bool bit = f->memory ? (row->traits & T_BCST) && simd_below(o, 2)
                             : (row->traits & (T_ER | T_SAE)) && simd_below(o, 2);
        unsigned length = bit && !f->memory ? simd_below(o, 4) : f->vl;

        *p++ = 0x62;
        *p++ = (u8)((r & 8) << 4 | (x & 16) << 2 | (b & 8) << 2 | (r & 16) | row->key.map);
        *p++ = (u8)(f->w << 7 | (~f->vvvv & 15) << 3 | 4 | pp[prefix]);
        *p++ = (u8)(zero << 7 | length << 5 | bit << 4 | (v2 & 16) >> 1 |
                    (masked ? 1 + simd_below(o, 7) : 0));
        return p;
    }
    }
}

/* ModRM, SIB and displacement: [rdi + disp8 * N], or disp32, which may misalign it, or VSIB. */
static inline u8 *simd_put_memory(struct simd_oracle *o, const struct insn_row *row,
                                  const struct simd_fields *f, u8 *p)
{
    bool wide = !simd_below(o, 8), evex = row->key.space == SPACE_EVEX;
    unsigned disp = evex ? simd_below(o, 7) - 3 : simd_below(o, 2) ? 0 : 16 * simd_below(o, 4);

    *p++ = (u8)((wide ? 0x80 : 0x40) | (f->reg & 7) << 3 | (f->vsib ? 4 : 7));
    if (f->vsib)
        *p++ = (u8)(simd_below(o, 4) << 6 | (f->index & 7) << 3 | 7);
    if (wide) {
        store_le(p, simd_below(o, 64), 4);
        return p + 4;
    }
    *p++ = (u8)disp;
    return p;
}

/* Makes the indices of a VSIB operand stay in the window. */
static inline void simd_limit_indices(struct simd_oracle *o, const u8 *bytes, unsigned count)
{
    const struct decode_ctx ctx = {.code_size = 8, .protected_mode = true};
    struct insn i;
    unsigned size;

    if (insn_decode(&ctx, bytes, count, &i) != DECODE_OK || !(i.flags & I_MEM) ||
        (insn_row(&i)->operands[0] != OPND_VMd && insn_row(&i)->operands[0] != OPND_VMq &&
         insn_row(&i)->operands[1] != OPND_VMd && insn_row(&i)->operands[1] != OPND_VMq))
        return;
    size = i.opcode & 1 ? 8 : 4;
    for (unsigned b = 0; b < 64; b += size)
        store_le(o->in.zmm[i.index] + b, (u64)simd_below(o, 80) - 40, size);
}

/* Writes a random encoding of a row; returns its length. memory: with a memory
 * operand, near [RDI], if the row has one. */
static inline unsigned simd_encode_as(struct simd_oracle *o, const struct insn_row *row, u8 *bytes,
                                      bool memory)
{
    struct simd_fields f;
    u8 *p = bytes;

    simd_choose(o, row, memory, &f);
    p = simd_put_prefixes(o, row, &f, p);
    *p++ = row->key.opcode;
    if (decode_row_modrm(row) || row->key.map != MAP_1B) {
        if (row->key.opcode == 0x77 && row->key.map == MAP_0F)
            return (unsigned)(p - bytes);
        if (f.memory) {
            p = simd_put_memory(o, row, &f, p);
        } else {
            *p++ = (u8)(0xc0 | (f.reg & 7) << 3 | (f.rm & 7));
        }
    }
    for (unsigned n = 0; n < 4; n++)
        if (row->operands[n] == OPND_Ib || operand_infos[row->operands[n]].field == FIELD_IS4)
            *p++ = (u8)simd_random(o);
    return (unsigned)(p - bytes);
}

static inline unsigned simd_encode(struct simd_oracle *o, const struct insn_row *row, u8 *bytes)
{
    return simd_encode_as(o, row, bytes, simd_below(o, 2));
}

static inline void simd_report(const struct insn_row *row, const u8 *bytes, unsigned length,
                               const char *why)
{
    printf("%s:", row->name);
    for (unsigned b = 0; b < length; b++)
        printf(" %02x", bytes[b]);
    printf(": %s\n", why);
}

/* Compares a row count times. Stops at the first difference and prints it. */
static inline bool simd_check_row(struct simd_oracle *o, unsigned id, unsigned count)
{
    const struct insn_row *row = &insn_rows[id];
    char why[160];

    if (!simd_can_judge(o, row)) {
        o->skipped++;
        return true;
    }
    for (unsigned n = 0; n < count; n++) {
        u8 bytes[16];
        unsigned length = simd_encode(o, row, bytes);

        simd_random_state(o, n % 3 == 2);
        simd_limit_indices(o, bytes, length);
        o->done++;
        if (simd_compare(o, bytes, length, why, sizeof(why)))
            continue;
        simd_report(row, bytes, length, why);
        return false;
    }
    return true;
}
