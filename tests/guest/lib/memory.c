/* SPDX-License-Identifier: MIT
 *
 * What the compiler needs of libc, pages for tests, and the page tables of 64-bit images.
 */
#include "guest.h"

void *memset(void *to, int value, ulong size)
{
    void *at = to;

    asm volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, ulong size)
{
    void *at = to;

    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size)::"memory");
    return to;
}

int memcmp(const void *a, const void *b, ulong size)
{
    for (ulong i = 0; i < size; i++)
        if (((const u8 *)a)[i] != ((const u8 *)b)[i])
            return ((const u8 *)a)[i] - ((const u8 *)b)[i];
    return 0;
}

extern const u32 boot_info;

bool guest_option(const char *word)
{
    enum { HAS_COMMAND_LINE = 1 << 2 };
    const u32 *info = (const u32 *)(ulong)boot_info;
    const char *at;

    if (!(info[0] & HAS_COMMAND_LINE))
        return false;
    for (at = (const char *)(ulong)info[4]; *at != 0; at++) {
        ulong same = 0;

        while (word[same] != 0 && at[same] == word[same])
            same++;
        if (word[same] == 0)
            return true;
    }
    return false;
}

void *page_alloc(void)
{
    static ulong next = 16 << 20;
    void *page = (void *)next;

    next += 4096;
    return memset(page, 0, 4096);
}

#ifdef __x86_64__
static const u64 FRAME_MASK = 0x000ffffffffff000;

u64 *page_entry(ulong va, u32 level)
{
    u64 *table = (u64 *)(read_cr3() & FRAME_MASK);

    for (u32 at = 4;; at--) {
        u64 *entry = &table[va >> (3 + 9 * at) & 511];

        if (at == level)
            return entry;
        if (!(*entry & PTE_P) || (*entry & PTE_PS))
            return NULL;
        table = (u64 *)(*entry & FRAME_MASK);
    }
}

/* A missing level is made; a large page is replaced by a table that says the same. */
static void add_level(u64 *entry, u32 level)
{
    u64 old = *entry, *table = page_alloc();

    if ((old & PTE_P) && (old & PTE_PS)) {
        u64 step = 1ull << (12 + 9 * (level - 2));

        for (u32 i = 0; i < 512; i++)
            table[i] = (level == 2 ? old & ~(u64)PTE_PS : old) + i * step;
    }
    *entry = (u64)table | PTE_P | PTE_W | PTE_U;
}

u64 *page_map(ulong va, u64 value)
{
    u64 *entry;

    for (u32 level = 4; level > 1; level--) {
        entry = page_entry(va, level);
        if (!(*entry & PTE_P) || (*entry & PTE_PS))
            add_level(entry, level);
    }
    entry = page_entry(va, 1);
    *(volatile u64 *)entry = value;
    invlpg(va);
    return entry;
}
#endif
