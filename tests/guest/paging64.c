/* SPDX-License-Identifier: MIT
 *
 * Four-level paging (SDM 3A 4.5-4.12): every combination of rights against every kind of access
 * with its exact error code, reserved bits, accessed and dirty flags, large pages, protection keys,
 * accesses across pages, what an invalidation must drop, and non-canonical addresses.
 */
#include "guest.h"

/* Far from everything that boot.asm maps. */
#define TEST_VA 0x0000123440000000ul

enum error_bit { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_I = 16, E_PK = 32 };
enum access { READ, WRITE, FETCH };

static u8 *target; /* the page's memory, mapped one to one */

SNIPPET(64, do_read, "mov (%rdi), %al");
SNIPPET(64, do_write, "mov %al, (%rdi)");
SNIPPET(64, do_jump, "jmp *%rdi");

static struct context access_run(enum access access, bool user, ulong va, bool ac)
{
    static const u8 *const code[] = {do_read, do_write, do_jump};
    struct context c = context_flat(user ? 3 : 0);

    c.di = va;
    c.flags |= ac ? FL_AC : 0;
    context_at(&c, code[access]);
    return c;
}

static bool has(u32 leaf_bit)
{
    return cpuid(7, 0).b >> leaf_bit & 1;
}

struct setup {
    bool wp, nxe, smep, smap;
};

static void setup_apply(const struct setup *s)
{
    ulong cr0 = read_cr0() & ~(ulong)CR0_WP, cr4 = read_cr4() & ~(ulong)(CR4_SMEP | CR4_SMAP);

    write_cr0(cr0 | (s->wp ? CR0_WP : 0));
    write_cr4(cr4 | (s->smep ? CR4_SMEP : 0) | (s->smap ? CR4_SMAP : 0));
    wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~(u64)EFER_NXE) | (s->nxe ? EFER_NXE : 0));
}

/* SDM 3A 4.6.1, written down once more. -1 is no fault. */
static i32 expected_error(u64 pte, enum access access, bool user, bool ac, const struct setup *s)
{
    u32 code = (access == WRITE ? E_W : 0) | (user ? E_U : 0) |
               (access == FETCH && (s->nxe || s->smep) ? E_I : 0);
    bool bad = false;

    if (!(pte & PTE_P))
        return (i32)code;
    if (!s->nxe && (pte & PTE_NX))
        return (i32)(code | E_P | E_RSVD);
    if (user)
        bad = !(pte & PTE_U) || (access == WRITE && !(pte & PTE_W));
    else if (access == WRITE)
        bad = !(pte & PTE_W) && s->wp;
    if (!user && (pte & PTE_U) && access != FETCH && s->smap && !ac)
        bad = true;
    if (access == FETCH && (pte & PTE_NX))
        bad = true;
    if (access == FETCH && !user && (pte & PTE_U) && s->smep)
        bad = true;
    return bad ? (i32)(code | E_P) : -1;
}

/* One access through one entry; the code page of the snippet must itself be runnable. */
static void rights_case(u64 bits, enum access access, bool user, bool ac, const struct setup *s)
{
    u64 *entry = page_map(TEST_VA, (u64)target | bits);
    i32 error = expected_error(bits, access, user, ac, s);
    u64 accessed = error < 0 ? PTE_A | (access == WRITE ? PTE_D : 0) : 0;
    struct context c;
    u64 now;

    target[0] = 0xcd, target[1] = END; /* INT 7f, for a fetch */
    c = access_run(access, user, TEST_VA, ac);
    now = *entry;
    if (error < 0)
        check(c.vector == END, "pte %llx access %u user %u ac %u wp %u nx %u smep %u smap %u", bits,
              access, user, ac, s->wp, s->nxe, s->smep, s->smap);
    else
        check(c.vector == PF && c.error == (u32)error && c.cr2 == TEST_VA &&
                  c.ip == (access == FETCH ? TEST_VA : c.base),
              "pte %llx access %u user %u ac %u wp %u nx %u smep %u smap %u: vector %lx error %lx "
              "cr2 %lx, expected error %x",
              bits, access, user, ac, s->wp, s->nxe, s->smep, s->smap, c.vector, c.error, c.cr2,
              (u32)error);
    /* The flags may be set early for an access that faults later on, never left out. */
    if (error < 0)
        check_eq(now & (PTE_A | PTE_D), accessed, "A and D after pte %llx access %u", bits, access);
    else
        check_eq(now & PTE_D, 0, "D after a fault, pte %llx access %u", bits, access);
}

static void context_pages(bool user);

static void rights(void)
{
    static const u64 bits[] = {0,
                               PTE_P,
                               PTE_P | PTE_W,
                               PTE_P | PTE_U,
                               PTE_P | PTE_U | PTE_W,
                               PTE_NX | PTE_P,
                               PTE_NX | PTE_P | PTE_W,
                               PTE_NX | PTE_P | PTE_U,
                               PTE_NX | PTE_P | PTE_U | PTE_W,
                               PTE_W | PTE_U};

    group_begin("rights of a 4 KiB page: error code, CR2, A and D");
    for (u32 mode = 0; mode < 16; mode++) {
        struct setup s = {mode & 1, mode & 2, mode & 4, mode & 8};

        if ((s.smep && !has(7)) || (s.smap && !has(20)))
            continue;
        for (u32 user = 0; user < 2; user++) {
            context_pages(user);
            setup_apply(&s);
            for (u32 b = 0; b < ARRAY_SIZE(bits); b++)
                for (u32 access = READ; access <= FETCH; access++)
                    for (u32 ac = 0; ac < (s.smap ? 2 : 1); ac++)
                        rights_case(bits[b], access, user, ac, &s);
            setup_apply(&(struct setup){.nxe = true});
        }
    }
    context_pages(true);
    group_end();
}

/* The code and stack of a context as user or supervisor pages. Everything else of the monitor is
 * supervisor memory, so that SMEP and SMAP do not stop it. */
static void context_pages(bool user)
{
    u64 bits = PTE_P | PTE_W | (user ? PTE_U : 0);

    for (ulong va = (ulong)snippets_start; va < (ulong)snippets_end; va += 4096)
        page_map(va, va | bits);
    for (ulong va = (ulong)context_stack[1]; va < (ulong)context_stack[2]; va += 4096)
        page_map(va, va | bits);
}

static void monitor_pages(void)
{
    for (ulong va = 0; va < 0x100000000ul; va += 0x200000)
        *page_entry(va, 2) &= ~(u64)PTE_U;
    write_cr3(read_cr3());
}

/* U, W and NX of upper levels combine with the page's. */
static void upper_levels(void)
{
    struct context c;

    setup_apply(&(struct setup){.wp = true, .nxe = true});
    group_begin("rights of upper levels");
    for (u32 level = 2; level <= 4; level++) {
        u64 *upper, old;

        page_map(TEST_VA, (u64)target | PTE_P | PTE_W | PTE_U);
        upper = page_entry(TEST_VA, level);
        old = *upper;
        *upper = (old & ~(u64)PTE_A) & ~(u64)PTE_W;
        write_cr3(read_cr3());
        c = access_run(WRITE, true, TEST_VA, false);
        check_end(&c, PF, E_P | E_W | E_U, 0, "level %u without W, user", level);
        c = access_run(WRITE, false, TEST_VA, false);
        check_end(&c, PF, E_P | E_W, 0, "level %u without W, supervisor", level);
        c = access_run(READ, true, TEST_VA, false);
        check_end(&c, END, 0, -1, "level %u without W, read", level);
        check(*upper & PTE_A, "level %u accessed", level);
        *upper = old & ~(u64)PTE_U;
        write_cr3(read_cr3());
        c = access_run(READ, true, TEST_VA, false);
        check_end(&c, PF, E_P | E_U, 0, "level %u without U", level);
        *upper = old | PTE_NX;
        write_cr3(read_cr3());
        c = access_run(FETCH, true, TEST_VA, false);
        check_end(&c, PF, E_P | E_U | E_I, -1, "level %u with NX", level);
        *upper = old & ~(u64)PTE_P;
        write_cr3(read_cr3());
        c = access_run(WRITE, true, TEST_VA, false);
        check_end(&c, PF, E_W | E_U, 0, "level %u not present", level);
        *upper = old;
        write_cr3(read_cr3());
    }
    group_end();
}

static void reserved_bits(void)
{
    u32 width = cpuid(0x80000008, 0).a & 0xff;
    struct context c;

    setup_apply(&(struct setup){.nxe = true});
    group_begin("reserved bits");
    for (u32 level = 1; level <= 4; level++) {
        page_map(TEST_VA, (u64)target | PTE_P | PTE_W | PTE_U);
        for (u32 bit = width; bit < 52; bit++) {
            u64 *entry = page_entry(TEST_VA, level), old = *entry;

            *entry = old | BIT(bit);
            write_cr3(read_cr3());
            c = access_run(WRITE, true, TEST_VA, false);
            check_end(&c, PF, E_P | E_W | E_U | E_RSVD, 0, "level %u bit %u", level, bit);
            check_eq(c.cr2, TEST_VA, "level %u bit %u CR2", level, bit);
            *entry = old & ~(u64)PTE_P;
            *entry |= BIT(bit);
            write_cr3(read_cr3());
            c = access_run(READ, false, TEST_VA, false);
            check_end(&c, PF, 0, 0, "level %u bit %u of an absent entry", level, bit);
            *entry = old;
        }
    }
    for (u32 bit = 52; bit < 59; bit++) {
        page_map(TEST_VA, (u64)target | PTE_P | PTE_W | PTE_U | BIT(bit));
        c = access_run(WRITE, true, TEST_VA, false);
        check_end(&c, END, 0, -1, "bit %u is ignored", bit);
    }
    page_map(TEST_VA, (u64)target | PTE_P | PTE_W | PTE_U);
    *page_entry(TEST_VA, 4) |= PTE_PS;
    write_cr3(read_cr3());
    c = access_run(READ, false, TEST_VA, false);
    check_end(&c, PF, E_P | E_RSVD, 0, "PS in a PML4 entry");
    *page_entry(TEST_VA, 4) &= ~(u64)PTE_PS;
    write_cr3(read_cr3());
    group_end();
}

static void large_pages(void)
{
    ulong va = TEST_VA + (1ul << 32);
    u64 *entry, *marker = (u64 *)(0x2000000ul + 0x123458);
    bool gigabyte = cpuid(0x80000001, 0).d >> 26 & 1;
    struct context c;

    page_map(va, (u64)target | PTE_P | PTE_W | PTE_U);
    *marker = 0x1122334455667788;
    group_begin("large pages");
    entry = page_entry(va, 2);
    *entry = 0x2000000 | PTE_P | PTE_W | PTE_U | PTE_PS;
    write_cr3(read_cr3());
    check_eq(*(volatile u64 *)(va + 0x123458), *marker, "2 MiB page reads");
    check_eq(*entry & (PTE_A | PTE_D), PTE_A, "2 MiB page is accessed");
    *(volatile u64 *)(va + 0x123458) = 5;
    check_eq(*marker, 5, "2 MiB page writes");
    check_eq(*entry & (PTE_A | PTE_D), PTE_A | PTE_D, "2 MiB page is dirty");
    for (u32 bit = 13; bit < 21; bit++) {
        *entry = 0x2000000 | PTE_P | PTE_W | PTE_U | PTE_PS | BIT(bit);
        write_cr3(read_cr3());
        c = access_run(READ, true, va, false);
        check_end(&c, PF, E_P | E_U | E_RSVD, 0, "2 MiB page, bit %u", bit);
    }
    *entry = 0x2000000 | PTE_P | PTE_W | PTE_PS | BIT(12); /* PAT */
    write_cr3(read_cr3());
    check_eq(*(volatile u64 *)(va + 0x123458), 5, "2 MiB page with its PAT bit");
    c = access_run(READ, true, va + 0x1fffff, false);
    check_end(&c, PF, E_P | E_U, 0, "2 MiB supervisor page");
    check_eq(c.cr2, va + 0x1fffff, "2 MiB page CR2");
    va &= ~0x3ffffffful;
    entry = page_entry(va, 3);
    *entry = PTE_P | PTE_W | PTE_PS;
    write_cr3(read_cr3());
    if (gigabyte) {
        check_eq(*(volatile u64 *)(va + 0x2123458), 5, "1 GiB page");
        *(volatile u64 *)(va + 0x2123458) = 6;
        check_eq(*marker, 6, "1 GiB page writes");
        check_eq(*entry & PTE_D, PTE_D, "1 GiB page is dirty");
        *entry = PTE_P | PTE_W | PTE_PS | BIT(13);
    }
    write_cr3(read_cr3());
    c = access_run(READ, false, va, false);
    check_end(&c, PF, E_P | E_RSVD, 0, "1 GiB page with a reserved bit or not offered");
    *entry = 0;
    write_cr3(read_cr3());
    group_end();
}

/* SDM 3A 4.6.2: AD and WD bits of each key, against user pages in both modes. */
static void protection_keys(void)
{
    ulong cr4 = read_cr4();

    if (!(cpuid(7, 0).c >> 3 & 1)) {
        check_skip("protection keys", "no PKU");
        return;
    }
    group_begin("protection keys");
    write_cr4(cr4 | CR4_PKE);
    for (u32 key = 0; key < 16; key += 5) {
        for (u32 value = 0; value < 64; value++) {
            u32 pkru = (value & 3) << (2 * key);
            bool write = value & 4, user = value & 8, page_user = value & 16, wp = value & 32;
            bool ad = value & 1, wd = value & 2, bad, basic;
            struct context c;

            setup_apply(&(struct setup){.wp = wp, .nxe = true});
            write_cr4(cr4 | CR4_PKE);
            page_map(TEST_VA,
                     (u64)target | PTE_P | PTE_W | (page_user ? PTE_U : 0) | (u64)key << 59);
            bad = page_user && (ad || (write && wd && (user || wp)));
            basic = user && !page_user;
            c = context_flat(user ? 3 : 0);
            c.di = TEST_VA;
            /* The pages of code and stack have key 0. */
            if (key == 0)
                continue;
            asm volatile(".byte 0x0f, 0x01, 0xef" ::"a"(pkru), "c"(0), "d"(0));
            context_at(&c, write ? do_write : do_read);
            asm volatile(".byte 0x0f, 0x01, 0xef" ::"a"(0), "c"(0), "d"(0));
            if (basic || bad)
                check_end(&c, PF, E_P | (write ? E_W : 0) | (user ? E_U : 0) | (bad ? E_PK : 0), 0,
                          "key %u pkru %x write %u user %u page %u wp %u", key, value & 3, write,
                          user, page_user, wp);
            else
                check_end(&c, END, 0, -1, "key %u pkru %x write %u user %u page %u wp %u", key,
                          value & 3, write, user, page_user, wp);
        }
    }
    TRY(".byte 0x0f, 0x01, 0xee", ::"c"(1) : "eax", "edx");
    check_fault(GP, 0, "RDPKRU with ECX 1");
    TRY(".byte 0x0f, 0x01, 0xef", ::"a"(0), "c"(0), "d"(1));
    check_fault(GP, 0, "WRPKRU with EDX 1");
    write_cr4(cr4);
    TRY(".byte 0x0f, 0x01, 0xee", ::"c"(0) : "eax", "edx");
    check_fault(UD, 0, "RDPKRU without CR4.PKE");
    setup_apply(&(struct setup){.nxe = true});
    group_end();
}

SNIPPET(64, cross_read, "mov (%rdi), %rax");
SNIPPET(64, cross_write, "mov %rax, (%rdi)");
SNIPPET(64, cross_add, "add %rax, (%rdi)");
SNIPPET(64, cross_xchg, "xchg %rax, (%rdi)");
SNIPPET(64, cross_push, "push %rax");
SNIPPET(64, cross_cmpxchg, "lock cmpxchg %rcx, (%rdi)");
SNIPPET(64, cross_movsq, "movsq");
SNIPPET(64, cross_fstpt, "fstpt (%rdi)");
SNIPPET(64, cross_movups, "movups %xmm0, (%rdi)");
SNIPPET(64, cross_fxsave, "fnsave (%rdi)");
SNIPPET(64, cross_sgdt, "sgdt (%rdi)");
SNIPPET(64, cross_call, "call .+5");
SNIPPET(64, cross_bts, "bts %rcx, (%rdi)");
SNIPPET(64, cross_enter, "enter $16, $3");

/* A second page that faults: CR2 is its first byte and nothing of the first page has changed. */
static void crossing(void)
{
    static const struct {
        const u8 *code;
        const char *name;
        bool write;
        u32 size;
    } cases[] = {
        {cross_read, "MOV load", false, 8},    {cross_write, "MOV store", true, 8},
        {cross_add, "ADD to memory", true, 8}, {cross_xchg, "XCHG", true, 8},
        {cross_cmpxchg, "CMPXCHG", true, 8},   {cross_movsq, "MOVSQ", true, 8},
        {cross_fstpt, "FSTP m80", true, 10},   {cross_movups, "MOVUPS", true, 16},
        {cross_fxsave, "FNSAVE", true, 108},   {cross_sgdt, "SGDT", true, 10},
        {cross_bts, "BTS", true, 8},
    };
    struct context c;

    group_begin("an access whose second page faults");
    page_map(TEST_VA, (u64)target | PTE_P | PTE_W | PTE_U);
    for (u32 kind = 0; kind < 2; kind++) {
        for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
            for (u32 before = 1; before<cases[i].size; before += cases[i].size> 16 ? 13 : 1) {
                bool protect = kind == 1, fault = cases[i].write || !protect;
                u64 *second = page_map(TEST_VA + 4096, protect ? (u64)target | PTE_P | PTE_U : 0);
                u32 untouched = 0;
                u64 cr2;

                memset(target, 0xa5, 4096);
                asm volatile("fninit; fldpi");
                c = context_flat(0);
                c.di = TEST_VA + 4096 - before;
                c.si = (ulong)gdt;
                c.cx = 3;
                write_cr0(read_cr0() | CR0_WP);
                context_at(&c, cases[i].code);
                for (u32 b = 0; b < before; b++)
                    untouched += target[4096 - before + b] == 0xa5;
                if (!fault) {
                    check_end(&c, END, 0, -1, "%s, %u bytes before", cases[i].name, before);
                    continue;
                }
                cr2 = TEST_VA + 4096;
                if (cases[i].size > 16 && before >= 4) /* the last byte is looked at early */
                    cr2 += cases[i].size - before - 1;
                check(c.vector == PF && c.cr2 == cr2 && c.ip == c.base,
                      "%s, %u bytes before: vector %lx cr2 %lx", cases[i].name, before, c.vector,
                      c.cr2);
                /* XCHG, ADD and the like read first: their first fault may be the read's. */
                check((c.error & E_W) || !protect, "%s: error %lx", cases[i].name, c.error);
                check_eq(c.error & E_P, protect ? E_P : 0, "%s: P", cases[i].name);
                check_eq(untouched, before, "%s, %u bytes before: first page", cases[i].name,
                         before);
                check_eq(*second & PTE_D, 0, "%s: D of the second page", cases[i].name);
            }
        }
    }
    write_cr0(read_cr0() & ~(ulong)CR0_WP);
    group_end();

    group_begin("a stack at the edge of a page");
    page_map(TEST_VA, 0);
    page_map(TEST_VA + 4096, (u64)target | PTE_P | PTE_W | PTE_U);
    c = context_flat(0);
    c.sp = TEST_VA + 4096 + 3;
    context_at(&c, cross_push);
    check_end(&c, PF, E_W, 0, "PUSH");
    check_eq(c.cr2, TEST_VA + 4096 - 5, "PUSH CR2");
    check_eq(c.sp, TEST_VA + 4096 + 3, "PUSH leaves RSP");
    c = context_flat(3);
    c.sp = TEST_VA + 4096;
    context_at(&c, cross_call);
    check_end(&c, PF, E_W | E_U, 0, "CALL");
    check_eq(c.sp, TEST_VA + 4096, "CALL leaves RSP");
    c.sp = TEST_VA + 4096 + 16;
    c.bp = TEST_VA + 4096 + 64;
    context_at(&c, cross_enter);
    check_end(&c, PF, E_W | E_U, 0, "ENTER");
    check_eq(c.sp, TEST_VA + 4096 + 16, "ENTER leaves RSP");
    check_eq(c.bp, TEST_VA + 4096 + 64, "ENTER leaves RBP");
    group_end();
}

/* An instruction over two pages, whose second page faults. */
static void crossing_fetch(void)
{
    struct context c;
    u8 *first = page_alloc();

    group_begin("an instruction over two pages");
    for (u32 before = 1; before < 10; before++) {
        static const u8 mov[10] = {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}; /* MOV RAX, imm64 */

        page_map(TEST_VA, (u64)first | PTE_P | PTE_U);
        page_map(TEST_VA + 4096, 0);
        memcpy(first + 4096 - before, mov, before);
        memcpy(target, mov + before, 10 - before);
        target[10 - before] = 0xcd, target[11 - before] = END;
        c = context_flat(3);
        c.ip = c.base = TEST_VA + 4096 - before;
        c.ax = 99;
        context_run(&c);
        check_end(&c, PF, E_U | E_I, 0, "second page absent, %u bytes before", before);
        check_eq(c.cr2, TEST_VA + 4096, "CR2, %u bytes before", before);
        check_eq(c.ax, 99, "RAX, %u bytes before", before);
        page_map(TEST_VA + 4096, (u64)target | PTE_P | PTE_U | PTE_NX);
        c.ip = c.base;
        context_run(&c);
        check_end(&c, PF, E_P | E_U | E_I, 0, "second page NX, %u bytes before", before);
        page_map(TEST_VA + 4096, (u64)target | PTE_P | PTE_U);
        c.ip = c.base;
        context_run(&c);
        check_end(&c, END, 0, 12, "complete, %u bytes before", before);
        check_eq(c.ax, 0x0807060504030201, "RAX read over both, %u bytes before", before);
    }
    group_end();
}

/* SDM 3A 4.10.4: what must be seen after an invalidation, for global and other pages. */
static void invalidation(void)
{
    volatile u8 *at = (u8 *)TEST_VA;
    u8 *other = page_alloc();
    u64 *entry;
    ulong cr3 = read_cr3(), cr4 = read_cr4();
    bool invpcid = cpuid(7, 0).b >> 10 & 1, pcid = cpuid(1, 0).c >> 17 & 1;
    struct {
        u64 pcid, va;
    } one = {0, TEST_VA};

    group_begin("invalidation shows the new translation");
    for (u32 how = 0; how < 9; how++) {
        bool global = how == 2 || how == 3 || how == 4 || how == 7;

        if ((how >= 5 && how <= 7 && !invpcid) || (how == 8 && !pcid))
            continue;
        write_cr4(cr4 | CR4_PGE);
        entry = page_map(TEST_VA, (u64)target | PTE_P | PTE_W | (global ? PTE_G : 0));
        target[0] = 1, other[0] = 2;
        check_eq(*at, 1, "method %u before", how);
        *(volatile u64 *)entry = (u64)other | PTE_P | PTE_W | (global ? PTE_G : 0);
        switch (how) {
        case 0: invlpg(TEST_VA); break;
        case 1: write_cr3(cr3); break;
        case 2: invlpg(TEST_VA + 4095); break;
        case 3: write_cr4(cr4 & ~(ulong)CR4_PGE); break;
        case 4: /* toggling PG is not possible here: PSE has no such effect, PAE cannot change */
            write_cr4(read_cr4() ^ CR4_PGE);
            break;
        case 5: asm volatile("invpcid %0, %1" ::"m"(one), "r"(0ul) : "memory"); break;
        case 6: asm volatile("invpcid %0, %1" ::"m"(one), "r"(1ul) : "memory"); break;
        case 7: asm volatile("invpcid %0, %1" ::"m"(one), "r"(2ul) : "memory"); break;
        default:
            write_cr4(read_cr4() | CR4_PCIDE);
            write_cr3(cr3 | 5);
            write_cr3(cr3);
            write_cr4(read_cr4() & ~(ulong)CR4_PCIDE);
            break;
        }
        check_eq(*at, 2, "method %u after", how);
        *at = 3;
        check_eq(other[0], 3, "method %u writes the new page", how);
    }
    write_cr4(cr4);
    if (invpcid) {
        TRY("invpcid %0, %1", ::"m"(one), "r"(4ul));
        check_fault(GP, 0, "INVPCID type 4");
        one.pcid = 4096;
        TRY("invpcid %0, %1", ::"m"(one), "r"(0ul));
        check_fault(GP, 0, "INVPCID with a reserved bit");
        one.pcid = 0, one.va = BIT(47);
        TRY("invpcid %0, %1", ::"m"(one), "r"(0ul));
        check_fault(GP, 0, "INVPCID of a non-canonical address");
        one.va = 0, one.pcid = 1;
        TRY("invpcid %0, %1", ::"m"(one), "r"(0ul));
        check_fault(GP, 0, "INVPCID of PCID 1 without CR4.PCIDE");
    }
    TRY("invlpg (%0)", ::"r"(BIT(47)));
    check_no_fault("INVLPG of a non-canonical address is no fault");
    group_end();

    /* Making an entry stricter is not seen until invalidated; more rights are, after the fault. */
    group_begin("a fault drops the translation that caused it");
    write_cr0(read_cr0() | CR0_WP);
    entry = page_map(TEST_VA, (u64)target | PTE_P);
    (void)*at;
    *(volatile u64 *)entry = (u64)target | PTE_P | PTE_W;
    TRY("movb $7, %0", : "=m"(*at));
    if (trap.vector == PF) {
        TRY("movb $7, %0", : "=m"(*at));
    }
    check_no_fault("write after the entry became writable");
    *(volatile u64 *)page_map(TEST_VA, 0) = (u64)target | PTE_P;
    TRY("testb $1, %0", ::"m"(*at));
    check_no_fault("absent entries are not kept");
    write_cr0(read_cr0() & ~(ulong)CR0_WP);
    group_end();
}

/* PCIDs keep their translations apart; a global page belongs to all. */
static void pcids(void)
{
    ulong cr3 = read_cr3(), cr4 = read_cr4();
    u64 *copy = page_alloc();
    u8 *other = page_alloc();
    volatile u8 *at = (u8 *)TEST_VA;

    if (!(cpuid(1, 0).c >> 17 & 1)) {
        check_skip("PCID", "not offered");
        return;
    }
    group_begin("PCID");
    page_map(TEST_VA, (u64)target | PTE_P | PTE_W);
    memcpy(copy, (void *)cr3, 4096);
    target[0] = 1, other[0] = 2;
    write_cr4(cr4 | CR4_PCIDE);
    check_eq(*at, 1, "PCID 0");
    write_cr3((u64)copy | 1);
    check_eq(read_cr3(), (u64)copy | 1, "CR3 reads back the PCID");
    *page_entry(TEST_VA, 4) = 0;
    page_map(TEST_VA, (u64)other | PTE_P | PTE_W);
    check_eq(*at, 2, "PCID 1 has its own page");
    write_cr3(cr3 | BIT(63));
    check_eq(read_cr3(), cr3, "bit 63 is not kept");
    check_eq(*at, 1, "back in PCID 0, nothing flushed");
    write_cr3((u64)copy | 1 | BIT(63));
    check_eq(*at, 2, "back in PCID 1, nothing flushed");
    write_cr3(cr3);
    check_eq(*at, 1, "back in PCID 0, flushed");
    write_cr4(cr4);
    TRY("mov %0, %%cr3", ::"r"(cr3 | BIT(63)));
    check_fault(GP, 0, "CR3 bit 63 without PCIDE");
    group_end();
}

static void non_canonical(void)
{
    static const ulong bad[] = {0x0000800000000000, 0xffff7fffffffffff, 0x8000000000000000,
                                0x00007fffffffffff - 3};
    struct context c;

    group_begin("non-canonical addresses");
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        TRY("mov (%0), %%rax", ::"D"(bad[i]) : "rax");
        check_fault(GP, 0, "load from %lx", bad[i]);
        TRY("mov %%rax, (%0)", ::"D"(bad[i]));
        check_fault(GP, 0, "store to %lx", bad[i]);
        TRY("push (%0)", ::"D"(bad[i]));
        check_fault(GP, 0, "PUSH m64 from %lx", bad[i]);
        c = context_flat(3);
        c.sp = bad[i] + 8;
        context_at(&c, cross_push);
        check_end(&c, SS, 0, 0, "PUSH to %lx", bad[i]);
        check_eq(c.sp, bad[i] + 8, "PUSH to %lx leaves RSP", bad[i]);
        c = context_flat(3);
        c.sp = bad[i] + 8;
        context_at(&c, cross_call);
        check_end(&c, SS, 0, 0, "CALL with a stack at %lx", bad[i]);
        c = context_flat(0);
        c.bp = bad[i];
        SNIPPET(64, rbp_read, "mov (%rbp), %rax");
        context_at(&c, rbp_read);
        check_end(&c, SS, 0, 0, "load through RBP from %lx", bad[i]);
        if (i < 3) {
            c = context_flat(3);
            c.di = bad[i];
            context_at(&c, do_jump);
            check_end(&c, GP, 0, 0, "JMP to %lx faults at the JMP", bad[i]);
            TRY("prefetcht0 (%0)", ::"D"(bad[i]));
            check_no_fault("PREFETCH of %lx", bad[i]);
            TRY("clflush (%0)", ::"D"(bad[i]));
            check_fault(GP, 0, "CLFLUSH of %lx", bad[i]);
        }
    }
    group_end();
}

/* Descriptor tables are read with supervisor rights from user code, and set the accessed bit. */
static void system_accesses(void)
{
    struct context c;
    u64 *entry, old, *ldt = page_alloc();

    group_begin("implicit supervisor accesses");
    entry = page_map((ulong)gdt, ((ulong)gdt & ~0xffful) | PTE_P | PTE_W);
    old = *entry;
    SNIPPET(64, load_ds, "mov $0x23, %eax; mov %eax, %ds");
    c = context_flat(3);
    context_at(&c, load_ds);
    check_end(&c, END, 0, -1, "a segment load at CPL 3 with a supervisor GDT");
    *entry = old;
    invlpg((ulong)gdt);
    ldt[0] = descriptor(0, 0xfffff, 0xf2, 0xc);
    descriptor_set(LDT_SEL, descriptor(TEST_VA, 4095, 0x82, 0));
    descriptor_set(LDT_SEL + 8, TEST_VA >> 32);
    page_map(TEST_VA, (u64)ldt | PTE_P);
    asm volatile("lldt %w0" ::"r"(LDT_SEL));
    SNIPPET(64, load_ldt, "mov $7, %eax; mov %eax, %es");
    c = context_flat(3);
    write_cr0(read_cr0() | CR0_WP);
    context_at(&c, load_ldt);
    check_end(&c, PF, E_P | E_W, 5,
              "a load at CPL 3 that must set the accessed bit, read-only LDT");
    check_eq(c.cr2 & ~7ul, TEST_VA, "its CR2");
    write_cr0(read_cr0() & ~(ulong)CR0_WP);
    context_at(&c, load_ldt);
    check_end(&c, END, 0, -1, "the same without CR0.WP");
    check_eq(ldt[0] >> 40 & 1, 1, "the accessed bit");
    page_map(TEST_VA, 0);
    c = context_flat(3);
    context_at(&c, load_ldt);
    check_end(&c, PF, 0, 5, "a load at CPL 3 from an absent LDT: no U bit");
    check_eq(c.cr2 & ~7ul, TEST_VA, "its CR2");
    asm volatile("lldt %w0" ::"r"(0));
    group_end();
}

void guest_main(void)
{
    target = page_alloc();
    monitor_pages();
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    rights();
    upper_levels();
    reserved_bits();
    large_pages();
    protection_keys();
    crossing();
    crossing_fetch();
    invalidation();
    pcids();
    non_canonical();
    system_accesses();
}
