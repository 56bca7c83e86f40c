/* SPDX-License-Identifier: MIT
 *
 * Random sequences with structure: forward branches, bounded loops, calls and returns, indirect
 * jumps, stack use, strings, flags live across blocks, and a fault in the middle at times.
 *
 * They end because every backward branch is a loop's, whose counter nothing else writes: RBP, a
 * slot of the stack below which pushes and pops are balanced, or RCX around instructions that leave
 * it. Stores go to the data pages through RBX, which nothing writes either. Instructions that leave
 * flags undefined are followed by a compare, so that no undefined flag reaches a register.
 */
#include <string.h>

#include "frontend/conform/sequence.h"
#include "mem/base/log.h"

/* -- structures -- */

static void put_block(struct sequence *s, unsigned count);

/* Reads the flags that the block before it left. */
static void put_flag_user(struct sequence *s)
{
    unsigned reg = sequence_register(s), kind = rng_below(s->r, 3);

    if (kind == 0) { /* ADC, SBB */
        sequence_put(s, rng_one_in(s->r, 2) ? 0x11 : 0x19);
        sequence_put(s, 0xc0 | rng_below(s->r, 8) << 3 | reg);
        return;
    }
    sequence_put(s, 0x0f);
    sequence_put(s, (kind == 1 ? 0x90 : 0x40) | rng_below(s->r, 16));
    sequence_put(s, 0xc0 | (kind == 1 ? rng_below(s->r, 3) : reg << 3 | rng_below(s->r, 8)));
}

/* A branch over a block, by a condition or always. */
static void put_forward(struct sequence *s)
{
    unsigned from, size = sequence_word(s);
    bool always = rng_one_in(s->r, 8);

    if (always)
        sequence_put(s, 0xe9);
    else {
        sequence_put(s, 0x0f);
        sequence_put(s, 0x80 | rng_below(s->r, 16));
    }
    sequence_value(s, 0, size);
    from = s->at;
    put_block(s, 1 + rng_below(s->r, 6));
    store_le(s->code + from - size, s->at - from, size);
    put_flag_user(s);
}

/* A short loop that RCX counts: LOOP, LOOPE or LOOPNE. */
static void put_counted_loop(struct sequence *s)
{
    static const u8 opcodes[] = {0x01, 0x11, 0x29, 0x31};
    unsigned top;

    sequence_move(s, RCX, 1 + rng_below(s->r, 12));
    top = s->at;
    for (unsigned n = rng_below(s->r, 3); n < 3; n++) {
        sequence_put(s, opcodes[rng_below(s->r, ARRAY_SIZE(opcodes))]);
        sequence_put(s, 0xc0 | rng_below(s->r, 8) << 3 | (rng_one_in(s->r, 2) ? RAX : RSI));
    }
    sequence_put(s, 0xe0 + rng_below(s->r, 3));
    sequence_put(s, top - (s->at + 1));
}

/* JCXZ over a block. */
static void put_counter_branch(struct sequence *s)
{
    unsigned from;

    sequence_move(s, RCX, rng_below(s->r, 2));
    sequence_put(s, 0xe3);
    sequence_put(s, 0);
    from = s->at;
    while (!sequence_insn(s))
        ;
    s->code[from - 1] = (u8)(s->at - from);
}

static void put_branch_back(struct sequence *s, unsigned top)
{
    unsigned size = sequence_word(s);

    sequence_put(s, 0x0f);
    sequence_put(s, 0x85); /* JNZ */
    sequence_value(s, (u64)top - (s->at + size), size);
}

/* for (RBP = n; RBP; RBP--). */
static void put_loop(struct sequence *s)
{
    unsigned top;

    sequence_put(s, 0x50 | COUNTER);
    sequence_move(s, COUNTER, 1 + rng_below(s->r, 8));
    s->loops++;
    top = s->at;
    put_block(s, 1 + rng_below(s->r, 8));
    s->loops--;
    if (rng_one_in(s->r, 2)) { /* SUB, or DEC, which leaves CF */
        sequence_put(s, 0x83);
        sequence_put(s, 0xe8 | COUNTER);
        sequence_put(s, 1);
    } else {
        sequence_put(s, 0xff);
        sequence_put(s, 0xc8 | COUNTER);
    }
    put_branch_back(s, top);
    sequence_put(s, 0x58 | COUNTER);
    put_flag_user(s);
}

/* The counter is on the stack: DEC dword [RSP]. Not with 16-bit addresses. */
static void put_memory_loop(struct sequence *s)
{
    unsigned top;

    if (sequence_mode(s) == MODE_16) {
        put_loop(s);
        return;
    }
    sequence_put(s, 0x6a);
    sequence_put(s, 1 + rng_below(s->r, 6));
    s->loops++;
    top = s->at;
    put_block(s, 1 + rng_below(s->r, 6));
    s->loops--;
    sequence_put(s, 0xff);
    sequence_put(s, 0x0c);
    sequence_put(s, 0x24);
    put_branch_back(s, top);
    sequence_put(s, 0x58 | sequence_register(s));
}

/* CALL a subroutine that lies behind, JMP over it. */
static void put_call(struct sequence *s)
{
    unsigned size = sequence_word(s), call, over;

    sequence_put(s, 0xe8);
    sequence_value(s, 0, size);
    call = s->at;
    put_block(s, rng_below(s->r, 3));
    sequence_put(s, 0xe9);
    sequence_value(s, 0, size);
    over = s->at;
    store_le(s->code + call - size, s->at - call, size);
    put_block(s, 1 + rng_below(s->r, 5));
    sequence_put(s, 0xc3);
    store_le(s->code + over - size, s->at - over, size);
}

/* MOV reg, address; JMP or CALL reg; in a CALL's case the return address is dropped. */
static void put_indirect(struct sequence *s)
{
    unsigned reg = sequence_register(s), move, size = sequence_word(s);
    bool call = rng_one_in(s->r, 2);

    sequence_move(s, reg, 0);
    move = s->at;
    sequence_put(s, 0xff);
    sequence_put(s, (call ? 0xd0 : 0xe0) | reg);
    put_block(s, rng_below(s->r, 3)); /* never reached */
    store_le(s->code + move - size, sequence_address(s, s->at), size);
    if (call)
        sequence_put(s, 0x58 | sequence_register(s));
}

/* A push and its pop around a block. */
static void put_stack(struct sequence *s)
{
    bool flags = rng_one_in(s->r, 5);

    sequence_put(s, flags ? 0x9c : 0x50 | rng_below(s->r, 8));
    put_block(s, rng_below(s->r, 4));
    sequence_put(s, flags ? 0x9d : 0x58 | sequence_register(s));
}

static void put_lea(struct sequence *s, unsigned reg, unsigned disp)
{
    sequence_wide(s);
    sequence_put(s, 0x8d);
    if (sequence_mode(s) == MODE_16) {
        sequence_put(s, 0x87 | reg << 3); /* [BX + disp16] */
        sequence_value(s, disp, 2);
    } else {
        sequence_put(s, 0x80 | reg << 3 | POINTER);
        sequence_value(s, disp, 4);
    }
}

static void put_string(struct sequence *s)
{
    static const u8 opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

    put_lea(s, RSI, rng_below(s->r, 1024));
    put_lea(s, RDI, rng_below(s->r, 1024));
    sequence_move(s, RCX, rng_below(s->r, 17));
    sequence_put(s, rng_one_in(s->r, 3) ? 0xfd : 0xfc);
    if (!rng_one_in(s->r, 3))
        sequence_put(s, rng_one_in(s->r, 2) ? 0xf3 : 0xf2);
    if (sequence_mode(s) == MODE_64 && rng_one_in(s->r, 3))
        sequence_put(s, 0x48);
    sequence_put(s, opcodes[rng_below(s->r, ARRAY_SIZE(opcodes))]);
}

/* Something that ends the sequence here, if it is reached. */
static void put_fault(struct sequence *s)
{
    switch (rng_below(s->r, 4)) {
    case 0:
        sequence_put(s, 0x0f);
        sequence_put(s, 0x0b); /* UD2 */
        break;
    case 1: sequence_put(s, 0xcc); break;
    case 2: sequence_put(s, 0xf4); break; /* HLT: #GP */
    default:                              /* a load behind the data pages */
        sequence_put(s, 0x8b);
        sequence_put(s, sequence_mode(s) == MODE_16 ? 0x87 : 0x80 | POINTER);
        sequence_value(s, 8192, sequence_word(s));
        break;
    }
}

/* MOV word [later], imm: into the immediate of a later MOV, or over a whole instruction of two
 * bytes. At times it is the very next one. 16-bit code reaches its own bytes through GS, flat. */
static void put_modification(struct sequence *s)
{
    static const u8 opcodes[] = {0x01, 0x29, 0x31, 0x09, 0x21, 0x89};
    unsigned store, target, reg = sequence_register(s);
    bool whole = rng_one_in(s->r, 2);

    if (sequence_mode(s) == MODE_16) {
        sequence_put(s, 0x65);
        sequence_put(s, 0x67);
    } else {
        sequence_put(s, 0x66);
    }
    sequence_put(s, 0xc7);
    sequence_put(s, sequence_mode(s) == MODE_64 ? 0x04 : 0x05);
    if (sequence_mode(s) == MODE_64)
        sequence_put(s, 0x25);
    store = s->at;
    sequence_value(s, 0, 4);
    if (whole) {
        sequence_put(s, opcodes[rng_below(s->r, ARRAY_SIZE(opcodes))]);
        sequence_put(s, 0xc0 | rng_below(s->r, 8) << 3 | reg);
    } else {
        sequence_value(s, rng_next(s->r), 2);
    }
    put_block(s, rng_below(s->r, 3));
    target = s->at + !whole;
    store_le(s->code + store, s->b->c->code_address + target, 4);
    if (whole) {
        sequence_put(s, opcodes[rng_below(s->r, ARRAY_SIZE(opcodes))]);
        sequence_put(s, 0xc0 | rng_below(s->r, 8) << 3 | reg);
    } else {
        sequence_move(s, reg, rng_next(s->r));
    }
}

static void put_structure(struct sequence *s)
{
    switch (rng_below(s->r, 12)) {
    case 10: put_counted_loop(s); break;
    case 11: put_counter_branch(s); break;
    case 9: put_modification(s); break;
    case 0:
    case 1: put_forward(s); break;
    case 2:
        if (s->loops < LOOPS_MAX)
            put_loop(s);
        break;
    case 3:
        if (s->loops < LOOPS_MAX)
            put_memory_loop(s);
        break;
    case 4: put_call(s); break;
    case 5: put_indirect(s); break;
    case 6: put_stack(s); break;
    case 7: put_string(s); break;
    default: put_flag_user(s); break;
    }
}

static void put_block(struct sequence *s, unsigned count)
{
    for (unsigned n = 0; n < count && sequence_room(s); n++) {
        s->left--;
        if (rng_one_in(s->r, 400))
            put_fault(s);
        else if (s->depth < DEPTH_MAX && rng_one_in(s->r, 5)) {
            s->depth++;
            put_structure(s);
            s->depth--;
        } else
            while (!sequence_insn(s))
                ;
    }
}

/* -- the state -- */

/* The data pages meet at the pointer, or they begin or end so close to what it reaches that some
 * accesses in the middle of the sequence fault. */
static u32 place_pointer(struct rng *r)
{
    const u32 reach = 96u << rng_below(r, 4);

    switch (rng_below(r, 8)) {
    case 0: return reach;
    case 1: return ARENA_DATA_SIZE - reach;
    default: return ARENA_DATA_SIZE / 2;
    }
}

/* Likewise: pushes and calls go over the edge between the pages, or below them. */
static u32 place_stack(struct rng *r)
{
    const u32 slots = 8 * rng_below(r, 64);

    return rng_one_in(r, 8) ? 64 + slots / 8 * 3 : ARENA_STACK_SIZE / 2 + slots;
}

static void settle_state(struct build *b)
{
    struct conform_state *s = &b->c->in;
    bool small = b->form->mode == MODE_16;

    s->rflags &= ~(u64)(F_AC | F_DF | F_NT);
    s->mxcsr |= 0x1f80;
    s->mxcsr &= 0xffff;
    s->x87[0] |= 0x3f; /* no unmasked exception, none pending */
    s->x87[2] &= 0x7f;
    s->x87[3] &= 0x7f;
    memset(s->x87 + 6, 0, 18); /* FOP, FIP, FDP: AMD processors load zeros then */
    for (unsigned seg = 0; seg < CONFORM_SEGMENTS; seg++)
        if (b->form->mode != MODE_64 && seg != SEG_CS)
            s->selector[seg] = !small ? SEL_FLAT : seg == SEG_SS ? SEL_STACK16 : SEL_DATA16;
    if (b->form->mode == MODE_64) { /* direct addresses through them reach the data */
        s->fs_base = rng_one_in(&b->rng, 2) ? 0x1000 : ARENA_DATA;
        s->gs_base = rng_one_in(&b->rng, 2) ? 0 : ARENA_CODE;
    }
    if (small)
        s->selector[SEG_GS] = SEL_FLAT;
    s->gpr[POINTER] = (small ? 0 : ARENA_DATA) + place_pointer(&b->rng);
    s->gpr[RSP] = (small ? 0 : ARENA_STACK) + place_stack(&b->rng);
}

void generate_sequence(const struct generator *g, enum conform_mode mode, unsigned length, u64 seed,
                       struct conform_case *c)
{
    struct gen_form form = {.row = INSN_FADD_ST0STi, .mode = (u8)mode};
    struct build b = {.g = g, .form = &form, .row = &insn_rows[INSN_FADD_ST0STi], .c = c};
    struct sequence s = {.b = &b, .r = &b.rng, .code = c->code, .left = length};

    b.rng.state = (seed + 1) * 0x9e3779b97f4a7c15ull + mode * 0xd1342543de82ef95ull;
    b.rng.state += !b.rng.state;
    rng_next(&b.rng);
    c->row = INSN_INVALID;
    c->mode = (u8)mode;
    c->insn_length = 0;
    c->seed = seed;
    c->patch_count = 0;
    c->xcr0 = 0;
    c->undefined_flags = 0;
    state_fill(&b);
    settle_state(&b);
    state_limit(&b);
    c->code_address = ARENA_CODE + rng_below(&b.rng, ARENA_CODE_SIZE - CASE_CODE_MAX);
    c->in.rip = c->code_address;
    if (mode != MODE_64 && c->in.selector[SEG_CS] != SEL_CS32)
        c->in.rip -= ARENA_CODE;
    while (sequence_room(&s))
        put_block(&s, 8);
    check(s.at <= CASE_CODE_MAX, "the sequence is too long");
    c->code_size = s.at;
}
