/* SPDX-License-Identifier: MIT */
#include "bios/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem/base/bits.h"
#include "mem/base/log.h"

void blob_fini(struct blob *blob)
{
    free(blob->data);
    *blob = (struct blob){0};
}

enum status blob_status(const struct blob *blob, const char *what, struct error *err)
{
    if (!blob->failed)
        return ST_OK;
    return error_set(err, ST_NO_MEMORY, "The host has no memory left for %s.", what);
}

/* Makes room for size more bytes; false when the blob has failed. */
static bool blob_reserve(struct blob *blob, u64 size)
{
    u64 capacity = blob->capacity ? blob->capacity : 256;
    u8 *data;

    if (blob->failed)
        return false;
    if (size <= blob->capacity - blob->size)
        return true;
    if (size > GIB(1024)) {
        blob->failed = true;
        return false;
    }
    while (capacity - blob->size < size)
        capacity *= 2;
    data = realloc(blob->data, capacity);
    if (!data) {
        blob->failed = true;
        return false;
    }
    blob->data = data;
    blob->capacity = capacity;
    return true;
}

u64 blob_bytes(struct blob *blob, const void *bytes, u64 size)
{
    u64 offset = blob->size;

    if (!blob_reserve(blob, size))
        return offset;
    if (size)
        memcpy(blob->data + offset, bytes, size);
    blob->size += size;
    return offset;
}

u64 blob_zero(struct blob *blob, u64 size)
{
    u64 offset = blob->size;

    if (!blob_reserve(blob, size))
        return offset;
    if (size)
        memset(blob->data + offset, 0, size);
    blob->size += size;
    return offset;
}

u64 blob_uint(struct blob *blob, u64 value, unsigned size)
{
    u8 bytes[8];

    store_le(bytes, value, size);
    return blob_bytes(blob, bytes, size);
}

u64 blob_string(struct blob *blob, const char *text)
{
    return blob_bytes(blob, text, strlen(text) + 1);
}

u64 blob_align(struct blob *blob, u64 alignment)
{
    return blob_zero(blob, align_up(blob->size, alignment) - blob->size);
}

void blob_insert(struct blob *blob, u64 offset, const void *bytes, u64 size)
{
    if (!blob_reserve(blob, size))
        return;
    check(offset <= blob->size, "insertion past the end of a blob");
    memmove(blob->data + offset + size, blob->data + offset, blob->size - offset);
    memcpy(blob->data + offset, bytes, size);
    blob->size += size;
}

void blob_patch(struct blob *blob, u64 offset, u64 value, unsigned size)
{
    if (blob->failed)
        return;
    check(offset <= blob->size && size <= blob->size - offset, "patch outside a blob");
    store_le(blob->data + offset, value, size);
}

static enum status read_all(struct blob *blob, int fd, const char *path, u64 max,
                            const char *option, struct error *err)
{
    while (blob_reserve(blob, KIB(64))) {
        ssize_t got = read(fd, blob->data + blob->size, blob->capacity - blob->size);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, ST_IO, "%s: cannot read %s: %s; name another file.", option, path,
                             strerror(errno));
        if (got == 0)
            return ST_OK;
        blob->size += (u64)got;
        if (blob->size > max)
            return error_set(err, ST_INVALID,
                             "%s: %s is larger than the %llu bytes that fit; choose another file.",
                             option, path, (unsigned long long)max);
    }
    return blob_status(blob, path, err);
}

enum status blob_read_file(struct blob *blob, const char *path, u64 max, const char *option,
                           struct error *err)
{
    struct stat info;
    enum status status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *blob = (struct blob){0};
    if (fd < 0)
        return error_set(err, errno == ENOENT ? ST_NOT_FOUND : ST_IO,
                         "%s: cannot open %s: %s; name another file.", option, path,
                         strerror(errno));
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 &&
        (u64)info.st_size <= max)
        blob_reserve(blob, (u64)info.st_size + KIB(64));
    status = read_all(blob, fd, path, max, option, err);
    close(fd);
    if (status != ST_OK)
        blob_fini(blob);
    return status;
}

u8 bytes_sum(const u8 *bytes, u64 size)
{
    u8 sum = 0;

    for (u64 i = 0; i < size; i++)
        sum = (u8)(sum + bytes[i]);
    return sum;
}
