/* SPDX-License-Identifier: MIT
 *
 * Segmentation in long mode (SDM 3A 3.4.2, 3.5, 5.8.3.1): which loads still check, bases and limits
 * that do not count, 64-bit call gates, far transfers between 64-bit and compatibility mode.
 */
#include "call_gates.h"

enum { SEL = FREE_SEL, SEL3 = FREE_SEL + 24 };

static u8 memory[8192] __attribute__((aligned(4096)));

SNIPPET(64, load_ss, "mov %eax, %ss; nop");
SNIPPET(64, load_fs, "mov %eax, %fs; nop");
SNIPPET(64, load_ds, "mov %eax, %ds; nop");
SNIPPET(64, ds_read, "mov %ds:(%rdi), %al");
SNIPPET(64, es_read, "mov %es:(%rdi), %al");
SNIPPET(64, fs_read, "mov %fs:(%rdi), %eax");
SNIPPET(64, fs_read_addr32, "mov %fs:(%edi), %eax");
SNIPPET(64, push_seg, "push %fs; pop %rax");
SNIPPET(64, old_push_cs, ".byte 0x0e");
SNIPPET(64, old_lds, ".byte 0xc5, 0x07");
SNIPPET(64, old_daa, ".byte 0x27");
SNIPPET(64, old_pusha, ".byte 0x60");
SNIPPET(64, old_callf, ".byte 0x9a, 0, 0, 0, 0, 8, 0");
SNIPPET(64, old_jmpf, ".byte 0xea, 0, 0, 0, 0, 8, 0");
SNIPPET(64, old_salc, ".byte 0xd6");
SNIPPET(64, old_group1, ".byte 0x82, 0xc0, 1");
SNIPPET(64, old_aam, ".byte 0xd4, 10");

static void absent_opcodes(void)
{
    static const u8 *const code[] = {old_push_cs, old_lds,  old_daa,    old_pusha, old_callf,
                                     old_jmpf,    old_salc, old_group1, old_aam};

    group_begin("opcodes that 64-bit mode does not have");
    for (u32 i = 0; i < ARRAY_SIZE(code); i++) {
        struct context c = context_flat(3);

        context_at(&c, code[i]);
        check_end(&c, UD, 0, 0, "opcode %x", code[i][0]);
    }
    group_end();
}

static void loads(void)
{
    struct context c;

    group_begin("segment loads");
    for (u32 rpl = 0; rpl < 4; rpl++) {
        c = context_flat(0);
        c.ax = rpl;
        context_at(&c, load_ss);
        check_end(&c, rpl == 0 ? END : GP, 0, rpl == 0 ? -1 : 0, "null SS at CPL 0, rpl %u", rpl);
        c = context_flat(3);
        c.ax = rpl;
        context_at(&c, load_ss);
        check_end(&c, GP, 0, 0, "null SS at CPL 3, rpl %u", rpl);
    }
    descriptor_set(SEL, descriptor(0x1000, 1, 0xf3, 4));
    c = context_flat(3);
    c.ax = SEL | 3, c.di = (ulong)memory;
    context_at(&c, load_ds);
    check_end(&c, END, 0, -1, "DS with a base and a limit");
    memory[5] = 0x5a;
    c = context_flat(3);
    c.ds = SEL | 3, c.di = (ulong)memory + 5;
    context_at(&c, ds_read);
    check_end(&c, END, 0, -1, "DS base and limit do not count");
    check_eq(c.ax, 0x5a, "the byte");
    c = context_flat(3);
    c.es = 0, c.di = (ulong)memory + 5;
    context_at(&c, es_read);
    check_end(&c, END, 0, -1, "a null ES does not count");
    descriptor_set(SEL, descriptor((ulong)memory, 0, 0xf3, 4));
    *(u32 *)(memory + 0x100) = 0xcafe;
    c = context_flat(3);
    c.fs = SEL | 3, c.di = 0x100;
    context_at(&c, fs_read);
    check_end(&c, END, 0, -1, "FS has its base and no limit");
    check_eq(c.ax, 0xcafe, "the value through FS");
    check_eq(rdmsr(MSR_FS_BASE), (ulong)memory, "FS base in its MSR");
    wrmsr(MSR_FS_BASE, 0xffffffff00000000ul + (ulong)memory);
    c = context_flat(3);
    c.fs = SEL | 3;
    c.di = 0x100000100;
    wrmsr(MSR_FS_BASE, (ulong)memory - 0x100000000);
    context_at(&c, fs_read);
    check_eq(c.ax, 0xcafe, "FS base of 64 bits");
    wrmsr(MSR_FS_BASE, (ulong)memory);
    c.di = 0xffffffff00000100;
    c.vector = 0;
    context_at(&c, fs_read_addr32);
    check_eq(c.ax, 0xcafe, "a 32-bit address is cut before the base is added");
    descriptor_set(SEL, descriptor(0xfffff000, 0, 0xf3, 4));
    c = context_flat(3);
    c.ax = SEL | 3;
    context_at(&c, load_fs);
    check_eq(rdmsr(MSR_FS_BASE), 0xfffff000, "a descriptor's base is not sign-extended");
    c = context_flat(3);
    c.fs = SEL | 3;
    c.ax = ~0ul;
    context_at(&c, push_seg);
    check_eq(c.ax & 0xffff, SEL | 3, "PUSH FS");
    c = context_flat(3);
    c.ax = 0;
    context_at(&c, load_fs);
    /* AMD says in CPUID whether a null selector clears the base (APM 3, 80000021 EAX[6]). */
    if (cpu_is_intel() || (cpuid(0x80000021, 0).a >> 6 & 1))
        check_eq(rdmsr(MSR_FS_BASE), 0, "a null FS clears the base");
    else
        check(rdmsr(MSR_FS_BASE) == 0 || rdmsr(MSR_FS_BASE) == 0xfffff000,
              "a null FS clears or keeps the base");
    c = context_flat(3);
    c.ax = U_CS64;
    context_at(&c, load_ds);
    check_end(&c, END, 0, -1, "readable code in DS");
    c = context_flat(3);
    c.ax = TSS_SEL;
    context_at(&c, load_ds);
    check_end(&c, GP, TSS_SEL, 0, "a TSS in DS");
    group_end();
    wrmsr(MSR_FS_BASE, 0);

    if (skip_on_qemu("upper halves of system descriptors"))
        return;
    group_begin("LLDT and LTR");
    descriptor_set(SEL, descriptor(0x1000, 0xfff, 0x82, 0));
    descriptor_set(SEL + 8, 0x00001f0000000000);
    TRY("lldt %w0", ::"r"(SEL));
    check_fault(GP, SEL, "upper half with a type");
    descriptor_set(SEL + 8, 0x8000);
    TRY("lldt %w0", ::"r"(SEL));
    check(trap.vector == GP, "non-canonical base");
    descriptor_set(SEL, descriptor(0x1000, 0xfff, 0x89, 0));
    TRY("ltr %w0", ::"r"(SEL));
    check(trap.vector == GP, "LTR of a non-canonical base");
    TRY("ltr %w0", ::"r"(0x3f8));
    check_fault(GP, 0x3f8, "LTR with the upper half beyond the table");
    descriptor_set(SEL + 8, 0);
    descriptor_set(SEL, descriptor(0, 0xfff, 0x81, 0));
    TRY("ltr %w0", ::"r"(SEL));
    check_fault(GP, SEL, "LTR of a 16-bit TSS");
    group_end();
}

SNIPPET(64, gate_call, "lcall *gate_pointer(%rip)");
SNIPPET(64, gate_jump, "ljmp *gate_pointer(%rip)");
SNIPPET(64, gate_pointer_code, "gate_pointer: .long 0; .word 0x88");
SNIPPET(32, gate_call32, "lcall $0x88, $0");

static void call_gates(void)
{
    struct context c;
    u64 *stack;
    static const struct gate_case cases[] = {
        {K_CS32, 0xec, GP, K_CS32, "32-bit code"},
        {SEL3, 0xec, GP, SEL3, "code with L and D"},
        {K_CS64, 0xe4, GP, SEL, "16-bit gate"},
        {K_CS64, 0xe5, GP, SEL, "task gate"},
    };

    descriptor_set(SEL3, descriptor(0, 0xfffff, 0x9b, 0xe));
    group_begin("64-bit call gates");
    call_gate_facts(gate_call);
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
        call_gate_check(&cases[i], gate_call);
    call_gate_set(K_CS64, 0x0000800000000000, 0, 0xec);
    c = context_flat(3);
    context_at(&c, gate_call);
    check_end(&c, GP, cpu_is_intel() ? SEL : -1, 0, "non-canonical target");
    call_gate_set(K_CS64, (u64)transfer_target, 0, 0xec);
    descriptor_set(SEL + 8, (u64)0x01 << 40);
    c = context_flat(3);
    context_at(&c, gate_call);
    check_end(&c, GP, SEL, 0, "upper half with a type");
    call_gate_set(K_CS64, (u64)transfer_target, 0, 0xec);
    c = context_flat(3);
    context_at(&c, gate_jump);
    check_end(&c, GP, K_CS64, 0, "a jump inwards");
    /* To ring 0 on RSP0, with a null SS. IST of vector 7f would hide the stack: look at memory. */
    for (u32 compat = 0; compat < 2; compat++) {
        c = context_flat(3);
        c.cs = compat ? U_CS32 : U_CS64;
        context_at(&c, compat ? gate_call32 : gate_call);
        stack = (u64 *)c.sp;
        check_eq(c.vector, END, "compat %u arrives", compat);
        check_eq(c.cs, K_CS64, "compat %u CS", compat);
        check_eq(c.ss, 0, "compat %u SS", compat);
        check_eq(c.sp, tss.rsp[0] - 32, "compat %u RSP", compat);
    }
    call_gate_set(U_CS64, (u64)transfer_target, 0, 0xec);
    c = context_flat(3);
    context_at(&c, gate_call);
    check_eq(c.vector, END, "same privilege");
    stack = (u64 *)c.sp;
    check_eq(stack[1], U_CS64, "same privilege: pushed CS");
    check_eq(stack[0], (u64)gate_call + 6, "same privilege: pushed RIP");
    group_end();
}

SNIPPET(64, far_return64, "lretq");
SNIPPET(64, far_return32, "lret");
SNIPPET(32, to_long, "push $0x2b; push $long_target; lret");
SNIPPET(32, jump_long, "ljmp $0x2b, $long_target; long_target: nop");
SNIPPET(64, far_call_m, ".byte 0x48, 0xff, 0x1f");
SNIPPET(64, far_call_m32, "lcall *(%rdi)");

static void transfers(void)
{
    struct context c;
    static const struct return_case cases[] = {
        {0x0000800000000000, K_CS64, K_DS, GP, 0, "non-canonical RIP"},
        {0x0000800000000000, U_CS64, U_DS, GP, 0, "non-canonical RIP outwards"},
        {0, SEL3, K_DS, GP, SEL3, "L and D"},
        {0, U_CS32, 3, GP, 0, "null SS, compatibility mode"},
        {0, U_CS32, U_DS, END, 0, "to compatibility mode"},
    };

    group_begin("far transfers");
    return_facts(far_return64, false);
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
        return_check(&cases[i], far_return64, false);
    c = context_flat(3);
    c.cs = U_CS32;
    context_at(&c, to_long);
    check_end(&c, END, 0, -1, "RETF to 64-bit code");
    check_eq(c.cs, U_CS64, "its CS");
    c = context_flat(3);
    c.cs = U_CS32;
    context_at(&c, jump_long);
    check_end(&c, END, 0, -1, "JMP to 64-bit code");
    check_eq(c.cs, U_CS64, "its CS");
    *(u32 *)memory = (u32)(u64)transfer_target, *(u16 *)(memory + 4) = U_CS64;
    c = context_flat(3);
    c.di = (ulong)memory;
    context_at(&c, far_call_m32);
    check_end(&c, END, 0, -1, "CALL m16:32");
    check_eq(context_flat(3).sp - c.sp, 8, "pushes 8 bytes");
    if (cpu_is_intel()) {
        *(u64 *)memory = (u64)transfer_target, *(u16 *)(memory + 8) = U_CS64;
        c = context_flat(3);
        c.di = (ulong)memory;
        context_at(&c, far_call_m);
        check_end(&c, END, 0, -1, "CALL m16:64");
        check_eq(context_flat(3).sp - c.sp, 16, "pushes 16 bytes");
    }
    group_end();
}

SNIPPET(64, do_lar, "lar %ecx, %eax; setz %dl");
SNIPPET(64, do_lsl, "lsl %ecx, %eax; setz %dl");

static void inspect(void)
{
    static const u16 lar_types = 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12;
    static const u16 lsl_types = 1 << 2 | 1 << 9 | 1 << 11;
    struct context c;

    group_begin("LAR and LSL of system descriptors");
    for (u32 type = 0; type < 16; type++) {
        descriptor_set(SEL, descriptor(0, 0x123, (u8)(0x80 | type), 0));
        descriptor_set(SEL + 8, 0);
        c = context_flat(0);
        c.cx = SEL;
        context_at(&c, do_lar);
        check_eq(c.dx & 1, lar_types >> type & 1, "LAR type %x", type);
        c = context_flat(0);
        c.cx = SEL;
        context_at(&c, do_lsl);
        check_eq(c.dx & 1, lsl_types >> type & 1, "LSL type %x", type);
        if (lsl_types >> type & 1)
            check_eq(c.ax, 0x123, "LSL of type %x", type);
    }
    group_end();
}

void guest_main(void)
{
    absent_opcodes();
    loads();
    call_gates();
    transfers();
    inspect();
}
