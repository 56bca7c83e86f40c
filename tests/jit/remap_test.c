/* SPDX-License-Identifier: MIT
 *
 * Code that maps its pages elsewhere all the time, at random, against the interpreter: every change
 * of a page table is followed by one of the ways to flush it (SDM 3A 4.10.4.1), in the middle of
 * blocks and loops whose accesses share checks, whose stack is on such a page and whose calls go to
 * code on others.
 */
#include "tests/jit/pair.h"
#include "tests/jit/random.h"
#include "tests/suite.h"

enum {
    TABLE = 0x60000, /* of the window's 4-KiB pages */
    WINDOW = 14 << 20,
    FRAMES = 0x80000, /* then code frames */
    DATA_PAGES = 8,   /* of the window, and as many frames */
    CODE_PAGES = 4,
    CODE_FRAMES = 6,
    STEPS = 12, /* of a program */
    PROGRAMS = 500,
    PTE_AD = 0x60, /* accessed, dirty */
    PTE_G = 0x100,
};

static const struct jit_options options[] = {
    {.optimisations = JIT_ALL, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .cache_size = JIT_CACHE_MIN},
    {.optimisations = JIT_ALL, .counted = true, .eager = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_PROBE, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_COALESCE, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_RETURNS, .counted = true},
    {.optimisations = 0, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .check = true},
};

static struct pair p;
static struct dice dice;
static u8 code[1024];
static unsigned size;

static u64 below(u64 n)
{
    return dice_below(&dice, n);
}

static void put(const char *bytes, unsigned count)
{
    memcpy(code + size, bytes, count);
    size += count;
}
#define PUT(string) put(string, sizeof(string) - 1)

static void put_value(u64 value, unsigned count)
{
    store_le(code + size, value, count);
    size += count;
}

static u32 page_address(unsigned page)
{
    return WINDOW + page * PAGE_SIZE;
}

/* A new entry for a page, and what makes the processor see it. Odd pages may be global, which CR3
 * leaves alone. */
static void put_remap(void)
{
    unsigned page = (unsigned)below(DATA_PAGES + CODE_PAGES);
    unsigned frame =
        (unsigned)(page < DATA_PAGES ? below(DATA_PAGES) : DATA_PAGES + below(CODE_FRAMES));

    PUT("\x48\xb8"); /* mov rax, entry */
    put_value((FRAMES + frame * PAGE_SIZE) | 7 | (below(2) ? PTE_AD : 0) |
                  (page % 2 && below(2) ? PTE_G : 0),
              8);
    PUT("\x48\x89\x04\x25"); /* mov [place], rax */
    put_value(TABLE + page * 8, 4);
    switch (below(page % 2 ? 2 : 3)) {
    case 0:
        PUT("\x0f\x01\x3c\x25"); /* invlpg [page] */
        put_value(page_address(page) + below(PAGE_SIZE), 4);
        break;
    case 1: /* CR4.PGE off and on, or on and off */
        PUT("\x0f\x20\xe0\x34\x80\x0f\x22\xe0\x34\x80\x0f\x22\xe0");
        break;
    default: PUT("\x0f\x20\xd8\x0f\x22\xd8"); break; /* mov rax, cr3; mov cr3, rax */
    }
}

/* Accesses by RBX that share a check, some over the edge of two pages. */
static void put_accesses(void)
{
    static const char *const accesses[] = {
        "\x48\x8b\x4b",     /* mov rcx, [rbx + d] */
        "\x48\x03\x53",     /* add rdx, [rbx + d] */
        "\x48\x89\x53",     /* mov [rbx + d], rdx */
        "\x48\x01\x4b",     /* add [rbx + d], rcx */
        "\x48\x13\x53",     /* adc rdx, [rbx + d] */
        "\xf0\x48\x11\x53", /* lock adc [rbx + d], rdx */
    };

    for (unsigned n = 0; n < 3; n++) {
        const char *access = accesses[below(ARRAY_SIZE(accesses))];

        put(access, (unsigned)strlen(access));
        put_value(below(64), 1);
    }
}

static void put_pointer(void)
{
    PUT("\xbb"); /* mov ebx, address */
    put_value(page_address((unsigned)below(DATA_PAGES - 1)) + below(PAGE_SIZE), 4);
}

/* On a stack that is mapped elsewhere between push and pop. */
static void put_stack(void)
{
    PUT("\xbc"); /* mov esp, address */
    put_value(page_address((unsigned)below(DATA_PAGES - 1)) + PAGE_SIZE + 8 * below(3), 4);
    PUT("\x52\x51"); /* push rdx; push rcx */
    put_remap();
    PUT("\x59\x5a"); /* pop rcx; pop rdx */
}

static void put_call(void)
{
    u32 target = page_address(DATA_PAGES + (unsigned)below(CODE_PAGES));

    PUT("\xbc"); /* mov esp, stack */
    put_value(MACHINE_STACK, 4);
    if (below(2)) {
        PUT("\xe8"); /* call target */
        put_value(target - (MACHINE_CODE + size + 4), 4);
        return;
    }
    PUT("\xb8"); /* mov eax, target; call rax */
    put_value(target, 4);
    PUT("\xff\xd0");
}

/* Twice round a loop of random steps. */
static void make_program(void)
{
    unsigned top;

    size = 0;
    PUT("\xbd\x02\x00\x00\x00"); /* mov ebp, 2 */
    put_pointer();
    top = size;
    for (unsigned n = 0; n < STEPS; n++)
        switch (below(6)) {
        case 0: put_pointer(); break;
        case 1: put_stack(); break;
        case 2: put_call(); break;
        case 3: put_remap(); break;
        default: put_accesses(); break;
        }
    PUT("\xff\xcd\x0f\x85"); /* dec ebp; jnz top */
    put_value(top - (size + 4), 4);
}

static void map_window(void)
{
    pair_put(&p, MACHINE_PML4 + 0x2000 + (WINDOW >> 21) * 8, (u8[]){7, TABLE >> 8 & 0xff, 6, 0}, 4);
    for (unsigned n = 0; n < DATA_PAGES + CODE_PAGES; n++) {
        u8 entry[8];

        store_le(entry, (FRAMES + n * PAGE_SIZE) | 7, 8);
        pair_put(&p, TABLE + n * 8, entry, 8);
    }
    /* add rdx, n; rol rdx, 7; ret */
    for (unsigned n = 0; n < CODE_FRAMES; n++)
        pair_put(&p, FRAMES + (DATA_PAGES + n) * PAGE_SIZE,
                 (u8[]){0x48, 0x83, 0xc2, (u8)(n + 1), 0x48, 0xc1, 0xc2, 7, 0xc3}, 9);
}

/* Each program three times: then it is linked, and its accesses are in the TLB. */
START_TEST(the_mapping_of_now_is_used)
{
    const struct jit_options *o = &options[_i];

    dice.state = 11;
    pair_create(&p, o);
    pair_start(&p, MACHINE_LONG);
    p.interp.v->cr4 |= CR4_PGE;
    p.jit.v->cr4 |= CR4_PGE;
    map_window();
    pair_set(&p, RDX, 0x123456789abcdef);
    for (unsigned n = 0; n < (o->check ? PROGRAMS / 5 : PROGRAMS); n++) {
        make_program();
        for (unsigned again = 0; again < 3; again++) {
            pair_again(&p);
            ck_assert_int_eq(pair_execute(&p, code, size), -1);
        }
    }
    ck_assert_uint_gt(pair_stats(&p).blocks, 100);
    if ((o->optimisations & JIT_MEMORY) && !o->check)
        ck_assert_uint_gt(pair_stats(&p).misses, 100);
    pair_destroy(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("remap");
    TCase *t = tcase_create("remap");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 100);
    tcase_add_loop_test(t, the_mapping_of_now_is_used, 0, ARRAY_SIZE(options));
    return suite_run(s);
}
