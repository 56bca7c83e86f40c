/* SPDX-License-Identifier: MIT
 *
 * The host code of common instructions and blocks, compared with files, so that a change of the
 * code shows as a difference that a person can read.
 *
 *   golden FILE...            compares; prints what differs
 *   golden --rebase FILE...   writes the files anew
 *
 * A line "== 64 HEX" (or 32, or "user", or "real", "prot16", "seg32": 32-bit code with segments
 * that are not flat) is a block of guest code; what follows it is what became of it. HEX may have a
 * '|' where a page begins. What varies between runs is named: addresses in the block (L+n), common
 * code, places in the vCPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit/internal.h"
#include "machine/disassemble.h"
#include "tests/cpu/machine.h"

enum { LINE = 512, BLOCK_MAX = 128 };

struct golden {
    struct machine m;
    struct jit *j;
    const struct jit_block *block;
    FILE *out;
};

/* -- names -- */

struct place {
    size_t at, size;
    const char *name;
};
#define PLACE(member, name)                                                                        \
    {                                                                                              \
        offsetof(struct vcpu, member), sizeof(((struct vcpu *)0)->member), name                    \
    }

/* The more exact first. */
static const struct place places[] = {
    PLACE(gpr[R9], "r9"),
    PLACE(gpr[R10], "r10"),
    PLACE(gpr[R11], "r11"),
    PLACE(rip, "rip"),
    PLACE(rflags, "rflags"),
    PLACE(events, "events"),
    PLACE(cpl, "cpl"),
    PLACE(seg[SEG_ES].base, "es.base"),
    PLACE(seg[SEG_ES].attr, "es.attr"),
    PLACE(seg[SEG_ES].selector, "es.selector"),
    PLACE(seg[SEG_CS].base, "cs.base"),
    PLACE(seg[SEG_CS].selector, "cs.selector"),
    PLACE(seg[SEG_SS].base, "ss.base"),
    PLACE(seg[SEG_DS].base, "ds.base"),
    PLACE(seg[SEG_DS].attr, "ds.attr"),
    PLACE(seg[SEG_DS].selector, "ds.selector"),
    PLACE(seg[SEG_FS].base, "fs.base"),
    PLACE(seg[SEG_GS].base, "gs.base"),
    PLACE(kernel_gs_base, "kernel_gs_base"),
    PLACE(cr4, "cr4"),
    PLACE(fpu, "fpu"),
    PLACE(jit.entry, "entry"),
    PLACE(jit.target, "target"),
    PLACE(jit.left, "left"),
    PLACE(jit.link, "link"),
    PLACE(jit.slot, "slot"),
    PLACE(jit.cache, "cache"),
    PLACE(jit.seen, "seen"),
    PLACE(jit.attention, "attention"),
    PLACE(jit.return_limit, "return_limit"),
    PLACE(jit.vectors, "vectors"),
    PLACE(jit.flags, "flags"),
    PLACE(jit.x87, "x87"),
    PLACE(jit.bound[SEG_ES], "es.bound"),
    PLACE(jit.bound[SEG_CS], "cs.bound"),
    PLACE(jit.bound[SEG_SS], "ss.bound"),
    PLACE(jit.bound[SEG_DS], "ds.bound"),
    PLACE(jit.bound[SEG_FS], "fs.bound"),
    PLACE(jit.bound[SEG_GS], "gs.bound"),
    PLACE(jit.x87_insn, "x87_insn"),
    PLACE(jit.x87_data, "x87_data"),
    PLACE(jit.x87_fdp, "x87_fdp"),
    PLACE(tlb.tables[0].read_tag, "tlb.read"),
    PLACE(tlb.tables[0].write_tag, "tlb.write"),
    PLACE(tlb.tables[0].exec_place, "tlb.exec"),
    PLACE(tlb.tables[0].page, "tlb.page"),
    PLACE(tlb.tables[0].stack_tag, "tlb.stack"),
    PLACE(tlb.tables[0].stack_distance, "tlb.stack_distance"),
    PLACE(tlb.tables[1].read_tag, "user.read"),
    PLACE(tlb.tables[1].write_tag, "user.write"),
    PLACE(tlb.tables[1].exec_place, "user.exec"),
    PLACE(tlb.tables[1].page, "user.page"),
    PLACE(tlb.tables[1].stack_tag, "user.stack"),
    PLACE(tlb.tables[1].stack_distance, "user.stack_distance"),
};

static bool vcpu_name(u64 at, char *text)
{
    for (size_t n = 0; n < ARRAY_SIZE(places); n++)
        if (at - places[n].at < places[n].size) {
            if (at == places[n].at)
                sprintf(text, "%s", places[n].name);
            else
                sprintf(text, "%s+%lu", places[n].name, at - places[n].at);
            return true;
        }
    return false;
}

static bool inside(u64 value, const void *base, u64 size)
{
    return value - (u64)base < size;
}

/* An address of this process as something that does not vary. */
static bool host_name(const struct golden *g, u64 value, char *text)
{
    const struct jit *j = g->j;
    const struct {
        u64 at;
        const char *name;
    } common[] = {{j->exit_lookup, "exit_lookup"},
                  {j->exit_at[0], "exit_at"},
                  {j->exit_at[1], "exit_at_flags"},
                  {j->leave_at[0], "leave_at"},
                  {j->leave_at[1], "leave_at_flags"},
                  {j->exit_link[0], "exit_link"},
                  {j->exit_link[1], "exit_link_flags"},
                  {j->exec, "exec"},
                  {j->miss[0][0], "miss_read"},
                  {j->miss[0][1], "miss_write"},
                  {j->miss_stack[0][0], "miss_stack_read"},
                  {j->miss_stack[0][1], "miss_stack_write"},
                  {j->miss_site[0], "miss_site_read"},
                  {j->miss_site[1], "miss_site_write"},
                  {j->fill[0], "fill_read"},
                  {j->fill[1], "fill_write"},
                  {j->miss_exec, "miss_exec"},
                  {j->miss_exec_flags, "miss_exec_flags"},
                  {j->load_vectors, "load_vectors"},
                  {j->load_x87, "load_x87"},
                  {j->return_lost, "return_lost"},
                  {j->return_full, "return_full"}};

    for (size_t n = 0; n < ARRAY_SIZE(common); n++)
        if (value == common[n].at)
            return sprintf(text, "%s", common[n].name) > 0;
    if (value - g->block->code < g->block->code_size)
        return sprintf(text, "L+%lu", value - g->block->code) > 0;
    if (inside(value, j->code + j->delta, j->code_size))
        return sprintf(text, "code") > 0;
    if (inside(value, j->arena, j->arena_size))
        return sprintf(text, "arena") > 0;
    if (inside(value, g->m.ram.hva, g->m.ram.size))
        return sprintf(text, "ram+0x%lx", value - (u64)g->m.ram.hva) > 0;
    return false;
}

/* What lies at an offset in the arena, for stubs, or NULL. */
static const char *arena_name(const struct golden *g, u64 offset)
{
    const struct jit_block *b = g->block;
    const u8 *at = g->j->arena + offset;

    for (const struct jit_link *link = b->exits; link; link = link->sibling)
        if (at == (const u8 *)link)
            return "link";
    return inside((u64)at, b->insns, b->count * sizeof(*b->insns)) ? "insn" : NULL;
}

/* A line that hands such an offset to a stub; false: it is another one. */
static bool put_offset(const struct golden *g, const char *text)
{
    const char *name;
    u64 offset;
    int to;

    if (!strncmp(text, "push 0x", 7)) /* nothing else is pushed */
        return fprintf(g->out, "push miss\n") > 0;
    if (sscanf(text, "mov r9d, %n0x%lx", &to, &offset) != 1 &&
        sscanf(text, "mov r10d, %n0x%lx", &to, &offset) != 1)
        return false;
    name = arena_name(g, offset);
    return name && fprintf(g->out, "%.*s%s\n", to, text, name) > 0;
}

/* What lies at an address relative to RIP: the member of a site. */
static void put_site(const struct golden *g, u64 address)
{
    static const char *const members[] = {"tag", "page", "distance"};
    u64 offset = address - (u64)g->j->sites;

    fprintf(g->out, "site%lu.%s", offset / sizeof(*g->j->sites),
            members[offset % sizeof(*g->j->sites) / 8]);
}

/* Copies a line of disassembly with names for numbers. end: where its instruction ends. */
static void put_named(const struct golden *g, const char *text, u64 end_address)
{
    bool gs = strstr(text, "gs:[") != NULL;
    char name[64];

    if (put_offset(g, text))
        return;
    while (*text) {
        char *end;
        u64 value;

        if (!strncmp(text, "rip + 0x", 8)) {
            put_site(g, end_address + strtoull(text + 6, &end, 16));
            text = end;
            continue;
        }
        if (strncmp(text, "0x", 2)) {
            fputc(*text++, g->out);
            continue;
        }
        value = strtoull(text, &end, 16);
        if (host_name(g, value, name) || (gs && vcpu_name(value, name)))
            fputs(name, g->out);
        else
            fwrite(text, 1, (size_t)(end - text), g->out);
        gs &= *end != ']'; /* immediates are numbers */
        text = end;
    }
    fputc('\n', g->out);
}

/* -- one block -- */

static void put_host(const struct golden *g, u64 from, u64 to)
{
    char text[LINE];

    while (from < to) {
        unsigned length = g->j->options.disassemble(8, (const u8 *)(from - g->j->delta), to - from,
                                                    from, text, sizeof(text));

        if (!length) { /* Capstone 4 does not know all of AVX-512 */
            length = 1;
            snprintf(text, sizeof(text), "db %02x", *(const u8 *)(from - g->j->delta));
        }
        fprintf(g->out, "  %4lu  ", from - g->block->code);
        from += length;
        put_named(g, text, from);
    }
}

static void put_block(const struct golden *g, unsigned code_size)
{
    const struct jit_block *b = g->block;
    char text[LINE];

    put_host(g, b->code, b->code + b->insns[0].host);
    for (unsigned n = 0; n < b->count; n++) {
        const struct insn *i = &b->insns[n].insn;
        u32 to = n + 1u < b->count ? b->insns[n + 1].host : b->inline_size;

        if (!machine_disassemble(code_size, i->bytes, i->len, b->insns[n].rip, text, sizeof(text)))
            insn_describe(i, text, sizeof(text));
        fprintf(g->out, "%s\n", text);
        put_host(g, b->code + b->insns[n].host, b->code + to);
    }
    fprintf(g->out, "out of line\n");
    put_host(g, b->code + b->inline_size, b->code + b->code_size);
}

/* What a block is translated for, with everything switched on. */
static const struct kind {
    const char *name;
    enum machine_mode start;
    unsigned code_size;
    u32 mode;
} kinds[] = {
    {"64", MACHINE_LONG, 8, MODE_PROTECTED | MODE_CODE64},
    {"user", MACHINE_USER64, 8, MODE_PROTECTED | MODE_CODE64 | TLB_USER << MODE_CONTEXT_SHIFT},
    {"window", MACHINE_USER64, 8,
     MODE_PROTECTED | MODE_CODE64 | TLB_USER << MODE_CONTEXT_SHIFT | MODE_WINDOW},
    {"32", MACHINE_PROT32, 4, MODE_PROTECTED},
    {"real", MACHINE_REAL, 2, MODE_CODE16 | MODE_STACK16 | MODE_SEGMENTED},
    {"prot16", MACHINE_PROT16, 2, MODE_PROTECTED | MODE_CODE16 | MODE_STACK16 | MODE_SEGMENTED},
    {"seg32", MACHINE_PROT32, 4, MODE_PROTECTED | MODE_SEGMENTED},
};

/* Translates guest code; it does not run. It lies at the end of a page but for what is behind edge.
 */
static void one_block(FILE *out, const struct kind *kind, const u8 *code, size_t size, size_t edge)
{
    const u64 at = MACHINE_CODE + (edge < size ? PAGE_SIZE - edge : 0);
    /* Without what only some hosts can do. */
    const struct jit_options options = {.optimisations = JIT_ALL & ~(u64)JIT_SCAN,
                                        .sole = kind->mode & MODE_WINDOW,
                                        .listed = true,
                                        .disassemble = machine_disassemble};
    struct error err = {""};
    const u32 simd = MODE_SSE | MODE_AVX | MODE_AVX512 | MODE_X87;
    u32 mode = kind->mode | simd;
    struct golden g = {.out = out};

    machine_create(&g.m);
    check(!jit_create(g.m.v, &options, &err), "%s", err.text);
    machine_start(&g.m, kind->start);
    machine_put(&g.m, at, code, size);
    machine_put(&g.m, at + size, "\xf4", 1); /* hlt */
    g.m.v->rip += at - MACHINE_CODE;
    g.j = g.m.v->jit.owner;
    if (kind->code_size == 2) /* the number of the code segment */
        mode |= jit_segment_mode(g.j, g.m.v);
    g.block = jit_translate(g.j, at, mode);
    check(g.block, "no code");
    put_block(&g, kind->code_size);
    jit_destroy(g.m.v);
    machine_destroy(&g.m);
}

/* -- files -- */

/* *edge: how many of them are before the '|', or BLOCK_MAX. */
static size_t hex_bytes(const char *hex, u8 *bytes, size_t *edge)
{
    size_t size = 0;
    unsigned byte;

    *edge = BLOCK_MAX;
    for (; size < BLOCK_MAX && sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        bytes[size++] = (u8)byte;
        if (hex[2] == '|') {
            *edge = size;
            hex++;
        }
    }
    return size;
}

/* The file as it should be; the caller frees it. */
static char *made_anew(FILE *file)
{
    char line[LINE], hex[2 * BLOCK_MAX + 1], *text = NULL;
    u8 bytes[BLOCK_MAX];
    size_t size, length, edge;
    char name[8];
    FILE *out = open_memstream(&text, &size);

    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "== %7s %256s", name, hex) != 2)
            continue;
        for (size_t n = 0; n < ARRAY_SIZE(kinds); n++)
            if (!strcmp(kinds[n].name, name)) {
                fprintf(out, "== %s %s\n", name, hex);
                length = hex_bytes(hex, bytes, &edge);
                one_block(out, &kinds[n], bytes, length, edge);
            }
    }
    fclose(out);
    return text;
}

/* The first line that differs, with the block it belongs to. */
static bool compare(const char *path, FILE *file, const char *want)
{
    char line[LINE], block[LINE] = "";
    unsigned number = 0;

    rewind(file);
    while (fgets(line, sizeof(line), file)) {
        size_t length = strlen(line);

        number++;
        if (!strncmp(line, "== ", 3))
            strcpy(block, line);
        if (strncmp(line, want, length)) {
            printf("%s:%u: in the block %s  file: %s  now:  %.*s\n", path, number, block, line,
                   (int)strcspn(want, "\n"), want);
            return false;
        }
        want += length;
    }
    if (*want)
        printf("%s: lines are missing at the end\n", path);
    return !*want;
}

static bool one_file(const char *path, bool rebase)
{
    FILE *file = fopen(path, "r");
    char *text;
    bool good = true;

    if (!file) {
        perror(path);
        return false;
    }
    text = made_anew(file);
    if (!rebase) {
        good = *text && compare(path, file, text);
        fclose(file);
    } else {
        fclose(file);
        file = fopen(path, "w");
        good = file && fputs(text, file) >= 0 && !fclose(file);
    }
    free(text);
    return good;
}

/* The window needs RORX. */
static bool possible(const char *path)
{
    return !strstr(path, "window") || feature_host_has(FEAT_BMI2);
}

int main(int argc, char **argv)
{
    bool rebase = argc > 1 && !strcmp(argv[1], "--rebase"), good = argc > 1 + rebase;

    for (int n = 1 + rebase; n < argc; n++)
        good &= !possible(argv[n]) || one_file(argv[n], rebase);
    if (!good && !rebase)
        printf("If the change is meant: golden --rebase FILE..., and read the difference.\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
