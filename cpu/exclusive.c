/* SPDX-License-Identifier: MIT
 *
 * Devices come first: who holds their lock may have to stop the others, but nobody waits for it
 * while they stand still.
 */
#include "cpu/exclusive.h"

void exclusive_begin(struct vcpu *v, bool device)
{
    if (device)
        physmap_acquire(v->map);
    if (v->platform->stop_others)
        v->platform->stop_others(v->platform->opaque, v);
}

void exclusive_end(struct vcpu *v, bool device)
{
    if (v->platform->resume_others)
        v->platform->resume_others(v->platform->opaque, v);
    if (device)
        physmap_release(v->map);
}
