/* SPDX-License-Identifier: MIT */
#include "bios/aml.h"

#include <string.h>

#include "mem/base/log.h"

/* Opcodes that only this file needs (ACPI 6.3 table 20-451). */
enum aml_byte {
    ZERO_OP = 0x00,
    ONE_OP = 0x01,
    NAME_OP = 0x08,
    BYTE_PREFIX = 0x0a,
    WORD_PREFIX = 0x0b,
    DWORD_PREFIX = 0x0c,
    STRING_PREFIX = 0x0d,
    QWORD_PREFIX = 0x0e,
    SCOPE_OP = 0x10,
    BUFFER_OP = 0x11,
    PACKAGE_OP = 0x12,
    METHOD_OP = 0x14,
    DUAL_NAME_PREFIX = 0x2e,
    MULTI_NAME_PREFIX = 0x2f,
    EXT_OP_PREFIX = 0x5b,
    REGION_OP = 0x80, /* after EXT_OP_PREFIX, as the next two */
    FIELD_OP = 0x81,
    DEVICE_OP = 0x82,
    CREATE_DWORD_FIELD_OP = 0x8a,
    IF_OP = 0xa0,
};

void aml_op(struct blob *out, enum aml_op op)
{
    blob_uint(out, op, 1);
}

/* One name segment, padded to four characters with underscores (section 20.2.2). */
static void name_segment(struct blob *out, const char *segment, size_t length)
{
    char padded[4] = {'_', '_', '_', '_'};

    check(length >= 1 && length <= 4, "AML name segment of %zu characters", length);
    memcpy(padded, segment, length);
    blob_bytes(out, padded, sizeof(padded));
}

void aml_name(struct blob *out, const char *name)
{
    unsigned segments = 1;

    while (*name == '\\' || *name == '^')
        blob_uint(out, (u8)*name++, 1);
    if (!*name) {
        blob_uint(out, ZERO_OP, 1); /* NullName */
        return;
    }
    for (const char *p = name; *p; p++)
        segments += *p == '.';
    if (segments == 2)
        blob_uint(out, DUAL_NAME_PREFIX, 1);
    if (segments > 2) {
        blob_uint(out, MULTI_NAME_PREFIX, 1);
        blob_uint(out, segments, 1);
    }
    for (unsigned i = 0; i < segments; i++) {
        size_t length = strcspn(name, ".");

        name_segment(out, name, length);
        name += length + (name[length] == '.');
    }
}

void aml_int(struct blob *out, u64 value)
{
    if (value <= 1) {
        blob_uint(out, value ? ONE_OP : ZERO_OP, 1);
    } else if (value <= UINT8_MAX) {
        blob_uint(out, BYTE_PREFIX, 1);
        blob_uint(out, value, 1);
    } else if (value <= UINT16_MAX) {
        blob_uint(out, WORD_PREFIX, 1);
        blob_uint(out, value, 2);
    } else if (value <= UINT32_MAX) {
        blob_uint(out, DWORD_PREFIX, 1);
        blob_uint(out, value, 4);
    } else {
        blob_uint(out, QWORD_PREFIX, 1);
        blob_uint(out, value, 8);
    }
}

void aml_string(struct blob *out, const char *text)
{
    blob_uint(out, STRING_PREFIX, 1);
    blob_string(out, text);
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Three letters of five bits and four hexadecimal digits, most significant byte first
 * (ACPI 6.3 section 19.3.4). */
void aml_eisaid(struct blob *out, const char *id)
{
    u32 value = 0;

    check(strlen(id) == 7, "EISA id %s", id);
    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (unsigned)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | hex_digit(id[i]);
    blob_uint(out, DWORD_PREFIX, 1);
    blob_uint(out, __builtin_bswap32(value), 4);
}

void aml_def_name(struct blob *out, const char *name)
{
    blob_uint(out, NAME_OP, 1);
    aml_name(out, name);
}

void aml_def_name_int(struct blob *out, const char *name, u64 value)
{
    aml_def_name(out, name);
    aml_int(out, value);
}

u64 aml_begin_scope(struct blob *out, const char *name)
{
    u64 mark;

    blob_uint(out, SCOPE_OP, 1);
    mark = out->size;
    aml_name(out, name);
    return mark;
}

u64 aml_begin_device(struct blob *out, const char *name)
{
    u64 mark;

    blob_uint(out, EXT_OP_PREFIX, 1);
    blob_uint(out, DEVICE_OP, 1);
    mark = out->size;
    aml_name(out, name);
    return mark;
}

u64 aml_begin_method(struct blob *out, const char *name, unsigned args, bool serialized)
{
    u64 mark;

    blob_uint(out, METHOD_OP, 1);
    mark = out->size;
    aml_name(out, name);
    blob_uint(out, args | (serialized ? 8u : 0u), 1);
    return mark;
}

u64 aml_begin_package(struct blob *out, unsigned count)
{
    u64 mark;

    check(count <= UINT8_MAX, "AML package of %u elements", count);
    blob_uint(out, PACKAGE_OP, 1);
    mark = out->size;
    blob_uint(out, count, 1);
    return mark;
}

u64 aml_begin_if(struct blob *out)
{
    blob_uint(out, IF_OP, 1);
    return out->size;
}

u64 aml_begin_field(struct blob *out, const char *region, enum aml_field_access access)
{
    u64 mark;

    blob_uint(out, EXT_OP_PREFIX, 1);
    blob_uint(out, FIELD_OP, 1);
    mark = out->size;
    aml_name(out, region);
    blob_uint(out, access, 1); /* NoLock, Preserve */
    return mark;
}

/* The package length counts itself, so its own size depends on the result (section 20.2.4): one
 * byte up to 63, else four bits in the first byte and one to three more. */
void aml_end(struct blob *out, u64 mark)
{
    u64 length = out->size - mark;
    u8 bytes[4];
    unsigned size = 1;

    if (length + 1 <= 0x3f) {
        bytes[0] = (u8)(length + 1);
    } else {
        size = length + 2 < BIT(12) ? 2 : length + 3 < BIT(20) ? 3 : 4;
        length += size;
        check(length < BIT(28), "AML block too long");
        bytes[0] = (u8)((size - 1) << 6 | (length & 0xf));
        for (unsigned i = 1; i < size; i++)
            bytes[i] = (u8)(length >> (8 * i - 4));
    }
    blob_insert(out, mark, bytes, size);
}

void aml_region(struct blob *out, const char *name, enum aml_region_space space, u64 base, u64 size)
{
    blob_uint(out, EXT_OP_PREFIX, 1);
    blob_uint(out, REGION_OP, 1);
    aml_name(out, name);
    blob_uint(out, space, 1);
    aml_int(out, base);
    aml_int(out, size);
}

void aml_field_unit(struct blob *out, const char *name, unsigned bits)
{
    check(bits >= 1 && bits <= 0x3f, "AML field of %u bits", bits);
    name_segment(out, name, strlen(name));
    blob_uint(out, bits, 1);
}

void aml_create_dword_field(struct blob *out, u64 byte_offset, const char *name, enum aml_op source)
{
    blob_uint(out, CREATE_DWORD_FIELD_OP, 1);
    aml_op(out, source);
    aml_int(out, byte_offset);
    name_segment(out, name, strlen(name));
}

/* Small descriptors (section 6.4.2): tag byte with the length in its low bits. */
void aml_res_io(struct blob *res, u16 base, u8 size)
{
    blob_uint(res, 0x47, 1);
    blob_uint(res, 1, 1); /* decodes 16 address bits */
    blob_uint(res, base, 2);
    blob_uint(res, base, 2);
    blob_uint(res, 1, 1);
    blob_uint(res, size, 1);
}

void aml_res_irq(struct blob *res, unsigned irq)
{
    blob_uint(res, 0x22, 1); /* without flags: edge, active high, exclusive */
    blob_uint(res, BIT(irq), 2);
}

void aml_res_dma(struct blob *res, unsigned channel)
{
    blob_uint(res, 0x2a, 1);
    blob_uint(res, BIT(channel), 1);
    blob_uint(res, 0, 1); /* compatibility timing, not a bus master, 8 bits */
}

/* Large descriptors (section 6.4.3): tag, 16-bit length of what follows. */
void aml_res_interrupts(struct blob *res, u8 flags, const u32 *irqs, unsigned count)
{
    blob_uint(res, 0x89, 1);
    blob_uint(res, 2 + 4 * count, 2);
    blob_uint(res, flags, 1);
    blob_uint(res, count, 1);
    for (unsigned i = 0; i < count; i++)
        blob_uint(res, irqs[i], 4);
}

void aml_res_memory32(struct blob *res, u32 base, u32 size, bool writable)
{
    blob_uint(res, 0x86, 1);
    blob_uint(res, 9, 2);
    blob_uint(res, writable, 1);
    blob_uint(res, base, 4);
    blob_uint(res, size, 4);
}

enum window_type { WINDOW_MEMORY = 0, WINDOW_IO = 1, WINDOW_BUS = 2 };

/* An address space descriptor (section 6.4.3.5): producer, positive decode, both ends fixed; five
 * values of size bytes each: granularity, minimum, maximum, translation, length. */
static void res_window(struct blob *res, enum window_type type, u8 type_flags, unsigned size,
                       struct aml_window window)
{
    static const u8 tags[] = {[2] = 0x88, [4] = 0x87, [8] = 0x8a};

    blob_uint(res, tags[size], 1);
    blob_uint(res, 3 + 5 * size, 2);
    blob_uint(res, type, 1);
    blob_uint(res, 0x0c, 1); /* _MAF and _MIF */
    blob_uint(res, type_flags, 1);
    blob_uint(res, 0, size);
    blob_uint(res, window.min, size);
    blob_uint(res, window.max, size);
    blob_uint(res, 0, size);
    blob_uint(res, window.max - window.min + 1, size);
}

void aml_res_bus_window(struct blob *res, struct aml_window window)
{
    res_window(res, WINDOW_BUS, 0, 2, window);
}

void aml_res_io_window(struct blob *res, struct aml_window window)
{
    res_window(res, WINDOW_IO, 3, 2, window); /* the entire range, not ISA ranges only */
}

void aml_res_memory_window32(struct blob *res, struct aml_window window)
{
    res_window(res, WINDOW_MEMORY, 1, 4, window); /* read-write, not cacheable */
}

void aml_res_memory_window64(struct blob *res, struct aml_window window)
{
    res_window(res, WINDOW_MEMORY, 1, 8, window);
}

void aml_res_end(struct blob *out, struct blob *res)
{
    u64 mark;

    blob_uint(res, 0x79, 1); /* end tag; checksum 0 counts as right */
    blob_uint(res, 0, 1);
    blob_uint(out, BUFFER_OP, 1);
    mark = out->size;
    aml_int(out, res->size);
    blob_bytes(out, res->data, res->size);
    out->failed |= res->failed;
    aml_end(out, mark);
    blob_fini(res);
}
