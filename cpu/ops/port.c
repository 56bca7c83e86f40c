/* SPDX-License-Identifier: MIT
 *
 * Port I/O: IN, OUT, INS, OUTS and the permission to use them (SDM 1 19.5; SDM 2).
 *
 * Permission is checked before anything else, and INS makes sure of its destination before it reads
 * the port, as a read may change a device.
 */
#include "cpu/control.h"
#include "cpu/hooks.h"
#include "cpu/ops/string.h"
#include "cpu/segment.h"

/* The I/O permission bitmap of a 32- or 64-bit TSS. Two bytes are always read, so that a port range
 * that crosses a byte is seen (SDM 1 19.5.2). */
static bool io_bitmap_permits(struct vcpu *v, u16 port, unsigned size)
{
    u64 bits;
    u32 map, offset;

    if (!tss_io_map(v, &map))
        return false;
    offset = map + port / 8;
    if (offset + 1 > v->tr.limit)
        return raise_gp(v, 0);
    if (!tss_read(v, offset, 2, &bits))
        return false;
    return !(bits >> port % 8 & (BIT(size) - 1)) || raise_gp(v, 0);
}

bool io_permitted(struct vcpu *v, u16 port, unsigned size)
{
    if (vcpu_real_mode(v) || (!vcpu_v86(v) && v->cpl <= vcpu_iopl(v)))
        return true;
    return io_bitmap_permits(v, port, size);
}

/* There is no 64-bit port access. */
static unsigned port_size(const struct insn *i)
{
    return i->osz == 8 ? 4 : i->osz;
}

static u64 read_port(struct vcpu *v, u16 port, unsigned size)
{
    u64 value = pio_read(v->platform->pio, port, size);

    if (unlikely(v->hooks))
        hook_port(v, port, size, false, value);
    return value;
}

static void write_port(struct vcpu *v, u16 port, u64 value, unsigned size)
{
    pio_write(v->platform->pio, port, value, size);
    if (unlikely(v->hooks))
        hook_port(v, port, size, true, value);
}

static bool port_in(struct vcpu *v, const struct insn *i, u16 port)
{
    unsigned size = port_size(i);

    if (!io_permitted(v, port, size))
        return false;
    reg_write(v, RAX, size, read_port(v, port, size));
    if (v->careful)
        debug_match_io(v, port, size);
    return true;
}

static bool port_out(struct vcpu *v, const struct insn *i, u16 port)
{
    unsigned size = port_size(i);

    if (!io_permitted(v, port, size))
        return false;
    write_port(v, port, reg_read(v, RAX, size), size);
    if (v->careful)
        debug_match_io(v, port, size);
    return true;
}

bool op_IN_ALIb(struct vcpu *v, const struct insn *i)
{
    return port_in(v, i, (u8)i->imm);
}

bool op_IN_eAXIb(struct vcpu *v, const struct insn *i)
{
    return port_in(v, i, (u8)i->imm);
}

bool op_IN_ALDX(struct vcpu *v, const struct insn *i)
{
    return port_in(v, i, (u16)v->gpr[RDX]);
}

bool op_IN_eAXDX(struct vcpu *v, const struct insn *i)
{
    return port_in(v, i, (u16)v->gpr[RDX]);
}

bool op_OUT_IbAL(struct vcpu *v, const struct insn *i)
{
    return port_out(v, i, (u8)i->imm);
}

bool op_OUT_IbeAX(struct vcpu *v, const struct insn *i)
{
    return port_out(v, i, (u8)i->imm);
}

bool op_OUT_DXAL(struct vcpu *v, const struct insn *i)
{
    return port_out(v, i, (u16)v->gpr[RDX]);
}

bool op_OUT_DXeAX(struct vcpu *v, const struct insn *i)
{
    return port_out(v, i, (u16)v->gpr[RDX]);
}

/* -- strings -- */

static bool ins_step(struct vcpu *v, const struct insn *i)
{
    unsigned size = port_size(i);
    u16 port = (u16)v->gpr[RDX];
    struct rmw m;
    u64 gla;

    if (!io_permitted(v, port, size) ||
        !seg_to_linear(v, SEG_ES, string_offset(v, i, RDI), size, ACCESS_WRITE, &gla) ||
        !rmw_begin(v, gla, size, &m))
        return false;
    rmw_write(v, &m, read_port(v, port, size));
    if (v->careful)
        debug_match_io(v, port, size);
    string_advance(v, i, RDI, 1, size);
    return true;
}

static bool outs_step(struct vcpu *v, const struct insn *i)
{
    unsigned size = port_size(i);
    u16 port = (u16)v->gpr[RDX];
    u64 value;

    if (!io_permitted(v, port, size) ||
        !seg_read(v, (enum seg)i->seg, string_offset(v, i, RSI), size, &value))
        return false;
    write_port(v, port, value, size);
    if (v->careful)
        debug_match_io(v, port, size);
    string_advance(v, i, RSI, 1, size);
    return true;
}

/* Permission is needed even if a count of zero leaves nothing to do (family 19h). */
static bool port_string(struct vcpu *v, const struct insn *i, string_step *step)
{
    return io_permitted(v, (u16)v->gpr[RDX], port_size(i)) && string_run(v, i, step, NULL, false);
}

bool op_INSb(struct vcpu *v, const struct insn *i)
{
    return port_string(v, i, ins_step);
}

bool op_INSz(struct vcpu *v, const struct insn *i)
{
    return port_string(v, i, ins_step);
}

bool op_OUTSb(struct vcpu *v, const struct insn *i)
{
    return port_string(v, i, outs_step);
}

bool op_OUTSz(struct vcpu *v, const struct insn *i)
{
    return port_string(v, i, outs_step);
}
