/* SPDX-License-Identifier: MIT
 *
 * The parent of the child that runs cases: memory that both share, batches, and what to do when the
 * child is lost. See native.h, and native_child.h for the parts.
 */
#include "frontend/conform/native.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "frontend/conform/native_child.h"
#include "mem/base/memory_file.h"

enum {
    HWCAP2_FSGSBASE = 1u << 1, /* uapi asm/hwcap2.h */
    NATIVE_POLL_MS = 20,       /* how often a waiting parent looks after the child */
    NATIVE_DEAD_MS = 10000,    /* a child that has made no progress for so long is ended */
};

struct native_host {
    u8 *region;
    u64 size;
    int fd;
    unsigned batch_max;
    pid_t child; /* 0: none */
    struct native_control *control;
};

/* -- memory -- */

static u64 whole_pages(u64 size)
{
    return (size + PAGE_SIZE - 1) & PAGE_MASK;
}

static u64 region_size(unsigned batch_max)
{
    return NATIVE_STACK_BLOCK + whole_pages(sizeof(struct native_control)) +
           3 * (u64)ARENA_IMAGE_SIZE + whole_pages(batch_max * sizeof(struct conform_case)) +
           whole_pages(batch_max * sizeof(struct conform_outcome));
}

/* Maps the file aligned to NATIVE_STACK_BLOCK. */
static u8 *region_map(int fd, u64 size)
{
    u64 room = size + NATIVE_STACK_BLOCK, at;
    u8 *reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    u8 *region;

    if (reserved == MAP_FAILED)
        return NULL;
    at = ((u64)reserved + NATIVE_STACK_BLOCK - 1) & -(u64)NATIVE_STACK_BLOCK;
    region = mmap((void *)at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    if (at > (u64)reserved)
        munmap(reserved, at - (u64)reserved);
    munmap((u8 *)at + size, (u64)reserved + room - (at + size));
    return region == MAP_FAILED ? NULL : region;
}

static void region_divide(struct native_host *h)
{
    u8 *at = h->region + NATIVE_STACK_BLOCK;
    struct native_control *n = h->control = (struct native_control *)at;

    n->signal_stack = (u64)h->region;
    at += whole_pages(sizeof(*n));
    n->arena_fd = h->fd;
    n->arena_fd_offset = (u64)(at - h->region);
    n->arena = at;
    n->start = n->arena + ARENA_IMAGE_SIZE;
    n->filled = n->start + ARENA_IMAGE_SIZE;
    n->cases = (struct conform_case *)(n->filled + ARENA_IMAGE_SIZE);
    at = (u8 *)n->cases + whole_pages(h->batch_max * sizeof(struct conform_case));
    n->outcomes = (struct conform_outcome *)at;
    arena_fill(n->filled);
    *(struct native_control **)h->region = n;
}

static enum status region_create(struct native_host *h, struct error *err)
{
    h->size = region_size(h->batch_max);
    h->fd = memory_file_create("lockstep-conform", h->size);
    if (h->fd < 0)
        return error_set(err, ST_NO_MEMORY,
                         "No shared memory for test cases can be made (memfd_create: %s).",
                         strerror(errno));
    h->region = region_map(h->fd, h->size);
    if (!h->region)
        return error_set(err, ST_NO_MEMORY, "%llu MiB for test cases cannot be mapped: %s.",
                         (unsigned long long)(h->size >> 20), strerror(errno));
    region_divide(h);
    if (mprotect(h->region, PAGE_SIZE, PROT_READ) ||
        mprotect(h->region + PAGE_SIZE, PAGE_SIZE, PROT_NONE))
        return error_set(err, ST_NO_MEMORY, "The signal stack cannot be guarded (mprotect: %s).",
                         strerror(errno));
    return ST_OK;
}

/* -- what the child must know of the host -- */

static bool find_xsave(struct native_control *n)
{
    u32 a, b, c, d, low, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    n->xcr0 = low | (u64)high << 32;
    /* SDM 1 13.2: sub-leaf i describes component i, EBX is its offset in the standard format. */
    for (u32 i = 2; i < ARRAY_SIZE(n->xstate_offset); i++)
        if (n->xcr0 >> i & 1 && __get_cpuid_count(0xd, i, &a, &b, &c, &d))
            n->xstate_offset[i] = b;
    /* Other components (AMX) are left in their initial state. */
    n->xcr0 &= XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU;
    return true;
}

static struct native_range pages(struct native_range r)
{
    return (struct native_range){r.start & PAGE_MASK, whole_pages(r.end)};
}

static enum status control_fill(struct native_host *h, struct error *err)
{
    struct native_control *n = h->control;
    struct native_range region = {(u64)h->region, (u64)h->region + h->size};
    bool region_first;

    if (!find_xsave(n))
        return error_set(err, ST_UNSUPPORTED,
                         "lockstep conform needs a host with XSAVE to judge instructions.");
    n->fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
    n->own.start = (u64)__start_lockstep_native_child;
    n->own.end = (u64)__stop_lockstep_native_child;
    region_first = region.start < n->own.start;
    n->keep[!region_first] = region;
    n->keep[region_first] = pages(n->own);
    native_filter_make(n);
    return ST_OK;
}

/* -- the child -- */

static void native_kill(struct native_host *h)
{
    if (h->child <= 0)
        return;
    kill(h->child, SIGKILL);
    while (waitpid(h->child, NULL, 0) < 0 && errno == EINTR)
        ;
    h->child = 0;
}

static bool native_gone(struct native_host *h)
{
    pid_t got = waitpid(h->child, NULL, WNOHANG);

    if (got == 0 || (got < 0 && errno == EINTR))
        return false;
    h->child = 0;
    return true;
}

/* Waits until the child has finished batch `go`. False: the child is lost. */
static bool native_wait(struct native_host *h, u32 go)
{
    const struct timespec poll = {.tv_nsec = NATIVE_POLL_MS * 1000000L};
    struct native_control *n = h->control;
    u32 done, current = n->current, idle_ms = 0;

    while ((done = __atomic_load_n(&n->done, __ATOMIC_SEQ_CST)) != go) {
        if (!syscall(SYS_futex, &n->done, FUTEX_WAIT, done, &poll, NULL, 0) || errno != ETIMEDOUT)
            continue;
        idle_ms += NATIVE_POLL_MS;
        if (current != __atomic_load_n(&n->current, __ATOMIC_SEQ_CST)) {
            current = n->current;
            idle_ms = 0;
        }
        if (native_gone(h))
            return false;
        if (idle_ms > NATIVE_DEAD_MS) {
            native_kill(h);
            return false;
        }
    }
    return true;
}

static enum status native_failed(const struct native_control *n, struct error *err)
{
    static const char *const text[] = {
        [FAIL_NONE] = "The child that runs test cases ended before its first case",
        [FAIL_LDT] = "The host forbids modify_ldt, which 16- and 32-bit test cases need",
        [FAIL_SIGNALS] = "The child that runs test cases cannot install its signal handlers",
        [FAIL_TIMER] = "The child that runs test cases cannot start its watchdog (setitimer)",
        [FAIL_ARENA] = "The child that runs test cases cannot map memory at its fixed addresses",
        [FAIL_SECCOMP] = "The host forbids seccomp filters, without which test cases are not run",
    };

    if (n->failed == FAIL_NONE || n->failed >= ARRAY_SIZE(text))
        return error_set(err, ST_UNSUPPORTED, "%s.", text[FAIL_NONE]);
    return error_set(err, ST_UNSUPPORTED,
                     "%s (%s); allow it in the container's seccomp profile or use "
                     "another host.",
                     text[n->failed], strerror(n->failed_errno));
}

/* No signal may reach the child before it has its own handlers. The bare system call, as what
 * fork() does for programs is harm here: the thread sanitizer starts a thread in the child. */
static pid_t fork_quietly(void)
{
    sigset_t all, before;
    pid_t child;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    child = (pid_t)syscall(SYS_fork);
    if (child != 0)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    return child;
}

static enum status native_start(struct native_host *h, struct error *err)
{
    struct native_control *n = h->control;

    memcpy(n->arena, n->filled, ARENA_IMAGE_SIZE);
    memcpy(n->start, n->filled, ARENA_IMAGE_SIZE);
    n->go = n->first = n->count = n->current = 0;
    n->done = ~0u;
    n->running = false;
    n->failed = FAIL_NONE;
    h->child = fork_quietly();
    if (h->child == 0)
        native_child_setup(n);
    if (h->child < 0) {
        h->child = 0;
        return error_set(err, ST_NO_MEMORY, "No child for test cases can be started (fork: %s).",
                         strerror(errno));
    }
    return native_wait(h, 0) ? ST_OK : native_failed(n, err);
}

enum status native_host_create(struct native_host **host, unsigned batch_max, struct error *err)
{
    struct native_host *h = calloc(1, sizeof(*h));
    enum status status;

    *host = NULL;
    if (!h)
        return error_set(err, ST_NO_MEMORY, "No memory is left.");
    h->batch_max = batch_max ? batch_max : 1;
    h->fd = -1;
    status = region_create(h, err);
    if (status == ST_OK)
        status = control_fill(h, err);
    if (status == ST_OK)
        status = native_start(h, err);
    if (status != ST_OK) {
        native_host_destroy(h);
        return status;
    }
    *host = h;
    return ST_OK;
}

void native_host_destroy(struct native_host *h)
{
    if (!h)
        return;
    native_kill(h);
    if (h->region)
        munmap(h->region, h->size);
    if (h->fd >= 0)
        close(h->fd);
    free(h);
}

/* -- batches -- */

/* Cases and outcomes are mostly unused space, which is not copied. */
static void copy_case(struct conform_case *to, const struct conform_case *from)
{
    u32 size = from->code_size < CASE_CODE_MAX ? from->code_size : CASE_CODE_MAX;

    memcpy(to, from, offsetof(struct conform_case, code) + size);
}

static void copy_outcome(struct conform_outcome *to, const struct conform_outcome *from)
{
    u32 lines = from->line_count < OUTCOME_LINES_MAX ? from->line_count : OUTCOME_LINES_MAX;

    memcpy(to, from, offsetof(struct conform_outcome, line) + lines * sizeof(from->line[0]));
}

static void outcome_lost(struct conform_outcome *o)
{
    memset(o, 0, offsetof(struct conform_outcome, line));
    o->vector = OUTCOME_LOST;
}

static enum status run_batch(struct native_host *h, unsigned count, struct error *err)
{
    struct native_control *n = h->control;
    u32 first = 0;

    while (first < count) {
        if (!h->child) {
            enum status status = native_start(h, err);

            if (status != ST_OK)
                return status;
        }
        n->first = n->current = first;
        n->count = count;
        __atomic_add_fetch(&n->go, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &n->go, FUTEX_WAKE, 1, NULL, NULL, 0);
        if (native_wait(h, n->go))
            return ST_OK;
        /* What the child finished counts; the case that it was lost in is skipped. */
        first = n->current < count ? n->current : count - 1;
        outcome_lost(&n->outcomes[first]);
        first++;
    }
    return ST_OK;
}

enum status native_host_run(struct native_host *h, const struct conform_case *cases,
                            struct conform_outcome *outcomes, unsigned count, struct error *err)
{
    for (unsigned done = 0, part; done < count; done += part) {
        enum status status;

        part = count - done < h->batch_max ? count - done : h->batch_max;
        for (unsigned i = 0; i < part; i++)
            copy_case(&h->control->cases[i], &cases[done + i]);
        status = run_batch(h, part, err);
        if (status != ST_OK)
            return status;
        for (unsigned i = 0; i < part; i++)
            copy_outcome(&outcomes[done + i], &h->control->outcomes[i]);
    }
    return ST_OK;
}
