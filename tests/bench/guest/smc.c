// SPDX-License-Identifier: MIT
// Code that writes code: small functions are generated, run, and rewritten in place.
#include <sys/mman.h>

#include "bench.h"

typedef u32 (*generated)(u32);

// mov eax, edi; add eax, ADD; xor eax, XOR; imul eax, eax, 0x01000193; ret
static void emit(u8 *at, u32 add, u32 xor)
{
    static const u8 code[] = {0x89, 0xf8, 0x05, 0,    0,    0,    0,    0x35, 0,   0,
                              0,    0,    0x69, 0xc0, 0x93, 0x01, 0x00, 0x01, 0xc3};
    memcpy(at, code, sizeof(code));
    memcpy(at + 3, &add, 4);
    memcpy(at + 8, &xor, 4);
}

// 64 functions on one page. Each round writes one anew, changes an operand of another, and calls
// eight: as a program does that compiles at run time and patches what it has compiled.
u64 bench_smc(u64 count)
{
    enum { FUNCTIONS = 64, STEP = 64 };
    u8 *page = mmap(NULL, FUNCTIONS * STEP, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u32 add[FUNCTIONS], xor[FUNCTIONS], x = 1, want = 1;
    u64 state = 13;
    expect(page != MAP_FAILED, "a page that can be written and executed");
    for (int i = 0; i < FUNCTIONS; i++)
        emit(page + i * STEP, add[i] = i, xor[i] = ~i);
    for (u64 round = 0; round < count * 100; round++) {
        u64 r = random_next(&state);
        u32 fresh = r % FUNCTIONS, patched = (r >> 8) % FUNCTIONS;
        emit(page + fresh * STEP, add[fresh] = (u32)(r >> 16), xor[fresh] = (u32)(r >> 32));
        memcpy(page + patched * STEP + 8, &(u32){xor[patched] = (u32)(r >> 24)}, 4);
        for (u32 i = 0; i < 8; i++) {
            u32 f = (patched + i) % FUNCTIONS;
            x = ((generated)(void *)(page + f * STEP))(x);
            want = ((want + add[f]) ^ xor[f]) * 0x01000193;
        }
        expect(x == want, "the code that was written last is what runs");
    }
    munmap(page, FUNCTIONS * STEP);
    return x;
}
