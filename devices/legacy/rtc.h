/* SPDX-License-Identifier: MIT
 *
 * MC146818 real-time clock with 128 + 128 bytes of CMOS RAM, as built into the PIIX.
 *
 * Ports (base 0): 70-71 (bit 7 of port 70 masks NMI), 72-73 (the second 128 bytes). Output pin 0 is
 * IRQ8, a level until register C is read.
 */
#pragma once

#include "devices/device.h"

/* What firmware reads from the CMOS RAM before it can read anything else. */
struct rtc_config {
    u64 ram_below_4g; /* bytes, from address 0 */
    u64 ram_above_4g; /* bytes, from 4 GiB */
    u8 boot_order[3]; /* 0 none, 1 floppy, 2 disk, 3 CD, 4 network; first to last */
    u8 cpus;          /* 1..255 */
};

extern const struct device_type rtc_type; /* takes struct rtc_config */

enum { RTC_PIN_IRQ };

/* Whether the guest masks NMI (port 70 bit 7). */
bool rtc_nmi_masked(const void *self);
