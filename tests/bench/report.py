# SPDX-License-Identifier: MIT
"""Figures from the measurements: the table, the geometric means beside the targets, the JSON file."""
import math

from catalogue import GROUPS, TARGETS, engines


def geometric_mean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def ratio(a, b):
    return a / b if a and b else None


class Result:
    """One program in all engines. samples: engine -> seconds of each round; {} where the processor
    lacks its instructions."""

    def __init__(self, program, samples, checksums):
        self.program, self.samples, self.checksums = program, samples, checksums
        self.best = {engine: min(s) for engine, s in samples.items() if s}
        self.spread = {engine: max(s) / min(s) - 1 for engine, s in samples.items() if s}
        self.equal = len(set(checksums.values())) <= 1

    @property
    def to_native(self):
        return ratio(self.best.get("lockstep"), self.best.get("native"))

    @property
    def faster_than_qemu(self):
        return ratio(self.best.get("qemu"), self.best.get("lockstep"))

    @property
    def full_to_off(self):
        return ratio(self.best.get("lockstep"), self.best.get("off"))

    def json(self):
        return {"name": self.program.name, "group": self.program.group,
                "what": self.program.what, "seconds": self.samples, "best": self.best,
                "spread": self.spread, "checksums": self.checksums, "equal": self.equal,
                "lockstep_to_native": self.to_native, "times_faster_than_qemu": self.faster_than_qemu,
                "full_to_off": self.full_to_off}


def means(results):
    """Geometric means per group; boot and self-rewriting code count in the group as well."""
    answer = {}
    for group in GROUPS:
        of = [r for r in results if r.program.group == group]
        answer[group] = {"lockstep_to_native": geometric_mean(r.to_native for r in of),
                         "times_faster_than_qemu": geometric_mean(r.faster_than_qemu for r in of)}
    return answer


def speedup(by_name, engine="lockstep"):
    """How much more two threads do than one in the same time: both does twice the work of alone."""
    one, two = (by_name[name].best.get(engine) if name in by_name else None for name in ("alone", "both"))
    return ratio(2 * one if one else None, two)


def full_to_off(results):
    """Of all that Hv#1 has a part in: not of RDTSC, which is only there to compare with."""
    return geometric_mean(r.full_to_off for r in results if r.program.name != "rdtsc")


def summary(results, memory):
    """The values that the targets name; those that were not measured are None."""
    by_name = {r.program.name: r for r in results}
    by_group = means(results)
    other = [r for r in results
             if r.program.group == "system" and r.program.name not in ("boot", "smc")]

    def to_qemu(name):
        return ratio(1, by_name[name].faster_than_qemu) if name in by_name else None

    def full(name):
        return by_name[name].best.get("lockstep") if name in by_name else None

    return {"integer/native": by_group["integer"]["lockstep_to_native"],
            "integer/qemu": by_group["integer"]["times_faster_than_qemu"],
            "fp/native": by_group["fp"]["lockstep_to_native"],
            "fp/qemu": by_group["fp"]["times_faster_than_qemu"],
            "boot/qemu": to_qemu("boot"), "smc/qemu": to_qemu("smc"),
            "system/qemu": ratio(1, geometric_mean(r.faster_than_qemu for r in other)),
            "smp/speedup": speedup(by_name), "smp/qemu": by_group["smp"]["times_faster_than_qemu"],
            "smp/slowest": min((r.faster_than_qemu for r in results
                                if r.program.group == "smp" and r.faster_than_qemu), default=None),
            "hv1/clock": ratio(full("gettime"), full("rdtsc")),
            "hv1/idle": by_name["idle"].full_to_off if "idle" in by_name else None,
            "hv1/off": full_to_off(results), "memory": memory.get("lockstep")}


def verdict(target, value):
    if value is None:
        return "not measured"
    if target.met(value, target.aim):
        return "aim reached"
    return "first target reached" if target.met(value, target.first) else "missed"


def cell(value, form, width):
    return format("-" if value is None else format(value, form), f">{width}")


def row(result):
    best, spread = result.best, result.spread
    seconds = "".join(cell(best.get(e), ".4f", 10) for e in ("native", "lockstep", "qemu"))
    spreads = "/".join(f"{spread[e] * 100:.0f}" if e in spread else "-"
                       for e in ("native", "lockstep", "qemu"))
    note = "" if result.equal else "  CHECKSUMS DIFFER"
    return (f"{result.program.name:14}{seconds}{cell(result.to_native, '.2f', 10)}"
            f"{cell(result.faster_than_qemu, '.2f', 9)}  {spreads:>11}{note}")


def hv1_row(result):
    program, best, spread = result.program, result.best, result.spread
    seconds = "".join(cell(best.get(e), ".4f", 10) for e in ("lockstep", "off"))
    spreads = "/".join(f"{spread[e] * 100:.0f}" if e in spread else "-" for e in ("lockstep", "off"))
    note = "" if result.equal else "  CHECKSUMS DIFFER"
    kind = "  processor time" if program.processor_time else ""
    return f"{program.name:14}{seconds}{cell(result.full_to_off, '.2f', 10)}  {spreads:>11}{kind}{note}"


def hv1_table(results):
    """Lockstep against itself without Hv#1; nothing when none was measured."""
    of = [r for r in results if r.program.group == "hv1"]
    lines = [f"{'hv1, seconds':14}{'-hv full':>10}{'-hv off':>10}{'full/off':>10}  {'spread %':>11}",
             *map(hv1_row, of), f"{'geometric mean':34}{cell(full_to_off(of), '.2f', 10)}"]
    return "\n".join(lines) if of else ""


def table(results):
    """Lockstep beside native code and QEMU; nothing when no group of these was measured."""
    if all("native" not in engines(r.program.group) for r in results):
        return ""
    lines = [f"{'seconds':14}{'native':>10}{'Lockstep':>10}{'QEMU':>10}{'L/native':>10}{'QEMU/L':>9}"
             f"  {'spread %':>11}"]
    by_group = means(results)
    for group in GROUPS:
        of = [r for r in results if r.program.group == group]
        if not of or "native" not in engines(group):
            continue
        native = " (native: this host's own kernel)" if group == "system" else ""
        mean = by_group[group]
        lines += [f"-- {group}{native}", *map(row, of),
                  f"{'geometric mean':44}{cell(mean['lockstep_to_native'], '.2f', 10)}"
                  f"{cell(mean['times_faster_than_qemu'], '.2f', 9)}"]
    return "\n".join(lines)


def target_table(values):
    lines = [f"{'target':40}{'measured':>10}{'first':>9}{'aim':>9}"]
    for t in TARGETS:
        sign = ">=" if t.faster else "<="
        lines.append(f"{t.text:40}{cell(values[t.key], '.2f', 10)}{sign + format(t.first, 'g'):>9}"
                     f"{sign + format(t.aim, 'g'):>9}  {verdict(t, values[t.key])}")
    return "\n".join(lines)


def slower_than_qemu(results):
    return [r.program.name for r in results if r.faster_than_qemu and r.faster_than_qemu < 1]
