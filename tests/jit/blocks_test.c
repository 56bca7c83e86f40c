/* SPDX-License-Identifier: MIT
 *
 * Blocks: found by place, RIP and mode; what dies when, what comes back, and what leads to it.
 */
#include <check.h>
#include <string.h>

#include "tests/jit/small_cache.h"
#include "tests/suite.h"

/* A block at RIP 0x40001000 whose instruction is the byte at 0x1000 of RAM, a NOP. */
static const struct jit_insn nop = {.rip = 0x40001000, .insn = {.len = 1, .bytes = {0x90}}};

static struct jit_block block_of_nop(void)
{
    struct jit_block b = {.key = 0x1000,
                          .rip = 0x40001000,
                          .mode = 5,
                          .page = &m.ram.pages[1],
                          .granules = 1,
                          .count = 1,
                          .entry_host = 0x1111,
                          .entry_saved = 0x2222,
                          .entry_guarded = 0x3333};

    ck_assert(jit_block_note_bytes(j, &b, &nop));
    m.ram.hva[0x1000] = 0x90;
    physmap_protect_code(m.map, m.ram.hva + 0x1000, 1);
    jit_follow_hits(j);
    b.generation = m.ram.pages[1].generation;
    return b;
}

static struct jit_block *find_nop(void)
{
    return jit_block_find(j, 0x1000, 0x40001000, 5);
}

START_TEST(blocks_are_found_by_all_that_they_depend_on)
{
    struct jit_block b = block_of_nop();

    jit_block_insert(j, &b);
    ck_assert_ptr_eq(find_nop(), &b);
    ck_assert_ptr_null(jit_block_find(j, 0x1001, 0x40001000, 5));
    ck_assert_ptr_null(jit_block_find(j, 0x1000, 0x50001000, 5));
    ck_assert_ptr_null(jit_block_find(j, 0x1000, 0x40001000, 4));
}
END_TEST

static void store(u64 gpa, u8 value)
{
    m.ram.hva[gpa] = value;
    ram_written(&m.ram, m.ram.hva + gpa, 1);
    jit_follow_hits(j);
}

START_TEST(blocks_die_with_their_granules)
{
    struct jit_block b = block_of_nop();

    jit_block_insert(j, &b);
    physmap_protect_code(m.map, m.ram.hva + 0x1040, 1);
    store(0x1040, 1); /* other code of the page */
    ck_assert_ptr_eq(find_nop(), &b);
    store(0x103f, 1); /* its own granule */
    ck_assert_ptr_null(find_nop());
    ck_assert(b.dead);
}
END_TEST

START_TEST(blocks_live_again_with_their_bytes)
{
    struct jit_block b = block_of_nop();

    jit_block_insert(j, &b);
    store(0x1000, 0xf4);
    ck_assert_ptr_null(jit_block_revive(j, 0x1000, 0x40001000, 5));
    store(0x1000, 0x90);
    ck_assert_ptr_null(jit_block_revive(j, 0x1000, 0x40001000, 4));
    ck_assert_ptr_eq(jit_block_revive(j, 0x1000, 0x40001000, 5), &b);
    ck_assert_ptr_eq(find_nop(), &b);
    store(0x1001, 1); /* it is watched again */
    ck_assert_ptr_null(find_nop());
    ck_assert_ptr_eq(jit_block_revive(j, 0x1000, 0x40001000, 5), &b);
    jit_block_kill(j, &b, false);
    ck_assert_ptr_null(jit_block_revive(j, 0x1000, 0x40001000, 5));
}
END_TEST

/* Instructions that follow each other are one span; a jump begins the next. */
START_TEST(all_bytes_are_compared)
{
    static const struct jit_insn insns[] = {
        {.rip = 0x40001000, .insn = {.len = 2, .bytes = {0x89, 0xc8}}},
        {.rip = 0x40001002, .insn = {.len = 2, .bytes = {0xeb, 0x0c}}},
        {.rip = 0x40001010, .insn = {.len = 1, .bytes = {0xf4}}},
    };
    static const struct {
        u64 at;
        u8 bytes[4];
    } in_memory[] = {{0x1000, {0x89, 0xc8, 0xeb, 0x0c}}, {0x1010, {0xf4}}};
    struct jit_block b = block_of_nop();

    b.count = ARRAY_SIZE(insns);
    ck_assert(jit_block_note_bytes(j, &b, insns));
    ck_assert_uint_eq(b.span_count, 2);
    ck_assert_uint_eq(b.beyond_size, 0);
    for (unsigned n = 0; n < ARRAY_SIZE(in_memory); n++)
        memcpy(m.ram.hva + in_memory[n].at, in_memory[n].bytes, 4);
    jit_block_insert(j, &b);
    for (u64 n = 0; n <= 0x10; n++) {
        bool its_own = n < 4 || n == 0x10;

        m.ram.hva[0x1000 + n] ^= 1;
        jit_block_kill(j, &b, true);
        ck_assert_ptr_eq(jit_block_revive(j, 0x1000, 0x40001000, 5), its_own ? NULL : &b);
        m.ram.hva[0x1000 + n] ^= 1;
    }
    jit_block_kill(j, &b, true);
    ck_assert_ptr_eq(jit_block_revive(j, 0x1000, 0x40001000, 5), &b);
}
END_TEST

/* Of an instruction in two pages the end is noted behind the spans. */
START_TEST(the_end_in_the_next_page_is_noted)
{
    static const struct jit_insn mov = {.rip = 0x40001ffe,
                                        .insn = {.len = 5, .bytes = {0xb8, 1, 2, 3, 4}}};
    struct jit_block b = block_of_nop();

    b.key = 0x1ffe, b.rip = mov.rip, b.beyond = m.ram.hva + 0x5000;
    ck_assert(jit_block_note_bytes(j, &b, &mov));
    ck_assert_uint_eq(b.span_count, 1);
    ck_assert_uint_eq(b.spans[0].at, 0xffe);
    ck_assert_uint_eq(b.spans[0].size, 2);
    ck_assert_uint_eq(b.beyond_size, 3);
    ck_assert_mem_eq(jit_block_bytes(&b), mov.insn.bytes, 5);
}
END_TEST

START_TEST(a_full_region_takes_no_bytes)
{
    struct jit_block b = block_of_nop();

    while (jit_arena(j, 16)) {
    }
    ck_assert(!jit_block_note_bytes(j, &b, &nop));
}
END_TEST

/* Each instruction that a body may be called for is kept once, the others are not. */
START_TEST(instructions_without_bodies_are_not_kept)
{
    static const u8 code[] = {0x01, 0xc8, 0x01, 0xc8, 0x01, 0xc8, 0x01, 0xc8, /* add eax, ecx */
                              0x0f, 0xa2, 0x0f, 0xa2, 0xf4};                  /* cpuid; hlt */
    const struct jit_block *b;
    size_t before;

    machine_start(&m, MACHINE_LONG);
    machine_put(&m, MACHINE_CODE, code, sizeof(code));
    before = j->arena_used;
    b = jit_translate(j, MACHINE_CODE, jit_mode(m.v));
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(b->count, 7);
    ck_assert_ptr_null(b->insns);
    ck_assert_uint_ge(j->arena_used - before, sizeof(*b) + 3 * sizeof(struct jit_insn));
    ck_assert_uint_lt(j->arena_used - before, sizeof(*b) + 4 * sizeof(struct jit_insn));
}
END_TEST

START_TEST(few_dead_versions_are_kept)
{
    struct jit_block b[DEAD_VERSIONS + 3];
    unsigned found = 0;

    for (unsigned n = 0; n < ARRAY_SIZE(b); n++) {
        b[n] = block_of_nop();
        jit_block_insert(j, &b[n]);
        store(0x1000, 0xf4);
    }
    store(0x1000, 0x90);
    for (struct jit_block *r; (r = jit_block_revive(j, 0x1000, 0x40001000, 5)); found++) {
        ck_assert_ptr_eq(r, &b[ARRAY_SIZE(b) - 1 - found]); /* the newest first */
        jit_block_kill(j, r, false);
    }
    ck_assert_uint_eq(found, DEAD_VERSIONS);
}
END_TEST

/* More hits than the log holds: what is in pages that were hit dies, the rest does not. */
START_TEST(lost_hits_kill_by_page)
{
    struct jit_block b = block_of_nop(), far = b;

    far.key = 0x2000, far.rip = 0x40002000, far.page = &m.ram.pages[2];
    far.generation = m.ram.pages[2].generation;
    physmap_protect_code(m.map, m.ram.hva + 0x2000, 1);
    jit_block_insert(j, &b);
    jit_block_insert(j, &far);
    for (unsigned n = 0; n < RAM_HITS + 1; n++) {
        physmap_protect_code(m.map, m.ram.hva + 0x1040, 1);
        ram_written(&m.ram, m.ram.hva + 0x1040, 1);
    }
    jit_follow_hits(j);
    ck_assert_ptr_null(find_nop());
    ck_assert_ptr_eq(jit_block_find(j, 0x2000, 0x40002000, 5), &far);
    jit_block_kill(j, &far, false);
}
END_TEST

/* Where a jump of 4 bytes at code goes. */
static u64 goes_to(const u8 *rel32)
{
    return (u64)rel32 + j->delta + 4 + (u64)(i64)(i32)load_le(rel32, 4);
}

START_TEST(nothing_leads_into_dead_code)
{
    u64 code = (u64)j->code_start + j->delta;
    struct jit_link links[3] = {
        {.rel32 = j->code_start + 8, .stub = code + 0x11},
        {.rel32 = j->code_start + 16, .stub = code + 0x22, .saved = true},
        {.rel32 = j->code_start + 24, .stub = code + 0x33, .guarded = true}};
    struct jit_block b = block_of_nop();
    u32 slot = ((u32)b.rip >> 4 ^ (u32)b.rip) & (JUMP_CACHE - 1);

    b.entry_host = code + 0x1000, b.entry_saved = code + 0x2000, b.entry_guarded = code + 0x3000;
    jit_block_insert(j, &b);
    jit_jump_cache_enter(j, &b);
    ck_assert_uint_eq(jit_jump_cache(j, 5)[slot].tag, b.rip);
    for (unsigned n = 0; n < 3; n++)
        jit_link_to(j, &links[n], &b);
    jit_link_to(j, &links[1], &b); /* again */
    ck_assert_uint_eq(goes_to(links[0].rel32), b.entry_host);
    ck_assert_uint_eq(goes_to(links[1].rel32), b.entry_saved);
    ck_assert_uint_eq(goes_to(links[2].rel32), b.entry_guarded);
    jit_link_cut(j, &links[0]); /* its own block is evicted */
    ck_assert_uint_eq(goes_to(links[0].rel32), links[0].stub);
    ck_assert_uint_eq(goes_to(links[1].rel32), b.entry_saved);
    jit_block_kill(j, &b, true);
    for (unsigned n = 0; n < 3; n++)
        ck_assert_uint_eq(goes_to(links[n].rel32), links[n].stub);
    ck_assert_ptr_null(b.incoming);
    ck_assert_uint_ne(jit_jump_cache(j, 5)[slot].tag, b.rip);
    ck_assert_uint_ne(
        ((u32)jit_jump_cache(j, 5)[slot].tag >> 4 ^ (u32)jit_jump_cache(j, 5)[slot].tag) &
            (JUMP_CACHE - 1),
        slot);
    jit_block_kill(j, &b, false);
}
END_TEST

/* An empty entry must not answer for any target, canonical or not. */
START_TEST(empty_jump_cache_entries_belong_elsewhere)
{
    const struct jump_cache_entry *cache = jit_jump_cache(j, 1);

    for (u32 n = 0; n < JUMP_CACHE; n++)
        ck_assert_uint_ne(((u32)cache[n].tag >> 4 ^ (u32)cache[n].tag) & (JUMP_CACHE - 1), n);
}
END_TEST

START_TEST(more_modes_than_jump_caches)
{
    for (u32 mode = 0; mode < 3 * JUMP_CACHES; mode++) {
        struct jit_block b = {.rip = 0x777, .mode = mode, .entry_guarded = mode};

        jit_jump_cache_enter(j, &b);
        ck_assert_uint_eq(jit_jump_cache(j, mode)[(0x777 >> 4 ^ 0x777) & (JUMP_CACHE - 1)].code,
                          mode);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("blocks");
    TCase *t = tcase_create("blocks");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, blocks_are_found_by_all_that_they_depend_on);
    tcase_add_test(t, blocks_die_with_their_granules);
    tcase_add_test(t, blocks_live_again_with_their_bytes);
    tcase_add_test(t, all_bytes_are_compared);
    tcase_add_test(t, the_end_in_the_next_page_is_noted);
    tcase_add_test(t, a_full_region_takes_no_bytes);
    tcase_add_test(t, instructions_without_bodies_are_not_kept);
    tcase_add_test(t, few_dead_versions_are_kept);
    tcase_add_test(t, lost_hits_kill_by_page);
    tcase_add_test(t, nothing_leads_into_dead_code);
    tcase_add_test(t, empty_jump_cache_entries_belong_elsewhere);
    tcase_add_test(t, more_modes_than_jump_caches);
    return suite_run(s);
}
