/* SPDX-License-Identifier: MIT
 *
 * A stretch in which a vCPU has the guest's memory to itself: for accesses that are atomic in the
 * guest and that the host cannot do by one instruction. Two sources: exclusive.c, and for one test
 * of the tests (LOCKSTEP_BREAK_LOCKS) exclusive_broken.c, which leaves it out.
 */
#pragma once

#include "cpu/vcpu.h"

/* device: registers are accessed, too. Pairs nest. */
void exclusive_begin(struct vcpu *v, bool device);
void exclusive_end(struct vcpu *v, bool device);
