/* SPDX-License-Identifier: MIT
 *
 * What the machine runs first: firmware with everything it asks for in fw_cfg, or, with -bios none,
 * a kernel put into memory and entered directly.
 */
#include <string.h>

#include "cpu/control.h"
#include "cpu/msr.h"
#include "cpu/segment.h"
#include "devices/pci/pci.h"
#include "machine/internal.h"

/* Default UUID: random-free, so that counted runs repeat. */
static const u8 machine_uuid[16] = {0x4c, 0x6f, 0x63, 0x6b, 0x73, 0x74, 0x40, 0x65,
                                    0x80, 0x70, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01};

static bool direct(const struct machine *m)
{
    return m->config.bios && !strcmp(m->config.bios, "none");
}

static enum status build_platform(struct machine *m, struct error *err)
{
    u32 apic_ids[MACHINE_VCPUS_MAX];
    struct cpuid_result leaf1;
    const struct cpu_topology *t = &m->model.topology;
    struct platform_config config = {
        .layout = m->layout,
        .cpu_count = m->processor_count,
        .serial_console = m->config.serial[0] != NULL,
    };
    enum status st;

    for (unsigned n = 0; n < m->processor_count; n++)
        apic_ids[n] = m->processors[n].vcpu->apic_id;
    cpuid_read(m->processors[0].vcpu, 1, 0, &leaf1);
    config.max_cpus = apic_ids[m->processor_count - 1] + 1;
    acpi_config_pc(&config.acpi, &m->layout);
    config.acpi.apic_ids = apic_ids;
    config.acpi.cpu_count = m->processor_count;
    config.acpi.has_com1 = m->config.serial[0] != NULL;
    config.acpi.has_vga = false;
    config.smbios = (struct smbios_config){
        .version = "0.1",
        .sockets = t->sockets,
        .cores = t->cores,
        .threads = t->cores * t->threads,
        .cpu_signature = leaf1.eax,
        .cpu_features = leaf1.edx,
        .cpu_mhz = (u16)(m->model.tsc_hz / 1000000),
        .layout = m->layout,
    };
    memcpy(config.smbios.uuid, machine_uuid, sizeof(machine_uuid));
    st = platform_build(&m->platform, &config, err);
    m->has_platform = st == ST_OK;
    return st;
}

static enum status load_image(struct machine *m, struct error *err)
{
    const struct boot_request request = {
        .kernel = m->config.kernel, .initrd = m->config.initrd, .append = m->config.append};
    enum status st;

    if (!m->config.kernel)
        return ST_OK;
    st = boot_image_load(&m->image, &request, &m->layout, err);
    m->has_image = st == ST_OK;
    return st;
}

enum status start_create(struct machine *m, struct error *err)
{
    enum status st;

    st = fw_cfg_store_create(&m->store, err);
    if (st)
        return st;
    m->has_store = true;
    st = build_platform(m, err);
    if (!st)
        st = load_image(m, err);
    if (st || direct(m))
        return st;
    st = platform_to_fw_cfg(&m->platform, &m->store, err);
    if (!st && m->has_image)
        st = boot_to_fw_cfg(&m->image, &m->store, err);
    if (!st)
        st = firmware_load(&m->firmware, m->map, m->config.bios, err);
    m->has_firmware = st == ST_OK;
    return st;
}

void start_destroy(struct machine *m)
{
    if (m->has_firmware)
        firmware_unload(&m->firmware);
    if (m->has_image)
        boot_image_fini(&m->image);
    if (m->has_platform)
        platform_fini(&m->platform);
    if (m->has_store)
        fw_cfg_store_destroy(&m->store);
}

/* -- entering a kernel without firmware -- */

static void set_segment(struct segment *s, u16 selector, u16 access)
{
    *s = (struct segment){.selector = selector, .limit = 0xffffffff, .attr = access};
}

static void enter(struct vcpu *v, const struct boot_state *s)
{
    v->gdtr = (struct table_reg){.base = s->gdt_base, .limit = s->gdt_limit};
    set_segment(&v->seg[SEG_CS], s->cs, s->cs_access);
    for (unsigned seg = 0; seg < SEG_COUNT; seg++)
        if (seg != SEG_CS)
            set_segment(&v->seg[seg], s->ds, s->ds_access);
    v->cr0 = CR0_PE | CR0_ET | CR0_NE;
    if (s->mode == BOOT_LONG64) {
        v->cr3 = s->cr3;
        v->cr4 = CR4_PAE;
        v->efer = EFER_LME | EFER_LMA;
        v->cr0 |= CR0_PG;
    }
    v->gpr[RAX] = s->rax;
    v->gpr[RBX] = s->rbx;
    v->gpr[RDX] = 0;
    v->gpr[RSI] = s->rsi;
    v->gpr[RSP] = s->rsp;
    v->rip = v->next_rip = s->rip;
    tlb_flush_all(&v->tlb);
    vcpu_update_mode(v);
}

/* A configuration write as firmware would make it; devfn is device << 3 | function. */
static void config_write(struct machine *m, u32 devfn, u32 reg, u32 value, unsigned size)
{
    pio_write(&m->pio, 0xcf8, (u32)BIT(31) | devfn << 8 | (reg & ~3u), 4);
    pio_write(&m->pio, (u16)(0xcfc + (reg & 3)), value, size);
}

/* Without firmware nobody programs the chipset. C0000-FFFFF become RAM (82441FX 3.2.14); the power
 * management and SMBus ports get the addresses that the ACPI tables name (82371AB 7.1.26, 7.1.38).
 */
static void program_chipset(struct machine *m)
{
    const struct acpi_config *acpi = &m->platform.config.acpi;
    const u32 pm = 1 << 3 | 3;

    for (u32 reg = 0x59; reg <= 0x5f; reg++)
        config_write(m, 0, reg, reg == 0x59 ? 0x30 : 0x33, 1);
    config_write(m, pm, 0x40, acpi->pm_base | 1, 4);
    config_write(m, pm, 0x80, 1, 1);
    config_write(m, pm, 0x90, acpi->smbus_base | 1, 4);
    config_write(m, pm, 0xd2, 1, 1);
}

enum status start_reset(struct machine *m, struct error *err)
{
    struct boot_state state;
    enum status st;

    if (!direct(m))
        return ST_OK;
    program_chipset(m);
    st = boot_direct(&m->image, &m->platform, m->map, vcpu_has(m->processors[0].vcpu, FEAT_LM),
                     &state, err);
    if (!st)
        enter(m->processors[0].vcpu, &state);
    return st;
}
