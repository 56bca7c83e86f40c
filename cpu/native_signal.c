/* SPDX-License-Identifier: MIT
 *
 * SIGFPE and SIGILL from inside thunks; see native_signal.h.
 */
#include "cpu/native_signal.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

_Thread_local const u8 *native_guard;
/* The actions before ours: SIGFPE, SIGILL. Written once, under native_once. */
static struct sigaction native_previous[2];
static pthread_once_t native_once = PTHREAD_ONCE_INIT;

static void chain(int number, siginfo_t *info, void *context)
{
    const struct sigaction *previous = &native_previous[number == SIGILL];

    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(number, info, context);
    else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN)
        signal(number, SIG_DFL); /* the instruction faults again and ends the process */
    else
        previous->sa_handler(number);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    u64 guard = (u64)native_guard;
    u64 rip = (u64)uc->uc_mcontext.gregs[REG_RIP];

    if (guard && rip - guard < NATIVE_CODE_BYTES) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)guard;
        uc->uc_mcontext.gregs[REG_RAX] = number == SIGFPE ? NATIVE_SIGFPE : NATIVE_SIGILL;
    } else {
        chain(number, info, context);
    }
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    sigaction(SIGFPE, &action, &native_previous[0]);
    sigaction(SIGILL, &action, &native_previous[1]);
}

void native_signal_install(void)
{
    pthread_once(&native_once, install);
}
