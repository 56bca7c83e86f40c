/* SPDX-License-Identifier: MIT
 *
 * The VGA as far as text needs it (IBM VGA/XGA Technical Reference, chapter 2): all registers,
 * retrace timing from the CRTC, and video memory in the two shapes text software uses. In odd/even
 * addressing the window is the interleaved character and attribute memory; in planar addressing
 * (font loads) it is other memory, so that a font never lands in the text. Nothing is drawn from
 * planar memory here.
 *
 * Invariant: window offset n is cell n / 2 of the CRTC's address space, wherever the window lies.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/display/cp437.h"
#include "devices/display/text.h"

enum { CRTC_COUNT = 0x19, SEQUENCER_COUNT = 5, GRAPHICS_COUNT = 9, ATTRIBUTE_COUNT = 0x15 };
enum { DAC_SIZE = 768 };
enum { MISC_COLOUR = 0x01, MISC_RAM = 0x02, MISC_CLOCK = 0x0c };
enum { SEQ_CLOCKING = 1, SEQ_MEMORY = 4, CLOCKING_8_DOTS = 0x01, CLOCKING_HALF = 0x08 };
enum { MEMORY_SEQUENTIAL = 0x04 };
enum { GRAPHICS_MISC = 6, GRAPHICS_MODE = 0x01 };
enum { ATTRIBUTE_PALETTE_COUNT = 16, ATTRIBUTE_PAS = 0x20 };
enum { STATUS1_BLANK = 0x01, STATUS1_RETRACE = 0x08 };

enum crtc {
    CRTC_H_TOTAL = 0x00,
    CRTC_H_DISPLAY_END = 0x01,
    CRTC_V_TOTAL = 0x06,
    CRTC_OVERFLOW = 0x07,
    CRTC_MAX_SCAN_LINE = 0x09,
    CRTC_CURSOR_START = 0x0a,
    CRTC_START_HIGH = 0x0c,
    CRTC_START_LOW = 0x0d,
    CRTC_CURSOR_HIGH = 0x0e,
    CRTC_CURSOR_LOW = 0x0f,
    CRTC_RETRACE_START = 0x10,
    CRTC_RETRACE_END = 0x11,
    CRTC_V_DISPLAY_END = 0x12,
    CRTC_OFFSET = 0x13,
    CRTC_LINE_COMPARE = 0x18,
};
enum { RETRACE_END_PROTECT = 0x80, OVERFLOW_LINE_COMPARE = 0x10, CURSOR_OFF = 0x20 };

/* Both shapes of video memory, as large as the largest window. */
enum { MEMORY_SIZE = 0x20000, LEGACY_BASE = 0xa0000, TEXT_CELLS = MEMORY_SIZE / 2 };
static_assert((MEMORY_SIZE & (MEMORY_SIZE - 1)) == 0, "a reset fills it by doubling");

struct text_screen {
    struct device_env env;
    u8 *text;   /* MEMORY_SIZE bytes: character, attribute, character, ... */
    u8 *planar; /* MEMORY_SIZE bytes */
    unsigned window_id, hole_id;
    bool window_mapped;
    u8 misc;
    u8 feature;
    u8 crtc_index, sequencer_index, graphics_index, attribute_index;
    bool attribute_data; /* the flip-flop: the next write to 3C0 is data */
    u8 crtc[CRTC_COUNT];
    u8 sequencer[SEQUENCER_COUNT];
    u8 graphics[GRAPHICS_COUNT];
    u8 attribute[ATTRIBUTE_COUNT];
    u8 dac[DAC_SIZE];
    u16 dac_read, dac_write; /* component indices, 0..767 */
    u8 dac_mask;
    bool dac_reading;
};

/* Mode 3+, 80x25, 9x16 cells (Technical Reference, "VGA register values by mode"). */
static const u8 mode3_crtc[CRTC_COUNT] = {
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
    0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
};
static const u8 mode3_sequencer[SEQUENCER_COUNT] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const u8 mode3_graphics[GRAPHICS_COUNT] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff};
static const u8 mode3_attribute[ATTRIBUTE_COUNT] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
    0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00,
};
enum { MODE3_MISC = 0x67 };

/* The window that graphics register 6 selects: 128 KiB at A0000, 64 KiB at A0000, 32 KiB at B0000
 * or B8000. */
static const struct window {
    u32 base, size;
} windows[4] = {{0xa0000, 0x20000}, {0xa0000, 0x10000}, {0xb0000, 0x8000}, {0xb8000, 0x8000}};

static void update_window(struct text_screen *s)
{
    const struct window *w = &windows[s->graphics[GRAPHICS_MISC] >> 2 & 3];
    bool planar = s->sequencer[SEQ_MEMORY] & MEMORY_SEQUENTIAL;
    struct region region = {
        .name = "vga",
        .kind = REGION_ROM,
        .access = REGION_RW,
        .base = w->base,
        .size = w->size,
        .priority = PRIO_MMIO,
        .hva = planar ? s->planar : s->text,
        .writable_hva = true,
    };
    enum status status = ST_OK;

    if (!(s->misc & MISC_RAM)) {
        if (s->window_mapped)
            physmap_remove(s->env.map, s->window_id);
        s->window_mapped = false;
        return;
    }
    if (s->window_mapped)
        status = physmap_change(s->env.map, s->window_id, &region);
    else
        status = physmap_add(s->env.map, &region, &s->window_id);
    s->window_mapped = status == ST_OK;
    if (status != ST_OK)
        log_guest(s->env.log, "vga: the memory window at %#x cannot be mapped", w->base);
}

/* Vertical CRTC values are spread over registers: bits 8 and 9 are overflow bits. */
static unsigned vertical(const struct text_screen *s, unsigned index, unsigned bit8, unsigned bit9)
{
    return s->crtc[index] | (s->crtc[CRTC_OVERFLOW] >> bit8 & 1u) << 8 |
           (s->crtc[CRTC_OVERFLOW] >> bit9 & 1u) << 9;
}

static unsigned cell_height(const struct text_screen *s)
{
    return (s->crtc[CRTC_MAX_SCAN_LINE] & 0x1fu) + 1;
}

/* Scan lines shown; double scanning makes two of each. */
static unsigned display_lines(const struct text_screen *s)
{
    unsigned lines = vertical(s, CRTC_V_DISPLAY_END, 1, 6) + 1;

    return s->crtc[CRTC_MAX_SCAN_LINE] & 0x80 ? (lines + 1) / 2 : lines;
}

/* Where the beam is: status register 1, derived from the clock and the CRTC's programming. */
static u8 beam_status(const struct text_screen *s)
{
    u64 dot_hz = (s->misc & MISC_CLOCK) == 0x04 ? 28322000 : 25175000;
    unsigned dots = s->sequencer[SEQ_CLOCKING] & CLOCKING_8_DOTS ? 8 : 9;
    unsigned h_total = s->crtc[CRTC_H_TOTAL] + 5u;
    unsigned v_total = vertical(s, CRTC_V_TOTAL, 0, 5) + 2;
    unsigned retrace = vertical(s, CRTC_RETRACE_START, 2, 7);
    unsigned retrace_lines = ((s->crtc[CRTC_RETRACE_END] - retrace) & 15) ?: 16;
    u64 cell, line;
    u8 status = 0;

    if (s->sequencer[SEQ_CLOCKING] & CLOCKING_HALF)
        dots *= 2;
    cell = (u64)((u128)clock_now(s->env.clock) * dot_hz / (dots * NS_PER_SECOND));
    line = cell / h_total % v_total;
    if (cell % h_total > s->crtc[CRTC_H_DISPLAY_END] ||
        line > vertical(s, CRTC_V_DISPLAY_END, 1, 6))
        status |= STATUS1_BLANK;
    if (line >= retrace && line < retrace + retrace_lines)
        status |= STATUS1_RETRACE;
    return status;
}

static u8 read_crtc(const struct text_screen *s)
{
    return s->crtc_index < CRTC_COUNT ? s->crtc[s->crtc_index] : 0;
}

/* Registers 0 to 7 may be protected, all but the line compare bit in 7. */
static void write_crtc(struct text_screen *s, u8 value)
{
    u8 *reg;

    if (s->crtc_index >= CRTC_COUNT)
        return;
    reg = &s->crtc[s->crtc_index];
    if (s->crtc_index > CRTC_OVERFLOW || !(s->crtc[CRTC_RETRACE_END] & RETRACE_END_PROTECT))
        *reg = value;
    else if (s->crtc_index == CRTC_OVERFLOW)
        *reg = (u8)((*reg & ~OVERFLOW_LINE_COMPARE) | (value & OVERFLOW_LINE_COMPARE));
}

/* 3C0: index and data take turns; a read of status register 1 starts with the index. The palette
 * can be changed only while the screen is off (PAS = 0). */
static void write_attribute(struct text_screen *s, u8 value)
{
    unsigned index = s->attribute_index & 0x1f;

    if (!s->attribute_data)
        s->attribute_index = value & 0x3f;
    else if (index < ATTRIBUTE_COUNT &&
             (index >= ATTRIBUTE_PALETTE_COUNT || !(s->attribute_index & ATTRIBUTE_PAS)))
        s->attribute[index] = value & 0x3f;
    s->attribute_data = !s->attribute_data;
}

static u8 read_attribute_data(const struct text_screen *s)
{
    unsigned index = s->attribute_index & 0x1f;

    return index < ATTRIBUTE_COUNT ? s->attribute[index] : 0;
}

static void write_sequencer(struct text_screen *s, u8 value)
{
    static const u8 mask[SEQUENCER_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};

    if (s->sequencer_index >= SEQUENCER_COUNT)
        return;
    s->sequencer[s->sequencer_index] = value & mask[s->sequencer_index];
    if (s->sequencer_index == SEQ_MEMORY)
        update_window(s);
}

static void write_graphics(struct text_screen *s, u8 value)
{
    static const u8 mask[GRAPHICS_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

    if (s->graphics_index >= GRAPHICS_COUNT)
        return;
    s->graphics[s->graphics_index] = value & mask[s->graphics_index];
    if (s->graphics_index == GRAPHICS_MISC)
        update_window(s);
}

static u8 read_dac(struct text_screen *s)
{
    u8 value = s->dac[s->dac_read];

    s->dac_read = (s->dac_read + 1) % DAC_SIZE;
    return value;
}

static void write_dac(struct text_screen *s, u8 value)
{
    s->dac[s->dac_write] = value & 0x3f;
    s->dac_write = (s->dac_write + 1) % DAC_SIZE;
}

/* Ports 3C0 to 3CF, offset from 3C0. */
static u64 vga_read(void *self, u64 offset, unsigned size)
{
    struct text_screen *s = self;

    (void)size;
    switch (offset) {
    case 0x0: return s->attribute_index;
    case 0x1: return read_attribute_data(s);
    case 0x2: return 0x10; /* status 0: the monitor sense line is high, no retrace interrupt */
    case 0x3: return 1;    /* the adapter is enabled */
    case 0x4: return s->sequencer_index;
    case 0x5: return s->sequencer_index < SEQUENCER_COUNT ? s->sequencer[s->sequencer_index] : 0;
    case 0x6: return s->dac_mask;
    case 0x7: return s->dac_reading ? 3 : 0;
    case 0x8: return s->dac_write / 3;
    case 0x9: return read_dac(s);
    case 0xa: return s->feature;
    case 0xc: return s->misc;
    case 0xe: return s->graphics_index;
    case 0xf: return s->graphics_index < GRAPHICS_COUNT ? s->graphics[s->graphics_index] : 0;
    default: return ~0ull;
    }
}

static void vga_write(void *self, u64 offset, u64 wide, unsigned size)
{
    struct text_screen *s = self;
    u8 value = (u8)wide;

    (void)size;
    switch (offset) {
    case 0x0: write_attribute(s, value); break;
    case 0x2:
        s->misc = value;
        update_window(s);
        break;
    case 0x4: s->sequencer_index = value & 0x07; break;
    case 0x5: write_sequencer(s, value); break;
    case 0x6: s->dac_mask = value; break;
    case 0x7:
        s->dac_read = value * 3u;
        s->dac_reading = true;
        break;
    case 0x8:
        s->dac_write = value * 3u;
        s->dac_reading = false;
        break;
    case 0x9: write_dac(s, value); break;
    case 0xe: s->graphics_index = value & 0x0f; break;
    case 0xf: write_graphics(s, value); break;
    }
}

static u64 crtc_read(struct text_screen *s, u64 offset, bool colour)
{
    if (colour != (s->misc & MISC_COLOUR))
        return ~0ull; /* the other adapter's address: nobody there */
    return offset ? read_crtc(s) : s->crtc_index;
}

static void crtc_write(struct text_screen *s, u64 offset, bool colour, u8 value)
{
    if (colour != (s->misc & MISC_COLOUR))
        return;
    if (offset)
        write_crtc(s, value);
    else
        s->crtc_index = value & 0x3f;
}

static u64 mono_crtc_read(void *self, u64 offset, unsigned size)
{
    (void)size;
    return crtc_read(self, offset, false);
}

static u64 colour_crtc_read(void *self, u64 offset, unsigned size)
{
    (void)size;
    return crtc_read(self, offset, true);
}

static void mono_crtc_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)size;
    crtc_write(self, offset, false, (u8)value);
}

static void colour_crtc_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)size;
    crtc_write(self, offset, true, (u8)value);
}

static u64 status1_read(struct text_screen *s, bool colour)
{
    if (colour != (s->misc & MISC_COLOUR))
        return ~0ull;
    s->attribute_data = false;
    return beam_status(s);
}

static u64 mono_status_read(void *self, u64 offset, unsigned size)
{
    (void)offset;
    (void)size;
    return status1_read(self, false);
}

static u64 colour_status_read(void *self, u64 offset, unsigned size)
{
    (void)offset;
    (void)size;
    return status1_read(self, true);
}

static void mono_feature_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct text_screen *s = self;

    (void)offset;
    (void)size;
    if (!(s->misc & MISC_COLOUR))
        s->feature = (u8)value;
}

static void colour_feature_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct text_screen *s = self;

    (void)offset;
    (void)size;
    if (s->misc & MISC_COLOUR)
        s->feature = (u8)value;
}

void text_screen_geometry(const void *self, unsigned *columns, unsigned *rows)
{
    const struct text_screen *s = self;
    bool graphics = s->graphics[GRAPHICS_MISC] & GRAPHICS_MODE;

    *columns = graphics ? 0 : s->crtc[CRTC_H_DISPLAY_END] + 1u;
    *rows = graphics ? 0 : display_lines(s) / cell_height(s);
}

static unsigned start_address(const struct text_screen *s)
{
    return s->crtc[CRTC_START_HIGH] << 8 | s->crtc[CRTC_START_LOW];
}

/* The first row of the lower half of a split screen, which starts at address 0 again. */
static unsigned split_row(const struct text_screen *s)
{
    unsigned line = s->crtc[CRTC_LINE_COMPARE] | (s->crtc[CRTC_OVERFLOW] >> 4 & 1u) << 8 |
                    (s->crtc[CRTC_MAX_SCAN_LINE] >> 6 & 1u) << 9;

    return line / cell_height(s) + 1;
}

/* The cell address of the first character of row. */
static unsigned row_address(const struct text_screen *s, unsigned row)
{
    unsigned pitch = s->crtc[CRTC_OFFSET] * 2u;
    unsigned split = split_row(s);

    return row >= split ? (row - split) * pitch : start_address(s) + row * pitch;
}

/* Encodes one character of the basic plane; returns 1 to 3 bytes. */
static unsigned utf8_encode(u16 c, char out[3])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
}

struct dump {
    char *out;
    size_t size;   /* of out */
    size_t used;   /* in out */
    size_t needed; /* by the whole screen */
};

static void dump_add(struct dump *d, u16 c)
{
    char bytes[3];
    unsigned n = utf8_encode(c, bytes);

    if (d->used == d->needed && d->used + n < d->size) {
        memcpy(d->out + d->used, bytes, n);
        d->used += n;
    }
    d->needed += n;
}

size_t text_screen_dump(const void *self, char *out, size_t size)
{
    const struct text_screen *s = self;
    struct dump d = {.out = out, .size = size};
    unsigned columns, rows;

    text_screen_geometry(s, &columns, &rows);
    for (unsigned row = 0; row < rows; row++) {
        unsigned cell = row_address(s, row);

        for (unsigned column = 0; column < columns; column++)
            dump_add(&d, cp437_unicode[s->text[(cell + column) % TEXT_CELLS * 2]]);
        dump_add(&d, '\n');
    }
    out[d.used] = '\0';
    return d.needed;
}

struct text_cursor text_screen_cursor(const void *self)
{
    const struct text_screen *s = self;
    unsigned location = s->crtc[CRTC_CURSOR_HIGH] << 8 | s->crtc[CRTC_CURSOR_LOW];
    unsigned columns, rows;

    text_screen_geometry(s, &columns, &rows);
    for (unsigned row = 0; row < rows; row++) {
        unsigned column = (location - row_address(s, row)) & 0xffff;

        if (column < columns)
            return (struct text_cursor){column, row, !(s->crtc[CRTC_CURSOR_START] & CURSOR_OFF)};
    }
    return (struct text_cursor){0};
}

static void text_fini(void *self)
{
    struct text_screen *s = self;

    if (s->window_mapped)
        physmap_remove(s->env.map, s->window_id);
    physmap_remove(s->env.map, s->hole_id);
    free(s->text);
    free(s->planar);
}

static enum status text_init(void *self, const struct device_env *env, const void *config,
                             struct error *err)
{
    struct text_screen *s = self;
    /* What the window leaves free of A0000-BFFFF belongs to the bus, not to the RAM below. */
    const struct region hole = {
        .name = "vga-hole",
        .kind = REGION_HOLE,
        .access = REGION_RW,
        .base = LEGACY_BASE,
        .size = MEMORY_SIZE,
        .priority = PRIO_ROM,
    };

    (void)config;
    s->env = *env;
    s->text = aligned_alloc(PAGE_SIZE, MEMORY_SIZE);
    s->planar = aligned_alloc(PAGE_SIZE, MEMORY_SIZE);
    if (s->text && s->planar && physmap_add(env->map, &hole, &s->hole_id) == ST_OK)
        return ST_OK;
    free(s->text);
    free(s->planar);
    return error_set(err, ST_NO_MEMORY, "The text screen cannot be mapped at %#x.", LEGACY_BASE);
}

/* The 16 colours of the text palette, 6 bits a component: bits 0-2 of the DAC index are two thirds
 * of blue, green, red, bits 3-5 one third. */
static void reset_dac(struct text_screen *s)
{
    for (unsigned i = 0; i < 64; i++) {
        for (unsigned c = 0; c < 3; c++)
            s->dac[i * 3 + c] = (u8)((i >> (2 - c) & 1) * 42 + (i >> (5 - c) & 1) * 21);
    }
    memset(s->dac + 64 * 3, 0, DAC_SIZE - 64 * 3);
    s->dac_read = s->dac_write = 0;
    s->dac_mask = 0xff;
    s->dac_reading = false;
}

static void text_reset(void *self)
{
    struct text_screen *s = self;

    s->text[0] = ' ';
    s->text[1] = 0x07; /* light grey on black */
    for (unsigned size = 2; size < MEMORY_SIZE; size *= 2)
        memcpy(s->text + size, s->text, size);
    memset(s->planar, 0, MEMORY_SIZE);
    memcpy(s->crtc, mode3_crtc, sizeof(s->crtc));
    memcpy(s->sequencer, mode3_sequencer, sizeof(s->sequencer));
    memcpy(s->graphics, mode3_graphics, sizeof(s->graphics));
    memcpy(s->attribute, mode3_attribute, sizeof(s->attribute));
    s->crtc_index = s->sequencer_index = s->graphics_index = 0;
    s->attribute_index = ATTRIBUTE_PAS;
    s->attribute_data = false;
    s->misc = MODE3_MISC;
    s->feature = 0;
    reset_dac(s);
    update_window(s);
}

static const struct device_pio text_pio[] = {
    {0x3b4, 2, {mono_crtc_read, mono_crtc_write, SIZE_1}},
    {0x3ba, 1, {mono_status_read, mono_feature_write, SIZE_1}},
    {0x3c0, 16, {vga_read, vga_write, SIZE_1}},
    {0x3d4, 2, {colour_crtc_read, colour_crtc_write, SIZE_1}},
    {0x3da, 1, {colour_status_read, colour_feature_write, SIZE_1}},
    {0},
};

static const struct device_field text_save[] = {
    DEVICE_FIELD(text_screen, misc),
    DEVICE_FIELD(text_screen, feature),
    DEVICE_FIELD(text_screen, crtc_index),
    DEVICE_FIELD(text_screen, sequencer_index),
    DEVICE_FIELD(text_screen, graphics_index),
    DEVICE_FIELD(text_screen, attribute_index),
    DEVICE_FIELD(text_screen, attribute_data),
    DEVICE_FIELD(text_screen, crtc),
    DEVICE_FIELD(text_screen, sequencer),
    DEVICE_FIELD(text_screen, graphics),
    DEVICE_FIELD(text_screen, attribute),
    DEVICE_FIELD(text_screen, dac),
    DEVICE_FIELD(text_screen, dac_read),
    DEVICE_FIELD(text_screen, dac_write),
    DEVICE_FIELD(text_screen, dac_mask),
    DEVICE_FIELD(text_screen, dac_reading),
    {0},
};

const struct device_type text_screen_type = {
    .name = "vga-text",
    .state_size = sizeof(struct text_screen),
    .pio = text_pio,
    .init = text_init,
    .reset = text_reset,
    .fini = text_fini,
    .save = text_save,
};
