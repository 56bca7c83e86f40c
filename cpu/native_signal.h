/* SPDX-License-Identifier: MIT
 *
 * The process's handler of SIGFPE and SIGILL, armed per thread while a thunk runs. SIGILL comes
 * where the host lacks an encoding that the model's vendor accepts.
 *
 * It touches nothing unless the interrupted instruction lies in the code that this thread has
 * armed, and hands every other signal to whoever was installed before. A thread that runs a vCPU
 * must not block them. This and native_signal.c stay free of insn.h, whose register names the C
 * library's ucontext.h uses too.
 */
#pragma once

#include "mem/base/types.h"

enum { NATIVE_CODE_BYTES = 512 * 1024 };
/* What stopped a thunk. */
enum { NATIVE_SIGFPE = 1, NATIVE_SIGILL };

/* The code a thunk of this thread is running in, or NULL. A SIGFPE raised inside continues at its
 * first byte, the fault exit, with the reason in EAX. */
extern _Thread_local const u8 *native_guard;

/* Installs the handler, once for the process. */
void native_signal_install(void);
