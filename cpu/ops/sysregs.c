/* SPDX-License-Identifier: MIT
 *
 * SGDT, SIDT, LGDT, LIDT, SMSW, LMSW, CLTS, MOV CRn, MOV DRn (SDM 2). The checks and effects of
 * control registers are in control.c.
 */
#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/ops/operand.h"
#include "cpu/segment.h"

/* LEn, GEn, Ln, Gn, GD, R/Wn, LENn; the rest reads as DR7_FIXED. */
#define DR7_DEFINED 0xffff23ffull

static bool require_cpl0(struct vcpu *v)
{
    return v->cpl == 0 || raise_gp(v, 0);
}

/* -- GDTR and IDTR -- */

/* 2 bytes of limit, then the base in 4 or, in 64-bit mode, 8 bytes. */
static bool table_store(struct vcpu *v, const struct insn *i, const struct table_reg *table)
{
    unsigned size = 2 + i->osz;
    u8 image[10];
    u64 gla;

    if (!umip_check(v) || !mem_linear(v, i, size, ACCESS_WRITE, &gla))
        return false;
    store_le(image, table->limit, 2);
    store_le(image + 2, table->base, 8);
    return lin_write_block(v, gla, image, size);
}

/* With a 16-bit operand the base has 24 bits (SDM 2 "LGDT"). */
static bool table_load(struct vcpu *v, const struct insn *i, struct table_reg *table)
{
    bool word = (v->code_size == 2) != ((i->flags & I_OSZ) != 0);
    u8 image[10] = {0};
    u64 gla, base;

    if (!require_cpl0(v) || !mem_linear(v, i, 2 + i->osz, ACCESS_READ, &gla) ||
        !lin_read_block(v, gla, image, 2 + i->osz))
        return false;
    base = load_le(image + 2, 8);
    if (i->osz == 8 && !vcpu_canonical_base(v, base))
        return raise_gp(v, 0);
    if (i->osz != 8 && word)
        base &= 0xffffff;
    *table = (struct table_reg){.base = base, .limit = (u16)load_le(image, 2)};
    return true;
}

bool op_SGDT_Ms(struct vcpu *v, const struct insn *i)
{
    return table_store(v, i, &v->gdtr);
}

bool op_SIDT_Ms(struct vcpu *v, const struct insn *i)
{
    return table_store(v, i, &v->idtr);
}

bool op_LGDT_Ms(struct vcpu *v, const struct insn *i)
{
    return table_load(v, i, &v->gdtr);
}

bool op_LIDT_Ms(struct vcpu *v, const struct insn *i)
{
    return table_load(v, i, &v->idtr);
}

/* -- CR0 in parts -- */

bool op_SMSW_EwRv(struct vcpu *v, const struct insn *i)
{
    return umip_check(v) && rm_write(v, i, i->flags & I_MEM ? 2 : i->osz, v->cr0);
}

/* Bits 3:0 only, and PE cannot be cleared. */
bool op_LMSW_Ew(struct vcpu *v, const struct insn *i)
{
    const u64 bits = CR0_MP | CR0_EM | CR0_TS;
    u64 value;

    if (!require_cpl0(v) || !rm_read(v, i, 2, &value))
        return false;
    return control_write_cr0(v, (v->cr0 & ~bits) | (value & (bits | CR0_PE)));
}

bool op_CLTS(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!require_cpl0(v))
        return false;
    v->cr0 &= ~(u64)CR0_TS;
    return true;
}

/* -- MOV CRn -- */

static bool control_exists(const struct insn *i)
{
    return i->reg == 0 || i->reg == 2 || i->reg == 3 || i->reg == 4 || i->reg == 8;
}

bool op_MOV_RnCn(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!control_exists(i))
        return raise_ud(v);
    if (!require_cpl0(v))
        return false;
    switch (i->reg) {
    case 0: value = v->cr0; break;
    case 2: value = v->cr2; break;
    case 3: value = v->cr3; break;
    case 4: value = v->cr4; break;
    default: value = v->platform->cr8_read(v->platform->opaque, v); break;
    }
    reg_write(v, i->rm, i->osz, value);
    return true;
}

bool op_MOV_CnRn(struct vcpu *v, const struct insn *i)
{
    u64 value = reg_read(v, i->rm, i->osz);

    if (!control_exists(i))
        return raise_ud(v);
    if (!require_cpl0(v))
        return false;
    switch (i->reg) {
    case 0: return control_write_cr0(v, value);
    case 2: v->cr2 = value; return true;
    case 3: return control_write_cr3(v, value);
    case 4: return control_write_cr4(v, value);
    default: break;
    }
    if (value > 15)
        return raise_gp(v, 0);
    v->platform->cr8_write(v->platform->opaque, v, value);
    return true;
}

/* -- MOV DRn -- */

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE is set (SDM 3B 17.2.2); DR7.GD makes any access a fault
 * (17.2.4). */
static bool debug_check(struct vcpu *v, const struct insn *i, unsigned *n)
{
    /* The privilege is checked before the register's number (family 19h). */
    if (!require_cpl0(v))
        return false;
    *n = i->reg;
    if (*n == 4 || *n == 5) {
        if (v->cr4 & CR4_DE)
            return raise_ud(v);
        *n += 2;
    }
    if (*n > 7)
        return raise_ud(v);
    return !(v->dr7 & DR7_GD) || raise_db(v, DR6_BD);
}

bool op_MOV_RnDn(struct vcpu *v, const struct insn *i)
{
    unsigned n;

    if (!debug_check(v, i, &n))
        return false;
    reg_write(v, i->rm, i->osz, n == 6 ? v->dr6 : n == 7 ? v->dr7 : v->dr[n]);
    return true;
}

bool op_MOV_DnRn(struct vcpu *v, const struct insn *i)
{
    u64 value = reg_read(v, i->rm, i->osz);
    unsigned n;

    if (!debug_check(v, i, &n))
        return false;
    if (n >= 6 && value >> 32)
        return raise_gp(v, 0);
    if (n == 6)
        v->dr6 = (value & (DR6_B | DR6_BD | DR6_BS | DR6_BT)) | DR6_FIXED;
    else if (n == 7)
        v->dr7 = (value & DR7_DEFINED) | DR7_FIXED;
    else
        v->dr[n] = value;
    if (n != 6)
        debug_update(v);
    return true;
}
