/* SPDX-License-Identifier: MIT
 *
 * Code that all blocks share: entering and leaving translated code, calling an instruction's body,
 * refilling the TLB.
 */
#include "jit/internal.h"

#define VCPU(member) emit_gs((i32)offsetof(struct vcpu, member))

static const u8 saved_by_callee[] = {HOST_RBX, HOST_RBP, HOST_R12, HOST_R13, HOST_R14, HOST_R15};

static void each_register(struct emit *e, bool store)
{
    for (unsigned r = 0; r < 16; r++) {
        struct emit_mem slot = emit_gs((i32)(offsetof(struct vcpu, gpr) + 8 * r));
        unsigned host = r == RSP ? HOST_GUEST_RSP : r;

        if (r >= R9 && r <= R11)
            continue;
        if (store)
            emit_store(e, &slot, host, 8);
        else
            emit_load(e, host, &slot, 8);
    }
}

/* From the return stack to the thread's, of which `drop` bytes on the return stack are done with.
 */
static void to_host_stack(struct emit *e, i32 drop)
{
    struct emit_mem return_sp = VCPU(jit.return_sp), host_sp = VCPU(jit.host_sp);
    struct emit_mem sp = emit_at(HOST_RSP, drop);

    if (drop) {
        emit_lea(e, T1, &sp, 8);
        emit_store(e, &return_sp, T1, 8);
    } else {
        emit_store(e, &return_sp, HOST_RSP, 8);
    }
    emit_load(e, HOST_RSP, &host_sp, 8);
}

static void to_return_stack(struct emit *e)
{
    struct emit_mem return_sp = VCPU(jit.return_sp);

    emit_load(e, HOST_RSP, &return_sp, 8);
}

/* Six registers, and 8 bytes so that it is aligned. */
static void adjust_stack(struct emit *e, i32 bytes)
{
    struct emit_mem m = emit_at(HOST_RSP, bytes);

    emit_lea(e, HOST_RSP, &m, 8);
}

/* Vector registers [first, first + count) as wide as the host has them. */
static void move_vectors(struct jit *j, struct emit *e, bool store, unsigned first, unsigned count)
{
    struct emit_vex x = {.map = 1, .opcode = store ? 0x11 : 0x10};

    for (unsigned n = first; n < first + count; n++) {
        struct emit_mem row = emit_gs((i32)(offsetof(struct vcpu, fpu.zmm) + 64 * n));

        if (j->avx512) { /* vmovups zmm */
            x.l = 0x48;
            emit_evex_mem(e, &x, &row, n, 0);
        } else if (j->avx) { /* vmovups ymm */
            x.l = 1;
            emit_vex_mem(e, &x, &row, n, 0);
        } else { /* movups */
            emit_op_mem(e, 0, EMIT_0F | x.opcode, &row, n);
        }
    }
}

static void move_opmasks(struct emit *e, bool store)
{
    struct emit_vex kmovq = {.map = 1, .w = true, .opcode = store ? 0x91 : 0x90};

    for (unsigned n = 0; n < 8; n++) {
        struct emit_mem k = emit_gs((i32)(offsetof(struct vcpu, fpu.k) + 8 * n));

        emit_vex_mem(e, &kmovq, &k, n, 0);
    }
}

static void save_all_vectors(struct jit *j, struct emit *e)
{
    move_vectors(j, e, true, 0, j->avx512 ? 32 : 16);
    if (j->avx512)
        move_opmasks(e, true);
}

static void put_vzeroupper(struct emit *e)
{
    emit_bytes(e, "\xc5\xf8\x77", 3);
}

/* ZF = 1 if all bits above 128 of ZMM0-15 are 0. Destroys ZMM31, k1, k2. */
static void test_upper_512(struct emit *e)
{
    const struct emit_vex vporq = {.map = 1, .pp = 1, .w = true, .l = 0x48, .opcode = 0xeb};
    const struct emit_vex vptestmq = {.map = 2, .pp = 1, .w = true, .l = 0x49, .opcode = 0x27};

    emit_evex_reg(e, &vporq, 1, 31, 0);
    for (unsigned n = 2; n < 16; n++)
        emit_evex_reg(e, &vporq, n, 31, 31);
    emit_bytes(e, "\xc5\xf5\x46\xc9", 4);         /* kxnorb k1, k1, k1 */
    emit_bytes(e, "\xc4\xe3\x79\x32\xc9\x02", 6); /* kshiftlb k1, k1, 2: quadwords 2-7 */
    emit_evex_reg(e, &vptestmq, 31, 2, 31);       /* vptestmq k2{k1}, zmm31, zmm31 */
    emit_bytes(e, "\xc5\xf9\x98\xd2", 4);         /* kortestb k2, k2 */
}

/* The same for YMM0-15, of which YMM15 is still in memory. Destroys YMM15. */
static void test_upper_256(struct emit *e)
{
    const struct emit_vex vorps = {.map = 1, .l = 1, .opcode = 0x56};
    struct emit_mem last = emit_gs((i32)(offsetof(struct vcpu, fpu.zmm) + 64 * 15));

    emit_vex_mem(e, &vorps, &last, 15, 14);
    for (unsigned n = 0; n < 14; n++)
        emit_vex_reg(e, &vorps, n, 15, 15);
    emit_bytes(e, "\xc4\x43\x7d\x19\xff\x01", 6); /* vextractf128 xmm15, ymm15, 1 */
    emit_bytes(e, "\xc4\x42\x79\x17\xff", 5);     /* vptest xmm15, xmm15 */
}

/* Loads them so that the host knows upper halves of zero to be zero: else each SSE instruction
 * would depend on what its destination held before. */
static void load_all_vectors(struct jit *j, struct emit *e)
{
    unsigned early = j->avx512 ? 16 : 15;
    u8 *used;

    if (!j->avx) {
        move_vectors(j, e, false, 0, 16);
        return;
    }
    move_vectors(j, e, false, 0, early);
    if (j->avx512)
        test_upper_512(e);
    else
        test_upper_256(e);
    move_vectors(j, e, false, early, (j->avx512 ? 32 : 16) - early);
    used = emit_jcc(e, CC_NE, 0);
    put_vzeroupper(e);
    emit_patch(used, e->delta, emit_here(e));
    if (j->avx512)
        move_opmasks(e, false);
}

static void mxcsr(struct emit *e, struct emit_mem m, bool store)
{
    emit_op_mem(e, 0, EMIT_0F | 0xae, &m, store ? 3 : 2);
}

static void emit_load_vectors(struct jit *j, struct emit *e)
{
    struct emit_mem loaded = VCPU(jit.vectors);

    j->load_vectors = emit_here(e);
    load_all_vectors(j, e);
    mxcsr(e, VCPU(fpu.mxcsr), false);
    emit_store_imm(e, &loaded, 1, 1);
    emit_value(e, 0xc3, 1);
}

/* C code is next. Destroys flags. */
static void save_vectors(struct jit *j, struct emit *e)
{
    struct emit_mem loaded = VCPU(jit.vectors);
    u8 *none;

    emit_op_mem(e, 0, 0x80, &loaded, 7); /* cmp byte, 0 */
    emit_value(e, 0, 1);
    none = emit_jcc(e, CC_E, 0);
    save_all_vectors(j, e);
    mxcsr(e, VCPU(fpu.mxcsr), true);
    mxcsr(e, VCPU(jit.host_mxcsr), false);
    if (j->avx)
        put_vzeroupper(e);
    emit_store_imm(e, &loaded, 0, 1);
    emit_patch(none, e->delta, emit_here(e));
}

/* XRSTOR and XSAVE of x87 alone (SDM 1 13.7, 13.8): nothing else that they know is touched. */
static void x87_image(struct emit *e, struct emit_mem image, bool store)
{
    emit_mov_imm(e, HOST_RAX, XCR0_X87);
    emit_mov_imm(e, HOST_RDX, 0);
    emit_op_mem(e, EMIT_W, EMIT_0F | 0xae, &image, store ? 4 : 5);
}

static void emit_load_x87(struct jit *j, struct emit *e)
{
    struct emit_mem present = VCPU(fpu.fx_header), state = VCPU(jit.x87);
    struct emit_mem rax = VCPU(gpr[RAX]), rdx = VCPU(gpr[RDX]);

    j->load_x87 = emit_here(e);
    emit_store(e, &rax, HOST_RAX, 8);
    emit_store(e, &rdx, HOST_RDX, 8);
    emit_store_imm(e, &present, XCR0_X87, 8);
    x87_image(e, VCPU(fpu.fx), false);
    emit_store_imm(e, &state, X87_LOADED, 1);
    emit_load(e, HOST_RAX, &rax, 8);
    emit_load(e, HOST_RDX, &rdx, 8);
    emit_value(e, 0xc3, 1);
}

/* C code is next, which expects an empty register stack. Destroys RAX, RDX and flags. */
static void save_x87(struct jit *j, struct emit *e)
{
    struct emit_mem state = VCPU(jit.x87);
    u8 *none;

    if (!j->xsave)
        return;
    emit_op_mem(e, 0, 0x80, &state, 7); /* cmp byte, X87_LOADED */
    emit_value(e, X87_LOADED, 1);
    none = emit_jcc(e, CC_NE, 0);
    x87_image(e, VCPU(jit.x87_image), true);
    emit_value(e, 0xe3db, 2); /* fninit */
    emit_store_imm(e, &state, X87_SAVED, 1);
    emit_patch(none, e->delta, emit_here(e));
}

static void emit_enter(struct jit *j, struct emit *e)
{
    struct emit_mem target = VCPU(jit.target), host_sp = VCPU(jit.host_sp);

    j->enter = (void (*)(u64))emit_here(e);
    for (unsigned n = 0; n < ARRAY_SIZE(saved_by_callee); n++)
        emit_op_plus(e, 0, 0x50, saved_by_callee[n]);
    adjust_stack(e, -8);
    emit_store(e, &host_sp, HOST_RSP, 8);
    to_return_stack(e);
    emit_store(e, &target, HOST_RDI, 8);
    each_register(e, false);
    emit_jmp_mem(e, &target);
}

static void emit_leave(struct emit *e)
{
    adjust_stack(e, 8);
    for (unsigned n = ARRAY_SIZE(saved_by_callee); n-- > 0;)
        emit_op_plus(e, 0, 0x58, saved_by_callee[n]);
    emit_value(e, 0xc3, 1);
}

static void call_c(struct emit *e, const void *function)
{
    emit_mov_imm(e, HOST_RAX, (u64)function);
    emit_op_reg(e, 0, 0xff, HOST_RAX, 2);
}

/* RAX: what jit_exec_one(), jit_lookup() or jit_return() returned, not 0. */
static void emit_go_on(struct emit *e)
{
    struct emit_mem link = VCPU(jit.link), target = VCPU(jit.target);
    u8 *elsewhere;

    emit_op_reg(e, EMIT_W, 0x83, HOST_RAX, 7); /* cmp rax, JIT_LEAVE */
    emit_value(e, JIT_LEAVE, 1);
    elsewhere = emit_jcc(e, CC_NE, 0);
    emit_store_imm(e, &link, 0, 8);
    emit_leave(e);
    emit_patch(elsewhere, e->delta, emit_here(e));
    to_return_stack(e);
    emit_store(e, &target, HOST_RAX, 8);
    each_register(e, false);
    emit_jmp_mem(e, &target);
}

/* All state goes to the vCPU, and a function tells where to go on. */
static void emit_lookup(struct jit *j, struct emit *e, u64 (*lookup)(struct vcpu *v))
{
    struct emit_mem self = VCPU(jit.self);

    to_host_stack(e, 0);
    each_register(e, true);
    save_vectors(j, e);
    save_x87(j, e);
    emit_load(e, HOST_RDI, &self, 8);
    call_c(e, lookup);
    emit_go_on(e);
}

/* The beginning of a stub that takes flags in JF or, at its other entry, in the host's flags. */
static void either_flags(struct emit *e, u64 entry[2])
{
    entry[1] = emit_here(e);
    jit_put_in_jf(e);
    entry[0] = emit_here(e);
}

static void emit_exits(struct jit *j, struct emit *e)
{
    struct emit_mem link = VCPU(jit.link), rip = VCPU(rip);
    u8 *none;

    either_flags(e, j->leave_at);
    emit_store(e, &rip, T0, 8);
    emit_mov_imm(e, T0, 0);
    none = emit_jmp_short(e);
    either_flags(e, j->exit_link);
    emit_mov_imm(e, T1, (u64)j->arena);
    emit_op_reg(e, EMIT_W, 0x03, T1, T0); /* add t0, t1 */
    emit_land_short(e, none);
    emit_store(e, &link, T0, 8);
    to_host_stack(e, 0);
    each_register(e, true);
    save_vectors(j, e);
    save_x87(j, e);
    emit_leave(e);

    either_flags(e, j->exit_at);
    emit_store(e, &rip, T0, 8);
    j->exit_lookup = emit_here(e);
    emit_lookup(j, e, jit_lookup);
}

static void emit_returns(struct jit *j, struct emit *e)
{
    struct emit_mem attention = VCPU(jit.attention), insn = VCPU(jit.entry), rip = VCPU(rip);
    struct emit_mem code = emit_at(T1, 8), top = VCPU(jit.return_top);
    u8 *wanted, *unknown;

    j->return_full = emit_here(e);
    emit_op_plus(e, 0, 0x58, T0); /* pop t0 */
    emit_op_mem(e, 0, 0x83, &attention, 7);
    emit_value(e, 0, 1);
    wanted = emit_jcc(e, CC_NE, 0);
    emit_load(e, HOST_RSP, &top, 8);
    emit_patch(wanted, e->delta, emit_here(e));
    emit_op_reg(e, 0, 0xff, T0, 4); /* jmp t0 */

    j->return_none = emit_here(e);
    adjust_stack(e, -8);
    j->return_lost = emit_here(e);
    emit_store(e, &insn, T1, 8);
    emit_op_mem(e, 0, 0x83, &attention, 7); /* cmp attention, 0 */
    emit_value(e, 0, 1);
    wanted = emit_jcc(e, CC_NE, 0);
    jit_find_in_jump_cache(e);
    unknown = emit_jcc(e, CC_NE, 0);
    emit_jmp_mem(e, &code);
    emit_patch(wanted, e->delta, emit_here(e));
    emit_patch(unknown, e->delta, emit_here(e));
    emit_store(e, &rip, T0, 8);
    emit_lookup(j, e, jit_return);
}

/* The body of one instruction. It may leave the block for good: for another, or with the state in
 * the vCPU. */
static void emit_exec(struct jit *j, struct emit *e)
{
    struct emit_mem self = VCPU(jit.self);
    u8 *stays;

    j->exec = emit_here(e);
    to_host_stack(e, 8);
    each_register(e, true);
    save_vectors(j, e);
    save_x87(j, e);
    emit_load(e, HOST_RDI, &self, 8);
    emit_mov_imm(e, HOST_RSI, (u64)j->arena);
    emit_op_reg(e, EMIT_W, 0x03, T0, HOST_RSI); /* add rsi, t0 */
    call_c(e, jit_exec_one);
    emit_op_reg(e, EMIT_W, 0x85, HOST_RAX, HOST_RAX);
    stays = emit_jcc(e, CC_E, 0);
    emit_go_on(e);
    emit_patch(stays, e->delta, emit_here(e));
    each_register(e, false);
    to_return_stack(e);
    adjust_stack(e, -8);
    emit_value(e, 0xc3, 1);
}

/* Registers that C code may change, and guest registers live in. */
static void volatile_registers(struct emit *e, bool store)
{
    static const u8 guest[] = {RAX, RCX, RDX, RSI, RDI, R8, RSP};

    for (unsigned n = 0; n < ARRAY_SIZE(guest); n++) {
        struct emit_mem slot = emit_gs((i32)(offsetof(struct vcpu, gpr) + 8 * guest[n]));
        unsigned host = guest[n] == RSP ? HOST_GUEST_RSP : guest[n];

        if (store)
            emit_store(e, &slot, host, 8);
        else
            emit_load(e, host, &slot, 8);
    }
}

static void call_fill(struct emit *e, const void *function, bool write)
{
    struct emit_mem self = VCPU(jit.self);

    emit_load(e, HOST_RDI, &self, 8);
    emit_mov(e, HOST_RSI, T0);
    emit_mov(e, HOST_RDX, T1);
    emit_mov_imm(e, HOST_RCX, write);
    call_c(e, function);
}

/* ThreadSanitizer's functions, which it has every access call, use vector registers. */
#if defined(__SANITIZE_THREAD__)
static const bool jit_probe_usable = false;
#else
static const bool jit_probe_usable = true;
#endif

/* The short way: only general registers are used. */
static void emit_probe(struct emit *e, bool write)
{
    struct emit_mem address = emit_at(HOST_RSP, 0), size = emit_at(HOST_RSP, 8);
    u8 *miss;

    to_host_stack(e, 0);
    adjust_stack(e, -16);
    emit_store(e, &address, T0, 8);
    emit_store(e, &size, T1, 8);
    volatile_registers(e, true);
    call_fill(e, jit_probe, write);
    emit_op_reg(e, EMIT_W, 0x85, HOST_RAX, HOST_RAX);
    miss = emit_jcc(e, CC_E, 0);
    emit_mov(e, T0, HOST_RAX);
    volatile_registers(e, false);
    to_return_stack(e);
    jit_return_and_pop(e);
    emit_patch(miss, e->delta, emit_here(e));
    volatile_registers(e, false);
    emit_load(e, T0, &address, 8);
    emit_load(e, T1, &size, 8);
    to_return_stack(e);
}

/* Where the struct jit_miss that was pushed is, into T1. Uses T0. */
static void find_miss(const struct jit *j, struct emit *e)
{
    struct emit_mem pushed = emit_at(HOST_RSP, 8);

    emit_mov_imm(e, T0, (u64)j->arena);
    emit_load(e, T1, &pushed, 8);
    emit_op_reg(e, EMIT_W, 0x03, T0, T1); /* add t1, t0 */
}

/* Jumps over what follows unless a miss is to be treated so. */
static u8 *unless(struct emit *e, enum miss_how how)
{
    struct emit_mem at = emit_at(T1, offsetof(struct jit_miss, how));

    emit_op_mem(e, 0, 0xf6, &at, 0); /* test byte */
    emit_value(e, how, 1);
    return emit_jcc(e, CC_E, 0);
}

/* The instruction has been executed: goes on behind it. */
static void emit_after_miss(struct jit *j, struct emit *e)
{
    struct emit_mem after = emit_at(T1, offsetof(struct jit_miss, after));
    struct emit_mem returns_to = emit_at(HOST_RSP, 0);
    u8 *over;

    each_register(e, false);
    to_return_stack(e);
    adjust_stack(e, -16);
    find_miss(j, e);
    emit_load(e, T0, &after, 4);
    emit_store(e, &returns_to, T0, 8);
    emit_mov_imm(e, T0, (u64)j->code + j->delta);
    emit_op_mem(e, EMIT_W, 0x01, &returns_to, T0); /* add */
    over = unless(e, MISS_VECTORS);
    emit_call(e, j->load_vectors);
    emit_patch(over, e->delta, emit_here(e));
    over = unless(e, MISS_X87);
    emit_call(e, j->load_x87);
    emit_patch(over, e->delta, emit_here(e));
    over = unless(e, MISS_HOST_FLAGS);
    jit_take_from_jf(e);
    emit_patch(over, e->delta, emit_here(e));
    jit_return_and_pop(e);
}

static void emit_miss_exec(struct jit *j, struct emit *e)
{
    struct emit_mem self = VCPU(jit.self), return_sp = VCPU(jit.return_sp);
    struct emit_mem pushed = emit_at(HOST_RSI, -8);
    u8 *stays;

    j->miss_exec_flags = emit_here(e);
    jit_put_in_jf(e);
    j->miss_exec = emit_here(e);
    to_host_stack(e, 16); /* as it is without both: the body may change to another stack */
    each_register(e, true);
    save_vectors(j, e);
    save_x87(j, e);
    emit_load(e, HOST_RDI, &self, 8);
    emit_load(e, HOST_RSI, &return_sp, 8);
    emit_load(e, HOST_RSI, &pushed, 8);
    call_c(e, jit_exec_miss);
    emit_op_reg(e, EMIT_W, 0x85, HOST_RAX, HOST_RAX);
    stays = emit_jcc(e, CC_E, 0);
    emit_go_on(e);
    emit_patch(stays, e->delta, emit_here(e));
    emit_after_miss(j, e);
}

/* T0: host address, or 0: the instruction is to be executed. */
static void emit_filled(struct jit *j, struct emit *e)
{
    struct emit_mem returns_to = emit_at(HOST_RSP, 0);
    u8 *none, *saved;

    emit_op_reg(e, EMIT_W, 0x85, T0, T0);
    none = emit_jcc(e, CC_E, 0);
    jit_return_and_pop(e);
    emit_patch(none, e->delta, emit_here(e));
    j->unfilled = emit_here(e);
    find_miss(j, e);
    saved = unless(e, MISS_FLAGS);
    emit_op_mem(e, EMIT_W, 0x83, &returns_to, 0); /* add */
    emit_value(e, MISS_JUMP, 1);
    jit_return_and_pop(e);
    emit_patch(saved, e->delta, emit_here(e));
    emit_jmp(e, j->miss_exec);
}

/* T0: address. */
static u64 emit_fill(struct jit *j, struct emit *e, bool write)
{
    struct emit_mem pushed = emit_at(HOST_RSP, 8);
    struct emit_mem loaded = VCPU(jit.vectors);
    struct emit_mem kept = emit_at(HOST_RSP, 0); /* whether vectors were loaded, then the result */
    u64 start = emit_here(e);
    u8 *none;

    emit_load(e, T1, &pushed, 8);
    if (jit_probe_usable && (j->options.optimisations & JIT_PROBE))
        emit_probe(e, write);
    to_host_stack(e, 0);
    adjust_stack(e, -16);
    each_register(e, true);
    emit_load(e, HOST_RAX, &loaded, 1);
    emit_store(e, &kept, HOST_RAX, 8);
    save_vectors(j, e);
    call_fill(e, jit_fill, write);
    emit_op_mem(e, 0, 0x80, &kept, 7); /* cmp byte, 0 */
    emit_value(e, 0, 1);
    emit_store(e, &kept, HOST_RAX, 8);
    none = emit_jcc(e, CC_E, 0);
    emit_call(e, j->load_vectors);
    emit_patch(none, e->delta, emit_here(e));
    each_register(e, false);
    emit_load(e, T0, &kept, 8);
    to_return_stack(e);
    emit_filled(j, e);
    return start;
}

/* ZF unless T1 is the index of the address in T0. */
static void compare_index(struct emit *e)
{
    emit_op_plus(e, 0, 0x50, HOST_RAX); /* push */
    emit_mov32(e, HOST_RAX, T0);
    emit_op_reg(e, 0, 0xc1, HOST_RAX, 5); /* shr */
    emit_value(e, PAGE_SHIFT, 1);
    emit_op_reg(e, 0, 0x3b, T1, HOST_RAX); /* cmp */
    emit_op_plus(e, 0, 0x58, HOST_RAX);    /* pop */
}

/* The address again, by the tag that was subtracted. Another vCPU may have dropped that write tag
 * meanwhile: then the sum has another index (tlb_invalid()), and the body does it. */
static void emit_miss(struct jit *j, struct emit *e, unsigned context, bool write)
{
    struct emit_mem tag = jit_tlb_at(context, jit_tags_at(write), T1);

    j->miss[context][write] = emit_here(e);
    emit_op_mem(e, EMIT_W, 0x03, &tag, T0);
    if (write) {
        compare_index(e);
        emit_jcc(e, CC_NE, j->unfilled);
    }
    emit_jmp(e, j->fill[write]);
}

/* T0: address, as it is in vcpu.jit.target. Goes on if the TLB has both tags of its page, then T0:
 * the page, T1: index. Returns jumps elsewhere. */
static void find_stack(struct jit *j, struct emit *e, unsigned context, u8 *away[2])
{
    struct emit_mem address = VCPU(jit.target), read = jit_tlb_at(context, jit_tags_at(false), T1);
    struct emit_mem size = emit_at(T1, offsetof(struct jit_miss, size));
    struct emit_mem last = {.base = T0, .index = T1, .disp = -1};

    find_miss(j, e);
    emit_op_mem(e, 0, EMIT_0F | 0xb7, &size, T1); /* movzx */
    emit_load(e, T0, &address, 8);
    emit_lea(e, T1, &last, 8);
    emit_op_reg(e, EMIT_W, 0x33, T0, T1); /* xor t1, t0 */
    emit_op_reg(e, EMIT_W, 0xf7, T1, 0);  /* test t1, -4096: whether it crosses its page */
    emit_value(e, (u64)-PAGE_SIZE, 4);
    away[0] = emit_jcc(e, CC_NE, 0);
    jit_index_of(e);
    jit_page_of(e);
    emit_op_mem(e, EMIT_W, 0x3b, &read, T0); /* cmp */
    away[1] = emit_jcc(e, CC_NE, 0);
}

/* Enters the page T0, whose index is T1, as that of the stack, then looks at the write tag: another
 * vCPU may drop that at any time, and the stack's page after it (slot_leave_stack()). T0 and T1 are
 * the same afterwards. ZF: the write tag is there. */
static void enter_stack(struct emit *e, unsigned context)
{
    struct emit_mem stack = jit_tlb_at(context, offsetof(struct tlb_table, stack_tag), HOST_NONE);
    struct emit_mem distance =
        jit_tlb_at(context, offsetof(struct tlb_table, stack_distance), HOST_NONE);
    struct emit_mem page = jit_tlb_at(context, offsetof(struct tlb_table, page), T1);
    struct emit_mem write = jit_tlb_at(context, jit_tags_at(true), T1);
    struct emit_mem address = VCPU(jit.target);

    emit_load(e, T1, &page, 8);
    emit_op_reg(e, EMIT_W, 0x2b, T0, T1); /* sub t1, t0 */
    emit_store(e, &distance, T1, 8);
    emit_op_mem(e, EMIT_W, 0x87, &stack, T0); /* xchg: all vCPUs see the page before what follows */
    emit_load(e, T0, &address, 8);
    jit_index_of(e);
    jit_page_of(e);
    emit_op_mem(e, EMIT_W, 0x3b, &write, T0); /* cmp */
}

/* The stack is in another page than before. If the TLB has both of its tags, it becomes that of the
 * stack. Else there is none, as the code behind the check puts another distance there. */
static void emit_miss_stack(struct jit *j, struct emit *e, unsigned context, bool write)
{
    struct emit_mem stack = jit_tlb_at(context, offsetof(struct tlb_table, stack_tag), HOST_NONE);
    struct emit_mem none = jit_tlb_at(context, offsetof(struct tlb_table, no_stack), HOST_NONE);
    struct emit_mem page = jit_tlb_at(context, offsetof(struct tlb_table, page), T1);
    struct emit_mem address = VCPU(jit.target);
    u8 *away[3];

    j->miss_stack[context][write] = emit_here(e);
    emit_op_mem(e, EMIT_W, 0x03, &stack, T0); /* add */
    emit_store(e, &address, T0, 8);
    find_stack(j, e, context, away);
    enter_stack(e, context);
    away[2] = emit_jcc(e, CC_NE, 0);
    emit_op_reg(e, EMIT_W, 0xf7, T0, 3);        /* neg */
    emit_op_mem(e, EMIT_W, 0x03, &page, T0);    /* add t0, page */
    emit_op_mem(e, EMIT_W, 0x03, &address, T0); /* add t0, address */
    jit_return_and_pop(e);
    for (unsigned n = 0; n < ARRAY_SIZE(away); n++)
        emit_patch(away[n], e->delta, emit_here(e));
    emit_load(e, T0, &none, 8);
    emit_store(e, &stack, T0, 8);
    emit_load(e, T0, &address, 8);
    emit_jmp(e, j->fill[write]);
}

static void emit_misses(struct jit *j, struct emit *e)
{
    emit_miss_exec(j, e);
    for (unsigned write = 0; write < 2; write++)
        j->fill[write] = emit_fill(j, e, write);
    for (unsigned write = 0; write < 2; write++)
        jit_emit_miss_site(j, e, write);
    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        for (unsigned write = 0; write < 2; write++) {
            emit_miss(j, e, context, write);
            emit_miss_stack(j, e, context, write);
        }
}

void jit_emit_stubs(struct jit *j)
{
    struct emit *e = &j->emit;

    *e = (struct emit){.at = j->code, .end = j->code + j->code_size, .delta = j->delta};
    emit_load_vectors(j, e);
    emit_load_x87(j, e);
    emit_enter(j, e);
    emit_exits(j, e);
    emit_returns(j, e);
    emit_exec(j, e);
    emit_misses(j, e);
    e->at = (u8 *)align_up((u64)e->at, 64);
    j->code_start = e->at;
    jit_cache_use(j, 0);
}
