/* SPDX-License-Identifier: MIT
 *
 * pc-testdev; see testdev.h. There is no data sheet: test kernels are.
 */
#include "devices/legacy/testdev.h"

#include <string.h>

#include "mem/base/bits.h"

struct testdev {
    struct device_env env;
    unsigned region;
    bool mapped;
    u8 ports[4];
    u8 lines[TESTDEV_LINE_COUNT];
    u8 memory[PAGE_SIZE];
};

/* Accesses that would run over the end see the bytes that are there. */
static u64 bytes_read(const u8 *bytes, u64 count, u64 offset, unsigned size)
{
    u64 value = 0;

    for (unsigned n = 0; n < size && offset + n < count; n++)
        value |= (u64)bytes[offset + n] << n * 8;
    return value;
}

static void bytes_write(u8 *bytes, u64 count, u64 offset, u64 value, unsigned size)
{
    for (unsigned n = 0; n < size && offset + n < count; n++)
        bytes[offset + n] = (u8)(value >> n * 8);
}

static u64 ports_read(void *self, u64 offset, unsigned size)
{
    const struct testdev *s = self;

    return bytes_read(s->ports, sizeof(s->ports), offset, size);
}

static void ports_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct testdev *s = self;

    bytes_write(s->ports, sizeof(s->ports), offset, value, size);
}

static u64 line_read(void *self, u64 offset, unsigned size)
{
    const struct testdev *s = self;

    return bytes_read(s->lines, sizeof(s->lines), offset, size);
}

/* The port tells the line, whatever the width of the value. */
static void line_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct testdev *s = self;

    (void)size;
    s->lines[offset] = value != 0;
    device_irq_set(&s->env, (unsigned)offset, value != 0);
}

static u64 memory_read(void *self, u64 offset, unsigned size)
{
    const struct testdev *s = self;

    return bytes_read(s->memory, sizeof(s->memory), offset, size);
}

static void memory_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct testdev *s = self;

    bytes_write(s->memory, sizeof(s->memory), offset, value, size);
}

static const struct io_ops memory_ops = {memory_read, memory_write, SIZE_ANY};

static enum status testdev_init(void *self, const struct device_env *env, const void *config,
                                struct error *err)
{
    struct testdev *s = self;
    const struct region region = {
        .name = "pc-testdev",
        .kind = REGION_MMIO,
        .access = REGION_RW,
        .base = TESTDEV_MMIO_BASE,
        .size = PAGE_SIZE,
        .priority = PRIO_MMIO,
        .ops = &memory_ops,
        .self = s,
    };

    (void)config;
    s->env = *env;
    if (physmap_add(env->map, &region, &s->region) != ST_OK)
        return error_set(err, ST_OVERLAP, "pc-testdev: its page at 0xff000000 is not free.");
    s->mapped = true;
    return ST_OK;
}

static void testdev_reset(void *self)
{
    struct testdev *s = self;

    memset(s->ports, 0, sizeof(s->ports));
    memset(s->memory, 0, sizeof(s->memory));
    for (unsigned n = 0; n < TESTDEV_LINE_COUNT; n++) {
        s->lines[n] = 0;
        device_irq_set(&s->env, n, false);
    }
}

static void testdev_fini(void *self)
{
    struct testdev *s = self;

    if (s->mapped)
        physmap_remove(s->env.map, s->region);
}

static const struct device_pio testdev_pio[] = {
    {TESTDEV_PORTS, 4, {ports_read, ports_write, SIZE_1 | SIZE_2 | SIZE_4}},
    {TESTDEV_BYTE_PORTS, 4, {ports_read, ports_write, SIZE_1}},
    {TESTDEV_LINES, TESTDEV_LINE_COUNT, {line_read, line_write, SIZE_1 | SIZE_2 | SIZE_4}},
    {0, 0, {NULL, NULL, 0}},
};

static const struct device_field testdev_fields[] = {
    DEVICE_FIELD(testdev, ports), DEVICE_FIELD(testdev, lines), DEVICE_FIELD(testdev, memory), {0}};

const struct device_type testdev_type = {
    .name = "pc-testdev",
    .state_size = sizeof(struct testdev),
    .irq_pins = TESTDEV_LINE_COUNT,
    .pio = testdev_pio,
    .init = testdev_init,
    .reset = testdev_reset,
    .fini = testdev_fini,
    .save = testdev_fields,
};
