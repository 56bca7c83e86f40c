/* SPDX-License-Identifier: MIT
 *
 * Sets of virtual processors (TLFS "Virtual processor sets", HV_VP_SET): banks of 64, of which a
 * mask says which are there.
 */
#include <string.h>

#include "hv1/internal.h"

enum { FORMAT_SPARSE_4K = 0, FORMAT_ALL = 1, SET_HEADER = 16 };

static u64 load(const u8 *at)
{
    u64 value;

    memcpy(&value, at, sizeof(value));
    return value;
}

void vp_set_trim(const struct hv1 *h, u64 vps[HV1_VP_WORDS])
{
    for (unsigned n = 0; n < HV1_VP_WORDS; n++) {
        unsigned left = h->config.cpus > n * 64 ? h->config.cpus - n * 64 : 0;

        vps[n] &= left >= 64 ? ~0ull : BIT(left) - 1;
    }
}

void vp_set_all(const struct hv1 *h, u64 vps[HV1_VP_WORDS])
{
    memset(vps, 0xff, HV1_VP_WORDS * sizeof(vps[0]));
    vp_set_trim(h, vps);
}

bool vp_set_read(const struct hv1 *h, const u8 *set, unsigned bytes, u64 vps[HV1_VP_WORDS],
                 bool *all)
{
    u64 format = load(set), banks = load(set + 8);
    const u8 *bank = set + SET_HEADER;

    *all = format == FORMAT_ALL;
    memset(vps, 0, HV1_VP_WORDS * sizeof(vps[0]));
    if (*all) {
        vp_set_all(h, vps);
        return true;
    }
    if (format != FORMAT_SPARSE_4K ||
        bytes != SET_HEADER + (unsigned)__builtin_popcountll(banks) * 8)
        return false;
    for (unsigned n = 0; n < 64; n++) {
        if (!(banks >> n & 1))
            continue;
        if (n < HV1_VP_WORDS)
            vps[n] = load(bank);
        bank += 8;
    }
    vp_set_trim(h, vps);
    return true;
}
