// SPDX-License-Identifier: MIT
// kexec KERNEL INITRD COMMAND_LINE: starts another kernel in place of the running one, by
// kexec_file_load(2). Comes back, with status 1, only if that fails.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int kernel, initrd;

    if (argc != 4)
        return fprintf(stderr, "usage: kexec KERNEL INITRD COMMAND_LINE\n"), 1;
    kernel = open(argv[1], O_RDONLY);
    initrd = open(argv[2], O_RDONLY);
    if (kernel < 0 || initrd < 0 ||
        syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], 0L))
        return perror("kexec"), 1;
    sync();
    syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
    return perror("reboot"), 1;
}
