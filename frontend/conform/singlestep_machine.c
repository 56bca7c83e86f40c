/* SPDX-License-Identifier: MIT
 *
 * The suites end a test at the next instruction, also where that is the first of a handler: a hook
 * stops the run before the second instruction, whatever the first one led to.
 */
#include "frontend/conform/singlestep_machine.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/regs.h"
#include "include/lockstep.h"

enum { PAGE = 4096, PAGES = SINGLESTEP_REACH / PAGE, WRAP = 1 << 20 };
enum {
    PARTS = LOCKSTEP_STATE_GENERAL | LOCKSTEP_STATE_SEGMENTS | LOCKSTEP_STATE_CONTROL |
            LOCKSTEP_STATE_DEBUG | LOCKSTEP_STATE_ACTIVITY,
};

/* A processor with the memory of the 8086 (address lines 0-19) or of later ones. */
struct cell {
    struct lockstep_machine *machine;
    struct lockstep_state reset; /* as it is at power-on */
};

struct singlestep_machine {
    enum conform_engine kind;
    struct cell cell[2]; /* [80286 or later] */
    unsigned started;    /* instructions of this test that began */
    u8 *ram;             /* SINGLESTEP_REACH bytes */
    u8 *before, *wanted; /* memory as it is to be before and after the instruction */
    bool touched[PAGES]; /* pages of these two that are not all zeros */
};

/* -- creation -- */

static enum lockstep_action stop_at_second(void *opaque, unsigned cpu, uint64_t address,
                                           const uint8_t *bytes, unsigned size)
{
    struct singlestep_machine *m = opaque;

    (void)cpu;
    (void)address;
    (void)bytes;
    (void)size;
    return m->started++ ? LOCKSTEP_STOP : LOCKSTEP_CONTINUE;
}

/* The library's sentences are complete ones. */
static enum status failed(enum lockstep_status status, const char *text, struct error *err)
{
    return error_set(err, status == LOCKSTEP_UNSUPPORTED ? ST_UNSUPPORTED : ST_NO_MEMORY, "%s",
                     text);
}

static enum status create_cell(struct singlestep_machine *m, bool wraps, struct error *err)
{
    const struct lockstep_cpu_config config = {
        .size = sizeof(config),
        .engine = m->kind == CONFORM_INTERP ? LOCKSTEP_ENGINE_INTERPRETER : LOCKSTEP_ENGINE_JIT,
    };
    const struct lockstep_hooks hooks = {
        .size = sizeof(hooks), .opaque = m, .instruction = stop_at_second};
    struct cell *c = &m->cell[!wraps];
    struct lockstep_error cause;
    enum lockstep_status st = lockstep_create_cpu(&config, &c->machine, &cause);

    if (st)
        return failed(st, cause.text, err);
    st = lockstep_map_host_memory(c->machine, 0, wraps ? WRAP : SINGLESTEP_REACH, m->ram,
                                  LOCKSTEP_MEMORY_WRITE, NULL);
    /* What lies above 1 MiB is what lies at 0 (386 PRM 14.7, item 18). */
    if (!st && wraps)
        st = lockstep_map_host_memory(c->machine, WRAP, SINGLESTEP_REACH - WRAP, m->ram,
                                      LOCKSTEP_MEMORY_WRITE, NULL);
    if (!st)
        st = lockstep_set_hooks(c->machine, &hooks);
    c->reset = (struct lockstep_state){.size = sizeof(c->reset), .version = LOCKSTEP_STATE_VERSION};
    if (!st)
        st = lockstep_get_state(c->machine, 0, PARTS, &c->reset);
    return st ? failed(st, lockstep_error(c->machine), err) : ST_OK;
}

enum status singlestep_machine_create(struct singlestep_machine **out, enum conform_engine kind,
                                      struct error *err)
{
    struct singlestep_machine *m = calloc(1, sizeof(*m));
    enum status st;

    if (m)
        m->ram = aligned_alloc(PAGE, 3 * SINGLESTEP_REACH);
    if (!m || !m->ram) {
        free(m);
        return error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    }
    memset(m->ram, 0, 3 * SINGLESTEP_REACH);
    m->before = m->ram + SINGLESTEP_REACH;
    m->wanted = m->before + SINGLESTEP_REACH;
    m->kind = kind;
    st = create_cell(m, true, err);
    if (!st)
        st = create_cell(m, false, err);
    if (st)
        singlestep_machine_destroy(m);
    else
        *out = m;
    return st;
}

void singlestep_machine_destroy(struct singlestep_machine *m)
{
    if (!m)
        return;
    lockstep_destroy(m->cell[0].machine);
    lockstep_destroy(m->cell[1].machine);
    free(m->ram);
    free(m);
}

/* -- memory -- */

static void put(struct singlestep_machine *m, u8 *image, enum singlestep_cpu cpu,
                const struct singlestep_byte *byte)
{
    u32 address = cpu == SINGLESTEP_8086 ? byte->address & (WRAP - 1) : byte->address;

    if (address >= SINGLESTEP_REACH)
        return;
    image[address] = byte->value;
    m->touched[address / PAGE] = true;
}

static void prepare_memory(struct singlestep_machine *m, enum singlestep_cpu cpu,
                           const struct singlestep_test *t)
{
    for (unsigned page = 0; page < PAGES; page++) {
        if (!m->touched[page])
            continue;
        memset(m->before + page * PAGE, 0, PAGE);
        memset(m->wanted + page * PAGE, 0, PAGE);
        m->touched[page] = false;
    }
    for (u32 i = 0; i < t->initial.ram_count; i++) {
        put(m, m->before, cpu, &t->initial.ram[i]);
        put(m, m->wanted, cpu, &t->initial.ram[i]);
    }
    for (u32 i = 0; i < t->final.ram_count; i++)
        put(m, m->wanted, cpu, &t->final.ram[i]);
    for (unsigned page = 0; page < PAGES; page++)
        if (memcmp(m->ram + page * PAGE, m->before + page * PAGE, PAGE))
            memcpy(m->ram + page * PAGE, m->before + page * PAGE, PAGE);
}

static void compare_memory(const struct singlestep_machine *m, struct singlestep_outcome *o)
{
    for (unsigned page = 0; page < PAGES; page++) {
        const u8 *is = m->ram + page * PAGE, *wanted = m->wanted + page * PAGE;

        if (!memcmp(is, wanted, PAGE))
            continue;
        for (unsigned i = 0; i < PAGE; i++)
            if (is[i] != wanted[i] && o->diff_count < SINGLESTEP_DIFFS_MAX)
                o->diff[o->diff_count++] =
                    (struct singlestep_diff){page * PAGE + i, wanted[i], is[i]};
    }
}

/* -- registers -- */

static const u8 gpr_of[8] = {SSR_EAX, SSR_ECX, SSR_EDX, SSR_EBX,
                             SSR_ESP, SSR_EBP, SSR_ESI, SSR_EDI};
/* In the order of enum lockstep_segment_index. */
static const u8 segment_of[6] = {SSR_ES, SSR_CS, SSR_SS, SSR_DS, SSR_FS, SSR_GS};

static u32 given(const struct singlestep_test *t, unsigned r)
{
    return t->initial.present >> r & 1 ? t->initial.value[r] : 0;
}

/* The bits of EFLAGS that a processor has in real mode. */
static u32 flags_of(enum singlestep_cpu cpu, u32 flags)
{
    u32 real = F_OSZAPC | F_TF | F_IF | F_DF;

    if (cpu == SINGLESTEP_80386)
        real |= F_IOPL | F_NT | F_RF;
    return (flags & real) | F_1;
}

static enum lockstep_status load_registers(const struct cell *c, enum singlestep_cpu cpu,
                                           const struct singlestep_test *t)
{
    struct lockstep_state s = c->reset;

    for (unsigned i = 0; i < 8; i++)
        s.gpr[i] = given(t, gpr_of[i]);
    for (unsigned i = 0; i < 6; i++) {
        s.segment[i].selector = (u16)given(t, segment_of[i]);
        s.segment[i].base = (u64)s.segment[i].selector << 4;
    }
    s.rip = given(t, SSR_EIP);
    s.rflags = flags_of(cpu, given(t, SSR_EFLAGS));
    s.cr0 = CR0_ET | (given(t, SSR_CR0) & (CR0_MP | CR0_EM | CR0_TS));
    s.cr3 = given(t, SSR_CR3) & 0xfffff018;
    return lockstep_set_state(c->machine, 0, PARTS, &s);
}

static void read_registers(const struct cell *c, struct singlestep_outcome *o)
{
    struct lockstep_state s = {.size = sizeof(s), .version = LOCKSTEP_STATE_VERSION};

    if (lockstep_get_state(c->machine, 0, PARTS, &s)) {
        o->shutdown = true;
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        o->value[gpr_of[i]] = (u32)s.gpr[i];
    for (unsigned i = 0; i < 6; i++)
        o->value[segment_of[i]] = s.segment[i].selector;
    o->value[SSR_EIP] = (u32)s.rip;
    o->value[SSR_EFLAGS] = (u32)s.rflags;
    o->value[SSR_CR0] = (u32)s.cr0;
    o->value[SSR_CR3] = (u32)s.cr3;
    o->value[SSR_DR6] = (u32)s.dr6;
    o->value[SSR_DR7] = (u32)s.dr7;
    o->halted = s.activity == LOCKSTEP_HALTED;
}

void singlestep_machine_run(struct singlestep_machine *m, enum singlestep_cpu cpu,
                            const struct singlestep_test *t, struct singlestep_outcome *o)
{
    const struct cell *c = &m->cell[cpu != SINGLESTEP_8086];
    struct lockstep_result result = {.size = sizeof(result)};

    memset(o, 0, sizeof(*o));
    prepare_memory(m, cpu, t);
    m->started = 0;
    o->shutdown = load_registers(c, cpu, t) || lockstep_run(c->machine, 1, &result) ||
                  result.end == LOCKSTEP_END_SHUTDOWN;
    o->vector = result.exception.kind ? result.exception.vector : -1;
    read_registers(c, o);
    compare_memory(m, o);
}
