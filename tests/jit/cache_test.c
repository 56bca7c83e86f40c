/* SPDX-License-Identifier: MIT
 *
 * The code cache: two views of one memory, regions, and life with a cache that is always full.
 */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/jit/small_cache.h"
#include "tests/suite.h"

/* No page is both writable and executable, and what is written in one view is in the other. */
START_TEST(views_are_separate)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], rights[8];
    u64 from, to, seen = 0;

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps)) {
        ck_assert_int_eq(sscanf(line, "%lx-%lx %7s", &from, &to, rights), 3);
        ck_assert_msg(!(strchr(rights, 'w') && strchr(rights, 'x')), "%s", line);
        if (strstr(line, "lockstep-code"))
            seen++;
    }
    fclose(maps);
    ck_assert_uint_eq(seen, 2);
    j->code[JIT_CACHE_MIN - 1] = 0xc3;
    ck_assert_uint_eq(*(u8 *)(j->code + j->delta + JIT_CACHE_MIN - 1), 0xc3);
}
END_TEST

/* As on a host whose policy forbids it: mmap() of shared executable memory fails (this process
 * ends with the test). */
static void forbid_executable_memory(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_SHARED, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(without_executable_memory_the_interpreter_is_offered)
{
    const struct jit_options options = {.optimisations = JIT_ALL};
    struct error err = {""};
    struct machine other;

    machine_create(&other);
    forbid_executable_memory();
    ck_assert_int_eq(jit_create(other.v, &options, &err), ST_UNSUPPORTED);
    ck_assert_str_eq(err.text, "The host allows no executable memory for translated code; choose "
                               "-engine interp.");
    ck_assert_ptr_null(other.v->jit.owner);
    ck_assert_int_eq(MACHINE_EXECUTE(&other, 0x90), -1); /* which works */
    machine_destroy(&other);
}
END_TEST

START_TEST(regions_are_used_in_turn)
{
    u8 *first = jit_arena(j, 100), *code = j->emit.at;
    unsigned count = 0;

    ck_assert_ptr_nonnull(first);
    while (jit_arena(j, 1 << 16))
        count++;
    ck_assert_uint_eq(count, (j->arena_size / REGIONS >> 16) - 1);
    for (unsigned n = 1; n < REGIONS; n++) {
        jit_cache_advance(j);
        ck_assert(j->emit.at >= code + n * ((u64)(j->emit.end - j->emit.at)));
        ck_assert(j->emit.end <= j->code + j->code_size);
        ck_assert_ptr_eq(jit_arena(j, 100), first + n * (j->arena_size / REGIONS));
    }
    jit_cache_advance(j);
    ck_assert_ptr_eq(jit_arena(j, 100), first);
    ck_assert_ptr_eq(j->emit.at, code);
}
END_TEST

START_TEST(eviction_takes_the_oldest)
{
    struct jit_block *blocks[REGIONS];

    for (unsigned n = 0; n < REGIONS; n++) {
        struct jit_block *b = blocks[n] = jit_arena(j, sizeof(*b));

        *b = (struct jit_block){
            .key = 0x1000, .rip = 0x40001000 + ((u64)n << 32), .mode = 5, .page = &m.ram.pages[1]};
        jit_block_insert(j, b);
        jit_cache_advance(j); /* the last time: the first region is evicted */
    }
    for (unsigned n = 0; n < REGIONS; n++)
        ck_assert_ptr_eq(jit_block_find(j, 0x1000, 0x40001000 + ((u64)n << 32), 5),
                         n ? blocks[n] : NULL);
    ck_assert_uint_eq(j->stats.evictions, 1);
    jit_cache_flush(j);
    for (unsigned n = 0; n < REGIONS; n++)
        ck_assert_ptr_null(jit_block_find(j, 0x1000, 0x40001000 + ((u64)n << 32), 5));
    ck_assert_uint_eq(j->stats.evictions, REGIONS);
    ck_assert_uint_eq(j->stats.flushes, 1);
}
END_TEST

/* Code of many pages, over and over: more than a cache of 256 KiB holds. Each page adds its number
 * to RAX and jumps to the next. */
START_TEST(small_cache_is_evicted_and_the_run_goes_on)
{
    enum { PAGES = 2500, FIRST = 0x100000 };
    struct jit_stats stats;
    u64 sum = 0;

    machine_start(&m, MACHINE_LONG);
    for (u32 n = 0; n < PAGES; n++) {
        u8 code[32] = {0x48, 0x05}; /* add rax, n */
        u32 to = (n + 1) % PAGES * 4096 - n * 4096;

        sum += n;
        store_le(code + 2, n, 4);
        if (n == PAGES - 1) { /* dec rcx; jnz first; hlt */
            memcpy(code + 6, "\x48\xff\xc9\x0f\x85", 5);
            store_le(code + 11, (u32)(0 - (PAGES - 1) * 4096 - 15), 4);
            code[15] = 0xf4;
        } else {
            code[6] = 0xe9;
            store_le(code + 7, to - 11, 4);
        }
        physmap_write(m.map, FIRST + n * 4096, code, sizeof(code));
    }
    m.v->rip = FIRST;
    m.v->gpr[RAX] = 0;
    m.v->gpr[RCX] = 20;
    ck_assert_int_eq(jit_run(m.v, 1000000), EXIT_IDLE);
    ck_assert_uint_eq(m.v->gpr[RAX], 20 * sum);
    jit_stats(m.v, &stats);
    ck_assert_uint_gt(stats.evictions, 10 * REGIONS);
    ck_assert_uint_gt(stats.blocks, PAGES);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cache");
    TCase *t = tcase_create("cache");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, views_are_separate);
    tcase_add_test(t, without_executable_memory_the_interpreter_is_offered);
    tcase_add_test(t, regions_are_used_in_turn);
    tcase_add_test(t, eviction_takes_the_oldest);
    tcase_add_test(t, small_cache_is_evicted_and_the_run_goes_on);
    return suite_run(s);
}
