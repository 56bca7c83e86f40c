/* SPDX-License-Identifier: MIT
 *
 * String instructions: against the host in every size, direction, prefix and address size, fast and
 * one element at a time; faults in the middle; stretches and pages.
 */
#include "tests/cpu/oracle.h"

#include <check.h>

#include "tests/cpu/body.h"
#include "tests/suite.h"

enum { ROUNDS = 300 };

static struct oracle oracle;

static void describe(const u8 *bytes, unsigned size, const struct oracle_state *host,
                     const struct oracle_state *guest)
{
    for (unsigned n = 0; n < size; n++)
        fprintf(stderr, "%02x ", bytes[n]);
    fprintf(stderr, "\nflags host %lx guest %lx\n", host->rflags, guest->rflags);
    for (unsigned r = 0; r < 8; r++)
        fprintf(stderr, "r%u host %lx guest %lx\n", r, host->gpr[r], guest->gpr[r]);
}

static void randomize(struct oracle_state *s, unsigned reach)
{
    memset(s, 0, sizeof(*s));
    for (unsigned r = 0; r < 16; r++)
        s->gpr[r] = oracle_value(&oracle);
    s->gpr[RSP] = MACHINE_STACK;
    s->gpr[RDI] = oracle_random(&oracle) % (2 * reach) - reach;
    s->gpr[RSI] = oracle_random(&oracle) % (2 * reach) - reach;
    s->gpr[RCX] = oracle_random(&oracle) % 24;
    if (oracle_random(&oracle) % 2)
        s->gpr[RAX] = 0x0101010101010101;
    /* Mostly equal bytes, so that comparisons run on. */
    memset(s->window, 1, ORACLE_WINDOW);
    for (unsigned n = 0; n < 40; n++)
        s->window[oracle_random(&oracle) % ORACLE_WINDOW] = (u8)oracle_random(&oracle);
    s->rflags = F_1 | F_IF | (oracle_random(&oracle) & (F_OSZAPC | F_DF));
}

/* prefix: 0, REP or REPNE; rex_w and prefix66 choose the size; address32: 67h. */
static void try_string(u8 opcode, u8 prefix, unsigned osz, bool address32)
{
    static struct oracle_state before, host, guest;
    u8 bytes[8], size = 0;
    struct insn i;

    if (address32)
        bytes[size++] = 0x67;
    if (prefix)
        bytes[size++] = prefix;
    if (osz == 2)
        bytes[size++] = 0x66;
    if (osz == 8)
        bytes[size++] = 0x48;
    bytes[size++] = opcode;
    for (unsigned round = 0; round < ROUNDS; round++) {
        randomize(&before, 200);
        if (address32 && !prefix)
            before.gpr[RCX] = oracle_value(&oracle);
        host = guest = before;
        ck_assert_int_eq(oracle_host(&oracle, bytes, size, &host), 0);
        ck_assert(oracle_guest(&oracle, bytes, size, &guest, &i));
        if (memcmp(host.gpr, guest.gpr, sizeof(host.gpr)) || host.rflags != guest.rflags ||
            memcmp(host.window, guest.window, ORACLE_WINDOW)) {
            describe(bytes, size, &host, &guest);
            ck_abort_msg("opcode %02x prefix %02x osz %u differs from the host", opcode, prefix,
                         osz);
        }
    }
}

static void try_all(void)
{
    static const u8 opcodes[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae}, prefixes[] = {0, 0xf3, 0xf2};

    for (unsigned n = 0; n < ARRAY_SIZE(opcodes); n++) {
        for (unsigned p = 0; p < ARRAY_SIZE(prefixes); p++) {
            for (unsigned osz = 1; osz <= 8; osz *= 2) {
                try_string((u8)(opcodes[n] + (osz > 1)), prefixes[p], osz, false);
                try_string((u8)(opcodes[n] + (osz > 1)), prefixes[p], osz, true);
            }
        }
    }
}

START_TEST(as_on_the_host)
{
    oracle_create(&oracle);
    oracle.rsi_relative = true;
    oracle.careful = _i;
    try_all();
    oracle_destroy(&oracle);
}
END_TEST

/* -- one instruction in a machine -- */

START_TEST(fault_in_the_middle_leaves_completed_iterations)
{
    struct vcpu *v = machine.v;

    body_page(&machine, BODY_PAGES + 0x2000, 0);
    v->gpr[RDI] = 0x801ff0;
    v->gpr[RSI] = MACHINE_DATA;
    v->gpr[RCX] = 100;
    ck_assert(!BODY(&machine, 0xf3, 0xa4)); /* REP MOVSB */
    ck_assert_uint_eq(v->fault.vector, VEC_PF);
    ck_assert_uint_eq(v->fault.cr2, 0x802000);
    ck_assert_uint_eq(v->fault.error, PF_W);
    ck_assert_uint_eq(v->gpr[RCX], 84);
    ck_assert_uint_eq(v->gpr[RDI], 0x802000);
    ck_assert_uint_eq(v->gpr[RSI], MACHINE_DATA + 16);
    v->gpr[RDI] = 0x801ffd; /* the fifth element straddles */
    v->gpr[RCX] = 9;
    ck_assert(!BODY(&machine, 0xf3, 0xab)); /* REP STOSD */
    ck_assert_uint_eq(v->gpr[RDI], 0x801ffd);
    ck_assert_uint_eq(v->gpr[RCX], 9);
    ck_assert_uint_eq(v->fault.cr2, 0x802000);
}
END_TEST

START_TEST(long_runs_ask_to_be_repeated)
{
    struct vcpu *v = machine.v;
    unsigned calls = 0;

    v->gpr[RAX] = 0x1122334455667788;
    v->gpr[RCX] = 20000;
    v->rflags |= F_DF;
    v->gpr[RDI] = 0x400000; /* downwards over many pages */
    do {
        u64 before = v->gpr[RCX];

        ck_assert(BODY(&machine, 0xf3, 0x48, 0xab));
        ck_assert_uint_le(before - v->gpr[RCX], 5000);
        calls++;
    } while (v->repeat);
    ck_assert_uint_eq(v->gpr[RCX], 0);
    ck_assert_uint_eq(v->gpr[RDI], 0x400000 - 8 * 20000);
    ck_assert_uint_ge(calls, 4);
    ck_assert_uint_eq(machine_get(&machine, 0x400000, 8), 0x1122334455667788);
    ck_assert_uint_eq(machine_get(&machine, 0x400000 - 8 * 19999, 8), 0x1122334455667788);
    ck_assert_uint_eq(machine_get(&machine, 0x400000 - 8 * 20000, 8), 0);
}
END_TEST

START_TEST(overlapping_copy_repeats_the_pattern)
{
    struct vcpu *v = machine.v;

    machine_put(&machine, MACHINE_DATA, "abc", 3);
    v->gpr[RSI] = MACHINE_DATA;
    v->gpr[RDI] = MACHINE_DATA + 3;
    v->gpr[RCX] = 6000;
    do
        ck_assert(BODY(&machine, 0xf3, 0xa4));
    while (v->repeat);
    for (unsigned n = 0; n < 6003; n++)
        ck_assert_uint_eq(machine_get(&machine, MACHINE_DATA + n, 1), "abc"[n % 3]);
}
END_TEST

START_TEST(sixteen_bit_indexes_wrap)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_REAL);
    v->gpr[RDI] = 0xabcdfffe;
    v->gpr[RAX] = 0x5a;
    v->gpr[RCX] = 0x10004;
    ck_assert(BODY(&machine, 0xf3, 0xaa));
    ck_assert_uint_eq(v->gpr[RDI], 0xabcd0002);
    ck_assert_uint_eq(v->gpr[RCX], 0x10000);
    ck_assert_uint_eq(machine_get(&machine, 0xffff, 1), 0x5a);
    ck_assert_uint_eq(machine_get(&machine, 0x0001, 1), 0x5a);
    ck_assert_uint_ne(machine_get(&machine, 0x0002, 1), 0x5a);
}
END_TEST

START_TEST(override_is_for_the_source_only)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_PROT32);
    v->seg[SEG_FS].base = 0x1000;
    machine_put_uint(&machine, MACHINE_DATA + 0x1000, 0x77, 1);
    v->gpr[RSI] = MACHINE_DATA;
    v->gpr[RDI] = MACHINE_DATA + 0x20;
    ck_assert(BODY(&machine, 0x64, 0xa4));
    ck_assert_uint_eq(machine_get(&machine, MACHINE_DATA + 0x20, 1), 0x77);
}
END_TEST

START_TEST(stores_to_code_pages_are_noticed)
{
    struct vcpu *v = machine.v;
    u8 *hva = machine.ram.hva + MACHINE_DATA;
    u32 generation;

    physmap_protect_code(machine.map, hva, 64);
    generation = machine.ram.pages[MACHINE_DATA / PAGE_SIZE].generation;
    v->gpr[RDI] = MACHINE_DATA;
    v->gpr[RCX] = 8;
    ck_assert(BODY(&machine, 0xf3, 0xaa));
    ck_assert_uint_ne(machine.ram.pages[MACHINE_DATA / PAGE_SIZE].generation, generation);
    ck_assert_uint_eq(v->gpr[RCX], 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/string");
    TCase *host = tcase_create("host"), *tests = tcase_create("string");

    tcase_set_timeout(host, 60);
    tcase_add_loop_test(host, as_on_the_host, 0, 2);
    tcase_add_checked_fixture(tests, body_setup, body_teardown);
    tcase_add_test(tests, fault_in_the_middle_leaves_completed_iterations);
    tcase_add_test(tests, long_runs_ask_to_be_repeated);
    tcase_add_test(tests, overlapping_copy_repeats_the_pattern);
    tcase_add_test(tests, sixteen_bit_indexes_wrap);
    tcase_add_test(tests, override_is_for_the_source_only);
    tcase_add_test(tests, stores_to_code_pages_are_noticed);
    suite_add_tcase(suite, host);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
