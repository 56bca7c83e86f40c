/* SPDX-License-Identifier: MIT
 *
 * What the machine tells its firmware or kernel about itself: ACPI and SMBIOS tables, memory map,
 * processor counts. Built once from one config, then handed over through fw_cfg, or written into
 * guest memory when there is no firmware.
 */
#pragma once

#include "bios/acpi.h"
#include "bios/e820.h"
#include "bios/fw_cfg.h"
#include "bios/smbios.h"
#include "mem/physmap.h"

struct platform_config {
    struct ram_layout layout;
    unsigned cpu_count;  /* processors at power-on */
    unsigned max_cpus;   /* highest APIC id + 1 */
    bool serial_console; /* -nographic: SeaBIOS shows its text on COM1, too */
    bool boot_menu;
    struct acpi_config acpi;
    struct smbios_config smbios;
};

struct platform {
    struct platform_config config;
    struct linker acpi;
    struct blob smbios_anchor;
    struct blob smbios_tables;
};

/* config is copied; what its pointers name must live until the call returns. */
MUST_USE enum status platform_build(struct platform *platform, const struct platform_config *config,
                                    struct error *err);
void platform_fini(struct platform *platform);

/* Adds every item that firmware expects from a PC. The tables move into the store. */
MUST_USE enum status platform_to_fw_cfg(struct platform *platform, struct fw_cfg_store *store,
                                        struct error *err);
/* Writes the tables into E0000-FFFFF of guest memory, where systems search them; that range must be
 * writable RAM. *rsdp is the RSDP's address. ST_INVALID: no room (very many processors) or no RAM.
 */
MUST_USE enum status platform_place(struct platform *platform, struct physmap *map, u64 *rsdp,
                                    struct error *err);
