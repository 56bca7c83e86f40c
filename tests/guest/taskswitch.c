/* SPDX-License-Identifier: MIT
 *
 * Hardware task switches (SDM 3A chapter 7) with 32- and 16-bit TSSs: by JMP, CALL, IRET,
 * interrupts and task gates; what is saved and loaded, busy bits, NT and the link, the T flag,
 * every error.
 */
#include "guest.h"

enum {
    OLD = FREE_SEL,       /* the task that the monitor's snippet runs in */
    NEW = FREE_SEL + 8,   /* the task switched to */
    GATE = FREE_SEL + 16, /* a task gate to NEW */
    CODE = FREE_SEL + 24, /* a descriptor for tests */
    STACK = FREE_SEL + 32,
    BUSY = 2,
    INTERRUPT = 0x60,
};

struct tss16 {
    u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di;
    u16 es, cs, ss, ds, ldt;
} __attribute__((packed));

static struct tss old_task, new_task;
static struct tss16 new_task16, old_task16;
static u8 stack0[8192] __attribute__((aligned(16)));
static u8 task_stack[8192] __attribute__((aligned(16)));

SNIPPET(32, do_jump, "ljmp $0x90, $0; nop");
SNIPPET(32, do_call, "lcall $0x90, $0; nop");
SNIPPET(32, do_call_gate, "lcall $0x98, $0; nop");
SNIPPET(32, do_jump_gate, "ljmp $0x98, $0; nop");
SNIPPET(32, do_iret, "pushf; orl $0x4000, (%esp); popf; iret; nop");
SNIPPET(32, do_int, "int $0x60; nop");
SNIPPET(32, task_body, "nop");
SNIPPET(32, task_return, "iret");
SNIPPET(32, task_error, "pop %eax");

static u8 access_of(u16 selector)
{
    return (u8)(gdt[selector / 8] >> 40);
}

static void old_set(bool wide)
{
    memset(&old_task, 0, sizeof(old_task));
    memset(&old_task16, 0, sizeof(old_task16));
    old_task.esp0 = old_task16.sp0 = (u32)stack0 + sizeof(stack0);
    old_task.ss0 = old_task16.ss0 = K_DS;
    old_task.io_base = __builtin_offsetof(struct tss, io_map);
    if (wide)
        descriptor_set(OLD, descriptor((u32)&old_task, 103, 0x89, 0));
    else
        descriptor_set(OLD, descriptor((u32)&old_task16, 43, 0x81, 0));
    asm volatile("ltr %w0" ::"r"(OLD));
}

static void new_set(bool wide, const u8 *code, u32 cpl)
{
    u32 cs = cpl ? U_CS32 : K_CS32, ds = cpl ? U_DS : K_DS;

    memset(&new_task, 0, sizeof(new_task));
    new_task = (struct tss){.esp0 = (u32)stack0 + sizeof(stack0), .ss0 = K_DS};
    new_task.eip = (u32)code, new_task.eflags = FL_ONE | FL_CF, new_task.cs = cs;
    new_task.esp = (u32)task_stack + 4096, new_task.ss = ds;
    new_task.ds = new_task.es = new_task.fs = ds, new_task.gs = 0;
    new_task.eax = 0xa0a0a0a0, new_task.ecx = 0xc0c0c0c0, new_task.edx = 0xd0d0d0d0;
    new_task.ebx = 0xb0b0b0b0, new_task.ebp = 0x1b1b1b1b, new_task.esi = 0x51515151;
    new_task.edi = 0xd1d1d1d1, new_task.cr3 = 0;
    new_task16 = (struct tss16){.sp0 = 0, .ss0 = K_DS, .flags = FL_ONE | FL_CF, .ax = 0xa0a0};
    new_task16.cs = CODE, new_task16.bx = 0xb0b0;
    new_task16.ds = new_task16.es = (u16)ds, new_task16.ip = 0, new_task16.di = 0xd1d1;
    if (wide) {
        descriptor_set(NEW, descriptor((u32)&new_task, 103, 0x89, 0));
    } else {
        descriptor_set(CODE, descriptor((u32)code, 0xffff, 0x9b, 4));
        descriptor_set(NEW, descriptor((u32)&new_task16, 43, 0x81, 0));
        new_task16.ss = K_DS, new_task16.sp = REAL_STACK;
    }
    descriptor_set(GATE, (u64)NEW << 16 | (u64)0xe5 << 40);
}

static struct context start(const u8 *code, u32 cpl)
{
    struct context c = context_flat(cpl);

    c.bx = 0x1234, c.flags |= FL_SF;
    context_at(&c, code);
    return c;
}

/* Jump, call and gates to a 32-bit task: registers, flags, busy bits, link. */
static void switches(void)
{
    static const struct {
        const u8 *code;
        bool nested;
        u32 saved_at;
        const char *name;
    } cases[] = {
        {do_jump, false, 7, "JMP"},           {do_call, true, 7, "CALL"},
        {do_jump_gate, false, 7, "JMP gate"}, {do_call_gate, true, 7, "CALL gate"},
        {do_int, true, 2, "INT n"},
    };
    struct context c;

    idt_set(INTERRUPT, NULL, NEW, PRESENT | DPL3 | TASK_GATE);
    group_begin("switches to a 32-bit task");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        old_set(true);
        new_set(true, task_body, 0);
        c = start(cases[i].code, 0);
        check_end(&c, END, 0, -1, "%s", cases[i].name);
        check_eq(c.ip, (u32)task_body_end, "%s: EIP", cases[i].name);
        check(c.ax == 0xa0a0a0a0 && c.cx == 0xc0c0c0c0 && c.dx == 0xd0d0d0d0 &&
                  c.bx == 0xb0b0b0b0 && c.bp == 0x1b1b1b1b && c.si == 0x51515151 &&
                  c.di == 0xd1d1d1d1,
              "%s: registers", cases[i].name);
        check_eq(c.sp, new_task.esp, "%s: ESP", cases[i].name);
        check_eq(c.gs, 0, "%s: GS", cases[i].name);
        check_eq(c.flags & (FL_CF | FL_SF | FL_NT), FL_CF | (cases[i].nested ? FL_NT : 0u),
                 "%s: flags", cases[i].name);
        check_eq(access_of(NEW) & BUSY, BUSY, "%s: the new task is busy", cases[i].name);
        check_eq(access_of(OLD) & BUSY, cases[i].nested ? BUSY : 0u, "%s: the old task",
                 cases[i].name);
        check_eq(new_task.link, cases[i].nested ? OLD : 0u, "%s: link", cases[i].name);
        check_eq(old_task.eip, (u32)cases[i].code + cases[i].saved_at, "%s: saved EIP",
                 cases[i].name);
        check_eq(old_task.ebx, 0x1234, "%s: saved EBX", cases[i].name);
        check_eq(old_task.cs, K_CS32, "%s: saved CS", cases[i].name);
        check_eq(old_task.eflags & (FL_SF | FL_NT), FL_SF, "%s: saved EFLAGS", cases[i].name);
        check_eq(old_task.esp, context_flat(0).sp, "%s: saved ESP", cases[i].name);
        check_eq(read_cr0() & CR0_TS, CR0_TS, "%s: CR0.TS", cases[i].name);
        asm volatile("clts");
    }
    /* From and to CPL 3. */
    old_set(true);
    new_set(true, task_body, 3);
    c = start(do_int, 3);
    check_end(&c, END, 0, -1, "INT n from CPL 3 to CPL 3");
    check_eq(c.cs, U_CS32, "CS at CPL 3");
    check_eq(old_task.cs, U_CS32, "saved CS at CPL 3");
    asm volatile("clts");
    old_set(true);
    new_set(true, task_body, 0);
    c = start(do_call, 3);
    check_end(&c, GP, NEW, 0, "a TSS of DPL 0 from CPL 3");
    c = start(do_call_gate, 3);
    check_end(&c, END, 0, -1, "a task gate of DPL 3 from CPL 3");
    check_eq(c.cs, K_CS32, "to CPL 0");
    asm volatile("clts");
    group_end();

    group_begin("return to the old task");
    old_set(true);
    new_set(true, task_return, 0);
    c = start(do_call, 0);
    check_end(&c, END, 0, -1, "CALL and IRET");
    check_eq(c.bx, 0x1234, "EBX is back");
    check_eq(c.flags & (FL_SF | FL_NT), FL_SF, "EFLAGS are back");
    check_eq(access_of(NEW) & BUSY, 0, "the nested task is no longer busy");
    check_eq(access_of(OLD) & BUSY, BUSY, "the old task is busy");
    check_eq(new_task.eflags & FL_NT, 0, "NT is clear in the nested task's image");
    check_eq(new_task.eip, (u32)task_return + 1, "the nested task goes on after its IRET");
    asm volatile("clts");
    old_set(true);
    new_set(true, task_body, 0);
    old_task.link = NEW;
    c = start(do_iret, 0);
    check_end(&c, TS, NEW, -1, "IRET to a task that is not busy");
    old_set(true);
    old_task.link = 0;
    c = start(do_iret, 0);
    check_end(&c, TS, 0, -1, "IRET with a null link");
    old_task.link = K_DS;
    c = start(do_iret, 0);
    check_end(&c, TS, K_DS, -1, "IRET with a link to data");
    group_end();
}

static void narrow(void)
{
    struct context c;

    group_begin("16-bit tasks");
    /* The upper half of ESP is undefined after a switch to a 16-bit task. */
    SNIPPET(32, body16, "mov %esp, %edx; movzwl %sp, %esp");
    old_set(true);
    new_set(false, body16, 0);
    c = start(do_jump, 0);
    check_eq(c.vector, END, "JMP to a 16-bit task");
    check_eq(c.cs, CODE, "CS");
    check_eq(c.ax & 0xffff, 0xa0a0, "AX");
    check_eq(c.bx & 0xffff, 0xb0b0, "BX");
    check_eq(c.di & 0xffff, 0xd1d1, "DI");
    check_eq(c.sp & 0xffff, REAL_STACK, "SP");
    check_eq(c.fs | c.gs, 0, "FS and GS are null");
    check_eq(old_task.ebx, 0x1234, "the 32-bit task is saved in full");
    asm volatile("clts");
    old_set(false);
    new_set(true, task_body, 0);
    c = start(do_call, 0);
    check_eq(c.vector, END, "CALL from a 16-bit task");
    check_eq(new_task.link, OLD, "link");
    check_eq(old_task16.bx, 0x1234, "saved BX");
    check_eq(old_task16.ip, (u16)((u32)do_call + 7), "saved IP");
    check_eq(old_task16.cs, K_CS32, "saved CS");
    asm volatile("clts");
    group_end();
}

/* SDM 3A table 7-1. The checks of the old task fault in it; those after the switch in the new one.
 */
static void errors(void)
{
    struct context c;
    static const struct {
        u32 offset; /* in the TSS */
        u32 value;
        u32 vector, error;
        const char *name;
    } cases[] = {
        {__builtin_offsetof(struct tss, ldt), K_DS, TS, K_DS, "LDT is data"},
        {__builtin_offsetof(struct tss, ldt), 0x400, TS, 0x400, "LDT beyond the table"},
        {__builtin_offsetof(struct tss, ldt), LDT_SEL, TS, LDT_SEL, "LDT absent"},
        {__builtin_offsetof(struct tss, cs), 0, TS, 0, "CS null"},
        {__builtin_offsetof(struct tss, cs), K_DS, TS, K_DS, "CS is data"},
        {__builtin_offsetof(struct tss, cs), 0x400, TS, 0x400, "CS beyond the table"},
        {__builtin_offsetof(struct tss, cs), CODE, NP, CODE, "CS absent"},
        {__builtin_offsetof(struct tss, cs), K_CS32 | 3, TS, K_CS32, "CS: RPL is not DPL"},
        {__builtin_offsetof(struct tss, ss), 0, TS, 0, "SS null"},
        {__builtin_offsetof(struct tss, ss), K_CS32, TS, K_CS32, "SS is code"},
        {__builtin_offsetof(struct tss, ss), STACK, SS, STACK, "SS absent"},
        {__builtin_offsetof(struct tss, ss), U_DS, TS, U_DS & ~3u, "SS: DPL is not CPL"},
        {__builtin_offsetof(struct tss, ss), 0x400, TS, 0x400, "SS beyond the table"},
        {__builtin_offsetof(struct tss, ds), TSS_SEL, TS, TSS_SEL, "DS is a TSS"},
        {__builtin_offsetof(struct tss, es), 0x400, TS, 0x400, "ES beyond the table"},
        {__builtin_offsetof(struct tss, fs), STACK, NP, STACK, "FS absent"},
        {__builtin_offsetof(struct tss, gs), K_DS | 3, TS, K_DS, "GS: RPL above DPL"},
    };
    static const struct {
        u64 descriptor;
        u32 vector;
        const char *name;
    } targets[] = {
        {0x0000090000000067, NP, "absent TSS"},
        {0x00008b0000000067, GP, "busy TSS"},
        {0x0000890000000066, TS, "limit below 67h"},
        {0x000081000000002a, TS, "16-bit limit below 2bh"},
    };

    group_begin("errors before the switch");
    for (u32 i = 0; i < ARRAY_SIZE(targets); i++) {
        old_set(true);
        new_set(true, task_body, 0);
        descriptor_set(NEW, targets[i].descriptor | descriptor((u32)&new_task, 0, 0, 0));
        c = start(do_jump, 0);
        check_end(&c, targets[i].vector, NEW, 0, "%s", targets[i].name);
        check_eq(c.bx, 0x1234, "%s: still in the old task", targets[i].name);
        check_eq(access_of(OLD) & BUSY, BUSY, "%s: the old task is busy", targets[i].name);
    }
    old_set(true);
    new_set(true, task_body, 0);
    descriptor_set(GATE, (u64)NEW << 16 | (u64)0x65 << 40);
    c = start(do_jump_gate, 0);
    check_end(&c, NP, GATE, 0, "absent task gate");
    descriptor_set(GATE, (u64)NEW << 16 | (u64)0x85 << 40);
    c = start(do_jump_gate, 3);
    check_end(&c, GP, GATE, 0, "task gate of DPL 0 from CPL 3");
    descriptor_set(GATE, (u64)K_DS << 16 | (u64)0xe5 << 40);
    c = start(do_jump_gate, 0);
    check_end(&c, GP, K_DS, 0, "task gate to data");
    descriptor_set(GATE, (u64)0x94 << 16 | (u64)0xe5 << 40);
    c = start(do_jump_gate, 0);
    check_end(&c, GP, 0x94, 0, "task gate to a TSS in the LDT");
    group_end();

    group_begin("errors in the new task");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        old_set(true);
        new_set(true, task_body, 0);
        descriptor_set(LDT_SEL, descriptor(0, 15, 0x02, 0));
        descriptor_set(CODE, descriptor(0, 0xfffff, 0x1b, 0xc));
        descriptor_set(STACK, descriptor(0, 0xfffff, 0x13, 0xc));
        *(u32 *)((u8 *)&new_task + cases[i].offset) = cases[i].value;
        /* Its own handlers must be able to run without its stack: a task gate for each. */
        static struct tss handler_task;
        handler_task = old_task;
        handler_task.eip = (u32)task_error, handler_task.cs = K_CS32, handler_task.ss = K_DS;
        handler_task.ds = handler_task.es = K_DS, handler_task.eflags = FL_ONE;
        handler_task.esp = (u32)task_stack + 8000;
        descriptor_set(TSS2_SEL, descriptor((u32)&handler_task, 103, 0x89, 0));
        struct gate gate = idt[cases[i].vector];
        idt_set(cases[i].vector, NULL, TSS2_SEL, PRESENT | TASK_GATE);
        c = start(do_jump, 0);
        idt[cases[i].vector] = gate;
        check(c.vector == END && c.ip == (u32)task_error_end, "%s: vector %lx error %lx",
              cases[i].name, c.vector, c.error);
        check_eq(c.ax, cases[i].error, "%s: error code", cases[i].name);
        check_eq(handler_task.link, NEW, "%s: raised in the new task", cases[i].name);
        check_eq(new_task.eip, (u32)task_body, "%s: before its first instruction", cases[i].name);
        asm volatile("clts");
    }
    group_end();
}

static void debug_trap(void)
{
    struct context c;

    group_begin("the T flag");
    for (u32 set = 0; set < 2; set++) {
        old_set(true);
        new_set(true, task_body, 0);
        new_task.trap = (u16)set;
        c = start(do_jump, 0);
        check_end(&c, set ? DB : END, 0, -1, "T %u", set);
        if (set) {
            check_eq(c.ip, (u32)task_body, "before the first instruction");
            check_eq(c.dr6 & 0xe00f, 0x8000, "DR6.BT");
        }
        asm volatile("clts");
    }
    write_db6(0xffff0ff0);
    /* Local breakpoints are switched off, global ones stay. */
    old_set(true);
    new_set(true, task_body, 0);
    write_db0((u32)task_body);
    write_db7(0x400 | 1);
    c = start(do_jump, 0);
    check_end(&c, END, 0, -1, "a local breakpoint is off in the new task");
    check_eq(read_db7() & 0xff, 0, "DR7 local enables");
    asm volatile("clts");
    old_set(true);
    new_set(true, task_body, 0);
    write_db7(0x400 | 2);
    c = start(do_jump, 0);
    check_end(&c, DB, 0, -1, "a global breakpoint is on in the new task");
    write_db7(0x400);
    asm volatile("clts");
    group_end();
}

/* A double fault through a task gate keeps the machine alive whatever ESP is. */
static void double_fault(void)
{
    static struct tss handler;
    struct gate gate = idt[DF];
    struct context c;

    group_begin("double fault by a task gate");
    old_set(true);
    handler = old_task;
    handler.eip = (u32)task_error, handler.cs = K_CS32, handler.ss = K_DS;
    handler.ds = handler.es = K_DS, handler.eflags = FL_ONE, handler.esp = (u32)task_stack + 8000;
    descriptor_set(TSS2_SEL, descriptor((u32)&handler, 103, 0x89, 0));
    descriptor_set(CODE, descriptor(0, 0x100, 0x93, 4));
    idt_set(DF, NULL, TSS2_SEL, PRESENT | TASK_GATE);
    SNIPPET(32, tiny_stack, "mov $0xa0, %eax; mov %eax, %ss; mov $0x1000, %esp; push %eax");
    c = start(tiny_stack, 0);
    idt[DF] = gate;
    check(c.vector == END && c.ip == (u32)task_error_end, "arrives: vector %lx", c.vector);
    check_eq(c.ax, 0, "error code 0");
    check_eq(handler.link, OLD, "link");
    check_eq(old_task.ss, CODE, "the broken SS is saved");
    asm volatile("clts");
    group_end();
}

void guest_main(void)
{
    switches();
    narrow();
    errors();
    debug_trap();
    double_fault();
}
