/* SPDX-License-Identifier: MIT
 *
 * Checks that miss while another thread changes the TLB.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/jit/pair.h"
#include "tests/suite.h"

/* As many turns as it takes, if the threads ever run at the same time. */
enum { PAGE = 0x800000, ROUNDS = 1000000, TURNS = 1000, MISSES = 100000 };
#define FAR GIB(4) /* pages this far apart have one slot of the TLB */

static bool started, over;

/* Another vCPU drops the write tag of PAGE, again and again. */
static void *dropper(void *tag)
{
    __atomic_store_n(&started, true, __ATOMIC_RELAXED);
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        __atomic_store_n((u64 *)tag, PAGE, __ATOMIC_RELAXED);
        __atomic_store_n((u64 *)tag, tlb_invalid(tlb_index(PAGE)), __ATOMIC_RELAXED);
    }
    return NULL;
}

static void loop(struct machine *m, u64 count)
{
    m->v->activity = ACTIVITY_RUN;
    m->v->rip = MACHINE_CODE;
    m->v->gpr[RCX] = count;
    while (jit_run(m->v, 1000000) != EXIT_IDLE)
        ;
}

/* Runs a loop that counts ECX down, while the tag is dropped. Once before, as a tag needs a page.
 */
static void run(struct machine *m)
{
    struct jit_stats stats = {0};
    pthread_t thread;

    loop(m, 1);
    started = over = false;
    pthread_create(&thread, NULL, dropper, &m->v->tlb_now->write_tag[tlb_index(PAGE)]);
    while (!__atomic_load_n(&started, __ATOMIC_RELAXED))
        sched_yield();
    for (unsigned turn = 0; turn < TURNS && stats.misses < MISSES; turn++) {
        loop(m, ROUNDS);
        jit_stats(m->v, &stats);
    }
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}

static void start(struct machine *m, const u8 *code, size_t size, u64 address)
{
    const struct jit_options options = {.optimisations = JIT_ALL};
    struct error err = {""};

    machine_create(m);
    ck_assert_int_eq(jit_create(m->v, &options, &err), ST_OK);
    machine_start(m, MACHINE_LONG);
    machine_put_uint(m, MACHINE_PML4 + 0x1000 + 4 * 8, (MACHINE_PML4 + 0x2000) | 7, 8);
    machine_code(m, code, size);
    machine_put_uint(m, 8, 0x1234, 8);
    m->v->gpr[RSI] = address;
    m->v->gpr[RAX] = 0x5678;
}

static void end(struct machine *m)
{
    ck_assert_uint_eq(load_le(m->ram.hva + PAGE + 8, 8), 0x5678);
    jit_destroy(m->v);
    machine_destroy(m);
}

/* A store subtracts the tag that is there, and misses. What its address was is found by another
 * tag, or none; it must not go to FAR, which would be the difference. mov rdi, rsi; mov [rdi], rax;
 * dec ecx; jnz. */
START_TEST(a_tag_that_goes_does_not_move_a_store)
{
    static const u8 code[] = {0x48, 0x89, 0xf7, 0x48, 0x89, 0x07, 0xff, 0xc9, 0x75, 0xf6};
    struct machine m;

    start(&m, code, sizeof(code), FAR + PAGE + 8);
    run(&m);
    ck_assert_uint_eq(load_le(m.ram.hva + 8, 8), 0x1234);
    end(&m);
}
END_TEST

/* Two stores share a check: the tag goes while the first finds out how far the host's page is.
 * mov rdi, rsi; mov [rdi], rax; mov [rdi + 8], rax; dec ecx; jnz. */
START_TEST(a_tag_that_goes_does_not_move_a_group)
{
    static const u8 code[] = {0x48, 0x89, 0xf7, 0x48, 0x89, 0x07, 0x48,
                              0x89, 0x47, 0x08, 0xff, 0xc9, 0x75, 0xf2};
    struct machine m;

    start(&m, code, sizeof(code), PAGE + 8);
    run(&m);
    ck_assert_uint_eq(load_le(m.ram.hva + PAGE + 16, 8), 0x5678);
    end(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("miss");
    TCase *c = tcase_create("miss");

    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_tag_that_goes_does_not_move_a_store);
    tcase_add_test(c, a_tag_that_goes_does_not_move_a_group);
    suite_add_tcase(s, c);
    return suite_run(s);
}
