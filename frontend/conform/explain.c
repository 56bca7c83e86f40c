/* SPDX-License-Identifier: MIT
 *
 * A difference in words: the case as a person would write it down, then what differs.
 */
#include <capstone/capstone.h>
#include <stdarg.h>
#include <string.h>

#include "cpu/insn.h"
#include "frontend/conform/arena.h"
#include "frontend/conform/compare.h"

enum {
    EXPLAIN_INSNS = 64,    /* instructions of a sequence that are shown */
    EXPLAIN_OPERANDS = 8,  /* vector registers of the instruction that are shown */
    EXPLAIN_ROW = 16,      /* bytes in a row */
    EXPLAIN_LINES_MAX = 8, /* lines of memory that are shown */
};

static const char *const gpr_names[2][16] = {
    {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"},
    {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
     "r14", "r15"},
};
static const char *const seg_names[CONFORM_SEGMENTS] = {"es", "cs", "ss", "ds", "fs", "gs"};
static const char *const mode_names[CONFORM_MODES] = {"64-bit", "32-bit", "16-bit"};
static const char *const vector_names[] = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",
    "#TS", "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM",
};

static void print_flags(FILE *out, u64 flags)
{
    static const struct {
        u32 bit;
        const char *name;
    } names[] = {{F_CF, "CF"}, {F_PF, "PF"}, {F_AF, "AF"}, {F_ZF, "ZF"},
                 {F_SF, "SF"}, {F_TF, "TF"}, {F_IF, "IF"}, {F_DF, "DF"},
                 {F_OF, "OF"}, {F_NT, "NT"}, {F_AC, "AC"}, {F_ID, "ID"}};

    fprintf(out, "%06llx [", (unsigned long long)flags);
    for (unsigned i = 0, any = 0; i < ARRAY_SIZE(names); i++)
        if (flags & names[i].bit)
            fprintf(out, "%s%s", any++ ? " " : "", names[i].name);
    fputc(']', out);
}

static void print_hex(FILE *out, const u8 *bytes, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        fprintf(out, "%s%02x", i ? " " : "", bytes[i]);
}

/* -- the case -- */

/* Shows a vector or mask register that the instruction names. */
static void print_operand(FILE *out, const struct conform_state *s, unsigned reg)
{
    unsigned n, size;
    char kind;

    if (reg >= X86_REG_XMM0 && reg <= X86_REG_XMM31)
        kind = 'x', size = 16, n = reg - X86_REG_XMM0;
    else if (reg >= X86_REG_YMM0 && reg <= X86_REG_YMM31)
        kind = 'y', size = 32, n = reg - X86_REG_YMM0;
    else if (reg >= X86_REG_ZMM0 && reg <= X86_REG_ZMM31)
        kind = 'z', size = 64, n = reg - X86_REG_ZMM0;
    else if (reg >= X86_REG_K0 && reg <= X86_REG_K7)
        kind = 'k', size = 8, n = reg - X86_REG_K0;
    else
        return;
    if (kind == 'k')
        fprintf(out, "    k%u=%016llx\n", n, (unsigned long long)s->k[n]);
    for (unsigned at = 0; kind != 'k' && at < size; at += EXPLAIN_ROW) {
        fprintf(out, "    %cmm%u bytes %u-%u: ", kind, n, at, at + EXPLAIN_ROW - 1);
        print_hex(out, s->zmm[n] + at, EXPLAIN_ROW);
        fputc('\n', out);
    }
}

struct operands {
    unsigned count, reg[EXPLAIN_OPERANDS];
};

static void collect_operands(const cs_insn *insn, struct operands *o)
{
    for (unsigned i = 0; i < insn->detail->x86.op_count && o->count < EXPLAIN_OPERANDS; i++)
        if (insn->detail->x86.operands[i].type == X86_OP_REG)
            o->reg[o->count++] = insn->detail->x86.operands[i].reg;
}

/* Capstone 4 does not know every instruction of the table; those are shown as bytes. */
static void print_code(FILE *out, const struct conform_case *c, struct operands *operands)
{
    static const cs_mode modes[] = {CS_MODE_64, CS_MODE_32, CS_MODE_16};
    const u8 *code = c->code;
    size_t left = c->code_size, length;
    u64 address = c->code_address;
    cs_insn *insn = NULL;
    csh cs = 0;

    if (cs_open(CS_ARCH_X86, modes[c->mode], &cs) == CS_ERR_OK) {
        cs_option(cs, CS_OPT_DETAIL, CS_OPT_ON);
        insn = cs_malloc(cs);
    }
    for (unsigned i = 0; left && i < EXPLAIN_INSNS; i++) {
        const u8 *start = code;

        fprintf(out, "  %08llx: ", (unsigned long long)address);
        if (!insn || !cs_disasm_iter(cs, &code, &left, &address, insn)) {
            length = c->insn_length && c->insn_length < left ? c->insn_length : left;
            print_hex(out, start, (unsigned)length);
            fputc('\n', out);
            break;
        }
        print_hex(out, start, insn->size);
        fprintf(out, "%*s%s%s%s\n", insn->size < 10 ? 32 - 3 * insn->size : 2, "", insn->mnemonic,
                insn->op_str[0] ? " " : "", insn->op_str);
        if (c->insn_length && i == 0)
            collect_operands(insn, operands);
    }
    if (insn)
        cs_free(insn, 1);
    if (cs)
        cs_close(&cs);
}

static void print_registers(FILE *out, const struct conform_case *c)
{
    const struct conform_state *s = &c->in;
    unsigned count = c->mode == MODE_64 ? 16 : 8;

    for (unsigned i = 0; i < count; i++) {
        fprintf(out, "%s%s=", i % 4 ? " " : "    ", gpr_names[c->mode == MODE_64][i]);
        fprintf(out, c->mode == MODE_64 ? "%016llx" : "%08llx",
                (unsigned long long)(c->mode == MODE_64 ? s->gpr[i] : (u32)s->gpr[i]));
        if (i % 4 == 3)
            fputc('\n', out);
    }
    fprintf(out, "    rip=%llx rflags=", (unsigned long long)s->rip);
    print_flags(out, s->rflags);
    for (unsigned i = 0; i < CONFORM_SEGMENTS; i++)
        fprintf(out, " %s=%x", seg_names[i], s->selector[i]);
    if (c->mode == MODE_64)
        fprintf(out, " fs_base=%llx gs_base=%llx", (unsigned long long)s->fs_base,
                (unsigned long long)s->gs_base);
    fprintf(out, "\n    mxcsr=%04x fcw=%02x%02x fsw=%02x%02x ftw=%02x\n", s->mxcsr, s->x87[1],
            s->x87[0], s->x87[3], s->x87[2], s->x87[4]);
}

static void print_x87_in(FILE *out, const struct conform_state *s)
{
    unsigned top = s->x87[3] >> 3 & 7;

    for (unsigned i = 0; i < 8; i++) {
        if (!(s->x87[4] >> ((top + i) & 7) & 1))
            continue; /* empty */
        fprintf(out, "    st%u: ", i);
        print_hex(out, s->x87 + 32 + 16 * i, 10);
        fputc('\n', out);
    }
}

static void print_case(FILE *out, const struct conform_case *c)
{
    struct operands operands = {0};
    const char *name = c->row && c->row < INSN_COUNT ? insn_rows[c->row].name : "sequence";

    fprintf(out, "%s, %s, seed %#llx\n", name, mode_names[c->mode % CONFORM_MODES],
            (unsigned long long)c->seed);
    print_code(out, c, &operands);
    fputs("  in:\n", out);
    print_registers(out, c);
    print_x87_in(out, &c->in);
    for (unsigned i = 0; i < operands.count; i++)
        print_operand(out, &c->in, operands.reg[i]);
    for (u32 i = 0; i < c->patch_count; i++) {
        fprintf(out, "    [%08x]: ", c->patch[i].address);
        print_hex(out, c->patch[i].bytes, c->patch[i].size);
        fputc('\n', out);
    }
}

/* -- what differs -- */

static void print_end(FILE *out, const char *who, const struct conform_outcome *o)
{
    fprintf(out, "    %-7s ", who);
    if (o->vector == OUTCOME_NONE)
        fputs("reached its limit", out);
    else if (o->vector == OUTCOME_LOST)
        fputs("could not be run", out);
    else if (o->vector == OUTCOME_SYSCALL)
        fputs("made a system call", out);
    else if (o->vector < ARRAY_SIZE(vector_names))
        fputs(vector_names[o->vector], out);
    else
        fprintf(out, "vector %u", o->vector);
    if (o->error_code)
        fprintf(out, " error code %x", o->error_code);
    if (o->vector == VEC_PF)
        fprintf(out, " at %llx", (unsigned long long)o->cr2);
    fputc('\n', out);
}

static void print_number(FILE *out, const char *name, u64 host, u64 engine)
{
    if (host != engine)
        fprintf(out, "  %s:\n    host    %016llx\n    engine  %016llx\n", name,
                (unsigned long long)host, (unsigned long long)engine);
}

/* One row of bytes of both, with a mark below each byte that differs. */
static void print_row(FILE *out, const u8 *host, const u8 *engine, unsigned size)
{
    fputs("    host    ", out);
    print_hex(out, host, size);
    fputs("\n    engine  ", out);
    print_hex(out, engine, size);
    fputs("\n            ", out);
    for (unsigned i = 0, last = 0; i < size; i++) {
        if (host[i] == engine[i])
            continue;
        fprintf(out, "%*s^^", (int)(3 * i - last), "");
        last = 3 * i + 2;
    }
    fputc('\n', out);
}

PRINTF(5, 6)
static void print_bytes(FILE *out, const u8 *host, const u8 *engine, unsigned size,
                        const char *format, ...)
{
    for (unsigned at = 0; at < size; at += EXPLAIN_ROW) {
        unsigned part = size - at < EXPLAIN_ROW ? size - at : EXPLAIN_ROW;
        va_list arguments;

        if (!memcmp(host + at, engine + at, part))
            continue;
        fputs("  ", out);
        va_start(arguments, format);
        vfprintf(out, format, arguments);
        va_end(arguments);
        fprintf(out, " bytes %u-%u:\n", at, at + part - 1);
        print_row(out, host + at, engine + at, part);
    }
}

static void print_integer_parts(FILE *out, const struct conform_case *c,
                                const struct conform_outcome *h, const struct conform_outcome *e)
{
    bool is_64 = c->mode == MODE_64;
    u64 mask = is_64 ? ~0ull : ~(u32)0;
    u64 flags = F_ALL & ~(u64)F_RF;

    for (unsigned i = 0; i < (is_64 ? 16u : 8u); i++)
        print_number(out, gpr_names[is_64][i], h->out.gpr[i] & mask, e->out.gpr[i] & mask);
    print_number(out, is_64 ? "rip" : "eip", h->out.rip & mask, e->out.rip & mask);
    if ((h->out.rflags ^ e->out.rflags) & flags) {
        fputs("  rflags:\n    host    ", out);
        print_flags(out, h->out.rflags & flags);
        fputs("\n    engine  ", out);
        print_flags(out, e->out.rflags & flags);
        fputs("\n    differ  ", out);
        print_flags(out, (h->out.rflags ^ e->out.rflags) & flags);
        fputc('\n', out);
    }
    for (unsigned i = 0; i < CONFORM_SEGMENTS; i++)
        print_number(out, seg_names[i], h->out.selector[i], e->out.selector[i]);
    if (is_64) {
        print_number(out, "fs_base", h->out.fs_base, e->out.fs_base);
        print_number(out, "gs_base", h->out.gs_base, e->out.gs_base);
    }
}

static u64 load(const u8 *bytes, unsigned size)
{
    u64 value = 0;

    memcpy(&value, bytes, size);
    return value;
}

static void print_fpu_parts(FILE *out, const struct conform_case *c,
                            const struct conform_outcome *h, const struct conform_outcome *e)
{
    static const struct {
        const char *name;
        u8 offset, size;
    } fields[] = {{"fcw", 0, 2}, {"fsw", 2, 2}, {"ftw", 4, 1},
                  {"fop", 6, 2}, {"fip", 8, 8}, {"fdp", 16, 8}};
    const u8 *hx = h->out.x87, *ex = e->out.x87;

    print_number(out, "mxcsr", h->out.mxcsr, e->out.mxcsr);
    print_number(out, "pkru", h->out.pkru, e->out.pkru);
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
        print_number(out, fields[i].name, load(hx + fields[i].offset, fields[i].size),
                     load(ex + fields[i].offset, fields[i].size));
    for (unsigned i = 0; i < 8; i++)
        print_bytes(out, hx + 32 + 16 * i, ex + 32 + 16 * i, 10, "st%u", i);
    for (unsigned i = 0; i < (c->mode == MODE_64 ? 32u : 8u); i++)
        print_bytes(out, h->out.zmm[i], e->out.zmm[i], 64, "zmm%u", i);
    for (unsigned i = 0; i < 8; i++)
        print_bytes(out, (const u8 *)&h->out.k[i], (const u8 *)&e->out.k[i], 8, "k%u", i);
}

/* The lines that either changed, ascending: the lists are sorted. */
static void print_memory(FILE *out, const struct conform_case *c, const struct conform_outcome *h,
                         const struct conform_outcome *e)
{
    u32 i = 0, j = 0, shown = 0;
    u32 hosts = h->line_count < OUTCOME_LINES_MAX ? h->line_count : OUTCOME_LINES_MAX;
    u32 engines = e->line_count < OUTCOME_LINES_MAX ? e->line_count : OUTCOME_LINES_MAX;

    while (i < hosts || j < engines) {
        u32 a = i < hosts ? h->line[i].address : ~0u, b = j < engines ? e->line[j].address : ~0u;
        u32 address = a < b ? a : b;
        u8 host[ARENA_LINE], engine[ARENA_LINE];

        i += a == address;
        j += b == address;
        arena_line_after(c, h, address, host);
        arena_line_after(c, e, address, engine);
        if (!memcmp(host, engine, ARENA_LINE))
            continue;
        if (shown++ == EXPLAIN_LINES_MAX) {
            fputs("  more lines of memory differ\n", out);
            return;
        }
        print_bytes(out, host, engine, ARENA_LINE, "memory line %08x", address);
    }
}

void conform_explain(FILE *out, const struct conform_case *c, const struct conform_outcome *host,
                     const struct conform_outcome *engine)
{
    struct conform_difference d = conform_compare(c, host, engine, ~0ull);

    print_case(out, c);
    if (!d.parts) {
        fputs("  host and engine agree\n", out);
        return;
    }
    fputs("  ended with:\n", out);
    print_end(out, "host", host);
    print_end(out, "engine", engine);
    print_integer_parts(out, c, host, engine);
    print_fpu_parts(out, c, host, engine);
    print_memory(out, c, host, engine);
    for (unsigned i = DEVIATION_NONE + 1; i < DEVIATION_COUNT; i++)
        if (d.deviations >> i & 1)
            fprintf(out, "  may be %s: %s (%s)\n", conform_deviations[i].name,
                    conform_deviations[i].what, conform_deviations[i].source);
}
