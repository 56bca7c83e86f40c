/* SPDX-License-Identifier: MIT
 *
 * What the decoder fills in: registers, memory operands, immediates, sizes, prefixes, and which
 * rows exist in which mode and for which model.
 */
#include <check.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/insn.h"
#include "cpu/regs.h"
#include "tests/suite.h"

static struct decode_ctx context = {.code_size = 8, .protected_mode = true};
static struct insn insn;

static void setup(void)
{
    context = (struct decode_ctx){.code_size = 8, .protected_mode = true};
}

static enum decode_result decode(const void *bytes, unsigned count)
{
    return insn_decode(&context, bytes, count, &insn);
}

#define DECODE(...) decode((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))
#define OK(...)                                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(DECODE(__VA_ARGS__), DECODE_OK);                                          \
        ck_assert_uint_eq(insn.len, sizeof((const u8[]){__VA_ARGS__}));                            \
    } while (0)
#define UD(...)                                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(DECODE(__VA_ARGS__), DECODE_UD);                                          \
        ck_assert_uint_eq(insn.id, INSN_INVALID);                                                  \
    } while (0)

static void code_size(unsigned size)
{
    context.code_size = (u8)size;
}

START_TEST(byte_registers)
{
    OK(0x88, 0xe3); /* mov bl, ah */
    ck_assert_uint_eq(insn.reg, REG_HIGH | 0);
    ck_assert_uint_eq(insn.rm, RBX);
    OK(0x40, 0x88, 0xe3); /* mov bl, spl */
    ck_assert_uint_eq(insn.reg, RSP);
    OK(0x41, 0x88, 0xff); /* mov r15b, dil */
    ck_assert_uint_eq(insn.reg, RDI);
    ck_assert_uint_eq(insn.rm, R15);
    OK(0xb7, 0x12); /* mov bh, 12h */
    ck_assert_uint_eq(insn.rm, REG_HIGH | 3);
    OK(0x0f, 0xb6, 0xc4); /* movzx eax, ah */
    ck_assert_uint_eq(insn.reg, RAX);
    ck_assert_uint_eq(insn.rm, REG_HIGH | 0);
}
END_TEST

START_TEST(operand_sizes)
{
    OK(0x01, 0xd8);
    ck_assert_uint_eq(insn.osz, 4);
    OK(0x66, 0x01, 0xd8);
    ck_assert_uint_eq(insn.osz, 2);
    OK(0x66, 0x48, 0x01, 0xd8);
    ck_assert_uint_eq(insn.osz, 8);
    OK(0x48, 0x66, 0x01, 0xd8); /* a REX that is not last does nothing */
    ck_assert_uint_eq(insn.osz, 2);
    OK(0x50);
    ck_assert_uint_eq(insn.osz, 8);
    OK(0x66, 0x50);
    ck_assert_uint_eq(insn.osz, 2);
    OK(0x0f, 0x20, 0xc0);
    ck_assert_uint_eq(insn.osz, 8);
    code_size(2);
    OK(0x01, 0xd8);
    ck_assert_uint_eq(insn.osz, 2);
    OK(0x66, 0x01, 0xd8);
    ck_assert_uint_eq(insn.osz, 4);
    code_size(4);
    OK(0x50);
    ck_assert_uint_eq(insn.osz, 4);
}
END_TEST

START_TEST(immediates)
{
    OK(0x83, 0xc0, 0xff);
    ck_assert_int_eq(insn.imm, -1);
    OK(0x80, 0xc0, 0xff);
    ck_assert_int_eq(insn.imm, 0xff);
    OK(0x48, 0x81, 0xc0, 0, 0, 0, 0x80);
    ck_assert_int_eq(insn.imm, (i64)0xffffffff80000000);
    OK(0x66, 0x81, 0xc0, 0x00, 0x80);
    ck_assert_int_eq(insn.imm, -0x8000);
    OK(0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8);
    ck_assert_int_eq(insn.imm, 0x0807060504030201);
    OK(0xc8, 0x00, 0xf0, 0x1f); /* enter 0f000h, 31 */
    ck_assert_int_eq(insn.imm, 0xf000);
    ck_assert_uint_eq(insn.imm2, 0x1f);
    OK(0xa1, 1, 2, 3, 4, 5, 6, 7, 0x80); /* mov eax, [moffs64] */
    ck_assert_int_eq(insn.imm, (i64)0x8007060504030201);
    OK(0x67, 0xa1, 1, 2, 3, 0x84);
    ck_assert_int_eq(insn.imm, 0x84030201);
    OK(0xeb, 0xfe);
    ck_assert_int_eq(insn.imm, -2);
    code_size(4);
    OK(0x9a, 1, 2, 3, 4, 5, 6);
    ck_assert_int_eq(insn.imm, 0x04030201);
    ck_assert_uint_eq(insn.imm2, 0x0605);
}
END_TEST

START_TEST(memory_operands)
{
    OK(0x8b, 0x44, 0x8b, 0x10); /* [rbx + rcx*4 + 16] */
    ck_assert_uint_eq(insn.base, RBX);
    ck_assert_uint_eq(insn.index, RCX);
    ck_assert_uint_eq(insn.scale, 2);
    ck_assert_int_eq(insn.disp, 16);
    ck_assert_uint_eq(insn.seg, SEG_DS);
    OK(0x8b, 0x05, 0xf0, 0xff, 0xff, 0xff); /* [rip - 16] */
    ck_assert_uint_eq(insn.base, REG_IP);
    ck_assert_int_eq(insn.disp, -16);
    OK(0x8b, 0x04, 0x25, 1, 0, 0, 0); /* [1] */
    ck_assert_uint_eq(insn.base, REG_NONE);
    ck_assert_uint_eq(insn.index, REG_NONE);
    OK(0x8b, 0x45, 0x00); /* [rbp] */
    ck_assert_uint_eq(insn.seg, SEG_SS);
    OK(0x8b, 0x04, 0x24); /* [rsp] */
    ck_assert_uint_eq(insn.seg, SEG_SS);
    ck_assert_uint_eq(insn.index, REG_NONE);
    OK(0x41, 0x8b, 0x45, 0x00); /* [r13] */
    ck_assert_uint_eq(insn.base, R13);
    ck_assert_uint_eq(insn.seg, SEG_DS);
    OK(0x42, 0x8b, 0x04, 0x24 | 0x80); /* [rsp + r12*4] */
    ck_assert_uint_eq(insn.index, R12);
}
END_TEST

START_TEST(memory_operands_16)
{
    code_size(2);
    OK(0x8b, 0x42, 0x80); /* [bp + si - 128] */
    ck_assert_uint_eq(insn.base, RBP);
    ck_assert_uint_eq(insn.index, RSI);
    ck_assert_int_eq(insn.disp, -128);
    ck_assert_uint_eq(insn.seg, SEG_SS);
    ck_assert_uint_eq(insn.asz, 2);
    OK(0x8b, 0x06, 0x34, 0x12); /* [1234h] */
    ck_assert_uint_eq(insn.base, REG_NONE);
    ck_assert_int_eq(insn.disp, 0x1234);
    OK(0x8b, 0x05); /* [di] */
    ck_assert_uint_eq(insn.base, RDI);
    ck_assert_uint_eq(insn.seg, SEG_DS);
    OK(0x67, 0x8b, 0x04, 0x24); /* [esp] */
    ck_assert_uint_eq(insn.asz, 4);
}
END_TEST

START_TEST(segment_overrides)
{
    OK(0x64, 0x8b, 0x00);
    ck_assert_uint_eq(insn.seg, SEG_FS);
    OK(0x64, 0x65, 0x8b, 0x00); /* the last one counts */
    ck_assert_uint_eq(insn.seg, SEG_GS);
    OK(0x2e, 0x8b, 0x00); /* ignored in 64-bit mode */
    ck_assert_uint_eq(insn.seg, SEG_DS);
    OK(0x64, 0x2e, 0x8b, 0x00);
    ck_assert_uint_eq(insn.seg, SEG_FS);
    code_size(4);
    OK(0x2e, 0x8b, 0x45, 0x00);
    ck_assert_uint_eq(insn.seg, SEG_CS);
    OK(0x26, 0xa4);
    ck_assert_uint_eq(insn.seg, SEG_ES);
    OK(0xa4);
    ck_assert_uint_eq(insn.seg, SEG_DS);
}
END_TEST

START_TEST(length_limit)
{
    u8 bytes[16];

    memset(bytes, 0x66, sizeof(bytes));
    bytes[14] = 0x90;
    ck_assert_int_eq(decode(bytes, 15), DECODE_OK);
    ck_assert_uint_eq(insn.len, 15);
    bytes[14] = 0x66;
    ck_assert_int_eq(decode(bytes, 15), DECODE_TOO_LONG);
    ck_assert_int_eq(decode(bytes, 14), DECODE_SHORT);
    bytes[13] = 0xb8; /* mov ax, imm16: 16 bytes */
    ck_assert_int_eq(decode(bytes, 15), DECODE_TOO_LONG);
    ck_assert_int_eq(DECODE(0x0f), DECODE_SHORT);
    ck_assert_int_eq(DECODE(0x8b, 0x44, 0x8b), DECODE_SHORT);
    ck_assert_int_eq(DECODE(0xb8, 1, 2, 3), DECODE_SHORT);
    ck_assert_int_eq(decode(bytes, 0), DECODE_SHORT);
}
END_TEST

START_TEST(lock_rules)
{
    OK(0xf0, 0x01, 0x00);
    ck_assert_uint_eq(insn.flags & I_LOCK, I_LOCK);
    UD(0xf0, 0x01, 0xc0);       /* register destination */
    UD(0xf0, 0x03, 0x00);       /* memory is the source */
    UD(0xf0, 0x39, 0x00);       /* CMP does not write */
    UD(0xf0, 0x0f, 0xa3, 0x00); /* BT */
    OK(0xf0, 0x0f, 0xab, 0x00);
    OK(0xf0, 0x87, 0x00);
    UD(0xf0, 0x90);
    OK(0xf0, 0x48, 0x0f, 0xc7, 0x08);
    ck_assert_uint_eq(insn.id, INSN_CMPXCHG16B_Mdq);
    UD(0xf0, 0xc5, 0xf8, 0x10, 0x00);
}
END_TEST

START_TEST(modes_select_rows)
{
    OK(0x63, 0xc1);
    ck_assert_uint_eq(insn.id, INSN_MOVSXD_GvEd);
    UD(0x06);
    UD(0x9a, 1, 2, 3, 4, 5, 6);
    UD(0x82, 0xc0, 0x00);
    OK(0x41, 0x90);
    ck_assert_uint_eq(insn.id, INSN_XCHG_ZvrAX);
    ck_assert_uint_eq(insn.rm, R8);
    OK(0xf3, 0x90);
    ck_assert_uint_eq(insn.id, INSN_PAUSE);
    OK(0x90);
    ck_assert_uint_eq(insn.id, INSN_NOP);
    code_size(4);
    OK(0x63, 0xc1);
    ck_assert_uint_eq(insn.id, INSN_ARPL_EwGw);
    OK(0x48);
    ck_assert_uint_eq(insn.id, INSN_DEC_Zv);
    UD(0x0f, 0x01, 0xf8); /* SWAPGS */
    context.protected_mode = false;
    UD(0x63, 0xc1);
    UD(0x0f, 0x00, 0xc0);
}
END_TEST

/* C4, C5 and 62 outside 64-bit mode are LES, LDS and BOUND where a ModRM byte names memory, and in
 * real mode always. */
START_TEST(vex_or_les)
{
    OK(0xc4, 0xe2, 0x60, 0xf2, 0xc1);
    ck_assert_uint_eq(insn.id, INSN_ANDN_GyByEy);
    ck_assert_uint_eq(insn.vvvv, RBX);
    ck_assert_uint_eq(insn.osz, 4);
    OK(0xc4, 0xe2, 0xe0, 0xf2, 0xc1);
    ck_assert_uint_eq(insn.osz, 8);
    UD(0xc4, 0xe2, 0x64, 0xf2, 0xc1);       /* L = 1 */
    UD(0xc4, 0xe3, 0x73, 0xf0, 0xc1, 0x05); /* RORX with a vvvv */
    OK(0xc4, 0xe3, 0x7b, 0xf0, 0xc1, 0x05);
    UD(0x66, 0xc4, 0xe2, 0x60, 0xf2, 0xc1);
    UD(0x48, 0xc4, 0xe2, 0x60, 0xf2, 0xc1);
    code_size(4);
    OK(0xc4, 0xe2, 0xe0, 0xf2, 0xc1); /* W is ignored */
    ck_assert_uint_eq(insn.osz, 4);
    OK(0xc4, 0x02);
    ck_assert_uint_eq(insn.id, INSN_LES_GvMp);
    OK(0x62, 0x02);
    ck_assert_uint_eq(insn.id, INSN_BOUND_GvMa);
    context.protected_mode = false;
    UD(0xc4, 0xe2, 0x60, 0xf2, 0xc1);
    UD(0x62, 0xf2);
}
END_TEST

START_TEST(mandatory_prefixes)
{
    OK(0x66, 0xf3, 0x0f, 0xb8, 0xc1); /* popcnt ax, cx */
    ck_assert_uint_eq(insn.id, INSN_POPCNT_GvEv);
    ck_assert_uint_eq(insn.osz, 2);
    OK(0xf3, 0x66, 0x0f, 0xb8, 0xc1);
    ck_assert_uint_eq(insn.osz, 2);
    UD(0x0f, 0xb8, 0xc1);
    OK(0xf2, 0x0f, 0xbc, 0xc1); /* F2 is ignored */
    ck_assert_uint_eq(insn.id, INSN_BSF_GvEv);
    OK(0xf2, 0xf3, 0x0f, 0xbc, 0xc1); /* the later one counts */
    ck_assert_uint_eq(insn.id, INSN_TZCNT_GvEv);
    OK(0xf3, 0x0f, 0x09);
    ck_assert_uint_eq(insn.id, INSN_WBINVD);
}
END_TEST

START_TEST(features_gate_rows)
{
    struct cpu_model model = {.vendor = "GenuineIntel"};

    context.model = &model;
    OK(0xf3, 0x0f, 0xbc, 0xc1);
    ck_assert_uint_eq(insn.id, INSN_BSF_GvEv);
    UD(0xf3, 0x0f, 0xb8, 0xc1);
    UD(0x9f); /* LAHF */
    code_size(4);
    OK(0x9f);
    code_size(8);
    feature_add(&model.features, FEAT_BMI1);
    feature_add(&model.features, FEAT_LAHF_LM);
    OK(0xf3, 0x0f, 0xbc, 0xc1);
    ck_assert_uint_eq(insn.id, INSN_TZCNT_GvEv);
    OK(0x9f);
    UD(0x0f, 0x0d, 0x08);
    feature_add(&model.features, FEAT_LM);
    OK(0x0f, 0x0d, 0x08);
}
END_TEST

/* 66h on near branches in 64-bit mode: 16 bits on AMD, nothing on Intel. */
START_TEST(near_branch_size_by_vendor)
{
    struct cpu_model model = {.vendor = "AuthenticAMD"};

    context.model = &model;
    OK(0x66, 0xe8, 0x00, 0x10);
    ck_assert_uint_eq(insn.osz, 2);
    strcpy(model.vendor, "GenuineIntel");
    OK(0x66, 0xe8, 0x00, 0x10, 0x00, 0x00);
    ck_assert_uint_eq(insn.osz, 8);
}
END_TEST

START_TEST(system_registers)
{
    OK(0x0f, 0x22, 0xc0);
    UD(0x0f, 0x22, 0xc8); /* CR1 */
    UD(0x0f, 0x22, 0xe8); /* CR5 */
    OK(0x44, 0x0f, 0x22, 0xc0);
    ck_assert_uint_eq(insn.reg, 8);
    UD(0x44, 0x0f, 0x23, 0xc0); /* DR8 */
    OK(0x0f, 0x22, 0x00);       /* mod is ignored */
    ck_assert_uint_eq(insn.flags & I_MEM, 0);
    UD(0x8e, 0xc8); /* MOV CS */
    UD(0x8e, 0xf0); /* segment register 6 */
    OK(0x8c, 0xc8);
    OK(0x44, 0x8e, 0xd8); /* REX.R is ignored */
    ck_assert_uint_eq(insn.reg, SEG_DS);
}
END_TEST

START_TEST(memory_sizes)
{
    OK(0x48, 0x8b, 0x00);
    ck_assert_uint_eq(insn_mem_size(&insn), 8);
    OK(0x48, 0x8b, 0xc0);
    ck_assert_uint_eq(insn_mem_size(&insn), 0);
    OK(0x8d, 0x00);
    ck_assert_uint_eq(insn_mem_size(&insn), 0);
    OK(0xa4);
    ck_assert_uint_eq(insn_mem_size(&insn), 1);
    OK(0x48, 0xff, 0x28); /* jmp far [rax] */
    ck_assert_uint_eq(insn_mem_size(&insn), 10);
    OK(0x0f, 0x01, 0x10); /* lgdt */
    ck_assert_uint_eq(insn_mem_size(&insn), 10);
    OK(0x48, 0x0f, 0xc7, 0x08);
    ck_assert_uint_eq(insn_mem_size(&insn), 16);
    OK(0xdb, 0x28); /* fld tbyte */
    ck_assert_uint_eq(insn_mem_size(&insn), 10);
    OK(0x0f, 0x28, 0x00);
    ck_assert_uint_eq(insn_mem_size(&insn), 16);
}
END_TEST

START_TEST(description)
{
    char text[64];

    OK(0x48, 0x01, 0xd8);
    insn_describe(&insn, text, sizeof(text));
    ck_assert_str_eq(text, "ADD_EvGv 48 01 d8");
    insn_describe(&insn, text, 11); /* cut, but ended */
    ck_assert_str_eq(text, "ADD_EvGv 4");
}
END_TEST

START_TEST(disassembly)
{
    char text[128];

    OK(0x48, 0x01, 0x5c, 0x24, 0x08);
    insn_disassemble(&insn, 0, 8, text, sizeof(text));
    ck_assert_str_eq(text, "add qword ptr [rsp + 8], rbx ; ADD_EvGv 48 01 5c 24 08");
    insn_disassemble(&insn, 0, 8, text, 20); /* cut, but ended */
    ck_assert_str_eq(text, "add qword ptr [rsp ");
    OK(0xc3);
    insn_disassemble(&insn, 0, 8, text, sizeof(text));
    ck_assert_str_eq(text, "ret ; RET c3");
    code_size(2);
    OK(0xeb, 0xfe);
    insn_disassemble(&insn, 0x1234, 2, text, sizeof(text));
    ck_assert_str_eq(text, "jmp 0x1234 ; JMP_Jb eb fe");
    code_size(4);
    OK(0x01, 0x18);
    insn_disassemble(&insn, 0, 4, text, sizeof(text));
    ck_assert_str_eq(text, "add dword ptr [eax], ebx ; ADD_EvGv 01 18");
    UD(0xff, 0xff); /* neither knows it */
    insn_disassemble(&insn, 0, 4, text, sizeof(text));
    ck_assert_ptr_null(strchr(text, ';'));
}
END_TEST

/* A processor without AVX-512 has no EVEX form of anything, whatever else it has, and does not
 * fetch what is behind 62; the same holds for VEX. */
START_TEST(encodings_without_their_features)
{
    struct cpu_model model = {.vendor = "AuthenticAMD"};

    context.model = &model;
    UD(0x62);
    UD(0xc4);
    UD(0xc5);
    feature_add(&model.features, FEAT_VAES);
    feature_add(&model.features, FEAT_AVX);
    OK(0xc4, 0xe2, 0x75, 0xdc, 0xc2);       /* vaesenc ymm0, ymm1, ymm2 */
    UD(0x62, 0xf2, 0x75, 0x48, 0xdc, 0xc2); /* vaesenc zmm0, zmm1, zmm2 */
    UD(0x62);
    ck_assert_int_eq(DECODE(0xc4), DECODE_SHORT);
    code_size(4);
    UD(0x62, 0xc0);
    OK(0x62, 0x03); /* bound eax, [ebx] */
    code_size(8);
    feature_remove(&model.features, FEAT_AVX);
    feature_add(&model.features, FEAT_BMI1);
    OK(0xc4, 0xe2, 0x70, 0xf2, 0xc2); /* andn eax, ecx, edx */
    feature_add(&model.features, FEAT_AVX512F);
    OK(0x62, 0xf2, 0x75, 0x48, 0xdc, 0xc2);
    ck_assert_int_eq(DECODE(0x62), DECODE_SHORT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decoder_fields");
    TCase *c = tcase_create("fields");

    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_test(c, byte_registers);
    tcase_add_test(c, operand_sizes);
    tcase_add_test(c, immediates);
    tcase_add_test(c, memory_operands);
    tcase_add_test(c, memory_operands_16);
    tcase_add_test(c, segment_overrides);
    tcase_add_test(c, length_limit);
    tcase_add_test(c, lock_rules);
    tcase_add_test(c, modes_select_rows);
    tcase_add_test(c, vex_or_les);
    tcase_add_test(c, mandatory_prefixes);
    tcase_add_test(c, features_gate_rows);
    tcase_add_test(c, near_branch_size_by_vendor);
    tcase_add_test(c, system_registers);
    tcase_add_test(c, memory_sizes);
    tcase_add_test(c, description);
    tcase_add_test(c, disassembly);
    tcase_add_test(c, encodings_without_their_features);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
