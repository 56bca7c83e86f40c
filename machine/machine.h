/* SPDX-License-Identifier: MIT
 *
 * A whole PC: RAM, vCPUs, devices, firmware and the loop that runs them.
 *
 * Threads: one machine is used by one thread; different machines by different threads at once.
 * machine_stop() alone may be called from any thread or from a signal handler.
 */
#pragma once

#include <stdio.h>

#include "machine/config.h"
#include "mem/base/status.h"

struct machine;

/* Why machine_run() returned. */
enum machine_end {
    END_POWER_OFF,  /* the guest switched itself off */
    END_REBOOT,     /* the guest reset the machine and no_reboot is set */
    END_DEBUG_EXIT, /* the guest wrote to isa-debug-exit */
    END_SHUTDOWN,   /* triple fault and no_reboot is set */
    END_STOPPED,    /* machine_stop() */
    END_MISMATCH,   /* -engine check: translated code and the interpreter differ */
    END_HALTED,     /* counted time: every processor halted for good with interrupts off */
    END_BUDGET,     /* machine_run_for(): as many instructions have retired */
    END_HOOK,       /* a hook of a vCPU asked for it (cpu/hooks.h) */
};

/* Builds a machine from config (copied). One sentence in err, naming the option, on failure. */
MUST_USE enum status machine_create(struct machine **machine, const struct machine_config *config,
                                    struct error *err);
void machine_destroy(struct machine *machine);

/* Runs until the machine ends; *code receives the guest's exit code for END_DEBUG_EXIT. */
enum machine_end machine_run(struct machine *machine, int *code);
/* The same for at most budget instructions of all vCPUs together, and in counted time for at most
 * idle_ns of guest time in which no vCPU runs (END_HALTED). Going on later continues as if there
 * had been no end: in counted time the run does not depend on how it is cut. */
enum machine_end machine_run_for(struct machine *machine, u64 budget, u64 idle_ns, int *code);
/* Power-on state. Not while it runs. */
void machine_reset(struct machine *machine);
/* Makes machine_run() return soon. Async-signal-safe. */
void machine_stop(struct machine *machine);
/* Presses the ACPI power button. */
void machine_power_button(struct machine *machine);

/* The screen of the text adapter as UTF-8 lines; at most size bytes with the final NUL. */
void machine_text_screen(struct machine *machine, char *text, size_t size);
/* Registers of every vCPU as text. */
void machine_dump(struct machine *machine, char *text, size_t size);
/* Whether instructions are counted: translated code in real time is not. */
bool machine_counts(const struct machine *machine);
/* Instructions retired by all vCPUs since power-on, if they are counted. */
u64 machine_instructions(const struct machine *machine);
/* A hash of all guest RAM. Pages never touched count as zero. Fails with ST_IO. */
MUST_USE enum status machine_ram_hash(struct machine *machine, u64 hash[2], struct error *err);
/* The text of -hv help. */
void machine_hv_help(FILE *out);
/* What the translator did on each vCPU; nothing with the interpreter. */
void machine_jit_report(struct machine *machine, FILE *out);
