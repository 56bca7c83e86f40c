/* SPDX-License-Identifier: MIT
 *
 * The window: pages of one guest address space (user mode), mapped a second time, each at its own
 * linear address in this process. So translated code reaches them as the guest would, and the
 * host's MMU does the check. A page that is not there faults, and the instruction goes the slow
 * way (jit/window.c).
 *
 * Two things must never happen. An access must not reach memory of the emulator: addresses are
 * divided into units of 256 MiB, and only units that hold nothing of it, nor have it within reach,
 * are open. Translated code proves that by a byte it loads from the guard, which has a page
 * for each unit: that of a closed one faults. And a page must not stay longer than the TLB may keep
 * its translation: whatever invalidates that (mem/tlb.c) drops it here.
 *
 * Owned by the thread of the only vCPU.
 */
#pragma once

#include "mem/base/status.h"
#include "mem/base/types.h"
#include "mem/ram.h"

enum {
    WINDOW_UNIT_SHIFT = 28,
    WINDOW_UNITS = 1 << (47 - WINDOW_UNIT_SHIFT),
    WINDOW_GUARD_SHIFT = 16, /* an address shifted by this is where its byte of the guard is */
    WINDOW_REACH = 32 << 20, /* from a proved address on, either way, no byte of the emulator is */
    WINDOW_OPEN_MAX = 1024,
    WINDOW_GUARD_AT = 256 << 20, /* where the guard is, from the vCPU on */
};
/* That many bytes: half of the addresses that 32 bits reach from the vCPU on. */
#define WINDOW_GUARD_SIZE (1ull << (47 - WINDOW_GUARD_SHIFT))

/* Sanitizers' shadow memory lies where guests have their pages, and they want the signals. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WINDOW_POSSIBLE 0
#else
#define WINDOW_POSSIBLE 1
#endif

struct tlb;

struct window {
    const struct ram *ram;
    u8 *guard;           /* WINDOW_GUARD_SIZE bytes of address space */
    u64 owner;           /* CR3 of the address space, or WINDOW_NONE */
    u16 pcid;            /* ... and its PCID */
    u64 filled, dropped; /* mappings made; times that all were dropped */
    u64 unmapped;        /* pages that went */
    u32 mappings;        /* made, or pages taken out of them, since then */
    u32 open_count, open[WINDOW_OPEN_MAX];
    u32 pages[WINDOW_OPEN_MAX]; /* that are mapped, by open unit */
    u64 *bits[WINDOW_OPEN_MAX]; /* which: a bit per page */
    u16 number[WINDOW_UNITS];   /* of an open unit + 1; 0: closed; WINDOW_REFUSED */
    u64 *writer; /* by page of RAM: the linear address it is mapped at for stores, or 0 */
};
#define WINDOW_NONE (~0ull)
enum { WINDOW_REFUSED = 0xffff };

/* For guest RAM, with address space for the guard, which nobody may access. NULL: this process is
 * not laid out as it would have to be, or there is no memory. */
struct window *window_create(const struct ram *ram, u8 *guard);
void window_destroy(struct window *w);

/* Whether accesses near gla may be made. Opens its unit if it can. */
bool window_open(struct window *w, u64 gla);
/* Closes all units. No translated code may be left that relies on one. */
void window_close_all(struct window *w);
/* Maps what user mode's table of the TLB has for the page of gla, and around it. false: that is
 * nothing (more), or it cannot be mapped. */
bool window_fill(struct window *w, const struct tlb *tlb, u64 gla);
/* -- what the TLB forgets -- */
/* The page of gla, or all of the large page that it may be a piece of. */
void window_drop(struct window *w, u64 gla);
/* What is mapped for stores to the page at hva. */
void window_drop_writer(struct window *w, const u8 *hva);
void window_drop_all(struct window *w);
