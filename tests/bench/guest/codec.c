// SPDX-License-Identifier: MIT
// Integer programs about bytes: SHA-256, LZ compression, string scanning.
#include "bench.h"

static u32 rotate(u32 x, int n)
{
    return x >> n | x << (32 - n);
}

static const u32 sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void sha_block(u32 h[8], const u8 *block)
{
    u32 w[64], s[8];
    for (int i = 0; i < 16; i++) {
        memcpy(&w[i], block + 4 * i, 4);
        w[i] = __builtin_bswap32(w[i]);
    }
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] +
               (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, sizeof(s));
    for (int i = 0; i < 64; i++) {
        u32 a = s[0], e = s[4];
        u32 t = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & s[5]) ^ (~e & s[6])) +
                sha_k[i] + w[i];
        u32 u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof(s[0]));
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

u64 bench_sha256(u64 count)
{
    u32 h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    u8 empty[64] = {0x80}, *data = allocate(65536);
    u64 state = 3;
    for (int i = 0; i < 65536; i++)
        data[i] = (u8)random_next(&state);
    sha_block(h, empty);
    expect(h[0] == 0xe3b0c442 && h[7] == 0x7852b855, "SHA-256 of nothing (FIPS 180)");
    for (u64 round = 0; round < count; round++)
        for (int at = 0; at < 65536; at += 64)
            sha_block(h, data + at);
    free(data);
    return (u64)h[0] << 32 | h[7];
}

// Words of a small vocabulary: text that compresses about as English does.
static void make_text(u8 *text, size_t size)
{
    u8 words[512][10];
    u64 state = 11;
    for (int i = 0; i < 512; i++) {
        int length = 2 + random_next(&state) % 7;
        for (int j = 0; j < length; j++)
            words[i][j] = "etaoinshrdlucmfwypvbgkjqxz"[random_next(&state) % 26 *
                                                       (random_next(&state) % 26) / 26];
        words[i][length] = ' ';
        words[i][length + 1] = 0;
    }
    for (size_t at = 0; at < size;) {
        u64 pick = random_next(&state);
        const u8 *word = words[(pick & 511) * (pick >> 9 & 511) / 511];
        while (*word && at < size)
            text[at++] = *word++;
        if ((pick >> 20) % 12 == 0 && at < size)
            text[at++] = '\n';
    }
}

enum { LZ_SIZE = 1 << 17, LZ_HASH = 1 << 14, LZ_MIN = 4, LZ_MAX = 255, LZ_DEPTH = 8 };

static u32 lz_hash(const u8 *p)
{
    u32 x;
    memcpy(&x, p, 4);
    return x * 2654435761u >> 18;
}

// Tokens: 0, byte: a literal; length, offset of two bytes: a match.
static size_t lz_compress(const u8 *in, size_t size, u8 *out, int *head, int *chain)
{
    size_t at = 0, n = 0;
    memset(head, -1, LZ_HASH * sizeof(*head));
    while (at < size) {
        size_t best = 0, offset = 0, limit = size - at < LZ_MAX ? size - at : LZ_MAX;
        if (limit >= LZ_MIN) {
            int candidate = head[lz_hash(in + at)];
            for (int i = 0; i < LZ_DEPTH && candidate >= 0 && at - candidate < 65536; i++) {
                size_t length = 0;
                while (length < limit && in[candidate + length] == in[at + length])
                    length++;
                if (length > best) {
                    best = length;
                    offset = at - candidate;
                }
                candidate = chain[candidate];
            }
        }
        size_t step = best >= LZ_MIN ? best : 1;
        out[n++] = best >= LZ_MIN ? best : 0;
        out[n++] = best >= LZ_MIN ? offset & 255 : in[at];
        if (best >= LZ_MIN)
            out[n++] = offset >> 8;
        for (size_t end = at + step; at < end; at++)
            if (at + 4 <= size) {
                u32 h = lz_hash(in + at);
                chain[at] = head[h];
                head[h] = at;
            }
    }
    return n;
}

static size_t lz_expand(const u8 *in, size_t size, u8 *out)
{
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        size_t length = in[at++], offset = in[at++];
        if (length == 0) {
            out[n++] = offset;
            continue;
        }
        offset |= (size_t)in[at++] << 8;
        for (size_t i = 0; i < length; i++, n++)
            out[n] = out[n - offset];
    }
    return n;
}

u64 bench_lz(u64 count)
{
    u8 *text = allocate(LZ_SIZE), *packed = allocate(2 * LZ_SIZE), *back = allocate(LZ_SIZE);
    int *head = allocate(LZ_HASH * sizeof(*head)), *chain = allocate(LZ_SIZE * sizeof(*chain));
    u64 hash = HASH_START;
    make_text(text, LZ_SIZE);
    for (u64 round = 0; round < count; round++) {
        text[random_next(&hash) % LZ_SIZE] ^= 1;
        size_t size = lz_compress(text, LZ_SIZE, packed, head, chain);
        expect(size < LZ_SIZE / 2, "compression by half");
        expect(lz_expand(packed, size, back) == LZ_SIZE, "the size after expansion");
        expect(memcmp(text, back, LZ_SIZE) == 0, "the text after expansion");
        hash ^= size;
    }
    free(text);
    free(packed);
    free(back);
    free(head);
    free(chain);
    return hash;
}

// Horspool's search.
static u64 occurrences(const u8 *text, size_t size, const u8 *word, size_t length)
{
    size_t skip[256];
    u64 found = 0;
    for (int i = 0; i < 256; i++)
        skip[i] = length;
    for (size_t i = 0; i + 1 < length; i++)
        skip[word[i]] = length - 1 - i;
    for (size_t at = 0; at + length <= size; at += skip[text[at + length - 1]])
        found += memcmp(text + at, word, length) == 0;
    return found;
}

// Counts lines, words and letters byte by byte, searches, and splits with the C library.
u64 bench_strings(u64 count)
{
    enum { SIZE = 1 << 17 };
    u8 *text = allocate(SIZE + 1);
    u64 hash = HASH_START;
    make_text(text, SIZE);
    text[SIZE] = 0;
    for (u64 round = 0; round < count; round++) {
        u64 lines = 0, words = 0, inside = 0, split = 0, letters[26] = {0};
        for (size_t i = 0; i < SIZE; i++) {
            u8 c = text[i];
            lines += c == '\n';
            if (c == ' ' || c == '\n') {
                inside = 0;
            } else {
                words += !inside;
                inside = 1;
                letters[c - 'a']++;
            }
        }
        for (const char *s = (char *)text; (s = strchr(s, '\n')) != NULL; s++)
            split++;
        expect(split == lines, "both ways to count lines agree");
        u64 found = occurrences(text, SIZE, text + round % 1000 * 64, 6);
        expect(found > 0, "a string that is there is found");
        hash = hash_bytes(letters, sizeof(letters), hash ^ lines << 20 ^ words ^ found << 40);
    }
    free(text);
    return hash;
}
