/* SPDX-License-Identifier: MIT
 *
 * What the host does to one case: every way it can end, every part of the state in and out.
 */
#include <cpuid.h>
#include <stdio.h>

#include "frontend/conform/arena.h"
#include "tests/conformance/native_fixture.h"

START_TEST(add_gives_sum_and_exact_flags)
{
    struct conform_case *c = PREPARE(MODE_64, "\x48\x01\xc8"); /* add rax, rcx */
    struct conform_outcome *o;

    for (unsigned i = 0; i < 16; i++)
        if (i != RSP)
            c->in.gpr[i] = 0x1111111111111111 * i;
    c->in.gpr[RAX] = 0x7fffffffffffffff;
    c->in.gpr[RCX] = 1;
    c->in.rflags = F_CF | F_ZF | F_DF | F_ID | F_NT | F_AC;
    o = run();
    assert_ran(o, 3);
    ck_assert_uint_eq(o->out.gpr[RAX], 0x8000000000000000);
    ck_assert_uint_eq(o->out.rflags,
                      F_1 | F_IF | F_DF | F_ID | F_NT | F_AC | F_OF | F_SF | F_AF | F_PF);
    for (unsigned i = 1; i < 16; i++)
        ck_assert_uint_eq(o->out.gpr[i], c->in.gpr[i]);
    ck_assert_uint_eq(o->line_count, 0);
    ck_assert_int_eq(memcmp(o->out.selector, c->in.selector, sizeof(c->in.selector)), 0);
    c->in.rflags = 0; /* nothing stays from the case before */
    ck_assert_uint_eq(run()->out.rflags, F_1 | F_IF | F_OF | F_SF | F_AF | F_PF);
}
END_TEST

/* -- exceptions -- */

static void assert_fault(const struct conform_outcome *o, u8 vector, u32 error_code, u32 offset)
{
    ck_assert_uint_eq(o->vector, vector);
    ck_assert_uint_eq(o->error_code, error_code);
    ck_assert_uint_eq(o->out.rip, cases->in.rip + offset);
    if (vector != VEC_PF)
        ck_assert_uint_eq(o->cr2, 0);
}

static void assert_page_fault(const struct conform_outcome *o, u32 error_code, u64 cr2)
{
    ck_assert_uint_eq(o->vector, VEC_PF);
    ck_assert_uint_eq(o->error_code, error_code);
    ck_assert_uint_eq(o->cr2, cr2);
}

START_TEST(exceptions_come_with_their_vector)
{
    assert_fault(RUN(MODE_64, "\xf7\xf1", 1, 0, 0), VEC_DE, 0, 0);           /* div ecx */
    assert_fault(RUN(MODE_64, "\x90\x0f\x0b", 0, 0, 0), VEC_UD, 0, 1);       /* ud2 */
    assert_fault(RUN(MODE_64, "\xf4", 0, 0, 0), VEC_GP, 0, 0);               /* hlt */
    assert_fault(RUN(MODE_64, "\xcd\x33", 0, 0, 0), VEC_GP, 0x19a, 0);       /* int 33h */
    assert_fault(RUN(MODE_64, "\xcd\x03", 0, 0, 0), VEC_BP, 0, 2);           /* int 3 */
    assert_fault(RUN(MODE_64, "\x8e\xd8", 0x1230, 0, 0), VEC_GP, 0x1230, 0); /* mov ds, ax */
    assert_fault(RUN(MODE_64, "\x8e\xd8", SEL_ABSENT, 0, 0), VEC_NP, 0x34, 0);
    assert_fault(RUN(MODE_32, "\x8e\xd0", SEL_ABSENT, 0, 0), VEC_SS, 0x34, 0); /* mov ss, ax */
    assert_fault(RUN(MODE_32, "\x8e\xd8", SEL_CODE_CONF, 0, 0), VEC_NP, 0x44, 0);
}
END_TEST

/* SDM 2, INT1: RIP is that of the next instruction. KVM on AMD processors intercepts #DB and
 * delivers it again with the RIP of INT1 itself (deviation.def). */
START_TEST(int1_is_a_debug_exception)
{
    struct conform_outcome *o = RUN(MODE_64, "\xf1", 0, 0, 0);

    assert_fault(o, VEC_DB, 0, (u32)o->out.rip & 1);
}
END_TEST

START_TEST(traps_of_32_bit_code)
{
    struct conform_case *c = PREPARE(MODE_32, "\xce"); /* into */
    struct conform_outcome *o;

    c->in.rflags = F_OF;
    assert_fault(run(), VEC_OF, 0, 1);
    c->in.rflags = 0;
    assert_ran(run(), 1);
    c = PREPARE(MODE_32, "\x62\x01"); /* bound eax, [ecx] */
    c->in.gpr[RCX] = ARENA_DATA;
    c->patch_count = 1;
    c->patch[0].address = ARENA_DATA;
    c->patch[0].size = 8;
    memcpy(c->patch[0].bytes, "\1\0\0\0\5\0\0\0", 8);
    c->in.gpr[RAX] = 6;
    assert_fault(run(), VEC_BR, 0, 0);
    c->in.gpr[RAX] = 5;
    o = run();
    assert_ran(o, 2);
    ck_assert_uint_eq(o->line_count, 0);
}
END_TEST

START_TEST(page_faults_come_with_code_and_address)
{
    enum { READ = 4, WRITE = 6, PRESENT = 1, FETCH = 0x14 };

    /* mov rax, [rcx]; mov [rcx], rax; jmp rcx */
    assert_page_fault(RUN(MODE_64, "\x48\x8b\x01", 0, ARENA_DATA - 8, 0), READ, ARENA_DATA - 8);
    assert_page_fault(RUN(MODE_64, "\x48\x89\x01", 0, ARENA_STACK + ARENA_STACK_SIZE - 7, 0), WRITE,
                      ARENA_STACK + ARENA_STACK_SIZE);
    assert_page_fault(RUN(MODE_64, "\x48\x89\x01", 0, ARENA_RO + 16, 0), WRITE | PRESENT,
                      ARENA_RO + 16);
    assert_ran(RUN(MODE_64, "\x48\x8b\x01", 0, ARENA_RO + 16, 0), 3);
    assert_page_fault(RUN(MODE_64, "\xff\xe1", 0, ARENA_DATA, 0), FETCH | PRESENT, ARENA_DATA);
    assert_page_fault(RUN(MODE_64, "\xff\xe1", 0, 0x5000, 0), FETCH, 0x5000); /* into nowhere */
    ck_assert_uint_eq(outcomes->out.rip, 0x5000);
    assert_page_fault(RUN(MODE_64, "\x48\x8b\x01", 0, 0, 0), READ, 0);
    /* The kernel's half: not present, too. */
    assert_page_fault(RUN(MODE_64, "\x48\x8b\x01", 0, 0xffff800000000000, 0), READ,
                      0xffff800000000000);
    assert_page_fault(RUN(MODE_64, "\x48\x8b\x01", 0, 0xffffffffff600000, 0), READ,
                      0xffffffffff600000);
    assert_page_fault(RUN(MODE_64, "\x48\x89\x01", 0, ~0ull - 7, 0), WRITE, ~0ull - 7);
}
END_TEST

START_TEST(nothing_of_the_process_is_left_to_a_case)
{
    const u64 addresses[] = {(u64)host,      (u64)cases,
                             (u64)addresses, (u64)__builtin_return_address(0),
                             (u64)getenv,    (u64)&err};

    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
        assert_page_fault(RUN(MODE_64, "\x8a\x01", 0, addresses[i], 0), 4, addresses[i]);
}
END_TEST

START_TEST(addresses_that_are_not_canonical)
{
    assert_fault(RUN(MODE_64, "\x48\x8b\x01", 0, 0x800000000000, 0), VEC_GP, 0, 0);
    assert_fault(RUN(MODE_64, "\xff\xe1", 0, 0x800000000000, 0), VEC_GP, 0, 0);
    PREPARE(MODE_64, "\x50")->in.gpr[RSP] = 0x800000000008; /* push rax */
    assert_fault(run(), VEC_SS, 0, 0);
    PREPARE(MODE_64, "\xc3")->in.gpr[RSP] = 0xdead000000000000; /* ret */
    assert_fault(run(), VEC_SS, 0, 0);
    ck_assert_uint_eq(outcomes->out.gpr[RSP], 0xdead000000000000);
}
END_TEST

START_TEST(floating_point_exceptions)
{
    struct conform_case *c =
        PREPARE(MODE_64, "\xd9\xe8\xd9\xee\xde\xf9\x9b"); /* fld1 fldz fdivp wait */
    struct conform_outcome *o;

    o = run();
    assert_ran(o, 7);
    ck_assert_uint_eq(o->out.x87[2] & 4, 4);  /* ZE */
    ck_assert_uint_eq(o->out.x87[3] >> 3, 7); /* TOP */
    ck_assert_uint_eq(o->out.x87[4], 0x80);
    ck_assert_mem_eq(o->out.x87 + 32, "\0\0\0\0\0\0\0\x80\xff\x7f", 10);
    c->in.x87[0] = 0x7b; /* ZM clear */
    o = run();
    assert_fault(o, VEC_MF, 0, 6);
    ck_assert_uint_eq(o->out.x87[2] & 0x84, 0x84);                   /* ES, ZE */
    ck_assert_mem_eq(o->out.x87 + 8, "\x04\x01\x00\x10\0\0\0\0", 8); /* FIP: fdivp */
    ck_assert_mem_eq(o->out.x87 + 6, "\xf9\x06", 2);                 /* FOP */
    c = PREPARE(MODE_64, "\x0f\x5e\xc1");                            /* divps xmm0, xmm1 */
    memcpy(c->in.zmm[0], "\0\0\x80\x3f", 4);
    o = run();
    assert_ran(o, 3);
    ck_assert_uint_eq(o->out.mxcsr, 0x1f85);
    c->in.mxcsr = 0x1d80;
    o = run();
    assert_fault(o, VEC_XM, 0, 0);
    ck_assert_uint_eq(o->out.mxcsr & 4, 4);
    ck_assert_mem_eq(o->out.zmm, c->in.zmm, sizeof(c->in.zmm));
}
END_TEST

START_TEST(alignment_checks)
{
    struct conform_case *c = PREPARE(MODE_64, "\x8b\x01"); /* mov eax, [rcx] */

    c->in.gpr[RCX] = ARENA_DATA + 1;
    assert_ran(run(), 2);
    c->in.rflags = F_AC;
    assert_fault(run(), VEC_AC, 0, 0);
    c->in.gpr[RCX] = ARENA_DATA + 4;
    assert_ran(run(), 2);
    /* movaps needs it without AC. */
    assert_fault(RUN(MODE_64, "\x0f\x28\x01", 0, ARENA_DATA + 8, 0), VEC_GP, 0, 0);
}
END_TEST

/* -- modes and segments -- */

START_TEST(segments_of_32_bit_code)
{
    enum { MOV_DS_AX_READ = 2 };                    /* where the second instruction lies */
    static const char read[] = "\x8e\xd8\x8b\x01";  /* mov ds, ax; mov eax, [ecx] */
    static const char write[] = "\x8e\xd8\x89\x01"; /* mov ds, ax; mov [ecx], eax */
    struct conform_outcome *o;

    assert_ran(RUN(MODE_32, read, SEL_DATA_RO, 0x17fc, 0), 4);
    assert_fault(RUN(MODE_32, read, SEL_DATA_RO, 0x17fd, 0), VEC_GP, 0, MOV_DS_AX_READ);
    assert_fault(RUN(MODE_32, write, SEL_DATA_RO, 0, 0), VEC_GP, 0, MOV_DS_AX_READ);
    assert_fault(RUN(MODE_32, read, SEL_DATA_DOWN, 0x7ff, 0), VEC_GP, 0, MOV_DS_AX_READ);
    o = RUN(MODE_32, write, SEL_DATA_DOWN, 0x800, 0);
    assert_ran(o, 4);
    ck_assert_uint_eq(o->out.selector[SEG_DS], SEL_DATA_DOWN);
    ck_assert_uint_eq(o->out.selector[SEG_ES], SEL_FLAT);
    ck_assert_uint_eq(o->line_count, 1);
    ck_assert_uint_eq(o->line[0].address, ARENA_DATA + 0x800);
    assert_fault(RUN(MODE_32, read, SEL_CODE_XO, 0, 0), VEC_GP, SEL_CODE_XO & ~3u, 0);
    assert_ran(RUN(MODE_32, read, SEL_CODE32, 0x1ffc, 0), 4);
    assert_fault(RUN(MODE_32, read, 0, 0, 0), VEC_GP, 0, MOV_DS_AX_READ); /* null */
}
END_TEST

START_TEST(code_segments_of_the_ldt)
{
    static const u16 selector[] = {SEL_CODE32, SEL_CODE_XO};
    struct conform_outcome *o;

    for (unsigned i = 0; i < ARRAY_SIZE(selector); i++) {
        struct conform_case *c = PREPARE(MODE_32, "\xe8\0\0\0\0"); /* call next */

        c->in.selector[SEG_CS] = selector[i];
        c->in.rip -= ARENA_CODE;
        o = run();
        assert_ran(o, 5);
        ck_assert_uint_eq(o->out.selector[SEG_CS], selector[i]);
        ck_assert_uint_eq(o->line_count, 1);
        ck_assert_mem_eq(o->line[0].bytes + 60, "\x05\x01\0\0", 4);
        ck_assert_uint_eq(o->line[0].address, ARENA_STACK + 0xfc0);
    }
}
END_TEST

START_TEST(code_of_16_bits_and_its_stack)
{
    struct conform_case *c =
        PREPARE(MODE_16, "\x50\x66\x68\x78\x56\x34\x12"); /* push ax, 12345678h */
    struct conform_outcome *o;

    c->in.gpr[RAX] = 0xabcd;
    c->in.gpr[RSP] = 0x55550002; /* the upper half does not count, and stays */
    o = run();
    assert_page_fault(o, 6, ARENA_STACK + 0xfffc); /* SP wraps */
    ck_assert_uint_eq((u32)o->out.gpr[RSP], 0x55550000);
    ck_assert_uint_eq(o->out.rip, c->in.rip + 1);
    c->in.gpr[RSP] = 0x55550040;
    o = run();
    ck_assert_uint_eq((u32)o->out.gpr[RSP], 0x5555003a);
    ck_assert_uint_eq(o->line_count, 1);
    ck_assert_mem_eq(o->line[0].bytes + 0x3a, "\x78\x56\x34\x12\xcd\xab", 6);
}
END_TEST

START_TEST(selectors_of_64_bit_code)
{
    struct conform_case *c = PREPARE(MODE_64, "\x8c\xe0\x8c\xc1"); /* mov eax, fs; mov ecx, es */
    struct conform_outcome *o;

    memcpy(c->in.selector, (u16[]){0, SEL_CS64, SEL_FLAT, SEL_DATA16, SEL_STACK16, SEL_DATA_RO},
           sizeof(c->in.selector));
    o = run();
    assert_ran(o, 4);
    ck_assert_mem_eq(o->out.selector, c->in.selector, sizeof(c->in.selector));
    ck_assert_uint_eq(o->out.gpr[RAX], SEL_STACK16);
    ck_assert_uint_eq(o->out.gpr[RCX], 0);
}
END_TEST

START_TEST(fs_and_gs_bases)
{
    struct conform_case *c =
        PREPARE(MODE_64, "\x64\x8a\x01\x65\x8a\x61\x01"); /* mov al, fs:[rcx];
                                                             mov ah, gs:[rcx+1] */
    struct conform_outcome *o;

    c->in.fs_base = ARENA_DATA + 0x123;
    c->in.gs_base = ARENA_RO - 0x10000;
    c->in.gpr[RCX] = 0x10000;
    c->in.fs_base -= 0x10000;
    o = run();
    assert_ran(o, 7);
    ck_assert_uint_eq(o->out.gpr[RAX], conform_arena_byte(ARENA_DATA + 0x123) |
                                           (u32)conform_arena_byte(ARENA_RO + 1) << 8);
    ck_assert_uint_eq(o->out.fs_base, c->in.fs_base);
    ck_assert_uint_eq(o->out.gs_base, c->in.gs_base);
    c = PREPARE(MODE_32, "\x64\x8a\x01"); /* outside 64-bit mode the selector decides */
    c->in.fs_base = 0x666;
    c->in.selector[SEG_FS] = SEL_DATA16;
    c->in.gpr[RCX] = 5;
    o = run();
    ck_assert_uint_eq(o->out.gpr[RAX], conform_arena_byte(ARENA_DATA + 5));
}
END_TEST

/* -- vector state -- */

static bool host_has(u32 xcr0)
{
    u32 a, b, c, d;

    __cpuid(1, a, b, c, d);
    if (!(c & bit_OSXSAVE))
        return false;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & xcr0) == xcr0;
}

START_TEST(vector_registers_go_in_and_out)
{
    unsigned registers = host_has(XCR0_AVX512) ? 32 : 16;
    unsigned size = host_has(XCR0_AVX512) ? 64 : host_has(XCR0_AVX) ? 32 : 16;
    struct conform_case *c = PREPARE(MODE_64, "\x66\x0f\xef\xc0"); /* pxor xmm0, xmm0 */
    struct conform_outcome *o;

    printf("vector state tested: %u registers of %u bytes\n", registers, size);
    for (unsigned i = 0; i < 32 * 64; i++)
        c->in.zmm[i / 64][i % 64] = (u8)(i * 7 + i / 64 + 1);
    for (unsigned i = 0; i < 8; i++)
        c->in.k[i] = 0x123456789abcdef * (i + 1);
    o = run();
    assert_ran(o, 4);
    memset(c->in.zmm[0], 0, 16);
    for (unsigned i = 0; i < 32; i++)
        for (unsigned j = 0; j < 64; j++)
            ck_assert_uint_eq(o->out.zmm[i][j], i < registers && j < size ? c->in.zmm[i][j] : 0);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(o->out.k[i], size == 64 ? c->in.k[i] : 0);
    PREPARE(MODE_64, "\xc5\xf8\x77"); /* vzeroupper leaves components in their initial state */
    if (size > 16)
        assert_ran(run(), 3);
    for (unsigned i = 0; i < 32 * 64; i++)
        ck_assert_uint_eq(outcomes->out.zmm[i / 64][i % 64],
                          size > 16 ? 0 : outcomes->out.zmm[i / 64][i % 64]);
}
END_TEST

START_TEST(x87_stack_goes_in_and_out)
{
    struct conform_case *c = PREPARE(MODE_64, "\xdd\xd8"); /* fstp st0 */
    struct conform_outcome *o;

    c->in.x87[3] = 6 << 3; /* TOP */
    c->in.x87[4] = 0xc0;   /* two registers in use */
    for (unsigned i = 0; i < 80; i++)
        c->in.x87[32 + i / 10 * 16 + i % 10] = (u8)(i + 1);
    o = run();
    assert_ran(o, 2);
    ck_assert_uint_eq(o->out.x87[0], 0x7f);
    ck_assert_uint_eq(o->out.x87[3] >> 3, 7);
    ck_assert_uint_eq(o->out.x87[4], 0x80);
    for (unsigned i = 0; i < 80; i++)
        ck_assert_uint_eq(o->out.x87[32 + (i / 10 + 7) % 8 * 16 + i % 10], i + 1);
    for (unsigned i = 24; i < 32; i++)
        ck_assert_uint_eq(o->out.x87[i], 0);
}
END_TEST

/* Everything random, in and out again. */
START_TEST(any_state_survives_a_nop)
{
    u64 random = 12345;

    for (unsigned n = 0; n < BATCH; n++) {
        struct conform_case *c =
            prepare(&cases[n], (enum conform_mode)(n % CONFORM_MODES), "\x90", 1);
        struct conform_state usual = c->in;
        u8 *bytes = (u8 *)&c->in;

        for (unsigned i = 0; i < sizeof(c->in); i++) {
            random = random * 6364136223846793005 + 1442695040888963407;
            bytes[i] = (u8)(random >> 56);
        }
        c->in.rip = usual.rip;
        memcpy(c->in.selector, usual.selector, sizeof(usual.selector));
        c->in.fs_base &= 0x7fffffffffff;
        c->in.gs_base |= 0xffff800000000000;
        c->in.mxcsr &= 0xffff;
        c->in.pkru = 0;
        c->in.x87[0] |= 0x7f; /* nothing pending */
        c->in.x87[0] &= 0x7f;
        c->in.x87[1] = 0x0f;
        c->in.x87[2] &= 0x7f;
        c->in.x87[3] &= 0x7f;
        memset(c->in.x87 + 5, 0, 27);
        for (unsigned i = 0; i < 8; i++)
            memset(c->in.x87 + 32 + 16 * i + 10, 0, 6);
        for (unsigned i = 0; i < 32 && !host_has(XCR0_AVX512); i++)
            memset(c->in.zmm[i] + (host_has(XCR0_AVX) ? 32 : 16), 0, host_has(XCR0_AVX) ? 32 : 48);
        if (!host_has(XCR0_AVX512)) {
            memset(c->in.zmm[16], 0, 16 * 64);
            memset(c->in.k, 0, sizeof(c->in.k));
        }
    }
    ck_assert_int_eq(native_host_run(host, cases, outcomes, BATCH, &err), ST_OK);
    for (unsigned n = 0; n < BATCH; n++) {
        const struct conform_state *in = &cases[n].in, *out = &outcomes[n].out;
        bool is_64 = cases[n].mode == MODE_64;

        ck_assert_uint_eq(outcomes[n].vector, VEC_BP);
        ck_assert_uint_eq(outcomes[n].line_count, 0);
        ck_assert_uint_eq(out->rflags, (in->rflags & CONFORM_FLAGS_IN) | F_1 | F_IF);
        for (unsigned i = 0; i < (is_64 ? 16u : 8u); i++)
            ck_assert_uint_eq(is_64 ? out->gpr[i] : (u32)out->gpr[i],
                              is_64 ? in->gpr[i] : (u32)in->gpr[i]);
        ck_assert(!is_64 || (out->fs_base == in->fs_base && out->gs_base == in->gs_base));
        ck_assert_uint_eq(out->mxcsr, in->mxcsr);
        ck_assert_mem_eq(out->selector, in->selector, sizeof(in->selector));
        ck_assert_mem_eq(out->k, in->k, sizeof(in->k));
        ck_assert_mem_eq(out->x87, in->x87, sizeof(in->x87));
        ck_assert_mem_eq(out->zmm, in->zmm, sizeof(in->zmm));
    }
}
END_TEST

/* -- memory -- */

START_TEST(patches_are_seen_and_changes_reported)
{
    struct conform_case *c =
        PREPARE(MODE_64, "\x48\x8b\x01\x48\xff\x42\xfc"); /* mov rax, [rcx];
                                                             inc qword [rdx-4] */
    struct conform_outcome *o;

    c->patch_count = 2;
    c->patch[0].address = ARENA_RO + 100;
    c->patch[0].size = 8;
    memcpy(c->patch[0].bytes, "\1\2\3\4\5\6\7\x08", 8);
    c->patch[1].address = ARENA_DATA + 4096 - 4; /* over the edge of a page */
    c->patch[1].size = 8;
    memset(c->patch[1].bytes, 0xff, 8);
    c->patch[1].bytes[7] = 0x7f;
    c->in.gpr[RCX] = ARENA_RO + 100;
    c->in.gpr[RDX] = ARENA_DATA + 4096;
    for (unsigned repeat = 0; repeat < 2; repeat++) {
        o = run();
        assert_ran(o, 7);
        ck_assert_uint_eq(o->out.gpr[RAX], 0x0807060504030201);
        ck_assert_uint_eq(o->line_count, 2);
        ck_assert_uint_eq(o->line[0].address, ARENA_DATA + 4096 - 64);
        ck_assert_mem_eq(o->line[0].bytes + 60, "\0\0\0\0", 4);
        ck_assert_uint_eq(o->line[0].bytes[59], conform_arena_byte(ARENA_DATA + 4096 - 5));
        ck_assert_uint_eq(o->line[1].address, ARENA_DATA + 4096);
        ck_assert_mem_eq(o->line[1].bytes, "\0\0\0\x80", 4);
    }
    /* The next case finds the pattern. */
    o = RUN(MODE_64, "\x8b\x01\x8b\x12", 0, ARENA_RO + 100, ARENA_DATA + 4096);
    ck_assert_uint_eq((u8)o->out.gpr[RAX], conform_arena_byte(ARENA_RO + 100));
    ck_assert_uint_eq((u8)o->out.gpr[RDX], conform_arena_byte(ARENA_DATA + 4096));
}
END_TEST

START_TEST(code_that_changes_itself)
{
    /* mov byte [rip+1], 0c1h; inc eax, which has become inc ecx */
    struct conform_case *c = PREPARE(MODE_64, "\xc6\x05\x01\x00\x00\x00\xc1\xff\xc0");

    for (unsigned repeat = 0; repeat < 2; repeat++) {
        struct conform_outcome *o = run();

        assert_ran(o, c->code_size);
        ck_assert_uint_eq(o->out.gpr[RAX], 0);
        ck_assert_uint_eq(o->out.gpr[RCX], 1);
        ck_assert_uint_eq(o->line_count, 1);
        ck_assert_uint_eq(o->line[0].address, CODE);
        ck_assert_mem_eq(o->line[0].bytes + 6, "\xc1\xff\xc1\xcc", 4);
    }
}
END_TEST

START_TEST(more_changed_lines_than_an_outcome_holds)
{
    struct conform_case *c = PREPARE(MODE_64, "\xf3\xaa"); /* rep stosb */
    struct conform_outcome *o;

    c->in.gpr[RDI] = ARENA_DATA;
    c->in.gpr[RCX] = ARENA_DATA_SIZE;
    o = run();
    assert_ran(o, 2);
    ck_assert_uint_eq(o->line_count, OUTCOME_LINES_MAX);
    ck_assert_uint_eq(o->line[OUTCOME_LINES_MAX - 1].address, ARENA_DATA + ARENA_DATA_SIZE - 64);
    c->in.gpr[RCX]++;
    o = run();
    assert_page_fault(o, 6, ARENA_DATA + ARENA_DATA_SIZE);
    ck_assert_uint_eq(o->out.gpr[RCX], 1);
    c = prepare(cases, MODE_64, "\xf3\xaa\xbf\0\0\0\x30\xaa", 8); /* and one of the stack */
    c->in.gpr[RDI] = ARENA_DATA;
    c->in.gpr[RCX] = ARENA_DATA_SIZE;
    ck_assert_uint_eq(run()->line_count, OUTCOME_LINES_MAX + 1);
    ck_assert_uint_eq(RUN(MODE_64, "\x90", 0, 0, 0)->line_count, 0); /* all put back */
}
END_TEST

START_TEST(code_ends_with_the_arena)
{
    struct conform_case *c = PREPARE(MODE_64, "\xff\xc0"); /* inc eax */

    c->code_address = ARENA_CODE + ARENA_CODE_SIZE - 2;
    c->in.rip = c->code_address;
    assert_page_fault(run(), 0x14, ARENA_CODE + ARENA_CODE_SIZE);
    ck_assert_uint_eq(outcomes->out.gpr[RAX], 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("native_child");
    TCase *t = tcase_create("native_child");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, add_gives_sum_and_exact_flags);
    tcase_add_test(t, exceptions_come_with_their_vector);
    tcase_add_test(t, int1_is_a_debug_exception);
    tcase_add_test(t, traps_of_32_bit_code);
    tcase_add_test(t, page_faults_come_with_code_and_address);
    tcase_add_test(t, nothing_of_the_process_is_left_to_a_case);
    tcase_add_test(t, addresses_that_are_not_canonical);
    tcase_add_test(t, floating_point_exceptions);
    tcase_add_test(t, alignment_checks);
    tcase_add_test(t, segments_of_32_bit_code);
    tcase_add_test(t, code_segments_of_the_ldt);
    tcase_add_test(t, code_of_16_bits_and_its_stack);
    tcase_add_test(t, selectors_of_64_bit_code);
    tcase_add_test(t, fs_and_gs_bases);
    tcase_add_test(t, vector_registers_go_in_and_out);
    tcase_add_test(t, x87_stack_goes_in_and_out);
    tcase_add_test(t, any_state_survives_a_nop);
    tcase_add_test(t, patches_are_seen_and_changes_reported);
    tcase_add_test(t, code_that_changes_itself);
    tcase_add_test(t, more_changed_lines_than_an_outcome_holds);
    tcase_add_test(t, code_ends_with_the_arena);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
