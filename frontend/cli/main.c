/* SPDX-License-Identifier: MIT
 *
 * The lockstep command: options to a machine, host files and the terminal to its devices, the
 * machine's end to an exit status.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/backend/chardev_file.h"
#include "devices/backend/chardev_null.h"
#include "devices/backend/chardev_stdio.h"
#include "frontend/cli/options.h"
#include "frontend/cli/terminal.h"
#include "frontend/conform/conform.h"
#include "machine/machine.h"

enum { EXIT_USAGE = 1, EXIT_GUEST_DIED = 2, EXIT_ENGINES_DIFFER = 3, DUMP_SIZE = 1 << 20 };

struct session {
    struct cli_options options;
    struct log log;
    struct terminal terminal;
    struct chardev *serial[MACHINE_SERIAL_MAX];
    struct chardev *debugcon;
    struct chardev *stdio; /* the one of the above on the terminal, or NULL */
    struct machine *machine;
    bool screen_wanted; /* atomic: SIGUSR1 asked for the text screen */
    bool quit;          /* atomic: the machine is to end */
    sigset_t signals;
    pthread_t signal_thread;
};

/* -- host files -- */

static enum status open_log(struct session *s, struct error *err)
{
    log_init(&s->log);
    s->log.categories = s->options.log_categories;
    if (!s->options.log_file)
        return ST_OK;
    s->log.sink = fopen(s->options.log_file, "w");
    if (!s->log.sink) {
        s->log.sink = stderr;
        return error_set(err, ST_IO, "-D %s cannot be written (%s); choose another file.",
                         s->options.log_file, strerror(errno));
    }
    s->log.owned = true;
    return ST_OK;
}

static enum status open_file(struct session *s, const char *option, const char *path,
                             struct chardev **c, struct error *err)
{
    struct error cause;
    enum status st = chardev_file_create(c, path, false, &s->log, &cause);
    int length = (int)strlen(cause.text);

    if (!st)
        return ST_OK;
    return error_set(err, st, "%s file:%s: %.*s; name another file.", option, path,
                     length && cause.text[length - 1] == '.' ? length - 1 : length, cause.text);
}

static enum status open_chardev(struct session *s, const char *option, const char *spec,
                                struct chardev **c, struct error *err)
{
    enum status st;

    if (!strcmp(spec, "none"))
        return ST_OK;
    if (!strcmp(spec, "null"))
        return chardev_null_create(c, err);
    if (!strncmp(spec, "file:", 5))
        return open_file(s, option, spec + 5, c, err);
    st = chardev_stdio_create(c, STDIN_FILENO, STDOUT_FILENO, err);
    if (!st)
        s->stdio = *c;
    return st;
}

/* Files that are written at the end: better known now than after hours. */
static enum status check_writable(const char *option, const char *path, struct error *err)
{
    FILE *file = path ? fopen(path, "a") : NULL;

    if (path && !file)
        return error_set(err, ST_IO, "%s %s cannot be written (%s); choose another file.", option,
                         path, strerror(errno));
    if (file)
        fclose(file);
    return ST_OK;
}

static enum status check_outputs(const struct cli_options *o, struct error *err)
{
    enum status st = check_writable("-screendump", o->screen_dump, err);

    return st ? st : check_writable("-exit-report", o->exit_report, err);
}

/* Without -serial the first port is on the terminal, unless -debugcon took it. */
static enum status open_chardevs(struct session *s, struct error *err)
{
    struct cli_options *o = &s->options;
    bool debugcon_stdio = o->debugcon && !strcmp(o->debugcon, "stdio");
    enum status st = ST_OK;

    if (!o->serial_count && !o->nodefaults && !debugcon_stdio)
        o->serial[o->serial_count++] = "stdio";
    for (unsigned n = 0; !st && n < o->serial_count; n++)
        st = open_chardev(s, "-serial", o->serial[n], &s->serial[n], err);
    if (!st && o->debugcon)
        st = open_chardev(s, "-debugcon", o->debugcon, &s->debugcon, err);
    for (unsigned n = 0; n < MACHINE_SERIAL_MAX; n++)
        o->machine.serial[n] = s->serial[n];
    o->machine.debugcon = s->debugcon;
    return st;
}

static void close_all(struct session *s)
{
    for (unsigned n = 0; n < MACHINE_SERIAL_MAX; n++)
        chardev_destroy(s->serial[n]);
    chardev_destroy(s->debugcon);
    terminal_close(&s->terminal);
    log_fini(&s->log);
}

/* -- signals -- */

static void write_screen(struct session *s)
{
    static const size_t size = 65536;
    char *text;
    FILE *file;

    if (!s->options.screen_dump)
        return;
    text = malloc(size);
    file = fopen(s->options.screen_dump, "w");
    if (text && file) {
        machine_text_screen(s->machine, text, size);
        fputs(text, file);
    } else {
        log_warn(&s->log, "-screendump %s cannot be written (%s).", s->options.screen_dump,
                 strerror(errno));
    }
    if (file)
        fclose(file);
    free(text);
}

/* SIGUSR1 saves the screen, which the machine's own thread does between two runs; SIGUSR2, from
 * stop_signals(), ends this thread; the others end the machine in good order. */
static void *signal_loop(void *opaque)
{
    struct session *s = opaque;
    int signal;

    while (!sigwait(&s->signals, &signal) && signal != SIGUSR2) {
        __atomic_store_n(signal == SIGUSR1 ? &s->screen_wanted : &s->quit, true, __ATOMIC_SEQ_CST);
        machine_stop(s->machine);
    }
    return NULL;
}

/* Runs the machine to its real end. */
static enum machine_end run_machine(struct session *s, int *code)
{
    for (;;) {
        enum machine_end end = machine_run(s->machine, code);

        if (end != END_STOPPED || __atomic_load_n(&s->quit, __ATOMIC_SEQ_CST) ||
            !__atomic_exchange_n(&s->screen_wanted, false, __ATOMIC_SEQ_CST))
            return end;
        write_screen(s);
    }
}

/* From the first line of main() on, so that no signal takes its default course while the machine is
 * still being made. */
static void block_signals(struct session *s)
{
    static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

    sigemptyset(&s->signals);
    for (size_t n = 0; n < ARRAY_SIZE(watched); n++)
        sigaddset(&s->signals, watched[n]);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &s->signals, NULL);
}

static enum status start_signals(struct session *s, struct error *err)
{
    if (pthread_create(&s->signal_thread, NULL, signal_loop, s))
        return error_set(err, ST_NO_MEMORY,
                         "The host gives no thread for signals; close some programs.");
    return ST_OK;
}

static void stop_signals(struct session *s)
{
    pthread_kill(s->signal_thread, SIGUSR2);
    pthread_join(s->signal_thread, NULL);
}

/* -- the end -- */

static const char *end_name(enum machine_end end)
{
    switch (end) {
    case END_POWER_OFF: return "power-off";
    case END_REBOOT: return "reboot";
    case END_DEBUG_EXIT: return "debug-exit";
    case END_SHUTDOWN: return "triple-fault";
    case END_STOPPED: return "stopped";
    case END_HALTED: return "halted";
    case END_MISMATCH: return "mismatch";
    case END_BUDGET:
    case END_HOOK: break; /* only where a budget or a hook was given */
    }
    return "unknown";
}

static void write_report(struct session *s, enum machine_end end, int code)
{
    struct error err;
    u64 hash[2];
    FILE *file;

    if (!s->options.exit_report)
        return;
    if (machine_ram_hash(s->machine, hash, &err)) {
        log_warn(&s->log, "%s", err.text);
        return;
    }
    file = fopen(s->options.exit_report, "w");
    if (!file) {
        log_warn(&s->log, "-exit-report %s cannot be written (%s).", s->options.exit_report,
                 strerror(errno));
        return;
    }
    fprintf(file, "{\"end\": \"%s\", \"code\": %d, ", end_name(end), code);
    if (machine_counts(s->machine))
        fprintf(file, "\"instructions\": %lu, ", machine_instructions(s->machine));
    fprintf(file, "\"ram_hash\": \"%016lx%016lx\"}\n", hash[1], hash[0]);
    fclose(file);
}

static void print_dump(struct session *s)
{
    char *text = malloc(DUMP_SIZE);

    if (!text)
        return;
    machine_dump(s->machine, text, DUMP_SIZE);
    fprintf(stderr, "lockstep: the guest shut down (triple fault).\n%s", text);
    free(text);
}

static int exit_status(struct session *s, enum machine_end end, int code)
{
    switch (end) {
    case END_DEBUG_EXIT: return code & 0xff;
    case END_SHUTDOWN: print_dump(s); return EXIT_GUEST_DIED;
    case END_HALTED:
        fputs("lockstep: the guest halted with interrupts off and nothing left to wake it.\n",
              stderr);
        return EXIT_GUEST_DIED;
    case END_MISMATCH: return EXIT_ENGINES_DIFFER; /* the engine has said how */
    default: return 0;
    }
}

static void send_break(void *opaque)
{
    chardev_send_event(((struct session *)opaque)->stdio, CHARDEV_BREAK);
}

static int run(struct session *s)
{
    enum machine_end end;
    int code, status;

    s->terminal.machine = s->machine;
    s->terminal.break_key = send_break;
    s->terminal.opaque = s;
    if (s->stdio && isatty(STDIN_FILENO)) {
        chardev_set_filter(s->stdio, terminal_filter, &s->terminal);
        terminal_open(&s->terminal);
    }
    end = run_machine(s, &code);
    stop_signals(s);
    terminal_close(&s->terminal);
    write_screen(s);
    write_report(s, end, code);
    if (s->options.machine.jit_stats)
        machine_jit_report(s->machine, stderr);
    status = exit_status(s, end, code);
    machine_destroy(s->machine);
    return status;
}

/* One line, whatever a file is called. */
static int fail(struct session *s, struct error *err)
{
    for (char *at = err->text; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = '?';
    fprintf(stderr, "lockstep: %s\n", err->text);
    close_all(s);
    return EXIT_USAGE;
}

static int help(enum cli_action action)
{
    switch (action) {
    case CLI_HELP: cli_help(stdout); break;
    case CLI_VERSION: puts("lockstep " LOCKSTEP_VERSION); break;
    case CLI_CPU_HELP: cpu_model_help(stdout); break;
    case CLI_HV_HELP: machine_hv_help(stdout); break;
    case CLI_DEVICE_HELP: cli_device_help(stdout); break;
    case CLI_JIT_HELP: cli_jit_help(stdout); break;
    case CLI_LOG_HELP: cli_log_help(stdout); break;
    case CLI_RUN: break;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct session s = {0};
    struct error err;
    int status;

    if (argc > 1 && !strcmp(argv[1], "conform"))
        return conform_main(argc - 1, argv + 1);
    block_signals(&s);
    log_init(&s.log);
    if (cli_parse(&s.options, argc, argv, &err))
        return fail(&s, &err);
    if (s.options.action != CLI_RUN)
        return help(s.options.action);
    if (open_log(&s, &err) || check_outputs(&s.options, &err) || open_chardevs(&s, &err))
        return fail(&s, &err);
    s.options.machine.log = &s.log;
    if (machine_create(&s.machine, &s.options.machine, &err))
        return fail(&s, &err);
    if (start_signals(&s, &err)) {
        machine_destroy(s.machine);
        return fail(&s, &err);
    }
    status = run(&s);
    close_all(&s);
    return status;
}
