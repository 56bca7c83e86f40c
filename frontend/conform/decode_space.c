/* SPDX-License-Identifier: MIT */
#include "frontend/conform/decode_space.h"

#include <string.h>

/* What follows the opcode and the ModRM byte: SIB bytes of every shape (index and base; stack
 * pointer and no index; no base; neither), then displacement and immediate. */
static const u8 sibs[] = {0x51, 0x24, 0x8d, 0x25};
static const u8 tail[16] = {0x11, 0x82, 0x13, 0x84, 0x05, 0x96, 0x07, 0x08,
                            0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10};

struct walk {
    unsigned code_size, stride, turn;
    space_visit *visit;
    void *opaque;
};

/* Whether this combination is among every stride-th. */
static bool chosen(struct walk *w)
{
    return w->turn++ % w->stride == 0;
}

/* All ModRM bytes, and all SIB shapes where one follows, behind count bytes. */
static bool visit_modrm(struct walk *w, u8 bytes[SPACE_BYTES], unsigned count)
{
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        bool sib = modrm < 0xc0 && (modrm & 7) == 4;

        for (unsigned s = 0; s < (sib ? ARRAY_SIZE(sibs) : 1); s++) {
            unsigned at = count;

            if (!chosen(w))
                continue;
            bytes[at++] = (u8)modrm;
            if (sib)
                bytes[at++] = sibs[s];
            memcpy(bytes + at, tail, sizeof(tail));
            if (!w->visit(w->opaque, w->code_size, bytes))
                return false;
        }
    }
    return true;
}

/* -- legacy -- */

struct prefix_class {
    u8 count;
    u8 bytes[4];
    bool only64;
};

static const struct prefix_class classes[] = {
    {0, {0}, false},
    {1, {0x66}, false},
    {1, {0xf2}, false},
    {1, {0xf3}, false},
    {1, {0x67}, false},
    {1, {0xf0}, false},
    {1, {0x2e}, false},
    {1, {0x36}, false},
    {1, {0x3e}, false},
    {1, {0x26}, false},
    {1, {0x64}, false},
    {1, {0x65}, false},
    {2, {0x66, 0x67}, false},
    {2, {0x66, 0xf2}, false},
    {2, {0x66, 0xf3}, false},
    {2, {0xf2, 0x66}, false},
    {2, {0xf3, 0x66}, false},
    {2, {0xf2, 0xf3}, false},
    {2, {0xf3, 0xf2}, false},
    {2, {0xf0, 0x66}, false},
    {2, {0xf0, 0xf2}, false},
    {2, {0xf3, 0xf0}, false},
    {2, {0x67, 0xf3}, false},
    {2, {0x67, 0x65}, false},
    {2, {0x64, 0x2e}, false},
    {3, {0xf0, 0x67, 0x64}, false},
    {3, {0x66, 0x66, 0x67}, false},
    {4, {0x66, 0xf3, 0x67, 0x65}, false},
    {1, {0x40}, true},
    {1, {0x41}, true},
    {1, {0x42}, true},
    {1, {0x44}, true},
    {1, {0x48}, true},
    {1, {0x4f}, true},
    {2, {0x66, 0x41}, true},
    {2, {0x66, 0x48}, true},
    {2, {0x66, 0x4f}, true},
    {2, {0xf2, 0x48}, true},
    {2, {0xf2, 0x4f}, true},
    {2, {0xf3, 0x44}, true},
    {2, {0xf3, 0x48}, true},
    {2, {0xf3, 0x4f}, true},
    {2, {0xf0, 0x48}, true},
    {2, {0x67, 0x47}, true},
    {2, {0x48, 0x66}, true}, /* a REX that does not count */
    {2, {0x48, 0x41}, true},
    {3, {0x65, 0x67, 0x4d}, true},
};

static bool legacy_unit(struct walk *w, unsigned map, u8 opcode)
{
    static const u8 escape[SPACE_LEGACY_MAPS][2] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
    static const u8 escape_size[SPACE_LEGACY_MAPS] = {0, 1, 2, 2};
    u8 bytes[SPACE_BYTES] = {0};

    for (unsigned n = 0; n < ARRAY_SIZE(classes); n++) {
        const struct prefix_class *p = &classes[n];
        unsigned at = p->count;

        if (p->only64 && w->code_size != 8)
            continue;
        memcpy(bytes, p->bytes, at);
        memcpy(bytes + at, escape[map], 2);
        at += escape_size[map];
        bytes[at++] = opcode;
        if (!visit_modrm(w, bytes, at))
            return false;
    }
    return true;
}

/* -- VEX: R X B in the second byte; W vvvv L pp in the third -- */

static bool vex3_unit(struct walk *w, unsigned map, u8 opcode)
{
    static const u8 rxb[] = {0xe0, 0x60, 0xa0, 0xc0, 0x00};
    static const u8 vvvv[] = {0x78, 0x68, 0x30};
    u8 bytes[SPACE_BYTES] = {0xc4};

    for (unsigned r = 0; r < (w->code_size == 8 ? ARRAY_SIZE(rxb) : 1); r++)
        for (unsigned n = 0; n < 16; n++)
            for (unsigned v = 0; v < ARRAY_SIZE(vvvv); v++) {
                if (r && v == 2)
                    continue;
                bytes[1] = (u8)(rxb[r] | (map + 1));
                bytes[2] = (u8)((n & 7) | (n & 8) << 4 | vvvv[v]);
                bytes[3] = opcode;
                if (!visit_modrm(w, bytes, 4))
                    return false;
            }
    return true;
}

static bool vex2_unit(struct walk *w, u8 opcode)
{
    static const u8 second[] = {0xf8, 0xe8, 0x78, 0x30};
    u8 bytes[SPACE_BYTES] = {0xc5};

    for (unsigned s = 0; s < (w->code_size == 8 ? 4 : 2); s++)
        for (unsigned n = 0; n < 8; n++) {
            bytes[1] = (u8)(second[s] | n);
            bytes[2] = opcode;
            if (!visit_modrm(w, bytes, 3))
                return false;
        }
    return true;
}

/* Legacy prefixes before VEX and EVEX: 66, F2, F3, LOCK and REX are #UD, 67 and overrides are not.
 * The other maps of VEX do not exist. */
static bool vex_prefixed_unit(struct walk *w, u8 opcode)
{
    static const u8 before[] = {0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x65, 0x48};
    static const u8 maps[] = {0, 4, 5, 8, 16, 30, 31};
    u8 bytes[SPACE_BYTES];

    for (unsigned n = 0; n < (w->code_size == 8 ? 7 : 6); n++) {
        memcpy(bytes, (const u8[]){before[n], 0xc5, 0xf8, opcode}, 4);
        if (!visit_modrm(w, bytes, 4))
            return false;
        memcpy(bytes, (const u8[]){before[n], 0x62, 0xf1, 0x7c, 0x48, opcode}, 6);
        if (!visit_modrm(w, bytes, 6))
            return false;
        memcpy(bytes, (const u8[]){before[n], 0x62, 0xb1, 0x6d, 0x4a, opcode}, 6);
        if (!visit_modrm(w, bytes, 6))
            return false;
        memcpy(bytes, (const u8[]){0x8f, 0xe8 | n, 0x78, opcode}, 4); /* XOP maps 8 to 15 */
        if (!visit_modrm(w, bytes, 4))
            return false;
        memcpy(bytes, (const u8[]){0xc4, 0xe0 | maps[n], 0x78, opcode}, 4);
        if (!visit_modrm(w, bytes, 4))
            return false;
    }
    return true;
}

/* -- EVEX: P0 R X B R' mmm; P1 W vvvv 1 pp; P2 z L'L b V' aaa -- */

struct evex_class {
    u8 p0, vvvv, p2, p2_length; /* P2 without and with L'L varied */
};

static const struct evex_class evex_classes[] = {
    {0xf0, 0x78, 0x08, 1}, /* plain, every length */
    {0xf0, 0x68, 0x08, 1}, /* another source */
    {0xf0, 0x78, 0x0a, 1}, /* masked */
    {0xf0, 0x78, 0x8b, 1}, /* masked, zeroing */
    {0xf0, 0x68, 0x1c, 1}, /* b: broadcast or rounding, masked */
    {0xf0, 0x78, 0x18, 1}, /* b, not masked */
    {0xf0, 0x68, 0x88, 0}, /* z without a mask */
    {0xf0, 0x68, 0x9f, 1}, /* all */
    {0xf0, 0x78, 0x00, 0}, /* V' */
    {0x60, 0x78, 0x08, 0}, /* R */
    {0xb0, 0x78, 0x08, 0}, /* X */
    {0xd0, 0x78, 0x08, 0}, /* B */
    {0xe0, 0x30, 0x09, 0}, /* R' */
    {0x10, 0x78, 0x08, 0}, /* R, X and B */
    {0x00, 0x30, 0x02, 0}, /* all registers above 15 */
};

static bool evex_unit(struct walk *w, unsigned map, u8 opcode)
{
    u8 bytes[SPACE_BYTES] = {0x62};

    for (unsigned c = 0; c < ARRAY_SIZE(evex_classes); c++) {
        const struct evex_class *e = &evex_classes[c];

        if (w->code_size != 8 && e->p0 < 0xc0)
            continue;
        for (unsigned n = 0; n < (e->p2_length ? 32 : 8); n++) {
            unsigned length = e->p2_length ? n >> 3 : 2;

            bytes[1] = (u8)(e->p0 | (map + 1));
            bytes[2] = (u8)((n & 4) << 5 | e->vvvv | 4 | (n & 3));
            bytes[3] = (u8)(e->p2 | length << 5);
            bytes[4] = opcode;
            if (!visit_modrm(w, bytes, 5))
                return false;
        }
    }
    return true;
}

bool space_unit(unsigned unit, unsigned stride, space_visit *visit, void *opaque)
{
    struct walk w = {.code_size = 8u >> unit % 3,
                     .stride = stride,
                     .turn = unit / 3,
                     .visit = visit,
                     .opaque = opaque};
    u8 opcode = (u8)(unit / 3);
    unsigned map = unit / 3 / 256;

    if (map < SPACE_LEGACY_MAPS)
        return legacy_unit(&w, map, opcode);
    map -= SPACE_LEGACY_MAPS;
    if (map < SPACE_VEX_MAPS)
        return vex3_unit(&w, map, opcode);
    map -= SPACE_VEX_MAPS;
    if (map == 0)
        return vex2_unit(&w, opcode);
    if (map == 1)
        return vex_prefixed_unit(&w, opcode);
    map -= 2;
    return evex_unit(&w, map, opcode);
}

/* -- random -- */

static u64 next_random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 24;
}

/* One of the ways into an opcode map, at bytes; returns its length. */
static unsigned random_map(u64 *seed, bool code64, u8 *bytes)
{
    u8 any = (u8)next_random(seed);

    switch (next_random(seed) % 6) {
    case 0: return 0;
    case 1: bytes[0] = 0x0f; return 1;
    case 2: memcpy(bytes, "\x0f\x38", 2); return 2;
    case 3: memcpy(bytes, "\x0f\x3a", 2); return 2;
    case 4:
        bytes[0] = 0xc4;
        bytes[1] = (u8)((any & 0xe0) | (1 + any % 3) | (code64 ? 0 : 0xc0));
        return 2; /* W vvvv L pp stay random */
    default:
        bytes[0] = 0x62;
        bytes[1] = (u8)((any & 0xf0) | (1 + any % 3) | (code64 ? 0 : 0xc0));
        bytes[2] |= 4;
        return 2;
    }
}

void space_random(u64 *seed, unsigned *code_size, u8 bytes[SPACE_BYTES])
{
    static const u8 prefixes[] = {0x66, 0xf2, 0xf3, 0x67, 0xf0, 0x64,
                                  0x2e, 0x48, 0x41, 0x44, 0x45, 0x4f};
    unsigned at = 0;

    *code_size = 2u << next_random(seed) % 3;
    for (unsigned b = 0; b < SPACE_BYTES; b++)
        bytes[b] = (u8)next_random(seed);
    if (next_random(seed) % 8 == 0)
        return;
    while (next_random(seed) % 2 && at < 4)
        bytes[at++] = prefixes[next_random(seed) % (*code_size == 8 ? 12 : 7)];
    random_map(seed, *code_size == 8, bytes + at);
}
