/* SPDX-License-Identifier: MIT
 *
 * Making a machine and looking at it: defaults, what cannot be made, the hash of its memory, the
 * register dump, the text screen.
 */
#include <sys/resource.h>

#include "tests/machine/guests.h"
#include "tests/suite.h"

START_TEST(defaults_make_a_machine)
{
    struct machine_config config;

    machine_config_defaults(&config);
    ck_assert_uint_eq(config.ram_size, MIB(512));
    ck_assert_str_eq(config.cpu, "max");
    ck_assert_uint_eq(config.topology.sockets * config.topology.cores * config.topology.threads, 1);
    ck_assert_int_eq(config.time, TIME_REAL);
    ck_assert_ptr_null(config.log);
    ck_assert(!config.no_reboot);
}
END_TEST

/* What a person could ask for and cannot have: one sentence with the option's name. */
static const struct refused {
    const char *says;
    const char *cpu, *bios, *kernel, *initrd;
    u16 debug_exit_base;
} refused[] = {
    {.says = "-cpu", .cpu = "486"},
    {.says = "-cpu", .cpu = "max,+no-such-thing"},
    {.says = "-bios", .bios = "/nonexistent"},
    {.says = "-bios", .bios = "/"},
    {.says = "-kernel", .kernel = "/nonexistent"},
    {.says = "-kernel", .kernel = "/bin/sh"},
    {.says = "0x60", .debug_exit_base = 0x60},
    {.says = "0xf0", .debug_exit_base = 0xf0},
};

static void check_refusal(const struct refused *r)
{
    struct guest_machine g;

    guest_prepare(&g, GUEST_EXIT, 0);
    if (r->cpu)
        g.config.cpu = r->cpu;
    if (r->bios)
        g.config.bios = r->bios;
    g.config.kernel = r->kernel;
    if (r->debug_exit_base)
        g.config.debug_exit_base = r->debug_exit_base;
    ck_assert_int_ne(machine_create(&g.machine, &g.config, &g.err), ST_OK);
    ck_assert_msg(strstr(g.err.text, r->says) != NULL, "%s", g.err.text);
    ck_assert_ptr_null(strchr(g.err.text, '\n'));
    chardev_destroy(g.serial);
    close(g.image_fd);
}

START_TEST(refusals_say_why)
{
    check_refusal(&refused[_i]);
}
END_TEST

/* Everything that was opened is closed again, also after a failure half-way. */
START_TEST(nothing_stays_open)
{
    int before = 0, after;

    for (unsigned round = 0; round < 3; round++) {
        guest_check(GUEST_EXIT, END_DEBUG_EXIT, 43);
        for (size_t n = 0; n < ARRAY_SIZE(refused); n++)
            check_refusal(&refused[n]);
        after = dup(0);
        close(after);
        if (round == 0)
            before = after;
        ck_assert_int_eq(after, before);
    }
}
END_TEST

/* -- memory -- */

static void hash_of(struct guest_machine *g, u64 hash[2])
{
    ck_assert_int_eq(machine_ram_hash(g->machine, hash, &g->err), ST_OK);
}

START_TEST(hash_follows_the_memory)
{
    struct guest_machine a, b;
    u64 hash[3][2];

    guest_prepare(&a, GUEST_RESET_TRIPLE, 0);
    guest_create(&a);
    guest_prepare(&b, GUEST_RESET_92, 0);
    guest_create(&b);
    hash_of(&a, hash[0]);
    hash_of(&b, hash[1]);
    ck_assert_mem_eq(hash[0], hash[1], sizeof(hash[0])); /* all zeroes */
    ck_assert_int_eq(guest_run(&a, END_DEBUG_EXIT), 19);
    ck_assert_int_eq(guest_run(&b, END_DEBUG_EXIT), 19);
    hash_of(&a, hash[1]);
    hash_of(&b, hash[2]);
    ck_assert_mem_ne(hash[0], hash[1], sizeof(hash[0]));
    /* Other return addresses lie on the stack. */
    ck_assert_mem_ne(hash[1], hash[2], sizeof(hash[1]));
    hash_of(&a, hash[0]);
    ck_assert_mem_eq(hash[0], hash[1], sizeof(hash[0]));
    guest_destroy(&a);
    guest_destroy(&b);
}
END_TEST

/* 16 GiB that the guest has not touched cost the host nothing, not even to hash. */
START_TEST(large_memory_is_cheap)
{
    struct guest_machine g;
    struct rusage usage;
    u64 hash[2];

    guest_prepare(&g, GUEST_EXIT, 0);
    g.config.ram_size = GIB(16);
    guest_create(&g);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 43);
    hash_of(&g, hash);
    getrusage(RUSAGE_SELF, &usage);
    ck_assert_int_lt(usage.ru_maxrss, 600 * 1024);
    guest_destroy(&g);
}
END_TEST

/* -- what can be seen -- */

START_TEST(text_screen_shows_what_the_guest_wrote)
{
    struct guest_machine g;
    char text[65536], *second;
    pthread_t thread;

    guest_prepare(&g, GUEST_SCREEN, 0);
    g.config.time = TIME_COUNTED;
    guest_create(&g);
    pthread_create(&thread, NULL, stop_later, g.machine);
    guest_run(&g, END_STOPPED);
    pthread_join(thread, NULL);
    machine_text_screen(g.machine, text, sizeof(text));
    ck_assert_msg(!strncmp(text, "Lockstep says hello", 19), "%s", text);
    second = strchr(text, '\n');
    ck_assert_ptr_nonnull(second);
    ck_assert_msg(!strncmp(second + 1, "\u2588\u2588\u2588", 9), "%s", text);
    machine_text_screen(g.machine, text, 5);
    ck_assert_str_eq(text, "Lock");
    guest_destroy(&g);
}
END_TEST

START_TEST(dump_has_every_processor)
{
    struct guest_machine g;
    char text[65536], *at = text;

    guest_prepare(&g, GUEST_EXIT, 0);
    g.config.topology = (struct cpu_topology){1, 3, 1};
    guest_create(&g);
    machine_dump(g.machine, text, sizeof(text));
    for (unsigned n = 0; n < 3; n++) {
        char head[16];

        snprintf(head, sizeof(head), "CPU %u ", n);
        at = strstr(at, head);
        ck_assert_ptr_nonnull(at);
    }
    guest_destroy(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("machine");
    TCase *tc = tcase_create("machine");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, defaults_make_a_machine);
    tcase_add_loop_test(tc, refusals_say_why, 0, ARRAY_SIZE(refused));
    tcase_add_test(tc, nothing_stays_open);
    tcase_add_test(tc, hash_follows_the_memory);
    tcase_add_test(tc, large_memory_is_cheap);
    tcase_add_test(tc, text_screen_shows_what_the_guest_wrote);
    tcase_add_test(tc, dump_has_every_processor);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
