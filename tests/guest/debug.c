/* SPDX-License-Identifier: MIT
 *
 * Debug exceptions (SDM 3B chapter 17): breakpoints on instructions, data and ports with every
 * length, single steps, shadows, RF, general detect, and what DR6 says after each.
 */
#include "guest.h"

enum dr6 { B0 = 1, B1 = 2, B2 = 4, B3 = 8, BD = 1 << 13, BS = 1 << 14, BT = 1 << 15 };
enum kind { EXECUTE, WRITE_ONLY, PORT, READ_WRITE };
enum { DR6_MASK = B0 | B1 | B2 | B3 | BD | BS | BT };

static u8 data[64] __attribute__((aligned(64)));

static u32 dr7(u32 index, enum kind kind, u32 length)
{
    static const u32 codes[] = {0, 0, 1, 0, 3, 0, 0, 0, 2};

    return 2u << (2 * index) | (u32)kind << (16 + 4 * index) | codes[length] << (18 + 4 * index);
}

static void breakpoint(u32 index, ulong address, u32 control)
{
    switch (index) {
    case 0: write_db0(address); break;
    case 1: write_db1(address); break;
    case 2: write_db2(address); break;
    default: write_db3(address); break;
    }
    write_db7(control | 0x400);
}

static void breakpoints_off(void)
{
    write_db7(0x400);
    write_db6(0xffff0ff0);
}

/* The context ended with #DB at this offset with these bits in DR6. */
static void check_db(const struct context *c, u32 bits, i64 offset, const char *name)
{
    check(c->vector == DB && (c->dr6 & DR6_MASK) == bits && (ulong)offset == c->ip - c->base,
          "%s: vector %lx dr6 %lx at +%lx, expected dr6 %x at +%llx", name, c->vector, c->dr6,
          c->ip - c->base, bits, (u64)offset);
    breakpoints_off();
}

SNIPPET(64, nops, "nop; nop; nop; nop");
SNIPPET(64, load1, "movb (%rdi), %al; nop");
SNIPPET(64, load2, "movw (%rdi), %ax; nop");
SNIPPET(64, load4, "movl (%rdi), %eax; nop");
SNIPPET(64, load8, "movq (%rdi), %rax; nop");
SNIPPET(64, store1, "movb %al, (%rdi); nop");
SNIPPET(64, store8, "movq %rax, (%rdi); nop");
SNIPPET(64, add4, "addl %eax, (%rdi); nop");
SNIPPET(64, push8, "push %rax; nop");
SNIPPET(64, rep_stosb, "rep stosb; nop");
SNIPPET(64, load16, "movups (%rdi), %xmm0; nop");

static void instruction_breakpoints(void)
{
    struct context c;

    group_begin("instruction breakpoints");
    for (u32 i = 0; i < 4; i++) {
        breakpoint(i, (ulong)nops + 2, dr7(i, EXECUTE, 1));
        c = context_flat(i & 1 ? 3 : 0);
        context_at(&c, nops);
        check_eq(c.flags & FL_RF, 0, "RF is left to the handler (SDM 3B 17.3.1.1)");
        check_db(&c, 1u << i, 2, "breakpoint before the instruction");
    }
    breakpoint(0, (ulong)nops, dr7(0, EXECUTE, 1));
    c = context_flat(0);
    c.flags |= FL_RF;
    context_at(&c, nops);
    check_end(&c, END, 0, -1, "RF holds off the breakpoint at the first instruction");
    check_eq(c.flags & FL_RF, 0, "RF is clear after one instruction");
    c = context_flat(0);
    c.flags |= FL_RF;
    breakpoint(0, (ulong)nops + 1, dr7(0, EXECUTE, 1));
    context_at(&c, nops);
    check_db(&c, B0, 1, "RF holds for one instruction only");
    write_db1((ulong)nops + 1);
    breakpoint(0, (ulong)nops + 1, dr7(0, EXECUTE, 1) | dr7(1, EXECUTE, 1));
    c = context_flat(0);
    context_at(&c, nops);
    check_db(&c, B0 | B1, 1, "two at one place");
    breakpoint(0, (ulong)nops + 1, 1);
    c = context_flat(0);
    context_at(&c, nops);
    check_db(&c, B0, 1, "local enable");
    /* Not the first byte of the instruction. */
    SNIPPET(64, two_byte, "nop; mov $0x11223344, %eax; nop");
    breakpoint(0, (ulong)two_byte + 2, dr7(0, EXECUTE, 1));
    c = context_flat(0);
    context_at(&c, two_byte);
    check_end(&c, END, 0, -1, "inside an instruction nothing happens");
    breakpoints_off();
    breakpoint(0, (ulong)two_byte + 1, dr7(0, EXECUTE, 1));
    c = context_flat(0);
    c.flags |= FL_TF;
    context_at(&c, two_byte);
    check(c.vector == DB && (c.dr6 & BS), "step onto a breakpoint");
    breakpoints_off();
    group_end();
}

/* SDM 3B 17.2.5: a breakpoint covers its aligned range; an access hits when any byte is in it. */
static void data_breakpoints(void)
{
    static const struct {
        const u8 *code;
        u32 size, length;
        bool write;
    } cases[] = {{load1, 1, 2, false}, {load2, 2, 3, false}, {load4, 4, 2, false},
                 {load8, 8, 3, false}, {store1, 1, 2, true}, {store8, 8, 3, true},
                 {add4, 4, 2, true}};
    struct context c;

    group_begin("data breakpoints");
    for (u32 length = 1; length <= 8; length *= 2) {
        for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
            for (u32 at = 8; at <= 32; at++) {
                for (u32 kind = WRITE_ONLY; kind <= READ_WRITE; kind += 2) {
                    bool hit = at + cases[i].size > 16 && at < 16 + length &&
                               (cases[i].write || kind == READ_WRITE);

                    breakpoint(1, (ulong)data + 16, dr7(1, kind, length));
                    c = context_flat(0);
                    c.di = (ulong)data + at;
                    context_at(&c, cases[i].code);
                    if (hit)
                        check(c.vector == DB && (c.dr6 & DR6_MASK) == B1 &&
                                  c.ip - c.base == cases[i].length,
                              "case %u kind %u length %u at %u: vector %lx dr6 %lx +%lx", i, kind,
                              length, at, c.vector, c.dr6, c.ip - c.base);
                    else
                        check(c.vector == END, "case %u kind %u length %u at %u", i, kind, length,
                              at);
                    breakpoints_off();
                }
            }
        }
    }
    breakpoint(2, (ulong)data + 16, dr7(2, WRITE_ONLY, 4));
    c = context_flat(3);
    c.di = (ulong)data + 19;
    context_at(&c, store1);
    check_db(&c, B2, 2, "a store at CPL 3");
    c = context_flat(0);
    breakpoint(3, c.sp - 8, dr7(3, WRITE_ONLY, 8));
    context_at(&c, push8);
    check_db(&c, B3, 1, "PUSH");
    breakpoint(0, (ulong)data + 20, dr7(0, WRITE_ONLY, 1));
    c = context_flat(0);
    c.di = (ulong)data, c.cx = 40;
    context_at(&c, rep_stosb);
    check(c.vector == DB && (c.dr6 & DR6_MASK) == B0, "REP STOSB hits: %lx", c.vector);
    check_eq(c.cx, 40 - 21, "REP STOSB stops after the iteration that hit");
    check_eq(c.ip - c.base, 0, "REP STOSB is to be resumed");
    breakpoints_off();
    breakpoint(0, (ulong)data + 4, dr7(0, READ_WRITE, 4));
    c = context_flat(0);
    c.di = (ulong)data - 8;
    asm volatile("mov %%cr4, %%rax; or $0x600, %%eax; mov %%rax, %%cr4" ::: "rax");
    context_at(&c, load16);
    check_db(&c, B0, 3, "a 16-byte load over the range");
    /* A breakpoint that is not enabled, but hit, may be told; none that is not hit. */
    write_db1((ulong)data + 32);
    breakpoint(0, (ulong)data, dr7(0, WRITE_ONLY, 1));
    c = context_flat(0);
    c.di = (ulong)data;
    context_at(&c, store1);
    check_db(&c, B0, 2, "only the breakpoint that was hit");
    group_end();
}

SNIPPET(64, io_out, "out %al, %dx; nop");
SNIPPET(64, io_in4, "in %dx, %eax; nop");

static void port_breakpoints(void)
{
    struct context c;
    ulong cr4 = read_cr4();

    group_begin("port breakpoints");
    write_cr4(cr4 | CR4_DE);
    breakpoint(0, 0x80, dr7(0, PORT, 1));
    c = context_flat(0);
    c.dx = 0x80;
    context_at(&c, io_out);
    check_db(&c, B0, 1, "OUT to the port");
    breakpoint(0, 0x80, dr7(0, PORT, 1));
    c = context_flat(0);
    c.dx = 0x81;
    context_at(&c, io_out);
    check_end(&c, END, 0, -1, "OUT to the next port");
    breakpoint(0, 0x84, dr7(0, PORT, 4));
    c = context_flat(0);
    c.dx = 0x84;
    context_at(&c, io_in4);
    check_db(&c, B0, 1, "IN of 4 bytes");
    TRY("mov %%db4, %0", : "=r"(c.ax));
    check_fault(UD, 0, "DR4 with CR4.DE");
    write_cr4(cr4);
    write_db6(0xffff0ff0);
    TRY("mov %%db4, %0", : "=r"(c.ax));
    check_no_fault("DR4 without CR4.DE");
    check_eq(c.ax, 0xffff0ff0, "DR4 is DR6");
    breakpoints_off();
    group_end();
}

SNIPPET(64, step_jump, "jmp 1f; nop; 1: nop");
SNIPPET(64, step_rep, "rep movsb; nop");
SNIPPET(64, step_popf, "popfq; nop; nop");
SNIPPET(64, step_ss, "mov %eax, %ss; nop; nop");
SNIPPET(64, step_int, "int $0x7e; nop");
SNIPPET(64, step_syscall, "syscall; nop");
SNIPPET(64, step_pushf, "pushfq; pop %rax; nop");
SNIPPET(64, step_cpuid, "cpuid; nop");
SNIPPET(64, step_wrmsr, "wrmsr; nop");
SNIPPET(64, step_fault, "movabs 0x700000000000, %rax; nop");
SNIPPET(64, step_target, "nop; nop");

static u32 steps;
static void count_step(struct frame *f)
{
    if (read_db6() & BS)
        steps++;
    write_db6(0xffff0ff0);
    (void)f;
}

static struct context stepped(const u8 *code, u32 cpl)
{
    struct context c = context_flat(cpl);

    c.flags |= FL_TF;
    c.ax = K_DS;
    c.si = (ulong)data, c.di = (ulong)data + 32, c.cx = 5;
    context_at(&c, code);
    return c;
}

static void single_step(void)
{
    struct context c;

    group_begin("single step");
    c = stepped(nops, 0);
    check_db(&c, BS, 1, "NOP");
    check(c.flags & FL_TF, "TF is in the frame");
    check_eq(c.flags & FL_RF, 0, "RF is clear in the image of a trap");
    c = stepped(step_jump, 3);
    check_db(&c, BS, 3, "JMP");
    c = stepped(step_rep, 0);
    check_db(&c, BS, 0, "REP MOVSB, one iteration");
    check_eq(c.cx, 4, "RCX after one iteration");
    c = context_flat(0);
    c.flags |= FL_TF, c.cx = 1, c.si = (ulong)data, c.di = (ulong)data + 8;
    context_at(&c, step_rep);
    check_db(&c, BS, 2, "REP MOVSB, the last iteration");
    c = context_flat(0);
    *(u64 *)c.sp = FL_ONE | FL_TF;
    context_at(&c, step_popf);
    check_db(&c, BS, 2, "POPF sets TF: the trap is after the next instruction");
    c = context_flat(0);
    *(u64 *)c.sp = FL_ONE;
    c.flags |= FL_TF;
    context_at(&c, step_popf);
    check_db(&c, BS, 1, "POPF clears TF: the trap is after the POPF");
    c = stepped(step_ss, 0);
    check_db(&c, BS, 3, "MOV SS: the trap is after the next instruction");
    c = stepped(step_pushf, 0);
    check_db(&c, BS, 1, "PUSHF");
    c = stepped(step_cpuid, 0);
    check_db(&c, BS, 2, "CPUID");
    c = stepped(step_fault, 3);
    check_end(&c, PF, 4, 0, "a fault instead of the step");
    check_eq(c.dr6 & BS, 0, "no BS after a fault");
    check(c.flags & FL_TF, "TF in the fault's frame");
    idt_set(0x7e, step_target, K_CS, PRESENT | DPL3 | INTERRUPT_GATE);
    c = stepped(step_int, 0);
    check_end(&c, END, 0, -1, "INT n clears TF for its handler");
    check_eq(c.ip, (ulong)step_target_end, "the handler ran to its end");
    check_eq(c.dr6 & BS, 0, "without a step");

    wrmsr(MSR_STAR, (u64)U_CS32 << 48 | (u64)K_CS64 << 32);
    wrmsr(MSR_LSTAR, (u64)step_target);
    wrmsr(MSR_FMASK, FL_TF);
    c = stepped(step_syscall, 3);
    check_end(&c, END, 0, -1, "SYSCALL with TF masked does not trap");
    check(c.cx - (ulong)step_syscall == 2, "SYSCALL");
    check_eq(c.r11 & FL_TF, FL_TF, "R11 keeps TF");
    wrmsr(MSR_FMASK, 0);
    c = stepped(step_syscall, 3);
    check(c.vector == DB && c.ip == (ulong)step_target, "SYSCALL with TF not masked traps: %lx",
          c.ip);
    breakpoints_off();
    SNIPPET(64, step_sysret, "sysretq");
    c = context_flat(0);
    c.cx = (ulong)step_target, c.r11 = FL_ONE | FL_TF;
    context_at(&c, step_sysret);
    check(c.vector == DB && (c.ip == (ulong)step_target || c.ip == (ulong)step_target + 1) &&
              c.cs == U_CS64,
          "SYSRET that sets TF: %lx", c.ip);
    breakpoints_off();

    trap_set_handler(DB, count_step);
    steps = 0;
    c = stepped(step_rep, 3);
    check_end(&c, END, 0, -1, "REP MOVSB stepped to its end");
    check_eq(steps, 6, "one trap an iteration and one for the NOP");
    trap_set_handler(DB, NULL);
    group_end();
}

static void shadow(void)
{
    struct context c;
    static u32 selector = K_DS;

    group_begin("MOV SS holds off data breakpoints");
    SNIPPET(64, ss_memory, "mov (%rdi), %ss; nop; nop");
    breakpoint(0, (ulong)&selector, dr7(0, READ_WRITE, 4));
    c = context_flat(0);
    c.di = (ulong)&selector;
    context_at(&c, ss_memory);
    check_db(&c, B0, 3, "until the next instruction is over");
    breakpoint(0, (ulong)ss_memory + 2, dr7(0, EXECUTE, 1));
    c = context_flat(0);
    c.di = (ulong)&selector;
    context_at(&c, ss_memory);
    check(c.vector == END || (c.vector == DB && c.ip - c.base == 2),
          "an instruction breakpoint in the shadow may be held off: %lx", c.vector);
    breakpoints_off();
    /* SDM 3A 6.8.3: held off until the handler is entered, whose first instruction it comes before.
     */
    SNIPPET(64, ss_int, "mov (%rdi), %ss; int $0x7e; nop");
    idt_set(0x7e, step_target, K_CS, PRESENT | DPL3 | INTERRUPT_GATE);
    breakpoint(0, (ulong)&selector, dr7(0, READ_WRITE, 4));
    c = context_flat(0);
    c.di = (ulong)&selector;
    context_at(&c, ss_int);
    check(c.vector == DB && c.ip == (ulong)step_target && (c.dr6 & DR6_MASK) == B0,
          "MOV SS, INT n: vector %lx at %lx, dr6 %lx", c.vector, c.ip, c.dr6);
    breakpoints_off();
    group_end();
}

static void general_detect(void)
{
    ulong value;
    struct context c;

    group_begin("general detect and registers");
    write_db7(0x400 | 1 << 13);
    TRY("mov %%db0, %0", : "=r"(value));
    check(trap.vector == DB && trap.ip == trap.start && (trap.dr6 & DR6_MASK) == BD,
          "MOV from DR0 with GD: vector %lx dr6 %lx", trap.vector, trap.dr6);
    check_eq(read_db7() & 1 << 13, 0, "the exception clears GD");
    breakpoints_off();
    write_db7(~0u & ~(1u << 13));
    check_eq(read_db7() & 0xffffd400 & 0xdc00, 0x400, "fixed bits of DR7");
    breakpoints_off();
    write_db6(0);
    check_eq(read_db6() & 0xfffe0ff0, 0xfffe0ff0 & (cpuid(7, 0).c & 1 << 24 ? ~0x800u : ~0u),
             "fixed bits of DR6");
    TRY("mov %0, %%db7", ::"r"(BIT(32)));
    check_fault(GP, 0, "DR7 above 32 bits");
    TRY("mov %0, %%db6", ::"r"(BIT(32)));
    check_fault(GP, 0, "DR6 above 32 bits");
    SNIPPET(64, user_dr, "mov %db6, %rax");
    c = context_flat(3);
    context_at(&c, user_dr);
    check_end(&c, GP, 0, 0, "MOV from DR6 at CPL 3");
    TRY(".byte 0x0f, 0x23, 0xe0", ::"a"(0));
    check_no_fault("DR4 is DR6 without CR4.DE");
    group_end();
    breakpoints_off();
}

static void compatibility(void)
{
    struct context c;

    SNIPPET(32, nop32, "nop; nop; movl %eax, (%edi); nop");
    SNIPPET(16, nop16, "nop; nop; movl %eax, (%edi); nop");
    if (skip_on_qemu("debug exceptions in compatibility mode"))
        return;
    group_begin("compatibility mode");
    for (u32 i = 0; i < 2; i++) {
        const u8 *code = i ? nop16 : nop32;
        struct context start = context_flat(3);

        /* 16-bit code has a 16-bit IP: its segment starts at the snippet. */
        descriptor_set(FREE_SEL, descriptor((ulong)code, 0xffff, 0xfa, 0));
        start.cs = i ? FREE_SEL | 3 : U_CS32, start.di = (ulong)data;
        start.ip = start.base = i ? 0 : (ulong)code;
        c = start, c.flags |= FL_TF;
        context_run(&c);
        check_db(&c, BS, 1, "step");
        breakpoint(0, (ulong)code + 1, dr7(0, EXECUTE, 1));
        c = start;
        context_run(&c);
        check_db(&c, B0, 1, "breakpoint");
        breakpoint(0, (ulong)data + 1, dr7(0, WRITE_ONLY, 1));
        c = start;
        context_run(&c);
        check_db(&c, B0, i ? 6 : 4, "store");
    }
    group_end();
}

void guest_main(void)
{
    breakpoints_off();
    instruction_breakpoints();
    data_breakpoints();
    port_breakpoints();
    single_step();
    shadow();
    general_detect();
    compatibility();
}
