/* SPDX-License-Identifier: MIT
 *
 * Locked instructions that add one to their operand: the forms that both hammers try, the
 * bare-metal one (hammer.c) and Linux's (tests/boot/hammer.c). The includer has u8 to u64.
 */
#ifndef GUEST_LOCKED_FORMS_H
#define GUEST_LOCKED_FORMS_H

typedef void step_fn(volatile u8 *operand);

#define LOCKED_STEP(name, type, instruction)                                                       \
    static inline void name(volatile u8 *p)                                                        \
    {                                                                                              \
        asm volatile("lock " instruction : "+m"(*(type *)p)::"memory", "cc");                      \
    }
LOCKED_STEP(inc1, u8, "incb %0")
LOCKED_STEP(add2, u16, "addw $1, %0")
LOCKED_STEP(add4, u32, "addl $1, %0")
LOCKED_STEP(add8, u64, "addq $1, %0")
LOCKED_STEP(sub4, u32, "subl $-1, %0")
LOCKED_STEP(sub8, u64, "subq $-1, %0")

#define LOCKED_XADD(name, type)                                                                    \
    static inline void name(volatile u8 *p)                                                        \
    {                                                                                              \
        type one = 1;                                                                              \
        asm volatile("lock xadd %0, %1" : "+r"(one), "+m"(*(type *)p)::"memory", "cc");            \
    }
LOCKED_XADD(xadd1, u8)
LOCKED_XADD(xadd2, u16)
LOCKED_XADD(xadd4, u32)
LOCKED_XADD(xadd8, u64)

#define LOCKED_CMPXCHG(name, type)                                                                 \
    static inline void name(volatile u8 *p)                                                        \
    {                                                                                              \
        type old = *(volatile type *)p;                                                            \
        u8 done;                                                                                   \
        do                                                                                         \
            asm volatile("lock cmpxchg %3, %1"                                                     \
                         : "+a"(old), "+m"(*(type *)p), "=@ccz"(done)                              \
                         : "r"((type)(old + 1))                                                    \
                         : "memory");                                                              \
        while (!done);                                                                             \
    }
LOCKED_CMPXCHG(cmpxchg1, u8)
LOCKED_CMPXCHG(cmpxchg2, u16)
LOCKED_CMPXCHG(cmpxchg4, u32)
LOCKED_CMPXCHG(cmpxchg8, u64)

static inline void cmpxchg8b(volatile u8 *p)
{
    u64 old = *(volatile u64 *)p;
    u32 low = (u32)old, high = (u32)(old >> 32);
    u8 done;
    do {
        u64 next = ((u64)high << 32 | low) + 1;
        asm volatile("lock cmpxchg8b %2"
                     : "+a"(low), "+d"(high), "+m"(*(u64 *)p), "=@ccz"(done)
                     : "b"((u32)next), "c"((u32)(next >> 32))
                     : "memory");
    } while (!done);
}

/* The count is in both halves. */
static inline void cmpxchg16b(volatile u8 *p)
{
    u64 low = 0, high = 0;
    u8 done;
    do
        asm volatile("lock cmpxchg16b %2"
                     : "+a"(low), "+d"(high), "+m"(*(u8(*)[16])p), "=@ccz"(done)
                     : "b"(low + 1), "c"(high + 1)
                     : "memory");
    while (!done);
}

#endif
