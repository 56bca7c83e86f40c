/* SPDX-License-Identifier: MIT
 *
 * Vectors: cases with their outcome on a real processor, in the JSON form that
 * tests/conformance/FORMAT.md describes.
 */
#pragma once

#include <stdio.h>

#include "frontend/conform/case.h"
#include "frontend/conform/json_text.h"

enum { VECTORS_VERSION = 1 };

/* -- registers by name -- */

/* One named field of struct conform_state, a little-endian number. */
struct vector_register {
    const char *name; /* "rax", "rflags", "ds", "zmm7", "k1", "st0", "fcw" */
    u16 offset, size; /* bytes in struct conform_state */
};

/* The registers in the order they are written; NULL behind the last. */
const struct vector_register *vector_register(unsigned index);
const struct vector_register *vector_register_find(const char *name);
/* What registers hold that a vector does not name: zero, but for RIP (code_address), RFLAGS (202),
 * MXCSR (1f80), FCW (37f) and the mode's flat selectors. */
void vectors_default_state(struct conform_state *s, enum conform_mode mode, u32 code_address);

/* "timeout", "lost", "syscall": how cases end that end neither regularly nor with an exception
 * (OUTCOME_NONE, OUTCOME_LOST, OUTCOME_SYSCALL). */
const char *vectors_end_name(u8 vector);

/* -- memory -- */

/* What the byte at an address of the arena holds when the case starts. */
u8 vectors_start_byte(const struct conform_case *c, u32 address);

/* -- writing -- */

/* The processor this runs on: "AMD EPYC 9R14 (AuthenticAMD family 25 model 17 stepping 1)". */
void vectors_host(char *text, size_t size);
/* The object at the top of a file. host: the processor the outcomes are of; NULL for this one. */
void vectors_write_header(FILE *out, const char *host);
/* One vector, a few lines. */
void vectors_write(FILE *out, const struct conform_case *c, const struct conform_outcome *o);

/* -- reading -- */

struct conform_vector {
    struct conform_case c;
    struct conform_outcome o;
    unsigned line; /* of the file */
};

/* Whether an object is the header of a file of vectors. */
bool vectors_is_header(const json_t *object);
/* Fails with file, line and one sentence for another version or an unknown field. */
MUST_USE enum status vectors_check_header(const struct json_text *t, const json_t *object,
                                          struct error *err);
/* Fills v from the current object of t. */
MUST_USE enum status vectors_parse(const struct json_text *t, const json_t *object,
                                   struct conform_vector *v, struct error *err);
