/* SPDX-License-Identifier: MIT
 *
 * Port 92h (PIIX4 datasheet 4.2.8.4): bit 0 pulses INIT on its rising edge, bit 1 is FAST_A20. A20
 * is open when this bit or the keyboard controller's gate says so, as the chip set ORs them.
 */
#include "devices/legacy/port92.h"

enum { FAST_INIT = 0x01, FAST_A20 = 0x02 };

struct port92 {
    struct device_env env;
    u8 value;
    bool keyboard_a20;
};

static void update_a20(struct port92 *s)
{
    bool enabled = (s->value & FAST_A20) || s->keyboard_a20;

    if (physmap_a20(s->env.map) != enabled)
        physmap_set_a20(s->env.map, enabled);
}

void port92_set_a20(void *self, unsigned pin, bool level)
{
    struct port92 *s = self;

    (void)pin;
    s->keyboard_a20 = level;
    update_a20(s);
}

static u64 port92_read(void *self, u64 offset, unsigned size)
{
    (void)offset;
    (void)size;
    return ((struct port92 *)self)->value;
}

static void port92_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct port92 *s = self;
    bool reset = (value & FAST_INIT) && !(s->value & FAST_INIT);

    (void)offset;
    (void)size;
    s->value = value & (FAST_INIT | FAST_A20);
    update_a20(s);
    if (reset)
        device_irq_pulse(&s->env, PORT92_PIN_RESET);
}

static const struct device_pio port92_pio[] = {
    {0x92, 1, {port92_read, port92_write, SIZE_1}},
    {0},
};

static enum status port92_init(void *self, const struct device_env *env, const void *config,
                               struct error *err)
{
    struct port92 *s = self;

    (void)config;
    (void)err;
    s->env = *env;
    return ST_OK;
}

/* A20 is open after reset: the keyboard controller's output pins float high. */
static void port92_reset(void *self)
{
    struct port92 *s = self;

    s->value = 0;
    s->keyboard_a20 = true;
    update_a20(s);
}

static const struct device_field port92_save[] = {
    DEVICE_FIELD(port92, value),
    DEVICE_FIELD(port92, keyboard_a20),
    {0},
};

const struct device_type port92_type = {
    .name = "port92",
    .state_size = sizeof(struct port92),
    .irq_pins = 1,
    .pio = port92_pio,
    .init = port92_init,
    .reset = port92_reset,
    .save = port92_save,
};
