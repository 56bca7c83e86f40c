/* SPDX-License-Identifier: MIT
 *
 * x87 control instructions: words, environment and state images in the 16- and 32-bit formats of
 * protected and of real or V86 mode (SDM 1 figures 8-9 to 8-12). They run on the saved state, not
 * on the host, and leave the instruction and data pointers alone unless they load them.
 */
#include "cpu/exception.h"
#include "cpu/fpu.h"
#include "cpu/ops/operand.h"

enum { ENV_WORDS = 7, REGISTERS_BYTES = 8 * ST_BYTES };

/* Real and V86 mode hold 20- or 32-bit linear addresses and the opcode instead of selectors. */
static bool real_format(const struct vcpu *v)
{
    return vcpu_real_mode(v) || vcpu_v86(v);
}

static unsigned word_bytes(const struct insn *i)
{
    return i->osz == 2 ? 2 : 4;
}

/* The seven fields before they are cut to the word size; 32-bit fields above 16 bits are kept. */
static void environment_fields(const struct vcpu *v, unsigned size, u32 field[ENV_WORDS])
{
    const struct fpu *fpu = &v->fpu;
    const u32 high = 0xffff0000;
    u32 fop = (u32)load_le(fpu->fx + FX_FOP, 2);
    u32 fip = (u32)load_le(fpu->fx + FX_FIP, 4), fdp = (u32)load_le(fpu->fx + FX_FDP, 4);

    field[0] = high | fpu_fcw(fpu);
    field[1] = high | fpu_fsw(fpu);
    field[2] = high | fpu_full_tags(fpu);
    if (!real_format(v)) {
        field[3] = fip;
        field[4] = fpu->fcs | (size == 4 ? fop << 16 : 0);
        field[5] = fdp;
        field[6] = high | fpu->fds;
        return;
    }
    fip += (u32)fpu->fcs << 4;
    fdp += (u32)fpu->fds << 4;
    field[3] = high | (fip & 0xffff);
    field[4] = (fip >> 16 << 12) | fop;
    field[5] = high | (fdp & 0xffff);
    field[6] = fdp >> 16 << 12;
}

static void environment_put(const struct vcpu *v, unsigned size, u8 *image)
{
    u32 field[ENV_WORDS];

    environment_fields(v, size, field);
    for (unsigned n = 0; n < ENV_WORDS; n++)
        store_le(image + n * size, field[n], size);
}

/* Full tags to the abridged form: a bit for each register that is not empty. */
static u8 abridged_tags(unsigned tags)
{
    unsigned abridged = 0;

    for (unsigned r = 0; r < 8; r++)
        abridged |= (unsigned)((tags >> (2 * r) & 3) != 3) << r;
    return (u8)abridged;
}

static void environment_get(struct vcpu *v, unsigned size, const u8 *image)
{
    struct fpu *fpu = &v->fpu;
    u32 field[ENV_WORDS];
    u32 fop, fip, fdp;

    for (unsigned n = 0; n < ENV_WORDS; n++)
        field[n] = (u32)load_le(image + n * size, size);
    fpu_set_words(fpu, (u16)field[0], (u16)field[1]);
    fpu->fx[FX_FTW] = abridged_tags(field[2]);
    fpu->fcs = fpu->fds = 0;
    if (real_format(v)) {
        fip = (field[3] & 0xffff) | field[4] >> 12 << 16;
        fdp = (field[5] & 0xffff) | field[6] >> 12 << 16;
        fop = field[4];
    } else {
        fip = field[3];
        fdp = field[5];
        fpu->fcs = (u16)field[4];
        fpu->fds = (u16)field[6];
        /* The 16-bit protected format has no room for the opcode. */
        fop = size == 4 ? field[4] >> 16 : 0;
    }
    store_le(fpu->fx + FX_FOP, fop & 0x7ff, 2);
    store_le(fpu->fx + FX_FIP, fip, 8);
    store_le(fpu->fx + FX_FDP, fdp, 8);
    fpu_lower_ferr(v);
}

static bool probe(struct vcpu *v, u64 gla, unsigned size, enum access_kind kind)
{
    return kind == ACCESS_WRITE ? lin_probe_write(v, gla, size) : lin_probe_read(v, gla, size);
}

/* The address of an image that starts with words of some size. Faults come from the first word,
 * then from the last byte, then from the rest (family 19h). */
static bool image_linear(struct vcpu *v, const struct insn *i, unsigned word, unsigned size,
                         enum access_kind kind, u64 *gla)
{
    u64 end;

    return mem_linear(v, i, word, kind, gla) && lin_aligned(v, *gla, word) &&
           probe(v, *gla, word, kind) &&
           seg_to_linear(v, (enum seg)i->seg, mem_offset(v, i) + size - 1, 1, kind, &end) &&
           probe(v, end, 1, kind) && mem_linear(v, i, size, kind, gla);
}

bool op_FNSTENV_Menv(struct vcpu *v, const struct insn *i)
{
    unsigned size = word_bytes(i);
    u8 image[ENV_WORDS * 4];
    u64 gla;

    if (!fpu_check(v, i))
        return v->repeat;
    environment_put(v, size, image);
    if (!image_linear(v, i, size, ENV_WORDS * size, ACCESS_WRITE, &gla) ||
        !lin_write_block(v, gla, image, ENV_WORDS * size))
        return false;
    fpu_set_words(&v->fpu, fpu_fcw(&v->fpu) | FSW_EXCEPTIONS, fpu_fsw(&v->fpu));
    fpu_lower_ferr(v);
    return true;
}

bool op_FLDENV_Menv(struct vcpu *v, const struct insn *i)
{
    unsigned size = word_bytes(i);
    u8 image[ENV_WORDS * 4];
    u64 gla;

    if (!fpu_check(v, i))
        return v->repeat;
    if (!image_linear(v, i, size, ENV_WORDS * size, ACCESS_READ, &gla) ||
        !lin_read_block(v, gla, image, ENV_WORDS * size))
        return false;
    environment_get(v, size, image);
    return true;
}

bool op_FNSAVE_Mfpu(struct vcpu *v, const struct insn *i)
{
    unsigned size = word_bytes(i), env = ENV_WORDS * size;
    u8 image[ENV_WORDS * 4 + REGISTERS_BYTES];
    u64 gla;

    if (!fpu_check(v, i))
        return v->repeat;
    environment_put(v, size, image);
    for (unsigned n = 0; n < 8; n++)
        memcpy(image + env + n * ST_BYTES, v->fpu.fx + FX_ST + n * FX_SLOT, ST_BYTES);
    if (!image_linear(v, i, size, env + REGISTERS_BYTES, ACCESS_WRITE, &gla) ||
        !lin_write_block(v, gla, image, env + REGISTERS_BYTES))
        return false;
    fpu_init(&v->fpu);
    fpu_lower_ferr(v);
    return true;
}

bool op_FRSTOR_Mfpu(struct vcpu *v, const struct insn *i)
{
    unsigned size = word_bytes(i), env = ENV_WORDS * size;
    u8 image[ENV_WORDS * 4 + REGISTERS_BYTES];
    u64 gla;

    if (!fpu_check(v, i))
        return v->repeat;
    if (!image_linear(v, i, size, env + REGISTERS_BYTES, ACCESS_READ, &gla) ||
        !lin_read_block(v, gla, image, env + REGISTERS_BYTES))
        return false;
    environment_get(v, size, image);
    for (unsigned n = 0; n < 8; n++)
        memcpy(v->fpu.fx + FX_ST + n * FX_SLOT, image + env + n * ST_BYTES, ST_BYTES);
    return true;
}

bool op_FLDCW_Mw(struct vcpu *v, const struct insn *i)
{
    u64 fcw;

    if (!fpu_check(v, i))
        return v->repeat;
    if (!mem_read(v, i, 2, &fcw))
        return false;
    fpu_set_words(&v->fpu, (unsigned)fcw, fpu_fsw(&v->fpu));
    return true;
}

bool op_FNSTCW_Mw(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    return mem_write(v, i, 2, fpu_fcw(&v->fpu));
}

bool op_FNSTSW_Mw(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    return mem_write(v, i, 2, fpu_fsw(&v->fpu));
}

bool op_FNSTSW_AX(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    reg_write(v, RAX, 2, fpu_fsw(&v->fpu));
    return true;
}

bool op_FNCLEX(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    fpu_set_words(&v->fpu, fpu_fcw(&v->fpu),
                  fpu_fsw(&v->fpu) & ~(unsigned)(FSW_EXCEPTIONS | FSW_SF));
    fpu_lower_ferr(v);
    return true;
}

bool op_FNINIT(struct vcpu *v, const struct insn *i)
{
    if (!fpu_check(v, i))
        return v->repeat;
    fpu_init(&v->fpu);
    fpu_lower_ferr(v);
    return true;
}

/* Enable and disable interrupts (8087) and set protected mode (80287): accepted, nothing happens.
 */
bool op_FNENI(struct vcpu *v, const struct insn *i)
{
    return fpu_check(v, i) || v->repeat;
}

bool op_FNDISI(struct vcpu *v, const struct insn *i)
{
    return fpu_check(v, i) || v->repeat;
}

bool op_FNSETPM(struct vcpu *v, const struct insn *i)
{
    return fpu_check(v, i) || v->repeat;
}

/* Unlike the others it looks at TS only together with MP (SDM 3A table 2-2). */
bool op_FWAIT(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if ((v->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        return raise_nm(v);
    return fpu_check_pending(v) || v->repeat;
}
