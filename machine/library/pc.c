/* SPDX-License-Identifier: MIT
 *
 * A whole PC for the public library: its configuration, serial ports and screen.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/chardev.h"
#include "machine/library/library.h"
#include "machine/machine.h"

enum { DEBUG_EXIT_PORTS = 4 };

enum lockstep_status lockstep_pc_config_init(struct lockstep_pc_config *config)
{
    if (!config)
        return LOCKSTEP_INVALID;
    *config = (struct lockstep_pc_config){
        .size = sizeof(*config), .cpus = 1, .memory = MACHINE_RAM_DEFAULT, .serial_ports = 1};
    return LOCKSTEP_OK;
}

static enum status check_config(const struct lockstep_pc_config *c, struct error *err)
{
    if (!c->cpus || c->cpus > MACHINE_VCPUS_MAX)
        return error_set(err, ST_INVALID, "cpus is %u; a PC has 1 to %d.", c->cpus,
                         MACHINE_VCPUS_MAX);
    if (c->memory < MACHINE_RAM_MIN || c->memory > MACHINE_RAM_MAX || c->memory % MIB(1))
        return error_set(err, ST_INVALID, "memory is %llu; a PC has 1 MiB to 1 TiB, in whole MiB.",
                         (unsigned long long)c->memory);
    if (c->serial_ports > SERIAL_PORTS)
        return error_set(err, ST_INVALID, "serial_ports is %u; a PC has up to 4.", c->serial_ports);
    if (c->bios && !strcmp(c->bios, "none") && !c->kernel)
        return error_set(err, ST_INVALID,
                         "bios is \"none\" and there is no kernel: nothing to run.");
    return ST_OK;
}

/* Copies what the caller lends. */
static enum status copy_strings(struct pc *pc, const struct lockstep_pc_config *c,
                                struct error *err)
{
    const char *from[] = {c->model, c->kernel, c->initrd, c->append, c->bios, c->hv};

    for (unsigned n = 0; n < ARRAY_SIZE(from); n++) {
        if (!from[n])
            continue;
        pc->strings[n] = strdup(from[n]);
        if (!pc->strings[n])
            return error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    }
    return ST_OK;
}

static struct machine_config machine_config(const struct pc *pc, const struct lockstep_pc_config *c,
                                            struct log *log)
{
    struct machine_config config;

    machine_config_defaults(&config);
    config.ram_size = c->memory;
    config.cpu = pc->strings[0] ? pc->strings[0] : "";
    config.topology = (struct cpu_topology){1, c->cpus, 1};
    config.kernel = pc->strings[1];
    config.initrd = pc->strings[2];
    config.append = pc->strings[3];
    config.bios = pc->strings[4];
    config.hv = pc->strings[5];
    for (unsigned n = 0; n < SERIAL_PORTS; n++)
        config.serial[n] = pc->serial[n];
    config.debug_exit = c->debug_exit;
    config.debug_exit_base = c->debug_exit_port;
    config.debug_exit_size = DEBUG_EXIT_PORTS;
    config.no_reboot = c->no_reboot;
    config.engine = c->engine == LOCKSTEP_ENGINE_JIT ? ENGINE_JIT : ENGINE_INTERP;
    config.exact = true;
    config.time = c->clock == LOCKSTEP_CLOCK_REAL ? TIME_REAL : TIME_COUNTED;
    config.ips = c->instructions_per_second;
    config.log = log;
    return config;
}

enum status library_pc_create(struct pc **out, const struct lockstep_pc_config *c, struct log *log,
                              struct error *err)
{
    struct pc *pc = calloc(1, sizeof(*pc));
    struct machine_config config;
    enum status st;

    *out = pc; /* also when something fails: destroyed with the machine */
    if (!pc)
        return error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    st = check_config(c, err);
    if (!st)
        st = copy_strings(pc, c, err);
    for (unsigned n = 0; !st && n < c->serial_ports; n++)
        st = serial_create(&pc->serial[n], n, c->serial_output, c->serial_opaque, err);
    if (st)
        return st;
    config = machine_config(pc, c, log);
    return machine_create(&pc->machine, &config, err);
}

void library_pc_destroy(struct pc *pc)
{
    if (!pc)
        return;
    machine_destroy(pc->machine);
    for (unsigned n = 0; n < SERIAL_PORTS; n++)
        chardev_destroy(pc->serial[n]);
    for (unsigned n = 0; n < ARRAY_SIZE(pc->strings); n++)
        free(pc->strings[n]);
    free(pc);
}

size_t lockstep_serial_input(struct lockstep_machine *m, unsigned n, const void *bytes,
                             size_t count)
{
    if (!m || !m->pc || n >= SERIAL_PORTS || !m->pc->serial[n] || !bytes)
        return 0;
    return serial_feed(m->pc->serial[n], bytes, count);
}

static enum lockstep_status check_pc(struct lockstep_machine *m)
{
    if (!m)
        return LOCKSTEP_INVALID;
    if (!m->pc)
        return library_fail(m, LOCKSTEP_UNSUPPORTED, "Only a PC has that; this is CPU-only.");
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_power_button(struct lockstep_machine *m)
{
    enum lockstep_status st = check_pc(m);

    if (!st)
        machine_power_button(m->pc->machine);
    return st;
}

static enum lockstep_status check_text(struct lockstep_machine *m, const char *text, size_t size)
{
    if (!m)
        return LOCKSTEP_INVALID;
    if (!text || !size)
        return library_fail(m, LOCKSTEP_INVALID, "There is no room for the text.");
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_text_screen(struct lockstep_machine *m, char *text, size_t size)
{
    enum lockstep_status st = check_pc(m);

    if (!st)
        st = check_text(m, text, size);
    if (!st)
        machine_text_screen(m->pc->machine, text, size);
    return st;
}

enum lockstep_status lockstep_dump(struct lockstep_machine *m, char *text, size_t size)
{
    enum lockstep_status st = check_text(m, text, size);

    if (st)
        return st;
    if (m->pc)
        machine_dump(m->pc->machine, text, size);
    else
        vcpu_dump(m->cell->vcpu, text, size);
    return LOCKSTEP_OK;
}
