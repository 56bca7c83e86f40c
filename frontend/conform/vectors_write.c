/* SPDX-License-Identifier: MIT */
#include <capstone/capstone.h>
#include <cpuid.h>
#include <string.h>

#include "cpu/insn.h"
#include "cpu/regs.h"
#include "frontend/conform/vectors.h"

/* SDM 3A table 6-1: #DF #TS #NP #SS #GP #PF #AC #CP. */
#define WITH_ERROR_CODE (1u << 8 | 0x1fu << 10 | 1u << 17 | 1u << 21)

/* Changed bytes this close together are written as one run. */
enum { RUN_GAP = 4 };

/* -- the host -- */

void vectors_host(char *text, size_t size)
{
    u32 id[4] = {0}, sign[4] = {0}, brand[13] = {0};
    unsigned family, model;
    const char *name;

    __cpuid(0, id[0], id[1], id[2], id[3]);
    __cpuid(1, sign[0], sign[1], sign[2], sign[3]);
    for (unsigned i = 0; i < 3; i++)
        __cpuid(0x80000002 + i, brand[4 * i], brand[4 * i + 1], brand[4 * i + 2], brand[4 * i + 3]);
    name = (const char *)brand;
    while (*name == ' ')
        name++;
    /* SDM 2A, CPUID: the extended fields count for family 0Fh (and the model of 06h). */
    family = sign[0] >> 8 & 15;
    model = sign[0] >> 4 & 15;
    if (family == 6 || family == 15)
        model |= sign[0] >> 12 & 0xf0;
    if (family == 15)
        family += sign[0] >> 20 & 0xff;
    snprintf(text, size, "%s (%.4s%.4s%.4s family %u model %u stepping %u)", name,
             (const char *)&id[1], (const char *)&id[3], (const char *)&id[2], family, model,
             sign[0] & 15);
}

static void write_string(FILE *out, const char *text)
{
    json_t *s = json_string(text);

    if (!s || json_dumpf(s, out, JSON_ENCODE_ANY))
        fputs("\"\"", out);
    json_decref(s);
}

void vectors_write_header(FILE *out, const char *host)
{
    char text[160];

    if (!host)
        vectors_host(text, sizeof(text));
    fprintf(out, "{\"lockstep_vectors\": %d, \"host\": ", VECTORS_VERSION);
    write_string(out, host ? host : text);
    fputs("}\n", out);
}

/* -- numbers -- */

/* A little-endian number in hexadecimal, without leading zeros, wide ones in groups of 16. */
static void write_hex(FILE *out, const u8 *bytes, unsigned size)
{
    unsigned digits = 2 * size, i;

    while (digits > 1 && !(bytes[(digits - 1) / 2] >> (digits % 2 ? 0 : 4) & 15))
        digits--;
    fputc('"', out);
    for (i = digits; i--;) {
        fputc("0123456789abcdef"[bytes[i / 2] >> (i % 2 ? 4 : 0) & 15], out);
        if (i && i % 16 == 0)
            fputc('_', out);
    }
    fputc('"', out);
}

static void write_bytes(FILE *out, const u8 *bytes, unsigned size)
{
    fputc('"', out);
    for (unsigned i = 0; i < size; i++)
        fprintf(out, "%02x", bytes[i]);
    fputc('"', out);
}

/* -- parts of a vector -- */

/* The registers of s that differ from those of base. */
static void write_registers(FILE *out, const char *key, const struct conform_state *s,
                            const struct conform_state *base)
{
    const struct vector_register *r;
    const char *separator = "";

    fprintf(out, ",\n \"%s\": {", key);
    for (unsigned i = 0; (r = vector_register(i)); i++) {
        const u8 *value = (const u8 *)s + r->offset;

        if (!memcmp(value, (const u8 *)base + r->offset, r->size))
            continue;
        fprintf(out, "%s\"%s\": ", separator, r->name);
        write_hex(out, value, r->size);
        separator = ", ";
    }
    fputc('}', out);
}

static void write_patches(FILE *out, const struct conform_case *c)
{
    if (!c->patch_count)
        return;
    fputs(",\n \"memory\": [", out);
    for (unsigned i = 0; i < c->patch_count; i++) {
        fprintf(out, "%s[\"%x\", ", i ? ", " : "", c->patch[i].address);
        write_bytes(out, c->patch[i].bytes, c->patch[i].size);
        fputc(']', out);
    }
    fputc(']', out);
}

/* The runs of bytes in one line that are not what the case started with. */
static unsigned write_line(FILE *out, const struct conform_case *c, const struct conform_line *l,
                           unsigned runs)
{
    bool differs[64];
    unsigned i, end;

    for (i = 0; i < 64; i++)
        differs[i] = l->bytes[i] != vectors_start_byte(c, l->address + i);
    for (i = 0; i < 64; i = end) {
        unsigned last = i;

        end = i + 1;
        if (!differs[i])
            continue;
        for (; end < 64 && end - last <= RUN_GAP; end++)
            if (differs[end])
                last = end;
        end = last + 1;
        fprintf(out, "%s[\"%x\", ", runs++ ? ", " : "", l->address + i);
        write_bytes(out, l->bytes + i, end - i);
        fputc(']', out);
    }
    return runs;
}

static void write_changes(FILE *out, const struct conform_case *c, const struct conform_outcome *o)
{
    unsigned lines = o->line_count > OUTCOME_LINES_MAX ? OUTCOME_LINES_MAX : o->line_count;
    unsigned runs = 0;

    if (!lines)
        return;
    fputs(",\n \"changed\": [", out);
    for (unsigned i = 0; i < lines; i++)
        runs = write_line(out, c, &o->line[i], runs);
    fputc(']', out);
    if (o->line_count > OUTCOME_LINES_MAX)
        fputs(", \"more_changed\": true", out);
}

static void write_end(FILE *out, const struct conform_outcome *o)
{
    if (o->vector >= OUTCOME_SYSCALL) {
        fprintf(out, ",\n \"end\": \"%s\"", vectors_end_name(o->vector));
        return;
    }
    if (o->vector == 3)
        return;
    fprintf(out, ",\n \"exception\": {\"vector\": %u, \"error\": \"%x\"", o->vector, o->error_code);
    if (o->vector == 14)
        fprintf(out, ", \"cr2\": \"%llx\"", (unsigned long long)o->cr2);
    fputc('}', out);
}

static void write_undefined(FILE *out, u32 flags)
{
    static const char *const names[] = {"cf", NULL, "pf", NULL, "af", NULL,
                                        "zf", "sf", "tf", "if", "df", "of"};
    const char *separator = "";

    if (!flags)
        return;
    fputs(", \"undefined\": \"", out);
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (!(flags >> i & 1) || !names[i])
            continue;
        fprintf(out, "%s%s", separator, names[i]);
        separator = " ";
    }
    fputc('"', out);
}

/* The instruction at RIP in Intel's syntax; empty where Capstone does not know it. */
static void write_text(FILE *out, const struct conform_case *c)
{
    static const cs_mode modes[CONFORM_MODES] = {CS_MODE_64, CS_MODE_32, CS_MODE_16};
    u32 ip = (u32)c->in.rip, skip;
    cs_insn *insn = NULL;
    char text[224] = "";
    csh handle;

    if (c->mode == MODE_16 || (c->mode == MODE_32 && c->in.selector[1] != SEL_CS32))
        ip += ARENA_CODE;
    skip = ip - c->code_address < c->code_size ? ip - c->code_address : 0;
    if (!cs_open(CS_ARCH_X86, modes[c->mode], &handle)) {
        if (cs_disasm(handle, c->code + skip, c->code_size - skip, ip, 1, &insn))
            snprintf(text, sizeof(text), "%s %s", insn->mnemonic, insn->op_str);
        if (insn)
            cs_free(insn, 1);
        cs_close(&handle);
    }
    if (text[0] && text[strlen(text) - 1] == ' ')
        text[strlen(text) - 1] = 0;
    fputs("{\"text\": ", out);
    write_string(out, text);
}

void vectors_write(FILE *out, const struct conform_case *c, const struct conform_outcome *o)
{
    static const unsigned bits[CONFORM_MODES] = {64, 32, 16};
    struct conform_state base;

    vectors_default_state(&base, c->mode, c->code_address);
    write_text(out, c);
    if (c->row != INSN_INVALID)
        fprintf(out, ", \"row\": \"%s\"", insn_rows[c->row].name);
    fprintf(out, ", \"mode\": %u, \"at\": \"%x\", \"code\": ", bits[c->mode], c->code_address);
    write_bytes(out, c->code, c->code_size);
    if (c->insn_length && c->insn_length != c->code_size)
        fprintf(out, ", \"length\": %u", c->insn_length);
    write_undefined(out, c->undefined_flags);
    fprintf(out, ", \"seed\": \"%llx\"", (unsigned long long)c->seed);
    if (c->xcr0)
        fprintf(out, ", \"xcr0\": \"%llx\"", (unsigned long long)c->xcr0);
    write_registers(out, "in", &c->in, &base);
    write_patches(out, c);
    write_registers(out, "out", &o->out, &c->in);
    write_changes(out, c, o);
    write_end(out, o);
    fputs("}\n", out);
}
