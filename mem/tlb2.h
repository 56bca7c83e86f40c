/* SPDX-License-Identifier: MIT
 *
 * The second level of the soft TLB (mem/tlb.c only): translations with their permissions.
 *
 * Set-associative, one entry per page of whatever size, so INVLPG drops exactly the page that a
 * processor would drop (SDM 3A 4.10.4.1). Every entry carries the time it was made; a flush notes
 * the time (for all, for non-global, or for one PCID) and thereby voids what is older, in O(1).
 */
#pragma once

#include "mem/base/status.h"
#include "mem/walk.h"

struct tlb2;

MUST_USE enum status tlb2_create(struct tlb2 **second, struct error *err);
void tlb2_destroy(struct tlb2 *second);

/* The translation of gla under pcid, or a global one. */
bool tlb2_find(struct tlb2 *second, u16 pcid, u64 gla, struct walk_result *result);
/* Keeps a new translation and forgets what it replaces, whatever its page size. host: the memory of
 * the whole page where all of it is guest RAM for loads and stores alike, else NULL. */
void tlb2_insert(struct tlb2 *second, u16 pcid, u64 gla, const struct walk_result *result,
                 u8 *host);

void tlb2_flush_all(struct tlb2 *second);
void tlb2_flush_non_global(struct tlb2 *second);
void tlb2_flush_pcid(struct tlb2 *second, u16 pcid);
/* Forgets pages of every size that contain gla: of pcid, and with global set global ones too. */
void tlb2_flush_page(struct tlb2 *second, u16 pcid, u64 gla, bool global);
/* The same of every PCID, global ones too. */
void tlb2_flush_page_everywhere(struct tlb2 *second, u64 gla);
