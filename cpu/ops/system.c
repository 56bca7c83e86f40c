/* SPDX-License-Identifier: MIT
 *
 * System instructions that are neither segments, interrupts nor control registers: MSRs, counters,
 * identification, randomness, cache and TLB control, MONITOR/MWAIT, protection keys, FS/GS bases.
 */
#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "cpu/hooks.h"
#include "cpu/msr.h"
#include "cpu/ops/operand.h"

static bool need_cpl0(struct vcpu *v)
{
    return v->cpl == 0 || raise_gp(v, 0);
}

static void set_edx_eax(struct vcpu *v, u64 value)
{
    v->gpr[RAX] = (u32)value;
    v->gpr[RDX] = value >> 32;
}

static u64 edx_eax(const struct vcpu *v)
{
    return v->gpr[RDX] << 32 | (u32)v->gpr[RAX];
}

/* -- MSRs -- */

bool op_RDMSR(struct vcpu *v, const struct insn *i)
{
    u64 value;

    (void)i;
    if (!need_cpl0(v))
        return false;
    if (!msr_read(v, (u32)v->gpr[RCX], &value))
        return raise_gp(v, 0);
    set_edx_eax(v, value);
    return true;
}

bool op_WRMSR(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!need_cpl0(v))
        return false;
    return msr_write(v, (u32)v->gpr[RCX], edx_eax(v)) || raise_gp(v, 0);
}

/* -- calls of a hypervisor: the platform's, if it is one -- */

static bool hypercall(struct vcpu *v)
{
    const struct vcpu_platform *p = v->platform;

    return p->hypercall ? p->hypercall(p->opaque, v) : raise_ud(v);
}

bool op_VMCALL(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return hypercall(v);
}

bool op_VMMCALL(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return hypercall(v);
}

/* -- counters -- */

/* CR4.TSD makes RDTSC and RDTSCP privileged (SDM 2 RDTSC). */
static bool tsc_permitted(struct vcpu *v)
{
    return !(v->cr4 & CR4_TSD) || v->cpl == 0 || raise_gp(v, 0);
}

bool op_RDTSC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!tsc_permitted(v))
        return false;
    set_edx_eax(v, vcpu_tsc(v));
    return true;
}

bool op_RDTSCP(struct vcpu *v, const struct insn *i)
{
    if (!op_RDTSC(v, i))
        return false;
    v->gpr[RCX] = (u32)v->tsc_aux;
    return true;
}

bool op_RDPID_Rn(struct vcpu *v, const struct insn *i)
{
    reg_write(v, i->rm, vcpu_64bit(v) ? 8 : 4, v->tsc_aux);
    return true;
}

/* No performance counter is offered, so every index is out of range (SDM 2 RDPMC). */
bool op_RDPMC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return raise_gp(v, 0);
}

/* -- identification and randomness -- */

bool op_CPUID(struct vcpu *v, const struct insn *i)
{
    struct cpuid_result r;

    (void)i;
    cpuid_read(v, (u32)v->gpr[RAX], (u32)v->gpr[RCX], &r);
    if (unlikely(v->hooks) && v->hooks->cpuid)
        v->hooks->cpuid(v->hooks->opaque, v, (u32)v->gpr[RAX], (u32)v->gpr[RCX], &r);
    v->gpr[RAX] = r.eax;
    v->gpr[RBX] = r.ebx;
    v->gpr[RCX] = r.ecx;
    v->gpr[RDX] = r.edx;
    return true;
}

/* CF says whether a number was there; without one the destination is zero (SDM 2 RDRAND). */
static bool random_number(struct vcpu *v, const struct insn *i)
{
    u64 value = 0;
    bool there = v->platform->random(v->platform->opaque, v, &value);

    reg_write(v, i->rm, i->osz, there ? value : 0);
    v->rflags = (v->rflags & ~(u64)F_OSZAPC) | (there ? F_CF : 0);
    return true;
}

bool op_RDRAND_Rv(struct vcpu *v, const struct insn *i)
{
    return random_number(v, i);
}

bool op_RDSEED_Rv(struct vcpu *v, const struct insn *i)
{
    return random_number(v, i);
}

/* -- caches: coherent and invisible here, so only the checks remain -- */

bool op_INVD(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return need_cpl0(v);
}

bool op_WBINVD(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return need_cpl0(v);
}

/* CLFLUSH and its kin fault like a byte load (SDM 2 CLFLUSH); a hit on execute-only code is
 * allowed, which the segment check for reads does not know. */
static bool flush_line(struct vcpu *v, const struct insn *i)
{
    u64 gla;

    return mem_linear(v, i, 1, ACCESS_READ, &gla) && lin_probe_read(v, gla, 1);
}

bool op_CLFLUSH_Mb(struct vcpu *v, const struct insn *i)
{
    return flush_line(v, i);
}

bool op_CLFLUSHOPT_Mb(struct vcpu *v, const struct insn *i)
{
    return flush_line(v, i);
}

bool op_CLWB_Mb(struct vcpu *v, const struct insn *i)
{
    return flush_line(v, i);
}

/* Hints make no access and cannot fault. */
bool op_PREFETCHNTA_Mb(struct vcpu *v, const struct insn *i)
{
    (void)v, (void)i;
    return true;
}

bool op_PREFETCHT0_Mb(struct vcpu *v, const struct insn *i)
{
    (void)v, (void)i;
    return true;
}

bool op_PREFETCHT1_Mb(struct vcpu *v, const struct insn *i)
{
    (void)v, (void)i;
    return true;
}

bool op_PREFETCHT2_Mb(struct vcpu *v, const struct insn *i)
{
    (void)v, (void)i;
    return true;
}

bool op_LFENCE(struct vcpu *v, const struct insn *i)
{
    (void)v, (void)i;
    asm volatile("lfence" ::: "memory");
    return true;
}

bool op_MFENCE(struct vcpu *v, const struct insn *i)
{
    (void)v, (void)i;
    asm volatile("mfence" ::: "memory");
    return true;
}

bool op_SFENCE(struct vcpu *v, const struct insn *i)
{
    (void)v, (void)i;
    asm volatile("sfence" ::: "memory");
    return true;
}

/* Zeroes the line at rAX (APM 3 CLZERO). */
bool op_CLZERO(struct vcpu *v, const struct insn *i)
{
    static const u8 zeroes[CACHE_LINE];
    u64 gla;

    /* The line is that of the linear address: the segment's base counts. */
    return seg_to_linear(v, (enum seg)i->seg, size_cut(v->gpr[RAX], i->asz), 1, ACCESS_WRITE,
                         &gla) &&
           lin_write_block(v, align_down(gla, CACHE_LINE), zeroes, CACHE_LINE);
}

/* -- TLB -- */

/* A non-canonical address is a NOP in 64-bit mode, and nothing is checked (SDM 2 INVLPG). */
bool op_INVLPG_M(struct vcpu *v, const struct insn *i)
{
    u64 gla = mem_offset(v, i);

    if (!need_cpl0(v))
        return false;
    if (vcpu_64bit(v))
        gla += i->seg >= SEG_FS ? v->seg[i->seg].base : 0;
    else
        gla = (u32)(gla + v->seg[i->seg].base);
    tlb_flush_page(&v->tlb, vcpu_pcid(v), gla);
    return true;
}

enum invpcid_type { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL };

/* #GP conditions of SDM 2 INVPCID. */
static bool invpcid_valid(const struct vcpu *v, u64 type, u64 pcid, u64 address)
{
    bool canonical = (u64)((i64)(address << 16) >> 16) == address;

    if (type > INVPCID_ALL || pcid >> 12)
        return false;
    if (type == INVPCID_ADDRESS && vcpu_64bit(v) && !canonical)
        return false;
    return type > INVPCID_CONTEXT || !pcid || (v->cr4 & CR4_PCIDE);
}

bool op_INVPCID_GyMdq(struct vcpu *v, const struct insn *i)
{
    u64 type = reg_read(v, i->reg, vcpu_64bit(v) ? 8 : 4), gla, descriptor[2];

    if (!need_cpl0(v) || !mem_linear(v, i, 16, ACCESS_READ, &gla) ||
        !lin_read_block(v, gla, descriptor, sizeof(descriptor)))
        return false;
    if (!invpcid_valid(v, type, descriptor[0], descriptor[1]))
        return raise_gp(v, 0);
    switch ((enum invpcid_type)type) {
    case INVPCID_ADDRESS: tlb_flush_page_pcid(&v->tlb, (u16)descriptor[0], descriptor[1]); break;
    case INVPCID_CONTEXT: tlb_flush_pcid(&v->tlb, (u16)descriptor[0]); break;
    case INVPCID_ALL_GLOBAL: tlb_flush_all(&v->tlb); break;
    case INVPCID_ALL: tlb_flush_non_global(&v->tlb); break;
    }
    return true;
}

/* -- MONITOR, MWAIT -- */

/* Hidden by IA32_MISC_ENABLE, or not at CPL 0. */
static bool monitor_permitted(struct vcpu *v)
{
    bool hidden = !vcpu_is_amd(v) && !(v->misc_enable & MISC_ENABLE_MONITOR);

    return (!v->cpl && !hidden) || raise_ud(v);
}

static void watch_line(struct vcpu *v, const u8 *hva)
{
    v->monitor_armed = true;
    v->monitor_line = (const u64 *)((uintptr_t)hva & -(uintptr_t)CACHE_LINE);
    for (unsigned n = 0; v->monitor_line && n < CACHE_LINE / 8; n++)
        v->monitor_seen[n] = __atomic_load_n(&v->monitor_line[n], __ATOMIC_SEQ_CST);
}

/* Reserved hints are #GP(0), the address is checked like a byte load (SDM 2 MONITOR). */
bool op_MONITOR(struct vcpu *v, const struct insn *i)
{
    u64 offset = size_cut(v->gpr[RAX], i->asz), gla;

    if (!monitor_permitted(v))
        return false;
    if ((u32)v->gpr[RCX])
        return raise_gp(v, 0);
    if (!seg_to_linear(v, (enum seg)i->seg, offset, 1, ACCESS_READ, &gla) ||
        !lin_probe_read(v, gla, 1))
        return false;
    watch_line(v, tlb_read_ptr(v->tlb_now, gla, 1));
    return true;
}

/* Stores are not watched: whoever sleeps here looks whether the line has changed since MONITOR. So
 * a store of what was there already is not noticed; the sleep is short (platform->mwait_sleeps),
 * as hardware may end MWAIT at any time (SDM 2 MWAIT: "implementation-dependent events"), and
 * guests look at their condition again. With nothing armed it is a NOP. */
bool op_MWAIT(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!monitor_permitted(v))
        return false;
    if ((u32)v->gpr[RCX] & ~1u)
        return raise_gp(v, 0);
    if (v->monitor_armed && v->monitor_line && v->platform->mwait_sleeps && !vcpu_monitor_hit(v)) {
        vcpu_set_activity(v, ACTIVITY_MWAIT);
        vcpu_signal(v, EVENT_TRAP);
    }
    v->monitor_armed = false;
    return true;
}

/* -- SMAP and protection keys -- */

static bool set_ac(struct vcpu *v, u64 ac)
{
    if (v->cpl)
        return raise_ud(v);
    v->rflags = (v->rflags & ~(u64)F_AC) | ac;
    vcpu_update_mode(v);
    return true;
}

bool op_CLAC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return set_ac(v, 0);
}

bool op_STAC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return set_ac(v, F_AC);
}

bool op_RDPKRU(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!(v->cr4 & CR4_PKE))
        return raise_ud(v);
    if ((u32)v->gpr[RCX])
        return raise_gp(v, 0);
    set_edx_eax(v, v->pkru);
    return true;
}

bool op_WRPKRU(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!(v->cr4 & CR4_PKE))
        return raise_ud(v);
    if ((u32)v->gpr[RCX] || (u32)v->gpr[RDX])
        return raise_gp(v, 0);
    control_write_pkru(v, (u32)v->gpr[RAX]);
    return true;
}

/* -- FS and GS bases -- */

static bool fsgsbase(struct vcpu *v)
{
    return (v->cr4 & CR4_FSGSBASE) || raise_ud(v);
}

static bool write_base(struct vcpu *v, const struct insn *i, enum seg seg)
{
    u64 value = reg_read(v, i->rm, i->osz);

    if (!fsgsbase(v))
        return false;
    if ((u64)((i64)(value << 16) >> 16) != value)
        return raise_gp(v, 0);
    v->seg[seg].base = value;
    return true;
}

static bool read_base(struct vcpu *v, const struct insn *i, enum seg seg)
{
    if (!fsgsbase(v))
        return false;
    reg_write(v, i->rm, i->osz, v->seg[seg].base);
    return true;
}

bool op_RDFSBASE_Ry(struct vcpu *v, const struct insn *i)
{
    return read_base(v, i, SEG_FS);
}

bool op_RDGSBASE_Ry(struct vcpu *v, const struct insn *i)
{
    return read_base(v, i, SEG_GS);
}

bool op_WRFSBASE_Ry(struct vcpu *v, const struct insn *i)
{
    return write_base(v, i, SEG_FS);
}

bool op_WRGSBASE_Ry(struct vcpu *v, const struct insn *i)
{
    return write_base(v, i, SEG_GS);
}
