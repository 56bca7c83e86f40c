/* SPDX-License-Identifier: MIT
 *
 * From one guest instruction to host code: what translate.c and the files of this folder share.
 *
 * Every lowering keeps one rule: until the last check that can miss has passed, nothing the guest
 * can see has changed, so that the instruction can be handed to the interpreter as a whole.
 */
#pragma once

#include "cpu/decode_internal.h"
#include "jit/internal.h"

/* Where the guest's arithmetic flags are. */
enum flags_at {
    FLAGS_HOST,  /* only in the host's flags */
    FLAGS_SAVED, /* only in JF */
    FLAGS_BOTH,
    FLAGS_RECIPE, /* nowhere: the recipe makes them again */
};

/* How to make the flags of the last instruction that set them again, from registers that have not
 * changed since. */
enum recipe_kind {
    RECIPE_NONE,
    RECIPE_REPEAT, /* CMP or TEST of registers or immediates: the instruction itself */
    RECIPE_TEST,   /* the result of AND, OR, XOR: TEST it with itself */
    RECIPE_ADD,    /* the result of adding `other` or `by`: subtract it, add it again */
    RECIPE_SUB,    /* the result of subtracting that */
};

struct flags_recipe {
    u8 kind;  /* enum recipe_kind */
    u8 reg;   /* guest register of the result */
    u8 other; /* ... and of what was added to it, or REG_NONE: `by` was */
    u8 osz;
    i32 by;
    u32 registers; /* bit per guest register it reads */
    const struct jit_insn *insn;
};

enum {
    GROUPS_MAX = JIT_SLOTS,
    GROUP_WINDOW = 256,
    SITES_MAX = 2 * 6 * BLOCK_INSNS, /* REP MOVS has six; twice in a loop */
    EXITS_MAX = 2 * (BLOCK_INSNS + 2),
    LOOP_EDGES = 8,
    HOISTS_MAX = 2
};

enum { REF_FLAT = 0xff };

/* One access to guest memory by its registers. */
struct mem_ref {
    u8 base, index, scale; /* guest registers or REG_NONE */
    u8 asz;                /* bytes of the address */
    u8 seg;                /* REF_FLAT: no base to add */
    u8 size;
    bool write;
    bool aligned; /* a misaligned operand is for the interpreter (SSE) */
    i64 disp;     /* absolute without base and index */
};

/* Accesses that differ by a constant and are checked once, at the first of them (coalesce.c). */
struct mem_group {
    u8 base, index, scale;
    bool write;       /* serves stores */
    bool loads_first; /* ... but begins with a load: only a page that is dirty already will do */
    unsigned exits;   /* side exits of the block before the first access */
    u32 base_version, index_version;
    i64 lo, hi; /* window, relative to the base's value at its version */
    i8 residue; /* of aligned members' addresses modulo 16, relative to lo's zero; -1: none */
    u8 uses;
    bool stack; /* checked by the page of the stack, whose distance is in the TLB */
    const struct tlb_site *site; /* checked by this, which has the distance, or NULL */
    bool lasts; /* the same in each turn of the loop: its second copy needs no check */
    bool early; /* checked already, by the page of the stack, or the slot has its host address */
};

/* What coalescing decided for one instruction's access. */
struct mem_access {
    i8 group; /* index, or -1: a check of its own */
    bool head;
    i64 root; /* base register - its value at its version */
    /* Instructions behind this one whose groups are checked before it. */
    u8 hoists, hoisted[HOISTS_MAX];
};

/* What T0 is behind a check. */
enum check_result {
    CHECK_HOST,     /* the host address */
    CHECK_DISTANCE, /* host address - linear address */
    CHECK_PAGE,     /* the host's page */
};

/* A memory check that jumped away: what its out-of-line half needs. */
struct miss_site {
    u8 *rel32;     /* of the jump, to be patched to the out-of-line half */
    u64 resume;    /* behind the check; 0: no refill can help */
    bool leave;    /* ... and the block is left there for leave_rip, before the last leave_behind */
    u64 leave_rip; /* of its instructions */
    u32 leave_behind;
    u64 window_from; /* where the code that may miss in the window begins; 0: a check */
    enum check_result result;
    bool stack;                  /* a look at the stack's page alone */
    const struct tlb_site *site; /* a look at that alone, or NULL */
    bool shared;                 /* others rely on the distance that the site has */
    struct mem_ref ref;          /* shared or not CHECK_HOST: its address, displaced by `by` */
    i64 by;
    u64 after; /* behind the instruction */
    const struct jit_insn *insn;
    u16 size;
    bool write;
    bool if_dirty;
    bool early;          /* the instruction that accesses comes later */
    enum flags_at flags; /* where they are at the check */
    struct flags_recipe recipe;
    enum flags_at flags_after; /* that the code behind the instruction expects */
    bool leaves;               /* the block cannot go on: others rely on this check */
    bool vectors_after;        /* it expects the guest's vectors in the host's registers */
    bool x87_after;            /* and x87 */
};

/* A jump out of the block. Its stub is out of line; so is all of it for a conditional jump that
 * needs more than the jump itself. */
struct exit_site {
    struct jit_link *link;
    u8 *rel32;           /* the jump that goes to the stub until it is linked, or NULL: by a cell */
    u8 *taken_from;      /* the conditional jump to the out-of-line half, or NULL */
    u8 *attention_from;  /* the jump of poll() */
    enum flags_at flags; /* where taken_from is; then where attention_from is */
    struct flags_recipe recipe;
    bool polls;
    u32 deferred; /* what JF tells of flags that are deferred, or 0 */
    u32 behind;   /* instructions of the block that are not executed */
    /* A paired call: the jump where the return stack has no room, or attention is wanted; where
     * that looks again. */
    u8 *full_from;
    u64 full_again;
    u8 *expected_at; /* a return site whose RIP is a constant out of line: its rel32 */
};

/* A block that jumps back to its own start (self_loop.c). */
struct self_loop {
    bool on;
    bool second;          /* the second copy is being made */
    unsigned first;       /* position of the first instruction that jumps back */
    unsigned count;       /* how many do */
    u8 *from[LOOP_EDGES]; /* their rel32 in the first copy */
    unsigned from_count;
    /* What the second copy may rely on at its start. */
    enum flags_at flags;
    struct flags_recipe recipe;
    bool vectors, x87;
    u32 proved; /* registers, as in struct translator; they are the same in each turn */
    u64 start;
    u8 *attention_from, *budget_from;
    enum flags_at flags_there; /* at these two jumps */
};

/* Registers that an instruction's inline code changes. */
struct reg_effects {
    u32 written; /* bit per guest register */
    bool all;    /* anything: it is called */
    u8 adjusted; /* this one grows by `by`, or REG_NONE */
    i32 by;
};

/* The guest registers that become others: a bit for each. */
static inline u32 lower_changed(const struct reg_effects *effects)
{
    u32 adjusted = effects->adjusted == REG_NONE ? 0 : (u32)BIT(effects->adjusted);

    return effects->all ? ~0u : effects->written | adjusted;
}

/* The access of an instruction (size 0: none) and what it does to registers. */
struct insn_access {
    struct mem_ref ref;
    struct reg_effects effects;
};

struct translator {
    struct jit *j;
    struct vcpu *v;
    struct emit *e;
    struct jit_block *block;
    enum flags_at flags;
    struct flags_recipe recipe;
    bool vectors; /* the guest's vectors are in the host's registers for sure */
    bool x87;     /* and x87 */
    u32 proved;   /* a bit per guest register that is no address near the emulator (window.c) */
    u32 small;    /* a bit per guest register that needs no proof as an index */
    bool moved;   /* RSP has moved since the last access close to it, or its proof */
    bool touched; /* this instruction has accessed the stack by the window */
    int held;     /* T0 is the distance of this group if it was not named since; -1: of none */
    unsigned group_count, side_exits, site_count, exit_count;
    struct self_loop loop;
    bool failed; /* out of arena or code space: flush and start again */
    const struct jit_insn *insns;
    /* By instruction, where it is in the arena; 0: not there. */
    u32 kept[BLOCK_INSNS];
    /* What follows is too large to be cleared for each block: each element is set when it comes
     * into use. Must be last. */
    struct insn_access described[BLOCK_INSNS];
    struct mem_access access[BLOCK_INSNS];
    struct mem_group group[GROUPS_MAX];
    struct exit_site exit[EXITS_MAX];
    struct miss_site site[SITES_MAX];
    struct jit_insn own_insns[BLOCK_INSNS];
};

#define VCPU_AT(member) emit_gs((i32)offsetof(struct vcpu, member))

/* -- registers: register.c -- */
/* The host register of a guest register, or HOST_NONE: it lives in the vCPU. */
static inline unsigned host_of(unsigned guest)
{
    if (guest == RSP)
        return HOST_GUEST_RSP;
    return guest >= R9 && guest <= R11 ? HOST_NONE : guest;
}
static inline struct emit_mem gpr_slot(unsigned guest)
{
    return emit_gs((i32)(offsetof(struct vcpu, gpr) + 8 * guest));
}
/* The host register that holds a guest register: its own, or `scratch` after loading it there. */
unsigned lower_use(struct translator *t, unsigned guest, unsigned scratch);
/* Writes back what lower_use() gave for a guest register without a host register. */
void lower_put(struct translator *t, unsigned guest, unsigned host);

/* -- flags: flags.c -- */
/* Flags are about to be destroyed by code of ours: they are in JF afterwards. Uses T1. */
void lower_save_flags(struct translator *t);
/* The same, but a recipe will do where there is one; JF may be stale then. */
void lower_release_flags(struct translator *t);
/* Before an instruction is lowered: what it does to the registers that the recipe reads. */
void lower_keep_recipe(struct translator *t, const struct insn *i,
                       const struct reg_effects *effects);
/* After it: the recipe for the flags it set, or none. */
void lower_note_recipe(struct translator *t, const struct jit_insn *ji);
/* The word for JF that tells how to make flags that have a recipe; 0: flags are saved, or cannot be
 * told. */
u32 lower_deferred_flags(const struct translator *t);
/* After lower_group_accesses(): whether the block takes deferred flags. */
void lower_find_quiet(struct translator *t, const struct jit_insn *insns, unsigned count);
/* At which of the checks (a bit per instruction) flags would have to be saved, about. */
u64 lower_costly_checks(const struct translator *t, const struct jit_insn *insns, unsigned count,
                        u64 checks);
/* The instruction needs the guest's flags in the host's. Uses T1. */
void lower_need_flags(struct translator *t);
/* After BSF or BSR into a guest register: from ZF, all flags as cpu/ops/bits.c makes them. Uses T0,
 * T1. */
void lower_scan_flags(struct translator *t, unsigned guest);
/* What an instruction does with arithmetic flags, as far as our code around it must know. */
enum flag_use { FLAG_NEUTRAL, FLAG_SETS_ALL, FLAG_NEEDS, FLAG_DESTROYS };
enum flag_use lower_flag_use(const struct insn *i);
/* false: the flags it leaves undefined may be seen to differ from the interpreter's; its body is
 * called. */
bool lower_flags_agree(const struct translator *t, const struct jit_insn *ji);
/* The same for all the code that is made of an instruction: FLAG_DESTROYS if a check or a call
 * comes first. */
enum flag_use lower_first_use(const struct translator *t, const struct insn *i);

/* -- memory: memory.c -- */
/* Whether the memory operand can be reached inline in this mode. */
bool lower_can_address(const struct translator *t, const struct insn *i);
/* The access of a ModRM operand. */
void lower_ref(const struct translator *t, const struct jit_insn *ji, unsigned size, bool write,
               struct mem_ref *ref);
/* Linear address in T0, displaced by `by`. Uses T1; destroys flags only with FS and GS. */
void lower_address(struct translator *t, const struct mem_ref *ref, i64 by);
/* The same in another register, which may be one of the address. Uses T0, T1. */
void lower_address_in(struct translator *t, const struct mem_ref *ref, i64 by, unsigned to);
/* T0: linear address. Afterwards T0 is the host address of size bytes there. Destroys flags (saved
 * before) and T1. On a miss the whole instruction may be executed out of line. */
struct miss_site *lower_check(struct translator *t, const struct jit_insn *ji, unsigned size,
                              bool write);
/* The same for the address of ref, displaced by `by`, which T0 need not hold; T0 is host address -
 * linear address afterwards. */
struct miss_site *lower_check_distance(struct translator *t, const struct jit_insn *ji,
                                       const struct mem_ref *ref, i64 by, unsigned size,
                                       bool write);
/* Where the distance is that the last check by the stack's page found. */
struct emit_mem lower_stack_distance(const struct translator *t);
/* Where a site has the distance. */
struct emit_mem lower_site_distance(const struct tlb_site *site);
/* Whether lower_check_distance() may be used. */
bool lower_has_distance(const struct mem_ref *ref);
/* For a constant address whose size bytes lie in one page; T0 is the host's page afterwards. */
struct miss_site *lower_check_page(struct translator *t, const struct jit_insn *ji,
                                   const struct mem_ref *ref, i64 by, unsigned size, bool write);
/* The host's operand for the access of this instruction, checked, now or with others. Keeps T0
 * until the operand is used; T1 is free. May save flags. */
struct emit_mem lower_access(struct translator *t, const struct jit_insn *ji,
                             const struct mem_ref *ref);
/* The same for an access that never shares a check. */
struct emit_mem lower_access_alone(struct translator *t, const struct jit_insn *ji,
                                   const struct mem_ref *ref);
/* The same for the last access of a block. */
struct emit_mem lower_access_last(struct translator *t, const struct jit_insn *ji,
                                  const struct mem_ref *ref);
/* The operand by the window, which keeps flags. false: that has not the access, or must not. Else
 * as lower_access(). */
bool lower_by_window(struct translator *t, const struct jit_insn *ji, const struct mem_ref *ref,
                     struct emit_mem *at); /* window.c */
/* At the start of a block, or of its second copy: only RSP is proved. */
void lower_window_begin(struct translator *t);
/* After an instruction: which registers stay proved. */
void lower_window_follow(struct translator *t, const struct jit_insn *ji);
/* RSP is proved, or will be, where this instruction leaves the block for another. Uses T0; keeps
 * flags. */
void lower_window_settle(struct translator *t, const struct jit_insn *ji);
/* The same where the block goes on at next behind its last instruction. */
void lower_window_end(struct translator *t, const struct jit_insn *last, u64 next);
/* What an access by a segment register needs: itself, or REF_FLAT where it has no base. */
u8 lower_segment_of(const struct translator *t, unsigned seg);
/* Outside 64-bit mode that also is a look at the segment (segment.c). Flags are saved. */
bool lower_bounded(const struct translator *t, const struct mem_ref *ref);
/* lower_address() with it. */
void lower_bounded_address(struct translator *t, const struct jit_insn *ji,
                           const struct mem_ref *ref);
/* The same for an offset in T0, cut to the address size; seg as from lower_segment_of(). */
void lower_bounded_offset(struct translator *t, const struct jit_insn *ji, unsigned seg,
                          unsigned size, bool write);
/* Zero-extends 16 bits. */
void lower_cut16(struct translator *t, unsigned to, unsigned from);
/* A guest register that has a host register grows by a constant in as many bytes. Uses T0; keeps
 * flags. */
void lower_advance(struct translator *t, unsigned guest, i32 by, unsigned size);
/* The jump that rel32 belongs to hands the instruction to the interpreter. */
struct miss_site *lower_give_up(struct translator *t, const struct jit_insn *ji, u8 *rel32);
/* A locked access of size bytes to m: a misaligned operand is the body's, which knows what to do
 * where the host would not lock a cache line alone. Flags are saved. Keeps T0; uses T1. */
void lower_locked(struct translator *t, const struct jit_insn *ji, const struct emit_mem *m,
                  unsigned size);
/* Loads the guest's vectors if they are not in the host's registers. Saves flags. */
void lower_want_vectors(struct translator *t);
/* The out-of-line halves. */
void lower_misses(struct translator *t);

/* -- coalescing: coalesce.c -- */
/* Fills t->described, then decides which accesses share a check. */
void lower_group_accesses(struct translator *t, const struct jit_insn *insns, unsigned count);
/* The check of a group, before instruction ji. ref: its first access; root: as in mem_access, now.
 */
void lower_check_early(struct translator *t, const struct jit_insn *ji, const struct mem_ref *ref,
                       unsigned group, i64 root);
/* -- hoist.c -- */
/* After lower_group_accesses(): decides which checks are made early. */
void lower_hoist(struct translator *t, const struct jit_insn *insns, unsigned count);
/* Makes those that this instruction's check comes with. */
void lower_hoisted(struct translator *t, const struct jit_insn *ji);
/* The access and the effects of an instruction, as each file lowers it. false: not its own. */
bool lower_generic_describe(const struct translator *t, const struct jit_insn *ji,
                            struct mem_ref *ref, struct reg_effects *effects);
bool lower_stack_describe(const struct translator *t, const struct jit_insn *ji,
                          struct mem_ref *ref, struct reg_effects *effects);
bool lower_divide_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects);
bool lower_string_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects);
bool lower_special_describe(const struct translator *t, const struct jit_insn *ji,
                            struct mem_ref *ref, struct reg_effects *effects);
bool lower_system_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects);
bool lower_x87_describe(const struct translator *t, const struct jit_insn *ji, struct mem_ref *ref,
                        struct reg_effects *effects);
bool lower_segment_describe(const struct translator *t, const struct jit_insn *ji,
                            struct mem_ref *ref, struct reg_effects *effects);
bool lower_branch_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects);

/* -- whole instructions -- */
/* Each returns false, with nothing emitted, where the instruction is not its own. */
bool lower_generic(struct translator *t, const struct jit_insn *ji); /* generic.c */
/* CMP or TEST without memory, again. Uses T0, T1. */
void lower_repeat(struct translator *t, const struct jit_insn *ji);
bool lower_stack(struct translator *t, const struct jit_insn *ji);   /* stack.c */
bool lower_divide(struct translator *t, const struct jit_insn *ji);  /* divide.c */
bool lower_string(struct translator *t, const struct jit_insn *ji);  /* string.c */
bool lower_special(struct translator *t, const struct jit_insn *ji); /* special.c */
bool lower_system(struct translator *t, const struct jit_insn *ji);  /* system.c */
/* STI and CLI, for lower_continues() and where the block does go on behind them. */
bool lower_masks_interrupts(const struct jit *j, const struct insn *i);
void lower_mask_interrupts(struct translator *t, const struct jit_insn *ji);
/* These end the block. */
bool lower_branch(struct translator *t, const struct jit_insn *ji);     /* branch.c */
bool lower_loop(struct translator *t, const struct jit_insn *ji);       /* loop.c */
bool lower_system_end(struct translator *t, const struct jit_insn *ji); /* system.c */
/* A conditional jump that the block goes on behind. */
void lower_side_exit(struct translator *t, const struct jit_insn *ji);
/* Whether the block may go on behind an instruction that ends a run, and at which RIP. */
bool lower_continues(const struct jit *j, const struct jit_block *block, const struct insn *i,
                     u64 rip, u64 *next);
/* Whether it is a direct jump, conditional or not, of this block's mode; target: its RIP. */
bool lower_is_direct(const struct jit_block *block, const struct insn *i, u64 rip, u64 *target);
/* Where a relative jump at rip leads; false: it faults. */
bool lower_target(const struct jit_block *block, const struct insn *i, u64 rip, u64 *target);
/* Whether this load of a segment register is inline (segment.c); the block may go on. */
bool lower_segment_load(const struct jit *j, const struct jit_block *block, const struct insn *i);
void lower_load_segment(struct translator *t, const struct jit_insn *ji);
/* The access of a stack operation: offset from RSP (or another base). */
void lower_stack_ref(const struct translator *t, unsigned base, i32 offset, unsigned size,
                     bool write, struct mem_ref *ref);
/* RSP += bytes. Uses T0. */
void lower_stack_move(struct translator *t, i32 bytes);
/* The same for lower_describe(). */
void lower_stack_moved(const struct translator *t, i32 bytes, struct reg_effects *effects);
/* Width of the stack pointer. */
unsigned lower_stack_bytes(const struct translator *t);
/* Whether the operand size is one that stack operations and near branches are inline with: in
 * 64-bit mode only 64. */
bool lower_usual_size(const struct jit_block *block, const struct insn *i);
/* Where an instruction of the block is kept in the arena, for a body to be called with. */
u32 lower_keep(struct translator *t, const struct jit_insn *ji);
/* The interpreter's body. */
void lower_call(struct translator *t, const struct jit_insn *ji);

/* -- x87.c -- */
bool lower_x87(struct translator *t, const struct jit_insn *ji);
/* Whether x87 and MMX run inline in this block. */
bool lower_x87_mode(const struct translator *t);
/* Loads the guest's x87 state if it is not in the host's registers. Saves flags then. */
void lower_want_x87(struct translator *t);

/* -- blocks that are loops: self_loop.c -- */
/* Whether the block is one; before accesses are grouped. */
void lower_loop_find(struct translator *t, const struct jit_insn *insns, unsigned count);
/* A jump to the block's start, conditional on cc or not (LOOP_ALWAYS), goes on with the second
 * copy. behind: instructions of the block that it skips. false: nothing was emitted, the jump is
 * like any other. */
enum { LOOP_ALWAYS = 16 };
bool lower_loop_edge(struct translator *t, unsigned cc, unsigned behind);
/* Before the second copy: its start. false: it is not needed. */
bool lower_loop_start(struct translator *t);
/* What of it is out of line. */
void lower_loop_leave(struct translator *t);

/* -- leaving the block: branch.c -- */
/* Leaves if attention is wanted, without touching flags that are not saved. Uses T0. Returns the
 * jump's rel32. */
u8 *lower_poll(struct translator *t);
/* Counted: leaves unless the budget is enough for the block, and takes it. Flags are saved or have
 * a recipe. Returns the jump's rel32. */
u8 *lower_budget(struct translator *t);
/* Goes to exit_at, leave_at or exit_link (internal.h), with the value that this wants in T0, from
 * wherever flags are. */
void lower_leave_at(struct translator *t, u64 value, const u64 stub[2]);
/* Goes to target, a RIP; poll: looks at events first (flags are then saved). */
void lower_exit_to(struct translator *t, u64 target, bool poll);
/* v->rip is set already: finds the next block. Flags must be saved. */
void lower_exit_lookup(struct translator *t);
void lower_exits(struct translator *t);
/* An exit that continues at target; NULL: no memory. Flags as they are now. */
struct exit_site *lower_new_exit(struct translator *t, u64 target);
/* The RIP behind an instruction. */
u64 lower_next(const struct jit_block *block, const struct insn *i, u64 rip);
/* Loops look at events where they jump back. */
bool lower_jumps_back(const struct jit_insn *ji, u64 target);

/* -- calls, returns, indirect jumps: call.c -- */
void lower_call_to(struct translator *t, const struct jit_insn *ji, u64 target);
void lower_call_indirect(struct translator *t, const struct jit_insn *ji);
void lower_jump_indirect(struct translator *t, const struct jit_insn *ji);
/* release: bytes of arguments that RET drops. */
void lower_return(struct translator *t, const struct jit_insn *ji, unsigned release);
/* The out-of-line half of a paired call. */
void lower_call_full(struct translator *t, struct exit_site *x);
/* Counted: what the block promised and does not execute. Keeps flags; uses T0. */
void lower_give_back(struct translator *t, u32 behind);
