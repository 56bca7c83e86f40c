/* SPDX-License-Identifier: MIT */
#include "frontend/conform/campaign.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu/insn.h"
#include "frontend/conform/engine_image.h"
#include "frontend/conform/native.h"
#include "mem/base/log.h"

const unsigned sequence_lengths[SEQUENCE_LENGTHS] = {12, 40, 120};

/* -- numbers -- */

u64 campaign_case_number(u64 j, u64 forms, unsigned shard, unsigned shards)
{
    const u64 form = j % forms;
    const u64 round = j / forms * shards + (shard - 1 + shards - form % shards) % shards;

    return round * forms + form;
}

u64 campaign_case_seed(u64 seed, u64 k)
{
    /* The finaliser of splitmix64: neighbouring numbers give unrelated seeds. */
    u64 x = seed + (k + 1) * 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    x ^= x >> 31;
    return x ? x : 1;
}

/* -- which rows and forms -- */

static bool matches(const char *const *patterns, const char *name)
{
    if (!*patterns)
        return true;
    for (; *patterns; patterns++)
        if (!fnmatch(*patterns, name, FNM_CASEFOLD))
            return true;
    return false;
}

bool campaign_chooses(const struct campaign_options *o, unsigned row)
{
    return matches(o->insn, insn_rows[row].name) && matches(o->group, report_group_of(row));
}

static enum status create_generator(const struct campaign_options *o, struct generator **g,
                                    struct error *err)
{
    const struct cpu_topology one = {1, 1, 1};
    struct cpu_model model;
    enum status st = cpu_model_parse(&model, o->cpu, &one, 1000000000, 1000000000, err);

    return st ? st : generator_create(g, &model, image_host_xcr0(), err);
}

static void sequence_forms(struct campaign *c)
{
    static const char *const modes[] = {"64-bit", "32-bit", "16-bit"};

    for (unsigned n = 0; n < SEQUENCE_FORMS; n++) {
        struct conform_form *f = &c->forms[n];

        f->mode = (u8)(n % CONFORM_MODES);
        f->variant = (u16)(n / CONFORM_MODES);
        snprintf(f->text, sizeof(f->text), "%s, %u instructions", modes[f->mode],
                 sequence_lengths[f->variant]);
    }
    c->form_count = SEQUENCE_FORMS;
}

/* The chosen forms of a new generator. */
static enum status choose_forms(struct campaign *c, const struct campaign_options *o,
                                struct generator **g, struct error *err)
{
    enum status st = create_generator(o, g, err);
    const struct conform_form *all;
    unsigned count;

    if (st)
        return st;
    c->options = o;
    c->generator = *g;
    all = generator_forms(*g, &count);
    c->forms = calloc(count + SEQUENCE_FORMS, sizeof(*c->forms));
    if (!c->forms)
        return error_set(err, ST_NO_MEMORY, "No memory for a campaign; free some memory.");
    if (o->sequence) {
        sequence_forms(c);
        return ST_OK;
    }
    for (unsigned n = 0; n < count; n++)
        if (campaign_chooses(o, all[n].row))
            c->forms[c->form_count++] = all[n];
    return ST_OK;
}

static void forget_forms(struct campaign *c, struct generator *g)
{
    free(c->forms);
    if (g)
        generator_destroy(g);
}

enum status campaign_forms(const struct campaign_options *o,
                           void (*visit)(void *opaque, const struct conform_form *form),
                           void *opaque, struct error *err)
{
    struct campaign c = {0};
    struct generator *g = NULL;
    enum status st = choose_forms(&c, o, &g, err);

    for (unsigned n = 0; n < c.form_count && !st; n++)
        visit(opaque, &c.forms[n]);
    forget_forms(&c, g);
    return st;
}

/* Lockstep follows AMD's family 19h: there nothing is excused that a manual leaves open. */
static u64 deviations_of_host(void)
{
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool amd;

    __get_cpuid(0, &eax, &ebx, &ecx, &edx);
    amd = ebx == signature_AMD_ebx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if (amd && (eax >> 8 & 0xf) + (eax >> 20 & 0xff) == 0x19)
        return conform_deviation_set(NULL);
    return conform_deviation_set(amd ? "AMD" : "Intel");
}

/* -- the report -- */

static void report_head(const struct campaign_options *o, struct report *r)
{
    r->sequence = o->sequence;
    snprintf(r->cpu, sizeof(r->cpu), "%s", *o->cpu ? o->cpu : "max");
    r->seed = o->seed;
    r->shard = o->shard;
    r->shards = o->shards;
    r->jobs = o->jobs;
    memcpy(r->engines, o->engine, sizeof(r->engines));
}

/* Why a row has no forms. */
static char *reason_of(unsigned row)
{
    const char *reason = conform_exempt(row);
    char *text = NULL;

    if (reason)
        return strdup(reason);
    if (asprintf(&text, "the processor model has no %s",
                 report_feature_name(insn_rows[row].feature)) < 0)
        return NULL;
    return text;
}

static void report_rows(const struct campaign *c, struct report *r)
{
    for (unsigned n = 0; n < c->form_count; n++)
        r->rows[c->forms[n].row].counts.forms++;
    if (c->options->sequence) {
        r->rows[0].chosen = true;
        return;
    }
    for (unsigned row = 1; row < INSN_COUNT; row++) {
        struct report_row *to = &r->rows[row];

        if (!campaign_chooses(c->options, row))
            continue;
        to->chosen = true;
        to->counts.rows = 1;
        if (to->counts.forms)
            continue;
        to->reason = reason_of(row);
        check(to->reason, "no memory for a report");
        to->counts.rows_exempt = 1;
    }
}

static void report_counts(const struct campaign *c, struct report *r)
{
    for (unsigned n = 0; n < c->form_count; n++) {
        const struct form_counts *from = &c->shared->counts[n];
        struct report_row *to = &r->rows[c->forms[n].row];

        to->counts.forms_covered += from->cases > 0;
        to->counts.cases += from->cases;
        to->counts.blocks += from->blocks;
        to->counts.explained += from->explained;
        to->counts.different += from->different;
        to->counts.hung += from->hung;
        for (unsigned f = 0; f < REPORT_FAULTS; f++)
            to->faults[f] += from->faults[f];
        for (unsigned d = 0; d < DEVIATION_COUNT; d++)
            to->deviations[d] += from->deviations[d];
    }
    for (unsigned row = 1; row < INSN_COUNT; row++)
        r->rows[row].counts.rows_covered = r->rows[row].counts.cases > 0;
}

enum status campaign_survey(const struct campaign_options *o, struct report *r, struct error *err)
{
    struct campaign c = {0};
    struct generator *g = NULL;
    enum status st = choose_forms(&c, o, &g, err);

    if (!st) {
        report_head(o, r);
        report_rows(&c, r);
    }
    forget_forms(&c, g);
    return st;
}

/* -- workers, as the parent sees them -- */

struct crew {
    const struct campaign *campaign;
    struct report *report;
    pid_t pid[CAMPAIGN_JOBS_MAX];
    struct pollfd pipe[CAMPAIGN_JOBS_MAX + 1]; /* the last: signals */
    unsigned running;
    bool failed; /* a worker could not be set up */
};

static enum status start_worker(struct crew *crew, unsigned index, struct error *err)
{
    const pid_t parent = getpid();
    int ends[2];
    pid_t pid;

    crew->pipe[index].fd = -1;
    if (pipe2(ends, O_CLOEXEC))
        return error_set(err, ST_IO, "A worker cannot be started: %s; use fewer --jobs.",
                         strerror(errno));
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
        close(ends[0]);
        _exit(worker_main(crew->campaign, index, ends[1]));
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error_set(err, ST_IO, "A worker cannot be started: %s; use fewer --jobs.",
                         strerror(errno));
    }
    crew->pid[index] = pid;
    crew->pipe[index] = (struct pollfd){.fd = ends[0], .events = POLLIN};
    crew->running++;
    return ST_OK;
}

static bool read_all(int fd, void *bytes, size_t size)
{
    for (u8 *at = bytes; size;) {
        const ssize_t done = read(fd, at, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

/* One message; false at the end of the pipe. */
static bool receive(struct crew *crew, int fd)
{
    struct worker_message m;
    char *text, *vector = NULL;
    bool whole;

    if (!read_all(fd, &m, sizeof(m)))
        return false;
    text = calloc(1, m.text_size + 1);
    if (m.vector_size)
        vector = calloc(1, m.vector_size + 1);
    check(text && (vector || !m.vector_size), "no memory for a difference");
    whole = read_all(fd, text, m.text_size) && read_all(fd, vector, m.vector_size);
    m.difference.text = text;
    m.difference.vector = vector;
    report_add_difference(crew->report, &m.difference);
    return whole;
}

/* A worker has gone. One that was killed is reported and replaced. */
static enum status bury(struct crew *crew, unsigned index, struct error *err)
{
    struct campaign_shared *shared = crew->campaign->shared;
    struct worker_place *place = &shared->place[index];
    const struct conform_form *form = &crew->campaign->forms[place->form];
    struct report_crash crash = {.row = form->row, .seed = place->seed};
    int how;

    close(crew->pipe[index].fd);
    crew->pipe[index].fd = -1;
    crew->running--;
    if (waitpid(crew->pid[index], &how, 0) < 0 || (WIFEXITED(how) && !WEXITSTATUS(how)))
        return ST_OK;
    if (WIFEXITED(how)) {
        crew->failed = true;
        shared->stop = true;
        return ST_OK;
    }
    snprintf(crash.form, sizeof(crash.form), "%s", form->text);
    snprintf(crash.cause, sizeof(crash.cause), "signal %d (%s)", WTERMSIG(how),
             strsignal(WTERMSIG(how)));
    report_add_crash(crew->report, &crash);
    shared->counts[place->form].crashes++;
    return shared->stop ? ST_OK : start_worker(crew, index, err);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* On a terminal one line that is written over; else a line every ten seconds. */
static void show_progress(const struct campaign *c, double elapsed, bool terminal)
{
    u64 cases = 0, different = 0;
    unsigned covered = 0;

    for (unsigned n = 0; n < c->form_count; n++) {
        cases += c->shared->counts[n].cases;
        different += c->shared->counts[n].different;
        covered += c->shared->counts[n].cases > 0;
    }
    fprintf(stderr, "%s%.0f s: %lu cases (%.0f/s), %u of %u forms, %lu differences%s",
            terminal ? "\r" : "", elapsed, cases, (double)cases / elapsed, covered, c->form_count,
            different, terminal ? "   " : "\n");
}

static enum status supervise(struct crew *crew, struct error *err)
{
    const struct campaign_options *o = crew->campaign->options;
    struct campaign_shared *shared = crew->campaign->shared;
    const bool terminal = isatty(STDERR_FILENO);
    const double start = now();
    double shown = start;
    enum status st = ST_OK;

    while (crew->running && !st) {
        if (poll(crew->pipe, o->jobs + 1, 100) < 0 && errno != EINTR)
            return error_set(err, ST_IO, "Workers cannot be watched: %s.", strerror(errno));
        for (unsigned n = 0; n < o->jobs && !st; n++)
            if (crew->pipe[n].fd >= 0 && crew->pipe[n].revents && !receive(crew, crew->pipe[n].fd))
                st = bury(crew, n, err);
        if (crew->pipe[o->jobs].revents || (o->time > 0 && now() - start >= o->time))
            __atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
        if (now() - shown >= (terminal ? 0.25 : 10)) {
            shown = now();
            show_progress(crew->campaign, shown - start, terminal);
        }
        for (unsigned n = 0; n <= o->jobs; n++)
            crew->pipe[n].revents = 0;
    }
    if (terminal && shown > start)
        fputs("\r\033[K", stderr);
    crew->report->seconds = now() - start;
    return st;
}

static void dismiss(struct crew *crew)
{
    for (unsigned n = 0; n < crew->campaign->options->jobs; n++) {
        if (crew->pipe[n].fd < 0)
            continue;
        kill(crew->pid[n], SIGKILL);
        waitpid(crew->pid[n], NULL, 0);
        close(crew->pipe[n].fd);
    }
}

/* SIGINT and SIGTERM end the campaign with a report. Workers inherit that they are blocked. */
static enum status work(struct crew *crew, struct error *err)
{
    const struct campaign_options *o = crew->campaign->options;
    enum status st = ST_OK;
    sigset_t ends, before;
    int fd;

    for (unsigned n = 0; n <= o->jobs; n++)
        crew->pipe[n].fd = -1;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, &before);
    fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    crew->pipe[o->jobs] = (struct pollfd){.fd = fd, .events = POLLIN};
    for (unsigned n = 0; n < o->jobs && !st; n++)
        st = start_worker(crew, n, err);
    if (!st)
        st = supervise(crew, err);
    dismiss(crew);
    if (fd >= 0) {
        struct signalfd_siginfo taken;

        while (read(fd, &taken, sizeof(taken)) > 0)
            ;
        close(fd);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return st;
}

/* -- the campaign -- */

/* Tells what cannot be set up once, and not by every worker. */
static enum status try_set_up(const struct campaign_options *o, struct error *err)
{
    struct native_host *host = NULL;
    struct engine *engine = NULL;
    enum status st = ST_OK;

    for (unsigned e = 0; e < CONFORM_ENGINES && !st; e++) {
        if (!o->engine[e])
            continue;
        st = engine_create(&engine, (enum conform_engine)e, o->cpu, err);
        if (!st)
            engine_destroy(engine);
    }
    if (!st)
        st = native_host_create(&host, 1, err);
    if (!st)
        native_host_destroy(host);
    return st;
}

enum status campaign_run(const struct campaign_options *o, struct report *r, struct error *err)
{
    struct campaign c = {0};
    struct crew *crew = calloc(1, sizeof(*crew));
    struct generator *g = NULL;
    enum status st = ST_NO_MEMORY;

    if (!crew)
        return error_set(err, ST_NO_MEMORY, "No memory for a campaign; free some memory.");
    st = try_set_up(o, err);
    if (!st)
        st = choose_forms(&c, o, &g, err);
    if (st)
        goto out;
    report_head(o, r);
    report_rows(&c, r);
    c.shared_size = sizeof(*c.shared) + c.form_count * sizeof(c.shared->counts[0]);
    c.shared = mmap(NULL, c.shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (c.shared == MAP_FAILED) {
        st = error_set(err, ST_NO_MEMORY, "No memory for a campaign; free some memory.");
        goto out;
    }
    c.deviations = deviations_of_host();
    crew->campaign = &c;
    crew->report = r;
    if (c.form_count)
        st = work(crew, err);
    if (!st && crew->failed)
        st = error_set(err, ST_IO, "A worker could not be set up; use fewer --jobs.");
    report_counts(&c, r);
    munmap(c.shared, c.shared_size);

out:
    forget_forms(&c, g);
    free(crew);
    return st;
}
