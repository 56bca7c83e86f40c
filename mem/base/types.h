/* SPDX-License-Identifier: MIT
 *
 * The integer types, sizes and compiler attributes used in every file.
 *
 * Addresses are u64 and are told apart by name: gva/gla (guest linear), gpa (guest physical),
 * hva (host, always a pointer). Widths in bytes are called size, widths in bits end in _bits.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;
typedef unsigned __int128 u128;
typedef __int128 i128;

#define KIB(n)        ((u64)(n) << 10)
#define MIB(n)        ((u64)(n) << 20)
#define GIB(n)        ((u64)(n) << 30)

#define CACHE_LINE    64u /* of every x86-64 processor, guest or host */
#define PAGE_SHIFT    12
#define PAGE_SIZE     4096u
#define PAGE_MASK     (~(u64)(PAGE_SIZE - 1))

#define BIT(n)        (1ull << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define MUST_USE      __attribute__((warn_unused_result))
#define PRINTF(f, a)  __attribute__((format(printf, f, a)))
#define ALIGNED(n)    __attribute__((aligned(n)))
#define NORETURN      __attribute__((noreturn))
#define NOINLINE      __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define likely(x)     __builtin_expect(!!(x), 1)
#define unlikely(x)   __builtin_expect(!!(x), 0)
