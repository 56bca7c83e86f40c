/* SPDX-License-Identifier: MIT
 *
 * Interrupts to many processors at once (TLFS "Virtual interrupts").
 */
#include <string.h>

#include "hv1/internal.h"

enum { VECTOR_MIN = 0x10, VECTOR_MAX = 0xff, MASK_AT = 8, SET_AT = 8, SET_HEADER = 16 };

/* Vector, target VTL, three bytes of zero: there is one VTL. */
static enum hv_status check_header(const struct hypercall *c, u8 *vector)
{
    u32 number;

    memcpy(&number, c->input, sizeof(number));
    if (c->input[5] || c->input[6] || c->input[7])
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    if (number < VECTOR_MIN || number > VECTOR_MAX || c->input[4])
        return HV_STATUS_INVALID_PARAMETER;
    *vector = (u8)number;
    return HV_STATUS_SUCCESS;
}

static void send(const struct hypercall *c, const u64 vps[HV1_VP_WORDS], u8 vector)
{
    for (unsigned n = 0; n < HV1_VP_WORDS; n++)
        for (u64 left = vps[n]; left; left &= left - 1)
            vp_interrupt(&c->hv1->vps[n * 64 + (unsigned)__builtin_ctzll(left)], vector);
}

enum hv_status call_ipi(struct hypercall *c)
{
    u64 vps[HV1_VP_WORDS] = {0};
    u8 vector;
    enum hv_status status = check_header(c, &vector);

    if (status != HV_STATUS_SUCCESS)
        return status;
    memcpy(&vps[0], c->input + MASK_AT, sizeof(vps[0]));
    vp_set_trim(c->hv1, vps);
    send(c, vps, vector);
    return HV_STATUS_SUCCESS;
}

enum hv_status call_ipi_ex(struct hypercall *c)
{
    u64 vps[HV1_VP_WORDS];
    u8 vector;
    bool all;
    enum hv_status status;

    if (!vp_set_read(c->hv1, c->input + SET_AT, SET_HEADER + c->variable, vps, &all))
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    status = check_header(c, &vector);
    if (status == HV_STATUS_SUCCESS)
        send(c, vps, vector);
    return status;
}
