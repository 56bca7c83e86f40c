/* SPDX-License-Identifier: MIT
 *
 * The comparison: each part, what a deviation explains and what it does not.
 */
#include "frontend/conform/compare.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/insn.h"
#include "frontend/conform/arena.h"
#include "mem/base/bits.h"

static struct conform_case c;
static struct conform_outcome host, engine;

static void setup(void)
{
    memset(&c, 0, sizeof(c));
    c.row = INSN_ADD_EvGv;
    c.mode = MODE_64;
    c.code_address = ARENA_CODE;
    c.in.selector[SEG_CS] = SEL_CS64;
    memset(&host, 0, sizeof(host));
    host.vector = VEC_BP;
    host.out.rflags = F_1 | F_IF;
    host.out.selector[SEG_FS] = host.out.selector[SEG_GS] = SEL_FLAT;
    host.out.selector[SEG_CS] = SEL_CS64;
    engine = host;
}

static struct conform_difference compare(const char *vendor)
{
    return conform_compare(&c, &host, &engine, conform_deviation_set(vendor));
}

/* Exactly these parts differ, and nothing explains them. */
static void assert_unexplained(u32 parts)
{
    struct conform_difference d = conform_compare(&c, &host, &engine, ~0ull);

    ck_assert_uint_eq(d.parts, parts);
    ck_assert_uint_eq(d.deviations, 0);
    ck_assert_int_eq(d.explained, parts == 0);
    engine = host;
}

/* These parts differ, explained by one deviation for vendor, and by nothing without it. */
static void assert_explained(u32 parts, enum conform_deviation by, const char *vendor)
{
    struct conform_difference d = compare(vendor);

    ck_assert_uint_eq(d.parts, parts);
    ck_assert_uint_eq(d.deviations, BIT(by));
    ck_assert(d.explained);
    d = conform_compare(&c, &host, &engine, 0);
    ck_assert_uint_eq(d.parts, parts);
    ck_assert_uint_eq(d.deviations, 0);
    ck_assert(!d.explained);
    engine = host;
}

START_TEST(every_part_is_compared)
{
    assert_unexplained(0);
    engine.out.gpr[R15] = BIT(63);
    assert_unexplained(PART_GPR);
    engine.out.rflags ^= F_CF;
    assert_unexplained(PART_FLAGS);
    engine.out.rip++;
    assert_unexplained(PART_RIP);
    engine.out.selector[SEG_ES] = SEL_FLAT;
    assert_unexplained(PART_SEGMENTS);
    engine.out.gs_base++;
    assert_unexplained(PART_SEGMENTS);
    engine.out.zmm[31][63]++;
    assert_unexplained(PART_VECTOR_REGS);
    engine.out.k[7] = BIT(63);
    assert_unexplained(PART_OPMASK);
    engine.out.mxcsr ^= 1;
    assert_unexplained(PART_MXCSR);
    engine.out.pkru ^= 1;
    assert_unexplained(PART_MXCSR);
    engine.out.x87[0] ^= 1; /* FCW */
    assert_unexplained(PART_X87);
    engine.out.x87[2] ^= 1; /* FSW */
    assert_unexplained(PART_X87);
    engine.out.x87[4] ^= 1; /* FTW */
    assert_unexplained(PART_X87);
    engine.out.x87[32 + 7 * 16 + 9] ^= 1;
    assert_unexplained(PART_X87);
    engine.vector = VEC_UD;
    assert_unexplained(PART_EXCEPTION);
    engine.error_code = 4;
    assert_unexplained(PART_EXCEPTION);
    engine.cr2 = 4;
    assert_unexplained(PART_EXCEPTION);
    engine.line_count = 1;
    assert_unexplained(PART_MEMORY);
}
END_TEST

START_TEST(what_does_not_count)
{
    engine.out.rflags |= F_RF;
    engine.out.x87[32 + 10] = 1; /* reserved bytes of an x87 slot */
    engine.line[0].address = 1;  /* beyond line_count */
    assert_unexplained(0);
    c.mode = MODE_32;
    engine.out.gpr[RAX] = BIT(32);
    engine.out.gpr[R8] = 1;
    engine.out.rip = BIT(32);
    engine.out.fs_base = 1;
    engine.out.zmm[8][0] = 1;
    assert_unexplained(0);
    engine.out.gpr[RDI] = BIT(31);
    assert_unexplained(PART_GPR);
}
END_TEST

START_TEST(endings_without_an_exception)
{
    host.vector = engine.vector = OUTCOME_NONE;
    engine.out.gpr[RAX] = 1; /* stopped somewhere else */
    assert_unexplained(0);
    engine.vector = VEC_BP;
    assert_unexplained(PART_EXCEPTION);
    host.vector = engine.vector = OUTCOME_LOST;
    assert_unexplained(PART_EXCEPTION);
    host.vector = engine.vector = OUTCOME_SYSCALL;
    assert_unexplained(PART_EXCEPTION);
}
END_TEST

/* Pointers that XSAVE leaves out while FSW.ES is clear. */
START_TEST(x87_pointers_that_the_judge_cannot_see)
{
    enum { FSW = 2, FIP = 8, FDP = 16, ES = 0x80 };

    engine.out.x87[FIP] = 1;
    assert_explained(PART_X87, DEVIATION_X87_POINTERS_UNSEEN, NULL);
    c.in.x87[FSW] = ES; /* cleared by the instruction */
    engine.out.x87[FIP] = 1;
    assert_explained(PART_X87, DEVIATION_X87_POINTERS_UNSEEN, NULL);
    host.out.x87[FSW] = engine.out.x87[FSW] = ES;
    engine.out.x87[FIP] = 1;
    assert_explained(PART_X87, DEVIATION_X87_POINTERS, "AMD");
    c.in.x87[FSW] = 0; /* set by an instruction that leaves FDP as it is */
    c.in.x87[FDP] = 5;
    host.out.x87[FIP] = engine.out.x87[FIP] = 1;
    engine.out.x87[FDP] = 5;
    assert_explained(PART_X87, DEVIATION_X87_POINTERS_UNSEEN, NULL);
    engine.out.x87[FDP] = 6;
    assert_explained(PART_X87, DEVIATION_X87_POINTERS, "AMD");
}
END_TEST

START_TEST(memory_lines)
{
    host.line_count = 2;
    host.line[0].address = ARENA_DATA;
    host.line[1].address = ARENA_DATA + 64;
    engine = host;
    assert_unexplained(0);
    engine.line[1].bytes[63] = 1;
    assert_unexplained(PART_MEMORY);
    engine.line[1].address += 64;
    assert_unexplained(PART_MEMORY);
    host.line_count = OUTCOME_LINES_MAX + 1;
    engine = host;
    assert_unexplained(0);
    engine.line[OUTCOME_LINES_MAX - 1].bytes[0] = 1;
    assert_unexplained(PART_MEMORY);
}
END_TEST

/* Zen 3 keeps them, Zen 4 does not; the rows say which the judge did. */
START_TEST(undefined_flags_of_a_scan_may_be_kept)
{
    c.row = INSN_BSR_GvEv;
    c.undefined_flags = F_OSZAPC & ~(u32)F_ZF;
    c.in.rflags = host.out.rflags = F_1 | F_IF | F_CF | F_SF;
    host.out.rflags |= F_ZF;
    engine = host;
    engine.out.rflags ^= F_CF | F_SF | F_PF;
    assert_explained(PART_FLAGS, DEVIATION_SCAN_FLAGS, NULL);
    engine.out.rflags ^= F_ZF;
    assert_unexplained(PART_FLAGS);
    /* A judge that changes them is no judge of that sort. */
    host.out.rflags ^= F_CF;
    ck_assert(!compare(NULL).explained);
    ck_assert_uint_eq(compare("AMD").deviations, BIT(DEVIATION_UNDEFINED_FLAGS));
    engine = host;
    c.row = INSN_TZCNT_GvEv;
    c.in.rflags = host.out.rflags;
    engine.out.rflags ^= F_SF;
    ck_assert(!compare(NULL).explained);
}
END_TEST

START_TEST(undefined_flags_are_excused_only_on_request)
{
    c.undefined_flags = F_AF | F_OF;
    engine.out.rflags ^= F_AF;
    ck_assert(!compare(NULL).explained); /* the judge is the very processor that is promised */
    assert_explained(PART_FLAGS, DEVIATION_UNDEFINED_FLAGS, "AMD");
    engine.out.rflags ^= F_AF;
    assert_explained(PART_FLAGS, DEVIATION_UNDEFINED_FLAGS, "Intel");
    engine.out.rflags ^= F_AF | F_CF;
    assert_unexplained(PART_FLAGS);
    /* Explained and unexplained together are unexplained, and still counted. */
    engine.out.rflags ^= F_AF;
    engine.out.gpr[RAX] = 1;
    ck_assert_uint_eq(compare("AMD").parts, PART_FLAGS | PART_GPR);
    ck_assert_uint_eq(compare("AMD").deviations, BIT(DEVIATION_UNDEFINED_FLAGS));
    ck_assert(!compare("AMD").explained);
}
END_TEST

START_TEST(x87_details)
{
    c.row = INSN_FADD_ST0STi;
    engine.out.x87[8] = 1;
    assert_explained(PART_X87, DEVIATION_X87_POINTERS_UNSEEN, NULL);
    engine.out.x87[8] = 1;
    c.in.x87[2] = 0x80; /* FNCLEX: the exception was pending and no longer is */
    assert_explained(PART_X87, DEVIATION_X87_POINTERS_UNSEEN, NULL);
    c.in.x87[2] = 0;
    host.out.x87[2] = 0x80; /* ES: the host shows them */
    engine = host;
    engine.out.x87[8] = 1;
    ck_assert(!compare(NULL).explained);
    assert_explained(PART_X87, DEVIATION_X87_POINTERS, "AMD");
    host.out.x87[2] = 0;
    host.out.x87[23] = 1; /* an Intel processor shows them always */
    engine = host;
    engine.out.x87[8] = 1;
    assert_explained(PART_X87, DEVIATION_X87_POINTERS, "AMD");
    engine.out.x87[3] ^= 0x45;
    assert_explained(PART_X87, DEVIATION_X87_CONDITIONS, "Intel");
    engine.out.x87[3] ^= 0x0a; /* TOP */
    assert_unexplained(PART_X87);
    c.row = INSN_ADD_EvGv;
    engine.out.x87[3] ^= 0x45;
    assert_unexplained(PART_X87);
}
END_TEST

static void put_float(u8 *to, float f)
{
    memcpy(to, &f, sizeof(f));
}

START_TEST(approximations_within_their_bound)
{
    double third = 1.0 / 3.0, near = third * (1 + 0x1p-14);

    c.row = INSN_RCPPS_VdqWdq;
    put_float(host.out.zmm[3], 1.0f / 3);
    engine = host;
    put_float(engine.out.zmm[3], 1.0f / 3 * (1 + 0x1p-12f));
    assert_explained(PART_VECTOR_REGS, DEVIATION_APPROXIMATION, "Intel");
    put_float(engine.out.zmm[3], 1.0f / 3 * (1 + 0x1p-10f));
    assert_unexplained(PART_VECTOR_REGS);
    put_float(engine.out.zmm[3], -1.0f / 3);
    assert_unexplained(PART_VECTOR_REGS);
    put_float(engine.out.zmm[3], __builtin_inff());
    assert_unexplained(PART_VECTOR_REGS);
    put_float(engine.out.zmm[4], 0x1p-149f); /* instead of 0 */
    assert_unexplained(PART_VECTOR_REGS);
    c.row = INSN_VRSQRT14PD_VxBCx_evex;
    memcpy(host.out.zmm[3], &third, 8);
    engine = host;
    memcpy(engine.out.zmm[3], &near, 8);
    assert_explained(PART_VECTOR_REGS, DEVIATION_APPROXIMATION, "AMD");
    near = third * (1 + 0x1p-12);
    memcpy(engine.out.zmm[3], &near, 8);
    assert_unexplained(PART_VECTOR_REGS);
    c.row = INSN_ADDPS_VdqWdq;
    put_float(engine.out.zmm[3], 1.0f / 3 * (1 + 0x1p-12f));
    assert_unexplained(PART_VECTOR_REGS);
}
END_TEST

START_TEST(bit_scan_of_zero)
{
    c.row = INSN_BSF_GvEv;
    host.out.rflags |= F_ZF;
    engine = host;
    engine.out.gpr[RDX] = 7;
    ck_assert(!compare("AMD").explained);
    assert_explained(PART_GPR, DEVIATION_SCAN_OF_ZERO, "Intel");
    engine.out.gpr[RDX] = engine.out.gpr[RCX] = 7;
    assert_unexplained(PART_GPR);
    host.out.rflags &= ~(u64)F_ZF;
    engine = host;
    engine.out.gpr[RDX] = 7;
    assert_unexplained(PART_GPR);
}
END_TEST

START_TEST(bytes_above_a_pushed_selector)
{
    c.row = INSN_PUSH_FS;
    host.out.gpr[RSP] = ARENA_STACK + 64;
    host.line_count = 1;
    host.line[0].address = ARENA_STACK + 64;
    arena_line(&c, ARENA_STACK + 64, host.line[0].bytes);
    host.line[0].bytes[0] = 0x2b;
    host.line[0].bytes[1] = 0;
    engine = host;
    memset(engine.line[0].bytes + 2, 0, 6);
    assert_explained(PART_MEMORY, DEVIATION_PUSH_SEGMENT, "Intel");
    engine.line[0].bytes[1] = 1;
    assert_unexplained(PART_MEMORY);
    engine.line[0].bytes[8] ^= 1;
    assert_unexplained(PART_MEMORY);
    engine.line_count = 2; /* one that the host left alone */
    engine.line[1].address = ARENA_STACK + 128;
    assert_unexplained(PART_MEMORY);
}
END_TEST

START_TEST(bases_of_null_selectors)
{
    engine.out.fs_base = 5;
    assert_unexplained(PART_SEGMENTS);
    host.out.selector[SEG_FS] = 3;
    engine = host;
    engine.out.fs_base = 5;
    assert_explained(PART_SEGMENTS, DEVIATION_NULL_SEGMENT_BASE, "AMD");
}
END_TEST

START_TEST(int1_below_a_hypervisor)
{
    c.row = INSN_INVALID;
    c.code_size = 2;
    memcpy(c.code, "\x90\xf1", 2);
    host.vector = VEC_DB;
    host.out.rip = ARENA_CODE + 1;
    engine = host;
    engine.out.rip++;
    assert_explained(PART_RIP, DEVIATION_INT1_VIRTUAL, NULL); /* excused for every judge */
    engine.out.rip += 2;
    assert_unexplained(PART_RIP);
    c.code[1] = 0x90;
    engine.out.rip++;
    assert_unexplained(PART_RIP);
}
END_TEST

START_TEST(limit_of_the_processor_number)
{
    c.row = INSN_LSL_GvEw;
    host.out.rflags |= F_ZF;
    engine = host;
    engine.out.gpr[RDX] = 0;
    host.out.gpr[RDX] = 1;
    assert_explained(PART_GPR, DEVIATION_CPU_NODE_LIMIT, NULL);
    engine.out.gpr[RDX] = 2;
    assert_unexplained(PART_GPR);
}
END_TEST

START_TEST(what_the_judge_cannot_see_is_named)
{
    engine.out.selector[SEG_ES] = 3;
    assert_explained(PART_SEGMENTS, DEVIATION_NULL_SELECTOR, NULL);
    host.out.selector[SEG_ES] = 1; /* the other way round it would be a mistake */
    engine.out.selector[SEG_ES] = 0;
    assert_unexplained(PART_SEGMENTS);
    host.out.selector[SEG_CS] = engine.out.selector[SEG_CS] = SEL_CS32;
    engine.out.gpr[RSP] = host.out.gpr[RSP] ^ BIT(40);
    assert_explained(PART_GPR, DEVIATION_UPPER_HALF, NULL);
    engine.out.gpr[RSP] = host.out.gpr[RSP] ^ BIT(4);
    assert_unexplained(PART_GPR);
}
END_TEST

START_TEST(x87_pointers_of_48_bits)
{
    enum { FOP = 6, FIP = 8, FDP = 16 };

    c.row = INSN_FXRSTOR_M;
    store_le(host.out.x87 + FIP, 0xffff8449e2a4e840, 8);
    store_le(host.out.x87 + FDP, 0x00000d61d5d6831b, 8);
    engine = host;
    store_le(engine.out.x87 + FIP, 0x00108449e2a4e840, 8);
    store_le(engine.out.x87 + FDP, 0x00f10d61d5d6831b, 8);
    assert_explained(PART_X87, DEVIATION_X87_POINTER_WIDTH, NULL);
    store_le(engine.out.x87 + FIP, 0x00108449e2a4e841, 8);
    ck_assert(!compare(NULL).explained);
    engine = host;
    store_le(engine.out.x87 + FIP, 0x00108449e2a4e840, 8);
    engine.out.x87[FOP] = 1;
    ck_assert(!compare(NULL).explained);
    engine = host;
    c.row = INSN_FLD_Mf32;
    store_le(engine.out.x87 + FIP, 0x00108449e2a4e840, 8);
    ck_assert(!compare(NULL).explained);
}
END_TEST

/* Only between faults of one access, and only for instructions that make many. */
START_TEST(another_fault_of_a_long_image_comes_first)
{
    c.row = INSN_FXSAVE_M;
    host.vector = VEC_PF;
    host.cr2 = 0x20011000;
    engine = host;
    engine.cr2 = 0x200111ff;
    assert_explained(PART_EXCEPTION, DEVIATION_FAULT_ORDER, NULL);
    engine.vector = VEC_UD;
    engine.cr2 = 0;
    assert_unexplained(PART_EXCEPTION);
    engine.vector = VEC_BP;
    assert_unexplained(PART_EXCEPTION);
    c.row = INSN_MOV_GvEv;
    engine.vector = VEC_GP;
    engine.cr2 = 0;
    assert_unexplained(PART_EXCEPTION);
}
END_TEST

START_TEST(operands_of_repe_cmpsb_fault_in_either_order)
{
    static const u8 repe[] = {0xf2, 0xf3, 0xa6}, repne[] = {0xf3, 0xf2, 0xa6};

    c.row = INSN_CMPSb;
    c.code_size = sizeof(repe);
    memcpy(c.code, repe, sizeof(repe));
    host.vector = VEC_PF;
    host.cr2 = 4;
    engine = host;
    engine.cr2 = 8;
    assert_explained(PART_EXCEPTION, DEVIATION_FAULT_ORDER, NULL);
    engine.vector = VEC_BP;
    assert_unexplained(PART_EXCEPTION);
    memcpy(c.code, repne, sizeof(repne));
    engine.cr2 = 8;
    assert_unexplained(PART_EXCEPTION);
    memcpy(c.code, repe + 2, 1);
    engine.cr2 = 8;
    assert_unexplained(PART_EXCEPTION);
}
END_TEST

START_TEST(so_they_do_in_a_sequence)
{
    static const u8 code[] = {0xf3, 0xa6, 0x90, 0xf3, 0x66, 0x48, 0xa6, 0xf3, 0xaf};

    c.row = INSN_INVALID;
    c.mode = MODE_64;
    c.code_size = sizeof(code);
    memcpy(c.code, code, sizeof(code));
    host.vector = VEC_PF;
    host.cr2 = 4;
    host.out.rip = c.in.rip + 3;
    engine = host;
    engine.cr2 = 8;
    assert_explained(PART_EXCEPTION, DEVIATION_FAULT_ORDER, NULL);
    engine.cr2 = 8;
    host.out.rip = engine.out.rip = c.in.rip + 2; /* NOP, and what comes is no prefix of it */
    assert_unexplained(PART_EXCEPTION);
    engine.cr2 = 8;
    host.out.rip = engine.out.rip = c.in.rip + 7; /* SCAS */
    assert_unexplained(PART_EXCEPTION);
    engine.cr2 = 8;
    host.out.rip = engine.out.rip = c.in.rip + 100;
    assert_unexplained(PART_EXCEPTION);
}
END_TEST

START_TEST(misaligned_operand_on_the_stack_faults_either_way)
{
    c.row = INSN_CMPXCHG16B_Mdq;
    host.vector = VEC_GP;
    engine = host;
    engine.vector = VEC_SS;
    assert_explained(PART_EXCEPTION, DEVIATION_FAULT_ORDER, NULL);
    engine.vector = VEC_PF;
    assert_unexplained(PART_EXCEPTION);
    c.row = INSN_CMPXCHG8B_Mq;
    engine.vector = VEC_SS;
    assert_unexplained(PART_EXCEPTION);
}
END_TEST

START_TEST(every_deviation_says_where_it_is_written)
{
    for (unsigned i = 0; i < DEVIATION_COUNT; i++) {
        const struct conform_deviation_info *d = &conform_deviations[i];

        ck_assert_uint_gt(strlen(d->name), 0);
        ck_assert_int_eq(d->what[strlen(d->what) - 1], '.');
        ck_assert(i == DEVIATION_NONE || strstr(d->source, "SDM") || strstr(d->source, "APM") ||
                  strstr(d->source, "PRM") || strstr(d->source, "suite"));
    }
    ck_assert_uint_eq(conform_deviation_set(NULL),
                      BIT(DEVIATION_INT1_VIRTUAL) | BIT(DEVIATION_X87_POINTERS_UNSEEN) |
                          BIT(DEVIATION_NULL_SELECTOR) | BIT(DEVIATION_UPPER_HALF) |
                          BIT(DEVIATION_CPU_NODE_LIMIT) | BIT(DEVIATION_FAULT_ORDER) |
                          BIT(DEVIATION_SCAN_FLAGS) | BIT(DEVIATION_X87_POINTER_WIDTH));
    /* The rows of old processors come behind those of today's. */
    ck_assert_uint_eq((conform_deviation_set("AMD") | conform_deviation_set("Intel")) + 2,
                      BIT(DEVIATION_UNDEFINED_REGISTERS + 1));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compare");
    TCase *t = tcase_create("compare");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, every_part_is_compared);
    tcase_add_test(t, what_does_not_count);
    tcase_add_test(t, endings_without_an_exception);
    tcase_add_test(t, x87_pointers_that_the_judge_cannot_see);
    tcase_add_test(t, memory_lines);
    tcase_add_test(t, undefined_flags_of_a_scan_may_be_kept);
    tcase_add_test(t, undefined_flags_are_excused_only_on_request);
    tcase_add_test(t, x87_details);
    tcase_add_test(t, approximations_within_their_bound);
    tcase_add_test(t, bit_scan_of_zero);
    tcase_add_test(t, limit_of_the_processor_number);
    tcase_add_test(t, bytes_above_a_pushed_selector);
    tcase_add_test(t, bases_of_null_selectors);
    tcase_add_test(t, int1_below_a_hypervisor);
    tcase_add_test(t, what_the_judge_cannot_see_is_named);
    tcase_add_test(t, x87_pointers_of_48_bits);
    tcase_add_test(t, another_fault_of_a_long_image_comes_first);
    tcase_add_test(t, operands_of_repe_cmpsb_fault_in_either_order);
    tcase_add_test(t, so_they_do_in_a_sequence);
    tcase_add_test(t, misaligned_operand_on_the_stack_faults_either_way);
    tcase_add_test(t, every_deviation_says_where_it_is_written);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
