/* SPDX-License-Identifier: MIT
 *
 * Any command line: it is accepted with values that a machine can be made from, or refused with one
 * sentence. The input is the words, with newlines between them; in even lines of WORDS a byte
 * chooses a known word, so that values are reached without guessing names.
 */
#include "frontend/cli/options.h"
#include "tests/fuzz/fuzz.h"

enum { ARGS_MAX = 32, TEXT_MAX = 1024 };

static const char *const words[] = {
    "-m",           "-smp",      "-cpu",         "-kernel",
    "-initrd",      "-append",   "-bios",        "-nographic",
    "-serial",      "-debugcon", "-clock",       "-no-reboot",
    "-device",      "-d",        "-D",           "-screendump",
    "-exit-report", "-engine",   "-display",     "-nodefaults",
    "--help",       "--version", "1G",           "4,sockets=2,cores=2",
    "max,-avx2",    "x86-64-v3", "counted,ips=", "isa-debug-exit,iobase=0xf4,iosize=4",
    "in_asm,int",   "stdio",     "file:x",       "none",
    "interp",       "help",      "real",         "counted",
    "1.5G",         "+pku,",     "ignore-msrs",  "null"};

static void check_sentence(const struct error *err, const char *what)
{
    size_t length = strnlen(err->text, sizeof(err->text));

    check(length > 10 && length < sizeof(err->text), "%s: no sentence but \"%.60s\"", what,
          err->text);
}

static void check_machine(const struct cli_options *o)
{
    const struct cpu_topology *t = &o->machine.topology;
    u64 count = (u64)t->sockets * t->cores * t->threads;

    check(o->machine.ram_size >= MACHINE_RAM_MIN && o->machine.ram_size <= MACHINE_RAM_MAX,
          "%lu bytes of RAM", o->machine.ram_size);
    check(count >= 1 && count <= MACHINE_VCPUS_MAX, "%lu processors", count);
    check(o->serial_count <= MACHINE_SERIAL_MAX, "%u serial ports", o->serial_count);
    check(!o->machine.debug_exit ||
              (o->machine.debug_exit_size >= 1 &&
               o->machine.debug_exit_base + o->machine.debug_exit_size <= 0x10000),
          "debug exit at %#x", o->machine.debug_exit_base);
}

static void check_model(const char *spec)
{
    static const struct cpu_topology topology = {1, 1, 1};
    struct cpu_model model;
    struct error err = {""};

    if (cpu_model_parse(&model, spec, &topology, 1000000000, 1000000000, &err))
        check_sentence(&err, "-cpu");
    else
        check(memchr(model.name, 0, sizeof(model.name)), "model name without an end");
}

/* Splits the input into words. */
static int split(char *text, size_t size, char *arguments[ARGS_MAX])
{
    int count = 0;

    arguments[count++] = (char *)"lockstep";
    for (char *at = text, *end = text + size; at < end && count < ARGS_MAX - 1;) {
        char *next = memchr(at, '\n', (size_t)(end - at));

        next = next ? next : end;
        *next = 0;
        if ((u8)at[0] >= 0x80 && !at[1])
            arguments[count++] = (char *)words[(u8)at[0] % ARRAY_SIZE(words)];
        else
            arguments[count++] = at;
        at = next + 1;
    }
    arguments[count] = NULL;
    return count;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    char text[TEXT_MAX + 1] = {0}, *arguments[ARGS_MAX];
    struct cli_options options;
    struct error err = {""};
    u64 bytes;
    int count;

    if (size > TEXT_MAX)
        size = TEXT_MAX;
    if (size)
        memcpy(text, data, size);
    if (!cli_parse_size(text, 1, &bytes))
        check(bytes < 1ull << 63, "size %lu", bytes);
    check_model(text);
    count = split(text, size, arguments);
    if (cli_parse(&options, count, arguments, &err))
        check_sentence(&err, arguments[count - 1]);
    else if (options.action == CLI_RUN)
        check_machine(&options);
    return 0;
}

/* Each word alone, each with each value that follows it in the list. */
size_t fuzz_seed(unsigned n, u8 *data, size_t capacity)
{
    unsigned first = n % ARRAY_SIZE(words), second = n / ARRAY_SIZE(words) * 3 + 22;

    if (second >= ARRAY_SIZE(words))
        return 0;
    return (size_t)snprintf((char *)data, capacity, "%s\n%s", words[first], words[second]);
}
