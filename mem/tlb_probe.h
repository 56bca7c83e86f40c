/* SPDX-License-Identifier: MIT
 *
 * The short way from the second level of the soft TLB to the first.
 *
 * tlb_probe.c is compiled for general registers alone, so that translated code can call it while
 * the guest's vector and x87 state is in the host's registers.
 */
#pragma once

#include "mem/tlb.h"

/* Refills the first level for an access of the current context: size bytes (1..PAGE_SIZE) at gla, a
 * canonical address or not, under pcid, paging being on. Returns the host address, or 0 where that
 * takes the long way (tlb_translate()): no entry, a denied access, a page that is not yet dirty,
 * devices, code pages for stores, page crossings, watched pages. A write needs the write tag. */
u64 tlb_probe(struct tlb *tlb, enum tlb_context context, u16 pcid, u64 gla, unsigned size,
              enum access_kind kind);
