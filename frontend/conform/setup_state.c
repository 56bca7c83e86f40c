/* SPDX-License-Identifier: MIT
 *
 * x87 and SSE state: register contents, tags, control and status words, MXCSR, and the memory
 * images that FLDENV, FRSTOR, FXRSTOR, XRSTOR and LDMXCSR load.
 */
#include "frontend/conform/generate_internal.h"

enum { FCW = 0, FSW = 2, FTW = 4, FOP = 6, FIP = 8, FDP = 16, ST = 32 }; /* FXSAVE64 image */
enum { FSW_ES_B = 0x8080, MXCSR_MASKS = 0x1f80, MXCSR_MM = 1u << 17 };

static bool uses_x87(const struct build *b)
{
    switch (b->i.id) {
    case INSN_FXSAVE_M:
    case INSN_XSAVE_M:
    case INSN_XSAVEC_M: return true;
    default: return b->row->traits & (T_FPU | T_MMX);
    }
}

/* Control and status word that agree about a pending exception. */
static void choose_words(struct build *b, u8 *fcw_at, u8 *fsw_at)
{
    u64 x = rng_next(&b->rng);
    unsigned fcw = 0x40 | ((unsigned)x & 0xf00) | 0x3f, fsw = (unsigned)(x >> 16) & 0x7f7f;

    if ((x >> 40 & 7) == 0)
        fcw &= ~0x3fu | (unsigned)(x >> 48 & 0x3f);
    if ((x >> 44 & 15) > 0) /* nothing pending, but for once in a while */
        fsw &= ~(~fcw & 0x3f);
    if (fsw & ~fcw & 0x3f)
        fsw |= FSW_ES_B;
    if (!(x >> 54 & 1))
        fcw |= 0x300; /* double extended, as it is mostly used */
    store_le(fcw_at, fcw, 2);
    store_le(fsw_at, fsw, 2);
}

/* Tags: full, empty, or any. */
static unsigned choose_tags(struct build *b)
{
    unsigned x = rng_below(&b->rng, 1024);

    return (x & 3) < 2 ? 0xff : (x & 3) == 2 && (x & 4) ? 0 : x >> 2 & 0xff;
}

static void choose_x87(struct build *b)
{
    u8 *x87 = b->c->in.x87;

    choose_words(b, x87 + FCW, x87 + FSW);
    x87[FTW] = (u8)choose_tags(b);
    x87[FTW + 1] = 0;
    if (load_le(x87 + FSW, 2) & FSW_ES_B) { /* AMD processors load zeros otherwise */
        store_le(x87 + FOP, rng_next(&b->rng) & 0x7ff, 2);
        store_le(x87 + FIP, ARENA_CODE + rng_below(&b->rng, ARENA_CODE_SIZE), 8);
        store_le(x87 + FDP, ARENA_DATA + rng_below(&b->rng, ARENA_DATA_SIZE), 8);
    }
    for (unsigned n = 0; n < 8; n++) {
        value_f80(&b->rng, x87 + ST + 16 * n);
        if (b->row->traits & T_MMX) {
            store_le(x87 + ST + 16 * n, value_int(&b->rng), 8);
            if (rng_one_in(&b->rng, 2))
                store_le(x87 + ST + 16 * n + 8, 0xffff, 2);
        }
    }
}

/* Rounding, DAZ and FTZ at random; unmasked exceptions at times. */
static u32 choose_mxcsr(struct build *b)
{
    u64 x = rng_next(&b->rng);
    u32 mxcsr = MXCSR_MASKS | ((u32)(x >> 32) & 0xe040);

    if (!(x & 3))
        mxcsr |= (u32)(x >> 16) & 0x3f;
    if (!(x >> 2 & 7))
        mxcsr &= ~(u32)MXCSR_MASKS | ((u32)(x >> 8) & MXCSR_MASKS);
    if (!(x >> 5 & 63) && feature_has(&b->g->model.features, FEAT_MISALIGNSSE))
        mxcsr |= MXCSR_MM;
    return mxcsr;
}

void setup_fpu(struct build *b)
{
    struct conform_state *s = &b->c->in;
    bool vector = b->row->traits & (T_SSE | T_AVX | T_EVEX);

    memset(s->x87, 0, sizeof(s->x87));
    store_le(s->x87 + FCW, 0x37f, 2);
    if (uses_x87(b))
        choose_x87(b);
    else
        for (unsigned n = 0; n < 8; n++)
            memcpy(s->x87 + ST + 16 * n, b->g->pool + 16 * rng_below(&b->rng, POOL_BYTES / 16), 10);
    s->mxcsr = vector || uses_x87(b) ? choose_mxcsr(b) : MXCSR_MASKS;
}

/* -- registers -- */

static void set_pair(struct build *b, u64 eax, u64 edx)
{
    b->c->in.gpr[RAX] = eax;
    b->c->in.gpr[RDX] = edx;
    b->fixed |= 1u << RAX | 1u << RDX;
}

/* The components of XCR0 that Lockstep knows. */
static void note_xcr0(struct build *b)
{
    b->c->xcr0 = b->g->host_xcr0 & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU);
}

/* Components 0-2 and 5-7, but for those that only one side has. All of them are in use in these
 * states, so that XINUSE is known; PKRU is in its initial state, in which a processor may or may
 * not hold it to be in use. */
static void setup_xsave(struct build *b)
{
    u64 components = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;

    components &= ~(b->g->host_xcr0 ^ b->g->xcr0);
    note_xcr0(b);
    set_pair(b, rng_next(&b->rng) & components, 0);
    for (unsigned n = 0; n < 8; n++)
        b->c->in.k[n] |= 1;
}

/* Access to key 0, which the arena has, stays. */
static void setup_pkru(struct build *b)
{
    bool wrong = rng_one_in(&b->rng, 8);

    set_pair(b, rng_next(&b->rng) & 0xfffffffcu,
             b->i.id == INSN_WRPKRU && wrong ? rng_next(&b->rng) : 0);
    b->c->in.gpr[RCX] = rng_one_in(&b->rng, 8) ? rng_next(&b->rng) : 0;
    b->fixed |= 1u << RCX;
}

bool setup_state_registers(struct build *b)
{
    switch (b->i.id) {
    case INSN_XSAVE_M:
    case INSN_XSAVEC_M:
    case INSN_XRSTOR_M: setup_xsave(b); return true;
    case INSN_RDPKRU:
    case INSN_WRPKRU: setup_pkru(b); return true;
    case INSN_XGETBV: /* not 1: which components are in use may differ */
        b->c->in.gpr[RCX] = rng_one_in(&b->rng, 4) ? 2 + rng_below(&b->rng, 1000) : 0;
        if (b->g->host_xcr0 != b->g->xcr0)
            b->c->in.gpr[RCX] |= 2;
        note_xcr0(b);
        return true;
    case INSN_WRFSBASE_Ry:
    case INSN_WRGSBASE_Ry:
        if (!rng_one_in(&b->rng, 6))
            b->c->in.gpr[b->i.rm] = (u64)((i64)(rng_next(&b->rng) << 16) >> 16);
        return true;
    default: return false;
    }
}

/* -- images in memory -- */

static u32 mxcsr_image(struct build *b)
{
    u32 mxcsr = choose_mxcsr(b);

    return rng_one_in(&b->rng, 8) ? mxcsr | 1u << (16 + rng_below(&b->rng, 16)) : mxcsr;
}

/* FLDENV and the start of FRSTOR: 14 or 28 bytes. */
static void patch_environment(struct build *b)
{
    unsigned width = b->i.osz == 2 ? 2 : 4;
    u8 bytes[CASE_PATCH_BYTES];

    value_fill(&b->rng, KIND_RANDOM, bytes, sizeof(bytes));
    choose_words(b, bytes, bytes + width);
    store_le(bytes + 2 * width, rng_one_in(&b->rng, 2) ? 0 : rng_next(&b->rng), 2);
    for (unsigned at = 7 * width; b->i.id == INSN_FRSTOR_Mfpu && at + 10 <= sizeof(bytes); at += 10)
        value_f80(&b->rng, bytes + at);
    case_patch(b->c, b->linear, bytes,
               b->i.id == INSN_FRSTOR_Mfpu ? (unsigned)sizeof(bytes) : 7 * width);
}

static void patch_fxsave_image(struct build *b)
{
    u8 bytes[CASE_PATCH_BYTES];

    value_fill(&b->rng, KIND_RANDOM, bytes, sizeof(bytes));
    choose_words(b, bytes + FCW, bytes + FSW);
    bytes[FTW] = (u8)choose_tags(b);
    store_le(bytes + 24, mxcsr_image(b), 4);
    for (unsigned n = 0; n < 4; n++)
        value_f80(&b->rng, bytes + ST + 16 * n);
    case_patch(b->c, b->linear, bytes, sizeof(bytes));
}

/* The XSAVE header: reserved bits, such as those of components that are not enabled, are zero for
 * the most part. PKRU is not loaded: the arena must stay accessible. */
static void patch_xsave_header(struct build *b)
{
    u64 components = (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512) & b->g->xcr0;
    u8 header[64] = {0};

    store_le(header, rng_next(&b->rng) & components, 8);
    if (rng_one_in(&b->rng, 8))
        header[8 + rng_below(&b->rng, 48)] = (u8)BIT(rng_below(&b->rng, 8));
    case_patch(b->c, b->linear + 512, header, sizeof(header));
}

/* A packed decimal: digits for the most part. */
static void patch_bcd(struct build *b)
{
    u8 bytes[10];

    for (unsigned n = 0; n < 10; n++)
        bytes[n] = (u8)(rng_below(&b->rng, 10) | rng_below(&b->rng, 10) << 4);
    bytes[9] = rng_one_in(&b->rng, 2) ? 0x80 : 0;
    if (rng_one_in(&b->rng, 8))
        value_fill(&b->rng, KIND_RANDOM, bytes, sizeof(bytes));
    case_patch(b->c, b->linear, bytes, sizeof(bytes));
}

bool setup_state_memory(struct build *b)
{
    u8 bytes[16];
    u32 mxcsr;

    switch (b->i.id) {
    case INSN_LDMXCSR_Md:
    case INSN_VLDMXCSR_Md:
        mxcsr = mxcsr_image(b);
        case_patch(b->c, b->linear, (const u8 *)&mxcsr, 4);
        return true;
    case INSN_FLDCW_Mw:
        choose_words(b, bytes, bytes + 2);
        case_patch(b->c, b->linear, bytes, 2);
        return true;
    case INSN_FLDENV_Menv:
    case INSN_FRSTOR_Mfpu: patch_environment(b); return true;
    case INSN_FXRSTOR_M: patch_fxsave_image(b); return true;
    case INSN_XRSTOR_M:
        patch_fxsave_image(b);
        patch_xsave_header(b);
        return true;
    case INSN_FBLD_Mbcd: patch_bcd(b); return true;
    case INSN_FLD_Mf80:
        value_f80(&b->rng, bytes);
        case_patch(b->c, b->linear, bytes, 10);
        return true;
    default: return false;
    }
}
