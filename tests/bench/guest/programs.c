// SPDX-License-Identifier: MIT
// The benchmark's own programs in one file: programs NAME COUNT prints the checksum; programs twice
// COMMAND... runs another program on two processors.
#include "bench.h"

static const struct {
    const char *name;
    u64 (*run)(u64 count);
} programs[] = {
    {"sort", bench_sort},
    {"hashmap", bench_hashmap},
    {"sieve", bench_sieve},
    {"list", bench_list},
    {"sha256", bench_sha256},
    {"lz", bench_lz},
    {"strings", bench_strings},
    {"recursion", bench_recursion},
    {"bytecode", bench_bytecode},
    {"nbody", bench_nbody},
    {"fft", bench_fft},
    {"x87", bench_x87},
    {"matmul-sse", bench_matmul_sse},
    {"matmul-avx2", bench_matmul_avx2},
    {"aes", bench_aes},
    {"sha", bench_sha},
    {"syscall", bench_syscall},
    {"pipe", bench_pipe},
    {"fork", bench_fork},
    {"fault", bench_fault},
    {"fileread", bench_fileread},
    {"signal", bench_signal},
    {"mmap", bench_mmap},
    {"smc", bench_smc},
    {"alone", bench_alone},
    {"both", bench_both},
    {"spin", bench_spin},
    {"mutex", bench_mutex},
    {"futex", bench_futex},
    {"pipe2", bench_pipe2},
    {"fault2", bench_fault2},
    {"mmap2", bench_mmap2},
    {"rdtsc", bench_rdtsc},
    {"gettime", bench_gettime},
    {"wake", bench_futex},
    {"ipi", bench_ipi},
    {"munmap", bench_munmap},
    {"timers", bench_timers},
    {"idle", bench_idle},
};

int main(int argc, char **argv)
{
    u64 count = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    for (size_t i = 0; count > 0 && i < sizeof(programs) / sizeof(programs[0]); i++)
        if (strcmp(argv[1], programs[i].name) == 0)
            return printf("%016llx\n", (unsigned long long)programs[i].run(count)) < 0;
    if (argc > 2 && strcmp(argv[1], "twice") == 0)
        return bench_twice(argv + 2);
    fprintf(stderr, "usage: programs NAME COUNT, or programs twice COMMAND...\n");
    return 1;
}
