/* SPDX-License-Identifier: MIT
 *
 * Segment checks, canonicality, page crossing, alignment check, implicit accesses, fetch.
 */
#include <check.h>

#include "mem/bus.h"
#include "tests/cpu/body.h"
#include "tests/suite.h"

static bool reads(enum seg seg, u64 offset, unsigned size, u64 *value)
{
    machine.v->fault.pending = false;
    return seg_read(machine.v, seg, offset, size, value);
}

static bool writes(enum seg seg, u64 offset, unsigned size, u64 value)
{
    machine.v->fault.pending = false;
    return seg_write(machine.v, seg, offset, size, value);
}

/* 0: done; else vector | error << 8. */
static int read_fault(enum seg seg, u64 offset, unsigned size)
{
    u64 value;

    return reads(seg, offset, size, &value) ? 0 : body_fault(&machine);
}

static int write_fault(enum seg seg, u64 offset, unsigned size)
{
    return writes(seg, offset, size, 0) ? 0 : body_fault(&machine);
}

/* -- segments -- */

START_TEST(limit_covers_the_last_byte)
{
    machine_start(&machine, MACHINE_PROT32);
    machine.v->seg[SEG_DS].limit = 0xfff;
    ck_assert_int_eq(read_fault(SEG_DS, 0xffc, 4), 0);
    ck_assert_int_eq(read_fault(SEG_DS, 0xffd, 4), VEC_GP);
    ck_assert_int_eq(read_fault(SEG_DS, 0xfff, 1), 0);
    ck_assert_int_eq(read_fault(SEG_DS, 0x1000, 1), VEC_GP);
    machine.v->seg[SEG_SS].limit = 0xfff;
    ck_assert_int_eq(write_fault(SEG_SS, 0xffe, 4), VEC_SS);
}
END_TEST

START_TEST(expand_down_is_valid_above_the_limit)
{
    struct segment *ds = &machine.v->seg[SEG_DS];

    machine_start(&machine, MACHINE_PROT32);
    ds->attr |= ATTR_EXPAND_DOWN;
    ds->limit = 0xfff;
    ck_assert_int_eq(read_fault(SEG_DS, 0xfff, 1), VEC_GP);
    ck_assert_int_eq(read_fault(SEG_DS, 0x1000, 4), 0);
    ck_assert_int_eq(read_fault(SEG_DS, 0xffff, 2), 0);
    ck_assert_int_eq(read_fault(SEG_DS, 0xfffffffe, 4), VEC_GP);
    ds->attr &= ~(u32)ATTR_DB;
    ck_assert_int_eq(read_fault(SEG_DS, 0xffff, 1), 0);
    ck_assert_int_eq(read_fault(SEG_DS, 0xffff, 2), VEC_GP);
    ck_assert_int_eq(read_fault(SEG_DS, 0x10000, 1), VEC_GP);
    ds->limit = 0xffffffff;
    ck_assert_int_eq(read_fault(SEG_DS, 0x8000, 1), VEC_GP);
}
END_TEST

START_TEST(type_and_null_are_checked_in_protected_mode)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_PROT32);
    v->seg[SEG_DS].attr &= ~(u32)ATTR_WRITE;
    ck_assert_int_eq(read_fault(SEG_DS, 0x40000, 4), 0);
    ck_assert_int_eq(write_fault(SEG_DS, 0x40000, 4), VEC_GP);
    ck_assert_int_eq(read_fault(SEG_CS, 0x40000, 4), 0);
    ck_assert_int_eq(write_fault(SEG_CS, 0x40000, 4), VEC_GP);
    v->seg[SEG_CS].attr &= ~(u32)ATTR_WRITE; /* execute only */
    ck_assert_int_eq(read_fault(SEG_CS, 0x40000, 4), VEC_GP);
    v->seg[SEG_ES].attr = ATTR_NULL;
    ck_assert_int_eq(read_fault(SEG_ES, 0x40000, 1), VEC_GP);
    v->seg[SEG_SS].attr |= ATTR_NULL;
    ck_assert_int_eq(write_fault(SEG_SS, 0x40000, 1), VEC_SS);
}
END_TEST

START_TEST(real_mode_has_limits_only)
{
    machine_start(&machine, MACHINE_REAL);
    ck_assert_int_eq(write_fault(SEG_CS, 0x8000, 2), 0);
    ck_assert_int_eq(read_fault(SEG_DS, 0xffff, 2), VEC_GP);
    ck_assert_int_eq(read_fault(SEG_SS, 0xffff, 2), VEC_SS);
    ck_assert_int_eq(read_fault(SEG_DS, 0xffff, 1), 0);
    machine.v->seg[SEG_DS].limit = 0xffffffff;
    ck_assert_int_eq(read_fault(SEG_DS, 0xffff, 2), 0);
}
END_TEST

START_TEST(linear_addresses_wrap_at_4_gib)
{
    struct vcpu *v = machine.v;
    u64 value;

    machine_start(&machine, MACHINE_PROT32);
    machine_put_uint(&machine, 0x0, 0xaabbccdd, 4);
    v->seg[SEG_DS].base = 0xffffff00;
    ck_assert(reads(SEG_DS, 0x100, 2, &value));
    ck_assert_uint_eq(value, 0xccdd);
    ck_assert(reads(SEG_DS, 0xfe, 4, &value)); /* two bytes of hole, two of page 0 */
    ck_assert_uint_eq(value, 0xccddffff);
    ck_assert(writes(SEG_DS, 0xfe, 4, 0x11223344));
    ck_assert_uint_eq(machine_get(&machine, 0, 4), 0xaabb1122);
}
END_TEST

START_TEST(canonicality_decides_ss_or_gp)
{
    const u64 low_end = 0x800000000000;
    struct vcpu *v = machine.v;
    u64 gla;

    ck_assert(seg_to_linear(v, SEG_DS, low_end - 8, 8, ACCESS_READ, &gla));
    ck_assert_int_eq(read_fault(SEG_DS, low_end - 7, 8), VEC_GP);
    ck_assert_int_eq(read_fault(SEG_SS, low_end - 7, 8), VEC_SS);
    ck_assert_int_eq(read_fault(SEG_SS, low_end, 1), VEC_SS);
    ck_assert_int_eq(read_fault(SEG_DS, -low_end - 1, 1), VEC_GP);
    ck_assert(seg_to_linear(v, SEG_DS, -low_end, 8, ACCESS_READ, &gla));
    v->seg[SEG_FS].base = low_end - 8;
    ck_assert_int_eq(read_fault(SEG_FS, 8, 1), VEC_GP);
    v->seg[SEG_FS].base = MACHINE_DATA;
    machine_put_uint(&machine, MACHINE_DATA + 16, 0x99, 1);
    ck_assert(reads(SEG_FS, 16, 1, &gla));
    ck_assert_uint_eq(gla, 0x99);
    v->seg[SEG_DS].base = 0x1000; /* ignored in 64-bit mode */
    ck_assert(seg_to_linear(v, SEG_DS, 16, 1, ACCESS_READ, &gla));
    ck_assert_uint_eq(gla, 16);
}
END_TEST

/* -- pages -- */

START_TEST(split_store_is_all_or_nothing)
{
    const u64 edge = BODY_PAGES + 0x2000;
    u64 value;

    body_page(&machine, edge, 0);
    ck_assert(!writes(SEG_DS, edge - 3, 8, ~0ull));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | PF_W << 8);
    ck_assert_uint_eq(machine.v->fault.cr2, edge);
    ck_assert_uint_eq(machine_get(&machine, edge - 3, 2), 0);
    body_page(&machine, edge, 5); /* read-only */
    ck_assert(!writes(SEG_DS, edge - 3, 8, ~0ull));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | (PF_W | PF_P) << 8);
    ck_assert_uint_eq(machine_get(&machine, edge - 3, 2), 0);
    body_page(&machine, edge, 7);
    ck_assert(writes(SEG_DS, edge - 3, 8, 0x1122334455667788));
    ck_assert(reads(SEG_DS, edge - 3, 8, &value));
    ck_assert_uint_eq(value, 0x1122334455667788);
    ck_assert_uint_eq(machine_get(&machine, edge - 3, 8), 0x1122334455667788);
}
END_TEST

START_TEST(locked_split_access)
{
    const u64 edge = BODY_PAGES + 0x3000;

    body_page(&machine, edge, 7);
    machine_put_uint(&machine, edge - 2, 0xffffffff, 4);
    machine.v->gpr[RBX] = edge - 2;
    ck_assert(BODY(&machine, 0xf0, 0xff, 0x03)); /* LOCK INC dword [RBX] */
    ck_assert_uint_eq(machine_get(&machine, edge - 2, 4), 0);
    ck_assert(machine.v->rflags & F_ZF);
    body_page(&machine, edge, 0);
    ck_assert(!BODY(&machine, 0xf0, 0xff, 0x03));
    ck_assert_uint_eq(machine.v->fault.cr2, edge);
}
END_TEST

START_TEST(alignment_is_checked_at_cpl_3)
{
    struct vcpu *v = machine.v;

    machine_start(&machine, MACHINE_USER64);
    ck_assert_int_eq(read_fault(SEG_DS, MACHINE_DATA + 1, 4), 0);
    v->cr0 |= CR0_AM;
    v->rflags |= F_AC;
    vcpu_update_mode(v);
    ck_assert_int_eq(read_fault(SEG_DS, MACHINE_DATA + 1, 4), VEC_AC);
    ck_assert(v->fault.has_error);
    ck_assert_int_eq(read_fault(SEG_DS, MACHINE_DATA + 1, 1), 0);
    ck_assert_int_eq(read_fault(SEG_DS, MACHINE_DATA + 4, 4), 0);
    ck_assert_int_eq(write_fault(SEG_DS, MACHINE_DATA + 4, 8), VEC_AC);
    v->gpr[RBX] = MACHINE_DATA + 2;
    ck_assert(!BODY(&machine, 0x83, 0x03, 0x01)); /* ADD dword [RBX], 1 */
    ck_assert_int_eq(body_fault(&machine), VEC_AC);
    /* It comes before a page fault, on family 19h. */
    body_page(&machine, BODY_PAGES, 0);
    ck_assert_int_eq(read_fault(SEG_DS, BODY_PAGES + 1, 4), VEC_AC);
    ck_assert_int_eq(read_fault(SEG_DS, BODY_PAGES + 4, 4), VEC_PF | PF_U << 8);
}
END_TEST

START_TEST(implicit_accesses_are_supervisor_accesses)
{
    struct vcpu *v = machine.v;
    u64 value;

    machine_start(&machine, MACHINE_USER64);
    body_page(&machine, BODY_PAGES, 3); /* supervisor page */
    ck_assert_int_eq(read_fault(SEG_DS, BODY_PAGES, 4), VEC_PF | (PF_P | PF_U) << 8);
    ck_assert(sys_read(v, BODY_PAGES, 8, &value));
    ck_assert(sys_write(v, BODY_PAGES + 8, 4, 0x1234));
    ck_assert_uint_eq(machine_get(&machine, BODY_PAGES + 8, 4), 0x1234);
    ck_assert(sys_set_bits(v, BODY_PAGES + 8, 0x81));
    ck_assert(sys_clear_bits(v, BODY_PAGES + 8, 0x34));
    ck_assert_uint_eq(machine_get(&machine, BODY_PAGES + 8, 1), 0x81);
    v->cr4 |= CR4_SMAP;
    v->rflags |= F_AC; /* overrides explicit accesses only */
    vcpu_update_mode(v);
    tlb_flush_all(&v->tlb);
    v->fault.pending = false;
    ck_assert(!sys_read(v, MACHINE_DATA, 4, &value));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | PF_P << 8);
    v->fault.pending = false;
    ck_assert(!sys_read(v, 0x7ffffffffffc, 8, &value));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
}
END_TEST

START_TEST(read_modify_write_faults_as_a_write)
{
    struct vcpu *v = machine.v;

    body_page(&machine, BODY_PAGES, 5);
    v->gpr[RBX] = BODY_PAGES + 16;
    v->gpr[RAX] = 5; /* differs from memory: CMPXCHG still needs write access */
    ck_assert(!BODY(&machine, 0x0f, 0xb1, 0x0b));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | (PF_P | PF_W) << 8);
    ck_assert_uint_eq(v->gpr[RAX], 5);
    ck_assert(!BODY(&machine, 0xc1, 0x23, 0x00)); /* SHL dword [RBX], 0 */
    ck_assert(!BODY(&machine, 0x0f, 0xab, 0x0b)); /* BTS */
    ck_assert(BODY(&machine, 0x39, 0x0b));        /* CMP reads */
    ck_assert(BODY(&machine, 0x0f, 0xa3, 0x0b));  /* BT reads */
    body_page(&machine, BODY_PAGES, 0);
    ck_assert(!BODY(&machine, 0x01, 0x0b)); /* ADD: W set also for a page that is not there */
    ck_assert_int_eq(body_fault(&machine), VEC_PF | PF_W << 8);
    ck_assert(!BODY(&machine, 0x0f, 0x44, 0x0b)); /* CMOVZ that does not move still reads */
    ck_assert_int_eq(body_fault(&machine), VEC_PF);
}
END_TEST

/* TLFS: stores to the hypercall page are #GP(0), whatever stores, and change nothing. */
START_TEST(stores_to_read_only_memory_are_gp)
{
    const struct region page = {.name = "page",
                                .kind = REGION_RAM,
                                .access = REGION_RW,
                                .base = MACHINE_DATA,
                                .size = PAGE_SIZE,
                                .priority = PRIO_OVERLAY,
                                .ram_offset = 0x3000,
                                .write_faults = true};
    u64 before = machine_get(&machine, 0x3000, 8), value;
    unsigned id;

    machine_start(&machine, MACHINE_LONG);
    ck_assert_int_eq(physmap_add(machine.map, &page, &id), ST_OK);
    tlb_flush_all(&machine.v->tlb);
    ck_assert_int_eq(read_fault(SEG_DS, MACHINE_DATA, 8), 0);
    ck_assert_int_eq(write_fault(SEG_DS, MACHINE_DATA, 8), VEC_GP);
    ck_assert_int_eq(write_fault(SEG_DS, MACHINE_DATA - 4, 8), VEC_GP);
    machine.v->fault.pending = false;
    ck_assert(!sys_write(machine.v, MACHINE_DATA, 4, 0));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    machine.v->fault.pending = false;
    machine.v->gpr[RBX] = MACHINE_DATA;
    ck_assert(!BODY(&machine, 0xf0, 0xff, 0x03)); /* LOCK INC dword [RBX] */
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    ck_assert(reads(SEG_DS, MACHINE_DATA, 8, &value));
    ck_assert_uint_eq(value, before);
}
END_TEST

/* -- devices -- */

struct counter {
    unsigned reads, writes;
    u64 value;
};

static u64 counter_read(void *self, u64 offset, unsigned size)
{
    struct counter *c = self;

    (void)offset;
    (void)size;
    c->reads++;
    return c->value;
}

static void counter_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct counter *c = self;

    (void)offset;
    (void)size;
    c->writes++;
    c->value = value;
}

static const struct io_ops counter_ops = {counter_read, counter_write, SIZE_ANY};

START_TEST(device_registers_are_touched_once)
{
    struct counter counter = {.value = 0x10};
    struct region region = {.name = "counter",
                            .kind = REGION_MMIO,
                            .access = REGION_RW,
                            .base = 0x10000000,
                            .size = PAGE_SIZE,
                            .priority = PRIO_MMIO,
                            .ops = &counter_ops,
                            .self = &counter};
    struct vcpu *v = machine.v;
    unsigned id;

    ck_assert_int_eq(physmap_add(machine.map, &region, &id), ST_OK);
    tlb_flush_all(&v->tlb);
    v->gpr[RBX] = 0x10000000;
    v->gpr[RAX] = 0x10;
    v->gpr[RCX] = 0x22;
    ck_assert(BODY(&machine, 0xf0, 0x0f, 0xb1, 0x0b)); /* LOCK CMPXCHG [RBX], ECX */
    ck_assert_uint_eq(counter.value, 0x22);
    ck_assert_uint_eq(counter.reads, 1);
    ck_assert_uint_eq(counter.writes, 1);
    ck_assert(BODY(&machine, 0xf0, 0x01, 0x0b)); /* LOCK ADD [RBX], ECX */
    ck_assert_uint_eq(counter.value, 0x44);
    ck_assert_uint_eq(counter.reads, 2);
    ck_assert(BODY(&machine, 0x87, 0x0b)); /* XCHG */
    ck_assert_uint_eq(counter.value, 0x22);
    ck_assert_uint_eq(v->gpr[RCX], 0x44);
    ck_assert_uint_eq(counter.reads, 3);
    ck_assert_uint_eq(counter.writes, 3);
}
END_TEST

/* -- fetch -- */

START_TEST(fetch_stops_at_limit_and_page)
{
    struct vcpu *v = machine.v;
    u8 buf[15], *hva;
    unsigned count;
    u64 gpa;

    ck_assert(fetch_bytes(v, MACHINE_CODE, buf, &count, &gpa, &hva));
    ck_assert_uint_eq(count, 15);
    ck_assert_uint_eq(gpa, MACHINE_CODE);
    body_page(&machine, BODY_PAGES + 0x1000, 0);
    ck_assert(fetch_bytes(v, BODY_PAGES + 0xffd, buf, &count, &gpa, &hva));
    ck_assert_uint_eq(count, 3);
    ck_assert(!fetch_fault(v, BODY_PAGES + 0xffd, count));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | (v->efer & EFER_NXE ? PF_I : 0) << 8);
    ck_assert_uint_eq(v->fault.cr2, BODY_PAGES + 0x1000);
    ck_assert(!fetch_bytes(v, 0x800000000000, buf, &count, &gpa, &hva));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    body_page(&machine, BODY_PAGES, 7 | BIT(63));
    ck_assert(!fetch_bytes(v, BODY_PAGES, buf, &count, &gpa, &hva));
    ck_assert_int_eq(body_fault(&machine), VEC_PF | (PF_P | PF_I) << 8);
    machine_start(&machine, MACHINE_PROT32);
    v->seg[SEG_CS].limit = MACHINE_CODE + 4;
    ck_assert(fetch_bytes(v, MACHINE_CODE, buf, &count, &gpa, &hva));
    ck_assert_uint_eq(count, 5);
    ck_assert(!fetch_fault(v, MACHINE_CODE, count));
    ck_assert_int_eq(body_fault(&machine), VEC_GP);
    ck_assert(!fetch_bytes(v, MACHINE_CODE + 5, buf, &count, &gpa, &hva));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/access");
    TCase *tests = tcase_create("access");

    tcase_add_checked_fixture(tests, body_setup, body_teardown);
    tcase_add_test(tests, limit_covers_the_last_byte);
    tcase_add_test(tests, expand_down_is_valid_above_the_limit);
    tcase_add_test(tests, type_and_null_are_checked_in_protected_mode);
    tcase_add_test(tests, real_mode_has_limits_only);
    tcase_add_test(tests, linear_addresses_wrap_at_4_gib);
    tcase_add_test(tests, canonicality_decides_ss_or_gp);
    tcase_add_test(tests, split_store_is_all_or_nothing);
    tcase_add_test(tests, locked_split_access);
    tcase_add_test(tests, alignment_is_checked_at_cpl_3);
    tcase_add_test(tests, implicit_accesses_are_supervisor_accesses);
    tcase_add_test(tests, read_modify_write_faults_as_a_write);
    tcase_add_test(tests, device_registers_are_touched_once);
    tcase_add_test(tests, stores_to_read_only_memory_are_gp);
    tcase_add_test(tests, fetch_stops_at_limit_and_page);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
