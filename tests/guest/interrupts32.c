/* SPDX-License-Identifier: MIT
 *
 * Interrupts and exceptions in protected mode without long mode: gates of every type and width,
 * stack switches, error codes, double faults, IRET, SYSENTER/SYSEXIT, I/O rights (SDM 3A chapter
 * 6).
 */
#include "events.h"
#include "returns.h"

enum { SEL = FREE_SEL, SEL2 = FREE_SEL + 8, RING1_CS = FREE_SEL + 16, RING1_SS = FREE_SEL + 24 };

static u8 ring1_stack[4096] __attribute__((aligned(16)));

static void gates(void)
{
    group_begin("gates");
    gate_facts();
    group_end();
}

/* Handlers that are snippets: the frame that they were given is at their stack pointer. */
static void frames(void)
{
    struct context c;
    u32 *stack;
    u16 *narrow;

    group_begin("frames");
    for (u32 type = INTERRUPT_GATE; type <= TRAP_GATE; type++) {
        idt_set(0x80, nothing, K_CS, (u8)(PRESENT | DPL3 | type));
        c = context_flat(3);
        c.flags |= FL_IF | FL_NT | FL_AC | FL_DF | FL_CF;
        context_at(&c, int80);
        stack = (u32 *)c.sp;
        check_eq(c.ip, (u32)nothing_end, "type %x arrives", type);
        check_eq(c.sp, tss.esp0 - 20, "type %x: five words", type);
        check(stack[0] == (u32)int80 + 2 && stack[1] == U_CS32, "type %x: return", type);
        check_eq(stack[2], FL_ONE | FL_IF | FL_NT | FL_AC | FL_DF | FL_CF, "type %x: flags", type);
        check(stack[3] == context_flat(3).sp && stack[4] == U_DS, "type %x: old stack", type);
        check_eq(c.flags & (FL_IF | FL_NT | FL_TF), type == TRAP_GATE ? FL_IF : 0u,
                 "type %x: IF, NT, TF", type);
        c = context_flat(0);
        context_at(&c, int80);
        check_eq(c.sp, context_flat(0).sp - 12, "type %x: three words at the same level", type);
    }
    /* 16-bit gates. */
    descriptor_set(SEL2, descriptor((ulong)nothing, 0xffff, 0x9b, 4));
    for (u32 type = 6; type <= 7; type++) {
        idt_set(0x80, NULL, SEL2, (u8)(PRESENT | DPL3 | type));
        c = context_flat(3);
        c.flags |= FL_IF;
        context_at(&c, int80);
        narrow = (u16 *)c.sp;
        check_eq(c.cs, SEL2, "type %x arrives", type);
        check_eq(c.sp, tss.esp0 - 10, "type %x: five words of 16 bits", type);
        check(narrow[0] == (u16)((u32)int80 + 2) && narrow[1] == U_CS32, "type %x: return", type);
        check(narrow[3] == (u16)context_flat(3).sp && narrow[4] == U_DS, "type %x: stack", type);
        check_eq(c.flags & FL_IF, type == 7 ? FL_IF : 0u, "type %x: IF", type);
    }
    /* Conforming handlers keep the privilege and the stack. */
    descriptor_set(SEL2, descriptor(0, 0xfffff, 0x9f, 0xc));
    idt_set(0x80, nothing, SEL2, PRESENT | DPL3 | INTERRUPT_GATE);
    c = context_flat(3);
    context_at(&c, int80);
    check_eq(c.cs, SEL2 | 3, "conforming handler");
    check_eq(c.sp, context_flat(3).sp - 12, "on the same stack");
    /* A handler in ring 1. */
    descriptor_set(RING1_CS, descriptor(0, 0xfffff, 0xbb, 0xc));
    descriptor_set(RING1_SS, descriptor(0, 0xfffff, 0xb3, 0xc));
    tss.ss1 = RING1_SS | 1, tss.esp1 = (u32)ring1_stack + 4096;
    idt_set(0x80, nothing, RING1_CS, PRESENT | DPL3 | INTERRUPT_GATE);
    c = context_flat(3);
    context_at(&c, int80);
    check_eq(c.cs, RING1_CS | 1, "handler in ring 1");
    check_eq(c.sp, (u32)ring1_stack + 4096 - 20, "on its stack");
    static const struct {
        u16 ss1;
        u32 vector, error;
    } stacks[] = {{0, TS, 0},
                  {RING1_SS, TS, RING1_SS},
                  {K_DS | 1, TS, K_DS},
                  {RING1_CS | 1, TS, RING1_CS},
                  {0x401, TS, 0x400}};
    for (u32 i = 0; i < ARRAY_SIZE(stacks); i++) {
        tss.ss1 = stacks[i].ss1;
        c = context_flat(3);
        context_at(&c, int80);
        check_end(&c, stacks[i].vector, stacks[i].error, 0, "SS1 %x", stacks[i].ss1);
    }
    /* A TSS too short for the stack pointer. EXT tells a software interrupt from a fault. */
    descriptor_set(TSS2_SEL, descriptor((ulong)&tss, 103, 0x89, 0));
    idt_set(0x80, trap_entries[0x80], K_CS, PRESENT | DPL3 | INTERRUPT_GATE);
    group_end();
}

static void double_faults(void)
{
    group_begin("faults while delivering");
    double_fault_facts();
    group_end();
}

SNIPPET(32, iret_insn, "iret");
SNIPPET(32, iret16, "iretw");

static void iret(void)
{
    struct context c;
    u32 *stack;
    const struct return_case beyond = {0x2000, SEL, K_DS, GP, 0, "EIP beyond the limit"};

    group_begin("IRET");
    return_facts(iret_insn, true);
    descriptor_set(SEL, descriptor(0, 0xfff, 0x9b, 4));
    return_check(&beyond, iret_insn, true);
    c = context_flat(3);
    stack = (u32 *)(c.sp -= 64);
    stack[0] = (u32)nothing, stack[1] = U_CS32;
    stack[2] = FL_ONE | FL_IF | FL_IOPL | FL_ID | FL_AC | FL_VIF | FL_VM;
    context_at(&c, iret_insn);
    check_end(&c, END, 0, -1, "at CPL 3");
    check_eq(c.flags & (FL_IF | FL_IOPL | FL_ID | FL_AC | FL_VIF | FL_VM), FL_ID | FL_AC,
             "flags that CPL 3 may load");
    c = context_flat(0);
    stack = (u32 *)(c.sp -= 64);
    stack[0] = (u32)nothing, stack[1] = K_CS32, stack[2] = FL_ONE | FL_IOPL | FL_NT | FL_VIP;
    context_at(&c, iret_insn);
    check_eq(c.flags & (FL_IOPL | FL_NT | FL_VIP), FL_IOPL | FL_NT | FL_VIP, "flags at CPL 0");
    c = context_flat(0);
    c.flags |= FL_ID | FL_AC;
    u16 *narrow = (u16 *)(c.sp -= 64);
    descriptor_set(SEL, descriptor((ulong)nothing, 0xffff, 0x9b, 4));
    narrow[0] = 0, narrow[1] = SEL, narrow[2] = FL_ONE | FL_CF;
    context_at(&c, iret16);
    check_eq(c.cs, SEL, "IRETW");
    check_eq(c.flags & (FL_ID | FL_AC | FL_CF), FL_ID | FL_AC | FL_CF, "leaves the upper flags");
    group_end();
}

SNIPPET(32, sysexit_insn, "sysexit");

static void sysenter(void)
{
    group_begin("SYSENTER and SYSEXIT");
    sysenter_facts(sysexit_insn, K_CS32 + 0x13);
    group_end();
}

SNIPPET(32, out_byte, "out %al, %dx");
SNIPPET(32, in_long, "in %dx, %eax");
SNIPPET(32, cli_insn, "cli");
SNIPPET(32, popf_insn, "push $0x3202; popf; pushf; pop %eax");

/* SDM 1 19.5: IOPL, then the bitmap, every bit of the access, the byte after the last. */
static void io_rights(void)
{
    struct context c;

    group_begin("I/O rights");
    for (u32 iopl = 0; iopl < 4; iopl++) {
        c = context_flat(3);
        c.flags |= iopl << 12;
        context_at(&c, cli_insn);
        check_end(&c, iopl == 3 ? END : GP, 0, -1, "CLI with IOPL %u", iopl);
        c = context_flat(3);
        c.flags |= iopl << 12;
        c.dx = 0x80;
        context_at(&c, out_byte);
        check_end(&c, iopl == 3 ? END : GP, 0, -1, "OUT with IOPL %u", iopl);
        c = context_flat(3);
        c.flags |= iopl << 12;
        context_at(&c, popf_insn);
        check_eq(c.ax & (FL_IOPL | FL_IF), iopl << 12 | (iopl == 3 ? FL_IF : 0),
                 "POPF with IOPL %u", iopl);
    }
    for (u32 bit = 0x7d; bit < 0x89; bit++) {
        memset(tss.io_map, 0, 64);
        tss.io_map[bit / 8] |= (u8)(1 << bit % 8);
        c = context_flat(3);
        c.dx = 0x84;
        context_at(&c, in_long);
        check_end(&c, bit >= 0x84 && bit < 0x88 ? GP : END, 0, -1, "IN of 4 bytes, bit %x", bit);
    }
    memset(tss.io_map, 0, sizeof(tss.io_map));
    u32 base = __builtin_offsetof(struct tss, io_map);
    for (u32 limit = base + 15; limit < base + 19; limit++) {
        asm volatile("lldt %w0" ::"r"(0));
        descriptor_set(TSS_SEL, descriptor((ulong)&tss, limit, 0x89, 0));
        asm volatile("ltr %w0" ::"r"(TSS_SEL));
        c = context_flat(3);
        c.dx = 0x80;
        context_at(&c, out_byte);
        check_end(&c, limit >= base + 17 ? END : GP, 0, -1, "limit at byte %u of the map",
                  limit - base);
    }
    descriptor_set(TSS_SEL, descriptor((ulong)&tss, sizeof(tss) - 1, 0x89, 0));
    asm volatile("ltr %w0" ::"r"(TSS_SEL));
    c = context_flat(3);
    c.dx = 0xffff;
    context_at(&c, out_byte);
    check_end(&c, END, 0, -1, "the last port, with a byte after its bit");
    memset(tss.io_map, 0xff, sizeof(tss.io_map));
    group_end();
}

void guest_main(void)
{
    gates();
    frames();
    double_faults();
    iret();
    sysenter();
    io_rights();
}
