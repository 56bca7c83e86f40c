/* SPDX-License-Identifier: MIT
 *
 * The cache of thunks of one vCPU.
 *
 * Code has a writable and an executable view (mem/base/memory_file.h). Thunks are found by a hash
 * of what the code depends on; when the table or the buffer is full, all are dropped. The first
 * bytes are the fault exit (native_signal.h).
 */
#include "cpu/native.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/native_signal.h"
#include "cpu/native_thunk.h"
#include "mem/base/bits.h"
#include "mem/base/log.h"
#include "mem/base/memory_file.h"

enum { THUNK_SLOTS = 4096, THUNK_LIMIT = THUNK_SLOTS * 3 / 4 };

struct native {
    struct native_call call;
    struct native_host host;
    struct code_memory code; /* none: the host allows none */
    size_t used;
    size_t exit_bytes; /* the fault exit is at the start and survives a flush */
    unsigned count;
    struct thunk slots[THUNK_SLOTS]; /* open addressing; run == NULL: free */
};

enum status native_create(struct native **out, struct error *err)
{
    struct native *n = aligned_alloc(64, align_up(sizeof(*n), 64));

    if (!n)
        return error_set(err, ST_NO_MEMORY, "No memory for a virtual processor; free some memory.");
    memset(n, 0, sizeof(*n));
    __builtin_cpu_init();
    n->host = (struct native_host){
        .avx = __builtin_cpu_supports("avx"),
        .avx512f = __builtin_cpu_supports("avx512f"),
        .avx512bw = __builtin_cpu_supports("avx512bw"),
    };
    /* MXCSR of the FXSAVE image must be valid; x87 instructions do not change it. */
    store_le(n->call.fx + 24, 0x1f80, 4);
    /* For the fault exit of a thunk that does not save it. */
    n->call.host_mxcsr = 0x1f80;
    if (code_memory_create(&n->code, "lockstep-thunks", NATIVE_CODE_BYTES))
        n->exit_bytes = align_up(native_emit_fault_exit(n->code.write, &n->host), 16);
    n->used = n->exit_bytes;
    native_signal_install();
    *out = n;
    return ST_OK;
}

void native_destroy(struct native *n)
{
    if (!n)
        return;
    code_memory_destroy(&n->code);
    free(n);
}

bool native_available(const struct native *n)
{
    return n->code.exec != NULL;
}

bool native_possible(void)
{
    struct code_memory m;
    bool possible = code_memory_create(&m, "lockstep-thunks", NATIVE_CODE_BYTES);

    if (possible)
        code_memory_destroy(&m);
    return possible;
}

/* Everything that the code of a thunk depends on. EVEX: z, L'L, b and whether a mask is used. */
static u64 thunk_key(const struct insn *i)
{
    u64 key = i->id | (u64)(i->osz == 8) << 16 | (u64)((i->flags & I_MEM) != 0) << 17 |
              (u64)((i->flags & I_REXW) != 0) << 18 | (u64)(i->vl & 3) << 19 |
              (u64)(i->aaa != 0) << 21 | (u64)(u8)i->imm << 24 | (u64)i->modrm << 32;

    if (i->flags & I_EVEX)
        key |= (u64)(i->bytes[i->opcode_at - 1] & 0xf0) << 40;
    else if (!(insn_row(i)->traits & T_FPU))
        key |= (u64)(i->imm2 & 0xff) << 40;
    return key;
}

/* ModRM matters only where its register fields are part of the opcode: x87 register forms and
 * opcode extensions. Memory forms of x87 need the extension alone. */
static u64 relevant_modrm(const struct insn *i)
{
    const struct insn_row *row = insn_row(i);
    u64 mask = 0;

    if (row->traits & T_FPU)
        mask = i->flags & I_MEM ? 0x38 : 0xff;
    return ~(0xffull << 32) | mask << 32;
}

static struct thunk *find_slot(struct native *n, u64 key)
{
    unsigned at = (unsigned)((key * 0x9e3779b97f4a7c15ull) >> 52);

    while (n->slots[at].run && n->slots[at].key != key)
        at = (at + 1) % THUNK_SLOTS;
    return &n->slots[at];
}

static void flush(struct native *n)
{
    memset(n->slots, 0, sizeof(n->slots));
    n->count = 0;
    n->used = n->exit_bytes;
}

static void make_thunk(struct native *n, const struct insn *i, u64 key, struct thunk *t)
{
    size_t length;

    *t = (struct thunk){.key = key};
    native_plan(i, t);
    if (insn_row(i)->traits & T_FPU)
        length = native_emit_x87(n->code.write + n->used, i);
    else
        length = native_emit(n->code.write + n->used, &n->host, i, t);
    check(length <= THUNK_BYTES_MAX, "thunk of %s has %zu bytes", insn_row(i)->name, length);
    t->run = (native_fn *)(n->code.exec + n->used);
    n->used += align_up(length, 16);
    n->count++;
}

const struct thunk *native_thunk(struct native *n, const struct insn *i)
{
    u64 key = thunk_key(i) & relevant_modrm(i);
    struct thunk *t = find_slot(n, key);

    if (likely(t->run))
        return t;
    if (n->count >= THUNK_LIMIT || n->used + THUNK_BYTES_MAX > NATIVE_CODE_BYTES) {
        flush(n);
        t = find_slot(n, key);
    }
    make_thunk(n, i, key, t);
    return t;
}

struct native_call *native_block(struct native *n)
{
    return &n->call;
}

u64 native_call_thunk(struct native *n, const struct thunk *t, void *reg, void *rm, void *vvvv,
                      void *fourth)
{
    u64 stopped;

    native_guard = n->code.exec;
    __asm__ volatile("" ::: "memory");
    stopped = t->run(&n->call, reg, rm, vvvv, fourth);
    __asm__ volatile("" ::: "memory");
    native_guard = NULL;
    return stopped;
}
