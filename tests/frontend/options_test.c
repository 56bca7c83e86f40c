/* SPDX-License-Identifier: MIT
 *
 * The command line as a machine: every option, its forms, and what belongs together. Wrong input is
 * in bad_input.sh, which sees what a person sees.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/cli/options.h"
#include "jit/jit.h"
#include "tests/suite.h"

static struct cli_options o;
static struct error err;

/* Splits at spaces. */
static enum status parse(const char *line)
{
    static char text[1024];
    const char *argv[64] = {"lockstep"};
    char *at = text;
    int argc = 1;

    snprintf(text, sizeof(text), "%s", line);
    for (char *word; (word = strsep(&at, " "));)
        if (*word)
            argv[argc++] = word;
    err.text[0] = 0;
    return cli_parse(&o, argc, (char **)argv, &err);
}

static void accept(const char *line)
{
    ck_assert_msg(parse(line) == ST_OK, "%s: %s", line, err.text);
}

static void refuse(const char *line)
{
    ck_assert_msg(parse(line) != ST_OK, "%s", line);
    ck_assert_uint_gt(strlen(err.text), 10);
}

START_TEST(nothing_is_the_default_machine)
{
    accept("");
    ck_assert_int_eq(o.action, CLI_RUN);
    ck_assert_uint_eq(o.machine.ram_size, MIB(512));
    ck_assert_str_eq(o.machine.cpu, "max");
    ck_assert_uint_eq(o.machine.topology.sockets, 1);
    ck_assert_uint_eq(o.machine.topology.cores, 1);
    ck_assert_ptr_null(o.machine.kernel);
    ck_assert_ptr_null(o.machine.bios);
    ck_assert_uint_eq(o.serial_count, 0);
    ck_assert_int_eq(o.machine.time, TIME_REAL);
    ck_assert_uint_eq(o.log_categories, 0);
    ck_assert(!o.machine.debug_exit && !o.machine.no_reboot && !o.nodefaults && !o.nographic);
}
END_TEST

START_TEST(sizes)
{
    static const struct {
        const char *text;
        u64 bytes;
    } cases[] = {{"512", MIB(512)},    {"512M", MIB(512)},  {"2G", GIB(2)},   {"1.5G", MIB(1536)},
                 {"1T", GIB(1024)},    {"0.5g", MIB(512)},  {"64m", MIB(64)}, {"size=3G", GIB(3)},
                 {"2097152K", GIB(2)}, {"1048576b", MIB(1)}};
    u64 size;

    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        char line[64];

        snprintf(line, sizeof(line), "-m %s", cases[n].text);
        accept(line);
        ck_assert_uint_eq(o.machine.ram_size, cases[n].bytes);
    }
    ck_assert_int_eq(cli_parse_size("7", 1, &size), ST_OK);
    ck_assert_uint_eq(size, 7);
    ck_assert_int_eq(cli_parse_size("0", 1, &size), ST_OK);
    ck_assert_uint_eq(size, 0);
}
END_TEST

START_TEST(sizes_that_are_none)
{
    static const char *const texts[] = {"",    " 1",  "-1",  "+1",           "1KB",   "M",  "1MM",
                                        "nan", "inf", "1 M", "99999999999T", "1e400", ".5G"};
    u64 size = 42;

    for (unsigned n = 0; n < ARRAY_SIZE(texts); n++)
        ck_assert_msg(cli_parse_size(texts[n], 1, &size) != ST_OK, "%s", texts[n]);
    ck_assert_uint_eq(size, 42);
}
END_TEST

/* As in QEMU since 6.2: what is left out goes to the cores first. */
START_TEST(topologies)
{
    static const struct {
        const char *text;
        struct cpu_topology t;
    } cases[] = {
        {"1", {1, 1, 1}},
        {"4", {1, 4, 1}},
        {"cpus=3", {1, 3, 1}},
        {"4,sockets=4", {4, 1, 1}},
        {"4,sockets=2", {2, 2, 1}},
        {"4,cores=2", {2, 2, 1}},
        {"4,threads=2", {1, 2, 2}},
        {"8,sockets=2,threads=2", {2, 2, 2}},
        {"8,sockets=2,cores=2", {2, 2, 2}},
        {"8,cores=2,threads=2", {2, 2, 2}},
        {"sockets=2,cores=3", {2, 3, 1}},
        {"cores=2,threads=2", {1, 2, 2}},
        {"12,sockets=1,cores=6,threads=2", {1, 6, 2}},
        {"255", {1, 255, 1}},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        char line[64];

        snprintf(line, sizeof(line), "-smp %s", cases[n].text);
        accept(line);
        ck_assert_msg(!memcmp(&o.machine.topology, &cases[n].t, sizeof(cases[n].t)), "%s: %u,%u,%u",
                      cases[n].text, o.machine.topology.sockets, o.machine.topology.cores,
                      o.machine.topology.threads);
    }
    refuse("-smp 4,sockets=3");
    refuse("-smp 4,sockets=8");
    refuse("-smp 3,cores=2");
    refuse("-smp 4,sockets=2,cores=2,threads=2");
    refuse("-smp sockets=16,cores=16");
}
END_TEST

START_TEST(dashes_and_order_do_not_matter)
{
    accept("--m 1G -smp 2 --cpu x86-64 -m 2G");
    ck_assert_uint_eq(o.machine.ram_size, GIB(2)); /* the last one counts */
    ck_assert_str_eq(o.machine.cpu, "x86-64");
}
END_TEST

START_TEST(kernels)
{
    const char *argv[] = {"lockstep", "-append", "console=ttyS0 quiet", "-initrd", "i",
                          "-kernel",  "k"};

    ck_assert_int_eq(cli_parse(&o, 7, (char **)argv, &err), ST_OK);
    ck_assert_str_eq(o.machine.kernel, "k");
    ck_assert_str_eq(o.machine.initrd, "i");
    ck_assert_str_eq(o.machine.append, "console=ttyS0 quiet");
    accept("-bios none -kernel k");
    ck_assert_str_eq(o.machine.bios, "none");
    refuse("-initrd i");
    refuse("-append a");
    refuse("-bios none");
}
END_TEST

START_TEST(serial_ports)
{
    accept("-serial stdio -serial file:a -serial null -serial none");
    ck_assert_uint_eq(o.serial_count, 4);
    ck_assert_str_eq(o.serial[1], "file:a");
    accept("-debugcon stdio -serial null");
    ck_assert_str_eq(o.debugcon, "stdio");
    refuse("-debugcon stdio -serial stdio");
    refuse("-serial stdio -serial stdio");
    refuse("-serial null -serial null -serial null -serial null -serial null");
    refuse("-serial pty");
    refuse("-serial file:");
}
END_TEST

START_TEST(switches)
{
    accept("-nographic -display none -no-reboot -nodefaults -engine interp");
    ck_assert(o.nographic && o.machine.no_reboot && o.nodefaults);
    ck_assert_int_eq(o.machine.engine, ENGINE_INTERP);
}
END_TEST

START_TEST(debug_exit)
{
    accept("-device isa-debug-exit");
    ck_assert(o.machine.debug_exit);
    ck_assert_uint_eq(o.machine.debug_exit_base, 0x501);
    ck_assert_uint_eq(o.machine.debug_exit_size, 2);
    accept("-device isa-debug-exit,iobase=0xf4,iosize=4");
    ck_assert_uint_eq(o.machine.debug_exit_base, 0xf4);
    ck_assert(!o.machine.testdev);
    accept("-device pc-testdev");
    ck_assert(o.machine.testdev);
    refuse("-device pc-testdev,iobase=1");
    accept("-device isa-debug-exit,iobase=0xf4,iosize=4");
    ck_assert_uint_eq(o.machine.debug_exit_size, 4);
    accept("-device isa-debug-exit,iobase=0xffff,iosize=1");
    refuse("-device isa-debug-exit,iobase=0xffff,iosize=2");
    refuse("-device isa-debug-exit,iosize=0");
    refuse("-device isa-debug-exit,");
    refuse("-device e1000");
}
END_TEST

START_TEST(clocks)
{
    accept("-clock counted");
    ck_assert_int_eq(o.machine.time, TIME_COUNTED);
    ck_assert_uint_eq(o.machine.ips, 0);
    accept("-clock counted,ips=250M");
    ck_assert_uint_eq(o.machine.ips, 250000000);
    accept("-clock counted,ips=1.5k");
    ck_assert_uint_eq(o.machine.ips, 1500);
    accept("-clock counted,ips=100G");
    ck_assert_uint_eq(o.machine.ips, 100000000000);
    accept("-clock real");
    ck_assert_int_eq(o.machine.time, TIME_REAL);
    ck_assert_uint_eq(o.machine.slowness, 0);
    accept("-clock real,slow=16");
    ck_assert_uint_eq(o.machine.slowness, 16);
    refuse("-clock real,slow=0");
    refuse("-clock real,slow=1001");
    refuse("-clock real,slow=nan");
    refuse("-clock real,slow");
    refuse("-clock counted,slow=2");
    refuse("-clock counted,ips=999");
    refuse("-clock counted,ips=nan");
    refuse("-clock counted,ips=");
    refuse("-clock counted,ips");
    refuse("-clock real,ips=1M");
}
END_TEST

START_TEST(dates)
{
    accept("-rtc base=2026-01-31T12:00:00");
    ck_assert_uint_eq(o.machine.wall_start, 1769860800);
    accept("-rtc base=2026-01-31");
    ck_assert_uint_eq(o.machine.wall_start, 1769817600);
    accept("-rtc base=utc");
    ck_assert_uint_ge(o.machine.wall_start, (u64)time(NULL) - 5);
    refuse("-rtc base=2026-01-31T12:00:00Z");
    refuse("-rtc utc");
}
END_TEST

START_TEST(traces)
{
    accept("-d in_asm,int,mmio -D log");
    ck_assert_uint_eq(o.log_categories, LOG_IN_ASM | LOG_INT | LOG_MMIO);
    ck_assert_str_eq(o.log_file, "log");
    accept("-d contention");
    ck_assert_uint_eq(o.log_categories, LOG_CONTENTION);
    accept("-d cpu -d exec");
    ck_assert_uint_eq(o.log_categories & LOG_EXEC, LOG_EXEC);
    refuse("-d in_asm,,int");
}
END_TEST

START_TEST(files_at_the_end)
{
    accept("-screendump s -exit-report r");
    ck_assert_str_eq(o.screen_dump, "s");
    ck_assert_str_eq(o.exit_report, "r");
}
END_TEST

/* Whoever asks for help gets it, whatever follows. */
START_TEST(questions)
{
    accept("--help");
    ck_assert_int_eq(o.action, CLI_HELP);
    accept("-h --nonsense");
    ck_assert_int_eq(o.action, CLI_HELP);
    accept("-m 1G --version");
    ck_assert_int_eq(o.action, CLI_VERSION);
    accept("-cpu help");
    ck_assert_int_eq(o.action, CLI_CPU_HELP);
    accept("-device help");
    ck_assert_int_eq(o.action, CLI_DEVICE_HELP);
    accept("-jit help");
    ck_assert_int_eq(o.action, CLI_JIT_HELP);
    accept("-jit stats,cache=1M,no-link");
    ck_assert_uint_eq(o.machine.jit_off, JIT_LINK);
    accept("-d help");
    ck_assert_int_eq(o.action, CLI_LOG_HELP);
}
END_TEST

/* Every option of --help is one, with the argument that it shows. */
START_TEST(help_is_true)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    unsigned options = 0;

    cli_help(out);
    fclose(out);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char name[32], alone[40];
        bool argument;

        if (sscanf(line, "  -%31s", name) != 1 || strncmp(line, "  -", 3))
            continue;
        options++;
        argument = line[3 + strlen(name) + 1] != ' ';
        snprintf(alone, sizeof(alone), "-%s", name);
        ck_assert_msg((parse(alone) != ST_OK) == argument, "%s: %s", alone, err.text);
        ck_assert(!argument || strstr(err.text, "needs an argument"));
    }
    ck_assert_uint_ge(options, 20);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("options");
    TCase *tc = tcase_create("options");

    tcase_add_test(tc, nothing_is_the_default_machine);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, sizes_that_are_none);
    tcase_add_test(tc, topologies);
    tcase_add_test(tc, dashes_and_order_do_not_matter);
    tcase_add_test(tc, kernels);
    tcase_add_test(tc, serial_ports);
    tcase_add_test(tc, switches);
    tcase_add_test(tc, debug_exit);
    tcase_add_test(tc, clocks);
    tcase_add_test(tc, dates);
    tcase_add_test(tc, traces);
    tcase_add_test(tc, files_at_the_end);
    tcase_add_test(tc, questions);
    tcase_add_test(tc, help_is_true);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
