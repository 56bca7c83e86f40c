/* SPDX-License-Identifier: MIT
 *
 * IN, OUT, INS, OUTS: sizes, privilege and the I/O permission bitmap, what happens before a fault.
 */
#include <check.h>

#include "tests/cpu/body.h"
#include "tests/suite.h"

enum { PORT = 0x100, BITMAP = 0x200 };

/* A device that remembers. */
struct latch {
    unsigned reads, writes, size;
    u64 offset, value;
};

static struct latch latch;

static u64 latch_read(void *self, u64 offset, unsigned size)
{
    struct latch *l = self;

    l->reads++;
    l->offset = offset;
    l->size = size;
    return l->value + l->reads - 1;
}

static void latch_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct latch *l = self;

    l->writes++;
    l->offset = offset;
    l->size = size;
    l->value = value;
}

static const struct io_ops latch_ops = {latch_read, latch_write, SIZE_ANY};

static void setup(void)
{
    body_setup();
    latch = (struct latch){0};
    ck_assert_int_eq(pio_claim(&machine.pio, PORT, 16, &latch_ops, &latch, "latch"), ST_OK);
}

START_TEST(sizes)
{
    struct vcpu *v = machine.v;

    v->gpr[RDX] = 0xabcd0000 | PORT;
    v->gpr[RAX] = 0x1122334455667788;
    ck_assert(BODY(&machine, 0xee));
    ck_assert_uint_eq(latch.value, 0x88);
    ck_assert(BODY(&machine, 0x66, 0xef));
    ck_assert_uint_eq(latch.value, 0x7788);
    ck_assert(BODY(&machine, 0x48, 0xef)); /* REX.W changes nothing */
    ck_assert_uint_eq(latch.value, 0x55667788);
    ck_assert_uint_eq(latch.size, 4);
    latch.value = 0x80000001;
    ck_assert(BODY(&machine, 0xec));
    ck_assert_uint_eq(v->gpr[RAX], 0x1122334455667701);
    ck_assert(BODY(&machine, 0x48, 0xed));
    ck_assert_uint_eq(v->gpr[RAX], 0x80000002);
    ck_assert(BODY(&machine, 0xe4, 0x42)); /* nobody there */
    ck_assert_uint_eq(v->gpr[RAX], 0x800000ff);
}
END_TEST

/* A bitmap at BITMAP that permits PORT .. PORT+2. */
static void permit(enum machine_mode mode)
{
    machine_start(&machine, mode);
    machine_put_uint(&machine, MACHINE_TSS + 0x66, BITMAP, 2);
    machine_put_uint(&machine, MACHINE_TSS + BITMAP + PORT / 8, 0xfff8, 2);
    machine.v->gpr[RDX] = PORT;
}

START_TEST(bitmap)
{
    struct vcpu *v = machine.v;

    permit(MACHINE_USER64);
    ck_assert(BODY(&machine, 0xec));
    ck_assert(BODY(&machine, 0x66, 0xed));
    ck_assert(!BODY(&machine, 0xed)); /* the fourth byte is denied */
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    ck_assert(v->fault.has_error);
    v->gpr[RDX] = PORT + 2;
    ck_assert(BODY(&machine, 0xec));
    ck_assert(!BODY(&machine, 0x66, 0xed));
    v->rflags |= F_IOPL;
    ck_assert(BODY(&machine, 0xed));
    v->rflags &= ~(u64)F_IOPL;
    v->tr.limit = BITMAP + PORT / 8; /* the second byte is outside */
    v->gpr[RDX] = PORT;
    ck_assert(!BODY(&machine, 0xec));
    v->tr.limit++;
    ck_assert(BODY(&machine, 0xec));
    v->tr.limit = 0x66; /* no room for the base */
    ck_assert(!BODY(&machine, 0xec));
    v->tr.limit = 0xfff;
    v->tr.attr = ATTR_P | SYS_TSS16_BUSY;
    ck_assert(!BODY(&machine, 0xec));
    ck_assert_uint_eq(latch.reads, 6 - 1);
}
END_TEST

START_TEST(v86_always_asks_the_bitmap)
{
    struct vcpu *v = machine.v;

    permit(MACHINE_PROT32);
    v->rflags |= F_VM | F_IOPL;
    v->cpl = 3;
    vcpu_update_mode(v);
    ck_assert(BODY(&machine, 0xec));
    v->gpr[RDX] = PORT + 3;
    ck_assert(!BODY(&machine, 0xec));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
}
END_TEST

START_TEST(string_ports)
{
    struct vcpu *v = machine.v;

    latch.value = 0x40;
    v->gpr[RDX] = PORT;
    v->gpr[RDI] = MACHINE_DATA;
    v->gpr[RCX] = 3;
    ck_assert(BODY(&machine, 0xf3, 0x6c)); /* REP INSB */
    ck_assert_uint_eq(machine_get(&machine, MACHINE_DATA, 4), 0x424140);
    ck_assert_uint_eq(v->gpr[RDI], MACHINE_DATA + 3);
    ck_assert_uint_eq(v->gpr[RCX], 0);
    v->gpr[RSI] = MACHINE_DATA;
    ck_assert(BODY(&machine, 0x48, 0x6f)); /* OUTSD */
    ck_assert_uint_eq(latch.value, 0x424140);
    ck_assert_uint_eq(latch.size, 4);
    ck_assert_uint_eq(v->gpr[RSI], MACHINE_DATA + 4);
}
END_TEST

START_TEST(ins_checks_its_destination_before_the_port)
{
    struct vcpu *v = machine.v;

    body_page(&machine, BODY_PAGES, 0);
    v->gpr[RDX] = PORT;
    v->gpr[RDI] = BODY_PAGES;
    v->gpr[RCX] = 2;
    ck_assert(!BODY(&machine, 0xf3, 0x6c));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | PF_W << 8);
    ck_assert_uint_eq(latch.reads, 0);
    ck_assert_uint_eq(v->gpr[RCX], 2);
}
END_TEST

START_TEST(port_strings_stop_for_events)
{
    struct vcpu *v = machine.v;

    v->gpr[RDX] = PORT;
    v->gpr[RDI] = MACHINE_DATA;
    v->gpr[RCX] = 5;
    vcpu_signal(v, EVENT_INTR);
    ck_assert(BODY(&machine, 0xf3, 0x6c));
    ck_assert(v->repeat);
    ck_assert_uint_eq(v->gpr[RCX], 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/port");
    TCase *tests = tcase_create("port");

    tcase_add_checked_fixture(tests, setup, body_teardown);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, bitmap);
    tcase_add_test(tests, v86_always_asks_the_bitmap);
    tcase_add_test(tests, string_ports);
    tcase_add_test(tests, ins_checks_its_destination_before_the_port);
    tcase_add_test(tests, port_strings_stop_for_events);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
