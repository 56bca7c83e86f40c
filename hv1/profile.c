/* SPDX-License-Identifier: MIT
 *
 * What -hv chooses: a profile and single switches on top of it.
 *
 * A switch that only refines another goes with it when that one is taken away. One that builds on
 * another contradicts its absence: the person has to say which of the two is meant.
 */
#include <string.h>

#include "hv1/internal.h"

#define SWITCHES_MIN  HV1_RELAXED
#define SWITCHES_FULL (~(u32)HV1_INVTSC & (HV1_INVTSC * 2 - 1))

static const struct {
    const char *name;
    u32 bit;
    u32 needs;   /* contradicts without all of these */
    u32 refines; /* means nothing without one of these */
    const char *help;
} table[] = {
    {"relaxed", HV1_RELAXED, 0, 0, "watchdogs of the guest's clock and DPCs stay off"},
    {"version", HV1_VERSION, 0, 0, "leaf 40000002H names build 14393 of version 10.0"},
    {"time", HV1_TIME, 0, 0, "reference time: counter and TSC page"},
    {"frequencies", HV1_FREQUENCIES, 0, 0, "MSRs tell the TSC's and the APIC's frequency"},
    {"synic", HV1_SYNIC, 0, 0, "synthetic interrupt controller: messages and event flags"},
    {"stimer", HV1_STIMER, HV1_SYNIC | HV1_TIME, 0, "four synthetic timers a processor"},
    {"stimer-direct", HV1_STIMER_DIRECT, 0, HV1_STIMER,
     "timers that raise an interrupt themselves"},
    {"no-autoeoi", HV1_NO_AUTOEOI, 0, HV1_SYNIC, "recommends that guests send EOIs themselves"},
    {"vapic", HV1_APIC, 0, 0, "MSRs for EOI, ICR and TPR; EOIs that need no exit"},
    {"idle", HV1_IDLE, 0, 0, "MSR by which a processor sleeps until an interrupt"},
    {"runtime", HV1_RUNTIME, 0, 0, "MSR that tells how long a processor has run"},
    {"reset", HV1_RESET, 0, 0, "MSR that resets the machine"},
    {"crash", HV1_CRASH, 0, 0, "MSRs by which a guest reports why it died; shown in words"},
    {"tlbflush", HV1_TLBFLUSH, 0, 0, "calls that flush other processors' TLBs"},
    {"tlbflush-ext", HV1_TLBFLUSH_RANGES, 0, HV1_TLBFLUSH, "they take large ranges, too"},
    {"ipi", HV1_IPI, 0, 0, "calls that send interrupts to many processors"},
    {"ex-masks", HV1_EX_MASKS, 0, HV1_TLBFLUSH | HV1_IPI,
     "calls that name more than 64 processors"},
    {"spinlocks", HV1_SPINLOCKS, 0, 0, "call by which a processor says that it spins"},
    {"xmm-input", HV1_XMM_INPUT, 0, HV1_TLBFLUSH | HV1_IPI, "calls take input in XMM registers"},
    {"lock", HV1_LOCK, 0, 0, "the hypercall page can be locked in place"},
    {"invtsc", HV1_INVTSC, 0, 0, "the guest turns on the invariant TSC bit itself"},
};

bool hv1_has_hypercalls(const struct hv1_profile *p)
{
    return p->ports || (p->switches & (HV1_TLBFLUSH | HV1_IPI | HV1_SPINLOCKS));
}

static const char *name_of(u32 bit)
{
    for (size_t n = 0; n < ARRAY_SIZE(table); n++)
        if (table[n].bit & bit)
            return table[n].name;
    return "";
}

static enum status set_vendor(struct hv1_profile *p, const char *text, struct error *err)
{
    size_t length = strlen(text);

    for (size_t n = 0; n < length; n++)
        if (text[n] < ' ' || text[n] > '~')
            length = sizeof(p->vendor);
    if (!length || length >= sizeof(p->vendor))
        return error_set(err, ST_INVALID,
                         "-hv vendor=%.40s is no vendor for CPUID; give 1 to 12 ASCII characters.",
                         text);
    memset(p->vendor, 0, sizeof(p->vendor));
    memcpy(p->vendor, text, length);
    return ST_OK;
}

static enum status set_switch(struct hv1_profile *p, const char *item, struct error *err)
{
    for (size_t n = 0; n < ARRAY_SIZE(table); n++) {
        if ((item[0] != '+' && item[0] != '-') || strcmp(item + 1, table[n].name))
            continue;
        if (item[0] == '+') {
            p->switches |= table[n].bit;
            p->asked |= table[n].bit;
        } else {
            p->switches &= ~table[n].bit;
            p->asked &= ~table[n].bit;
        }
        return ST_OK;
    }
    return error_set(err, ST_INVALID, "-hv does not know %.40s; see -hv help.", item);
}

/* Drops refinements of what is not there; finds contradictions. */
static enum status settle(struct hv1_profile *p, struct error *err)
{
    for (size_t n = 0; n < ARRAY_SIZE(table); n++) {
        u32 missing = table[n].needs & ~p->switches;

        if (!(p->switches & table[n].bit))
            continue;
        if (!missing && table[n].refines && !(p->switches & table[n].refines)) {
            p->switches &= ~table[n].bit;
            if (!(p->asked & table[n].bit))
                continue;
            missing = table[n].refines;
        }
        if (missing)
            return error_set(err, ST_INVALID,
                             "-hv: %s does not work without %s; add +%s or take %s away, too.",
                             table[n].name, name_of(missing), name_of(missing), table[n].name);
    }
    return ST_OK;
}

static enum status set_level(struct hv1_profile *p, const char *name, struct error *err)
{
    static const char *const names[] = {"off", "min", "full"};
    static const u32 switches[] = {0, SWITCHES_MIN, SWITCHES_FULL};

    for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
        if (!strcmp(name, names[n])) {
            p->level = (enum hv1_level)n;
            p->switches = switches[n];
            return ST_OK;
        }
    return error_set(
        err, ST_INVALID,
        "-hv %.40s is no profile; begin with off, min or full, as in -hv full,-stimer.", name);
}

enum status hv1_profile_parse(struct hv1_profile *p, const char *text, struct error *err)
{
    char copy[512], *at = copy, *item;
    enum status st;

    *p = (struct hv1_profile){.vendor = "Microsoft Hv"};
    if (!text || !*text)
        return set_level(p, "full", err);
    if (strlen(text) >= sizeof(copy))
        return error_set(err, ST_INVALID, "-hv is too long; name fewer switches.");
    strcpy(copy, text);
    st = set_level(p, strsep(&at, ","), err);
    while (!st && (item = strsep(&at, ","))) {
        if (p->level == HV1_OFF)
            return error_set(err, ST_INVALID,
                             "-hv off takes no switches; use min or full, as in -hv min,+time.");
        st = strncmp(item, "vendor=", 7) ? set_switch(p, item, err) : set_vendor(p, item + 7, err);
    }
    return st ? st : settle(p, err);
}

enum status hv1_profile_fit(struct hv1_profile *p, unsigned cpus, struct error *err)
{
    if (p->level == HV1_OFF || cpus <= 64)
        return ST_OK;
    if (p->asked & HV1_TLBFLUSH)
        return error_set(err, ST_INVALID,
                         "-hv: tlbflush names no more than 64 processors; take it away or lower "
                         "-smp to 64.");
    if ((p->switches & (HV1_IPI | HV1_EX_MASKS)) == HV1_IPI)
        return error_set(
            err, ST_INVALID,
            "-hv: ipi names more than 64 processors with ex-masks only; add +ex-masks, "
            "take ipi away or lower -smp to 64.");
    return ST_OK;
}

void hv1_help(FILE *out)
{
    fputs("-hv PROFILE[,+SWITCH,-SWITCH,vendor=TEXT]: Microsoft's hypervisor interface Hv#1.\n"
          "  off   no hypervisor is seen\n"
          "  min   what Microsoft requires at least, and relaxed timing\n"
          "  full  everything marked * below (the default)\n"
          "Switches (* in full):\n",
          out);
    for (size_t n = 0; n < ARRAY_SIZE(table); n++)
        fprintf(out, "  %c %-14s %s\n", SWITCHES_FULL & table[n].bit ? '*' : ' ', table[n].name,
                table[n].help);
    fputs(
        "vendor=TEXT is what CPUID 40000000H says instead of \"Microsoft Hv\"; Linux and FreeBSD\n"
        "look at it, Windows does not.\n",
        out);
}
