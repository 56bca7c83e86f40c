/* SPDX-License-Identifier: MIT
 *
 * String instructions that fault half-way, and the x87, SSE and AVX state: exceptions (#NM, #MF,
 * #XM, #UD), alignment (#GP, #AC), FXSAVE and XSAVE images (SDM 1 chapters 8 to 13).
 */
#include "guest.h"

#define TEST_VA 0x0000123440000000ul

static u8 *source, *target;
static u8 area[8192] __attribute__((aligned(4096)));

enum { E_W = 2, E_U = 4 };

/* -- Strings -------------------------------------------------------------------------------- */

SNIPPET(64, rep_movsb, "rep movsb");
SNIPPET(64, rep_movsw, "rep movsw");
SNIPPET(64, rep_movsl, "rep movsl");
SNIPPET(64, rep_movsq, "rep movsq");
SNIPPET(64, rep_stosb, "rep stosb");
SNIPPET(64, rep_stosq, "rep stosq");
SNIPPET(64, rep_lodsl, "rep lodsl");
SNIPPET(64, rep_scasb, "repne scasb");
SNIPPET(64, rep_cmpsw, "repe cmpsw");
SNIPPET(64, rep_insb, "rep insb");
SNIPPET(64, rep_outsb, "rep outsb");
SNIPPET(64, rep_movsb32, "addr32 rep movsb");
SNIPPET(64, lods32, "addr32 lodsb");

/* Pages at TEST_VA and the next are present, the third is not. */
static void faults_midway(void)
{
    static const struct {
        const u8 *code;
        u32 size;
        bool reads, writes;
        const char *name;
    } cases[] = {
        {rep_movsb, 1, false, true, "MOVSB"}, {rep_movsw, 2, false, true, "MOVSW"},
        {rep_movsl, 4, false, true, "MOVSD"}, {rep_movsq, 8, false, true, "MOVSQ"},
        {rep_stosb, 1, false, true, "STOSB"}, {rep_stosq, 8, false, true, "STOSQ"},
    };
    struct context c;

    group_begin("REP with a fault half-way");
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        u32 size = cases[i].size;

        for (u32 off = 0; off < size; off++) {
            u32 whole = (100 * size - off) / size; /* elements before the page's end */

            memset(area, 0x11, sizeof(area));
            memset(target, 0xee, 4096);
            c = context_flat(3);
            c.si = (ulong)area, c.di = TEST_VA + 8192 - 100 * size + off, c.cx = 300;
            c.ax = 0x1111111111111111;
            context_at(&c, cases[i].code);
            check_end(&c, PF, E_W | E_U, 0, "%s, offset %u", cases[i].name, off);
            check_eq(c.cr2, TEST_VA + 8192, "%s CR2", cases[i].name);
            check_eq(c.cx, 300 - whole, "%s RCX", cases[i].name);
            check_eq(c.di, TEST_VA + 8192 - 100 * size + off + whole * size, "%s RDI",
                     cases[i].name);
            check_eq(c.flags & FL_RF, FL_RF, "%s RF: to be resumed", cases[i].name);
            /* The element over the edge wrote nothing, those before it did. */
            check_eq(target[4095], off ? 0xee : 0x11, "%s last byte", cases[i].name);
            check_eq(target[4095 - (off ? size - off : 0)], 0x11, "%s last whole element",
                     cases[i].name);
        }
        /* Downwards, from the second page into the absent one below TEST_VA. */
        c = context_flat(3);
        c.flags |= FL_DF;
        c.si = (ulong)area + 4096, c.di = TEST_VA + 9 * size, c.cx = 50;
        context_at(&c, cases[i].code);
        check_end(&c, PF, E_W | E_U, 0, "%s downwards", cases[i].name);
        check_eq(c.cx, 40, "%s downwards RCX", cases[i].name);
        check_eq(c.di, TEST_VA - size, "%s downwards RDI", cases[i].name);
    }
    c = context_flat(3);
    c.si = TEST_VA + 8192 - 40, c.cx = 100;
    memset(target, 0x3c, 4096);
    context_at(&c, rep_lodsl);
    check_end(&c, PF, E_U, 0, "LODSD");
    check_eq(c.cx, 90, "LODSD RCX");
    check_eq(c.ax, 0x3c3c3c3c, "LODSD EAX of the last element");
    c = context_flat(3);
    c.di = TEST_VA + 8192 - 40, c.cx = 100, c.ax = 5;
    context_at(&c, rep_scasb);
    check_end(&c, PF, E_U, 0, "SCASB");
    check_eq(c.cx, 60, "SCASB RCX");
    c = context_flat(3);
    memset(area, 0x3c, sizeof(area));
    c.si = (ulong)area, c.di = TEST_VA + 8192 - 40, c.cx = 100;
    context_at(&c, rep_cmpsw);
    check_end(&c, PF, E_U, 0, "CMPSW");
    check_eq(c.cx, 80, "CMPSW RCX");
    c = context_flat(0);
    c.di = TEST_VA + 8192 - 10, c.cx = 100, c.dx = 0x71;
    context_at(&c, rep_insb);
    check_end(&c, PF, E_W, 0, "INSB");
    check_eq(c.cx, 90, "INSB RCX");
    c = context_flat(0);
    c.si = TEST_VA + 8192 - 10, c.cx = 100, c.dx = 0x80;
    context_at(&c, rep_outsb);
    check_end(&c, PF, 0, 0, "OUTSB");
    check_eq(c.cx, 90, "OUTSB RCX");
    check_eq(c.si, TEST_VA + 8192, "OUTSB RSI");
    group_end();
}

static void string_edges(void)
{
    struct context c;
    static const u8 text[] = "abcdefgh";

    group_begin("REP");
    c = context_flat(3);
    c.cx = 0, c.si = c.di = 0x700000000000;
    c.flags |= FL_ZF | FL_CF;
    context_at(&c, rep_cmpsw);
    check_end(&c, END, 0, -1, "a count of 0 touches nothing");
    check_eq(c.flags & (FL_ZF | FL_CF), FL_ZF | FL_CF, "and leaves the flags");
    c = context_flat(3);
    c.di = (ulong)text, c.cx = 8, c.ax = 'd';
    context_at(&c, rep_scasb);
    check_eq(c.cx, 4, "REPNE SCASB stops after the match");
    check_eq(c.flags & FL_ZF, FL_ZF, "ZF");
    check_eq(c.di, (ulong)text + 4, "RDI");
    /* Overlapping copies go byte by byte. */
    memcpy(area, "x.........", 10);
    c = context_flat(3);
    c.si = (ulong)area, c.di = (ulong)area + 1, c.cx = 9;
    context_at(&c, rep_movsb);
    check_eq(memcmp(area, "xxxxxxxxxx", 10), 0, "an overlapping MOVSB fills");
    memcpy(area, "abcd....................", 24);
    c = context_flat(3);
    c.si = (ulong)area, c.di = (ulong)area + 4, c.cx = 5;
    context_at(&c, rep_movsl);
    check_eq(memcmp(area, "abcdabcdabcdabcdabcdabcd", 24), 0, "an overlapping MOVSD repeats");
    memcpy(area, "abcdefghijklmnop", 16);
    c = context_flat(3);
    c.si = (ulong)area, c.di = (ulong)area + 3, c.cx = 2;
    context_at(&c, rep_movsl);
    check_eq(memcmp(area, "abcabcdbcdelmnop", 16) == 0 || area[7] == 'b', 1,
             "an overlap shorter than the element");
    memcpy(area, "0123456789", 10);
    c = context_flat(3);
    c.flags |= FL_DF;
    c.si = (ulong)area + 8, c.di = (ulong)area + 9, c.cx = 9;
    context_at(&c, rep_movsb);
    check_eq(memcmp(area, "0012345678", 10), 0, "downwards");
    c = context_flat(3);
    c.si = 0xffffffff00000000 | (ulong)text, c.di = (ulong)area | BIT(40), c.cx = 0x500000003;
    context_at(&c, rep_movsb32);
    check_end(&c, END, 0, -1, "32-bit addresses");
    check_eq(c.cx, 0, "RCX");
    check_eq(c.si, (u32)(ulong)text + 3, "RSI");
    check_eq(c.di, (u32)(ulong)area + 3, "RDI");
    c = context_flat(3);
    c.si = BIT(40) | (ulong)text;
    context_at(&c, lods32);
    check_eq(c.ax & 0xff, 'a', "LODSB with ESI");
    check_eq(c.si, (u32)(ulong)text + 1, "its RSI");
    group_end();
}

/* -- Exceptions ----------------------------------------------------------------------------- */

SNIPPET(64, x87_op, "fld1");
SNIPPET(64, x87_wait, "fwait");
SNIPPET(64, mmx_op, "paddd %mm0, %mm1");
SNIPPET(64, sse_op, "addps %xmm0, %xmm1");
SNIPPET(64, sse_mem, "movaps (%rdi), %xmm0");
SNIPPET(64, avx_op, "vaddps %ymm0, %ymm1, %ymm2");
SNIPPET(64, avx_mem, "vmovaps (%rdi), %ymm0");
SNIPPET(64, avx_umem, "vmovups (%rdi), %ymm0");
SNIPPET(64, avx_arith, "vaddps (%rdi), %ymm0, %ymm1");
SNIPPET(64, sse_arith, "addps (%rdi), %xmm0");
SNIPPET(64, fxsave_op, "fxsave (%rdi)");
SNIPPET(64, ldmxcsr_op, "ldmxcsr (%rdi)");
SNIPPET(64, fnclex_op, "fnclex");
SNIPPET(64, sse_int, "movnti %eax, (%rdi)");
SNIPPET(64, crc_op, "crc32l %eax, %ecx");
SNIPPET(64, prefetch_op, "prefetchnta (%rdi)");
SNIPPET(64, xsave_op, "xsave (%rdi)");

static void device_not_available(void)
{
    static const struct {
        const u8 *code;
        u32 em, ts, mp_ts; /* vectors with EM, TS, and TS with MP */
        const char *name;
    } cases[] = {
        {x87_op, NM, NM, NM, "x87"},       {x87_wait, END, END, NM, "FWAIT"},
        {mmx_op, UD, NM, NM, "MMX"},       {sse_op, UD, NM, NM, "SSE"},
        {fxsave_op, NM, NM, NM, "FXSAVE"}, {ldmxcsr_op, UD, NM, NM, "LDMXCSR"},
        {fnclex_op, NM, NM, NM, "FNCLEX"}, {sse_int, END, END, END, "MOVNTI"},
        {crc_op, END, END, END, "CRC32"},  {prefetch_op, END, END, END, "PREFETCH"},
    };
    ulong cr0 = read_cr0() & ~(ulong)(CR0_MP | CR0_EM | CR0_TS), cr4 = read_cr4();
    struct context c;

    group_begin("#NM and #UD by CR0.EM, TS and MP");
    *(u32 *)area = 0x1f80;
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        for (u32 bits = 0; bits < 8; bits++) {
            bool em = bits & 1, ts = bits & 2, mp = bits & 4;
            u32 want = em   ? (cases[i].code == x87_wait && ts && mp ? NM : cases[i].em)
                       : ts ? (mp ? cases[i].mp_ts : cases[i].ts)
                            : END;

            asm volatile("fninit");
            write_cr0(cr0 | (em ? CR0_EM : 0) | (ts ? CR0_TS : 0) | (mp ? CR0_MP : 0));
            c = context_flat(3);
            c.di = (ulong)area;
            context_at(&c, cases[i].code);
            write_cr0(cr0);
            check_end(&c, want, 0, want == END ? -1 : 0, "%s em %u ts %u mp %u", cases[i].name, em,
                      ts, mp);
        }
    }
    write_cr0(cr0 | CR0_MP);
    write_cr4(cr4 & ~(ulong)CR4_OSFXSR);
    c = context_flat(3);
    context_at(&c, sse_op);
    check_end(&c, UD, 0, 0, "SSE without CR4.OSFXSR");
    c = context_flat(3);
    context_at(&c, mmx_op);
    check_end(&c, END, 0, -1, "MMX without CR4.OSFXSR");
    write_cr4(cr4);
    if (cpuid(1, 0).c >> 28 & 1) {
        c = context_flat(3);
        context_at(&c, avx_op);
        check_end(&c, UD, 0, 0, "AVX without CR4.OSXSAVE");
        write_cr4(cr4 | CR4_OSXSAVE);
        asm volatile("xsetbv" ::"c"(0), "a"(3), "d"(0));
        c = context_flat(3);
        context_at(&c, avx_op);
        check_end(&c, UD, 0, 0, "AVX without XCR0[2]");
        asm volatile("xsetbv" ::"c"(0), "a"(7), "d"(0));
        c = context_flat(3);
        context_at(&c, avx_op);
        check_end(&c, END, 0, -1, "AVX");
        write_cr0(cr0 | CR0_TS);
        c = context_flat(3);
        context_at(&c, avx_op);
        write_cr0(cr0 | CR0_MP);
        check_end(&c, NM, 0, 0, "AVX with CR0.TS");
        write_cr4(cr4);
    }
    group_end();
}

SNIPPET(64, mf_division, "fldz; fld1; fdivp; fld1");
SNIPPET(64, mf_nowait, "fnstsw %ax; fnstcw (%rdi); fnclex");
SNIPPET(64, xm_division, "divps %xmm0, %xmm1");
SNIPPET(64, xm_avx, "vdivps %xmm0, %xmm1, %xmm2");

static void numeric(void)
{
    ulong cr0 = read_cr0(), cr4 = read_cr4();
    struct context c;
    static u16 control = 0x037b; /* zero division is not masked */
    static u32 mxcsr = 0x1d80, now;
    u16 status;

    group_begin("#MF and #XM");
    asm volatile("fninit; fldcw %0" ::"m"(control));
    write_cr0(cr0 | CR0_NE);
    c = context_flat(3);
    context_at(&c, mf_division);
    check_end(&c, MF, 0, 6, "#MF comes with the next waiting instruction");
    asm volatile("fnstsw %0" : "=m"(status));
    check_eq(status & 0x84, 0x84, "status: ZE and ES");
    c = context_flat(3);
    c.di = (ulong)area;
    context_at(&c, mf_nowait);
    check_end(&c, END, 0, -1, "non-waiting instructions do not raise it");
    check_eq(c.ax & 0x84, 0x84, "FNSTSW shows it");
    asm volatile("fninit; fldcw %0; fldz; fld1; fdivp" ::"m"(control));
    c = context_flat(3);
    context_at(&c, x87_wait);
    check_end(&c, MF, 0, 0, "FWAIT raises it");
    c = context_flat(3);
    context_at(&c, mmx_op);
    check_end(&c, MF, 0, 0, "MMX raises it");
    asm volatile("fnclex; fninit");

    asm volatile("xorps %%xmm0, %%xmm0; ldmxcsr %0; pcmpeqd %%xmm1, %%xmm1; pslld $25, %%xmm1; "
                 "psrld $2, %%xmm1" ::"m"(mxcsr));
    c = context_flat(3);
    context_at(&c, xm_division);
    check_end(&c, XM, 0, 0, "#XM at the instruction");
    asm volatile("stmxcsr %0" : "=m"(now));
    check_eq(now & 0x3f, 4, "MXCSR.ZE");
    write_cr4(cr4 & ~(ulong)CR4_OSXMMEXCPT);
    c = context_flat(3);
    context_at(&c, xm_division);
    check_end(&c, UD, 0, 0, "#UD without CR4.OSXMMEXCPT");
    write_cr4(cr4);
    mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
    c = context_flat(3);
    context_at(&c, xm_division);
    check_end(&c, END, 0, -1, "masked");
    asm volatile("stmxcsr %0" : "=m"(now));
    check_eq(now, 0x1f84, "the flag is set all the same");
    mxcsr = 0x11f80;
    TRY("ldmxcsr %0", ::"m"(mxcsr));
    check_fault(GP, 0, "LDMXCSR with a reserved bit");
    mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
    group_end();
}

SNIPPET(64, ac_w, "movw (%rdi), %ax");
SNIPPET(64, ac_l, "movl (%rdi), %eax");
SNIPPET(64, ac_q, "movq (%rdi), %rax");
SNIPPET(64, ac_store, "movl %eax, (%rdi)");
SNIPPET(64, ac_push, "push %rax");
SNIPPET(64, ac_fld, "fldl (%rdi)");
SNIPPET(64, ac_b, "movb (%rdi), %al");
SNIPPET(64, ac_movsd, "movsd (%rdi), %xmm0");
SNIPPET(64, cmpxchg16, "lock cmpxchg16b (%rdi)");
SNIPPET(64, fxrstor_op, "fxrstor (%rdi)");
SNIPPET(64, movdqu_op, "movdqu (%rdi), %xmm0");
SNIPPET(64, movntdq_op, "movntdq %xmm0, (%rdi)");

static void alignment(void)
{
    ulong cr0 = read_cr0();
    struct context c;
    static const struct {
        const u8 *code;
        u32 align;
        const char *name;
    } checks[] = {{ac_w, 2, "2 bytes"},   {ac_l, 4, "4 bytes"},   {ac_q, 8, "8 bytes"},
                  {ac_store, 4, "store"}, {ac_fld, 8, "FLD m64"}, {ac_movsd, 8, "MOVSD m64"},
                  {ac_b, 1, "1 byte"}};
    static const struct {
        const u8 *code;
        u32 align;
        const char *name;
    } faults[] = {{sse_mem, 16, "MOVAPS"},     {sse_arith, 16, "ADDPS m128"},
                  {fxsave_op, 16, "FXSAVE"},   {fxrstor_op, 16, "FXRSTOR"},
                  {movntdq_op, 16, "MOVNTDQ"}, {cmpxchg16, 16, "CMPXCHG16B"},
                  {movdqu_op, 1, "MOVDQU"}};

    memset(area, 0, sizeof(area));
    group_begin("#AC");
    for (u32 bits = 0; bits < 8; bits++) {
        bool am = bits & 1, ac = bits & 2, user = bits & 4;

        write_cr0((cr0 & ~(ulong)CR0_AM) | (am ? CR0_AM : 0));
        for (u32 i = 0; i < ARRAY_SIZE(checks); i++) {
            for (u32 offset = 0; offset < 8; offset++) {
                bool fault = am && ac && user && offset % checks[i].align;

                asm volatile("fninit");
                c = context_flat(user ? 3 : 0);
                c.flags |= ac ? FL_AC : 0;
                c.di = (ulong)area + offset;
                context_at(&c, checks[i].code);
                check_end(&c, fault ? AC : END, 0, fault ? 0 : -1,
                          "%s at offset %u, am %u ac %u user %u", checks[i].name, offset, am, ac,
                          user);
            }
        }
    }
    write_cr0(cr0 | CR0_AM);
    c = context_flat(3);
    c.flags |= FL_AC;
    c.sp -= 4;
    context_at(&c, ac_push);
    check_end(&c, AC, 0, 0, "PUSH");
    check_eq(c.sp, context_flat(3).sp - 4, "PUSH leaves RSP");
    c = context_flat(3);
    c.flags |= FL_AC;
    c.di = 0x700000000001;
    context_at(&c, ac_l);
    check(c.vector == AC || c.vector == PF, "#AC or #PF where both hold");
    write_cr0(cr0);
    group_end();

    group_begin("#GP by alignment");
    for (u32 i = 0; i < ARRAY_SIZE(faults); i++) {
        for (u32 offset = 0; offset < 32; offset++) {
            bool fault = offset % faults[i].align;

            memset(area, 0, 1024);
            *(u32 *)(area + offset + 24) = 0x1f80;
            c = context_flat(3);
            c.di = (ulong)area + offset;
            context_at(&c, faults[i].code);
            check_end(&c, fault ? GP : END, 0, fault ? 0 : -1, "%s at offset %u", faults[i].name,
                      offset);
        }
    }
    if (cpuid(1, 0).c >> 28 & 1) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
        asm volatile("xsetbv" ::"c"(0), "a"(7), "d"(0));
        for (u32 offset = 0; offset < 32; offset++) {
            c = context_flat(3);
            c.di = (ulong)area + offset;
            context_at(&c, avx_mem);
            check_end(&c, offset ? GP : END, 0, -1, "VMOVAPS at offset %u", offset);
            c = context_flat(3);
            c.di = (ulong)area + offset;
            context_at(&c, avx_umem);
            check_end(&c, END, 0, -1, "VMOVUPS at offset %u", offset);
            c = context_flat(3);
            c.di = (ulong)area + offset;
            context_at(&c, avx_arith);
            check_end(&c, END, 0, -1, "VADDPS m256 at offset %u", offset);
        }
        write_cr4(read_cr4() & ~(ulong)CR4_OSXSAVE);
    }
    group_end();
    asm volatile("fninit");
}

/* -- Images --------------------------------------------------------------------------------- */

static void fxsave(void)
{
    u16 *words = (u16 *)area;
    u32 *longs = (u32 *)area;
    u64 *quads = (u64 *)area;
    static const u64 pattern[2] = {0x0123456789abcdef, 0xfedcba9876543210};
    static u32 mxcsr = 0x1fa0;

    group_begin("FXSAVE");
    memset(area, 0xcc, 1024);
    asm volatile("fninit; fld1; fldz; ldmxcsr %0; movups %1, %%xmm9" ::"m"(mxcsr), "m"(pattern));
    asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
    check_eq(words[0], 0x37f, "FCW");
    check_eq(words[1], 6 << 11, "FSW: top of stack 6");
    check_eq(area[4], 0xc0, "abridged tags: two registers in use");
    check_eq(area[5], 0, "byte 5 is reserved");
    check_eq(longs[6], 0x1fa0, "MXCSR");
    check((longs[7] & 0xffbf) == 0xffbf, "MXCSR_MASK: %x", longs[7]);
    check_eq(quads[4], 0, "ST0 is zero");
    check(quads[6] == 0x8000000000000000 && words[28] == 0x3fff, "ST1 is one");
    check(quads[(160 + 9 * 16) / 8] == pattern[0] && quads[(160 + 9 * 16) / 8 + 1] == pattern[1],
          "XMM9");
    check_eq(quads[464 / 8], 0xcccccccccccccccc, "bytes 464 on are not written");
    check_eq(quads[512 / 8], 0xcccccccccccccccc, "nor what follows");
    asm volatile("fninit; xorps %%xmm9, %%xmm9; fxrstor64 (%0)" ::"r"(area) : "memory");
    memset(area + 1024, 0xcc, 512);
    asm volatile("fxsave64 (%0)" ::"r"(area + 1024) : "memory");
    check_eq(memcmp(area, area + 1024, 464), 0, "FXRSTOR brings all of it back");
    longs[6] = 0x10000;
    TRY("fxrstor64 (%0)", ::"r"(area));
    check_fault(GP, 0, "FXRSTOR with a reserved bit of MXCSR");
    mxcsr = 0x1f80;
    asm volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
    group_end();
}

static void xsave_at(u8 *at, u32 mask)
{
    asm volatile("xsave64 (%0)" ::"r"(at), "a"(mask), "d"(0) : "memory");
}

/* SDM 1 13.4, 13.7-13.10 */
static void xsave(void)
{
    u64 *header = (u64 *)(area + 512);
    struct cpuid sub = cpuid(0xd, 1);
    static const u64 pattern[2] = {0x1122334455667788, 0x99aabbccddeeff00};
    bool avx = cpuid(1, 0).c >> 28 & 1;
    u32 full = avx ? 7 : 3;

    if (!(cpuid(1, 0).c >> 26 & 1)) {
        check_skip("XSAVE", "not offered");
        return;
    }
    write_cr4(read_cr4() | CR4_OSXSAVE);
    asm volatile("xsetbv" ::"c"(0), "a"(full), "d"(0));
    group_begin("XSAVE");
    memset(area, 0xcc, 4096);
    memset(header, 0, 64);
    header[0] = 0x8000000000000000 >> 1; /* a bit outside the request stays */
    asm volatile("fninit; movups %0, %%xmm3" ::"m"(pattern));
    xsave_at(area, 2);
    check_eq(header[0] & ~2ull, 0x4000000000000000, "XSTATE_BV outside the request");
    check_eq(header[0] & 2, 2, "SSE in use");
    check_eq(*(u64 *)(area + 160 + 48), pattern[0], "XMM3");
    check_eq(*(u64 *)(area + 32), 0xcccccccccccccccc, "x87 is not written");
    check_eq(header[1], 0, "XCOMP_BV is not written");
    memset(header, 0, 64);
    asm volatile("fninit; movups %0, %%xmm3; pxor %%xmm3, %%xmm3" ::"m"(pattern));
    header[0] = 2;
    memset(area + 160, 0, 256);
    *(u64 *)(area + 160 + 32) = 0x77;
    *(u32 *)(area + 24) = 0x1f80;
    asm volatile("xrstor64 (%0)" ::"r"(area), "a"(7), "d"(0) : "memory");
    u64 low;
    asm volatile("movq %%xmm2, %0" : "=r"(low));
    check_eq(low, 0x77, "XRSTOR loads what XSTATE_BV names");
    header[0] = 0;
    asm volatile("xrstor64 (%0)" ::"r"(area), "a"(7), "d"(0) : "memory");
    asm volatile("movq %%xmm2, %0" : "=r"(low));
    check_eq(low, 0, "and initialises the others");
    if (sub.a & 1) {
        header[0] = 0x2;
        asm volatile("xsaveopt64 (%0)" ::"r"(area), "a"(full), "d"(0) : "memory");
        check_eq(header[1], 0, "XSAVEOPT writes the standard form");
    }
    static const struct {
        u32 index;
        u64 value;
        const char *name;
    } bad[] = {{0, 1ull << 61, "XSTATE_BV outside XCR0"},
               {1, 1, "XCOMP_BV without bit 63"},
               {2, 1, "reserved header bytes"},
               {1, 0x8000000000000000 | 1ull << 61, "XCOMP_BV outside XCR0"}};
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        memset(header, 0, 64);
        header[bad[i].index] = bad[i].value;
        TRY("xrstor64 (%0)", ::"r"(area), "a"(7), "d"(0));
        check_fault(GP, 0, "XRSTOR: %s", bad[i].name);
    }
    memset(header, 0, 64);
    *(u32 *)(area + 24) = 0x80000000;
    TRY("xrstor64 (%0)", ::"r"(area), "a"(2), "d"(0));
    check_fault(GP, 0, "XRSTOR: MXCSR is loaded with SSE in the request, whatever XSTATE_BV says");
    *(u32 *)(area + 24) = 0x1f80;
    TRY("xsave64 (%0)", ::"r"(area + 16), "a"(7), "d"(0));
    check_fault(GP, 0, "XSAVE needs 64 bytes' alignment");
    TRY("xrstor64 (%0)", ::"r"(area + 32), "a"(7), "d"(0));
    check_fault(GP, 0, "XRSTOR needs 64 bytes' alignment");
    if (avx) {
        u32 at = cpuid(0xd, 2).b;
        u64 ymm[4] = {1, 2, 3, 4};

        memset(area, 0, 4096);
        asm volatile("vmovups %0, %%ymm5" ::"m"(ymm));
        xsave_at(area, 7);
        check_eq(header[0] & 4, 4, "AVX in use");
        check_eq(*(u64 *)(area + at + 16 * 5), 3, "upper half of YMM5");
        asm volatile("vzeroall");
        asm volatile("xrstor64 (%0)" ::"r"(area), "a"(4), "d"(0) : "memory");
        asm volatile("vmovups %%ymm5, %0" : "=m"(ymm));
        check(ymm[0] == 0 && ymm[2] == 3 && ymm[3] == 4, "XRSTOR of AVX alone: %llx %llx", ymm[0],
              ymm[2]);
        if (sub.a & 2) {
            memset(area, 0, 4096);
            asm volatile("vzeroall; vmovups %0, %%ymm5" ::"m"(ymm));
            asm volatile("xsavec64 (%0)" ::"r"(area), "a"(4), "d"(0) : "memory");
            check_eq(header[1], 0x8000000000000004, "XSAVEC: XCOMP_BV");
            check_eq(*(u64 *)(area + 576 + 16 * 5), 3, "XSAVEC packs AVX at 576");
            asm volatile("vzeroall; xrstor64 (%0)" ::"r"(area), "a"(4), "d"(0) : "memory");
            asm volatile("vmovups %%ymm5, %0" : "=m"(ymm));
            check_eq(ymm[2], 3, "XRSTOR of the compacted form");
            header[0] |= 1;
            TRY("xrstor64 (%0)", ::"r"(area), "a"(4), "d"(0));
            check_fault(GP, 0, "XRSTOR: XSTATE_BV outside XCOMP_BV");
            /* XINUSE for SSE is the registers' alone; XSAVEC adds MXCSR (SDM 1 13.10). */
            memset(area, 0, 1024);
            asm volatile("vzeroall; fninit");
            asm volatile("xsavec64 (%0)" ::"r"(area), "a"(7), "d"(0) : "memory");
            check_eq(header[0], 0, "XSAVEC of the initial state");
        }
        if (sub.a & 4) {
            u32 a, d;
            asm volatile("vzeroall; fninit; xgetbv" : "=a"(a), "=d"(d) : "c"(1));
            check_eq(a & 7, 0, "XGETBV 1 of the initial state");
            asm volatile("vmovups %2, %%ymm5; xgetbv" : "=a"(a), "=d"(d) : "m"(ymm), "c"(1));
            check_eq(a & 4, 4, "XGETBV 1 with AVX in use");
        }
        asm volatile("vzeroall");
    }
    struct context c = context_flat(3);
    write_cr4(read_cr4() & ~(ulong)CR4_OSXSAVE);
    c.di = (ulong)area;
    context_at(&c, xsave_op);
    check_end(&c, UD, 0, 0, "XSAVE without CR4.OSXSAVE");
    group_end();
}

void guest_main(void)
{
    source = page_alloc();
    target = page_alloc();
    page_map(TEST_VA, (u64)source | PTE_P | PTE_W | PTE_U);
    page_map(TEST_VA + 4096, (u64)target | PTE_P | PTE_W | PTE_U);
    faults_midway();
    string_edges();
    device_not_available();
    numeric();
    alignment();
    fxsave();
    xsave();
}
