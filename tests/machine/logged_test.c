/* SPDX-License-Identifier: MIT
 *
 * Every page of the guest is logged (PAGE_DIRTY_LOG): all stores take the slow path, as for those
 * who record what a guest has changed. Locked instructions of two processors lose nothing there,
 * and neither does XCHG without LOCK: X-03 of the hv1-checklist, "on a dirty-tracked page".
 */
#include "machine/internal.h"
#include "tests/machine/guests.h"
#include "tests/suite.h"

static void log_all(struct ram *ram)
{
    for (u64 n = 0; n < ram->size / PAGE_SIZE; n++)
        __atomic_fetch_or(&ram->pages[n].flags, PAGE_DIRTY_LOG, __ATOMIC_SEQ_CST);
}

/* No page lost its mark, and none was written without the slow path. */
static bool all_logged(const struct ram *ram)
{
    for (u64 n = 0; n < ram->size / PAGE_SIZE; n++)
        if (!(ram->pages[n].flags & PAGE_DIRTY_LOG))
            return false;
    return true;
}

/* Where hammer.c (identity-mapped) and hv1_xchg.c (two pages) have their operands. */
static bool no_write_tags(const struct vcpu *v)
{
    static const struct {
        u64 at, size;
    } ranges[] = {{0, MIB(64)}, {0x70000000, 2 * PAGE_SIZE}};

    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        for (unsigned n = 0; n < ARRAY_SIZE(ranges); n++)
            for (u64 offset = 0; offset < ranges[n].size; offset += PAGE_SIZE)
                if (tlb_write_ptr(&v->tlb.tables[context], ranges[n].at + offset, 1))
                    return false;
    return true;
}

static const char *output_of(struct guest_machine *g)
{
    static char output[GUEST_OUTPUT_MAX + 1];
    size_t size = chardev_memory_take(g->serial, output, sizeof(output) - 1);

    output[size] = 0;
    return output;
}

/* Runs a guest of tests/guest with every page logged, those behind its RAM (overlay pages of Hv#1)
 * too, until it succeeds; `line` is one that it prints then. */
static void run_logged(const char *image, const char *append, unsigned cpus,
                       enum engine_kind engine, const char *line)
{
    struct guest_machine g;

    guest_prepare(&g, GUEST_EXIT, 0);
    g.config.ram_size = MIB(64);
    g.config.topology = (struct cpu_topology){1, cpus, 1};
    g.config.engine = engine;
    g.config.bios = NULL;
    g.config.kernel = image;
    g.config.append = append;
    g.config.testdev = true;
    guest_create(&g);
    log_all(&g.machine->ram);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 33);
    ck_assert(strstr(output_of(&g), line));
    ck_assert(all_logged(&g.machine->ram));
    for (unsigned n = 0; n < cpus; n++)
        ck_assert(no_write_tags(g.machine->processors[n].vcpu));
    guest_destroy(&g);
}

START_TEST(locked_in_logged_pages_interpreted)
{
    run_logged(HAMMER, "short", 2, ENGINE_INTERP, "PASS a token");
}
END_TEST

START_TEST(locked_in_logged_pages_translated)
{
    run_logged(HAMMER, "short", 2, ENGINE_JIT, "PASS a token");
}
END_TEST

#define X03_LINE                                                                                   \
    "PASS X-03 across a line, in a page whose code runs, 8 bytes: the token is still there"

START_TEST(X_03_xchg_in_logged_pages_interpreted)
{
    run_logged(XCHG, "", 2, ENGINE_INTERP, X03_LINE);
}
END_TEST

START_TEST(X_03_xchg_in_logged_pages_translated)
{
    run_logged(XCHG, "", 2, ENGINE_JIT, X03_LINE);
}
END_TEST

START_TEST(X_03_xchg_of_four_in_logged_pages_translated)
{
    run_logged(XCHG, "", 4, ENGINE_JIT, X03_LINE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logged");
    TCase *tc = tcase_create("logged");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, locked_in_logged_pages_interpreted);
    tcase_add_test(tc, locked_in_logged_pages_translated);
    tcase_add_test(tc, X_03_xchg_in_logged_pages_interpreted);
    tcase_add_test(tc, X_03_xchg_in_logged_pages_translated);
    tcase_add_test(tc, X_03_xchg_of_four_in_logged_pages_translated);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
