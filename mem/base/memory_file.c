/* SPDX-License-Identifier: MIT */
#include "mem/base/memory_file.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 8u
#endif

/* Where sysctl vm.memfd_noexec is 2, only files that can never be passed to execve() may be made;
 * kernels before 6.3 do not know the flag (memfd_create(2)). It does not concern mmap(). */
static int file_create(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);

    return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC) : fd;
}

int memory_file_create(const char *name, u64 size)
{
    int fd = file_create(name), failed;

    if (fd < 0 || !ftruncate(fd, (off_t)size))
        return fd;
    failed = errno;
    close(fd);
    errno = failed;
    return -1;
}

static u8 *map(int fd, size_t size, int rights)
{
    void *p = mmap(NULL, size, rights, MAP_SHARED, fd, 0);

    return p == MAP_FAILED ? NULL : p;
}

bool code_memory_create(struct code_memory *m, const char *name, size_t size)
{
    int fd = memory_file_create(name, size), failed;

    *m = (struct code_memory){.size = size};
    if (fd < 0)
        return false;
    m->exec = map(fd, size, PROT_READ | PROT_EXEC);
    if (m->exec)
        m->write = map(fd, size, PROT_READ | PROT_WRITE);
    failed = errno;
    close(fd);
    if (m->write)
        return true;
    code_memory_destroy(m);
    errno = failed;
    return false;
}

void code_memory_destroy(struct code_memory *m)
{
    if (m->exec)
        munmap(m->exec, m->size);
    if (m->write)
        munmap(m->write, m->size);
    *m = (struct code_memory){.size = 0};
}
