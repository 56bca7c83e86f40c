/* SPDX-License-Identifier: MIT
 *
 * Every page of the guest is logged (PAGE_DIRTY_LOG): all stores take the slow path, as for those
 * who record what a guest has changed. Locked instructions of two processors lose nothing there.
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

static bool no_write_tags(const struct vcpu *v)
{
    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        for (u64 gla = 0; gla < MIB(64); gla += PAGE_SIZE)
            if (tlb_write_ptr(&v->tlb.tables[context], gla, 1))
                return false;
    return true;
}

static const char *output_of(struct guest_machine *g)
{
    static char output[4096];
    size_t size = chardev_memory_take(g->serial, output, sizeof(output) - 1);

    output[size] = 0;
    return output;
}

static void hammer(enum engine_kind engine)
{
    struct guest_machine g;

    guest_prepare(&g, GUEST_EXIT, 0);
    g.config.ram_size = MIB(64);
    g.config.topology = (struct cpu_topology){1, 2, 1};
    g.config.engine = engine;
    g.config.bios = NULL;
    g.config.kernel = HAMMER;
    g.config.append = "short";
    g.config.testdev = true;
    guest_create(&g);
    log_all(&g.machine->ram);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 33);
    ck_assert(strstr(output_of(&g), "PASS a token"));
    ck_assert(all_logged(&g.machine->ram));
    for (unsigned n = 0; n < 2; n++)
        ck_assert(no_write_tags(g.machine->processors[n].vcpu));
    guest_destroy(&g);
}

START_TEST(locked_in_logged_pages_interpreted)
{
    hammer(ENGINE_INTERP);
}
END_TEST

START_TEST(locked_in_logged_pages_translated)
{
    hammer(ENGINE_JIT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logged");
    TCase *tc = tcase_create("logged");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, locked_in_logged_pages_interpreted);
    tcase_add_test(tc, locked_in_logged_pages_translated);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
