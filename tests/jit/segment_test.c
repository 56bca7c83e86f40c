/* SPDX-License-Identifier: MIT
 *
 * Segments in translated code outside 64-bit mode: FS and GS, bases, limits, types, segments that
 * change while code is translated already, real mode. Random code in all kinds of segments is in
 * differential_test.c.
 */
#include "tests/jit/random.h"
#include "tests/suite.h"

static struct pair pair;

static void setup(void)
{
    pair_create(&pair, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&pair);
}

static void set_segment(enum seg seg, u32 base, u32 limit, u32 attr)
{
    struct segment s = {.selector = SEL_FREE, .base = base, .limit = limit, .attr = attr};

    pair.interp.v->seg[seg] = pair.jit.v->seg[seg] = s;
}

enum { DATA = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED | ATTR_DB };

/* mov eax, gs:[ecx]; mov gs:[ecx + 4], eax; add dword fs:[ecx + edx * 4], 3; push gs:[ecx];
 * mov al, fs:[10h] */
static const u8 accesses[] = {0x65, 0x8b, 0x01, 0x65, 0x89, 0x41, 0x04, 0x64, 0x83, 0x04, 0x91,
                              0x03, 0x65, 0xff, 0x31, 0x64, 0xa0, 0x10, 0x00, 0x00, 0x00};

static int run_one(enum machine_mode mode, u64 seed)
{
    static const u32 attrs[] = {DATA,
                                DATA & ~(u32)ATTR_WRITE,
                                DATA | ATTR_EXPAND_DOWN,
                                DATA | ATTR_CODE,
                                (DATA | ATTR_CODE) & ~(u32)ATTR_WRITE,
                                DATA | ATTR_NULL};
    static const u32 limits[] = {0xffffffff, 0xfff, 0x1003, 0x2fff, 0};
    struct dice d = {seed * 0x9e3779b97f4a7c15ull + 3};

    state_random(&pair, mode, &d);
    pair_set(&pair, RDX, dice_below(&d, 4));
    pair_set(&pair, RCX,
             dice_below(&d, 3) ? 0x1000 - 12 + dice_below(&d, 16) : (u32)(0 - dice_below(&d, 16)));
    for (enum seg seg = SEG_FS; seg <= SEG_GS; seg++)
        set_segment(seg, (u32)(STATE_DATA + dice_below(&d, 2) * PAGE_SIZE),
                    limits[dice_below(&d, ARRAY_SIZE(limits))],
                    attrs[dice_below(&d, 3) ? 0 : dice_below(&d, ARRAY_SIZE(attrs))]);
    return pair_execute(&pair, accesses, sizeof(accesses));
}

START_TEST(random_segments)
{
    static const enum machine_mode modes[] = {MACHINE_COMPAT, MACHINE_PROT32};
    unsigned faults = 0, passes = 0;

    for (u64 n = 0; n < 500; n++) {
        int vector = run_one(modes[_i], n);

        faults += vector == VEC_GP;
        passes += vector == -1;
    }
    ck_assert_uint_gt(faults, 20);
    ck_assert_uint_gt(passes, 20);
}
END_TEST

START_TEST(permitted_accesses_are_inline)
{
    struct dice d = {9};
    u64 before;

    state_random(&pair, MACHINE_COMPAT, &d);
    set_segment(SEG_FS, STATE_DATA, 0xfff, DATA);
    set_segment(SEG_GS, STATE_DATA + 0x100, 0xffffffff, DATA);
    pair_set(&pair, RCX, 0x20);
    pair_set(&pair, RDX, 1);
    before = pair_stats(&pair).interpreted;
    ck_assert_int_eq(pair_execute(&pair, accesses, sizeof(accesses)), -1);
    ck_assert_uint_eq(state_calls(&pair, &before), 1);
}
END_TEST

/* The same block before and after FS is loaded with another descriptor. */
START_TEST(loaded_segment_counts_at_once)
{
    const u8 code[] = {0xb9, 0x02,     0x00, 0x00, 0x00,    /* mov ecx, 2 */
                       0x64, 0xa1,     0x10, 0,    0,    0, /* again: mov eax, fs:[10h] */
                       0x01, 0xc3,                          /* add ebx, eax */
                       0xba, SEL_FREE, 0,    0,    0,       /* mov edx, SEL_FREE */
                       0x8e, 0xe2,                          /* mov fs, edx */
                       0xe2, 0xef};                         /* loop again */
    struct dice d = {9};

    state_random(&pair, MACHINE_PROT32, &d);
    pair_set(&pair, RBX, 0);
    set_segment(SEG_FS, STATE_DATA, 0xfff, DATA);
    machine_descriptor(&pair.interp, SEL_FREE, STATE_DATA + 0x1000, 0xf, DATA);
    machine_descriptor(&pair.jit, SEL_FREE, STATE_DATA + 0x1000, 0xf, DATA);
    ck_assert_int_eq(pair_execute(&pair, code, sizeof(code)), VEC_GP);
}
END_TEST

/* -- real mode -- */

static void set_limit(enum seg seg, u32 limit)
{
    pair.interp.v->seg[seg].limit = pair.jit.v->seg[seg].limit = limit;
}

/* Loads, stores, stack, near call, string, segment registers: one call, of HLT. */
START_TEST(real_mode_is_inline)
{
    const u8 code[] = {0x8e, 0xd8,                    /* mov ds, ax */
                       0x8b, 0x07,                    /* mov ax, [bx] */
                       0x26, 0x89, 0x04,              /* mov es:[si], ax */
                       0x50, 0x5b, 0x1e, 0x07,        /* push ax; pop bx; push ds; pop es */
                       0xc4, 0x1c,                    /* les bx, [si] */
                       0xe8, 0x00, 0x00, 0xa4,        /* call next; movsb */
                       0x67, 0x66, 0x8b, 0x46, 0x04}; /* mov eax, [esi + 4] */
    u64 before;

    pair_start(&pair, MACHINE_REAL);
    pair_set(&pair, RAX, MACHINE_DATA >> 4);
    before = pair_stats(&pair).interpreted;
    ck_assert_int_eq(pair_execute(&pair, code, sizeof(code)), -1);
    ck_assert_uint_eq(state_calls(&pair, &before), 1);
}
END_TEST

/* The same place by 4080 code segments, twice: more than there are numbers for. */
START_TEST(code_segments_run_out)
{
    const u8 code[] = {0xb8, 0x00, 0x10,       /* mov ax, 1000h */
                       0xbb, 0x0c, 0x00,       /* mov bx, 12 */
                       0xb9, 0xf0, 0x0f,       /* mov cx, 4080 */
                       0x50, 0x53, 0xcb,       /* 9: push ax; push bx; retf */
                       0x48, 0x83, 0xc3, 0x10, /* 12: dec ax; add bx, 16 */
                       0xe2, 0xf7};            /* loop 9 */

    for (unsigned n = 0; n < 2; n++) {
        pair_start(&pair, MACHINE_REAL);
        set_limit(SEG_CS, 0xffff - n);
        ck_assert_int_eq(pair_execute(&pair, code, sizeof(code)), -1);
        ck_assert_uint_eq(pair.jit.v->gpr[RAX], 0x10);
    }
    ck_assert_uint_gt(pair_stats(&pair).flushes, 0);
}
END_TEST

/* Beyond the limit of CS a jump faults, though a block for its target is there. */
START_TEST(jumps_look_at_the_limit)
{
    for (unsigned n = 0; n < 2; n++) {
        u32 limit = n ? 0x11 : 0xffff;

        pair_put(&pair, MACHINE_CODE + 0x12, "\xf4", 1);
        pair_start(&pair, MACHINE_PROT16);
        set_limit(SEG_CS, limit);
        ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xeb, 0x10), n ? VEC_GP : -1);
        pair_start(&pair, MACHINE_PROT16);
        set_limit(SEG_CS, limit);
        ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xb8, 0x12, 0x00, 0xff, 0xe0), n ? VEC_GP : -1);
    }
}
END_TEST

/* The selector of a far pointer at 0FFFEh is at 0, whatever the limit. */
START_TEST(far_pointer_wraps)
{
    pair_start(&pair, MACHINE_REAL);
    set_limit(SEG_DS, 0xffffffff);
    pair_put(&pair, 0, "\x34\x12", 2);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xc5, 0x1e, 0xfe, 0xff), -1);
    ck_assert_uint_eq(pair.jit.v->seg[SEG_DS].selector, 0x1234);
}
END_TEST

/* fninit; fld dword [bx]; mov ds, ax; fnstenv ss:[5000h]: the operand's selector is the old one. */
START_TEST(x87_pointer_keeps_its_selector)
{
    pair_start(&pair, MACHINE_REAL);
    pair_set(&pair, RAX, 0x4000);
    for (unsigned n = 0; n < 2; n++)
        ck_assert_int_eq(
            PAIR_EXECUTE(&pair, 0xdb, 0xe3, 0xd9, 0x07, 0x8e, 0xd8, 0x36, 0xd9, 0x36, 0x00, 0x50),
            -1);
}
END_TEST

/* -- size -- */

/* A loop of one instruction, as long as blocks get; jumps over nothing let them go on. */
static void run_loop_of(enum machine_mode mode, const u8 *insn, size_t size, bool down)
{
    u8 code[62 * 8 + 7];
    size_t at = 0, word = mode == MACHINE_REAL ? 2 : 4;
    /* All that fit, in segments that are not flat half of them. */
    unsigned count = down || mode == MACHINE_REAL ? 30 : 62;
    struct dice d = {size + mode};

    for (unsigned n = 0; n < count; n++) {
        if (n == count / 2) {
            code[at++] = 0x70; /* jo */
            code[at++] = 0;
        }
        memcpy(code + at, insn, size);
        at += size;
    }
    code[at++] = 0xe9; /* jmp to the start */
    store_le(code + at, 0 - (at + word), 4);
    state_random(&pair, mode, &d);
    if (down)
        set_segment(SEG_ES, STATE_DATA, 0x10, DATA | ATTR_EXPAND_DOWN);
    pair_code(&pair, code, at + word);
    pair_run(&pair, 200);
}

START_TEST(the_largest_blocks_fit)
{
    static const struct {
        u8 bytes[8];
        size_t size;
    } insns[] = {{{0xa5}, 1},                                /* movs */
                 {{0xa7}, 1},                                /* cmps */
                 {{0x26, 0xff, 0x33}, 3},                    /* push es:[ebx] */
                 {{0x26, 0x8f, 0x03}, 3},                    /* pop es:[ebx] */
                 {{0xc8, 0x10, 0x00, 0x00}, 4},              /* enter */
                 {{0xf0, 0x0f, 0xab, 0x03}, 4},              /* lock bts [ebx], eax */
                 {{0xd9, 0x2b}, 2},                          /* fldcw [ebx] */
                 {{0x0f, 0x28, 0x03}, 3},                    /* movaps xmm0, [ebx] */
                 {{0xf7, 0xbb, 0x80, 0x00, 0x00, 0x00}, 6}}; /* idiv dword [ebx + 80h] */
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_PROT32, MACHINE_PROT32,
                                              MACHINE_REAL};

    for (size_t n = 0; n < ARRAY_SIZE(insns); n++)
        run_loop_of(modes[_i], insns[n].bytes, insns[n].size, _i == 2);
    ck_assert_uint_gt(pair_stats(&pair).blocks, 4);
}
END_TEST

/* -- order of faults -- */

/* The push of ENTER faults by the limit: the page of the frame's end is not even looked at. */
START_TEST(enter_pushes_first)
{
    const u32 base = 0x800000;
    const u64 entry = MACHINE_PML4 + 0x2000 + (base >> 21) * 8;
    struct machine *both[] = {&pair.interp, &pair.jit};

    pair_start(&pair, MACHINE_COMPAT);
    for (unsigned n = 0; n < 2; n++)
        machine_put_uint(both[n], entry, base | 0x87, 8); /* neither accessed nor dirty */
    set_segment(SEG_SS, base, 0xfff, DATA);
    pair_set(&pair, RSP, 0x1002);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xc8, 0x00, 0x08, 0x00), VEC_SS);
}
END_TEST

/* movdqa [ebx], xmm0 misaligned: its page becomes neither accessed nor dirty. */
START_TEST(alignment_comes_before_the_page)
{
    const u64 entry = MACHINE_PML4 + 0x2000 + 4 * 8;
    struct machine *both[] = {&pair.interp, &pair.jit};

    pair_start(&pair, MACHINE_COMPAT);
    for (unsigned n = 0; n < 2; n++)
        machine_put_uint(both[n], entry, 0x800087, 8);
    pair_set(&pair, RBX, 0x800008);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0x66, 0x0f, 0x7f, 0x03), VEC_GP);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("segment");
    TCase *c = tcase_create("segment");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, random_segments, 0, 2);
    tcase_add_test(c, permitted_accesses_are_inline);
    tcase_add_test(c, loaded_segment_counts_at_once);
    tcase_add_test(c, real_mode_is_inline);
    tcase_add_test(c, code_segments_run_out);
    tcase_add_test(c, jumps_look_at_the_limit);
    tcase_add_test(c, far_pointer_wraps);
    tcase_add_test(c, x87_pointer_keeps_its_selector);
    tcase_add_test(c, enter_pushes_first);
    tcase_add_test(c, alignment_comes_before_the_page);
    tcase_add_loop_test(c, the_largest_blocks_fit, 0, 4);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
