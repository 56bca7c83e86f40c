/* SPDX-License-Identifier: MIT
 *
 * Console output to a file. Every write reaches the file before the call returns, so that a person
 * or a script can follow it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/backend/chardev_file.h"

struct file_chardev {
    struct chardev base;
    struct log *log;
    int fd; /* -1 after a failure */
};

static size_t file_write(struct chardev *c, const u8 *data, size_t size)
{
    struct file_chardev *f = (struct file_chardev *)c;

    for (size_t done = 0; done < size && f->fd >= 0;) {
        ssize_t n = write(f->fd, data + done, size - done);

        if (n >= 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            log_warn(f->log, "Console output file: %s; the rest is dropped.", strerror(errno));
            close(f->fd);
            f->fd = -1;
        }
    }
    return size;
}

static void file_destroy(struct chardev *c)
{
    struct file_chardev *f = (struct file_chardev *)c;

    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

static const struct chardev_backend file_backend = {.write = file_write, .destroy = file_destroy};

enum status chardev_file_create(struct chardev **c, const char *path, bool append, struct log *log,
                                struct error *err)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (append ? O_APPEND : O_TRUNC);
    struct file_chardev *f = calloc(1, sizeof(*f));

    if (!f)
        return error_set(err, ST_NO_MEMORY, "There is no memory for a character device.");
    f->base.backend = &file_backend;
    f->log = log;
    f->fd = open(path, flags, 0666);
    if (f->fd < 0) {
        free(f);
        return error_set(err, ST_IO, "Cannot write to '%s': %s.", path, strerror(errno));
    }
    *c = &f->base;
    return ST_OK;
}
