/* SPDX-License-Identifier: MIT
 *
 * The host processor as the judge of instruction encodings: executes one instruction in a traced
 * child, at the end of a page that nothing executable follows. Whether fetching runs into the next
 * page tells the length; SIGILL tells #UD. Works for 64-, 32- and 16-bit protected-mode code.
 */
#include "tests/cpu/host_probe.h"

#include <asm/ldt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#undef PAGE_SIZE /* sys/user.h has its own */
#undef PAGE_MASK
#include "mem/base/log.h"
#include "mem/base/types.h"

enum { PROBE_PAGE = 0x10000000, PROBE_SIZE = 4096, PROBE_CODE16 = 0x7 };

struct probe {
    pid_t child;
    u8 *page; /* PROBE_PAGE of the child */
    struct user_regs_struct regs;
};

static NORETURN void probe_child(void)
{
    struct user_desc code = {
        .entry_number = 0,
        .base_addr = PROBE_PAGE - 0x1000,
        .limit = 0xffff,
        .contents = MODIFY_LDT_CONTENTS_CODE,
    };

    syscall(SYS_modify_ldt, 1, &code, sizeof(code));
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    _exit(0);
}

static bool probe_start(struct probe *p)
{
    int status;

    p->child = fork();
    if (p->child == 0)
        probe_child();
    if (p->child < 0 || waitpid(p->child, &status, 0) < 0 || !WIFSTOPPED(status))
        return false;
    ptrace(PTRACE_SETOPTIONS, p->child, NULL, (void *)PTRACE_O_EXITKILL);
    return ptrace(PTRACE_GETREGS, p->child, NULL, &p->regs) == 0;
}

struct probe *probe_create(void)
{
    void *page = mmap((void *)(u64)PROBE_PAGE, PROBE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    void *guard = mmap((void *)(u64)(PROBE_PAGE + PROBE_SIZE), PROBE_SIZE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    struct probe *p = calloc(1, sizeof(*p));

    if (p && page != MAP_FAILED && guard != MAP_FAILED) {
        p->page = page;
        if (probe_start(p))
            return p;
    }
    free(p);
    return NULL;
}

static void probe_stop(struct probe *p)
{
    int status;

    kill(p->child, SIGKILL);
    waitpid(p->child, &status, 0);
}

void probe_destroy(struct probe *p)
{
    if (!p)
        return;
    probe_stop(p);
    munmap((void *)(u64)PROBE_PAGE, 2 * PROBE_SIZE);
    free(p);
}

static void probe_registers(const struct probe *p, unsigned code_size, u64 at,
                            struct user_regs_struct *r)
{
    *r = p->regs;
    r->rax = r->orig_rax = ~0ull; /* no system call */
    r->rbx = r->rcx = r->rdx = r->rsi = r->rdi = r->rbp = 0;
    r->r8 = r->r9 = r->r10 = r->r11 = r->r12 = r->r13 = r->r14 = r->r15 = 0;
    r->rsp = PROBE_PAGE + 0x400;
    r->eflags = 0x202;
    r->rip = code_size == 2 ? at - (PROBE_PAGE - 0x1000) : at;
    r->cs = code_size == 8 ? 0x33 : code_size == 4 ? 0x23 : PROBE_CODE16;
    if (code_size != 8)
        r->ss = r->ds = r->es = 0x2b;
}

enum probe_result probe_run(struct probe *p, unsigned code_size, const u8 *bytes, unsigned size)
{
    u64 at = PROBE_PAGE + PROBE_SIZE - size;
    struct user_regs_struct r;
    siginfo_t info;
    int status;

    memcpy(p->page + PROBE_SIZE - size, bytes, size);
    probe_registers(p, code_size, at, &r);
    if (ptrace(PTRACE_SETREGS, p->child, NULL, &r) ||
        ptrace(PTRACE_SINGLESTEP, p->child, NULL, NULL) || waitpid(p->child, &status, 0) < 0 ||
        !WIFSTOPPED(status)) {
        probe_stop(p);
        check(probe_start(p), "the probe cannot be restarted");
        return PROBE_LOST;
    }
    if (ptrace(PTRACE_GETSIGINFO, p->child, NULL, &info))
        return PROBE_LOST;
    if (info.si_signo == SIGILL)
        return PROBE_UD;
    if (info.si_signo == SIGSEGV && info.si_code != SI_KERNEL &&
        info.si_addr == (void *)(u64)(PROBE_PAGE + PROBE_SIZE)) {
        /* Not a branch to the next page, or a step over the end. */
        ptrace(PTRACE_GETREGS, p->child, NULL, &r);
        return r.rip == (code_size == 2 ? at - (PROBE_PAGE - 0x1000) : at) ? PROBE_FETCH
                                                                           : PROBE_RAN;
    }
    return PROBE_RAN;
}
