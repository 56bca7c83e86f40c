/* SPDX-License-Identifier: MIT
 *
 * The mistake that the hammers (tests/guest/hammer.c) must find: accesses that the host cannot lock
 * are a read and a write with others in between. Built with -DLOCKSTEP_BREAK_LOCKS=ON only.
 */
#include "cpu/exclusive.h"

void exclusive_begin(struct vcpu *v, bool device)
{
    (void)v, (void)device;
}

void exclusive_end(struct vcpu *v, bool device)
{
    (void)v, (void)device;
}
