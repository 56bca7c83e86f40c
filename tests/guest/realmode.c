/* SPDX-License-Identifier: MIT
 *
 * Real mode (SDM 3A chapter 20): 16-bit addressing and its wrap, the interrupt vector table,
 * exceptions without error codes, instructions that real mode lacks, BCD, big real mode; and
 * virtual-8086 mode with and without VME (SDM 3A 20.2-20.3).
 */
#include "guest.h"

#define REAL(name, text) SNIPPET(16, name, text)
#define RUN(c, name)     real_run(&(c), name, name##_end, false)

REAL(nothing, "nop");
REAL(add_flags, "add %dx, %ax");
REAL(imul_wide, "imul %cx");
REAL(div_word, "div %cx");
REAL(wrap_read, "movw (%di), %ax");
REAL(wrap_write, "movl %eax, (%di)");
REAL(stack_push, "push %ax");
REAL(push_sp, "push %sp; pop %ax");
REAL(loop_cx, "1: inc %ax; loop 1b");
REAL(loop_ecx, "1: inc %ax; .byte 0x67, 0xe2, 0xfc");
REAL(string_copy, "rep movsb");
REAL(string_scan, "repne scasb");
REAL(near_call, "call 1f; 1: pop %ax");
REAL(bp_address, "movb (%bp,%di), %al");
REAL(address32, "movb (%edi), %al");
REAL(lea_32, "lea 0x12345(%eax,%ecx,4), %edx");
REAL(les_far, "les (%di), %dx");
REAL(xlat_al, "xlat");
REAL(in_segment, "mov %ax, %es; mov %es, %dx; movb %es:(%di), %cl");

static void basics(void)
{
    struct context c;

    group_begin("16-bit instructions");
    c = context_real();
    c.ax = 0x1234ffff, c.dx = 1;
    RUN(c, add_flags);
    check_eq(c.vector, END, "ADD ends");
    check_eq(c.ax, 0x12340000, "ADD leaves the upper half");
    check_eq(c.flags & FL_ARITH, FL_CF | FL_PF | FL_AF | FL_ZF, "ADD flags");
    c = context_real();
    c.ax = 300, c.cx = 300, c.dx = 0xabcd0000;
    RUN(c, imul_wide);
    check_eq(c.dx << 16 | (c.ax & 0xffff), 0x0001 << 16 | 0x5f90, "IMUL");
    check_eq(c.dx >> 16, 0xabcd, "IMUL upper half");
    c = context_real();
    c.cx = 0;
    RUN(c, div_word);
    check_end(&c, DE, 0, 0, "DIV by zero");
    c = context_real();
    c.ax = 0, c.dx = 5, c.cx = 5;
    RUN(c, div_word);
    check_end(&c, DE, 0, 0, "DIV overflow");
    c = context_real();
    c.cx = 0x10003, c.ax = 0;
    RUN(c, loop_cx);
    check_eq(c.ax, 3, "LOOP counts CX");
    check_eq(c.cx, 0x10000, "LOOP leaves the upper half of ECX");
    c = context_real();
    c.cx = 0x00010003, c.ax = 0;
    RUN(c, loop_ecx);
    check_eq(c.ax, 3, "LOOP with ECX");
    check_eq(c.cx, 0, "LOOP with ECX counts all of it");
    c = context_real();
    c.sp = 0x7000;
    RUN(c, push_sp);
    check_eq(c.ax & 0xffff, 0x7000, "PUSH SP pushes the old value");
    c = context_real();
    c.bp = 0xabcd6000;
    REAL(enter_frame, "enter $8, $2; mov %bp, %dx; mov %sp, %cx; leave");
    RUN(c, enter_frame);
    check_eq(c.dx & 0xffff, REAL_STACK - 2, "ENTER frame pointer");
    check_eq(c.cx & 0xffff, REAL_STACK - 2 - 4 - 8, "ENTER with two levels");
    check_eq(c.bp, 0xabcd6000, "LEAVE");
    REAL(push_all, "pushaw; pop %dx; pop %dx; pop %dx; pop %dx; add $8, %sp");
    c = context_real();
    RUN(c, push_all);
    check_eq(c.dx & 0xffff, REAL_STACK, "PUSHA pushes the old SP");
    c = context_real();
    RUN(c, near_call);
    check_eq(c.ax & 0xffff, REAL_CODE + 3, "CALL pushes IP");
    c = context_real();
    c.ax = 0x10, c.cx = 0x100;
    RUN(c, lea_32);
    check_eq(c.dx, 0x12345 + 0x10 + 0x400, "LEA with 32-bit addressing");
    *(u8 *)(REAL_DATA + 0x345) = 0x77;
    c = context_real();
    c.ss = REAL_DATA >> 4, c.sp = 0x8000, c.bp = 0x300, c.di = 0x45, c.ax = 0;
    RUN(c, bp_address);
    check_eq(c.ax, 0x77, "BP addresses through SS");
    *(u32 *)(REAL_DATA + 0x10) = 0x43215678;
    c = context_real();
    c.ds = REAL_DATA >> 4, c.di = 0x10;
    RUN(c, les_far);
    check_eq(c.dx & 0xffff, 0x5678, "LES offset");
    check_eq(c.es, 0x4321, "LES segment");
    c = context_real();
    c.ax = 0x2010, c.di = 0x245;
    RUN(c, in_segment);
    check_eq(c.dx & 0xffff, 0x2010, "MOV ES");
    check_eq(c.cx & 0xff, 0x77, "a segment is sixteen times its value");
    c = context_real();
    c.ax = 0xff, c.bx = 0xff01, c.ds = REAL_DATA >> 4;
    *(u8 *)(REAL_DATA + 0) = 0x61;
    RUN(c, xlat_al);
    check_eq(c.ax & 0xff, 0x61, "XLAT wraps at 64 KiB");
    group_end();
}

static void wraps(void)
{
    struct context c;

    group_begin("the end of a segment");
    for (u32 i = 0; i < 3; i++) {
        c = context_real();
        c.ds = REAL_DATA >> 4, c.di = 0xffff - i;
        *(u16 *)(REAL_DATA + 0xffff - i) = 0x1234;
        RUN(c, wrap_read);
        check_end(&c, i == 0 ? GP : END, 0, i == 0 ? 0 : -1, "read of 2 bytes at %x", 0xffff - i);
    }
    for (u32 i = 0; i < 5; i++) {
        c = context_real();
        c.ds = REAL_DATA >> 4, c.di = 0xffff - i;
        RUN(c, wrap_write);
        check_end(&c, i < 3 ? GP : END, 0, i < 3 ? 0 : -1, "write of 4 bytes at %x", 0xffff - i);
    }
    c = context_real();
    c.ds = REAL_DATA >> 4, c.di = 0x10000;
    RUN(c, address32);
    check_end(&c, GP, 0, 0, "a 32-bit address above 64 KiB");
    c = context_real();
    c.ss = REAL_DATA >> 4, c.sp = 0x12340000 | 0x8000, c.ax = 0xaabb;
    RUN(c, stack_push);
    check_end(&c, END, 0, -1, "PUSH with an upper half in ESP");
    check_eq(c.sp, 0x12347ffe, "the upper half stays");
    check_eq(*(u16 *)(REAL_DATA + 0x7ffe), 0xaabb, "SP is used");
    c = context_real();
    c.ds = c.es = REAL_DATA >> 4, c.si = 0xfffe, c.di = 0x100, c.cx = 4;
    memset((void *)(REAL_DATA + 0xfffe), 1, 2), memset((void *)REAL_DATA, 2, 2);
    RUN(c, string_copy);
    check_end(&c, END, 0, -1, "REP MOVSB over the end");
    check_eq(*(u32 *)(REAL_DATA + 0x100), 0x02020101, "SI wraps");
    check_eq(c.si, 2, "SI afterwards");
    c = context_real();
    c.es = REAL_DATA >> 4, c.di = 0xfff0, c.cx = 0x40, c.ax = 2;
    memset((void *)(REAL_DATA + 0xfff0), 9, 16);
    RUN(c, string_scan);
    check_eq(c.di, 1, "REPNE SCASB wraps");
    check_eq(c.cx, 0x40 - 17, "REPNE SCASB count");
    /* The stack at its lowest place. */
    REAL(push_zero, "mov %sp, %dx; xor %sp, %sp; push %ax; mov %sp, %cx; mov %dx, %sp");
    c = context_real();
    c.ss = REAL_DATA >> 4, c.sp = 0x8000, c.ax = 0x5151;
    RUN(c, push_zero);
    check_end(&c, END, 0, -1, "PUSH with SP 0");
    check_eq(c.cx & 0xffff, 0xfffe, "SP wraps to fffe");
    check_eq(*(u16 *)(REAL_DATA + 0xfffe), 0x5151, "what it pushed");
    /* Addresses above 1 MiB through FFFF:xxxx, with A20 on. */
    c = context_real();
    c.ds = 0xffff, c.di = 0x10;
    RUN(c, wrap_read);
    check_eq(c.ax & 0xffff, *(volatile u16 *)0x100000, "FFFF:0010 is 1 MiB with A20 on");
    group_end();
}

REAL(int60, "int $0x60");
REAL(int3_insn, "int3");
REAL(into_insn, "into");
REAL(bound_insn, "bound %ax, (%di)");
REAL(ud2_insn, "ud2");
REAL(sldt_insn, "sldt %ax");
REAL(str_insn, "str %ax");
REAL(lldt_insn, "lldt %ax");
REAL(ltr_insn, "ltr %ax");
REAL(lar_insn, "lar %ax, %ax");
REAL(lsl_insn, "lsl %ax, %ax");
REAL(verr_insn, "verr %ax");
REAL(arpl_insn, ".byte 0x63, 0xc8");
REAL(sgdt_insn, "sgdt (%di)");
REAL(smsw_insn, "smsw %ax");
REAL(lmsw_insn, "lmsw %ax");
REAL(cr_insn, "mov %cr0, %eax");
REAL(cli_insn, "sti; cli; pushf; pop %ax");
REAL(sysenter_insn, "sysenter");
REAL(syscall_insn, "syscall");
REAL(vex_insn, ".byte 0xc5, 0xf8, 0x77");
REAL(lds_register, ".byte 0xc5, 0xc0");
REAL(int_flags, "int $0x61; nop");
REAL(iret_insn, "pushw $0x0ed7; pushw %cs; push $1f-iret_insn+0xb000; iret; 1: pushf; pop %ax; "
                "push $2; popf");
REAL(popf_insn, "push $0x7ed7; popf; pushf; pop %ax; push $2; popf");
REAL(rdmsr_insn, "rdmsr");
REAL(hlt_like, "clts; wbinvd; invd");
REAL(retf_insn, "push %cs; push $1f-retf_insn+0xb000; lret; 1: nop");
REAL(long_insn, ".fill 15, 1, 0x2e; nop");
REAL(lidt_short, "lidtl %cs:1f-lidt_short+0xb000; int $0x60; 1: .word 0x17f; .long 0");

static void interrupts(void)
{
    struct context c;
    static const struct {
        const u8 *code, *end;
        u32 vector;
        u32 offset;
        const char *name;
    } cases[] = {
        {int60, int60_end, 0x60, 2, "INT 60"},
        {int3_insn, int3_insn_end, BP, 1, "INT3"},
        {ud2_insn, ud2_insn_end, UD, 0, "UD2"},
        {sldt_insn, sldt_insn_end, UD, 0, "SLDT"},
        {str_insn, str_insn_end, UD, 0, "STR"},
        {lldt_insn, lldt_insn_end, UD, 0, "LLDT"},
        {ltr_insn, ltr_insn_end, UD, 0, "LTR"},
        {lar_insn, lar_insn_end, UD, 0, "LAR"},
        {lsl_insn, lsl_insn_end, UD, 0, "LSL"},
        {verr_insn, verr_insn_end, UD, 0, "VERR"},
        {arpl_insn, arpl_insn_end, UD, 0, "ARPL"},
        {sgdt_insn, sgdt_insn_end, END, 0, "SGDT"},
        {smsw_insn, smsw_insn_end, END, 0, "SMSW"},
        {cr_insn, cr_insn_end, END, 0, "MOV from CR0"},
        {cli_insn, cli_insn_end, END, 0, "STI, CLI"},
        {sysenter_insn, sysenter_insn_end, GP, 0, "SYSENTER"},
        {syscall_insn, syscall_insn_end, UD, 0, "SYSCALL with EFER.SCE clear"},
        {vex_insn, vex_insn_end, UD, 0, "VZEROUPPER: VEX has no meaning in real mode"},
        {lds_register, lds_register_end, UD, 0, "LDS with a register"},
        {long_insn, long_insn_end, GP, 0, "an instruction of 16 bytes"},
        {hlt_like, hlt_like_end, END, 0, "privileged instructions"},
        {retf_insn, retf_insn_end, END, 0, "RETF"},
    };

    group_begin("interrupts and exceptions");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        c = context_real();
        c.ds = REAL_DATA >> 4, c.di = 0x400, c.cx = 0xffffffff;
        real_run(&c, cases[i].code, cases[i].end, false);
        check_end(&c, cases[i].vector, 0, cases[i].vector == END ? -1 : (i64)cases[i].offset, "%s",
                  cases[i].name);
        check_eq(c.sp, REAL_STACK, "%s: SP", cases[i].name);
    }
    c = context_real();
    c.cx = 0xdeadbeef;
    RUN(c, rdmsr_insn);
    check_end(&c, GP, 0, 0, "RDMSR of an unknown register");
    c = context_real();
    RUN(c, into_insn);
    check_end(&c, END, 0, -1, "INTO without OF");
    c = context_real();
    c.flags |= FL_OF;
    RUN(c, into_insn);
    check_end(&c, OF, 0, 1, "INTO with OF");
    *(u32 *)(REAL_DATA + 0x400) = 0x000afffb; /* -5 to 10 */
    for (i32 i = -6; i < 12; i += 17) {
        c = context_real();
        c.ds = REAL_DATA >> 4, c.di = 0x400, c.ax = (u16)i;
        RUN(c, bound_insn);
        check_end(&c, BR, 0, 0, "BOUND %d", i);
    }
    c = context_real();
    c.flags |= FL_IF | FL_AC;
    RUN(c, int_flags);
    check_end(&c, 0x61, 0, 2, "INT 61");
    check_eq(c.flags & (FL_IF | FL_TF), FL_IF, "IF is in the image");
    c = context_real();
    c.flags |= FL_TF;
    RUN(c, nothing);
    check_end(&c, DB, 0, 1, "single step");
    check_eq(c.dr6 & 0x4000, 0x4000, "DR6.BS");
    c = context_real();
    RUN(c, iret_insn);
    check_end(&c, END, 0, -1, "IRET");
    check_eq(c.ax & 0xffff, 0xed7, "IRET flags");
    c = context_real();
    RUN(c, popf_insn);
    check_eq(c.ax & 0xffff, 0x7ed7, "POPF loads IOPL, NT and all others");
    c = context_real();
    RUN(c, lidt_short);
    check_end(&c, GP, 0, -1, "a vector beyond the limit of the table is #GP");
    group_end();
}

REAL(op_daa, "daa");
REAL(op_das, "das");
REAL(op_aaa, "aaa");
REAL(op_aas, "aas");
REAL(op_aam, "aam");
REAL(op_aam0, "aam $0");
REAL(op_aad, "aad");

/* The loops of SDM 2, written as arithmetic. */
static u32 daa_model(u32 al, u32 flags, bool subtract)
{
    u32 old = al, carry = 0, adjust = 0;

    if ((al & 15) > 9 || (flags & FL_AF)) {
        adjust = 6;
        carry = (flags & FL_CF) != 0 || (subtract ? al < 6 : al > 0xf9);
    }
    if (subtract ? old > 0x99 || (flags & FL_CF) : old > 0x99 || (flags & FL_CF)) {
        carry = 1;
        al = subtract ? al - 0x60 - adjust : al + 0x60 + adjust;
    } else {
        al = subtract ? al - adjust : al + adjust;
    }
    return (al & 0xff) | carry << 8 | (adjust ? 1u : 0u) << 9;
}

static void bcd(void)
{
    struct context c;

    group_begin("DAA and DAS");
    for (u32 al = 0; al < 256; al++) {
        for (u32 f = 0; f < 4; f++) {
            u32 flags = FL_ONE | (f & 1 ? FL_CF : 0) | (f & 2 ? FL_AF : 0);

            for (u32 sub = 0; sub < 2; sub++) {
                u32 want = daa_model(al, flags, sub);
                c = context_real();
                c.ax = al, c.flags = flags;
                if (sub)
                    RUN(c, op_das);
                else
                    RUN(c, op_daa);
                check_eq((c.ax & 0xff) | (c.flags & FL_CF) << 8 | (c.flags & FL_AF) << 5, want,
                         "sub %u al %x flags %x", sub, al, flags);
            }
        }
    }
    group_end();
    group_begin("AAA, AAS, AAM, AAD");
    for (u32 ax = 0; ax < 0x10000; ax += 0x1235) {
        for (u32 af = 0; af < 2; af++) {
            bool adjust = (ax & 15) > 9 || af;
            u32 plus = adjust ? ax + 0x106 : ax, minus = adjust ? ax - 6 - 0x100 : ax;

            c = context_real();
            c.ax = ax, c.flags = FL_ONE | (af ? FL_AF : 0);
            RUN(c, op_aaa);
            check_eq(c.ax, plus & 0xff0f, "AAA %x %u", ax, af);
            check_eq(c.flags & (FL_CF | FL_AF), adjust ? FL_CF | FL_AF : 0, "AAA flags %x", ax);
            c = context_real();
            c.ax = ax, c.flags = FL_ONE | (af ? FL_AF : 0);
            RUN(c, op_aas);
            check_eq(c.ax, minus & 0xff0f, "AAS %x %u", ax, af);
            check_eq(c.flags & (FL_CF | FL_AF), adjust ? FL_CF | FL_AF : 0, "AAS flags %x", ax);
        }
        c = context_real();
        c.ax = ax;
        RUN(c, op_aam);
        check_eq(c.ax, (ax & 0xff) / 10 << 8 | (ax & 0xff) % 10, "AAM %x", ax);
        c = context_real();
        c.ax = ax;
        RUN(c, op_aad);
        check_eq(c.ax, ((ax & 0xff) + (ax >> 8) * 10) & 0xff, "AAD %x", ax);
    }
    c = context_real();
    RUN(c, op_aam0);
    check_end(&c, DE, 0, 0, "AAM 0");
    group_end();
}

static void big_real(void)
{
    struct context c = context_real();

    group_begin("big real mode");
    *(u8 *)0x200000 = 0x42;
    c.di = 0x200000;
    real_run(&c, address32, address32_end, true);
    check_end(&c, END, 0, -1, "a read at 2 MiB");
    check_eq(c.ax & 0xff, 0x42, "the byte");
    c = context_real();
    c.ds = 0x1000, c.di = 0x1f0000;
    real_run(&c, address32, address32_end, true);
    check_eq(c.ax & 0xff, 0x42, "loading a segment keeps the limit");
    REAL(reload, "mov %ax, %ds; movb (%edi), %al");
    c = context_real();
    c.ax = 0x2000, c.di = 0x1e0000;
    real_run(&c, reload, reload_end, true);
    check_end(&c, END, 0, -1, "loading it in real mode, too");
    check_eq(c.ax & 0xff, 0x42, "and sets the base");
    group_end();
}

/* -- Virtual-8086 mode ----------------------------------------------------------------------- */

SNIPPET(16, v_cli, "cli; pushf; pop %ax; hlt");
SNIPPET(16, v_sti, "sti; pushf; pop %ax; hlt");
SNIPPET(16, v_pushf, "pushf; pop %ax; hlt");
SNIPPET(16, v_popf, "push $0x202; popf; pushf; pop %ax; hlt");
SNIPPET(16, v_popf_tf, "push $0x102; popf; nop; hlt");
SNIPPET(16, v_popf32, "popfl; hlt");
SNIPPET(16, v_int, "int $0x60; hlt");
SNIPPET(16, v_int3, "int3; hlt");
SNIPPET(16, v_iret, "push $0x202; push %cs; push $1f-v_iret+0xb000; iret; 1: hlt");
SNIPPET(16, v_in, "in $0x80, %al; hlt");
SNIPPET(16, v_cr, "mov %cr0, %eax; hlt");
SNIPPET(16, v_lar, "lar %ax, %ax; hlt");
SNIPPET(16, v_smsw, "smsw %ax; hlt");
SNIPPET(16, v_read, "movw (%di), %ax; hlt");
SNIPPET(16, v_segment, "mov %ax, %es; mov %es:(0), %dx; hlt");
SNIPPET(16, v_hlt, "hlt");
SNIPPET(16, v_handler, "mov $0x1111, %cx; hlt");
SNIPPET(16, v_arpl, ".byte 0x63, 0xc8; hlt");
SNIPPET(16, v_sti_vip, "sti; nop; hlt");

static struct context v86_run(const u8 *code, u32 flags)
{
    struct context c = {.flags = FL_VM | FL_ONE | flags, .sp = REAL_STACK};

    memcpy((void *)REAL_CODE, code, 64);
    c.ip = c.base = REAL_CODE;
    c.ds = c.es = REAL_DATA >> 4;
    context_run(&c);
    return c;
}

enum { IOPL3 = 3 << 12 };

static void v86(void)
{
    struct context c;
    ulong cr4 = read_cr4() & ~(ulong)CR4_VME;
    static const struct {
        const u8 *code;
        u32 at;
        const char *name;
    } sensitive[] = {
        {v_cli, 0, "CLI"},
        {v_sti, 0, "STI"},
        {v_pushf, 0, "PUSHF"},
        {v_popf, 2 + 1, "POPF"},
        {v_int, 0, "INT n"},
        {v_iret, 7, "IRET"},
        {v_in, 0, "IN without its bit"},
        {v_cr, 0, "MOV from CR0"},
        {v_hlt, 0, "HLT"},
    };

    write_cr4(cr4);
    group_begin("virtual-8086 mode");
    for (u32 i = 0; i < ARRAY_SIZE(sensitive); i++) {
        c = v86_run(sensitive[i].code, 0);
        check(c.vector == GP && c.error == 0, "%s at IOPL 0: vector %lx error %lx",
              sensitive[i].name, c.vector, c.error);
    }
    c = v86_run(v_cli, IOPL3 | FL_IF);
    check_end(&c, GP, 0, 3, "CLI at IOPL 3 runs up to the HLT");
    check_eq(c.ax & (FL_IF | FL_IOPL), FL_IOPL, "CLI at IOPL 3 clears IF");
    c = v86_run(v_popf, IOPL3);
    check_eq(c.ax & (FL_IF | FL_IOPL), FL_IF | FL_IOPL, "POPF at IOPL 3 keeps IOPL");
    c = v86_run(v_int3, 0);
    check_end(&c, BP, 0, 1, "INT3 at IOPL 0 goes through its gate");
    check_eq(c.flags & FL_VM, FL_VM, "VM in the frame");
    check_eq(c.ds, REAL_DATA >> 4, "DS in the frame");
    idt_set(0x60, trap_entries[0x60], K_CS, PRESENT | DPL3 | INTERRUPT_GATE);
    c = v86_run(v_int, IOPL3);
    check_end(&c, 0x60, 0, 2, "INT n at IOPL 3 through a gate of DPL 3");
    idt_set(0x60, trap_entries[0x60], K_CS, PRESENT | INTERRUPT_GATE);
    c = v86_run(v_int, IOPL3);
    check_end(&c, GP, 0x60 * 8 + 2, 0, "INT n at IOPL 3 through a gate of DPL 0");
    descriptor_set(FREE_SEL, descriptor(0, 0xfffff, 0xfb, 0xc));
    idt_set(0x60, trap_entries[0x60], FREE_SEL, PRESENT | DPL3 | INTERRUPT_GATE);
    c = v86_run(v_int, IOPL3);
    check_end(&c, GP, FREE_SEL, 0, "a handler of DPL 3 from virtual-8086 mode");
    c = v86_run(v_lar, 0);
    check_end(&c, UD, 0, 0, "LAR");
    c = v86_run(v_arpl, 0);
    check_end(&c, UD, 0, 0, "ARPL");
    c = v86_run(v_smsw, 0);
    check_end(&c, GP, 0, 3, "SMSW runs");
    tss.io_map[0x80 / 8] &= (u8)~1u;
    c = v86_run(v_in, 0);
    check_end(&c, GP, 0, 2, "IN with its bit clear runs");
    c = v86_run(v_in, IOPL3);
    check_end(&c, GP, 0, 2, "IN looks at the bitmap at IOPL 3, too");
    tss.io_map[0x80 / 8] |= 1;
    c = v86_run(v_in, IOPL3);
    check_end(&c, GP, 0, 0, "and faults where the bit is set");
    c = (struct context){.flags = FL_VM | FL_ONE, .sp = REAL_STACK, .di = 0xffff, .ds = 0x2000};
    memcpy((void *)REAL_CODE, v_read, 16);
    c.ip = c.base = REAL_CODE;
    context_run(&c);
    check_end(&c, GP, 0, 0, "an access over 64 KiB");
    check_eq(c.di, 0xffff, "registers at the fault");
    c = (struct context){.flags = FL_VM | FL_ONE, .sp = 0x12348000, .ax = 0x2000};
    *(u16 *)0x20000 = 0x3377;
    memcpy((void *)REAL_CODE, v_segment, 16);
    c.ip = c.base = REAL_CODE;
    context_run(&c);
    check_eq(c.es, 0x2000, "segments are loaded as in real mode");
    check_eq(c.dx & 0xffff, 0x3377, "with sixteen times their value");
    group_end();

    if (!(cpuid(1, 0).d >> 1 & 1)) {
        check_skip("VME", "not offered");
        return;
    }
    group_begin("VME");
    write_cr4(cr4 | CR4_VME);
    c = v86_run(v_sti, FL_IF);
    check_end(&c, GP, 0, 3, "STI at IOPL 0");
    check_eq(c.flags & (FL_VIF | FL_IF), FL_VIF | FL_IF, "STI sets VIF");
    check_eq(c.ax & (FL_IF | FL_IOPL), FL_IF | FL_IOPL, "PUSHF shows VIF as IF and IOPL 3");
    c = v86_run(v_cli, FL_IF | FL_VIF);
    check_eq(c.flags & (FL_VIF | FL_IF), FL_IF, "CLI clears VIF");
    check_eq(c.ax & FL_IF, 0, "PUSHF shows it");
    c = v86_run(v_sti_vip, FL_VIP);
    check_end(&c, GP, 0, 0, "STI with VIP");
    c = v86_run(v_popf, 0);
    check_eq(c.flags & FL_VIF, FL_VIF, "POPF sets VIF");
    c = v86_run(v_popf, FL_VIP);
    check_end(&c, GP, 0, -1, "POPF of IF with VIP");
    check_eq(c.ip - c.base, 3, "at the POPF");
    c = v86_run(v_popf_tf, 0);
    check_end(&c, GP, 0, -1, "POPF of TF");
    check_eq(c.ip - c.base, 3, "at that POPF");
    c = v86_run(v_popf32, 0);
    check_end(&c, GP, 0, 0, "POPFD");
    /* The redirection bitmap ends where the I/O map begins. */
    for (u32 redirect = 0; redirect < 2; redirect++) {
        tss.io_base = __builtin_offsetof(struct tss, io_map) + 32;
        memset(tss.io_map, 0xff, 32);
        if (redirect)
            tss.io_map[0x60 / 8] &= (u8)~1u;
        memcpy((void *)0xa000, v_handler, 16);
        *(volatile u32 *)(ulong)(0x60 * 4) = 0x0a000000;
        c = v86_run(v_int, FL_VIF);
        if (redirect) {
            check_eq(c.cs, 0xa00, "INT n through the 8086 vector table");
            check_eq(c.cx & 0xffff, 0x1111, "its handler ran");
            check_eq(c.flags & FL_VIF, 0, "VIF is clear in it");
            check_eq(*(u16 *)(REAL_STACK - 2) & (FL_IF | FL_IOPL), FL_IF | FL_IOPL,
                     "pushed FLAGS show VIF");
            check_eq(*(u16 *)(REAL_STACK - 6), REAL_CODE + 2, "pushed IP");
        } else {
            check_end(&c, GP, 0, 0, "INT n with its bit set and IOPL 0");
        }
    }
    c = v86_run(v_iret, 0);
    check_eq(c.flags & FL_VIF, FL_VIF, "IRET sets VIF");
    tss.io_base = __builtin_offsetof(struct tss, io_map);
    memset(tss.io_map, 0xff, sizeof(tss.io_map));
    write_cr4(cr4);
    group_end();

    group_begin("PVI");
    SNIPPET(32, p_sti, "sti; nop; hlt");
    SNIPPET(32, p_cli, "cli; nop; hlt");
    write_cr4(cr4 | CR4_PVI);
    c = context_flat(3);
    context_at(&c, p_sti);
    check_end(&c, GP, 0, 2, "STI at CPL 3 and IOPL 0");
    check_eq(c.flags & FL_VIF, FL_VIF, "sets VIF");
    c = context_flat(3);
    c.flags |= FL_VIF;
    context_at(&c, p_cli);
    check_eq(c.flags & FL_VIF, 0, "CLI clears VIF");
    c = context_flat(3);
    c.flags |= FL_VIP;
    context_at(&c, p_sti);
    check_end(&c, GP, 0, 0, "STI with VIP");
    write_cr4(cr4);
    c = context_flat(3);
    context_at(&c, p_sti);
    check_end(&c, GP, 0, 0, "STI without PVI");
    group_end();
}

void guest_main(void)
{
    basics();
    wraps();
    interrupts();
    bcd();
    big_real();
    v86();
}
