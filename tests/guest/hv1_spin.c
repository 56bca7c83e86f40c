/* SPDX-License-Identifier: MIT
 *
 * Hv#1: two processors that share one of the host hand a lock to each other. K-07 of the project's
 * hv1-checklist: HvNotifyLongSpinWait makes that faster. Counted in spins: what passes on a clock
 * is also what others do with that processor of the host.
 */
#include "lib/hv1.h"

enum { ROUNDS = 20, TRIES = 3 };

void *hv_page;
static volatile u32 turn;
static volatile bool notifies;
static u32 spins_until_call;
static u64 spun[2]; /* by each processor */

/* Without PAUSE, by which the host would notice as well. */
static void wait_for_turn(u32 mine)
{
    u32 spins = 0;

    while (turn != mine)
        if (++spins % spins_until_call == 0 && notifies)
            hv_status(8 | HV_FAST, spins, 0);
    spun[mine] += spins;
}

static void hand_over(ulong mine)
{
    for (u32 n = 0; n < ROUNDS; n++) {
        wait_for_turn((u32)mine);
        turn = !mine;
    }
}

/* The least of some. */
static u64 spins_of_rounds(bool with_call)
{
    u64 least = ~0ull;

    notifies = with_call;
    for (u32 n = 0; n < TRIES; n++) {
        turn = 0;
        spun[0] = spun[1] = 0;
        smp_begin(1, hand_over, 1);
        hand_over(0);
        smp_wait(1);
        if (spun[0] + spun[1] < least)
            least = spun[0] + spun[1];
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
    without = spins_of_rounds(false);
    with = spins_of_rounds(true);
    check(with < without / 2, "K-07 the lock is handed over faster: after %llu spins, without %llu",
          with, without);
}
