/* SPDX-License-Identifier: MIT
 *
 * Sites: the pages that translated code met last at each of its accesses (mem/tlb.h).
 *
 * All of them are forgotten when any tag of a page of user mode goes, which costs no more than
 * giving them their pages did. Write tags may be dropped by another thread: translated code that
 * gives a site a page for stores enters it into tlb.site, stores its tag, and then looks at the
 * write tag again; the other one drops the write tag and then clears the tags of all sites that
 * were entered (jit/site.c, jit_emit_miss_site()).
 */
#include "mem/tlb_slot.h"

void tlb_clear_sites(struct tlb *tlb)
{
    u64 none = tlb->tables[TLB_USER].no_stack;
    u32 count = __atomic_load_n(&tlb->site_count, __ATOMIC_SEQ_CST);

    for (u32 n = 0; n < count; n++)
        __atomic_store_n(&__atomic_load_n(&tlb->site[n], __ATOMIC_RELAXED)->tag, none,
                         __ATOMIC_RELAXED);
}

void tlb_forget_sites(struct tlb *tlb)
{
    tlb_clear_sites(tlb);
    for (u32 n = 0; n < tlb->site_count; n++)
        tlb->site[n]->noted = false;
    __atomic_store_n(&tlb->site_count, 0, __ATOMIC_RELEASE);
}
