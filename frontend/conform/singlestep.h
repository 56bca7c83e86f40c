/* SPDX-License-Identifier: MIT
 *
 * SingleStepTests of 16- and 32-bit x86: vectors taken from real machines in real mode, in their
 * JSON and MOO forms (tests/conformance/FORMAT.md, section SingleStepTests).
 */
#pragma once

#include "frontend/conform/compare.h"
#include "frontend/conform/engine.h"
#include "frontend/conform/json_text.h"

/* -- tests -- */

/* In the order of the RG32 chunk. The 16-bit suites use the low halves of the ordinary ones. */
enum singlestep_register {
    SSR_CR0,
    SSR_CR3,
    SSR_EAX,
    SSR_EBX,
    SSR_ECX,
    SSR_EDX,
    SSR_ESI,
    SSR_EDI,
    SSR_EBP,
    SSR_ESP,
    SSR_CS,
    SSR_DS,
    SSR_ES,
    SSR_FS,
    SSR_GS,
    SSR_SS,
    SSR_EIP,
    SSR_EFLAGS,
    SSR_DR6,
    SSR_DR7,
    SSR_COUNT
};

/* The processors whose behaviour differs; each has its deviation set. The 8088 counts as 8086. */
enum singlestep_cpu { SINGLESTEP_8086, SINGLESTEP_80286, SINGLESTEP_80386, SINGLESTEP_CPUS };

enum {
    SINGLESTEP_NAME_MAX = 128,
    SINGLESTEP_BYTES_MAX = 32,
    SINGLESTEP_RAM_MAX = 4096, /* bytes of memory in one state */
};

struct singlestep_byte {
    u32 address;
    u8 value;
};

struct singlestep_state {
    u32 present; /* bit per register that is given */
    u32 value[SSR_COUNT];
    u32 ram_count;
    struct singlestep_byte ram[SINGLESTEP_RAM_MAX];
};

struct singlestep_test {
    char name[SINGLESTEP_NAME_MAX];
    u32 index;
    u32 byte_count;
    u8 bytes[SINGLESTEP_BYTES_MAX];
    struct singlestep_state initial, final; /* final: what changed */
    u32 mask[SSR_COUNT];                    /* of each register, the defined bits */
    bool has_exception;
    u8 exception;
    u32 flag_address; /* of the flags that the exception pushed */
    bool has_hash;
    u8 hash[20];
    size_t position; /* line (JSON) or offset (MOO) in the file */
};

/* "8086", "80286", "80386"; the names of processors in suites ("8088", "C286", "386E") are found,
 * too. SINGLESTEP_CPUS for others. */
const char *singlestep_cpu_name(enum singlestep_cpu cpu);
enum singlestep_cpu singlestep_cpu_find(const char *name);

/* -- files -- */

/* The flags an opcode leaves undefined, from metadata.json: AND masks, all ones where the suite
 * says nothing. */
struct singlestep_masks {
    enum singlestep_cpu cpu; /* SINGLESTEP_CPUS: not told */
    u32 plain[2][256];       /* [after 0F][opcode] */
    u32 group[2][256][8];    /* [after 0F][opcode][reg field] */
};

struct singlestep_file {
    const struct input *in;
    bool moo;
    struct json_text json;
    size_t at;           /* MOO: offset of the next chunk */
    u32 announced, seen; /* MOO: tests the header promises, tests read */
    u32 file_mask[SSR_COUNT];
    enum singlestep_cpu cpu; /* SINGLESTEP_CPUS: decided by the first test */
    struct singlestep_masks masks;
};

/* Whether the bytes are a MOO file; whether a JSON object is a SingleStepTest. */
bool singlestep_is_moo(const struct input *in);
bool singlestep_is_test(const json_t *object);

/* Begins to read in, which must outlive f. cpu: the processor, or SINGLESTEP_CPUS to find out.
 * Looks for metadata.json (8088.json, ...) and 80386.csv next to the file and one folder up. */
MUST_USE enum status singlestep_open(struct singlestep_file *f, const struct input *in,
                                     enum singlestep_cpu cpu, struct error *err);
/* *more: whether t was filled; false at the end of the file. */
MUST_USE enum status singlestep_next(struct singlestep_file *f, struct singlestep_test *t,
                                     bool *more, struct error *err);
void singlestep_close(struct singlestep_file *f);

/* The two forms (singlestep_json.c, singlestep_moo.c, singlestep_meta.c). */
MUST_USE enum status singlestep_json_parse(const struct json_text *text, const json_t *object,
                                           struct singlestep_test *t, struct error *err);
MUST_USE enum status singlestep_moo_open(struct singlestep_file *f, struct error *err);
MUST_USE enum status singlestep_moo_next(struct singlestep_file *f, struct singlestep_test *t,
                                         bool *more, struct error *err);
MUST_USE enum status singlestep_meta_read(struct singlestep_masks *m, const char *vector_file,
                                          struct error *err);
/* The mask of the flags for an instruction. */
u32 singlestep_meta_mask(const struct singlestep_masks *m, const u8 *bytes, unsigned count);
