/* SPDX-License-Identifier: MIT
 *
 * A whole case: encode a form, place it, fill the state, then let what the row needs override.
 */
#include "frontend/conform/generate.h"

#include <stdlib.h>
#include <string.h>

#include "frontend/conform/generate_internal.h"
#include "mem/base/log.h"

enum { ENCODE_TRIES = 64 };

enum status generator_create(struct generator **out, const struct cpu_model *model, u64 host_xcr0,
                             struct error *err)
{
    struct rng r = {0x243f6a8885a308d3ull};
    struct generator *g = calloc(1, sizeof(*g));
    enum status st;

    if (!g)
        return error_set(err, ST_NO_MEMORY, "There is no memory for the generator of cases.");
    g->model = *model;
    g->host_xcr0 = host_xcr0;
    g->xcr0 = host_xcr0 & model->xcr0_supported;
    for (unsigned n = 0; n < POOL_BYTES; n += 8)
        store_le(g->pool + n, rng_next(&r), 8);
    st = forms_create(g, err);
    if (!st)
        st = sequence_create(g, err);
    if (st) {
        generator_destroy(g);
        return st;
    }
    *out = g;
    return ST_OK;
}

void generator_destroy(struct generator *g)
{
    if (!g)
        return;
    for (unsigned mode = 0; mode < CONFORM_MODES; mode++)
        for (unsigned group = 0; group < SAFE_GROUPS; group++)
            free(g->safe[mode][group]);
    free(g->forms);
    free(g->specs);
    free(g);
}

const struct conform_form *generator_forms(const struct generator *g, unsigned *count)
{
    *count = g->count;
    return g->forms;
}

/* -- encoding -- */

/* Encodes until the decoder agrees: a random field or a redundant prefix can lead to another row.
 */
static void encode(struct build *b)
{
    struct decode_ctx ctx = generate_decode_ctx(b->g, b->form->mode);

    for (unsigned n = 0; n < ENCODE_TRIES; n++) {
        enum decode_result result;

        encode_form(b->g, b->form, &b->rng, n >= 4, &b->enc);
        result = insn_decode(&ctx, b->enc.bytes, b->enc.length, &b->i);
        if (b->form->undefined ? result == DECODE_UD
                               : result == DECODE_OK && b->i.id == b->form->row)
            return;
    }
    check(false, "%s, mode %u: no encoding decodes to it", b->row->name, b->form->mode);
}

/* -- state -- */

/* Segments of 16- and 32-bit code: flat or in the arena for the most part, odd ones at times. */
static void choose_segments(struct build *b)
{
    static const u16 odd[] = {0, SEL_DATA_RO, SEL_DATA_DOWN, SEL_CODE32, SEL_CODE16, SEL_STACK16};
    struct conform_state *s = &b->c->in;
    bool small = b->form->mode == MODE_16;
    unsigned cs = small ? SEL_CODE16 : rng_one_in(&b->rng, 4) ? SEL_CODE32 : SEL_CS32;

    s->fs_base = s->gs_base = 0;
    for (unsigned seg = 0; seg < CONFORM_SEGMENTS; seg++) {
        s->selector[seg] = small ? SEL_DATA16 : SEL_FLAT;
        if (rng_one_in(&b->rng, 12))
            s->selector[seg] = small ? SEL_FLAT : SEL_DATA16;
        if (rng_one_in(&b->rng, seg >= SEG_FS ? 6 : 24))
            s->selector[seg] = odd[rng_below(&b->rng, ARRAY_SIZE(odd))];
    }
    s->selector[SEG_CS] = (u16)cs;
    s->selector[SEG_SS] = small ? SEL_STACK16 : rng_one_in(&b->rng, 8) ? SEL_STACK16 : SEL_FLAT;
    if (b->i.id != INSN_INVALID && b->i.asz == 2 && !small && b->i.seg != SEG_CS)
        s->selector[b->i.seg] = b->i.seg == SEG_SS ? SEL_STACK16 : SEL_DATA16;
}

static void choose_segments64(struct build *b)
{
    struct conform_state *s = &b->c->in;
    const u64 bases[] = {0, ARENA_DATA, ARENA_DATA + 0x123, ARENA_CODE, 0x1000, rng_next(&b->rng)};
    /* A base that 32-bit addresses reach the arena with. */
    unsigned count = b->i.asz == 8 ? 6 : 5;

    for (unsigned seg = 0; seg < CONFORM_SEGMENTS; seg++)
        s->selector[seg] = rng_one_in(&b->rng, 2) ? 0 : SEL_FLAT;
    s->selector[SEG_CS] = SEL_CS64;
    s->selector[SEG_SS] = SEL_FLAT;
    s->selector[SEG_FS] = s->selector[SEG_GS] = 0;
    /* Any canonical base. */
    s->fs_base = (u64)((i64)(bases[rng_below(&b->rng, count)] << 16) >> 16);
    s->gs_base = (u64)((i64)(bases[rng_below(&b->rng, count)] << 16) >> 16);
}

static void choose_registers(struct build *b)
{
    struct conform_state *s = &b->c->in;
    u64 r = rng_next(&b->rng);

    for (unsigned n = 0; n < 16; n++)
        s->gpr[n] = value_int(&b->rng);
    s->rflags = F_1 | F_IF | (r & F_OSZAPC);
    if ((r >> 16 & 7) == 0)
        s->rflags |= F_DF;
    if ((r >> 20 & 15) == 0)
        s->rflags |= F_AC;
    if ((r >> 24 & 7) == 0)
        s->rflags |= F_ID;
    if ((r >> 28 & 31) == 0)
        s->rflags |= F_NT;
    s->pkru = 0;
    for (unsigned n = 0; n < 8; n++) {
        u64 k = rng_next(&b->rng);

        s->k[n] = n & 1 ? k : k >> (k & 63);
        if (!(k >> 58))
            s->k[n] = k & 1 ? ~0ull : 0;
    }
    s->gpr[RSP] = ARENA_STACK + ARENA_STACK_SIZE / 2 + 8 * rng_below(&b->rng, 64);
    if (b->form->mode == MODE_16 || s->selector[SEG_SS] == SEL_STACK16)
        s->gpr[RSP] -= ARENA_STACK;
}

/* All vector registers from the pool; those that the row names get values of its kind. */
static void choose_vectors(struct build *b)
{
    struct conform_state *s = &b->c->in;
    u8 touched[6] = {b->i.reg, b->i.rm, b->i.vvvv, (u8)(b->i.imm >> 4 & 15), 0, 1};
    bool vector = b->row->traits & (T_SSE | T_AVX | T_EVEX | T_MMX);

    memcpy(s->zmm, b->g->pool + 64 * rng_below(&b->rng, (POOL_BYTES - sizeof(s->zmm)) / 64),
           sizeof(s->zmm));
    if (!vector)
        return;
    for (unsigned n = 0; n < (b->row->traits & T_MMX ? 6 : 4); n++) {
        enum value_kind kind = value_kind_of(b, &b->rng);
        unsigned size = b->row->key.space == SPACE_LEGACY ? 16 : b->i.vl == 0 ? 16 : 64;

        value_fill(&b->rng, kind, s->zmm[touched[n] & 31], size);
    }
}

void state_fill(struct build *b)
{
    if (b->form->mode == MODE_64)
        choose_segments64(b);
    else
        choose_segments(b);
    choose_registers(b);
    choose_vectors(b);
    setup_fpu(b);
}

/* After everything else, so that the rest of the case is the same on every host. */
void state_limit(struct build *b)
{
    const u64 xcr0 = b->g->xcr0;
    struct conform_state *s = &b->c->in;
    unsigned bytes = xcr0 & XCR0_ZMM_HI256 ? 64 : xcr0 & XCR0_AVX ? 32 : 16;

    if (!(xcr0 & XCR0_OPMASK))
        memset(s->k, 0, sizeof(s->k));
    for (unsigned n = 0; n < 16; n++)
        memset(s->zmm[n] + bytes, 0, sizeof(s->zmm[n]) - bytes);
    if (!(xcr0 & XCR0_HI16_ZMM))
        memset(s->zmm[16], 0, 16 * sizeof(s->zmm[16]));
}

/* -- place -- */

/* Somewhere in the code pages: across them at times, up to the last byte, or over it. */
static void choose_place(struct build *b)
{
    struct conform_case *c = b->c;
    unsigned length = b->enc.length, offset;

    switch (rng_below(&b->rng, 32)) {
    case 0: offset = ARENA_CODE_SIZE - length; break;
    case 1:
        offset = ARENA_CODE_SIZE - length + (length > 1 ? 1 + rng_below(&b->rng, length - 1) : 0);
        break;
    case 2:
    case 3: offset = 4096 - (length > 1 ? 1 + rng_below(&b->rng, length - 1) : 1); break;
    case 4: offset = 4096 - length; break;
    default: offset = 256 + rng_below(&b->rng, ARENA_CODE_SIZE - 512); break;
    }
    c->code_address = ARENA_CODE + offset;
    c->code_size = ARENA_CODE_SIZE - offset < length ? ARENA_CODE_SIZE - offset : length;
    c->in.rip = c->code_address;
    if (b->form->mode != MODE_64 && c->in.selector[SEG_CS] != SEL_CS32)
        c->in.rip -= ARENA_CODE;
}

static void start_build(struct build *b, const struct generator *g, const struct conform_form *form,
                        u64 seed, struct conform_case *c)
{
    unsigned at = g->first[form->row][form->mode] + form->variant;

    check(at < g->count && g->specs[at].row == form->row, "form of another generator");
    *b = (struct build){.g = g, .form = &g->specs[at], .row = &insn_rows[form->row], .c = c};
    b->rng.state = seed * 0x9e3779b97f4a7c15ull + at * 0xd1342543de82ef95ull;
    b->rng.state ^= b->rng.state >> 29;
    if (!b->rng.state)
        b->rng.state = 1;
    rng_next(&b->rng);
    rng_next(&b->rng);
    c->row = form->row;
    c->mode = form->mode;
    c->seed = seed;
    c->patch_count = 0;
    c->xcr0 = 0;
    c->undefined_flags = b->row->flags_undefined;
}

/* VEX and EVEX rows have no form for 67h in 64-bit mode. */
static void vary_form(struct build *b, struct gen_form *own)
{
    if (b->row->key.space == SPACE_LEGACY || own->mode != MODE_64 || !own->memory)
        return;
    own->p67 = rng_one_in(&b->rng, 8);
    b->form = own;
}

void generate_case(const struct generator *g, const struct conform_form *form, u64 seed,
                   struct conform_case *c)
{
    struct gen_form own;
    struct build b;

    start_build(&b, g, form, seed, c);
    own = *b.form;
    vary_form(&b, &own);
    encode(&b);
    c->insn_length = b.enc.length;
    state_fill(&b);
    choose_place(&b);
    if (!b.form->undefined) {
        setup_registers(&b);
        if (b.i.flags & I_MEM)
            address_memory(&b);
        setup_memory(&b);
    }
    state_limit(&b);
    memcpy(c->code, b.enc.bytes, c->code_size);
}
