/* SPDX-License-Identifier: MIT
 *
 * System instructions that user code and kernels execute all the time: time-stamp counter, FS and
 * GS bases, interrupt and direction flags, selectors. What they depend on (CPL, CR4) is looked at
 * when they run; if anything is unusual the interpreter's body decides.
 */
#include "cpu/access.h"
#include "jit/lower/lower.h"

static struct emit_mem seg_field(unsigned seg, size_t member)
{
    return emit_gs((i32)(offsetof(struct vcpu, seg) + seg * sizeof(struct segment) + member));
}
#define SEG_BASE_OF(seg)     seg_field(seg, offsetof(struct segment, base))
#define SEG_SELECTOR_OF(seg) seg_field(seg, offsetof(struct segment, selector))

/* The body's unless CPL is 0. */
static void need_cpl0(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem cpl = VCPU_AT(cpl);

    emit_op_mem(t->e, 0, 0x80, &cpl, 7); /* cmp byte, 0 */
    emit_value(t->e, 0, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
}

/* The body's if (bits of CR4 are set) != set. */
static void need_cr4(struct translator *t, const struct jit_insn *ji, u32 bits, bool set)
{
    struct emit_mem cr4 = VCPU_AT(cr4);

    emit_op_mem(t->e, 0, 0xf7, &cr4, 0); /* test dword, imm32 */
    emit_value(t->e, bits, 4);
    lower_give_up(t, ji, emit_jcc(t->e, set ? CC_E : CC_NE, 0));
}

/* RFLAGS with some bits cleared and set; arithmetic flags are not among them. */
static void change_rflags(struct translator *t, u32 clear, u32 set)
{
    struct emit_mem rflags = VCPU_AT(rflags);

    emit_op_mem(t->e, EMIT_W, 0x81, &rflags, clear ? 4 : 1); /* and, or */
    emit_value(t->e, clear ? ~clear : set, 4);
}

/* -- time -- */

/* The guest's counter is the host's at an offset (struct vcpu_platform), and read only once. */
static bool time_is_host(const struct translator *t)
{
    return t->v->platform->tsc_is_host && !t->j->check;
}

static bool lower_rdtsc(struct translator *t, const struct jit_insn *ji)
{
    const struct vcpu_platform *p = t->v->platform;
    struct emit_mem offset = VCPU_AT(tsc_offset), aux = VCPU_AT(tsc_aux);

    if (!time_is_host(t))
        return false;
    lower_save_flags(t);
    need_cr4(t, ji, CR4_TSD, false);
    if (ji->insn.id == INSN_RDTSCP)
        emit_bytes(t->e, "\x0f\xae\xe8", 3);      /* lfence: RDTSCP waits for what is before */
    emit_value(t->e, 0x310f, 2);                  /* rdtsc */
    emit_op_reg(t->e, EMIT_W, 0xc1, HOST_RDX, 4); /* shl rdx, 32 */
    emit_value(t->e, 32, 1);
    emit_op_reg(t->e, EMIT_W, 0x0b, HOST_RDX, HOST_RAX);
    emit_mov_imm(t->e, T0, 0 - p->tsc_host_start);
    emit_op_reg(t->e, EMIT_W, 0x03, T0, HOST_RAX);
    emit_op_mem(t->e, EMIT_W, 0x03, &offset, HOST_RAX);
    emit_mov(t->e, HOST_RDX, HOST_RAX);
    emit_op_reg(t->e, EMIT_W, 0xc1, HOST_RDX, 5); /* shr rdx, 32 */
    emit_value(t->e, 32, 1);
    emit_mov32(t->e, HOST_RAX, HOST_RAX);
    if (ji->insn.id == INSN_RDTSCP)
        emit_load(t->e, HOST_RCX, &aux, 4);
    return true;
}

/* -- FS and GS -- */

static void lower_swapgs(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem base = SEG_BASE_OF(SEG_GS), kernel = VCPU_AT(kernel_gs_base);

    lower_save_flags(t);
    need_cpl0(t, ji);
    emit_load(t->e, T0, &base, 8);
    emit_load(t->e, T1, &kernel, 8);
    emit_store(t->e, &base, T1, 8);
    emit_store(t->e, &kernel, T0, 8);
}

static void lower_read_base(struct translator *t, const struct jit_insn *ji, unsigned seg)
{
    unsigned to = host_of(ji->insn.rm) == HOST_NONE ? T0 : host_of(ji->insn.rm);
    struct emit_mem base = SEG_BASE_OF(seg);

    lower_save_flags(t);
    need_cr4(t, ji, CR4_FSGSBASE, true);
    emit_load(t->e, to, &base, ji->insn.osz);
    lower_put(t, ji->insn.rm, to);
}

static void lower_write_base(struct translator *t, const struct jit_insn *ji, unsigned seg)
{
    struct emit_mem base = SEG_BASE_OF(seg);
    unsigned from;

    lower_save_flags(t);
    need_cr4(t, ji, CR4_FSGSBASE, true);
    from = lower_use(t, ji->insn.rm, T0);
    if (ji->insn.osz == 8)
        emit_mov(t->e, T0, from);
    else
        emit_mov32(t->e, T0, from);
    emit_mov(t->e, T1, T0); /* canonical if sign-extending bit 47 changes nothing */
    emit_op_reg(t->e, EMIT_W, 0xc1, T1, 4);
    emit_value(t->e, 16, 1);
    emit_op_reg(t->e, EMIT_W, 0xc1, T1, 7);
    emit_value(t->e, 16, 1);
    emit_op_reg(t->e, EMIT_W, 0x3b, T0, T1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
    emit_store(t->e, &base, T0, 8);
}

/* -- selectors -- */

static bool can_store_selector(const struct translator *t, const struct insn *i)
{
    return ((i->modrm >> 3) & 7) < SEG_COUNT && (!(i->flags & I_MEM) || lower_can_address(t, i));
}

static bool lower_store_selector(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    struct emit_mem selector, at;
    struct mem_ref ref;
    unsigned seg = (i->modrm >> 3) & 7;

    if (!can_store_selector(t, i))
        return false;
    selector = SEG_SELECTOR_OF(seg);
    if (i->flags & I_MEM) {
        lower_ref(t, ji, 2, true, &ref);
        at = lower_access(t, ji, &ref);
        emit_load(t->e, T1, &selector, 2);
        emit_store(t->e, &at, T1, 2);
        return true;
    }
    emit_load(t->e, T1, &selector, 2);
    if (i->osz == 2) {
        unsigned to = lower_use(t, i->rm, T0);

        emit_op_reg(t->e, EMIT_66, 0x8b, T1, to);
        lower_put(t, i->rm, to);
    } else if (host_of(i->rm) == HOST_NONE) {
        lower_put(t, i->rm, T1);
    } else {
        emit_mov32(t->e, host_of(i->rm), T1);
    }
    return true;
}

/* -- the interrupt flag -- */

/* STI's shadow, which the state of -engine check would have to show between two instructions, is
 * the interpreter's there. */
bool lower_masks_interrupts(const struct jit *j, const struct insn *i)
{
    return (i->id == INSN_CLI || (i->id == INSN_STI && !j->check)) &&
           (j->options.optimisations & JIT_STI);
}

/* STI with nothing pending: no event is looked at inside a block before the next instruction is
 * done, which is all that its shadow asks for (SDM 2 "STI"). An event that this instruction raises
 * is new, whatever was pending when the block was entered. */
static void set_if(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem events = VCPU_AT(events), seen = VCPU_AT(jit.seen);

    emit_op_mem(t->e, 0, 0x83, &events, 7); /* cmp dword, 0 */
    emit_value(t->e, 0, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
    change_rflags(t, 0, F_IF);
    emit_store_imm(t->e, &seen, 0, 4);
}

void lower_mask_interrupts(struct translator *t, const struct jit_insn *ji)
{
    lower_save_flags(t);
    need_cpl0(t, ji);
    if (ji->insn.id == INSN_CLI)
        change_rflags(t, F_IF, 0);
    else
        set_if(t, ji);
}

/* -- which -- */

bool lower_system_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects)
{
    const struct insn *i = &ji->insn;

    switch (i->id) {
    case INSN_RDTSC:
    case INSN_RDTSCP:
        if (!time_is_host(t))
            return false;
        effects->written = (u32)(BIT(RAX) | BIT(RCX) | BIT(RDX));
        return true;
    case INSN_RDFSBASE_Ry:
    case INSN_RDGSBASE_Ry: effects->written = (u32)BIT(i->rm); return true;
    case INSN_MOV_EwRvSw:
        if (!can_store_selector(t, i))
            return false;
        if (i->flags & I_MEM)
            lower_ref(t, ji, 2, true, ref);
        else
            effects->written = (u32)BIT(i->rm);
        return true;
    case INSN_SWAPGS:
    case INSN_WRFSBASE_Ry:
    case INSN_WRGSBASE_Ry:
    case INSN_CLD:
    case INSN_STD: return true;
    case INSN_CLI:
    case INSN_STI: return ji->behind && lower_masks_interrupts(t->j, i);
    default: return false;
    }
}

bool lower_system(struct translator *t, const struct jit_insn *ji)
{
    switch (ji->insn.id) {
    case INSN_RDTSC:
    case INSN_RDTSCP: return lower_rdtsc(t, ji);
    case INSN_SWAPGS: lower_swapgs(t, ji); return true;
    case INSN_RDFSBASE_Ry: lower_read_base(t, ji, SEG_FS); return true;
    case INSN_RDGSBASE_Ry: lower_read_base(t, ji, SEG_GS); return true;
    case INSN_WRFSBASE_Ry: lower_write_base(t, ji, SEG_FS); return true;
    case INSN_WRGSBASE_Ry: lower_write_base(t, ji, SEG_GS); return true;
    case INSN_MOV_EwRvSw: return lower_store_selector(t, ji);
    case INSN_CLD:
    case INSN_STD:
        lower_save_flags(t);
        change_rflags(t, ji->insn.id == INSN_CLD ? F_DF : 0, ji->insn.id == INSN_STD ? F_DF : 0);
        return true;
    default: return false;
    }
}

/* The host's spin-wait hint, and the body, which yields, now and then. */
static void count_pause(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem left = VCPU_AT(pauses_left);

    emit_op_mem(t->e, 0, 0x83, &left, 5); /* sub dword, 1 */
    emit_value(t->e, 1, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_S, 0));
    emit_value(t->e, 0x90f3, 2); /* pause */
}

bool lower_system_end(struct translator *t, const struct jit_insn *ji)
{
    u64 mask = jit_rip_mask(t->block->mode);

    if (ji->insn.id != INSN_CLI && ji->insn.id != INSN_PAUSE)
        return false;
    if (ji->insn.id == INSN_CLI) {
        lower_mask_interrupts(t, ji);
    } else {
        lower_save_flags(t);
        count_pause(t, ji);
    }
    lower_exit_to(t, (ji->rip + ji->insn.len) & mask, ji->insn.id == INSN_PAUSE);
    return true;
}
