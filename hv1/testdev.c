/* SPDX-License-Identifier: MIT
 *
 * hyperv-testdev: one 32-bit port at 3000h, written by test kernels to make SINT routes, message
 * and event connections: connection << 24 | operation << 16 | processor << 8 | SINT.
 */
#include "hv1/internal.h"

enum { TESTDEV_PORT = 0x3000, TESTDEV_SIZE = 4 };

enum operation {
    ROUTE_CREATE = 1,
    ROUTE_DESTROY,
    ROUTE_SET_SINT,
    MESSAGE_CREATE,
    MESSAGE_DESTROY,
    EVENT_CREATE,
    EVENT_DESTROY,
};

struct testdev {
    struct device_env env;
    struct hv1 *hv1;
};

static void connect(struct hv1 *h, u32 value, enum connection_kind kind)
{
    h->connections[value >> 24] =
        (struct connection){.kind = (u8)kind, .vp = (u8)(value >> 8), .sint = value & 0xf};
}

static void testdev_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct testdev *d = self;
    struct hv1 *h = d->hv1;
    u8 vp = (u8)(value >> 8), sint = (u8)value;

    (void)offset, (void)size;
    if (vp >= h->config.cpus || sint >= HV_SINTS) {
        log_guest(d->env.log, "hyperv-testdev: no processor %u or SINT %u", vp, sint);
        return;
    }
    switch ((enum operation)(value >> 16 & 0xff)) {
    case ROUTE_CREATE:
    case ROUTE_DESTROY: break; /* a SINT needs no route here: it is one */
    case ROUTE_SET_SINT: synic_raise(&h->vps[vp], sint); break;
    case MESSAGE_CREATE: connect(h, (u32)value, CONNECTION_MESSAGE); break;
    case EVENT_CREATE: connect(h, (u32)value, CONNECTION_EVENT); break;
    case MESSAGE_DESTROY:
    case EVENT_DESTROY: connect(h, (u32)value, CONNECTION_NONE); break;
    }
}

static const struct io_ops testdev_ops = {NULL, testdev_write, SIZE_4};

static enum status testdev_init(void *self, const struct device_env *env, const void *config,
                                struct error *err)
{
    struct testdev *d = self;

    d->env = *env;
    d->hv1 = *(struct hv1 *const *)config;
    if (pio_claim(env->pio, TESTDEV_PORT, TESTDEV_SIZE, &testdev_ops, d, "hyperv-testdev"))
        return error_set(
            err, ST_OVERLAP,
            "hyperv-testdev: ports 0x3000 to 0x3003 are not free; take the device that "
            "uses them away.");
    return ST_OK;
}

static void testdev_reset(void *self)
{
    struct testdev *d = self;

    for (unsigned n = 0; n < CONNECTIONS; n++)
        d->hv1->connections[n] = (struct connection){0};
}

static void testdev_fini(void *self)
{
    struct testdev *d = self;

    pio_release(d->env.pio, TESTDEV_PORT, d);
}

static const struct device_field testdev_save[] = {{0}};

const struct device_type hv1_testdev_type = {
    .name = "hyperv-testdev",
    .state_size = sizeof(struct testdev),
    .init = testdev_init,
    .reset = testdev_reset,
    .fini = testdev_fini,
    .save = testdev_save,
};
