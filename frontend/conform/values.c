/* SPDX-License-Identifier: MIT
 *
 * Interesting values: the edges of integers of every width, and floating-point numbers of every
 * class, next to random ones.
 */
#include "frontend/conform/generate_internal.h"

u64 value_int(struct rng *r)
{
    u64 x = rng_next(r);
    unsigned n = x >> 8 & 63;

    switch (x & 15) {
    case 0: return 0;
    case 1: return 1;
    case 2: return ~0ull;
    case 3:
    case 4: return BIT(n);
    case 5: return BIT(n) - 1;
    case 6: return ~BIT(n);
    case 7: {
        unsigned width = 8u << (n & 3); /* the sign edges of 8, 16, 32 and 64 bits */

        return (BIT(width - 1) + (x >> 32) % 3) - 1;
    }
    case 8: return n;
    case 9: return 0 - (u64)n;
    case 10: return (u64)(i64)(int)(x >> 32);
    default: return rng_next(r);
    }
}

static u64 value_f64(struct rng *r)
{
    static const u64 values[] = {
        0,
        0x3ff0000000000000, /* 1 */
        0x7ff0000000000000, /* infinity */
        0x7ff8000000000000, /* quiet NaN */
        0x7ff8000000000123,
        0x7ff0000000000001, /* signalling NaN */
        0x7ff4000000000000,
        1, /* denormals */
        0x000fffffffffffff,
        0x0008000000000000,
        0x0010000000000000, /* smallest normal */
        0x7fefffffffffffff, /* largest */
        0x41dfffffffc00000, /* 2^31 - 1 */
        0x41e0000000000000, /* 2^31 */
        0x41efffffffe00000, /* 2^32 - 1 */
        0x41f0000000000000,
        0x43e0000000000000, /* 2^63 */
        0x43dfffffffffffff,
        0x43f0000000000000, /* 2^64 */
        0x3fe0000000000000, /* 0.5, 1.5, 2.5: halfway to integers */
        0x3ff8000000000000,
        0x4004000000000000,
        0x3fdfffffffffffff,
        0x3ca0000000000000, /* 2^-53: halfway in 1 + x */
        0x3cb0000000000000,
        0x47efffffe0000000, /* largest single, and halfway beyond */
        0x47effffff0000000,
        0x3810000000000000, /* smallest normal single, half the smallest single */
        0x3690000000000000,
        0x36a0000000000000,
        0x3ff0000010000000, /* halfway between two singles */
    };
    u64 x = rng_next(r), sign = x & BIT(63);

    switch (x & 7) {
    case 0:
    case 1:
    case 2: return values[(x >> 8) % ARRAY_SIZE(values)] | sign;
    case 3: return rng_next(r);
    case 4: return sign | (0x3ffull - 8 + (x >> 8 & 15)) << 52 | (x >> 12 & 0xfffffull) << 32;
    default: return sign | (0x3ffull - 32 + (x >> 8 & 63)) << 52 | (rng_next(r) >> 12);
    }
}

static u32 value_f32(struct rng *r)
{
    static const u32 values[] = {
        0,          0x3f800000, 0x7f800000, 0x7fc00000, 0x7fc00123, 0x7f800001, 0x7fa00000,
        1,          0x007fffff, 0x00400000, 0x00800000, 0x7f7fffff, 0x4effffff, 0x4f000000,
        0x4f7fffff, 0x4f800000, 0x5f000000, 0x5effffff, 0x5f800000, 0x3f000000, 0x3fc00000,
        0x40200000, 0x3effffff, 0x33800000, 0x34000000, 0x477fe000, 0x477ff000, 0x38800000,
        0x33000000, 0x3f801000, 0x3f808000,
    };
    u64 x = rng_next(r);
    u32 sign = (u32)(x >> 32) & 0x80000000u;

    switch (x & 7) {
    case 0:
    case 1:
    case 2: return values[(x >> 8) % ARRAY_SIZE(values)] | sign;
    case 3: return (u32)(x >> 32);
    case 4: return sign | (u32)(127 - 8 + (x >> 8 & 15)) << 23 | (u32)(x >> 12 & 0xff) << 15;
    default: return sign | (u32)(127 - 16 + (x >> 8 & 31)) << 23 | (u32)(x >> 40 & 0x7fffff);
    }
}

static u16 value_f16(struct rng *r)
{
    static const u16 values[] = {0,      0x3c00, 0x7c00, 0x7e00, 0x7c01, 0x7d00, 1,
                                 0x03ff, 0x0400, 0x7bff, 0x3800, 0x3e00, 0x4100};
    u64 x = rng_next(r);

    if (x & 1)
        return (u16)(values[(x >> 8) % ARRAY_SIZE(values)] | (x >> 48 & 0x8000));
    return (u16)(x >> 16);
}

void value_fill(struct rng *r, enum value_kind kind, u8 *bytes, unsigned size)
{
    for (unsigned at = 0; at < size;) {
        unsigned left = size - at, width = 8;
        u64 value;

        switch (kind) {
        case KIND_F32:
            value = value_f32(r);
            width = 4;
            break;
        case KIND_F64: value = value_f64(r); break;
        case KIND_F16:
            value = value_f16(r);
            width = 2;
            break;
        case KIND_BF16:
            value = value_f32(r) >> 16;
            width = 2;
            break;
        case KIND_INT: value = value_int(r); break;
        default: value = rng_next(r); break;
        }
        memcpy(bytes + at, &value, left < width ? left : width);
        at += width;
    }
}

enum value_kind value_kind_of(const struct build *b, struct rng *r)
{
    unsigned kinds = b->g->rows[b->form->row].kinds, start = rng_below(r, KIND_COUNT);

    for (unsigned n = 0; n < KIND_COUNT; n++) {
        unsigned kind = (start + n) % KIND_COUNT;

        if (kinds >> kind & 1)
            return (enum value_kind)kind;
    }
    return KIND_RANDOM;
}

void value_f80(struct rng *r, u8 *bytes)
{
    static const u16 exponents[] = {0,      1,      0x3ffe, 0x3fff, 0x4000, 0x401e, 0x403e, 0x403d,
                                    0x7ffe, 0x7fff, 0x3c00, 0x43ff, 0x3f80, 0x407f, 0x3fbf, 0x3f69};
    static const u64 mantissas[] = {
        0,       1,     BIT(63),     BIT(63) | BIT(62), BIT(63) | 1, BIT(63) | BIT(10),
        BIT(62), ~0ull, ~0ull << 11, ~0ull << 40,       BIT(61),     BIT(63) | BIT(39)};
    u64 x = rng_next(r);
    u64 mantissa = x & 3 ? rng_next(r) | BIT(63) : mantissas[(x >> 32) % ARRAY_SIZE(mantissas)];
    unsigned exponent =
        x & 4 ? 0x3fc0u + (x >> 8 & 0x7f) : exponents[(x >> 8) % ARRAY_SIZE(exponents)];

    if ((x >> 16 & 15) == 0)
        exponent = 0, mantissa = 0;
    if ((x >> 16 & 31) == 1)
        mantissa &= ~BIT(63); /* unnormal, pseudo-NaN, pseudo-infinity or denormal */
    if ((x >> 16 & 15) == 2)
        mantissa &= ~0ull << (x >> 24 & 63); /* a short number, often an integer */
    store_le(bytes, mantissa, 8);
    store_le(bytes + 8, exponent | (unsigned)(x >> 48 & 0x8000), 2);
}

u16 value_selector(struct rng *r)
{
    static const u16 selectors[] = {
        SEL_CS64,
        SEL_CS32,
        SEL_FLAT,
        SEL_CODE16,
        SEL_DATA16,
        SEL_STACK16,
        SEL_CODE32,
        SEL_DATA_RO,
        SEL_DATA_DOWN,
        SEL_ABSENT,
        SEL_CODE_XO,
        SEL_CODE_CONF,
        SEL_FLAT,
        SEL_DATA16,
        0,
        3,
        1,
        2,
        SEL_CODE_CONF,
    };
    u16 selector = selectors[rng_below(r, ARRAY_SIZE(selectors))];

    switch (rng_below(r, 12)) {
    case 0: return (u16)(selector & ~3u) | (u16)rng_below(r, 4); /* another RPL */
    case 1: return (u16)(0x1007 + 8 * rng_below(r, 8));          /* beyond the LDT's limit */
    default: return selector;
    }
}
