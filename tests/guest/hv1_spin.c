/* SPDX-License-Identifier: MIT
 *
 * Hv#1: two processors that share one of the host hand a lock to each other. K-07 of the project's
 * hv1-checklist: HvNotifyLongSpinWait makes that faster.
 */
#include "lib/hv1.h"

enum { ROUNDS = 20, TRIES = 3 };

void *hv_page;
static volatile u32 turn;
static volatile bool notifies;
static u32 spins_until_call;

/* Without PAUSE, by which the host would notice as well. */
static void wait_for_turn(u32 mine)
{
    u32 spins = 0;

    while (turn != mine)
        if (++spins % spins_until_call == 0 && notifies)
            hv_status(8 | HV_FAST, spins, 0);
}

static void hand_over(ulong mine)
{
    for (u32 n = 0; n < ROUNDS; n++) {
        wait_for_turn((u32)mine);
        turn = !mine;
    }
}

/* In units of 100 ns, the least of some. */
static u64 time_of_rounds(bool with_call)
{
    u64 least = ~0ull;

    notifies = with_call;
    for (u32 n = 0; n < TRIES; n++) {
        u64 time = rdmsr(HV_TIME_REF_COUNT);

        turn = 0;
        smp_begin(1, hand_over, 1);
        hand_over(0);
        smp_wait(1);
        time = rdmsr(HV_TIME_REF_COUNT) - time;
        if (time < least)
            least = time;
    }
    return least;
}

void guest_main(void)
{
    u64 without, with;

    smp_start();
    hv_enable(page_alloc());
    check_eq(cpuid(0x40000004, 0).b, 0xfff, "C-12 spin count of a shared processor");
    spins_until_call = 64; /* soon, where instructions are slow */
    without = time_of_rounds(false);
    with = time_of_rounds(true);
    check(with < without / 2, "K-07 the lock is handed over faster: %llu, without %llu", with,
          without);
}
