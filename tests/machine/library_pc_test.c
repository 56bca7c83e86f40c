/* SPDX-License-Identifier: MIT
 *
 * Whole PCs through the public library: how they end, serial ports, screen, state, hooks, and that
 * a run does not depend on how it is cut into pieces.
 */
#include "tests/machine/guests.h"
#include "tests/machine/library.h"

struct pc {
    struct lockstep_machine *m;
    int image_fd;
    char output[256];
    size_t output_count;
};

static void on_output(void *opaque, unsigned port, const u8 *bytes, size_t count)
{
    struct pc *pc = opaque;

    ck_assert_uint_eq(port, 0);
    ck_assert_uint_le(pc->output_count + count, sizeof(pc->output));
    memcpy(pc->output + pc->output_count, bytes, count);
    pc->output_count += count;
}

static void pc_create(struct pc *pc, enum guest guest, u32 parameter, u32 cpus)
{
    struct lockstep_pc_config config;
    struct lockstep_error error;
    char path[32];

    *pc = (struct pc){.image_fd = guest_image(guest, parameter)};
    snprintf(path, sizeof(path), "/proc/self/fd/%d", pc->image_fd);
    OK(lockstep_pc_config_init(&config));
    config.memory = 4 << 20;
    config.cpus = cpus;
    config.bios = path;
    config.debug_exit = true;
    config.debug_exit_port = 0xf4;
    config.no_reboot = true;
    config.serial_output = on_output;
    config.serial_opaque = pc;
    ck_assert_msg(!lockstep_create_pc(&config, &pc->m, &error), "%s", error.text);
    memset(path, 'x', sizeof(path)); /* the library has its own copy */
}

static void pc_destroy(struct pc *pc)
{
    lockstep_destroy(pc->m);
    close(pc->image_fd);
}

/* Runs to an end; in pieces of some instructions if slice says so. */
static struct lockstep_result pc_run(struct pc *pc, u64 slice)
{
    struct lockstep_result r;

    do
        r = lib_run(pc->m, slice);
    while (r.end == LOCKSTEP_END_BUDGET);
    return r;
}

START_TEST(every_end)
{
    static const struct {
        enum guest guest;
        u32 end, code;
    } ends[] = {
        {GUEST_EXIT, LOCKSTEP_END_DEBUG_EXIT, 43},
        {GUEST_POWER_OFF, LOCKSTEP_END_POWER_OFF, 0},
        {GUEST_TRIPLE_FAULT, LOCKSTEP_END_SHUTDOWN, 0},
        {GUEST_RESET_CF9, LOCKSTEP_END_REBOOT, 0},
        {GUEST_HALT, LOCKSTEP_END_HALTED, 0},
    };
    struct lockstep_result r;
    struct pc pc;

    pc_create(&pc, ends[_i].guest, 0, 1);
    r = pc_run(&pc, LOCKSTEP_UNLIMITED);
    ck_assert_uint_eq(r.end, ends[_i].end);
    ck_assert_uint_eq(r.exit_code, ends[_i].code);
    ck_assert_uint_eq(r.instructions, lockstep_instructions(pc.m));
    if (r.end == LOCKSTEP_END_SHUTDOWN) {
        ck_assert_uint_eq(r.exception.kind, LOCKSTEP_EVENT_FAULT);
        ck_assert_uint_eq(r.exception.vector, 6);
    }
    OK(lockstep_reset(pc.m));
    r = pc_run(&pc, LOCKSTEP_UNLIMITED);
    ck_assert_uint_eq(r.end, ends[_i].end);
    pc_destroy(&pc);
}
END_TEST

START_TEST(serial_both_ways)
{
    struct lockstep_result r;
    struct pc pc;

    pc_create(&pc, GUEST_ECHO, 0, 1);
    lib_run(pc.m, 100000);
    ck_assert_uint_eq(lockstep_serial_input(pc.m, 0, "HAL", 3), 3);
    lib_run(pc.m, 5000000);
    ck_assert_uint_eq(lockstep_serial_input(pc.m, 0, "!", 1), 1);
    r = pc_run(&pc, LOCKSTEP_UNLIMITED);
    ck_assert_uint_eq(r.end, LOCKSTEP_END_DEBUG_EXIT);
    ck_assert_uint_eq(r.exit_code, 2 * 5 + 1);
    ck_assert_uint_ge(pc.output_count, 4);
    ck_assert_int_eq(memcmp(pc.output, "RIBM", 4), 0);
    ck_assert_uint_eq(lockstep_serial_input(pc.m, 1, "x", 1), 0);
    ck_assert_uint_eq(lockstep_serial_input(pc.m, 4, "x", 1), 0);
    ck_assert_uint_eq(lockstep_serial_input(pc.m, 0, NULL, 1), 0);
    ck_assert_uint_eq(lockstep_serial_input(NULL, 0, "x", 1), 0);
    pc_destroy(&pc);
}
END_TEST

START_TEST(serial_input_has_an_end)
{
    static u8 bytes[100000];
    struct pc pc;

    pc_create(&pc, GUEST_SPIN, 0, 1);
    ck_assert_uint_eq(lockstep_serial_input(pc.m, 0, bytes, sizeof(bytes)), 65536);
    ck_assert_uint_eq(lockstep_serial_input(pc.m, 0, bytes, 1), 0);
    pc_destroy(&pc);
}
END_TEST

START_TEST(screen_and_dump)
{
    char text[8192] = "";
    struct pc pc;

    pc_create(&pc, GUEST_SCREEN, 0, 1);
    lib_run(pc.m, 10000);
    OK(lockstep_text_screen(pc.m, text, sizeof(text)));
    ck_assert_ptr_nonnull(strstr(text, "Lockstep says hello"));
    OK(lockstep_dump(pc.m, text, sizeof(text)));
    ck_assert_ptr_nonnull(strstr(text, "RAX="));
    FAILS(LOCKSTEP_INVALID, lockstep_text_screen(pc.m, NULL, 5));
    FAILS(LOCKSTEP_INVALID, lockstep_text_screen(NULL, text, 5));
    FAILS(LOCKSTEP_INVALID, lockstep_dump(pc.m, text, 0));
    FAILS(LOCKSTEP_INVALID, lockstep_dump(NULL, text, 5));
    pc_destroy(&pc);
}
END_TEST

START_TEST(power_button)
{
    struct pc pc;

    pc_create(&pc, GUEST_POWER_BUTTON, 0, 1);
    ck_assert_uint_eq(lib_run(pc.m, LOCKSTEP_UNLIMITED).end, LOCKSTEP_END_HALTED); /* waits */
    ck_assert_uint_eq(pc.output_count, 1);
    OK(lockstep_power_button(pc.m));
    ck_assert_uint_eq(pc_run(&pc, LOCKSTEP_UNLIMITED).end, LOCKSTEP_END_POWER_OFF);
    FAILS(LOCKSTEP_INVALID, lockstep_power_button(NULL));
    pc_destroy(&pc);
}
END_TEST

/* What belongs to the other kind of machine. */
START_TEST(kinds_of_machines)
{
    struct lockstep_machine *cpu = lib_create();
    char text[8192];
    struct pc pc;

    pc_create(&pc, GUEST_EXIT, 0, 2);
    ck_assert_uint_eq(lockstep_cpu_count(pc.m), 2);
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_map_memory(pc.m, 1ull << 40, 4096, 0, NULL));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_map_host_memory(pc.m, 1ull << 40, 4096, text, 0, NULL));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_map_mmio(pc.m, 1ull << 40, 4096, NULL, NULL, NULL, NULL));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_map_ports(pc.m, 0x100, 1, NULL, NULL, NULL));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_unmap(pc.m, 0));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_unmap_ports(pc.m, 0x40));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_interrupt(pc.m, 0x40));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_power_button(cpu));
    FAILS(LOCKSTEP_UNSUPPORTED, lockstep_text_screen(cpu, text, sizeof(text)));
    ck_assert_uint_eq(lockstep_serial_input(cpu, 0, "x", 1), 0);
    OK(lockstep_dump(cpu, text, sizeof(text)));
    pc_destroy(&pc);
    lockstep_destroy(cpu);
}
END_TEST

static void *stop_soon(void *m)
{
    const struct timespec ts = {.tv_nsec = 20000000};

    nanosleep(&ts, NULL);
    lockstep_stop(m);
    return NULL;
}

START_TEST(stop_and_go_on)
{
    pthread_t thread;
    struct pc pc;

    pc_create(&pc, GUEST_SPIN, 0, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, pc.m), 0);
    ck_assert_uint_eq(lib_run(pc.m, LOCKSTEP_UNLIMITED).end, LOCKSTEP_END_STOPPED);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(lib_run(pc.m, 12345).instructions, 12345);
    pc_destroy(&pc);
}
END_TEST

/* -- the same run, however it is cut and watched -- */

struct end {
    struct lockstep_result result;
    struct lockstep_state state[2];
    u8 *memory;
    u64 instructions;
};

static u64 seen;

static void see_access(void *opaque, unsigned cpu, const struct lockstep_access *a)
{
    (void)cpu, (void)a;
    ++*(u64 *)opaque;
}

static enum lockstep_action see_block(void *opaque, unsigned cpu, u64 address)
{
    (void)cpu, (void)address;
    ++*(u64 *)opaque;
    return LOCKSTEP_CONTINUE;
}

static enum lockstep_action see_exception(void *opaque, unsigned cpu,
                                          const struct lockstep_exception *e)
{
    (void)cpu, (void)e;
    ++*(u64 *)opaque;
    return LOCKSTEP_CONTINUE;
}

static struct end end_of(enum guest guest, u32 parameter, u32 cpus, u64 slice, bool hooked)
{
    const struct lockstep_hooks hooks = {.size = sizeof(hooks),
                                         .opaque = &seen,
                                         .block = see_block,
                                         .memory = see_access,
                                         .exception = see_exception};
    struct end e = {.instructions = 0};
    struct pc pc;

    seen = 0;
    pc_create(&pc, guest, parameter, cpus);
    if (hooked)
        OK(lockstep_set_hooks(pc.m, &hooks));
    e.result = pc_run(&pc, slice);
    e.instructions = lockstep_instructions(pc.m);
    for (unsigned n = 0; n < cpus; n++) {
        e.state[n].size = sizeof(e.state[n]);
        e.state[n].version = LOCKSTEP_STATE_VERSION;
        OK(lockstep_get_state(pc.m, n, LOCKSTEP_STATE_ALL, &e.state[n]));
    }
    e.memory = malloc(4 << 20);
    OK(lockstep_read_physical(pc.m, 0, e.memory, 0xa0000));
    pc_destroy(&pc);
    return e;
}

static void check_same(const struct end *a, const struct end *b)
{
    ck_assert_uint_eq(a->result.end, b->result.end);
    ck_assert_uint_eq(a->result.exit_code, b->result.exit_code);
    ck_assert_uint_eq(a->instructions, b->instructions);
    ck_assert_mem_eq(a->state, b->state, sizeof(a->state));
    ck_assert(!memcmp(a->memory, b->memory, 0xa0000));
}

START_TEST(run_in_pieces)
{
    static const struct {
        enum guest guest;
        u32 parameter, cpus;
        u64 slice;
    } cuts[] = {
        {GUEST_WORK, 5, 1, 9973},
        {GUEST_SLEEP, 0, 1, 777},
        {GUEST_SMP, 2, 2, 101},
    };
    struct end whole =
        end_of(cuts[_i].guest, cuts[_i].parameter, cuts[_i].cpus, LOCKSTEP_UNLIMITED, false);
    struct end pieces =
        end_of(cuts[_i].guest, cuts[_i].parameter, cuts[_i].cpus, cuts[_i].slice, false);

    ck_assert_uint_eq(whole.result.end, LOCKSTEP_END_DEBUG_EXIT);
    check_same(&whole, &pieces);
    free(whole.memory);
    free(pieces.memory);
}
END_TEST

START_TEST(hooks_change_nothing)
{
    struct end plain = end_of(GUEST_WORK, 5, 1, LOCKSTEP_UNLIMITED, false), hooked;

    ck_assert_uint_eq(seen, 0);
    hooked = end_of(GUEST_WORK, 5, 1, LOCKSTEP_UNLIMITED, true);
    ck_assert_uint_gt(seen, 10000);
    check_same(&plain, &hooked);
    free(plain.memory);
    free(hooked.memory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("library_pc");
    TCase *tc = tcase_create("pc");

    tcase_add_loop_test(tc, every_end, 0, 5);
    tcase_add_test(tc, serial_both_ways);
    tcase_add_test(tc, serial_input_has_an_end);
    tcase_add_test(tc, screen_and_dump);
    tcase_add_test(tc, power_button);
    tcase_add_test(tc, kinds_of_machines);
    tcase_add_test(tc, stop_and_go_on);
    tcase_add_loop_test(tc, run_in_pieces, 0, 3);
    tcase_add_test(tc, hooks_change_nothing);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
