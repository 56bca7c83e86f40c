/* SPDX-License-Identifier: MIT
 *
 * The loop that runs a machine on one thread: slices of instructions for each vCPU in turn, timers
 * between them, sleep when nobody can run, and what the guest asked for (reset, power-off). Where
 * instructions need not be counted, vCPUs have threads of their own instead (threads.c).
 *
 * In counted time the loop depends on nothing but instruction counts; in real time slices end early
 * enough for the next timer.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "cpu/engine.h"
#include "devices/apic/lapic.h"
#include "devices/chardev.h"
#include "devices/pci/piix4_pm.h"
#include "jit/jit.h"
#include "machine/internal.h"

enum {
    SLICE_MAX = 50000,         /* instructions: well below a millisecond on any host */
    SLICE_MIN = 500,           /* real time: not worth less */
    ROUND_SMP = 10000,         /* instructions in turn when there are several processors */
    INPUT_PERIOD_NS = 5000000, /* how often the host's input is looked at while the guest runs */
    RATE_START = 50000000,
    STALL_NS = 500000,   /* counted time: what passes while a processor stalls (cpu/engine.h) */
    HALTED_SECONDS = 60, /* guest time; an NMI that wakes a halted processor comes more often */
};

/* -- host input and output -- */

static struct chardev *host_chardev(struct machine *m, unsigned n)
{
    return n < MACHINE_SERIAL_MAX ? m->config.serial[n] : m->config.debugcon;
}

enum { HOST_CHARDEVS = MACHINE_SERIAL_MAX + 1 };

static unsigned collect_fds(struct machine *m, struct pollfd fds[2 * HOST_CHARDEVS + 1])
{
    unsigned count = 0;

    for (unsigned n = 0; n < HOST_CHARDEVS; n++) {
        struct chardev *c = host_chardev(m, n);
        int in = c ? chardev_input_fd(c) : -1, out = c ? chardev_output_fd(c) : -1;

        if (in >= 0)
            fds[count++] = (struct pollfd){.fd = in, .events = POLLIN};
        if (out >= 0)
            fds[count++] = (struct pollfd){.fd = out, .events = POLLOUT};
    }
    fds[count++] = (struct pollfd){.fd = m->wake_fd, .events = POLLIN};
    return count;
}

void machine_serve_host(struct machine *m)
{
    for (unsigned n = 0; n < HOST_CHARDEVS; n++) {
        struct chardev *c = host_chardev(m, n);

        if (c && chardev_output_fd(c) >= 0)
            chardev_poll_output(c);
        if (c && (chardev_input_fd(c) >= 0 || !c->backend->input_fd))
            chardev_poll_input(c);
    }
}

static void poll_host(struct machine *m, struct pollfd *fds, unsigned count, u64 ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
                               .tv_nsec = (long)(ns % NS_PER_SECOND)};
    u64 drained;

    if (ppoll(fds, count, ns == CLOCK_NEVER ? NULL : &timeout, NULL) > 0 &&
        fds[count - 1].revents && read(m->wake_fd, &drained, sizeof(drained)) < 0 &&
        errno != EAGAIN)
        log_warn(m->log, "the wake-up descriptor failed: %m");
}

void machine_sleep(struct machine *m, u64 ns)
{
    struct pollfd fds[2 * HOST_CHARDEVS + 1];
    unsigned count = collect_fds(m, fds);

    machine_unlock(m);
    poll_host(m, fds, count, time_for_host(&m->time, ns));
    machine_lock(m);
    machine_serve_host(m);
}

/* -- slices -- */

bool machine_can_run(const struct vcpu *v)
{
    const u32 wakes = EVENT_INTR | EVENT_NMI | EVENT_SMI | EVENT_INIT;
    u32 events = __atomic_load_n(&v->events, __ATOMIC_SEQ_CST);

    switch (v->activity) {
    case ACTIVITY_RUN: return true;
    case ACTIVITY_WAIT_SIPI: return events & (EVENT_SIPI | EVENT_INIT);
    case ACTIVITY_SHUTDOWN: return events & EVENT_INIT;
    case ACTIVITY_HLT: break;
    case ACTIVITY_MWAIT: break;
    }
    if ((events & EVENT_INTR) && !(events & ~(u32)EVENT_INTR & wakes))
        return (v->rflags & F_IF) || v->activity == ACTIVITY_MWAIT;
    return events & wakes;
}

static u64 slice_budget(struct machine *m)
{
    u64 most = m->processor_count > 1 ? ROUND_SMP : SLICE_MAX;
    u64 deadline = clock_next_deadline(&m->clock);
    u64 budget = deadline == CLOCK_NEVER ? most : time_budget(&m->time, deadline, m->rate);

    if (m->config.time == TIME_REAL && budget < SLICE_MIN)
        budget = SLICE_MIN;
    return budget < most ? budget : most;
}

/* Keeps the estimate of the host's speed near the truth: a moving average over long slices. */
static void measure_rate(struct machine *m, u64 insns, u64 ns)
{
    if (m->config.time == TIME_REAL && insns >= SLICE_MAX / 2 && ns)
        m->rate += ((i64)(insns * NS_PER_SECOND / ns) - (i64)m->rate) / 16;
}

static enum vcpu_exit run_engine(struct machine *m, struct vcpu *v, u64 budget)
{
    if (m->config.engine == ENGINE_INTERP)
        return interp_run(v, budget);
    return jit_run(v, budget);
}

/* Retires at most limit instructions. true: a hook ends the run. */
static bool run_slice(struct machine *m, unsigned index, u64 limit)
{
    struct vcpu *v = m->processors[index].vcpu;
    u64 slice = m->turn_left ? m->turn_left : slice_budget(m);
    u64 budget = slice < limit ? slice : limit, before = v->icount, start = time_now(&m->time);
    enum vcpu_exit why;

    m->running = index;
    if (!m->turn_left)
        v->stalls = 0;
    vcpu_clear_signal(v, EVENT_STOP);
    time_slice_begin(&m->time, &v->icount);
    m->processors[index].slice_from = start;
    why = run_engine(m, v, budget);
    time_slice_end(&m->time);
    m->processors[index].ran_ns += time_now(&m->time) - start;
    m->processors[index].slice_from = CLOCK_NEVER;
    measure_rate(m, v->icount - before, time_now(&m->time) - start);
    if (why == EXIT_STALLED)
        time_skip_to(&m->time, time_now(&m->time) + STALL_NS);
    if (why == EXIT_SHUTDOWN)
        machine_request(m, REQUEST_RESET);
    if (why == EXIT_MISMATCH)
        machine_request(m, REQUEST_MISMATCH);
    m->turn_left = why == EXIT_BUDGET || why == EXIT_HOOK ? slice - (v->icount - before) : 0;
    return why == EXIT_HOOK;
}

/* The clock's earliest deadline moved forward: the running slice may be too long now. */
static void deadline_moved(void *opaque)
{
    struct machine *m = opaque;

    if (m->threaded)
        threads_deadline_moved(m);
    else if (m->processors && m->processors[m->running].vcpu)
        vcpu_signal(m->processors[m->running].vcpu, EVENT_STOP);
}

static u64 machine_clock_now(void *opaque)
{
    return time_now(&((struct machine *)opaque)->time);
}

void machine_clock_init(struct machine *m)
{
    u64 wall = m->config.wall_start;

    if (!wall)
        wall = m->config.time == TIME_COUNTED ? TIME_COUNTED_WALL_START : (u64)time(NULL);
    m->rate = RATE_START;
    clock_init(&m->clock, machine_clock_now, deadline_moved, m, wall * NS_PER_SECOND);
}

/* -- requests -- */

void machine_wake(struct machine *m)
{
    const u64 one = 1;

    if (write(m->wake_fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: the sleeper wakes anyway */
}

void machine_stop_processors(struct machine *m)
{
    for (unsigned n = 0; n < m->processor_count; n++)
        if (m->processors && m->processors[n].vcpu)
            vcpu_signal(m->processors[n].vcpu, EVENT_STOP);
}

void machine_request(struct machine *m, u32 requests)
{
    __atomic_or_fetch(&m->requests, requests, __ATOMIC_SEQ_CST);
    machine_stop_processors(m);
    machine_wake(m);
}

static bool has_shut_down(const struct machine *m)
{
    for (unsigned n = 0; n < m->processor_count; n++)
        if (m->processors[n].vcpu->activity == ACTIVITY_SHUTDOWN)
            return true;
    return false;
}

static void reset_all(struct machine *m)
{
    struct error err;

    physmap_set_a20(m->map, true);
    pc_reset(m);
    processors_reset(m);
    if (m->hv1)
        hv1_reset(m->hv1);
    if (start_reset(m, &err))
        log_warn(m->log, "%s", err.text);
}

/* The INIT wire goes to every processor: all but the boot processor then wait for a SIPI. */
static void init_all(struct machine *m)
{
    for (unsigned n = 0; n < m->processor_count; n++)
        vcpu_signal(m->processors[n].vcpu, EVENT_INIT);
}

/* true: the machine ends with *end. */
bool machine_serve_requests(struct machine *m, enum machine_end *end)
{
    u32 requests = __atomic_exchange_n(&m->requests, 0, __ATOMIC_SEQ_CST);

    if (requests & REQUEST_POWER_BUTTON)
        piix4_pm_power_button(m->parts[PART_PIIX4_PM].self);
    if (requests & REQUEST_MISMATCH)
        return *end = END_MISMATCH, true;
    if (requests & REQUEST_DEBUG_EXIT)
        return *end = END_DEBUG_EXIT, true;
    if (requests & REQUEST_POWER_OFF)
        return *end = END_POWER_OFF, true;
    if (requests & REQUEST_STOP)
        return *end = END_STOPPED, true;
    if (requests & (REQUEST_RESET | REQUEST_CPU_RESET)) {
        if (m->config.no_reboot)
            return *end = has_shut_down(m) ? END_SHUTDOWN : END_REBOOT, true;
        if ((requests & REQUEST_RESET) || !m->has_firmware)
            reset_all(m); /* an INIT would start what is at FFFFFFF0: nothing, without firmware */
        else
            init_all(m);
    }
    return false;
}

/* -- the loop -- */

/* Every processor is halted and takes no interrupts, and no NMI has come for a long time. */
static bool halted_for_good(const struct machine *m)
{
    for (unsigned n = 0; n < m->processor_count; n++) {
        const struct vcpu *v = m->processors[n].vcpu;

        if (v->activity == ACTIVITY_MWAIT || (v->activity == ACTIVITY_HLT && (v->rflags & F_IF)))
            return false;
    }
    return time_now((void *)&m->time) - m->last_ran > HALTED_SECONDS * NS_PER_SECOND;
}

/* Nobody can run. Real time sleeps; counted time jumps. false: nothing can ever happen any more. */
static bool idle(struct machine *m)
{
    u64 deadline = clock_next_deadline(&m->clock);

    if (m->config.time == TIME_REAL) {
        u64 now = time_now(&m->time);

        machine_sleep(m, deadline == CLOCK_NEVER ? CLOCK_NEVER
                         : deadline > now        ? deadline - now
                                                 : 0);
        return true;
    }
    machine_serve_host(m);
    if (halted_for_good(m))
        return false;
    if (deadline != CLOCK_NEVER) {
        time_skip_to(&m->time, deadline);
        return true;
    }
    for (unsigned n = 0; n < HOST_CHARDEVS; n++)
        if (host_chardev(m, n) && chardev_input_fd(host_chardev(m, n)) >= 0) {
            machine_sleep(m, CLOCK_NEVER);
            return true;
        }
    return false;
}

/* One slice for each processor that can run, beginning with the one whose turn it is. false: the
 * budget is used up, or a hook ends the run: *end. */
static bool run_round(struct machine *m, u64 limit, enum machine_end *end)
{
    if (m->turn >= m->processor_count)
        m->turn = 0;
    if (!m->turn && !m->turn_left)
        m->ran = false;
    for (; m->turn < m->processor_count; m->turn++) {
        struct vcpu *v = m->processors[m->turn].vcpu;
        bool stopped;

        if (!m->turn_left && !machine_can_run(v))
            continue;
        m->ran = true;
        stopped = run_slice(m, m->turn, limit - machine_instructions(m));
        *end = stopped ? END_HOOK : END_BUDGET;
        if (stopped || (m->turn_left && machine_instructions(m) == limit))
            return false;
        m->turn_left = 0;
        m->last_ran = time_now(&m->time);
        clock_run(&m->clock);
        if (machine_instructions(m) == limit) {
            m->turn++;
            return false;
        }
    }
    return true;
}

/* Counted time: no processor has run for ns, in this run, which began at start. */
static bool idle_too_long(const struct machine *m, u64 start, u64 ns)
{
    u64 since = m->last_ran > start ? m->last_ran : start;

    return m->config.time == TIME_COUNTED && time_now((void *)&m->time) - since > ns;
}

enum machine_end machine_run_for(struct machine *m, u64 budget, u64 idle_ns, int *code)
{
    const u64 start = time_now(&m->time);
    const u64 before = machine_instructions(m);
    const u64 limit = budget < ~0ull - before ? before + budget : ~0ull;
    enum machine_end end;
    u64 next_input = 0;

    *code = 0;
    for (;;) {
        if (__atomic_load_n(&m->requests, __ATOMIC_SEQ_CST) && machine_serve_requests(m, &end))
            break;
        if (!m->turn_left)
            clock_run(&m->clock);
        if (time_now(&m->time) >= next_input) {
            machine_serve_host(m);
            next_input = time_now(&m->time) + INPUT_PERIOD_NS;
        }
        if (!run_round(m, limit, &end))
            break;
        if (!m->ran && (!idle(m) || idle_too_long(m, start, idle_ns))) {
            end = END_HALTED;
            break;
        }
    }
    *code = m->exit_code;
    return end;
}

enum machine_end machine_run(struct machine *m, int *code)
{
    if (m->threaded)
        return threads_run(m, code);
    return machine_run_for(m, ~0ull, CLOCK_NEVER, code);
}

void machine_reset(struct machine *m)
{
    __atomic_and_fetch(&m->requests, ~(u32)(REQUEST_RESET | REQUEST_CPU_RESET), __ATOMIC_SEQ_CST);
    m->turn = 0;
    m->turn_left = 0;
    reset_all(m);
}

void machine_stop(struct machine *m)
{
    machine_request(m, REQUEST_STOP);
}

void machine_power_button(struct machine *m)
{
    machine_request(m, REQUEST_POWER_BUTTON);
}
