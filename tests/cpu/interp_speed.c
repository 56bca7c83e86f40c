/* SPDX-License-Identifier: MIT
 *
 * Speed of the interpreter: a loop of register and memory integer instructions in long mode, in
 * millions of guest instructions a second. In optimised builds without sanitizers less than 50
 * fails.
 */
#include <stdio.h>
#include <time.h>

#include "tests/cpu/machine.h"

enum { ROUNDS = 5, INSNS = 5000000 };

/* A checksum over a table, as compilers write it: loads, stores, arithmetic, a call, branches. */
static const u8 loop[] = {
    0x48, 0xc7, 0xc6, 0x00, 0x00, 0x04, 0x00, /*        mov rsi, 0x40000 */
    0x31, 0xc9,                               /* outer: xor ecx, ecx */
    0x8b, 0x04, 0x8e,                         /* inner: mov eax, [rsi + rcx*4] */
    0x01, 0xc2,                               /*        add edx, eax */
    0x41, 0x89, 0xd0,                         /*        mov r8d, edx */
    0x41, 0xc1, 0xe0, 0x05,                   /*        shl r8d, 5 */
    0x44, 0x31, 0xc2,                         /*        xor edx, r8d */
    0x89, 0x94, 0x8e, 0x00, 0x10, 0x00, 0x00, /*        mov [rsi + rcx*4 + 0x1000], edx */
    0x83, 0xc1, 0x01,                         /*        add ecx, 1 */
    0xe8, 0x0a, 0x00, 0x00, 0x00,             /*        call leaf */
    0x81, 0xf9, 0x00, 0x01, 0x00, 0x00,       /*        cmp ecx, 256 */
    0x75, 0xda,                               /*        jne inner */
    0xeb, 0xd6,                               /*        jmp outer */
    0x48, 0x01, 0x16,                         /* leaf:  add [rsi], rdx */
    0xc3,                                     /*        ret */
};

static double seconds(void)
{
    struct timespec t;

    /* Processor time: what other programs take is not the interpreter's. */
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(void)
{
    struct machine m;
    double best = 0;

    machine_create(&m);
    machine_code(&m, loop, sizeof(loop));
    machine_start(&m, MACHINE_LONG);
    for (unsigned n = 0; n < ROUNDS; n++) {
        double start = seconds(), rate;

        if (machine_step(&m, INSNS) != EXIT_BUDGET) {
            printf("the loop ended at rip %lx, vector %d\n", m.v->rip, machine_vector(&m));
            return 1;
        }
        rate = INSNS / (seconds() - start) / 1e6;
        best = rate > best ? rate : best;
    }
    machine_destroy(&m);
    printf("interpreter: %.1f million instructions a second\n", best);
    return best < SPEED_MINIMUM;
}
