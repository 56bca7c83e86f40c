/* SPDX-License-Identifier: MIT
 *
 * Register numbers and architectural bits, with the names of the SDM and APM.
 */
#pragma once

#include "mem/base/types.h"

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* In the order of the sreg field of instructions; the two system segments follow. */
enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

enum rflags {
    F_CF = 1u << 0,
    F_1 = 1u << 1, /* always set */
    F_PF = 1u << 2,
    F_AF = 1u << 4,
    F_ZF = 1u << 6,
    F_SF = 1u << 7,
    F_TF = 1u << 8,
    F_IF = 1u << 9,
    F_DF = 1u << 10,
    F_OF = 1u << 11,
    F_IOPL = 3u << 12,
    F_NT = 1u << 14,
    F_RF = 1u << 16,
    F_VM = 1u << 17,
    F_AC = 1u << 18,
    F_VIF = 1u << 19,
    F_VIP = 1u << 20,
    F_ID = 1u << 21,
};
#define F_IOPL_SHIFT 12
#define F_OSZAPC     (F_OF | F_SF | F_ZF | F_AF | F_PF | F_CF)
#define F_OSZAP      (F_OF | F_SF | F_ZF | F_AF | F_PF)
#define F_OSZPC      (F_OF | F_SF | F_ZF | F_PF | F_CF)
#define F_ALL        0x3f7fd7u /* every defined bit */

enum cr0 {
    CR0_PE = 1u << 0,
    CR0_MP = 1u << 1,
    CR0_EM = 1u << 2,
    CR0_TS = 1u << 3,
    CR0_ET = 1u << 4,
    CR0_NE = 1u << 5,
    CR0_WP = 1u << 16,
    CR0_AM = 1u << 18,
    CR0_NW = 1u << 29,
    CR0_CD = 1u << 30,
    CR0_PG = 1u << 31,
};

enum cr4 {
    CR4_VME = 1u << 0,
    CR4_PVI = 1u << 1,
    CR4_TSD = 1u << 2,
    CR4_DE = 1u << 3,
    CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5,
    CR4_MCE = 1u << 6,
    CR4_PGE = 1u << 7,
    CR4_PCE = 1u << 8,
    CR4_OSFXSR = 1u << 9,
    CR4_OSXMMEXCPT = 1u << 10,
    CR4_UMIP = 1u << 11,
    CR4_LA57 = 1u << 12,
    CR4_FSGSBASE = 1u << 16,
    CR4_PCIDE = 1u << 17,
    CR4_OSXSAVE = 1u << 18,
    CR4_SMEP = 1u << 20,
    CR4_SMAP = 1u << 21,
    CR4_PKE = 1u << 22,
};

enum efer {
    EFER_SCE = 1u << 0,
    EFER_LME = 1u << 8,
    EFER_LMA = 1u << 10,
    EFER_NXE = 1u << 11,
    EFER_SVME = 1u << 12,
    EFER_LMSLE = 1u << 13,
    EFER_FFXSR = 1u << 14,
};

enum xcr0 {
    XCR0_X87 = 1u << 0,
    XCR0_SSE = 1u << 1,
    XCR0_AVX = 1u << 2,
    XCR0_OPMASK = 1u << 5,
    XCR0_ZMM_HI256 = 1u << 6,
    XCR0_HI16_ZMM = 1u << 7,
    XCR0_PKRU = 1u << 9,
    XCR0_AVX512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM,
};

enum dr6 {
    DR6_B = 0xfu,
    DR6_BD = 1u << 13,
    DR6_BS = 1u << 14,
    DR6_BT = 1u << 15,
    DR6_FIXED = 0xffff0ff0u,
};
enum dr7 {
    DR7_FIXED = 1u << 10,
    DR7_GD = 1u << 13,
    DR7_ENABLED = 0xffu,
    DR7_LE = 1u << 8,
    DR7_GE = 1u << 9
};

enum vector {
    VEC_DE = 0,
    VEC_DB = 1,
    VEC_NMI = 2,
    VEC_BP = 3,
    VEC_OF = 4,
    VEC_BR = 5,
    VEC_UD = 6,
    VEC_NM = 7,
    VEC_DF = 8,
    VEC_TS = 10,
    VEC_NP = 11,
    VEC_SS = 12,
    VEC_GP = 13,
    VEC_PF = 14,
    VEC_MF = 16,
    VEC_AC = 17,
    VEC_MC = 18,
    VEC_XM = 19,
};

/* Segment attributes: descriptor bits 40-47 and 52-55 in place, as in the VMCS access-rights field.
 */
enum seg_attr {
    ATTR_TYPE = 0xfu,
    ATTR_ACCESSED = 1u << 0,
    ATTR_WRITE = 1u << 1,       /* data: writable; code: readable */
    ATTR_EXPAND_DOWN = 1u << 2, /* data: expand-down; code: conforming */
    ATTR_CODE = 1u << 3,
    ATTR_S = 1u << 4, /* 1 = code or data, 0 = system */
    ATTR_DPL = 3u << 5,
    ATTR_P = 1u << 7,
    ATTR_AVL = 1u << 12,
    ATTR_L = 1u << 13,
    ATTR_DB = 1u << 14,
    ATTR_G = 1u << 15,
    ATTR_NULL = 1u << 16, /* unusable: a null selector was loaded */
};
#define ATTR_DPL_SHIFT 5

enum { SYS_BUSY = 2 }; /* what makes an available TSS's type a busy one's */

/* System descriptor types (S = 0), SDM 3A table 3-2. */
enum sys_type {
    SYS_TSS16 = 1,
    SYS_LDT = 2,
    SYS_TSS16_BUSY = 3,
    SYS_CALL_GATE16 = 4,
    SYS_TASK_GATE = 5,
    SYS_INT_GATE16 = 6,
    SYS_TRAP_GATE16 = 7,
    SYS_TSS = 9,
    SYS_TSS_BUSY = 11,
    SYS_CALL_GATE = 12,
    SYS_INT_GATE = 14,
    SYS_TRAP_GATE = 15,
};
