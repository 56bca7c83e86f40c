/* SPDX-License-Identifier: MIT
 *
 * The command line: options named as in QEMU, parsed into a machine_config and what only the
 * terminal program needs. No host file is opened here.
 */
#pragma once

#include <stdio.h>

#include "machine/config.h"
#include "mem/base/status.h"

enum cli_action {
    CLI_RUN,
    CLI_HELP,
    CLI_VERSION,
    CLI_CPU_HELP,
    CLI_DEVICE_HELP,
    CLI_JIT_HELP,
    CLI_HV_HELP,
    CLI_LOG_HELP
};

struct cli_options {
    enum cli_action action;
    struct machine_config machine;          /* serial, debugcon and log are left to main.c */
    const char *serial[MACHINE_SERIAL_MAX]; /* -serial arguments; NULL: none given */
    unsigned serial_count;
    const char *debugcon;    /* -debugcon argument or NULL */
    const char *log_file;    /* -D */
    u32 log_categories;      /* -d, enum log_category */
    const char *screen_dump; /* -screendump: file for the text screen */
    const char *exit_report; /* -exit-report: file for the JSON report */
    bool nographic;
    bool nodefaults;
};

/* Parses argv[1..argc). On failure err holds one sentence that names the option and what to do. */
MUST_USE enum status cli_parse(struct cli_options *options, int argc, char **argv,
                               struct error *err);
/* The texts of --help, -jit help, -d help and -device help. */
void cli_help(FILE *out);
void cli_jit_help(FILE *out);
void cli_log_help(FILE *out);
void cli_device_help(FILE *out);

/* A size in bytes from "512", "64K", "512M", "1.5G", "1T"; a plain number counts `unit` bytes. */
MUST_USE enum status cli_parse_size(const char *text, u64 unit, u64 *size);
