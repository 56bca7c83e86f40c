/* SPDX-License-Identifier: MIT */
#include "frontend/conform/probe_machine.h"

#include <string.h>

enum { PAGE_TABLES = 0x1000, CODE = 0x10000, DATA = 0x20000, STACK = 0x40000, MEMORY = 0x100000 };

enum status probe_machine_create(struct probe_machine *p, const char *spec,
                                 enum lockstep_engine engine, struct error *err)
{
    struct lockstep_cpu_config config = {
        .size = sizeof(config), .engine = engine, .model = spec, .memory_limit = MEMORY};
    struct cpu_topology one = {1, 1, 1};
    struct lockstep_error error;
    enum status st = cpu_model_parse(&p->model, spec, &one, 1000000000, 1000000000, err);

    p->machine = NULL;
    if (st)
        return st;
    p->bits = feature_has(&p->model.features, FEAT_LM) ? 64 : 32;
    if (lockstep_create_cpu(&config, &p->machine, &error))
        return error_set(err, ST_UNSUPPORTED, "%s", error.text);
    if (!lockstep_map_memory(p->machine, 0, MEMORY, LOCKSTEP_MEMORY_WRITE, NULL) &&
        !lockstep_stop_on_exception(p->machine, LOCKSTEP_ALL_VECTORS, true))
        return ST_OK;
    st = error_set(err, ST_NO_MEMORY, "%s", lockstep_error(p->machine));
    probe_machine_destroy(p);
    return st;
}

void probe_machine_destroy(struct probe_machine *p)
{
    lockstep_destroy(p->machine);
    p->machine = NULL;
}

/* Registers that instructions need to succeed: pointers to zeroes, targets of SYSCALL and SYSENTER.
 */
static void prepare_state(const struct probe_machine *p, struct lockstep_state *s,
                          const struct probe_input *in)
{
    memset(s->gpr, 0, sizeof(s->gpr));
    s->gpr[0] = in->rax;
    s->gpr[1] = in->rcx;
    s->gpr[2] = in->rdx;
    s->gpr[4] = STACK;
    s->gpr[7] = DATA;
    s->rip = CODE;
    s->rflags = 2;
    s->sysenter_cs = 8;
    s->sysenter_eip = s->lstar = s->cstar = CODE;
    s->star = 8ull << 32;
    s->activity = LOCKSTEP_ACTIVE;
    if (feature_has(&p->model.features, FEAT_SYSCALL))
        s->efer |= 1; /* SCE */
}

/* As many of the bits as the model takes. */
static void set_cr4(struct probe_machine *p, struct lockstep_state *s, u64 bits)
{
    for (u64 bit = 1; bit <= bits; bit <<= 1) {
        if (!(bits & bit))
            continue;
        s->cr4 |= bit;
        if (lockstep_set_state(p->machine, 0, LOCKSTEP_STATE_CONTROL, s))
            s->cr4 &= ~bit;
    }
}

int probe_machine_try(struct probe_machine *p, const struct probe_input *in,
                      struct lockstep_state *s)
{
    const unsigned parts = LOCKSTEP_STATE_GENERAL | LOCKSTEP_STATE_CONTROL | LOCKSTEP_STATE_SYSTEM |
                           LOCKSTEP_STATE_ACTIVITY | LOCKSTEP_STATE_VECTOR;
    struct lockstep_result result = {.size = sizeof(result)};
    static const u8 zeroes[0x10000];

    *s = (struct lockstep_state){.size = sizeof(*s), .version = LOCKSTEP_STATE_VERSION};
    if (lockstep_reset(p->machine) ||
        lockstep_enter_mode(p->machine, 0, in->bits, in->bits == 64 ? PAGE_TABLES : 0) ||
        lockstep_write_physical(p->machine, DATA, zeroes, sizeof(zeroes)) ||
        lockstep_write_physical(p->machine, CODE, in->bytes, in->count) ||
        lockstep_get_state(p->machine, 0, parts, s))
        return PROBE_VECTOR_UD;
    prepare_state(p, s, in);
    if (lockstep_set_state(p->machine, 0, parts, s))
        return PROBE_VECTOR_UD;
    set_cr4(p, s, in->cr4_set);
    if (lockstep_run(p->machine, 1, &result) || lockstep_get_state(p->machine, 0, parts, s))
        return PROBE_VECTOR_UD;
    return result.end == LOCKSTEP_END_EXCEPTION ? result.exception.vector : PROBE_RAN;
}

struct cpuid_result probe_machine_cpuid(struct probe_machine *p, u32 leaf, u32 subleaf)
{
    const struct probe_input in = {.bytes = (const u8 *)"\x0f\xa2",
                                   .count = 2,
                                   .bits = p->bits,
                                   .rax = leaf,
                                   .rcx = subleaf,
                                   .cr4_set = 1 << 18 /* OSXSAVE */};
    struct lockstep_state s;

    if (probe_machine_try(p, &in, &s) != PROBE_RAN)
        return (struct cpuid_result){0};
    return (struct cpuid_result){(u32)s.gpr[0], (u32)s.gpr[3], (u32)s.gpr[1], (u32)s.gpr[2]};
}
