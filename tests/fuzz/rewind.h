/* SPDX-License-Identifier: MIT
 *
 * A board that is made once and put back to its beginning after each input, which takes some
 * microseconds where making one takes a tenth of a second.
 *
 * Everything in it that Hv#1's interface can change is kept as bytes, but for the memory map, which
 * a reset puts back. What an input cannot change is left alone: the map's other regions, ports,
 * firmware, translations and most RAM. A target shows that nothing was forgotten by trying some
 * inputs on a new board, too.
 */
#pragma once

#include "devices/apic/lapic.h"
#include "hv1/internal.h"
#include "tests/fuzz/board.h"

enum { REWIND_PIECES = 64 };

struct rewind_piece {
    void *at;
    void *copy;
    size_t size;
};

struct rewind {
    struct board b;
    struct rewind_piece pieces[REWIND_PIECES];
    unsigned count;
};

static inline void rewind_add(struct rewind *r, void *at, size_t size)
{
    struct rewind_piece *piece = &r->pieces[r->count++];

    check(r->count <= REWIND_PIECES, "more than %d pieces of a board", REWIND_PIECES);
    *piece = (struct rewind_piece){.at = at, .copy = malloc(size), .size = size};
    check(piece->copy, "no memory for a copy of a board");
    memcpy(piece->copy, at, size);
}

/* All but its TLB, which nothing fills: no guest runs. */
static inline void rewind_add_vcpu(struct rewind *r, struct vcpu *v)
{
    const size_t after = offsetof(struct vcpu, tlb) + sizeof(v->tlb);

    rewind_add(r, v, offsetof(struct vcpu, tlb));
    rewind_add(r, (u8 *)v + after, sizeof(*v) - after);
}

/* Keeps the board as it is now. ram_at, ram_size: the RAM that inputs store to. */
static inline void rewind_keep(struct rewind *r, u64 ram_at, u64 ram_size)
{
    struct machine *m = r->b.m;

    rewind_add(r, m, sizeof(*m));
    rewind_add(r, m->processors, m->processor_count * sizeof(*m->processors));
    for (unsigned n = 0; n < m->processor_count; n++) {
        rewind_add_vcpu(r, m->processors[n].vcpu);
        rewind_add(r, m->processors[n].lapic, lapic_type.state_size);
    }
    for (unsigned n = 0; n < PART_COUNT; n++)
        if (m->parts[n].ready)
            rewind_add(r, m->parts[n].self, m->parts[n].type->state_size);
    rewind_add(r, m->ram.hva + ram_at, ram_size);
    if (!m->hv1)
        return;
    rewind_add(r, m->hv1, sizeof(*m->hv1));
    rewind_add(r, m->hv1->vps, m->processor_count * sizeof(*m->hv1->vps));
    rewind_add(r, m->ram.hva + m->config.ram_size, hv1_ram_size(m->processor_count));
}

/* Ends what was kept and its board. */
static inline void rewind_drop(struct rewind *r)
{
    for (unsigned n = 0; n < r->count; n++)
        free(r->pieces[n].copy);
    r->count = 0;
    board_destroy(&r->b);
}

/* Back to that. */
static inline void rewind_restore(struct rewind *r)
{
    struct machine *m = r->b.m;
    unsigned lapic_region;

    processors_reset(m);
    if (m->hv1)
        hv1_reset(m->hv1);
    lapic_region = m->lapic_region;
    check(m->lapic_region_present, "a reset left no local APIC in the memory map");
    for (unsigned n = 0; m->hv1 && n < m->processor_count; n++)
        for (unsigned sint = 0; sint < HV_SINTS; sint++)
            free(m->hv1->vps[n].queue[sint]);
    for (unsigned n = 0; n < r->count; n++)
        memcpy(r->pieces[n].at, r->pieces[n].copy, r->pieces[n].size);
    m->lapic_region = lapic_region;
}
