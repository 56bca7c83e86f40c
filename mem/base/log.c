/* SPDX-License-Identifier: MIT */
#include "mem/base/log.h"

#include <stdarg.h>
#include <stdlib.h>

enum { GUEST_LINES_MAX = 1000 };

void log_init(struct log *log)
{
    *log = (struct log){.sink = stderr};
}

void log_fini(struct log *log)
{
    if (log->owned)
        fclose(log->sink);
    log->sink = stderr;
    log->owned = false;
}

static void log_line(struct log *log, const char *prefix, const char *format, va_list args)
{
    flockfile(log->sink);
    fputs(prefix, log->sink);
    vfprintf(log->sink, format, args);
    putc_unlocked('\n', log->sink);
    funlockfile(log->sink);
}

void log_trace(struct log *log, enum log_category category, const char *format, ...)
{
    va_list args;

    if (!log_on(log, category))
        return;
    va_start(args, format);
    log_line(log, "", format, args);
    va_end(args);
}

void log_warn(struct log *log, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line(log, "lockstep: ", format, args);
    va_end(args);
}

void log_guest(struct log *log, const char *format, ...)
{
    va_list args;

    if (!log_on(log, LOG_GUEST))
        return;
    if (__atomic_fetch_add(&log->guest_lines, 1, __ATOMIC_RELAXED) >= GUEST_LINES_MAX)
        return;
    va_start(args, format);
    log_line(log, "guest: ", format, args);
    va_end(args);
}

void check_failed(const char *file, int line, const char *expr, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "lockstep: internal error at %s:%d: %s: ", file, line, expr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}
