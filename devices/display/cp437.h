/* SPDX-License-Identifier: MIT
 *
 * Code page 437, the character set of the PC's text screen, as Unicode.
 */
#pragma once

#include "mem/base/types.h"

/* The Unicode character that the VGA's font shows for each code; the control codes have pictures,
 * too. 0 and 255 are blank. */
extern const u16 cp437_unicode[256];
