// SPDX-License-Identifier: MIT
// Integer programs about data in memory: sort, hash map, sieve, linked list.
#include "bench.h"

static void quicksort(u32 *a, long low, long high)
{
    while (low < high) {
        u32 pivot = a[low + (high - low) / 2];
        long i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                u32 swap = a[i];
                a[i++] = a[j];
                a[j--] = swap;
            }
        }
        if (j - low < high - i) {
            quicksort(a, low, j);
            low = i;
        } else {
            quicksort(a, i, high);
            high = j;
        }
    }
}

static int compare(const void *a, const void *b)
{
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return (x > y) - (x < y);
}

// Half by its own quicksort, half by the library's qsort, which calls through a pointer.
u64 bench_sort(u64 count)
{
    enum { N = 1 << 14 };
    u32 *a = allocate(N * sizeof(*a)), *b = allocate(N * sizeof(*b));
    u64 state = 1, hash = HASH_START;
    for (u64 round = 0; round < count; round++) {
        for (int i = 0; i < N; i++)
            a[i] = b[i] = (u32)random_next(&state);
        quicksort(a, 0, N - 1);
        qsort(b, N, sizeof(*b), compare);
        expect(memcmp(a, b, N * sizeof(*a)) == 0, "both sorts agree");
        for (int i = 1; i < N; i++)
            expect(a[i - 1] <= a[i], "the order");
        hash = (hash ^ a[N / 2]) * 0x100000001b3;
    }
    free(a);
    free(b);
    return hash;
}

struct map {
    u64 *keys, *values;
    u64 mask;
};

static u64 map_slot(const struct map *m, u64 key)
{
    u64 slot = (key * 0x9e3779b97f4a7c15) >> 32 & m->mask;
    while (m->keys[slot] != 0 && m->keys[slot] != key)
        slot = (slot + 1) & m->mask;
    return slot;
}

// Open addressing, 4 MiB: inserts, then looks up keys of which half are there.
u64 bench_hashmap(u64 count)
{
    enum { SLOTS = 1 << 18, KEYS = SLOTS / 2 };
    struct map m = {allocate(SLOTS * 8), allocate(SLOTS * 8), SLOTS - 1};
    u64 hash = HASH_START;
    for (u64 round = 0; round < count; round++) {
        u64 state = round + 1, found = 0, sum = 0;
        memset(m.keys, 0, SLOTS * 8);
        for (u64 i = 0; i < KEYS; i++) {
            u64 key = random_next(&state) | 1, slot = map_slot(&m, key);
            m.keys[slot] = key;
            m.values[slot] = i;
        }
        state = round + 1;
        for (u64 i = 0; i < 2 * KEYS; i++) {
            u64 key = random_next(&state) | 1, slot = map_slot(&m, key);
            if (m.keys[slot] == key) {
                found++;
                sum += m.values[slot];
            }
        }
        expect(found == KEYS && sum == (u64)KEYS * (KEYS - 1) / 2, "every key is found");
        hash = (hash ^ m.keys[round & m.mask]) * 0x100000001b3;
    }
    free(m.keys);
    free(m.values);
    return hash;
}

u64 bench_sieve(u64 count)
{
    enum { N = 500000 };
    u8 *composite = allocate(N + 1);
    u64 total = 0;
    for (u64 round = 0; round < count; round++) {
        u64 primes = 0;
        memset(composite, 0, N + 1);
        for (u32 i = 2; i <= N; i++) {
            if (composite[i])
                continue;
            primes++;
            for (u64 j = (u64)i * i; j <= N; j += i)
                composite[j] = 1;
        }
        expect(primes == 41538, "the number of primes to 500,000");
        total += primes;
    }
    free(composite);
    return total;
}

struct node {
    struct node *next;
    u64 value, padding[6];
};

// A ring of 32768 nodes of 64 bytes in random order.
u64 bench_list(u64 count)
{
    enum { N = 1 << 15 };
    struct node *nodes = allocate(N * sizeof(*nodes));
    u32 *order = allocate(N * sizeof(*order));
    u64 state = 7, sum = 0;
    for (u32 i = 0; i < N; i++)
        order[i] = i;
    for (u32 i = N - 1; i > 0; i--) {
        u32 j = random_next(&state) % (i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (u32 i = 0; i < N; i++)
        nodes[order[i]] = (struct node){&nodes[order[(i + 1) % N]], i, {0}};
    const struct node *at = nodes;
    for (u64 i = 0; i < count * N; i++) {
        sum = sum * 3 + at->value;
        at = at->next;
    }
    expect(at == nodes, "the ring is closed");
    free(order);
    free(nodes);
    return sum;
}
