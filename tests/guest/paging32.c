/* SPDX-License-Identifier: MIT
 *
 * Paging without long mode (SDM 3A 4.3, 4.4): 32-bit tables with and without PSE, PSE-36, PAE with
 * its page-directory-pointer registers; rights, error codes, reserved bits, accessed and dirty
 * flags.
 */
#include "guest.h"

enum error_bit { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_I = 16 };
enum access { READ, WRITE, FETCH };

#define TEST_VA 0xb0400000u

static u8 *target;
static u32 *directory, *table;
static u64 *pointers, *pae_directory, *pae_table;

SNIPPET(32, do_read, "mov (%edi), %al");
SNIPPET(32, do_write, "mov %al, (%edi)");
SNIPPET(32, do_jump, "jmp *%edi");

static struct context access_run(enum access access, bool user)
{
    static const u8 *const code[] = {do_read, do_write, do_jump};
    struct context c = context_flat(user ? 3 : 0);

    c.di = TEST_VA;
    context_at(&c, code[access]);
    return c;
}

/* One test entry; its rights are P, W, U and, where a mode has it, NX. */
static void check_access(u64 rights, bool wp, bool nxe, enum access access, bool user,
                         const char *mode)
{
    u32 code = (access == WRITE ? E_W : 0) | (user ? E_U : 0) | (access == FETCH && nxe ? E_I : 0);
    bool bad = !(rights & PTE_P) || (user && !(rights & PTE_U)) ||
               (access == WRITE && !(rights & PTE_W) && (user || wp)) ||
               (access == FETCH && nxe && (rights & PTE_NX));
    struct context c;

    target[0] = 0xcd, target[1] = END;
    c = access_run(access, user);
    if (bad)
        check(c.vector == PF && c.error == (code | (rights & PTE_P ? E_P : 0)) &&
                  c.cr2 == TEST_VA && c.ip == (access == FETCH ? TEST_VA : c.base),
              "%s rights %llx wp %u access %u user %u: vector %lx error %lx cr2 %lx", mode, rights,
              wp, access, user, c.vector, c.error, c.cr2);
    else
        check(c.vector == END, "%s rights %llx wp %u access %u user %u: vector %lx error %lx", mode,
              rights, wp, access, user, c.vector, c.error);
}

static void cr0_wp(bool wp)
{
    write_cr0((read_cr0() & ~(ulong)CR0_WP) | (wp ? CR0_WP : 0));
}

static void start_32(void)
{
    directory = page_alloc(), table = page_alloc();
    write_cr4(read_cr4() | CR4_PSE);
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | PTE_P | PTE_W | PTE_U | PTE_PS;
    directory[TEST_VA >> 22] = (u32)table | PTE_P | PTE_W | PTE_U;
    write_cr3((ulong)directory);
    write_cr0(read_cr0() | CR0_PG);
}

static void mode_32(void)
{
    struct context c;
    u32 *entry = &table[TEST_VA >> 12 & 1023], *upper = &directory[TEST_VA >> 22];

    group_begin("32-bit tables");
    for (u32 rights = 0; rights < 8; rights++) {
        for (u32 levels = 0; levels < 2; levels++) {
            for (u32 wp = 0; wp < 2; wp++) {
                for (u32 access = READ; access <= FETCH; access++) {
                    for (u32 user = 0; user < 2; user++) {
                        cr0_wp(wp);
                        *entry = (u32)target | (levels ? PTE_P | PTE_W | PTE_U : rights);
                        *upper = (u32)table | (levels ? rights : PTE_P | PTE_W | PTE_U);
                        write_cr3(read_cr3());
                        check_access(rights, wp, false, access, user, levels ? "PDE" : "PTE");
                    }
                }
            }
        }
    }
    cr0_wp(true);
    *entry = (u32)target | PTE_P | PTE_W | PTE_U, *upper = (u32)table | PTE_P | PTE_W | PTE_U;
    write_cr3(read_cr3());
    access_run(READ, true);
    check(*entry & *upper & PTE_A, "accessed in both levels");
    check_eq(*entry & PTE_D, 0, "not dirty after a read");
    access_run(WRITE, true);
    check_eq(*entry & PTE_D, PTE_D, "dirty after a write");
    check_eq(*upper & PTE_D, 0, "an upper entry has no dirty flag");
    /* 4 MiB pages, PSE-36, and PS without CR4.PSE. */
    *upper = 0x2000000 | PTE_P | PTE_W | PTE_U | PTE_PS;
    write_cr3(read_cr3());
    *(volatile u32 *)0x2012344 = 0x600d;
    check_eq(*(volatile u32 *)(TEST_VA + 0x12344), 0x600d, "4 MiB page");
    *(volatile u32 *)(TEST_VA + 0x12344) = 1;
    check_eq(*upper & (PTE_A | PTE_D), PTE_A | PTE_D, "4 MiB page is accessed and dirty");
    if (cpuid(1, 0).d >> 17 & 1) {
        *upper = 0x2000000 | PTE_P | PTE_W | PTE_U | PTE_PS | 1 << 21;
        write_cr3(read_cr3());
        c = access_run(READ, true);
        check_end(&c, PF, E_P | E_U | E_RSVD, 0, "4 MiB page with bit 21");
    }
    group_end();
    write_cr0(read_cr0() & ~CR0_PG);
    group_begin("PS without CR4.PSE");
    /* Everything must be mapped by 4 KiB pages now: 64 MiB and the test page do. */
    u32 *small = page_alloc();
    for (u32 i = 0; i < 16; i++) {
        u32 *part = page_alloc();
        for (u32 p = 0; p < 1024; p++)
            part[p] = i << 22 | p << 12 | PTE_P | PTE_W | PTE_U;
        small[i] = (u32)part | PTE_P | PTE_W | PTE_U;
    }
    small[TEST_VA >> 22] = (u32)table | PTE_P | PTE_W | PTE_U | PTE_PS;
    *entry = (u32)target | PTE_P | PTE_W | PTE_U;
    target[5] = 0x99;
    write_cr4(read_cr4() & ~(ulong)CR4_PSE);
    write_cr3((ulong)small);
    write_cr0(read_cr0() | CR0_PG);
    check_eq(*(volatile u8 *)(TEST_VA + 5), 0x99, "the bit is ignored");
    write_cr0(read_cr0() & ~CR0_PG);
    group_end();
}

static void start_pae(bool nxe)
{
    pointers = page_alloc(), pae_directory = page_alloc(), pae_table = page_alloc();
    for (u32 i = 0; i < 4; i++) {
        u64 *part = i == TEST_VA >> 30 ? pae_directory : page_alloc();

        for (u32 p = 0; p < 512; p++)
            part[p] = ((u64)i << 30 | p << 21) | PTE_P | PTE_W | PTE_U | PTE_PS;
        pointers[i] = (u32)part | PTE_P;
    }
    pae_directory[TEST_VA >> 21 & 511] = (u32)pae_table | PTE_P | PTE_W | PTE_U;
    write_cr4(read_cr4() | CR4_PAE);
    if (nxe)
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    write_cr3((ulong)pointers);
    write_cr0(read_cr0() | CR0_PG);
}

static void mode_pae(bool nxe)
{
    struct context c;
    u64 *entry = &pae_table[TEST_VA >> 12 & 511], *upper = &pae_directory[TEST_VA >> 21 & 511];
    u32 width = cpuid(0x80000008, 0).a & 0xff;

    group_begin(nxe ? "PAE with NXE" : "PAE");
    for (u32 bits = 0; bits < 16; bits++) {
        u64 rights = (bits & 7) | (bits & 8 ? PTE_NX : 0);

        if ((bits & 8) && !nxe)
            continue;
        for (u32 levels = 0; levels < 2; levels++) {
            for (u32 wp = 0; wp < 2; wp++) {
                for (u32 access = READ; access <= FETCH; access++) {
                    for (u32 user = 0; user < 2; user++) {
                        u64 all = PTE_P | PTE_W | PTE_U;
                        cr0_wp(wp);
                        *entry = (u32)target | (levels ? all : rights);
                        *upper = (u32)pae_table | (levels ? rights : all);
                        write_cr3(read_cr3());
                        check_access(rights, wp, nxe, access, user, levels ? "PDE" : "PTE");
                    }
                }
            }
        }
    }
    for (u32 bit = width; bit < 64; bit++) {
        if (bit == 63 && nxe)
            continue;
        for (u32 level = 0; level < 2; level++) {
            *entry = (u32)target | PTE_P | PTE_W | PTE_U | (level ? 0 : BIT(bit));
            *upper = (u32)pae_table | PTE_P | PTE_W | PTE_U | (level ? BIT(bit) : 0);
            write_cr3(read_cr3());
            c = access_run(WRITE, true);
            check_end(&c, PF, E_P | E_W | E_U | E_RSVD, 0, "level %u bit %u", level + 1, bit);
        }
    }
    for (u32 bit = 13; bit < 21; bit++) {
        *upper = 0x2000000 | PTE_P | PTE_W | PTE_U | PTE_PS | BIT(bit);
        write_cr3(read_cr3());
        c = access_run(READ, true);
        check_end(&c, PF, E_P | E_U | E_RSVD, 0, "2 MiB page, bit %u", bit);
    }
    *upper = 0x2000000 | PTE_P | PTE_W | PTE_U | PTE_PS;
    *(volatile u32 *)0x2012344 = 0x600d;
    write_cr3(read_cr3());
    check_eq(*(volatile u32 *)(TEST_VA + 0x12344), 0x600d, "2 MiB page");
    group_end();
}

/* SDM 3A 4.4.1: the four pointers are loaded by MOV to CR3, checked then, and kept. */
static void pointer_registers(void)
{
    u64 *copy = page_alloc(), old = pointers[2];
    struct context c;
    ulong cr3 = read_cr3();

    group_begin("page-directory-pointer registers");
    if (cpu_is_intel() && !skip_on_qemu("PDPTEs are loaded at MOV to CR3")) {
        pointers[2] = 0;
        invlpg(TEST_VA);
        c = access_run(READ, true);
        check_end(&c, END, 0, -1, "a change in memory is not seen without a load of CR3");
        pointers[2] = old;
    }
    memcpy(copy, pointers, 32);
    copy[2] = 0;
    write_cr3((ulong)copy);
    c = access_run(READ, true);
    check_end(&c, PF, E_U, 0, "an absent pointer");
    write_cr3(cr3);
    c = access_run(READ, true);
    check_end(&c, END, 0, -1, "back again");
    for (u32 bit = 1; bit < 64; bit++) {
        if (bit == 3 || bit == 4 || (bit >= 9 && bit < (cpuid(0x80000008, 0).a & 0xff)))
            continue;
        copy[2] = old | BIT(bit);
        if (!cpu_is_intel()) /* AMD checks them at the walk (APM 2 5.2.3) or at the load */
            continue;
        TRY("mov %0, %%cr3", ::"r"((ulong)copy));
        check_fault(GP, 0, "reserved bit %u", bit);
        check_eq(read_cr3(), cr3, "CR3 after the fault");
        copy[2] = BIT(bit);
        TRY("mov %0, %%cr3", ::"r"((ulong)copy));
        check_no_fault("bit %u of an absent pointer", bit);
        write_cr3(cr3);
    }
    /* CR3 needs only 32-byte alignment here. */
    memcpy((u8 *)copy + 0x7e0, pointers, 32);
    write_cr3((ulong)copy + 0x7e0);
    c = access_run(READ, true);
    check_end(&c, END, 0, -1, "a table at offset 7e0");
    write_cr3(cr3);
    group_end();
}

/* What control registers refuse on the way into long mode and outside it; paging is off. */
static void mode_rules(void)
{
    static const struct {
        u32 cr4, lme, cr0; /* set first: CR4 bits, EFER.LME; the MOV to CR0 sets these */
        u32 feature;       /* of CPUID 80000001H EDX that the case needs */
        bool fault;
        const char *name; /* with the section */
    } cases[] = {
        {0, EFER_LME, CR0_PG, 1u << 29, true, "PG with LME, without PAE (SDM 3A 9.8.5)"},
        {0, 0, CR0_NW, 0, true, "NW without CD (SDM 3A 2.5)"},
        {0, 0, CR0_NW | CR0_CD, 0, false, "NW with CD (SDM 3A 11.5.1)"},
        {CR4_PAE, EFER_LME, 0, 1u << 29, false, "LME without PG changes nothing (SDM 3A 9.8.5)"},
    };
    ulong cr0 = read_cr0(), cr4 = read_cr4();

    group_begin("control registers outside long mode");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        if ((cpuid(0x80000001, 0).d & cases[i].feature) != cases[i].feature)
            continue;
        write_cr4((cr4 & ~(ulong)CR4_PAE) | cases[i].cr4);
        if (cases[i].lme)
            wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_LME);
        TRY("mov %0, %%cr0", ::"r"(cr0 | cases[i].cr0));
        if (cases[i].fault)
            check_fault(GP, 0, "%s", cases[i].name);
        else
            check_no_fault("%s", cases[i].name);
        check_eq(read_cr0() & CR0_PG, 0, "PG after: %s", cases[i].name);
        write_cr0(cr0);
        if (cases[i].lme)
            wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_LME);
    }
    /* SDM 3A 2.5 and 4.10.1: PCIDE in IA-32e mode only. */
    if (cpuid(1, 0).c >> 17 & 1) {
        TRY("mov %0, %%cr4", ::"r"(cr4 | CR4_PCIDE));
        check_fault(GP, 0, "PCIDE outside long mode");
    }
    check_eq(rdmsr(MSR_EFER) & EFER_LMA, 0, "LMA outside long mode");
    write_cr4(cr4);
    group_end();
}

void guest_main(void)
{
    target = page_alloc();
    mode_rules();
    start_32();
    mode_32();
    start_pae(false);
    mode_pae(false);
    write_cr0(read_cr0() & ~CR0_PG);
    start_pae(true);
    mode_pae(true);
    pointer_registers();
    write_cr0(read_cr0() & ~CR0_PG);
}
