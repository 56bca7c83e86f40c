/* SPDX-License-Identifier: MIT
 *
 * Accesses by RSP, which look at the page that the stack was found in last, and by constant
 * addresses: what they rely on must end when the mapping does.
 */
#include "tests/jit/pages.h"
#include "tests/suite.h"

static struct pair p;

static void setup(void)
{
    pair_create(&p, &pair_counted);
    pages_start(&p, MACHINE_LONG);
}

static void teardown(void)
{
    pair_destroy(&p);
}

static void rsp(u64 value)
{
    pair_set(&p, RSP, value);
}

#define RUN(...)                                                                                   \
    do {                                                                                           \
        pair_again(&p);                                                                            \
        ck_assert_int_eq(PAIR_EXECUTE(&p, __VA_ARGS__), -1);                                       \
    } while (0)

/* mov eax, [rsp]; mov ecx, [rsp + 8]; add [rsp + 16], ecx; push rbx; pop rdx; mov esi, [rsp + 24]
 */
#define NEAR                                                                                       \
    0x8b, 0x04, 0x24, 0x8b, 0x4c, 0x24, 8, 0x01, 0x4c, 0x24, 16, 0x53, 0x5a, 0x8b, 0x74, 0x24, 24

START_TEST(the_stack_moves_through_pages)
{
    static const i32 at[] = {0x800, 0x1800, 0x800, 0xff0, 0xff8, 0x1000, 0x1008, 0x2ffc, 0x3001};

    for (unsigned n = 0; n < ARRAY_SIZE(at); n++) {
        rsp(LINEAR + PAGE_SIZE + (u64)at[n]);
        RUN(NEAR);
    }
}
END_TEST

/* Two windows of one block in two pages: mov eax, [rsp]; mov ecx, [rsp + 800h]; mov edx, [rsp + 8];
 * mov esi, [rsp + 808h]; add [rsp + 4], esi; add [rsp + 80ch], eax; mov ebp, [rsp]. */
START_TEST(two_windows_in_a_block)
{
    for (unsigned turn = 0; turn < 3; turn++)
        for (u64 at = 0x600; at < 0x1800; at += 0x2f8) {
            rsp(LINEAR + at);
            RUN(0x8b, 0x04, 0x24, 0x8b, 0x8c, 0x24, 0, 8, 0, 0, 0x8b, 0x54, 0x24, 8, 0x8b, 0xb4,
                0x24, 8, 8, 0, 0, 0x01, 0x74, 0x24, 4, 0x01, 0x84, 0x24, 12, 8, 0, 0, 0x8b, 0x2c,
                0x24);
        }
}
END_TEST

/* A page that is clean, or cannot be written, has no write tag: while another one is that of the
 * stack, its loads must still find it. */
START_TEST(pages_that_are_only_read)
{
    static const u64 bits[] = {P | U | A | D, P | W | U | A, P | W | U, P | U};

    for (unsigned n = 0; n < ARRAY_SIZE(bits); n++) {
        pages_start(&p, MACHINE_LONG);
        pages_map(&p, 5, 9, bits[n]);
        for (unsigned turn = 0; turn < 3; turn++) {
            rsp(LINEAR + 0x3100);
            RUN(NEAR);
            rsp(LINEAR + 0x5100);
            RUN(0x8b, 0x04, 0x24, 0x8b, 0x4c, 0x24, 8, 0x8b, 0x54, 0x24, 16);
        }
    }
}
END_TEST

/* mov eax, [rsp]; then the page's entry: mov [rsi], rdx; invlpg [rsp]; NEAR. */
START_TEST(a_page_is_mapped_elsewhere)
{
    for (unsigned turn = 0; turn < 4; turn++) {
        rsp(LINEAR + 0x7100);
        pair_set(&p, RSI, TABLE + 7 * 8);
        pair_set(&p, RDX, (PHYSICAL + (20 + turn) * PAGE_SIZE) | P | W | U | A | D);
        RUN(0x8b, 0x04, 0x24, 0x48, 0x89, 0x16, 0x0f, 0x01, 0x3c, 0x24, NEAR);
    }
}
END_TEST

/* The same by a load of CR3: mov rax, cr3; mov cr3, rax. */
START_TEST(all_pages_are_flushed)
{
    for (unsigned turn = 0; turn < 4; turn++) {
        rsp(LINEAR + 0x7100);
        pair_set(&p, RSI, TABLE + 7 * 8);
        pair_set(&p, RDX, (PHYSICAL + (20 + turn) * PAGE_SIZE) | P | W | U | A | D);
        RUN(0x8b, 0x04, 0x24, 0x48, 0x89, 0x16, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, NEAR);
    }
}
END_TEST

/* The page becomes read-only, then absent, between two runs: the next push faults. HLT ends what
 * user mode can do (13). */
START_TEST(rights_that_go_are_missed)
{
    static const u64 bits[] = {P | U | A | D, P | W | A | D, 0};
    struct vcpu *both[] = {p.interp.v, p.jit.v};

    for (unsigned n = 0; n < ARRAY_SIZE(bits); n++) {
        pages_start(&p, MACHINE_USER64);
        rsp(LINEAR + 0x7100);
        ck_assert_int_eq(PAIR_EXECUTE(&p, NEAR), 13);
        for (unsigned v = 0; v < 2; v++)
            tlb_flush_page(&both[v]->tlb, 0, LINEAR + 0x7000);
        pages_start(&p, MACHINE_USER64);
        pages_map(&p, 7, 7, bits[n]);
        rsp(LINEAR + 0x7100);
        ck_assert_int_eq(PAIR_EXECUTE(&p, 0x53, 0x5a), 14);
    }
}
END_TEST

/* Code and stack share a page: the first push makes it one of code that is stored to, and this one
 * stores an instruction that comes next. lea rsp, [rip + 15]; mov rax, ...; push rax; push rax;
 * nops: they become INC EDX. */
START_TEST(the_stack_hits_code)
{
    for (unsigned turn = 0; turn < 3; turn++)
        RUN(0x48, 0x8d, 0x25, 0x1a, 0, 0, 0, 0x48, 0xb8, 0xff, 0xc2, 0x90, 0x90, 0xff, 0xc2, 0x90,
            0x90, 0x50, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
            0x90, 0x90, 0x90);
}
END_TEST

/* A write tag that goes while the page is that of the stack (another vCPU makes it code). */
START_TEST(the_page_becomes_one_of_code)
{
    struct machine *both[] = {&p.interp, &p.jit};

    for (unsigned turn = 0; turn < 3; turn++) {
        rsp(LINEAR + 0x2100);
        RUN(NEAR);
        for (unsigned n = 0; n < 2; n++)
            physmap_protect_code(both[n]->map, both[n]->ram.hva + PHYSICAL + 0x2000, 1u << turn);
        ck_assert(p.jit.v->tlb_now->stack_tag == p.jit.v->tlb_now->no_stack);
        rsp(LINEAR + 0x2100);
        RUN(NEAR);
    }
}
END_TEST

START_TEST(addresses_that_are_not_canonical)
{
    static const u64 at[] = {0x8000000000001000, 0x7ffffffffffffff8, 0x0000800000000000,
                             0xffff7ffffffffff8, 0x4000000000800100};

    rsp(LINEAR + 0x2100);
    RUN(NEAR);
    for (unsigned n = 0; n < ARRAY_SIZE(at); n++) {
        pages_start(&p, MACHINE_USER64); /* with a stack of its own for the handler */
        rsp(at[n]);
        ck_assert_int_eq(PAIR_EXECUTE(&p, NEAR), 12);
    }
}
END_TEST

/* mov eax, [abs]; add [abs + 8], eax; mov rcx, [abs + 16]; the entry and INVLPG; the same again. */
START_TEST(constant_addresses)
{
#define CONSTANT                                                                                   \
    0x8b, 0x04, 0x25, 0, 0x71, 0x80, 0, 0x01, 0x04, 0x25, 8, 0x71, 0x80, 0, 0x48, 0x8b, 0x0c,      \
        0x25, 16, 0x71, 0x80, 0
    for (unsigned turn = 0; turn < 4; turn++) {
        pair_set(&p, RSI, TABLE + 7 * 8);
        pair_set(&p, RDX,
                 (PHYSICAL + (20 + turn) * PAGE_SIZE) | P | W | U | A | (turn & 1 ? D : 0));
        RUN(CONSTANT, 0x48, 0x89, 0x16, 0x0f, 0x01, 0x3c, 0x25, 0, 0x70, 0x80, 0, CONSTANT);
        /* alone, and over the end of the page: mov eax, [80affeh]; mov ecx, [80a000h] */
        RUN(0x8b, 0x04, 0x25, 0xfe, 0xaf, 0x80, 0, 0x8b, 0x0c, 0x25, 0, 0xa0, 0x80, 0);
        /* movaps xmm0, [80b010h]; movaps xmm1, [80b020h] */
        RUN(0x0f, 0x28, 0x04, 0x25, 0x10, 0xb0, 0x80, 0, 0x0f, 0x28, 0x0c, 0x25, 0x20, 0xb0, 0x80,
            0);
    }
    /* vmovdqa ymm0, [80b010h]: aligned for half of it; movaps xmm0, [80b018h]: misaligned */
    p.interp.v->xcr0 = p.jit.v->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    pair_again(&p);
    ck_assert_int_eq(PAIR_EXECUTE(&p, 0xc5, 0xfd, 0x6f, 0x04, 0x25, 0x10, 0xb0, 0x80, 0), 13);
    pages_start(&p, MACHINE_LONG);
    pair_again(&p);
    ck_assert_int_eq(PAIR_EXECUTE(&p, 0x0f, 0x28, 0x04, 0x25, 0x18, 0xb0, 0x80, 0), 13);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stack");
    TCase *c = tcase_create("stack");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, the_stack_moves_through_pages);
    tcase_add_test(c, two_windows_in_a_block);
    tcase_add_test(c, pages_that_are_only_read);
    tcase_add_test(c, a_page_is_mapped_elsewhere);
    tcase_add_test(c, all_pages_are_flushed);
    tcase_add_test(c, rights_that_go_are_missed);
    tcase_add_test(c, the_stack_hits_code);
    tcase_add_test(c, the_page_becomes_one_of_code);
    tcase_add_test(c, addresses_that_are_not_canonical);
    tcase_add_test(c, constant_addresses);
    suite_add_tcase(s, c);
    return suite_run(s);
}
