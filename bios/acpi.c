/* SPDX-License-Identifier: MIT */
#include "bios/acpi.h"

#include <string.h>

#include "mem/base/log.h"

enum {
    HEADER_SIZE = 36,
    FADT_SIZE = 276,
    FACS_SIZE = 64,
    RSDP_SIZE = 36,
    CPUS_MAX = 4096,
};

/* FADT fixed feature flags (ACPI 6.3 table 5-35). */
enum fadt_flags {
    FADT_WBINVD = 1u << 0,
    FADT_PROC_C1 = 1u << 2,
    FADT_SLP_BUTTON = 1u << 5, /* set: there is no fixed sleep button */
    FADT_TMR_VAL_EXT = 1u << 8,
    FADT_RESET_REG_SUP = 1u << 10,
};

/* IA-PC boot architecture flags (ACPI 6.3 table 5-36). */
enum fadt_boot_arch {
    BOOT_LEGACY_DEVICES = 1u << 0,
    BOOT_8042 = 1u << 1,
    BOOT_VGA_NOT_PRESENT = 1u << 2,
    BOOT_NO_ASPM = 1u << 4,
};

/* MADT interrupt flags: active high, level triggered (table 5-46). */
enum { INTI_LEVEL_HIGH = 0x0d };

/* What one build works on; the offsets are those of the finished tables. */
struct acpi_builder {
    struct linker *linker;
    struct blob *tables;
    const struct acpi_config *config;
    u64 listed[8]; /* tables that RSDT and XSDT point to */
    unsigned listed_count;
};

void acpi_config_pc(struct acpi_config *config, const struct ram_layout *layout)
{
    u64 above = GIB(4) + layout->high_size;
    u64 window = (above + GIB(1) - 1) & ~(GIB(1) - 1);

    *config = (struct acpi_config){
        .pm_base = 0x600,
        .gpe_base = 0x60c,
        .gpe_size = 4,
        .sci_irq = 9,
        .smi_command = 0xb2,
        .acpi_enable = 0xf1,
        .acpi_disable = 0xf0,
        .smbus_base = 0x700,
        .fw_cfg_base = 0x510,
        .reset_port = 0xcf9,
        .reset_value = 6,
        .century = 0x32,
        .has_8042 = true,
        .has_com1 = true,
        .lapic_address = 0xfee00000,
        .ioapic_address = 0xfec00000,
        .pci_memory32 = {layout->low_size, 0xfebfffff},
        .pci_memory64 = {window, window + GIB(32) - 1},
    };
}

/* Appends a table header; table_end() fills in the length and has the checksum made. */
static u64 table_begin(struct acpi_builder *build, const char *signature, u8 revision)
{
    struct blob *tables = build->tables;
    u64 start = blob_align(tables, 16);

    start = blob_bytes(tables, signature, 4);
    blob_uint(tables, 0, 4);
    blob_uint(tables, revision, 1);
    blob_uint(tables, 0, 1);
    blob_bytes(tables, "LOCKST", 6);
    blob_bytes(tables, "LOCKSTEP", 8);
    blob_uint(tables, 1, 4);
    blob_bytes(tables, "LKST", 4);
    blob_uint(tables, 1, 4);
    return start;
}

static void table_end(struct acpi_builder *build, u64 start)
{
    u64 size = build->tables->size - start;

    blob_patch(build->tables, start + 4, size, 4);
    linker_checksum(build->linker, ACPI_FILE_TABLES, start + 9, start, size);
}

static void table_list(struct acpi_builder *build, u64 start)
{
    check(build->listed_count < ARRAY_SIZE(build->listed), "too many ACPI tables");
    build->listed[build->listed_count++] = start;
}

static void table_pointer(struct acpi_builder *build, u64 offset, unsigned size, u64 target)
{
    linker_pointer(build->linker, ACPI_FILE_TABLES, offset, size, ACPI_FILE_TABLES, target);
}

/* A generic address structure of a port range (section 5.2.3.2); access_size 1 byte, 2 word, 3
 * dword. */
static void patch_gas_io(struct blob *tables, u64 offset, u16 port, u8 bits, u8 access_size)
{
    blob_patch(tables, offset, 1, 1); /* system I/O */
    blob_patch(tables, offset + 1, bits, 1);
    blob_patch(tables, offset + 3, access_size, 1);
    blob_patch(tables, offset + 4, port, 8);
}

/* Section 5.2.10; must be aligned to 64 bytes, which the file's start is. */
static u64 build_facs(struct acpi_builder *build)
{
    u64 start = blob_zero(build->tables, FACS_SIZE);

    blob_patch(build->tables, start, 0x53434146, 4); /* "FACS" */
    blob_patch(build->tables, start + 4, FACS_SIZE, 4);
    blob_patch(build->tables, start + 32, 2, 1); /* version */
    return start;
}

static u64 build_dsdt(struct acpi_builder *build)
{
    u64 start = table_begin(build, "DSDT", 2);

    acpi_dsdt(build->tables, build->config);
    table_end(build, start);
    return start;
}

/* The event, control, timer and GPE blocks, in their 32-bit and generic address forms. */
static void fadt_blocks(struct acpi_builder *build, u64 start)
{
    const struct acpi_config *config = build->config;
    struct blob *tables = build->tables;

    blob_patch(tables, start + 56, config->pm_base, 4);
    blob_patch(tables, start + 64, config->pm_base + 4u, 4);
    blob_patch(tables, start + 76, config->pm_base + 8u, 4);
    blob_patch(tables, start + 88, 4, 1);
    blob_patch(tables, start + 89, 2, 1);
    blob_patch(tables, start + 91, 4, 1);
    patch_gas_io(tables, start + 148, config->pm_base, 32, 2);
    patch_gas_io(tables, start + 172, (u16)(config->pm_base + 4), 16, 2);
    patch_gas_io(tables, start + 208, (u16)(config->pm_base + 8), 32, 3);
    if (config->gpe_base) {
        blob_patch(tables, start + 80, config->gpe_base, 4);
        blob_patch(tables, start + 92, config->gpe_size, 1);
        patch_gas_io(tables, start + 220, config->gpe_base, (u8)(config->gpe_size * 8), 1);
    }
}

static u32 fadt_boot_arch(const struct acpi_config *config)
{
    u32 flags = BOOT_LEGACY_DEVICES | BOOT_NO_ASPM;

    if (config->has_8042)
        flags |= BOOT_8042;
    if (!config->has_vga)
        flags |= BOOT_VGA_NOT_PRESENT;
    return flags;
}

/* Section 5.2.9, revision 6.3. X_FIRMWARE_CTRL stays 0: only one of the two FACS pointers may be
 * set, and the FACS lies below 4 GiB. */
static void build_fadt(struct acpi_builder *build, u64 facs, u64 dsdt)
{
    const struct acpi_config *config = build->config;
    struct blob *tables = build->tables;
    u64 start = table_begin(build, "FACP", 6);
    u32 flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RESET_REG_SUP;

    blob_zero(tables, FADT_SIZE - HEADER_SIZE);
    table_pointer(build, start + 36, 4, facs);
    table_pointer(build, start + 40, 4, dsdt);
    table_pointer(build, start + 140, 8, dsdt);
    blob_patch(tables, start + 45, 1, 1); /* preferred profile: desktop */
    blob_patch(tables, start + 46, config->sci_irq, 2);
    blob_patch(tables, start + 48, config->smi_command, 4);
    if (config->smi_command) {
        blob_patch(tables, start + 52, config->acpi_enable, 1);
        blob_patch(tables, start + 53, config->acpi_disable, 1);
    }
    fadt_blocks(build, start);
    blob_patch(tables, start + 96, 0xfff, 2); /* no C2 */
    blob_patch(tables, start + 98, 0xfff, 2); /* no C3 */
    blob_patch(tables, start + 108, config->century, 1);
    blob_patch(tables, start + 109, fadt_boot_arch(config), 2);
    if (config->pm_timer_32)
        flags |= FADT_TMR_VAL_EXT;
    blob_patch(tables, start + 112, flags, 4);
    patch_gas_io(tables, start + 116, config->reset_port, 8, 1);
    blob_patch(tables, start + 128, config->reset_value, 1);
    blob_patch(tables, start + 131, 3, 1); /* minor revision */
    table_end(build, start);
    table_list(build, start);
}

/* Processors with an id that fits eight bits get a local APIC entry, others an x2APIC entry
 * (sections 5.2.12.2 and 5.2.12.12). Returns whether there was one of the latter. */
static bool madt_cpus(struct blob *tables, const struct acpi_config *config)
{
    bool x2apic = false;

    for (unsigned i = 0; i < config->cpu_count; i++) {
        u32 id = config->apic_ids[i];

        if (id < 255 && i < 255) {
            blob_uint(tables, 0, 1);
            blob_uint(tables, 8, 1);
            blob_uint(tables, i, 1);
            blob_uint(tables, id, 1);
            blob_uint(tables, 1, 4); /* enabled */
        } else {
            x2apic = true;
            blob_uint(tables, 9, 1);
            blob_uint(tables, 16, 1);
            blob_uint(tables, 0, 2);
            blob_uint(tables, id, 4);
            blob_uint(tables, 1, 4); /* enabled */
            blob_uint(tables, i, 4);
        }
    }
    return x2apic;
}

/* Interrupt source override (section 5.2.12.5). */
static void madt_override(struct blob *tables, u8 irq, u32 gsi, u16 flags)
{
    blob_uint(tables, 2, 1);
    blob_uint(tables, 10, 1);
    blob_uint(tables, 0, 1); /* ISA */
    blob_uint(tables, irq, 1);
    blob_uint(tables, gsi, 4);
    blob_uint(tables, flags, 2);
}

/* NMI on LINT1 of every processor (sections 5.2.12.7 and 5.2.12.13). */
static void madt_nmi(struct blob *tables, bool x2apic)
{
    blob_uint(tables, 4, 1);
    blob_uint(tables, 6, 1);
    blob_uint(tables, 0xff, 1);
    blob_uint(tables, 0, 2);
    blob_uint(tables, 1, 1);
    if (!x2apic)
        return;
    blob_uint(tables, 10, 1);
    blob_uint(tables, 12, 1);
    blob_uint(tables, 0, 2);
    blob_uint(tables, UINT32_MAX, 4);
    blob_uint(tables, 1, 4); /* LINT1 and three reserved bytes */
}

/* Section 5.2.12. The timer is on I/O APIC input 2; the PIIX3 routes PCI interrupts and the SCI to
 * ISA inputs 5, 9, 10 and 11, which are then level triggered and active high. */
static void build_madt(struct acpi_builder *build)
{
    static const u8 pci_irqs[] = {5, 10, 11};
    const struct acpi_config *config = build->config;
    struct blob *tables = build->tables;
    u64 start = table_begin(build, "APIC", 5);
    bool x2apic;

    blob_uint(tables, config->lapic_address, 4);
    blob_uint(tables, 1, 4); /* PCAT_COMPAT: there are 8259s, too */
    x2apic = madt_cpus(tables, config);
    blob_uint(tables, 1, 1);
    blob_uint(tables, 12, 1);
    blob_uint(tables, config->ioapic_id, 1);
    blob_uint(tables, 0, 1);
    blob_uint(tables, config->ioapic_address, 4);
    blob_uint(tables, 0, 4); /* first GSI */
    madt_override(tables, 0, 2, 0);
    madt_override(tables, config->sci_irq, config->sci_irq, INTI_LEVEL_HIGH);
    for (unsigned i = 0; i < ARRAY_SIZE(pci_irqs); i++)
        if (pci_irqs[i] != config->sci_irq)
            madt_override(tables, pci_irqs[i], pci_irqs[i], INTI_LEVEL_HIGH);
    madt_nmi(tables, x2apic);
    table_end(build, start);
    table_list(build, start);
}

/* Windows ACPI Emulated devices Table: the RTC and the PM timer need none of the workarounds for
 * hardware faults (Microsoft, "Windows ACPI emulated devices table", flags 0 and 1). */
static void build_waet(struct acpi_builder *build)
{
    u64 start = table_begin(build, "WAET", 1);

    blob_uint(build->tables, 3, 4);
    table_end(build, start);
    table_list(build, start);
}

/* IA-PC HPET specification 1.0a section 3.2.4. */
static void build_hpet(struct acpi_builder *build)
{
    const struct acpi_config *config = build->config;
    u64 start;

    if (!config->hpet_address)
        return;
    start = table_begin(build, "HPET", 1);
    blob_uint(build->tables, config->hpet_id, 4);
    blob_uint(build->tables, 0, 4); /* system memory; width, offset and access size are 0 */
    blob_uint(build->tables, config->hpet_address, 8);
    blob_uint(build->tables, 0, 1);    /* sequence number */
    blob_uint(build->tables, 0x80, 2); /* minimum tick */
    blob_uint(build->tables, 0, 1);
    table_end(build, start);
    table_list(build, start);
}

/* RSDT (pointer_size 4) or XSDT (8): sections 5.2.7, 5.2.8. */
static u64 build_root(struct acpi_builder *build, const char *signature, unsigned pointer_size)
{
    u64 start = table_begin(build, signature, 1);

    for (unsigned i = 0; i < build->listed_count; i++) {
        u64 offset = blob_zero(build->tables, pointer_size);

        table_pointer(build, offset, pointer_size, build->listed[i]);
    }
    table_end(build, start);
    return start;
}

/* Section 5.2.5.3: two checksums, one over the 20 bytes of ACPI 1.0. */
static void build_rsdp(struct acpi_builder *build, u64 rsdt, u64 xsdt)
{
    struct linker *linker = build->linker;
    struct blob *rsdp = &linker->files[ACPI_FILE_RSDP].blob;

    blob_bytes(rsdp, "RSD PTR ", 8);
    blob_uint(rsdp, 0, 1);
    blob_bytes(rsdp, "LOCKST", 6);
    blob_uint(rsdp, 2, 1);
    blob_zero(rsdp, 4);
    blob_uint(rsdp, RSDP_SIZE, 4);
    blob_zero(rsdp, 12);
    linker_pointer(linker, ACPI_FILE_RSDP, 16, 4, ACPI_FILE_TABLES, rsdt);
    linker_pointer(linker, ACPI_FILE_RSDP, 24, 8, ACPI_FILE_TABLES, xsdt);
    linker_checksum(linker, ACPI_FILE_RSDP, 8, 0, 20);
    linker_checksum(linker, ACPI_FILE_RSDP, 32, 0, RSDP_SIZE);
}

enum status acpi_build(struct linker *linker, const struct acpi_config *config, struct error *err)
{
    struct acpi_builder build = {.linker = linker, .config = config};
    enum status status;
    u64 facs, dsdt, rsdt, xsdt;

    if (config->cpu_count < 1 || config->cpu_count > CPUS_MAX)
        return error_set(err, ST_INVALID, "-smp: %u processors; choose 1 to %d.", config->cpu_count,
                         CPUS_MAX);
    linker_file(linker, ACPI_TABLES_NAME, 64, LINKER_ZONE_HIGH);
    linker_file(linker, ACPI_RSDP_NAME, 16, LINKER_ZONE_FSEG);
    build.tables = &linker->files[ACPI_FILE_TABLES].blob;
    facs = build_facs(&build);
    dsdt = build_dsdt(&build);
    build_fadt(&build, facs, dsdt);
    build_madt(&build);
    build_hpet(&build);
    build_waet(&build);
    rsdt = build_root(&build, "RSDT", 4);
    xsdt = build_root(&build, "XSDT", 8);
    build_rsdp(&build, rsdt, xsdt);
    status = blob_status(build.tables, "the ACPI tables", err);
    if (status == ST_OK)
        status = blob_status(&linker->files[ACPI_FILE_RSDP].blob, "the ACPI tables", err);
    if (status != ST_OK)
        linker_fini(linker);
    return status;
}
