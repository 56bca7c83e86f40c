/* SPDX-License-Identifier: MIT
 *
 * Judges one byte string: decodes it with both decoders, and where they disagree looks for the
 * entry of capstone.def that says why. What no entry explains is a difference of ours, kept by
 * group with an example.
 */
#pragma once

#include <stdio.h>

#include "frontend/conform/decode_space.h"
#include "frontend/conform/decode_view.h"
#include "mem/base/status.h"

/* Facts about an encoding that entries of capstone.def are written in. */
struct encoding {
    u8 code_size;          /* 2, 4, 8 */
    u8 space, map, opcode; /* enum insn_space, enum insn_map (any number for VEX and EVEX) */
    u8 modrm, mod, reg, rm, sib;
    bool p66, p67, lock, segment; /* prefixes; segment: any override */
    u8 rep;                       /* 0, F2, F3: the last one */
    bool rep_both;                /* F2 and F3 are both there */
    bool osz_after_rep;           /* 66 follows F2 or F3 */
    u8 rex;                       /* the one that counts, 0: none */
    bool rex_dead;                /* a REX that is not the last prefix */
    bool null_segment;            /* CS, DS, ES or SS override */
    bool legacy_before;           /* 66, F2, F3, LOCK or REX before VEX or EVEX */
    bool w, b, z;                 /* VEX.W, EVEX.b, EVEX.z */
    u8 l, pp, vvvv, aaa;          /* positive logic */
    bool r, x, bb, r2, v2;        /* R X B R' V' of VEX and EVEX, positive logic */
    u16 row;                      /* enum insn_id, INSN_INVALID for #UD */
    u64 traits;                   /* of the row */
    u16 theirs;                   /* x86_insn, 0 for #UD */
};

/* Fills in what the bytes say; row, traits and theirs stay as they are. */
void encoding_read(struct encoding *e, unsigned code_size, const u8 *bytes);

/* Entries of capstone.def. */
struct capstone_entry {
    const char *name;
    unsigned aspects; /* that it explains */
    const char *capstone, *manual, *section;
};
extern const struct capstone_entry capstone_entries[];
extern const unsigned capstone_entry_count;

enum { JUDGE_ENTRIES_MAX = 160, JUDGE_GROUPS_MAX = 4096, JUDGE_TEXT = 160 };

/* Unexplained differences of one kind. */
struct judge_group {
    u64 count;
    u16 row, theirs;
    u8 code_size, aspects;
    u8 bytes[15];
    char ours_text[JUDGE_TEXT], theirs_text[JUDGE_TEXT];
};

struct judge {
    csh capstone[3];
    cs_insn *scratch[3];
    struct view_names names;
    u64 compared, agreed, valid;
    u64 explained[JUDGE_ENTRIES_MAX];
    u8 example[JUDGE_ENTRIES_MAX][16]; /* code size, bytes */
    u64 unexplained;
    unsigned group_count;
    struct judge_group *groups; /* JUDGE_GROUPS_MAX; those beyond are counted only */
};

MUST_USE enum status judge_create(struct judge **judge, struct error *err);
void judge_destroy(struct judge *judge);
void judge_bytes(struct judge *judge, unsigned code_size, const u8 bytes[SPACE_BYTES]);
/* Adds what other found. */
void judge_merge(struct judge *judge, const struct judge *other);
