/* SPDX-License-Identifier: MIT
 *
 * The text screen: registers through the ports, memory through the physical map, the dump.
 */
#include <string.h>

#include "devices/display/text.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;
static char screen[65536];

static void setup(void)
{
    harness_setup(&h, &text_screen_type, NULL, 0);
}

static void teardown(void)
{
    harness_teardown(&h);
}

static void crtc(unsigned index, unsigned value)
{
    pio_write(&h.pio, 0x3d4, value << 8 | index, 2);
}

static void graphics(unsigned index, unsigned value)
{
    pio_write(&h.pio, 0x3ce, value << 8 | index, 2);
}

static void sequencer(unsigned index, unsigned value)
{
    pio_write(&h.pio, 0x3c4, value << 8 | index, 2);
}

static void print(u64 gpa, const char *text)
{
    for (; *text; text++, gpa += 2)
        ck_assert(physmap_write(h.map, gpa, (u8[]){(u8)*text, 0x07}, 2));
}

/* Line row of the dump, without trailing blanks. */
static const char *line(unsigned row)
{
    static char text[1024];
    char *at = screen;
    size_t length;

    ck_assert_uint_lt(text_screen_dump(h.self, screen, sizeof(screen)), sizeof(screen));
    while (row--) {
        at = strchr(at, '\n');
        ck_assert_ptr_nonnull(at);
        at++;
    }
    length = strcspn(at, "\n");
    ck_assert_uint_lt(length, sizeof(text));
    while (length && at[length - 1] == ' ')
        length--;
    memcpy(text, at, length);
    text[length] = 0;
    return text;
}

START_TEST(starts_as_an_empty_80x25_screen)
{
    unsigned columns, rows;

    text_screen_geometry(h.self, &columns, &rows);
    ck_assert_uint_eq(columns, 80);
    ck_assert_uint_eq(rows, 25);
    ck_assert_uint_eq(text_screen_dump(h.self, screen, sizeof(screen)), 81 * 25);
    ck_assert_uint_eq(strspn(screen, " \n"), 81 * 25);
}
END_TEST

START_TEST(stores_are_shown)
{
    struct phys_page page;

    print(0xb8000, "Hello");
    print(0xb8000 + 160 * 24 + 150, "right");
    ck_assert_str_eq(line(0), "Hello");
    ck_assert_uint_eq(strlen(line(24)), 80);
    ck_assert_str_eq(line(24) + 75, "right");
    ck_assert_uint_eq(physmap_read_uint(h.map, 0xb8000, 2), 0x0748);
    physmap_lookup(h.map, 0xb8000, true, &page);
    ck_assert_ptr_nonnull(page.hva); /* no trap: a store is a plain store */
}
END_TEST

START_TEST(code_page_437_becomes_utf8)
{
    print(0xb8000, "\x01\xb3\xe9\x9b\xff.");
    ck_assert_str_eq(line(0), "☺│Θ¢ .");
}
END_TEST

START_TEST(short_buffers_end_at_a_whole_character)
{
    print(0xb8000, "ab\xb3");
    ck_assert_uint_eq(text_screen_dump(h.self, screen, 1), 81 * 25 + 2);
    ck_assert_str_eq(screen, "");
    text_screen_dump(h.self, screen, 5);
    ck_assert_str_eq(screen, "ab");
    text_screen_dump(h.self, screen, 6);
    ck_assert_str_eq(screen, "ab│");
}
END_TEST

START_TEST(start_address_scrolls_and_wraps)
{
    print(0xb8000 + 160, "second");
    crtc(0x0d, 80);
    ck_assert_str_eq(line(0), "second");
    crtc(0x0c, 0xff); /* close to the end of the 64 KiB cells */
    crtc(0x0d, 0xb0);
    ck_assert_str_eq(line(2), "second");
}
END_TEST

START_TEST(split_screen_starts_over)
{
    print(0xb8000, "status");
    print(0xb8000 + 160 * 30, "body");
    crtc(0x0c, 2400 >> 8);
    crtc(0x0d, 2400 & 0xff);
    crtc(0x11, 0x0e);
    crtc(0x07, 0x0f);
    crtc(0x09, 0x0f);
    crtc(0x18, 16 * 20 - 1 - 256);
    crtc(0x07, 0x1f);
    ck_assert_str_eq(line(0), "body");
    ck_assert_str_eq(line(20), "status");
}
END_TEST

START_TEST(geometry_follows_the_crtc)
{
    unsigned columns, rows;

    crtc(0x09, 0x47); /* 8-line cells: 80x50 */
    text_screen_geometry(h.self, &columns, &rows);
    ck_assert_uint_eq(rows, 50);
    crtc(0x01, 0x27);
    text_screen_geometry(h.self, &columns, &rows);
    ck_assert_uint_eq(columns, 80); /* protected */
    crtc(0x11, 0x0e);
    crtc(0x01, 0x27);
    text_screen_geometry(h.self, &columns, &rows);
    ck_assert_uint_eq(columns, 40);
    graphics(6, 0x05);
    ck_assert_uint_eq(text_screen_dump(h.self, screen, sizeof(screen)), 0);
}
END_TEST

START_TEST(cursor_position)
{
    struct text_cursor c;

    crtc(0x0e, (80 * 3 + 7) >> 8);
    crtc(0x0f, (80 * 3 + 7) & 0xff);
    c = text_screen_cursor(h.self);
    ck_assert(c.visible && c.column == 7 && c.row == 3);
    crtc(0x0d, 80);
    ck_assert_uint_eq(text_screen_cursor(h.self).row, 2);
    crtc(0x0a, 0x2e);
    ck_assert(!text_screen_cursor(h.self).visible);
    crtc(0x0a, 0x0e);
    crtc(0x0e, 0x40);
    ck_assert(!text_screen_cursor(h.self).visible);
}
END_TEST

START_TEST(window_moves_with_graphics_register_6)
{
    print(0xb8000, "colour");
    graphics(6, 0x0a); /* monochrome: B0000 */
    ck_assert_uint_eq(physmap_read_uint(h.map, 0xb8000, 1), 0xff);
    ck_assert_uint_eq(physmap_read_uint(h.map, 0xb0000, 1), 'c');
    print(0xb0000, "mono  ");
    ck_assert_str_eq(line(0), "mono");
    out8(&h, 0x3c2, 0x65); /* memory off */
    ck_assert_uint_eq(physmap_read_uint(h.map, 0xb0000, 1), 0xff);
    ck_assert_uint_eq(physmap_read_uint(h.map, 0xa0000, 1), 0xff);
}
END_TEST

START_TEST(font_load_leaves_the_text_alone)
{
    print(0xb8000, "text");
    sequencer(2, 0x04);
    sequencer(4, 0x07);
    graphics(5, 0x00);
    graphics(6, 0x04);
    for (unsigned i = 0; i < 8192; i++)
        physmap_write_uint(h.map, 0xa0000 + i, 0xaa, 1);
    sequencer(2, 0x03);
    sequencer(4, 0x02);
    graphics(5, 0x10);
    graphics(6, 0x0e);
    ck_assert_str_eq(line(0), "text");
}
END_TEST

START_TEST(registers_by_misc_output_bit_0)
{
    out8(&h, 0x3d4, 0x0f);
    out8(&h, 0x3d5, 0x12);
    ck_assert_uint_eq(in8(&h, 0x3b4), 0xff);
    out8(&h, 0x3c2, 0x66);
    ck_assert_uint_eq(in8(&h, 0x3cc), 0x66);
    ck_assert_uint_eq(in8(&h, 0x3d5), 0xff);
    ck_assert_uint_eq(in8(&h, 0x3da), 0xff);
    ck_assert_uint_eq(in8(&h, 0x3b5), 0x12);
}
END_TEST

START_TEST(attribute_flip_flop_and_palette_lock)
{
    in8(&h, 0x3da);
    out8(&h, 0x3c0, 0x01);
    out8(&h, 0x3c0, 0x2a);
    out8(&h, 0x3c0, 0x21); /* PAS on: the palette is the screen's */
    out8(&h, 0x3c0, 0x15);
    ck_assert_uint_eq(in8(&h, 0x3c1), 0x2a);
    out8(&h, 0x3c0, 0x12);
    in8(&h, 0x3da); /* back to the index */
    out8(&h, 0x3c0, 0x32);
    ck_assert_uint_eq(in8(&h, 0x3c0), 0x32);
    out8(&h, 0x3c0, 0x07);
    ck_assert_uint_eq(in8(&h, 0x3c1), 0x07);
}
END_TEST

START_TEST(dac_counts_through_components)
{
    out8(&h, 0x3c8, 255);
    for (unsigned i = 0; i < 4; i++)
        out8(&h, 0x3c9, 0xc0 | (i + 1));
    ck_assert_uint_eq(in8(&h, 0x3c7), 0);
    out8(&h, 0x3c7, 255);
    ck_assert_uint_eq(in8(&h, 0x3c7), 3);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(in8(&h, 0x3c9), i + 1);
}
END_TEST

/* Mode 3 has 70 frames a second; the retrace takes 2 lines of 449, 400 lines are shown. */
START_TEST(retrace_timing)
{
    unsigned frames = 0, retrace = 0, blank = 0;
    u8 last = 0;

    for (unsigned us = 0; us < 1000000; us++) {
        u8 status;

        h.now += 1000;
        status = in8(&h, 0x3da);
        frames += (status & 8) && !(last & 8);
        retrace += status >> 3 & 1;
        blank += status & 1;
        last = status;
    }
    ck_assert_uint_eq(frames, 70);
    ck_assert_uint_ge(retrace, 70 * 60);
    ck_assert_uint_le(retrace, 70 * 68);
    ck_assert_uint_ge(blank, 280000);
    ck_assert_uint_le(blank, 300000);
}
END_TEST

static void fuzz_step(struct harness *f)
{
    if (harness_random(f) % 256 == 0) {
        size_t size = 1 + harness_random(f) % sizeof(screen);
        struct text_cursor c = text_screen_cursor(f->self);

        text_screen_dump(f->self, screen, size);
        ck_assert_uint_lt(strlen(screen), size);
        ck_assert_uint_lt(c.row, 1024);
        physmap_write_uint(f->map, 0xa0000 + harness_random(f) % 0x20000, 0x5a, 1);
    }
}

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0x3b4, 0x3b5, 0x3ba, 0x3c0, 0x3c1, 0x3c2, 0x3c4, 0x3c5, 0x3c6,
                                0x3c7, 0x3c8, 0x3c9, 0x3cc, 0x3ce, 0x3cf, 0x3d4, 0x3d5, 0x3da};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, fuzz_step);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *tc = tcase_create("text");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, starts_as_an_empty_80x25_screen);
    tcase_add_test(tc, stores_are_shown);
    tcase_add_test(tc, code_page_437_becomes_utf8);
    tcase_add_test(tc, short_buffers_end_at_a_whole_character);
    tcase_add_test(tc, start_address_scrolls_and_wraps);
    tcase_add_test(tc, split_screen_starts_over);
    tcase_add_test(tc, geometry_follows_the_crtc);
    tcase_add_test(tc, cursor_position);
    tcase_add_test(tc, window_moves_with_graphics_register_6);
    tcase_add_test(tc, font_load_leaves_the_text_alone);
    tcase_add_test(tc, registers_by_misc_output_bit_0);
    tcase_add_test(tc, attribute_flip_flop_and_palette_lock);
    tcase_add_test(tc, dac_counts_through_components);
    tcase_add_test(tc, retrace_timing);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
