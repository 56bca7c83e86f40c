/* SPDX-License-Identifier: MIT
 *
 * Local APIC: sending interprocessor interrupts (ICR, SELF IPI) and recognising destinations.
 * SDM 3A 10.6 and 10.12.9, 10.12.10.
 */
#include "devices/apic/lapic_internal.h"

#include "mem/base/bits.h"

enum { ICR_ASSERT = 1u << 14, ICR_LEVEL = 1u << 15 };

/* SDM 3A table 10-3: which delivery modes go with a shorthand. */
static bool shorthand_valid(unsigned shorthand, unsigned mode)
{
    switch ((enum apic_shorthand)shorthand) {
    case APIC_TO_SELF:
    case APIC_TO_ALL: return mode == APIC_FIXED;
    case APIC_TO_DESTINATION:
    case APIC_TO_OTHERS: break;
    }
    return true;
}

/* When the lock is released: the receivers' locks are their own. */
static void send(struct lapic *l, const struct apic_message *m)
{
    bool has_vector = m->mode == APIC_FIXED || m->mode == APIC_LOWEST_PRIORITY;

    /* The message still goes out; who receives it reports an illegal vector, too (10.5.3). */
    if (has_vector && m->vector < 16)
        lapic_error(l, ESR_SEND_ILLEGAL_VECTOR);
    l->after.send = true;
    l->after.message = *m;
}

void lapic_send_icr(struct lapic *l)
{
    u32 low = (u32)l->icr;
    struct apic_message m = {
        .wide = lapic_x2apic(l),
        .logical = low & BIT(11),
        .mode = (u8)bits_get(low, 8, 3),
        .vector = (u8)low,
        .shorthand = (u8)bits_get(low, 18, 2),
        .source = l,
    };

    m.destination = m.wide ? (u32)(l->icr >> 32) : (u32)(l->icr >> 56);
    if (m.mode == APIC_RESERVED_3 || m.mode == APIC_EXTINT || !shorthand_valid(m.shorthand, m.mode))
        return;
    /* INIT level de-assert only ever synchronised arbitration IDs (10.6.1). For all other messages
     * the trigger mode is ignored: an IPI is an edge. */
    if (m.mode == APIC_INIT && (low & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
        return;
    send(l, &m);
}

void lapic_send_self(struct lapic *l, u8 vector)
{
    send(l, &(struct apic_message){
                .mode = APIC_FIXED, .vector = vector, .shorthand = APIC_TO_SELF, .source = l});
}

/* FFh in an 8-bit message is everybody, also for an x2APIC receiver, where it arrives as
 * FFFF_FFFFh; in a 32-bit message it is the APIC or cluster of that number. */
static bool is_broadcast(const struct apic_message *m)
{
    return m->destination == (m->wide ? 0xffffffff : 0xff);
}

static bool matches_physical(const struct lapic *l, u32 destination)
{
    u32 id = l->config.apic_id;

    return destination == (lapic_x2apic(l) ? id : id & 0xff);
}

static bool matches_logical(const struct lapic *l, u32 destination)
{
    u32 ldr = lapic_read_ldr(l);

    if (lapic_x2apic(l)) /* SDM 3A 10.12.10.1; 8-bit messages reach cluster 0 */
        return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff);
    if (destination > 0xff)
        return false;
    ldr >>= 24;
    switch (l->dfr >> 28) {
    case 0xf: return destination & ldr; /* flat, 10.6.2.2 */
    case 0x0: return destination >> 4 == ldr >> 4 && (destination & ldr & 0xf);
    default: return false;
    }
}

bool lapic_matches(const struct lapic *l, const struct apic_message *m)
{
    if (is_broadcast(m))
        return true;
    return m->logical ? matches_logical(l, m->destination) : matches_physical(l, m->destination);
}
