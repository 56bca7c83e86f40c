/* SPDX-License-Identifier: MIT
 *
 * The run loop: budget, events and their windows, single-stepping, breakpoints, REP, self-modifying
 * code, fetch faults. Bodies have tests of their own.
 */
#include <check.h>

#include "cpu/ops/operand.h"
#include "tests/cpu/machine.h"
#include "tests/suite.h"

static struct machine m;

static void setup(void)
{
    machine_create(&m);
}

static void teardown(void)
{
    machine_destroy(&m);
}

static void set_flags(u64 flags)
{
    m.v->rflags |= flags;
    vcpu_update_mode(m.v);
}

/* A breakpoint in DR0: rw and len as in DR7. */
static void set_breakpoint(u64 address, unsigned rw, unsigned len)
{
    m.v->dr[0] = address;
    m.v->dr7 = DR7_FIXED | 1 | rw << 16 | len << 18;
    debug_update(m.v);
}

/* The interrupted address, from the 64-bit frame of a stub without error code. */
static u64 return_address(void)
{
    return machine_get(&m, m.v->gpr[RSP], 8);
}

static u64 pushed_flags(void)
{
    return machine_get(&m, m.v->gpr[RSP] + 16, 8);
}

/* -- budget and exits -- */

START_TEST(budget_is_exact)
{
    static const u64 budgets[] = {0, 1, 2, 31, 32, 33, 100};
    u8 nops[200];

    memset(nops, 0x90, sizeof(nops));
    machine_code(&m, nops, sizeof(nops));
    machine_start(&m, MACHINE_LONG);
    u64 icount = m.v->icount, before = m.v->rip;
    ck_assert_int_eq(machine_step(&m, budgets[_i]), EXIT_BUDGET);
    ck_assert_uint_eq(m.v->icount - icount, budgets[_i]);
    ck_assert_uint_eq(m.v->rip - before, budgets[_i]);
}
END_TEST

START_TEST(halt_is_idle)
{
    MACHINE_CODE_BYTES(&m, 0x90);
    machine_start(&m, MACHINE_LONG);
    u64 icount = m.v->icount;
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    ck_assert_uint_eq(m.v->icount - icount, 2);
    ck_assert_uint_eq(m.v->rip, MACHINE_CODE + 2);
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    ck_assert_uint_eq(m.v->icount - icount, 2);
}
END_TEST

START_TEST(stop_is_taken_once)
{
    MACHINE_CODE_BYTES(&m, 0xeb, 0xfe);
    machine_start(&m, MACHINE_LONG);
    vcpu_signal(m.v, EVENT_STOP);
    ck_assert_int_eq(machine_step(&m, 10), EXIT_STOP);
    ck_assert_int_eq(machine_step(&m, 10), EXIT_BUDGET);
}
END_TEST

START_TEST(triple_fault_is_shutdown)
{
    MACHINE_CODE_BYTES(&m, 0x0f, 0x0b);
    machine_start(&m, MACHINE_LONG);
    m.v->idtr.limit = 0;
    ck_assert_int_eq(machine_run(&m), EXIT_SHUTDOWN);
    ck_assert_int_eq(m.v->activity, ACTIVITY_SHUTDOWN);
    ck_assert_int_eq(machine_run(&m), EXIT_SHUTDOWN);
}
END_TEST

/* -- interrupts -- */

START_TEST(interrupt_wakes_halt)
{
    MACHINE_CODE_BYTES(&m, 0xfb, 0xf4); /* sti; hlt */
    machine_start(&m, MACHINE_LONG);
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    machine_interrupt(&m, 0x40);
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    ck_assert_int_eq(machine_vector(&m), 0x40);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 2);
    ck_assert_uint_eq(m.acks, 1);
}
END_TEST

START_TEST(masked_interrupt_waits)
{
    MACHINE_CODE_BYTES(&m, 0x90);
    machine_start(&m, MACHINE_LONG);
    machine_interrupt(&m, 0x40);
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    ck_assert_uint_eq(m.acks, 0);
    ck_assert_int_eq(machine_vector(&m), -1);
}
END_TEST

/* SDM 2, STI: the instruction after it still runs. */
START_TEST(sti_holds_interrupts_for_one_instruction)
{
    MACHINE_CODE_BYTES(&m, 0xfb, 0x90, 0x90); /* sti; nop; nop */
    machine_start(&m, MACHINE_LONG);
    machine_interrupt(&m, 0x40);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), 0x40);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 2);
}
END_TEST

START_TEST(sti_cli_opens_no_window)
{
    MACHINE_CODE_BYTES(&m, 0xfb, 0xfa, 0x90); /* sti; cli; nop */
    machine_start(&m, MACHINE_LONG);
    machine_interrupt(&m, 0x40);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
    ck_assert_uint_eq(m.v->rip, MACHINE_CODE + 4);
}
END_TEST

START_TEST(mov_ss_holds_interrupts_for_one_instruction)
{
    MACHINE_CODE_BYTES(&m, 0x8e, 0xd0, 0x90, 0x90); /* mov ss, eax; nop; nop */
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RAX] = SEL_DATA;
    set_flags(F_IF);
    ck_assert_int_eq(machine_step(&m, 1), EXIT_BUDGET);
    ck_assert_uint_eq(m.v->shadow, 2);
    machine_interrupt(&m, 0x40);
    vcpu_signal(m.v, EVENT_NMI);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_NMI);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 3);
}
END_TEST

START_TEST(interrupt_that_went_away)
{
    MACHINE_CODE_BYTES(&m, 0x90);
    machine_start(&m, MACHINE_LONG);
    set_flags(F_IF);
    vcpu_signal(m.v, EVENT_INTR); /* machine_ack answers -1 */
    machine_run(&m);
    ck_assert_uint_eq(m.acks, 1);
    ck_assert_int_eq(machine_vector(&m), -1);
}
END_TEST

START_TEST(nmi_is_blocked_until_iret)
{
    MACHINE_CODE_BYTES(&m, 0x90);
    machine_start(&m, MACHINE_LONG);
    vcpu_signal(m.v, EVENT_NMI);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_NMI);
    ck_assert_uint_eq(return_address(), MACHINE_CODE);
    ck_assert(m.v->nmi_blocked);

    u64 rsp = m.v->gpr[RSP];
    vcpu_signal(m.v, EVENT_NMI);
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    ck_assert_uint_eq(m.v->gpr[RSP], rsp);
    machine_put(&m, machine_stub(VEC_NMI) + 1, "\x48\xcf", 2); /* iretq */
    m.v->activity = ACTIVITY_RUN;
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_NMI);
    ck_assert_uint_eq(return_address(), MACHINE_CODE);
    ck_assert_uint_eq(m.v->gpr[RSP], rsp);
}
END_TEST

START_TEST(init_and_sipi)
{
    MACHINE_CODE_BYTES(&m, 0xeb, 0xfe);
    machine_start(&m, MACHINE_LONG);
    m.v->bsp = false;
    unsigned resets = m.resets;
    vcpu_signal(m.v, EVENT_INIT);
    ck_assert_int_eq(machine_step(&m, 10), EXIT_IDLE);
    ck_assert_int_eq(m.v->activity, ACTIVITY_WAIT_SIPI);
    ck_assert_uint_eq(m.resets, resets + 1);
    ck_assert(vcpu_real_mode(m.v));

    machine_interrupt(&m, 0x40);
    ck_assert_int_eq(machine_step(&m, 10), EXIT_IDLE);
    machine_put(&m, 0x12000, "\xf4", 1);
    m.v->sipi_vector = 0x12;
    vcpu_signal(m.v, EVENT_SIPI);
    ck_assert_int_eq(machine_step(&m, 10), EXIT_IDLE);
    ck_assert_uint_eq(m.v->seg[SEG_CS].selector, 0x1200);
    ck_assert_uint_eq(m.v->rip, 1);
    ck_assert_int_eq(m.v->activity, ACTIVITY_HLT);

    m.v->sipi_vector = 0x30; /* ignored: not waiting */
    vcpu_signal(m.v, EVENT_SIPI);
    ck_assert_int_eq(machine_step(&m, 10), EXIT_IDLE);
    ck_assert_uint_eq(m.v->seg[SEG_CS].selector, 0x1200);
}
END_TEST

/* -- single-stepping -- */

START_TEST(tf_traps_after_the_instruction)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0x90);
    machine_start(&m, MACHINE_LONG);
    set_flags(F_TF);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 1);
    ck_assert_uint_eq(m.v->dr6, DR6_FIXED | DR6_BS);
    ck_assert_uint_eq(pushed_flags() & (F_TF | F_RF), F_TF);
}
END_TEST

/* POPF that sets TF: the trap comes after the instruction behind it. */
START_TEST(popf_sets_tf_for_the_next_instruction)
{
    MACHINE_CODE_BYTES(&m, 0x68, 0x02, 0x01, 0x00, 0x00, 0x9d, 0x90, 0x90);
    machine_start(&m, MACHINE_LONG);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 7);
}
END_TEST

START_TEST(tf_is_held_off_by_mov_ss)
{
    MACHINE_CODE_BYTES(&m, 0x8e, 0xd0, 0x90, 0x90);
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RAX] = SEL_DATA;
    set_flags(F_TF);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 3);
}
END_TEST

/* INT n clears TF on entry and is not followed by a trap. */
START_TEST(tf_does_not_trap_behind_int)
{
    MACHINE_CODE_BYTES(&m, 0xcd, 0x80);
    machine_start(&m, MACHINE_LONG);
    set_flags(F_TF);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), 0x80);
    ck_assert_uint_eq(m.v->dr6, DR6_FIXED);
}
END_TEST

START_TEST(tf_traps_after_each_rep_iteration)
{
    MACHINE_CODE_BYTES(&m, 0xf3, 0xaa); /* rep stosb */
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RDI] = MACHINE_DATA;
    m.v->gpr[RCX] = 3;
    set_flags(F_TF);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(m.v->gpr[RCX], 2);
    ck_assert_uint_eq(return_address(), MACHINE_CODE);
}
END_TEST

/* -- breakpoints -- */

START_TEST(instruction_breakpoint_faults_and_rf_skips_it)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0x90, 0x90);
    machine_start(&m, MACHINE_LONG);
    set_breakpoint(MACHINE_CODE + 1, 0, 0);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 1);
    ck_assert_uint_eq(m.v->dr6, DR6_FIXED | 1);

    machine_start(&m, MACHINE_LONG);
    set_breakpoint(MACHINE_CODE, 0, 0);
    set_flags(F_RF);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
    ck_assert_uint_eq(m.v->rip, MACHINE_CODE + 4);
    ck_assert_uint_eq(m.v->rflags & F_RF, 0);
}
END_TEST

START_TEST(iret_sets_rf_for_one_instruction)
{
    MACHINE_CODE_BYTES(&m, 0x48, 0xcf, 0x90, 0x90); /* iretq; target: nop; nop */
    machine_start(&m, MACHINE_LONG);
    set_breakpoint(MACHINE_CODE + 2, 0, 0);
    u64 frame[5] = {MACHINE_CODE + 2, SEL_CODE64, F_1 | F_RF, MACHINE_STACK, SEL_DATA};
    m.v->gpr[RSP] = MACHINE_STACK - sizeof(frame);
    machine_put(&m, m.v->gpr[RSP], frame, sizeof(frame));
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
    ck_assert_uint_eq(m.v->rip, MACHINE_CODE + 5);
}
END_TEST

START_TEST(data_breakpoint_traps_after_the_access)
{
    MACHINE_CODE_BYTES(&m, 0x8b, 0x07, 0x89, 0x07, 0x90); /* mov eax,[rdi]; mov [rdi],eax; nop */
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RDI] = MACHINE_DATA;
    set_breakpoint(MACHINE_DATA + 3, 1, 0); /* writes to the last byte */
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 4);
    ck_assert_uint_eq(m.v->dr6, DR6_FIXED | 1);

    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RDI] = MACHINE_DATA;
    set_breakpoint(MACHINE_DATA, 3, 3); /* reads and writes */
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 2);

    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RDI] = MACHINE_DATA;
    set_breakpoint(MACHINE_DATA + 4, 3, 0); /* a neighbour */
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
}
END_TEST

START_TEST(port_breakpoint_needs_de)
{
    MACHINE_CODE_BYTES(&m, 0xe6, 0x80, 0x90); /* out 0x80, al; nop */
    machine_start(&m, MACHINE_LONG);
    set_breakpoint(0x80, 2, 0);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 2);

    machine_start(&m, MACHINE_LONG);
    m.v->cr4 &= ~(u64)CR4_DE;
    set_breakpoint(0x80, 2, 0);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
}
END_TEST

/* MOV SS with a breakpoint on its operand: the trap waits for the next instruction. */
START_TEST(data_breakpoint_of_mov_ss_is_delayed)
{
    MACHINE_CODE_BYTES(&m, 0x8e, 0x17, 0x90, 0x90); /* mov ss, [rdi]; nop; nop */
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RDI] = MACHINE_DATA;
    machine_put_uint(&m, MACHINE_DATA, SEL_DATA, 2);
    set_breakpoint(MACHINE_DATA, 3, 1);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_DB);
    ck_assert_uint_eq(return_address(), MACHINE_CODE + 3);
}
END_TEST

/* -- REP -- */

START_TEST(rep_counts_once)
{
    MACHINE_CODE_BYTES(&m, 0xf3, 0xaa);
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RDI] = MACHINE_DATA;
    m.v->gpr[RCX] = 100000;
    u64 icount = m.v->icount;
    machine_run(&m);
    ck_assert_uint_eq(m.v->gpr[RCX], 0);
    ck_assert_uint_eq(m.v->gpr[RDI], MACHINE_DATA + 100000);
    ck_assert_uint_eq(m.v->icount - icount, 2);
}
END_TEST

/* A device that raises the interrupt line when it is stored to: in the middle of REP STOSB. */
static void raise_line(void *self, u64 offset, u64 value, unsigned size)
{
    (void)value;
    (void)size;
    if (offset == 8)
        machine_interrupt(self, 0x50);
}

START_TEST(rep_is_interruptible)
{
    static const struct io_ops ops = {.write = raise_line, .sizes = SIZE_ANY};
    struct region device = {.name = "line",
                            .kind = REGION_MMIO,
                            .access = REGION_RW,
                            .base = MACHINE_DATA,
                            .size = PAGE_SIZE,
                            .priority = PRIO_MMIO,
                            .ops = &ops,
                            .self = &m};
    unsigned id;

    ck_assert_int_eq(physmap_add(m.map, &device, &id), ST_OK);
    MACHINE_CODE_BYTES(&m, 0xf3, 0xaa);
    machine_start(&m, MACHINE_LONG);
    set_flags(F_IF);
    m.v->gpr[RDI] = MACHINE_DATA;
    m.v->gpr[RCX] = 1000000;
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), 0x50);
    ck_assert_uint_eq(return_address(), MACHINE_CODE);
    ck_assert_uint_gt(m.v->gpr[RCX], 0);
    ck_assert_uint_eq(m.v->gpr[RDI] + m.v->gpr[RCX], MACHINE_DATA + 1000000);
    ck_assert_uint_eq(pushed_flags() & F_RF, F_RF);
}
END_TEST

/* #UD whose handler is #UD: the stack wraps for ever and nothing retires. */
START_TEST(endless_faults_leave_the_loop)
{
    MACHINE_CODE_BYTES(&m, 0x0f, 0x0b);
    machine_start(&m, MACHINE_REAL);
    m.v->seg[SEG_SS].base = MACHINE_DATA;
    machine_put_uint(&m, 6 * 4, (u64)(MACHINE_CODE >> 4) << 16, 4);
    for (unsigned n = 0; n < 3; n++) {
        ck_assert_int_eq(machine_step(&m, 1000), EXIT_STALLED);
        ck_assert_uint_eq(m.v->icount, 0);
    }
}
END_TEST

/* The elements that are done stay done, and the rest follows. */
START_TEST(long_rep_leaves_the_loop)
{
    enum { COUNT = 0x40000000 };
    u64 left = COUNT;

    MACHINE_CODE_BYTES(&m, 0xf3, 0xac); /* rep lodsb */
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RCX] = COUNT;
    m.v->gpr[RSI] = MACHINE_RAM; /* nothing is there: element by element */
    for (unsigned n = 0; n < 2; n++) {
        ck_assert_int_eq(machine_step(&m, 1000), EXIT_STALLED);
        ck_assert_uint_eq(m.v->icount, 0);
        ck_assert_uint_eq(m.v->rip, MACHINE_CODE);
        ck_assert_uint_lt(m.v->gpr[RCX], left);
        left = m.v->gpr[RCX];
        ck_assert_uint_eq(m.v->gpr[RSI], MACHINE_RAM + COUNT - left);
    }
}
END_TEST

/* -- code that changes, and the edges of code -- */

START_TEST(store_into_the_next_instruction)
{
    /* mov byte [rip + 0], 0xf8 over STC: it runs as CLC. */
    MACHINE_CODE_BYTES(&m, 0xf9, 0xc6, 0x05, 0x00, 0x00, 0x00, 0x00, 0xf8, 0xf9, 0x90);
    machine_start(&m, MACHINE_LONG);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
    ck_assert_uint_eq(m.v->rflags & F_CF, 0);
}
END_TEST

START_TEST(loop_that_patches_itself)
{
    /* L: add eax, imm8; inc byte [imm8]; dec ecx; jnz L */
    MACHINE_CODE_BYTES(&m, 0x83, 0xc0, 0x01, 0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75,
                       0xf3);
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RAX] = 0;
    m.v->gpr[RCX] = 10;
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
    ck_assert_uint_eq(m.v->gpr[RAX], 55);
}
END_TEST

START_TEST(too_long_is_gp)
{
    u8 code[16];

    memset(code, 0x66, 15);
    code[15] = 0x90;
    machine_code(&m, code, sizeof(code));
    machine_start(&m, MACHINE_LONG);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_GP);
    ck_assert_uint_eq(return_address(), 0); /* the error code */
}
END_TEST

START_TEST(fetch_fault_on_the_second_page)
{
    const u64 page = MACHINE_DATA + 0x200000, at = page - 2;

    machine_start(&m, MACHINE_LONG);
    machine_put(&m, at, "\x48\xb8", 2); /* mov rax, imm64 */
    /* The page behind is one of 4 KiB, not present: split its 2 MiB into a table at the end of RAM.
     */
    u64 table = MACHINE_RAM - PAGE_SIZE;
    for (unsigned n = 0; n < 512; n++)
        machine_put_uint(&m, table + n * 8, n == (page >> 12 & 511) ? 0 : (0x200000 | n << 12) | 7,
                         8);
    machine_put_uint(&m, MACHINE_PML4 + 0x2000 + 1 * 8, table | 7, 8);
    tlb_flush_all(&m.v->tlb);
    m.v->rip = at;
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_PF);
    ck_assert_uint_eq(m.v->cr2, page);
    ck_assert_uint_eq(machine_get(&m, m.v->gpr[RSP], 8), PF_I);
    ck_assert_uint_eq(machine_get(&m, m.v->gpr[RSP] + 8, 8), at);
}
END_TEST

START_TEST(limit_inside_a_decoded_run)
{
    MACHINE_CODE_BYTES(&m, 0x90, 0x90, 0xb8, 1, 0, 0, 0, 0x90);
    machine_start(&m, MACHINE_PROT32);
    machine_run(&m); /* decodes the run with a flat limit */
    ck_assert_int_eq(machine_vector(&m), -1);
    machine_start(&m, MACHINE_PROT32);
    m.v->seg[SEG_CS].limit = MACHINE_CODE + 5;
    m.v->gpr[RAX] = 0;
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), VEC_GP);
    ck_assert_uint_eq(machine_stack(&m, 1, 4), MACHINE_CODE + 2);
    ck_assert_uint_eq(m.v->gpr[RAX], 0);
}
END_TEST

START_TEST(ip_wraps_in_real_mode)
{
    machine_start(&m, MACHINE_REAL);
    machine_put(&m, MACHINE_CODE, "\x40\xf4", 2);          /* 0000: inc ax; hlt */
    machine_put(&m, MACHINE_CODE + 0xfffe, "\x40\x40", 2); /* fffe: inc ax; inc ax */
    m.v->gpr[RAX] = 0;
    m.v->rip = 0xfffe;
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    ck_assert_int_eq(machine_vector(&m), -1);
    ck_assert_uint_eq(m.v->gpr[RAX], 3);
    ck_assert_uint_eq(m.v->rip, 2);
}
END_TEST

START_TEST(code_outside_ram_runs)
{
    static u8 rom[PAGE_SIZE] ALIGNED(4096);
    struct region region = {.name = "rom",
                            .kind = REGION_ROM,
                            .access = REGION_RW,
                            .base = 64 << 20,
                            .size = PAGE_SIZE,
                            .priority = PRIO_ROM,
                            .hva = rom};
    unsigned id;

    memcpy(rom, "\xff\xc0\xff\xc0\xf4", 5); /* inc eax; inc eax; hlt */
    ck_assert_int_eq(physmap_add(m.map, &region, &id), ST_OK);
    machine_start(&m, MACHINE_LONG);
    m.v->gpr[RAX] = 0;
    m.v->rip = 64 << 20;
    ck_assert_int_eq(machine_run(&m), EXIT_IDLE);
    ck_assert_uint_eq(m.v->gpr[RAX], 2);
}
END_TEST

static TCase *group(Suite *suite, const char *name)
{
    TCase *c = tcase_create(name);

    tcase_add_checked_fixture(c, setup, teardown);
    suite_add_tcase(suite, c);
    return c;
}

int main(void)
{
    Suite *suite = suite_create("interp");
    TCase *c = group(suite, "exits");

    tcase_add_loop_test(c, budget_is_exact, 0, 7);
    tcase_add_test(c, halt_is_idle);
    tcase_add_test(c, stop_is_taken_once);
    tcase_add_test(c, triple_fault_is_shutdown);
    c = group(suite, "events");
    tcase_add_test(c, interrupt_wakes_halt);
    tcase_add_test(c, masked_interrupt_waits);
    tcase_add_test(c, sti_holds_interrupts_for_one_instruction);
    tcase_add_test(c, sti_cli_opens_no_window);
    tcase_add_test(c, mov_ss_holds_interrupts_for_one_instruction);
    tcase_add_test(c, interrupt_that_went_away);
    tcase_add_test(c, nmi_is_blocked_until_iret);
    tcase_add_test(c, init_and_sipi);
    c = group(suite, "debug");
    tcase_add_test(c, tf_traps_after_the_instruction);
    tcase_add_test(c, popf_sets_tf_for_the_next_instruction);
    tcase_add_test(c, tf_is_held_off_by_mov_ss);
    tcase_add_test(c, tf_does_not_trap_behind_int);
    tcase_add_test(c, tf_traps_after_each_rep_iteration);
    tcase_add_test(c, instruction_breakpoint_faults_and_rf_skips_it);
    tcase_add_test(c, iret_sets_rf_for_one_instruction);
    tcase_add_test(c, data_breakpoint_traps_after_the_access);
    tcase_add_test(c, port_breakpoint_needs_de);
    tcase_add_test(c, data_breakpoint_of_mov_ss_is_delayed);
    c = group(suite, "rep");
    tcase_add_test(c, rep_counts_once);
    tcase_add_test(c, rep_is_interruptible);
    tcase_add_test(c, endless_faults_leave_the_loop);
    tcase_add_test(c, long_rep_leaves_the_loop);
    c = group(suite, "code");
    tcase_add_test(c, store_into_the_next_instruction);
    tcase_add_test(c, loop_that_patches_itself);
    tcase_add_test(c, too_long_is_gp);
    tcase_add_test(c, fetch_fault_on_the_second_page);
    tcase_add_test(c, limit_inside_a_decoded_run);
    tcase_add_test(c, ip_wraps_in_real_mode);
    tcase_add_test(c, code_outside_ram_runs);
    return suite_run(suite);
}
