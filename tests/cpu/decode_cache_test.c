/* SPDX-License-Identifier: MIT
 *
 * The decode cache: where runs end, what makes them stale, what is never cached.
 */
#include <check.h>

#include "cpu/decode_cache.h"
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

static const struct decode_run *lookup(u64 rip)
{
    const struct decode_run *run = decode_cache_lookup(m.v, rip);

    ck_assert_ptr_nonnull(run);
    return run;
}

START_TEST(run_ends_at_a_branch)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0xff, 0xc0, 0xeb, 0xfe, 0x90);
    machine_start(&m, MACHINE_LONG);
    const struct decode_run *run = lookup(MACHINE_CODE);
    ck_assert_uint_eq(run->count, 3);
    ck_assert_uint_eq(run->bytes, 5);
    ck_assert_uint_eq(run->insns[1].id, INSN_INC_Ev);
    ck_assert_uint_eq(run->insns[2].id, INSN_JMP_Jb);
    ck_assert(run->insns[2].body == op_JMP_Jb);
    ck_assert_ptr_eq(lookup(MACHINE_CODE), run);
    ck_assert_uint_eq(lookup(MACHINE_CODE + 1)->count, 2);
}
END_TEST

START_TEST(run_has_a_maximum)
{
    u8 nops[100];

    memset(nops, 0x90, sizeof(nops));
    machine_code(&m, nops, sizeof(nops));
    machine_start(&m, MACHINE_LONG);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->count, RUN_INSNS_MAX);
}
END_TEST

/* A run stops before the instruction that crosses its page; that one is for one use. */
START_TEST(run_ends_at_the_page)
{
    const u64 end = MACHINE_CODE + PAGE_SIZE;

    machine_start(&m, MACHINE_LONG);
    machine_put(&m, end - 4, "\x90\x90\xb8\x01\x02\x03\x04\x90", 8);
    ck_assert_uint_eq(lookup(end - 4)->count, 2);
    const struct decode_run *run = lookup(end - 2);
    ck_assert_uint_eq(run->count, 1);
    ck_assert_ptr_null(run->page);
    ck_assert_int_eq(run->insns[0].imm, 0x04030201);
    machine_put(&m, end - 1, "\x90", 1);
    ck_assert_uint_eq(lookup(end - 1)->count, 1);
}
END_TEST

START_TEST(stores_make_runs_stale)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0x90, 0xeb, 0xfe);
    machine_start(&m, MACHINE_LONG);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->insns[0].id, INSN_NOP);
    machine_put(&m, MACHINE_CODE, "\xf8", 1);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->insns[0].id, INSN_CLC);

    /* Data on the same page but in another granule leaves it alone. */
    const struct decode_run *run = lookup(MACHINE_CODE);
    machine_put(&m, MACHINE_CODE + 0x800, "\xff", 1);
    ck_assert_ptr_eq(lookup(MACHINE_CODE), run);
}
END_TEST

/* An instruction whose tail lies in the next granule is hit by a store there. */
START_TEST(granule_crossing_is_watched)
{
    const u64 at = MACHINE_CODE + 64 - 2;

    machine_start(&m, MACHINE_LONG);
    machine_put(&m, at, "\xb8\x01\x00\x00\x00\xeb\xfe", 7);
    ck_assert_int_eq(lookup(at)->insns[0].imm, 1);
    machine_put(&m, at + 4, "\x7f", 1);
    ck_assert_int_eq(lookup(at)->insns[0].imm, 0x7f000001);
}
END_TEST

/* A run over several granules is hit by a store to any instruction of it. */
START_TEST(every_granule_of_a_run_is_watched)
{
    u8 movs[RUN_INSNS_MAX * 7];

    for (unsigned n = 0; n < RUN_INSNS_MAX; n++)
        memcpy(movs + 7 * n, "\x48\xc7\xc0\x01\x00\x00\x00", 7); /* mov rax, 1 */
    machine_code(&m, movs, sizeof(movs));
    machine_start(&m, MACHINE_LONG);
    for (unsigned n = 0; n < RUN_INSNS_MAX; n++) {
        ck_assert_uint_eq(lookup(MACHINE_CODE)->count, RUN_INSNS_MAX);
        machine_put(&m, MACHINE_CODE + 7 * n + 3, "\x7f", 1);
        ck_assert_int_eq(lookup(MACHINE_CODE)->insns[n].imm, 0x7f);
    }
}
END_TEST

/* A store of another processor, which hits code that was marked but is not decoded yet. */
static void hit_meanwhile(void *opaque, const u8 *page)
{
    (void)opaque, (void)page;
    machine_put(&m, MACHINE_CODE, "\xf9", 1);
}

START_TEST(store_between_mark_and_decoding)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0xeb, 0xfe);
    machine_start(&m, MACHINE_LONG);
    ck_assert(ram_note_writer(m.v->ram, m.v->ram->hva + MACHINE_CODE));
    physmap_set_listeners(m.map, NULL, hit_meanwhile, NULL);
    lookup(MACHINE_CODE);
    physmap_set_listeners(m.map, NULL, NULL, NULL);
    machine_put(&m, MACHINE_CODE, "\xf8", 1);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->insns[0].id, INSN_CLC);
}
END_TEST

START_TEST(modes_are_kept_apart)
{
    MACHINE_CODE_BYTES(&m, 0x48, 0xff, 0xc0); /* inc rax; dec eax, inc eax */
    machine_start(&m, MACHINE_LONG);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->insns[0].len, 3);
    machine_start(&m, MACHINE_PROT32);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->insns[0].id, INSN_DEC_Zv);
    machine_start(&m, MACHINE_REAL);
    ck_assert_uint_eq(lookup(0)->insns[0].osz, 2);
    machine_start(&m, MACHINE_LONG);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->insns[0].len, 3);
}
END_TEST

START_TEST(two_mappings_share_a_run)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0xeb, 0xfe);
    machine_start(&m, MACHINE_LONG);
    /* 1 GiB + x is mapped to x as well. */
    for (unsigned e = 0; e < 8; e++)
        machine_put_uint(&m, MACHINE_PML4 + 0x3000 + e * 8, (u64)e << 21 | 0xe7, 8);
    const struct decode_run *run = lookup(MACHINE_CODE);
    ck_assert_ptr_eq(lookup(GIB(1) + MACHINE_CODE), run);
}
END_TEST

START_TEST(full_arena_is_emptied)
{
    machine_start(&m, MACHINE_LONG);
    u8 code[PAGE_SIZE];
    memset(code, 0x90, sizeof(code));
    /* Every byte of 16 pages starts a run of 32 instructions: more than the arena holds. */
    for (u64 page = MACHINE_DATA; page < MACHINE_DATA + 17 * PAGE_SIZE; page += PAGE_SIZE)
        machine_put(&m, page, code, sizeof(code));
    for (u64 at = MACHINE_DATA; at < MACHINE_DATA + 16 * PAGE_SIZE; at++) {
        const struct decode_run *run = lookup(at);
        unsigned room = PAGE_SIZE - (at & (PAGE_SIZE - 1));

        ck_assert_uint_eq(run->count, room < RUN_INSNS_MAX ? room : RUN_INSNS_MAX);
    }
}
END_TEST

START_TEST(undefined_opcode_ends_a_run)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0x0f, 0x0a, 0x90);
    machine_start(&m, MACHINE_LONG);
    const struct decode_run *run = lookup(MACHINE_CODE);
    ck_assert_uint_eq(run->count, 2);
    ck_assert_uint_eq(run->insns[1].id, INSN_INVALID);
}
END_TEST

START_TEST(fetch_faults_are_recorded)
{
    machine_start(&m, MACHINE_LONG);
    ck_assert_ptr_null(decode_cache_lookup(m.v, BIT(47)));
    ck_assert(m.v->fault.pending);
    ck_assert_uint_eq(m.v->fault.vector, VEC_GP);
    ck_assert_ptr_null(decode_cache_lookup(m.v, GIB(8)));
    ck_assert_uint_eq(m.v->fault.vector, VEC_PF);
    ck_assert_uint_eq(m.v->fault.cr2, GIB(8));
}
END_TEST

START_TEST(flush_forgets)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0xeb, 0xfe);
    machine_start(&m, MACHINE_LONG);
    u64 key = lookup(MACHINE_CODE)->key;
    decode_cache_flush(m.v->decode);
    ck_assert_uint_eq(lookup(MACHINE_CODE)->key, key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decode_cache");
    TCase *c = tcase_create("runs");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, run_ends_at_a_branch);
    tcase_add_test(c, run_has_a_maximum);
    tcase_add_test(c, run_ends_at_the_page);
    tcase_add_test(c, stores_make_runs_stale);
    tcase_add_test(c, granule_crossing_is_watched);
    tcase_add_test(c, every_granule_of_a_run_is_watched);
    tcase_add_test(c, store_between_mark_and_decoding);
    tcase_add_test(c, modes_are_kept_apart);
    tcase_add_test(c, two_mappings_share_a_run);
    tcase_add_test(c, full_arena_is_emptied);
    tcase_add_test(c, undefined_opcode_ends_a_run);
    tcase_add_test(c, fetch_faults_are_recorded);
    tcase_add_test(c, flush_forgets);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
