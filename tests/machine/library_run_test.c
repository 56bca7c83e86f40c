/* SPDX-License-Identifier: MIT
 *
 * Running with the public library: what ends a run, exceptions that are not delivered, interrupts,
 * stops from elsewhere, several machines at once.
 */
#include <time.h>
#include <unistd.h>

#include "tests/machine/library.h"

/* -- budgets and addresses -- */

START_TEST(budget_is_exact)
{
    static const u8 code[] = {0x40, 0xeb, 0xfd}; /* 1: inc eax; jmp 1b */
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;

    lib_start(m, 32, code, sizeof(code));
    lib_set(m, LOCKSTEP_RAX, 0);
    r = lib_run(m, 1001);
    ck_assert_int_eq(r.end, LOCKSTEP_END_BUDGET);
    ck_assert_uint_eq(r.instructions, 1001);
    ck_assert_uint_eq(r.rip, LIB_CODE + 1);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), 501);
    OK(lockstep_step(m, &r));
    ck_assert_uint_eq(r.instructions, 1);
    ck_assert_uint_eq(r.rip, LIB_CODE);
    OK(lockstep_step(m, NULL));
    ck_assert_uint_eq(lockstep_instructions(m), 1003);
    r = lib_run(m, 0);
    ck_assert_int_eq(r.end, LOCKSTEP_END_BUDGET);
    ck_assert_uint_eq(r.instructions, 0);
    ck_assert_uint_eq(lockstep_instructions(NULL), 0);
    lockstep_destroy(m);
}
END_TEST

START_TEST(run_until_address)
{
    static const u8 code[] = {0x90, 0x40, 0xeb, 0xfd}; /* nop; 1: inc eax; jmp 1b */
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r = {.size = sizeof(r)};

    lib_start(m, 32, code, sizeof(code));
    OK(lockstep_run_until(m, LIB_CODE + 2, LOCKSTEP_UNLIMITED, &r));
    ck_assert_int_eq(r.end, LOCKSTEP_END_ADDRESS);
    ck_assert_uint_eq(r.rip, LIB_CODE + 2);
    ck_assert_uint_eq(r.instructions, 2);
    /* The instruction there is executed now: once around. */
    OK(lockstep_run_until(m, LIB_CODE + 2, LOCKSTEP_UNLIMITED, &r));
    ck_assert_int_eq(r.end, LOCKSTEP_END_ADDRESS);
    ck_assert_uint_eq(r.instructions, 2);
    OK(lockstep_run_until(m, LIB_CODE, 100, &r));
    ck_assert_int_eq(r.end, LOCKSTEP_END_BUDGET);
    ck_assert_uint_eq(r.instructions, 100);
    /* Budget and address at once. */
    OK(lockstep_run_until(m, LIB_CODE + 1, 1, &r));
    ck_assert_int_eq(r.end, LOCKSTEP_END_ADDRESS);
    /* Linear, not an offset, in real mode. */
    lib_start(m, 16, code, sizeof(code));
    OK(lockstep_run_until(m, LIB_CODE + 2, 100, &r));
    ck_assert_int_eq(r.end, LOCKSTEP_END_ADDRESS);
    ck_assert_uint_eq(r.rip, 2);
    lockstep_destroy(m);
}
END_TEST

START_TEST(arguments_are_checked)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r = {.size = 3};

    FAILS(LOCKSTEP_INVALID, lockstep_run(m, 1, &r));
    FAILS(LOCKSTEP_INVALID, lockstep_run_until(m, 0, 1, &r));
    FAILS(LOCKSTEP_INVALID, lockstep_step(m, &r));
    FAILS(LOCKSTEP_INVALID, lockstep_run(NULL, 1, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_run_until(NULL, 1, 1, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_stop_on_exception(m, 256, true));
    FAILS(LOCKSTEP_INVALID, lockstep_stop_on_exception(m, -2, true));
    FAILS(LOCKSTEP_INVALID, lockstep_stop_on_exception(NULL, 0, true));
    FAILS(LOCKSTEP_INVALID, lockstep_interrupt(NULL, 32));
    FAILS(LOCKSTEP_INVALID, lockstep_nmi(NULL, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_nmi(m, 1));
    lockstep_stop(NULL);
    lockstep_destroy(m);
}
END_TEST

/* -- exceptions -- */

struct exception_case {
    unsigned bits;
    u8 code[12];
    unsigned vector, kind, length;
    bool has_error;
    u32 error;
    u64 address;
};

/* RCX and RSI point to nowhere canonical in 64-bit mode, past the limit in 16-bit mode. */
static const struct exception_case exception_cases[] = {
    {16, {0xf7, 0xf3}, 0, LOCKSTEP_EVENT_FAULT, 0, false, 0, 0},                 /* div bx */
    {16, {0x0f, 0x0b}, 6, LOCKSTEP_EVENT_FAULT, 0, false, 0, 0},                 /* ud2 */
    {16, {0xcc}, 3, LOCKSTEP_EVENT_SOFTWARE, 1, false, 0, 0},                    /* int3 */
    {16, {0xcd, 0x21}, 0x21, LOCKSTEP_EVENT_SOFTWARE, 2, false, 0, 0},           /* int 21h */
    {32, {0xf7, 0xf3}, 0, LOCKSTEP_EVENT_FAULT, 0, false, 0, 0},                 /* div ebx */
    {32, {0x8e, 0xd9}, 13, LOCKSTEP_EVENT_FAULT, 0, true, 0x40, 0},              /* mov ds, cx */
    {32, {0xce}, 4, LOCKSTEP_EVENT_SOFTWARE, 1, false, 0, 0},                    /* into */
    {32, {0xf1}, 1, LOCKSTEP_EVENT_SOFTWARE, 1, false, 0, 0},                    /* int1 */
    {64, {0x48, 0xf7, 0xf3}, 0, LOCKSTEP_EVENT_FAULT, 0, false, 0, 0},           /* div rbx */
    {64, {0x48, 0x8b, 0x06}, 13, LOCKSTEP_EVENT_FAULT, 0, true, 0, 0},           /* not canonical */
    {64, {0x48, 0x89, 0x07}, 14, LOCKSTEP_EVENT_FAULT, 0, true, 2, 0x100000000}, /* beyond 4 GiB */
    {64, {0x0f, 0x58, 0x07}, 14, LOCKSTEP_EVENT_FAULT, 0, true, 0, 0x100000000}, /* addps */
    {64, {0xcd, 0x80}, 0x80, LOCKSTEP_EVENT_SOFTWARE, 2, false, 0, 0},           /* int 80h */
};

START_TEST(exceptions_stop_before_delivery)
{
    const struct exception_case *c = &exception_cases[_i];
    struct lockstep_machine *m = lib_create();
    struct lockstep_state before, after;
    struct lockstep_result r;

    lib_start(m, c->bits, c->code, sizeof(c->code));
    lib_set(m, LOCKSTEP_RBX, 0);
    lib_set(m, LOCKSTEP_RCX, 0x40);
    lib_set(m, LOCKSTEP_RSI, 1ull << 60);
    lib_set(m, LOCKSTEP_RDI, 1ull << 32);
    lib_set(m, LOCKSTEP_RFLAGS, 0x802); /* OF */
    OK(lockstep_stop_on_exception(m, LOCKSTEP_ALL_VECTORS, true));
    before = lib_state(m);
    for (unsigned again = 0; again < 2; again++) {
        r = lib_run(m, 10);
        ck_assert_int_eq(r.end, LOCKSTEP_END_EXCEPTION);
        ck_assert_uint_eq(r.instructions, 0);
        ck_assert_uint_eq(r.exception.kind, c->kind);
        ck_assert_uint_eq(r.exception.vector, c->vector);
        ck_assert_int_eq(r.exception.has_error_code, c->has_error);
        ck_assert_uint_eq(r.exception.error_code, c->error);
        ck_assert_uint_eq(r.exception.address, c->address);
        ck_assert_int_eq(r.exception.delivered, false);
        ck_assert_uint_eq(r.exception.rip, before.rip);
        ck_assert_uint_eq(r.exception.return_rip, before.rip + c->length);
        after = lib_state(m);
        ck_assert_mem_eq(&before, &after, sizeof(before));
    }
    lockstep_destroy(m);
}
END_TEST

/* One vector of several; the others are delivered, here without an IDT: triple fault. */
START_TEST(exceptions_stop_by_vector)
{
    static const u8 code[] = {0xcc, 0x0f, 0x0b};
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;

    lib_start(m, 64, code, sizeof(code));
    OK(lockstep_stop_on_exception(m, 3, true));
    r = lib_run(m, 10);
    ck_assert_int_eq(r.end, LOCKSTEP_END_EXCEPTION);
    ck_assert_uint_eq(r.exception.vector, 3);
    lib_set(m, LOCKSTEP_RIP, r.exception.return_rip);
    r = lib_run(m, 10);
    ck_assert_int_eq(r.end, LOCKSTEP_END_SHUTDOWN);
    ck_assert_uint_eq(r.exception.vector, 6); /* what began it */
    ck_assert_int_eq(r.exception.delivered, true);
    ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_SHUTDOWN); /* dead */
    OK(lockstep_reset(m));
    OK(lockstep_stop_on_exception(m, 6, true));
    OK(lockstep_stop_on_exception(m, 3, false));
    lib_start(m, 64, code, sizeof(code));
    ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_SHUTDOWN);
    lockstep_destroy(m);
}
END_TEST

/* A page fault whose cause the program repairs: the instruction goes through then, once. */
START_TEST(stopped_instruction_can_go_on)
{
    static const u8 code[] = {0xff, 0x07, 0xf4}; /* inc dword [rdi]; hlt */
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;

    lib_start(m, 64, code, sizeof(code));
    lib_set(m, LOCKSTEP_RDI, 0x200000);
    lib_store(m, 0x3008, 0, 8); /* the page directory entry of 2 to 4 MiB */
    OK(lockstep_flush_tlb(m));
    OK(lockstep_stop_on_exception(m, LOCKSTEP_ALL_VECTORS, true));
    r = lib_run(m, 10);
    ck_assert_uint_eq(r.exception.address, 0x200000);
    lib_store(m, 0x3008, 0x87, 8); /* to physical 0 */
    lib_store(m, 0, 41, 4);
    r = lib_run(m, 10);
    ck_assert_int_eq(r.end, LOCKSTEP_END_HALTED);
    ck_assert_uint_eq(r.instructions, 2);
    ck_assert_uint_eq(lib_load(m, 0, 4), 42);
    lockstep_destroy(m);
}
END_TEST

/* The shadow of MOV SS and RF of the faulting instruction are as before it. */
START_TEST(stop_keeps_shadow_and_rf)
{
    static const u8 code[] = {0x8e, 0xd3, 0x0f, 0x0b}; /* mov ss, bx; ud2 */
    struct lockstep_machine *m = lib_create();
    struct lockstep_state s;

    lib_start(m, 16, code, sizeof(code));
    OK(lockstep_stop_on_exception(m, LOCKSTEP_ALL_VECTORS, true));
    lib_set(m, LOCKSTEP_RFLAGS, 0x10002);
    lib_run(m, 1);
    lib_set(m, LOCKSTEP_RFLAGS, 0x10002);
    ck_assert_int_eq(lib_run(m, 1).end, LOCKSTEP_END_EXCEPTION);
    s = lib_state(m);
    ck_assert_uint_eq(s.interrupt_shadow, 2);
    ck_assert_uint_eq(s.rflags, 0x10002);
    lockstep_destroy(m);
}
END_TEST

START_TEST(single_step_trap)
{
    static const u8 code[] = {0x90, 0x90};
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;

    lib_start(m, 64, code, sizeof(code));
    OK(lockstep_stop_on_exception(m, 1, true));
    lib_set(m, LOCKSTEP_RFLAGS, 0x102);
    r = lib_run(m, 10);
    ck_assert_int_eq(r.end, LOCKSTEP_END_EXCEPTION);
    ck_assert_uint_eq(r.instructions, 1);
    ck_assert_uint_eq(r.exception.kind, LOCKSTEP_EVENT_TRAP);
    ck_assert_uint_eq(r.exception.dr6, 0x4000);
    ck_assert_uint_eq(r.exception.return_rip, LIB_CODE + 1);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_DR6), 0xffff0ff0);
    /* Forgotten: the next is the next instruction's. */
    r = lib_run(m, 10);
    ck_assert_uint_eq(r.exception.return_rip, LIB_CODE + 2);
    lockstep_destroy(m);
}
END_TEST

/* With an IDT exceptions are delivered, and the last one is told. */
START_TEST(delivered_exceptions_are_told)
{
    static const u8 code[] = {0x0f, 0x0b};
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;

    lib_start(m, 64, code, sizeof(code));
    lib_handlers(m);
    r = lib_run(m, 10);
    ck_assert_int_eq(r.end, LOCKSTEP_END_HALTED);
    ck_assert_uint_eq(r.exception.vector, 6);
    ck_assert_int_eq(r.exception.delivered, true);
    ck_assert_uint_eq(r.rip, LIB_HANDLER + 16 * 6 + 1);
    lockstep_destroy(m);
}
END_TEST

/* -- interrupts -- */

START_TEST(interrupts_are_delivered)
{
    static const u8 code[] = {0x90, 0xfb, 0x90, 0x90, 0xeb, 0xfe}; /* nop; sti; nop; nop; jmp $ */
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;

    lib_start(m, 64, code, sizeof(code));
    lib_handlers(m);
    OK(lockstep_interrupt(m, 0x40));
    OK(lockstep_interrupt(m, 0x60));
    OK(lockstep_interrupt(m, 0x60));
    r = lib_run(m, 100);
    ck_assert_int_eq(r.end, LOCKSTEP_END_HALTED);
    ck_assert_uint_eq(r.rip, LIB_HANDLER + 16 * 0x60 + 1); /* the higher one */
    ck_assert_uint_eq(r.exception.kind, LOCKSTEP_EVENT_INTERRUPT);
    ck_assert_uint_eq(r.exception.return_rip, LIB_CODE + 3);    /* behind STI's shadow */
    ck_assert_int_eq(lib_run(m, 100).end, LOCKSTEP_END_HALTED); /* IF is clear in the handler */
    lib_set(m, LOCKSTEP_RFLAGS, 0x202);
    lib_set(m, LOCKSTEP_CR8, 4);
    ck_assert_int_eq(lib_run(m, 100).rip, LIB_HANDLER + 16 * 0x60 + 1); /* CR8 holds 40h off */
    lib_set(m, LOCKSTEP_CR8, 3);
    ck_assert_int_eq(lib_run(m, 100).rip, LIB_HANDLER + 16 * 0x40 + 1);
    lib_set(m, LOCKSTEP_RFLAGS, 0x202);
    ck_assert_int_eq(lib_run(m, 100).exception.kind, LOCKSTEP_EVENT_NONE); /* 60h came once */
    OK(lockstep_nmi(m, 0));
    r = lib_run(m, 100);
    ck_assert_uint_eq(r.exception.vector, 2);
    ck_assert_uint_eq(r.rip, LIB_HANDLER + 16 * 2 + 1);
    ck_assert_int_eq(lib_state(m).nmi_blocked, true);
    lockstep_destroy(m);
}
END_TEST

START_TEST(reset_forgets_interrupts)
{
    static const u8 code[] = {0xfb, 0x90, 0x90, 0xf4};
    struct lockstep_machine *m = lib_create();

    OK(lockstep_interrupt(m, 0x40));
    OK(lockstep_nmi(m, 0));
    OK(lockstep_reset(m));
    lib_start(m, 64, code, sizeof(code));
    ck_assert_int_eq(lib_run(m, 10).exception.kind, LOCKSTEP_EVENT_NONE);
    lockstep_destroy(m);
}
END_TEST

/* -- stopping, threads -- */

static void *stop_soon(void *machine)
{
    const struct timespec ts = {.tv_nsec = 20000000};

    nanosleep(&ts, NULL);
    lockstep_stop(machine);
    return NULL;
}

START_TEST(stop_from_another_thread)
{
    static const u8 code[] = {0xeb, 0xfe};
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;
    pthread_t thread;

    lib_start(m, 32, code, sizeof(code));
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, m), 0);
    r = lib_run(m, LOCKSTEP_UNLIMITED);
    pthread_join(thread, NULL);
    ck_assert_int_eq(r.end, LOCKSTEP_END_STOPPED);
    ck_assert_uint_gt(r.instructions, 0);
    lockstep_stop(m); /* the next run ends at once, the one after does not */
    r = lib_run(m, 10);
    ck_assert_int_eq(r.end, LOCKSTEP_END_STOPPED);
    ck_assert_uint_eq(r.instructions, 0);
    ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_BUDGET);
    lockstep_destroy(m);
}
END_TEST

/* Faults without end retire nothing; the budget still holds, and so does a stop. */
START_TEST(endless_faults_can_be_stopped)
{
    static const u8 code[] = {0x0f, 0x0b};
    struct lockstep_machine *m = lib_create();
    struct lockstep_result r;
    pthread_t thread;

    lib_start(m, 64, code, sizeof(code));
    lib_handlers(m);
    OK(lockstep_write_physical(m, LIB_HANDLER + 16 * 6, code, sizeof(code)));
    lib_set(m, LOCKSTEP_RSP, 0xfffffff0); /* frames are swallowed above the memory */
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, m), 0);
    r = lib_run(m, 1000);
    pthread_join(thread, NULL);
    ck_assert_int_eq(r.end, LOCKSTEP_END_STOPPED);
    ck_assert_uint_eq(r.instructions, 0);
    lockstep_destroy(m);
}
END_TEST

/* A loop over integers, SSE and memory, and its state at the end. */
static const u8 work[] = {
    0xb9, 0x00, 0x10, 0x00, 0x00,             /*    mov ecx, 4096 */
    0xf3, 0x0f, 0x2a, 0xc1,                   /* 1: cvtsi2ss xmm0, ecx */
    0xf3, 0x0f, 0x58, 0xc8,                   /*    addss xmm1, xmm0 */
    0x69, 0xc0, 0x6d, 0x4e, 0xc6, 0x41,       /*    imul eax, eax, 1103515245 */
    0x05, 0x39, 0x30, 0x00, 0x00,             /*    add eax, 12345 */
    0x89, 0x04, 0x8d, 0x00, 0x00, 0x02, 0x00, /*    mov [DATA + rcx * 4], eax */
    0xff, 0xc9,                               /*    dec ecx */
    0x75, 0xe2,                               /*    jnz 1b */
    0xf4,                                     /*    hlt */
};

static void *work_thread(void *opaque)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_state *out = opaque;

    for (unsigned round = 0; round < 20; round++) {
        lib_start(m, 64, work, sizeof(work));
        lib_set(m, LOCKSTEP_RAX, 1);
        ck_assert_int_eq(lib_run(m, LOCKSTEP_UNLIMITED).end, LOCKSTEP_END_HALTED);
    }
    *out = lib_state(m);
    lockstep_destroy(m);
    return NULL;
}

START_TEST(machines_in_threads)
{
    struct lockstep_state states[4];
    pthread_t threads[4];

    for (unsigned n = 0; n < 4; n++)
        ck_assert_int_eq(pthread_create(&threads[n], NULL, work_thread, &states[n]), 0);
    for (unsigned n = 0; n < 4; n++)
        pthread_join(threads[n], NULL);
    for (unsigned n = 1; n < 4; n++)
        ck_assert_mem_eq(&states[0], &states[n], sizeof(states[0]));
}
END_TEST

START_TEST(machines_side_by_side)
{
    struct lockstep_machine *a = lib_create(), *b = lib_create();

    lib_start(a, 64, work, sizeof(work));
    lib_start(b, 64, work, sizeof(work));
    for (unsigned n = 0; n < 100; n++) {
        lib_run(a, 7);
        lib_run(b, 7);
    }
    ck_assert_uint_eq(lib_get(a, LOCKSTEP_RIP), lib_get(b, LOCKSTEP_RIP));
    lib_store(a, LIB_DATA, 1, 4);
    ck_assert_uint_eq(lib_load(b, LIB_DATA, 4), 0);
    lockstep_destroy(a);
    lib_run(b, 7);
    lockstep_destroy(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("library_run");
    TCase *tc = tcase_create("run");

    tcase_add_test(tc, budget_is_exact);
    tcase_add_test(tc, run_until_address);
    tcase_add_test(tc, arguments_are_checked);
    tcase_add_loop_test(tc, exceptions_stop_before_delivery, 0, ARRAY_SIZE(exception_cases));
    tcase_add_test(tc, exceptions_stop_by_vector);
    tcase_add_test(tc, stopped_instruction_can_go_on);
    tcase_add_test(tc, stop_keeps_shadow_and_rf);
    tcase_add_test(tc, single_step_trap);
    tcase_add_test(tc, delivered_exceptions_are_told);
    tcase_add_test(tc, interrupts_are_delivered);
    tcase_add_test(tc, reset_forgets_interrupts);
    tcase_add_test(tc, stop_from_another_thread);
    tcase_add_test(tc, endless_faults_can_be_stopped);
    tcase_add_test(tc, machines_in_threads);
    tcase_add_test(tc, machines_side_by_side);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
