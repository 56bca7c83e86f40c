/* SPDX-License-Identifier: MIT */
#include "frontend/conform/system_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_PORT = 0xf4, EXIT_GOOD = 33, MEMORY = 128 << 20, SLICE = 20000000 };

/* -- the report -- */

static void keep_line(struct system_report *r)
{
    char *lines = realloc(r->lines, r->size + r->length + 2);

    if (!lines)
        return;
    r->lines = lines;
    memcpy(lines + r->size, r->line, r->length);
    r->size += r->length;
    lines[r->size++] = '\n';
    lines[r->size] = 0;
}

static bool begins(const struct system_report *r, const char *word)
{
    size_t length = strlen(word);

    return !strncmp(r->line, word, length) && (r->line[length] == ' ' || !r->line[length]);
}

static void take_line(struct system_report *r)
{
    r->line[r->length] = 0;
    if (begins(r, "PASS")) {
        const char *count = strrchr(r->line, '(');
        unsigned cases;
        int end = 0;

        r->passed++;
        r->cases += count && sscanf(count, "(%u cases)%n", &cases, &end) == 1 && end ? cases : 1;
    } else if (begins(r, "DONE")) {
        r->done = true;
    } else if (r->length) {
        r->failed += begins(r, "FAIL");
        r->skipped += begins(r, "SKIP");
        keep_line(r);
    }
    r->length = 0;
}

void system_report_receive(struct system_report *r, const u8 *bytes, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        if (bytes[n] == '\n')
            take_line(r);
        else if (bytes[n] != '\r' && r->length < sizeof(r->line) - 1)
            r->line[r->length++] = (char)bytes[n];
    }
}

void system_report_free(struct system_report *r)
{
    free(r->lines);
    r->lines = NULL;
}

bool system_report_good(const struct system_report *r)
{
    return r->done && !r->failed && !r->ended[0];
}

/* -- the machine -- */

static void serial_output(void *opaque, unsigned port, const uint8_t *bytes, size_t count)
{
    if (port == 0)
        system_report_receive(opaque, bytes, count);
}

static u64 seconds_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec;
}

static void run_to_end(struct lockstep_machine *m, const struct system_image *image,
                       struct system_report *r)
{
    u64 deadline = seconds_now() + image->seconds;
    struct lockstep_result result;

    do {
        result = (struct lockstep_result){.size = sizeof(result)};
        if (lockstep_run(m, SLICE, &result)) {
            snprintf(r->ended, sizeof(r->ended), "%.90s", lockstep_error(m));
            return;
        }
        r->instructions += result.instructions;
    } while (result.end == LOCKSTEP_END_BUDGET && seconds_now() < deadline);
    if (result.end == LOCKSTEP_END_BUDGET)
        snprintf(r->ended, sizeof(r->ended), "no end after %u s, RIP %016lx", image->seconds,
                 result.rip);
    else if (result.end != LOCKSTEP_END_DEBUG_EXIT)
        snprintf(r->ended, sizeof(r->ended), "%s at RIP %016lx",
                 result.end == LOCKSTEP_END_SHUTDOWN ? "triple fault"
                 : result.end == LOCKSTEP_END_HALTED ? "halted for good"
                                                     : "ended early",
                 result.rip);
    else if (result.exit_code != EXIT_GOOD)
        snprintf(r->ended, sizeof(r->ended), "exit status %u instead of %u", result.exit_code,
                 EXIT_GOOD);
}

/* The image as a file that only this process sees. */
static enum status image_file(const struct system_image *image, int *fd, struct error *err)
{
    size_t size = (size_t)(image->end - image->begin);

    *fd = memfd_create(image->name, MFD_CLOEXEC);
    if (*fd >= 0 && write(*fd, image->begin, size) == (ssize_t)size)
        return ST_OK;
    if (*fd >= 0)
        close(*fd);
    return error_set(err, ST_IO, "conform system: the host gives no memory for a file (%s).",
                     strerror(errno));
}

enum status system_run(const struct system_image *image, enum lockstep_engine engine,
                       const char *cpu, struct system_report *report, struct error *err)
{
    struct lockstep_pc_config config = {.size = sizeof(config)};
    struct lockstep_machine *m;
    struct lockstep_error error;
    char path[32];
    int fd;
    enum status st = image_file(image, &fd, err);

    *report = (struct system_report){0};
    if (st)
        return st;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    lockstep_pc_config_init(&config);
    config.engine = engine;
    config.memory = MEMORY;
    config.model = cpu ? cpu : image->cpu;
    config.kernel = path;
    config.append = image->append;
    config.bios = "none";
    config.serial_output = serial_output;
    config.serial_opaque = report;
    config.no_reboot = true;
    config.debug_exit = true;
    config.debug_exit_port = EXIT_PORT;
    config.instructions_per_second = image->mips * 1000000ull;
    if (lockstep_create_pc(&config, &m, &error)) {
        close(fd);
        return error_set(err, ST_UNSUPPORTED, "conform system: %s", error.text);
    }
    run_to_end(m, image, report);
    lockstep_destroy(m);
    close(fd);
    return ST_OK;
}
