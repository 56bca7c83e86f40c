/* SPDX-License-Identifier: MIT
 *
 * Branches, calls and returns, near and far, and everything that uses the stack: where it leads,
 * and what is on the stack. No target lies in the instruction's own bytes: a case must end.
 */
#include "frontend/conform/generate_internal.h"

enum control {
    CONTROL_NONE,
    CONTROL_RELATIVE,
    CONTROL_LOOP,     /* relative, with a counter */
    CONTROL_INDIRECT, /* near, register or memory */
    CONTROL_RETURN,   /* near */
    CONTROL_FAR_IMMEDIATE,
    CONTROL_FAR_MEMORY,
    CONTROL_FAR_RETURN,
    CONTROL_IRET,
    CONTROL_PUSH, /* stack, no target */
    CONTROL_POP,
    CONTROL_POP_SELECTOR,
    CONTROL_POPF,
    CONTROL_ENTER,
    CONTROL_LEAVE,
    CONTROL_INT,
};

static const u8 controls[INSN_COUNT] = {
    [INSN_JO_Jb... INSN_JNLE_Jz] = CONTROL_RELATIVE,
    [INSN_LOOPNE_Jb... INSN_JCXZ_Jb] = CONTROL_LOOP,
    [INSN_CALL_Jz... INSN_JMP_Jb] = CONTROL_RELATIVE,
    [INSN_CALL_Ev] = CONTROL_INDIRECT,
    [INSN_JMP_Ev] = CONTROL_INDIRECT,
    [INSN_RET_Iw] = CONTROL_RETURN,
    [INSN_RET] = CONTROL_RETURN,
    [INSN_CALL_Ap] = CONTROL_FAR_IMMEDIATE,
    [INSN_JMP_Ap] = CONTROL_FAR_IMMEDIATE,
    [INSN_CALL_Mp] = CONTROL_FAR_MEMORY,
    [INSN_JMP_Mp] = CONTROL_FAR_MEMORY,
    [INSN_RETF_Iw] = CONTROL_FAR_RETURN,
    [INSN_RETF] = CONTROL_FAR_RETURN,
    [INSN_IRET] = CONTROL_IRET,
    [INSN_PUSH_Zv] = CONTROL_PUSH,
    [INSN_POP_Zv] = CONTROL_POP,
    [INSN_PUSH_Iz... INSN_PUSH_Ev] = CONTROL_PUSH,
    [INSN_POP_Ev] = CONTROL_POP,
    [INSN_PUSHA] = CONTROL_PUSH,
    [INSN_POPA] = CONTROL_POP,
    [INSN_PUSHF] = CONTROL_PUSH,
    [INSN_POPF] = CONTROL_POPF,
    [INSN_ENTER_IwIb] = CONTROL_ENTER,
    [INSN_LEAVE] = CONTROL_LEAVE,
    [INSN_PUSH_ES] = CONTROL_PUSH,
    [INSN_POP_ES] = CONTROL_POP_SELECTOR,
    [INSN_PUSH_CS] = CONTROL_PUSH,
    [INSN_PUSH_SS] = CONTROL_PUSH,
    [INSN_POP_SS] = CONTROL_POP_SELECTOR,
    [INSN_PUSH_DS] = CONTROL_PUSH,
    [INSN_POP_DS] = CONTROL_POP_SELECTOR,
    [INSN_PUSH_FS] = CONTROL_PUSH,
    [INSN_POP_FS] = CONTROL_POP_SELECTOR,
    [INSN_PUSH_GS] = CONTROL_PUSH,
    [INSN_POP_GS] = CONTROL_POP_SELECTOR,
    [INSN_INT_Ib] = CONTROL_INT,
};

/* -- the stack -- */

/* A stack address as an offset in SS: inside, at an edge, across the pages, or outside. */
static u64 choose_stack(struct build *b)
{
    struct rng *r = &b->rng;
    u64 base = segment_base(&b->c->in, b->form->mode, SEG_SS);
    u64 at = ARENA_STACK + 256 + 8 * rng_below(r, (ARENA_STACK_SIZE - 512) / 8);

    switch (rng_below(r, 32)) {
    case 0: at = ARENA_STACK + rng_below(r, 16); break;
    case 1: at = ARENA_STACK + ARENA_STACK_SIZE - rng_below(r, 16); break;
    case 2: at = ARENA_STACK + 4096 - 16 + rng_below(r, 32); break;
    case 3:
    case 4: at += rng_below(r, 8); break;
    case 5:
        if (b->form->mode == MODE_64)
            at = BIT(47) - rng_below(r, 16);
        break;
    default: break;
    }
    return at - base;
}

static unsigned stack_width(const struct build *b)
{
    if (b->form->mode == MODE_64)
        return 8;
    return b->c->in.selector[SEG_SS] == SEL_FLAT ? 4 : 2;
}

static u64 stack_linear(const struct build *b, unsigned reg)
{
    return segment_base(&b->c->in, b->form->mode, SEG_SS) +
           (b->c->in.gpr[reg] & size_mask(stack_width(b)));
}

/* -- targets -- */

static bool in_instruction(const struct build *b, u64 linear)
{
    return linear - b->c->code_address < b->i.len;
}

bool target_in_instruction(const struct build *b, u64 offset)
{
    u64 linear = segment_base(&b->c->in, b->form->mode, SEG_CS) + offset;

    return in_instruction(b, b->form->mode == MODE_64 ? linear : (u32)linear);
}

static u64 any_code_address(struct build *b)
{
    u64 at;

    do
        at = ARENA_CODE + rng_below(&b->rng, ARENA_CODE_SIZE);
    while (in_instruction(b, at));
    return at;
}

/* A linear address to jump to: code for the most part. */
static u64 target_linear(struct build *b)
{
    struct rng *r = &b->rng;

    switch (rng_below(r, 24)) {
    case 0: return ARENA_DATA + rng_below(r, ARENA_DATA_SIZE);     /* not executable */
    case 1: return ARENA_CODE + ARENA_CODE_SIZE + rng_below(r, 2); /* unmapped */
    case 2: return b->form->mode == MODE_64 ? BIT(47) + rng_below(r, 2) - 1 : ARENA_RO;
    case 3: return b->form->mode == MODE_64 ? rng_next(r) | BIT(62) : ARENA_STACK;
    default: return any_code_address(b);
    }
}

u64 value_target(struct build *b)
{
    return target_linear(b) - segment_base(&b->c->in, b->form->mode, SEG_CS);
}

static void set_relative(struct build *b)
{
    unsigned size = b->enc.imm_size, osz = b->i.osz;
    u64 next = b->c->in.rip + b->i.len, target;

    for (unsigned n = 0;; n++) {
        u64 imm = size == 1 ? sign_extend(rng_next(&b->rng) & 0xff, 1)
                            : sign_extend((value_target(b) - next) & size_mask(size), size);

        target = (next + imm) & size_mask(osz);
        store_le(b->enc.bytes + b->enc.imm_at, imm, size);
        /* Both where it is taken with the operand size and with the size of the mode. */
        if (!target_in_instruction(b, target) && !target_in_instruction(b, next + imm))
            return;
        if (n == 100 && size > 1) {
            store_le(b->enc.bytes + b->enc.imm_at, 0, size);
            return;
        }
    }
}

/* Code selectors for far transfers, wrong ones at times, with an offset that suits. */
static u16 far_target(struct build *b, u64 *offset)
{
    static const u16 codes[] = {SEL_CS64,   SEL_CS32,    SEL_CODE16,
                                SEL_CODE32, SEL_CODE_XO, SEL_CODE_CONF};
    u16 selector = rng_one_in(&b->rng, 4) ? value_selector(&b->rng)
                                          : codes[rng_below(&b->rng, ARRAY_SIZE(codes))];
    bool is_call = b->i.id == INSN_CALL_Ap || b->i.id == INSN_CALL_Mp;
    bool flat;

    /* A far CALL from a 16-bit stack into 64-bit code: Zen 4 never gets out of its microcode's page
     * fault (the host's kernel sees the same fault again and again). */
    if (is_call && (selector | 3) == SEL_CS64 && b->form->mode != MODE_64)
        selector = SEL_CS32;
    flat = (selector | 3) == SEL_CS64 || (selector | 3) == SEL_CS32;

    *offset = target_linear(b) - (flat ? 0 : ARENA_CODE);
    /* An operand size of 16 bits cuts the offset: it must not lead back. */
    if (in_instruction(b, (*offset & 0xffff) + (flat ? 0 : ARENA_CODE)))
        *offset = 0xfff0;
    return selector;
}

/* -- contents of the stack -- */

struct stack_image {
    u8 bytes[64];
    unsigned size;
};

static void stack_push_up(struct stack_image *image, u64 value, unsigned size)
{
    store_le(image->bytes + image->size, value, size);
    image->size += size;
}

/* Flags for POPF and IRET: anything but TF, which would end the case behind the next
 * instruction. */
static u64 flags_image(struct build *b)
{
    u64 nt = rng_one_in(&b->rng, 8) ? F_NT : 0;

    return (rng_next(&b->rng) & F_ALL & ~(u64)(F_TF | F_NT)) | nt | F_1;
}

static void fill_iret(struct build *b, struct stack_image *image)
{
    u64 offset;
    unsigned osz = b->i.osz;
    u16 selector = far_target(b, &offset);
    static const u16 stacks[] = {SEL_FLAT, SEL_STACK16, SEL_DATA16};

    stack_push_up(image, offset, osz);
    stack_push_up(image, selector, osz);
    stack_push_up(image, flags_image(b), osz);
    stack_push_up(image, ARENA_STACK + rng_below(&b->rng, ARENA_STACK_SIZE), osz);
    stack_push_up(image,
                  rng_one_in(&b->rng, 6) ? value_selector(&b->rng)
                                         : stacks[rng_below(&b->rng, ARRAY_SIZE(stacks))],
                  osz);
}

static void fill_stack(struct build *b, enum control control, struct stack_image *image)
{
    static const u16 writable[] = {SEL_FLAT, SEL_DATA16, SEL_STACK16};
    u64 offset = 0;
    u16 selector;

    switch (control) {
    case CONTROL_RETURN:
        offset = value_target(b);
        if (target_in_instruction(b, offset & 0xffff))
            offset = 0xfff0;
        stack_push_up(image, offset, b->i.osz);
        break;
    case CONTROL_FAR_RETURN:
        selector = far_target(b, &offset);
        stack_push_up(image, offset, b->i.osz);
        stack_push_up(image, selector, b->i.osz);
        break;
    case CONTROL_IRET: fill_iret(b, image); break;
    case CONTROL_POPF: stack_push_up(image, flags_image(b), 8); break;
    case CONTROL_POP_SELECTOR:
        selector = rng_one_in(&b->rng, 2) ? value_selector(&b->rng)
                                          : writable[rng_below(&b->rng, ARRAY_SIZE(writable))];
        stack_push_up(image, selector, 8);
        break;
    default:
        for (unsigned n = 0; n < 8; n++)
            stack_push_up(image, value_int(&b->rng), 8);
        break;
    }
}

static void patch_stack(struct build *b, enum control control, unsigned reg)
{
    struct stack_image image = {.size = 0};

    fill_stack(b, control, &image);
    case_patch(b->c, stack_linear(b, reg), image.bytes, image.size);
}

/* -- the two steps -- */

static void set_counter(struct build *b)
{
    static const u8 counts[] = {0, 1, 2, 255};

    if (!rng_one_in(&b->rng, 4))
        case_set_gpr(b, RCX, counts[rng_below(&b->rng, 4)], b->i.asz);
}

static void set_enter(struct build *b)
{
    u8 *imm = b->enc.bytes + b->enc.imm_at;

    case_set_gpr(b, RBP, choose_stack(b), stack_width(b));
    if (!rng_one_in(&b->rng, 8))
        store_le(imm, rng_below(&b->rng, 512), 2);
    imm[2] = (u8)(rng_one_in(&b->rng, 3) ? rng_below(&b->rng, 256) : rng_below(&b->rng, 3));
}

static void set_far_immediate(struct build *b)
{
    u64 offset;
    u16 selector = far_target(b, &offset);

    store_le(b->enc.bytes + b->enc.imm_at, offset, b->i.osz);
    store_le(b->enc.bytes + b->enc.imm_at + b->i.osz, selector, 2);
}

bool setup_control_registers(struct build *b)
{
    enum control control = (enum control)controls[b->i.id];

    if (control == CONTROL_NONE)
        return false;
    if (control >= CONTROL_INDIRECT)
        case_set_gpr(b, RSP, choose_stack(b), stack_width(b));
    switch (control) {
    case CONTROL_LOOP:
        set_counter(b);
        set_relative(b);
        break;
    case CONTROL_RELATIVE:
        if (b->i.id == INSN_CALL_Jz)
            case_set_gpr(b, RSP, choose_stack(b), stack_width(b));
        set_relative(b);
        break;
    case CONTROL_INDIRECT:
        if (!(b->i.flags & I_MEM)) {
            u64 target = value_target(b);

            case_set_gpr(b, b->i.rm, target_in_instruction(b, target & 0xffff) ? 0xfff0 : target,
                         b->i.osz);
        }
        break;
    case CONTROL_FAR_IMMEDIATE: set_far_immediate(b); break;
    case CONTROL_RETURN:
    case CONTROL_FAR_RETURN:
        if (b->enc.imm_size && !rng_one_in(&b->rng, 4))
            store_le(b->enc.bytes + b->enc.imm_at, 2 * rng_below(&b->rng, 64), 2);
        break;
    case CONTROL_ENTER: set_enter(b); break;
    case CONTROL_LEAVE: case_set_gpr(b, RBP, choose_stack(b), stack_width(b)); break;
    case CONTROL_INT:
        if (rng_one_in(&b->rng, 4)) /* the two gates that user code may call: #BP and #OF */
            b->enc.bytes[b->enc.imm_at] = (u8)(3 + rng_below(&b->rng, 2));
        if (b->enc.bytes[b->enc.imm_at] == 0x80) /* Linux's 32-bit system call */
            b->enc.bytes[b->enc.imm_at] = 0x81;
        break;
    default: break;
    }
    return true;
}

static void patch_far_target(struct build *b)
{
    u64 offset;
    u16 selector = far_target(b, &offset);
    u8 bytes[10];

    store_le(bytes, offset, 8);
    store_le(bytes + b->i.osz, selector, 2);
    case_patch(b->c, b->linear, bytes, b->i.osz + 2u);
}

static void patch_near_target(struct build *b)
{
    u64 target = value_target(b);

    if (target_in_instruction(b, target & 0xffff))
        target = 0xfff0;
    case_patch(b->c, b->linear, (const u8 *)&target, b->i.osz);
}

bool setup_control_memory(struct build *b)
{
    enum control control = (enum control)controls[b->i.id];

    switch (control) {
    case CONTROL_NONE: return false;
    case CONTROL_INDIRECT:
        if (b->has_memory)
            patch_near_target(b);
        return true;
    case CONTROL_FAR_MEMORY: patch_far_target(b); return true;
    case CONTROL_PUSH: return !b->has_memory; /* the operand gets a value as any other */
    case CONTROL_RETURN:
    case CONTROL_FAR_RETURN:
    case CONTROL_IRET:
    case CONTROL_POP:
    case CONTROL_POP_SELECTOR:
    case CONTROL_POPF: patch_stack(b, control, RSP); return true;
    case CONTROL_LEAVE:
    case CONTROL_ENTER: patch_stack(b, control, RBP); return true;
    default: return true;
    }
}
