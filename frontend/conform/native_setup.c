/* SPDX-License-Identifier: MIT
 *
 * The child from fork() until it leaves the C program: segments, signals, watchdog, and the filter
 * of system calls. Nothing here allocates or locks: the parent may have threads.
 */
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "frontend/conform/native_child.h"

static NORETURN void setup_fail(struct native_control *n, enum native_failure what)
{
    n->failed_errno = errno;
    n->failed = what;
    _exit(1);
}

/* The LDT of enum conform_selector, in its order. */
static void setup_segments(struct native_control *n)
{
    enum { DATA, DOWN, CODE, CONFORMING }; /* "contents" of modify_ldt(2) */
    struct user_desc d[] = {
        {.base_addr = ARENA_CODE, .limit = 0xffff, .contents = CODE},
        {.base_addr = ARENA_DATA, .limit = 0xffff, .contents = DATA},
        {.base_addr = ARENA_STACK, .limit = 0xffff, .contents = DATA},
        {.base_addr = ARENA_CODE, .limit = 0x1fff, .contents = CODE, .seg_32bit = 1},
        {.base_addr = ARENA_DATA, .limit = 0x17ff, .read_exec_only = 1, .seg_32bit = 1},
        {.base_addr = ARENA_DATA, .limit = 0x7ff, .contents = DOWN, .seg_32bit = 1},
        {.base_addr = ARENA_DATA, .limit = 0xffff, .contents = DATA, .seg_not_present = 1},
        {.base_addr = ARENA_CODE,
         .limit = 0x1fff,
         .contents = CODE,
         .seg_32bit = 1,
         .read_exec_only = 1},
        {.base_addr = ARENA_CODE,
         .limit = 0x1fff,
         .contents = CONFORMING,
         .seg_32bit = 1,
         .seg_not_present = 1},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(d); i++) {
        d[i].entry_number = i;
        if (syscall(SYS_modify_ldt, 0x11, &d[i], sizeof(d[i])))
            setup_fail(n, FAIL_LDT);
    }
}

/* struct sigaction of the kernel (the C library's has no restorer of ours). */
struct kernel_action {
    void (*handler)(int);
    u64 flags;
    const void *restorer;
    u64 mask;
};

static u64 signal_bit(int number)
{
    return BIT(number - 1);
}

static void setup_signals(struct native_control *n)
{
    static const int exceptions[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGPROF};
    struct kernel_action action = {
        .handler = native_child_entry,
        .flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x04000000 /* SA_RESTORER */,
        .restorer = native_child_return_end, /* never used: the handler does not return */
        .mask = signal_bit(SIGPROF),
    };
    stack_t stack = {
        .ss_sp = (u8 *)n->signal_stack + 2 * PAGE_SIZE,
        .ss_size = NATIVE_STACK_BLOCK - 2 * PAGE_SIZE,
        .ss_flags = (int)NATIVE_AUTODISARM, /* a case's RSP may point into it */
    };
    u64 mask = ~0ull;

    for (unsigned i = 0; i < ARRAY_SIZE(exceptions); i++) {
        mask &= ~signal_bit(exceptions[i]);
        if (syscall(SYS_rt_sigaction, exceptions[i], &action, NULL, sizeof(action.mask)))
            setup_fail(n, FAIL_SIGNALS);
    }
    n->signal_mask = mask;
    mask |= signal_bit(SIGPROF); /* until the first case */
    if (syscall(SYS_sigaltstack, &stack, NULL) ||
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask)))
        setup_fail(n, FAIL_SIGNALS);
}

/* Processor time, not wall-clock time: on a busy host a case that waits for its turn does not hang.
 */
static void setup_watchdog(struct native_control *n)
{
    struct timeval tick = {.tv_usec = NATIVE_TICK_MS * 1000};
    struct itimerval timer = {.it_interval = tick, .it_value = tick};

    if (setitimer(ITIMER_PROF, &timer, NULL))
        setup_fail(n, FAIL_TIMER);
}

/* The C library has given the kernel an area in thread-local storage to write to at each return
 * from a signal, which will not be there. It registers 32 bytes or what newer kernels ask for. */
static void setup_no_rseq(void)
{
    void *area = (u8 *)__builtin_thread_pointer() + __rseq_offset;

    for (unsigned size = 32; size <= 256; size += 32)
        if (!syscall(SYS_rseq, area, size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
            return;
}

/* A C library that uses shadow stacks (SDM 1 17) has one mapped; cases are to run without. */
static void setup_no_shadow_stack(void)
{
    enum { SHSTK_DISABLE = 0x5002, SHSTK = 1 }; /* arch_prctl(2), uapi asm/prctl.h */

    syscall(SYS_arch_prctl, SHSTK_DISABLE, SHSTK);
}

void native_child_setup(struct native_control *n)
{
    struct rlimit no_core = {0, 0};

    setup_no_shadow_stack();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    setup_segments(n);
    setup_no_rseq();
    setup_signals(n);
    setup_watchdog(n);
    native_child_start(n, n->signal_stack + NATIVE_STACK_BLOCK);
}

/* -- the filter -- */

static void emit(struct native_control *n, struct sock_filter f)
{
    n->filter_code[n->filter.len++] = f;
}

static void emit_load(struct native_control *n, u32 offset)
{
    emit(n, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

/* Goes on if the loaded word is k, skips `otherwise` instructions if not. */
static void emit_unless(struct native_control *n, u32 k, u8 otherwise)
{
    emit(n, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, otherwise));
}

/* One system call, at one instruction. The number is loaded again each time: 7 instructions, of
 * which any may lead to the next call's. */
static void emit_allow(struct native_control *n, u32 number, const char *behind)
{
    u64 rip = (u64)behind;

    emit_load(n, offsetof(struct seccomp_data, nr));
    emit_unless(n, number, 5);
    emit_load(n, offsetof(struct seccomp_data, instruction_pointer));
    emit_unless(n, (u32)rip, 3);
    emit_load(n, offsetof(struct seccomp_data, instruction_pointer) + 4);
    emit_unless(n, (u32)(rip >> 32), 1);
    emit(n, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

void native_filter_make(struct native_control *n)
{
    n->filter.len = 0;
    n->filter.filter = n->filter_code;
    emit_load(n, offsetof(struct seccomp_data, arch));
    emit(n, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
    emit(n, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    emit_allow(n, SYS_rt_sigreturn, native_child_return_end);
    emit_allow(n, SYS_futex, native_child_call_end);
    if (!n->fsgsbase)
        emit_allow(n, SYS_arch_prctl, native_child_call_end);
    emit(n, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
}
