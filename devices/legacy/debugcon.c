/* SPDX-License-Identifier: MIT
 *
 * Debug console: no state and no flow control towards the guest; chardev_write_all() bounds how
 * long a slow host can hold it.
 */
#include "devices/legacy/debugcon.h"

enum { PRESENT = 0xe9 };

struct debugcon {
    struct chardev *chardev;
};

static u64 debugcon_read(void *self, u64 offset, unsigned size)
{
    (void)self;
    (void)offset;
    (void)size;
    return PRESENT;
}

static void debugcon_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct debugcon *s = self;
    u8 byte = (u8)value;

    (void)offset;
    (void)size;
    chardev_write_all(s->chardev, &byte, 1);
}

static enum status debugcon_init(void *self, const struct device_env *env, const void *config,
                                 struct error *err)
{
    struct debugcon *s = self;

    (void)env;
    (void)err;
    s->chardev = ((const struct debugcon_config *)config)->chardev;
    return ST_OK;
}

static void debugcon_reset(void *self)
{
    (void)self;
}

static const struct device_pio debugcon_pio[] = {
    {0xe9, 1, {debugcon_read, debugcon_write, SIZE_1}},
    {0x402, 1, {debugcon_read, debugcon_write, SIZE_1}},
    {0},
};

static const struct device_field debugcon_save[] = {{0}};

const struct device_type debugcon_type = {
    .name = "debugcon",
    .state_size = sizeof(struct debugcon),
    .pio = debugcon_pio,
    .init = debugcon_init,
    .reset = debugcon_reset,
    .save = debugcon_save,
};
