// SPDX-License-Identifier: MIT
// What the guest programs of the benchmark share. Each program is a function that does COUNT rounds
// of its work and returns a checksum that must be the same on every machine.
#ifndef TESTS_BENCH_GUEST_BENCH_H
#define TESTS_BENCH_GUEST_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

// Exit status of a program whose instructions this processor lacks.
#define BENCH_UNSUPPORTED 77

u64 bench_sort(u64 count);
u64 bench_hashmap(u64 count);
u64 bench_sieve(u64 count);
u64 bench_list(u64 count);
u64 bench_sha256(u64 count);
u64 bench_lz(u64 count);
u64 bench_strings(u64 count);
u64 bench_recursion(u64 count);
u64 bench_bytecode(u64 count);
u64 bench_nbody(u64 count);
u64 bench_fft(u64 count);
u64 bench_x87(u64 count);
u64 bench_matmul_sse(u64 count);
u64 bench_matmul_avx2(u64 count);
u64 bench_aes(u64 count);
u64 bench_sha(u64 count);
u64 bench_syscall(u64 count);
u64 bench_pipe(u64 count);
u64 bench_fork(u64 count);
u64 bench_fault(u64 count);
u64 bench_fileread(u64 count);
u64 bench_signal(u64 count);
u64 bench_mmap(u64 count);
u64 bench_smc(u64 count);
u64 bench_alone(u64 count);
u64 bench_both(u64 count);
u64 bench_spin(u64 count);
u64 bench_mutex(u64 count);
u64 bench_futex(u64 count);
u64 bench_pipe2(u64 count);
u64 bench_fault2(u64 count);
u64 bench_mmap2(u64 count);
u64 bench_rdtsc(u64 count);
u64 bench_gettime(u64 count);
u64 bench_ipi(u64 count);
u64 bench_munmap(u64 count);
u64 bench_timers(u64 count);
u64 bench_idle(u64 count);

// What programs for one processor and for two share (system.c). The status of a child:
void wait_for(int child, int wanted);
// Eight bytes to a child and back; settle() is called in the parent (0) and in the child (1) first.
u64 ping_pong(u64 rounds, void (*settle)(int member));
// First touches of pages that are mapped anew in each round; the sum of what is read back.
enum { TOUCHED_PAGES = 1024 };
u64 touch_pages(u64 rounds);

// Threads of a program, each on a processor of its own. What a thread does; the sum of what it
// returns is that of run_threads().
enum { TEAM = 2 };
typedef u64 work_fn(int member, u64 count);
u64 run_threads(int threads, work_fn *work, u64 count);

// Runs a command twice at the same time, on a processor each, and prints the output of both.
// Returns the exit status.
int bench_twice(char **words);

// Ends the program with a message when something that must hold does not.
static inline void expect(int truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "FAILED: %s\n", what);
    exit(1);
}

static inline void *allocate(size_t size)
{
    void *memory = malloc(size);
    expect(memory != NULL, "memory");
    return memory;
}

// xorshift64: the same numbers everywhere.
static inline u64 random_next(u64 *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// FNV-1a.
static inline u64 hash_bytes(const void *data, size_t size, u64 hash)
{
    const u8 *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

#define HASH_START 0xcbf29ce484222325

#endif
