/* SPDX-License-Identifier: MIT
 *
 * Every step proposes a simpler case and keeps it if the difference stays. Coarse steps first, so
 * that most of the state is gone after a few tries.
 */
#include "frontend/conform/minimise.h"

#include <string.h>

#include "cpu/insn.h"
#include "cpu/regs.h"
#include "frontend/conform/vectors.h"

struct search {
    struct conform_case *best;
    struct conform_case next ALIGNED(64);
    minimise_test *test;
    void *opaque;
    unsigned tries;
};

/* Starts a proposal from the best case so far. */
static struct conform_case *propose(struct search *s)
{
    s->next = *s->best;
    return &s->next;
}

/* Keeps the proposal if it differs from the best and still shows the difference. */
static bool keep(struct search *s)
{
    if (!s->tries || !memcmp(&s->next, s->best, sizeof(s->next)))
        return false;
    s->tries--;
    if (!s->test(s->opaque, &s->next))
        return false;
    *s->best = s->next;
    return true;
}

static bool clear_bytes(struct search *s, void *field, size_t size)
{
    const size_t offset = (size_t)((u8 *)field - (u8 *)s->best);

    memset((u8 *)propose(s) + offset, 0, size);
    return keep(s);
}

static void drop_patches(struct search *s)
{
    propose(s)->patch_count = 0;
    if (keep(s))
        return;
    for (unsigned n = s->best->patch_count; n--;) {
        struct conform_case *c = propose(s);

        memmove(&c->patch[n], &c->patch[n + 1],
                (c->patch_count - n - 1) * sizeof(struct conform_patch));
        c->patch_count--;
        keep(s);
    }
}

static void simplify_vectors(struct search *s)
{
    if (!clear_bytes(s, s->best->in.zmm, sizeof(s->best->in.zmm)))
        for (unsigned n = 0; n < 32; n++) {
            u8 *z = s->best->in.zmm[n];

            if (clear_bytes(s, z, 64))
                continue;
            clear_bytes(s, z + 16, 48);
            clear_bytes(s, z + 32, 32);
            for (unsigned at = 0; at < 64; at += 8)
                clear_bytes(s, z + at, 8);
        }
    if (!clear_bytes(s, s->best->in.k, sizeof(s->best->in.k)))
        for (unsigned n = 0; n < 8; n++)
            clear_bytes(s, &s->best->in.k[n], 8);
}

static void simplify_x87(struct search *s, const struct conform_state *plain)
{
    memcpy(propose(s)->in.x87, plain->x87, sizeof(plain->x87));
    if (keep(s))
        return;
    for (unsigned n = 0; n < 8; n++)
        clear_bytes(s, s->best->in.x87 + 32 + n * 16, 16);
    clear_bytes(s, s->best->in.x87 + 6, 18); /* FOP, FIP, FDP */
    memcpy(propose(s)->in.x87, plain->x87, 2);
    keep(s);
}

static void simplify_gprs(struct search *s, const struct conform_state *plain)
{
    for (unsigned n = 0; n < 16; n++) {
        const u64 value = s->best->in.gpr[n];
        const u64 simple[] = {plain->gpr[n], 0, 1, value & 0xff, value & 0xffff, (u32)value};

        for (unsigned t = 0; t < ARRAY_SIZE(simple); t++) {
            propose(s)->in.gpr[n] = simple[t];
            if (keep(s))
                break;
        }
    }
}

static void simplify_control(struct search *s, const struct conform_state *plain)
{
    static const unsigned data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    propose(s)->in.rflags = plain->rflags;
    if (!keep(s))
        for (unsigned bit = 0; bit < 22; bit++) {
            propose(s)->in.rflags &= ~BIT(bit) | plain->rflags;
            keep(s);
        }
    propose(s)->in.mxcsr = plain->mxcsr;
    keep(s);
    clear_bytes(s, &s->best->in.fs_base, 8);
    clear_bytes(s, &s->best->in.gs_base, 8);
    for (unsigned n = 0; n < ARRAY_SIZE(data); n++) {
        propose(s)->in.selector[data[n]] = plain->selector[data[n]];
        keep(s);
    }
}

/* Instructions of a sequence become NOPs, in ever smaller groups. */
static void simplify_code(struct search *s)
{
    const struct decode_ctx ctx = {.code_size = (u8)conform_code_size(s->best->mode),
                                   .protected_mode = true};
    u16 at[CASE_CODE_MAX + 1];
    unsigned count = 0;
    struct insn i;

    for (u32 offset = 0; offset < s->best->code_size; count++) {
        at[count] = (u16)offset;
        if (insn_decode(&ctx, s->best->code + offset, s->best->code_size - offset, &i))
            i.len = 1;
        offset += i.len;
    }
    at[count] = (u16)s->best->code_size;
    for (unsigned group = count; group; group /= 2)
        for (unsigned n = 0; n < count; n += group) {
            const unsigned end = n + group < count ? n + group : count;

            memset(propose(s)->code + at[n], 0x90, (size_t)(at[end] - at[n]));
            keep(s);
        }
}

void minimise_case(struct conform_case *c, minimise_test *test, void *opaque, unsigned tries)
{
    struct search s = {.best = c, .test = test, .opaque = opaque, .tries = tries};
    struct conform_state plain;

    vectors_default_state(&plain, c->mode, c->code_address);
    plain.gpr[RSP] = c->in.gpr[RSP];
    if (c->row == INSN_INVALID)
        simplify_code(&s);
    drop_patches(&s);
    simplify_vectors(&s);
    simplify_x87(&s, &plain);
    simplify_control(&s, &plain);
    simplify_gprs(&s, &plain);
}
