/* SPDX-License-Identifier: MIT
 *
 * Memory with two views. What hosts with other policies do is in frontend/executable_memory.sh.
 */
#include "mem/base/memory_file.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/suite.h"

START_TEST(files_have_their_size_and_are_closed_on_exec)
{
    int fd = memory_file_create("test", 12288);
    struct stat st;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(st.st_size, 12288);
    ck_assert_int_eq(st.st_mode & 0111, 0);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}
END_TEST

/* The rights of the mapping at p in /proc/self/maps. */
static void rights_of(const void *p, char rights[8])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    char line[512], found[8];

    ck_assert_ptr_nonnull(maps);
    rights[0] = 0;
    while (fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, found) == 3 && from <= (unsigned long)p &&
            (unsigned long)p < to)
            strcpy(rights, found);
    fclose(maps);
}

START_TEST(code_is_written_in_one_view_and_runs_in_the_other)
{
    static const u8 code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
    struct code_memory m;
    char rights[8];

    ck_assert(code_memory_create(&m, "test", 8192));
    rights_of(m.write, rights);
    ck_assert_str_eq(rights, "rw-s");
    rights_of(m.exec, rights);
    ck_assert_str_eq(rights, "r-xs");
    memcpy(m.write + 4090, code, sizeof(code));
    ck_assert_int_eq(((int (*)(void))(m.exec + 4090))(), 42);
    code_memory_destroy(&m);
    ck_assert(!m.write && !m.exec);
    rights_of(m.exec, rights);
    ck_assert_str_eq(rights, "");
}
END_TEST

START_TEST(what_cannot_be_mapped_leaves_nothing)
{
    struct code_memory m;
    int before = dup(0), after;

    close(before);
    ck_assert(!code_memory_create(&m, "test", (size_t)1 << 60));
    ck_assert(errno == EFBIG || errno == ENOMEM || errno == EINVAL);
    ck_assert(!m.write && !m.exec);
    after = dup(0);
    ck_assert_int_eq(after, before);
    close(after);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory_file");
    TCase *tc = tcase_create("memory_file");

    tcase_add_test(tc, files_have_their_size_and_are_closed_on_exec);
    tcase_add_test(tc, code_is_written_in_one_view_and_runs_in_the_other);
    tcase_add_test(tc, what_cannot_be_mapped_leaves_nothing);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
