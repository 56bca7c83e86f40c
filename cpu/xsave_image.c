/* SPDX-License-Identifier: MIT
 *
 * State components as bytes: the x87 part of FXSAVE images and components 2-9 of XSAVE areas, at
 * the offsets of Intel's or AMD's processors with these components (SDM 1 13.4, 13.5; CPUID.0Dh).
 */
#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"

enum { AREA_EXTENDED = 576, AVX_BYTES = 256, ZMM_BYTES = 512, HI16_BYTES = 1024 };

static const struct component {
    u32 size, offset, amd_offset;
} components[] = {
    [0] = {160, 0, 0},
    [1] = {256, 160, 160},
    [2] = {AVX_BYTES, 576, 576},    /* YMM_H of 0-15 */
    [5] = {64, 1088, 832},          /* k0-k7 */
    [6] = {ZMM_BYTES, 1152, 896},   /* ZMM_H of 0-15 */
    [7] = {HI16_BYTES, 1664, 1408}, /* ZMM16-31 */
    [9] = {8, 2688, 2432},          /* PKRU */
};

bool xsave_component(const struct vcpu *v, unsigned component, u32 *offset, u32 *size)
{
    if (component < 2 || component >= ARRAY_SIZE(components) || !components[component].size)
        return false;
    *offset = vcpu_is_amd(v) ? components[component].amd_offset : components[component].offset;
    *size = components[component].size;
    return true;
}

u32 xsave_size(const struct vcpu *v, u64 set, bool compacted)
{
    u32 end = AREA_EXTENDED, offset, size;

    for (unsigned n = 2; n < ARRAY_SIZE(components); n++) {
        if (!(set >> n & 1) || !xsave_component(v, n, &offset, &size))
            continue;
        if (compacted)
            end += size;
        else if (offset + size > end)
            end = offset + size;
    }
    return end;
}

void fpu_save_x87(const struct fpu *fpu, u8 image[FX_X87_BYTES], bool wide)
{
    memcpy(image, fpu->fx, FX_MXCSR);
    if (!wide) {
        store_le(image + FX_FIP + 4, fpu->fcs, 4);
        store_le(image + FX_FDP + 4, fpu->fds, 4);
    }
    for (unsigned n = 0; n < 8; n++) {
        u8 *st = image + FX_ST + n * FX_SLOT;

        memset(st, 0, FX_SLOT);
        memcpy(st, fpu->fx + FX_ST + n * FX_SLOT, ST_BYTES);
    }
}

static u64 pointer(u64 value)
{
    return (u64)((i64)(value << 7) >> 7);
}

void fpu_load_x87(struct fpu *fpu, const u8 image[FX_X87_BYTES], bool wide)
{
    unsigned bytes = wide ? 8 : 4;

    fpu_set_words(fpu, (unsigned)load_le(image + FX_FCW, 2), (unsigned)load_le(image + FX_FSW, 2));
    fpu->fx[FX_FTW] = image[FX_FTW];
    store_le(fpu->fx + FX_FOP, load_le(image + FX_FOP, 2) & 0x7ff, 2);
    /* Pointers are kept as linear addresses of 57 bits (Zen 4; on Zen 3 of 48). */
    store_le(fpu->fx + FX_FIP, pointer(load_le(image + FX_FIP, bytes)), 8);
    store_le(fpu->fx + FX_FDP, pointer(load_le(image + FX_FDP, bytes)), 8);
    fpu->fcs = wide ? 0 : (u16)load_le(image + FX_FIP + 4, 2);
    fpu->fds = wide ? 0 : (u16)load_le(image + FX_FDP + 4, 2);
    for (unsigned n = 0; n < 8; n++)
        memcpy(fpu->fx + FX_ST + n * FX_SLOT, image + FX_ST + n * FX_SLOT, ST_BYTES);
}

/* -- components 2-9 -- */

/* Rows first..last of which part bytes at offset at are the component; count is 0 if no register of
 * it counts. all: not only those that code outside 64-bit mode can name. */
struct vector_part {
    unsigned first, count, at, bytes;
};

static bool vector_part(unsigned component, bool all, struct vector_part *part)
{
    unsigned low = all ? 16 : 8;

    switch (component) {
    case 2: *part = (struct vector_part){0, low, 16, 16}; return true;
    case 6: *part = (struct vector_part){0, low, 32, 32}; return true;
    case 7: *part = (struct vector_part){16, all ? 16 : 0, 0, 64}; return true;
    default: return false;
    }
}

static u32 get_component(const struct vcpu *v, unsigned component, u8 image[1024], bool all)
{
    struct vector_part part;

    if (vector_part(component, all, &part)) {
        for (unsigned n = 0; n < part.count; n++)
            memcpy(image + n * part.bytes, v->fpu.zmm[part.first + n] + part.at, part.bytes);
        return part.count * part.bytes;
    }
    if (component == 5) {
        memcpy(image, v->fpu.k, sizeof(v->fpu.k));
        return sizeof(v->fpu.k);
    }
    store_le(image, v->pkru, 8);
    return 8;
}

u32 xsave_get(const struct vcpu *v, unsigned component, u8 image[1024])
{
    return get_component(v, component, image, vcpu_64bit(v));
}

void xsave_put(struct vcpu *v, unsigned component, const u8 *image)
{
    struct vector_part part;

    if (vector_part(component, vcpu_64bit(v), &part)) {
        for (unsigned n = 0; n < part.count; n++) {
            u8 *row = v->fpu.zmm[part.first + n] + part.at;

            if (image)
                memcpy(row, image + n * part.bytes, part.bytes);
            else
                memset(row, 0, part.bytes);
        }
    } else if (component == 5) {
        for (unsigned n = 0; n < 8; n++)
            v->fpu.k[n] = image ? load_le(image + 8 * n, 8) : 0;
    } else {
        control_write_pkru(v, image ? (u32)load_le(image, 4) : 0);
    }
}

/* Whether a byte is not 0. By eight, as kernels save state with every switch. */
static bool any_byte(const u8 *bytes, size_t count)
{
    u64 any = 0;
    size_t n = 0;

    for (; n + 8 <= count; n += 8)
        any |= load_le(bytes + n, 8);
    for (; n < count; n++)
        any |= bytes[n];
    return any;
}

static bool x87_in_use(const struct fpu *fpu)
{
    if (fpu_fcw(fpu) != FCW_INIT || any_byte(fpu->fx + FX_FSW, FX_MXCSR - FX_FSW) || fpu->fcs ||
        fpu->fds)
        return true;
    for (unsigned n = 0; n < 8; n++)
        if (any_byte(fpu->fx + FX_ST + n * FX_SLOT, ST_BYTES))
            return true;
    return false;
}

u64 xsave_inuse(const struct vcpu *v)
{
    /* Registers that the mode cannot name count on AMD's processors. */
    const bool all = vcpu_64bit(v) || vcpu_is_amd(v);
    u64 inuse = x87_in_use(&v->fpu) ? XCR0_X87 : 0;
    const u64 offered = v->model->xcr0_supported; /* no other component is ever asked for */
    u8 image[HI16_BYTES];

    for (unsigned n = 0; n < (all ? 16u : 8u); n++)
        if (any_byte(v->fpu.zmm[n], 16))
            inuse |= XCR0_SSE;
    for (unsigned n = 2; n < ARRAY_SIZE(components); n++)
        if ((offered >> n & 1) && any_byte(image, get_component(v, n, image, all)))
            inuse |= BIT(n);
    return inuse;
}
