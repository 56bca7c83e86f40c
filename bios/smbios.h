/* SPDX-License-Identifier: MIT
 *
 * SMBIOS 2.8 tables (DMTF DSP0134): what dmidecode and Windows show about the machine.
 *
 * Types 0, 1, 3, 4, 16, 17, 19, 32 and 127, with a 32-bit entry point, which every firmware and
 * system of the last twenty years reads.
 */
#pragma once

#include "bios/blob.h"
#include "bios/e820.h"

#define SMBIOS_ANCHOR_NAME "etc/smbios/smbios-anchor"
#define SMBIOS_TABLES_NAME "etc/smbios/smbios-tables"

struct smbios_config {
    u8 uuid[16];         /* in the order in which a UUID is written down */
    const char *version; /* of Lockstep */
    unsigned sockets;    /* processor packages */
    unsigned cores;      /* per socket */
    unsigned threads;    /* per socket, cores included */
    u32 cpu_signature;   /* CPUID leaf 1, EAX */
    u32 cpu_features;    /* CPUID leaf 1, EDX */
    u16 cpu_mhz;         /* 0: unknown */
    struct ram_layout layout;
};

/* Builds the entry point (with address 0, which the firmware or smbios_place() fills in) and the
 * structures. Both blobs are emptied on failure: ST_NO_MEMORY. */
MUST_USE enum status smbios_build(const struct smbios_config *config, struct blob *anchor,
                                  struct blob *tables, struct error *err);
/* Sets the address of the structures and both checksums. */
void smbios_place(struct blob *anchor, u32 tables_address);
