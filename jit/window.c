/* SPDX-License-Identifier: MIT
 *
 * The window (mem/window.h) as translated code uses it: faults of the host become calls of the
 * instruction's body, which fills the TLB, and then the window; and which address space has it.
 *
 * A fault costs some 4 us and a mapping another 7, so the window is for an address space that runs
 * for long: the one that is interrupted again and again. It loses the window if faults take too
 * much of its time, or if it has not been seen for a while and another one has. Each of its
 * blocks has MODE_WINDOW, so no other one ever runs code that relies on it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "jit/internal.h"
#include "mem/window.h"

enum {
    SITE_BYTES = 16,         /* of code in a region for each site */
    REFUSED = 4,             /* address spaces that are remembered to have lost the window */
    IDLE_BITS = 10,          /* places that missed without a page being mapped */
    IDLE_MAX = 16,           /* times that one may */
    SAMPLES_TO_GET = 3,      /* interruptions */
    SAMPLES_APART = 1 << 20, /* TSC cycles between those that count */
    MISS_CYCLES = 40000,     /* what a miss costs, with the mapping that follows, */
    PAGE_CYCLES = 6000,      /* and what a page costs that goes */
    CREDIT = 1 << 26,        /* TSC cycles that it may cost at once; on the whole, ... */
    SHARE = 8,               /* ... one of so many */
    UNSEEN = 1 << 27,        /* TSC cycles, after which another one may have the window */
};
static const u64 refusal = 1ull << 35; /* TSC cycles */

struct jit_window {
    struct jit_window_site *sites;
    u32 share; /* of a region */
    u8 idle[1 << IDLE_BITS];
    u64 candidate; /* CR3 of the address space that was interrupted last */
    unsigned samples;
    u64 sampled, seen; /* TSC of the last sample that counted; of the owner's */
    u64 since;         /* TSC when it was judged last */
    u64 cost;          /* what the window had cost till then, in TSC cycles, */
    i64 credit;        /* and might still cost */
    struct {
        u64 cr3, until;
    } refused[REFUSED];
    unsigned refused_next;
};

/* -- faults -- */

static _Thread_local struct jit *window_running;
static struct sigaction window_previous[2]; /* SIGSEGV, SIGBUS; written once, under window_once */
static pthread_once_t window_once = PTHREAD_ONCE_INIT;

static void chain(int number, siginfo_t *info, void *context)
{
    const struct sigaction *before = &window_previous[number == SIGBUS];

    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(number, info, context);
    else if (before->sa_handler == SIG_DFL || before->sa_handler == SIG_IGN)
        signal(number, SIG_DFL); /* it faults again and ends the process */
    else
        before->sa_handler(number);
}

/* The site whose code holds byte `at` of the code cache, or NULL. */
static const struct jit_window_site *find_site(const struct jit *j, u64 at)
{
    const struct jit_window *w = j->windows;
    u64 start = (u64)(j->code_start - j->code), size = (j->code_size - start) / REGIONS;
    unsigned region = (unsigned)((at - start) / size);
    const struct jit_window_site *sites;
    u32 low = 0, high;

    if (at < start || region >= REGIONS || !j->window_used[region])
        return NULL;
    sites = w->sites + (u64)region * w->share;
    for (high = j->window_used[region]; high - low > 1;) {
        u32 middle = low + (high - low) / 2;

        if (sites[middle].from <= at)
            low = middle;
        else
            high = middle;
    }
    return sites[low].from <= at ? &sites[low] : NULL;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    struct jit *j = window_running;
    u64 code = j ? (u64)j->code + j->delta : 0;
    u64 at = (u64)uc->uc_mcontext.gregs[REG_RIP] - code;
    const struct jit_window_site *site = j && at < j->code_size ? find_site(j, at) : NULL;

    if (!site) {
        chain(number, info, context);
        return;
    }
    /* Of addresses that are not canonical nothing is told. */
    j->v->jit.window_address =
        number == SIGSEGV && info->si_code != SI_KERNEL ? (u64)info->si_addr : ~0ull;
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(code + site->away);
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &window_previous[0]);
    sigaction(SIGBUS, &action, &window_previous[1]);
}

/* -- life -- */

/* Who gets the window is a matter of the host's time, and with it what the TLB holds, so counted
 * runs, which repeat exactly, have none but in tests. */
static bool wanted(const struct jit *j)
{
    const u64 needs = JIT_WINDOW | JIT_MEMORY;

    return WINDOW_POSSIBLE && j->options.sole && !j->options.check &&
           (!j->options.counted || j->options.eager) &&
           (j->options.optimisations & needs) == needs && !feature_has(&j->absent, FEAT_BMI2);
}

enum status jit_window_create(struct jit *j, struct error *err)
{
    struct jit_window *w;
    size_t size;

    if (!wanted(j))
        return ST_OK;
    j->windows = w = calloc(1, sizeof(*w));
    if (!w)
        return error_set(err, ST_NO_MEMORY, "No memory for the translator; free some memory.");
    w->share = (u32)(j->code_size / REGIONS / SITE_BYTES);
    w->candidate = WINDOW_NONE;
    size = (size_t)w->share * REGIONS * sizeof(*w->sites);
    w->sites = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (w->sites == MAP_FAILED) {
        w->sites = NULL;
        return error_set(err, ST_NO_MEMORY, "No address space for the translator; free some.");
    }
    j->window = window_create(j->v->ram, (u8 *)j->v + WINDOW_GUARD_AT);
    j->v->tlb.window = j->window;
    pthread_once(&window_once, install);
    return ST_OK;
}

void jit_window_destroy(struct jit *j)
{
    struct jit_window *w = j->windows;

    if (window_running == j)
        window_running = NULL;
    j->v->tlb.window = NULL;
    window_destroy(j->window);
    if (w && w->sites)
        munmap(w->sites, (size_t)w->share * REGIONS * sizeof(*w->sites));
    free(w);
}

void jit_window_use(struct jit *j)
{
    window_running = j->window ? j : NULL;
}

struct jit_window_site *jit_window_sites(struct jit *j, unsigned count)
{
    struct jit_window *w = j->windows;
    struct jit_window_site *sites;

    if (w->share - j->window_used[j->region] < count)
        return NULL;
    sites = w->sites + (u64)j->region * w->share + j->window_used[j->region];
    j->window_used[j->region] += count;
    return sites;
}

/* -- whose it is -- */

u32 jit_window_mode(const struct vcpu *v)
{
    struct window *w = v->tlb.window;

    return w && v->cr3 == w->owner && v->cpl == 3 && (v->cr0 & CR0_PG) &&
                   window_open(w, v->gpr[RSP])
               ? MODE_WINDOW
               : 0;
}

static bool is_refused(const struct jit_window *w, u64 cr3, u64 now)
{
    for (unsigned n = 0; n < REFUSED; n++)
        if (w->refused[n].cr3 == cr3 && now < w->refused[n].until)
            return true;
    return false;
}

/* What the window has cost, in TSC cycles. */
static u64 cost_of(const struct jit *j)
{
    return j->stats.window_misses * MISS_CYCLES + j->window->unmapped * PAGE_CYCLES;
}

/* Each address space has units of its own. Before there are too many they are closed, and code that
 * relies on them goes. */
static void give(struct jit *j, u64 owner, u64 now)
{
    struct jit_window *w = j->windows;

    window_drop_all(j->window);
    if (j->window->open_count > WINDOW_OPEN_MAX / 2) {
        jit_cache_flush(j);
        window_close_all(j->window);
    }
    j->window->owner = owner;
    j->window->pcid = vcpu_pcid(j->v);
    w->since = w->seen = now;
    w->cost = cost_of(j);
    w->credit = CREDIT;
    w->candidate = WINDOW_NONE;
}

/* The owner keeps the window unless that costs too much. */
static void judge(struct jit *j, u64 now)
{
    struct jit_window *w = j->windows;
    u64 cost = cost_of(j);

    w->credit += (i64)((now - w->since) / SHARE) - (i64)(cost - w->cost);
    w->credit = w->credit < CREDIT ? w->credit : CREDIT;
    w->cost = cost;
    w->since = w->seen = now;
    if (w->credit > 0)
        return;
    w->refused[w->refused_next].cr3 = j->window->owner;
    w->refused[w->refused_next].until = now + refusal;
    w->refused_next = (w->refused_next + 1) % REFUSED;
    give(j, WINDOW_NONE, now);
}

void jit_window_sample(struct jit *j, u32 mode)
{
    struct jit_window *w = j->windows;
    const struct vcpu *v = j->v;
    u64 now = __builtin_ia32_rdtsc();

    if (!j->window || v->cpl != 3 || !(mode & MODE_CODE64) || jit_context(mode) != TLB_USER ||
        (now - w->sampled < SAMPLES_APART && !j->options.eager))
        return;
    w->sampled = now;
    if (v->cr3 == j->window->owner) {
        judge(j, now);
        return;
    }
    if (is_refused(w, v->cr3, now) ||
        (j->window->owner != WINDOW_NONE && now - w->seen < UNSEEN && !j->options.eager))
        return;
    if (w->candidate != v->cr3) {
        w->candidate = v->cr3;
        w->samples = 0;
    }
    if (++w->samples >= SAMPLES_TO_GET || j->options.eager)
        give(j, v->cr3, now);
}

/* -- misses -- */

static u8 *idle_at(struct jit_window *w, const struct jit_miss *miss)
{
    return &w->idle[(miss->insn / ARENA_ALIGN) % (1 << IDLE_BITS)];
}

/* Whether the next access there will find more. */
static bool serve(struct jit *j, u64 gla)
{
    u64 in_guard = gla - (u64)j->window->guard;

    return in_guard < WINDOW_GUARD_SIZE ? window_open(j->window, in_guard << WINDOW_GUARD_SHIFT)
                                        : window_fill(j->window, &j->v->tlb, gla);
}

void jit_window_missed(struct vcpu *v, const struct jit_miss *miss)
{
    struct jit *j = jit_of(v);
    u8 *idle = idle_at(j->windows, miss);

    j->stats.window_misses++;
    if (v->cpl != 3 || v->fault.pending || !jit_window_mode(v) || serve(j, v->jit.window_address) ||
        ++*idle < IDLE_MAX)
        return;
    *idle = 0;
    jit_make_restless(j, (struct jit_block *)(j->arena + miss->block),
                      (const struct jit_insn *)(j->arena + miss->insn));
}
