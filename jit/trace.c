/* SPDX-License-Identifier: MIT
 *
 * What a block is made of, for people: -d out_asm and the reports of -engine check. Guest code is
 * on the left, the host code that it became on the right.
 */
#include <stdio.h>

#include "jit/internal.h"

enum { TEXT = 160, LEFT = 60 };

/* Returns the length; what nobody knows is shown as a byte. */
static unsigned disassemble(const struct jit *j, unsigned code_size, const u8 *code, size_t size,
                            u64 address, char text[TEXT])
{
    unsigned length = 0;

    if (j->options.disassemble)
        length = j->options.disassemble(code_size, code, size, address, text, TEXT);
    if (!length)
        snprintf(text, TEXT, "db 0x%02x", code[0]);
    return length ? length : 1;
}

static void guest_text(const struct jit *j, u64 rip, const struct insn *i, unsigned code_size,
                       char *text, size_t size)
{
    char plain[TEXT];

    if (disassemble(j, code_size, i->bytes, i->len, rip, plain) != i->len)
        insn_describe(i, plain, sizeof(plain));
    snprintf(text, size, "%016lx  %s", rip, plain);
}

void jit_trace_insn(const struct jit *j, FILE *out, u64 rip, const struct insn *i)
{
    char text[TEXT + 20];

    guest_text(j, rip, i, j->v->code_size, text, sizeof(text));
    fprintf(out, "  %s\n", text);
}

/* Host code from one address to another; left: beside its first line. */
static void trace_host(const struct jit *j, FILE *out, u64 from, u64 to, const char *left)
{
    const u8 *code = (const u8 *)(from - j->delta);
    char text[TEXT];

    if (from == to)
        fprintf(out, "%s\n", left);
    while (from < to) {
        unsigned length = disassemble(j, 8, code, to - from, from, text);

        fprintf(out, "%-*s | %lx  %s\n", LEFT, left, from, text);
        left = "";
        from += length;
        code += length;
    }
}

void jit_trace_block(const struct jit *j, FILE *out, const struct jit_block *block)
{
    unsigned code_size = block->mode & MODE_CODE64 ? 8 : block->mode & MODE_CODE16 ? 2 : 4;
    u64 at = block->code, cold = at + block->cold;
    char text[TEXT + 20];

    flockfile(out);
    fprintf(out, "block %016lx, RAM+%lx, mode %x: %u instructions, %u bytes\n", block->rip,
            block->key, block->mode, block->count, block->code_size + block->cold_size);
    trace_host(j, out, at, at + block->insns[0].host, "entry");
    for (unsigned n = 0; n < block->count; n++) {
        u64 from = at + block->insns[n].host;
        u64 to = n + 1u < block->count ? at + block->insns[n + 1].host : at + block->inline_size;

        guest_text(j, block->insns[n].rip, &block->insns[n].insn, code_size, text, sizeof(text));
        trace_host(j, out, from, to, text);
    }
    trace_host(j, out, at + block->inline_size, at + block->code_size, "out of line");
    trace_host(j, out, cold, cold + block->cold_size, "apart");
    funlockfile(out);
}
