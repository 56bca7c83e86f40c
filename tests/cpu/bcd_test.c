/* SPDX-License-Identifier: MIT
 *
 * DAA, DAS, AAA, AAS, AAM, AAD. 64-bit mode has none of them, so the host runs them in a 32-bit
 * code segment, which Linux offers to every process; flags that the manuals leave undefined are
 * compared on AMD hosts only.
 */
#include <check.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cpu/body.h"
#include "tests/suite.h"

enum { USER32_CS = 0x23, USER_DS = 0x2b, REGS = 0x800, FAR_POINTER = 0x810, ENTRY = 0x900 };

static u8 *page; /* below 4 GiB */

static void setup(void)
{
    machine_create(&machine);
    machine_start(&machine, MACHINE_PROT32);
    page = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    ck_assert_ptr_ne(page, MAP_FAILED);
}

static void teardown(void)
{
    munmap(page, 2 * PAGE_SIZE);
    machine_destroy(&machine);
}

static u8 *put(u8 *p, const void *bytes, size_t size)
{
    memcpy(p, bytes, size);
    return p + size;
}

/* 32-bit: load EAX and the flags, run the bytes, store them, return far. 64-bit at ENTRY: call it
 * and go back to the address in RBX. */
static void host_prepare(const u8 *bytes, unsigned size)
{
    u32 regs = (u32)(u64)page + REGS, flags = regs + 4, pointer = (u32)(u64)page + FAR_POINTER;
    u32 code = (u32)(u64)page;
    u16 cs = USER32_CS;
    u8 *p = page;

    p = put(put(p, "\xa1", 1), &regs, 4);
    p = put(put(put(p, "\xff\x35", 2), &flags, 4), "\x9d", 1);
    p = put(p, bytes, size);
    p = put(put(p, "\x9c\x8f\x05", 3), &flags, 4);
    p = put(put(p, "\xa3", 1), &regs, 4);
    put(p, "\xcb", 1);
    put(put(page + FAR_POINTER, &code, 4), &cs, 2);
    put(put(put(page + ENTRY, "\xff\x1c\x25", 3), &pointer, 4), "\xff\xe3", 2);
}

/* Runs what host_prepare() left. */
static void host_run(u32 *eax, u32 *rflags)
{
    u64 stack = (u64)page + 2 * PAGE_SIZE - 64;

    memcpy(page + REGS, eax, 4);
    memcpy(page + REGS + 4, rflags, 4);
    asm volatile("sub $256, %%rsp\n\t"
                 "push %%rbx\n\t"
                 "push %%rbp\n\t"
                 "mov %%rsp, %%rbp\n\t"
                 "lea 1f(%%rip), %%rbx\n\t"
                 "mov %%edx, %%ds\n\t"
                 "mov %1, %%rsp\n\t"
                 "jmp *%0\n"
                 "1:\n\t"
                 "mov %%rbp, %%rsp\n\t"
                 "pop %%rbp\n\t"
                 "pop %%rbx\n\t"
                 "add $256, %%rsp"
                 :
                 : "D"(page + ENTRY), "S"(stack), "d"(USER_DS)
                 : "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
                   "cc");
    memcpy(eax, page + REGS, 4);
    memcpy(rflags, page + REGS + 4, 4);
}

/* A kernel without 32-bit segments ends the process that tries. */
static bool host_can(void)
{
    u32 eax = 0, rflags = F_1;
    int status = 1;
    pid_t child;

    host_prepare((const u8[]){0x90}, 1);
    child = fork();
    if (!child) {
        host_run(&eax, &rflags);
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static u32 compared_flags(u32 undefined)
{
    __builtin_cpu_init();
    return F_OSZAPC & ~(__builtin_cpu_is("amd") ? 0 : undefined);
}

static void try_one(const u8 *bytes, unsigned size, u32 ax, u32 flags, u32 mask)
{
    struct vcpu *v = machine.v;
    u32 host_ax = ax | 0x12340000, host_flags = flags | F_1;

    v->gpr[RAX] = host_ax;
    v->rflags = host_flags;
    host_run(&host_ax, &host_flags);
    ck_assert(body_run(&machine, bytes, size));
    ck_assert_msg(v->gpr[RAX] == host_ax && !((v->rflags ^ host_flags) & mask),
                  "%02x with AX %04x flags %03x: host %08x %03x guest %08lx %03lx", bytes[0], ax,
                  flags, host_ax, host_flags, v->gpr[RAX], v->rflags);
}

START_TEST(adjustments)
{
    static const struct {
        u8 opcode;
        u32 undefined;
    } cases[] = {{0x27, F_OF},
                 {0x2f, F_OF},
                 {0x37, F_OF | F_SF | F_ZF | F_PF},
                 {0x3f, F_OF | F_SF | F_ZF | F_PF}};

    if (!host_can())
        return;
    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        host_prepare(&cases[n].opcode, 1);
        for (u32 ax = 0; ax < 0x10000; ax += ax & 0xff00 ? 3 : 1) {
            u32 flags = (ax * 7 >> 3 & 1 ? F_CF : 0) | (ax * 5 >> 2 & 1 ? F_OF | F_SF : 0);

            try_one(&cases[n].opcode, 1, ax, flags, compared_flags(cases[n].undefined));
            try_one(&cases[n].opcode, 1, ax, flags ^ F_AF, compared_flags(cases[n].undefined));
            try_one(&cases[n].opcode, 1, ax, flags ^ F_CF, compared_flags(cases[n].undefined));
        }
    }
}
END_TEST

START_TEST(multiply_and_divide)
{
    const u32 mask = compared_flags(F_OF | F_AF | F_CF);

    if (!host_can())
        return;
    for (unsigned n = 0; n < 2; n++) {
        for (u32 base = 1; base < 256; base += base < 20 ? 1 : 37) {
            u8 bytes[2] = {(u8)(0xd4 + n), (u8)base};

            host_prepare(bytes, 2);
            for (u32 ax = 0; ax < 0x10000; ax += 61)
                try_one(bytes, 2, ax, ax & 1 ? F_OSZAPC : 0, mask);
        }
    }
}
END_TEST

START_TEST(aam_by_zero)
{
    machine.v->gpr[RAX] = 0x1234;
    ck_assert(!BODY(&machine, 0xd4, 0x00));
    ck_assert_int_eq(body_fault(&machine), VEC_DE);
    ck_assert_uint_eq(machine.v->gpr[RAX], 0x1234);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/bcd");
    TCase *tests = tcase_create("bcd");

    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, adjustments);
    tcase_add_test(tests, multiply_and_divide);
    tcase_add_test(tests, aam_by_zero);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
