/* SPDX-License-Identifier: MIT */
#include "frontend/conform/engine_image.h"

#include <cpuid.h>
#include <string.h>
#include <sys/auxv.h>

#include "cpu/regs.h"
#include "mem/base/bits.h"

enum pte { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_G = 0x100 };
#define PTE_NX BIT(63)

/* Page tables, in the order of their pages. */
enum table {
    TABLE_PML4,
    TABLE_LOW_PDPT,
    TABLE_LOW_PD,
    TABLE_CODE,
    TABLE_DATA,
    TABLE_STACK,
    TABLE_KERNEL_PDPT,
    TABLE_KERNEL_PD,
    TABLE_KERNEL,
    TABLES
};
static_assert(IMAGE_PML4 + TABLES * 4096 <= IMAGE_GDT, "the page tables fit");

/* How the areas of the arena are mapped, in their order. */
static const struct area_mapping {
    enum table table;
    u64 rights;
} area_mappings[ARENA_AREAS] = {{TABLE_CODE, PTE_W},
                                {TABLE_DATA, PTE_W | PTE_NX},
                                {TABLE_DATA, PTE_NX},
                                {TABLE_STACK, PTE_W | PTE_NX}};

static void set_entry(u8 *ram, enum table table, unsigned index, u64 value)
{
    store_le(ram + IMAGE_PML4 + table * 4096 + index * 8, value, 8);
}

static void set_table(u8 *ram, enum table table, unsigned index, enum table next, bool user)
{
    set_entry(ram, table, index,
              (IMAGE_PML4 + next * 4096) | PTE_P | PTE_W | PTE_A | (user ? PTE_U : 0));
}

/* A and D are set: a case is not to differ from the next by them. */
static void build_page_tables(u8 *ram)
{
    set_table(ram, TABLE_PML4, 0, TABLE_LOW_PDPT, true);
    set_table(ram, TABLE_LOW_PDPT, 0, TABLE_LOW_PD, true);
    for (unsigned n = 0; n < ARENA_AREAS; n++) {
        const struct arena_area *area = &arena_areas[n];
        const struct area_mapping *m = &area_mappings[n];

        set_table(ram, TABLE_LOW_PD, area->address >> 21, m->table, true);
        for (u32 at = 0; at < area->size; at += 4096)
            set_entry(ram, m->table, ((area->address + at) >> 12) & 511,
                      (IMAGE_ARENA + area->offset + at) | PTE_P | PTE_U | PTE_A | PTE_D |
                          m->rights);
    }
    set_table(ram, TABLE_PML4, (IMAGE_KERNEL >> 39) & 511, TABLE_KERNEL_PDPT, false);
    set_table(ram, TABLE_KERNEL_PDPT, 0, TABLE_KERNEL_PD, false);
    set_table(ram, TABLE_KERNEL_PD, 0, TABLE_KERNEL, false);
    for (unsigned page = 0; page < IMAGE_ARENA / 4096; page++)
        set_entry(ram, TABLE_KERNEL, page, page * 4096 | PTE_P | PTE_W | PTE_A | PTE_D | PTE_G);
}

/* limit: bytes, or pages with ATTR_G. */
static u64 descriptor(u32 base, u32 limit, u32 attr)
{
    return (limit & 0xffff) | (u64)(limit >> 16 & 0xf) << 48 | (u64)(base & 0xffffff) << 16 |
           (u64)(base >> 24) << 56 | (u64)attr << 40;
}

enum {
    DATA = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED,
    CODE = DATA | ATTR_CODE,
    USER_DATA = DATA | ATTR_DPL,
    USER_CODE = CODE | ATTR_DPL,
};

u64 image_descriptor(u16 selector)
{
    switch (selector) {
    case SEL_KERNEL_CS: return descriptor(0, 0xfffff, CODE | ATTR_L | ATTR_G);
    case SEL_KERNEL_SS: return descriptor(0, 0xfffff, DATA | ATTR_DB | ATTR_G);
    case SEL_CS64: return descriptor(0, 0xfffff, USER_CODE | ATTR_L | ATTR_G);
    case SEL_CS32: return descriptor(0, 0xfffff, USER_CODE | ATTR_DB | ATTR_G);
    case SEL_FLAT: return descriptor(0, 0xfffff, USER_DATA | ATTR_DB | ATTR_G);
    case SEL_CODE16: return descriptor(ARENA_CODE, 0xffff, USER_CODE);
    case SEL_DATA16: return descriptor(ARENA_DATA, 0xffff, USER_DATA);
    case SEL_STACK16: return descriptor(ARENA_STACK, 0xffff, USER_DATA);
    case SEL_CODE32: return descriptor(ARENA_CODE, 0x1fff, USER_CODE | ATTR_DB);
    case SEL_DATA_RO:
        return descriptor(ARENA_DATA, 0x17ff, (USER_DATA & ~(u32)ATTR_WRITE) | ATTR_DB);
    case SEL_DATA_DOWN:
        return descriptor(ARENA_DATA, 0x7ff, USER_DATA | ATTR_EXPAND_DOWN | ATTR_DB);
    case SEL_ABSENT: return descriptor(ARENA_DATA, 0xffff, USER_DATA & ~(u32)ATTR_P);
    case SEL_CODE_XO:
        return descriptor(ARENA_CODE, 0x1fff, (USER_CODE & ~(u32)ATTR_WRITE) | ATTR_DB);
    case SEL_CODE_CONF:
        return descriptor(ARENA_CODE, 0x1fff,
                          (USER_CODE & ~(u32)ATTR_P) | ATTR_EXPAND_DOWN | ATTR_DB);
    case SEL_CPU_NODE:
        return descriptor(0, 0, (USER_DATA & ~(u32)ATTR_WRITE) | ATTR_EXPAND_DOWN | ATTR_DB);
    default: return 0;
    }
}

static void build_descriptors(u8 *ram)
{
    const u64 tss = IMAGE_KERNEL + IMAGE_TSS, ldt = IMAGE_KERNEL + IMAGE_LDT;

    for (unsigned s = 0; s <= IMAGE_GDT_LIMIT; s += 8) {
        u64 user = image_descriptor((u16)(s | 3));

        store_le(ram + IMAGE_GDT + s, user ? user : image_descriptor((u16)s), 8);
    }
    for (unsigned s = 0; s <= IMAGE_LDT_LIMIT; s += 8)
        store_le(ram + IMAGE_LDT + s, image_descriptor((u16)(s | 7)), 8);
    store_le(ram + IMAGE_GDT + SEL_TSS,
             descriptor((u32)tss, IMAGE_TSS_LIMIT, ATTR_P | SYS_TSS_BUSY), 8);
    store_le(ram + IMAGE_GDT + SEL_TSS + 8, tss >> 32, 8);
    store_le(ram + IMAGE_GDT + SEL_LDT, descriptor((u32)ldt, IMAGE_LDT_LIMIT, ATTR_P | SYS_LDT), 8);
    store_le(ram + IMAGE_GDT + SEL_LDT + 8, ldt >> 32, 8);
}

/* Linux lets user code reach INT3 and INTO only (INT 80h aside, which a judge without system calls
 * cannot run). */
static void build_vectors(u8 *ram)
{
    for (unsigned n = 0; n < 256; n++) {
        const u64 stub = IMAGE_KERNEL + IMAGE_STUBS + n * 16;
        const u64 dpl = n == VEC_BP || n == VEC_OF ? 3 : 0;
        u8 *gate = ram + IMAGE_IDT + n * 16;

        store_le(gate,
                 (stub & 0xffff) | SEL_KERNEL_CS << 16 |
                     (ATTR_P | SYS_INT_GATE | dpl << ATTR_DPL_SHIFT) << 40 |
                     (stub >> 16 & 0xffff) << 48,
                 8);
        store_le(gate + 8, stub >> 32, 8);
        ram[IMAGE_STUBS + n * 16] = 0xf4;
    }
    ram[IMAGE_SYSCALL] = 0xf4;
    store_le(ram + IMAGE_TSS + 4, IMAGE_KERNEL + IMAGE_STACK, 8);
    store_le(ram + IMAGE_TSS + 0x66, IMAGE_TSS_LIMIT + 1, 2); /* no I/O permission bitmap */
}

void image_build(u8 *ram)
{
    build_page_tables(ram);
    build_descriptors(ram);
    build_vectors(ram);
    arena_fill(ram + IMAGE_ARENA);
}

/* -- registers -- */

u64 image_host_xcr0(void)
{
    u32 eax, ebx, ecx, edx;

    __cpuid(1, eax, ebx, ecx, edx);
    if (!(ecx & BIT(27))) /* OSXSAVE */
        return XCR0_X87 | XCR0_SSE;
    __asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (u64)edx << 32 | eax;
}

static bool host_ospke(void)
{
    u32 eax, ebx, ecx = 0, edx;

    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ecx & BIT(4));
}

u64 image_cr4(const struct feature_set *features)
{
    u64 cr4 =
        CR4_VME | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;

    if (feature_has(features, FEAT_XSAVE))
        cr4 |= CR4_OSXSAVE;
    if (feature_has(features, FEAT_FSGSBASE) && (getauxval(AT_HWCAP2) & BIT(1)))
        cr4 |= CR4_FSGSBASE;
    if (feature_has(features, FEAT_PKU) && host_ospke())
        cr4 |= CR4_PKE;
    return cr4;
}
