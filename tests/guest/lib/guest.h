/* SPDX-License-Identifier: MIT
 *
 * The small library of the bare-metal guest tests. Two ways to run an instruction and look at what
 * it did: TRY() for one instruction at CPL 0, and context_run() for a piece of code in any mode and
 * at any privilege, from a full set of registers, until the first exception or interrupt. Both
 * leave the vector, error code, CR2, DR6 and the saved registers. Results go to COM1, one line per
 * fact, and the machine ends through isa-debug-exit: status 33 is success, all else a failure.
 */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned long ulong; /* a register */
typedef _Bool bool;

#define true 1
#define false 0
#define NULL          ((void *)0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)        (1ull << (n))
#ifdef __x86_64__
#define LONG_MODE  true
#define HOST_BITS  "64"
#define WORD_MOV   "movq"
#define STACK_NAME "%%rsp"
#else
#define LONG_MODE  false
#define HOST_BITS  "32"
#define WORD_MOV   "movl"
#define STACK_NAME "%%esp"
#endif

/* -- Selectors of the table in boot.asm ----------------------------------------------------- */

enum selector {
    K_CS32 = 0x08,
    K_DS = 0x10,
    U_CS32 = 0x1b,
    U_DS = 0x23,
    U_CS64 = 0x2b,
    K_CS64 = 0x30,
    K_CS16 = 0x40,
    K_DS16 = 0x48,
    U_CS16 = 0x53,
    U_DS16 = 0x5b,
    TSS_SEL = 0x60,
    TSS2_SEL = 0x70,
    LDT_SEL = 0x78,
    FREE_SEL = 0x88, /* from here on, a test's own */
#ifdef __x86_64__
    K_CS = K_CS64,
    U_CS = U_CS64,
#else
    K_CS = K_CS32,
    U_CS = U_CS32,
#endif
};

enum vector {
    DE = 0,
    DB = 1,
    NMI = 2,
    BP = 3,
    OF = 4,
    BR = 5,
    UD = 6,
    NM = 7,
    DF = 8,
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14,
    MF = 16,
    AC = 17,
    XM = 19,
    END = 0x7f, /* what a snippet ends with */
    NO_TRAP = 0xffff,
};

enum eflags {
    FL_CF = 1 << 0,
    FL_ONE = 1 << 1,
    FL_PF = 1 << 2,
    FL_AF = 1 << 4,
    FL_ZF = 1 << 6,
    FL_SF = 1 << 7,
    FL_TF = 1 << 8,
    FL_IF = 1 << 9,
    FL_DF = 1 << 10,
    FL_OF = 1 << 11,
    FL_IOPL = 3 << 12,
    FL_NT = 1 << 14,
    FL_RF = 1 << 16,
    FL_VM = 1 << 17,
    FL_AC = 1 << 18,
    FL_VIF = 1 << 19,
    FL_VIP = 1 << 20,
    FL_ID = 1 << 21,
    FL_ARITH = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
};

enum control {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_EM = 1 << 2,
    CR0_TS = 1 << 3,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
    CR4_VME = 1 << 0,
    CR4_PVI = 1 << 1,
    CR4_TSD = 1 << 2,
    CR4_DE = 1 << 3,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_PGE = 1 << 7,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMMEXCPT = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
    CR4_PKE = 1 << 22,
};
#define CR0_PG 0x80000000ul

enum msr {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_MTRR_CAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_DEBUGCTL = 0x1d9,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_XSS = 0xda0,
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_CSTAR = 0xc0000083,
    MSR_FMASK = 0xc0000084,
    MSR_FS_BASE = 0xc0000100,
    MSR_GS_BASE = 0xc0000101,
    MSR_KERNEL_GS_BASE = 0xc0000102,
    MSR_TSC_AUX = 0xc0000103,
    EFER_SCE = 1 << 0,
    EFER_LME = 1 << 8,
    EFER_LMA = 1 << 10,
    EFER_NXE = 1 << 11,
};

/* -- Results -------------------------------------------------------------------------------- */

void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The name comes last, printf-like. Inside a group only failures print a line of their own. */
bool check(bool good, const char *name, ...) __attribute__((format(printf, 2, 3)));
bool check_eq(u64 got, u64 want, const char *name, ...) __attribute__((format(printf, 3, 4)));
void check_skip(const char *name, const char *why);
/* 64 by 32 bits without libgcc. */
u64 divide_u64(u64 value, u32 by, u32 *rest);
/* True under QEMU TCG, after a SKIP line: for the few checks that end the machine or hang there. */
bool skip_on_qemu(const char *name);
void group_begin(const char *name);
void group_end(void);
/* Ends the machine. Never returns. */
void guest_exit(void) __attribute__((noreturn));
void guest_panic(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Whether the kernel command line holds this word. */
bool guest_option(const char *word);
/* Every test defines this. */
void guest_main(void);

/* -- Traps ---------------------------------------------------------------------------------- */

/* What the entry code pushes. 32-bit frames from the same privilege end before sp. */
struct frame {
    ulong gs, fs, es, ds;
#ifdef __x86_64__
    ulong r15, r14, r13, r12, r11, r10, r9, r8;
#endif
    ulong di, si, bp, unused_sp, bx, dx, cx, ax;
    ulong vector, error;
    ulong ip, cs, flags, sp, ss;
#ifndef __x86_64__
    ulong v86_es, v86_ds, v86_fs, v86_gs;
#endif
};

/* What the last TRY() met; vector is NO_TRAP after an instruction that completed. */
struct trap {
    ulong vector, error, ip, cr2, flags, dr6;
    ulong start, end; /* of the instruction */
    u32 count;        /* traps since arming */
};
extern volatile struct trap trap;
extern volatile ulong try_ip;
void trap_arm(void);

/* A test's own handler; it runs on the trap stack with interrupts off and may change the frame. */
typedef void trap_handler(struct frame *);
void trap_set_handler(u32 vector, trap_handler *handler);

/* TRY("insn", outputs : inputs : clobbers) with the colons of asm(), as in TRY("cli", ::). */
#define TRY(insn, ...)                                                                             \
    do {                                                                                           \
        trap_arm();                                                                                \
        asm volatile(WORD_MOV " $770f, trap_start\n\t" WORD_MOV " $771f, try_ip\n"                 \
                              "770:\t" insn "\n771:\n" __VA_ARGS__);                               \
        try_ip = 0;                                                                                \
    } while (0)

/* The last TRY() raised this fault, at the instruction itself. error -1 does not look at it. */
bool check_fault(u32 vector, i64 error, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
bool check_pf(u32 error, ulong cr2, const char *name, ...) __attribute__((format(printf, 3, 4)));
bool check_no_fault(const char *name, ...) __attribute__((format(printf, 1, 2)));

/* -- Contexts ------------------------------------------------------------------------------- */

struct context {
    ulong ax, cx, dx, bx, sp, bp, si, di;
#ifdef __x86_64__
    ulong r8, r9, r10, r11, r12, r13, r14, r15;
#endif
    ulong ip, flags, cs, ss, ds, es, fs, gs;
    /* Filled in by a run: */
    ulong vector, error, cr2, dr6;
    ulong base; /* where the snippet started; set by context_at() */
};

/* Code for a context: a byte run in .snippets. It ends in INT 7f; absolute references to its own
 * labels must be relative to its name when it is copied elsewhere. */
#define SNIPPET(bits, name, text)                                                                  \
    asm(".pushsection .snippets,\"awx\"\n.code" #bits "\n.global " #name "\n" #name ":\n" text     \
        "\nint $0x7f\n.global " #name "_end\n" #name "_end:\n.code" HOST_BITS "\n.popsection\n");  \
    extern u8 name[], name##_end[] __attribute__((unused))

/* The same in code of the image's own width. */
#ifdef __x86_64__
#define SNIPPET_NATIVE(name, text) SNIPPET(64, name, text)
#else
#define SNIPPET_NATIVE(name, text) SNIPPET(32, name, text)
#endif

/* A flat context at this privilege (0 or 3) with a stack of its own. */
struct context context_flat(u32 cpl);
extern u8 context_stack[2][8192], snippets_start[], snippets_end[];
/* Runs until something traps; fills the context in. */
void context_run(struct context *c);
/* The same from the start of a snippet. */
void context_at(struct context *c, const u8 *snippet);
/* The context ended with this; ip_offset -1 does not look at it, else it counts from base. */
bool check_end(const struct context *c, u32 vector, i64 error, i64 ip_offset, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

#ifndef __x86_64__
/* Real mode. Code is copied to REAL_CODE and runs with CS = 0; big gives DS, ES, FS, GS 4 GiB. */
enum { REAL_CODE = 0xb000, REAL_STACK = 0x8000, REAL_DATA = 0x20000 };
struct context context_real(void);
void real_run(struct context *c, const u8 *code, const u8 *end, bool big);
void real_start(void);
#endif

/* -- Tables --------------------------------------------------------------------------------- */

extern u64 gdt[128];
extern const u8 trap_entries[256][16];
struct table_pointer {
    u16 limit;
    ulong base;
} __attribute__((packed));
extern struct table_pointer gdt_pointer, idt_pointer;

#ifdef __x86_64__
struct gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};
struct tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, io_base;
    u8 io_map[8193];
} __attribute__((packed));
#else
struct gate {
    u16 offset_low, selector;
    u8 parameters, type;
    u16 offset_high;
};
struct tss {
    u16 link, reserved0;
    u32 esp0;
    u16 ss0, reserved1;
    u32 esp1;
    u16 ss1, reserved2;
    u32 esp2;
    u16 ss2, reserved3;
    u32 cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u32 es, cs, ss, ds, fs, gs, ldt;
    u16 trap, io_base;
    u8 io_map[8193];
} __attribute__((packed));
#endif
extern struct gate idt[256];
extern struct tss tss;
enum gate_type {
    TASK_GATE = 5,
    INTERRUPT_GATE = 0xe,
    TRAP_GATE = 0xf,
    PRESENT = 0x80,
    DPL3 = 0x60
};
void idt_set(u32 vector, const void *entry, u16 selector, u8 type);
/* base, limit in its own unit, access byte (P, DPL, S, type), flags nibble (G, D, L, AVL). */
u64 descriptor(ulong base, u32 limit, u8 access, u8 flags);
void descriptor_set(u16 selector, u64 value);

/* -- Memory --------------------------------------------------------------------------------- */

void *memset(void *to, int value, ulong size);
void *memcpy(void *to, const void *from, ulong size);
int memcmp(const void *a, const void *b, ulong size);
/* Physical pages from 16 MiB up, zeroed, also mapped there. */
void *page_alloc(void);

enum pte {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_PWT = 1 << 3,
    PTE_PCD = 1 << 4,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
};
#define PTE_NX (1ull << 63)
#ifdef __x86_64__
/* Maps one 4 KiB page in the running tables and drops the old translation. Upper levels are made
 * with all rights. Returns the page's entry. */
u64 *page_map(ulong va, u64 entry);
/* The entry at a level (1 is the page, 4 the PML4 entry) or NULL where there is none. */
u64 *page_entry(ulong va, u32 level);
#endif

/* -- Instructions --------------------------------------------------------------------------- */

static inline void outb(u16 port, u8 v)
{
    asm volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline u8 inb(u16 port)
{
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline void outl(u16 port, u32 v)
{
    asm volatile("outl %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline u32 inl(u16 port)
{
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline u64 rdmsr(u32 index)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index) : "memory");
    return (u64)high << 32 | low;
}
static inline void wrmsr(u32 index, u64 v)
{
    asm volatile("wrmsr" ::"c"(index), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (u64)high << 32 | low;
}
struct cpuid {
    u32 a, b, c, d;
};
static inline struct cpuid cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "0"(leaf), "2"(subleaf));
    return r;
}
bool cpu_is_intel(void);

#define ACCESSORS(reg)                                                                             \
    static inline ulong read_##reg(void)                                                           \
    {                                                                                              \
        ulong v;                                                                                   \
        asm volatile("mov %%" #reg ", %0" : "=r"(v)::"memory");                                    \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write_##reg(ulong v)                                                        \
    {                                                                                              \
        asm volatile("mov %0, %%" #reg ::"r"(v) : "memory");                                       \
    }
ACCESSORS(cr0)
ACCESSORS(cr2)
ACCESSORS(cr3)
ACCESSORS(cr4)
ACCESSORS(db0)
ACCESSORS(db1)
ACCESSORS(db2)
ACCESSORS(db3)
ACCESSORS(db6)
ACCESSORS(db7)
#undef ACCESSORS

static inline void invlpg(ulong va)
{
    asm volatile("invlpg (%0)" ::"r"(va) : "memory");
}
static inline void pause(void)
{
    asm volatile("pause" ::: "memory");
}
static inline void barrier(void)
{
    asm volatile("" ::: "memory");
}

/* -- Interrupt controllers and timers ------------------------------------------------------- */

enum { IRQ_BASE = 0x20, LAPIC_DEFAULT = 0xfee00000 };
/* Both 8259s at vectors 20-2f, all lines masked; done before guest_main(). */
void pic_start(void);
void pic_mask(u16 mask);
void pic_eoi(u32 irq);
u32 lapic_read(u32 reg);
void lapic_write(u32 reg, u32 value);
void pit_program(u32 channel, u32 mode, u16 count);
u16 pit_read(u32 channel);
/* TSC ticks a second, measured once against PIT channel 2. */
u64 tsc_hz(void);
/* Waits with interrupts on until *flag or the time is over. Returns *flag. */
u32 wait_flag(volatile u32 *flag, u32 milliseconds);
void delay_us(u32 microseconds);
/* So many microseconds in TSC cycles. */
u64 tsc_cycles(u32 microseconds);

#endif
