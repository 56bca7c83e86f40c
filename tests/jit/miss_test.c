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

/* Another vCPU drops the write tag of another page of that slot, again and again. */
static void *dropper(void *tag)
{
    __atomic_store_n(&started, true, __ATOMIC_RELAXED);
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        __atomic_store_n((u64 *)tag, PAGE, __ATOMIC_RELAXED);
        __atomic_store_n((u64 *)tag, tlb_invalid(tlb_index(PAGE)), __ATOMIC_RELAXED);
    }
    return NULL;
}

/* A store subtracts the tag that is there, and misses. What its address was is found by another
 * tag, or none; it must not go to FAR, which would be the difference. mov rdi, rsi; mov [rdi], rax;
 * dec ecx; jnz.
 */
START_TEST(a_tag_that_goes_does_not_move_a_store)
{
    static const u8 code[] = {0x48, 0x89, 0xf7, 0x48, 0x89, 0x07, 0xff, 0xc9, 0x75, 0xf6};
    const struct jit_options options = {.optimisations = JIT_ALL};
    struct error err = {""};
    struct jit_stats stats = {0};
    struct machine m;
    pthread_t thread;

    machine_create(&m);
    ck_assert_int_eq(jit_create(m.v, &options, &err), ST_OK);
    machine_start(&m, MACHINE_LONG);
    machine_put_uint(&m, MACHINE_PML4 + 0x1000 + 4 * 8, (MACHINE_PML4 + 0x2000) | 7, 8);
    machine_code(&m, code, sizeof(code));
    machine_put_uint(&m, 8, 0x1234, 8);
    m.v->gpr[RSI] = FAR + PAGE + 8;
    m.v->gpr[RAX] = 0x5678;
    started = over = false;
    pthread_create(&thread, NULL, dropper, &m.v->tlb_now->write_tag[tlb_index(PAGE)]);
    while (!__atomic_load_n(&started, __ATOMIC_RELAXED))
        sched_yield();
    for (unsigned turn = 0; turn < TURNS && stats.misses < MISSES; turn++) {
        m.v->activity = ACTIVITY_RUN;
        m.v->rip = MACHINE_CODE;
        m.v->gpr[RCX] = ROUNDS;
        while (jit_run(m.v, 1000000) != EXIT_IDLE)
            ;
        jit_stats(m.v, &stats);
    }
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(load_le(m.ram.hva + 8, 8), 0x1234);
    ck_assert_uint_eq(load_le(m.ram.hva + PAGE + 8, 8), 0x5678);
    jit_destroy(m.v);
    machine_destroy(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("miss");
    TCase *c = tcase_create("miss");

    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_tag_that_goes_does_not_move_a_store);
    suite_add_tcase(s, c);
    return suite_run(s);
}
