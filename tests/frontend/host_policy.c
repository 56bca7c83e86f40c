/* SPDX-License-Identifier: MIT
 *
 * Runs a program as on a host with another policy about executable memory, by a seccomp filter:
 * host_policy POLICY PROGRAM ARGUMENT...
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(member)            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define UNLESS(op, value, skip) BPF_JUMP(BPF_JMP | (op) | BPF_K, value, 0, skip)
#define REFUSE(error)           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define MFD_NOEXEC              8 /* MFD_NOEXEC_SEAL */

enum { FILTER_MAX = 16 };

/* Programs and libraries are private mappings; what a process writes and then executes is shared.
 */
static const struct policy {
    const char *name;
    struct sock_filter filter[FILTER_MAX];
} policies[] = {
    {"none", /* nothing that was written is ever executable */
     {LOAD(nr), UNLESS(BPF_JEQ, SYS_mmap, 5), LOAD(args[3]), UNLESS(BPF_JSET, MAP_SHARED, 3),
      LOAD(args[2]), UNLESS(BPF_JSET, PROT_EXEC, 1), REFUSE(EPERM), ALLOW}},
    {"small", /* at most 8 MiB of it */
     {LOAD(nr), UNLESS(BPF_JEQ, SYS_mmap, 7), LOAD(args[3]), UNLESS(BPF_JSET, MAP_SHARED, 5),
      LOAD(args[2]), UNLESS(BPF_JSET, PROT_EXEC, 3), LOAD(args[1]), UNLESS(BPF_JGT, 8 << 20, 1),
      REFUSE(EACCES), ALLOW}},
    {"mdwe", /* as prctl(PR_SET_MDWE): no page is both, none becomes executable later */
     {LOAD(nr), UNLESS(BPF_JEQ, SYS_mprotect, 3), LOAD(args[2]), UNLESS(BPF_JSET, PROT_EXEC, 1),
      REFUSE(EACCES), LOAD(nr), UNLESS(BPF_JEQ, SYS_mmap, 5), LOAD(args[2]),
      UNLESS(BPF_JSET, PROT_EXEC, 3), LOAD(args[2]), UNLESS(BPF_JSET, PROT_WRITE, 1),
      REFUSE(EACCES), ALLOW}},
    {"noexec", /* as sysctl vm.memfd_noexec = 2 */
     {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 3), LOAD(args[1]),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MFD_NOEXEC, 1, 0), REFUSE(EACCES), ALLOW}},
    {"old", /* Linux before 6.3 */
     {LOAD(nr), UNLESS(BPF_JEQ, SYS_memfd_create, 3), LOAD(args[1]),
      UNLESS(BPF_JSET, MFD_NOEXEC, 1), REFUSE(EINVAL), ALLOW}},
};

static int obey(const struct policy *policy)
{
    struct sock_fprog program = {.filter = (struct sock_filter *)policy->filter};

    while (program.len < FILTER_MAX && policy->filter[program.len].code)
        program.len++;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int count, char **arguments)
{
    for (size_t n = 0; count > 2 && n < sizeof(policies) / sizeof(policies[0]); n++) {
        if (strcmp(arguments[1], policies[n].name))
            continue;
        if (!obey(&policies[n]))
            execv(arguments[2], arguments + 2);
        perror("host_policy");
        return 125;
    }
    fprintf(stderr, "usage: %s none|small|mdwe|noexec|old PROGRAM ARGUMENT...\n", arguments[0]);
    return 125;
}
