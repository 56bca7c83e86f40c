/* SPDX-License-Identifier: MIT
 *
 * Numbers of the specification, by the names that the TLFS gives them.
 */
#pragma once

#include "mem/base/types.h"

enum hv_msr {
    HV_X64_MSR_GUEST_OS_ID = 0x40000000,
    HV_X64_MSR_HYPERCALL = 0x40000001,
    HV_X64_MSR_VP_INDEX = 0x40000002,
    HV_X64_MSR_RESET = 0x40000003,
    HV_X64_MSR_VP_RUNTIME = 0x40000010,
    HV_X64_MSR_TIME_REF_COUNT = 0x40000020,
    HV_X64_MSR_REFERENCE_TSC = 0x40000021,
    HV_X64_MSR_TSC_FREQUENCY = 0x40000022,
    HV_X64_MSR_APIC_FREQUENCY = 0x40000023,
    HV_X64_MSR_EOI = 0x40000070,
    HV_X64_MSR_ICR = 0x40000071,
    HV_X64_MSR_TPR = 0x40000072,
    HV_X64_MSR_VP_ASSIST_PAGE = 0x40000073,
    HV_X64_MSR_SCONTROL = 0x40000080,
    HV_X64_MSR_SVERSION = 0x40000081,
    HV_X64_MSR_SIEFP = 0x40000082,
    HV_X64_MSR_SIMP = 0x40000083,
    HV_X64_MSR_EOM = 0x40000084,
    HV_X64_MSR_SINT0 = 0x40000090,
    HV_X64_MSR_SINT15 = 0x4000009f,
    HV_X64_MSR_STIMER0_CONFIG = 0x400000b0,
    HV_X64_MSR_STIMER3_COUNT = 0x400000b7,
    HV_X64_MSR_GUEST_IDLE = 0x400000f0,
    HV_X64_MSR_CRASH_P0 = 0x40000100,
    HV_X64_MSR_CRASH_P4 = 0x40000104,
    HV_X64_MSR_CRASH_CTL = 0x40000105,
    HV_X64_MSR_TSC_INVARIANT_CONTROL = 0x40000118,
    HV_X64_MSR_FIRST = 0x40000000,
    HV_X64_MSR_LAST = 0x400001ff,
};

/* Registers that place a page: 63:12 page number, 11:1 preserved. */
#define HV_PAGE_ENABLE      BIT(0)
#define HV_HYPERCALL_LOCKED BIT(1)

#define HV_CRASH_NOTIFY     BIT(63)
#define HV_CRASH_MESSAGE    BIT(62)

enum { HV_SINTS = 16, HV_STIMERS = 4 };
#define HV_SINT_VECTOR           0xffull
#define HV_SINT_MASKED           BIT(16)
#define HV_SINT_AUTO_EOI         BIT(17)
#define HV_SINT_POLLING          BIT(18)
#define HV_SINT_RESET            HV_SINT_MASKED

#define HV_STIMER_ENABLED        BIT(0)
#define HV_STIMER_PERIODIC       BIT(1)
#define HV_STIMER_LAZY           BIT(2)
#define HV_STIMER_AUTO_ENABLE    BIT(3)
#define HV_STIMER_DIRECT         BIT(12)
#define HV_STIMER_RESERVED       (~0xf1fffull)
#define HV_STIMER_VECTOR(config) ((u8)((config) >> 4))
#define HV_STIMER_SINT(config)   ((unsigned)((config) >> 16) & 0xf)

enum hv_status {
    HV_STATUS_SUCCESS = 0x0000,
    HV_STATUS_INVALID_HYPERCALL_CODE = 0x0002,
    HV_STATUS_INVALID_HYPERCALL_INPUT = 0x0003,
    HV_STATUS_INVALID_ALIGNMENT = 0x0004,
    HV_STATUS_INVALID_PARAMETER = 0x0005,
    HV_STATUS_ACCESS_DENIED = 0x0006,
    HV_STATUS_INVALID_PORT_ID = 0x0011,
    HV_STATUS_INVALID_CONNECTION_ID = 0x0012,
    HV_STATUS_INSUFFICIENT_BUFFERS = 0x0013,
    HV_STATUS_INVALID_SYNIC_STATE = 0x0018,
};

enum hv_call {
    HvFlushVirtualAddressSpace = 0x0002,
    HvFlushVirtualAddressList = 0x0003,
    HvNotifyLongSpinWait = 0x0008,
    HvSendSyntheticClusterIpi = 0x000b,
    HvFlushVirtualAddressSpaceEx = 0x0013,
    HvFlushVirtualAddressListEx = 0x0014,
    HvSendSyntheticClusterIpiEx = 0x0015,
    HvGetPartitionId = 0x0046,
    HvGetVpRegisters = 0x0050,
    HvSetVpRegisters = 0x0051,
    HvPostMessage = 0x005c,
    HvSignalEvent = 0x005d,
    HvPostDebugData = 0x0069,
    HvRetrieveDebugData = 0x006a,
    HvResetDebugSession = 0x006b,
    HvStartVirtualProcessor = 0x0099,
    HvGetVpIndexFromApicId = 0x009a,
    HvExtCallQueryCapabilities = 0x8001,
    HvExtCallGetBootZeroedMemory = 0x8002,
};

enum { HV_MESSAGE_PAYLOAD_MAX = 240, HV_MESSAGE_TIMER_EXPIRED = 0x80000010 };
enum { HV_MESSAGE_PENDING = 1 };

/* A slot of the SIM page (HV_MESSAGE). */
struct hv_message {
    u32 type; /* 0: empty */
    u8 payload_size;
    u8 flags;
    u16 reserved;
    u64 origin;
    u8 payload[HV_MESSAGE_PAYLOAD_MAX];
};
static_assert(sizeof(struct hv_message) == 256, "TLFS HV_MESSAGE");

struct hv_timer_payload {
    u32 index;
    u32 reserved;
    u64 expiration; /* when it was due, 100 ns */
    u64 delivery;   /* when it was put into the slot */
};

struct hv_reference_tsc {
    u32 sequence;
    u32 reserved;
    u64 scale;
    i64 offset;
};
