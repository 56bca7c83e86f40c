// SPDX-License-Identifier: MIT
// Programs for two processors: independent work, locks, hand-overs, and the kernel's work for two
// threads of one process. Each thread or process stays on a processor of its own.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

// The first two processors that this process may use.
static int processors[TEAM];

static void find_processors(void)
{
    cpu_set_t set;
    int found = 0;
    expect(sched_getaffinity(0, sizeof(set), &set) == 0, "sched_getaffinity");
    for (int n = 0; n < CPU_SETSIZE && found < TEAM; n++)
        if (CPU_ISSET(n, &set))
            processors[found++] = n;
    if (found < TEAM)
        exit(BENCH_UNSUPPORTED);
}

static void stay_on(int member)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processors[member], &set);
    expect(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
}

struct member {
    pthread_t thread;
    pthread_barrier_t *start;
    work_fn *work;
    int number;
    u64 count, sum;
};

static void *member_thread(void *opaque)
{
    struct member *m = opaque;
    stay_on(m->number);
    pthread_barrier_wait(m->start);
    m->sum = m->work(m->number, m->count);
    return NULL;
}

u64 run_threads(int count_of_threads, work_fn *work, u64 count)
{
    struct member members[TEAM];
    pthread_barrier_t start;
    u64 sum = 0;
    find_processors();
    expect(pthread_barrier_init(&start, NULL, count_of_threads) == 0, "a barrier");
    for (int n = 0; n < count_of_threads; n++) {
        members[n] = (struct member){.start = &start, .work = work, .number = n, .count = count};
        expect(pthread_create(&members[n].thread, NULL, member_thread, &members[n]) == 0,
               "a thread");
    }
    for (int n = 0; n < count_of_threads; n++) {
        expect(pthread_join(members[n].thread, NULL) == 0, "pthread_join");
        sum += members[n].sum;
    }
    pthread_barrier_destroy(&start);
    return sum;
}

// -- independent work: the same for one thread and for two --

static u64 compute(int member, u64 count)
{
    enum { SIZE = 4096 };
    u64 table[SIZE], state = 88172645463325252 + member, sum = 0;
    double x = 1;
    for (int i = 0; i < SIZE; i++)
        table[i] = random_next(&state);
    for (u64 round = 0; round < count * 1000; round++) {
        u64 value = random_next(&state);
        for (int i = 0; i < 16; i++) {
            u64 *slot = &table[value >> 4 & (SIZE - 1)];
            value = (value ^ *slot) * 0x9e3779b97f4a7c15;
            *slot = value & 1 ? *slot + i : *slot ^ round;
        }
        x = x * 0.75 + (double)(value >> 40) * 0x1p-24;
        sum += value;
    }
    return sum + (u64)(x * 1e6);
}

u64 bench_alone(u64 count)
{
    return run_threads(1, compute, count);
}

u64 bench_both(u64 count)
{
    return run_threads(TEAM, compute, count);
}

// -- a spin lock around two counters --

static struct {
    volatile u32 lock;
    u32 pad[15];
    volatile u64 first, second;
} spin;

static u64 spin_work(int member, u64 count)
{
    u64 different = 0;
    (void)member;
    for (u64 i = 0; i < count * 1000; i++) {
        while (__atomic_exchange_n(&spin.lock, 1, __ATOMIC_ACQUIRE))
            while (spin.lock)
                __builtin_ia32_pause();
        spin.first = spin.first + 1;
        spin.second = spin.second + 1;
        different += spin.first != spin.second;
        __atomic_store_n(&spin.lock, 0, __ATOMIC_RELEASE);
    }
    return different;
}

u64 bench_spin(u64 count)
{
    expect(run_threads(TEAM, spin_work, count) == 0, "the lock has one holder");
    expect(spin.first == count * 1000 * TEAM, "every round is counted");
    return spin.first;
}

// -- two threads that wake each other --

static u32 turn;

static u64 futex_work(int member, u64 count)
{
    for (u64 i = 0; i < count * 100; i++) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != (u32)member)
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !member, NULL, NULL, 0);
        __atomic_store_n(&turn, !member, __ATOMIC_RELEASE);
        expect(syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) >= 0, "futex");
    }
    return count;
}

u64 bench_futex(u64 count)
{
    return run_threads(TEAM, futex_work, count);
}

// -- a mutex that both want nearly all the time --

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static u64 under_mutex[8];

static u64 mutex_work(int member, u64 count)
{
    u64 private = member;
    for (u64 i = 0; i < count * 1000; i++) {
        pthread_mutex_lock(&mutex);
        for (int n = 0; n < 8; n++)
            under_mutex[n]++;
        pthread_mutex_unlock(&mutex);
        for (int n = 0; n < 8; n++)
        private = private * 5 + n;
    }
    return private & 0;
}

u64 bench_mutex(u64 count)
{
    run_threads(TEAM, mutex_work, count);
    for (int n = 0; n < 8; n++)
        expect(under_mutex[n] == count * 1000 * TEAM, "every round is counted");
    return under_mutex[0];
}

// -- eight bytes to a process on the other processor and back --

u64 bench_pipe2(u64 count)
{
    find_processors();
    return ping_pong(count * 100, stay_on);
}

// -- first touches of pages, and mappings, by two threads of one process --

static u64 fault_work(int member, u64 count)
{
    return member + touch_pages(count);
}

u64 bench_fault2(u64 count)
{
    return run_threads(TEAM, fault_work, count);
}

// What is protected or unmapped here must leave the other processor's TLB, too.
static u64 mmap_work(int member, u64 count)
{
    return member + bench_mmap(count);
}

u64 bench_mmap2(u64 count)
{
    return run_threads(TEAM, mmap_work, count);
}

// -- a command twice at the same time: programs twice WORD... --

static void copy_output(int output)
{
    char piece[65536];
    ssize_t size;
    for (off_t at = 0; (size = pread(output, piece, sizeof(piece), at)) > 0; at += size)
        expect(fwrite(piece, 1, size, stdout) == (size_t)size, "output");
}

int bench_twice(char **words)
{
    pid_t children[TEAM];
    int outputs[TEAM];
    find_processors();
    for (int n = 0; n < TEAM; n++) {
        outputs[n] = memfd_create("output", MFD_CLOEXEC);
        expect(outputs[n] >= 0, "memory for the output");
        children[n] = fork();
        expect(children[n] >= 0, "fork");
        if (children[n] > 0)
            continue;
        stay_on(n);
        dup2(outputs[n], STDOUT_FILENO);
        execv(words[0], words);
        _exit(127);
    }
    for (int n = 0; n < TEAM; n++) {
        wait_for(children[n], 0);
        copy_output(outputs[n]);
    }
    return 0;
}
