/* SPDX-License-Identifier: MIT
 *
 * A target without libFuzzer: tries its seeds, then pseudo-random variations of them.
 *
 *   fuzz_NAME [-n COUNT] [-s SEED]   the same COUNT inputs for the same SEED
 *   fuzz_NAME FILE...                the inputs in these files (reproducers)
 *
 * An input that crashes or takes longer than INPUT_SECONDS is written to fuzz_NAME.crash.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { SEEDS_MAX = 512, INPUT_SECONDS = 30 };

static struct {
    u8 bytes[SEEDS_MAX][FUZZ_SIZE_MAX];
    size_t size[SEEDS_MAX];
    unsigned count;
} seeds;

static const char *program;
static u8 input[FUZZ_SIZE_MAX];
static size_t input_size;

static void keep_input(int number)
{
    static const char text[] = "\nthe input is in ";
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s.crash", program);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, input, input_size) >= 0 &&
        write(STDERR_FILENO, text, sizeof(text) - 1) > 0 &&
        write(STDERR_FILENO, path, strlen(path)) > 0 && write(STDERR_FILENO, "\n", 1) > 0)
        close(fd);
    signal(number, SIG_DFL);
    raise(number == SIGALRM ? SIGKILL : number);
}

static void try_input(void)
{
    /* On the heap and of the exact size, so that AddressSanitizer sees a read past its end. */
    u8 *copy = malloc(input_size ? input_size : 1);

    check(copy, "no memory for an input");
    memcpy(copy, input, input_size);
    alarm(INPUT_SECONDS);
    LLVMFuzzerTestOneInput(copy, input_size);
    alarm(0);
    free(copy);
}

static void run_seeds(void)
{
    while (seeds.count < SEEDS_MAX && (seeds.size[seeds.count] = fuzz_seed(
                                           seeds.count, seeds.bytes[seeds.count], FUZZ_SIZE_MAX)))
        seeds.count++;
    check(seeds.count, "the target has no seeds");
    for (unsigned n = 0; n < seeds.count; n++) {
        input_size = seeds.size[n];
        memcpy(input, seeds.bytes[n], input_size);
        try_input();
    }
}

static void change_byte(u64 *state)
{
    static const u8 edges[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x10, 0x40};
    u64 r = fuzz_random(state);
    u8 *at = &input[(r >> 32) % input_size];

    switch (r & 3) {
    case 0: *at ^= (u8)(1u << (r >> 8 & 7)); break;
    case 1: *at = edges[r >> 8 & 7]; break;
    default: *at = (u8)(r >> 8); break;
    }
}

/* Replaces a piece by one of the same size of another seed, or of noise. */
static void change_piece(u64 *state)
{
    u64 r = fuzz_random(state);
    unsigned other = (unsigned)((r >> 8) % seeds.count);
    size_t at = (r >> 16) % input_size, size = (r >> 32) % 32 + 1;

    for (size_t n = 0; n < size && at + n < input_size; n++)
        input[at + n] =
            r & 1 ? (u8)fuzz_random(state) : seeds.bytes[other][(at + n) % seeds.size[other]];
}

static void make_input(u64 *state)
{
    u64 r = fuzz_random(state);
    unsigned from = (unsigned)((r >> 8) % seeds.count), changes = (unsigned)(r >> 24 & 15);

    input_size = seeds.size[from];
    memcpy(input, seeds.bytes[from], input_size);
    if (!(r & 7)) { /* longer, or all noise */
        size_t keep = r & 8 ? input_size : 0;

        input_size = keep + 1 + (r >> 40) % 256;
        input_size = input_size < FUZZ_SIZE_MAX ? input_size : FUZZ_SIZE_MAX;
        for (size_t n = keep; n < input_size; n++)
            input[n] = (u8)fuzz_random(state);
    } else if ((r & 7) == 1) {
        input_size = 1 + (r >> 40) % input_size;
    }
    for (unsigned n = 0; n < changes; n++)
        fuzz_random(state) & 1 ? change_byte(state) : change_piece(state);
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");

    check(file, "%s cannot be read", path);
    input_size = fread(input, 1, sizeof(input), file);
    fclose(file);
    try_input();
    printf("%s: no crash\n", path);
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM};
    unsigned long count = 10000;
    u64 state = 1;
    int option;

    program = argv[0];
    for (unsigned n = 0; n < ARRAY_SIZE(signals); n++)
        signal(signals[n], keep_input);
    while ((option = getopt(argc, argv, "n:s:")) >= 0) {
        if (option == 'n')
            count = strtoul(optarg, NULL, 0);
        else if (option == 's')
            state = strtoull(optarg, NULL, 0) | 1;
        else
            return 1;
    }
    for (int n = optind; n < argc; n++)
        run_file(argv[n]);
    if (optind < argc)
        return 0;
    run_seeds();
    for (unsigned long n = 0; n < count; n++) {
        make_input(&state);
        try_input();
    }
    printf("%u seeds and %lu inputs, no crash\n", seeds.count, count);
    return 0;
}
