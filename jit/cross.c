/* SPDX-License-Identifier: MIT
 *
 * Instructions that lie in two pages. A block belongs to one page of RAM: that of the first byte.
 * What the instruction has in the page behind it depends on how that is mapped now, so every entry
 * of its block looks (emit_beyond() in translate.c); if it is not what was translated, this file
 * finds out whether only the TLB has forgotten the page.
 */
#include <string.h>

#include "jit/internal.h"
#include "mem/physmap.h"

static bool end_same(const u8 *page, u64 gla, const struct insn *i)
{
    unsigned first = jit_bytes_in_page(gla, i);

    return !memcmp(page, i->bytes + first, i->len - first);
}

/* As for decoding: read the generation, mark, read the bytes. */
bool jit_cross_begin(struct jit *j, const struct insn *i, struct jit_block *like)
{
    const u8 *hva = j->v->ram->hva + like->key;
    u64 gla = jit_linear(like, like->rip);
    unsigned first = jit_bytes_in_page(gla, i);

    if (!(j->options.optimisations & JIT_CROSS) || first == i->len)
        return false;
    like->beyond = jit_code_at(j->v, jit_page_beyond(like));
    if (!like->beyond)
        return false;
    like->generation = __atomic_load_n(&like->page->generation, __ATOMIC_ACQUIRE);
    physmap_protect_code(j->v->map, hva, first);
    return !memcmp(hva, i->bytes, first) && end_same(like->beyond, gla, i);
}

bool jit_cross_same(struct vcpu *v, const struct jit_block *block)
{
    const u8 *page = jit_code_at(v, jit_page_beyond(block));

    return page && page == block->beyond &&
           !memcmp(page, jit_block_bytes(block) + block->spans[0].size, block->beyond_size);
}
