/* SPDX-License-Identifier: MIT
 *
 * isa-debug-exit. The value is the whole write (1, 2 or 4 bytes); the status is value * 2 + 1, so
 * that it is never 0, which stands for a normal power-off.
 */
#include "devices/legacy/debug_exit.h"

struct debug_exit {
    struct device_env env;
    struct debug_exit_config config;
};

static u64 debug_exit_read(void *self, u64 offset, unsigned size)
{
    (void)self;
    (void)offset;
    (void)size;
    return 0;
}

static void debug_exit_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct debug_exit *s = self;

    (void)offset;
    (void)size;
    s->config.exit(s->config.opaque, (int)((u32)value << 1 | 1));
}

static const struct io_ops debug_exit_ops = {debug_exit_read, debug_exit_write,
                                             SIZE_1 | SIZE_2 | SIZE_4};

static enum status debug_exit_init(void *self, const struct device_env *env, const void *config,
                                   struct error *err)
{
    struct debug_exit *s = self;
    const struct debug_exit_config *c = config;

    s->env = *env;
    s->config = *c;
    if (c->iosize < 1 || c->iosize > 4)
        return error_set(err, ST_INVALID, "isa-debug-exit: iosize=%u is not 1 to 4.", c->iosize);
    if (pio_claim(env->pio, c->iobase, c->iosize, &debug_exit_ops, s, "isa-debug-exit") != ST_OK)
        return error_set(err, ST_OVERLAP,
                         "isa-debug-exit: ports %#x to %#x are not free; choose another iobase.",
                         c->iobase, c->iobase + c->iosize - 1u);
    return ST_OK;
}

static void debug_exit_reset(void *self)
{
    (void)self;
}

static void debug_exit_fini(void *self)
{
    struct debug_exit *s = self;

    pio_release(s->env.pio, s->config.iobase, s);
}

static const struct device_field debug_exit_save[] = {{0}};

const struct device_type debug_exit_type = {
    .name = "isa-debug-exit",
    .state_size = sizeof(struct debug_exit),
    .init = debug_exit_init,
    .reset = debug_exit_reset,
    .fini = debug_exit_fini,
    .save = debug_exit_save,
};
