/* SPDX-License-Identifier: MIT
 *
 * The probe of the second level: what it may enter by itself, and what is left to the long way.
 * The random run of tlb_test.c uses it, too.
 */
#include "tests/mem/tlb_fixture.h"
#include "tests/suite.h"

START_TEST(probe_refills_what_the_second_level_knows)
{
    u64 walks, host = (u64)ram.hva + 0x100000;

    *pte(0, 0) = 0x100000 | P | W | (_i ? G : 0);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_READ), 0);
    touch(WORLD, ACCESS_READ);
    walks = tlb.walks;
    tlb_switch(&tlb);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD + 8, 8, ACCESS_READ), host + 8);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_WRITE), 0); /* not dirty */
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD + 4089, 8, ACCESS_READ), 0);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD + 4088, 8, ACCESS_READ), host + 4088);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_EXEC), host);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR | TX);
    ck_assert_uint_eq(tlb.walks, walks);
    touch(WORLD, ACCESS_WRITE);
    tlb_permissions_changed(&tlb);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_READ), 0); /* rights not known */
    touch(WORLD, ACCESS_READ);
    tlb_flush_page(&tlb, 0, gla_of(1));
    tlb_switch(&tlb);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD + 5, 1, ACCESS_WRITE), host + 5);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR | TW);
    ck_assert_uint_eq(ram_flags(&ram, ram.hva + 0x100000), PAGE_WRITE_TLB);
    physmap_protect_code(map, ram.hva + 0x100000, 1);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_WRITE), 0);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR);
}
END_TEST

/* What an entry permits is known by context, and forgotten with the registers it follows from. */
START_TEST(probe_keeps_rights_apart)
{
    u64 host = (u64)ram.hva + 0x100000, watch = WORLD;

    *pte(0, 0) = 0x100000 | P | W | D | U;
    *pte(0, 1) = 0x101000 | P | D | U;
    *pte(0, 2) = 0x102000 | P | W | D | U | 3ull << 59;
    *pte(0, 3) = 0x103000 | P | W | D;
    ctx.cr4 |= CR4_SMAP_;
    touch_as(TLB_USER, WORLD, ACCESS_READ);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_READ), 0);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), ~(u64)PF_P);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_READ), 0);
    touch_as(TLB_SUPERVISOR_AC, WORLD, ACCESS_READ);
    tlb_switch(&tlb);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR_AC, WORLD, 1, ACCESS_WRITE), host);
    ck_assert_uint_eq(probe(TLB_USER, WORLD, 1, ACCESS_WRITE), host);
    touch_as(TLB_USER, gla_of(1), ACCESS_READ);
    ck_assert_uint_eq(probe(TLB_USER, gla_of(1), 1, ACCESS_READ), host + PAGE_SIZE);
    ck_assert_uint_eq(probe(TLB_USER, gla_of(1), 1, ACCESS_WRITE), 0);
    touch_as(TLB_USER, gla_of(2), ACCESS_READ); /* a protection key: the long way, always */
    ck_assert_uint_eq(probe(TLB_USER, gla_of(2), 1, ACCESS_READ), 0);
    touch(gla_of(3), ACCESS_READ);
    ck_assert_uint_eq(probe(TLB_USER, gla_of(3), 1, ACCESS_READ), 0);
    ck_assert_uint_eq(touch_as(TLB_USER, gla_of(3), ACCESS_READ), ~(u64)(PF_P | PF_U));
    ck_assert_uint_eq(probe(TLB_USER, gla_of(3), 1, ACCESS_READ), 0);
    ctx.cr4 &= ~CR4_SMAP_;
    tlb_permissions_changed(&tlb);
    ck_assert_uint_eq(probe(TLB_USER, WORLD, 1, ACCESS_READ), 0);
    touch(WORLD, ACCESS_READ);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, gla_of(0), 1, ACCESS_READ), host);
    tlb_watch(&tlb, &watch, 1);
    touch(WORLD, ACCESS_READ);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_READ), 0);
}
END_TEST

START_TEST(probe_follows_every_invalidation)
{
    *pte(0, 0) = 0x100000 | P | (_i % 2 ? G : 0);
    use_pcid(1, 0);
    touch(WORLD, ACCESS_READ);
    tlb_switch(&tlb);
    switch (_i / 2) {
    case 0: tlb_flush_page(&tlb, 1, WORLD + 5); break;
    case 1: tlb_flush_all(&tlb); break;
    case 2: tlb_flush_pcid(&tlb, 1); break;
    case 3: tlb_flush_non_global(&tlb); break;
    case 4: tlb_flush_page_pcid(&tlb, 1, WORLD); break;
    case 5: use_pcid(2, 1); break;
    default: physmap_set_a20(map, false); break;
    }
    if (_i % 2 && _i / 2 >= 2 && _i / 2 <= 5)
        ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_READ), (u64)ram.hva + 0x100000);
    else
        ck_assert_uint_eq(probe(TLB_SUPERVISOR, WORLD, 1, ACCESS_READ), 0);
}
END_TEST

/* One entry serves all of a large page where all of it is RAM, and none where a part is not. */
START_TEST(probe_of_large_pages)
{
    struct region device = {.name = "device",
                            .kind = REGION_MMIO,
                            .access = REGION_RW,
                            .base = 0x3ff000,
                            .size = PAGE_SIZE,
                            .priority = PRIO_OVERLAY,
                            .ops = &mmio_ops};
    unsigned id;

    if (_i)
        ck_assert_int_eq(physmap_add(map, &device, &id), ST_OK);
    table(0, 2)[3] = 0x200000 | P | W | D | PS | U;
    touch(0x600000, ACCESS_READ);
    for (u64 at = 0; at < MIB(2); at += 0x1f000)
        ck_assert_uint_eq(probe(TLB_SUPERVISOR, 0x600000 + at, 4, ACCESS_WRITE),
                          _i ? 0 : (u64)ram.hva + 0x200000 + at);
    tlb_flush_page(&tlb, 0, 0x7ff000);
    for (u64 at = 0; at < MIB(2); at += PAGE_SIZE)
        ck_assert_uint_eq(tags(0x600000 + at, NULL), 0);
    ck_assert_uint_eq(probe(TLB_SUPERVISOR, 0x600000, 4, ACCESS_READ), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tlb_probe");
    TCase *tc = tcase_create("tlb_probe");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, probe_refills_what_the_second_level_knows, 0, 2);
    tcase_add_test(tc, probe_keeps_rights_apart);
    tcase_add_loop_test(tc, probe_follows_every_invalidation, 0, 14);
    tcase_add_loop_test(tc, probe_of_large_pages, 0, 2);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
