/* SPDX-License-Identifier: MIT
 *
 * The host CPU as the judge: cases run in a child process that has nothing mapped but the arena and
 * its own few pages, may make no system call but the return from a signal, and gets each case by
 * signal return and gives its outcome by the signal that ends it. A batch costs two context
 * switches; a case costs one signal.
 */
#pragma once

#include "frontend/conform/case.h"
#include "mem/base/status.h"

/* What differs from bare hardware, all of it:
 * - RFLAGS starts with CONFORM_FLAGS_IN of the case, IF and bit 1; RF is cleared in the outcome.
 * - Reserved bits of MXCSR are cleared before they are loaded.
 * - Page faults above user space are reported as not present (Linux says "protection").
 * - Linux emulates SGDT, SIDT, SLDT, STR and SMSW where the processor has UMIP, and answers INT 80h
 *   and SYSCALL: those end with OUTCOME_SYSCALL.
 * Selectors of the initial state must be loadable; a case whose are not ends with OUTCOME_LOST.
 * CS and SS must fit the mode: they are loaded by the kernel, whose failure looks like the case's.
 */
struct native_host;

/* Starts the child, which ends with the thread that started it. batch_max: most cases in one batch.
 * Fails with a sentence where the host forbids what is needed (modify_ldt, seccomp, mappings at
 * fixed addresses). */
MUST_USE enum status native_host_create(struct native_host **host, unsigned batch_max,
                                        struct error *err);
void native_host_destroy(struct native_host *host);

/* Runs count cases and fills outcomes. A case that hangs ends after a tenth of a second with vector
 * OUTCOME_NONE; a child that is lost is started again and the case that lost it gets OUTCOME_LOST.
 * More cases than batch_max are run in parts. Of code and lines only what is used is copied. Fails
 * only if no child can be started any more. */
MUST_USE enum status native_host_run(struct native_host *host, const struct conform_case *cases,
                                     struct conform_outcome *outcomes, unsigned count,
                                     struct error *err);
