/* SPDX-License-Identifier: MIT
 *
 * SIGFPE from inside thunks; see native_signal.h.
 */
#include "cpu/native_signal.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

_Thread_local const u8 *native_guard;
/* The SIGFPE action before ours; written once, under native_once. */
static struct sigaction native_previous;
static pthread_once_t native_once = PTHREAD_ONCE_INIT;

static void chain(int number, siginfo_t *info, void *context)
{
    if (native_previous.sa_flags & SA_SIGINFO)
        native_previous.sa_sigaction(number, info, context);
    else if (native_previous.sa_handler == SIG_DFL || native_previous.sa_handler == SIG_IGN)
        signal(SIGFPE, SIG_DFL); /* the instruction faults again and ends the process */
    else
        native_previous.sa_handler(number);
}

static void on_sigfpe(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    u64 guard = (u64)native_guard;
    u64 rip = (u64)uc->uc_mcontext.gregs[REG_RIP];

    if (guard && rip - guard < NATIVE_CODE_BYTES)
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)guard;
    else
        chain(number, info, context);
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    sigaction(SIGFPE, &action, &native_previous);
}

void native_signal_install(void)
{
    pthread_once(&native_once, install);
}
