/* SPDX-License-Identifier: MIT
 *
 * Features of a -cpu model against what its processor does: each advertised one is executed, each
 * hidden one proved to be absent, and the CPUID leaves checked against each other.
 */
#pragma once

#include "frontend/conform/probe_machine.h"

enum cpuid_verdict {
    CPUID_WORKS,
    CPUID_ABSENT,      /* hidden, and the probe faulted as it must */
    CPUID_NOT_PROBED,  /* nothing can be executed in this mode */
    CPUID_BROKEN,      /* advertised, but the probe faulted */
    CPUID_EXECUTED,    /* hidden, but the probe ran */
    CPUID_BIT_WRONG,   /* the CPUID bit is not what the model says */
    CPUID_NOT_IN_HOST, /* advertised, runs on the host, which lacks it */
};

struct cpuid_finding {
    const char *feature; /* "avx512-bf16" */
    char bit[40];        /* "00000007.1 EAX 5" */
    const char *probe;
    bool advertised;
    enum cpuid_verdict verdict;
    int vector; /* that the probe raised, or PROBE_RAN */
};

/* How many features there are. */
unsigned cpuid_probe_count(void);
/* Probes feature number n (0 <= n < count). */
void cpuid_probe_feature(struct probe_machine *p, unsigned n, struct cpuid_finding *finding);
bool cpuid_verdict_bad(enum cpuid_verdict verdict);
const char *cpuid_verdict_text(enum cpuid_verdict verdict);

/* A rule about leaves that does not hold: one line each, to out; returns how many. */
unsigned cpuid_rules_check(struct probe_machine *p, FILE *out);
/* The number of rules. */
unsigned cpuid_rules_count(void);
