/* SPDX-License-Identifier: MIT
 *
 * The DSDT: the name space of an i440FX/PIIX PC.
 *
 * \_SB holds the host bridge PCI0 with its windows and interrupt routing, the ISA bridge with the
 * legacy devices below it, four interrupt links over PIIX3's PIRQ route registers (configuration
 * bytes 60h-63h), a fixed link for the SCI, and the processors.
 */
#include <stdio.h>

#include "bios/acpi.h"

enum {
    PCI_SLOTS = 32,
    PIIX_SLOT = 1,         /* the ISA bridge, function 0; power management is function 3 */
    PIRQ_ROUTE_OFF = 0x80, /* PIIX3 datasheet, PIRQRC: bit 7 disables routing */
    PIRQ_ROUTE_MASK = 0x0f,
    STA_PRESENT_ENABLED = 0x0b,
    STA_PRESENT_DISABLED = 0x09,
    IRQ_OFFSET = 5, /* of the interrupt number in an extended interrupt descriptor */
};

static const char *const link_names[4] = {"LNKA", "LNKB", "LNKC", "LNKD"};
static const char *const pirq_names[4] = {"PRQA", "PRQB", "PRQC", "PRQD"};

/* The same as seen from the links. */
static const char *const pirq_paths[4] = {"\\_SB.PCI0.ISA.PRQA", "\\_SB.PCI0.ISA.PRQB",
                                          "\\_SB.PCI0.ISA.PRQC", "\\_SB.PCI0.ISA.PRQD"};

static void device_id(struct blob *out, const char *hid, u64 uid)
{
    aml_def_name(out, "_HID");
    aml_eisaid(out, hid);
    aml_def_name_int(out, "_UID", uid);
}

/* Name (_CRS, ResourceTemplate): frees res. */
static void device_crs(struct blob *out, struct blob *res)
{
    aml_def_name(out, "_CRS");
    aml_res_end(out, res);
}

/* \PICF remembers the interrupt model that the system chose. The routing below is the same in both:
 * the I/O APIC inputs are wired to the ISA lines that PIIX3 routes to. */
static void dsdt_pic(struct blob *out)
{
    u64 method;

    aml_def_name_int(out, "PICF", 0);
    method = aml_begin_method(out, "_PIC", 1, false);
    aml_op(out, AML_STORE);
    aml_op(out, AML_ARG0);
    aml_name(out, "PICF");
    aml_end(out, method);
}

/* A link's status: present, and enabled unless its route register says off. */
static void dsdt_link_status(struct blob *out)
{
    u64 block, method = aml_begin_method(out, "IQST", 1, false);

    block = aml_begin_if(out);
    aml_op(out, AML_AND);
    aml_op(out, AML_ARG0);
    aml_int(out, PIRQ_ROUTE_OFF);
    aml_op(out, AML_NO_TARGET);
    aml_op(out, AML_RETURN);
    aml_int(out, STA_PRESENT_DISABLED);
    aml_end(out, block);
    aml_op(out, AML_RETURN);
    aml_int(out, STA_PRESENT_ENABLED);
    aml_end(out, method);
}

static void link_template(struct blob *out, const char *name, const u32 *irqs, unsigned count)
{
    struct blob res = {0};

    aml_res_interrupts(&res, AML_IRQ_LEVEL_HIGH_SHARED, irqs, count);
    aml_def_name(out, name);
    aml_res_end(out, &res);
}

/* A link's current interrupt, 0 while it is off. */
static void dsdt_link_current(struct blob *out)
{
    static const u32 none = 0;
    struct blob res = {0};
    u64 block, method = aml_begin_method(out, "IQCR", 1, true);

    aml_op(out, AML_STORE);
    aml_res_interrupts(&res, AML_IRQ_LEVEL_HIGH_SHARED, &none, 1);
    aml_res_end(out, &res);
    aml_op(out, AML_LOCAL0);
    aml_create_dword_field(out, IRQ_OFFSET, "PRRI", AML_LOCAL0);
    block = aml_begin_if(out);
    aml_op(out, AML_LNOT);
    aml_op(out, AML_AND);
    aml_op(out, AML_ARG0);
    aml_int(out, PIRQ_ROUTE_OFF);
    aml_op(out, AML_NO_TARGET);
    aml_op(out, AML_AND);
    aml_op(out, AML_ARG0);
    aml_int(out, PIRQ_ROUTE_MASK);
    aml_name(out, "PRRI");
    aml_end(out, block);
    aml_op(out, AML_RETURN);
    aml_op(out, AML_LOCAL0);
    aml_end(out, method);
}

/* _STA and _CRS, which hand the route register to a shared method. */
static void link_query(struct blob *out, const char *name, const char *helper, const char *pirq)
{
    u64 method = aml_begin_method(out, name, 0, false);

    aml_op(out, AML_RETURN);
    aml_name(out, helper);
    aml_name(out, pirq);
    aml_end(out, method);
}

static void link_disable(struct blob *out, const char *pirq)
{
    u64 method = aml_begin_method(out, "_DIS", 0, false);

    aml_op(out, AML_OR);
    aml_name(out, pirq);
    aml_int(out, PIRQ_ROUTE_OFF);
    aml_name(out, pirq);
    aml_end(out, method);
}

static void link_set(struct blob *out, const char *pirq)
{
    u64 method = aml_begin_method(out, "_SRS", 1, true);

    aml_create_dword_field(out, IRQ_OFFSET, "PRRI", AML_ARG0);
    aml_op(out, AML_STORE);
    aml_name(out, "PRRI");
    aml_name(out, pirq);
    aml_end(out, method);
}

static void dsdt_link(struct blob *out, unsigned index)
{
    static const u32 choices[] = {5, 10, 11};
    const char *pirq = pirq_paths[index];
    u64 device = aml_begin_device(out, link_names[index]);

    device_id(out, "PNP0C0F", index);
    link_template(out, "_PRS", choices, ARRAY_SIZE(choices));
    link_query(out, "_STA", "IQST", pirq);
    link_disable(out, pirq);
    link_query(out, "_CRS", "IQCR", pirq);
    link_set(out, pirq);
    aml_end(out, device);
}

/* The power management function's interrupt is the SCI, which no register routes. */
static void dsdt_link_sci(struct blob *out, u32 sci)
{
    u64 method, device = aml_begin_device(out, "LNKS");

    device_id(out, "PNP0C0F", 4);
    link_template(out, "_PRS", &sci, 1);
    link_template(out, "_CRS", &sci, 1);
    method = aml_begin_method(out, "_STA", 0, false);
    aml_op(out, AML_RETURN);
    aml_int(out, STA_PRESENT_ENABLED);
    aml_end(out, method);
    method = aml_begin_method(out, "_DIS", 0, false);
    aml_end(out, method);
    method = aml_begin_method(out, "_SRS", 1, false);
    aml_end(out, method);
    aml_end(out, device);
}

/* 440FX boards wire pin p of slot s to PIRQ (s - 1 + p) mod 4. */
static void pci0_routing(struct blob *out)
{
    u64 entry, table;

    aml_def_name(out, "_PRT");
    table = aml_begin_package(out, PCI_SLOTS * 4);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            bool sci = slot == PIIX_SLOT && pin == 0;

            entry = aml_begin_package(out, 4);
            aml_int(out, slot << 16 | 0xffff);
            aml_int(out, pin);
            aml_name(out, sci ? "LNKS" : link_names[(slot + 3 + pin) % 4]);
            aml_int(out, 0);
            aml_end(out, entry);
        }
    }
    aml_end(out, table);
}

static void pci0_windows(struct blob *out, const struct acpi_config *config)
{
    struct blob res = {0};

    aml_res_bus_window(&res, (struct aml_window){0, 0xff});
    aml_res_io(&res, 0xcf8, 8);
    aml_res_io_window(&res, (struct aml_window){0, 0xcf7});
    aml_res_io_window(&res, (struct aml_window){0xd00, 0xffff});
    aml_res_memory_window32(&res, (struct aml_window){0xa0000, 0xbffff});
    aml_res_memory_window32(&res, config->pci_memory32);
    if (config->pci_memory64.max)
        aml_res_memory_window64(&res, config->pci_memory64);
    device_crs(out, &res);
}

/* One legacy device; a port range of size 0 ends the list. */
struct isa_device {
    const char *name;
    const char *hid;
    struct {
        u16 base;
        u8 size;
    } ports[8];
    int irq; /* -1: none */
    int dma; /* channel, -1: none */
};

static const struct isa_device isa_keyboard = {"KBD", "PNP0303", {{0x60, 1}, {0x64, 1}}, 1, -1};
static const struct isa_device isa_mouse = {"MOU", "PNP0F13", {{0, 0}}, 12, -1};
static const struct isa_device isa_com1 = {"COM1", "PNP0501", {{0x3f8, 8}}, 4, -1};
static const struct isa_device isa_dma = {
    "DMAC", "PNP0200", {{0x00, 16}, {0x81, 3}, {0x87, 1}, {0x89, 3}, {0x8f, 1}, {0xc0, 32}}, -1, 4};
static const struct isa_device isa_always[] = {
    {"RTC", "PNP0B00", {{0x70, 2}}, 8, -1},
    {"TIMR", "PNP0100", {{0x40, 4}}, 0, -1},
    {"PIC", "PNP0000", {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}}, 2, -1},
    {"FPU", "PNP0C04", {{0xf0, 1}}, 13, -1},
    {"SPKR", "PNP0800", {{0x61, 1}}, -1, -1},
};

static void isa_device(struct blob *out, const struct isa_device *device)
{
    struct blob res = {0};
    u64 block = aml_begin_device(out, device->name);

    aml_def_name(out, "_HID");
    aml_eisaid(out, device->hid);
    for (unsigned i = 0; i < ARRAY_SIZE(device->ports) && device->ports[i].size; i++)
        aml_res_io(&res, device->ports[i].base, device->ports[i].size);
    if (device->irq >= 0)
        aml_res_irq(&res, (unsigned)device->irq);
    if (device->dma >= 0)
        aml_res_dma(&res, (unsigned)device->dma);
    device_crs(out, &res);
    aml_end(out, block);
}

/* Ports that are taken but belong to no device of their own. */
static void isa_motherboard(struct blob *out, const struct acpi_config *config)
{
    struct blob res = {0};
    u64 block = aml_begin_device(out, "MBRD");

    device_id(out, "PNP0C02", 1);
    aml_res_io(&res, 0x92, 1);
    aml_res_io(&res, 0xb2, 2);
    aml_res_io(&res, config->pm_base, 64);
    if (config->gpe_base &&
        (config->gpe_base < config->pm_base || config->gpe_base >= config->pm_base + 64))
        aml_res_io(&res, config->gpe_base, config->gpe_size);
    if (config->smbus_base)
        aml_res_io(&res, config->smbus_base, 16);
    if (config->fw_cfg_base)
        aml_res_io(&res, config->fw_cfg_base, 12);
    device_crs(out, &res);
    aml_end(out, block);
}

static void pci0_isa(struct blob *out, const struct acpi_config *config)
{
    u64 field, device = aml_begin_device(out, "ISA");

    aml_def_name_int(out, "_ADR", PIIX_SLOT << 16);
    aml_region(out, "PIRQ", AML_PCI_CONFIG, 0x60, 4);
    field = aml_begin_field(out, "PIRQ", AML_BYTE_ACC);
    for (unsigned i = 0; i < 4; i++)
        aml_field_unit(out, pirq_names[i], 8);
    aml_end(out, field);
    if (config->has_8042)
        isa_device(out, &isa_keyboard);
    if (config->has_8042 && config->has_mouse)
        isa_device(out, &isa_mouse);
    for (unsigned i = 0; i < ARRAY_SIZE(isa_always); i++)
        isa_device(out, &isa_always[i]);
    if (config->has_dma)
        isa_device(out, &isa_dma);
    if (config->has_com1)
        isa_device(out, &isa_com1);
    isa_motherboard(out, config);
    aml_end(out, device);
}

static void dsdt_pci0(struct blob *out, const struct acpi_config *config)
{
    u64 device = aml_begin_device(out, "PCI0");

    device_id(out, "PNP0A03", 0);
    aml_def_name_int(out, "_BBN", 0);
    pci0_windows(out, config);
    pci0_routing(out);
    pci0_isa(out, config);
    aml_end(out, device);
}

static void dsdt_hpet(struct blob *out, const struct acpi_config *config)
{
    struct blob res = {0};
    u64 device;

    if (!config->hpet_address)
        return;
    device = aml_begin_device(out, "HPET");
    device_id(out, "PNP0103", 0);
    aml_res_memory32(&res, (u32)config->hpet_address, 0x400, false);
    device_crs(out, &res);
    aml_end(out, device);
}

/* Processor devices (section 8.4); _UID ties each to its MADT entry. */
static void dsdt_processors(struct blob *out, const struct acpi_config *config)
{
    for (unsigned i = 0; i < config->cpu_count; i++) {
        char name[8];
        u64 device;

        snprintf(name, sizeof(name), "C%03X", i & 0xfff);
        device = aml_begin_device(out, name);
        aml_def_name(out, "_HID");
        aml_string(out, "ACPI0007");
        aml_def_name_int(out, "_UID", i);
        aml_end(out, device);
    }
}

static void dsdt_soft_off(struct blob *out, u8 sleep_type)
{
    u64 package;

    aml_def_name(out, "_S5");
    package = aml_begin_package(out, 4);
    aml_int(out, sleep_type);
    aml_int(out, sleep_type);
    aml_int(out, 0);
    aml_int(out, 0);
    aml_end(out, package);
}

void acpi_dsdt(struct blob *out, const struct acpi_config *config)
{
    u64 scope;

    dsdt_pic(out);
    dsdt_soft_off(out, config->s5_sleep_type);
    scope = aml_begin_scope(out, "\\_SB");
    dsdt_pci0(out, config);
    aml_end(out, scope);
    scope = aml_begin_scope(out, "\\_SB");
    dsdt_link_status(out);
    dsdt_link_current(out);
    for (unsigned i = 0; i < ARRAY_SIZE(link_names); i++)
        dsdt_link(out, i);
    dsdt_link_sci(out, config->sci_irq);
    dsdt_hpet(out, config);
    dsdt_processors(out, config);
    aml_end(out, scope);
}
