/* SPDX-License-Identifier: MIT
 *
 * The child, after it has unmapped everything else: the signal handler that takes the outcome of
 * one case and returns into the next.
 *
 * Everything here lies in one section, refers to nothing outside it (no libc, no constants in
 * .rodata, no thread-local storage) and is built without vector code, stack protector and
 * sanitizers. What a case left in registers is in the signal frame; the FS and GS registers and
 * bases, DS and ES are not, and stay untouched until they are saved here.
 *
 * Of the signal frame this relies on the layout that Linux promises in asm/sigcontext.h: general
 * registers with CS and SS, an XSAVE image in the standard format (SDM 1 13.4), error code, vector
 * and CR2 of the exception.
 */
#include "frontend/conform/native_child.h"

#include <asm/prctl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define CHILD        __attribute__((section("lockstep_native_child"), used))
#define CHILD_GLOBAL CHILD __attribute__((visibility("hidden")))

/* uapi asm/ucontext.h, which cannot be included beside <ucontext.h>. */
enum { FRAME_FP_XSTATE = 1, FRAME_SS = 2, FRAME_STRICT_SS = 4 };

enum {
    FXSAVE_MXCSR = 24,
    FXSAVE_MXCSR_MASK = 28,
    FXSAVE_ST0 = 32,
    FXSAVE_XMM0 = 160,
    XSAVE_BV = 512, /* XSTATE_BV in the header */
    XSTATE_AVX = 2,
    XSTATE_OPMASK = 5,
    XSTATE_ZMM_HI256 = 6,
    XSTATE_HI16_ZMM = 7,
    XSTATE_PKRU = 9,
};

CHILD_GLOBAL u64 native_child_call(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f);
CHILD_GLOBAL u64 native_child_signal(int number, siginfo_t *info, ucontext_t *uc,
                                     struct native_control *control);
CHILD_GLOBAL NORETURN void native_child_main(struct native_control *control);

/* native_child_entry: a case may have left AC set, which the kernel does not clear. The C code
 * returns what NT and ID must be: rt_sigreturn leaves those two alone. Its argument is found from
 * the stack pointer, which must point at the frame's ucontext. */
__asm__(".pushsection lockstep_native_child,\"ax\",@progbits\n"
        ".hidden native_child_entry, native_child_start, native_child_call\n"
        ".hidden native_child_call_end, native_child_return_end\n"
        ".globl native_child_entry, native_child_start, native_child_call\n"
        ".globl native_child_call_end, native_child_return_end\n"
        ".type native_child_entry, @function\n"
        "native_child_entry:\n"
        "    pushfq\n"
        "    andl $0xfffbffff, (%rsp)\n"
        "    popfq\n"
        "    mov %rdx, %rbx\n"
        "    mov %rsp, %rcx\n"
        "    and $-65536, %rcx\n"
        "    mov (%rcx), %rcx\n"
        "    sub $8, %rsp\n"
        "    call native_child_signal\n"
        "    mov %rbx, %rsp\n"
        "    push %rax\n"
        "    popfq\n"
        "    mov $15, %eax\n"
        "    syscall\n"
        "native_child_return_end:\n"
        "    ud2\n"
        ".type native_child_start, @function\n"
        "native_child_start:\n"
        "    mov %rsi, %rsp\n"
        "    xor %ebp, %ebp\n"
        "    call native_child_main\n"
        "    ud2\n"
        ".type native_child_call, @function\n"
        "native_child_call:\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsi\n"
        "    mov %rcx, %rdx\n"
        "    mov %r8, %r10\n"
        "    mov %r9, %r8\n"
        "    mov 8(%rsp), %r9\n"
        "    syscall\n"
        "native_child_call_end:\n"
        "    ret\n"
        ".popsection\n");
_Static_assert(NATIVE_STACK_BLOCK == 65536 && SYS_rt_sigreturn == 15, "the numbers above");

static ALWAYS_INLINE void copy_bytes(void *to, const void *from, u64 size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static ALWAYS_INLINE void copy_words(void *to, const void *from, u64 size)
{
    u64 words = size / 8;

    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

static ALWAYS_INLINE void copy16(u64 *to, const u64 *from)
{
    to[0] = from[0];
    to[1] = from[1];
}

/* -- the arena -- */

static ALWAYS_INLINE u32 clip(u32 address, u32 size, u32 *offset)
{
    u32 base, length;

    if (address - ARENA_CODE < ARENA_CODE_SIZE)
        base = ARENA_CODE, length = ARENA_CODE_SIZE, *offset = ARENA_OFFSET_CODE;
    else if (address - ARENA_DATA < ARENA_DATA_SIZE)
        base = ARENA_DATA, length = ARENA_DATA_SIZE, *offset = ARENA_OFFSET_DATA;
    else if (address - ARENA_RO < ARENA_RO_SIZE)
        base = ARENA_RO, length = ARENA_RO_SIZE, *offset = ARENA_OFFSET_RO;
    else if (address - ARENA_STACK < ARENA_STACK_SIZE)
        base = ARENA_STACK, length = ARENA_STACK_SIZE, *offset = ARENA_OFFSET_STACK;
    else
        return 0;
    *offset += address - base;
    return size < base + length - address ? size : base + length - address;
}

static ALWAYS_INLINE u32 address_of(u32 offset)
{
    if (offset < ARENA_OFFSET_DATA)
        return ARENA_CODE + offset;
    return offset < ARENA_OFFSET_STACK ? ARENA_DATA + offset - ARENA_OFFSET_DATA
                                       : ARENA_STACK + offset - ARENA_OFFSET_STACK;
}

static ALWAYS_INLINE void arena_put(struct native_control *n, u32 address, const u8 *bytes,
                                    u32 size)
{
    u32 offset = 0;

    size = clip(address, size, &offset);
    copy_bytes(n->arena + offset, bytes, size);
    copy_bytes(n->start + offset, bytes, size);
}

static ALWAYS_INLINE void arena_unput(struct native_control *n, u32 address, u32 size)
{
    u32 offset = 0;

    size = clip(address, size, &offset);
    copy_bytes(n->arena + offset, n->filled + offset, size);
    copy_bytes(n->start + offset, n->filled + offset, size);
}

static ALWAYS_INLINE void arena_begin(struct native_control *n, const struct conform_case *c)
{
    arena_put(n, c->code_address, c->code, c->code_size);
    for (u32 i = 0; i < c->patch_count; i++)
        arena_put(n, c->patch[i].address, c->patch[i].bytes, c->patch[i].size);
}

static ALWAYS_INLINE u64 line_differs(const u64 *a, const u64 *b)
{
    return (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) |
           (a[5] ^ b[5]) | (a[6] ^ b[6]) | (a[7] ^ b[7]);
}

/* Lists what the case changed in [from, to) of the image, and puts it back. */
static ALWAYS_INLINE u32 arena_take(struct native_control *n, struct conform_outcome *o, u32 count,
                                    u32 from, u32 to)
{
    for (u32 offset = from; offset < to; offset += ARENA_LINE) {
        if (likely(!line_differs((u64 *)(n->arena + offset), (u64 *)(n->start + offset))))
            continue;
        if (count < OUTCOME_LINES_MAX) {
            o->line[count].address = address_of(offset);
            copy_bytes(o->line[count].bytes, n->arena + offset, ARENA_LINE);
        }
        copy_words(n->arena + offset, n->start + offset, ARENA_LINE);
        count++;
    }
    return count;
}

static ALWAYS_INLINE void arena_end(struct native_control *n, const struct conform_case *c,
                                    struct conform_outcome *o)
{
    u32 count = arena_take(n, o, 0, ARENA_OFFSET_CODE, ARENA_OFFSET_RO);

    count = arena_take(n, o, count, ARENA_OFFSET_STACK, ARENA_IMAGE_SIZE);
    o->line_count = count > OUTCOME_LINES_MAX ? OUTCOME_LINES_MAX + 1 : count;
    arena_unput(n, c->code_address, c->code_size);
    for (u32 i = 0; i < c->patch_count; i++)
        arena_unput(n, c->patch[i].address, c->patch[i].size);
}

/* -- registers -- */

/* GPR(number in instructions, index in the frame) */
#define GPRS(GPR)                                                                                  \
    GPR(RAX, REG_RAX)                                                                              \
    GPR(RCX, REG_RCX)                                                                              \
    GPR(RDX, REG_RDX)                                                                              \
    GPR(RBX, REG_RBX)                                                                              \
    GPR(RSP, REG_RSP)                                                                              \
    GPR(RBP, REG_RBP)                                                                              \
    GPR(RSI, REG_RSI)                                                                              \
    GPR(RDI, REG_RDI)                                                                              \
    GPR(R8, REG_R8)                                                                                \
    GPR(R9, REG_R9)                                                                                \
    GPR(R10, REG_R10)                                                                              \
    GPR(R11, REG_R11)                                                                              \
    GPR(R12, REG_R12)                                                                              \
    GPR(R13, REG_R13)                                                                              \
    GPR(R14, REG_R14)                                                                              \
    GPR(R15, REG_R15)

static ALWAYS_INLINE void take_segments(struct native_control *n, struct conform_state *s,
                                        u64 cs_ss)
{
    __asm__ volatile("mov %%es, %0" : "=m"(s->selector[SEG_ES]));
    __asm__ volatile("mov %%ds, %0" : "=m"(s->selector[SEG_DS]));
    __asm__ volatile("mov %%fs, %0" : "=m"(s->selector[SEG_FS]));
    __asm__ volatile("mov %%gs, %0" : "=m"(s->selector[SEG_GS]));
    s->selector[SEG_CS] = (u16)cs_ss;
    s->selector[SEG_SS] = (u16)(cs_ss >> 48);
    if (n->fsgsbase) {
        __asm__ volatile("rdfsbase %0" : "=r"(s->fs_base));
        __asm__ volatile("rdgsbase %0" : "=r"(s->gs_base));
    } else {
        native_child_call(SYS_arch_prctl, ARCH_GET_FS, (u64)&s->fs_base, 0, 0, 0, 0);
        native_child_call(SYS_arch_prctl, ARCH_GET_GS, (u64)&s->gs_base, 0, 0, 0, 0);
    }
}

/* Outside 64-bit mode the bases are those of the selectors, which must not be overwritten. */
static ALWAYS_INLINE void put_segments(struct native_control *n, const struct conform_case *c)
{
    const struct conform_state *s = &c->in;

    __asm__ volatile("mov %0, %%es" : : "m"(s->selector[SEG_ES]));
    __asm__ volatile("mov %0, %%ds" : : "m"(s->selector[SEG_DS]));
    __asm__ volatile("mov %0, %%fs" : : "m"(s->selector[SEG_FS]));
    __asm__ volatile("mov %0, %%gs" : : "m"(s->selector[SEG_GS]));
    if (c->mode != MODE_64)
        return;
    if (n->fsgsbase) {
        __asm__ volatile("wrfsbase %0" : : "r"(s->fs_base));
        __asm__ volatile("wrgsbase %0" : : "r"(s->gs_base));
    } else {
        native_child_call(SYS_arch_prctl, ARCH_SET_FS, s->fs_base, 0, 0, 0, 0);
        native_child_call(SYS_arch_prctl, ARCH_SET_GS, s->gs_base, 0, 0, 0, 0);
    }
}

static ALWAYS_INLINE u64 *component(struct native_control *n, u8 *image, unsigned which)
{
    return n->xstate_offset[which] ? (u64 *)(image + n->xstate_offset[which]) : NULL;
}

/* The same, or NULL if the component is in its initial state and not in the image. */
static ALWAYS_INLINE u64 *component_in_use(struct native_control *n, u8 *image, unsigned which)
{
    return *(u64 *)(image + XSAVE_BV) >> which & 1 ? component(n, image, which) : NULL;
}

static ALWAYS_INLINE void take_vectors(struct native_control *n, struct conform_state *s, u8 *image)
{
    const u64 *avx = component_in_use(n, image, XSTATE_AVX);
    const u64 *hi256 = component_in_use(n, image, XSTATE_ZMM_HI256);
    const u64 *hi16 = component_in_use(n, image, XSTATE_HI16_ZMM);
    const u64 *xmm = (u64 *)(image + FXSAVE_XMM0);

    for (u64 i = 0; i < 16; i++) {
        u64 *z = (u64 *)s->zmm[i];

        copy16(z, xmm + 2 * i);
        z[2] = avx ? avx[2 * i] : 0;
        z[3] = avx ? avx[2 * i + 1] : 0;
        for (u64 j = 0; j < 4; j++)
            z[4 + j] = hi256 ? hi256[4 * i + j] : 0;
    }
    for (u64 i = 0; i < 16 * 8; i++)
        ((u64 *)s->zmm[16])[i] = hi16 ? hi16[i] : 0;
}

static ALWAYS_INLINE void take_fpu(struct native_control *n, struct conform_state *s, u8 *image)
{
    const u64 *opmask = component_in_use(n, image, XSTATE_OPMASK);
    const u64 *pkru = component_in_use(n, image, XSTATE_PKRU);
    u64 *x87 = (u64 *)s->x87;

    copy_words(x87, image, sizeof(s->x87));
    x87[3] = 0; /* MXCSR and its mask */
    s->mxcsr = *(u32 *)(image + FXSAVE_MXCSR);
    s->pkru = pkru ? (u32)*pkru : 0;
    for (u64 i = 0; i < 8; i++)
        s->k[i] = opmask ? opmask[i] : 0;
    take_vectors(n, s, image);
}

static ALWAYS_INLINE void put_vectors(struct native_control *n, const struct conform_state *s,
                                      u8 *image)
{
    u64 *avx = component(n, image, XSTATE_AVX);
    u64 *hi256 = component(n, image, XSTATE_ZMM_HI256);
    u64 *hi16 = component(n, image, XSTATE_HI16_ZMM);
    u64 *xmm = (u64 *)(image + FXSAVE_XMM0);

    for (u64 i = 0; i < 16; i++) {
        const u64 *z = (const u64 *)s->zmm[i];

        copy16(xmm + 2 * i, z);
        if (avx)
            copy16(avx + 2 * i, z + 2);
        if (hi256) {
            copy16(hi256 + 4 * i, z + 4);
            copy16(hi256 + 4 * i + 2, z + 6);
        }
    }
    if (hi16)
        copy_words(hi16, s->zmm[16], 16 * 64);
}

static ALWAYS_INLINE void put_fpu(struct native_control *n, const struct conform_state *s,
                                  u8 *image)
{
    u64 *opmask = component(n, image, XSTATE_OPMASK), *pkru = component(n, image, XSTATE_PKRU);

    copy_words(image, s->x87, FXSAVE_MXCSR);
    copy_words(image + FXSAVE_ST0, s->x87 + FXSAVE_ST0, sizeof(s->x87) - FXSAVE_ST0);
    /* XRSTOR would fault on a reserved bit, SDM 1 10.2.3. */
    *(u32 *)(image + FXSAVE_MXCSR) = s->mxcsr & *(u32 *)(image + FXSAVE_MXCSR_MASK);
    if (opmask)
        copy_words(opmask, s->k, sizeof(s->k));
    if (pkru)
        *(u32 *)pkru = s->pkru;
    put_vectors(n, s, image);
    *(u64 *)(image + XSAVE_BV) = n->xcr0;
}

/* -- one case -- */

static ALWAYS_INLINE bool own_code(const struct native_control *n, const greg_t *g)
{
    return (u64)g[REG_RIP] - n->own.start < n->own.end - n->own.start;
}

static ALWAYS_INLINE u8 ending(const struct native_control *n, int number, const greg_t *g)
{
    if (own_code(n, g))
        return OUTCOME_LOST; /* a selector of `in` that cannot be loaded */
    if (number == SIGPROF)
        return OUTCOME_NONE;
    return number == SIGSYS ? OUTCOME_SYSCALL : (u8)g[REG_TRAPNO];
}

/* Linux reports every fault at an address above user space as a protection violation, so as not to
 * tell what the kernel maps; a case's page tables have nothing there. */
static ALWAYS_INLINE u32 fault_code(u8 vector, u64 err, u64 cr2)
{
    const u64 with_code = BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP) |
                          BIT(VEC_PF) | BIT(VEC_AC);

    if (vector >= 32 || !(with_code >> vector & 1))
        return 0;
    return (u32)(vector == VEC_PF && cr2 >= 0x7ffffffff000 ? err & ~1ull : err);
}

static ALWAYS_INLINE void take(struct native_control *n, int number, ucontext_t *uc)
{
    const struct conform_case *c = &n->cases[n->current];
    struct conform_outcome *o = &n->outcomes[n->current];
    greg_t *g = uc->uc_mcontext.gregs;

    take_segments(n, &o->out, (u64)g[REG_CSGSFS]);
#define GPR(number, index) o->out.gpr[number] = (u64)g[index];
    GPRS(GPR)
#undef GPR
    o->out.rip = (u64)g[REG_RIP];
    o->out.rflags = (u64)g[REG_EFL] & ~(u64)F_RF;
    take_fpu(n, &o->out, (u8 *)uc->uc_mcontext.fpregs);
    o->vector = ending(n, number, g);
    o->cr2 = o->vector == VEC_PF ? (u64)g[REG_CR2] : 0;
    o->error_code = fault_code(o->vector, (u64)g[REG_ERR], o->cr2);
    arena_end(n, c, o);
}

static ALWAYS_INLINE void put(struct native_control *n, ucontext_t *uc)
{
    const struct conform_case *c = &n->cases[n->current];
    const struct conform_state *s = &c->in;
    greg_t *g = uc->uc_mcontext.gregs;

    arena_begin(n, c);
#define GPR(number, index) g[index] = (greg_t)s->gpr[number];
    GPRS(GPR)
#undef GPR
    g[REG_RIP] = (greg_t)s->rip;
    g[REG_EFL] = (greg_t)((s->rflags & CONFORM_FLAGS_IN) | F_IF | F_1);
    g[REG_CSGSFS] = (greg_t)(s->selector[SEG_CS] | (u64)s->selector[SEG_SS] << 48);
    put_fpu(n, s, (u8 *)uc->uc_mcontext.fpregs);
    uc->uc_flags = FRAME_FP_XSTATE | FRAME_SS | FRAME_STRICT_SS;
    *(u64 *)&uc->uc_sigmask = n->signal_mask;
    uc->uc_stack.ss_sp = (u8 *)((u64)uc & -(u64)NATIVE_STACK_BLOCK) + 2 * PAGE_SIZE;
    uc->uc_stack.ss_size = NATIVE_STACK_BLOCK - 2 * PAGE_SIZE;
    uc->uc_stack.ss_flags = (int)NATIVE_AUTODISARM;
    put_segments(n, c);
}

/* Reports the batch as done and waits for the next. */
static ALWAYS_INLINE void next_batch(struct native_control *n, u32 finished)
{
    __atomic_store_n(&n->done, finished, __ATOMIC_SEQ_CST);
    native_child_call(SYS_futex, (u64)&n->done, FUTEX_WAKE, 1, 0, 0, 0);
    while (__atomic_load_n(&n->go, __ATOMIC_SEQ_CST) == finished)
        native_child_call(SYS_futex, (u64)&n->go, FUTEX_WAIT, finished, 0, 0, 0);
    n->current = n->first;
}

/* Returns NT and ID of the state that the signal returns to. */
u64 native_child_signal(int number, siginfo_t *info, ucontext_t *uc, struct native_control *n)
{
    u32 go = n->go;

    (void)info;
    if (number == SIGPROF && (n->tick_go != go || n->tick_current != n->current)) {
        n->tick_go = go;
        n->tick_current = n->current;
        return F_1 | F_IF | ((u64)uc->uc_mcontext.gregs[REG_EFL] & (F_NT | F_ID));
    }
    if (n->running) {
        take(n, number, uc);
        n->current++;
    }
    if (!n->running || n->current >= n->count) {
        n->running = true;
        next_batch(n, go);
    }
    put(n, uc);
    return F_1 | F_IF | (n->cases[n->current].in.rflags & (F_NT | F_ID));
}

/* -- start -- */

/* The kernel may have sealed some of its own mappings (vdso), which then refuses the whole range:
 * halves are tried until only those are left. */
CHILD static void unmap(u64 start, u64 end)
{
    u64 half = (start + (end - start) / 2) & PAGE_MASK;

    if (start == end || !native_child_call(SYS_munmap, start, end - start, 0, 0, 0, 0))
        return;
    if (half == start)
        return;
    unmap(start, half);
    unmap(half, end);
}

CHILD static NORETURN void fail(struct native_control *n, enum native_failure what, u64 result)
{
    n->failed_errno = -(int)result;
    n->failed = what;
    native_child_call(SYS_exit_group, 1, 0, 0, 0, 0, 0);
    __builtin_trap();
}

CHILD static void map_area(struct native_control *n, u32 address, u32 offset, u32 size, int prot)
{
    u64 at =
        native_child_call(SYS_mmap, address, size, (u64)prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                          (u64)n->arena_fd, n->arena_fd_offset + offset);

    if (at != address)
        fail(n, FAIL_ARENA, at);
}

void native_child_main(struct native_control *n)
{
    u64 result;

    unmap(0, n->keep[0].start);
    unmap(n->keep[0].end, n->keep[1].start);
    unmap(n->keep[1].end, 0x7ffffffff000);
    map_area(n, ARENA_CODE, ARENA_OFFSET_CODE, ARENA_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    map_area(n, ARENA_DATA, ARENA_OFFSET_DATA, ARENA_DATA_SIZE, PROT_READ | PROT_WRITE);
    map_area(n, ARENA_RO, ARENA_OFFSET_RO, ARENA_RO_SIZE, PROT_READ);
    map_area(n, ARENA_STACK, ARENA_OFFSET_STACK, ARENA_STACK_SIZE, PROT_READ | PROT_WRITE);
    native_child_call(SYS_close_range, 0, ~0u, 0, 0, 0, 0);
    result = native_child_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                               (u64)&n->filter, 0, 0, 0);
    if (result)
        fail(n, FAIL_SECCOMP, result);
    __asm__ volatile("int3");
    __builtin_unreachable();
}
