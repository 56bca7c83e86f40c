/* SPDX-License-Identifier: MIT */
#include "frontend/conform/singlestep_judge.h"

#include <string.h>

#include "cpu/insn.h"
#include "cpu/regs.h"

/* -- the instruction -- */

struct opcode {
    bool lock, rep;
    bool prefix386; /* FS, GS, operand and address size */
    u8 page;        /* 1: after 0F */
    u8 byte, modrm; /* modrm is 0 where there is none */
    unsigned length;
};

static struct opcode opcode_of(enum singlestep_cpu cpu, const struct singlestep_test *t)
{
    struct opcode op = {.length = t->byte_count};
    unsigned i = 0;

    for (; i < t->byte_count; i++) {
        u8 b = t->bytes[i];

        if (b == 0xf0 || (b == 0xf1 && cpu == SINGLESTEP_8086))
            op.lock = true;
        else if (b == 0xf2 || b == 0xf3)
            op.rep = true;
        else if (b >= 0x64 && b <= 0x67 && cpu != SINGLESTEP_8086)
            op.prefix386 = true;
        else if ((b & 0xe7) != 0x26)
            break;
    }
    if (i + 1 < t->byte_count && t->bytes[i] == 0x0f && cpu != SINGLESTEP_8086) {
        op.page = 1;
        i++;
    }
    op.byte = i < t->byte_count ? t->bytes[i] : 0;
    op.modrm = i + 1 < t->byte_count ? t->bytes[i + 1] : 0;
    /* The suites of the 80286 and 80386 count the HLT behind the instruction. */
    if (cpu != SINGLESTEP_8086 && op.length > 1 && t->bytes[op.length - 1] == 0xf4)
        op.length--;
    return op;
}

static unsigned reg_of(const struct opcode *op)
{
    return op->modrm >> 3 & 7;
}

static bool is_register_form(const struct opcode *op)
{
    return op->modrm >= 0xc0;
}

/* 8086 Family User's Manual, table 4-13: opcodes and forms that it does not define. */
static bool undefined_8086(const struct opcode *op)
{
    unsigned reg = reg_of(op);

    switch (op->byte) {
    case 0x0f:
    case 0x60 ... 0x6f:
    case 0xc0:
    case 0xc1:
    case 0xc8:
    case 0xc9:
    case 0xd6: return true;
    case 0x82: return false;
    case 0x8c: return reg > 3;
    case 0x8e: return reg > 3 || reg == 1;
    case 0x8d:
    case 0xc4:
    case 0xc5: return is_register_form(op);
    case 0x8f:
    case 0xc6:
    case 0xc7: return reg != 0;
    case 0xd0 ... 0xd3: return reg == 6;
    case 0xf6:
    case 0xf7: return reg == 1;
    case 0xfe: return reg > 1;
    case 0xff: return reg == 7 || ((reg == 3 || reg == 5) && is_register_form(op));
    }
    return false;
}

static bool is_divide(const struct opcode *op)
{
    return !op->page && ((op->byte | 1) == 0xf7 ? reg_of(op) >= 6 : op->byte == 0xd4);
}

/* Flags that SDM 2 calls undefined after the instruction, by our table. */
static u32 undefined_flags(const struct singlestep_test *t)
{
    const struct decode_ctx real = {.code_size = 2};
    struct insn i;

    if (insn_decode(&real, t->bytes, t->byte_count, &i) != DECODE_OK)
        return 0;
    return insn_rows[i.id].flags_undefined;
}

/* -- what is expected -- */

static u32 expected(enum singlestep_cpu cpu, const struct singlestep_test *t,
                    const struct singlestep_outcome *o, unsigned r)
{
    u32 value = t->final.present >> r & 1     ? t->final.value[r]
                : t->initial.present >> r & 1 ? t->initial.value[r]
                                              : o->value[r];

    /* The HLT behind the instruction, or the one injected at a branch target, was executed. */
    if (r == SSR_EIP && cpu != SINGLESTEP_8086 && !o->halted)
        return cpu == SINGLESTEP_80286 ? (u16)(value - 1) : value - 1;
    if (r >= SSR_CS && r <= SSR_SS)
        return value & 0xffff;
    /* Values that the suites give to LOADALL, of which the processor takes what it has. */
    if (r == SSR_EFLAGS && !(t->final.present >> r & 1))
        return cpu == SINGLESTEP_80286 ? value & 0xfff : value;
    return value;
}

static u32 segment_linear(enum singlestep_cpu cpu, u32 selector, u32 offset)
{
    u32 linear = (selector & 0xffff) * 16 + (offset & 0xffff);

    return cpu == SINGLESTEP_8086 ? linear & 0xfffff : linear;
}

/* -- judging -- */

struct trial {
    enum singlestep_cpu cpu;
    const struct singlestep_test *t;
    const struct singlestep_outcome *o;
    struct opcode op;
    u32 undefined; /* flags */
    u64 used;      /* deviations */
};

static u32 expect(const struct trial *j, unsigned r)
{
    return expected(j->cpu, j->t, j->o, r);
}

/* Whether the suite's processor took a divide error: its CS:IP is the handler's. */
static bool expects_divide_error(const struct trial *j)
{
    u32 entry = 0, got = 0;

    if (j->t->has_exception)
        return j->t->exception == 0;
    for (u32 i = 0; i < j->t->initial.ram_count; i++) {
        const struct singlestep_byte *b = &j->t->initial.ram[i];

        if (b->address < 4) {
            entry |= (u32)b->value << 8 * b->address;
            got |= 1u << b->address;
        }
    }
    return got == 15 && (entry & 0xffff) == (expect(j, SSR_EIP) & 0xffff) &&
           entry >> 16 == expect(j, SSR_CS);
}

/* A deviation that changes the whole outcome, or DEVIATION_NONE. */
static enum conform_deviation whole_8086(const struct trial *j)
{
    const struct opcode *op = &j->op;
    bool shift = !op->page && op->byte >= 0xd2 && op->byte <= 0xd3;

    if (undefined_8086(op))
        return DEVIATION_I8086_OPCODES;
    if (op->lock && j->o->vector == VEC_UD)
        return DEVIATION_I8086_LOCK;
    if ((j->o->vector == VEC_GP || j->o->vector == VEC_SS) && op->byte != 0xcd)
        return DEVIATION_I8086_OFFSET_WRAP;
    if (shift && (j->t->initial.value[SSR_ECX] & 0xff) > 31)
        return DEVIATION_I8086_SHIFT_COUNT;
    if (is_divide(op) && reg_of(op) == 7 && op->rep)
        return DEVIATION_I8086_REP_IDIV;
    if (is_divide(op) && reg_of(op) == 7 && j->o->vector != VEC_DE && expects_divide_error(j))
        return DEVIATION_I8086_IDIV_LIMIT;
    return DEVIATION_NONE;
}

static enum conform_deviation whole_80286(const struct trial *j)
{
    bool expects_ud = j->t->has_exception && j->t->exception == VEC_UD;

    if (j->op.length > 10 && j->t->has_exception)
        return DEVIATION_I80286_LENGTH;
    if (expects_ud && j->o->vector != VEC_UD &&
        (j->op.prefix386 || j->op.page || j->op.byte == 0x62))
        return DEVIATION_I80286_OPCODES;
    if (j->op.lock && j->o->vector == VEC_UD && !expects_ud)
        return DEVIATION_I80286_LOCK;
    if (j->op.page && j->op.byte == 0x01 && reg_of(&j->op) == 4)
        return DEVIATION_I80286_MSW;
    return DEVIATION_NONE;
}

static enum conform_deviation whole_80386(const struct trial *j)
{
    const struct opcode *op = &j->op;

    if (op->page && (op->byte == 0x24 || op->byte == 0x26))
        return DEVIATION_I80386_TEST_REGISTERS;
    /* SMSW, MOV from CR0, MOV from DR6 and DR7 */
    if (op->page && ((op->byte == 0x01 && reg_of(op) == 4) ||
                     (op->byte == 0x20 && reg_of(op) == 0) || op->byte == 0x21))
        return DEVIATION_I80386_CONTROL;
    return DEVIATION_NONE;
}

static enum conform_deviation whole(const struct trial *j)
{
    return j->cpu == SINGLESTEP_8086    ? whole_8086(j)
           : j->cpu == SINGLESTEP_80286 ? whole_80286(j)
                                        : whole_80386(j);
}

/* Takes the bits that one deviation explains out of a difference. */
static u32 explain_bits(struct trial *j, u32 bits, u32 explained, enum conform_deviation deviation)
{
    if (bits & explained)
        j->used |= BIT(deviation);
    return bits & ~explained;
}

static u32 explain_flags(struct trial *j, u32 bits)
{
    bits = explain_bits(j, bits, j->undefined, DEVIATION_UNDEFINED_FLAGS);
    if (j->cpu == SINGLESTEP_8086)
        bits = explain_bits(j, bits, 0xf000, DEVIATION_I8086_FLAGS_HIGH);
    if (j->cpu == SINGLESTEP_80286)
        bits = explain_bits(j, bits, 0xf000, DEVIATION_I80286_FLAGS_HIGH);
    if (j->cpu == SINGLESTEP_80386)
        bits = explain_bits(j, bits, 0xfffc0000, DEVIATION_I80386_EFLAGS_HIGH);
    return bits;
}

static const u8 gpr_order[8] = {SSR_EAX, SSR_ECX, SSR_EDX, SSR_EBX,
                                SSR_ESP, SSR_EBP, SSR_ESI, SSR_EDI};

static u32 explain_register(struct trial *j, unsigned r, u32 bits)
{
    if (r == SSR_EFLAGS)
        return explain_flags(j, bits);
    if (r == SSR_CR0)
        bits = explain_bits(j, bits, ~(u32)(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_PG),
                            DEVIATION_I80386_CONTROL);
    if (r == SSR_DR6)
        bits = explain_bits(j, bits, ~0xe00fu, DEVIATION_I80386_CONTROL);
    if (r == SSR_DR7)
        bits = explain_bits(j, bits, 0x0000dc00, DEVIATION_I80386_CONTROL);
    if (r == SSR_EAX && j->cpu == SINGLESTEP_8086 && (j->op.byte == 0x37 || j->op.byte == 0x3f))
        bits = explain_bits(j, bits, 0xffff, DEVIATION_I8086_AAA);
    /* SDM 2, BSF and BSR: of zero, which ZF tells, the destination is undefined. */
    if (j->op.page && (j->op.byte | 1) == 0xbd && r == gpr_order[reg_of(&j->op)] &&
        (j->o->value[SSR_EFLAGS] & F_ZF))
        bits = explain_bits(j, bits, UINT32_MAX, DEVIATION_UNDEFINED_REGISTERS);
    return explain_bits(j, bits, ~j->t->mask[r], DEVIATION_UNDEFINED_REGISTERS);
}

/* Where this instruction or exception pushed flags, or UINT32_MAX. */
static u32 flags_address(const struct trial *j)
{
    u32 ss = expect(j, SSR_SS), sp = expect(j, SSR_ESP);

    if (j->t->has_exception)
        return j->t->flag_address;
    if (!j->op.page && j->op.byte == 0x9c)
        return segment_linear(j->cpu, ss, sp);
    if (j->o->vector >= 0)
        return segment_linear(j->cpu, ss, sp + 4);
    return UINT32_MAX;
}

static u32 explain_memory(struct trial *j, const struct singlestep_diff *d)
{
    u32 ss = expect(j, SSR_SS), sp = expect(j, SSR_ESP), bits = d->expected ^ d->actual;
    u32 flags = flags_address(j), top = segment_linear(j->cpu, ss, sp);

    if (flags != UINT32_MAX && d->address - flags < 4)
        bits = explain_flags(j, bits << 8 * (d->address - flags)) >> 8 * (d->address - flags);
    if (j->cpu != SINGLESTEP_8086 || d->address - top >= 2)
        return bits;
    if (!j->op.page && (j->op.byte == 0x54 || (j->op.byte == 0xff && (j->op.modrm & 0xf7) == 0xf4)))
        bits = explain_bits(j, bits, 0xff, DEVIATION_I8086_PUSH_SP);
    if (is_divide(&j->op) && j->o->vector == VEC_DE && expects_divide_error(j))
        bits = explain_bits(j, bits, 0xff, DEVIATION_I8086_DIVIDE_RETURN);
    return bits;
}

static struct trial begin(enum singlestep_cpu cpu, const struct singlestep_test *t,
                          const struct singlestep_outcome *o)
{
    return (struct trial){
        .cpu = cpu,
        .t = t,
        .o = o,
        .op = opcode_of(cpu, t),
        .undefined = (~t->mask[SSR_EFLAGS] & 0xffff) | undefined_flags(t),
    };
}

static u32 register_difference(const struct trial *j, unsigned r)
{
    return (j->t->initial.present | j->t->final.present) >> r & 1 ? expect(j, r) ^ j->o->value[r]
                                                                  : 0;
}

struct singlestep_verdict singlestep_judge(enum singlestep_cpu cpu, const struct singlestep_test *t,
                                           const struct singlestep_outcome *o)
{
    struct trial j = begin(cpu, t, o);
    struct singlestep_verdict v = {.agree = true, .explained = true};
    enum conform_deviation all = whole(&j);

    if (o->shutdown)
        v.agree = v.explained = false;
    for (unsigned r = 0; r < SSR_COUNT; r++) {
        u32 bits = register_difference(&j, r);

        v.agree &= !bits;
        v.explained &= !explain_register(&j, r, bits);
    }
    for (u32 i = 0; i < o->diff_count; i++) {
        v.agree = false;
        v.explained &= !explain_memory(&j, &o->diff[i]);
    }
    if (!v.explained && all != DEVIATION_NONE) {
        v.explained = true;
        j.used |= BIT(all);
    }
    v.deviations = j.used;
    return v;
}

/* -- words -- */

static const char *register_name(enum singlestep_cpu cpu, unsigned r)
{
    static const char *const names[SSR_COUNT] = {"cr0", "cr3", "eax", "ebx",    "ecx", "edx", "esi",
                                                 "edi", "ebp", "esp", "cs",     "ds",  "es",  "fs",
                                                 "gs",  "ss",  "eip", "eflags", "dr6", "dr7"};

    return names[r] + (cpu != SINGLESTEP_80386 && names[r][0] == 'e' && r != SSR_ES);
}

void singlestep_explain(FILE *out, enum singlestep_cpu cpu, const struct singlestep_test *t,
                        const struct singlestep_outcome *o)
{
    struct trial j = begin(cpu, t, o);

    fprintf(out, "test %u: %s (", t->index, t->name);
    for (u32 i = 0; i < t->byte_count; i++)
        fprintf(out, "%s%02x", i ? " " : "", t->bytes[i]);
    fputs(")\n  in: ", out);
    for (unsigned r = 0; r < SSR_COUNT; r++)
        if (t->initial.present >> r & 1)
            fprintf(out, " %s=%x", register_name(cpu, r), t->initial.value[r]);
    fputc('\n', out);
    for (unsigned r = 0; r < SSR_COUNT; r++)
        if (explain_register(&j, r, register_difference(&j, r)))
            fprintf(out, "  %-9s %s %x, lockstep %x\n", register_name(cpu, r),
                    singlestep_cpu_name(cpu), expect(&j, r), o->value[r]);
    for (u32 i = 0; i < o->diff_count; i++)
        if (explain_memory(&j, &o->diff[i]))
            fprintf(out, "  [%06x]  %s %02x, lockstep %02x\n", o->diff[i].address,
                    singlestep_cpu_name(cpu), o->diff[i].expected, o->diff[i].actual);
    if (o->shutdown)
        fputs("  lockstep shut down (triple fault)\n", out);
    else if (o->vector >= 0)
        fprintf(out, "  lockstep went to the handler of vector %d\n", o->vector);
}
