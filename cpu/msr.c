/* SPDX-License-Identifier: MIT
 *
 * Model-specific registers of the processor (SDM 4 chapter 2; APM 2 appendix A; family 19h PPR).
 * Those with an effect have a function each; those that systems only store and read back are rows
 * of stored_msrs with their writable bits. Ranges of the local APIC and of Hv#1 are registered from
 * above and are looked at first.
 */
#include "cpu/msr.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/control.h"
#include "cpu/cpuid.h"
#include "mem/base/bits.h"

enum { RANGES_MAX = 16, LOGGED_MAX = 32, MC_BANKS = 10, VARIABLE_MTRRS = 8 };

enum msr_index {
    MSR_TSC = 0x10,
    MSR_TSC_ADJUST = 0x3b,
    MSR_PATCH_LOADER_INTEL = 0x79,
    MSR_PATCH_LEVEL = 0x8b,
    MSR_MTRRCAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_VARIABLE = 0x200,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEFTYPE = 0x2ff,
    MSR_MC0_CTL = 0x400,
    MSR_XSS = 0xda0,
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_CSTAR = 0xc0000083,
    MSR_FMASK = 0xc0000084,
    MSR_FS_BASE = 0xc0000100,
    MSR_GS_BASE = 0xc0000101,
    MSR_KERNEL_GS_BASE = 0xc0000102,
    MSR_TSC_AUX = 0xc0000103,
    MSR_HWCR = 0xc0010015,
    MSR_PATCH_LOADER_AMD = 0xc0010020,
    MSR_PSTATE_LIMIT = 0xc0010061,
    MSR_PSTATE_0 = 0xc0010064,
};

enum vendor { ANY, AMD, INTEL };

/* Registers without an effect here: read back what was written, other bits are #GP (or, with
 * writable 0, read-only). */
static const struct stored_msr {
    u32 index;
    enum vendor vendor;
    u64 reset;
    u64 writable;
} stored_msrs[] = {
    {0x0, ANY, 0, ~0ull},                 /* P5_MC_ADDR */
    {0x1, ANY, 0, ~0ull},                 /* P5_MC_TYPE */
    {0x17, INTEL, 0, 0},                  /* PLATFORM_ID */
    {0x2a, INTEL, 0, 0},                  /* EBL_CR_POWERON */
    {0x34, INTEL, 0, 0},                  /* SMI_COUNT */
    {0x35, INTEL, 0x00010001, 0},         /* CORE_THREAD_COUNT */
    {0x3a, INTEL, 1, 0},                  /* FEATURE_CONTROL: locked, nothing enabled */
    {0xce, INTEL, 0, 0},                  /* PLATFORM_INFO */
    {0xe2, INTEL, 0, 0},                  /* PKG_CST_CONFIG_CONTROL */
    {0x140, INTEL, 0, 0},                 /* MISC_FEATURES_ENABLES */
    {0x17a, ANY, 0, 7},                   /* MCG_STATUS */
    {0x17b, ANY, ~0ull, ~0ull},           /* MCG_CTL */
    {0x198, INTEL, 0, 0},                 /* PERF_STATUS */
    {0x199, INTEL, 0, 0x1ffff},           /* PERF_CTL */
    {0x19a, INTEL, 0, 0x1f},              /* CLOCK_MODULATION */
    {0x19b, INTEL, 0, 0x1ffff17},         /* THERM_INTERRUPT */
    {0x19c, INTEL, 0, 0},                 /* THERM_STATUS */
    {0x1a2, INTEL, 0, 0},                 /* TEMPERATURE_TARGET */
    {0x1ad, INTEL, 0, 0},                 /* TURBO_RATIO_LIMIT */
    {0x1b0, INTEL, 0, 0xf},               /* ENERGY_PERF_BIAS */
    {0x1db, ANY, 0, 0},                   /* LASTBRANCHFROMIP */
    {0x1dc, ANY, 0, 0},                   /* LASTBRANCHTOIP */
    {0x1dd, ANY, 0, 0},                   /* LASTINTFROMIP */
    {0x1de, ANY, 0, 0},                   /* LASTINTTOIP */
    {0x606, INTEL, 0, 0},                 /* RAPL_POWER_UNIT */
    {0x610, INTEL, 0, 0},                 /* PKG_POWER_LIMIT */
    {0x611, INTEL, 0, 0},                 /* PKG_ENERGY_STATUS */
    {0xc0010010, AMD, 0, 0x00780000},     /* SYS_CFG */
    {0xc0010015, AMD, 0x01000010, ~0ull}, /* HWCR: TscFreqSel, SmmLock bits are stored */
    {0xc0010016, AMD, 0, ~0ull},          /* IORR_BASE0 */
    {0xc0010017, AMD, 0, ~0ull},          /* IORR_MASK0 */
    {0xc0010018, AMD, 0, ~0ull},          /* IORR_BASE1 */
    {0xc0010019, AMD, 0, ~0ull},          /* IORR_MASK1 */
    {0xc001001a, AMD, 0, ~0ull},          /* TOP_MEM */
    {0xc001001d, AMD, 0, ~0ull},          /* TOP_MEM2 */
    {0xc001001f, AMD, 0, ~0ull},          /* NB_CFG */
    {0xc0010054, AMD, 0, ~0ull},          /* SMI_ON_IO_TRAP_CTL_STS */
    {0xc0010055, AMD, 0, ~0ull},          /* INT_PENDING */
    {0xc0010058, AMD, 0, ~0ull},          /* MMIO_CFG_BASE */
    {0xc0010062, AMD, 0, 7},              /* PSTATE_CTL */
    {0xc0010063, AMD, 0, 0},              /* PSTATE_STATUS */
    {0xc0010071, AMD, 0, 0},              /* COFVID_STATUS */
    {0xc0010111, AMD, 0x30000, ~0ull},    /* SMBASE */
    {0xc0010112, AMD, 0, ~0ull},          /* SMM_ADDR */
    {0xc0010113, AMD, 0, ~0ull},          /* SMM_MASK */
    {0xc0010114, AMD, 0x18, 0},           /* VM_CR: SVM disabled and locked */
    {0xc0010140, AMD, 0, 0},              /* OSVW_ID_LENGTH */
    {0xc0010141, AMD, 0, 0},              /* OSVW_STATUS */
    {0xc0011004, AMD, 0, ~0ull},          /* CPUID_FEATURES overrides: stored only */
    {0xc0011005, AMD, 0, ~0ull},
    {0xc0011020, AMD, 0, ~0ull}, /* LS_CFG */
    {0xc0011021, AMD, 0, ~0ull}, /* IC_CFG */
    {0xc0011022, AMD, 0, ~0ull}, /* DC_CFG */
    {0xc0011023, AMD, 0, ~0ull}, /* TW_CFG */
    {0xc0011028, AMD, 0, ~0ull}, /* FP_CFG */
    {0xc0011029, AMD, 2, ~0ull}, /* DE_CFG: LFENCE is serialising */
    {0xc001102a, AMD, 0, ~0ull}, /* BU_CFG2 */
    {0xc001102d, AMD, 0, ~0ull}, /* LS_CFG2 */
    {0xc001102e, AMD, 0, ~0ull}, /* BP_CFG */
};

struct msr_range {
    u32 first, last;
    msr_read_fn *read;
    msr_write_fn *write;
    void *opaque;
};

struct msr_table {
    struct msr_range ranges[RANGES_MAX];
    unsigned range_count;
    u64 stored[ARRAY_SIZE(stored_msrs)];
    u64 mc[MC_BANKS * 4]; /* CTL, STATUS, ADDR, MISC of each bank */
    u64 mtrr_variable[VARIABLE_MTRRS * 2];
    u64 mtrr_fixed[11];
    u64 mtrr_deftype;
    u64 debugctl;
    u64 patch_level;
    u32 logged[LOGGED_MAX]; /* unknown MSRs already mentioned (ignore-msrs) */
    unsigned logged_count;
};

/* The bits of ARCH_CAPABILITIES that say "not vulnerable", so that guests skip mitigations:
 * RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO (SDM 4 table 2-2, MSR 10AH). IBRS_ALL stays 0: there
 * is no SPEC_CTRL. */
#define ARCH_CAPABILITIES                                                                          \
    (BIT(0) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) | BIT(15) | BIT(20) | \
     BIT(24) | BIT(26) | BIT(27) | BIT(62))

#define PAT_RESET         0x0007040600070406ull
#define MISC_ENABLE_RESET (BIT(0) | BIT(11) | BIT(12)) /* fast strings; no BTS, no PEBS */
#define MISC_ENABLE_FIXED (BIT(7) | BIT(11) | BIT(12)) /* read-only: writes are ignored */
/* SDM 4 table 2-2 without those that would hide leaves or NX (22, 34): they cannot be set here. */
#define MISC_ENABLE_KNOWN                                                                          \
    (BIT(0) | BIT(3) | BIT(16) | MISC_ENABLE_MONITOR | BIT(23) | BIT(38) | MISC_ENABLE_FIXED)
#define MTRRCAP_VALUE       (VARIABLE_MTRRS | BIT(8) | BIT(10)) /* fixed ranges, write combining */
#define MCG_CAP_VALUE       (MC_BANKS | BIT(8))                 /* MCG_CTL present */
#define MTRR_VALID          BIT(11)
#define MTRR_DEFTYPE_BITS   0xcffull
/* DEVIATION: LBR, BTF and the performance pins are stored and do nothing; single-stepping stops at
 * every instruction. Test: every_register_keeps_its_rules. */
#define DEBUGCTL_BITS       0x7full
#define HWCR_MC_STATUS_WREN BIT(18)

static bool is_amd(const struct vcpu *v)
{
    return !strcmp(v->model->vendor, "AuthenticAMD");
}

static bool canonical(u64 value)
{
    return (u64)((i64)(value << 16) >> 16) == value;
}

static u64 address_mask(const struct vcpu *v)
{
    return (1ull << v->model->maxphyaddr) - 1;
}

/* Memory types 0, 1, 4, 5, 6 and, in the PAT, 7 (SDM 3A tables 11-8, 11-10). */
static bool memory_types_valid(u64 value, bool pat)
{
    for (unsigned n = 0; n < 8; n++, value >>= 8) {
        u8 type = (u8)value;

        if (type > (pat ? 7 : 6) || type == 2 || type == 3)
            return false;
    }
    return true;
}

/* -- time -- */

u64 vcpu_tsc(struct vcpu *v)
{
    return v->platform->tsc(v->platform->opaque, v) + v->tsc_offset;
}

/* A write to the TSC shows in IA32_TSC_ADJUST by the same amount, and the other way round
 * (SDM 3B 17.17.3). */
static void move_tsc(struct vcpu *v, u64 delta)
{
    __atomic_store_n(&v->tsc_offset, v->tsc_offset + delta, __ATOMIC_RELAXED); /* Hv#1 looks */
    v->tsc_adjust += delta;
    if (v->platform->tsc_changed)
        v->platform->tsc_changed(v->platform->opaque, v);
}

/* -- MTRRs (SDM 3A 11.11); memory types change nothing for a guest here, so they are only kept --
 */

static u64 *mtrr_fixed(struct msr_table *t, u32 msr)
{
    if (msr == MSR_MTRR_FIX64K)
        return &t->mtrr_fixed[0];
    if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1)
        return &t->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K];
    if (msr >= MSR_MTRR_FIX4K && msr < MSR_MTRR_FIX4K + 8)
        return &t->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K];
    return NULL;
}

static u64 *mtrr_variable(struct msr_table *t, u32 msr)
{
    if (msr < MSR_MTRR_VARIABLE || msr >= MSR_MTRR_VARIABLE + VARIABLE_MTRRS * 2)
        return NULL;
    return &t->mtrr_variable[msr - MSR_MTRR_VARIABLE];
}

static bool mtrr_variable_valid(const struct vcpu *v, u32 msr, u64 value)
{
    u64 address = address_mask(v) & PAGE_MASK;
    bool mask = msr & 1;

    if (value & ~(address | (mask ? MTRR_VALID : 0xff)))
        return false;
    return mask || memory_types_valid(value & 0xff, false);
}

static bool mtrr_write(struct vcpu *v, u32 msr, u64 value, bool *valid)
{
    struct msr_table *t = v->msr;
    u64 *fixed = mtrr_fixed(t, msr), *variable = mtrr_variable(t, msr);

    if (fixed) {
        *valid = memory_types_valid(value, false);
        if (*valid)
            *fixed = value;
        return true;
    }
    if (variable) {
        *valid = mtrr_variable_valid(v, msr, value);
        if (*valid)
            *variable = value;
        return true;
    }
    if (msr != MSR_MTRR_DEFTYPE)
        return false;
    *valid = !(value & ~MTRR_DEFTYPE_BITS) && memory_types_valid(value & 0xff, false);
    if (*valid)
        t->mtrr_deftype = value;
    return true;
}

/* -- machine check banks: never report anything -- */

static u64 *mc_register(struct msr_table *t, u32 msr)
{
    return msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + MC_BANKS * 4 ? &t->mc[msr - MSR_MC0_CTL]
                                                                  : NULL;
}

/* -- registers with plain storage -- */

static u64 *stored_register(struct vcpu *v, u32 msr, u64 *writable)
{
    enum vendor vendor = is_amd(v) ? AMD : INTEL;

    if ((msr == MSR_MCG_STATUS || msr == MSR_MCG_CTL) && !vcpu_has(v, FEAT_MCA))
        return NULL;
    for (size_t n = 0; n < ARRAY_SIZE(stored_msrs); n++) {
        if (stored_msrs[n].index != msr)
            continue;
        if (stored_msrs[n].vendor != ANY && stored_msrs[n].vendor != vendor)
            return NULL;
        *writable = stored_msrs[n].writable;
        return &v->msr->stored[n];
    }
    return NULL;
}

/* Writes to STATUS, ADDR and MISC other than 0 are #GP (SDM 3B 15.3.2), unless AMD's
 * HWCR.McStatusWrEn allows them (APM 2 9.3.2). */
static bool mc_write(struct vcpu *v, u64 *reg, u64 value)
{
    bool ctl = (reg - v->msr->mc) % 4 == 0;
    u64 writable, *hwcr = stored_register(v, MSR_HWCR, &writable);

    if (!ctl && value && !(hwcr && (*hwcr & HWCR_MC_STATUS_WREN)))
        return false;
    *reg = value;
    return true;
}

/* -- RDMSR -- */

static bool read_own(struct vcpu *v, u32 msr, u64 *value)
{
    struct msr_table *t = v->msr;
    bool lm = vcpu_has(v, FEAT_LM);

    switch (msr) {
    case MSR_TSC: *value = vcpu_tsc(v); return vcpu_has(v, FEAT_TSC);
    case MSR_TSC_ADJUST: *value = v->tsc_adjust; return vcpu_has(v, FEAT_TSC_ADJUST);
    case MSR_PATCH_LEVEL: *value = t->patch_level; return true;
    case MSR_MTRRCAP: *value = MTRRCAP_VALUE; return vcpu_has(v, FEAT_MTRR);
    case MSR_ARCH_CAPABILITIES:
        *value = ARCH_CAPABILITIES;
        return vcpu_has(v, FEAT_ARCH_CAPABILITIES);
    case MSR_SYSENTER_CS: *value = v->sysenter_cs; return vcpu_has(v, FEAT_SEP);
    case MSR_SYSENTER_ESP: *value = v->sysenter_esp; return vcpu_has(v, FEAT_SEP);
    case MSR_SYSENTER_EIP: *value = v->sysenter_eip; return vcpu_has(v, FEAT_SEP);
    case MSR_MCG_CAP: *value = MCG_CAP_VALUE; return vcpu_has(v, FEAT_MCA);
    case MSR_MISC_ENABLE: *value = v->misc_enable; return !is_amd(v);
    case MSR_DEBUGCTL: *value = t->debugctl; return true;
    case MSR_PAT: *value = v->pat; return vcpu_has(v, FEAT_PAT);
    case MSR_MTRR_DEFTYPE: *value = t->mtrr_deftype; return vcpu_has(v, FEAT_MTRR);
    case MSR_XSS: *value = v->xss; return vcpu_has(v, FEAT_XSAVES);
    case MSR_EFER: *value = v->efer; return true;
    case MSR_STAR: *value = v->star; return vcpu_has(v, FEAT_SYSCALL);
    case MSR_LSTAR: *value = v->lstar; return lm;
    case MSR_CSTAR: *value = v->cstar; return lm;
    case MSR_FMASK: *value = v->fmask; return vcpu_has(v, FEAT_SYSCALL);
    case MSR_FS_BASE: *value = v->seg[SEG_FS].base; return lm;
    case MSR_GS_BASE: *value = v->seg[SEG_GS].base; return lm;
    case MSR_KERNEL_GS_BASE: *value = v->kernel_gs_base; return lm;
    case MSR_TSC_AUX:
        *value = v->tsc_aux;
        return vcpu_has(v, FEAT_RDTSCP) || vcpu_has(v, FEAT_RDPID);
    case MSR_PSTATE_LIMIT: *value = 0; return is_amd(v);
    default: break;
    }
    return false;
}

/* PSTATE_0 describes the one P-state: enabled, core frequency = FID * 25 MHz / (DID / 8). */
static u64 pstate0(const struct vcpu *v)
{
    u64 fid = v->model->tsc_hz / 25000000;

    return BIT(63) | 8 << 8 | (fid > 0xff ? 0xff : fid);
}

static bool read_arrays(struct vcpu *v, u32 msr, u64 *value)
{
    struct msr_table *t = v->msr;
    u64 writable, *reg = mtrr_fixed(t, msr);

    if (!reg)
        reg = mtrr_variable(t, msr);
    if (reg && !vcpu_has(v, FEAT_MTRR))
        return false;
    if (!reg && vcpu_has(v, FEAT_MCA))
        reg = mc_register(t, msr);
    if (!reg)
        reg = stored_register(v, msr, &writable);
    if (reg)
        *value = *reg;
    if (!reg && is_amd(v) && msr >= MSR_PSTATE_0 && msr < MSR_PSTATE_0 + 8) {
        *value = msr == MSR_PSTATE_0 ? pstate0(v) : 0;
        return true;
    }
    return reg != NULL;
}

/* -- WRMSR -- */

static bool write_base(u64 *reg, u64 value)
{
    if (!canonical(value))
        return false;
    *reg = value;
    return true;
}

static bool write_if(bool valid, u64 *reg, u64 value)
{
    if (valid)
        *reg = value;
    return valid;
}

/* Writing SYSENTER addresses: canonical on Intel; AMD keeps 32 bits (APM 2 6.1.2). */
static bool write_sysenter(const struct vcpu *v, u64 *reg, u64 value)
{
    if (is_amd(v))
        return write_if(true, reg, (u32)value);
    return write_base(reg, value);
}

static bool write_misc_enable(struct vcpu *v, u64 value)
{
    u64 fixed = v->misc_enable & MISC_ENABLE_FIXED;

    return write_if(!(value & ~MISC_ENABLE_KNOWN), &v->misc_enable,
                    (value & ~MISC_ENABLE_FIXED) | fixed);
}

static bool write_tsc_aux(struct vcpu *v, u64 value)
{
    if (!vcpu_has(v, FEAT_RDTSCP) && !vcpu_has(v, FEAT_RDPID))
        return false;
    return write_if(!(value >> 32), &v->tsc_aux, value);
}

static bool write_own(struct vcpu *v, u32 msr, u64 value, bool *valid)
{
    bool lm = vcpu_has(v, FEAT_LM), syscall = vcpu_has(v, FEAT_SYSCALL);
    bool mtrr = vcpu_has(v, FEAT_MTRR);

    *valid = true;
    switch (msr) {
    case MSR_TSC:
        *valid = vcpu_has(v, FEAT_TSC);
        if (*valid)
            move_tsc(v, value - vcpu_tsc(v));
        return true;
    case MSR_TSC_ADJUST:
        *valid = vcpu_has(v, FEAT_TSC_ADJUST);
        if (*valid)
            move_tsc(v, value - v->tsc_adjust);
        return true;
    case MSR_PATCH_LOADER_INTEL:
        *valid = !is_amd(v);
        return true; /* an update that changes nothing */
    case MSR_PATCH_LOADER_AMD: *valid = is_amd(v); return true;
    case MSR_PATCH_LEVEL:
        *valid = !is_amd(v);
        return true; /* written 0 before CPUID (SDM 3A 9.11.7) */
    case MSR_SYSENTER_CS:
        *valid = write_if(vcpu_has(v, FEAT_SEP), &v->sysenter_cs,
                          is_amd(v) ? value & 0xffff : (u32)value);
        return true;
    case MSR_SYSENTER_ESP:
        *valid = vcpu_has(v, FEAT_SEP) && write_sysenter(v, &v->sysenter_esp, value);
        return true;
    case MSR_SYSENTER_EIP:
        *valid = vcpu_has(v, FEAT_SEP) && write_sysenter(v, &v->sysenter_eip, value);
        return true;
    case MSR_MISC_ENABLE: *valid = !is_amd(v) && write_misc_enable(v, value); return true;
    case MSR_DEBUGCTL:
        *valid = write_if(!(value & ~DEBUGCTL_BITS), &v->msr->debugctl, value);
        return true;
    case MSR_PAT:
        *valid = vcpu_has(v, FEAT_PAT) && write_if(memory_types_valid(value, true), &v->pat, value);
        return true;
    case MSR_XSS:
        *valid = vcpu_has(v, FEAT_XSAVES) &&
                 write_if(!(value & ~v->model->xss_supported), &v->xss, value);
        return true;
    case MSR_EFER: *valid = control_write_efer(v, value); return true;
    case MSR_STAR: *valid = write_if(syscall, &v->star, value); return true;
    case MSR_LSTAR: *valid = lm && write_base(&v->lstar, value); return true;
    case MSR_CSTAR: *valid = lm && write_base(&v->cstar, value); return true;
    case MSR_FMASK: *valid = write_if(syscall && !(value >> 32), &v->fmask, value); return true;
    case MSR_FS_BASE: *valid = lm && write_base(&v->seg[SEG_FS].base, value); return true;
    case MSR_GS_BASE: *valid = lm && write_base(&v->seg[SEG_GS].base, value); return true;
    case MSR_KERNEL_GS_BASE: *valid = lm && write_base(&v->kernel_gs_base, value); return true;
    case MSR_TSC_AUX: *valid = write_tsc_aux(v, value); return true;
    default: break;
    }
    return mtrr && mtrr_write(v, msr, value, valid);
}

static bool write_arrays(struct vcpu *v, u32 msr, u64 value, bool *valid)
{
    u64 writable = 0, *reg = vcpu_has(v, FEAT_MCA) ? mc_register(v->msr, msr) : NULL;

    if (reg) {
        *valid = mc_write(v, reg, value);
        return true;
    }
    reg = stored_register(v, msr, &writable);
    if (!reg)
        return false;
    *valid = writable && !(value & ~writable);
    if (*valid)
        *reg = value;
    return true;
}

/* -- unknown ones -- */

static void log_unknown(struct vcpu *v, u32 msr, const char *verb)
{
    struct msr_table *t = v->msr;

    for (unsigned n = 0; n < t->logged_count; n++)
        if (t->logged[n] == msr)
            return;
    if (t->logged_count == LOGGED_MAX)
        return;
    t->logged[t->logged_count++] = msr;
    log_warn(v->log, "cpu %u %s unknown MSR 0x%x at 0x%lx (ignored)", v->index, verb, msr, v->rip);
}

static const struct msr_range *find_range(const struct msr_table *t, u32 msr)
{
    for (unsigned n = 0; n < t->range_count; n++)
        if (msr >= t->ranges[n].first && msr <= t->ranges[n].last)
            return &t->ranges[n];
    return NULL;
}

bool msr_read(struct vcpu *v, u32 msr, u64 *value)
{
    const struct msr_range *range = find_range(v->msr, msr);

    *value = 0;
    if (range)
        return range->read(range->opaque, v, msr, value);
    if (read_own(v, msr, value) || read_arrays(v, msr, value))
        return true;
    *value = 0;
    if (!v->model->ignore_msrs)
        return false;
    log_unknown(v, msr, "reads");
    return true;
}

bool msr_write(struct vcpu *v, u32 msr, u64 value)
{
    const struct msr_range *range = find_range(v->msr, msr);
    bool valid;
    u64 old;

    if (range)
        return range->write(range->opaque, v, msr, value);
    if (write_own(v, msr, value, &valid) || write_arrays(v, msr, value, &valid))
        return valid;
    if (!v->model->ignore_msrs || read_own(v, msr, &old) || read_arrays(v, msr, &old))
        return false; /* unknown, or known and read-only */
    log_unknown(v, msr, "writes");
    return true;
}

/* -- life -- */

enum status cpu_msr_register(struct vcpu *v, u32 first, u32 last, msr_read_fn *read,
                             msr_write_fn *write, void *opaque)
{
    struct msr_table *t = v->msr;

    if (last < first || t->range_count == RANGES_MAX)
        return ST_INVALID;
    for (unsigned n = 0; n < t->range_count; n++)
        if (first <= t->ranges[n].last && last >= t->ranges[n].first)
            return ST_OVERLAP;
    t->ranges[t->range_count++] = (struct msr_range){first, last, read, write, opaque};
    return ST_OK;
}

enum status msr_table_create(struct vcpu *v, struct error *err)
{
    v->msr = calloc(1, sizeof(*v->msr));
    if (!v->msr)
        return error_set(err, ST_NO_MEMORY, "No memory for a processor's MSRs; free some memory.");
    return ST_OK;
}

void msr_table_destroy(struct vcpu *v)
{
    free(v->msr);
    v->msr = NULL;
}

void msr_reset(struct vcpu *v)
{
    struct msr_table *t = v->msr;

    for (size_t n = 0; n < ARRAY_SIZE(stored_msrs); n++)
        t->stored[n] = stored_msrs[n].reset;
    memset(t->mc, 0, sizeof(t->mc));
    memset(t->mtrr_variable, 0, sizeof(t->mtrr_variable));
    memset(t->mtrr_fixed, 0, sizeof(t->mtrr_fixed));
    t->mtrr_deftype = t->debugctl = 0;
    t->patch_level = is_amd(v) ? 0x0a101148 : 0xffffffffull << 32;
    v->star = v->lstar = v->cstar = v->fmask = v->kernel_gs_base = 0;
    v->sysenter_cs = v->sysenter_esp = v->sysenter_eip = 0;
    v->tsc_aux = v->tsc_adjust = v->tsc_offset = v->xss = 0;
    v->pat = PAT_RESET;
    v->misc_enable = MISC_ENABLE_RESET | (vcpu_has(v, FEAT_MONITOR) ? MISC_ENABLE_MONITOR : 0);
}
