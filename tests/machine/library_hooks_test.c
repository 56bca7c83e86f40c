/* SPDX-License-Identifier: MIT
 *
 * Hooks of the public library, in all modes and on every way to memory, and that they change
 * nothing.
 */
#include <stdlib.h>

#include "tests/machine/library.h"

enum { LOG_MAX = 64, PAGE = 4096 };

struct record {
    struct lockstep_access accesses[LOG_MAX];
    u8 bytes[LOG_MAX][64];
    unsigned access_count;
    u64 instructions[LOG_MAX];
    unsigned sizes[LOG_MAX];
    unsigned instruction_count;
    u64 blocks[LOG_MAX];
    unsigned block_count;
    struct lockstep_port_access ports[LOG_MAX];
    unsigned port_count;
    struct lockstep_exception exceptions[LOG_MAX];
    unsigned exception_count;
    u64 stop_instruction, stop_block;
    int stop_vector;
    bool fetches;
    struct lockstep_machine *m;
    enum lockstep_status nested;
};

static enum lockstep_action on_instruction(void *opaque, unsigned cpu, u64 address, const u8 *bytes,
                                           unsigned size)
{
    struct record *r = opaque;

    ck_assert_uint_eq(cpu, 0);
    ck_assert_ptr_nonnull(bytes);
    if (r->instruction_count < LOG_MAX) {
        r->instructions[r->instruction_count] = address;
        r->sizes[r->instruction_count] = size;
    }
    r->instruction_count++;
    return address == r->stop_instruction ? LOCKSTEP_STOP : LOCKSTEP_CONTINUE;
}

static enum lockstep_action on_block(void *opaque, unsigned cpu, u64 address)
{
    struct record *r = opaque;

    ck_assert_uint_eq(cpu, 0);
    if (r->block_count < LOG_MAX)
        r->blocks[r->block_count] = address;
    r->block_count++;
    return address == r->stop_block ? LOCKSTEP_STOP : LOCKSTEP_CONTINUE;
}

static void on_memory(void *opaque, unsigned cpu, const struct lockstep_access *a)
{
    struct record *r = opaque;

    ck_assert_uint_eq(cpu, 0);
    if ((a->kind == LOCKSTEP_FETCH) != r->fetches)
        return;
    if (r->access_count < LOG_MAX) {
        r->accesses[r->access_count] = *a;
        memcpy(r->bytes[r->access_count], a->bytes, a->size < 64 ? a->size : 64);
    }
    r->access_count++;
}

static void on_port(void *opaque, unsigned cpu, const struct lockstep_port_access *a)
{
    struct record *r = opaque;

    ck_assert_uint_eq(cpu, 0);
    if (r->port_count < LOG_MAX)
        r->ports[r->port_count] = *a;
    r->port_count++;
}

static enum lockstep_action on_exception(void *opaque, unsigned cpu,
                                         const struct lockstep_exception *e)
{
    struct record *r = opaque;

    ck_assert_uint_eq(cpu, 0);
    if (r->exception_count < LOG_MAX)
        r->exceptions[r->exception_count] = *e;
    r->exception_count++;
    if (r->m)
        r->nested = lockstep_set_register(r->m, 0, LOCKSTEP_RAX, 1);
    return e->vector == r->stop_vector ? LOCKSTEP_STOP : LOCKSTEP_CONTINUE;
}

static void on_cpuid(void *opaque, unsigned cpu, u32 leaf, u32 subleaf, struct lockstep_cpuid *c)
{
    (void)opaque;
    ck_assert_uint_eq(cpu, 0);
    if (leaf == 0x40000000)
        *c = (struct lockstep_cpuid){1, 2, 3, subleaf};
}

static struct lockstep_hooks all_hooks(struct record *r)
{
    *r = (struct record){.stop_instruction = ~0ull, .stop_block = ~0ull, .stop_vector = -1};
    return (struct lockstep_hooks){.size = sizeof(struct lockstep_hooks),
                                   .opaque = r,
                                   .instruction = on_instruction,
                                   .block = on_block,
                                   .memory = on_memory,
                                   .port = on_port,
                                   .exception = on_exception,
                                   .cpuid = on_cpuid};
}

/* -- instructions and blocks -- */

/* mov cl, 2; 1: nop; dec cl (FE C9); jnz 1b; hlt: in every mode. */
static const u8 loop[] = {0xb1, 2, 0x90, 0xfe, 0xc9, 0x75, 0xfb, 0xf4};

START_TEST(instructions_and_blocks)
{
    static const unsigned bits[] = {16, 32, 64};
    static const u64 want[] = {0, 2, 3, 5, 2, 3, 5, 7}, blocks[] = {0, 2, 7};
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);

    OK(lockstep_set_hooks(m, &hooks));
    lib_start(m, bits[_i], loop, sizeof(loop));
    ck_assert_int_eq(lib_run(m, 100).end, LOCKSTEP_END_HALTED);
    ck_assert_uint_eq(r.instruction_count, ARRAY_SIZE(want));
    for (unsigned n = 0; n < ARRAY_SIZE(want); n++)
        ck_assert_uint_eq(r.instructions[n], LIB_CODE + want[n]);
    ck_assert_uint_eq(r.sizes[0], 2);
    ck_assert_uint_eq(r.sizes[1], 1);
    ck_assert_uint_eq(r.block_count, ARRAY_SIZE(blocks));
    for (unsigned n = 0; n < ARRAY_SIZE(blocks); n++)
        ck_assert_uint_eq(r.blocks[n], LIB_CODE + blocks[n]);
    lockstep_destroy(m);
}
END_TEST

START_TEST(hooks_stop)
{
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);
    struct lockstep_result result;

    lib_start(m, 32, loop, sizeof(loop));
    OK(lockstep_set_hooks(m, &hooks));
    r.stop_instruction = LIB_CODE + 3;
    result = lib_run(m, 100);
    ck_assert_int_eq(result.end, LOCKSTEP_END_HOOK);
    ck_assert_uint_eq(result.rip, LIB_CODE + 3);
    ck_assert_uint_eq(result.instructions, 2);
    r.stop_instruction = ~0ull;
    r.stop_block = LIB_CODE + 7;
    result = lib_run(m, 100);
    ck_assert_int_eq(result.end, LOCKSTEP_END_HOOK);
    ck_assert_uint_eq(result.rip, LIB_CODE + 7);
    r.stop_block = ~0ull;
    ck_assert_int_eq(lib_run(m, 100).end, LOCKSTEP_END_HALTED);
    lockstep_destroy(m);
}
END_TEST

/* A REP instruction is one instruction for the hook, however long it takes. */
START_TEST(rep_is_one_instruction)
{
    static const u8 code[] = {0xf3, 0xaa, 0xf4}; /* rep stosb; hlt */
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);

    OK(lockstep_set_hooks(m, &hooks));
    lib_start(m, 32, code, sizeof(code));
    lib_set(m, LOCKSTEP_RCX, 20000);
    lib_set(m, LOCKSTEP_RDI, LIB_DATA);
    ck_assert_uint_eq(lib_run(m, 100).instructions, 2);
    ck_assert_uint_eq(r.instruction_count, 2);
    ck_assert_uint_eq(r.access_count, 20000);
    lockstep_destroy(m);
}
END_TEST

/* -- memory -- */

struct expect {
    u32 kind;
    u64 linear;
    u32 size;
    u64 value;
};
#define R(linear, size, value)                                                                     \
    {                                                                                              \
        LOCKSTEP_READ, linear, size, value                                                         \
    }
#define W(linear, size, value)                                                                     \
    {                                                                                              \
        LOCKSTEP_WRITE, linear, size, value                                                        \
    }

static const struct access_case {
    const char *name;
    u8 code[16];
    struct expect expect[6]; /* ends with size 0 */
} access_cases[] = {
    /* RDI points to 8877665544332211, RSI to 0, RAX is 1122, RCX 2, RSP the top of the stack */
    {"load", {0x8b, 0x07}, {R(LIB_DATA, 4, 0x44332211)}},
    {"store", {0x66, 0x89, 0x07}, {W(LIB_DATA, 2, 0x1122)}},
    {"add to memory", {0x01, 0x07}, {R(LIB_DATA, 4, 0x44332211), W(LIB_DATA, 4, 0x44333333)}},
    {"locked add", {0xf0, 0x01, 0x07}, {R(LIB_DATA, 4, 0x44332211), W(LIB_DATA, 4, 0x44333333)}},
    {"compare", {0x38, 0x07}, {R(LIB_DATA, 1, 0x11)}},
    {"shift", {0xd0, 0x27}, {R(LIB_DATA, 1, 0x11), W(LIB_DATA, 1, 0x22)}},
    {"locked bts",
     {0xf0, 0x0f, 0xba, 0x2f, 1},
     {R(LIB_DATA, 4, 0x44332211), W(LIB_DATA, 4, 0x44332213)}},
    {"xchg", {0x87, 0x07}, {R(LIB_DATA, 4, 0x44332211), W(LIB_DATA, 4, 0x1122)}},
    {"xadd", {0x0f, 0xc1, 0x07}, {R(LIB_DATA, 4, 0x44332211), W(LIB_DATA, 4, 0x44333333)}},
    {"cmpxchg, different", {0x0f, 0xb1, 0x0f}, {R(LIB_DATA, 4, 0x44332211)}},
    {"cmpxchg, same",
     {0xb8, 0x11, 0x22, 0x33, 0x44, 0xf0, 0x0f, 0xb1, 0x0f},
     {R(LIB_DATA, 4, 0x44332211), W(LIB_DATA, 4, 2)}},
    {"cmpxchg8b", {0x0f, 0xc7, 0x0f}, {R(LIB_DATA, 8, 0x8877665544332211)}},
    {"cmpxchg16b", {0x48, 0x0f, 0xc7, 0x0f}, {R(LIB_DATA, 16, 0)}},
    {"push, pop", {0x50, 0x5a}, {W(LIB_STACK - 8, 8, 0x1122), R(LIB_STACK - 8, 8, 0x1122)}},
    {"call, ret",
     {0xe8, 1, 0, 0, 0, 0xf4, 0xc3},
     {W(LIB_STACK - 8, 8, LIB_CODE + 5), R(LIB_STACK - 8, 8, LIB_CODE + 5)}},
    {"movs", {0xa4}, {R(LIB_DATA + 0x100, 1, 0x99), W(LIB_DATA, 1, 0x99)}},
    {"rep stosb", {0xf3, 0xaa}, {W(LIB_DATA, 1, 0x22), W(LIB_DATA + 1, 1, 0x22)}},
    {"movdqu load", {0xf3, 0x0f, 0x6f, 0x07}, {R(LIB_DATA, 16, 0)}},
    {"movdqu store", {0xf3, 0x0f, 0x7f, 0x07}, {W(LIB_DATA, 16, 0)}},
    {"fild", {0xdb, 0x07}, {R(LIB_DATA, 4, 0x44332211)}},
    {"fstcw", {0xd9, 0x3f}, {W(LIB_DATA, 2, 0x37f)}},
    {"across pages", {0x8b, 0x87, 0xfe, 0x0f, 0, 0}, {R(LIB_DATA + 0xffe, 4, 0)}},
    {"mmio", {0xa1, 0, 0, 0x20, 0, 0, 0, 0, 0}, {R(0x200000, 4, 0xffffffff)}},
    {"sgdt", {0x0f, 0x01, 0x07}, {W(LIB_DATA, 10, 0)}},
    {"segment load",
     {0x8e, 0xe3},
     {R(LIB_GDT + 16, 8, 0x00cf92000000ffff), W(LIB_GDT + 21, 1, 0x93)}},
    {"software interrupt",
     {0xcc},
     {R(LIB_IDT + 48, 8, 0x00018e0000088030), R(LIB_IDT + 56, 8, 0),
      R(LIB_GDT + 8, 8, 0x00af9b000000ffff)}},
};

START_TEST(every_way_to_memory)
{
    const struct access_case *c = &access_cases[_i];
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);
    u8 code[17];
    unsigned n;

    memcpy(code, c->code, 16);
    for (n = 16; n && !code[n - 1]; n--)
        ;
    if (!strcmp(c->name, "mmio") || !strcmp(c->name, "across pages"))
        n = c->code[0] == 0xa1 ? 9 : 6;
    code[n++] = 0xf4;
    lib_start(m, 64, code, n);
    lib_handlers(m);
    lib_store(m, LIB_GDT + 16, 0x00cf92000000ffff, 8);
    lib_store(m, LIB_DATA, 0x8877665544332211, 8);
    lib_store(m, LIB_DATA + 0x100, 0x99, 1);
    lib_set(m, LOCKSTEP_RDI, LIB_DATA);
    lib_set(m, LOCKSTEP_RSI, LIB_DATA + 0x100);
    lib_set(m, LOCKSTEP_RAX, 0x1122);
    lib_set(m, LOCKSTEP_RCX, 2);
    lib_set(m, LOCKSTEP_RBX, 0x10);
    lib_set(m, LOCKSTEP_RDX, 0);
    OK(lockstep_set_hooks(m, &hooks));
    ck_assert_int_eq(lib_run(m, 20).end, LOCKSTEP_END_HALTED);
    for (n = 0; c->expect[n].size; n++) {
        const struct expect *e = &c->expect[n];
        const struct lockstep_access *a = &r.accesses[n];

        ck_assert_msg(n < r.access_count, "%s: %u accesses only", c->name, n);
        ck_assert_msg(a->kind == e->kind && a->linear == e->linear && a->size == e->size,
                      "%s: access %u is kind %u at %lx, %u bytes", c->name, n, a->kind, a->linear,
                      a->size);
        ck_assert_uint_eq(a->physical, e->linear);
        if (e->size <= 8)
            ck_assert_msg(a->value == e->value && !memcmp(r.bytes[n], &e->value, e->size),
                          "%s: access %u has value %lx", c->name, n, a->value);
    }
    if (strcmp(c->name, "software interrupt")) /* goes on with the stack */
        ck_assert_msg(r.access_count == n, "%s: %u accesses", c->name, r.access_count);
    lockstep_destroy(m);
}
END_TEST

START_TEST(fetches)
{
    static const u8 code[] = {0xb8, 1, 0, 0, 0, 0xf4};
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);

    r.fetches = true;
    OK(lockstep_set_hooks(m, &hooks));
    lib_start(m, 32, code, sizeof(code));
    lib_run(m, 10);
    ck_assert_uint_eq(r.access_count, 2);
    ck_assert_uint_eq(r.accesses[0].kind, LOCKSTEP_FETCH);
    ck_assert_uint_eq(r.accesses[0].size, 5);
    ck_assert_uint_eq(r.accesses[0].value, 0x1b8);
    ck_assert_uint_eq(r.accesses[1].linear, LIB_CODE + 5);
    lockstep_destroy(m);
}
END_TEST

/* -- ports, exceptions, CPUID -- */

START_TEST(ports)
{
    /* in al, dx; out dx, ax; outsb; insb; hlt */
    static const u8 code[] = {0xec, 0x66, 0xef, 0x6e, 0x6c, 0xf4};
    static const struct lockstep_port_access want[] = {{0x70, false, 1, 0xff},
                                                       {0x70, true, 2, 0x12ff},
                                                       {0x70, true, 1, 0x5a},
                                                       {0x70, false, 1, 0xff}};
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);

    OK(lockstep_set_hooks(m, &hooks));
    lib_start(m, 32, code, sizeof(code));
    lib_store(m, LIB_DATA, 0x5a, 1);
    lib_set(m, LOCKSTEP_RAX, 0x1200);
    lib_set(m, LOCKSTEP_RDX, 0x70);
    lib_set(m, LOCKSTEP_RSI, LIB_DATA);
    lib_set(m, LOCKSTEP_RDI, LIB_DATA + 8);
    ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_HALTED);
    ck_assert_uint_eq(r.port_count, ARRAY_SIZE(want));
    for (unsigned n = 0; n < ARRAY_SIZE(want); n++) {
        ck_assert_uint_eq(r.ports[n].port, want[n].port);
        ck_assert_int_eq(r.ports[n].write, want[n].write);
        ck_assert_uint_eq(r.ports[n].size, want[n].size);
        ck_assert_uint_eq(r.ports[n].value, want[n].value);
    }
    lockstep_destroy(m);
}
END_TEST

START_TEST(exceptions)
{
    static const u8 code[] = {0x0f, 0x0b}, more[] = {0xcd, 0x30};
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);
    struct lockstep_result result;

    r.m = m;
    OK(lockstep_set_hooks(m, &hooks));
    lib_start(m, 64, code, sizeof(code));
    lib_handlers(m);
    OK(lockstep_write_physical(m, LIB_HANDLER + 16 * 6, more, sizeof(more)));
    result = lib_run(m, 10);
    ck_assert_int_eq(result.end, LOCKSTEP_END_HALTED);
    ck_assert_int_eq(r.nested, LOCKSTEP_BUSY);
    ck_assert_uint_eq(r.exception_count, 2);
    ck_assert_uint_eq(r.exceptions[0].vector, 6);
    ck_assert_uint_eq(r.exceptions[0].kind, LOCKSTEP_EVENT_FAULT);
    ck_assert_uint_eq(r.exceptions[0].rip, LIB_CODE);
    ck_assert_uint_eq(r.exceptions[1].vector, 0x30);
    ck_assert_uint_eq(r.exceptions[1].kind, LOCKSTEP_EVENT_SOFTWARE);
    ck_assert_uint_eq(r.exceptions[1].return_rip, LIB_HANDLER + 16 * 6 + 2);
    /* A hook that stops, on an interrupt: it is forgotten, and wakes the processor. */
    r.stop_vector = 0x41;
    lib_set(m, LOCKSTEP_RFLAGS, 0x202);
    OK(lockstep_interrupt(m, 0x41));
    result = lib_run(m, 10);
    ck_assert_int_eq(result.end, LOCKSTEP_END_HOOK);
    ck_assert_int_eq(result.exception.delivered, false);
    ck_assert_uint_eq(lib_state(m).activity, LOCKSTEP_ACTIVE);
    r.stop_vector = 2;
    OK(lockstep_nmi(m, 0));
    ck_assert_int_eq(lib_run(m, 10).end, LOCKSTEP_END_HOOK);
    ck_assert_int_eq(lib_state(m).nmi_blocked, false);
    lockstep_destroy(m);
}
END_TEST

START_TEST(cpuid)
{
    static const u8 code[] = {0x0f, 0xa2, 0xf4};
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);
    u64 vendor;

    lib_start(m, 64, code, sizeof(code));
    lib_set(m, LOCKSTEP_RAX, 0);
    lib_run(m, 10);
    vendor = lib_get(m, LOCKSTEP_RBX);
    OK(lockstep_set_hooks(m, &hooks));
    lib_start(m, 64, code, sizeof(code));
    lib_set(m, LOCKSTEP_RAX, 0);
    lib_run(m, 10);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RBX), vendor);
    lib_start(m, 64, code, sizeof(code));
    lib_set(m, LOCKSTEP_RAX, 0x40000000);
    lib_set(m, LOCKSTEP_RCX, 9);
    lib_run(m, 10);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RBX), 2);
    ck_assert_uint_eq(lib_get(m, LOCKSTEP_RDX), 9);
    lockstep_destroy(m);
}
END_TEST

START_TEST(hooks_are_checked)
{
    struct lockstep_machine *m = lib_create();
    struct lockstep_hooks hooks = {.size = 5};

    FAILS(LOCKSTEP_INVALID, lockstep_set_hooks(m, &hooks));
    FAILS(LOCKSTEP_INVALID, lockstep_set_hooks(NULL, NULL));
    OK(lockstep_set_hooks(m, NULL));
    lockstep_destroy(m);
}
END_TEST

/* -- hooks change nothing -- */

/* 64-bit: string copies over pages both ways, stack, locked and plain read-modify-write, SIMD and
 * x87, a store into the next instruction, and a trip through the IDT. */
static const u8 mix64[] = {
    0xb9, 0x28, 0x23, 0x00, 0x00,                   /* mov ecx, 9000 */
    0xbf, 0x00, 0x00, 0x03, 0x00,                   /* mov edi, 30000h */
    0xbe, 0x03, 0x00, 0x02, 0x00,                   /* mov esi, 20003h */
    0xf3, 0xa4,                                     /* rep movsb */
    0xb9, 0x00, 0x08, 0x00, 0x00,                   /* mov ecx, 800h */
    0xfd,                                           /* std */
    0xf3, 0x48, 0xab,                               /* rep stosq */
    0xfc,                                           /* cld */
    0xb9, 0x00, 0x20, 0x00, 0x00,                   /* mov ecx, 2000h */
    0xf3, 0xa6,                                     /* repe cmpsb */
    0x50,                                           /* push rax */
    0xf0, 0x48, 0x0f, 0xc1, 0x04, 0x24,             /* lock xadd [rsp], rax */
    0x48, 0xff, 0x04, 0x24,                         /* inc qword [rsp] */
    0xf3, 0x0f, 0x6f, 0x0c, 0x25, 0,    0,    2, 0, /* movdqu xmm1, [20000h] */
    0x66, 0x0f, 0xfe, 0xc9,                         /* paddd xmm1, xmm1 */
    0xf3, 0x0f, 0x7f, 0x0c, 0x25, 0xf8, 0x0f, 5, 0, /* movdqu [50ff8h], xmm1 */
    0xdb, 0x04, 0x25, 0,    0,    2,    0,          /* fild dword [20000h] */
    0xdb, 0x3c, 0x25, 0,    0,    6,    0,          /* fstp tword [60000h] */
    0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x77,       /* mov byte [rip + 1], 77h */
    0xb0, 0x11,                                     /* mov al, 11h -> 77h */
    0x0f, 0x31,                                     /* rdtsc */
    0x0f, 0xc7, 0xf3,                               /* rdrand ebx */
    0xcd, 0x30,                                     /* int 30h */
    0xf4,                                           /* hlt */
};

/* 16-bit, protected 32-bit too: a loop with pushes, a repeated store and a call. */
static const u8 mix16[] = {
    0xb9, 0x40, 0x00, /* mov cx, 64 */
    0x51,             /* 1: push cx */
    0xe8, 0x07, 0x00, /* call 2f */
    0x59,             /* pop cx */
    0xe2, 0xf9,       /* loop 1b */
    0xcd, 0x21,       /* int 21h: no vector table, goes to 0:0 */
    0xf4, 0xf4,       /* hlt */
    0xb9, 0x05, 0x01, /* 2: mov cx, 261 */
    0xf3, 0xaa,       /* rep stosb */
    0x01, 0x0f,       /* add [bx], cx */
    0xff, 0x07,       /* inc word [bx] */
    0xc3,             /* ret */
};

struct outcome {
    struct lockstep_state state;
    u64 instructions;
    u32 end;
    u8 *memory;
};

/* Runs a program in slices, so that budgets end inside of it. */
static struct outcome outcome_of(unsigned bits, bool hooked, u64 slice)
{
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);
    struct lockstep_result result = {.end = LOCKSTEP_END_BUDGET};
    struct outcome o;

    if (hooked)
        OK(lockstep_set_hooks(m, &hooks));
    for (unsigned n = 0; n < 0x4000; n++)
        lib_store(m, LIB_DATA + 4 * n, n * 2654435761u, 4);
    lib_store(m, 0, 0xf4, 1);
    if (bits == 64)
        lib_start(m, 64, mix64, sizeof(mix64));
    else
        lib_start(m, 16, mix16, sizeof(mix16));
    if (bits == 64) {
        lib_handlers(m);
    } else {
        o.state = lib_state(m);
        o.state.idtr.limit = 0x3ff;
        OK(lockstep_set_state(m, 0, LOCKSTEP_STATE_SEGMENTS, &o.state));
    }
    lib_set(m, LOCKSTEP_RBX, 0x4000);
    for (unsigned n = 0; n < 10000 && result.end == LOCKSTEP_END_BUDGET; n++)
        result = lib_run(m, slice);
    o.end = result.end;
    o.instructions = lockstep_instructions(m);
    o.state = lib_state(m);
    o.memory = malloc(LIB_MEMORY);
    OK(lockstep_read_physical(m, 0, o.memory, LIB_MEMORY));
    if (hooked)
        ck_assert_uint_gt(r.instruction_count, 20);
    lockstep_destroy(m);
    return o;
}

START_TEST(hooks_change_nothing)
{
    const unsigned bits = _i & 1 ? 64 : 16;
    const u64 slice = _i & 2 ? 3 : LOCKSTEP_UNLIMITED;
    struct outcome plain = outcome_of(bits, false, slice), hooked = outcome_of(bits, true, slice);

    ck_assert_uint_eq(plain.end, LOCKSTEP_END_HALTED);
    ck_assert_uint_eq(hooked.end, LOCKSTEP_END_HALTED);
    ck_assert_uint_eq(plain.state.rip, bits == 64 ? LIB_HANDLER + 16 * 0x30 + 1 : 1);
    ck_assert_uint_eq(plain.instructions, hooked.instructions);
    ck_assert_mem_eq(&plain.state, &hooked.state, sizeof(plain.state));
    ck_assert(!memcmp(plain.memory, hooked.memory, LIB_MEMORY));
    free(plain.memory);
    free(hooked.memory);
}
END_TEST

/* The device asks for an interrupt in the middle of REP STOSB that began in plain memory. */
static void ask_for_interrupt(void *opaque, u64 offset, unsigned size, u64 value)
{
    (void)offset, (void)size, (void)value;
    OK(lockstep_interrupt(opaque, 0x40));
}

static u64 rcx_at_interrupt(bool hooked)
{
    static const u8 code[] = {0xfb, 0xf3, 0xaa, 0xf4}; /* sti; rep stosb; hlt */
    struct lockstep_machine *m = lib_create();
    struct record r;
    struct lockstep_hooks hooks = all_hooks(&r);
    struct lockstep_result result;

    if (hooked)
        OK(lockstep_set_hooks(m, &hooks));
    OK(lockstep_map_mmio(m, LIB_MEMORY, 8 * PAGE, NULL, ask_for_interrupt, m, NULL));
    lib_start(m, 64, code, sizeof(code));
    lib_handlers(m);
    lib_set(m, LOCKSTEP_RCX, 20000);
    lib_set(m, LOCKSTEP_RDI, LIB_MEMORY - PAGE - 3000);
    result = lib_run(m, 100);
    ck_assert_uint_eq(result.rip, LIB_HANDLER + 16 * 0x40 + 1);
    result.rip = lib_get(m, LOCKSTEP_RCX);
    lockstep_destroy(m);
    return result.rip;
}

START_TEST(interrupt_comes_at_the_same_element)
{
    ck_assert_uint_eq(rcx_at_interrupt(false), rcx_at_interrupt(true));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("library_hooks");
    TCase *tc = tcase_create("hooks");

    tcase_add_loop_test(tc, instructions_and_blocks, 0, 3);
    tcase_add_test(tc, hooks_stop);
    tcase_add_test(tc, rep_is_one_instruction);
    tcase_add_loop_test(tc, every_way_to_memory, 0, ARRAY_SIZE(access_cases));
    tcase_add_test(tc, fetches);
    tcase_add_test(tc, ports);
    tcase_add_test(tc, exceptions);
    tcase_add_test(tc, cpuid);
    tcase_add_test(tc, hooks_are_checked);
    tcase_add_loop_test(tc, hooks_change_nothing, 0, 4);
    tcase_add_test(tc, interrupt_comes_at_the_same_element);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
