/* SPDX-License-Identifier: MIT
 *
 * VGA text screens: the VGA's registers, and its memory window as plain host memory.
 *
 * Ports (base 0): 3B4-3B5, 3BA, 3C0-3CF, 3D4-3D5, 3DA. Maps its window into A0000-BFFFF itself.
 * Drives no interrupt. Resets to mode 3 (80x25 colour text) with the window open, as a video BIOS
 * leaves it, so that guests started without one have a screen.
 */
#pragma once

#include "devices/device.h"

extern const struct device_type text_screen_type; /* takes no config */

struct text_cursor {
    unsigned column;
    unsigned row;
    bool visible; /* enabled by the guest and on the screen */
};

/* Characters per line and lines, as the CRTC is programmed; 0 x 0 in a graphics mode. */
void text_screen_geometry(const void *self, unsigned *columns, unsigned *rows);
/* Writes the screen as UTF-8 to out, a newline after each line, always terminated (size >= 1);
 * stops before the first character that does not fit. Returns the length the whole screen needs,
 * without the terminator. */
size_t text_screen_dump(const void *self, char *out, size_t size);
struct text_cursor text_screen_cursor(const void *self);
