/* SPDX-License-Identifier: MIT
 *
 * Every integer row of the table that works on registers and ModRM memory, in every operand size,
 * with boundary and random values: result, all flags and memory against the host processor.
 */
#include <check.h>

#include "mem/base/bits.h"
#include "tests/cpu/oracle.h"
#include "tests/suite.h"

enum { ROUNDS = 400 };

/* One encoding of a row. */
struct form {
    const struct insn_row *row;
    unsigned osz;
    bool memory;
};

static struct oracle oracle;

static bool operand_is(const struct insn_row *row, unsigned n, enum operand_kind kind)
{
    return row->operands[n] == kind;
}

static bool has_operand(const struct insn_row *row, enum operand_kind kind)
{
    for (unsigned n = 0; n < 4; n++) {
        if (row->operands[n] == kind)
            return true;
    }
    return false;
}

static bool needs_modrm(const struct insn_row *row)
{
    static const u8 kinds[] = {OPND_Eb, OPND_Ew, OPND_Ed,  OPND_Ev, OPND_Ey,
                               OPND_M,  OPND_Mq, OPND_Mdq, OPND_Mv, OPND_My};

    for (unsigned n = 0; n < ARRAY_SIZE(kinds); n++) {
        if (has_operand(row, kinds[n]))
            return true;
    }
    return false;
}

/* Rows that this test can encode: general registers, ModRM, immediates; no stack, strings, jumps.
 */
static bool testable(const struct insn_row *row)
{
    static const u8 kinds[] = {OPND_None, OPND_Eb,  OPND_Ew, OPND_Ed,  OPND_Ev, OPND_Ey, OPND_Gb,
                               OPND_Gv,   OPND_Gy,  OPND_Ib, OPND_Ibs, OPND_Iz, OPND_Iv, OPND_M,
                               OPND_Mq,   OPND_Mdq, OPND_Mv, OPND_My,  OPND_By, OPND_AL, OPND_CL,
                               OPND_rAX,  OPND_One, OPND_Zb, OPND_Zv};

    if (row->key.mode == MODE_NOT64 || row->key.space == SPACE_EVEX || row->size == SZ_D64 ||
        row->size == SZ_F64 || (row->jit != CLASS_COPY && row->jit != CLASS_MEM))
        return false;
    if (!strncmp(row->name, "XLAT", 4) || !strncmp(row->name, "PREFETCH", 8) ||
        strstr(row->name, "FENCE") || (row->traits & (T_REP | T_FPU | T_SSE | T_NODS)))
        return false;
    for (unsigned n = 0; n < 4; n++) {
        bool known = false;

        for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++)
            known |= row->operands[n] == kinds[k];
        if (!known)
            return false;
    }
    return oracle_host_has(row->feature);
}

/* A register that the host stub can spare: not RSP, not RDI. */
static unsigned free_register(void)
{
    unsigned r;

    do
        r = oracle_random(&oracle) % 16;
    while (r == RSP || r == RDI);
    return r;
}

static u8 *put_immediates(u8 *p, const struct form *f)
{
    u64 value = oracle_value(&oracle);

    for (unsigned n = 0; n < 4; n++) {
        unsigned size = 0;

        if (operand_is(f->row, n, OPND_Ib) || operand_is(f->row, n, OPND_Ibs))
            size = 1;
        if (operand_is(f->row, n, OPND_Iz))
            size = f->osz == 2 ? 2 : 4;
        if (operand_is(f->row, n, OPND_Iv))
            size = f->osz;
        memcpy(p, &value, size);
        p += size;
    }
    return p;
}

/* ModRM with a register or [RDI+0], whose displacement is always 32 bits wide. */
static u8 *put_modrm(u8 *p, const struct form *f, unsigned reg, unsigned rm)
{
    const struct insn_key *key = &f->row->key;

    reg = key->reg ? key->reg - 1u : reg & 7;
    if (!f->memory) {
        *p++ = (u8)(0xc0 | reg << 3 | (rm & 7));
        return p;
    }
    *p++ = (u8)(0x80 | reg << 3 | RDI);
    memset(p, 0, 4);
    return p + 4;
}

static unsigned encode_vex(const struct form *f, u8 *bytes, unsigned reg, unsigned rm,
                           unsigned vvvv)
{
    static const u8 pp[] = {[PFX_ANY] = 0, [PFX_NP] = 0, [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3};
    const struct insn_key *key = &f->row->key;
    u8 *p = bytes;

    *p++ = 0xc4;
    *p++ = (u8)((reg & 8 ? 0 : 0x80) | 0x40 | (rm & 8 && !f->memory ? 0 : 0x20) | key->map);
    *p++ = (u8)((f->osz == 8 ? 0x80 : 0) | (~vvvv & 15) << 3 | pp[key->prefix]);
    *p++ = key->opcode;
    p = put_modrm(p, f, reg, rm);
    return (unsigned)(put_immediates(p, f) - bytes);
}

/* A random encoding of the form; reg and rm come back as the registers in the fields. */
static unsigned encode(const struct form *f, u8 *bytes, unsigned *reg)
{
    static const u8 prefixes[] = {[PFX_66] = 0x66, [PFX_F3] = 0xf3, [PFX_F2] = 0xf2};
    const struct insn_key *key = &f->row->key;
    unsigned rm = free_register(), rex;
    bool high = (f->row->traits & T_BYTEREG) && oracle_random(&oracle) % 4 == 0;
    u8 *p = bytes;

    *reg = free_register();
    if (key->plus_r && rm == RAX)
        rm = RCX; /* XCHG rAX,rAX is NOP */
    if (f->row == &insn_rows[INSN_NOP])
        rm = RAX;
    if (key->space == SPACE_VEX)
        return encode_vex(f, bytes, *reg, rm, has_operand(f->row, OPND_By) ? free_register() : 0);
    if (f->memory && (f->row->traits & T_LOCK) && oracle_random(&oracle) % 2)
        *p++ = 0xf0;
    if (key->prefix == PFX_66 || key->prefix == PFX_F3 || key->prefix == PFX_F2)
        *p++ = prefixes[key->prefix];
    if (f->osz == 2)
        *p++ = 0x66;
    rex = 0x40 | (f->osz == 8 ? 8 : 0) | (*reg & 8 ? 4 : 0) | (rm & 8 && !f->memory ? 1 : 0);
    if (high && f->osz != 8) { /* no REX: 4 and 7 are AH and BH */
        static const u8 any[] = {0, 1, 2, 3, 4, 5, 6, 7};

        *reg = any[oracle_random(&oracle) % 8];
        rm = any[oracle_random(&oracle) % 8];
        if (!has_operand(f->row, OPND_Eb))
            rm = RBX;
        if (!has_operand(f->row, OPND_Gb))
            *reg = RCX;
    } else {
        *p++ = (u8)rex;
    }
    if (key->map != MAP_1B)
        *p++ = 0x0f;
    if (key->map == MAP_0F38 || key->map == MAP_0F3A)
        *p++ = key->map == MAP_0F38 ? 0x38 : 0x3a;
    *p++ = (u8)(key->opcode + (key->plus_r ? rm & 7 : 0));
    if (needs_modrm(f->row))
        p = put_modrm(p, f, *reg, rm);
    return (unsigned)(put_immediates(p, f) - bytes);
}

static void randomize(struct oracle_state *s, const struct form *f, unsigned reg)
{
    for (unsigned r = 0; r < 16; r++)
        s->gpr[r] = oracle_value(&oracle);
    s->gpr[RSP] = MACHINE_STACK;
    s->gpr[RDI] = 0;
    for (unsigned n = 0; n < ORACLE_WINDOW; n += 8)
        store_le(s->window + n, oracle_value(&oracle), 8);
    s->rflags = F_1 | F_IF | (oracle_random(&oracle) & F_OSZAPC);
    if (f->memory && f->row->name[0] == 'B' && f->row->name[1] == 'T' &&
        has_operand(f->row, OPND_Gv))
        s->gpr[reg] = oracle_random(&oracle) % 4096 - 2048; /* a bit number inside the window */
    if (!strncmp(f->row->name, "CMPXCHG", 7) && oracle_random(&oracle) % 2) {
        u64 rax = s->gpr[RAX], rdx = s->gpr[RDX];
        bool pair = !strncmp(f->row->name, "CMPXCHG8B", 9);

        store_le(s->window + ORACLE_OPERAND, pair ? rdx << 32 | (u32)rax : rax, 8);
        store_le(s->window + ORACLE_OPERAND + 8, rdx, 8);
    }
}

/* The manuals leave these to the processor, beyond flags. */
static bool undefined_result(const struct form *f)
{
    return f->osz == 2 && (!strncmp(f->row->name, "SHLD", 4) || !strncmp(f->row->name, "SHRD", 4) ||
                           !strncmp(f->row->name, "BSWAP", 5));
}

static void describe(const struct form *f, const u8 *bytes, unsigned size,
                     const struct oracle_state *before, const struct oracle_state *host,
                     const struct oracle_state *guest)
{
    fprintf(stderr, "%s osz %u %s:", f->row->name, f->osz, f->memory ? "memory" : "register");
    for (unsigned n = 0; n < size; n++)
        fprintf(stderr, " %02x", bytes[n]);
    fprintf(stderr, "\nflags %04lx -> host %04lx guest %04lx\n", before->rflags, host->rflags,
            guest->rflags);
    for (unsigned r = 0; r < 16; r++)
        fprintf(stderr, "r%-2u %016lx -> host %016lx guest %016lx%s\n", r, before->gpr[r],
                host->gpr[r], guest->gpr[r], host->gpr[r] != guest->gpr[r] ? " <-" : "");
}

/* Flags that the host is a judge of: undefined ones only if it is of the family that is followed,
 * and not where BSF and BSR keep them, as some models of it do. */
static u64 judged_flags(const struct form *f, const struct oracle_state *before,
                        const struct oracle_state *host)
{
    const u64 undefined = f->row->flags_undefined;
    const bool scan = !strncmp(f->row->name, "BSF", 3) || !strncmp(f->row->name, "BSR", 3);
    const bool kept = !((host->rflags ^ before->rflags) & undefined);

    return (F_OSZAPC | F_DF) & (oracle_family_19h() && !(scan && kept) ? ~0ull : ~undefined);
}

static void try_form(const struct form *f)
{
    static struct oracle_state before, host, guest;
    struct insn i;
    unsigned reg, size;
    u8 bytes[16];
    int number;
    bool same;

    for (unsigned round = 0; round < ROUNDS; round++) {
        size = encode(f, bytes, &reg);
        randomize(&before, f, reg);
        host = guest = before;
        number = oracle_host(&oracle, bytes, size, &host);
        ck_assert_msg(number == 0 || number == SIGFPE, "%s: signal %d", f->row->name, number);
        same = oracle_guest(&oracle, bytes, size, &guest, &i) == !number;
        ck_assert_msg(&insn_rows[i.id] == f->row, "%s decodes as %s", f->row->name,
                      insn_rows[i.id].name);
        if (number) {
            ck_assert_uint_eq(oracle.m.v->fault.vector, VEC_DE);
            host = before;
        }
        same &= !memcmp(host.gpr, guest.gpr, sizeof(host.gpr)) &&
                !memcmp(host.window, guest.window, ORACLE_WINDOW) &&
                !((host.rflags ^ guest.rflags) & judged_flags(f, &before, &host));
        if (!same)
            describe(f, bytes, size, &before, &host, &guest);
        ck_assert_msg(same, "%s differs from the host", f->row->name);
    }
}

static void try_row(const struct insn_row *row)
{
    for (unsigned osz = row->size == SZ_BYTE ? 1 : 2; osz <= 8; osz *= 2) {
        if (row->size == SZ_BYTE && osz > 1)
            break;
        if (row->size == SZ_Y && osz == 2)
            continue;
        if ((row->key.w == W_0 && osz == 8) || (row->key.w == W_1 && osz != 8))
            continue;
        for (unsigned memory = 0; memory < 2; memory++) {
            struct form f = {row, osz, memory};

            if (memory ? !needs_modrm(row) || row->key.mod == MOD_REG : row->key.mod == MOD_MEM)
                continue;
            if (oracle_family_19h() || !undefined_result(&f))
                try_form(&f);
        }
    }
}

START_TEST(every_form_as_on_the_host)
{
    unsigned rows = 0;

    oracle_create(&oracle);
    for (unsigned id = 1; id < INSN_COUNT; id++) {
        if (testable(&insn_rows[id])) {
            try_row(&insn_rows[id]);
            rows++;
        }
    }
    oracle_destroy(&oracle);
    ck_assert_uint_ge(rows, 200);
    printf("%u rows compared with the host\n", rows);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/alu");
    TCase *tests = tcase_create("host");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_form_as_on_the_host);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
