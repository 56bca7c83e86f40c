/* SPDX-License-Identifier: MIT
 *
 * pc-testdev: the test device that third-party test kernels expect of a PC emulator. It has memory
 * behind ports and behind a page of device registers, and lets a test drive interrupt lines.
 */
#pragma once

#include "devices/device.h"

enum {
    TESTDEV_PORTS = 0xe0,      /* four bytes of memory, at any width */
    TESTDEV_BYTE_PORTS = 0xe4, /* the same four bytes, one at a time */
    TESTDEV_LINES = 0x2000,    /* port 2000 + n: a value other than 0 raises line n, 0 lowers it */
    TESTDEV_LINE_COUNT = 24,
};
#define TESTDEV_MMIO_BASE 0xff000000ull /* a page of memory that is reached like registers */

extern const struct device_type testdev_type; /* no config; pins: the interrupt lines */
