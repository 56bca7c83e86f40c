/* SPDX-License-Identifier: MIT
 *
 * Interrupts and exceptions in long mode: gates, stack switches and IST, error codes, double
 * faults, shadows, priorities, IRET, SYSCALL/SYSRET, SYSENTER/SYSEXIT, SWAPGS (SDM 3A chapter 6,
 * SDM 2).
 */
#include "events.h"
#include "returns.h"

#define NON_CANONICAL 0x0000800000000000ul

static struct frame seen;
static u64 seen_rsp;
static volatile u32 seen_count;
static u8 stack2[8192] __attribute__((aligned(16)));

static void record(struct frame *f)
{
    seen = *f;
    seen_rsp = (u64)f;
    seen_count++;
}

SNIPPET(64, int3_one, "int3");
SNIPPET(64, int3_two, ".byte 0xcd, 3");
SNIPPET(64, icebp, ".byte 0xf1");
SNIPPET(64, into64, ".byte 0xce");
SNIPPET(64, bound64, ".byte 0x62, 0x00");
SNIPPET(32, into32, "into");
SNIPPET(32, bound32, "bound %eax, (%ebx)");
SNIPPET(64, divide_min, "idiv %rcx");
SNIPPET(64, long_insn, ".fill 15, 1, 0x2e; nop");
SNIPPET(64, lock_nop, ".byte 0xf0, 0x90");
SNIPPET(64, lock_reg, ".byte 0xf0, 0x01, 0xc0");

static void software(void)
{
    struct context c;
    static i32 bounds[2] = {-5, 10};

    group_begin("instructions that trap");
    c = context_flat(3);
    context_at(&c, int3_one);
    check_end(&c, BP, 0, 1, "INT3");
    context_at(&c, int3_two);
    check_end(&c, BP, 0, 2, "INT 3");
    context_at(&c, icebp);
    check_end(&c, DB, 0, 1, "INT1");
    check_eq(c.dr6 & 0xf00f, 0, "INT1 leaves DR6");
    context_at(&c, ud2_insn);
    check_end(&c, UD, 0, 0, "UD2");
    check(c.flags & FL_RF, "RF in the image of a fault");
    c = context_flat(3);
    context_at(&c, into64);
    check_end(&c, UD, 0, 0, "INTO in 64-bit mode");
    c = context_flat(3);
    c.cx = 0;
    context_at(&c, divide);
    check_end(&c, DE, 0, 0, "DIV by zero");
    c = context_flat(3);
    c.ax = 0, c.dx = BIT(63), c.cx = 1;
    context_at(&c, divide_min);
    check_end(&c, DE, 0, 0, "IDIV overflow");
    check_eq(c.dx, BIT(63), "IDIV overflow leaves RDX");
    c = context_flat(3);
    context_at(&c, long_insn);
    check_end(&c, GP, 0, 0, "16 bytes");
    c = context_flat(3);
    context_at(&c, lock_nop);
    check_end(&c, UD, 0, 0, "LOCK NOP");
    c = context_flat(3);
    context_at(&c, lock_reg);
    check_end(&c, UD, 0, 0, "LOCK ADD register");
    c = context_flat(3);
    c.cs = U_CS32;
    context_at(&c, into32);
    check_end(&c, END, 0, 3, "INTO without OF");
    c = context_flat(3);
    c.cs = U_CS32;
    c.flags |= FL_OF;
    context_at(&c, into32);
    check_end(&c, OF, 0, 1, "INTO with OF");
    for (i32 i = -6; i <= 11; i++) {
        bool inside = i >= -5 && i <= 10;
        c = context_flat(3);
        c.cs = U_CS32, c.ax = (u32)i, c.bx = (ulong)bounds;
        context_at(&c, bound32);
        check_end(&c, inside ? END : BR, 0, inside ? 4 : 0, "BOUND %d", i);
    }
    group_end();
}

static void gates(void)
{
    struct context c;
    struct gate good;

    group_begin("gates");
    gate_facts();
    good = idt[0x80];
    idt[0x80].offset_high = 0x8000;
    c = context_flat(0);
    context_at(&c, int80);
    check_end(&c, GP, 0, 0, "non-canonical target");
    idt[0x80] = good;
    group_end();
}

static void stacks(void)
{
    struct context c;
    ulong rsp;

    group_begin("frames and stacks");
    trap_set_handler(0x80, record);
    idt[0x80].ist = 0;
    idt[0x80].type = PRESENT | DPL3 | INTERRUPT_GATE;
    for (u32 skew = 0; skew < 16; skew++) {
        c = context_flat(0);
        c.sp -= skew;
        rsp = c.sp;
        c.flags |= FL_IF | FL_CF;
        context_at(&c, int80);
        check_end(&c, END, 0, -1, "same privilege, skew %u", skew);
        check_eq((u64)seen_rsp + __builtin_offsetof(struct frame, ss) + 8, rsp & ~15ul,
                 "RSP is aligned to 16, skew %u", skew);
        check_eq(seen.sp, rsp, "pushed RSP, skew %u", skew);
        check_eq(seen.ss, K_DS, "pushed SS, skew %u", skew);
        check_eq(c.sp, rsp, "IRETQ restores RSP, skew %u", skew);
        check(c.flags & FL_IF, "IRETQ restores IF");
    }
    idt[0x80].ist = 2;
    tss.ist[1] = (u64)stack2 + sizeof(stack2) - 5;
    c = context_flat(0);
    context_at(&c, int80);
    check_eq(seen_rsp + __builtin_offsetof(struct frame, ss) + 8,
             (u64)(stack2 + sizeof(stack2) - 16), "IST stack, aligned");
    c = context_flat(3);
    context_at(&c, int80);
    check_eq(seen_rsp + __builtin_offsetof(struct frame, ss) + 8,
             (u64)(stack2 + sizeof(stack2) - 16), "IST stack from CPL 3");
    idt[0x80].ist = 0;
    context_at(&c, int80);
    check_eq(seen_rsp + __builtin_offsetof(struct frame, ss) + 8, tss.rsp[0], "RSP0 from CPL 3");
    tss.ist[1] = NON_CANONICAL + 4096;
    idt[0x80].ist = 2;
    c = context_flat(3);
    context_at(&c, int80);
    check_end(&c, SS, 0, 0, "non-canonical IST");
    idt[0x80].ist = 0;
    trap_set_handler(0x80, NULL);

    /* IF is cleared by an interrupt gate only; TF, NT and RF by both. */
    static struct context inner;
    for (u32 type = INTERRUPT_GATE; type <= TRAP_GATE; type++) {
        u64 flags = 0;
        idt_set(0x80, (void *)nothing, K_CS, (u8)(PRESENT | DPL3 | type));
        inner = context_flat(3);
        inner.flags |= FL_IF | FL_NT | FL_AC | FL_DF;
        /* The handler is a snippet; it ends in INT 7f, whose frame has the flags it ran with. */
        context_at(&inner, int80);
        flags = inner.flags;
        check_eq(inner.cs, K_CS, "handler runs at CPL 0, type %x", type);
        check_eq(inner.ss, 0, "SS is null in the handler, type %x", type);
        check_eq(flags & FL_IF, type == TRAP_GATE ? FL_IF : 0, "IF, type %x", type);
        check_eq(flags & (FL_NT | FL_TF), 0, "NT and TF, type %x", type);
        check_eq(flags & (FL_AC | FL_DF), FL_AC | FL_DF, "AC and DF stay, type %x", type);
    }
    idt_set(0x80, trap_entries[0x80], K_CS, PRESENT | DPL3 | INTERRUPT_GATE);
    group_end();
}

static void double_faults(void)
{
    struct context c;
    struct gate ud = idt[UD], pf = idt[PF], np = idt[NP];

    SNIPPET(64, raise_pf, "movabs 0x700000000000, %rax");
    group_begin("faults while delivering");
    double_fault_facts();
    idt[PF].type &= (u8)~PRESENT;
    c = context_flat(3);
    context_at(&c, raise_pf);
    check_end(&c, DF, 0, -1, "#PF then #NP is #DF");
    check_eq(c.cr2, 0x700000000000, "CR2 of the first fault");
    idt[PF] = pf;
    idt[NP].type &= (u8)~PRESENT;
    idt[UD].type &= (u8)~PRESENT;
    c = context_flat(3);
    context_at(&c, ud2_insn);
    check_end(&c, DF, 0, -1, "#UD, #NP, then #NP is #DF");
    idt[NP] = np;
    idt[UD] = ud;
    idt[UD].ist = 2;
    tss.ist[1] = 0x700000000000;
    c = context_flat(3);
    context_at(&c, ud2_insn);
    check_end(&c, PF, 2, 0, "#UD with its stack absent is #PF");
    check_eq(c.cr2, 0x700000000000 - 8, "CR2 of that #PF");
    idt[UD] = ud;
    idt[PF].ist = 2;
    c = context_flat(3);
    context_at(&c, raise_pf);
    check_end(&c, DF, 0, -1, "#PF with its stack absent is #DF");
    check_eq(c.cr2, 0x700000000000 - 8, "CR2 of the second #PF");
    idt[PF] = pf;
    group_end();
}

/* -- IRET ----------------------------------------------------------------------------------- */

/* The frame at R8 is returned through with IRETQ at CPL 0. */
SNIPPET(64, iretq_insn, "iretq");
SNIPPET(64, iretq_from, "mov %r8, %rsp; iretq");
SNIPPET(64, iretl_from, "mov %r8, %rsp; iret");

static void iret(void)
{
    static u64 stack[8];
    static u32 stack32[8];
    struct context c;
    static const struct return_case canonical[] = {
        {NON_CANONICAL, K_CS, K_DS, GP, 0, "non-canonical RIP"},
        {NON_CANONICAL, U_CS64, U_DS, GP, 0, "non-canonical RIP at CPL 3"},
    };
    /* What QEMU lets pass. */
    static const struct return_case strict[] = {
        {0, U_CS32, 3, GP, 0, "null SS to compatibility mode"},
        {1, K_CS32, 0, GP, 0, "null SS to compatibility mode at CPL 0"},
        {0, FREE_SEL, K_DS, GP, FREE_SEL, "CS with L and D"},
    };

    descriptor_set(FREE_SEL, descriptor(0, 0xfffff, 0x9b, 0xe));
    group_begin("IRETQ");
    return_facts(iretq_insn, true);
    for (u32 i = 0; i < ARRAY_SIZE(canonical); i++)
        return_check(&canonical[i], iretq_insn, true);
    for (u32 i = 0; i < ARRAY_SIZE(strict); i++) {
        if (!skip_on_qemu(strict[i].name))
            return_check(&strict[i], iretq_insn, true);
    }
    stack[0] = (u64)nothing, stack[1] = K_CS, stack[2] = FL_ONE | FL_NT | FL_RF, stack[4] = K_DS;
    c = context_flat(0);
    c.flags |= FL_NT;
    c.r8 = (u64)stack;
    context_at(&c, iretq_from);
    check_end(&c, GP, 0, 3, "NT set");
    c = context_flat(0);
    c.r8 = (u64)stack;
    stack[3] = NON_CANONICAL;
    stack[2] = FL_ONE | FL_ID | FL_AC;
    context_at(&c, iretq_from);
    check_end(&c, END, 0, -1, "a non-canonical RSP is loaded");
    check_eq(c.sp, NON_CANONICAL, "the RSP");
    check_eq(c.flags & (FL_ID | FL_AC), FL_ID | FL_AC, "ID and AC are loaded");
    stack[3] = 0x5000, stack[4] = 0;
    c = context_flat(0);
    c.r8 = (u64)stack;
    context_at(&c, iretq_from);
    check_end(&c, END, 0, -1, "null SS at CPL 0 in 64-bit mode");
    check_eq(c.ss, 0, "the null SS");
    stack[1] = U_CS64, stack[2] = FL_ONE | FL_IOPL | FL_VM, stack[4] = U_DS;
    c = context_flat(0);
    c.r8 = (u64)stack;
    context_at(&c, iretq_from);
    check_end(&c, END, 0, -1, "VM is ignored in IA-32e mode");
    check_eq(c.flags & (FL_VM | FL_IOPL), FL_IOPL, "IOPL is loaded at CPL 0, VM is not");
    c = context_flat(0);
    c.r8 = (u64)stack + 2;
    context_at(&c, iretq_from);
    check_end(&c, GP, -1, 3, "a shifted frame");
    c = context_flat(0);
    c.r8 = NON_CANONICAL + 8;
    context_at(&c, iretq_from);
    check_end(&c, SS, 0, 3, "a frame at a non-canonical address");
    stack32[0] = (u32)(u64)nothing, stack32[1] = U_CS32, stack32[2] = 2, stack32[3] = 0x5000;
    stack32[4] = U_DS;
    c = context_flat(0);
    c.r8 = (u64)stack32;
    context_at(&c, iretl_from);
    check_end(&c, END, 0, -1, "IRETD to compatibility mode");
    check_eq(c.cs, U_CS32, "CS of compatibility mode");
    check_eq(c.sp, 0x5000, "ESP of compatibility mode");
    group_end();

    group_begin("IRETQ at CPL 3");
    SNIPPET(64, iret_user,
            "pushq $0x23; pushq %rsp; pushfq; orl $0x203200, (%rsp); pushq $0x2b; "
            "lea 1f(%rip), %rax; push %rax; iretq; 1: nop");
    c = context_flat(3);
    context_at(&c, iret_user);
    check_end(&c, END, 0, -1, "returns");
    check_eq(c.flags & (FL_ID | FL_IF | FL_IOPL), FL_ID, "IF and IOPL stay, ID is loaded");
    SNIPPET(64, iret_up,
            "pushq $0x10; pushq %rsp; pushfq; pushq $0x30; lea 1f(%rip), %rax; "
            "push %rax; 2: iretq; 1: nop");
    c = context_flat(3);
    context_at(&c, iret_up);
    check_end(&c, GP, K_CS, -1, "to CPL 0");
    /* Data segments above the new CPL become null. */
    SNIPPET(64, iret_down,
            "pushq $0x23; pushq $0x5000; pushfq; pushq $0x2b; lea 1f(%rip), %rax; "
            "push %rax; iretq; 1: nop");
    c = context_flat(0);
    c.ds = K_DS, c.es = U_DS;
    context_at(&c, iret_down);
    check_end(&c, END, 0, -1, "to CPL 3");
    check_eq(c.ds, 0, "DS of DPL 0 becomes null");
    check_eq(c.es, U_DS, "ES of DPL 3 stays");
    group_end();
}

/* -- Fast system calls ---------------------------------------------------------------------- */

SNIPPET(64, do_syscall, "syscall; nop");
SNIPPET(64, do_syscall_at, "syscall");
SNIPPET(32, do_syscall32, "syscall");
SNIPPET(64, do_sysretq, "sysretq");
SNIPPET(64, do_sysretl, "sysretl");
SNIPPET(64, do_swapgs, "swapgs");

static void syscalls(void)
{
    struct context c;

    wrmsr(MSR_STAR, (u64)U_CS32 << 48 | (u64)K_CS64 << 32);
    wrmsr(MSR_LSTAR, (u64)nothing);
    wrmsr(MSR_CSTAR, (u64)ud2_insn);
    wrmsr(MSR_FMASK, FL_IF | FL_TF | FL_DF);
    group_begin("SYSCALL and SYSRET");
    c = context_flat(3);
    c.flags |= FL_IF | FL_DF | FL_CF | FL_AC;
    context_at(&c, do_syscall);
    check_eq(c.vector, END, "SYSCALL arrives");
    check_eq(c.ip, (u64)nothing_end, "SYSCALL goes to LSTAR");
    check_eq(c.cs, K_CS64, "SYSCALL CS");
    check_eq(c.ss, K_CS64 + 8, "SYSCALL SS");
    check_eq(c.cx, (u64)do_syscall + 2, "SYSCALL RCX");
    check_eq(c.r11, FL_ONE | FL_IF | FL_DF | FL_CF | FL_AC, "SYSCALL R11");
    check_eq(c.flags, FL_ONE | FL_CF | FL_AC, "SYSCALL RFLAGS");
    c = context_flat(3);
    c.cs = U_CS32;
    context_at(&c, do_syscall32);
    if (cpu_is_intel()) {
        check_end(&c, UD, 0, 0, "SYSCALL in compatibility mode on Intel");
    } else {
        check_end(&c, UD, 0, -1, "SYSCALL in compatibility mode on AMD");
        check_eq(c.ip, (u64)ud2_insn, "goes to CSTAR");
    }
    c = context_flat(0);
    c.cx = (u64)nothing, c.r11 = FL_CF | FL_RF | FL_VM | FL_IF | FL_NT | FL_ID | 0x8028;
    context_at(&c, do_sysretq);
    check_end(&c, END, 0, -1, "SYSRETQ");
    check_eq(c.cs, U_CS64, "SYSRETQ CS");
    check_eq(c.ss, U_DS, "SYSRETQ SS");
    check_eq(c.flags, FL_ONE | FL_CF | FL_IF | FL_NT | FL_ID, "SYSRETQ RFLAGS");
    c = context_flat(0);
    c.cx = (u64)nothing | BIT(40), c.r11 = 2;
    context_at(&c, do_sysretl);
    check_end(&c, END, 0, -1, "SYSRETL");
    check_eq(c.cs, U_CS32, "SYSRETL CS");
    check_eq(c.ip, (u64)nothing_end, "SYSRETL takes ECX");
    c = context_flat(0);
    c.cx = NON_CANONICAL, c.r11 = 2;
    context_at(&c, do_sysretq);
    check_eq(c.vector, GP, "SYSRETQ to a non-canonical address");
    check_eq(c.cs, cpu_is_intel() ? K_CS64 : U_CS64, "at CPL 0 on Intel, at CPL 3 on AMD");
    group_end();

    group_begin("SWAPGS");
    wrmsr(MSR_GS_BASE, 0x1111), wrmsr(MSR_KERNEL_GS_BASE, 0xffff800000002222);
    c = context_flat(0);
    c.gs = 0x10;
    context_at(&c, do_swapgs);
    check_end(&c, END, 0, -1, "completes");
    check_eq(rdmsr(MSR_GS_BASE), 0xffff800000002222, "GS base");
    check_eq(rdmsr(MSR_KERNEL_GS_BASE), 0x1111, "kernel GS base");
    wrmsr(MSR_GS_BASE, 0), wrmsr(MSR_KERNEL_GS_BASE, 0);
    SNIPPET(32, swapgs32, ".byte 0x0f, 0x01, 0xf8");
    c = context_flat(0);
    c.cs = K_CS32;
    context_at(&c, swapgs32);
    check_end(&c, UD, 0, 0, "compatibility mode");
    group_end();
}

SNIPPET(64, do_sysexitq, "sysexitq");
SNIPPET(64, do_sysexitl, "sysexitl");

static void sysenter(void)
{
    struct context c;

    group_begin("SYSENTER and SYSEXIT in long mode");
    if (!cpu_is_intel()) {
        wrmsr(MSR_SYSENTER_CS, K_CS32);
        c = ran(3, sysenter_insn);
        check_end(&c, UD, 0, 0, "SYSENTER on AMD");
        c = ran(0, do_sysexitq);
        check_end(&c, UD, 0, 0, "SYSEXIT on AMD");
    } else {
        sysenter_facts(do_sysexitq, K_CS32 + 35);
        c = context_flat(0);
        c.dx = NON_CANONICAL;
        context_at(&c, do_sysexitq);
        check_end(&c, GP, 0, 0, "SYSEXITQ to a non-canonical address");
        c = context_flat(0);
        c.dx = (u64)nothing, c.cx = 0x5000;
        context_at(&c, do_sysexitl);
        check_eq(c.cs, K_CS32 + 19, "SYSEXITL CS");
    }
    group_end();
}

/* -- Maskable interrupts, NMI, shadows ------------------------------------------------------ */

enum { IPI = 0x90 };

static void self_ipi(u32 mode_vector)
{
    lapic_write(0x310, 0);
    lapic_write(0x300, 0x40000 | mode_vector);
}

/* Not by the Self shorthand: it carries fixed interrupts only (SDM 3A table 11-3). */
static void send_nmi(void)
{
    lapic_write(0x310, lapic_read(0x20) & 0xff000000);
    lapic_write(0x300, 0x4400);
}

SNIPPET(64, sti_shadow, "sti; nop; nop");
SNIPPET(64, sti_cli, "sti; cli; nop");
SNIPPET(64, sti_sti, "sti; sti; nop");
SNIPPET(64, ss_shadow, "sti; mov %eax, %ss; nop; nop");
SNIPPET(64, ss_ss, "mov %eax, %ss; mov %eax, %ss; nop");
SNIPPET(64, popf_if, "pushq $0x202; popfq; nop; nop");
SNIPPET(64, sti_hlt, "sti; hlt; nop");

static void shadows(void)
{
    struct context c;
    static const struct {
        const u8 *code;
        i64 at;
        const char *name;
    } cases[] = {
        {sti_shadow, 2, "STI holds off one instruction"},
        {sti_sti, 2, "a second STI adds nothing"},
        {ss_shadow, 4, "STI then MOV SS: the STI shadow ends after the MOV, the MOV's is new"},
        {popf_if, 6, "POPF has no shadow"},
        {sti_hlt, 2, "STI HLT wakes after the HLT"},
    };

    lapic_write(0xf0, 0x1ff);
    group_begin("interrupt shadows");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        c = context_flat(0);
        c.ax = K_DS;
        self_ipi(IPI);
        context_at(&c, cases[i].code);
        if (i == 2)
            check(c.vector == IPI && (c.ip - c.base == 3 || c.ip - c.base == 4), "%s: +%lx",
                  cases[i].name, c.ip - c.base);
        else
            check_end(&c, IPI, 0, cases[i].at, "%s", cases[i].name);
        lapic_write(0xb0, 0);
    }
    c = context_flat(0);
    self_ipi(IPI);
    context_at(&c, sti_cli);
    check_end(&c, END, 0, -1, "STI CLI takes no interrupt");
    c = context_flat(0);
    c.flags |= FL_IF;
    context_at(&c, nothing);
    check_end(&c, IPI, 0, 0, "it comes with IF, before the first instruction");
    lapic_write(0xb0, 0);

    /* TPR, priority order, self-IPI seen at once. */
    self_ipi(0x51), self_ipi(0x92), self_ipi(0x71);
    c = context_flat(0);
    c.flags |= FL_IF;
    context_at(&c, nothing);
    check_eq(c.vector, 0x92, "the highest vector first");
    context_at(&c, nothing);
    check_eq(c.vector, END, "lower classes wait for the EOI");
    lapic_write(0xb0, 0);
    asm volatile("mov %0, %%cr8" ::"r"(7ul));
    c = context_flat(0);
    c.flags |= FL_IF;
    context_at(&c, nothing);
    check_eq(c.vector, END, "TPR 7 holds 71 back");
    asm volatile("mov %0, %%cr8" ::"r"(6ul));
    context_at(&c, nothing);
    check_eq(c.vector, 0x71, "TPR 6 lets it pass");
    lapic_write(0xb0, 0);
    asm volatile("mov %0, %%cr8" ::"r"(0ul));
    context_at(&c, nothing);
    check_eq(c.vector, 0x51, "then 51");
    lapic_write(0xb0, 0);
    group_end();

    group_begin("NMI");
    trap_set_handler(NMI, record);
    seen_count = 0;
    send_nmi();
    for (u32 i = 0; i < 1000 && seen_count == 0; i++)
        barrier();
    check_eq(seen_count, 1, "an NMI comes with IF clear");
    trap_set_handler(NMI, NULL);
    /* Ended without IRET: NMIs stay blocked until the next IRET, which any context begins with. */
    c = context_flat(0);
    SNIPPET(64, nmi_spin, "movl $0x4400, (%rdi); mov $1000, %ecx; 1: loop 1b");
    SNIPPET(64, spin, "mov $1000, %ecx; 1: loop 1b");
    c.di = LAPIC_DEFAULT + 0x300;
    context_at(&c, nmi_spin);
    check_end(&c, NMI, 0, -1, "taken in a context");
    if (c.vector == NMI) {
        trap_set_handler(NMI, record);
        seen_count = 0;
        send_nmi();
        for (u32 i = 0; i < 1000; i++)
            barrier();
        check_eq(seen_count, 0, "blocked before IRET");
        c = context_flat(0);
        context_at(&c, spin);
        check_eq(seen_count, 1, "comes after IRET");
        trap_set_handler(NMI, NULL);
    }
    group_end();
}

/* SDM 3A table 6-2: the older instruction's trap, the breakpoint, the interrupt, then faults. */
static void priorities(void)
{
    struct context c;

    group_begin("priorities");
    c = context_flat(0);
    c.flags |= FL_TF;
    context_at(&c, ud2_insn);
    check_end(&c, UD, 0, 0, "#UD before the trap of TF");
    c = context_flat(0);
    c.flags |= FL_TF | FL_IF;
    SNIPPET(64, nop_ud, "nop; ud2");
    self_ipi(IPI);
    context_at(&c, nop_ud);
    check_end(&c, IPI, 0, 0, "a waiting interrupt before the first instruction");
    check(c.flags & FL_TF, "TF is in its frame");
    lapic_write(0xb0, 0);
    SNIPPET(64, ud_user, ".byte 0x0f, 0x22, 0xe8");
    c = context_flat(3);
    context_at(&c, ud_user);
    check_end(&c, UD, 0, 0, "MOV CR5 at CPL 3 is #UD before #GP");
    SNIPPET(64, lock_cr, ".byte 0xf0, 0x0f, 0x20, 0xc0");
    c = context_flat(3);
    context_at(&c, lock_cr);
    check(c.vector == UD || c.vector == GP,
          "LOCK MOV CR0 faults (CR8 by alternative encoding on AMD)");
    group_end();
}

void guest_main(void)
{
    software();
    gates();
    stacks();
    double_faults();
    iret();
    syscalls();
    sysenter();
    shadows();
    priorities();
}
