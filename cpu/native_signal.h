/* SPDX-License-Identifier: MIT
 *
 * The process's SIGFPE handler, armed per thread while a thunk runs.
 *
 * It touches nothing unless the interrupted instruction lies in the code that this thread has
 * armed, and hands every other SIGFPE to whoever was installed before. A thread that runs a vCPU
 * must not block SIGFPE. This and native_signal.c stay free of insn.h, whose register names the C
 * library's ucontext.h uses too.
 */
#pragma once

#include "mem/base/types.h"

enum { NATIVE_CODE_BYTES = 512 * 1024 };

/* The code a thunk of this thread is running in, or NULL. A SIGFPE raised inside continues at its
 * first byte, the fault exit. */
extern _Thread_local const u8 *native_guard;

/* Installs the handler, once for the process. */
void native_signal_install(void);
