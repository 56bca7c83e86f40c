/* SPDX-License-Identifier: MIT
 *
 * Runs one bare-metal guest in a PC and reads its report from the first serial port: lines "PASS
 * name", "FAIL name: got x expected y", "SKIP name: why", and "DONE" at the end (tests/guest).
 */
#pragma once

#include <stddef.h>

#include "frontend/conform/system_images.h"
#include "include/lockstep.h"
#include "mem/base/status.h"

struct system_report {
    unsigned passed, failed, skipped; /* lines: groups of cases */
    unsigned cases;                   /* in the groups that passed: "PASS name (36 cases)" */
    bool done;                        /* DONE was read */
    char *lines; /* FAIL and SKIP lines, and lines that are none of the four; freed by the owner */
    size_t size; /* of lines, without the final NUL */
    char ended[96]; /* how the machine ended, "" for exit status 33, which means success */
    u64 instructions;
    char line[512]; /* being received */
    unsigned length;
};

/* Bytes of the serial port; keeps lines. */
void system_report_receive(struct system_report *r, const u8 *bytes, size_t count);
void system_report_free(struct system_report *r);
/* Whether all is well: no FAIL, DONE seen, exit status right. */
bool system_report_good(const struct system_report *r);

/* cpu: NULL for the image's own. Fails where the machine cannot be built. */
MUST_USE enum status system_run(const struct system_image *image, enum lockstep_engine engine,
                                const char *cpu, struct system_report *report, struct error *err);
