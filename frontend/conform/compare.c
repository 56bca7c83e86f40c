/* SPDX-License-Identifier: MIT
 *
 * What differs between two outcomes, and which deviations explain it; see compare.h.
 */
#include "frontend/conform/compare.h"

#include <math.h>
#include <string.h>

#include "cpu/insn.h"
#include "frontend/conform/arena.h"
#include "mem/base/bits.h"

const struct conform_deviation_info conform_deviations[DEVIATION_COUNT] = {
    [DEVIATION_NONE] = {"none", "", "", "An unexplained difference."},
#define DEVIATION(id, ...) [DEVIATION_##id] = {__VA_ARGS__},
#include "frontend/conform/deviation.def"
#undef DEVIATION
};

u64 conform_deviation_set(const char *vendor)
{
    u64 set = 0;

    for (unsigned i = DEVIATION_NONE + 1; i < DEVIATION_COUNT; i++) {
        const char *of = conform_deviations[i].vendor;

        if (!strcmp(of, "host") || !strcmp(of, "model") ||
            (vendor && (!strcmp(of, "both") || !strcmp(of, vendor))))
            set |= BIT(i);
    }
    return set;
}

struct comparison {
    const struct conform_case *c;
    const struct conform_outcome *host, *engine;
    u64 allowed;
    const char *row; /* name; "" for sequences */
    u64 deviations;
    u32 parts, unexplained;
};

static void differ(struct comparison *m, enum conform_part part, enum conform_deviation reason)
{
    m->parts |= part;
    if (reason == DEVIATION_NONE || !(m->allowed >> reason & 1))
        m->unexplained |= part;
    else
        m->deviations |= BIT(reason);
}

static bool row_begins(const struct comparison *m, const char *with)
{
    return !strncmp(m->row, with, strlen(with));
}

/* -- general registers -- */

static enum conform_deviation gpr_deviation(const struct comparison *m, unsigned reg)
{
    if (!(m->host->out.rflags & F_ZF))
        return DEVIATION_NONE;
    if (row_begins(m, "BSF_") || row_begins(m, "BSR_"))
        return DEVIATION_SCAN_OF_ZERO;
    /* No other segment of the engine has the limit 0. */
    if (row_begins(m, "LSL_") && !(u32)m->engine->out.gpr[reg])
        return DEVIATION_CPU_NODE_LIMIT;
    return DEVIATION_NONE;
}

static void compare_gpr(struct comparison *m)
{
    unsigned count = m->c->mode == MODE_64 ? 16 : 8, different = 0, upper = 0, last = 0;
    bool left = m->host->out.selector[SEG_CS] != SEL_CS64;

    for (unsigned i = 0; i < count; i++) {
        u64 differing = m->host->out.gpr[i] ^ m->engine->out.gpr[i];

        if ((u32)differing || (differing && m->c->mode == MODE_64 && !left))
            different++, last = i;
        upper += differing && !(u32)differing && m->c->mode == MODE_64 && left;
    }
    if (upper)
        differ(m, PART_GPR, DEVIATION_UPPER_HALF);
    if (different)
        differ(m, PART_GPR, different == 1 ? gpr_deviation(m, last) : DEVIATION_NONE);
}

static enum conform_deviation flags_deviation(const struct comparison *m, u64 different)
{
    const u64 undefined = m->c->undefined_flags;

    if (different & ~undefined)
        return DEVIATION_NONE;
    if ((row_begins(m, "BSF_") || row_begins(m, "BSR_")) &&
        !((m->host->out.rflags ^ m->c->in.rflags) & undefined))
        return DEVIATION_SCAN_FLAGS;
    return DEVIATION_UNDEFINED_FLAGS;
}

/* RF is set in the frame of every fault and of no trap; it says nothing about the instruction. This
 * is the one place that leaves it out (the native judge clears it, too). */
static void compare_flags(struct comparison *m)
{
    u64 different = (m->host->out.rflags ^ m->engine->out.rflags) & F_ALL & ~(u64)F_RF;

    if (different)
        differ(m, PART_FLAGS, flags_deviation(m, different));
}

/* Whether F1, with whatever prefixes, begins at host and ends at engine. */
static bool is_int1(const struct comparison *m, u64 host, u64 engine)
{
    u64 linear = m->c->in.selector[SEG_CS] & 4 ? engine + ARENA_CODE : engine; /* LDT: based */
    u64 offset = linear - 1 - m->c->code_address;

    return engine - host - 1 < 15 && offset < m->c->code_size && m->c->code[offset] == 0xf1;
}

static void compare_rip(struct comparison *m)
{
    u64 mask = m->c->mode == MODE_64 ? ~0ull : ~(u32)0;
    u64 host = m->host->out.rip & mask, engine = m->engine->out.rip & mask;
    bool int1 = m->host->vector == VEC_DB && m->engine->vector == VEC_DB;

    if (host != engine)
        differ(m, PART_RIP,
               int1 && is_int1(m, host, engine) ? DEVIATION_INT1_VIRTUAL : DEVIATION_NONE);
}

static void compare_base(struct comparison *m, enum seg seg, u64 host, u64 engine)
{
    /* Selectors 0-3 are null. */
    bool null = m->host->out.selector[seg] < 4 && m->engine->out.selector[seg] < 4;

    if (host != engine)
        differ(m, PART_SEGMENTS, null ? DEVIATION_NULL_SEGMENT_BASE : DEVIATION_NONE);
}

static void compare_segments(struct comparison *m)
{
    const struct conform_state *host = &m->host->out, *engine = &m->engine->out;

    for (unsigned s = 0; s < CONFORM_SEGMENTS; s++)
        if (host->selector[s] != engine->selector[s])
            differ(m, PART_SEGMENTS,
                   !host->selector[s] && engine->selector[s] < 4 ? DEVIATION_NULL_SELECTOR
                                                                 : DEVIATION_NONE);
    if (m->c->mode == MODE_64) {
        compare_base(m, SEG_FS, host->fs_base, engine->fs_base);
        compare_base(m, SEG_GS, host->gs_base, engine->gs_base);
    }
}

/* -- vectors and x87 -- */

/* Whether a is b within a relative error, both being numbers of the same sign. */
static bool close_to(double a, double b, double error)
{
    return isfinite(a) && isfinite(b) && a != 0 && b != 0 && fabs(a - b) <= fabs(b) * error;
}

/* Each result may be 1.5 * 2^-12 (2^-14 for the AVX-512 forms) off the true value. */
static bool approximately_equal(const u8 *host, const u8 *engine, bool is_double, bool is_14)
{
    double error = is_14 ? 2 * 0x1p-14 : 3 * 0x1p-12;

    if (is_double) {
        double a, b;

        memcpy(&a, host, sizeof(a));
        memcpy(&b, engine, sizeof(b));
        return close_to(a, b, error);
    } else {
        float a, b;

        memcpy(&a, host, sizeof(a));
        memcpy(&b, engine, sizeof(b));
        return close_to((double)a, (double)b, error);
    }
}

static bool approximations(const struct comparison *m)
{
    const u8 *host = m->host->out.zmm[0], *engine = m->engine->out.zmm[0];
    bool is_14 = strstr(m->row, "RCP14") || strstr(m->row, "RSQRT14");
    bool is_double = is_14 && (strstr(m->row, "14PD") || strstr(m->row, "14SD"));
    unsigned size = is_double ? 8 : 4;
    const char *name = m->row + (m->row[0] == 'V');

    if (strncmp(name, "RCP", 3) != 0 && strncmp(name, "RSQRT", 5) != 0)
        return false;
    for (unsigned i = 0; i < sizeof(m->host->out.zmm); i += size)
        if (memcmp(host + i, engine + i, size) &&
            !approximately_equal(host + i, engine + i, is_double, is_14))
            return false;
    return true;
}

static void compare_vectors(struct comparison *m)
{
    size_t size = m->c->mode == MODE_64 ? sizeof(m->c->in.zmm) : sizeof(m->c->in.zmm) / 4;

    if (memcmp(m->host->out.zmm, m->engine->out.zmm, size))
        differ(m, PART_VECTOR_REGS, approximations(m) ? DEVIATION_APPROXIMATION : DEVIATION_NONE);
    if (memcmp(m->host->out.k, m->engine->out.k, sizeof(m->c->in.k)))
        differ(m, PART_OPMASK, DEVIATION_NONE);
    if (m->host->out.mxcsr != m->engine->out.mxcsr || m->host->out.pkru != m->engine->out.pkru)
        differ(m, PART_MXCSR, DEVIATION_NONE);
}

/* FXSAVE image, SDM 1 table 10-2. */
enum {
    FX_FSW = 2,
    FX_FSW_ES = 0x80,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_POINTERS_END = 24,
    FX_ST0 = 32,
    FX_SLOT = 16
};

/* Without a pending exception the judge sees zeros; its child starts with zeros where the case has
 * pointers, and an instruction without a memory operand leaves the data pointer as it is. */
static bool pointers_unseen(const struct comparison *m)
{
    const u8 *host = m->host->out.x87, *engine = m->engine->out.x87;
    u8 any = 0, data = 0;

    for (unsigned at = FX_FOP; at < FX_POINTERS_END; at++)
        any |= host[at];
    for (unsigned at = FX_FDP; at < FX_POINTERS_END; at++)
        data |= host[at];
    if (!any && !(host[FX_FSW] & FX_FSW_ES))
        return true;
    return !(m->c->in.x87[FX_FSW] & FX_FSW_ES) &&
           (!data && !memcmp(host + FX_FOP, engine + FX_FOP, FX_FDP - FX_FOP) &&
            !memcmp(engine + FX_FDP, m->c->in.x87 + FX_FDP, FX_POINTERS_END - FX_FDP));
}

/* The host keeps the low 48 bits of a pointer, the engine more. */
static bool pointers_narrower(const struct comparison *m)
{
    const u8 *host = m->host->out.x87, *engine = m->engine->out.x87;

    if ((!row_begins(m, "FXRSTOR_") && !row_begins(m, "XRSTOR_")) ||
        memcmp(host + FX_FOP, engine + FX_FOP, FX_FIP - FX_FOP))
        return false;
    for (unsigned at = FX_FIP; at <= FX_FDP; at += FX_FDP - FX_FIP) {
        u64 narrow = load_le(host + at, 8), wide = load_le(engine + at, 8);

        if (narrow != wide && narrow != (u64)((i64)(wide << 16) >> 16))
            return false;
    }
    return true;
}

static void compare_x87(struct comparison *m)
{
    const u8 *host = m->host->out.x87, *engine = m->engine->out.x87;
    unsigned fsw = (unsigned)(host[FX_FSW + 1] ^ engine[FX_FSW + 1]) << 8 |
                   (unsigned)(host[FX_FSW] ^ engine[FX_FSW]);

    if (host[0] != engine[0] || host[1] != engine[1] || host[FX_FTW] != engine[FX_FTW])
        differ(m, PART_X87, DEVIATION_NONE);
    if (fsw)
        differ(m, PART_X87,
               fsw & ~0x4700u || m->row[0] != 'F' ? DEVIATION_NONE : DEVIATION_X87_CONDITIONS);
    if (memcmp(host + FX_FOP, engine + FX_FOP, FX_POINTERS_END - FX_FOP))
        differ(m, PART_X87,
               pointers_unseen(m)     ? DEVIATION_X87_POINTERS_UNSEEN
               : pointers_narrower(m) ? DEVIATION_X87_POINTER_WIDTH
                                      : DEVIATION_X87_POINTERS);
    for (unsigned at = FX_ST0; at < sizeof(m->c->in.x87); at += FX_SLOT)
        if (memcmp(host + at, engine + at, 10))
            differ(m, PART_X87, DEVIATION_NONE);
}

/* -- memory -- */

/* Whether all bytes that differ in the lines that o changed lie above a selector pushed at top. */
static bool only_above(const struct comparison *m, const struct conform_outcome *o, u64 top)
{
    u8 host[ARENA_LINE], engine[ARENA_LINE];

    for (u32 i = 0; i < o->line_count && i < OUTCOME_LINES_MAX; i++) {
        u32 address = o->line[i].address;

        arena_line_after(m->c, m->host, address, host);
        arena_line_after(m->c, m->engine, address, engine);
        for (u32 j = 0; j < ARENA_LINE; j++)
            if (host[j] != engine[j] && address + j - (top + 2) >= 6)
                return false;
    }
    return true;
}

static bool above_pushed_selector(const struct comparison *m)
{
    u64 top = m->host->out.gpr[RSP];

    if (!row_begins(m, "PUSH_") || strlen(m->row) != 7 || m->row[6] != 'S')
        return false;
    top = m->c->mode == MODE_64 ? top : (u32)top;
    if (m->host->out.selector[SEG_SS] == SEL_STACK16)
        top = ARENA_STACK + (u16)top;
    return only_above(m, m->host, top) && only_above(m, m->engine, top);
}

/* An image of the x87 state in which the host has zeros for pointers and opcode. */
static bool pointers_unseen_in_image(const struct comparison *m)
{
    unsigned differing = 0;

    if (!row_begins(m, "FXSAVE_") && !row_begins(m, "XSAVE") && !row_begins(m, "FNSAVE_") &&
        !row_begins(m, "FNSTENV_"))
        return false;
    if (m->host->line_count != m->engine->line_count || m->host->line_count > OUTCOME_LINES_MAX)
        return false;
    for (u32 n = 0; n < m->host->line_count; n++)
        for (unsigned at = 0; at < sizeof(m->host->line[n].bytes); at++) {
            if (m->host->line[n].bytes[at] == m->engine->line[n].bytes[at])
                continue;
            if (m->host->line[n].bytes[at])
                return false;
            differing++;
        }
    return differing <= FX_POINTERS_END - FX_FOP;
}

static void compare_memory(struct comparison *m)
{
    u32 count = m->host->line_count;
    u32 kept = count < OUTCOME_LINES_MAX ? count : OUTCOME_LINES_MAX;

    if (count != m->engine->line_count ||
        memcmp(m->host->line, m->engine->line, kept * sizeof(m->host->line[0])))
        differ(m, PART_MEMORY,
               above_pushed_selector(m)      ? DEVIATION_PUSH_SEGMENT
               : pointers_unseen_in_image(m) ? DEVIATION_X87_POINTERS_UNSEEN
                                             : DEVIATION_NONE);
}

static bool access_fault(const struct conform_outcome *o)
{
    return o->vector == VEC_SS || o->vector == VEC_GP || o->vector == VEC_PF || o->vector == VEC_AC;
}

/* REPE CMPSB, of whose operands Zen 4 reads the first one first, Zen 3 the second. In a sequence it
 * is what faulted. */
static bool is_repe_cmpsb(const struct comparison *m)
{
    const bool sequence = m->c->row == INSN_INVALID;
    u64 n = sequence ? m->host->out.rip - m->c->in.rip : 0;
    u8 rep = 0;

    if (!sequence && m->c->row != INSN_CMPSb)
        return false;
    if (sequence && m->host->out.rip != m->engine->out.rip)
        return false;
    for (; n < m->c->code_size; n++)
        switch (m->c->code[n]) {
        case 0xa6: return rep == 0xf3;
        case 0xf2:
        case 0xf3: rep = m->c->code[n]; break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x66:
        case 0x67: break;
        default:
            if (m->c->mode != MODE_64 || (m->c->code[n] & 0xf0) != 0x40) /* REX */
                return false;
        }
    return false;
}

/* An operand on the stack that is misaligned as well as not canonical: #GP or #SS. */
static bool misaligned_on_stack(const struct comparison *m)
{
    return row_begins(m, "CMPXCHG16B_") &&
           (m->host->vector == VEC_SS || m->engine->vector == VEC_SS) &&
           (m->host->vector == VEC_GP || m->engine->vector == VEC_GP);
}

/* Both faulted, but not for the same of several reasons, or not at the same of several places. */
static bool another_fault_first(const struct comparison *m)
{
    return access_fault(m->host) && access_fault(m->engine) &&
           (row_begins(m, "FXSAVE_") || row_begins(m, "FXRSTOR_") || row_begins(m, "XSAVE") ||
            row_begins(m, "XRSTOR") || is_repe_cmpsb(m) || misaligned_on_stack(m));
}

static void compare_exception(struct comparison *m)
{
    if (m->host->vector != m->engine->vector || m->host->error_code != m->engine->error_code ||
        m->host->cr2 != m->engine->cr2 || m->host->vector == OUTCOME_LOST ||
        m->host->vector == OUTCOME_SYSCALL)
        differ(m, PART_EXCEPTION, another_fault_first(m) ? DEVIATION_FAULT_ORDER : DEVIATION_NONE);
}

struct conform_difference conform_compare(const struct conform_case *c,
                                          const struct conform_outcome *host,
                                          const struct conform_outcome *engine, u64 allowed)
{
    struct comparison m = {.c = c, .host = host, .engine = engine, .allowed = allowed, .row = ""};

    if (host->vector == OUTCOME_NONE && engine->vector == OUTCOME_NONE)
        return (struct conform_difference){.explained = true};
    if (c->row != INSN_INVALID && c->row < INSN_COUNT)
        m.row = insn_rows[c->row].name;
    compare_gpr(&m);
    compare_flags(&m);
    compare_rip(&m);
    compare_segments(&m);
    compare_vectors(&m);
    compare_x87(&m);
    compare_memory(&m);
    compare_exception(&m);
    return (struct conform_difference){m.parts, m.deviations, m.unexplained == 0};
}
