/* SPDX-License-Identifier: MIT
 *
 * A locked operand that crosses a cache line stops the other vCPUs, exactly once, and one that does
 * not never does: so the host never sees a split lock, which it may trap or slow down
 * (split_lock_detect), and nobody is stopped without need. In both engines, for every offset.
 */
#include "tests/jit/pair.h"
#include "tests/suite.h"

enum { LINE = 64, BASE = MACHINE_DATA + PAGE_SIZE - 2 * LINE, OFFSETS = 3 * LINE, CODE_MOST = 8 };

static const struct form {
    const char *name;
    unsigned size;
    u8 code[CODE_MOST];
} forms[] = {
    {"LOCK XADD byte", 1, {0xf0, 0x0f, 0xc0, 0x03}},
    {"LOCK XADD word", 2, {0x66, 0xf0, 0x0f, 0xc1, 0x03}},
    {"LOCK XADD dword", 4, {0xf0, 0x0f, 0xc1, 0x03}},
    {"LOCK XADD qword", 8, {0xf0, 0x48, 0x0f, 0xc1, 0x03}},
    {"XCHG byte", 1, {0x86, 0x03}},
    {"XCHG word", 2, {0x66, 0x87, 0x03}},
    {"XCHG dword", 4, {0x87, 0x03}},
    {"XCHG qword", 8, {0x48, 0x87, 0x03}},
    {"LOCK ADD dword", 4, {0xf0, 0x01, 0x03}},
    {"LOCK AND word, imm", 2, {0x66, 0xf0, 0x83, 0x23, 0x7f}},
    {"LOCK INC qword", 8, {0xf0, 0x48, 0xff, 0x03}},
    {"LOCK NOT dword", 4, {0xf0, 0xf7, 0x13}},
    {"LOCK NEG qword", 8, {0xf0, 0x48, 0xf7, 0x1b}},
    {"LOCK BTS dword, imm", 4, {0xf0, 0x0f, 0xba, 0x2b, 0x05}},
    {"LOCK BTC qword, rax", 8, {0xf0, 0x48, 0x0f, 0xbb, 0x03}},
    {"LOCK CMPXCHG dword", 4, {0xf0, 0x0f, 0xb1, 0x0b}},
    {"LOCK CMPXCHG qword", 8, {0xf0, 0x48, 0x0f, 0xb1, 0x0b}},
    {"LOCK CMPXCHG8B", 8, {0xf0, 0x0f, 0xc7, 0x0b}},
};

static unsigned stops, nesting;

static void stop_others(void *opaque, struct vcpu *v)
{
    (void)opaque, (void)v;
    stops += !nesting++;
}

static void resume_others(void *opaque, struct vcpu *v)
{
    (void)opaque, (void)v;
    ck_assert_uint_gt(nesting--, 0);
}

/* How often one run of the code stops others; RAX is 3, and BTC's bit too. */
static unsigned stops_of(struct machine *m, bool translated)
{
    stops = 0;
    m->v->gpr[RAX] = 3;
    if (translated)
        jit_run(m->v, PAIR_BUDGET);
    else
        interp_run(m->v, PAIR_BUDGET);
    ck_assert_uint_eq(nesting, 0);
    return stops;
}

START_TEST(only_what_crosses_a_line_stops_others)
{
    const struct form *f = &forms[_i];
    struct pair p;
    size_t length = CODE_MOST;

    while (!f->code[length - 1])
        length--;
    pair_create(&p, &pair_counted);
    p.interp.platform.stop_others = p.jit.platform.stop_others = stop_others;
    p.interp.platform.resume_others = p.jit.platform.resume_others = resume_others;
    pair_start(&p, MACHINE_LONG);
    pair_code(&p, f->code, length);
    for (unsigned offset = 0; offset < OFFSETS; offset++) {
        unsigned crosses = offset % LINE + f->size > LINE;

        /* The first time the JIT may have to fill its TLB, the second time not. */
        for (unsigned n = 0; n < 2; n++) {
            pair_again(&p);
            pair_set(&p, RBX, BASE + offset);
            ck_assert_msg(stops_of(&p.interp, false) == crosses, "%s at %u, interpreter: %u",
                          f->name, offset, stops);
            ck_assert_msg(stops_of(&p.jit, true) == crosses, "%s at %u, translated: %u", f->name,
                          offset, stops);
            PAIR_SAME(&p);
        }
    }
    pair_destroy(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("split_lock");
    TCase *tc = tcase_create("split_lock");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, only_what_crosses_a_line_stops_others, 0, ARRAY_SIZE(forms));
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
