/* SPDX-License-Identifier: MIT
 *
 * The inside of struct machine, shared by the files of this folder.
 */
#pragma once

#include "bios/boot.h"
#include "bios/firmware.h"
#include "bios/platform.h"
#include "cpu/cpuid.h"
#include "cpu/vcpu.h"
#include "devices/apic/apic_bus.h"
#include "devices/device.h"
#include "hv1/hv1.h"
#include "machine/alarm.h"
#include "machine/machine.h"
#include "machine/rendezvous.h"
#include "mem/bus.h"
#include "mem/ram.h"

/* machine/pc.def, then the optional devices. */
enum part {
#define PART(id, ...) PART_##id,
#include "machine/pc.def"
#undef PART
    PART_SERIAL0,
    PART_DEBUG_EXIT = PART_SERIAL0 + MACHINE_SERIAL_MAX,
    PART_HV1_TESTDEV,
    PART_TESTDEV,
    PART_COUNT,
    SOURCE_FPU = PART_COUNT, /* drives an ISA interrupt without being a part */
};

/* A device in place. */
struct part_slot {
    struct machine *machine;
    const struct device_type *type;
    void *self;
    u16 base;
    bool ready; /* init succeeded */
    struct device_env env;
    struct irq_line lines[24];
};

/* A vCPU with its local APIC. */
struct processor {
    struct vcpu *vcpu;
    struct lapic *lapic;
    struct machine *machine;
    struct device_env lapic_env;
    u64 lapic_base; /* guest-physical, valid while lapic_mapped */
    bool lapic_ready;
    bool lapic_mapped;
    u64 ran_ns;     /* how long it has run, without the present slice or thread */
    u64 slice_from; /* in turns: when that slice began, or CLOCK_NEVER */
    struct participant *participant;
    pthread_t thread;
    bool started;       /* the thread runs */
    struct alarm alarm; /* interrupts it */
    u64 alarm_at;       /* what it is set to, ns, or CLOCK_NEVER */
    bool fires;         /* own: it lets timers expire, and looks at the queue afterwards */
};

/* What somebody asked for while a vCPU was running; acted on between slices. */
enum machine_request {
    REQUEST_STOP = 1u << 0,
    REQUEST_RESET = 1u << 1,     /* whole machine */
    REQUEST_CPU_RESET = 1u << 2, /* INIT to all processors (port 92, 8042, PIIX RCR soft reset) */
    REQUEST_POWER_OFF = 1u << 3,
    REQUEST_DEBUG_EXIT = 1u << 4,
    REQUEST_POWER_BUTTON = 1u << 5,
    REQUEST_MISMATCH = 1u << 6, /* the engines differ */
};

/* Where the processors' threads wait, between instructions, while the machine's thread changes what
 * they all see. */
struct parking {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned parked;
    bool wanted;  /* atomic */
    bool quit;    /* atomic */
    bool running; /* there are threads */
};

struct machine {
    struct machine_config config;
    struct log *log;

    struct ram ram;
    struct ram_layout layout;
    struct physmap *map;
    struct pio_bus pio;

    struct time_source time;
    struct clock clock;
    u64 last_ran; /* counted time, ns: when a processor last had a slice */
    u64 rate;     /* instructions a second, measured, for slices in real time */

    struct cpu_model model;
    struct hv1_profile hv1_profile;
    struct hv1 *hv1; /* NULL: -hv off */
    struct vcpu_platform vcpu_platform;
    struct processor *processors;
    unsigned processor_count;
    bool threaded; /* each processor has a thread; else they run in turn */
    struct rendezvous rendezvous;
    pthread_key_t self; /* threaded: the struct processor of a thread */
    bool has_self;
    struct parking parking;
    u64 sleeps_until; /* atomic: when the machine's thread wakes, ns; 0 while it is awake */
    u32 awake;        /* atomic: processors that do not sleep */
    u32 keeper;       /* atomic: number of the processor that keeps time, from 1, or 0 */
    unsigned running; /* index of the processor whose slice it is */
    unsigned turn;    /* index of the processor whose slice comes next */
    bool ran;         /* somebody has run in this round */
    u64 turn_left;    /* instructions of a slice that a budget or a hook cut short, or 0 */
    struct apic_bus apic_bus;
    unsigned lapic_region;
    bool lapic_region_present;
    u64 lapic_region_base;
    u64 random; /* counted time: state of the RDRAND generator */

    struct part_slot parts[PART_COUNT];
    u64 isa_asserted[16]; /* per ISA interrupt: one bit for each part (or SOURCE_FPU) driving it */

    struct firmware firmware;
    struct platform platform;
    struct boot_image image;
    struct fw_cfg_store store;
    bool has_firmware, has_platform, has_image, has_store;

    u32 requests;  /* enum machine_request, atomic */
    int exit_code; /* of isa-debug-exit */
    int wake_fd;   /* eventfd that ends a sleep */
};

/* Asks for something to happen between slices; any thread, async-signal-safe. */
void machine_request(struct machine *m, u32 requests);

/* run.c: starts the clock and its queue. */
void machine_clock_init(struct machine *m);

/* run.c: shared with threads.c. */
bool machine_can_run(const struct vcpu *v);
/* Ends machine_sleep(), now or the next time. Async-signal-safe. */
void machine_wake(struct machine *m);
/* All vCPUs leave their engines soon. */
void machine_stop_processors(struct machine *m);
void machine_serve_host(struct machine *m);
/* Waits for input, a request, or ns nanoseconds, with the machine unlocked meanwhile. */
void machine_sleep(struct machine *m, u64 ns);
/* true: the machine ends with *end. No processor is inside an instruction. */
bool machine_serve_requests(struct machine *m, enum machine_end *end);

/* threads.c: a thread for each processor. */
MUST_USE enum status threads_create(struct machine *m, struct error *err);
void threads_destroy(struct machine *m);
enum machine_end threads_run(struct machine *m, int *code);
/* How long the calling thread has used the host's processors. */
u64 threads_used_ns(void);
void threads_deadline_moved(struct machine *m);
/* What vCPUs with threads need of each other. */
void threads_fill_platform(struct vcpu_platform *platform);
/* The machine lock: devices, and the physical map when it changes. Recursive. */
void machine_lock(void *machine);
void machine_unlock(void *machine);
/* The processor that the calling thread runs; NULL: it is the machine's own thread. */
struct processor *machine_current(const struct machine *m);

/* pc.c: the devices. */
MUST_USE enum status pc_create(struct machine *m, struct error *err);
void pc_destroy(struct machine *m);
void pc_reset(struct machine *m);
/* What source (enum part or SOURCE_FPU) does to ISA interrupt 0-15. The wire is the OR of its
 * sources; it goes to the 8259 pair and to the I/O APIC. */
void pc_isa_irq(struct machine *m, unsigned source, unsigned pin, bool level);

/* processors.c: vCPUs and their local APICs. */
MUST_USE enum status processors_create(struct machine *m, struct error *err);
void processors_destroy(struct machine *m);
void processors_reset(struct machine *m);
/* The 8259's INTR wire, to LINT0 of the boot processor's local APIC. */
void processors_set_lint0(struct machine *m, bool level);

/* hv1.c: Microsoft's hypervisor interface. */
/* Reads -hv and tells the CPU model, before there is any vCPU. */
MUST_USE enum status hv1_prepare(struct machine *m, struct error *err);
MUST_USE enum status hv1_start(struct machine *m, struct error *err);
/* Connects a processor that has its local APIC. */
MUST_USE enum status hv1_connect(struct processor *p, struct error *err);

/* start.c: what the machine runs first: firmware, or a kernel entered directly. */
MUST_USE enum status start_create(struct machine *m, struct error *err);
void start_destroy(struct machine *m);
/* After a reset: without firmware, puts the kernel into memory again and enters it. */
MUST_USE enum status start_reset(struct machine *m, struct error *err);
