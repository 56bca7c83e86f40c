/* SPDX-License-Identifier: MIT
 *
 * Making and unmaking the machines of the public library.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/internal.h"
#include "machine/library/library.h"

unsigned library_cpu_count(const struct lockstep_machine *m)
{
    return m->cell ? 1 : m->pc->machine->processor_count;
}

struct vcpu *library_cpu(const struct lockstep_machine *m, unsigned cpu)
{
    return m->cell ? m->cell->vcpu : m->pc->machine->processors[cpu].vcpu;
}

struct physmap *library_map(const struct lockstep_machine *m)
{
    return m->cell ? m->cell->map : m->pc->machine->map;
}

struct ram *library_ram(const struct lockstep_machine *m)
{
    return m->cell ? &m->cell->ram : &m->pc->machine->ram;
}

/* The sentence for an engine or clock number, or OK. */
static enum status check_kinds(u32 engine, u32 clock, struct error *err)
{
    if (engine > LOCKSTEP_ENGINE_JIT)
        return error_set(err, ST_INVALID, "There is no engine %u.", engine);
    if (clock > LOCKSTEP_CLOCK_REAL)
        return error_set(err, ST_INVALID, "There is no clock %u.", clock);
    return ST_OK;
}

static enum status check_size(u32 size, size_t want, const char *name, struct error *err)
{
    if (size == want)
        return ST_OK;
    return error_set(err, ST_INVALID, "%s.size is %u; this version of the library wants %zu.", name,
                     size, want);
}

static enum status check_rate(u64 rate, struct error *err)
{
    if (!rate || (rate >= 1000 && rate <= 1000000000000ull))
        return ST_OK;
    return error_set(err, ST_INVALID,
                     "instructions_per_second is %llu; it must be 1000 to 1000000000000.",
                     (unsigned long long)rate);
}

static enum lockstep_status report(enum status st, const struct error *err,
                                   struct lockstep_error *error)
{
    if (error)
        snprintf(error->text, sizeof(error->text), "%s", st ? err->text : "");
    return library_status(st);
}

static struct lockstep_machine *machine_new(struct error *err, enum status *st)
{
    struct lockstep_machine *m = calloc(1, sizeof(*m));

    *st = ST_OK;
    if (m)
        log_init(&m->log);
    else
        *st = error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    return m;
}

/* The last steps of both kinds. */
static enum status machine_finish(struct lockstep_machine *m, struct error *err)
{
    m->flow = calloc(library_cpu_count(m), sizeof(*m->flow));
    if (!m->flow)
        return error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    library_install_hooks(m);
    return ST_OK;
}

enum lockstep_status lockstep_create_cpu(const struct lockstep_cpu_config *config,
                                         struct lockstep_machine **machine,
                                         struct lockstep_error *error)
{
    struct lockstep_machine *m = NULL;
    struct error err = {.text = ""};
    enum status st;

    if (!config || !machine)
        return report(error_set(&err, ST_INVALID, "config or machine is NULL."), &err, error);
    *machine = NULL;
    st = check_size(config->size, sizeof(*config), "lockstep_cpu_config", &err);
    if (!st)
        st = check_kinds(config->engine, config->clock, &err);
    if (!st)
        st = check_rate(config->instructions_per_second, &err);
    if (!st)
        m = machine_new(&err, &st);
    if (!st)
        st = cell_create(&m->cell, config, &m->log, &err);
    if (!st)
        st = machine_finish(m, &err);
    if (st)
        lockstep_destroy(m);
    else
        *machine = m;
    return report(st, &err, error);
}

enum lockstep_status lockstep_create_pc(const struct lockstep_pc_config *config,
                                        struct lockstep_machine **machine,
                                        struct lockstep_error *error)
{
    struct lockstep_machine *m = NULL;
    struct error err = {.text = ""};
    enum status st;

    if (!config || !machine)
        return report(error_set(&err, ST_INVALID, "config or machine is NULL."), &err, error);
    *machine = NULL;
    st = check_size(config->size, sizeof(*config), "lockstep_pc_config", &err);
    if (!st)
        st = check_kinds(config->engine, config->clock, &err);
    if (!st)
        st = check_rate(config->instructions_per_second, &err);
    if (!st)
        m = machine_new(&err, &st);
    if (!st)
        st = library_pc_create(&m->pc, config, &m->log, &err);
    if (!st)
        st = machine_finish(m, &err);
    if (st)
        lockstep_destroy(m);
    else
        *machine = m;
    return report(st, &err, error);
}

void lockstep_destroy(struct lockstep_machine *m)
{
    if (!m)
        return;
    cell_destroy(m->cell);
    library_pc_destroy(m->pc);
    free(m->flow);
    log_fini(&m->log);
    free(m);
}

unsigned lockstep_cpu_count(const struct lockstep_machine *m)
{
    return m ? library_cpu_count(m) : 0;
}

enum lockstep_status lockstep_reset(struct lockstep_machine *m)
{
    enum lockstep_status st = library_idle(m);

    if (st)
        return st;
    if (m->cell)
        vcpu_reset(m->cell->vcpu, false);
    else
        machine_reset(m->pc->machine);
    return LOCKSTEP_OK;
}
