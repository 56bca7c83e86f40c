// SPDX-License-Identifier: MIT
// Integer programs about the flow of control: calls and indirect jumps.
#include "bench.h"

__attribute__((noinline)) static u64 fibonacci(u64 n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((noinline)) static u64 ackermann(u64 m, u64 n)
{
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

__attribute__((noinline)) static u64 queens(u32 all, u32 columns, u32 left, u32 right)
{
    u64 found = columns == all;
    for (u32 free = all & ~(columns | left | right); free != 0;) {
        u32 place = free & -free;
        free ^= place;
        found += queens(all, columns | place, (left | place) << 1, (right | place) >> 1);
    }
    return found;
}

u64 bench_recursion(u64 count)
{
    u64 sum = 0;
    for (u64 round = 0; round < count; round++) {
        u64 f = fibonacci(21), a = ackermann(2, 60), q = queens(255, 0, 0, 0);
        expect(f == 10946 && a == 123 && q == 92, "the known results");
        sum += f + a + q;
    }
    return sum;
}

enum opcode { PUSH, LOAD, STORE, ADD, SUB, MUL, XOR, SHIFT, LESS, JUMP, JUMP_ZERO, HALT };

// Jumps from the end of each opcode's code to the next: one indirect jump per place.
static u64 interpret(const int *code, u64 *variables)
{
    static const void *const labels[] = {&&push, &&load,  &&store, &&add,  &&sub,       &&mul,
                                         &&xor_, &&shift, &&less,  &&jump, &&jump_zero, &&halt};
    u64 stack[16], *top = stack, steps = 0;
    const int *pc = code;
#define NEXT                                                                                       \
    do {                                                                                           \
        steps++;                                                                                   \
        goto *labels[*pc++];                                                                       \
    } while (0)
    NEXT;
push:
    *top++ = *pc++;
    NEXT;
load:
    *top++ = variables[*pc++];
    NEXT;
store:
    variables[*pc++] = *--top;
    NEXT;
add:
    top--;
    top[-1] += top[0];
    NEXT;
sub:
    top--;
    top[-1] -= top[0];
    NEXT;
mul:
    top--;
    top[-1] *= top[0];
    NEXT;
xor_:
    top--;
    top[-1] ^= top[0];
    NEXT;
shift:
    top[-1] >>= *pc++;
    NEXT;
less:
    top--;
    top[-1] = top[-1] < top[0];
    NEXT;
jump:
    pc = code + *pc;
    NEXT;
jump_zero:
    pc = *--top == 0 ? code + *pc : pc + 1;
    NEXT;
halt:
    return steps;
#undef NEXT
}

// x = 1; for (i = 0; i < 5000; i++) { x = (x * 13 + i) ^ (x >> 7); if (x < i) x = x - i; }
u64 bench_bytecode(u64 count)
{
    static const int code[] = {
        PUSH, 1,    STORE,     1,     PUSH, 0,     STORE, 0,    LOAD, 0,     PUSH,
        5000, LESS, JUMP_ZERO, 53,    LOAD, 1,     PUSH,  13,   MUL,  LOAD,  0,
        ADD,  LOAD, 1,         SHIFT, 7,    XOR,   STORE, 1,    LOAD, 1,     LOAD,
        0,    LESS, JUMP_ZERO, 44,    LOAD, 1,     LOAD,  0,    SUB,  STORE, 1,
        LOAD, 0,    PUSH,      1,     ADD,  STORE, 0,     JUMP, 8,    HALT,
    };
    u64 hash = HASH_START;
    for (u64 round = 0; round < count; round++) {
        u64 variables[2], x = 1, steps = interpret(code, variables);
        for (u64 i = 0; i < 5000; i++) {
            x = (x * 13 + i) ^ (x >> 7);
            if (x < i)
                x -= i;
        }
        expect(variables[0] == 5000 && variables[1] == x, "the interpreted result");
        hash = (hash ^ x ^ steps) * 0x100000001b3;
    }
    return hash;
}
