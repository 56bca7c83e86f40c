/* SPDX-License-Identifier: MIT
 *
 * Memory of the host that is mapped more than once: guest RAM, and code, which is written through
 * one view and executed through another, so that no page is both (W^X). Such mappings work under
 * policies that refuse a writable and executable page (PR_SET_MDWE, SELinux' execmem).
 */
#pragma once

#include <stddef.h>

#include "mem/base/types.h"

/* The two views of the same bytes; both NULL: there is no such memory. */
struct code_memory {
    u8 *write, *exec;
    size_t size;
};

/* The descriptor of a new file in memory, closed on exec. -1: errno tells why. */
MUST_USE int memory_file_create(const char *name, u64 size);

/* false: errno tells why; EACCES or EPERM is the host's policy. */
MUST_USE bool code_memory_create(struct code_memory *m, const char *name, size_t size);
void code_memory_destroy(struct code_memory *m);
