/* SPDX-License-Identifier: MIT
 *
 * Hypercalls (TLFS "Hypercall interface"): where they may be made, how their input arrives, and
 * which of them exist. What each does is in calls_*.c.
 *
 * Order of checks: mode and page (#UD), code, privilege, control word, XMM availability (#UD),
 * alignment, parameters.
 */
#include <string.h>

#include "cpu/access.h"
#include "hv1/internal.h"

enum { FAST_MAX = 112, FAST_XMM = 6, GP_BYTES = 16 };

#define CONTROL_FAST     BIT(16)
#define CONTROL_RESERVED (0xfull << 27 | 0xfull << 44 | 0xfull << 60)

enum call_kind {
    CALL_SIMPLE,
    CALL_REP,
    CALL_DENIED, /* it exists, and this partition lacks the privilege for it: always */
};

static const struct call {
    u16 code;
    u8 kind;       /* enum call_kind */
    bool variable; /* takes a variable header */
    bool memory;   /* has no fast form */
    bool ports;    /* needs PostMessages or SignalEvents */
    u16 header;    /* bytes of fixed header */
    u32 switches;
    call_fn *serve;
    const char *name;
} calls[] = {
#define SIMPLE(code, bytes, switches, serve)                                                       \
    {                                                                                              \
        code, CALL_SIMPLE, false, false, false, bytes, switches, serve, #code                      \
    }
#define SIMPLE_VARIABLE(code, bytes, switches, serve)                                              \
    {                                                                                              \
        code, CALL_SIMPLE, true, false, false, bytes, switches, serve, #code                       \
    }
#define REP(code, variable, bytes, switches, serve)                                                \
    {                                                                                              \
        code, CALL_REP, variable, false, false, bytes, switches, serve, #code                      \
    }
#define DENIED(code)                                                                               \
    {                                                                                              \
        code, CALL_DENIED, false, false, false, 0, 0, NULL, #code                                  \
    }
    SIMPLE(HvFlushVirtualAddressSpace, 24, HV1_TLBFLUSH, call_flush_space),
    REP(HvFlushVirtualAddressList, false, 24, HV1_TLBFLUSH, call_flush_list),
    SIMPLE(HvNotifyLongSpinWait, 8, HV1_SPINLOCKS, call_spin_wait),
    SIMPLE(HvSendSyntheticClusterIpi, 16, HV1_IPI, call_ipi),
    SIMPLE_VARIABLE(HvFlushVirtualAddressSpaceEx, 32, HV1_TLBFLUSH | HV1_EX_MASKS,
                    call_flush_space_ex),
    REP(HvFlushVirtualAddressListEx, true, 32, HV1_TLBFLUSH | HV1_EX_MASKS, call_flush_list_ex),
    SIMPLE_VARIABLE(HvSendSyntheticClusterIpiEx, 24, HV1_IPI | HV1_EX_MASKS, call_ipi_ex),
    {HvPostMessage, CALL_SIMPLE, false, true, true, 256, 0, call_post_message, "HvPostMessage"},
    {HvSignalEvent, CALL_SIMPLE, false, false, true, 8, 0, call_signal_event, "HvSignalEvent"},
    DENIED(HvGetPartitionId),
    DENIED(HvGetVpRegisters),
    DENIED(HvSetVpRegisters),
    DENIED(HvPostDebugData),
    DENIED(HvRetrieveDebugData),
    DENIED(HvResetDebugSession),
    DENIED(HvStartVirtualProcessor),
    DENIED(HvGetVpIndexFromApicId),
    DENIED(HvExtCallQueryCapabilities),
    DENIED(HvExtCallGetBootZeroedMemory),
};

static const struct call *find_call(const struct hv1 *h, u16 code)
{
    for (size_t n = 0; n < ARRAY_SIZE(calls); n++)
        if (calls[n].code == code)
            return hv1_has(h, calls[n].switches) ? &calls[n] : NULL;
    return NULL;
}

/* -- registers: 64-bit callers and the others (EDX:EAX, EBX:ECX, EDI:ESI) -- */

struct registers {
    u64 control, input, output;
};

static u64 pair(const struct vcpu *v, unsigned high, unsigned low)
{
    return v->gpr[high] << 32 | (u32)v->gpr[low];
}

static struct registers read_registers(const struct vcpu *v)
{
    if (vcpu_64bit(v))
        return (struct registers){v->gpr[RCX], v->gpr[RDX], v->gpr[8]};
    return (struct registers){pair(v, RDX, RAX), pair(v, RBX, RCX), pair(v, RDI, RSI)};
}

static void write_result(struct vcpu *v, u64 result)
{
    if (vcpu_64bit(v)) {
        v->gpr[RAX] = result;
        return;
    }
    v->gpr[RAX] = (u32)result;
    v->gpr[RDX] = result >> 32;
}

/* -- input -- */

static enum hv_status check_control(const struct call *call, u64 control, struct hypercall *c)
{
    unsigned variable = (unsigned)(control >> 17) & 0x3ff, reps = (unsigned)(control >> 32) & 0xfff;
    unsigned start = (unsigned)(control >> 48) & 0xfff;
    bool rep_valid = call->kind == CALL_REP ? reps > start : !reps && !start;

    if ((control & CONTROL_RESERVED) || !rep_valid || (variable && !call->variable) ||
        (call->memory && (control & CONTROL_FAST)))
        return HV_STATUS_INVALID_HYPERCALL_INPUT;
    c->header = call->header;
    c->variable = variable * 8;
    c->reps = reps;
    c->rep_start = c->done = start;
    return HV_STATUS_SUCCESS;
}

static u64 input_size(const struct hypercall *c)
{
    return c->header + c->variable + (u64)c->reps * 8;
}

/* The block from RDX, R8 and XMM0-5, or their 32-bit counterparts. */
static void read_fast(const struct vcpu *v, const struct registers *r, struct hypercall *c)
{
    memcpy(c->input, &r->input, 8);
    memcpy(c->input + 8, &r->output, 8);
    for (unsigned n = 0; n < FAST_XMM; n++)
        memcpy(c->input + GP_BYTES + n * 16, v->fpu.zmm[n], 16);
}

/* From guest memory, all at once: nothing is read twice, whatever other processors do to it. */
static enum hv_status read_memory(const struct hv1 *h, u64 gpa, struct hypercall *c)
{
    u64 size = input_size(c);
    struct phys_page page;

    if (gpa % 8 || gpa % PAGE_SIZE + size > PAGE_SIZE || gpa >> h->config.model->maxphyaddr)
        return HV_STATUS_INVALID_ALIGNMENT;
    physmap_lookup(h->config.map, gpa, false, &page);
    if (!page.hva)
        return HV_STATUS_INVALID_PARAMETER;
    memcpy(c->input, page.hva + gpa % PAGE_SIZE, size);
    return HV_STATUS_SUCCESS;
}

/* -- service -- */

static u64 result_value(const struct hypercall *c, enum hv_status status)
{
    return (u64)status | (u64)(c->reps ? c->done : 0) << 32;
}

static void trace(const struct hypercall *c, const struct call *call, const struct registers *r,
                  u64 result)
{
    log_trace(c->hv1->config.log, LOG_HV1,
              "hv1: vp %u calls %s (%04x) control %016lx input %016lx "
              "%016lx -> %016lx",
              c->vp->index, call ? call->name : "unknown", c->code, r->control, r->input, r->output,
              result);
}

/* false: #UD, recorded. */
static bool serve(struct hypercall *c, const struct call *call, const struct registers *r,
                  enum hv_status *status)
{
    struct vcpu *v = c->vp->vcpu;
    bool fast = r->control & CONTROL_FAST;

    *status = HV_STATUS_INVALID_HYPERCALL_CODE;
    if (!call)
        return true;
    *status = HV_STATUS_ACCESS_DENIED;
    if (call->kind == CALL_DENIED || (call->ports && !c->hv1->config.profile.ports))
        return true;
    *status = check_control(call, r->control, c);
    if (*status != HV_STATUS_SUCCESS)
        return true;
    if (fast && input_size(c) > GP_BYTES && !hv1_has(c->hv1, HV1_XMM_INPUT))
        return raise_ud(v);
    if (fast && input_size(c) > FAST_MAX)
        *status = HV_STATUS_INVALID_HYPERCALL_INPUT;
    else if (fast)
        read_fast(v, r, c);
    else
        *status = read_memory(c->hv1, r->input, c);
    if (*status == HV_STATUS_SUCCESS)
        *status = call->serve(c);
    return true;
}

/* Whether RIP is in the hypercall page as this processor sees it: nowhere else is there a call. */
static bool in_page(const struct hv1 *h, struct vcpu *v)
{
    u64 gla = vcpu_64bit(v) ? v->rip : (u32)(v->seg[SEG_CS].base + v->rip), gpa;
    const u8 *hva = tlb_exec_ptr(v->tlb_now, gla);
    u8 bytes[15], *fetched;
    unsigned count;

    if (!hva) {
        if (!fetch_bytes(v, v->rip, bytes, &count, &gpa, &fetched)) {
            v->fault.pending = false;
            return false;
        }
        hva = fetched;
    }
    return hva && (u64)(hva - h->hypercall_page.hva) < PAGE_SIZE;
}

bool hv1_hypercall(struct hv1 *h, struct vcpu *v)
{
    struct registers r;
    struct hypercall c;
    const struct call *call;
    enum hv_status status;
    u64 result;

    if (v->cpl || !vcpu_protected(v) || !in_page(h, v))
        return raise_ud(v);
    r = read_registers(v);
    c.hv1 = h;
    c.vp = hv1_vp_of(h, v);
    c.code = (u16)r.control;
    c.reps = c.done = 0;
    call = find_call(h, c.code);
    if (!serve(&c, call, &r, &status))
        return false;
    result = result_value(&c, status);
    trace(&c, call, &r, result);
    write_result(v, result);
    return true;
}

/* HvNotifyLongSpinWait: advice, so there is no error. */
enum hv_status call_spin_wait(struct hypercall *c)
{
    c->hv1->config.platform.yield(c->hv1->config.platform.opaque, c->vp->vcpu);
    return HV_STATUS_SUCCESS;
}
