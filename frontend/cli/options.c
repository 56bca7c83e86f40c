/* SPDX-License-Identifier: MIT */
#include "frontend/cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum status option_fn(struct cli_options *o, const char *value, struct error *err);

struct option {
    const char *name;     /* without dashes; one or two are accepted */
    const char *argument; /* how --help shows it, NULL for none */
    option_fn *parse;
    const char *help;
};

/* -- values -- */

enum status cli_parse_size(const char *text, u64 unit, u64 *size)
{
    char *end;
    double number;
    u64 scale = unit;

    errno = 0;
    number = strtod(text, &end);
    if (end == text || errno || !isdigit((unsigned char)text[0]))
        return ST_INVALID;
    switch (toupper((unsigned char)*end)) {
    case 0: break;
    case 'B': scale = 1, end++; break;
    case 'K': scale = KIB(1), end++; break;
    case 'M': scale = MIB(1), end++; break;
    case 'G': scale = GIB(1), end++; break;
    case 'T': scale = GIB(1024), end++; break;
    default: return ST_INVALID;
    }
    if (*end || number * (double)scale >= 0x1p63)
        return ST_INVALID;
    *size = (u64)(number * (double)scale);
    return ST_OK;
}

static bool parse_uint(const char *text, u64 max, u64 *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 0);
    return end != text && !*end && !errno && isdigit((unsigned char)text[0]) && *value <= max;
}

/* Walks "key=value,key,..." in place: returns the next item and moves *at past it; NULL at the end.
 */
static char *next_item(char **at, char **value)
{
    char *item = *at;

    if (!item)
        return NULL;
    *at = strchr(item, ',');
    if (*at)
        *(*at)++ = 0;
    *value = strchr(item, '=');
    if (*value)
        *(*value)++ = 0;
    return item;
}

/* -- one function per option -- */

static enum status opt_help(struct cli_options *o, const char *value, struct error *err)
{
    (void)value, (void)err;
    o->action = CLI_HELP;
    return ST_OK;
}

static enum status opt_version(struct cli_options *o, const char *value, struct error *err)
{
    (void)value, (void)err;
    o->action = CLI_VERSION;
    return ST_OK;
}

static enum status opt_m(struct cli_options *o, const char *value, struct error *err)
{
    u64 size;

    if (!strncmp(value, "size=", 5))
        value += 5;
    if (cli_parse_size(value, MIB(1), &size))
        return error_set(
            err, ST_INVALID,
            "-m %s is not a memory size; write megabytes or a unit, as in -m 512 or -m 2G.", value);
    if (size < MACHINE_RAM_MIN || size > MACHINE_RAM_MAX)
        return error_set(err, ST_INVALID,
                         "-m %s is out of range; give the guest between 1M and 1024G of memory.",
                         value);
    if (size % MIB(1))
        return error_set(err, ST_INVALID, "-m %s is not a whole number of megabytes; round it.",
                         value);
    o->machine.ram_size = size;
    return ST_OK;
}

/* What was left out, as QEMU fills it in: one socket, then as many cores as it takes, one thread.
 */
static enum status smp_finish(struct cpu_topology *t, u64 cpus, struct error *err)
{
    unsigned given_sockets = t->sockets ? t->sockets : 1,
             given_threads = t->threads ? t->threads : 1;
    u64 product;

    if (!t->cores)
        t->cores = cpus ? (unsigned)(cpus / (given_sockets * given_threads)) : 1;
    else if (!t->sockets && cpus)
        given_sockets = (unsigned)(cpus / (t->cores * given_threads));
    else if (!t->threads && cpus)
        given_threads = (unsigned)(cpus / (t->cores * given_sockets));
    t->sockets = given_sockets;
    t->threads = given_threads;
    product = (u64)t->sockets * t->cores * t->threads;
    if (cpus && product != cpus)
        return error_set(err, ST_INVALID,
                         "-smp asks for %lu processors but sockets x cores x threads is not that; "
                         "make them agree.",
                         cpus);
    if (!product || product > MACHINE_VCPUS_MAX)
        return error_set(err, ST_INVALID, "-smp asks for %lu processors; give 1 to %d.", product,
                         MACHINE_VCPUS_MAX);
    return ST_OK;
}

static enum status opt_smp(struct cli_options *o, const char *value, struct error *err)
{
    char text[128], *at = text, *item, *number;
    struct cpu_topology t = {0};
    u64 cpus = 0, n;

    if (snprintf(text, sizeof(text), "%s", value) >= (int)sizeof(text))
        return error_set(err, ST_INVALID,
                         "-smp is too long; write it as -smp 4 or -smp "
                         "4,sockets=1,cores=2,threads=2.");
    while ((item = next_item(&at, &number))) {
        if (!parse_uint(number ? number : item, MACHINE_VCPUS_MAX, &n) || !n)
            return error_set(err, ST_INVALID,
                             "-smp %s: a processor count is a number from 1 to %d, as in -smp "
                             "4,sockets=1,cores=2,threads=2.",
                             value, MACHINE_VCPUS_MAX);
        if (!number || !strcmp(item, "cpus"))
            cpus = n;
        else if (!strcmp(item, "sockets"))
            t.sockets = (unsigned)n;
        else if (!strcmp(item, "cores"))
            t.cores = (unsigned)n;
        else if (!strcmp(item, "threads"))
            t.threads = (unsigned)n;
        else
            return error_set(err, ST_INVALID,
                             "-smp does not know %s; use cpus, sockets, cores and threads.", item);
    }
    o->machine.topology = t;
    return smp_finish(&o->machine.topology, cpus, err);
}

static enum status opt_cpu(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    if (!strcmp(value, "help"))
        o->action = CLI_CPU_HELP;
    o->machine.cpu = value;
    return ST_OK;
}

static enum status opt_hv(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    if (!strcmp(value, "help"))
        o->action = CLI_HV_HELP;
    o->machine.hv = value;
    return ST_OK;
}

static enum status opt_kernel(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    o->machine.kernel = value;
    return ST_OK;
}

static enum status opt_initrd(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    o->machine.initrd = value;
    return ST_OK;
}

static enum status opt_append(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    o->machine.append = value;
    return ST_OK;
}

static enum status opt_bios(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    o->machine.bios = value;
    return ST_OK;
}

static enum status opt_nographic(struct cli_options *o, const char *value, struct error *err)
{
    (void)value, (void)err;
    o->nographic = true;
    return ST_OK;
}

static enum status opt_display(struct cli_options *o, const char *value, struct error *err)
{
    (void)o;
    if (strcmp(value, "none"))
        return error_set(
            err, ST_UNSUPPORTED,
            "-display %s is not available in this build; use -display none with -serial "
            "stdio, or -nographic.",
            value);
    return ST_OK;
}

static enum status check_chardev(const char *option, const char *value, struct error *err)
{
    if (!strcmp(value, "stdio") || !strcmp(value, "null") || !strcmp(value, "none"))
        return ST_OK;
    if (!strncmp(value, "file:", 5) && value[5])
        return ST_OK;
    return error_set(err, ST_INVALID, "%s %s is not known; use stdio, null, none or file:NAME.",
                     option, value);
}

static enum status opt_serial(struct cli_options *o, const char *value, struct error *err)
{
    enum status st = check_chardev("-serial", value, err);

    if (st)
        return st;
    if (o->serial_count == MACHINE_SERIAL_MAX)
        return error_set(err, ST_INVALID, "-serial can be given at most %d times.",
                         MACHINE_SERIAL_MAX);
    o->serial[o->serial_count++] = value;
    return ST_OK;
}

static enum status opt_debugcon(struct cli_options *o, const char *value, struct error *err)
{
    o->debugcon = value;
    return check_chardev("-debugcon", value, err);
}

static enum status opt_no_reboot(struct cli_options *o, const char *value, struct error *err)
{
    (void)value, (void)err;
    o->machine.no_reboot = true;
    return ST_OK;
}

static enum status opt_nodefaults(struct cli_options *o, const char *value, struct error *err)
{
    (void)value, (void)err;
    o->nodefaults = true;
    return ST_OK;
}

static enum status debug_exit_properties(struct machine_config *m, char *at, struct error *err)
{
    char *item, *value;
    u64 n;

    m->debug_exit = true;
    m->debug_exit_base = 0x501;
    m->debug_exit_size = 2;
    while ((item = next_item(&at, &value))) {
        if (value && !strcmp(item, "iobase") && parse_uint(value, 0xffff, &n))
            m->debug_exit_base = (u16)n;
        else if (value && !strcmp(item, "iosize") && parse_uint(value, 4, &n) && n)
            m->debug_exit_size = (u16)n;
        else
            return error_set(
                err, ST_INVALID,
                "-device isa-debug-exit: %s is not a property with a usable value; use "
                "iobase=0xf4,iosize=4.",
                item);
    }
    if (m->debug_exit_base + m->debug_exit_size > 0x10000)
        return error_set(err, ST_INVALID,
                         "-device isa-debug-exit runs past port 0xffff; lower iobase.");
    return ST_OK;
}

static enum status opt_device(struct cli_options *o, const char *value, struct error *err)
{
    char text[256], *comma;

    if (!strcmp(value, "help")) {
        o->action = CLI_DEVICE_HELP;
        return ST_OK;
    }
    if (snprintf(text, sizeof(text), "%s", value) >= (int)sizeof(text))
        return error_set(err, ST_INVALID, "-device is too long; see -device help.");
    comma = strchr(text, ',');
    if (comma)
        *comma++ = 0;
    if (!strcmp(text, "isa-debug-exit"))
        return debug_exit_properties(&o->machine, comma, err);
    if (!strcmp(text, "hyperv-testdev")) {
        o->machine.hv_testdev = true;
        if (comma)
            return error_set(err, ST_INVALID, "-device hyperv-testdev takes no properties.");
        return ST_OK;
    }
    if (!strcmp(text, "pc-testdev") && !comma) {
        o->machine.testdev = true;
        return ST_OK;
    }
    return error_set(err, ST_NOT_FOUND, "-device %s is not known; see -device help.", text);
}

static enum status opt_engine(struct cli_options *o, const char *value, struct error *err)
{
    if (!strcmp(value, "interp")) {
        o->machine.engine = ENGINE_INTERP;
        return ST_OK;
    }
    if (!strcmp(value, "jit")) {
        o->machine.engine = ENGINE_JIT;
        return ST_OK;
    }
    if (!strcmp(value, "check")) {
        o->machine.engine = ENGINE_CHECK;
        return ST_OK;
    }
    return error_set(err, ST_INVALID, "-engine %s is not known; use jit, interp or check.", value);
}

void cli_jit_help(FILE *out)
{
    fprintf(out, "stats           at exit: what was translated, and what was not\n"
                 "cache=SIZE      of translated code, for each processor (default 64M)\n");
    for (size_t n = 0; n < JIT_OPTIMISATIONS; n++)
        fprintf(out, "no-%-12s without: %s\n", jit_optimisation_info[n].name,
                jit_optimisation_info[n].what);
}

static enum status jit_item(struct cli_options *o, const char *item, const char *value,
                            struct error *err)
{
    if (!strcmp(item, "stats") && !value) {
        o->machine.jit_stats = true;
        return ST_OK;
    }
    if (!strcmp(item, "cache") && value) {
        if (cli_parse_size(value, MIB(1), &o->machine.jit_cache) ||
            o->machine.jit_cache < JIT_CACHE_MIN || o->machine.jit_cache > GIB(1))
            return error_set(err, ST_INVALID, "-jit cache=%s is no size for it; give 256K to 1G.",
                             value);
        return ST_OK;
    }
    for (size_t n = 0; n < JIT_OPTIMISATIONS && !value && !strncmp(item, "no-", 3); n++)
        if (!strcmp(item + 3, jit_optimisation_info[n].name)) {
            o->machine.jit_off |= 1ull << n;
            return ST_OK;
        }
    return error_set(err, ST_INVALID, "-jit %s is not known; -jit help lists what is.", item);
}

static enum status opt_jit(struct cli_options *o, const char *value, struct error *err)
{
    char text[1024], *at = text, *item, *argument;
    enum status st = ST_OK;

    if (!strcmp(value, "help")) {
        o->action = CLI_JIT_HELP;
        return ST_OK;
    }
    if (snprintf(text, sizeof(text), "%s", value) >= (int)sizeof(text))
        return error_set(err, ST_INVALID, "-jit is too long; name fewer items.");
    while (!st && (item = next_item(&at, &argument)))
        st = jit_item(o, item, argument, err);
    return st;
}

/* The property of each kind of clock. */
static enum status clock_property(struct cli_options *o, const char *value, const char *name,
                                  const char *number, struct error *err)
{
    char *end;
    double n = number ? strtod(number, &end) : 0;

    if (number && !strcmp(name, "slow") && o->machine.time == TIME_REAL) {
        if (*end || !(n >= 1 && n <= 1000))
            return error_set(err, ST_INVALID, "-clock %s: slow takes a number from 1 to 1000.",
                             value);
        o->machine.slowness = (u64)n;
        return ST_OK;
    }
    if (!number || strcmp(name, "ips") || o->machine.time != TIME_COUNTED)
        return error_set(
            err, ST_INVALID,
            "-clock %s: no such property here; they are as in counted,ips=100M and real,slow=10.",
            value);
    if (toupper((unsigned char)*end) == 'K')
        n *= 1e3, end++;
    else if (toupper((unsigned char)*end) == 'M')
        n *= 1e6, end++;
    else if (toupper((unsigned char)*end) == 'G')
        n *= 1e9, end++;
    if (*end || !(n >= 1000 && n <= 1e11))
        return error_set(err, ST_INVALID,
                         "-clock %s: ips is instructions a second, from 1000 to 100G.", value);
    o->machine.ips = (u64)n;
    return ST_OK;
}

static enum status opt_clock(struct cli_options *o, const char *value, struct error *err)
{
    char text[64], *at = text, *item, *number;
    enum status st = ST_OK;

    if (snprintf(text, sizeof(text), "%s", value) >= (int)sizeof(text))
        return error_set(err, ST_INVALID, "-clock is too long; use real or counted,ips=100M.");
    item = next_item(&at, &number);
    if (item && !number && !strcmp(item, "real"))
        o->machine.time = TIME_REAL;
    else if (item && !number && !strcmp(item, "counted"))
        o->machine.time = TIME_COUNTED;
    else
        return error_set(err, ST_INVALID, "-clock %s is not known; use real or counted,ips=100M.",
                         value);
    while (!st && (item = next_item(&at, &number)))
        st = clock_property(o, value, item, number, err);
    return st;
}

static enum status opt_rtc(struct cli_options *o, const char *value, struct error *err)
{
    struct tm tm = {0};
    const char *end;

    if (strncmp(value, "base=", 5))
        return error_set(err, ST_INVALID,
                         "-rtc %s is not known; use base=utc or base=2026-01-31T12:00:00.", value);
    if (!strcmp(value + 5, "utc")) {
        o->machine.wall_start = (u64)time(NULL);
        return ST_OK;
    }
    end = strptime(value + 5, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end) {
        tm = (struct tm){0};
        end = strptime(value + 5, "%Y-%m-%d", &tm);
    }
    if (!end || *end || tm.tm_year < 70)
        return error_set(err, ST_INVALID,
                         "-rtc %s is not a date; use base=utc or base=2026-01-31T12:00:00.", value);
    o->machine.wall_start = (u64)timegm(&tm);
    return ST_OK;
}

static const struct {
    const char *name;
    u32 category;
    const char *help;
} log_names[] = {
    {"in_asm", LOG_IN_ASM, "each guest instruction when it is first decoded"},
    {"out_asm", LOG_OUT_ASM, "guest and host code side by side when a block is translated"},
    {"exec", LOG_EXEC, "the address of each executed instruction"},
    {"cpu", LOG_CPU, "the registers before each executed instruction"},
    {"int", LOG_INT, "exceptions and interrupts as they are delivered"},
    {"mmio", LOG_MMIO, "every access to a device register"},
    {"hv1", LOG_HV1, "Hv#1's CPUID leaves, MSRs and hypercalls by name"},
    {"contention", LOG_CONTENTION,
     "at the end, how long each processor held and waited for the device lock, and for others"},
    {"guest_errors", LOG_GUEST, "misuse of devices by the guest"},
};

static enum status opt_d(struct cli_options *o, const char *value, struct error *err)
{
    char text[128], *at = text, *item, *ignored;

    if (!strcmp(value, "help")) {
        o->action = CLI_LOG_HELP;
        return ST_OK;
    }
    if (snprintf(text, sizeof(text), "%s", value) >= (int)sizeof(text))
        return error_set(err, ST_INVALID, "-d is too long; see -d help.");
    while ((item = next_item(&at, &ignored))) {
        size_t n = 0;

        while (n < ARRAY_SIZE(log_names) && strcmp(item, log_names[n].name))
            n++;
        if (n == ARRAY_SIZE(log_names))
            return error_set(err, ST_INVALID, "-d %s is not a trace category; see -d help.", item);
        o->log_categories |= log_names[n].category;
    }
    return ST_OK;
}

static enum status opt_D(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    o->log_file = value;
    return ST_OK;
}

static enum status opt_screendump(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    o->screen_dump = value;
    return ST_OK;
}

static enum status opt_exit_report(struct cli_options *o, const char *value, struct error *err)
{
    (void)err;
    o->exit_report = value;
    return ST_OK;
}

static const struct option option_table[] = {
    {"h", NULL, opt_help, NULL},
    {"help", NULL, opt_help, "this text"},
    {"version", NULL, opt_version, "the version"},
    {"m", "SIZE", opt_m, "guest memory, in megabytes or with a unit (default 512M)"},
    {"smp", "N[,sockets=,cores=,threads=]", opt_smp, "virtual processors (default 1)"},
    {"cpu", "MODEL[,+F,-F,ignore-msrs]", opt_cpu, "processor (default max); -cpu help lists all"},
    {"hv", "full|min|off[,+S,-S,vendor=V]", opt_hv,
     "Microsoft's Hv#1 interface (default full); -hv help lists all"},
    {"kernel", "FILE", opt_kernel, "boot a Linux bzImage or a multiboot 1 image"},
    {"initrd", "FILE", opt_initrd, "initial ramdisk, or multiboot module"},
    {"append", "TEXT", opt_append, "kernel command line"},
    {"bios", "FILE|none", opt_bios,
     "firmware image (default SeaBIOS); none enters -kernel directly"},
    {"nographic", NULL, opt_nographic, "no display, first serial port on the terminal"},
    {"display", "none", opt_display, "no display"},
    {"serial", "stdio|file:F|null|none", opt_serial, "back end of the next serial port"},
    {"debugcon", "stdio|file:F|null", opt_debugcon, "back end of ports 0x402 and 0xe9"},
    {"no-reboot", NULL, opt_no_reboot, "end when the guest resets"},
    {"nodefaults", NULL, opt_nodefaults, "no serial port unless -serial asks for one"},
    {"device", "NAME[,PROP=VALUE]", opt_device, "add a device; -device help lists them"},
    {"engine", "jit|interp|check", opt_engine,
     "how instructions are executed; check: both ways, compared"},
    {"jit", "LIST", opt_jit, "of the translator: stats, cache=SIZE, no-NAME; -jit help lists all"},
    {"clock", "real[,slow=N]|counted[,ips=N]", opt_clock,
     "guest time from the host or from instructions"},
    {"rtc", "base=utc|DATE", opt_rtc, "wall clock at power-on"},
    {"d", "LIST", opt_d, "trace categories, separated by commas; -d help lists them"},
    {"D", "FILE", opt_D, "write traces to FILE instead of standard error"},
    {"screendump", "FILE", opt_screendump, "write the text screen to FILE at exit and on SIGUSR1"},
    {"exit-report", "FILE", opt_exit_report,
     "write why and where the machine ended to FILE as JSON"},
};

void cli_help(FILE *out)
{
    fputs("Usage: lockstep [OPTION...]\n\nRuns an x86-64 PC on a host without hardware "
          "virtualisation.\n\nOptions (as in QEMU):\n",
          out);
    for (size_t n = 0; n < ARRAY_SIZE(option_table); n++) {
        const struct option *o = &option_table[n];
        char left[64];

        if (!o->help)
            continue;
        snprintf(left, sizeof(left), "-%s%s%s", o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        fprintf(out, "  %-36s %s\n", left, o->help);
    }
    fputs(
        "\nIn the terminal: Ctrl-A h shows the keys, Ctrl-A x quits.\n"
        "Exit status: 0 guest power-off or quit; the guest's code from isa-debug-exit; 1 usage or "
        "set-up error;\n             2 triple fault with -no-reboot.\n"
        "Example: lockstep -m 1G -kernel vmlinuz -initrd initrd.gz -append console=ttyS0 "
        "-nographic\n",
        out);
}

void cli_log_help(FILE *out)
{
    for (size_t n = 0; n < ARRAY_SIZE(log_names); n++)
        fprintf(out, "%-14s %s\n", log_names[n].name, log_names[n].help);
}

void cli_device_help(FILE *out)
{
    fputs("isa-debug-exit   iobase=PORT (0x501), iosize=1..4 (2): a write of N ends Lockstep with "
          "status 2N+1\n"
          "hyperv-testdev   SynIC routes and connections for test kernels, at port 0x3000\n"
          "pc-testdev       what test kernels expect: scratch ports 0xe0-0xe7 and page 0xff000000, "
          "interrupt lines at ports 0x2000-0x2017\n",
          out);
}

static const struct option *find_option(const char *arg)
{
    const char *name = arg + (arg[0] == '-' && arg[1] == '-' ? 2 : 1);

    for (size_t n = 0; n < ARRAY_SIZE(option_table); n++)
        if (!strcmp(name, option_table[n].name))
            return &option_table[n];
    return NULL;
}

/* What can only be judged when every option is known. */
static enum status check_together(const struct cli_options *o, struct error *err)
{
    unsigned terminals = o->debugcon && !strcmp(o->debugcon, "stdio");

    for (unsigned n = 0; n < o->serial_count; n++)
        terminals += !strcmp(o->serial[n], "stdio");
    if (terminals > 1)
        return error_set(
            err, ST_INVALID,
            "Only one of -serial and -debugcon can use stdio; send the other to a file.");
    if (o->machine.initrd && !o->machine.kernel)
        return error_set(err, ST_INVALID, "-initrd needs -kernel; add it.");
    if (o->machine.append && !o->machine.kernel)
        return error_set(err, ST_INVALID, "-append needs -kernel; add it.");
    if (o->machine.bios && !strcmp(o->machine.bios, "none") && !o->machine.kernel)
        return error_set(err, ST_INVALID, "-bios none needs -kernel; add it or leave out -bios.");
    return ST_OK;
}

enum status cli_parse(struct cli_options *o, int argc, char **argv, struct error *err)
{
    *o = (struct cli_options){.action = CLI_RUN};
    machine_config_defaults(&o->machine);
    o->machine.own_process = true;
    for (int n = 1; n < argc; n++) {
        const char *arg = argv[n];
        const struct option *option;
        const char *value = NULL;
        enum status st;

        if (arg[0] != '-' || !arg[1])
            return error_set(err, ST_INVALID,
                             "%s is not an option; disk images are not supported yet, see --help.",
                             arg);
        option = find_option(arg);
        if (!option)
            return error_set(err, ST_INVALID, "%.80s is not an option; see lockstep --help.", arg);
        if (option->argument) {
            if (++n == argc)
                return error_set(err, ST_INVALID, "%s needs an argument: %s %s.", arg, arg,
                                 option->argument);
            value = argv[n];
        }
        st = option->parse(o, value, err);
        if (st || o->action != CLI_RUN)
            return st;
    }
    return check_together(o, err);
}
