/* SPDX-License-Identifier: MIT
 *
 * Making machines with the public library, and every way of asking for one that cannot be made.
 */
#include "tests/machine/library.h"

static void refuse_cpu(const struct lockstep_cpu_config *config, enum lockstep_status want,
                       const char *part)
{
    struct lockstep_machine *m = (void *)1;
    struct lockstep_error error;

    FAILS(want, lockstep_create_cpu(config, &m, &error));
    ck_assert_ptr_null(m);
    ck_assert_msg(strstr(error.text, part), "'%s' does not say '%s'", error.text, part);
}

START_TEST(cpu_config_is_checked)
{
    struct lockstep_cpu_config c = {.size = sizeof(c)};
    struct lockstep_machine *m;
    struct lockstep_error error;

    FAILS(LOCKSTEP_INVALID, lockstep_create_cpu(NULL, &m, &error));
    FAILS(LOCKSTEP_INVALID, lockstep_create_cpu(&c, NULL, &error));
    FAILS(LOCKSTEP_INVALID, lockstep_create_cpu(NULL, NULL, NULL));
    c.size = 4;
    refuse_cpu(&c, LOCKSTEP_INVALID, "size is 4");
    c = (struct lockstep_cpu_config){.size = sizeof(c), .engine = 7};
    refuse_cpu(&c, LOCKSTEP_INVALID, "engine 7");
    c = (struct lockstep_cpu_config){.size = sizeof(c), .clock = 7};
    refuse_cpu(&c, LOCKSTEP_INVALID, "clock 7");
    c = (struct lockstep_cpu_config){.size = sizeof(c), .model = "i8008"};
    refuse_cpu(&c, LOCKSTEP_NOT_FOUND, "i8008");
    c = (struct lockstep_cpu_config){.size = sizeof(c), .memory_limit = 4095};
    refuse_cpu(&c, LOCKSTEP_INVALID, "memory_limit is 4095");
    c = (struct lockstep_cpu_config){.size = sizeof(c), .memory_limit = 1ull << 50};
    refuse_cpu(&c, LOCKSTEP_INVALID, "memory_limit");
    c = (struct lockstep_cpu_config){.size = sizeof(c), .instructions_per_second = 1};
    refuse_cpu(&c, LOCKSTEP_INVALID, "instructions_per_second");
}
END_TEST

static void refuse_pc(struct lockstep_pc_config *c, enum lockstep_status want, const char *part)
{
    struct lockstep_machine *m = (void *)1;
    struct lockstep_error error;

    FAILS(want, lockstep_create_pc(c, &m, &error));
    ck_assert_ptr_null(m);
    ck_assert_msg(strstr(error.text, part), "'%s' does not say '%s'", error.text, part);
    OK(lockstep_pc_config_init(c));
}

START_TEST(pc_config_is_checked)
{
    struct lockstep_pc_config c;
    struct lockstep_machine *m;

    FAILS(LOCKSTEP_INVALID, lockstep_pc_config_init(NULL));
    OK(lockstep_pc_config_init(&c));
    FAILS(LOCKSTEP_INVALID, lockstep_create_pc(&c, NULL, NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_create_pc(NULL, &m, NULL));
    c.size--;
    refuse_pc(&c, LOCKSTEP_INVALID, "lockstep_pc_config.size");
    c.engine = 7;
    refuse_pc(&c, LOCKSTEP_INVALID, "engine 7");
    c.cpus = 0;
    refuse_pc(&c, LOCKSTEP_INVALID, "cpus is 0");
    c.cpus = 256;
    refuse_pc(&c, LOCKSTEP_INVALID, "cpus is 256");
    c.memory = 1000;
    refuse_pc(&c, LOCKSTEP_INVALID, "memory is 1000");
    c.serial_ports = 5;
    refuse_pc(&c, LOCKSTEP_INVALID, "serial_ports is 5");
    c.bios = "none";
    refuse_pc(&c, LOCKSTEP_INVALID, "no kernel");
    c.instructions_per_second = 5;
    refuse_pc(&c, LOCKSTEP_INVALID, "instructions_per_second");
    c.instructions_per_second = 0;
    c.hv = "fully";
    refuse_pc(&c, LOCKSTEP_INVALID, "-hv fully");
    c.hv = NULL;
    c.bios = "/nonexistent/bios";
    refuse_pc(&c, LOCKSTEP_NOT_FOUND, "/nonexistent/bios");
    c.model = "i8008";
    refuse_pc(&c, LOCKSTEP_NOT_FOUND, "i8008");
}
END_TEST

START_TEST(names_and_errors)
{
    struct lockstep_machine *m = lib_create();

    ck_assert_str_eq(lockstep_version(), "0.1.0");
    for (int s = LOCKSTEP_OK; s <= LOCKSTEP_FAULT; s++)
        ck_assert_str_ne(lockstep_status_name((enum lockstep_status)s), "unknown status");
    ck_assert_str_eq(lockstep_status_name((enum lockstep_status)99), "unknown status");
    ck_assert_str_eq(lockstep_error(m), "");
    ck_assert_ptr_nonnull(lockstep_error(NULL));
    FAILS(LOCKSTEP_INVALID, lockstep_set_register(m, 3, LOCKSTEP_RAX, 0));
    ck_assert_ptr_nonnull(strstr(lockstep_error(m), "processor 3"));
    ck_assert_uint_eq(lockstep_cpu_count(m), 1);
    ck_assert_uint_eq(lockstep_cpu_count(NULL), 0);
    lockstep_destroy(m);
    lockstep_destroy(NULL);
}
END_TEST

START_TEST(power_on_state_and_reset)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_state s = lib_state(m);

    ck_assert_uint_eq(s.rip, 0xfff0);
    ck_assert_uint_eq(s.segment[LOCKSTEP_CS].base, 0xffff0000);
    ck_assert_uint_eq(s.segment[LOCKSTEP_CS].selector, 0xf000);
    lib_start(m, 64, "\xf4", 1);
    lib_set(m, LOCKSTEP_RAX, 5);
    OK(lockstep_reset(m));
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RAX), 0);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RIP), 0xfff0);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_EFER), 0);
    ck_assert_uint_eq(lib_load(m, LIB_CODE, 1), 0xf4); /* memory stays */
    FAILS(LOCKSTEP_INVALID, lockstep_reset(NULL));
    lockstep_destroy(m);
}
END_TEST

/* CPUID 7.EBX.AVX2 of two models. */
START_TEST(model_is_what_was_asked_for)
{
    static const u8 code[] = {0xb8, 7, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2, 0xf4};
    const char *const models[] = {"x86-64", "x86-64-v2"};

    for (unsigned n = 0; n < ARRAY_SIZE(models); n++) {
        const struct lockstep_cpu_config config = {.size = sizeof(config), .model = models[n]};
        struct lockstep_machine *m;
        u64 rip;

        OK(lockstep_create_cpu(&config, &m, NULL));
        OK(lockstep_map_memory(m, 0, LIB_MEMORY, LOCKSTEP_MEMORY_WRITE, NULL));
        lib_start(m, 32, code, sizeof(code));
        ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_HALTED);
        rip = lib_get(m, LOCKSTEP_RIP);
        ck_assert_uint_eq(rip, LIB_CODE + sizeof(code));
        ck_assert_uint_eq(lib_get(m, LOCKSTEP_RBX) >> 5 & 1, 0);
        lockstep_destroy(m);
    }
}
END_TEST

/* Counted: ten TSC ticks an instruction, the same each time; real: time passes. */
START_TEST(clocks)
{
    static const u8 code[] = {0x90, 0x90, 0x0f, 0x31, 0xf4};
    u64 seen[2];

    for (unsigned n = 0; n < 2; n++) {
        struct lockstep_machine *m = lib_create();

        lib_start(m, 32, code, sizeof(code));
        lib_run(m, 10);
        seen[n] = lib_get(m, LOCKSTEP_RAX);
        lockstep_destroy(m);
    }
    ck_assert_uint_eq(seen[0], 20);
    ck_assert_uint_eq(seen[1], 20);

    const struct lockstep_cpu_config config = {.size = sizeof(config),
                                               .clock = LOCKSTEP_CLOCK_REAL};
    struct lockstep_machine *m;
    u64 before;

    OK(lockstep_create_cpu(&config, &m, NULL));
    before = lib_get(m, LOCKSTEP_TSC);
    ck_assert_uint_gt(lib_get(m, LOCKSTEP_TSC), before);
    lockstep_destroy(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("library_create");
    TCase *tc = tcase_create("create");

    tcase_add_test(tc, cpu_config_is_checked);
    tcase_add_test(tc, pc_config_is_checked);
    tcase_add_test(tc, names_and_errors);
    tcase_add_test(tc, power_on_state_and_reset);
    tcase_add_test(tc, model_is_what_was_asked_for);
    tcase_add_test(tc, clocks);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
