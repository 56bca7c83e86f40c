/* SPDX-License-Identifier: MIT
 *
 * The ACPI tables of the PC (ACPI 6.3): RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, WAET, HPET.
 *
 * They describe what struct acpi_config says and nothing else; in particular no VMBus device and no
 * device that the machine does not have. Two files result: the tables, and the RSDP that must lie
 * in low memory; a linker carries the pointers between them (bios/linker.h).
 */
#pragma once

#include "bios/aml.h"
#include "bios/e820.h"
#include "bios/linker.h"

struct acpi_config {
    u16 pm_base;      /* PM1 event at +0, PM1 control at +4, PM timer at +8 */
    u16 gpe_base;     /* general purpose event block, 0: none */
    u8 gpe_size;      /* bytes, status and enable together */
    bool pm_timer_32; /* the PM timer has 32 bits, not 24 */
    u8 sci_irq;       /* level, active high */
    u16 smi_command;  /* port; 0: the hardware is always in ACPI mode */
    u8 acpi_enable;   /* values written there */
    u8 acpi_disable;
    u16 smbus_base;  /* 16 ports, 0: none */
    u16 fw_cfg_base; /* 12 ports, 0: none */
    u16 reset_port;
    u8 reset_value;
    u8 s5_sleep_type; /* SLP_TYP of soft-off */
    u8 century;       /* CMOS index of the century */
    bool has_8042;    /* keyboard controller with a keyboard */
    bool has_mouse;   /* PS/2 mouse on it */
    bool has_vga;
    bool has_dma; /* 8237 pair */
    bool has_com1;
    u32 lapic_address;
    u32 ioapic_address;
    u8 ioapic_id;
    u64 hpet_address;    /* 0: none */
    u32 hpet_id;         /* event timer block id */
    const u32 *apic_ids; /* of the processors, in topology order; _UIDs are their indices */
    unsigned cpu_count;
    struct aml_window pci_memory32; /* inclusive; what the host bridge passes on below 4 GiB */
    struct aml_window pci_memory64; /* above RAM; max 0: none */
};

/* The values of the standard PC for a RAM layout: PM base 600h, GPE0 60Ch, SMI port B2h, SCI 9,
 * reset port CF9h, no HPET, no mouse. apic_ids and cpu_count stay empty. */
void acpi_config_pc(struct acpi_config *config, const struct ram_layout *layout);

enum acpi_file { ACPI_FILE_TABLES, ACPI_FILE_RSDP };

#define ACPI_TABLES_NAME "etc/acpi/tables"
#define ACPI_RSDP_NAME   "etc/acpi/rsdp"
#define ACPI_LOADER_NAME "etc/table-loader"

/* Builds the tables into linker (zeroed before), whose files are then enum acpi_file. Fails with
 * ST_NO_MEMORY, or ST_INVALID when there is no processor or more than 4096. */
MUST_USE enum status acpi_build(struct linker *linker, const struct acpi_config *config,
                                struct error *err);

/* Appends the DSDT's definition block, without the table header (bios/acpi_dsdt.c). */
void acpi_dsdt(struct blob *out, const struct acpi_config *config);
