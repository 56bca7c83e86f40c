/* SPDX-License-Identifier: MIT
 *
 * System instructions of ops/system.c in every mode: who may execute them, what they check, what
 * they change.
 */
#include <check.h>

#include "cpu/msr.h"
#include "tests/cpu/machine.h"
#include "tests/suite.h"

static struct machine m;

static void setup(void)
{
    machine_create(&m);
}

static void teardown(void)
{
    machine_destroy(&m);
}

/* Starts code in a mode; the test then sets registers and calls go(). */
#define START(mode, ...)                                                                           \
    do {                                                                                           \
        MACHINE_CODE_BYTES(&m, __VA_ARGS__);                                                       \
        machine_start(&m, mode);                                                                   \
    } while (0)

/* One instruction. Returns the vector of its exception, or -1. */
static int go(void)
{
    vcpu_update_mode(m.v);
    machine_step(&m, 1);
    return machine_vector(&m);
}

/* The same for a fault with error code 0 on the 64-bit stub's stack. */
static void expect_gp0(void)
{
    ck_assert_int_eq(go(), VEC_GP);
    ck_assert_uint_eq(machine_stack(&m, 0, m.v->long_mode ? 8 : 4), 0);
}

/* -- VMCALL, VMMCALL -- */

static unsigned hypercalls;

static bool take_hypercall(void *opaque, struct vcpu *v)
{
    (void)opaque;
    hypercalls++;
    v->gpr[RAX] = 7;
    return true;
}

/* The platform's; #UD where there is none, and without the hypervisor bit. */
START_TEST(hypercalls_go_to_the_platform)
{
    static const u8 last[] = {0xc1, 0xd9};

    for (unsigned n = 0; n < 2; n++) {
        START(MACHINE_LONG, 0x0f, 0x01, last[n]);
        ck_assert_int_eq(go(), VEC_UD);
        m.platform.hypercall = take_hypercall;
        START(MACHINE_LONG, 0x0f, 0x01, last[n]);
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(hypercalls, n + 1);
        ck_assert_uint_eq(m.v->gpr[RAX], 7);
        START(MACHINE_LONG, 0xf3, 0x0f, 0x01, last[n]);
        ck_assert_int_eq(go(), VEC_UD);
        m.platform.hypercall = NULL;
    }
    m.platform.hypercall = take_hypercall;
    feature_remove(&m.model.features, FEAT_HYPERVISOR);
    START(MACHINE_LONG, 0x0f, 0x01, 0xd9);
    ck_assert_int_eq(go(), VEC_UD);
    ck_assert_uint_eq(hypercalls, 2);
    feature_add(&m.model.features, FEAT_HYPERVISOR);
    m.platform.hypercall = NULL;
}
END_TEST

/* -- RDMSR, WRMSR -- */

START_TEST(msr_instructions_need_cpl_0)
{
    static const u8 second[] = {0x32, 0x30};

    for (unsigned n = 0; n < 2; n++) {
        START(MACHINE_USER64, 0x0f, second[n]);
        m.v->gpr[RCX] = 0xc0000103;
        expect_gp0();
    }
}
END_TEST

START_TEST(rdmsr_splits_and_clears_upper_halves)
{
    START(MACHINE_LONG, 0x0f, 0x32);
    m.v->lstar = 0xffffffff81234567;
    m.v->gpr[RCX] = 0xdeadbeefc0000082;
    m.v->gpr[RAX] = m.v->gpr[RDX] = ~0ull;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->gpr[RAX], 0x81234567);
    ck_assert_uint_eq(m.v->gpr[RDX], 0xffffffff);
    ck_assert_uint_eq(m.v->gpr[RCX], 0xdeadbeefc0000082);
}
END_TEST

START_TEST(wrmsr_joins_lower_halves)
{
    START(MACHINE_LONG, 0x0f, 0x30);
    m.v->gpr[RCX] = 0xc0000082;
    m.v->gpr[RAX] = 0xaaaaaaaa11223344;
    m.v->gpr[RDX] = 0xbbbbbbbb00001234;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->lstar, 0x0000123411223344);
    START(MACHINE_LONG, 0x0f, 0x30);
    m.v->gpr[RCX] = 0xc0000082;
    m.v->gpr[RDX] = 0x00008000;
    expect_gp0();
    START(MACHINE_REAL, 0x0f, 0x32);
    m.v->gpr[RCX] = 0x12345;
    ck_assert_int_eq(go(), VEC_GP);
}
END_TEST

/* -- counters -- */

START_TEST(rdtsc_counts)
{
    u64 first;

    START(MACHINE_LONG, 0x0f, 0x31);
    m.tsc = 0x1fffffff0;
    m.v->gpr[RAX] = m.v->gpr[RDX] = ~0ull;
    ck_assert_int_eq(go(), -1);
    first = m.v->gpr[RDX] << 32 | m.v->gpr[RAX];
    ck_assert_uint_eq(first, m.tsc);
    ck_assert_uint_eq(m.v->gpr[RDX], 2);
}
END_TEST

START_TEST(tsd_makes_rdtsc_privileged)
{
    static const enum machine_mode modes[] = {MACHINE_USER64, MACHINE_USER32};

    for (unsigned n = 0; n < 2; n++) {
        START(modes[n], 0x0f, 0x31);
        ck_assert_int_eq(go(), -1);
        START(modes[n], 0x0f, 0x31);
        m.v->cr4 |= CR4_TSD;
        expect_gp0();
        START(modes[n], 0x0f, 0x01, 0xf9);
        m.v->cr4 |= CR4_TSD;
        m.v->gpr[RCX] = 7;
        expect_gp0();
        ck_assert_uint_eq(m.v->gpr[RCX], 7);
    }
    START(MACHINE_LONG, 0x0f, 0x31);
    m.v->cr4 |= CR4_TSD;
    ck_assert_int_eq(go(), -1);
    START(MACHINE_REAL, 0x0f, 0x31);
    m.v->cr4 |= CR4_TSD;
    ck_assert_int_eq(go(), -1);
}
END_TEST

START_TEST(rdtscp_and_rdpid_give_tsc_aux)
{
    START(MACHINE_USER64, 0x0f, 0x01, 0xf9);
    m.v->tsc_aux = 0x89abcdef;
    m.v->gpr[RCX] = ~0ull;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->gpr[RCX], 0x89abcdef);
    START(MACHINE_USER64, 0xf3, 0x41, 0x0f, 0xc7, 0xfb); /* rdpid r11 */
    m.v->tsc_aux = 0x89abcdef;
    m.v->gpr[R11] = ~0ull;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->gpr[R11], 0x89abcdef);
}
END_TEST

START_TEST(rdpmc_has_no_counter)
{
    START(MACHINE_LONG, 0x0f, 0x33);
    expect_gp0();
    START(MACHINE_USER64, 0x0f, 0x33);
    m.v->cr4 |= CR4_PCE;
    expect_gp0();
}
END_TEST

/* -- CPUID -- */

START_TEST(cpuid_clears_upper_halves)
{
    START(MACHINE_USER64, 0x0f, 0xa2);
    m.v->gpr[RAX] = 0xffffffff00000000;
    m.v->gpr[RBX] = m.v->gpr[RCX] = m.v->gpr[RDX] = ~0ull;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->gpr[RAX], 0x1f);
    ck_assert_uint_eq(m.v->gpr[RBX], 0x68747541); /* "Auth" */
    ck_assert_uint_eq(m.v->gpr[RDX], 0x69746e65);
    ck_assert_uint_eq(m.v->gpr[RCX], 0x444d4163);
}
END_TEST

/* -- randomness -- */

static bool no_random(void *opaque, struct vcpu *v, u64 *value)
{
    (void)opaque, (void)v;
    *value = 0x1234;
    return false;
}

START_TEST(rdrand_sizes_and_flags)
{
    static const u8 modrm[] = {0xf0, 0xf8}; /* RDRAND, RDSEED */

    for (unsigned n = 0; n < 2; n++) {
        START(MACHINE_USER64, 0x48, 0x0f, 0xc7, modrm[n]);
        m.v->rflags |= F_OSZAP;
        m.v->gpr[RAX] = 0;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->gpr[RAX], m.random);
        ck_assert_uint_eq(m.v->rflags & F_OSZAPC, F_CF);
        START(MACHINE_USER64, 0x0f, 0xc7, modrm[n]);
        m.v->gpr[RAX] = ~0ull;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->gpr[RAX], (u32)m.random);
        START(MACHINE_USER64, 0x66, 0x0f, 0xc7, modrm[n]);
        m.v->gpr[RAX] = 0x1111111111111111;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->gpr[RAX], 0x1111111111110000 | (u16)m.random);
    }
}
END_TEST

START_TEST(rdrand_without_a_number_is_zero)
{
    m.platform.random = no_random;
    START(MACHINE_LONG, 0x48, 0x0f, 0xc7, 0xf3); /* rdrand rbx */
    m.v->gpr[RBX] = ~0ull;
    m.v->rflags |= F_CF;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->gpr[RBX], 0);
    ck_assert_uint_eq(m.v->rflags & F_OSZAPC, 0);
}
END_TEST

START_TEST(rdrand_takes_no_lock_or_memory)
{
    START(MACHINE_LONG, 0xf0, 0x0f, 0xc7, 0xf0);
    ck_assert_int_eq(go(), VEC_UD);
    START(MACHINE_LONG, 0x0f, 0xc7, 0x30); /* memory form: VMPTRLD, not offered */
    m.v->gpr[RAX] = MACHINE_DATA;
    ck_assert_int_eq(go(), VEC_UD);
}
END_TEST

/* -- caches -- */

START_TEST(invd_and_wbinvd_need_cpl_0)
{
    static const u8 opcode[] = {0x08, 0x09};

    for (unsigned n = 0; n < 2; n++) {
        START(MACHINE_USER64, 0x0f, opcode[n]);
        expect_gp0();
        START(MACHINE_LONG, 0x0f, opcode[n]);
        ck_assert_int_eq(go(), -1);
        START(MACHINE_REAL, 0x0f, opcode[n]);
        ck_assert_int_eq(go(), -1);
    }
}
END_TEST

/* Marks the 2 MiB page at 2 MiB not present. */
static void drop_second_page(void)
{
    machine_put_uint(&m, MACHINE_PML4 + 0x2000 + 8, 0, 8);
    tlb_flush_all(&m.v->tlb);
}

static void start_flush(unsigned which, enum machine_mode mode)
{
    switch (which) {
    case 0: START(mode, 0x0f, 0xae, 0x3b); break;        /* clflush [rbx] */
    case 1: START(mode, 0x66, 0x0f, 0xae, 0x3b); break;  /* clflushopt [rbx] */
    default: START(mode, 0x66, 0x0f, 0xae, 0x33); break; /* clwb [rbx] */
    }
}

START_TEST(flushes_fault_like_byte_loads)
{
    start_flush(_i, MACHINE_USER64);
    m.v->gpr[RBX] = MACHINE_DATA + 63;
    ck_assert_int_eq(go(), -1);
    start_flush(_i, MACHINE_USER64);
    drop_second_page();
    m.v->gpr[RBX] = 0x200000;
    ck_assert_int_eq(go(), VEC_PF);
    ck_assert_uint_eq(machine_stack(&m, 0, 8), 4); /* a user read of a page that is not there */
    ck_assert_uint_eq(m.v->cr2, 0x200000);
    start_flush(_i, MACHINE_USER64);
    drop_second_page();
    m.v->gpr[RBX] = 0x1fffff; /* one byte is enough */
    ck_assert_int_eq(go(), -1);
    start_flush(_i, MACHINE_USER64);
    m.v->gpr[RBX] = 0x0000800000000000;
    expect_gp0();
    start_flush(_i, MACHINE_PROT32);
    m.v->seg[SEG_DS].limit = MACHINE_DATA;
    m.v->gpr[RBX] = MACHINE_DATA + 1;
    expect_gp0();
    start_flush(_i, MACHINE_PROT32);
    m.v->seg[SEG_DS].limit = MACHINE_DATA;
    m.v->gpr[RBX] = MACHINE_DATA;
    ck_assert_int_eq(go(), -1);
}
END_TEST

START_TEST(prefetches_never_fault)
{
    for (u8 hint = 0; hint < 4; hint++) {
        START(MACHINE_USER64, 0x0f, 0x18, (u8)(0x03 | hint << 3));
        m.v->gpr[RBX] = 0x8000000000000000;
        ck_assert_int_eq(go(), -1);
        START(MACHINE_PROT32, 0x0f, 0x18, (u8)(0x03 | hint << 3));
        m.v->seg[SEG_DS].attr |= ATTR_NULL;
        ck_assert_int_eq(go(), -1);
    }
}
END_TEST

START_TEST(fences_and_their_encodings)
{
    static const u8 modrm[] = {0xe8, 0xf0, 0xf8, 0xef, 0xf7, 0xff}; /* any r/m is legal */

    for (unsigned n = 0; n < ARRAY_SIZE(modrm); n++) {
        START(MACHINE_USER64, 0x0f, 0xae, modrm[n]);
        ck_assert_int_eq(go(), -1);
        START(MACHINE_USER64, 0xf0, 0x0f, 0xae, modrm[n]);
        ck_assert_int_eq(go(), VEC_UD);
    }
}
END_TEST

START_TEST(clzero_clears_the_whole_line)
{
    START(MACHINE_USER64, 0x0f, 0x01, 0xfc);
    for (unsigned n = 0; n < 24; n++)
        machine_put_uint(&m, MACHINE_DATA + n * 8, ~0ull, 8);
    m.v->gpr[RAX] = MACHINE_DATA + 64 + 21;
    ck_assert_int_eq(go(), -1);
    for (unsigned n = 0; n < 24; n++)
        ck_assert_uint_eq(machine_get(&m, MACHINE_DATA + n * 8, 8), n >= 8 && n < 16 ? 0 : ~0ull);
}
END_TEST

START_TEST(clzero_faults_like_a_store)
{
    START(MACHINE_USER64, 0x0f, 0x01, 0xfc);
    drop_second_page();
    m.v->gpr[RAX] = 0x200010;
    ck_assert_int_eq(go(), VEC_PF);
    ck_assert_uint_eq(machine_stack(&m, 0, 8), 6);
    START(MACHINE_USER64, 0x0f, 0x01, 0xfc);
    m.v->gpr[RAX] = 0x8000000000000000;
    expect_gp0();
    START(MACHINE_PROT32, 0x0f, 0x01, 0xfc);
    m.v->seg[SEG_DS].attr &= ~(u32)ATTR_WRITE;
    m.v->gpr[RAX] = MACHINE_DATA;
    expect_gp0();
    START(MACHINE_LONG, 0x67, 0x0f, 0x01, 0xfc); /* a 32-bit address */
    machine_put_uint(&m, MACHINE_DATA, ~0ull, 8);
    m.v->gpr[RAX] = 0xffffffff00000000 | MACHINE_DATA;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(machine_get(&m, MACHINE_DATA, 8), 0);
    START(MACHINE_LONG, 0x64, 0x0f, 0x01, 0xfc); /* a segment override counts */
    machine_put_uint(&m, MACHINE_DATA, ~0ull, 8);
    m.v->seg[SEG_FS].base = MACHINE_DATA;
    m.v->gpr[RAX] = 0;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(machine_get(&m, MACHINE_DATA, 8), 0);
}
END_TEST

/* -- INVLPG, INVPCID -- */

/* Maps linear 4 MiB to another page behind the TLB's back. Tells whether the old one is still used.
 */
enum { PROBE = 0x400000 };

static void prime(u64 flags)
{
    machine_put_uint(&m, MACHINE_PML4 + 0x2000 + 16, 0x400000 | flags, 8);
    machine_put_uint(&m, 0x400000, 1, 8);
    machine_put_uint(&m, 0x600000, 2, 8);
    m.v->gpr[RSI] = PROBE;
    machine_step(&m, 1); /* mov rdx, [rsi] */
    ck_assert_uint_eq(m.v->gpr[RDX], 1);
    machine_put_uint(&m, MACHINE_PML4 + 0x2000 + 16, 0x600000 | flags, 8);
}

/* mov rdx, [rsi]; INSN; mov rdx, [rsi] */
#define INVALIDATE(flags, ...)                                                                     \
    do {                                                                                           \
        START(MACHINE_LONG, 0x48, 0x8b, 0x16, __VA_ARGS__, 0x48, 0x8b, 0x16);                      \
        m.v->cr4 |= CR4_PGE;                                                                       \
        vcpu_update_mode(m.v);                                                                     \
        prime(flags);                                                                              \
    } while (0)

static bool still_old(void)
{
    machine_step(&m, 2);
    ck_assert_int_eq(machine_vector(&m), -1);
    return m.v->gpr[RDX] == 1;
}

START_TEST(invlpg_drops_one_translation)
{
    INVALIDATE(0xe7, 0x90, 0x90, 0x90);
    machine_step(&m, 2);
    ck_assert(still_old());             /* the TLB does keep it */
    INVALIDATE(0xe7, 0x0f, 0x01, 0x3b); /* invlpg [rbx] */
    m.v->gpr[RBX] = PROBE + 0x1234;
    ck_assert(!still_old());
    INVALIDATE(0x1e7, 0x0f, 0x01, 0x3b); /* a global page, too */
    m.v->gpr[RBX] = PROBE;
    ck_assert(!still_old());
}
END_TEST

START_TEST(invlpg_checks_only_the_privilege)
{
    START(MACHINE_LONG, 0x0f, 0x01, 0x3b);
    m.v->gpr[RBX] = 0x8000000000000000;
    ck_assert_int_eq(go(), -1);
    START(MACHINE_PROT32, 0x0f, 0x01, 0x3b);
    m.v->seg[SEG_DS].limit = 0;
    m.v->gpr[RBX] = 0x5000;
    ck_assert_int_eq(go(), -1);
    START(MACHINE_USER64, 0x0f, 0x01, 0x3b);
    expect_gp0();
}
END_TEST

static void start_invpcid(enum machine_mode mode, u64 type, u64 pcid, u64 address)
{
    START(mode, 0x66, 0x0f, 0x38, 0x82, 0x03); /* invpcid eax, [ebx] */
    machine_put_uint(&m, MACHINE_DATA, pcid, 8);
    machine_put_uint(&m, MACHINE_DATA + 8, address, 8);
    m.v->gpr[RAX] = type;
    m.v->gpr[RBX] = MACHINE_DATA;
}

START_TEST(invpcid_refusals)
{
    for (unsigned mode = MACHINE_PROT32; mode <= MACHINE_LONG; mode++) {
        start_invpcid(mode, 4, 0, 0);
        expect_gp0();
        start_invpcid(mode, 0, 0x1000, 0); /* reserved bits of the descriptor, for every type */
        expect_gp0();
        start_invpcid(mode, 3, BIT(63), 0);
        expect_gp0();
        start_invpcid(mode, 0, 1, 0); /* a PCID without CR4.PCIDE */
        expect_gp0();
        start_invpcid(mode, 1, 0xfff, 0);
        expect_gp0();
        start_invpcid(mode, 2, 1, 0); /* not looked at */
        ck_assert_int_eq(go(), -1);
        start_invpcid(mode, 3, 1, 0);
        ck_assert_int_eq(go(), -1);
    }
    start_invpcid(MACHINE_LONG, 0, 0, 0x0000800000000000);
    expect_gp0();
    start_invpcid(MACHINE_LONG, 1, 0, 0x0000800000000000); /* the address is for type 0 only */
    ck_assert_int_eq(go(), -1);
    start_invpcid(MACHINE_LONG, 0x100000000, 0, 0); /* all 64 bits are the type */
    expect_gp0();
    start_invpcid(MACHINE_PROT32, 0x100000000, 0, 0);
    ck_assert_int_eq(go(), -1);
    start_invpcid(MACHINE_USER64, 0, 0, 0);
    expect_gp0();
    start_invpcid(MACHINE_LONG, 0, 0, 0);
    drop_second_page();
    m.v->gpr[RBX] = 0x1ffff8;
    ck_assert_int_eq(go(), VEC_PF);
    ck_assert_uint_eq(m.v->cr2, 0x200000);
    START(MACHINE_LONG, 0x66, 0x0f, 0x38, 0x82, 0xc3); /* no register form */
    ck_assert_int_eq(go(), VEC_UD);
    START(MACHINE_LONG, 0x0f, 0x38, 0x82, 0x03); /* no form without 66 */
    ck_assert_int_eq(go(), VEC_UD);
}
END_TEST

static void invalidate_pcid(u64 flags, u64 type, u64 address)
{
    INVALIDATE(flags, 0x66, 0x0f, 0x38, 0x82, 0x03);
    machine_put_uint(&m, MACHINE_DATA, 0, 8);
    machine_put_uint(&m, MACHINE_DATA + 8, address, 8);
    m.v->gpr[RAX] = type;
    m.v->gpr[RBX] = MACHINE_DATA;
}

START_TEST(invpcid_types)
{
    invalidate_pcid(0xe7, 0, PROBE + 5);
    ck_assert(!still_old());
    for (u64 type = 1; type <= 3; type++) {
        invalidate_pcid(0xe7, type, 0);
        ck_assert_msg(!still_old(), "type %lu", type);
    }
    invalidate_pcid(0x1e7, 2, 0); /* global pages go with type 2 */
    ck_assert(!still_old());
}
END_TEST

/* -- MONITOR, MWAIT -- */

START_TEST(monitor_and_mwait_need_cpl_0)
{
    static const u8 opcode[] = {0xc8, 0xc9};

    for (unsigned n = 0; n < 2; n++) {
        START(MACHINE_USER64, 0x0f, 0x01, opcode[n]);
        ck_assert_int_eq(go(), VEC_UD);
    }
}
END_TEST

START_TEST(monitor_checks_its_address)
{
    START(MACHINE_LONG, 0x0f, 0x01, 0xc8);
    m.v->gpr[RAX] = MACHINE_DATA;
    m.v->gpr[RCX] = m.v->gpr[RDX] = 0;
    ck_assert_int_eq(go(), -1);
    START(MACHINE_LONG, 0x0f, 0x01, 0xc8);
    m.v->gpr[RAX] = MACHINE_DATA;
    m.v->gpr[RCX] = 1;
    expect_gp0();
    START(MACHINE_LONG, 0x0f, 0x01, 0xc8);
    drop_second_page();
    m.v->gpr[RAX] = 0x200000;
    m.v->gpr[RCX] = 0;
    ck_assert_int_eq(go(), VEC_PF);
    START(MACHINE_PROT32, 0x0f, 0x01, 0xc8);
    m.v->seg[SEG_DS].limit = MACHINE_DATA;
    m.v->gpr[RAX] = MACHINE_DATA + 1;
    m.v->gpr[RCX] = 0;
    expect_gp0();
}
END_TEST

START_TEST(mwait_ends_and_checks_its_hints)
{
    START(MACHINE_LONG, 0x0f, 0x01, 0xc9);
    m.v->gpr[RAX] = m.v->gpr[RCX] = 0;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->rip, MACHINE_CODE + 3);
    START(MACHINE_LONG, 0x0f, 0x01, 0xc9);
    m.v->gpr[RCX] = 1;
    ck_assert_int_eq(go(), -1);
    START(MACHINE_LONG, 0x0f, 0x01, 0xc9);
    m.v->gpr[RCX] = 2;
    expect_gp0();
}
END_TEST

START_TEST(monitor_goes_with_misc_enable)
{
    strcpy(m.model.vendor, "GenuineIntel");
    START(MACHINE_LONG, 0x0f, 0x01, 0xc8);
    m.v->gpr[RAX] = MACHINE_DATA;
    m.v->gpr[RCX] = 0;
    ck_assert_int_eq(go(), -1);
    START(MACHINE_LONG, 0x0f, 0x01, 0xc8);
    m.v->misc_enable &= ~MISC_ENABLE_MONITOR;
    ck_assert_int_eq(go(), VEC_UD);
}
END_TEST

/* -- SMAP, protection keys -- */

START_TEST(clac_and_stac)
{
    START(MACHINE_LONG, 0x0f, 0x01, 0xcb);
    ck_assert_int_eq(go(), -1);
    ck_assert(m.v->rflags & F_AC);
    START(MACHINE_LONG, 0x0f, 0x01, 0xca);
    m.v->rflags |= F_AC;
    ck_assert_int_eq(go(), -1);
    ck_assert(!(m.v->rflags & F_AC));
    START(MACHINE_USER64, 0x0f, 0x01, 0xcb);
    ck_assert_int_eq(go(), VEC_UD);
    START(MACHINE_USER32, 0x0f, 0x01, 0xca);
    ck_assert_int_eq(go(), VEC_UD);
}
END_TEST

/* STAC opens user pages to the supervisor at once (every test page is a user page). */
START_TEST(stac_works_on_the_next_access)
{
    START(MACHINE_LONG, 0x48, 0x8b, 0x06); /* mov rax, [rsi] */
    m.v->gpr[RSI] = MACHINE_DATA;
    m.v->cr4 |= CR4_SMAP;
    /* Code, stack and tables are user pages, too: only data accesses are checked, and the delivery
     * of the fault fails as well. */
    vcpu_update_mode(m.v);
    tlb_flush_all(&m.v->tlb);
    ck_assert_int_eq(machine_step(&m, 1), EXIT_SHUTDOWN);
    START(MACHINE_LONG, 0x0f, 0x01, 0xcb, 0x48, 0x8b, 0x06); /* stac; mov rax, [rsi] */
    m.v->gpr[RSI] = MACHINE_DATA;
    m.v->cr4 |= CR4_SMAP;
    vcpu_update_mode(m.v);
    tlb_flush_all(&m.v->tlb);
    machine_put_uint(&m, MACHINE_DATA, 0x77, 8);
    machine_step(&m, 2);
    ck_assert_uint_eq(m.v->gpr[RAX], 0x77);
}
END_TEST

START_TEST(pkru_instructions)
{
    START(MACHINE_USER64, 0x0f, 0x01, 0xee);
    ck_assert_int_eq(go(), VEC_UD); /* CR4.PKE = 0 */
    START(MACHINE_USER64, 0x0f, 0x01, 0xef);
    ck_assert_int_eq(go(), VEC_UD);
    START(MACHINE_USER64, 0x0f, 0x01, 0xee);
    m.v->cr4 |= CR4_PKE;
    m.v->pkru = 0x87654321;
    m.v->gpr[RAX] = m.v->gpr[RDX] = ~0ull;
    m.v->gpr[RCX] = 0xffffffff00000000;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->gpr[RAX], 0x87654321);
    ck_assert_uint_eq(m.v->gpr[RDX], 0);
    START(MACHINE_USER64, 0x0f, 0x01, 0xef);
    m.v->cr4 |= CR4_PKE;
    m.v->gpr[RAX] = 0x55555554;
    m.v->gpr[RCX] = m.v->gpr[RDX] = 0;
    ck_assert_int_eq(go(), -1);
    ck_assert_uint_eq(m.v->pkru, 0x55555554);
}
END_TEST

START_TEST(pkru_refusals)
{
    static const u8 opcode[] = {0xee, 0xef};

    for (unsigned n = 0; n < 2; n++) {
        START(MACHINE_USER64, 0x0f, 0x01, opcode[n]);
        m.v->cr4 |= CR4_PKE;
        m.v->gpr[RCX] = 1;
        m.v->gpr[RDX] = 0;
        expect_gp0();
    }
    START(MACHINE_USER64, 0x0f, 0x01, 0xef);
    m.v->cr4 |= CR4_PKE;
    m.v->gpr[RCX] = 0;
    m.v->gpr[RDX] = 1;
    expect_gp0();
    ck_assert_uint_eq(m.v->pkru, 0);
}
END_TEST

/* A key that WRPKRU closes is closed for the next access, whatever the TLB holds. */
START_TEST(wrpkru_works_on_the_next_access)
{
    START(MACHINE_USER64, 0x48, 0x8b, 0x1e, 0x0f, 0x01, 0xef, 0x48, 0x8b, 0x1e);
    machine_put_uint(&m, MACHINE_PML4 + 0x2000 + 16, 0x400000 | 0xe7 | 1ull << 59, 8); /* key 1 */
    m.v->cr4 |= CR4_PKE;
    m.v->gpr[RSI] = 0x400000;
    m.v->gpr[RAX] = 4; /* AD of key 1 */
    m.v->gpr[RCX] = m.v->gpr[RDX] = 0;
    vcpu_update_mode(m.v);
    tlb_flush_all(&m.v->tlb);
    machine_step(&m, 2);
    ck_assert_int_eq(machine_vector(&m), -1);
    machine_step(&m, 1);
    ck_assert_int_eq(machine_vector(&m), VEC_PF);
    ck_assert_uint_eq(machine_stack(&m, 0, 8), 0x25); /* present, user, protection key */
}
END_TEST

/* Linux writes PKRU for every signal, mostly as it was. */
START_TEST(wrpkru_without_a_change_keeps_the_tlb)
{
    u64 flushes;

    for (u32 value = 0; value < 8; value += 4) {
        START(MACHINE_USER64, 0x0f, 0x01, 0xef);
        m.v->cr4 |= CR4_PKE;
        m.v->pkru = 4;
        m.v->gpr[RAX] = value;
        m.v->gpr[RCX] = m.v->gpr[RDX] = 0;
        flushes = m.v->tlb.flushes;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->tlb.flushes - flushes, value != 4);
        ck_assert_uint_eq(m.v->pkru, value);
    }
}
END_TEST

/* -- FS and GS bases -- */

START_TEST(fsgsbase_reads_and_writes)
{
    static const enum seg seg[] = {SEG_FS, SEG_GS};

    for (unsigned n = 0; n < 2; n++) {
        START(MACHINE_USER64, 0xf3, 0x48, 0x0f, 0xae, (u8)(0xc0 | n << 3));
        m.v->cr4 |= CR4_FSGSBASE;
        m.v->seg[seg[n]].base = 0xffff800012345678;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->gpr[RAX], 0xffff800012345678);
        START(MACHINE_USER64, 0xf3, 0x0f, 0xae, (u8)(0xc0 | n << 3)); /* 32 bits */
        m.v->cr4 |= CR4_FSGSBASE;
        m.v->seg[seg[n]].base = 0xffff800012345678;
        m.v->gpr[RAX] = ~0ull;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->gpr[RAX], 0x12345678);
        START(MACHINE_USER64, 0xf3, 0x48, 0x0f, 0xae, (u8)(0xd0 | n << 3));
        m.v->cr4 |= CR4_FSGSBASE;
        m.v->gpr[RAX] = 0x00007fffffffffff;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->seg[seg[n]].base, 0x00007fffffffffff);
        START(MACHINE_USER64, 0xf3, 0x0f, 0xae, (u8)(0xd0 | n << 3));
        m.v->cr4 |= CR4_FSGSBASE;
        m.v->gpr[RAX] = 0xffffffff89abcdef;
        ck_assert_int_eq(go(), -1);
        ck_assert_uint_eq(m.v->seg[seg[n]].base, 0x89abcdef);
    }
}
END_TEST

START_TEST(fsgsbase_refusals)
{
    for (u8 which = 0; which < 4; which++) {
        START(MACHINE_LONG, 0xf3, 0x48, 0x0f, 0xae, (u8)(0xc0 | which << 3));
        ck_assert_int_eq(go(), VEC_UD); /* CR4.FSGSBASE = 0 */
        START(MACHINE_COMPAT, 0xf3, 0x0f, 0xae, (u8)(0xc0 | which << 3));
        m.v->cr4 |= CR4_FSGSBASE;
        ck_assert_int_eq(go(), VEC_UD); /* 64-bit mode only */
    }
    for (u8 which = 2; which < 4; which++) {
        START(MACHINE_LONG, 0xf3, 0x48, 0x0f, 0xae, (u8)(0xc0 | which << 3));
        m.v->cr4 |= CR4_FSGSBASE;
        m.v->gpr[RAX] = 0x0000800000000000;
        expect_gp0();
    }
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("system");
    TCase *tc = tcase_create("system");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, msr_instructions_need_cpl_0);
    tcase_add_test(tc, rdmsr_splits_and_clears_upper_halves);
    tcase_add_test(tc, wrmsr_joins_lower_halves);
    tcase_add_test(tc, rdtsc_counts);
    tcase_add_test(tc, tsd_makes_rdtsc_privileged);
    tcase_add_test(tc, rdtscp_and_rdpid_give_tsc_aux);
    tcase_add_test(tc, rdpmc_has_no_counter);
    tcase_add_test(tc, cpuid_clears_upper_halves);
    tcase_add_test(tc, rdrand_sizes_and_flags);
    tcase_add_test(tc, rdrand_without_a_number_is_zero);
    tcase_add_test(tc, rdrand_takes_no_lock_or_memory);
    tcase_add_test(tc, invd_and_wbinvd_need_cpl_0);
    tcase_add_loop_test(tc, flushes_fault_like_byte_loads, 0, 3);
    tcase_add_test(tc, prefetches_never_fault);
    tcase_add_test(tc, fences_and_their_encodings);
    tcase_add_test(tc, clzero_clears_the_whole_line);
    tcase_add_test(tc, clzero_faults_like_a_store);
    tcase_add_test(tc, invlpg_drops_one_translation);
    tcase_add_test(tc, invlpg_checks_only_the_privilege);
    tcase_add_test(tc, invpcid_refusals);
    tcase_add_test(tc, invpcid_types);
    tcase_add_test(tc, monitor_and_mwait_need_cpl_0);
    tcase_add_test(tc, monitor_checks_its_address);
    tcase_add_test(tc, mwait_ends_and_checks_its_hints);
    tcase_add_test(tc, monitor_goes_with_misc_enable);
    tcase_add_test(tc, clac_and_stac);
    tcase_add_test(tc, stac_works_on_the_next_access);
    tcase_add_test(tc, pkru_instructions);
    tcase_add_test(tc, pkru_refusals);
    tcase_add_test(tc, wrpkru_works_on_the_next_access);
    tcase_add_test(tc, wrpkru_without_a_change_keeps_the_tlb);
    tcase_add_test(tc, fsgsbase_reads_and_writes);
    tcase_add_test(tc, hypercalls_go_to_the_platform);
    tcase_add_test(tc, fsgsbase_refusals);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return suite_run(make_suite());
}
