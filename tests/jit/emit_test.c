/* SPDX-License-Identifier: MIT
 *
 * The encoder against Capstone: what each function writes must read as the instruction that was
 * asked for, with every register and every form of address.
 */
#include "jit/emit/emit.h"

#include <capstone/capstone.h>
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/suite.h"

static const char *const names64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const names32[] = {"eax", "ecx", "edx",  "ebx",  "esp",  "ebp",  "esi",  "edi",
                                      "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"};

static u8 buffer[64];
static struct emit e;
static csh capstone;

static void setup(void)
{
    ck_assert_int_eq(cs_open(CS_ARCH_X86, CS_MODE_64, &capstone), CS_ERR_OK);
}

static void teardown(void)
{
    cs_close(&capstone);
}

static void begin(void)
{
    e = (struct emit){.at = buffer, .end = buffer + sizeof(buffer), .delta = 0x1000};
}

/* All that was written is one instruction that reads so. */
static void reads(const char *want)
{
    cs_insn *insn;
    size_t count =
        cs_disasm(capstone, buffer, (size_t)(e.at - buffer), (u64)buffer + e.delta, 0, &insn);
    char text[256];

    ck_assert_uint_ge(count, 1);
    snprintf(text, sizeof(text), "%s%s%s", insn[0].mnemonic, insn[0].op_str[0] ? " " : "",
             insn[0].op_str);
    ck_assert_msg(count == 1 && !strcmp(text, want), "got \"%s\" (%zu), want \"%s\"", text, count,
                  want);
    cs_free(insn, count);
}

static void expect(const char *format, ...) PRINTF(1, 2);
static void expect(const char *format, ...)
{
    char want[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(want, sizeof(want), format, arguments);
    va_end(arguments);
    reads(want);
}

START_TEST(registers_of_every_number)
{
    for (unsigned a = 0; a < 16; a++)
        for (unsigned b = 0; b < 16; b++) {
            begin();
            emit_op_reg(&e, EMIT_W, 0x8b, b, a);
            expect("mov %s, %s", names64[a], names64[b]);
            begin();
            emit_mov32(&e, a, b);
            expect("mov %s, %s", names32[a], names32[b]);
            begin();
            emit_op_reg(&e, EMIT_W, EMIT_0F | 0xaf, b, a);
            expect("imul %s, %s", names64[a], names64[b]);
            begin();
            emit_vex_reg(&e, &(struct emit_vex){.map = 2, .w = true, .opcode = 0xf2}, b, a, 9);
            expect("andn %s, r9, %s", names64[a], names64[b]);
        }
}
END_TEST

/* RSP cannot be an index; RSP and R12 need a SIB as base, RBP and R13 a displacement. */
START_TEST(addresses_of_every_form)
{
    static const i32 displacements[] = {0, 8, -128, 127, 128, -129, 0x12345678};

    for (unsigned base = 0; base < 16; base++)
        for (unsigned d = 0; d < ARRAY_SIZE(displacements); d++) {
            struct emit_mem m = emit_at(base, displacements[d]);
            cs_insn *insn;

            for (unsigned index = 0; index < 17; index++) {
                if (index == HOST_RSP)
                    continue;
                m.index = index == 16 ? HOST_NONE : (u8)index;
                m.scale = m.index == HOST_NONE ? 0 : (u8)(index & 3);
                begin();
                emit_load(&e, HOST_R10, &m, 8);
                cs_option(capstone, CS_OPT_DETAIL, CS_OPT_ON);
                ck_assert_uint_eq(cs_disasm(capstone, buffer, (size_t)(e.at - buffer), 0, 0, &insn),
                                  1);
                ck_assert_str_eq(insn->mnemonic, "mov");
                ck_assert_str_eq(cs_reg_name(capstone, insn->detail->x86.operands[0].reg), "r10");
                ck_assert_str_eq(cs_reg_name(capstone, insn->detail->x86.operands[1].mem.base),
                                 names64[base]);
                if (m.index != HOST_NONE) {
                    ck_assert_str_eq(cs_reg_name(capstone, insn->detail->x86.operands[1].mem.index),
                                     names64[index]);
                    ck_assert_int_eq(insn->detail->x86.operands[1].mem.scale, 1 << m.scale);
                }
                ck_assert_int_eq(insn->detail->x86.operands[1].mem.disp, displacements[d]);
                cs_free(insn, 1);
                cs_option(capstone, CS_OPT_DETAIL, CS_OPT_OFF);
            }
        }
}
END_TEST

START_TEST(fields_of_the_vcpu)
{
    struct emit_mem m = emit_gs(0x1234), indexed = m;

    begin();
    emit_load(&e, HOST_R9, &m, 8);
    reads("mov r9, qword ptr gs:[0x1234]");
    begin();
    emit_load(&e, HOST_RCX, &m, 1);
    reads("movzx ecx, byte ptr gs:[0x1234]");
    begin();
    emit_load(&e, HOST_RCX, &m, 2);
    reads("movzx ecx, word ptr gs:[0x1234]");
    begin();
    emit_store(&e, &m, HOST_RSI, 1);
    reads("mov byte ptr gs:[0x1234], sil");
    begin();
    emit_store(&e, &m, HOST_RAX, 2);
    reads("mov word ptr gs:[0x1234], ax");
    begin();
    emit_store_imm(&e, &m, -1, 8);
    reads("mov qword ptr gs:[0x1234], -1");
    begin();
    emit_store_imm(&e, &m, 7, 1);
    reads("mov byte ptr gs:[0x1234], 7");
    indexed.index = HOST_R10;
    indexed.scale = 3;
    begin();
    emit_op_mem(&e, EMIT_W, 0x2b, &indexed, HOST_R9);
    reads("sub r9, qword ptr gs:[r10*8 + 0x1234]");
    begin();
    emit_jmp_mem(&e, &m);
    reads("jmp qword ptr gs:[0x1234]");
}
END_TEST

START_TEST(immediates_take_the_shortest_form)
{
    static const struct {
        u64 value;
        unsigned length;
        const char *text;
    } rows[] = {
        {0, 6, "mov r8d, 0"},
        {0xffffffff, 6, "mov r8d, 0xffffffff"},
        {0xffffffff80000000, 7, "mov r8, -0x80000000"},
        {0x123456789abcdef0, 10, "movabs r8, 0x123456789abcdef0"},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
        begin();
        emit_mov_imm(&e, HOST_R8, rows[n].value);
        reads(rows[n].text);
        ck_assert_uint_eq((size_t)(e.at - buffer), rows[n].length);
    }
}
END_TEST

START_TEST(prefixes_come_in_order)
{
    struct emit_mem m = emit_at(HOST_R9, 0);

    begin();
    emit_op_mem(&e, EMIT_LOCK | EMIT_W, EMIT_0F | 0xb1, &m, HOST_R12);
    reads("lock cmpxchg qword ptr [r9], r12");
    begin();
    emit_op_mem(&e, EMIT_66, 0x01, &m, HOST_RBX);
    reads("add word ptr [r9], bx");
    begin();
    emit_op_reg(&e, EMIT_F3 | EMIT_W, EMIT_0F | 0xb8, HOST_R13, HOST_RAX);
    reads("popcnt rax, r13");
    begin();
    emit_op_reg(&e, EMIT_F2, EMIT_0F38 | 0xf1, HOST_R13, HOST_RAX);
    reads("crc32 eax, r13d");
    begin();
    emit_op_reg(&e, EMIT_66, EMIT_0F3A | 0x0f, 9, 10);
    emit_value(&e, 4, 1);
    reads("palignr xmm10, xmm9, 4");
    begin();
    emit_op_plus(&e, EMIT_W, EMIT_0F | 0xc8, HOST_R15);
    reads("bswap r15");
}
END_TEST

/* EVEX: five bits for every vector register, and what the third payload byte carries. */
START_TEST(evex_fields)
{
    struct emit_mem m = emit_at(HOST_R9, 0), field = emit_gs(0x40);
    struct emit_vex add = {.map = 1, .pp = 1, .w = true, .l = 0x48, .opcode = 0xd4};

    for (unsigned r = 0; r < 32; r++)
        for (unsigned v = 0; v < 32; v++) {
            begin();
            emit_evex_reg(&e, &add, 31 - r, r, v);
            expect("vpaddq zmm%u , zmm%u, zmm%u", r, v, 31 - r); /* the blank: Capstone 4 */
        }
    add.l = 0xca; /* z, 512 bits, k2 */
    begin();
    emit_evex_mem(&e, &add, &m, 17, 30);
    reads("vpaddq zmm17 {k2} {z}, zmm30, zmmword ptr [r9]");
    add.l = 0x48;
    begin();
    emit_evex_mem(&e, &add, &field, 3, 4);
    reads("vpaddq zmm3 , zmm4, zmmword ptr gs:[0x40]");
    add.l = 0x58; /* broadcast */
    begin();
    emit_evex_mem(&e, &add, &m, 3, 4);
    reads("vpaddq zmm3 , zmm4, qword ptr [r9]{1to8}");
}
END_TEST

START_TEST(jumps_reach_and_are_redirected)
{
    u64 here;
    u8 *rel32;

    begin();
    here = emit_here(&e);
    emit_jmp(&e, here + 100);
    expect("jmp 0x%lx", here + 100);
    begin();
    emit_call(&e, here - 100);
    expect("call 0x%lx", here - 100);
    begin();
    rel32 = emit_jcc(&e, CC_BE, here);
    expect("jbe 0x%lx", here);
    emit_patch(rel32, e.delta, here + 0x1234567);
    expect("jbe 0x%lx", here + 0x1234567);
    begin();
    rel32 = emit_jmp_patchable(&e, here);
    emit_patch(rel32, e.delta, here + 5);
    expect("jmp 0x%lx", here + 5);
}
END_TEST

START_TEST(short_jumps_land_where_they_are_told)
{
    u64 here;
    u8 *rel8;

    begin();
    here = emit_here(&e);
    rel8 = emit_jmp_short(&e);
    emit_land_short(&e, rel8);
    expect("jmp 0x%lx", here + 2);
    begin();
    rel8 = emit_jmp_short(&e);
    emit_bytes(&e, buffer, 20);
    emit_land_short(&e, rel8);
    e.at = buffer + 2;
    expect("jmp 0x%lx", here + 22);
    for (unsigned size = 0; size < 2; size++) { /* too little room: nothing behind it is written */
        memset(buffer, 0xee, sizeof(buffer));
        begin();
        e.at = buffer + 4;
        e.end = e.at + size;
        emit_land_short(&e, emit_jmp_short(&e));
        ck_assert(e.overflow);
        ck_assert_uint_eq(buffer[4 + size], 0xee);
    }
}
END_TEST

START_TEST(nothing_is_written_behind_the_end)
{
    memset(buffer, 0xaa, sizeof(buffer));
    begin();
    e.end = buffer + 4;
    emit_mov_imm(&e, HOST_RAX, 0x123456789abcdef0);
    ck_assert(e.overflow);
    ck_assert_uint_eq(buffer[4], 0xaa);
}
END_TEST

START_TEST(jumps_that_did_not_fit_are_patched_inside)
{
    for (unsigned size = 6; size <= 10; size++) {
        u8 *first, *second;

        memset(buffer, 0xee, sizeof(buffer));
        begin();
        e.end = buffer + size;
        first = emit_jcc(&e, CC_E, 0);
        second = emit_jmp_patchable(&e, 0);
        ck_assert(e.overflow);
        emit_patch(first, 0, 0);
        emit_patch(second, 0, 0);
        ck_assert_ptr_eq(first, buffer + 2);
        ck_assert_uint_eq(buffer[size], 0xee);
        ck_assert_uint_eq(buffer[size + 3], 0xee);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("emit");
    TCase *t = tcase_create("emit");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, registers_of_every_number);
    tcase_add_test(t, addresses_of_every_form);
    tcase_add_test(t, fields_of_the_vcpu);
    tcase_add_test(t, immediates_take_the_shortest_form);
    tcase_add_test(t, prefixes_come_in_order);
    tcase_add_test(t, evex_fields);
    tcase_add_test(t, jumps_reach_and_are_redirected);
    tcase_add_test(t, short_jumps_land_where_they_are_told);
    tcase_add_test(t, nothing_is_written_behind_the_end);
    tcase_add_test(t, jumps_that_did_not_fit_are_patched_inside);
    return suite_run(s);
}
