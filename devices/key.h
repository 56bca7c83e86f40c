/* SPDX-License-Identifier: MIT
 *
 * The portable code of a key: its place on the board, not what is printed on it. The values are USB
 * HID usages of page 7, the rows are in key.def.
 */
#pragma once

enum key {
#define KEY(name, usage, set2, set3, kind) KEY_##name = usage,
#include "devices/key.def"
#undef KEY
    KEY_COUNT = 0xe8 /* one more than the highest */
};
