/* SPDX-License-Identifier: MIT
 *
 * Self-modifying code (SDM 3A 8.1.3 and 11.6: a store to code of the same linear address is seen by
 * the next instruction on every processor since the Pentium; through another linear address a
 * branch and a serialising instruction are needed). Each case runs its code before and after the
 * change.
 */
#include "guest.h"

#define ALIAS 0x0000123450000000ul

SNIPPET(64, patch_next, "movb $7, 1f+1(%rip); 1: mov $1, %eax");
SNIPPET(64, patch_second, "mov $9, %cl; movb %cl, 2f+1(%rip); nop; jmp 2f; nop; 2: mov $1, %eax");
SNIPPET(64, patch_loop,
        "mov $5, %ecx; xor %edx, %edx; 1: mov $1, %eax; add %eax, %edx; "
        "incb 1b+1(%rip); loop 1b; mov %edx, %eax");
SNIPPET(64, patch_behind,
        "jmp 2f; 1: mov $1, %eax; jmp 3f; 2: movl $0x55, 1b+1(%rip); jmp 1b; 3: nop");
SNIPPET(64, patch_opcode, "mov $3, %eax; movb $0xc8, 1f+1(%rip); 1: inc %eax"); /* INC to DEC */
SNIPPET(64, patch_rep,
        "lea 1f(%rip), %rdi; mov $0x90, %al; mov $12, %ecx; xor %ebx, %ebx; "
        "rep stosb; 1: inc %ebx; inc %ebx; inc %ebx; inc %ebx; inc %ebx; inc %ebx; "
        "mov %ebx, %eax");
SNIPPET(64, patch_xchg,
        "mov $0x90909090, %ecx; xchg %ecx, 1f(%rip); 1: .long 0xf4f4f4f4; "
        "mov $0x31, %eax");
SNIPPET(64, patch_cmpxchg,
        "mov $0xf4f4f4f4, %eax; mov $0x90909090, %ecx; "
        "lock cmpxchg %ecx, 1f(%rip); 1: .long 0xf4f4f4f4; mov $0x32, %eax");
SNIPPET(64, patch_sse,
        "movups nops16(%rip), %xmm0; movups %xmm0, 1f(%rip); "
        "1: .fill 16, 1, 0xf4; mov $0x33, %eax; jmp 2f; "
        "nops16: .fill 16, 1, 0x90; 2: nop");
SNIPPET(64, patch_push,
        "mov %rsp, %rbx; lea 1f+8(%rip), %rsp; mov $0x9090909090909090, %rax; "
        "push %rax; 1: .fill 8, 1, 0xf4; mov %rbx, %rsp; mov $0x34, %eax");
SNIPPET(64, patch_fist, "fldz; fistpll 1f(%rip); 1: .fill 4, 2, 0xf4f4; mov $0x35, %eax");
SNIPPET(64, store_value, "movb %al, (%rdi)");

/* Twice from a fresh copy of the bytes: once cold, once with whatever an engine kept of the first.
 */
static void twice(const u8 *code, const u8 *end, u32 expected, const char *name)
{
    u8 *at = (u8 *)0x3000000, saved[256];

    memcpy(saved, code, (ulong)(end - code));
    for (u32 round = 0; round < 3; round++) {
        struct context c = context_flat(0);

        memcpy(at, saved, (ulong)(end - code) + 0);
        memcpy(at + (end - code), "\xcd\x7f", 2);
        asm volatile("fninit");
        context_at(&c, at);
        check(c.vector == END && (u32)c.ax == expected, "%s, round %u: vector %lx eax %lx", name,
              round, c.vector, c.ax);
    }
}

static void same_page(void)
{
    static const struct {
        const u8 *code, *end;
        u32 expected;
        const char *name;
    } cases[] = {
        {patch_next, patch_next_end, 7, "the next instruction"},
        {patch_second, patch_second_end, 9, "a later block"},
        {patch_loop, patch_loop_end, 1 + 2 + 3 + 4 + 5, "an instruction of a running loop"},
        {patch_behind, patch_behind_end, 0x55, "an earlier block"},
        {patch_opcode, patch_opcode_end, 2, "an opcode"},
        {patch_rep, patch_rep_end, 0, "REP STOSB over what follows it"},
        {patch_xchg, patch_xchg_end, 0x31, "XCHG"},
        {patch_cmpxchg, patch_cmpxchg_end, 0x32, "LOCK CMPXCHG"},
        {patch_sse, patch_sse_end, 0x33, "a 16-byte store"},
        {patch_push, patch_push_end, 0x34, "PUSH"},
    };

    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    group_begin("stores to code that runs");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++)
        twice(cases[i].code, cases[i].end, cases[i].expected, cases[i].name);
    group_end();
}

static u32 run_eax(const u8 *at)
{
    struct context c = context_flat(0);

    context_at(&c, at);
    return c.vector == END ? (u32)c.ax : 0xdead0000 | (u32)c.vector;
}

static const u8 mov_eax[7] = {0xb8, 1, 0, 0, 0, 0xcd, END};

/* Every way to reach the byte from elsewhere, with the serialisation that the manual asks for. */
static void other_stores(void)
{
    u8 *page = page_alloc(), *alias = (u8 *)ALIAS;
    u8 source[16];
    struct context c;

    page_map(ALIAS, (u64)page | PTE_P | PTE_W | PTE_U);
    group_begin("stores from elsewhere");
    for (u32 at = 0; at < 4090; at += 127) {
        memcpy(page + at, mov_eax, sizeof(mov_eax));
        check_eq(run_eax(page + at), 1, "before, at %u", at);
        page[at + 1] = 2;
        check_eq(run_eax(page + at), 2, "plain store, at %u", at);
        alias[at + 1] = 3;
        cpuid(0, 0);
        check_eq(run_eax(page + at), 3, "through an alias, at %u", at);
        check_eq(run_eax(alias + at), 3, "running the alias, at %u", at);
        page[at + 1] = 4;
        cpuid(0, 0);
        check_eq(run_eax(alias + at), 4, "the alias after a store to the page, at %u", at);
        memcpy(source, mov_eax, sizeof(mov_eax));
        source[1] = 5;
        memcpy(page + at, source, sizeof(mov_eax));
        check_eq(run_eax(page + at), 5, "REP MOVSB, at %u", at);
        asm volatile("std; rep stosb; cld" : : "a"(6), "D"(page + at + 1), "c"(1) : "memory");
        check_eq(run_eax(page + at), 6, "backward REP STOSB, at %u", at);
        c = context_flat(3);
        c.di = (ulong)page + at + 1, c.ax = 8;
        context_at(&c, store_value);
        check_eq(run_eax(page + at), 8, "a store at CPL 3, at %u", at);
        outb(0x80, 0);
    }
    group_end();

    /* A page table entry that is changed makes other bytes run at the same address. */
    group_begin("other code at the same address");
    u8 *second = page_alloc();
    memcpy(page, mov_eax, sizeof(mov_eax));
    memcpy(second, mov_eax, sizeof(mov_eax));
    second[1] = 2;
    for (u32 i = 0; i < 6; i++) {
        page_map(ALIAS, (u64)(i & 1 ? second : page) | PTE_P | PTE_W | PTE_U);
        check_eq(run_eax(alias), 1 + (i & 1), "turn %u", i);
    }
    group_end();
}

/* Code and data in one page, an instruction over two pages, and a store that spans both. */
static void mixed_pages(void)
{
    u8 *pages = page_alloc();
    u32 sum = 0;

    page_alloc();
    group_begin("code and data in one page");
    memcpy(pages + 0x100, mov_eax, sizeof(mov_eax));
    for (u32 i = 0; i < 200; i++) {
        pages[0x80 + (i & 63)] = (u8)i;
        pages[0x107 + (i & 63)] = (u8)i;
        if (i % 10 == 0)
            pages[0x101] = (u8)i;
        sum += run_eax(pages + 0x100) == i / 10 * 10;
    }
    check_eq(sum, 200, "data stores next to code that changes now and then");
    group_end();
    group_begin("code over two pages");
    for (u32 before = 1; before < 7; before++) {
        u8 *at = pages + 4096 - before;

        memcpy(at, mov_eax, sizeof(mov_eax));
        check_eq(run_eax(at), 1, "before, %u bytes in the first page", before);
        for (u32 b = 1; b < 5; b++) {
            at[b] = (u8)(0x10 + b);
            check_eq(run_eax(at) >> 8 * (b - 1) & 0xff, 0x10 + b, "byte %u, %u in the first page",
                     b, before);
        }
        *(volatile u32 *)(at + 1) = 0x12345678;
        check_eq(run_eax(at), 0x12345678, "all bytes, %u in the first page", before);
    }
    group_end();
}

void guest_main(void)
{
    same_page();
    other_stores();
    mixed_pages();
}
