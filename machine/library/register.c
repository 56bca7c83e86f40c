/* SPDX-License-Identifier: MIT
 *
 * Single registers, MSRs and segments, and the modes in which code can start at once.
 */
#include <string.h>

#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "cpu/msr.h"
#include "machine/library/library.h"

enum { MSR_TSC = 0x10, MSR_EFER = 0xc0000080 };

/* The register as a plain member, or NULL for those that are more than that. */
static u64 *plain(struct vcpu *v, unsigned reg)
{
    if (reg <= LOCKSTEP_R15)
        return &v->gpr[reg];
    if (reg >= LOCKSTEP_DR0 && reg <= LOCKSTEP_DR3)
        return &v->dr[reg - LOCKSTEP_DR0];
    if (reg >= LOCKSTEP_K0 && reg <= LOCKSTEP_K7)
        return &v->fpu.k[reg - LOCKSTEP_K0];
    switch (reg) {
    case LOCKSTEP_RIP: return &v->rip;
    case LOCKSTEP_RFLAGS: return &v->rflags;
    case LOCKSTEP_CR0: return &v->cr0;
    case LOCKSTEP_CR2: return &v->cr2;
    case LOCKSTEP_CR3: return &v->cr3;
    case LOCKSTEP_CR4: return &v->cr4;
    case LOCKSTEP_EFER: return &v->efer;
    case LOCKSTEP_XCR0: return &v->xcr0;
    case LOCKSTEP_DR6: return &v->dr6;
    case LOCKSTEP_DR7: return &v->dr7;
    case LOCKSTEP_FS_BASE: return &v->seg[SEG_FS].base;
    case LOCKSTEP_GS_BASE: return &v->seg[SEG_GS].base;
    case LOCKSTEP_KERNEL_GS_BASE: return &v->kernel_gs_base;
    default: return NULL;
    }
}

static u64 other(struct vcpu *v, unsigned reg)
{
    switch (reg) {
    case LOCKSTEP_CPL: return v->cpl;
    case LOCKSTEP_CR8: return v->platform->cr8_read(v->platform->opaque, v);
    case LOCKSTEP_TSC: return vcpu_tsc(v);
    case LOCKSTEP_MXCSR: return v->fpu.mxcsr;
    default: return v->pkru; /* LOCKSTEP_PKRU */
    }
}

static enum lockstep_status check_register(struct lockstep_machine *m, unsigned reg)
{
    if (reg >= LOCKSTEP_REGISTERS)
        return library_fail(m, LOCKSTEP_INVALID, "There is no register %u.", reg);
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_get_register(struct lockstep_machine *m, unsigned cpu,
                                           enum lockstep_register reg, uint64_t *value)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st)
        st = check_register(m, reg);
    if (!st && !value)
        st = library_fail(m, LOCKSTEP_INVALID, "The place for the value is NULL.");
    if (!st)
        *value = plain(v, reg) ? *plain(v, reg) : other(v, reg);
    return st;
}

/* Through the state, which checks and re-derives. */
static enum lockstep_status set_by_state(struct lockstep_machine *m, unsigned cpu, unsigned reg,
                                         u64 value)
{
    struct lockstep_state s = {.size = sizeof(s), .version = LOCKSTEP_STATE_VERSION};
    u32 part = LOCKSTEP_STATE_GENERAL;

    if (reg == LOCKSTEP_CPL)
        part = LOCKSTEP_STATE_SEGMENTS;
    else if (reg >= LOCKSTEP_DR0 && reg <= LOCKSTEP_DR7)
        part = LOCKSTEP_STATE_DEBUG;
    else if (reg == LOCKSTEP_MXCSR)
        part = LOCKSTEP_STATE_FPU;
    else if (reg == LOCKSTEP_PKRU)
        part = LOCKSTEP_STATE_VECTOR;
    (void)lockstep_get_state(m, cpu, part, &s);
    switch (reg) {
    case LOCKSTEP_RIP: s.rip = value; break;
    case LOCKSTEP_RFLAGS: s.rflags = value; break;
    case LOCKSTEP_CPL: s.cpl = value > 3 ? 4 : (u32)value; break;
    case LOCKSTEP_DR6: s.dr6 = value; break;
    case LOCKSTEP_DR7: s.dr7 = value; break;
    case LOCKSTEP_MXCSR: s.mxcsr = value >> 32 ? ~0u : (u32)value; break;
    case LOCKSTEP_PKRU: s.pkru = (u32)value; break;
    default: s.dr[reg - LOCKSTEP_DR0] = value; break;
    }
    return lockstep_set_state(m, cpu, part, &s);
}

/* As MOV and WRMSR do it. */
static bool write_control(struct vcpu *v, unsigned reg, u64 value)
{
    switch (reg) {
    case LOCKSTEP_CR0: return control_write_cr0(v, value);
    case LOCKSTEP_CR3: return control_write_cr3(v, value);
    case LOCKSTEP_CR4: return control_write_cr4(v, value);
    case LOCKSTEP_EFER: return msr_write(v, MSR_EFER, value);
    case LOCKSTEP_XCR0: return control_write_xcr0(v, 0, value);
    case LOCKSTEP_TSC: return msr_write(v, MSR_TSC, value);
    default: /* LOCKSTEP_CR8 */
        if (value <= 15)
            v->platform->cr8_write(v->platform->opaque, v, value);
        return value <= 15;
    }
}

static bool is_control(unsigned reg)
{
    return reg == LOCKSTEP_CR0 || (reg >= LOCKSTEP_CR3 && reg <= LOCKSTEP_XCR0) ||
           reg == LOCKSTEP_TSC;
}

enum lockstep_status lockstep_set_register(struct lockstep_machine *m, unsigned cpu,
                                           enum lockstep_register reg, uint64_t value)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st)
        st = library_idle(m);
    if (!st)
        st = check_register(m, reg);
    if (st)
        return st;
    if (is_control(reg)) {
        if (write_control(v, reg, value))
            return LOCKSTEP_OK;
        v->fault.pending = false;
        return library_fail(m, LOCKSTEP_INVALID,
                            "The processor does not take 0x%llx in this control register now.",
                            (unsigned long long)value);
    }
    if (reg == LOCKSTEP_RIP || reg == LOCKSTEP_RFLAGS || !plain(v, reg) ||
        (reg >= LOCKSTEP_DR0 && reg <= LOCKSTEP_DR7))
        return set_by_state(m, cpu, reg, value);
    *plain(v, reg) = value;
    return LOCKSTEP_OK;
}

/* -- vector registers -- */

static enum lockstep_status check_vector(struct lockstep_machine *m, unsigned n, const void *bytes,
                                         size_t size)
{
    if (n > 31 || !bytes || (size != 16 && size != 32 && size != 64))
        return library_fail(m, LOCKSTEP_INVALID,
                            "Vector registers are 0 to 31, with 16, 32 or 64 bytes.");
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_get_vector(struct lockstep_machine *m, unsigned cpu, unsigned n,
                                         void *bytes, size_t size)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st)
        st = check_vector(m, n, bytes, size);
    if (!st)
        memcpy(bytes, v->fpu.zmm[n], size);
    return st;
}

enum lockstep_status lockstep_set_vector(struct lockstep_machine *m, unsigned cpu, unsigned n,
                                         const void *bytes, size_t size)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st)
        st = library_idle(m);
    if (!st)
        st = check_vector(m, n, bytes, size);
    if (!st)
        memcpy(v->fpu.zmm[n], bytes, size);
    return st;
}

/* -- MSRs -- */

static enum lockstep_status no_msr(struct lockstep_machine *m, u32 index, const char *what)
{
    return library_fail(m, LOCKSTEP_NOT_FOUND, "MSR 0x%x cannot be %s on this processor.", index,
                        what);
}

enum lockstep_status lockstep_get_msr(struct lockstep_machine *m, unsigned cpu, uint32_t index,
                                      uint64_t *value)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);
    u64 got;

    if (!st && !value)
        st = library_fail(m, LOCKSTEP_INVALID, "The place for the value is NULL.");
    if (st)
        return st;
    if (!msr_read(v, index, &got))
        return no_msr(m, index, "read");
    *value = got;
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_set_msr(struct lockstep_machine *m, unsigned cpu, uint32_t index,
                                      uint64_t value)
{
    enum lockstep_status st;
    struct vcpu *v = library_vcpu(m, cpu, &st);

    if (!st)
        st = library_idle(m);
    if (st)
        return st;
    return msr_write(v, index, value) ? LOCKSTEP_OK : no_msr(m, index, "set to this value");
}
