/* SPDX-License-Identifier: MIT
 *
 * Every device of the PC under any sequence of port and memory accesses, time, and outside input.
 *
 * An input is a list of operations, OP_SIZE bytes each: what, where, and a value.
 */
#include "tests/fuzz/board.h"

enum op {
    OP_OUT,
    OP_IN = 2,
    OP_STORE = 4,
    OP_LOAD = 6,
    OP_TIME = 8,
    OP_SERIAL,
    OP_KEY,
    OP_ACKNOWLEDGE,
    OP_MSR,
    OP_BUTTON,
    OP_PROCESSOR, /* whose local APIC the register page is */
    OP_RESET,
    OP_COUNT
};
enum { OP_SIZE = 8, OPS_MAX = 256 };

#define TIME_MAX_NS (1ull << 60) /* 36 years: more than any run */

/* Ports that somebody decodes: first and count. The PM and SMBus blocks are where SeaBIOS puts
 * them. */
static const struct {
    u16 first, count;
} ports[] = {{0x20, 2},   {0xa0, 2},  {0x4d0, 2}, {0x40, 4},  {0x61, 1},    {0x60, 5},
             {0x70, 2},   {0x92, 1},  {0xcf8, 8}, {0x3f8, 8}, {0xb2, 2},    {0x600, 0x40},
             {0x510, 12}, {0x402, 1}, {0xe9, 1},  {0xf0, 2},  {0x3d4, 2},   {0x3ba, 0x22},
             {0x700, 16}, {0xf4, 4},  {0, 0x20},  {0x80, 16}, {0xc0, 0x20}, {0xafe0, 0x20}};

static u16 port_of(unsigned where, unsigned offset)
{
    unsigned n = where % (ARRAY_SIZE(ports) + 1);

    return n < ARRAY_SIZE(ports) ? (u16)(ports[n].first + offset % ports[n].count) : (u16)offset;
}

static u64 address_of(unsigned where, unsigned offset)
{
    static const u64 bases[] = {0xfee00000, 0xfee00000, 0xfec00000, 0xa0000, 0xb8000, 0xc0000,
                                0xe0000,    0xf0000,    0xfffc0000, 0,       0x100000};
    unsigned n = where % (ARRAY_SIZE(bases) + 1);

    if (n == 0)
        return bases[n] + (offset & 0x3f) * 16; /* registers of the local APIC */
    return n < ARRAY_SIZE(bases) ? bases[n] + offset : (u64)offset << 20;
}

static void access_msr(struct board *b, unsigned offset, u64 value)
{
    static const u32 numbers[] = {0x1b, 0x6e0, 0x10, 0x3b};
    u32 msr = offset & 0x100 ? numbers[offset & 3] : 0x800 + (offset & 0xff);
    struct vcpu *v = b->m->processors[b->m->running].vcpu;

    if (offset & 0x200)
        msr_read(v, msr, &value);
    else
        msr_write(v, msr, value);
}

static void do_op(struct board *b, struct fuzz_input *in)
{
    unsigned what = (unsigned)fuzz_uint(in, 1), where = (unsigned)fuzz_uint(in, 1);
    unsigned offset = (unsigned)fuzz_uint(in, 2), size = 1u << (what >> 4 & 3);
    u64 value = fuzz_uint(in, 4);
    struct machine *m = b->m;
    struct processor *p = &m->processors[m->running];

    switch (what % OP_COUNT) {
    case OP_OUT:
    case OP_OUT + 1: pio_write(&m->pio, port_of(where, offset), value, size > 4 ? 1 : size); break;
    case OP_IN:
    case OP_IN + 1: pio_read(&m->pio, port_of(where, offset), size > 4 ? 1 : size); break;
    case OP_STORE:
    case OP_STORE + 1: physmap_write_uint(m->map, address_of(where, offset), value, size); break;
    case OP_LOAD:
    case OP_LOAD + 1: physmap_read_uint(m->map, address_of(where, offset), size); break;
    case OP_TIME:
        if (time_now(&m->time) < TIME_MAX_NS)
            board_advance(b, value << (where & 31));
        break;
    case OP_SERIAL: chardev_memory_feed(b->serial, &value, 1 + where % 4); break;
    case OP_KEY: i8042_key(m->parts[PART_I8042].self, value % KEY_COUNT, where & 1); break;
    case OP_ACKNOWLEDGE: m->vcpu_platform.intr_acknowledge(m->vcpu_platform.opaque, p->vcpu); break;
    case OP_MSR: access_msr(b, offset, value << (where & 32)); break;
    case OP_BUTTON: machine_power_button(m); break;
    case OP_PROCESSOR: m->running = where % m->processor_count; break;
    case OP_RESET: machine_request(m, REQUEST_RESET); break;
    }
    board_serve(b);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct board b;

    board_create(&b);
    for (unsigned n = 0; n < OPS_MAX && in.left; n++)
        do_op(&b, &in);
    board_advance(&b, NS_PER_SECOND);
    board_destroy(&b);
    return 0;
}

/* One seed per group of ports and of memory: a write and a read of each of the first registers at
 * each size, then time. */
size_t fuzz_seed(unsigned n, u8 *data, size_t capacity)
{
    size_t at = 0;

    if (n >= 2 * ARRAY_SIZE(ports))
        return 0;
    for (unsigned offset = 0; offset < 12 && at + 4 * OP_SIZE <= capacity; offset++) {
        u8 op = n & 1 ? OP_STORE : OP_OUT;
        const u8 size = (u8)((offset & 3) << 4);
        /* The size sits above the operation's number, so choose a byte with both. */
        const u8 operations[4] = {op, (u8)(op + 2), OP_TIME, OP_ACKNOWLEDGE};

        for (unsigned k = 0; k < 4; k++) {
            u8 what = operations[k];

            for (unsigned byte = 0; byte < 256; byte++)
                if (byte % OP_COUNT == operations[k] && (byte & 0x30) == size)
                    what = (u8)byte;
            data[at] = what;
            data[at + 1] = (u8)(k == 2 ? 8 : n / 2);
            store_le(data + at + 2, offset, 2);
            store_le(data + at + 4, 0x12345678u * (offset + 1), 4);
            at += OP_SIZE;
        }
    }
    return at;
}
