/* SPDX-License-Identifier: MIT
 *
 * Task switches with 16- and 32-bit TSSs: saved and loaded state, busy bits, links, and the error
 * of every check, before and after the commit point.
 */
#include "tests/cpu/system.h"
#include "tests/suite.h"

enum { OLD = SEL_A, NEW = SEL_B, NEW_TSS = 0x50000, OLD_TSS = 0x51000, ENTRY = 0x31234 };

/* Offsets of a 32-bit TSS. */
enum {
    T_LINK = 0,
    T_CR3 = 0x1c,
    T_EIP = 0x20,
    T_EFLAGS = 0x24,
    T_EAX = 0x28,
    T_ES = 0x48,
    T_CS = 0x4c,
    T_SS = 0x50,
    T_DS = 0x54,
    T_FS = 0x58,
    T_GS = 0x5c,
    T_LDT = 0x60,
    T_TRAP = 0x64
};

static unsigned busy(unsigned selector)
{
    return machine_get(&machine, MACHINE_GDT + selector + 5, 1) >> 1 & 1;
}

static void put_new(unsigned at, u64 value, unsigned size)
{
    machine_put_uint(&machine, NEW_TSS + at, value, size);
}

static u64 old(unsigned at)
{
    return machine_get(&machine, OLD_TSS + at, 4);
}

static void put_new_tss32(void)
{
    for (unsigned n = 0; n < 0x68; n += 4)
        put_new(n, 0, 4);
    put_new(T_EIP, ENTRY, 4);
    put_new(T_EFLAGS, F_1 | F_IF, 4);
    for (unsigned n = 0; n < 8; n++)
        put_new(T_EAX + n * 4, 0xa0000 + n * 0x1000, 4);
    for (unsigned n = T_ES; n <= T_GS; n += 4)
        put_new(n, n == T_CS ? SEL_CODE32 : SEL_DATA, 4);
}

static void start(void)
{
    machine_start(&machine, MACHINE_PROT32);
    machine_descriptor(&machine, OLD, OLD_TSS, 0x67, ATTR_P | SYS_TSS_BUSY);
    machine_descriptor(&machine, NEW, NEW_TSS, 0x67, ATTR_P | SYS_TSS);
    v->tr = (struct segment){
        .selector = OLD, .base = OLD_TSS, .limit = 0x67, .attr = ATTR_P | SYS_TSS_BUSY};
    for (unsigned n = 0; n < 0x68; n += 4)
        machine_put_uint(&machine, OLD_TSS + n, 0xeeeeeeee, 4);
    machine_put_uint(&machine, OLD_TSS + T_LDT, 0xeeee0000, 4);
    put_new_tss32();
    for (unsigned n = 0; n < 8; n++)
        v->gpr[n] = n == RSP ? MACHINE_STACK : 0xb0000 + n;
    v->next_rip = 0x11223344;
    v->rflags = F_1 | F_CF;
    v->dr7 = DR7_FIXED | 0x3ff;
}

static void expect_new_task(void)
{
    ck_assert_uint_eq(v->rip, ENTRY);
    ck_assert_uint_eq(v->next_rip, ENTRY);
    ck_assert_uint_eq(v->tr.selector, NEW);
    ck_assert_uint_eq(v->tr.base, NEW_TSS);
    ck_assert(busy(NEW));
    for (unsigned n = 0; n < 8; n++)
        ck_assert_uint_eq(v->gpr[n], 0xa0000 + n * 0x1000);
    ck_assert_uint_eq(v->seg[SEG_CS].selector, SEL_CODE32);
    ck_assert_uint_eq(v->seg[SEG_GS].selector, SEL_DATA);
    ck_assert(v->cr0 & CR0_TS);
    ck_assert_uint_eq(v->dr7, DR7_FIXED | 0x2aa);
}

START_TEST(jump)
{
    start();
    expect_ok(far_jump(v, NEW, 0x999, 4));
    expect_new_task();
    ck_assert(!busy(OLD));
    ck_assert_uint_eq(v->rflags, F_1 | F_IF);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS, 4), 0);
    ck_assert_uint_eq(old(T_EIP), 0x11223344);
    ck_assert_uint_eq(old(T_EFLAGS), F_1 | F_CF);
    for (unsigned n = 0; n < 8; n++)
        ck_assert_uint_eq(old(T_EAX + n * 4), n == RSP ? MACHINE_STACK : 0xb0000 + n);
    ck_assert_uint_eq(old(T_CS) & 0xffff, SEL_CODE32);
    ck_assert_uint_eq(old(T_GS) & 0xffff, SEL_DATA);
    ck_assert_uint_eq(old(T_LDT), 0xeeee0000); /* LDT and CR3 are not saved */
    ck_assert_uint_eq(old(T_CR3), 0xeeeeeeee);
}
END_TEST

START_TEST(call_and_return)
{
    start();
    expect_ok(far_call(v, NEW, 0, 4));
    expect_new_task();
    ck_assert(busy(OLD));
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS, 2), OLD);
    ck_assert_uint_eq(v->rflags, F_1 | F_IF | F_NT);
    v->next_rip = 0x77;
    v->gpr[RAX] = 0x1234;
    expect_ok(interrupt_return(v, 4));
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert_uint_eq(v->next_rip, 0x11223344);
    ck_assert_uint_eq(v->rflags, F_1 | F_CF);
    ck_assert(busy(OLD));
    ck_assert(!busy(NEW));
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS + T_EIP, 4), 0x77);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS + T_EAX, 4), 0x1234);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS + T_EFLAGS, 4), F_1 | F_IF); /* NT cleared */
}
END_TEST

START_TEST(event_through_task_gate)
{
    start();
    machine_gate(&machine, false, 13, NEW, 0, SYS_TASK_GATE, 0, 0);
    expect_ok(interrupt_deliver(v, 13, EVENT_EXCEPTION, true, 0x1234, 0x55));
    ck_assert_uint_eq(old(T_EIP), 0x55);
    ck_assert_uint_eq(old(T_EFLAGS), F_1 | F_CF | F_RF);
    ck_assert(v->rflags & F_NT);
    ck_assert(v->rflags & F_IF);
    ck_assert_uint_eq(v->gpr[RSP], 0xa0000 + RSP * 0x1000 - 4);
    EXPECT_WORDS(0xa0000 + RSP * 0x1000 - 4, 4, 0x1234);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS, 2), OLD);
}
END_TEST

START_TEST(double_fault_through_task_gate)
{
    start();
    machine_gate(&machine, false, VEC_DF, NEW, 0, SYS_TASK_GATE, 0, 0);
    v->seg[SEG_SS].limit = 0; /* no handler finds a stack */
    v->rip = 0x66;
    raise_gp(v, 0);
    expect_ok(exception_deliver(v));
    ck_assert_uint_eq(v->tr.selector, NEW);
    ck_assert_uint_eq(old(T_EIP), 0x66);
    EXPECT_WORDS(0xa0000 + RSP * 0x1000 - 4, 4, 0);
}
END_TEST

START_TEST(sixteen_bit_task)
{
    start();
    machine_descriptor(&machine, NEW, NEW_TSS, 0x2b, ATTR_P | SYS_TSS16);
    for (unsigned n = 0; n < 0x2c; n += 2)
        put_new(n, 0, 2);
    put_new(0x0e, 0x1234, 2);
    put_new(0x10, F_1 | F_IF, 2);
    for (unsigned n = 0; n < 8; n++)
        put_new(0x12 + n * 2, 0x100 + n, 2);
    put_new(0x22, SEL_DATA16, 2);
    put_new(0x24, SEL_CODE16, 2);
    put_new(0x26, SEL_DATA16, 2);
    put_new(0x28, SEL_DATA16, 2);
    expect_ok(far_call(v, NEW, 0, 4));
    ck_assert_uint_eq(v->rip, 0x1234);
    ck_assert_uint_eq(v->gpr[RDI], 0xffff0107);
    ck_assert_uint_eq(v->rflags, F_1 | F_IF | F_NT);
    ck_assert(v->seg[SEG_FS].attr & ATTR_NULL);
    ck_assert_uint_eq(v->code_size, 2);
    v->next_rip = 0xabcd;
    v->gpr[RAX] = 0x4321;
    expect_ok(interrupt_return(v, 2));
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS + 0x0e, 2), 0xabcd);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS + 0x12, 2), 0x4321);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS + 0x24, 2), SEL_CODE16);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS + 0x2a, 2), 0);
}
END_TEST

START_TEST(v86_task)
{
    start();
    put_new(T_EFLAGS, F_1 | F_VM, 4);
    put_new(T_CS, 0x1234, 4);
    put_new(T_EIP, 0x1234, 4);
    expect_ok(far_jump(v, NEW, 0, 4));
    ck_assert_uint_eq(v->cpl, 3);
    ck_assert_uint_eq(v->seg[SEG_CS].base, 0x12340);
    ck_assert_uint_eq(v->code_size, 2);
}
END_TEST

START_TEST(trap_bit)
{
    start();
    put_new(T_TRAP, 1, 2);
    expect_ok(far_jump(v, NEW, 0, 4));
    ck_assert_uint_eq(v->pending_db, DR6_BT);
}
END_TEST

START_TEST(checks_before_the_switch)
{
    start();
    expect_fault(far_jump(v, OLD, 0, 4), VEC_GP, OLD); /* busy */
    expect_fault(far_jump(v, NEW | 1, 0, 4), VEC_GP, NEW);
    machine_descriptor(&machine, NEW, NEW_TSS, 0x67, SYS_TSS);
    expect_fault(far_jump(v, NEW, 0, 4), VEC_NP, NEW);
    machine_descriptor(&machine, NEW, NEW_TSS, 0x66, ATTR_P | SYS_TSS);
    expect_fault(far_jump(v, NEW, 0, 4), VEC_TS, NEW);
    machine_descriptor(&machine, NEW, NEW_TSS, 0x67, ATTR_P | SYS_TSS);
    v->tr.limit = 0x5c;
    expect_fault(far_jump(v, NEW, 0, 4), VEC_TS, OLD);
    v->tr.limit = 0x67;
    /* IRET: the linked task must be busy. */
    machine_put_uint(&machine, OLD_TSS, NEW, 2);
    v->rflags |= F_NT;
    expect_fault(interrupt_return(v, 4), VEC_TS, NEW);
    machine_put_uint(&machine, OLD_TSS, NEW | 4, 2);
    expect_fault(interrupt_return(v, 4), VEC_TS, NEW | 4);
    machine_put_uint(&machine, OLD_TSS, 0x1008, 2);
    expect_fault(interrupt_return(v, 4), VEC_TS, 0x1008);
    v->tr.limit = 0; /* the link is beyond it */
    expect_fault(interrupt_return(v, 4), VEC_TS, OLD);
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert_uint_eq(old(T_EIP), 0xeeeeeeee);
}
END_TEST

/* SDM 3A 7.2.2: a TSS descriptor in the LDT is of no use. */
START_TEST(tss_in_the_ldt)
{
    enum { LDT = 0x52000, SEL_LOCAL = 0x0c };

    start();
    v->ldtr = (struct segment){.base = LDT, .limit = 0xfff, .attr = ATTR_P | SYS_LDT};
    machine_put_uint(&machine, LDT + 8, machine_get(&machine, MACHINE_GDT + NEW, 8), 8);
    expect_fault(far_jump(v, SEL_LOCAL, 0, 4), VEC_GP, SEL_LOCAL);
    expect_fault(far_call(v, SEL_LOCAL, 0, 4), VEC_GP, SEL_LOCAL);
    ck_assert_uint_eq(v->tr.selector, OLD);
}
END_TEST

/* Whatever the first slot of the GDT holds, a null selector names no task. */
START_TEST(null_tss_selector)
{
    start();
    machine_descriptor(&machine, 0, NEW_TSS, 0x67, ATTR_P | SYS_TSS);
    put_call_gate(SEL_C, 0, 0, ATTR_P | SYS_TASK_GATE, 0);
    expect_fault(far_call(v, SEL_C, 0, 4), VEC_GP, 0);
    machine_gate(&machine, false, 0x21, 3, 0, SYS_TASK_GATE, 0, 0);
    expect_fault(interrupt_deliver(v, 0x21, EVENT_HARDWARE, false, 0, 0), VEC_GP, 1);
    machine_descriptor(&machine, 0, NEW_TSS, 0x67, ATTR_P | SYS_TSS_BUSY);
    machine_put_uint(&machine, OLD_TSS, 0, 2);
    v->rflags |= F_NT;
    expect_fault(interrupt_return(v, 4), VEC_TS, 0);
    ck_assert_uint_eq(v->tr.selector, OLD);
}
END_TEST

START_TEST(task_gate_checks)
{
    start();
    put_call_gate(SEL_C, NEW | 4, 0, ATTR_P | SYS_TASK_GATE, 0);
    expect_fault(far_call(v, SEL_C, 0, 4), VEC_GP, NEW | 4);
    put_call_gate(SEL_C, 0x1008, 0, ATTR_P | SYS_TASK_GATE, 0);
    expect_fault(far_call(v, SEL_C, 0, 4), VEC_GP, 0x1008);
    put_call_gate(SEL_C, OLD, 0, ATTR_P | SYS_TASK_GATE, 0);
    expect_fault(far_call(v, SEL_C, 0, 4), VEC_GP, OLD);
    put_call_gate(SEL_C, NEW, 0, SYS_TASK_GATE, 0);
    expect_fault(far_call(v, SEL_C, 0, 4), VEC_NP, SEL_C);
    machine_gate(&machine, false, 0x21, OLD, 0, SYS_TASK_GATE, 0, 0);
    expect_fault(interrupt_deliver(v, 0x21, EVENT_HARDWARE, false, 0, 0), VEC_GP, OLD | 1);
    put_call_gate(SEL_C, NEW, 0, ATTR_P | SYS_TASK_GATE, 0);
    expect_ok(far_call(v, SEL_C, 0, 4));
    expect_new_task();
}
END_TEST

/* Faults in the new task: what is put where, and what it raises (SDM 3A table 7-1). */
static const struct {
    unsigned at;
    u16 selector;
    u32 attr; /* of SEL_C */
    int vector, error;
} late_cases[] = {
    {T_LDT, SEL_C, ATTR_P | SYS_TSS, VEC_TS, SEL_C},
    {T_LDT, SEL_C, SYS_LDT, VEC_TS, SEL_C},
    {T_LDT, SEL_C | 4, ATTR_P | SYS_LDT, VEC_TS, SEL_C | 4},
    {T_CS, 0, CODE_RX, VEC_TS, 0},
    {T_CS, 0x1008, CODE_RX, VEC_TS, 0x1008},
    {T_CS, SEL_C, DATA_RW, VEC_TS, SEL_C},
    {T_CS, SEL_C, CODE_RX | DPL3, VEC_TS, SEL_C},
    {T_CS, SEL_C, CODE_RX & ~ATTR_P, VEC_NP, SEL_C},
    {T_CS, SEL_C, CODE_RX & ~ATTR_G, VEC_GP, 0}, /* EIP beyond the limit */
    {T_SS, 0, DATA_RW, VEC_TS, 0},
    {T_SS, SEL_C | 1, DATA_RW, VEC_TS, SEL_C},
    {T_SS, SEL_C, DATA_RW | DPL1, VEC_TS, SEL_C},
    {T_SS, SEL_C, DATA_RW & ~ATTR_WRITE, VEC_TS, SEL_C},
    {T_SS, SEL_C, DATA_RW & ~ATTR_P, VEC_SS, SEL_C},
    {T_DS, SEL_C | 3, DATA_RW, VEC_TS, SEL_C},
    {T_ES, SEL_C, CODE_RX & ~ATTR_WRITE, VEC_TS, SEL_C},
    {T_FS, SEL_C, DATA_RW & ~ATTR_P, VEC_NP, SEL_C},
    {T_GS, 0x1008, DATA_RW, VEC_TS, 0x1008},
};

START_TEST(checks_in_the_new_task)
{
    for (unsigned event = 0; event < 2; event++) {
        start();
        machine_descriptor(&machine, SEL_C, 0, late_cases[_i].attr & ATTR_G ? 0xfffff : ENTRY - 1,
                           late_cases[_i].attr);
        put_new(late_cases[_i].at, late_cases[_i].selector, 4);
        machine_gate(&machine, false, 0x21, NEW, 0, SYS_TASK_GATE, 0, 0);
        expect_fault(event ? interrupt_deliver(v, 0x21, EVENT_HARDWARE, false, 0, 0)
                           : far_jump(v, NEW, 0, 4),
                     late_cases[_i].vector, late_cases[_i].error | (int)event);
        ck_assert_uint_eq(v->tr.selector, NEW);
        ck_assert_uint_eq(v->rip, ENTRY);
        ck_assert_uint_eq(v->gpr[RAX], 0xa0000);
        ck_assert(busy(NEW));
    }
}
END_TEST

START_TEST(late_fault_runs_handler_of_new_task)
{
    start();
    machine_descriptor(&machine, SEL_C, 0, 0xfffff, DATA_RW & ~ATTR_P);
    put_new(T_GS, SEL_C, 4);
    /* jmp NEW:0; the #NP handler sees the new task's first instruction and stack */
    EXPECT_CODE(VEC_NP, 0xea, 0, 0, 0, 0, NEW, 0);
    ck_assert_uint_eq(v->tr.selector, NEW);
    EXPECT_WORDS(0xa0000 + RSP * 0x1000 - 16, 4, SEL_C, ENTRY, SEL_CODE32, F_1 | F_IF | F_RF);
}
END_TEST

START_TEST(error_code_needs_a_stack)
{
    start();
    machine_descriptor(&machine, SEL_C, 0, 0xfff, DATA_RW & ~ATTR_G);
    put_new(T_SS, SEL_C, 4);
    machine_gate(&machine, false, 13, NEW, 0, SYS_TASK_GATE, 0, 0);
    expect_fault(interrupt_deliver(v, 13, EVENT_EXCEPTION, true, 0, 0), VEC_SS, 1);
}
END_TEST

/* 32-bit paging with 4 MiB pages, everything mapped. */
static void start_paging(void)
{
    start();
    for (unsigned n = 0; n < 4; n++) {
        machine_put_uint(&machine, 0x60000 + n * 4, (u64)n << 22 | 0x87, 4);
        machine_put_uint(&machine, 0x61000 + n * 4, (u64)n << 22 | 0x87, 4);
    }
    v->cr3 = 0x60000;
    v->cr4 |= CR4_PSE;
    expect_ok(control_write_cr0(v, v->cr0 | CR0_PG));
}

START_TEST(address_space)
{
    start_paging();
    put_new(T_CR3, 0x61000, 4);
    expect_ok(far_jump(v, NEW, 0, 4));
    ck_assert_uint_eq(v->cr3, 0x61000);
}
END_TEST

/* SDM 3A 7.3: step 9 saves the old state, step 12 loads the new one; here they are the same. */
START_TEST(task_that_links_to_itself)
{
    start();
    machine_put_uint(&machine, OLD_TSS, OLD, 2);
    for (unsigned n = T_ES; n <= T_GS; n += 4)
        machine_put_uint(&machine, OLD_TSS + n, 0, 4);
    v->rflags |= F_NT;
    expect_ok(interrupt_return(v, 4));
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert_uint_eq(v->rip, 0x11223344);
    ck_assert_uint_eq(v->rflags, F_1 | F_CF);
    ck_assert_uint_eq(v->gpr[RSI], 0xb0000 + RSI);
    ck_assert_uint_eq(v->seg[SEG_CS].selector, SEL_CODE32);
}
END_TEST

/* SDM 3A 7.3: an error in step 12 is handled in the environment of the old task. */
START_TEST(reserved_bits_in_pdptes_of_the_new_task)
{
    start();
    for (unsigned n = 0; n < 4; n++) {
        machine_put_uint(&machine, 0x60000 + n * 8, 0x62001, 8);
        machine_put_uint(&machine, 0x61000 + n * 8, 0x621e7, 8);
    }
    machine_put_uint(&machine, 0x62000, 0xe7, 8); /* 2 MiB pages at 0 */
    v->cr3 = 0x60000;
    v->cr4 |= CR4_PAE;
    expect_ok(control_write_cr0(v, v->cr0 | CR0_PG));
    put_new(T_CR3, 0x61000, 4);
    expect_fault(far_jump(v, NEW, 0, 4), VEC_GP, 0);
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert_uint_eq(v->cr3, 0x60000);
    ck_assert_uint_eq(v->gpr[RSI], 0xb0000 + RSI);
    ck_assert_uint_eq(v->next_rip, 0x11223344);
}
END_TEST

START_TEST(page_fault_before_the_switch)
{
    start_paging();
    machine_descriptor(&machine, NEW, 0x1000ff0, 0x67, ATTR_P | SYS_TSS);
    expect_fault(far_jump(v, NEW, 0, 4), VEC_PF, 0);
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert(busy(OLD));
    ck_assert_uint_eq(old(T_EIP), 0xeeeeeeee);
}
END_TEST

/* -- another processor -- */

/* A GDT in which another processor makes NEW busy after its type was read so many times. */
struct contested_gdt {
    u8 bytes[0x100];
    unsigned reads_left;
};

static u64 gdt_read(void *self, u64 offset, unsigned size)
{
    struct contested_gdt *gdt = self;
    u64 value = 0;

    ck_assert(offset + size <= sizeof(gdt->bytes));
    memcpy(&value, gdt->bytes + offset, size);
    if (offset <= NEW + 5 && offset + size > NEW + 5 && gdt->reads_left && !--gdt->reads_left)
        gdt->bytes[NEW + 5] |= SYS_BUSY;
    return value;
}

static void gdt_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct contested_gdt *gdt = self;

    ck_assert(offset + size <= sizeof(gdt->bytes));
    memcpy(gdt->bytes + offset, &value, size);
}

static const struct io_ops gdt_ops = {gdt_read, gdt_write, SIZE_ANY};

/* SDM 3A 8.1.2.1: the busy flag is tested and set under LOCK, so that two processors do not switch
 * to the same task. Who comes second finds it busy: #GP (table 7-1), in the old task. */
START_TEST(task_that_another_processor_takes)
{
    /* The type is read by JMP or CALL, and by the task switch. */
    struct contested_gdt gdt = {.reads_left = 1 + (unsigned)_i / 2};
    struct region region = {.name = "gdt",
                            .kind = REGION_MMIO,
                            .access = REGION_RW,
                            .base = 0x10000000,
                            .size = PAGE_SIZE,
                            .priority = PRIO_MMIO,
                            .ops = &gdt_ops,
                            .self = &gdt};
    bool call = _i % 2;
    unsigned id;

    start();
    for (unsigned n = 0; n < sizeof(gdt.bytes); n++)
        gdt.bytes[n] = (u8)machine_get(&machine, MACHINE_GDT + n, 1);
    ck_assert_int_eq(physmap_add(machine.map, &region, &id), ST_OK);
    v->gdtr.base = region.base;
    v->gdtr.limit = sizeof(gdt.bytes) - 1;
    expect_fault(call ? far_call(v, NEW, 0, 4) : far_jump(v, NEW, 0, 4), VEC_GP, NEW);
    ck_assert_uint_eq(gdt.reads_left, 0);
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert(gdt.bytes[OLD + 5] & SYS_BUSY);
    ck_assert(gdt.bytes[NEW + 5] & SYS_BUSY);
    ck_assert_uint_eq(old(T_EIP), 0xeeeeeeee);
    ck_assert_uint_eq(machine_get(&machine, NEW_TSS, 2), 0);
    ck_assert_uint_eq(v->next_rip, 0x11223344);
}
END_TEST

/* What the guest has marked available can be entered, and is busy then: 7.3 step 6 comes first. */
START_TEST(jump_to_the_own_task)
{
    start();
    machine_descriptor(&machine, OLD, OLD_TSS, 0x67, ATTR_P | SYS_TSS);
    machine_put_uint(&machine, OLD_TSS + T_LDT, 0, 4);
    for (unsigned n = T_ES; n <= T_GS; n += 4)
        machine_put_uint(&machine, OLD_TSS + n, 0, 4);
    expect_ok(far_jump(v, OLD, 0, 4));
    ck_assert_uint_eq(v->tr.selector, OLD);
    ck_assert_uint_eq(v->rip, 0x11223344);
    ck_assert(busy(OLD));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu/task");
    TCase *t = tcase_create("task");

    tcase_add_checked_fixture(t, system_setup, system_teardown);
    tcase_add_test(t, jump);
    tcase_add_test(t, call_and_return);
    tcase_add_test(t, event_through_task_gate);
    tcase_add_test(t, double_fault_through_task_gate);
    tcase_add_test(t, sixteen_bit_task);
    tcase_add_test(t, v86_task);
    tcase_add_test(t, trap_bit);
    tcase_add_test(t, checks_before_the_switch);
    tcase_add_test(t, tss_in_the_ldt);
    tcase_add_test(t, null_tss_selector);
    tcase_add_test(t, task_gate_checks);
    tcase_add_loop_test(t, checks_in_the_new_task, 0, ARRAY_SIZE(late_cases));
    tcase_add_test(t, late_fault_runs_handler_of_new_task);
    tcase_add_test(t, error_code_needs_a_stack);
    tcase_add_test(t, address_space);
    tcase_add_test(t, task_that_links_to_itself);
    tcase_add_test(t, reserved_bits_in_pdptes_of_the_new_task);
    tcase_add_test(t, page_fault_before_the_switch);
    tcase_add_loop_test(t, task_that_another_processor_takes, 0, 4);
    tcase_add_test(t, jump_to_the_own_task);
    suite_add_tcase(s, t);
    return suite_run(s);
}
