// SPDX-License-Identifier: MIT
// Programs about the kernel: system calls, pipes, processes, page faults, files, signals, mappings.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

u64 bench_syscall(u64 count)
{
    long parent = getppid();
    for (u64 i = 0; i < count * 1000; i++)
        expect(syscall(SYS_getppid) == parent, "getppid");
    return count;
}

void wait_for(pid_t child, int wanted)
{
    int status;
    expect(waitpid(child, &status, 0) == child, "waitpid");
    expect(WIFEXITED(status) && WEXITSTATUS(status) == wanted, "the child's status");
}

u64 ping_pong(u64 rounds, void (*settle)(int member))
{
    int there[2], back[2];
    u64 value = 0;
    expect(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        settle(1);
        for (u64 i = 0; i < rounds; i++) {
            expect(read(there[0], &value, 8) == 8, "read in the child");
            value = value * 3 + 1;
            expect(write(back[1], &value, 8) == 8, "write in the child");
        }
        _exit(42);
    }
    expect(child > 0, "fork");
    settle(0);
    for (u64 i = 0; i < rounds; i++) {
        expect(write(there[1], &value, 8) == 8, "write");
        expect(read(back[0], &value, 8) == 8, "read");
    }
    wait_for(child, 42);
    return value;
}

static void stay_anywhere(int member)
{
    (void)member;
}

u64 bench_pipe(u64 count)
{
    return ping_pong(count * 100, stay_anywhere);
}

u64 bench_fork(u64 count)
{
    for (u64 i = 0; i < count * 10; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(42);
        expect(child > 0, "fork");
        wait_for(child, 42);
    }
    return count;
}

static u8 *map(size_t size)
{
    u8 *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(at != MAP_FAILED, "mmap");
    // One fault per page on every machine, whatever its policy of huge pages.
    madvise(at, size, MADV_NOHUGEPAGE);
    return at;
}

u64 touch_pages(u64 count)
{
    enum { PAGES = TOUCHED_PAGES };
    u64 sum = 0;
    for (u64 round = 0; round < count; round++) {
        u8 *at = map(PAGES * 4096);
        for (u64 page = 0; page < PAGES; page++)
            at[page * 4096] = (u8)page;
        for (u64 page = 0; page < PAGES; page++)
            sum += at[page * 4096];
        munmap(at, PAGES * 4096);
    }
    return sum;
}

u64 bench_fault(u64 count)
{
    u64 sum = touch_pages(count);
    expect(sum == count * (TOUCHED_PAGES / 256) * (255 * 256 / 2), "what was written");
    return sum;
}

// A file of 1 MiB, from the page cache, 16 KiB at a time.
u64 bench_fileread(u64 count)
{
    enum { SIZE = 1 << 20, PIECE = 16384 };
    static u8 piece[PIECE];
    char name[] = "tmp/fileXXXXXX";
    u64 sum = 0;
    int file = mkstemp(name);
    expect(file >= 0 && unlink(name) == 0, "a file in tmp/");
    for (int at = 0; at < SIZE; at += PIECE) {
        memset(piece, at / PIECE + 1, PIECE);
        expect(write(file, piece, PIECE) == PIECE, "write");
    }
    for (u64 round = 0; round < count; round++)
        for (int at = 0; at < SIZE; at += PIECE) {
            expect(pread(file, piece, PIECE, at) == PIECE, "pread");
            sum += piece[round & (PIECE - 1)];
        }
    expect(sum == count * 64 * 65 / 2, "what was written");
    return sum;
}

static volatile u64 delivered;

static void on_signal(int number)
{
    delivered += number;
}

u64 bench_signal(u64 count)
{
    struct sigaction action = {.sa_handler = on_signal};
    expect(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    for (u64 i = 0; i < count * 100; i++)
        raise(SIGUSR1);
    expect(delivered == count * 100 * SIGUSR1, "every signal arrives");
    return delivered;
}

// Maps, protects and unmaps; a page of each mapping is used.
u64 bench_mmap(u64 count)
{
    u64 sum = 0;
    for (u64 i = 0; i < count * 100; i++) {
        u8 *at = map(16 * 4096);
        at[5 * 4096] = (u8)i;
        expect(mprotect(at, 8 * 4096, PROT_READ) == 0, "mprotect");
        sum += at[5 * 4096];
        expect(munmap(at + 4 * 4096, 4 * 4096) == 0, "munmap of a part");
        expect(munmap(at, 16 * 4096) == 0, "munmap");
    }
    return sum;
}
