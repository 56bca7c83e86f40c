/* SPDX-License-Identifier: MIT
 *
 * Accesses by the window: the guest sees what it sees in the interpreter, wherever they lead, and
 * they lead nowhere else.
 */
#include "mem/window.h"

#include <stdio.h>
#include <sys/mman.h>

#include "jit/internal.h"
#include "tests/jit/pages.h"
#include "tests/suite.h"

/* HLT ends what user mode can do; or a page is not there. */
enum { ENDED = 13, ABSENT = 14 };

/* By number: with counting, without. */
static const struct jit_options options[] = {
    {.optimisations = JIT_ALL, .counted = true, .eager = true, .sole = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_PATH, .counted = true, .eager = true, .sole = true},
};

static struct pair p;

static void setup(void)
{
    pair_create(&p, &options[0]);
}

static void setup_blocks(void)
{
    pair_create(&p, &options[1]);
}

static void teardown(void)
{
    pair_destroy(&p);
}

#define RUN(...)                                                                                   \
    do {                                                                                           \
        pages_start(&p, MACHINE_USER64);                                                           \
        ck_assert_int_eq(PAIR_EXECUTE(&p, __VA_ARGS__), ENDED);                                    \
    } while (0)

/* mov eax, [rdi + 7100h]; add [rdi + 7108h], eax; mov eax, [LINEAR + 7110h]; push rax; pop
 * [rdi + 7118h]; movzx ecx, byte [rdi + 7100h]; mov al, [rdi + rcx + 7000h]; mov al,
 * [rcx + LINEAR + 7000h] */
#define ONE_PAGE                                                                                   \
    0x8b, 0x87, 0, 0x71, 0, 0, 0x01, 0x87, 8, 0x71, 0, 0, 0x8b, 0x04, 0x25, 0x10, 0x71, 0x80, 0,   \
        0x50, 0x8f, 0x87, 0x18, 0x71, 0, 0, 0x0f, 0xb6, 0x8f, 0, 0x71, 0, 0, 0x8a, 0x84, 0x0f, 0,  \
        0x70, 0, 0, 0x8a, 0x81, 0, 0x70, 0x80, 0

START_TEST(from_page_to_page)
{
    for (unsigned turn = 0; turn < 3; turn++)
        RUN(PAGES_WALK);
    ck_assert_uint_gt(pair_stats(&p).window_fills, 0);
    ck_assert_uint_lt(pair_stats(&p).window_misses, 400);
}
END_TEST

START_TEST(all_ways_to_an_address)
{
    for (unsigned turn = 0; turn < 5; turn++)
        RUN(ONE_PAGE);
    ck_assert_uint_gt(pair_stats(&p).window_fills, 0);
}
END_TEST

/* Frames, pushes from and pops to memory, XLAT, strings, bit strings, locked and x87 instructions,
 * a division, a jump and a call by memory: enter 40h, 0; push [rdi]; pop [rdi + 8]; leave; mov rbx,
 * rdi; xlat; ... */
START_TEST(instructions_of_all_kinds)
{
    static const struct {
        u8 size, bytes[20];
    } codes[] = {
        {8, {0xc8, 0x40, 0, 0, 0xc9, 0x90, 0x90, 0x90}},              /* enter 40h, 0; leave */
        {11, {0xc8, 0, 0x20, 0, 0x50, 0xc9, 0xc8, 0x10, 0, 1, 0xc9}}, /* enter 2000h, 0; ... */
        {5, {0xff, 0x37, 0x8f, 0x47, 8}},                             /* push [rdi]; pop [rdi+8] */
        {4, {0x48, 0x89, 0xfb, 0xd7}},                                /* mov rbx, rdi; xlat */
        {8, {0x48, 0x8d, 0x77, 0x40, 0xa5, 0xa7, 0xaa, 0xac}}, /* lea rsi, [rdi+40h]; movs... */
        {6, {0xb9, 4, 0, 0, 0, 0x90}},                         /* mov ecx, 4 */
        {9, {0xb9, 4, 0, 0, 0, 0xf3, 0xab, 0xf3, 0xaa}},       /* rep stos */
        {9, {0x48, 0x0f, 0xab, 0x0f, 0x48, 0x0f, 0xa3, 0x0f, 0x90}},     /* bts [rdi], rcx; bt */
        {10, {0xf0, 0x48, 0x01, 0x0f, 0x48, 0x87, 0x4f, 8, 0x90, 0x90}}, /* lock add; xchg */
        {9, {0xf0, 0x48, 0x01, 0x4f, 0x3d, 0x48, 0x87, 0x4f, 0x7d}},     /* the same, misaligned */
        {6, {0xdd, 0x07, 0xdd, 0x5f, 8, 0x90}},                          /* fld [rdi]; fstp */
        {6, {0xd9, 0x7f, 8, 0xd9, 0x6f, 8}},                             /* fnstcw; fldcw */
        {8, {0x0f, 0xae, 0x5f, 8, 0x0f, 0xae, 0x57, 8}},                 /* stmxcsr; ldmxcsr */
        {9, {0x31, 0xd2, 0xb0, 7, 0x48, 0xf7, 0x77, 0x10, 0x90}}, /* xor edx, edx; div [rdi+16] */
        {8, {0x66, 0x0f, 0x6f, 0x07, 0x66, 0x0f, 0x7f, 0x47}},    /* movdqa; movdqa [rdi+90h] */
        {9, {0x9c, 0x58, 0x50, 0x9d, 0x8c, 0xd8, 0x8c, 0x5f, 8}}, /* pushf; ...; mov [rdi+8], ds */
        {8, {0x48, 0x0f, 0xc7, 0x4f, 0x10, 0x90, 0x90, 0x90}},    /* cmpxchg16b [rdi+16] */
        {8, {0x67, 0x8b, 0x47, 8, 0x65, 0x8b, 0x07, 0x90}},       /* [edi + 8]; gs:[rdi] */
    };

    for (unsigned n = 0; n < ARRAY_SIZE(codes); n++)
        for (unsigned turn = 0; turn < 4; turn++) {
            RUN(ONE_PAGE);
            pages_start(&p, MACHINE_USER64);
            pair_set(&p, RBP, LINEAR + 0x3000);
            pair_set(&p, RSP, LINEAR + 0x5040);
            ck_assert_int_ge(pair_execute(&p, codes[n].bytes, codes[n].size), 12);
        }
}
END_TEST

/* -- mappings -- */

START_TEST(a_page_is_mapped_elsewhere)
{
    for (unsigned turn = 0; turn < 4; turn++) {
        RUN(ONE_PAGE);
        pages_start(&p, MACHINE_USER64);
        pages_map(&p, 7, 20 + turn, P | W | U | A | D);
        pages_flushes[_i](&p, LINEAR + 0x7000);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), ENDED);
        pages_flushes[_i](&p, LINEAR + 0x7000);
    }
}
END_TEST

START_TEST(rights_that_go_are_missed)
{
    static const u64 bits[] = {P | U | A | D, P | W | A | D, 0};

    for (unsigned n = 0; n < 2 * ARRAY_SIZE(bits); n++) {
        RUN(ONE_PAGE);
        pages_start(&p, MACHINE_USER64);
        pages_map(&p, 7, 7, bits[n / 2]);
        pages_flushes[_i](&p, LINEAR + 0x7000);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), ABSENT);
        pages_flushes[_i](&p, LINEAR + 0x7000);
    }
}
END_TEST

START_TEST(pages_get_accessed_and_dirty)
{
    static const u64 bits[] = {P | W | U, P | W | U | A, P | W | U | A | D};

    for (unsigned n = 0; n < 4 * ARRAY_SIZE(bits); n++) {
        pages_start(&p, MACHINE_USER64);
        pages_map(&p, 7, 7, bits[n % ARRAY_SIZE(bits)]);
        pages_flush_page(&p, LINEAR + 0x7000);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), ENDED);
    }
}
END_TEST

/* -- code -- */

START_TEST(the_page_becomes_one_of_code)
{
    struct machine *both[] = {&p.interp, &p.jit};

    for (unsigned turn = 0; turn < 3; turn++) {
        RUN(ONE_PAGE);
        for (unsigned n = 0; n < 2; n++)
            physmap_protect_code(both[n]->map, both[n]->ram.hva + PHYSICAL + 0x7000, 1u << turn);
        RUN(ONE_PAGE);
    }
}
END_TEST

/* The store is to the next instruction: lea rsi, [rip + 8]; mov eax, 0cb8b; mov [rsi], ax; nop;
 * nop: they become MOV ECX, EBX. */
START_TEST(a_store_hits_code)
{
    for (unsigned turn = 0; turn < 3; turn++)
        RUN(0x48, 0x8d, 0x35, 8, 0, 0, 0, 0xb8, 0x8b, 0xcb, 0, 0, 0x66, 0x89, 0x06, 0x90, 0x90);
    ck_assert_uint_eq((u32)p.jit.v->gpr[RCX], (u32)p.jit.v->gpr[RBX]);
}
END_TEST

/* -- addresses -- */

/* What user mode does with an address in RDI and, from the fifth on, in RSP. */
static const struct {
    u8 size, bytes[16];
} uses[] = {
    {3, {0x48, 0x8b, 0x07}},                /* mov rax, [rdi] */
    {4, {0x48, 0x89, 0x47, 8}},             /* mov [rdi + 8], rax */
    {7, {0x48, 0x01, 0x87, 0, 0, 0x80, 0}}, /* add [rdi + 800000h], rax */
    {11, {0x31, 0xc9, 0x48, 0x8b, 0x84, 0xcf, 0, 0, 0x80, 0x7f, 0x90}}, /* [rdi + rcx * 8 + ...] */
    {10, {0x48, 0x89, 0xfc, 0xeb, 0, 0x50, 0x90, 0x90, 0x90, 0x90}}, /* mov rsp, rdi; jmp; push */
    {6, {0x48, 0x89, 0xfc, 0x58, 0x90, 0x90}},                       /* mov rsp, rdi; pop rax */
    {6, {0x48, 0x89, 0xfd, 0xc9, 0x90, 0x90}},                       /* mov rbp, rdi; leave */
    {4, {0x48, 0x89, 0xfc, 0xc3}},                                   /* mov rsp, rdi; ret */
    {8, {0x48, 0x89, 0xfc, 0xe8, 0, 0, 0, 0}},                       /* mov rsp, rdi; call */
    /* 1: sub rsp, 8000h; dec rcx; jnz 1b; push rax: RSP comes from above by and by */
    {15, {0x48, 0x89, 0xdc, 0x48, 0x81, 0xec, 0, 0x80, 0, 0, 0x48, 0xff, 0xc9, 0x75, 0xf4}},
};

/* An access there faults in both engines, and what is there stays. */
static void expect_absent(u64 address)
{
    for (unsigned n = 0; n < ARRAY_SIZE(uses); n++) {
        u8 code[20];

        memcpy(code, uses[n].bytes, uses[n].size);
        code[uses[n].size] = 0x50; /* push rax */
        RUN(ONE_PAGE);
        pages_start(&p, MACHINE_USER64);
        pair_set(&p, RCX, 5000);
        pair_set(&p, RBX, address + 5000 * 0x8000ull + 8);
        pair_set(&p, RDI, n == 2 ? address - 0x800000 : n == 3 ? address - 0x7f800000 : address);
        ck_assert_int_eq(pair_execute(&p, code, uses[n].size + 1u), ABSENT);
    }
}

/* Everything this process has mapped, and what lies beside. */
START_TEST(the_emulator_is_out_of_reach)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    u64 first[512], end[512];
    unsigned count = 0;
    char line[512];

    ck_assert_ptr_nonnull(maps);
    while (count < ARRAY_SIZE(first) && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx", &first[count], &end[count]) == 2 && first[count] >= GIB(8) &&
            first[count] < BIT(47))
            count++;
    fclose(maps);
    ck_assert_uint_gt(count, 20);
    for (unsigned n = (unsigned)_i; n < count; n += 8) {
        expect_absent(first[n]);
        expect_absent(first[n] - 4);
        expect_absent(end[n] - 16);
        expect_absent(end[n]);
    }
}
END_TEST

/* What the first turn of a loop proves must hold in the second: mov ecx, 3; again: mov rax, [rdi];
 * mov rdi, rsi; dec ecx; jnz again. */
START_TEST(a_loop_that_leads_there)
{
    RUN(ONE_PAGE);
    for (unsigned turn = 0; turn < 4; turn++) {
        pages_start(&p, MACHINE_USER64);
        pair_set(&p, RSI, (u64)&p);
        ck_assert_int_eq(PAIR_EXECUTE(&p, 0xb9, 3, 0, 0, 0, 0x48, 0x8b, 0x07, 0x48, 0x89, 0xf7,
                                      0xff, 0xc9, 0x75, 0xf6),
                         ABSENT);
        ck_assert_uint_eq(p.jit.v->gpr[RCX], 2);
    }
}
END_TEST

/* The guest has pages of its own where the emulator is: they are reached by the TLB. */
START_TEST(pages_at_addresses_of_the_emulator)
{
    u64 address = (u64)&p & PAGE_MASK;
    const unsigned shifts[] = {39, 30, 21, 12};
    u64 table = MACHINE_PML4;
    u8 entry[8];

    RUN(ONE_PAGE);
    for (unsigned turn = 0; turn < 40; turn++) {
        pages_start(&p, MACHINE_USER64);
        table = MACHINE_PML4;
        for (unsigned n = 0; n < ARRAY_SIZE(shifts); n++) {
            u64 next = n == 3 ? PHYSICAL + 9 * PAGE_SIZE : 0x70000 + n * PAGE_SIZE;

            store_le(entry, next | P | W | U | A | (n == 3 ? D : 0), 8);
            pair_put(&p, table + (address >> shifts[n]) % 512 * 8, entry, 8);
            table = next;
        }
        pages_flush_all(&p, 0);
        pair_set(&p, RDI, address - 0x7000);
        if (turn % 4 == 3)
            pair_set(&p, RSP, address + 0x800);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), ENDED);
    }
    ck_assert_uint_gt(pair_stats(&p).sites, 0);
}
END_TEST

enum { FRAME = 2 << 21, STEP = 0x10000, STEPS = 18 << 14 }; /* 18 GiB */

/* Memory of the emulator, far from all else. */
static u8 *victim_create(void)
{
    u8 *victim = mmap((void *)0x210000000000, 2 * STEP, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    ck_assert_ptr_ne(victim, MAP_FAILED);
    return victim;
}

static void victim_expect_untouched(u8 *victim)
{
    for (unsigned n = 0; n < 2 * STEP; n++)
        ck_assert_uint_eq(victim[n], 0);
    munmap(victim, 2 * STEP);
}

/* User mode with the same large page at all addresses around these two, which holds MACHINE_CODE at
 * each STEP. */
static void start_in_a_frame(u64 one, u64 other)
{
    u8 entry[8];

    pages_start(&p, MACHINE_USER64);
    for (unsigned n = 0; n < 512; n++) {
        store_le(entry, 0x71000 | P | W | U | A, 8);
        pair_put(&p, 0x70000 + n * 8, entry, 8);
        store_le(entry, FRAME | P | W | U | A | D | 0x80, 8);
        pair_put(&p, 0x71000 + n * 8, entry, 8);
    }
    store_le(entry, 0x70000 | P | W | U | A, 8);
    pair_put(&p, MACHINE_PML4 + (one >> 39) % 512 * 8, entry, 8);
    pair_put(&p, MACHINE_PML4 + (other >> 39) % 512 * 8, entry, 8);
    store_le(entry, MACHINE_CODE, 8);
    for (unsigned n = 0; n < 32; n++)
        pair_put(&p, FRAME + n * STEP, entry, 8);
    pages_flush_all(&p, 0);
}

/* again: dec rcx; jz over; ret 0fff8h; over: push rax; pop rbx; mov rcx, rdx; xor edx, edx; test
 * rcx, rcx; jnz again. The RET asks the TLB, and the guest has pages at all addresses that it comes
 * to on the way from its stack to a page of the emulator. When it arrives, all jumps are linked. */
START_TEST(a_stack_that_creeps)
{
    static const u8 code[] = {0x48, 0xff, 0xc9, 0x74, 3,    0xc2, 0xf8, 0xff, 0x50, 0x5b,
                              0x48, 0x89, 0xd1, 0x31, 0xd2, 0x48, 0x85, 0xc9, 0x75, 0xec};
    struct jit_block block = {.key = MACHINE_CODE, .mode = MODE_CODE64 | MODE_WINDOW, .dead = true};
    const struct jit_insn ret = {.rip = MACHINE_CODE + 5};
    u8 *victim = victim_create();
    u64 there = align_up((u64)victim + 8, STEP), start = there - (u64)STEPS * STEP;

    RUN(ONE_PAGE);
    ck_assert(window_open(p.jit.v->tlb.window, start));
    ck_assert(!window_open(p.jit.v->tlb.window, there));
    jit_make_restless(jit_of(p.jit.v), &block, &ret);
    start_in_a_frame(start, there);
    pair_set(&p, RSP, start);
    pair_set(&p, RCX, 11);
    pair_set(&p, RDX, STEPS + 1 - 10);
    pair_set(&p, RAX, 0x6b6b6b6b6b6b6b6b);
    ck_assert_int_eq(pair_execute(&p, code, sizeof(code)), ENDED);
    ck_assert_uint_eq(load_le(p.jit.ram.hva + FRAME + (there - 8) % (2u << 20), 8),
                      0x6b6b6b6b6b6b6b6b);
    victim_expect_untouched(victim);
}
END_TEST

/* again: mov rax, rsp; add rax, 10000h (16 times); mov rsp, rax; dec rcx; jnz again; push rbx. */
START_TEST(a_stack_that_is_carried)
{
    enum { ADDS = 16 };
    u8 code[200] = {0x48, 0x89, 0xe0};
    unsigned at = 3;
    u8 *victim = victim_create();
    u64 there = align_up((u64)victim + 8, STEP), start = there - (u64)STEPS * STEP;

    for (unsigned n = 0; n < ADDS; n++, at += 6)
        memcpy(code + at, "\x48\x05\x00\x00\x01\x00", 6);
    memcpy(code + at, "\x48\x89\xc4\x48\xff\xc9\x0f\x85", 8);
    store_le(code + at + 8, (u32) - (at + 12), 4);
    code[at + 12] = 0x53;
    RUN(ONE_PAGE);
    ck_assert(window_open(p.jit.v->tlb.window, start));
    start_in_a_frame(start, there);
    pair_set(&p, RSP, start);
    pair_set(&p, RCX, STEPS / ADDS);
    ck_assert_int_eq(pair_execute(&p, code, at + 13), ENDED);
    ck_assert_uint_eq(load_le(p.jit.ram.hva + FRAME + (there - 8) % (2u << 20), 8),
                      0x1122334455667788);
    victim_expect_untouched(victim);
}
END_TEST

START_TEST(addresses_that_are_not_canonical)
{
    static const u64 at[] = {0x8000000000001000, 0x7ffffffffffffff8, 0x0000800000000000,
                             0xffff7ffffffffff8, 0x4000000000800100, 0x0100000000800100};

    RUN(ONE_PAGE);
    for (unsigned n = 0; n < ARRAY_SIZE(at); n++) {
        pages_start(&p, MACHINE_USER64);
        pair_set(&p, RDI, at[n] - 0x7100);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), 13);
        ck_assert_uint_ne(p.jit.v->rip, MACHINE_CODE);
    }
}
END_TEST

/* mov rbp, rdi; mov rax, [rbp]: the host's stack segment faults. */
START_TEST(a_frame_that_is_not_canonical)
{
    RUN(0x48, 0x89, 0xfd, 0x48, 0x8b, 0x45, 0);
    pages_start(&p, MACHINE_USER64);
    pair_set(&p, RDI, 0x4000000000800100);
    ck_assert_int_eq(PAIR_EXECUTE(&p, 0x48, 0x89, 0xfd, 0x48, 0x8b, 0x45, 0), 12);
}
END_TEST

/* Kernel addresses are the supervisor's. */
START_TEST(addresses_of_the_kernel)
{
    static const u64 at[] = {0xffff800000001000, 0xffffffffff600000, 0xfffffffff0000000};

    RUN(ONE_PAGE);
    for (unsigned n = 0; n < ARRAY_SIZE(at); n++)
        expect_absent(at[n]);
}
END_TEST

/* -- flags, and instructions that fault in the middle -- */

/* stc; mov rax, [rdi]: the fault finds CF; stc; adc [rdi], rax; cmp; inc [rdi] */
START_TEST(flags_at_a_fault)
{
    static const struct {
        u8 size, bytes[12];
    } codes[] = {{4, {0xf9, 0x48, 0x8b, 0x07}},
                 {4, {0xf9, 0x48, 0x11, 0x07}},
                 {6, {0x48, 0x39, 0xd8, 0x48, 0xff, 0x07}},
                 {7, {0x48, 0x83, 0xc3, 5, 0x48, 0x8b, 0x07}},
                 {8, {0x48, 0x85, 0xdb, 0x48, 0x0f, 0x44, 0x07, 0x90}},
                 {6, {0x48, 0x39, 0xd8, 0xff, 0x37, 0x90}}};

    for (unsigned n = 0; n < 4 * ARRAY_SIZE(codes); n++) {
        pages_start(&p, MACHINE_USER64);
        pair_flags(&p, n & 1 ? F_CF | F_OF | F_PF : F_ZF | F_SF | F_AF);
        pages_map(&p, 0, 0, n & 2 ? 0 : P | W | U | A | D);
        pages_flush_page(&p, LINEAR);
        ck_assert_int_eq(pair_execute(&p, codes[n / 4].bytes, codes[n / 4].size),
                         n & 2 ? ABSENT : ENDED);
    }
}
END_TEST

/* -- whose the window is -- */

START_TEST(units_of_the_past_are_closed)
{
    const struct window *w;
    u64 fills;

    RUN(ONE_PAGE);
    w = p.jit.v->tlb.window;
    for (unsigned n = 0; n < WINDOW_OPEN_MAX / 2 + 10; n++)
        window_open((struct window *)w, 0x300000000000 + ((u64)n << WINDOW_UNIT_SHIFT));
    ck_assert_uint_gt(w->open_count, WINDOW_OPEN_MAX / 2);
    fills = pair_stats(&p).window_fills;
    for (unsigned turn = 0; turn < 3; turn++) {
        pages_start(&p, MACHINE_USER64);
        p.interp.v->cr3 |= BIT(3); /* another address space, with the same tables */
        p.jit.v->cr3 |= BIT(3);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), ENDED);
    }
    ck_assert_uint_lt(w->open_count, 10);
    ck_assert_uint_gt(pair_stats(&p).window_fills, fills);
}
END_TEST

START_TEST(the_kernel_has_none)
{
    pages_start(&p, MACHINE_LONG);
    ck_assert_int_eq(PAIR_EXECUTE(&p, PAGES_WALK), -1);
    ck_assert_uint_eq(pair_stats(&p).window_misses, 0);
}
END_TEST

static const struct jit_options without[] = {
    {.optimisations = JIT_ALL, .counted = true, .eager = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_WINDOW, .counted = true, .eager = true, .sole = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_BMI, .counted = true, .eager = true, .sole = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_MEMORY, .counted = true, .eager = true, .sole = true},
    {.optimisations = JIT_ALL, .counted = true, .eager = true, .sole = true, .check = true},
};

START_TEST(none_where_it_is_not_possible)
{
    pair_create(&p, &without[_i]);
    for (unsigned turn = 0; turn < 3; turn++)
        RUN(PAGES_WALK);
    ck_assert_ptr_null(p.jit.v->tlb.window);
    ck_assert_uint_eq(pair_stats(&p).window_misses, 0);
    pair_destroy(&p);
}
END_TEST

static void add(Suite *s, const char *name, void (*start)(void))
{
    TCase *c = tcase_create(name);

    tcase_add_checked_fixture(c, start, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, from_page_to_page);
    tcase_add_test(c, all_ways_to_an_address);
    tcase_add_test(c, instructions_of_all_kinds);
    tcase_add_loop_test(c, a_page_is_mapped_elsewhere, 0, ARRAY_SIZE(pages_flushes));
    tcase_add_loop_test(c, rights_that_go_are_missed, 0, ARRAY_SIZE(pages_flushes));
    tcase_add_test(c, pages_get_accessed_and_dirty);
    tcase_add_test(c, the_page_becomes_one_of_code);
    tcase_add_test(c, a_store_hits_code);
    tcase_add_loop_test(c, the_emulator_is_out_of_reach, 0, 8);
    tcase_add_test(c, a_loop_that_leads_there);
    tcase_add_test(c, pages_at_addresses_of_the_emulator);
    tcase_add_test(c, a_stack_that_creeps);
    tcase_add_test(c, a_stack_that_is_carried);
    tcase_add_test(c, addresses_that_are_not_canonical);
    tcase_add_test(c, a_frame_that_is_not_canonical);
    tcase_add_test(c, addresses_of_the_kernel);
    tcase_add_test(c, flags_at_a_fault);
    tcase_add_test(c, the_kernel_has_none);
    tcase_add_test(c, units_of_the_past_are_closed);
    suite_add_tcase(s, c);
}

int main(void)
{
    Suite *s = suite_create("window");
    TCase *c = tcase_create("without");

    if (WINDOW_POSSIBLE) {
        add(s, "paths", setup);
        add(s, "blocks", setup_blocks);
    }
    tcase_add_loop_test(c, none_where_it_is_not_possible, 0, ARRAY_SIZE(without));
    suite_add_tcase(s, c);
    return suite_run(s);
}
