/* SPDX-License-Identifier: MIT
 *
 * Hv#1: the hypercall page and the calls. Names begin with the test's ID in the project's
 * hv1-checklist, section 7.
 */
#include "lib/hv1.h"

void *hv_page;
static u32 cpus;
static enum hv_level level;

enum { PATTERN = 0x5a, IPI_VECTOR = 0xe1, TIMER_VECTOR = 0xe2 };

static void on_vector(struct frame *f)
{
    (void)f;
    lapic_write(0xb0, 0);
}

/* -- the page -- */

static u64 hash_page(const void *page)
{
    const u64 *at = page;
    u64 h = 0;

    for (u32 n = 0; n < 512; n++)
        h = h * 31 + at[n];
    return h;
}

static void fill(void *page, u32 byte)
{
    memset(page, (int)byte, 4096);
}

static bool filled(const void *page, u32 byte)
{
    const u8 *at = page;

    for (u32 n = 0; n < 4096; n++)
        if (at[n] != byte)
            return false;
    return true;
}

static void page_appears(u8 *a)
{
    fill(a, PATTERN);
    wrmsr(HV_GUEST_OS_ID, 0);
    wrmsr(HV_HYPERCALL, (ulong)a | 1);
    check_msr(HV_HYPERCALL, (ulong)a, "H-02 no identity, no page");
    check(filled(a, PATTERN), "H-02 memory is unchanged");
    check(hv_enable(a), "H-01 the enable bit stays");
    check_eq(hv_status(0xffff, 0, 0), HV_INVALID_CODE, "H-01 a call that does not exist");
    check(!filled(a, PATTERN), "H-04 the page hides memory");
    if (level == HV_MIN) {
        static const u8 stub[] = {0xb8, 2, 0, 0, 0, 0xba, 0, 0, 0, 0, 0xc3};

        check(!memcmp(a, stub, sizeof(stub)), "H-10 the stub");
        check_eq(hv_call(0x10003, 1, 2), 2, "H-10 whatever is called");
    }
    wrmsr(HV_HYPERCALL, (ulong)a);
    check(filled(a, PATTERN), "H-04 memory is back");
    hv_enable(a);
    wrmsr(HV_GUEST_OS_ID, 0);
    check_msr(HV_HYPERCALL, (ulong)a, "H-03 no identity any more");
    check(filled(a, PATTERN), "H-03 memory is back");
    wrmsr(HV_GUEST_OS_ID, HV_OS_ID);
    check_msr(HV_HYPERCALL, (ulong)a, "H-03 identity alone does not enable");
}

/* A hole: above RAM and below the PCI devices. */
static void page_in_hole(void)
{
    u8 *hole = (u8 *)0xd0000000;

    check_eq(*(volatile u32 *)hole, 0xffffffff, "H-04 a hole reads as ones");
    hv_enable(hole);
    check_eq(hv_status(0xffff, 0, 0), HV_INVALID_CODE, "H-04 called in a hole");
    wrmsr(HV_HYPERCALL, 0);
    check_eq(*(volatile u32 *)hole, 0xffffffff, "H-04 the hole is back");
}

static void page_is_read_only(u8 *a)
{
    const ulong alias = 0x40000000ul;
    u64 before;

    hv_enable(a);
    before = hash_page(a);
    TRY("movb $1, (%0)", ::"r"(a) : "memory");
    check_fault(GP, 0, "H-05 a store");
    page_map(alias, (ulong)a | PTE_P | PTE_W);
    TRY("movq $1, 8(%0)", ::"r"(alias) : "memory");
    check_fault(GP, 0, "H-05 through another mapping");
    TRY("lock incl (%0)", ::"r"(a) : "memory");
    check_fault(GP, 0, "H-05 a locked operation");
    TRY("rep movsb", ::"D"(a), "S"(alias + 16), "c"(32) : "memory");
    check_fault(GP, 0, "H-05 REP MOVS");
    TRY("push %%rax; pop %%rax", ::: "memory");
    check_no_fault("H-05 other pages");
    check_eq(hash_page(a), before, "H-05 nothing changed");
}

static void hammer(ulong calls)
{
    for (ulong n = 0; n < calls; n++)
        hv_call(level == HV_MIN ? 0xffff : 8 | HV_FAST, n, 0);
}

static void page_is_constant(u8 *a)
{
    const ulong calls = 20000;
    u64 before;

    hv_enable(a);
    before = hash_page(a);
    for (u32 n = 1; n < cpus; n++)
        smp_begin(n, hammer, calls);
    hammer(calls);
    for (u32 n = 1; n < cpus; n++)
        smp_wait(n);
    check_eq(hash_page(a), before, "H-06 after many calls");
}

static void page_moves(u8 *a, u8 *b)
{
    wrmsr(HV_HYPERCALL, 0);
    fill(a, PATTERN);
    fill(b, 0xa5);
    hv_enable(a);
    hv_enable(b);
    check(filled(a, PATTERN), "H-07 the old place is back");
    check_eq(hv_status(0xffff, 0, 0), HV_INVALID_CODE, "H-07 the new one works");
    check_msr_gp(HV_HYPERCALL, true, 1ull << 52 | 1, "H-07 beyond the address space");
    check_msr_gp(HV_HYPERCALL, true, 1ull << (cpuid(0x80000008, 0).a & 0xff) | 1,
                 "H-07 just beyond the address space");
    check_msr(HV_HYPERCALL, (ulong)b | 1, "H-07 unchanged");
    wrmsr(HV_HYPERCALL, 0);
    check(filled(b, 0xa5), "H-07 the second place is back");
}

/* VP 1 calls A all the time. Below the page every byte is RET: the page may come or go between any
 * two of its instructions. */
enum { UNTOUCHED = 7 }; /* in RAX: RET came first */
static volatile u32 stop_spinning, odd_results, calls_made, place, place_seen;

static u32 call_at(ulong page)
{
    register u64 rcx asm("rcx") = 0xffff;
    u64 result = UNTOUCHED;

    asm volatile("call *%2" : "+a"(result), "+r"(rcx) : "r"(page) : "rdx", "memory", "cc");
    return (u32)result;
}

/* Odd places are A's. Whoever has been told of a place sees no other until the next one is named.
 */
static void spin_calling(ulong page)
{
    odd_results = calls_made = 0;
    while (!stop_spinning) {
        u32 before = place, result = call_at(page);

        if (result != HV_INVALID_CODE && result != UNTOUCHED)
            odd_results++;
        calls_made++;
        if (before == place_seen)
            continue;
        if (call_at(page) != (before & 1 ? HV_INVALID_CODE : UNTOUCHED))
            odd_results += 0x10000;
        place_seen = before;
    }
}

static void page_moves_under_a_caller(u8 *a, u8 *b)
{
    if (cpus < 2)
        return;
    wrmsr(HV_HYPERCALL, 0);
    fill(a, 0xc3);
    hv_enable(a);
    stop_spinning = place = place_seen = 0;
    smp_begin(1, spin_calling, (ulong)a);
    for (u32 n = 0; n < 200; n++) {
        wrmsr(HV_HYPERCALL, (ulong)(n & 1 ? a : b) | 1);
        delay_us(50);
    }
    for (u32 n = 1; n <= 200; n++) {
        wrmsr(HV_HYPERCALL, (ulong)(n & 1 ? a : b) | 1);
        place = n;
        while (place_seen != n)
            pause();
    }
    stop_spinning = 1;
    smp_wait(1);
    check_eq(odd_results, 0, "H-09 only what is there");
    check(calls_made >= 200, "H-09 it called");
    wrmsr(HV_HYPERCALL, 0);
}

static void page_locks(u8 *a, u8 *b)
{
    hv_enable(a);
    wrmsr(HV_HYPERCALL, (ulong)a | 3);
    check_msr(HV_HYPERCALL, (ulong)a | 3, "H-08 locked");
    check_msr_gp(HV_HYPERCALL, true, (ulong)b | 1, "H-08 does not move");
    check_msr_gp(HV_HYPERCALL, true, 0, "H-08 does not go");
    check_eq(hv_status(8 | HV_FAST, 0, 0), HV_SUCCESS, "H-08 still works");
}

static void opcode_elsewhere(u8 *a, u8 *c)
{
    hv_enable(a);
    memcpy(c, a, 4);
    TRY("jmp *%0", ::"r"(c), "c"(8ul | HV_FAST), "d"(0ul) : "memory", "rax", "cc");
    check_eq(trap.vector, UD, "H-11 a copy of the page");
    check_eq(trap.ip, (ulong)c, "H-11 at the copy");
    wrmsr(HV_HYPERCALL, 0);
    TRY("vmcall", ::: "memory");
    check_fault(UD, 0, "H-11 VMCALL without the page");
    TRY("vmmcall", ::: "memory");
    check_fault(UD, 0, "H-11 VMMCALL without the page");
}

SNIPPET(64, user_call, "mov $0x10008, %ecx\n xor %edx, %edx\n jmp *%rax");
SNIPPET(32, call_32, "call *%esi");

static void privilege_and_modes(u8 *a)
{
    struct context c = context_flat(3);

    hv_enable(a);
    c.ax = (ulong)a;
    context_at(&c, user_call);
    check_eq(c.vector, UD, "H-12 at CPL 3");
    check_eq(c.ip, (ulong)a, "H-12 at CPL 3: in the page");
    c = context_flat(0);
    c.cs = K_CS32;
    c.ax = 0x10008, c.dx = 0xffff0000, c.bx = 0, c.cx = 1, c.si = (ulong)a;
    c.dx = 0;
    context_at(&c, call_32);
    check_eq(c.vector, END, "H-13 32-bit code in long mode");
    check_eq(c.ax, 0, "H-13 EAX");
    check_eq(c.dx, 0, "H-13 EDX");
    c = context_flat(0);
    c.cs = K_CS32;
    c.ax = 0x10009, c.dx = 0, c.bx = 0, c.cx = 1, c.si = (ulong)a;
    context_at(&c, call_32);
    check_eq(c.ax, HV_INVALID_CODE, "H-13 the status of an unknown call");
}

/* -- the calls -- */

static void unknown_codes(void)
{
    static const u16 denied[] = {0x46, 0x50, 0x51, 0x69, 0x6a, 0x6b, 0x99, 0x9a, 0x8001, 0x8002};
    static const u16 there[] = {2, 3, 8, 0xb, 0x13, 0x14, 0x15};

    group_begin("K-01 codes that do not exist");
    for (u32 code = 0; code < 0x8042; code = code == 0x200 ? 0x8000 : code + 1) {
        u32 want = HV_INVALID_CODE;
        bool known = false;

        for (u32 n = 0; n < ARRAY_SIZE(there); n++)
            known |= level == HV_FULL && there[n] == code;
        for (u32 n = 0; n < ARRAY_SIZE(denied); n++)
            if (level == HV_FULL && denied[n] == code)
                want = HV_ACCESS_DENIED;
        if (level == HV_FULL && (code == 0x5c || code == 0x5d))
            want = HV_ACCESS_DENIED;
        if (!known)
            check_eq(hv_status(code, 0, 0), want, "%x", code);
    }
    group_end();
    if (level != HV_FULL)
        return;
    for (u32 n = 0; n < ARRAY_SIZE(denied); n++)
        check_eq(hv_status(denied[n], 0, 0), HV_ACCESS_DENIED, "K-08 %x", denied[n]);
    check_eq(hv_status(0x5c, 0, 0), HV_ACCESS_DENIED, "K-09 post without ports");
    check_eq(hv_status(0x5d | HV_FAST, 0, 0), HV_ACCESS_DENIED, "K-10 signal without ports");
}

static u64 input[512] __attribute__((aligned(4096)));

static void set_flush(u64 flags, u64 mask)
{
    input[0] = read_cr3();
    input[1] = flags;
    input[2] = mask;
}

static void control_word(void)
{
    static const u64 bits[] = {27, 28, 29, 30, 44, 45, 46, 47, 60, 61, 62, 63};

    set_flush(1, 0);
    input[3] = 0x1000;
    check_eq(hv_status(2 | HV_REPS(1), (ulong)input, 0), HV_INVALID_INPUT, "K-02 simple with reps");
    check_eq(hv_status(2 | HV_START(1), (ulong)input, 0), HV_INVALID_INPUT, "K-02 simple, start");
    check_eq(hv_status(3, (ulong)input, 0), HV_INVALID_INPUT, "K-02 rep without reps");
    check_eq(hv_status(3 | HV_REPS(2) | HV_START(2), (ulong)input, 0), HV_INVALID_INPUT,
             "K-02 start = count");
    check_eq(hv_status(3 | HV_REPS(2) | HV_START(3), (ulong)input, 0), HV_INVALID_INPUT,
             "K-02 start > count");
    for (u32 n = 0; n < ARRAY_SIZE(bits); n++)
        check_eq(hv_status(2 | 1ull << bits[n], (ulong)input, 0), HV_INVALID_INPUT,
                 "K-02 reserved bit %u", (u32)bits[n]);
    check_eq(hv_status(2 | 1ull << 31, (ulong)input, 0), HV_SUCCESS, "K-02 nested is ignored");
    check_eq(hv_status(8 | HV_FAST | HV_VARHEAD(1), 0, 0), HV_INVALID_INPUT,
             "K-02 variable header");
}

static void addresses(void)
{
    u8 *top = (u8 *)input;

    set_flush(1, 0);
    check_eq(hv_status(2, (ulong)top + 4, 0), HV_INVALID_ALIGNMENT, "K-03 not aligned");
    check_eq(hv_status(2, (ulong)top + 0xff0, 0), HV_INVALID_ALIGNMENT, "K-03 crosses a page");
    check_eq(hv_status(2, 1ull << (cpuid(0x80000008, 0).a & 0xff), 0), HV_INVALID_ALIGNMENT,
             "K-03 beyond the address space");
    check_eq(hv_status(2, 0xfee00000, 0), HV_INVALID_PARAMETER, "K-03 no memory: a device");
    check_eq(hv_status(2, 0xd0000000, 0), HV_INVALID_PARAMETER, "K-03 no memory: a hole");
    check_eq(hv_status(2, (ulong)input, 0x1234567), HV_SUCCESS, "K-03 output is not looked at");
    hv_status(2, (ulong)hv_page, 0);
    check(true, "K-03 input on an overlay page");
}

/* -- flushes -- */

enum { TEST_VA = 0x50000000, LARGE_VA = 0x60000000 };
static volatile u64 read_value, read_address;
static volatile u32 read_go, read_done;

/* Reads when told to, without touching its TLB in between. */
static void reader(ulong unused)
{
    (void)unused;
    for (u32 turn = 1;; turn++) {
        while (read_go < turn)
            pause();
        if (!read_address)
            break;
        read_value = *(volatile u64 *)(ulong)read_address;
        read_done = turn;
    }
}

static u64 remote_read(u64 va)
{
    u32 turn = read_done + 1;

    read_address = va;
    barrier();
    read_go = turn;
    while (read_done < turn)
        pause();
    return read_value;
}

static u64 *pages[2];

/* Changes what is mapped at va without telling anybody, then calls; true: VP 1 sees the new page.
 */
static void check_flush(u64 va, u64 *entry, u64 large, u64 control, u64 size, const char *name)
{
    u64 old = *(volatile u64 *)entry, fresh;
    u64 flags = old & (0xfffull | large);
    u64 result;

    if (large) {
        fresh = (old & ~0x1fffffull & ~(1ull << 63)) ^ 0x200000;
        fresh |= old & 0xfff;
    } else {
        fresh = ((old & ~0xfffull) == (ulong)pages[0] ? (ulong)pages[1] : (ulong)pages[0]) | flags;
    }
    remote_read(va);
    *(volatile u64 *)entry = fresh;
    result = hv_call(control, (ulong)input, 0);
    check_eq(result & 0xffff, HV_SUCCESS, "K-05 %s: status", name);
    if (control & HV_REPS(0xfff))
        check_eq(result >> 32, control >> 32 & 0xfff, "K-05 %s: reps", name);
    check_eq(remote_read(va), *(u64 *)((fresh & ~0xfffull & ~(1ull << 63)) + (large ? size : 0)),
             "K-05 %s", name);
    invlpg(va);
}

static void stale_entries_exist(u64 *entry)
{
    u64 old = *entry, seen;

    seen = remote_read(TEST_VA);
    *(volatile u64 *)entry = (ulong)pages[seen == 0 ? 1 : 0] | (old & 0xfff);
    print("# without a flush VP 1 reads %llx\n", remote_read(TEST_VA));
    *(volatile u64 *)entry = old;
    set_flush(1, 0);
    hv_call(2, (ulong)input, 0);
}

static void flushes(void)
{
    u64 *entry, mask = cpus > 1 ? 2 : 1;

    for (u32 n = 0; n < 2; n++) {
        pages[n] = page_alloc();
        *pages[n] = n;
    }
    entry = page_map(TEST_VA, (ulong)pages[0] | PTE_P | PTE_W);
    if (cpus > 1) {
        smp_begin(1, reader, 0);
        stale_entries_exist(entry);
        set_flush(2, mask);
        check_flush(TEST_VA, entry, 0, 2, 0, "mask");
        set_flush(1, 0);
        check_flush(TEST_VA, entry, 0, 2, 0, "all processors");
        set_flush(3, 0);
        check_flush(TEST_VA, entry, 0, 2, 0, "all address spaces");
        set_flush(7, 0);
        check_flush(TEST_VA, entry, 0, 2, 0, "not global");
        set_flush(0, 0);
        check_flush(TEST_VA, entry, 0, 2, 0, "empty mask");
        set_flush(0, mask);
        input[3] = 0x1000, input[4] = TEST_VA, input[5] = 0x8000000000000000;
        check_flush(TEST_VA, entry, 0, 3 | HV_REPS(3), 0, "list");
        check_flush(TEST_VA, entry, 0, 3 | HV_REPS(2) | HV_START(1), 0, "list from its second");
        input[3] = TEST_VA - 0x1000000 + 4095 + 1;
        input[3] = ((u64)TEST_VA - 4095 * 4096) | 4095;
        check_flush(TEST_VA, entry, 0, 3 | HV_REPS(1), 0, "list of 4096 pages");
        set_flush(8, mask);
        input[3] = (TEST_VA & ~0x1fffffull) | 1 << 11;
        check_flush(TEST_VA, entry, 0, 3 | HV_REPS(1), 0, "list of a 2 MiB range");
        input[3] = (TEST_VA & ~0x3fffffffull) | 3 << 11;
        check_flush(TEST_VA, entry, 0, 3 | HV_REPS(1), 0, "list of a 1 GiB range");
    }
    set_flush(1ull << 63, 1);
    check_eq(hv_status(2, (ulong)input, 0), HV_INVALID_PARAMETER, "K-05 unknown flag");
    set_flush(4, 1);
    check_eq(hv_status(3 | HV_REPS(1), (ulong)input, 0), HV_INVALID_PARAMETER, "K-05 list, flag 2");
}

/* A 2 MiB page whose contents tell which frame it maps; the list names a page inside of it. */
static void flush_large(void)
{
    u64 *entry;

    if (cpus < 2)
        return;
    for (u64 frame = 0x2000000; frame <= 0x2200000; frame += 0x200000)
        *(u64 *)(frame + 0x5000) = frame;
    entry = page_entry(LARGE_VA, 2);
    *(volatile u64 *)entry = 0x2000000 | PTE_P | PTE_W | PTE_PS;
    invlpg(LARGE_VA);
    set_flush(1, 0);
    hv_call(2, (ulong)input, 0);
    set_flush(0, 2);
    input[3] = LARGE_VA + 0x9000;
    check_flush(LARGE_VA + 0x5000, entry, PTE_PS, 3 | HV_REPS(1), 0x5000, "list in a large page");
}

static void set_ex(u64 flags, u64 format, u64 banks, u64 bank0, u64 bank2)
{
    input[0] = read_cr3();
    input[1] = flags;
    input[2] = format;
    input[3] = banks;
    input[4] = bank0;
    input[5] = bank2;
}

static void flushes_ex(void)
{
    u64 *entry = page_entry(TEST_VA, 1);

    if (cpus > 1) {
        set_ex(0, 0, 5, 3, 4);
        check_flush(TEST_VA, entry, 0, 0x13 | HV_VARHEAD(2), 0, "K-06 set");
        set_ex(0, 1, 0, 0, 0);
        check_flush(TEST_VA, entry, 0, 0x13, 0, "K-06 all");
        set_ex(0, 0, 1, 2, 0);
        input[5] = TEST_VA;
        check_flush(TEST_VA, entry, 0, 0x14 | HV_VARHEAD(1) | HV_REPS(1), 0, "K-06 list");
        read_address = 0;
        read_go = read_done + 1;
        smp_wait(1);
    }
    set_ex(0, 0, 5, 1, 0);
    check_eq(hv_status(0x13 | HV_VARHEAD(1), (ulong)input, 0), HV_INVALID_INPUT,
             "K-06 fewer banks than the mask says");
    set_ex(0, 0, 1, 1, 0);
    check_eq(hv_status(0x13 | HV_VARHEAD(2), (ulong)input, 0), HV_INVALID_INPUT, "K-06 more banks");
    set_ex(0, 2, 1, 1, 0);
    check_eq(hv_status(0x13 | HV_VARHEAD(1), (ulong)input, 0), HV_INVALID_INPUT, "K-06 format 2");
    set_ex(0, 0, 0, 0, 0);
    check_eq(hv_status(0x13, (ulong)input, 0), HV_SUCCESS, "K-06 nobody");
}

/* -- interrupts -- */

static volatile u32 received[CPUS_MAX];

static void on_ipi(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&received[rdmsr(HV_VP_INDEX)], 1, __ATOMIC_SEQ_CST);
    lapic_write(0xb0, 0);
}

static bool all_received(u64 vps, u32 count)
{
    u64 end = rdtsc() + tsc_cycles(1000000);

    asm volatile("sti");
    for (u32 n = 0; n < cpus; n++)
        while ((vps >> n & 1) && received[n] < count && rdtsc() < end)
            pause();
    delay_us(500);
    asm volatile("cli");
    for (u32 n = 0; n < cpus; n++)
        if (received[n] != (vps >> n & 1 ? count : 0))
            return false;
    return true;
}

static void clear_received(void)
{
    for (u32 n = 0; n < CPUS_MAX; n++)
        received[n] = 0;
}

static void ipis(void)
{
    u64 everybody = (1ull << cpus) - 1;

    trap_set_handler(IPI_VECTOR, on_ipi);
    for (u32 n = 0; n < cpus; n++) {
        clear_received();
        check_eq(hv_status(0xb | HV_FAST, IPI_VECTOR, 1ull << n), HV_SUCCESS, "K-06 IPI to %u", n);
        check(all_received(1ull << n, 1), "K-06 it arrives once");
    }
    clear_received();
    check_eq(hv_status(0xb | HV_FAST, IPI_VECTOR, ~0ull), HV_SUCCESS, "K-06 IPI to all there are");
    check(all_received(everybody, 1), "K-06 each gets one");
    clear_received();
    input[0] = IPI_VECTOR, input[1] = 0, input[2] = 5, input[3] = everybody, input[4] = ~0ull;
    check_eq(hv_status(0x15 | HV_VARHEAD(2), (ulong)input, 0), HV_SUCCESS, "K-06 IPI to a set");
    check(all_received(everybody, 1), "K-06 each of the set gets one");
    clear_received();
    input[1] = 1, input[2] = 0;
    check_eq(hv_status(0x15, (ulong)input, 0), HV_SUCCESS, "K-06 IPI to all");
    check(all_received(everybody, 1), "K-06 all get one");
    input[1] = 0, input[2] = 1;
    check_eq(hv_status(0x15, (ulong)input, 0), HV_INVALID_INPUT, "K-06 IPI, bank missing");
    check_eq(hv_status(0xb | HV_FAST, 0xf, 1), HV_INVALID_PARAMETER, "K-06 vector 0f");
    check_eq(hv_status(0xb | HV_FAST, 0x100, 1), HV_INVALID_PARAMETER, "K-06 vector 100");
    check_eq(hv_status(0xb | HV_FAST, 1ull << 40 | 0x40, 1), HV_INVALID_INPUT, "K-06 padding");
    clear_received();
    check(all_received(0, 0), "K-06 none of these arrives");
}

static void mixed_calls(ulong cpu)
{
    static u64 area[CPUS_MAX][512] __attribute__((aligned(4096)));
    u64 *in = area[cpu];
    u32 wrong = 0;

    in[0] = read_cr3(), in[1] = 0, in[2] = ~0ull, in[3] = TEST_VA;
    for (u32 n = 0; n < 3000; n++) {
        wrong += hv_status(2, (ulong)in, 0) != HV_SUCCESS;
        wrong += hv_call(3 | HV_REPS(1), (ulong)in, 0) != HV_REPS(1);
        wrong += hv_status(8 | HV_FAST, n, 0) != HV_SUCCESS;
        wrong += hv_status(0xffff, n, 0) != HV_INVALID_CODE;
        wrong += hv_status(0x46, n, 0) != HV_ACCESS_DENIED;
    }
    received[cpu] = wrong;
}

static void concurrent(void)
{
    for (u32 n = 1; n < cpus; n++)
        smp_begin(n, mixed_calls, n);
    mixed_calls(0);
    for (u32 n = 1; n < cpus; n++)
        smp_wait(n);
    for (u32 n = 0; n < cpus; n++)
        check_eq(received[n], 0, "K-11 wrong results on processor %u", n);
    asm volatile("sti");
    check_eq(hv_status(0xffff, 0, 0), HV_INVALID_CODE, "K-12 with interrupts on");
    asm volatile("cli");
    asm volatile("mov %0, %%cr8" ::"r"(15ul));
    check_eq(hv_status(0xffff, 0, 0), HV_INVALID_CODE, "K-12 with TPR 15");
    asm volatile("mov %0, %%cr8" ::"r"(0ul));
}

/* -- registers -- */

u8 before_state[512] __attribute__((aligned(16))), after_state[512] __attribute__((aligned(16)));
u8 call_vectors[16][16] __attribute__((aligned(16)));
u64 call_control, call_out[16];

/* Every register set, a call, every register stored. The input is in registers: CR3 in RDX, flags
 * in R8, mask in XMM0; for a list a range in XMM0's upper half. */
static u64 registers_call(u64 control)
{
    for (u32 n = 0; n < 16; n++)
        for (u32 b = 0; b < 16; b++)
            call_vectors[n][b] = (u8)(n * 16 + b);
    *(u64 *)call_vectors[0] = 1;
    *(u64 *)(call_vectors[0] + 8) = TEST_VA;
    call_control = control;
    asm volatile("push %%rbp; push %%rbx; mov $call_vectors, %%eax\n"
                 "movaps (%%rax), %%xmm0; movaps 16(%%rax), %%xmm1; movaps 32(%%rax), %%xmm2\n"
                 "movaps 48(%%rax), %%xmm3; movaps 64(%%rax), %%xmm4; movaps 80(%%rax), %%xmm5\n"
                 "movaps 96(%%rax), %%xmm6; movaps 240(%%rax), %%xmm15\n"
                 "fninit; fld1; fldpi\n"
                 "mov hv_page, %%r14; mov $0x1111, %%ebx; mov $0x2222, %%ebp; mov $0x3333, %%esi\n"
                 "mov $0x4444, %%edi; mov $0x9999, %%r9d; mov $0xaaaa, %%r10d\n"
                 "mov $0xbbbb, %%r11d; mov $0xcccc, %%r12d; mov $0xdddd, %%r13d\n"
                 "mov $call_out, %%r15d; mov call_control, %%rcx\n"
                 "mov %%cr3, %%rdx; mov $1, %%r8d\n"
                 "fxsave64 before_state; call *%%r14; fxsave64 after_state\n"
                 "mov %%rax, (%%r15); mov %%rcx, 8(%%r15); mov %%rdx, 16(%%r15)\n"
                 "mov %%rbx, 24(%%r15); mov %%rbp, 32(%%r15); mov %%rsi, 40(%%r15)\n"
                 "mov %%rdi, 48(%%r15); mov %%r8, 56(%%r15); mov %%r9, 64(%%r15)\n"
                 "mov %%r10, 72(%%r15); mov %%r11, 80(%%r15); mov %%r12, 88(%%r15)\n"
                 "mov %%r13, 96(%%r15); mov %%r14, 104(%%r15)\n"
                 "fninit; pop %%rbx; pop %%rbp" ::
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                       "r14", "r15", "memory", "cc");
    return call_out[0];
}

static void check_registers(u64 control, const char *name)
{
    static const u32 want[] = {0x1111, 0x2222, 0x3333, 0x4444};
    static const u32 want_high[] = {0x9999, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd};
    const u64 *out = call_out;

    check_eq(registers_call(control) & 0xffff, HV_SUCCESS, "K-13 %s", name);
    check_eq(out[2], read_cr3(), "K-14 %s: RDX", name);
    for (u32 n = 0; n < 4; n++)
        check_eq(out[3 + n], want[n], "K-14 %s: register %u", name, n);
    check_eq(out[7], 1, "K-14 %s: R8", name);
    for (u32 n = 0; n < 5; n++)
        check_eq(out[8 + n], want_high[n], "K-14 %s: R%u", name, 9 + n);
    check(!memcmp(before_state + 160, after_state + 160, 256), "K-14 %s: XMM", name);
    check(!memcmp(before_state, after_state, 160), "K-14 %s: x87, MXCSR", name);
}

static void xmm_input(void)
{
    if (guest_option("noxmm")) {
        TRY("jmp *%%rax", ::"a"(hv_page), "c"(2ul | HV_FAST), "d"(0ul) : "r8", "memory", "cc");
        check_eq(trap.vector, UD, "K-13 XMM input is not there");
        check_eq(hv_status(8 | HV_FAST, 0, 0), HV_SUCCESS, "K-13 registers suffice");
        return;
    }
    check_registers(2 | HV_FAST, "flush");
    check_registers(3 | HV_FAST | HV_REPS(1), "list");
}

static volatile u32 ticks;

static void on_tick(struct frame *f)
{
    (void)f;
    ticks++;
    lapic_write(0xb0, 0);
}

static void long_list(void)
{
    u64 result;

    trap_set_handler(TIMER_VECTOR, on_tick);
    lapic_write(0x3e0, 0xb);
    lapic_write(0x320, 0x20000 | TIMER_VECTOR);
    lapic_write(0x380, 1000000);
    set_flush(1, 0);
    for (u32 n = 0; n < 500; n++)
        input[3 + n] = TEST_VA + n * 0x3000;
    ticks = 0;
    asm volatile("sti");
    for (u32 n = 0; n < 200 || (ticks < 2 && n < 100000); n++) {
        result = hv_call(3 | HV_REPS(500), (ulong)input, 0);
        if (result != HV_REPS(500))
            break;
    }
    asm volatile("cli");
    lapic_write(0x320, 0x10000);
    check_eq(result, HV_REPS(500), "K-15 a long list");
    check(ticks >= 2, "K-15 interrupts meanwhile: %u", ticks);
}

static void output_untouched(void)
{
    u8 *page = page_alloc();

    fill(page, PATTERN);
    hv_status(0x46, 0, (ulong)page);
    hv_status(0x8001, 0, (ulong)page);
    hv_status(0xffff, 0, (ulong)page);
    check(filled(page, PATTERN), "K-16 output of calls that fail");
}

static void calls(u8 *a)
{
    hv_enable(a);
    unknown_codes();
    if (level != HV_FULL)
        return;
    control_word();
    addresses();
    check_eq(hv_status(1 | HV_FAST, read_cr3(), 0), HV_INVALID_CODE, "K-04 is not there");
    flushes();
    flush_large();
    flushes_ex();
    ipis();
    check_eq(hv_status(8 | HV_FAST, 4096, 0), HV_SUCCESS, "K-07 long spin wait");
    check_eq(hv_status(8, (ulong)input, 0), HV_SUCCESS, "K-07 from memory");
    concurrent();
    xmm_input();
    long_list();
    output_untouched();
}

void guest_main(void)
{
    u8 *a = page_alloc(), *b = page_alloc(), *c = page_alloc();

    level = hv_level();
    cpus = smp_start();
    trap_set_handler(TIMER_VECTOR, on_vector);
    if (guest_option("noxmm")) {
        hv_enable(a);
        xmm_input();
        return;
    }
    page_appears(a);
    page_in_hole();
    page_is_read_only(a);
    page_is_constant(a);
    page_moves(a, b);
    page_moves_under_a_caller(a, b);
    if (level == HV_FULL) {
        opcode_elsewhere(a, c);
        privilege_and_modes(a);
    }
    calls(a);
    if (level == HV_FULL)
        page_locks(a, b);
}
