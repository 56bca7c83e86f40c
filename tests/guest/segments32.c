/* SPDX-License-Identifier: MIT
 *
 * Protected-mode segmentation (SDM 3A chapters 3 and 5): loads of every descriptor type, limit and
 * type checks on accesses, call gates and far returns across privileges, LAR, LSL, VERR, VERW,
 * ARPL.
 */
#include "call_gates.h"

enum {
    SEL = FREE_SEL, /* the descriptor under test, then others */
    SEL2 = FREE_SEL + 8,
    SEL3 = FREE_SEL + 16,
    SEL4 = FREE_SEL + 24,
    S_BIT = 0x10,
    CODE = 0x18,
    P_BIT = 0x80,
    ACCESSED = 1,
    READABLE = 2, /* of code; writable of data */
    CONFORMING = 4,
    EXPAND_DOWN = 4,
};

static u8 memory[8192] __attribute__((aligned(4096)));

static u32 dpl_of(u8 access)
{
    return access >> 5 & 3;
}

/* -- Loads ---------------------------------------------------------------------------------- */

SNIPPET(32, load_es, "mov %eax, %es");
SNIPPET(32, load_fs, "mov %eax, %fs");
SNIPPET(32, load_ss, "mov %eax, %ss; nop");
SNIPPET(32, pop_ds, "push %eax; pop %ds");
SNIPPET(32, les_insn, "les (%edi), %ecx");

struct fault {
    u32 vector, error;
};

static struct fault data_load(u16 selector, u8 access, u32 cpl)
{
    u32 rpl = selector & 3, dpl = dpl_of(access), error = selector & ~3u;
    bool code = (access & CODE) == CODE, conforming = code && (access & CONFORMING);

    if (!(access & S_BIT) || (code && !(access & READABLE)))
        return (struct fault){GP, error};
    if (!conforming && (rpl > dpl || cpl > dpl))
        return (struct fault){GP, error};
    if (!(access & P_BIT))
        return (struct fault){NP, error};
    return (struct fault){END, 0};
}

static struct fault stack_load(u16 selector, u8 access, u32 cpl)
{
    u32 error = selector & ~3u;

    if ((selector & 3) != cpl || (access & CODE) != S_BIT || !(access & READABLE) ||
        dpl_of(access) != cpl)
        return (struct fault){GP, error};
    if (!(access & P_BIT))
        return (struct fault){SS, error};
    return (struct fault){END, 0};
}

static void loads(void)
{
    struct context c;

    group_begin("loads of every descriptor type");
    for (u32 access = 0; access < 256; access++) {
        for (u32 cpl = 0; cpl <= 3; cpl += 3) {
            for (u32 rpl = 0; rpl <= 3; rpl += 3) {
                struct fault want = data_load((u16)(SEL | rpl), (u8)access, cpl);

                descriptor_set(SEL, descriptor(0, 0xfffff, (u8)access, 0xc));
                c = context_flat(cpl);
                c.ax = SEL | rpl;
                context_at(&c, load_es);
                check_end(&c, want.vector, want.error, want.vector == END ? 4 : 0,
                          "ES, access %x cpl %u rpl %u", access, cpl, rpl);
                check_eq(gdt[SEL / 8] >> 40 & 0xff, want.vector == END ? access | ACCESSED : access,
                         "accessed bit, access %x", access);
                want = stack_load((u16)(SEL | rpl), (u8)access, cpl);
                /* The trap uses this stack: an expand-down one must reach it. */
                descriptor_set(SEL,
                               descriptor(0, access & EXPAND_DOWN ? 0 : 0xfffff, (u8)access, 0xc));
                c = context_flat(cpl);
                c.ax = SEL | rpl;
                context_at(&c, load_ss);
                check_end(&c, want.vector, want.error, want.vector == END ? 5 : 0,
                          "SS, access %x cpl %u rpl %u", access, cpl, rpl);
            }
        }
    }
    group_end();

    group_begin("selectors");
    for (u32 rpl = 0; rpl < 4; rpl++) {
        c = context_flat(3);
        c.ax = rpl;
        context_at(&c, load_fs);
        check_end(&c, END, 0, -1, "null FS, rpl %u", rpl);
        check_eq(c.fs, rpl, "null FS keeps its RPL %u", rpl);
        c = context_flat(3);
        c.ax = rpl;
        context_at(&c, load_ss);
        check_end(&c, GP, 0, 0, "null SS, rpl %u", rpl);
    }
    c = context_flat(0);
    c.ax = 0x400;
    context_at(&c, load_es);
    check_end(&c, GP, 0x400, 0, "beyond the GDT");
    c = context_flat(0);
    c.ax = 0xfffb;
    context_at(&c, load_ss);
    check_end(&c, GP, 0xfff8, 0, "SS beyond the GDT");
    c = context_flat(0);
    c.ax = 0x0c;
    context_at(&c, load_es);
    check_end(&c, GP, 0x0c, 0, "LDT without an LDT");
    memory[8 + 5] = 0;
    *(u64 *)(memory + 8) = descriptor(0x1000, 0xfffff, 0x93, 0xc);
    descriptor_set(LDT_SEL, descriptor((ulong)memory, 15, 0x82, 0));
    asm volatile("lldt %w0" ::"r"(LDT_SEL));
    c = context_flat(0);
    c.ax = 0x0c;
    context_at(&c, load_es);
    check_end(&c, END, 0, -1, "in the LDT");
    c = context_flat(0);
    c.ax = 0x14;
    context_at(&c, load_es);
    check_end(&c, GP, 0x14, 0, "beyond the LDT");
    c = context_flat(0);
    c.ax = 0x04;
    context_at(&c, load_es);
    check_end(&c, GP, 4, 0, "entry 0 of the LDT is no null selector");
    asm volatile("lldt %w0" ::"r"(0));
    c = context_flat(3);
    c.ax = K_DS;
    c.ds = U_DS;
    context_at(&c, pop_ds);
    check_end(&c, GP, K_DS, 1, "POP DS");
    check_eq(c.ds, U_DS, "POP DS leaves DS");
    c = context_flat(3);
    c.di = (ulong)memory, c.cx = 0x1234;
    *(u32 *)memory = 0x5678, *(u16 *)(memory + 4) = K_DS;
    context_at(&c, les_insn);
    check_end(&c, GP, K_DS, 0, "LES");
    check_eq(c.cx, 0x1234, "LES leaves its register");
    TRY("lldt %w0", ::"r"(K_DS));
    check_fault(GP, K_DS, "LLDT of data");
    TRY("lldt %w0", ::"r"(0x7c));
    check_fault(GP, 0x7c, "LLDT in the LDT");
    descriptor_set(SEL, descriptor(0, 15, 0x02, 0));
    TRY("lldt %w0", ::"r"(SEL));
    check_fault(NP, SEL, "LLDT of an absent LDT");
    if (!skip_on_qemu("LTR with a null selector")) {
        TRY("ltr %w0", ::"r"(0));
        check_fault(GP, 0, "LTR null");
    }
    TRY("ltr %w0", ::"r"(TSS_SEL));
    check_fault(GP, TSS_SEL, "LTR of a busy TSS");
    descriptor_set(SEL, descriptor(0, 103, 0x09, 0));
    TRY("ltr %w0", ::"r"(SEL));
    check_fault(NP, SEL, "LTR of an absent TSS");
    group_end();
}

/* -- Accesses ------------------------------------------------------------------------------- */

SNIPPET(32, fs_read1, "movb %fs:(%edi), %al");
SNIPPET(32, fs_read2, "movw %fs:(%edi), %ax");
SNIPPET(32, fs_read4, "movl %fs:(%edi), %eax");
SNIPPET(32, fs_write1, "movb %al, %fs:(%edi)");
SNIPPET(32, fs_write2, "movw %ax, %fs:(%edi)");
SNIPPET(32, fs_write4, "movl %eax, %fs:(%edi)");
SNIPPET(32, fs_read10, "fldt %fs:(%edi)");
SNIPPET(32, ss_read4, "movl %ss:(%edi), %eax");
SNIPPET(32, ss_push, "push %eax");
SNIPPET(32, fs_lea, "lea %fs:(%edi), %eax");

static void limits(void)
{
    static const struct {
        const u8 *code;
        u32 size;
    } cases[] = {{fs_read1, 1},  {fs_read2, 2},  {fs_read4, 4},  {fs_write1, 1},
                 {fs_write2, 2}, {fs_write4, 4}, {fs_read10, 10}};
    static const u32 limit_values[] = {0, 1, 7, 0xfff, 0xfffe, 0xffff, 0x10000, 0xffffe, 0xfffff};
    struct context c;

    group_begin("limits");
    for (u32 kind = 0; kind < 8; kind++) {
        bool down = kind & 1, big = kind & 2, granular = kind & 4;

        for (u32 l = 0; l < ARRAY_SIZE(limit_values); l++) {
            u32 limit = granular ? limit_values[l] << 12 | 0xfff : limit_values[l];
            u32 top = big ? 0xffffffff : 0xffff;

            for (u32 where = 0; where < 2; where++) {
                u32 edge = where == 0 ? limit : top;

                for (i32 d = -10; d <= 3; d++) {
                    u32 offset = edge + (u32)d;

                    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
                        u32 last = offset + cases[i].size - 1;
                        bool wraps = last < offset;
                        bool good = down ? offset > limit && last <= top && !wraps
                                         : last <= limit && !wraps;

                        /* An access over the top of a 4 GiB segment may or may not fault. */
                        if (wraps && (down ? top : limit) == 0xffffffff)
                            continue;
                        descriptor_set(SEL, descriptor((ulong)memory + 64 - offset, limit_values[l],
                                                       down ? 0xf7 : 0xf3,
                                                       (granular ? 8 : 0) | (big ? 4 : 0)));
                        asm volatile("fninit");
                        c = context_flat(3);
                        c.fs = SEL | 3, c.di = offset;
                        context_at(&c, cases[i].code);
                        check_end(&c, good ? END : GP, 0, good ? -1 : 0,
                                  "down %u big %u granular %u limit %x offset %x size %u", down,
                                  big, granular, limit, offset, cases[i].size);
                        if (where == 1 && !down)
                            break;
                    }
                }
            }
        }
    }
    group_end();

    group_begin("the stack segment");
    descriptor_set(SEL, descriptor((ulong)memory, 0xfff, 0xf3, 4));
    c = context_flat(3);
    c.ss = SEL | 3, c.sp = 0x800, c.di = 0xffd;
    context_at(&c, ss_read4);
    check_end(&c, SS, 0, 0, "beyond the limit is #SS(0)");
    c = context_flat(3);
    c.ss = SEL | 3, c.sp = 2;
    context_at(&c, ss_push);
    check_end(&c, SS, 0, 0, "PUSH below 0");
    check_eq(c.sp, 2, "PUSH leaves ESP");
    c = context_flat(3);
    c.ss = SEL | 3, c.sp = 0x1001;
    context_at(&c, ss_push);
    check_end(&c, SS, 0, 0, "PUSH over the limit");
    descriptor_set(SEL, descriptor((ulong)memory - 0x20000, 0x20, 0xf7, 8 | 4));
    c = context_flat(3);
    c.ss = SEL | 3, c.sp = 0x21004;
    context_at(&c, ss_push);
    check_end(&c, END, 0, -1, "PUSH to the lowest place of an expand-down stack");
    check_eq(c.sp, 0x21000, "its ESP");
    c.sp = 0x21003;
    c.cs = U_CS32;
    context_at(&c, ss_push);
    check_end(&c, SS, 0, 0, "PUSH below an expand-down stack");
    /* A 16-bit stack: SP wraps and the upper half of ESP stays. */
    descriptor_set(SEL, descriptor((ulong)memory, 0xffff, 0xf3, 0));
    c = context_flat(3);
    c.ss = SEL | 3, c.sp = 0, c.ax = 0x11223344;
    SNIPPET(32, push_narrow, "mov $0xabcd1004, %esp; push %eax");
    context_at(&c, push_narrow);
    check_end(&c, END, 0, -1, "PUSH on a 16-bit stack");
    check_eq(c.sp, 0xabcd1000, "ESP of a 16-bit stack");
    check_eq(*(u32 *)(memory + 0x1000), 0x11223344, "what it pushed");
    group_end();
}

SNIPPET(32, cs_read, "movl %cs:(%edi), %eax");
SNIPPET(32, cs_write, "movl %eax, %cs:(%edi)");
SNIPPET(32, jump_near, "jmp *%edi");
SNIPPET(32, rep_lods, "rep lodsb %fs:(%esi), %al");
SNIPPET(32, xlat_fs, ".byte 0x64, 0xd7");

static void types(void)
{
    struct context c;

    group_begin("type checks on accesses");
    for (u32 type = 0; type < 16; type += 2) {
        bool code = type & 8, readable = !code || (type & 2), writable = !code && (type & 2);

        descriptor_set(SEL,
                       descriptor(0, type & 4 && !code ? 0xff : 0xfffff, (u8)(0xf0 | type), 0xc));
        if (readable) {
            c = context_flat(3);
            c.fs = SEL | 3, c.di = (ulong)memory;
            context_at(&c, fs_read4);
            check_end(&c, END, 0, -1, "read, type %x", type);
            c = context_flat(3);
            c.fs = SEL | 3, c.di = (ulong)memory;
            context_at(&c, fs_write4);
            check_end(&c, writable ? END : GP, 0, writable ? -1 : 0, "write, type %x", type);
        }
        if (code && !(type & 4)) {
            c = context_flat(3);
            c.cs = SEL | 3, c.di = (ulong)memory;
            context_at(&c, cs_read);
            check_end(&c, readable ? END : GP, 0, readable ? -1 : 0, "CS read, type %x", type);
            c = context_flat(3);
            c.cs = SEL | 3, c.di = (ulong)memory;
            context_at(&c, cs_write);
            check_end(&c, GP, 0, 0, "CS write, type %x", type);
        }
    }
    c = context_flat(3);
    c.fs = 0, c.di = (ulong)memory;
    context_at(&c, fs_read1);
    check_end(&c, GP, 0, 0, "read through a null selector");
    c = context_flat(3);
    c.fs = 0, c.di = 5;
    context_at(&c, fs_lea);
    check_end(&c, END, 0, -1, "LEA does not look");
    c = context_flat(3);
    c.fs = 0, c.cx = 0, c.si = 0;
    context_at(&c, rep_lods);
    check_end(&c, END, 0, -1, "REP LODS with ECX 0 does not look");
    c = context_flat(3);
    c.fs = 0, c.bx = 0;
    context_at(&c, xlat_fs);
    check_end(&c, GP, 0, 0, "XLAT through a null selector");
    /* The limit of CS: at a jump, and when the next instruction is fetched. */
    descriptor_set(SEL, descriptor((ulong)load_es, 0x1000, 0xfa, 4));
    c = context_flat(3);
    c.cs = SEL | 3, c.di = 0x1001, c.base = c.ip = (ulong)jump_near - (ulong)load_es;
    context_run(&c);
    check_end(&c, GP, 0, 0, "a jump beyond the limit faults at the jump");
    descriptor_set(SEL, descriptor((ulong)load_es, 2, 0xfa, 4));
    c = context_flat(3);
    c.cs = SEL | 3, c.base = c.ip = 0;
    c.ax = 0;
    context_run(&c);
    check_end(&c, GP, 0, 2, "an instruction over the limit");
    group_end();
}

/* -- Gates ---------------------------------------------------------------------------------- */

SNIPPET(32, gate_call, "lcall $0x88, $0");
SNIPPET(32, gate_call_rpl3, "lcall $0x8b, $0");
SNIPPET(32, gate_jump, "ljmp $0x88, $0");
SNIPPET(32, gate_return, "lret $8");

static void call_gates(void)
{
    struct context c;
    u32 esp0 = tss.esp0, *stack, *user;

    group_begin("call gates");
    call_gate_facts(gate_call);
    for (u32 wide = 0; wide < 2; wide++) {
        u32 unit = wide ? 4 : 2;

        for (u32 n = 0; n < 32; n++) {
            u32 got;

            call_gate_set(K_CS32, (ulong)transfer_target, n, wide ? 0xec : 0xe4);
            c = context_flat(3);
            user = (u32 *)(c.sp -= 256);
            for (u32 i = 0; i < 64; i++)
                user[i] = 0x1000100 * (i + 1) + i;
            if (!wide) /* a 16-bit gate has a 16-bit offset */
                descriptor_set(SEL3, descriptor((ulong)transfer_target, 0xffff, 0x9b, 4));
            if (!wide)
                call_gate_set(SEL3, 0, n, 0xe4);
            context_at(&c, gate_call);
            check_eq(c.vector, END, "wide %u, %u parameters", wide, n);
            check_eq(c.cs, wide ? K_CS32 : SEL3, "wide %u, CS", wide);
            check_eq(esp0 - c.sp, (4 + n) * unit, "wide %u, %u parameters: stack", wide, n);
            stack = (u32 *)c.sp;
            got = memcmp((u8 *)stack + 2 * unit, user, n * unit) == 0;
            check(got, "wide %u, %u parameters: copied", wide, n);
            if (wide) {
                check(stack[0] == (u32)gate_call + 7 && (u16)stack[1] == U_CS32, "return address");
                check(stack[2 + n] == (u32)user && (u16)stack[3 + n] == U_DS, "old stack");
            } else {
                u16 *narrow = (u16 *)c.sp;
                check(narrow[0] == (u16)((u32)gate_call + 7) && narrow[1] == U_CS32, "16: return");
                check(narrow[2 + n] == (u16)(u32)user && narrow[3 + n] == U_DS, "16: old stack");
            }
        }
    }
    call_gate_set(K_CS32, (ulong)transfer_target, 0, 0xec);
    c = context_flat(3);
    context_at(&c, gate_call_rpl3);
    check_end(&c, END, 0, -1, "RPL 3 in the call");
    c = context_flat(3);
    context_at(&c, gate_jump);
    check_end(&c, GP, K_CS32, 0, "a jump may not go inwards");
    c = context_flat(0);
    context_at(&c, gate_call);
    check_eq(c.vector, END, "same privilege");
    check_eq(context_flat(0).sp - c.sp, 8, "same privilege: only the return address");
    call_gate_set(U_CS32, (ulong)transfer_target, 0, 0xec);
    c = context_flat(0);
    context_at(&c, gate_call);
    check_end(&c, GP, U_CS32 & ~3u, 0, "outwards");
    call_gate_set(K_CS32, (ulong)transfer_target, 0, 0x8c);
    c = context_flat(0);
    context_at(&c, gate_call_rpl3);
    check_end(&c, GP, SEL, 0, "RPL above the gate's DPL");
    group_end();

    /* The monitor's own stack comes from the TSS, too: a gate to ring 1 leaves it alone. */
    group_begin("stacks of call gates");
    descriptor_set(SEL2, descriptor(0, 0xfffff, 0xbb, 0xc));
    descriptor_set(SEL3, descriptor(0, 0xfffff, 0xb3, 0xc));
    descriptor_set(SEL4, descriptor(0, 0xfffff, 0x33, 0xc));
    call_gate_set(SEL2, (ulong)transfer_target, 1, 0xec);
    static const struct {
        u16 ss1;
        u32 vector, error;
        const char *name;
    } stacks[] = {
        {0, TS, 0, "null"},
        {SEL3, TS, SEL3, "RPL 0 for ring 1"},
        {K_DS | 1, TS, K_DS, "DPL 0 for ring 1"},
        {SEL2 | 1, TS, SEL2, "code"},
        {SEL4 | 1, SS, SEL4, "absent"},
        {0x401, TS, 0x400, "beyond the table"},
        {SEL3 | 1, END, 0, "good"},
    };
    for (u32 i = 0; i < ARRAY_SIZE(stacks); i++) {
        tss.ss1 = stacks[i].ss1, tss.esp1 = (u32)memory + 4096;
        c = context_flat(3);
        context_at(&c, gate_call);
        check_end(&c, stacks[i].vector, stacks[i].error, stacks[i].vector == END ? -1 : 0, "SS1 %s",
                  stacks[i].name);
        check_eq(c.cs, stacks[i].vector == END ? SEL2 | 1u : U_CS32, "SS1 %s: CS", stacks[i].name);
    }
    check_eq(c.sp, (u32)memory + 4096 - 20, "ring 1 stack");
    descriptor_set(SEL3, descriptor((ulong)memory, 0x10, 0xb3, 4));
    tss.esp1 = 0x10;
    c = context_flat(3);
    context_at(&c, gate_call);
    check_end(&c, SS, SEL3, 0, "no room on the new stack is #SS(selector)");
    group_end();
}

SNIPPET(32, far_return, "lret");
SNIPPET(32, far_jump_conforming, "ljmp $0x98, $conforming_target; conforming_target: nop");

static void far_returns(void)
{
    struct context c;
    u32 *stack;
    const struct return_case beyond = {0x2000, SEL4, K_DS, GP, 0, "EIP beyond the limit"};

    group_begin("far returns");
    return_facts(far_return, false);
    descriptor_set(SEL4, descriptor(0, 0xfff, 0x9b, 4));
    return_check(&beyond, far_return, false);
    c = context_flat(0);
    stack = (u32 *)(c.sp -= 64);
    stack[0] = (u32)transfer_target, stack[1] = U_CS32;
    stack[4] = 0x7000, stack[5] = U_DS;
    c.ds = K_DS, c.es = U_DS, c.fs = 0;
    c.gs = K_DS;
    context_at(&c, gate_return);
    check_end(&c, END, 0, -1, "RETF 8 to CPL 3");
    check_eq(c.cs, U_CS32, "its CS");
    check_eq(c.sp, 0x7008, "its ESP: the count is added to the outer stack, too");
    check_eq(c.ds | c.gs, 0, "DS and GS of DPL 0 become null");
    check_eq(c.es, U_DS, "ES of DPL 3 stays");
    c = context_flat(3);
    stack = (u32 *)(c.sp -= 64);
    stack[0] = (u32)transfer_target, stack[1] = K_CS32;
    context_at(&c, far_return);
    check_end(&c, GP, K_CS32, 0, "RETF inwards");
    /* Conforming code runs with the caller's privilege. */
    descriptor_set(SEL3, descriptor(0, 0xfffff, 0x9e, 0xc));
    c = context_flat(3);
    context_at(&c, far_jump_conforming);
    check_end(&c, END, 0, -1, "JMP to conforming code of DPL 0");
    check_eq(c.cs, SEL3 | 3, "CPL stays 3 in conforming code");
    descriptor_set(SEL3, descriptor(0, 0xfffff, 0xfe, 0xc));
    c = context_flat(0);
    context_at(&c, far_jump_conforming);
    check_end(&c, GP, SEL3, 0, "JMP to conforming code of DPL 3 from CPL 0");
    group_end();
}

/* -- LAR, LSL, VERR, VERW, ARPL -------------------------------------------------------------- */

SNIPPET(32, do_lar, "lar %ecx, %eax; setz %dl");
SNIPPET(32, do_lsl, "lsl %ecx, %eax; setz %dl");
SNIPPET(32, do_verr, "verr %cx; setz %dl");
SNIPPET(32, do_verw, "verw %cx; setz %dl");
SNIPPET(32, do_arpl, "arpl %cx, %ax; setz %dl");

static bool visible(u8 access, u32 cpl, u32 rpl)
{
    if ((access & (CODE | CONFORMING)) == (CODE | CONFORMING))
        return true;
    return cpl <= dpl_of(access) && rpl <= dpl_of(access);
}

static void inspect(void)
{
    static const u16 lar_types = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 |
                                 1 << 12; /* SDM 2 LAR, table 3-53 */
    static const u16 lsl_types = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
    struct context c;

    group_begin("LAR, LSL, VERR, VERW");
    for (u32 access = 0; access < 256; access++) {
        for (u32 cpl = 0; cpl <= 3; cpl += 3) {
            for (u32 rpl = 0; rpl <= 3; rpl += 3) {
                bool see = visible((u8)access, cpl, rpl), memory_type = access & S_BIT;
                bool code = (access & CODE) == CODE;
                bool lar = see && (memory_type || lar_types >> (access & 15) & 1);
                bool lsl = see && (memory_type || lsl_types >> (access & 15) & 1);
                bool verr = see && memory_type && (!code || access & READABLE);
                bool verw = see && memory_type && !code && access & READABLE;
                const u8 *const insns[] = {do_lar, do_lsl, do_verr, do_verw};
                bool wants[] = {lar, lsl, verr, verw};

                descriptor_set(SEL, descriptor(0x12345678, 0x54321, (u8)access, 0xd));
                for (u32 i = 0; i < 4; i++) {
                    c = context_flat(cpl);
                    c.cx = SEL | rpl, c.ax = 0x99999999;
                    context_at(&c, insns[i]);
                    check(c.vector == END && (c.dx & 1) == wants[i],
                          "instruction %u access %x cpl %u rpl %u: zf %lx", i, access, cpl, rpl,
                          c.dx);
                    if (i == 0)
                        check_eq(lar ? c.ax & ~0xf0000ul
                                     : c.ax, /* the limit's bits are undefined */
                                 lar ? 0x00d00000 | access << 8 : 0x99999999,
                                 "LAR result, access %x", access);
                    if (i == 1)
                        check_eq(c.ax, lsl ? 0x54321fff : 0x99999999, "LSL result, access %x",
                                 access);
                }
            }
        }
    }
    for (u32 i = 0; i < 3; i++) {
        static const u16 selectors[] = {0, 3, 0x400};
        c = context_flat(3);
        c.cx = selectors[i], c.dx = 1;
        context_at(&c, do_lar);
        check_eq(c.dx & 1, 0, "LAR of selector %x", selectors[i]);
        c = context_flat(3);
        c.cx = selectors[i], c.dx = 1;
        context_at(&c, do_verr);
        check_eq(c.dx & 1, 0, "VERR of selector %x", selectors[i]);
    }
    group_end();
    group_begin("ARPL");
    for (u32 i = 0; i < 16; i++) {
        u32 to = i & 3, from = i >> 2;
        c = context_flat(3);
        c.ax = 0xabc0 | to, c.cx = 0x120 | from;
        context_at(&c, do_arpl);
        check_eq(c.dx & 1, to < from, "ZF %u %u", to, from);
        check_eq(c.ax, 0xabc0 | (to < from ? from : to), "result %u %u", to, from);
    }
    group_end();
}

void guest_main(void)
{
    loads();
    limits();
    types();
    call_gates();
    far_returns();
    inspect();
}
