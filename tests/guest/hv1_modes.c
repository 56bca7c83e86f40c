/* SPDX-License-Identifier: MIT
 *
 * Hv#1 outside of 64-bit mode: a 32-bit image, paging off. Names begin with the test's ID in the
 * project's hv1-checklist, section 7.
 */
#include "lib/guest.h"

enum { GUEST_OS_ID = 0x40000000, HYPERCALL = 0x40000001, LOW_PAGE = 0x20000 };
enum { SUCCESS = 0, INVALID_CODE = 2, INVALID_INPUT = 3 };

/* In the 32-bit convention: control in EDX:EAX, input in EBX:ECX, output in EDI:ESI. */
static u64 call(u64 control, u64 input)
{
    u32 low = (u32)control, high = (u32)(control >> 32), ecx = (u32)input;

    asm volatile("call *%[page]"
                 : "+a"(low), "+d"(high), "+c"(ecx)
                 : "b"((u32)(input >> 32)), "S"(0), "D"(0), [page] "m"(*(u32[]){LOW_PAGE})
                 : "memory", "cc");
    return (u64)high << 32 | low;
}

SNIPPET(16, real_call, "mov $0x10008, %eax; xor %edx, %edx; lcallw $0x2000, $0");
SNIPPET(32, user_call, "mov $0x10008, %eax; xor %edx, %edx; call *%esi");

void guest_main(void)
{
    static u64 input[3] __attribute__((aligned(64)));
    volatile u8 *page = (volatile u8 *)LOW_PAGE;
    struct context c;

    memset((void *)LOW_PAGE, 0x5a, 4096);
    wrmsr(GUEST_OS_ID, 0x8100000000000001);
    wrmsr(HYPERCALL, LOW_PAGE | 1);
    check_eq(rdmsr(HYPERCALL), LOW_PAGE | 1, "H-13 the page is on");
    check_eq(call(0x10008, 1), SUCCESS, "H-13 protected mode: long spin wait");
    check_eq(call(0x1ffff, 1), INVALID_CODE, "H-13 a code that does not exist");
    check_eq(call(1ull << 60 | 0x10008, 1), INVALID_INPUT, "H-13 a reserved bit in EDX");
    input[1] = 1; /* all processors */
    check_eq(call(2, (u32)input), SUCCESS, "H-13 input in memory");
    check_eq(call(1ull << 32 | 3, (u32)input), 1ull << 32, "H-13 a list: reps done in EDX");
    c = context_flat(3);
    c.si = LOW_PAGE;
    context_at(&c, user_call);
    check_eq(c.vector, UD, "H-12 at CPL 3");
    check_eq(c.ip, LOW_PAGE, "H-12 in the page");
    real_start();
    c = context_real();
    real_run(&c, real_call, real_call_end, false);
    check_eq(c.vector, UD, "H-12 in real mode");
    check_eq(c.cs << 4, LOW_PAGE, "H-12 real mode: in the page");
    check_eq(c.ip, 0, "H-12 real mode: at its start");
    c = context_flat(3);
    c.flags |= FL_VM;
    c.cs = LOW_PAGE >> 4, c.ip = 0;
    c.ss = c.ds = c.es = c.fs = c.gs = 0;
    c.sp = REAL_STACK;
    context_run(&c);
    check_eq(c.vector, UD, "H-12 in virtual-8086 mode");
    check_eq(call(0x10008, 1), SUCCESS, "H-13 and protected mode again");
    wrmsr(HYPERCALL, 0);
    check(page[0] == 0x5a && page[4095] == 0x5a, "H-04 memory is back");
}
