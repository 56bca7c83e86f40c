/* SPDX-License-Identifier: MIT
 *
 * Which VEX and EVEX encodings exist: the decoder against the host, for every map, prefix, opcode,
 * W, length and form, with reserved fields (z, b, aaa, vvvv, V', R, R') thrown in, in 64- and
 * 32-bit code. Names and lengths: against Capstone. An argument seeds the choice of fields.
 */
#include <capstone/capstone.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/decode_internal.h"
#include "tests/cpu/encoding_probe.h"
#include "tests/cpu/host_model.h"
#include "tests/suite.h"

enum { VARIATIONS = 3, SHOWN = 20 };

static struct cpu_model model;
static u64 seed = 88172645463325252ull;
static unsigned long runs, valid, differences;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed * 0x2545f4914f6cdd1dull >> 33) % n);
}

static void show(const char *what, const u8 *bytes, unsigned count)
{
    if (differences++ >= SHOWN)
        return;
    printf("%s:", what);
    for (unsigned n = 0; n < count; n++)
        printf(" %02x", bytes[n]);
    printf("\n");
}

/* Runs an encoding (NOPs follow it) and decodes it. */
static void judge(const u8 *bytes, unsigned count, bool code64)
{
    const struct decode_ctx ctx = {
        .model = &model, .code_size = code64 ? 8 : 4, .protected_mode = true};
    bool host = probe_execute(bytes, count, code64) != SIGILL;
    u8 padded[15];
    struct insn i;
    bool ours;

    memset(padded, 0x90, sizeof(padded));
    memcpy(padded, bytes, count);
    ours = insn_decode(&ctx, padded, sizeof(padded), &i) == DECODE_OK;
    runs++;
    valid += host;
    if (host != ours)
        show(host     ? code64 ? "64-bit, only the host takes" : "32-bit, only the host takes"
             : code64 ? "64-bit, the host does not take"
                      : "32-bit, the host does not take",
             bytes, count);
}

/* [rdi + index 4], or register 1. */
static unsigned put_modrm(u8 *p, bool memory, unsigned reg)
{
    p[0] = (u8)((memory ? 0x04 : 0xc1) | reg << 3);
    p[1] = 0x27;
    return memory ? 2 : 1;
}

static void judge_vex(unsigned map, unsigned opcode, unsigned fields, bool code64)
{
    bool memory = fields >> 4 & 1;

    for (unsigned n = 0; n < VARIATIONS; n++) {
        unsigned r = code64 && below(4) == 0 ? 0x80 : 0, vvvv = n ? below(16) : 15;
        u8 bytes[8] = {0xc4, (u8)((0xe0 ^ r) | map),
                       (u8)((fields & 8) << 4 | vvvv << 3 | (fields & 7)), (u8)opcode};

        judge(bytes, 4 + put_modrm(bytes + 4, memory, below(8)), code64);
    }
}

static void judge_evex(unsigned map, unsigned opcode, unsigned fields, bool code64)
{
    bool memory = fields >> 5 & 1;

    for (unsigned n = 0; n < 2 * VARIATIONS; n++) {
        unsigned r = code64 && below(4) == 0 ? below(2) ? 0x80 : 0x10 : 0;
        unsigned vvvv = n && below(2) ? below(16) : 15, aaa = n && below(2) ? below(8) : 0;
        unsigned v2 = n && !below(4) ? 0 : 8, b = n && !below(2), z = n && !below(2);
        u8 bytes[8] = {0x62, (u8)((0xf0 ^ r) | map),
                       (u8)((fields & 4) << 5 | vvvv << 3 | 4 | (fields & 3)),
                       (u8)(z << 7 | (fields & 0x18) << 2 | b << 4 | v2 | aaa), (u8)opcode};

        judge(bytes, 5 + put_modrm(bytes + 5, memory, below(8)), code64);
    }
}

static void judge_all(bool code64)
{
    runs = valid = differences = 0;
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++) {
            for (unsigned fields = 0; fields < 32; fields++)
                judge_vex(map, opcode, fields, code64);
            for (unsigned fields = 0; fields < 64 && feature_has(&model.features, FEAT_AVX512F);
                 fields++)
                judge_evex(map, opcode, fields, code64);
        }
    printf("%lu encodings, %lu exist, %lu differences\n", runs, valid, differences);
    ck_assert_uint_eq(differences, 0);
    ck_assert_uint_gt(valid, 5000);
}

START_TEST(host_takes_what_the_decoder_takes_in_64_bit_code)
{
    judge_all(true);
}
END_TEST

START_TEST(host_takes_what_the_decoder_takes_in_32_bit_code)
{
    judge_all(false);
}
END_TEST

/* -- Capstone -- */

struct naming {
    csh capstone;
    cs_insn *scratch;
    unsigned long named, unknown, wrong;
};

/* Capstone's names for what a row calls otherwise, and why. */
static const struct {
    const char *ours, *theirs, *reason;
} renamed[] = {
    {"vmovd", "vmovq", "one row for both widths"},
    {"vpbroadcastd", "vpbroadcastq", "one row for both widths"},
    {"vrcp14sd", "vrcp14ss", "Capstone 4 ignores W"},
    {"vrsqrt14sd", "vrsqrt14ss", "Capstone 4 ignores W"},
    {"vfmadd213sd", "vfmadd213ss", "Capstone 4 ignores W"},
    {"vfmsub213sd", "vfmsub213ss", "Capstone 4 ignores W"},
    {"vfnmadd213sd", "vfnmadd213ss", "Capstone 4 ignores W"},
    {"vfnmsub213sd", "vfnmsub213ss", "Capstone 4 ignores W"},
};

/* theirs without the predicate "eq" that Capstone makes of immediate 0. */
static void drop_predicate(char *theirs)
{
    char *at = strstr(theirs, "cmpeq");

    if (at)
        memmove(at + 3, at + 5, strlen(at + 5) + 1);
}

static bool same_name(const struct insn_row *row, const char *mnemonic)
{
    char ours[32] = "", theirs[CS_MNEMONIC_SIZE];

    snprintf(theirs, sizeof(theirs), "%s", mnemonic);
    for (size_t n = 0; n < strcspn(row->name, "_") && n < sizeof(ours) - 1; n++)
        ours[n] = (char)(row->name[n] | (row->name[n] >= 'A' ? 0x20 : 0));
    for (unsigned n = 0; n < 4; n++)
        if (row->operands[n] == OPND_Ib)
            drop_predicate(theirs);
    if (!strcmp(ours, theirs))
        return true;
    for (unsigned n = 0; n < ARRAY_SIZE(renamed); n++)
        if (!strcmp(ours, renamed[n].ours) && !strcmp(theirs, renamed[n].theirs))
            return true;
    return false;
}

static void name_one(struct naming *c, const u8 *bytes, unsigned count)
{
    const struct decode_ctx ctx = {.code_size = 8, .protected_mode = true};
    u8 padded[15] = {0};
    const uint8_t *at = padded;
    uint64_t address = 0;
    char what[128];
    size_t left = sizeof(padded);
    struct insn i;

    memcpy(padded, bytes, count);
    if (insn_decode(&ctx, padded, sizeof(padded), &i) != DECODE_OK)
        return;
    if (!cs_disasm_iter(c->capstone, &at, &left, &address, c->scratch)) {
        c->unknown++;
        return;
    }
    c->named++;
    if (c->scratch->size == i.len && same_name(insn_row(&i), c->scratch->mnemonic))
        return;
    c->wrong++;
    snprintf(what, sizeof(what), "%s, %u bytes: Capstone %s, %u bytes", insn_row(&i)->name, i.len,
             c->scratch->mnemonic, c->scratch->size);
    show(what, bytes, count);
}

START_TEST(capstone_gives_the_same_names_and_lengths)
{
    struct naming c = {0};

    differences = 0;
    ck_assert_int_eq(cs_open(CS_ARCH_X86, CS_MODE_64, &c.capstone), CS_ERR_OK);
    c.scratch = cs_malloc(c.capstone);
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned fields = 0; fields < 64 * 8; fields++) {
                unsigned reg = fields >> 6;
                bool memory = fields >> 5 & 1;
                u8 vex[8] = {0xc4, (u8)(0xe0 | map),
                             (u8)((fields & 4) << 5 | 0x78 | (fields & 3) | (fields >> 1 & 4)),
                             (u8)opcode};
                u8 evex[8] = {0x62, (u8)(0xf0 | map), (u8)((fields & 4) << 5 | 0x7c | (fields & 3)),
                              (u8)((fields & 0x18) << 2 | 8), (u8)opcode};

                if (fields < 32)
                    name_one(&c, vex, 4 + put_modrm(vex + 4, memory, reg));
                name_one(&c, evex, 5 + put_modrm(evex + 5, memory, reg));
            }
    printf("%lu named, %lu unknown to Capstone, %lu differ\n", c.named, c.unknown, c.wrong);
    ck_assert_uint_eq(c.wrong, 0);
    cs_free(c.scratch, 1);
    cs_close(&c.capstone);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("cpu/vector_encoding");
    TCase *tcase = tcase_create("vector_encoding");

    if (argc > 1)
        seed ^= strtoull(argv[1], NULL, 0) << 8;
    host_model(&model);
    if (!feature_has(&model.features, FEAT_AVX)) {
        printf("The host has no AVX: nothing to compare with.\n");
        return 0;
    }
    probe_open(feature_has(&model.features, FEAT_AVX512F));
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 100);
    tcase_add_test(tcase, host_takes_what_the_decoder_takes_in_64_bit_code);
    tcase_add_test(tcase, host_takes_what_the_decoder_takes_in_32_bit_code);
    tcase_add_test(tcase, capstone_gives_the_same_names_and_lengths);
    return suite_run(suite);
}
