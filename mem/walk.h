/* SPDX-License-Identifier: MIT
 *
 * The page walk: linear to guest-physical address in every paging mode (SDM 3A chapter 4): none,
 * 32-bit (PSE, PSE-36), PAE, 4-level, 5-level; with NX, SMEP, SMAP, WP, protection keys, reserved
 * bits and the A/D updates, which are atomic compare-exchanges on guest memory.
 */
#pragma once

#include "mem/base/types.h"
#include "mem/physmap.h"

enum access_kind { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC };

/* Page-fault error code bits, SDM 3A 4.7. */
enum pf_error {
    PF_P = 1u << 0,
    PF_W = 1u << 1,
    PF_U = 1u << 2,
    PF_RSVD = 1u << 3,
    PF_I = 1u << 4,
    PF_PK = 1u << 5,
};

/* The registers a walk depends on. */
struct paging_ctx {
    u64 cr0, cr3, cr4, efer;
    u64 pdpte[4]; /* PAE: loaded by MOV CR3 (SDM 3A 4.4.1) */
    u32 pkru;
    unsigned maxphyaddr; /* bits, 32..52 */
    bool user;           /* the access is a user-mode access (CPL 3 and not implicit supervisor) */
    bool smap_override;  /* EFLAGS.AC = 1 and the access is explicit: SMAP does not apply */
    bool page1g;         /* CPUID 80000001H:EDX.Page1GB */
};

struct walk_result {
    u64 gpa;        /* of the byte asked for */
    u64 page_size;  /* 4 KiB, 2 MiB, 4 MiB or 1 GiB (4 KiB with paging off) */
    bool global;    /* G and CR4.PGE */
    bool dirty;     /* D is set in the leaf after this walk (always true with paging off) */
    bool user_page; /* U/S allows user mode at every level */
    bool writable;  /* R/W is set at every level */
    bool nx;        /* XD at any level, with EFER.NXE */
    u8 key;         /* protection key of a user page (4- and 5-level paging), else 0; has a meaning
                       only while CR4.PKE is set, which page_check() looks at */
    u32 error;      /* page-fault error code when page_walk() returned false */
};

/* CR0.PG: without it addresses are 1:1 and everything is permitted. */
static inline bool paging_on(const struct paging_ctx *ctx)
{
    return ctx->cr0 & BIT(31);
}

/* The current PCID; 0 unless CR4.PCIDE. */
static inline u16 paging_pcid(const struct paging_ctx *ctx)
{
    return ctx->cr4 & BIT(17) ? ctx->cr3 & 0xfff : 0;
}

/* Walks for one access of the given kind. true: permitted, A (and D for a write) are set in guest
 * memory. false: result->error is the #PF error code, and guest memory is as it was.
 * Page tables may lie anywhere: in a hole they read as ones, and where stores do not reach what was
 * read (ROM, shadowed memory, devices) A and D stay as they are (result->dirty tells). gla is
 * canonical, or below 2^32 outside long mode: the caller checks. */
bool page_walk(struct physmap *map, const struct paging_ctx *ctx, u64 gla, enum access_kind kind,
               struct walk_result *result);
/* The same without any update or fault recording, for debuggers: present or not. */
bool page_walk_probe(struct physmap *map, const struct paging_ctx *ctx, u64 gla, u64 *gpa);
/* Checks an existing translation against a new access (used for second-level TLB hits): 0 if
 * permitted, else the #PF error code. Does not look at dirty. */
u32 page_check(const struct paging_ctx *ctx, const struct walk_result *page, enum access_kind kind);
/* PAE: reads the four PDPTEs at cr3. false: a reserved bit is set in a present one (#GP). */
bool page_load_pdptes(struct physmap *map, const struct paging_ctx *ctx, u64 cr3, u64 pdpte[4]);
