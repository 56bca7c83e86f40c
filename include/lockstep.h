/* SPDX-License-Identifier: MIT
 *
 * Lockstep as a library: x86-64 processors and PCs inside a program.
 *
 * A machine is either
 *   - CPU-only (lockstep_create_cpu()): one processor and the memory, device registers and ports
 *     that the program maps; nothing else exists, and its time is counted in instructions; or
 *   - a whole PC (lockstep_create_pc()): what the `lockstep` command runs.
 * Both are run with lockstep_run(), and their processors are looked at and changed the same way.
 *
 * Errors. Every function that can fail returns enum lockstep_status, LOCKSTEP_OK (0) for success.
 * A function that fails changes nothing. lockstep_error() has one sentence about the last failure
 * on a machine; creating functions give it in a struct lockstep_error instead. Wrong arguments
 * (NULL, out of range, wrong size fields) are LOCKSTEP_INVALID and never end the process.
 *
 * Threads. A machine and everything got from it is used by one thread at a time; different machines
 * by different threads at once. lockstep_stop(), lockstep_interrupt() and lockstep_nmi() may be
 * called from any thread, lockstep_stop() from a signal handler, too. Callbacks and hooks are
 * called on the thread that is in lockstep_run(). They may read state and read and write memory; to
 * run the machine or to change registers in one is LOCKSTEP_BUSY.
 *
 * Signals. The processor's SIMD and x87 instructions run on the host. For them the first machine of
 * a process installs handlers of SIGFPE and SIGILL, which pass on all signals that are not theirs.
 *
 * Names. Addresses are 64 bits wide; sizes are in bytes. "Physical" and "linear" are the guest's.
 * Structures that may grow begin with their own size: set it to sizeof(struct).
 */
#ifndef LOCKSTEP_H
#define LOCKSTEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOCKSTEP_VERSION_MAJOR 0
#define LOCKSTEP_VERSION_MINOR 1
#define LOCKSTEP_VERSION_PATCH 0

/* Functions of the library; nothing else is exported. */
#define LOCKSTEP_API           __attribute__((visibility("default")))

/* -- errors -- */

enum lockstep_status {
    LOCKSTEP_OK = 0,
    LOCKSTEP_INVALID = 1,     /* an argument is not acceptable */
    LOCKSTEP_NO_MEMORY = 2,   /* the host has no memory or address space left */
    LOCKSTEP_OVERLAP = 3,     /* an address or port range is taken */
    LOCKSTEP_NOT_FOUND = 4,   /* no such file, feature, register, mapping or hook */
    LOCKSTEP_UNSUPPORTED = 5, /* understood, but this build, host or kind of machine cannot do it */
    LOCKSTEP_IO = 6,          /* a host file or system call failed */
    LOCKSTEP_BUSY = 7,        /* not possible while the machine runs (called in a callback) */
    LOCKSTEP_FAULT = 8,       /* a linear address is not mapped, or the access is not permitted */
};

struct lockstep_error {
    char text[512]; /* one sentence without a newline */
};

struct lockstep_machine; /* opaque */

/* "0.1.0": the version of the library that is loaded. Never freed. Any thread. */
LOCKSTEP_API const char *lockstep_version(void);
/* A few words for a status, "no memory". Never NULL, never freed. Any thread. */
LOCKSTEP_API const char *lockstep_status_name(enum lockstep_status status);
/* The sentence of the last call that failed on this machine; "" if none has. Valid until the next
 * call on the machine. NULL: a sentence that says so. */
LOCKSTEP_API const char *lockstep_error(const struct lockstep_machine *machine);

/* -- creation -- */

enum lockstep_engine {
    LOCKSTEP_ENGINE_INTERPRETER = 0, /* the reference engine */
    LOCKSTEP_ENGINE_JIT = 1, /* translated code: the same results, faster; with any hook set the
                                interpreter runs instead. UNSUPPORTED without executable memory */
};

enum lockstep_clock {
    LOCKSTEP_CLOCK_COUNTED = 0, /* guest time is counted in instructions: the same run every time */
    LOCKSTEP_CLOCK_REAL = 1,    /* guest time is the host's */
};

/* What a CPU-only machine is made of. Zeroes are good values for all but `size`. Strings are
 * borrowed during the call. */
struct lockstep_cpu_config {
    uint32_t size;         /* sizeof(struct lockstep_cpu_config) */
    uint32_t engine;       /* enum lockstep_engine */
    uint32_t clock;        /* enum lockstep_clock: what the TSC shows */
    uint32_t reserved;     /* 0 */
    const char *model;     /* as -cpu of the command: "x86-64-v3", "max,-avx2"; NULL: max */
    uint64_t memory_limit; /* most bytes of lockstep_map_memory() at one time; only address
                              space until they are touched. 0: 4 GiB */
    uint64_t instructions_per_second; /* counted clock: guest speed. 0: 100 million */
};

/* Creates a machine of one processor in power-on state (real mode, CS:IP = F000:FFF0) with an empty
 * address space. *machine is the caller's, to be freed with lockstep_destroy(); error may be NULL.
 * Errors: INVALID, NOT_FOUND (model or feature), UNSUPPORTED (engine; host lacks a feature),
 * NO_MEMORY. */
LOCKSTEP_API enum lockstep_status lockstep_create_cpu(const struct lockstep_cpu_config *config,
                                                      struct lockstep_machine **machine,
                                                      struct lockstep_error *error);

/* Bytes that a guest sent to serial port 0-3. Called in lockstep_run(). */
typedef void lockstep_serial_fn(void *opaque, unsigned port, const uint8_t *bytes, size_t count);

/* What a PC is made of; members are named as the command's options. lockstep_pc_config_init()
 * fills in the command's defaults. Strings are borrowed during the call. */
struct lockstep_pc_config {
    uint32_t size;      /* sizeof(struct lockstep_pc_config) */
    uint32_t engine;    /* enum lockstep_engine */
    uint32_t clock;     /* enum lockstep_clock */
    uint32_t cpus;      /* -smp, 1-255 */
    uint64_t memory;    /* -m, in bytes */
    const char *model;  /* -cpu; NULL: max */
    const char *kernel; /* -kernel: path of a Linux bzImage or multiboot image; NULL: none */
    const char *initrd; /* -initrd: path; NULL: none */
    const char *append; /* -append: kernel command line; NULL: empty */
    const char *bios;   /* -bios: path, "none" to enter the kernel directly; NULL: SeaBIOS */
    lockstep_serial_fn *serial_output; /* NULL: the serial ports exist, output is dropped */
    void *serial_opaque;
    uint32_t serial_ports;            /* how many serial ports there are, 0-4 */
    bool no_reboot;                   /* -no-reboot: a reset ends the machine */
    bool debug_exit;                  /* the isa-debug-exit device at port debug_exit_port */
    uint16_t debug_exit_port;         /* 4 ports wide; usual: 0xf4 */
    uint64_t instructions_per_second; /* counted clock. 0: 100 million */
    const char *hv;                   /* -hv: "off", "min", "full,-stimer"; NULL: full */
};

/* Fills in the command's defaults, but the counted clock, and one serial port. Errors: INVALID
 * (config is NULL). */
LOCKSTEP_API enum lockstep_status lockstep_pc_config_init(struct lockstep_pc_config *config);
/* Builds a PC and switches it on (nothing runs yet). Ownership and errors as lockstep_create_cpu();
 * also IO (a file cannot be read). */
LOCKSTEP_API enum lockstep_status lockstep_create_pc(const struct lockstep_pc_config *config,
                                                     struct lockstep_machine **machine,
                                                     struct lockstep_error *error);
/* Frees a machine with all that belongs to it; pointers from lockstep_memory() die with it. NULL is
 * legal. Must not be called in a callback of the machine. */
LOCKSTEP_API void lockstep_destroy(struct lockstep_machine *machine);
/* Processors of the machine; 0 for NULL. */
LOCKSTEP_API unsigned lockstep_cpu_count(const struct lockstep_machine *machine);
/* Back to power-on state: the processor of a CPU-only machine (its memory stays as it is), or the
 * whole PC. Errors: BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_reset(struct lockstep_machine *machine);

/* -- running -- */

enum lockstep_end {
    LOCKSTEP_END_BUDGET = 0,    /* the instructions asked for have retired */
    LOCKSTEP_END_ADDRESS = 1,   /* the next instruction is at `until` */
    LOCKSTEP_END_HALTED = 2,    /* HLT (MWAIT, waiting for SIPI) with nothing to wake the processor;
                                    PC, counted clock: also 60 s of guest time without an instruction,
                                    as a guest that waits for input */
    LOCKSTEP_END_SHUTDOWN = 3,  /* triple fault */
    LOCKSTEP_END_STOPPED = 4,   /* lockstep_stop() */
    LOCKSTEP_END_HOOK = 5,      /* a hook returned LOCKSTEP_STOP */
    LOCKSTEP_END_EXCEPTION = 6, /* an exception chosen with lockstep_stop_on_exception(); it was not
                                   delivered */
    LOCKSTEP_END_POWER_OFF = 7, /* PC: the guest switched itself off */
    LOCKSTEP_END_REBOOT = 8,    /* PC: a reset with no_reboot set */
    LOCKSTEP_END_DEBUG_EXIT = 9, /* PC: a write to isa-debug-exit; exit_code has the status */
};

/* What raised an exception or interrupt. */
enum lockstep_event_kind {
    LOCKSTEP_EVENT_NONE = 0,
    LOCKSTEP_EVENT_FAULT = 1,     /* the instruction at rip faulted */
    LOCKSTEP_EVENT_TRAP = 2,      /* #DB: single step, breakpoint, task switch */
    LOCKSTEP_EVENT_SOFTWARE = 3,  /* INT n, INT3, INTO, INT1 at rip; return_rip is behind it */
    LOCKSTEP_EVENT_INTERRUPT = 4, /* external interrupt or NMI */
};

/* An exception or interrupt at the moment before its delivery. */
struct lockstep_exception {
    uint32_t kind; /* enum lockstep_event_kind */
    uint8_t vector;
    bool has_error_code;
    bool delivered; /* the guest's handler was to be entered; false: a stop prevented it */
    uint8_t reserved;
    uint32_t error_code; /* 0 if it has none */
    uint32_t cpu;
    uint64_t address;    /* #PF: the linear address that delivery puts into CR2; else 0 */
    uint64_t dr6;        /* #DB: the bits that delivery sets in DR6; else 0 */
    uint64_t rip;        /* of the instruction, or of the next one for traps and interrupts */
    uint64_t return_rip; /* what delivery pushes */
};

/* What a run came to. */
struct lockstep_result {
    uint32_t size;         /* sizeof(struct lockstep_result), set by the caller */
    uint32_t end;          /* enum lockstep_end */
    uint64_t instructions; /* retired in this run, by all processors */
    uint32_t exit_code;    /* LOCKSTEP_END_DEBUG_EXIT: as the command's exit status */
    uint32_t cpu;          /* which processor ended it */
    uint64_t rip;          /* of that processor */
    /* The last exception or interrupt of this run; kind is LOCKSTEP_EVENT_NONE if there was none.
     * For LOCKSTEP_END_EXCEPTION: the one that was not delivered. */
    struct lockstep_exception exception;
};

#define LOCKSTEP_UNLIMITED UINT64_MAX

/* Runs until something ends it. budget: most instructions to retire, LOCKSTEP_UNLIMITED for no
 * limit; exactly that many retire if nothing else comes first. An instruction with a REP prefix
 * counts once, when it completes; one that faults does not count. 1 is a single step. result may be
 * NULL. A machine whose run has ended can be run on, but for the ends of a PC (until
 * lockstep_reset()) and SHUTDOWN. Errors: INVALID, BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_run(struct lockstep_machine *machine, uint64_t budget,
                                               struct lockstep_result *result);
/* The same, and ends before an instruction at linear address `until` (outside 64-bit mode: CS base
 * + RIP). The first instruction is executed in any case. Slower than lockstep_run(), as every
 * address is looked at. */
LOCKSTEP_API enum lockstep_status lockstep_run_until(struct lockstep_machine *machine,
                                                     uint64_t until, uint64_t budget,
                                                     struct lockstep_result *result);
/* lockstep_run() with a budget of 1. */
LOCKSTEP_API enum lockstep_status lockstep_step(struct lockstep_machine *machine,
                                                struct lockstep_result *result);
/* Ends the run in progress at the next instruction, or the next run at once. Any thread;
 * async-signal-safe. NULL is legal. */
LOCKSTEP_API void lockstep_stop(struct lockstep_machine *machine);
/* Instructions retired since creation, by all processors; 0 for NULL. */
LOCKSTEP_API uint64_t lockstep_instructions(const struct lockstep_machine *machine);

#define LOCKSTEP_ALL_VECTORS (-1)

/* Whether a run ends with LOCKSTEP_END_EXCEPTION where an exception with this vector (0-255, or
 * LOCKSTEP_ALL_VECTORS) would be delivered. Faults, traps and software interrupts count, external
 * interrupts and NMIs do not. No state has changed by a delivery then: RIP is at the instruction,
 * CR2 and DR6 are as they were, and no IDT is needed. Running on executes the instruction again; to
 * skip it set RIP to result.exception.return_rip (software interrupts). A trap is forgotten.
 * Off for all vectors at creation. Errors: INVALID, BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_stop_on_exception(struct lockstep_machine *machine,
                                                             int vector, bool stop);

/* Requests an external interrupt of a CPU-only machine; it is delivered through the IDT when
 * RFLAGS.IF, CR8 and the interrupt shadow allow. Requests of one vector before its delivery are
 * one; higher vectors go first. It also wakes HLT in the next run. Any thread. Errors: INVALID,
 * UNSUPPORTED (a PC's interrupts come from its devices). */
LOCKSTEP_API enum lockstep_status lockstep_interrupt(struct lockstep_machine *machine,
                                                     uint8_t vector);
/* Requests a non-maskable interrupt on a processor. Any thread. Errors: INVALID. */
LOCKSTEP_API enum lockstep_status lockstep_nmi(struct lockstep_machine *machine, unsigned cpu);

/* -- state -- */

enum lockstep_segment_index {
    LOCKSTEP_ES,
    LOCKSTEP_CS,
    LOCKSTEP_SS,
    LOCKSTEP_DS,
    LOCKSTEP_FS,
    LOCKSTEP_GS
};

/* Bits of lockstep_segment.attributes: descriptor bits 40-47 and 52-55 in place. */
enum lockstep_segment_attribute {
    LOCKSTEP_SEGMENT_TYPE = 0xf,
    LOCKSTEP_SEGMENT_S = 1 << 4, /* code or data */
    LOCKSTEP_SEGMENT_DPL = 3 << 5,
    LOCKSTEP_SEGMENT_P = 1 << 7,
    LOCKSTEP_SEGMENT_AVL = 1 << 12,
    LOCKSTEP_SEGMENT_L = 1 << 13, /* 64-bit code */
    LOCKSTEP_SEGMENT_DB = 1 << 14,
    LOCKSTEP_SEGMENT_G = 1 << 15,    /* kept only: limit is in bytes always */
    LOCKSTEP_SEGMENT_NULL = 1 << 16, /* a null selector was loaded: unusable */
};

/* A segment register with its hidden part. */
struct lockstep_segment {
    uint64_t base;
    uint32_t limit;      /* offset of the last byte */
    uint32_t attributes; /* enum lockstep_segment_attribute */
    uint16_t selector;
    uint16_t reserved[3];
};

struct lockstep_table {
    uint64_t base;
    uint16_t limit;
    uint16_t reserved[3];
};

enum lockstep_activity {
    LOCKSTEP_ACTIVE = 0,
    LOCKSTEP_HALTED = 1,
    LOCKSTEP_MWAIT = 2,
    LOCKSTEP_WAIT_SIPI = 3,
    LOCKSTEP_SHUTDOWN = 4,
};

enum { LOCKSTEP_STATE_VERSION = 1 };

/* All architectural state of a processor but its memory and MSRs without a member here. */
struct lockstep_state {
    uint32_t size;    /* sizeof(struct lockstep_state), set by the caller of both directions */
    uint32_t version; /* LOCKSTEP_STATE_VERSION, likewise */

    /* LOCKSTEP_STATE_GENERAL */
    uint64_t gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8-R15 */
    uint64_t rip;
    uint64_t rflags; /* undefined bits are dropped, bit 1 is set */

    /* LOCKSTEP_STATE_SEGMENTS */
    struct lockstep_segment segment[6]; /* enum lockstep_segment_index */
    struct lockstep_segment ldtr, tr;
    struct lockstep_table gdtr, idtr;
    uint32_t cpl; /* 0-3. Not derived from selectors: set it along with CS and SS */
    uint32_t reserved0;

    /* LOCKSTEP_STATE_CONTROL */
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t efer;
    uint64_t xcr0, xss;
    uint64_t pdpte[4]; /* PAE paging: the four entries that a load of CR3 keeps in the processor */

    /* LOCKSTEP_STATE_DEBUG */
    uint64_t dr[4];
    uint64_t dr6, dr7;

    /* LOCKSTEP_STATE_SYSTEM */
    uint64_t star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t tsc_aux, pat;

    /* LOCKSTEP_STATE_ACTIVITY */
    uint32_t activity;        /* enum lockstep_activity */
    uint8_t interrupt_shadow; /* 0; 1: behind STI; 2: behind MOV SS or POP SS */
    bool nmi_blocked;         /* until IRET */
    uint16_t reserved1;
    uint64_t pending_debug; /* DR6 bits of a #DB trap that comes before the next instruction */

    /* LOCKSTEP_STATE_TSC */
    uint64_t tsc; /* as RDTSC gives it */

    /* LOCKSTEP_STATE_FPU */
    uint32_t mxcsr;
    uint16_t fcs, fds; /* selectors of the 32-bit formats */
    /* Bytes 0-159 of an FXSAVE64 image: FCW, FSW, abridged FTW, FOP, FIP, FDP, eight bytes of
     * zeroes (MXCSR has a member of its own), ST0-ST7 in 16-byte slots. FSW.ES and FSW.B are
     * derived. */
    uint8_t x87[160];

    /* LOCKSTEP_STATE_VECTOR */
    uint32_t pkru;
    uint32_t reserved2;
    uint64_t k[8];
    uint8_t zmm[32][64]; /* XMMn and YMMn are the low bytes of row n */
};

enum lockstep_state_part {
    LOCKSTEP_STATE_GENERAL = 1 << 0,
    LOCKSTEP_STATE_SEGMENTS = 1 << 1,
    LOCKSTEP_STATE_CONTROL = 1 << 2,
    LOCKSTEP_STATE_DEBUG = 1 << 3,
    LOCKSTEP_STATE_SYSTEM = 1 << 4,
    LOCKSTEP_STATE_ACTIVITY = 1 << 5,
    LOCKSTEP_STATE_TSC = 1 << 6,
    LOCKSTEP_STATE_FPU = 1 << 7,
    LOCKSTEP_STATE_VECTOR = 1 << 8,
    LOCKSTEP_STATE_ALL = (1 << 9) - 1,
};

/* Copies parts (enum lockstep_state_part) of a processor's state. Members of other parts are left
 * alone (get) and ignored (set). Nothing is allocated, and set flushes the TLB only if registers
 * that paging depends on have changed. set checks what the processor could not hold (reserved bits
 * of MXCSR, XCR0, CR0, CR4, EFER; CPL above 3; TR or LDTR that are no system segments) with the
 * parts it was given. Errors: INVALID, BUSY (set, in a callback). */
LOCKSTEP_API enum lockstep_status lockstep_get_state(struct lockstep_machine *machine, unsigned cpu,
                                                     uint32_t parts, struct lockstep_state *state);
LOCKSTEP_API enum lockstep_status lockstep_set_state(struct lockstep_machine *machine, unsigned cpu,
                                                     uint32_t parts,
                                                     const struct lockstep_state *state);

enum lockstep_register {
    LOCKSTEP_RAX,
    LOCKSTEP_RCX,
    LOCKSTEP_RDX,
    LOCKSTEP_RBX,
    LOCKSTEP_RSP,
    LOCKSTEP_RBP,
    LOCKSTEP_RSI,
    LOCKSTEP_RDI,
    LOCKSTEP_R8,
    LOCKSTEP_R9,
    LOCKSTEP_R10,
    LOCKSTEP_R11,
    LOCKSTEP_R12,
    LOCKSTEP_R13,
    LOCKSTEP_R14,
    LOCKSTEP_R15,
    LOCKSTEP_RIP,
    LOCKSTEP_RFLAGS,
    LOCKSTEP_CPL,
    LOCKSTEP_CR0, /* CR0, CR3, CR4, CR8, EFER, XCR0: set as by a MOV or WRMSR at CPL 0, checked */
    LOCKSTEP_CR2,
    LOCKSTEP_CR3,
    LOCKSTEP_CR4,
    LOCKSTEP_CR8,
    LOCKSTEP_EFER,
    LOCKSTEP_XCR0,
    LOCKSTEP_DR0,
    LOCKSTEP_DR1,
    LOCKSTEP_DR2,
    LOCKSTEP_DR3,
    LOCKSTEP_DR6,
    LOCKSTEP_DR7,
    LOCKSTEP_FS_BASE,
    LOCKSTEP_GS_BASE,
    LOCKSTEP_KERNEL_GS_BASE,
    LOCKSTEP_TSC,
    LOCKSTEP_MXCSR,
    LOCKSTEP_PKRU,
    LOCKSTEP_K0,
    LOCKSTEP_K1,
    LOCKSTEP_K2,
    LOCKSTEP_K3,
    LOCKSTEP_K4,
    LOCKSTEP_K5,
    LOCKSTEP_K6,
    LOCKSTEP_K7,
    LOCKSTEP_REGISTERS, /* how many there are */
};

/* One register. Errors: INVALID (also a value that the register cannot hold), BUSY (set). */
LOCKSTEP_API enum lockstep_status lockstep_get_register(struct lockstep_machine *machine,
                                                        unsigned cpu, enum lockstep_register reg,
                                                        uint64_t *value);
LOCKSTEP_API enum lockstep_status lockstep_set_register(struct lockstep_machine *machine,
                                                        unsigned cpu, enum lockstep_register reg,
                                                        uint64_t value);
/* The low `size` bytes (16, 32 or 64) of vector register n (0-31); set leaves the rest as it is. */
LOCKSTEP_API enum lockstep_status lockstep_get_vector(struct lockstep_machine *machine,
                                                      unsigned cpu, unsigned n, void *bytes,
                                                      size_t size);
LOCKSTEP_API enum lockstep_status lockstep_set_vector(struct lockstep_machine *machine,
                                                      unsigned cpu, unsigned n, const void *bytes,
                                                      size_t size);
/* Loads a segment register (enum lockstep_segment_index) with its hidden part: as real mode does
 * it, base = selector * 16 and a limit of FFFFh; or a flat segment, base 0 and a limit of 4 GiB,
 * with bits 16, 32 or 64 (CS only) for its default size. Loading SS or CS flat sets CPL to dpl.
 * Errors: INVALID, BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_set_real_segment(struct lockstep_machine *machine,
                                                            unsigned cpu,
                                                            enum lockstep_segment_index index,
                                                            uint16_t selector);
LOCKSTEP_API enum lockstep_status lockstep_set_flat_segment(struct lockstep_machine *machine,
                                                            unsigned cpu,
                                                            enum lockstep_segment_index index,
                                                            uint16_t selector, unsigned bits,
                                                            unsigned dpl);
/* RDMSR and WRMSR. Errors: INVALID, NOT_FOUND (the instruction would raise #GP: no such register,
 * or not this value), BUSY (set). */
LOCKSTEP_API enum lockstep_status lockstep_get_msr(struct lockstep_machine *machine, unsigned cpu,
                                                   uint32_t index, uint64_t *value);
LOCKSTEP_API enum lockstep_status lockstep_set_msr(struct lockstep_machine *machine, unsigned cpu,
                                                   uint32_t index, uint64_t value);
/* Puts a processor into a mode in which code can run at once, with flat segments at CPL 0: bits 16
 * (real mode), 32 (protected mode, no paging) or 64 (long mode). For long mode page_tables is the
 * physical address of six free pages of guest memory, page aligned, where tables are written that
 * map the first 4 GiB to themselves, writable and for user programs. x87 (as after FNINIT) and SSE
 * are enabled, and AVX to AVX-512 where the model has them. IDT and GDT are empty; general
 * registers but RFLAGS stay as they are. Errors: INVALID (also no memory there), BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_enter_mode(struct lockstep_machine *machine,
                                                      unsigned cpu, unsigned bits,
                                                      uint64_t page_tables);

/* -- memory -- */

enum lockstep_memory_flag {
    LOCKSTEP_MEMORY_WRITE = 1 << 0, /* stores change it; without: they are ignored (ROM) */
};

/* Device registers. offset counts from the start of the mapping; size is 1, 2, 4 or 8. */
typedef uint64_t lockstep_mmio_read_fn(void *opaque, uint64_t offset, unsigned size);
typedef void lockstep_mmio_write_fn(void *opaque, uint64_t offset, unsigned size, uint64_t value);

/* Mappings of a CPU-only machine: address and size are multiples of 4096, below 2^52. Elsewhere
 * reads give ones and stores are ignored. *id, if not NULL, names the mapping. Errors: INVALID,
 * OVERLAP, NO_MEMORY, UNSUPPORTED (on a PC).
 *
 * Zeroed memory of the library, for data and code. flags: enum lockstep_memory_flag. */
LOCKSTEP_API enum lockstep_status lockstep_map_memory(struct lockstep_machine *machine,
                                                      uint64_t address, uint64_t size,
                                                      uint32_t flags, unsigned *id);
/* Memory of the program, shared without a copy; it must outlive the mapping. Guest code in it runs,
 * but slowly: it is decoded at every execution, so that changes by the program are seen at once.
 * For fast code use lockstep_map_memory() and lockstep_memory(). */
LOCKSTEP_API enum lockstep_status lockstep_map_host_memory(struct lockstep_machine *machine,
                                                           uint64_t address, uint64_t size,
                                                           void *memory, uint32_t flags,
                                                           unsigned *id);
/* Device registers; read and write may be NULL (ones; ignored). */
LOCKSTEP_API enum lockstep_status lockstep_map_mmio(struct lockstep_machine *machine,
                                                    uint64_t address, uint64_t size,
                                                    lockstep_mmio_read_fn *read,
                                                    lockstep_mmio_write_fn *write, void *opaque,
                                                    unsigned *id);
/* Takes a mapping away. Its memory is forgotten. Errors: NOT_FOUND, UNSUPPORTED (on a PC), BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_unmap(struct lockstep_machine *machine, unsigned id);

/* Ports [first, first + count) of a CPU-only machine; offset of the handlers is port - first, size
 * 1, 2 or 4. Unmapped ports read as ones. Errors: as mappings. */
LOCKSTEP_API enum lockstep_status lockstep_map_ports(struct lockstep_machine *machine,
                                                     uint16_t first, uint32_t count,
                                                     lockstep_mmio_read_fn *read,
                                                     lockstep_mmio_write_fn *write, void *opaque);
/* Takes the ports mapped at first away. Errors: NOT_FOUND, UNSUPPORTED (on a PC), BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_unmap_ports(struct lockstep_machine *machine,
                                                       uint16_t first);

/* Copies physical memory, any length and place. Device registers are read and written, as by a
 * device's DMA; stores make decoded code of the place stale. Bytes where nothing is mapped read as
 * ones and are not stored; NOT_FOUND tells of them after the rest has been done. ROM is not changed
 * by a write. Errors: INVALID, NOT_FOUND. */
LOCKSTEP_API enum lockstep_status lockstep_read_physical(struct lockstep_machine *machine,
                                                         uint64_t address, void *buffer,
                                                         size_t size);
LOCKSTEP_API enum lockstep_status lockstep_write_physical(struct lockstep_machine *machine,
                                                          uint64_t address, const void *buffer,
                                                          size_t size);
/* Copies linear memory of a processor with its current paging and without regard to its privileges.
 * FAULT: some page of it is not mapped; nothing has been copied then. Accessed and dirty bits are
 * left alone. Errors: INVALID, FAULT, NOT_FOUND. */
LOCKSTEP_API enum lockstep_status lockstep_read_linear(struct lockstep_machine *machine,
                                                       unsigned cpu, uint64_t address, void *buffer,
                                                       size_t size);
LOCKSTEP_API enum lockstep_status lockstep_write_linear(struct lockstep_machine *machine,
                                                        unsigned cpu, uint64_t address,
                                                        const void *buffer, size_t size);
/* The physical address of a linear one. Errors: INVALID, FAULT. */
LOCKSTEP_API enum lockstep_status lockstep_translate(struct lockstep_machine *machine, unsigned cpu,
                                                     uint64_t address, uint64_t *physical);
/* A pointer to size bytes of library or PC memory (also ROM of lockstep_map_memory()) at a physical
 * address, for reading and writing at any time the machine is not running; NULL if that is not all
 * contiguous memory of one kind, or on wrong arguments. Valid until it is unmapped. After a store
 * to bytes that the guest may have executed call lockstep_memory_changed(). */
LOCKSTEP_API void *lockstep_memory(struct lockstep_machine *machine, uint64_t address, size_t size);
/* Bytes were stored through a pointer of lockstep_memory(): decoded code of them is stale. Errors:
 * INVALID (no such memory). */
LOCKSTEP_API enum lockstep_status lockstep_memory_changed(struct lockstep_machine *machine,
                                                          uint64_t address, size_t size);
/* Forgets cached translations of all processors: to be called after page tables were changed from
 * outside. Errors: INVALID. */
LOCKSTEP_API enum lockstep_status lockstep_flush_tlb(struct lockstep_machine *machine);

/* -- hooks -- */

/* What a hook that can stop answers. */
enum lockstep_action { LOCKSTEP_CONTINUE = 0, LOCKSTEP_STOP = 1 };

enum lockstep_access_kind { LOCKSTEP_READ = 0, LOCKSTEP_WRITE = 1, LOCKSTEP_FETCH = 2 };

struct lockstep_access {
    uint32_t kind; /* enum lockstep_access_kind */
    uint32_t size; /* bytes, up to 4096 */
    uint64_t linear;
    uint64_t physical;    /* of the first byte; 0 for fetches */
    const uint8_t *bytes; /* what was read, fetched or stored; valid during the call */
    uint64_t value;       /* the same as a number, for sizes up to 8; else 0 */
};

struct lockstep_port_access {
    uint16_t port;
    bool write;
    uint8_t size; /* 1, 2 or 4 */
    uint32_t value;
};

struct lockstep_cpuid {
    uint32_t eax, ebx, ecx, edx;
};

/* Hooks of a machine, called for all its processors; NULL members are not called. A hook changes
 * nothing in what the guest computes, but for cpuid. */
struct lockstep_hooks {
    uint32_t size; /* sizeof(struct lockstep_hooks) */
    uint32_t reserved;
    void *opaque; /* first argument of all */
    /* Before each instruction, once for one with a REP prefix: its linear address, and its bytes.
     * LOCKSTEP_STOP: the run ends before it. */
    enum lockstep_action (*instruction)(void *opaque, unsigned cpu, uint64_t address,
                                        const uint8_t *bytes, unsigned size);
    /* Before the first instruction of a straight run of code: after a branch (taken or not), a
     * serialising instruction, an exception or interrupt, and at the start of lockstep_run(). */
    enum lockstep_action (*block)(void *opaque, unsigned cpu, uint64_t address);
    /* After each access of an instruction to memory or device registers, and of the processor to
     * descriptor tables, IDT and TSS; before an instruction, for its fetch. Page walks are not
     * shown. The store of a locked compare is shown only if it happened. An instruction that faults
     * at a later access shows the earlier ones. */
    void (*memory)(void *opaque, unsigned cpu, const struct lockstep_access *access);
    /* After each port access. */
    void (*port)(void *opaque, unsigned cpu, const struct lockstep_port_access *access);
    /* Before the delivery of each exception and interrupt. LOCKSTEP_STOP: it is not delivered, the
     * run ends with LOCKSTEP_END_HOOK; see lockstep_stop_on_exception(). An interrupt or trap is
     * forgotten then. Faults of a delivery itself (on the way to a double fault) are not shown. */
    enum lockstep_action (*exception)(void *opaque, unsigned cpu,
                                      const struct lockstep_exception *exception);
    /* After CPUID has found its result, which the hook may change. */
    void (*cpuid)(void *opaque, unsigned cpu, uint32_t leaf, uint32_t subleaf,
                  struct lockstep_cpuid *result);
};

/* Installs hooks (copied) in place of the present ones; NULL: none. Instruction, block and memory
 * hooks make the machine slower, none costs anything when not set. Errors: INVALID, BUSY. */
LOCKSTEP_API enum lockstep_status lockstep_set_hooks(struct lockstep_machine *machine,
                                                     const struct lockstep_hooks *hooks);

/* -- a PC from outside -- */

/* Input for serial port n, as from its line. Returns how many bytes were taken; the rest did not
 * fit (64 KiB wait at most). 0 on wrong arguments. May be called in callbacks. */
LOCKSTEP_API size_t lockstep_serial_input(struct lockstep_machine *machine, unsigned n,
                                          const void *bytes, size_t count);
/* Presses the power button of a PC. Errors: INVALID, UNSUPPORTED (CPU-only). */
LOCKSTEP_API enum lockstep_status lockstep_power_button(struct lockstep_machine *machine);
/* The text screen of a PC as UTF-8 lines; at most size bytes with the final NUL. Errors: INVALID,
 * UNSUPPORTED (CPU-only). */
LOCKSTEP_API enum lockstep_status lockstep_text_screen(struct lockstep_machine *machine, char *text,
                                                       size_t size);
/* Registers of all processors as text; at most size bytes with the final NUL. Errors: INVALID. */
LOCKSTEP_API enum lockstep_status lockstep_dump(struct lockstep_machine *machine, char *text,
                                                size_t size);

#ifdef __cplusplus
}
#endif

#endif
