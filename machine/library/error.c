/* SPDX-License-Identifier: MIT
 *
 * Statuses and sentences of the public library, and the checks that every function starts with.
 */
#include <stdarg.h>
#include <stdio.h>

#include "machine/library/library.h"

const char *lockstep_version(void)
{
    return LOCKSTEP_VERSION;
}

const char *lockstep_status_name(enum lockstep_status status)
{
    switch (status) {
    case LOCKSTEP_OK: return "no error";
    case LOCKSTEP_INVALID: return "invalid argument";
    case LOCKSTEP_NO_MEMORY: return "no memory";
    case LOCKSTEP_OVERLAP: return "overlap";
    case LOCKSTEP_NOT_FOUND: return "not found";
    case LOCKSTEP_UNSUPPORTED: return "not supported";
    case LOCKSTEP_IO: return "input or output error";
    case LOCKSTEP_BUSY: return "the machine is running";
    case LOCKSTEP_FAULT: return "address not mapped";
    }
    return "unknown status";
}

const char *lockstep_error(const struct lockstep_machine *m)
{
    return m ? m->err.text : "The machine is NULL.";
}

enum lockstep_status library_fail(struct lockstep_machine *m, enum lockstep_status status,
                                  const char *format, ...)
{
    va_list args;

    if (!m)
        return status;
    va_start(args, format);
    vsnprintf(m->err.text, sizeof(m->err.text), format, args);
    va_end(args);
    return status;
}

enum lockstep_status library_status(enum status status)
{
    switch (status) {
    case ST_OK: return LOCKSTEP_OK;
    case ST_NO_MEMORY: return LOCKSTEP_NO_MEMORY;
    case ST_OVERLAP: return LOCKSTEP_OVERLAP;
    case ST_INVALID: return LOCKSTEP_INVALID;
    case ST_IO: return LOCKSTEP_IO;
    case ST_NOT_FOUND: return LOCKSTEP_NOT_FOUND;
    case ST_UNSUPPORTED: return LOCKSTEP_UNSUPPORTED;
    }
    return LOCKSTEP_INVALID;
}

struct vcpu *library_vcpu(struct lockstep_machine *m, unsigned cpu, enum lockstep_status *status)
{
    *status = LOCKSTEP_INVALID;
    if (!m)
        return NULL;
    if (cpu >= library_cpu_count(m)) {
        library_fail(m, LOCKSTEP_INVALID, "There is no processor %u; the machine has %u.", cpu,
                     library_cpu_count(m));
        return NULL;
    }
    *status = LOCKSTEP_OK;
    return library_cpu(m, cpu);
}

enum lockstep_status library_idle(struct lockstep_machine *m)
{
    if (!m)
        return LOCKSTEP_INVALID;
    if (m->running)
        return library_fail(m, LOCKSTEP_BUSY,
                            "This cannot be done in a callback; stop the machine first.");
    return LOCKSTEP_OK;
}
