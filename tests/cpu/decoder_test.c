/* SPDX-License-Identifier: MIT
 *
 * The decoder against Capstone over systematic and random byte strings in 16-, 32- and 64-bit code:
 * validity and length must agree. Where they do not, the host CPU decides (host_probe.h); what the
 * host cannot tell is in a table of exemptions with reasons. The count of each is printed.
 */
#include <capstone/capstone.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/insn.h"
#include "tests/cpu/host_model.h"
#include "tests/cpu/host_probe.h"
#include "tests/suite.h"

enum {
    GROUP_PROBES = 6
}; /* disagreements of one kind in one opcode that the host is asked about */

struct comparison {
    csh capstone[3]; /* 16, 32, 64 */
    cs_insn *scratch[3];
    struct probe *probe;    /* NULL: not possible here */
    struct cpu_model model; /* what the host offers */
    u8 asked[3 * 4 * 256 * 4];
    u64 compared, disagreed, capstone_wrong, exempt, failed;
};

struct outcome {
    bool valid;
    unsigned length;
};

/* -- exemptions -- */

/* Encodings about which the host cannot be asked, or must not be followed. NULL reason: none. */
struct exemption {
    u8 space, map, first, last;
    const char *reason;
};

static const struct exemption exemptions[] = {
    {SPACE_LEGACY, MAP_0F, 0x01, 0x01, "VMX, SVM, MWAITX are not offered; STAC is #UD at CPL 3"},
};

static const char *exemption_of(const struct insn *i, unsigned space, unsigned map)
{
    for (unsigned n = 0; n < ARRAY_SIZE(exemptions); n++) {
        const struct exemption *e = &exemptions[n];

        if (e->space == space && e->map == map && i->opcode >= e->first && i->opcode <= e->last)
            return e->reason;
    }
    return NULL;
}

/* -- comparing -- */

static unsigned mode_index(unsigned code_size)
{
    return code_size == 2 ? 0 : code_size == 4 ? 1 : 2;
}

static struct outcome ours(const struct comparison *c, unsigned code_size, const u8 *bytes,
                           struct insn *i)
{
    struct decode_ctx ctx = {
        .model = &c->model, .code_size = (u8)code_size, .protected_mode = true};

    bool ok = insn_decode(&ctx, bytes, 15, i) == DECODE_OK;

    if (ok && i->id != INSN_UD0 && i->id != INSN_UD1 && i->id != INSN_UD2)
        return (struct outcome){true, i->len};
    return (struct outcome){false, 0};
}

/* Instructions that are #UD by definition count as #UD on both sides. */
static bool always_ud(unsigned id)
{
    return id == X86_INS_UD0 || id == X86_INS_UD2 || id == X86_INS_UD2B;
}

static struct outcome capstone(struct comparison *c, unsigned code_size, const u8 *bytes)
{
    unsigned m = mode_index(code_size);
    const u8 *at = bytes;
    size_t left = 15;
    u64 address = 0x1000;

    if (!cs_disasm_iter(c->capstone[m], &at, &left, &address, c->scratch[m]) ||
        always_ud(c->scratch[m]->id))
        return (struct outcome){false, 0};
    return (struct outcome){true, c->scratch[m]->size};
}

/* What the host makes of the bytes, given a length to confirm (0: #UD). */
static bool host_agrees(struct comparison *c, unsigned code_size, const u8 *bytes,
                        struct outcome claim, bool *known)
{
    enum probe_result r;

    *known = c->probe != NULL;
    if (!c->probe)
        return false;
    if (!claim.valid) {
        r = probe_run(c->probe, code_size, bytes, 15);
        *known = r != PROBE_LOST;
        return r == PROBE_UD;
    }
    r = probe_run(c->probe, code_size, bytes, claim.length);
    *known = r != PROBE_LOST;
    if (r != PROBE_RAN)
        return false;
    r = probe_run(c->probe, code_size, bytes, claim.length - 1);
    return claim.length == 1 || r == PROBE_FETCH;
}

static void report(const char *what, unsigned code_size, const u8 *bytes, const struct insn *i,
                   struct outcome a, struct outcome b)
{
    printf("%s %u-bit:", what, code_size * 8);
    for (unsigned n = 0; n < 15; n++)
        printf(" %02x", bytes[n]);
    printf("  ours %s %u, Capstone %s %u\n", a.valid ? insn_row(i)->name : "#UD", a.length,
           b.valid ? "valid" : "#UD", b.length);
}

/* Where an encoding lives: prefixes skipped. */
static void locate(unsigned code_size, const u8 *bytes, unsigned *space, unsigned *map, u8 *opcode)
{
    unsigned at = 0;

    *space = SPACE_LEGACY;
    *map = MAP_1B;
    for (; at < 12; at++) {
        bool legacy = memchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", bytes[at], 11);

        if (!legacy && (code_size != 8 || (bytes[at] & 0xf0) != 0x40))
            break;
    }
    *opcode = bytes[at];
    if ((bytes[at] == 0xc4 || bytes[at] == 0xc5 || bytes[at] == 0x62) &&
        (code_size == 8 || bytes[at + 1] >= 0xc0)) {
        *space = bytes[at] == 0x62 ? SPACE_EVEX : SPACE_VEX;
        *map = bytes[at] == 0xc5 ? MAP_0F : bytes[at + 1] & 3;
        *opcode = bytes[at + (bytes[at] == 0xc5 ? 2 : bytes[at] == 0xc4 ? 3 : 4)];
    } else if (bytes[at] == 0x0f) {
        *map = bytes[at + 1] == 0x38 ? MAP_0F38 : bytes[at + 1] == 0x3a ? MAP_0F3A : MAP_0F;
        *opcode = bytes[at + (*map == MAP_0F ? 1 : 2)];
    }
}

static void disagreement(struct comparison *c, unsigned code_size, const u8 *bytes, struct insn *i,
                         struct outcome a, struct outcome b)
{
    unsigned space, map, kind = a.valid && b.valid ? 0 : a.valid ? 1 : 2;
    bool known, right;
    u8 *asked;

    locate(code_size, bytes, &space, &map, &i->opcode);
    c->disagreed++;
    if (exemption_of(i, space, map)) {
        c->exempt++;
        return;
    }
    asked = &c->asked[((space * 4 + map) * 256 + i->opcode) * 4 + kind];
    if (*asked >= GROUP_PROBES)
        return;
    ++*asked;
    right = host_agrees(c, code_size, bytes, a, &known);
    if (!known) {
        c->exempt++;
    } else if (right) {
        c->capstone_wrong++;
    } else {
        c->failed++;
        report("wrong", code_size, bytes, i, a, b);
    }
}

static void compare(struct comparison *c, unsigned code_size, const u8 *bytes)
{
    struct insn i;
    struct outcome a = ours(c, code_size, bytes, &i), b = capstone(c, code_size, bytes);

    c->compared++;
    if (a.valid != b.valid || a.length != b.length)
        disagreement(c, code_size, bytes, &i, a, b);
}

static void comparison_start(struct comparison *c)
{
    static const cs_mode modes[3] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};

    memset(c, 0, sizeof(*c));
    host_model(&c->model);
    for (unsigned m = 0; m < 3; m++) {
        ck_assert_int_eq(cs_open(CS_ARCH_X86, modes[m], &c->capstone[m]), CS_ERR_OK);
        c->scratch[m] = cs_malloc(c->capstone[m]);
    }
    c->probe = probe_create();
}

static void comparison_end(struct comparison *c, const char *name)
{
    printf("%s: %lu compared, %lu disagreements with Capstone; of those asked about: %lu where the "
           "host confirms us, %lu exempt, %lu wrong\n",
           name, c->compared, c->disagreed, c->capstone_wrong, c->exempt, c->failed);
    for (unsigned m = 0; m < 3; m++) {
        cs_free(c->scratch[m], 1);
        cs_close(&c->capstone[m]);
    }
    probe_destroy(c->probe);
    ck_assert_uint_eq(c->failed, 0);
}

/* -- generators -- */

static u64 next_random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 24;
}

/* ModRM bytes worth trying: every reg with register, SIB, disp8, disp32 and no-base forms. */
static const u8 rm_forms[] = {0xc0, 0xc3, 0xc4, 0xc7, 0x00, 0x04, 0x05, 0x06, 0x44, 0x46, 0x82};
static const u8 tail[] = {0x51, 0x11, 0x12, 0x13, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b};

struct prefix_class {
    u8 count;
    u8 bytes[3];
    bool only64;
};

static const struct prefix_class prefix_classes[] = {
    {0, {0}, false},         {1, {0x66}, false},       {1, {0xf2}, false},
    {1, {0xf3}, false},      {2, {0x66, 0xf2}, false}, {2, {0xf3, 0x66}, false},
    {1, {0x67}, false},      {1, {0xf0}, false},       {1, {0x2e}, false},
    {1, {0x65}, false},      {2, {0x66, 0x67}, false}, {1, {0x48}, true},
    {1, {0x41}, true},       {1, {0x44}, true},        {2, {0x66, 0x48}, true},
    {2, {0xf2, 0x4f}, true}, {2, {0xf3, 0x48}, true},  {2, {0xf0, 0x48}, true},
    {2, {0x48, 0x66}, true},
};

static void compare_legacy(struct comparison *c, unsigned code_size, const struct prefix_class *p,
                           unsigned map, unsigned opcode)
{
    static const u8 escape[4][2] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
    static const u8 escape_size[4] = {0, 1, 2, 2};
    u8 bytes[32];

    for (unsigned reg = 0; reg < 8; reg++)
        for (unsigned f = 0; f < ARRAY_SIZE(rm_forms); f++) {
            unsigned at = p->count;

            memcpy(bytes, p->bytes, at);
            memcpy(bytes + at, escape[map], 2);
            at += escape_size[map];
            bytes[at++] = (u8)opcode;
            bytes[at++] = (u8)(rm_forms[f] | reg << 3);
            memcpy(bytes + at, tail, sizeof(tail));
            compare(c, code_size, bytes);
        }
}

static void legacy_maps(unsigned code_size)
{
    struct comparison *c = malloc(sizeof(*c));

    comparison_start(c);
    for (unsigned n = 0; n < ARRAY_SIZE(prefix_classes); n++) {
        if (prefix_classes[n].only64 && code_size != 8)
            continue;
        for (unsigned map = 0; map < 4; map++)
            for (unsigned opcode = 0; opcode < 256; opcode++)
                compare_legacy(c, code_size, &prefix_classes[n], map, opcode);
    }
    comparison_end(c, code_size == 8 ? "legacy 64" : code_size == 4 ? "legacy 32" : "legacy 16");
    free(c);
}

START_TEST(legacy_maps_agree)
{
    static const u8 sizes[] = {8, 4, 2};

    legacy_maps(sizes[_i]);
}
END_TEST

static void compare_vex(struct comparison *c, unsigned code_size, unsigned map, unsigned opcode,
                        unsigned selector)
{
    u8 bytes[32] = {0xc4, (u8)(0xe0 | map), 0, (u8)opcode};

    /* selector: pp, L, W and a vvvv of 1111b or another */
    bytes[2] = (u8)((selector & 7) | (selector & 8) << 4 | (selector & 16 ? 0x68 : 0x78));
    memcpy(bytes + 5, tail, sizeof(tail));
    for (unsigned reg = 0; reg < 8; reg++)
        for (unsigned f = 0; f < ARRAY_SIZE(rm_forms); f += 2) {
            bytes[4] = (u8)(rm_forms[f] | reg << 3);
            compare(c, code_size, bytes);
        }
}

START_TEST(vex_maps_agree)
{
    unsigned code_size = _i ? 4 : 8;
    struct comparison *c = malloc(sizeof(*c));

    comparison_start(c);
    for (unsigned map = 1; map < 4; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            for (unsigned selector = 0; selector < 32; selector++)
                compare_vex(c, code_size, map, opcode, selector);
    comparison_end(c, _i ? "VEX 32" : "VEX 64");
    free(c);
}
END_TEST

/* Prefixes, a map and an opcode, then anything. */
static void random_encoding(u64 *seed, unsigned code_size, u8 *bytes)
{
    static const u8 prefixes[] = {0x66, 0xf2, 0xf3, 0x67, 0xf0, 0x64, 0x48, 0x41, 0x45, 0x4f};
    unsigned at = 0, map;

    for (unsigned b = 0; b < 16; b++)
        bytes[b] = (u8)next_random(seed);
    while (next_random(seed) % 2 && at < 3)
        bytes[at++] = prefixes[next_random(seed) % (code_size == 8 ? 10 : 6)];
    map = (unsigned)(next_random(seed) % 6);
    if (map >= 1 && map <= 3)
        bytes[at++] = 0x0f;
    if (map == 2 || map == 3)
        bytes[at++] = map == 2 ? 0x38 : 0x3a;
    if (map == 4) {
        bytes[at++] = 0xc4;
        bytes[at] = (u8)((bytes[at] & 0xe0) | (1 + bytes[at] % 3) | (code_size == 8 ? 0 : 0xc0));
    }
    if (map == 5) {
        bytes[at++] = 0x62;
        bytes[at] = (u8)((bytes[at] & 0xf0) | (1 + bytes[at] % 3) | (code_size == 8 ? 0 : 0xc0));
        bytes[at + 1] |= 4;
    }
}

START_TEST(random_bytes_agree)
{
    struct comparison *c = malloc(sizeof(*c));
    u64 seed = 20240501;
    u8 bytes[32];

    comparison_start(c);
    for (unsigned n = 0; n < 600000; n++) {
        for (unsigned b = 0; b < 16; b++)
            bytes[b] = (u8)next_random(&seed);
        compare(c, 2u << n % 3, bytes);
    }
    comparison_end(c, "random");
    free(c);
}
END_TEST

/* What decides about #UD after decoding, or is never offered. */
static bool host_may_differ(const struct insn *i, unsigned code_size, const u8 *bytes)
{
    bool lock = memchr(bytes, 0xf0, 4);
    unsigned space, map;
    u8 opcode;

    locate(code_size, bytes, &space, &map, &opcode);
    if (space != SPACE_LEGACY)
        return false;
    /* XOP, which a processor without it may still decode to its full length. */
    if (map == MAP_1B && opcode == 0x8f)
        return true;
    if (map != MAP_0F)
        return false;
    switch (opcode) {
    case 0x00: return lock; /* LOCK VERW of memory: SDM 2 says #UD, AMD accepts it */
    case 0x01: return exemption_of(i, space, map);
    case 0x20:
    case 0x22: return lock; /* MOV CR8 with AltMovCr8, which is not offered */
    case 0x34:
    case 0x35: return true; /* SYSENTER: #UD in all of long mode on AMD; the body knows */
    default: return false;
    }
}

START_TEST(host_confirms_random_encodings)
{
    struct comparison *c = malloc(sizeof(*c));
    const char *env = getenv("PROBES");
    unsigned count = env ? (unsigned)atoi(env) : 3000;
    u64 seed = env ? count : 7;
    u8 bytes[32];

    comparison_start(c);
    for (unsigned n = 0; n < count && c->probe; n++) {
        unsigned code_size = 2u << n % 3;
        struct outcome a;
        struct insn i;
        bool known;

        random_encoding(&seed, code_size, bytes);
        a = ours(c, code_size, bytes, &i);
        c->compared++;
        if (!host_agrees(c, code_size, bytes, a, &known) && known &&
            !host_may_differ(&i, code_size, bytes)) {
            c->failed++;
            report("host differs", code_size, bytes, &i, a, a);
        }
    }
    comparison_end(c, "host");
    free(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decoder");
    TCase *capstone_case = tcase_create("capstone");

    tcase_set_timeout(capstone_case, 100);
    tcase_add_loop_test(capstone_case, legacy_maps_agree, 0, 3);
    tcase_add_loop_test(capstone_case, vex_maps_agree, 0, 2);
    tcase_add_test(capstone_case, random_bytes_agree);
    tcase_add_test(capstone_case, host_confirms_random_encodings);
    suite_add_tcase(suite, capstone_case);
    return suite_run(suite);
}
