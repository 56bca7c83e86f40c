/* SPDX-License-Identifier: MIT */
#include "frontend/conform/decode_judge.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/feature.h"
#include "mem/base/log.h"

/* -- facts -- */

static unsigned read_prefixes(struct encoding *e, const u8 *bytes)
{
    unsigned at = 0;

    for (; at < 12; at++) {
        u8 byte = bytes[at];

        if (e->code_size == 8 && (byte & 0xf0) == 0x40) {
            e->rex_dead |= e->rex != 0;
            e->rex = byte;
            continue;
        }
        switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e: e->null_segment = e->segment = true; break;
        case 0x64:
        case 0x65: e->segment = true; break;
        case 0x66:
            e->p66 = true;
            e->osz_after_rep |= e->rep != 0;
            break;
        case 0x67: e->p67 = true; break;
        case 0xf0: e->lock = true; break;
        case 0xf2:
        case 0xf3:
            e->rep_both |= e->rep && e->rep != byte;
            e->rep = byte;
            break;
        default: return at;
        }
        e->rex_dead |= e->rex != 0;
        e->rex = 0;
    }
    return at;
}

static unsigned read_vex(struct encoding *e, const u8 *p)
{
    u8 last = p[0] == 0xc5 ? p[1] : p[2];

    e->space = SPACE_VEX;
    e->map = p[0] == 0xc5 ? MAP_0F : p[1] & 0x1f;
    e->r = !(p[1] & 0x80);
    e->x = p[0] == 0xc4 && !(p[1] & 0x40);
    e->bb = p[0] == 0xc4 && !(p[1] & 0x20);
    e->w = p[0] == 0xc4 && p[2] & 0x80;
    e->vvvv = ~last >> 3 & 15;
    e->l = last >> 2 & 1;
    e->pp = last & 3;
    return p[0] == 0xc5 ? 2 : 3;
}

static unsigned read_evex(struct encoding *e, const u8 *p)
{
    e->space = SPACE_EVEX;
    e->map = p[1] & 15;
    e->r = !(p[1] & 0x80);
    e->x = !(p[1] & 0x40);
    e->bb = !(p[1] & 0x20);
    e->r2 = !(p[1] & 0x10);
    e->w = p[2] >> 7;
    e->vvvv = ~p[2] >> 3 & 15;
    e->pp = p[2] & 3;
    e->z = p[3] >> 7;
    e->l = p[3] >> 5 & 3;
    e->b = p[3] >> 4 & 1;
    e->v2 = !(p[3] & 8);
    e->aaa = p[3] & 7;
    return 4;
}

void encoding_read(struct encoding *e, unsigned code_size, const u8 *bytes)
{
    unsigned at;

    *e = (struct encoding){
        .code_size = (u8)code_size, .row = e->row, .traits = e->traits, .theirs = e->theirs};
    at = read_prefixes(e, bytes);
    if ((bytes[at] == 0xc4 || bytes[at] == 0xc5 || bytes[at] == 0x62) &&
        (code_size == 8 || bytes[at + 1] >= 0xc0)) {
        e->legacy_before = e->p66 || e->rep || e->lock || e->rex;
        at += bytes[at] == 0x62 ? read_evex(e, bytes + at) : read_vex(e, bytes + at);
    } else if (bytes[at] == 0x0f) {
        at++;
        e->map = bytes[at] == 0x38 ? MAP_0F38 : bytes[at] == 0x3a ? MAP_0F3A : MAP_0F;
        at += e->map != MAP_0F;
    }
    e->opcode = bytes[at];
    e->modrm = bytes[at + 1];
    e->mod = e->modrm >> 6;
    e->reg = e->modrm >> 3 & 7;
    e->rm = e->modrm & 7;
    e->sib = bytes[at + 2];
}

/* -- the table -- */

/* Words of conditions. */
#define ROW    (&insn_rows[e->row])
#define LEGACY (e->space == SPACE_LEGACY)
#define EVEX   (e->space == SPACE_EVEX)

enum {
    CAPSTONE_FIRST = -1,
#define CAPSTONE(id, ...) CAPSTONE_##id,
#include "frontend/conform/capstone.def"
#undef CAPSTONE
    CAPSTONE_COUNT
};
_Static_assert((unsigned)CAPSTONE_COUNT <= (unsigned)JUDGE_ENTRIES_MAX, "raise JUDGE_ENTRIES_MAX");

#define CAPSTONE(id, aspects, condition, ...)                                                      \
    static bool applies_##id(const struct encoding *e)                                             \
    {                                                                                              \
        return condition;                                                                          \
    }
#include "frontend/conform/capstone.def"
#undef CAPSTONE

static bool (*const applies[])(const struct encoding *e) = {
#define CAPSTONE(id, ...) applies_##id,
#include "frontend/conform/capstone.def"
#undef CAPSTONE
};

const struct capstone_entry capstone_entries[] = {
#define CAPSTONE(id, aspects, condition, capstone, manual, section)                                \
    {#id, aspects, capstone, manual, section},
#include "frontend/conform/capstone.def"
#undef CAPSTONE
};
const unsigned capstone_entry_count = CAPSTONE_COUNT;

/* -- judging -- */

static unsigned mode_index(unsigned code_size)
{
    return code_size == 2 ? 0 : code_size == 4 ? 1 : 2;
}

static void decode_ours(const struct judge *j, unsigned code_size, const u8 *bytes,
                        struct decode_view *view, struct encoding *e)
{
    struct decode_ctx ctx = {.code_size = (u8)code_size, .protected_mode = true};
    struct insn i;

    *view = (struct decode_view){0};
    if (insn_decode(&ctx, bytes, 15, &i) != DECODE_OK || i.id == INSN_UD0 || i.id == INSN_UD1 ||
        i.id == INSN_UD2)
        return;
    e->row = i.id;
    e->traits = insn_row(&i)->traits;
    view_of_insn(view, &j->names, &i, code_size);
}

static void decode_theirs(struct judge *j, unsigned code_size, const u8 *bytes,
                          struct decode_view *view, struct encoding *e)
{
    cs_insn *i = j->scratch[mode_index(code_size)];
    u64 address = VIEW_ADDRESS;
    const u8 *at = bytes;
    size_t left = 15;

    *view = (struct decode_view){0};
    if (!cs_disasm_iter(j->capstone[mode_index(code_size)], &at, &left, &address, i) ||
        view_always_ud(i->id))
        return;
    e->theirs = (u16)i->id;
    view_of_capstone(view, i);
}

static struct judge_group *find_group(struct judge *j, const struct encoding *e, unsigned aspects)
{
    for (unsigned n = 0; n < j->group_count; n++) {
        struct judge_group *g = &j->groups[n];

        if (g->row == e->row && (e->row || g->theirs == e->theirs) &&
            g->code_size == e->code_size && g->aspects == aspects)
            return g;
    }
    if (j->group_count == JUDGE_GROUPS_MAX)
        return NULL;
    j->groups[j->group_count] = (struct judge_group){
        .row = e->row, .theirs = e->theirs, .code_size = e->code_size, .aspects = (u8)aspects};
    return &j->groups[j->group_count++];
}

static void unexplained(struct judge *j, const struct encoding *e, unsigned aspects,
                        const u8 *bytes, const struct decode_view *ours,
                        const struct decode_view *theirs)
{
    struct judge_group *g = find_group(j, e, aspects);
    csh capstone = j->capstone[mode_index(e->code_size)];

    j->unexplained++;
    if (!g || g->count++)
        return;
    memcpy(g->bytes, bytes, sizeof(g->bytes));
    view_text(ours, capstone, g->ours_text, sizeof(g->ours_text));
    view_text(theirs, capstone, g->theirs_text, sizeof(g->theirs_text));
}

/* Takes from aspects what entries explain. */
static unsigned explain(struct judge *j, const struct encoding *e, const u8 *bytes,
                        unsigned aspects)
{
    for (unsigned n = 0; n < CAPSTONE_COUNT && aspects; n++) {
        if (!(capstone_entries[n].aspects & aspects) || !applies[n](e))
            continue;
        if (!j->explained[n]++) {
            j->example[n][0] = e->code_size;
            memcpy(j->example[n] + 1, bytes, 15);
        }
        aspects &= ~capstone_entries[n].aspects;
    }
    return aspects;
}

void judge_bytes(struct judge *j, unsigned code_size, const u8 bytes[SPACE_BYTES])
{
    struct decode_view ours, theirs;
    struct encoding e = {0};
    unsigned aspects;

    decode_ours(j, code_size, bytes, &ours, &e);
    decode_theirs(j, code_size, bytes, &theirs, &e);
    j->compared++;
    j->valid += ours.valid;
    view_drop_implied(&theirs, ours.count);
    aspects = view_compare(&ours, &theirs);
    if (!aspects) {
        j->agreed++;
        return;
    }
    encoding_read(&e, code_size, bytes);
    aspects = explain(j, &e, bytes, aspects);
    if (aspects)
        unexplained(j, &e, aspects, bytes, &ours, &theirs);
}

/* -- life -- */

/* Capstone sorts its table of implicit registers when it first needs it, without a lock: once here,
 * before there are threads. */
static void sort_registers(struct judge *j)
{
    static const u8 or_al[] = {0x0c, 0x08};
    const u8 *code = or_al;
    size_t size = sizeof(or_al);
    u64 address = 0;

    check(cs_disasm_iter(j->capstone[2], &code, &size, &address, j->scratch[2]),
          "Capstone does not know OR");
}

enum status judge_create(struct judge **judge, struct error *err)
{
    static const cs_mode modes[3] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
    struct judge *j = calloc(1, sizeof(*j));

    *judge = j;
    if (j)
        j->groups = calloc(JUDGE_GROUPS_MAX, sizeof(*j->groups));
    if (!j || !j->groups) {
        free(j);
        return error_set(err, ST_NO_MEMORY, "There is not enough memory for a decoder check.");
    }
    for (unsigned m = 0; m < 3; m++) {
        if (cs_open(CS_ARCH_X86, modes[m], &j->capstone[m]) != CS_ERR_OK) {
            judge_destroy(j);
            return error_set(err, ST_UNSUPPORTED,
                             "This Capstone library has no x86; install Debian's libcapstone.");
        }
        cs_option(j->capstone[m], CS_OPT_DETAIL, CS_OPT_ON);
        j->scratch[m] = cs_malloc(j->capstone[m]);
    }
    view_names_fill(&j->names, j->capstone[2]);
    sort_registers(j);
    return ST_OK;
}

void judge_destroy(struct judge *j)
{
    if (!j)
        return;
    for (unsigned m = 0; m < 3; m++) {
        if (j->scratch[m])
            cs_free(j->scratch[m], 1);
        if (j->capstone[m])
            cs_close(&j->capstone[m]);
    }
    free(j->groups);
    free(j);
}

void judge_merge(struct judge *j, const struct judge *other)
{
    j->compared += other->compared;
    j->agreed += other->agreed;
    j->valid += other->valid;
    j->unexplained += other->unexplained;
    for (unsigned n = 0; n < CAPSTONE_COUNT; n++) {
        if (!j->explained[n] && other->explained[n])
            memcpy(j->example[n], other->example[n], sizeof(j->example[n]));
        j->explained[n] += other->explained[n];
    }
    for (unsigned n = 0; n < other->group_count; n++) {
        const struct judge_group *from = &other->groups[n];
        struct encoding e = {
            .row = from->row, .theirs = from->theirs, .code_size = from->code_size};
        struct judge_group *to = find_group(j, &e, from->aspects);
        u64 count;

        if (!to)
            continue;
        count = to->count + from->count;
        if (!to->count)
            *to = *from;
        to->count = count;
    }
}
