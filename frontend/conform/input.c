/* SPDX-License-Identifier: MIT */
#include "frontend/conform/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { INPUT_CHUNK = 1 << 20 };
#define INPUT_MAX GIB(2)

static enum status grow(struct input *in, size_t *room, struct error *err)
{
    char *data;

    if (in->size + INPUT_CHUNK + 1 <= *room)
        return ST_OK;
    *room = (in->size + INPUT_CHUNK + 1) * 2;
    data = in->size < INPUT_MAX ? realloc(in->data, *room) : NULL;
    if (!data)
        return error_set(err, ST_NO_MEMORY, "%s: is too large to be read; split the file.",
                         in->file);
    in->data = data;
    return ST_OK;
}

static enum status read_all(struct input *in, gzFile gz, struct error *err)
{
    size_t room = 0;
    int got, code;
    const char *why;

    for (;;) {
        enum status st = grow(in, &room, err);

        if (st)
            return st;
        got = gzread(gz, in->data + in->size, INPUT_CHUNK);
        if (got <= 0)
            break;
        in->size += (size_t)got;
    }
    in->data[in->size] = 0;
    why = gzerror(gz, &code);
    if (got < 0 || code == Z_BUF_ERROR)
        return error_set(err, ST_IO,
                         "%s: cannot be read after %zu bytes (%s); the file is broken, fetch it "
                         "again.",
                         in->file, in->size, code == Z_ERRNO ? strerror(errno) : why);
    return ST_OK;
}

enum status input_read(struct input *in, const char *file, struct error *err)
{
    struct stat about;
    enum status st;
    gzFile gz;

    *in = (struct input){.file = file};
    if (!stat(file, &about) && S_ISDIR(about.st_mode))
        return error_set(err, ST_IO, "%s: is a directory; name a file.", file);
    gz = gzopen(file, "rb");
    if (!gz)
        return error_set(err, ST_IO, "%s: cannot be opened (%s); name another file.", file,
                         strerror(errno));
    st = read_all(in, gz, err);
    gzclose(gz);
    if (st)
        input_release(in);
    return st;
}

void input_release(struct input *in)
{
    free(in->data);
    in->data = NULL;
}
