/* SPDX-License-Identifier: MIT
 *
 * The decoder on any bytes in any mode: lengths, repeatability, prefixes of an instruction.
 */
#include "cpu/cpuid.h"
#include "cpu/insn.h"
#include "mem/base/bits.h"
#include "tests/fuzz/fuzz.h"

enum { INSN_LEN_MAX = 15, MODES = 3, MODELS = 3, TEXT_MAX = 96 };

static void make_model(struct cpu_model *model, struct fuzz_input *in, bool random)
{
    *model = (struct cpu_model){.name = "fuzz", .vendor = "AuthenticAMD"};
    if (random)
        fuzz_bytes(in, &model->features, sizeof(model->features));
    else
        memset(&model->features, 0xff, sizeof(model->features));
}

/* Every field but the body, which the decoder leaves to the decode cache. */
static bool same(const struct insn *a, const struct insn *b)
{
#define SAME(field) (a->field == b->field)
    return SAME(imm) && SAME(disp) && SAME(id) && SAME(imm2) && SAME(flags) && SAME(len) &&
           SAME(osz) && SAME(asz) && SAME(seg) && SAME(reg) && SAME(rm) && SAME(modrm) &&
           SAME(base) && SAME(index) && SAME(scale) && SAME(vvvv) && SAME(vl) && SAME(aaa) &&
           SAME(opcode) && SAME(modrm_at) && SAME(opcode_at) && !memcmp(a->bytes, b->bytes, a->len);
#undef SAME
}

static void check_fields(const struct insn *i)
{
    check(i->id > INSN_INVALID && i->id < INSN_COUNT, "id %u", i->id);
    check(i->len >= 1 && i->len <= INSN_LEN_MAX, "length %u", i->len);
    check(i->osz && i->osz <= 8 && !(i->osz & (i->osz - 1)), "operand size %u", i->osz);
    check(i->asz == 2 || i->asz == 4 || i->asz == 8, "address size %u", i->asz);
    check(i->seg < SEG_COUNT && i->scale <= 3 && i->vl <= 2 && i->aaa <= 7, "field out of range");
    check(i->vvvv < 32 && i->opcode_at < i->len && i->modrm_at < INSN_LEN_MAX,
          "field out of range");
    check(i->reg < 32 && (i->flags & I_MEM || i->rm < 32), "register out of range");
    check(!(i->flags & I_MEM) || i->index == REG_NONE || i->index < 32, "index %u", i->index);
    check(!(i->flags & I_MEM) || i->base == REG_NONE || i->base == REG_IP || i->base < 16,
          "base %u", i->base);
    check(insn_mem_size(i) <= 108, "memory operand of %u bytes", insn_mem_size(i)); /* FSAVE */
}

static void check_text(const struct insn *i)
{
    char text[TEXT_MAX];

    for (size_t size = 1; size <= sizeof(text); size = size * 3 / 2 + 1) {
        memset(text, 'x', sizeof(text));
        insn_describe(i, text, size);
        check(memchr(text, 0, size), "text of %zu bytes is not ended", size);
        check(size == sizeof(text) || text[size] == 'x', "text written past %zu bytes", size);
    }
}

/* Decodes one instruction in every way; returns how many bytes to go on by. */
static unsigned try_decode(const struct decode_ctx *ctx, const u8 *bytes, unsigned count)
{
    struct insn first, again;
    enum decode_result result, other;

    memset(&first, 0, sizeof(first));
    memset(&again, 0xa5, sizeof(again));
    result = insn_decode(ctx, bytes, count, &first);
    other = insn_decode(ctx, bytes, count, &again);
    check(result == other, "results %d and %d for the same bytes", result, other);
    if (result == DECODE_UD)
        check(first.id == INSN_INVALID && first.len <= count && first.len <= INSN_LEN_MAX,
              "#UD of length %u in %u bytes", first.len, count);
    if (result != DECODE_OK)
        return 1;
    check(first.len <= count && !memcmp(first.bytes, bytes, first.len), "bytes not consumed");
    check(same(&first, &again), "fields depend on what was in the struct");
    check_fields(&first);
    check_text(&first);
    for (unsigned n = 0; n < first.len; n++) {
        other = insn_decode(ctx, bytes, n, &again);
        check(other == DECODE_SHORT, "%u of %u bytes give %d", n, first.len, other);
    }
    other = insn_decode(ctx, bytes, first.len, &again);
    check(other == DECODE_OK && same(&first, &again), "more bytes make another instruction");
    return first.len;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const u8 code_sizes[MODES] = {2, 4, 8};
    struct fuzz_input in = {data, size};
    struct cpu_model model;
    struct decode_ctx ctx;
    unsigned how = (unsigned)fuzz_uint(&in, 1);

    ctx.code_size = code_sizes[how % MODES];
    ctx.protected_mode = ctx.code_size == 8 || (how / MODES & 1);
    make_model(&model, &in, how / (2 * MODES) % MODELS == 2);
    ctx.model = how / (2 * MODES) % MODELS ? &model : NULL;
    while (in.left) {
        unsigned count = in.left < INSN_LEN_MAX + 5 ? (unsigned)in.left : INSN_LEN_MAX + 5;
        unsigned len = try_decode(&ctx, in.at, count);

        in.at += len;
        in.left -= len;
    }
    return 0;
}

/* In each mode: every one-byte opcode, every escape, then prefixes before the longest forms. */
size_t fuzz_seed(unsigned n, u8 *data, size_t capacity)
{
    static const u8 heads[][5] = {
        {1, 0},
        {2, 0x0f, 0},
        {3, 0x0f, 0x38, 0},
        {3, 0x0f, 0x3a, 0},
        {4, 0x66, 0x0f, 0x38, 0},
        {3, 0xc5, 0xf9, 0},
        {4, 0xc4, 0xe2, 0x7d, 0},
        {4, 0xc4, 0xe3, 0x7d, 0},
        {2, 0x66, 0},
        {2, 0xf0, 0},
    };
    const u8 *head = heads[n / MODES % ARRAY_SIZE(heads)];
    size_t at = 0;

    if (n >= MODES * ARRAY_SIZE(heads))
        return 0;
    data[at++] = (u8)(n % MODES + MODES);
    for (unsigned opcode = n & 1; opcode < 256 && at + 16 < capacity; opcode += 2) {
        static const u8 tail[] = {0x84, 0x91, 0x10, 0, 0, 0, 0x7f, 0, 0};

        memcpy(data + at, head + 1, head[0]);
        data[at + head[0] - 1] = (u8)opcode;
        memcpy(data + at + head[0], tail, sizeof(tail));
        at += head[0] + sizeof(tail);
    }
    return at;
}
