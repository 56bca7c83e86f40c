/* SPDX-License-Identifier: MIT
 *
 * CPUID leaves that must agree with each other, MSRs with defined reset values or reserved bits,
 * MOV to control registers, XSETBV and UMIP (SDM 2A CPUID, 3A chapters 2, 4 and 12, SDM 4).
 */
#include "guest.h"

static bool msr_write_faults(u32 index, u64 value)
{
    TRY("wrmsr", ::"c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
    return trap.vector == GP && trap.error == 0 && trap.ip == trap.start;
}

static u64 msr_try_read(u32 index)
{
    u32 low = 0, high = 0;

    TRY("rdmsr", : "=a"(low), "=d"(high) : "c"(index));
    return (u64)high << 32 | low;
}

/* -- CPUID ---------------------------------------------------------------------------------- */

static void cpuid_basic(void)
{
    u32 max = cpuid(0, 0).a, extended = cpuid(0x80000000, 0).a;
    struct cpuid one = cpuid(1, 0), ext = cpuid(0x80000001, 0), high = cpuid(max, 0);
    ulong cr4 = read_cr4();

    check(max >= 0xd && max < 0x100, "cpuid.0 names leaf 0xd and is sane (%x)", max);
    check(extended >= 0x80000008 && extended < 0x80000100, "cpuid.80000000 (%x)", extended);
    check_eq(one.d & 0x0783fbfd, 0x0783fbfd, "cpuid.1.edx baseline");
    check_eq(ext.d & (1 << 29 | 1 << 20 | 1 << 11), 1 << 29 | 1 << 20 | 1 << 11,
             "cpuid.80000001.edx has LM, NX, SYSCALL");
    if (!cpu_is_intel())
        check_eq(ext.d & 0x0183f3ff, one.d & 0x0183f3ff, "cpuid.80000001.edx repeats cpuid.1.edx");
    check(cpuid(0x80000008, 0).a >= 0x3024 || (cpuid(0x80000008, 0).a & 0xff) >= 32,
          "cpuid.80000008 address widths");
    check_eq(cpuid(0x80000008, 0).a >> 8 & 0xff, cpuid(7, 0).c >> 16 & 1 ? 57 : 48,
             "cpuid.80000008 linear address bits");
    if (cpu_is_intel()) {
        struct cpuid beyond = cpuid(max + 0x100, 0);
        check(beyond.a == high.a && beyond.d == high.d, "a leaf beyond the last repeats the last");
    }
    write_cr4(cr4 | CR4_OSXSAVE);
    check(cpuid(1, 0).c >> 27 & 1, "cpuid.1 OSXSAVE follows CR4 (set)");
    write_cr4(cr4 & ~(ulong)CR4_OSXSAVE);
    check(!(cpuid(1, 0).c >> 27 & 1), "cpuid.1 OSXSAVE follows CR4 (clear)");
    if (cpuid(7, 0).c >> 3 & 1) {
        write_cr4(cr4 | CR4_PKE);
        check(cpuid(7, 0).c >> 4 & 1, "cpuid.7 OSPKE follows CR4 (set)");
        write_cr4(cr4);
        check(!(cpuid(7, 0).c >> 4 & 1), "cpuid.7 OSPKE follows CR4 (clear)");
    }
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~BIT(11));
    check(!(cpuid(1, 0).d >> 9 & 1), "cpuid.1 APIC follows APIC_BASE.EN (clear)");
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BIT(11));
    check(cpuid(1, 0).d >> 9 & 1, "cpuid.1 APIC follows APIC_BASE.EN (set)");
}

static void cpuid_registers(void)
{
    u64 a = ~0ull, b = ~0ull, c = ~0ull << 32, d = ~0ull;

    a = ~0ull << 32;
    asm volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    check_eq((a | b | c | d) >> 32, 0, "cpuid clears the upper halves");
    a = c = ~0ull;
    asm volatile("rdtsc" : "+a"(a), "=d"(d));
    check_eq((a | d) >> 32, 0, "rdtsc clears the upper halves");
}

/* SDM 1 13.5: the size of the standard format is the end of the farthest enabled component. */
static void cpuid_xsave(void)
{
    struct cpuid top = cpuid(0xd, 0), one = cpuid(0xd, 1);
    u64 mask = (u64)top.d << 32 | top.a;
    ulong cr4 = read_cr4();
    u32 end_all = 576;

    if (!(cpuid(1, 0).c >> 26 & 1)) {
        check_skip("xsave leaves", "no XSAVE");
        return;
    }
    write_cr4(cr4 | CR4_OSXSAVE);
    check_eq(mask & 3, 3, "XCR0 can hold x87 and SSE");
    group_begin("cpuid.d sizes for every legal XCR0");
    for (u32 i = 2; i < 63; i++) {
        struct cpuid c = cpuid(0xd, i);
        if (!(mask >> i & 1)) {
            if (!((one.c | (u64)one.d << 32) >> i & 1))
                check_eq(c.a | c.b | c.c | c.d, 0, "cpuid.d.%u of an absent component", i);
            continue;
        }
        check(c.a != 0 && c.b >= 576 && !(c.c & 1), "component %u: size %u at %u", i, c.a, c.b);
        end_all = c.a + c.b > end_all ? c.a + c.b : end_all;
    }
    check_eq(top.c, end_all, "cpuid.d.0.ecx is the largest size");
    for (u32 set = 0; set < 4; set++) {
        u64 value = 3 | (set & 1 ? mask & 4 : 0) | (set == 3 ? mask & 0xe0 : 0);
        u32 end = 576, compact = 576;

        if ((value & 0xe0) && (value & 0xe4) != 0xe4)
            continue;
        asm volatile("xsetbv" ::"c"(0), "a"((u32)value), "d"(0));
        for (u32 i = 2; i < 63; i++) {
            struct cpuid c = cpuid(0xd, i);
            if (!(value >> i & 1))
                continue;
            end = c.a + c.b > end ? c.a + c.b : end;
            compact = (c.c & 2 ? (compact + 63) & ~63u : compact) + c.a;
        }
        check_eq(cpuid(0xd, 0).b, end, "cpuid.d.0.ebx with XCR0 %llx", value);
        if (one.a & 2)
            check_eq(cpuid(0xd, 1).b, compact, "cpuid.d.1.ebx with XCR0 %llx", value);
    }
    group_end();
    group_begin("XSETBV reserved values");
    TRY("xsetbv", ::"c"(0), "a"(0), "d"(0));
    check_fault(GP, 0, "XCR0 without x87");
    TRY("xsetbv", ::"c"(0), "a"(5), "d"(0));
    check_fault(GP, 0, "XCR0 with AVX without SSE");
    TRY("xsetbv", ::"c"(0), "a"(0x23), "d"(0));
    check_fault(GP, 0, "XCR0 with part of AVX-512");
    TRY("xsetbv", ::"c"(0), "a"(0xb), "d"(0));
    check_fault(GP, 0, "XCR0 with half of MPX");
    TRY("xsetbv", ::"c"(0), "a"(3), "d"(0x80000000));
    check_fault(GP, 0, "XCR0 bit 63");
    TRY("xsetbv", ::"c"(5), "a"(3), "d"(0));
    check_fault(GP, 0, "XCR5");
    TRY("xgetbv", ::"c"(5) : "eax", "edx");
    check_fault(GP, 0, "reading XCR5");
    group_end();
    asm volatile("xsetbv" ::"c"(0), "a"(1), "d"(0));
    check_eq(cpuid(0xd, 0).b, 576, "cpuid.d.0.ebx with x87 only");
    write_cr4(cr4 & ~(ulong)CR4_OSXSAVE);
    TRY("xgetbv", ::"c"(0) : "eax", "edx");
    check_fault(UD, 0, "XGETBV without CR4.OSXSAVE");
}

/* SDM 3A 9.9: one APIC id everywhere, shifts that grow by level, counts that fit them. */
static void cpuid_topology(void)
{
    u32 initial = cpuid(1, 0).b >> 24, threads = cpuid(1, 0).b >> 16 & 0xff;
    u32 last_shift = 0, last_count = 1;

    check_eq(lapic_read(0x20) >> 24, initial, "cpuid.1 APIC id is the local APIC's");
    if (cpuid(0, 0).a < 0xb || cpuid(0xb, 0).b == 0) {
        check_skip("leaf 0xb", "not there");
        return;
    }
    group_begin("cpuid.b topology");
    for (u32 level = 0; level < 8; level++) {
        struct cpuid c = cpuid(0xb, level);

        check_eq(c.c & 0xff, level, "level %u echoes its number", level);
        check_eq(c.d, initial, "level %u x2APIC id", level);
        if (c.b == 0) {
            check_eq(c.c >> 8 & 0xff, 0, "level %u is the end", level);
            break;
        }
        check_eq(c.c >> 8 & 0xff, level + 1, "level %u type", level);
        check((c.a & 0x1f) >= last_shift && (c.b & 0xffff) >= last_count, "level %u grows", level);
        check((c.b & 0xffff) <= 1u << (c.a & 0x1f), "level %u count fits its shift", level);
        last_shift = c.a & 0x1f, last_count = c.b & 0xffff;
    }
    if (cpuid(1, 0).d >> 28 & 1)
        check(threads >= last_count, "cpuid.1 id space %u holds %u", threads, last_count);
    group_end();
}

/* -- Control registers ---------------------------------------------------------------------- */

static void control_registers(void)
{
    ulong cr0 = read_cr0();

    group_begin("MOV to CR0");
    if (!skip_on_qemu("reserved bits of CR0, PG without PE, PG off in 64-bit mode")) {
        TRY("mov %0, %%cr0", ::"r"(cr0 | BIT(32)));
        check_fault(GP, 0, "bit 32");
        TRY("mov %0, %%cr0", ::"r"(cr0 | BIT(63)));
        check_fault(GP, 0, "bit 63");
        TRY("mov %0, %%cr0", ::"r"((cr0 | CR0_NW) & ~(ulong)CR0_CD));
        check_fault(GP, 0, "NW without CD");
        TRY("mov %0, %%cr0", ::"r"(cr0 & ~(ulong)CR0_PE));
        check_fault(GP, 0, "PG without PE");
        TRY("mov %0, %%cr0", ::"r"(cr0 & ~CR0_PG));
        check_fault(GP, 0, "PG off in 64-bit mode (CS.L)");
    }
    TRY("mov %0, %%cr0", ::"r"(cr0 & ~(ulong)CR0_ET));
    check_no_fault("ET is fixed");
    check_eq(read_cr0() & CR0_ET, CR0_ET, "ET reads one");
    TRY("mov %0, %%cr0", ::"r"(cr0 | 0x1ff80));
    check_no_fault("reserved bits below 32");
    check_eq(read_cr0() & 0xffc0, 0, "reserved bits read zero");
    group_end();
    write_cr0(cr0);

    group_begin("MOV CR8");
    TRY("mov %0, %%cr8", ::"r"(16ul));
    check_fault(GP, 0, "bit 4");
    TRY("mov %0, %%cr8", ::"r"(5ul));
    check_no_fault("5");
    check_eq(lapic_read(0x80), 0x50, "CR8 is TPR[7:4]");
    asm volatile("mov %0, %%cr8" ::"r"(0ul));
    TRY(".byte 0x0f, 0x22, 0xe8", ::);
    check_fault(UD, 0, "CR5");
    TRY(".byte 0x0f, 0x20, 0xc8", ::: "rax");
    check_fault(UD, 0, "CR1");
    group_end();
}

static void control_registers_3_4(void)
{
    ulong cr3 = read_cr3(), cr4 = read_cr4();

    if (skip_on_qemu("MOV to CR3 and CR4"))
        return;
    group_begin("MOV to CR3 and CR4");
    TRY("mov %0, %%cr4", ::"r"(cr4 & ~(ulong)CR4_PAE));
    check_fault(GP, 0, "PAE off in long mode");
    for (u32 bit = 30; bit < 64; bit++) {
        TRY("mov %0, %%cr4", ::"r"(cr4 | BIT(bit)));
        check_fault(GP, 0, "CR4 bit %u", bit);
        write_cr4(cr4);
    }
    TRY("mov %0, %%cr4", ::"r"(cr4 | 1 << 15));
    check_fault(GP, 0, "CR4 bit 15");
    TRY("mov %0, %%cr3", ::"r"(cr3 | BIT(62)));
    check_fault(GP, 0, "CR3 bit 62");
    TRY("mov %0, %%cr3", ::"r"(cr3 | BIT(52)));
    check_fault(GP, 0, "CR3 bit 52");
    TRY("mov %0, %%cr3", ::"r"(cr3 | 7));
    check_no_fault("CR3 ignored bits");
    write_cr3(cr3);
    if (cpuid(1, 0).c >> 17 & 1) {
        write_cr3(cr3 | 5);
        TRY("mov %0, %%cr4", ::"r"(cr4 | CR4_PCIDE));
        check_fault(GP, 0, "PCIDE while CR3[11:0] is not zero");
        write_cr3(cr3);
    }
    group_end();
}

/* Compatibility mode at CPL 0: what may not change there. EAX is written. */
SNIPPET(32, compat_cr0, "mov %eax, %cr0");
SNIPPET(32, compat_cr4, "mov %eax, %cr4");
SNIPPET(32, compat_wrmsr, "wrmsr");

static void compatibility_rules(void)
{
    ulong cr0 = read_cr0(), cr4 = read_cr4(), efer = rdmsr(MSR_EFER);
    const struct {
        const u8 *code;
        ulong value, index;
        bool pcid; /* with CR4.PCIDE set */
        const char *name;
    } cases[] = {
        {compat_cr0, cr0 & ~CR0_PG, 0, true, "PG off with PCIDE (SDM 3A 4.10.1)"},
        {compat_cr0, cr0 & ~(ulong)CR0_PE, 0, false, "PE off with PG (SDM 2, MOV to CR)"},
        {compat_cr4, cr4 & ~(ulong)CR4_PAE, 0, false, "PAE off (SDM 3A 4.1.2)"},
        {compat_wrmsr, efer & ~(ulong)EFER_LME, MSR_EFER, false, "LME off (SDM 3A 9.8.5)"},
    };

    if (skip_on_qemu("control registers in compatibility mode"))
        return;
    group_begin("control registers in compatibility mode");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        struct context c = context_flat(0);

        if (cases[i].pcid && !(cpuid(1, 0).c >> 17 & 1))
            continue;
        if (cases[i].pcid)
            write_cr4(cr4 | CR4_PCIDE);
        c.cs = K_CS32;
        c.ip = c.base = (ulong)cases[i].code;
        c.ax = cases[i].value, c.cx = cases[i].index, c.dx = 0;
        context_run(&c);
        check_end(&c, GP, 0, 0, "%s", cases[i].name);
        write_cr4(cr4);
    }
    check_eq(read_cr0(), cr0, "CR0 is as it was");
    group_end();
}

/* SDM 3A 2.5, CR4.UMIP: SGDT, SIDT, SLDT, SMSW and STR at CPL 3. */
SNIPPET(64, umip_sgdt, "sgdt (%rdi)");
SNIPPET(64, umip_sidt, "sidt (%rdi)");
SNIPPET(64, umip_sldt, "sldt %eax");
SNIPPET(64, umip_str, "str %eax");
SNIPPET(64, umip_smsw, "smsw %rax");

static void umip(void)
{
    static const u8 *const code[] = {umip_sgdt, umip_sidt, umip_sldt, umip_str, umip_smsw};
    static u8 buffer[16];
    ulong cr4 = read_cr4();

    group_begin("UMIP");
    for (u32 set = 0; set < 2; set++) {
        if (set == 1 && !(cpuid(7, 0).c >> 2 & 1))
            break;
        write_cr4(cr4 | (set ? CR4_UMIP : 0));
        for (u32 i = 0; i < ARRAY_SIZE(code); i++) {
            struct context c = context_flat(3);

            c.di = (ulong)buffer;
            context_at(&c, code[i]);
            if (set)
                check_end(&c, GP, 0, 0, "instruction %u at CPL 3", i);
            else
                check_end(&c, END, 0, -1, "instruction %u at CPL 3 without UMIP", i);
            if (!set && i == 4)
                check_eq(c.ax, read_cr0(), "SMSW r64 reads all of CR0");
            c = context_flat(0);
            c.di = (ulong)buffer;
            context_at(&c, code[i]);
            check_end(&c, END, 0, -1, "instruction %u at CPL 0, UMIP %u", i, set);
        }
    }
    write_cr4(cr4);
    group_end();
}

/* -- MSRs ----------------------------------------------------------------------------------- */

static void msr_unknown(void)
{
    static const u32 unknown[] = {0x5, 0x2fe, 0x40000fff, 0xc0001fff, 0xc0000085, 0xdeadbeef};

    group_begin("unknown MSRs");
    for (u32 i = 0; i < ARRAY_SIZE(unknown); i++) {
        msr_try_read(unknown[i]);
        check_fault(GP, 0, "reading %x", unknown[i]);
        check(msr_write_faults(unknown[i], 0), "writing %x", unknown[i]);
    }
    group_end();
}

static void msr_efer(void)
{
    u64 efer = rdmsr(MSR_EFER);

    check_eq(efer & (EFER_LMA | EFER_LME | EFER_SCE), EFER_LMA | EFER_LME | EFER_SCE,
             "EFER has LMA, LME and SCE");
    check(msr_write_faults(MSR_EFER, efer & ~(u64)EFER_LME), "EFER.LME off while paging");
    check(msr_write_faults(MSR_EFER, efer | BIT(63)), "EFER bit 63");
    check(msr_write_faults(MSR_EFER, efer | 2), "EFER bit 1");
    wrmsr(MSR_EFER, (efer | EFER_NXE) & ~(u64)EFER_SCE);
    TRY("syscall", ::: "rcx", "r11");
    check_fault(UD, 0, "SYSCALL without EFER.SCE");
    TRY("sysretq", ::: "rcx", "r11");
    check_fault(UD, 0, "SYSRET without EFER.SCE");
    wrmsr(MSR_EFER, efer | EFER_NXE);
    check_eq(rdmsr(MSR_EFER), efer | EFER_NXE, "EFER keeps NXE");
    wrmsr(MSR_EFER, efer);
}

static void msr_values(void)
{
    static const u32 canonical[] = {MSR_LSTAR,       MSR_CSTAR,          MSR_FS_BASE,
                                    MSR_GS_BASE,     MSR_KERNEL_GS_BASE, MSR_SYSENTER_ESP,
                                    MSR_SYSENTER_EIP};
    u64 base = rdmsr(MSR_APIC_BASE), pat = rdmsr(MSR_PAT), star = rdmsr(MSR_STAR), t;

    group_begin("addresses in MSRs must be canonical");
    for (u32 i = 0; i < ARRAY_SIZE(canonical); i++) {
        u64 old = rdmsr(canonical[i]);

        if (canonical[i] < MSR_LSTAR && !cpu_is_intel())
            continue; /* AMD keeps 32 bits: SYSENTER is not there in long mode */
        check(msr_write_faults(canonical[i], 0x0000800000000000), "%x", canonical[i]);
        check_eq(rdmsr(canonical[i]), old, "%x after the fault", canonical[i]);
        wrmsr(canonical[i], 0xffff800000123456);
        check_eq(rdmsr(canonical[i]), 0xffff800000123456, "%x high half", canonical[i]);
        wrmsr(canonical[i], old);
    }
    group_end();
    wrmsr(MSR_STAR, 0x123456789abcdef0);
    check_eq(rdmsr(MSR_STAR), 0x123456789abcdef0, "STAR keeps 64 bits");
    wrmsr(MSR_STAR, star);
    check(msr_write_faults(MSR_FMASK, BIT(32)) || rdmsr(MSR_FMASK) < BIT(32), "FMASK bit 32");
    wrmsr(MSR_FMASK, 0);

    check_eq(pat, 0x0007040600070406, "PAT after reset");
    group_begin("PAT types");
    for (u32 type = 0; type < 256; type++) {
        bool legal = type <= 7 && type != 2 && type != 3;
        if (type > 16 && (type & type >> 1))
            continue;
        check_eq(msr_write_faults(MSR_PAT, (pat & ~0xff0000ull) | type << 16), !legal, "type %x",
                 type);
        wrmsr(MSR_PAT, pat);
    }
    group_end();

    check_eq(base & 0xf00, 0x900, "APIC_BASE: enabled, boot processor");
    check_eq(base >> 12, LAPIC_DEFAULT >> 12, "APIC_BASE address");
    check(msr_write_faults(MSR_APIC_BASE, base | BIT(63)), "APIC_BASE bit 63");
    check(msr_write_faults(MSR_APIC_BASE, (base & ~BIT(11)) | BIT(10)), "APIC_BASE x2APIC, not on");

    if (cpuid(7, 0).b >> 1 & 1) {
        t = rdtsc();
        wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST) + BIT(50));
        check(rdtsc() - t >= BIT(50) && rdtsc() - t < BIT(51), "TSC_ADJUST moves the TSC");
        wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST) - BIT(50));
        t = rdmsr(MSR_TSC_ADJUST);
        wrmsr(MSR_TSC, rdtsc() + BIT(48));
        check(rdmsr(MSR_TSC_ADJUST) - t > BIT(47) && rdmsr(MSR_TSC_ADJUST) - t < BIT(49),
              "writing the TSC moves TSC_ADJUST");
        wrmsr(MSR_TSC_ADJUST, t);
    } else {
        check_skip("TSC_ADJUST", "not in CPUID");
    }
    t = rdtsc();
    wrmsr(MSR_TSC, 0x123400000000);
    check(rdtsc() - 0x123400000000 < BIT(34), "the TSC is written in full");
    wrmsr(MSR_TSC, t);
    if (cpuid(0x80000001, 0).d >> 27 & 1) {
        u32 aux;

        wrmsr(MSR_TSC_AUX, 0x12345);
        asm volatile("rdtscp" : "=c"(aux)::"eax", "edx");
        check_eq(aux, 0x12345, "RDTSCP gives TSC_AUX");
        if (cpuid(7, 0).c >> 22 & 1) {
            u64 id;
            asm volatile("rdpid %0" : "=r"(id));
            check_eq(id, 0x12345, "RDPID gives TSC_AUX");
        }
    }
}

/* SDM 3A 12.11.2 */
static void msr_mtrr(void)
{
    u64 cap = rdmsr(MSR_MTRR_CAP), def = rdmsr(MSR_MTRR_DEF_TYPE);
    u32 variable = cap & 0xff;

    if (!(cpuid(1, 0).d >> 12 & 1) || variable == 0) {
        check_skip("MTRR", "none");
        return;
    }
    group_begin("MTRR");
    check(msr_write_faults(MSR_MTRR_CAP, cap), "MTRRCAP is read-only");
    for (u32 type = 0; type < 9; type++) {
        bool legal = type <= 6 && type != 2 && type != 3;
        check_eq(msr_write_faults(MSR_MTRR_DEF_TYPE, (def & ~0xffull) | type), !legal,
                 "default type %u", type);
        wrmsr(MSR_MTRR_DEF_TYPE, def);
        check_eq(msr_write_faults(0x200, 0x1000 | type), !legal, "variable type %u", type);
    }
    check(msr_write_faults(MSR_MTRR_DEF_TYPE, def | BIT(12)), "DEF_TYPE bit 12");
    check(msr_write_faults(0x201, BIT(63)), "PHYSMASK bit 63");
    for (u32 i = 0; i < variable; i++) {
        wrmsr(0x201 + 2 * i, 0xffffff800);
        check_eq(rdmsr(0x201 + 2 * i), 0xffffff800, "PHYSMASK %u", i);
        wrmsr(0x201 + 2 * i, 0);
    }
    msr_try_read(0x200 + 2 * variable);
    if (0x200 + 2 * variable < 0x250)
        check_fault(GP, 0, "the MTRR after the last");
    check(msr_write_faults(0x250, 0x0202020202020202), "fixed range, type 2");
    wrmsr(0x250, 0x0606060606060606);
    check_eq(rdmsr(0x250), 0x0606060606060606, "fixed range");
    group_end();
}

SNIPPET(64, user_rdmsr, "rdmsr");
SNIPPET(64, user_wrmsr, "wrmsr");
SNIPPET(64, user_cr0, "mov %cr0, %rax");
SNIPPET(64, user_db7, "mov %db7, %rax");
SNIPPET(64, user_hlt, "hlt");
SNIPPET(64, user_rdtsc, "rdtsc");
SNIPPET(64, user_clts, "clts");
SNIPPET(64, user_wbinvd, "wbinvd");
SNIPPET(64, user_invlpg, "invlpg (%rdi)");
SNIPPET(64, user_lgdt, "lgdt (%rdi)");
SNIPPET(64, user_lidt, "lidt (%rdi)");
SNIPPET(64, user_ltr, "ltr %ax");
SNIPPET(64, user_lldt, "lldt %ax");
SNIPPET(64, user_lmsw, "lmsw %ax");
SNIPPET(64, user_swapgs, "swapgs");
SNIPPET(64, user_sysret, "sysretq");
SNIPPET(64, user_cli, "cli");
SNIPPET(64, user_in, "in $0x71, %al");
SNIPPET(64, user_rdpmc, "rdpmc");

static void privileged(void)
{
    static const u8 *const code[] = {user_rdmsr, user_wrmsr,  user_cr0,    user_db7,    user_hlt,
                                     user_clts,  user_wbinvd, user_lgdt,   user_lidt,   user_ltr,
                                     user_lldt,  user_lmsw,   user_swapgs, user_sysret, user_cli,
                                     user_in,    user_invlpg, user_rdpmc};
    ulong cr4 = read_cr4();
    struct context c;

    group_begin("privileged instructions at CPL 3");
    for (u32 i = 0; i < ARRAY_SIZE(code); i++) {
        c = context_flat(3);
        c.cx = MSR_EFER;
        context_at(&c, code[i]);
        check_end(&c, GP, 0, 0, "instruction %u", i);
    }
    write_cr4(cr4 | CR4_TSD);
    c = context_flat(3);
    context_at(&c, user_rdtsc);
    check_end(&c, GP, 0, 0, "RDTSC with CR4.TSD");
    write_cr4(cr4 & ~(ulong)CR4_TSD);
    context_at(&c, user_rdtsc);
    check_end(&c, END, 0, 4, "RDTSC without CR4.TSD");
    write_cr4(cr4);
    group_end();
}

void guest_main(void)
{
    cpuid_basic();
    cpuid_registers();
    cpuid_xsave();
    cpuid_topology();
    control_registers();
    control_registers_3_4();
    compatibility_rules();
    umip();
    msr_unknown();
    msr_efer();
    msr_values();
    msr_mtrr();
    privileged();
}
