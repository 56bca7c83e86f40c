#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The benchmark's arithmetic, on figures made up for it."""
import sys
import unittest

sys.dont_write_bytecode = True
import catalogue
import chart
import report


def result(name, group, *times, checksums=("1", "1", "1")):
    """times: a list of seconds for each engine of the group."""
    program = catalogue.Program(name, group, 1, "", name == "idle")
    samples = dict(zip(catalogue.engines(group), times))
    return report.Result(program, samples, dict(zip(samples, checksums)))


RESULTS = [result("a", "integer", [1.0, 1.5], [2.0, 2.2], [8.0, 9.0]),
           result("b", "integer", [1.0], [8.0], [16.0]),
           result("sha", "fp", [1.0], [1.5], []),
           result("boot", "system", [], [1.0], [4.0]),
           result("fork", "system", [1.0], [3.0], [2.0]),
           result("smc", "system", [1.0], [2.0], [20.0]),
           result("alone", "smp", [1.0], [2.0, 2.1], [6.0]),
           result("both", "smp", [1.0], [2.5, 2.0], [3.0]),
           result("rdtsc", "hv1", [1.0], [0.9]),
           result("gettime", "hv1", [3.0, 2.6], [4.0]),
           result("idle", "hv1", [0.02, 0.03], [0.05])]


class Figures(unittest.TestCase):
    def test_best_round_and_spread(self):
        self.assertEqual(RESULTS[0].best, {"native": 1.0, "lockstep": 2.0, "qemu": 8.0})
        self.assertAlmostEqual(RESULTS[0].spread["native"], 0.5)

    def test_geometric_means(self):
        mean = report.means(RESULTS)
        self.assertAlmostEqual(mean["integer"]["lockstep_to_native"], 4)
        self.assertAlmostEqual(mean["integer"]["times_faster_than_qemu"], 8 ** 0.5)

    def test_missing_engine_leaves_its_ratio_out(self):
        self.assertIsNone(RESULTS[2].faster_than_qemu)
        self.assertIsNone(report.means(RESULTS)["fp"]["times_faster_than_qemu"])
        self.assertAlmostEqual(report.means(RESULTS)["fp"]["lockstep_to_native"], 1.5)

    def test_boot_and_smc_have_targets_of_their_own(self):
        values = report.summary(RESULTS, {"lockstep": 100, "qemu": 200})
        self.assertAlmostEqual(values["boot/qemu"], 0.25)
        self.assertAlmostEqual(values["smc/qemu"], 0.1)
        self.assertAlmostEqual(values["system/qemu"], 1.5)
        self.assertEqual(values["memory"], 100)

    def test_speedup_by_two_threads(self):
        values = report.summary(RESULTS, {})
        self.assertAlmostEqual(values["smp/speedup"], 2)
        self.assertAlmostEqual(values["smp/slowest"], 1.5)
        self.assertAlmostEqual(values["smp/qemu"], (3 * 1.5) ** 0.5)
        self.assertIsNone(report.summary(RESULTS[:1], {})["smp/speedup"])

    def test_hv1_is_compared_with_itself_switched_off(self):
        values = report.summary(RESULTS, {})
        self.assertAlmostEqual(values["hv1/clock"], 2.6)
        self.assertAlmostEqual(values["hv1/idle"], 0.4)
        self.assertAlmostEqual(values["hv1/off"], (0.65 * 0.4) ** 0.5)  # RDTSC has no part in it
        self.assertIsNone(report.summary(RESULTS[:1], {})["hv1/clock"])

    def test_hv1_has_a_table_of_its_own(self):
        self.assertNotIn("gettime", report.table(RESULTS))
        table = report.hv1_table(RESULTS).split("\n")
        self.assertEqual(table[2].split(), ["gettime", "2.6000", "4.0000", "0.65", "15/0"])
        self.assertEqual(table[3].split(), ["idle", "0.0200", "0.0500", "0.40", "50/0", "processor", "time"])
        self.assertEqual(report.hv1_table(RESULTS[:1]), "")
        self.assertEqual(report.table(RESULTS[-1:]), "")

    def test_every_target_has_a_value(self):
        self.assertEqual(set(report.summary(RESULTS, {})), {t.key for t in catalogue.TARGETS})

    def test_verdicts(self):
        below, above = catalogue.TARGETS[0], catalogue.TARGETS[1]
        self.assertEqual([report.verdict(below, v) for v in (1.6, 2.2, 2.3, None)],
                         ["aim reached", "first target reached", "missed", "not measured"])
        self.assertEqual([report.verdict(above, v) for v in (3.3, 2.4, 2.3)],
                         ["aim reached", "first target reached", "missed"])

    def test_checksums(self):
        self.assertTrue(RESULTS[0].equal)
        different = result("c", "fp", [1.0], [1.0], [1.0], checksums=("1", "2", "1"))
        self.assertFalse(different.equal)
        self.assertIn("CHECKSUMS DIFFER", report.row(different))

    def test_slower_than_qemu(self):
        self.assertEqual(report.slower_than_qemu(RESULTS), ["fork"])

    def test_chart_has_a_bar_for_each_multiple(self):
        facts = {"host_cpu": "<cpu>", "date": "2026-01-01", "load_average": [0.5, 0, 0],
                 "lockstep": "lockstep", "lockstep_engine": "jit", "qemu": None}
        svg = chart.draw(RESULTS, facts)
        self.assertEqual(svg.count('height="9"'), 13)
        self.assertIn("&lt;cpu&gt;", svg)
        self.assertIn("lockstep 1.00 s, qemu 4.00 s", svg)
        self.assertNotIn("gettime", svg)


class Catalogue(unittest.TestCase):
    def test_names_are_unique_and_groups_known(self):
        names = [p.name for p in catalogue.PROGRAMS]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({p.group for p in catalogue.PROGRAMS}, set(catalogue.GROUPS))

    def test_groups_of_two_processors_have_a_boot_of_their_own(self):
        boots = {p.group: catalogue.boot(p) for p in catalogue.PROGRAMS}
        self.assertEqual(boots, {"integer": "one", "fp": "one", "system": "one", "smp": "smp", "hv1": "hv1"})
        self.assertEqual([catalogue.PROCESSORS.get(b, 1) for b in ("one", "smp", "hv1")], [1, 2, 2])

    def test_programs_of_any_kind_say_how_they_are_timed(self):
        for p in catalogue.PROGRAMS:
            self.assertEqual(p.processor_time, p.name in ("rdtsc", "gettime", "timers", "idle"), p.name)

    def test_commands_scale_and_fit_the_driver(self):
        for p in catalogue.PROGRAMS:
            self.assertEqual(p.rounds(1e-9), 1)
            self.assertLess(len(p.command(1)), 128, p.name)


if __name__ == "__main__":
    unittest.main()
