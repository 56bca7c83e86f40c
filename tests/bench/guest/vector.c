// SPDX-License-Identifier: MIT
// Vector programs: matrix products with SSE and AVX2, AES and SHA instructions.
#include <cpuid.h>
#include <immintrin.h>

#include "bench.h"

enum { N = 64 };

struct matrices {
    float a[N][N], b[N][N], c[N][N];
} __attribute__((aligned(64)));

static void require(int has, const char *what)
{
    if (has)
        return;
    fprintf(stderr, "this processor has no %s\n", what);
    exit(BENCH_UNSUPPORTED);
}

static void fill(struct matrices *m)
{
    u64 state = 9;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            m->a[i][j] = (float)(random_next(&state) >> 60);
            m->b[i][j] = (float)(random_next(&state) >> 60);
        }
}

// The elements are small whole numbers, so every order of sums gives the same.
static void check_product(const struct matrices *m, u64 count)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            float sum = 0;
            for (int k = 0; k < N; k++)
                sum += (m->a[i][k] + (float)((count - 1) & 15)) * m->b[k][j];
            expect(sum == m->c[i][j], "the product");
        }
}

u64 bench_matmul_sse(u64 count)
{
    static struct matrices m;
    fill(&m);
    for (u64 round = 0; round < count; round++) {
        __m128 plus = _mm_set1_ps((float)(round & 15));
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j += 8) {
                __m128 low = _mm_setzero_ps(), high = _mm_setzero_ps();
                for (int k = 0; k < N; k++) {
                    __m128 a = _mm_add_ps(_mm_load1_ps(&m.a[i][k]), plus);
                    low = _mm_add_ps(low, _mm_mul_ps(a, _mm_load_ps(&m.b[k][j])));
                    high = _mm_add_ps(high, _mm_mul_ps(a, _mm_load_ps(&m.b[k][j + 4])));
                }
                _mm_store_ps(&m.c[i][j], low);
                _mm_store_ps(&m.c[i][j + 4], high);
            }
    }
    check_product(&m, count);
    return hash_bytes(m.c, sizeof(m.c), HASH_START);
}

__attribute__((target("avx2,fma"))) static void multiply_avx2(struct matrices *m, u64 count)
{
    for (u64 round = 0; round < count; round++) {
        __m256 plus = _mm256_set1_ps((float)(round & 15));
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j += 16) {
                __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
                for (int k = 0; k < N; k++) {
                    __m256 a = _mm256_add_ps(_mm256_broadcast_ss(&m->a[i][k]), plus);
                    low = _mm256_fmadd_ps(a, _mm256_load_ps(&m->b[k][j]), low);
                    high = _mm256_fmadd_ps(a, _mm256_load_ps(&m->b[k][j + 8]), high);
                }
                _mm256_store_ps(&m->c[i][j], low);
                _mm256_store_ps(&m->c[i][j + 8], high);
            }
    }
}

u64 bench_matmul_avx2(u64 count)
{
    static struct matrices m;
    require(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), "AVX2 and FMA");
    fill(&m);
    multiply_avx2(&m, count);
    check_product(&m, count);
    return hash_bytes(m.c, sizeof(m.c), HASH_START);
}

#define AES_KEY(k, i, rcon)                                                                        \
    do {                                                                                           \
        __m128i t = _mm_shuffle_epi32(_mm_aeskeygenassist_si128((k)[(i)-1], rcon), 0xff);          \
        __m128i x = (k)[(i)-1];                                                                    \
        x = _mm_xor_si128(x, _mm_slli_si128(x, 4));                                                \
        x = _mm_xor_si128(x, _mm_slli_si128(x, 8));                                                \
        (k)[i] = _mm_xor_si128(x, t);                                                              \
    } while (0)

__attribute__((target("aes,sse4.1"))) static __m128i aes_encrypt(const __m128i *k, __m128i x)
{
    x = _mm_xor_si128(x, k[0]);
    for (int i = 1; i < 10; i++)
        x = _mm_aesenc_si128(x, k[i]);
    return _mm_aesenclast_si128(x, k[10]);
}

__attribute__((target("aes,sse4.1"))) static u64 aes_counter_mode(u64 count)
{
    __m128i k[11] = {_mm_set_epi32(0x0f0e0d0c, 0x0b0a0908, 0x07060504, 0x03020100)};
    AES_KEY(k, 1, 1);
    AES_KEY(k, 2, 2);
    AES_KEY(k, 3, 4);
    AES_KEY(k, 4, 8);
    AES_KEY(k, 5, 16);
    AES_KEY(k, 6, 32);
    AES_KEY(k, 7, 64);
    AES_KEY(k, 8, 128);
    AES_KEY(k, 9, 27);
    AES_KEY(k, 10, 54);
    u64 out[2];
    __m128i plain = _mm_set_epi32(0xffeeddcc, 0xbbaa9988, 0x77665544, 0x33221100);
    _mm_storeu_si128((__m128i *)out, aes_encrypt(k, plain));
    expect(out[0] == 0x30047b6ad8e0c469 && out[1] == 0x5ac5b47080b7cdd8, "AES (FIPS 197, C.1)");
    static __m128i data[256];
    for (u64 round = 0; round < count * 16; round++)
        for (u64 i = 0; i < 256; i += 2) {
            __m128i a = aes_encrypt(k, _mm_set_epi64x(round, i));
            __m128i b = aes_encrypt(k, _mm_set_epi64x(round, i + 1));
            data[i] = _mm_xor_si128(data[i], a);
            data[i + 1] = _mm_xor_si128(data[i + 1], b);
        }
    return hash_bytes(data, sizeof(data), HASH_START);
}

u64 bench_aes(u64 count)
{
    unsigned a, b, c = 0, d;
    __get_cpuid(1, &a, &b, &c, &d);
    require(c & bit_AES, "AES instructions");
    return aes_counter_mode(count);
}

static const u32 k256[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// SHA256RNDS2 wants the state as ABEF and CDGH, highest word first.
__attribute__((target("sha,sse4.1"))) static void sha_blocks(__m128i state[2], const __m128i *data,
                                                             size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef = state[0], cdgh = state[1];
    for (; blocks > 0; blocks--, data += 4) {
        __m128i abef0 = abef, cdgh0 = cdgh, w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128(data + i), swap);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i now = w[i & 3];
            if (i >= 4) {
                __m128i last = w[(i + 3) & 3], next = w[(i + 2) & 3];
                now = _mm_sha256msg1_epu32(now, w[(i + 1) & 3]);
                now = _mm_add_epi32(now, _mm_alignr_epi8(last, next, 4));
                now = w[i & 3] = _mm_sha256msg2_epu32(now, last);
            }
            now = _mm_add_epi32(now, ((const __m128i *)k256)[i]);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, now);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(now, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    state[0] = abef;
    state[1] = cdgh;
}

u64 bench_sha(u64 count)
{
    static u8 data[16384] __attribute__((aligned(16)));
    u32 a, b = 0, c, d;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    require(b >> 29 & 1, "SHA instructions");
    __m128i state[2] = {_mm_set_epi32(0x6a09e667, 0xbb67ae85, 0x510e527f, 0x9b05688c),
                        _mm_set_epi32(0x3c6ef372, 0xa54ff53a, 0x1f83d9ab, 0x5be0cd19)};
    u32 words[8];
    data[0] = 0x80;
    sha_blocks(state, (const __m128i *)data, 1);
    memcpy(words, state, sizeof(words));
    expect(words[3] == 0xe3b0c442 && words[4] == 0x7852b855, "SHA-256 of nothing (FIPS 180)");
    u64 seed = 3;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (u8)random_next(&seed);
    for (u64 round = 0; round < count; round++)
        sha_blocks(state, (const __m128i *)data, sizeof(data) / 64);
    return hash_bytes(state, sizeof(state), HASH_START);
}
