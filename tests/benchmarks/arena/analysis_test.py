#!/usr/bin/env python3
"""The arena's analysis on logs small enough to count by hand. `./dev test` runs it."""
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "benchmarks", "arena"))

import analysis  # pylint: disable=wrong-import-position
import arena  # pylint: disable=wrong-import-position
import goals  # pylint: disable=wrong-import-position
import lanes  # pylint: disable=wrong-import-position
import report  # pylint: disable=wrong-import-position
import timeline  # pylint: disable=wrong-import-position
from analysis import Arrival  # pylint: disable=wrong-import-position


def ok(time, answered=None):
    answered = time + 0.02 if answered is None else answered
    return Arrival(time, 200, due=time + 0.02, answered=answered)


def refused(time, status=429):
    return Arrival(time, status, due=time + 0.02, answered=time + 0.02)


def scenario(**changes):
    """As `provider --list` describes one."""
    described = {
        "name": "S2", "group": "main", "title": "a bucket", "workers": 10, "calls": 4, "processes": 1,
        "attempt_timeout_s": None, "grpc": True, "obeyable": "", "answer_s": 0.02, "rate": 20, "outage_s": None,
        "ideal_s": 0.5, "ideal_wasted": 0
    }
    described.update(changes)
    return described


class CountingTest(unittest.TestCase):

    def test_kinds(self):
        kinds = [(200, "none"), (0, "none"), (429, "none"), (503, "none"), (8, "none"), (14, "none"), (500, "none"),
                 (-1, "reset-before-head"), (-1, "hang"), (200, "truncate")]
        self.assertEqual([Arrival(0, s, f).kind for s, f in kinds],
                         ["ok"] * 2 + ["refused"] * 4 + ["failed"] * 4)

    def test_bins(self):
        self.assertEqual(analysis.bins([]), [])
        # Borders belong to the later bin, also those that no double can hold.
        self.assertEqual(analysis.bins([0, 0.0999, 0.1, 0.3, 0.35]), [2, 1, 0, 2])
        self.assertEqual(analysis.bins([0.7])[7], 1)
        self.assertEqual(analysis.bins([2.5, 0.5], width=1), [1, 0, 1])

    def test_waves(self):
        four = [refused(0.01 * k) for k in range(4)]
        self.assertEqual(analysis.waves(four), (0, 0))
        self.assertEqual(analysis.waves(four + [ok(0.05)] * 9), (0, 0))
        self.assertEqual(analysis.waves(four + [refused(0.09)]), (1, 0))
        again = [refused(1 + 0.01 * k, 503) for k in range(5)]
        self.assertEqual(analysis.waves(four + [refused(0.09)] + again), (2, 1))

    def test_fullest_slides(self):
        # Three in [0.08, 0.18), though each bin has two at most.
        times = [0.05, 0.08, 0.12, 0.17, 0.5]
        self.assertEqual(max(analysis.bins(times)), 2)
        self.assertEqual(analysis.fullest(times), 3)
        self.assertEqual(analysis.fullest(times, start=0.1), 2)
        self.assertEqual(analysis.fullest([0, 0.1]), 1)
        self.assertEqual(analysis.fullest([]), 0)

    def test_peak_to_mean(self):
        # 4, 0, 0, 1: the mean is 1.25.
        self.assertAlmostEqual(analysis.peak_to_mean([0, 0, 0, 0.01, 0.35]), 3.2)
        self.assertIsNone(analysis.peak_to_mean([]))

    def test_percentile(self):
        self.assertEqual(analysis.percentile([3, 1, 2], 0.5), 2)
        self.assertEqual(analysis.percentile([4, 3, 2, 1], 0.5), 2)
        self.assertEqual(analysis.percentile(range(1, 101), 0.99), 99)
        self.assertEqual(analysis.percentile([7], 0.99), 7)
        self.assertEqual(analysis.percentile([1, 2], 0), 1)
        self.assertIsNone(analysis.percentile([], 0.5))


class MeasureTest(unittest.TestCase):

    def test_by_hand(self):
        # Four calls: five refusals in one bin, and one send that was answered 30 ms late.
        arrivals = [ok(0), ok(0.01)] + [refused(0.02)] * 5 + [ok(0.4), ok(0.45, answered=0.5)]
        calls = [(100, 100.02, True), (100, 100.03, True), (100, 100.42, True), (100, 100.5, True)]
        figures = analysis.measure(scenario(), arrivals, calls)
        self.assertEqual((figures["asked"], figures["answered"], figures["sends"]), (4, 4, 9))
        self.assertEqual((figures["wasted"], figures["refused"], figures["failed"]), (5, 5, 0))
        self.assertEqual(figures["per_call"], 2.25)
        self.assertAlmostEqual(figures["wall_s"], 0.5)
        self.assertAlmostEqual(figures["x_ideal"], 1.0)
        self.assertEqual((figures["waves"], figures["waves_after_first"]), (1, 0))
        self.assertEqual(figures["fullest_bin"], 7)
        self.assertAlmostEqual(figures["peak_to_mean"], 7 * 5 / 9)
        self.assertAlmostEqual(figures["p50_ms"], 30)
        self.assertAlmostEqual(figures["p99_ms"], 500)
        self.assertAlmostEqual(figures["late_p50_ms"], 0)
        self.assertAlmostEqual(figures["late_max_ms"], 30)
        self.assertIsNone(figures["outage_sends"])
        self.assertTrue(figures["consistent"])

    def test_an_outage_is_counted_apart(self):
        arrivals = [ok(0.99), refused(1, 503), refused(4.99, 503), ok(5), ok(5.05), ok(5.2), ok(5.4)]
        figures = analysis.measure(scenario(outage_s=[1.0, 5.0]), arrivals, [(0, 1, True)] * 4)
        self.assertEqual(figures["outage_sends"], 2)
        self.assertEqual(figures["fullest_after_outage"], 2)

    def test_a_failed_call_is_wasted_sends(self):
        figures = analysis.measure(scenario(), [refused(0)] * 3 + [ok(1)], [(0, 1, True), (0, 1, False)])
        self.assertEqual((figures["answered"], figures["wasted"]), (1, 3))

    def test_a_client_that_claims_too_much_is_noticed(self):
        gone = ok(0)
        gone.gone = True
        figures = analysis.measure(scenario(), [ok(0), gone], [(0, 1, True)] * 2)
        self.assertFalse(figures["consistent"])

    def test_nothing_came(self):
        figures = analysis.measure(scenario(), [], [])
        self.assertEqual((figures["answered"], figures["sends"]), (0, 0))
        self.assertIsNone(figures["x_ideal"])
        self.assertIsNone(figures["p99_ms"])

    def test_combine(self):
        runs = [analysis.measure(scenario(), [ok(0)] + [refused(0.1)] * n, [(0, 1, True)]) for n in (3, 9, 4)]
        combined = analysis.combine(runs)
        self.assertEqual(combined["wasted"], (4, 3, 9))
        self.assertIsNone(combined["outage_sends"])
        self.assertTrue(combined["consistent"])
        runs[1]["consistent"] = False
        self.assertFalse(analysis.combine(runs)["consistent"])

    def test_read_door(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "door.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                file.write('{"scenario":"S2","began_ns":5,"sends":2,"late_ms":{"p50":0.1,"p99":0.2,"max":0.3}}\n'
                           '{"i":0,"t":0.000000,"s":429,"f":"none","due":0.02,"at":0.0203}\n'
                           '{"i":1,"t":0.5,"s":-1,"f":"hang","due":null,"at":null,"gone":true}\n')
            run, arrivals = analysis.read_door(path)
            self.assertEqual(run["late_ms"]["p99"], 0.2)
            self.assertEqual([a.kind for a in arrivals], ["refused", "failed"])
            self.assertTrue(arrivals[1].gone)
            self.assertAlmostEqual(analysis.lateness(arrivals)[0], 0.0003)

    def test_calls_of_a_record_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "calls.json")
            with open(path, "w", encoding="utf-8") as file:
                file.write('{"stop_reason":"SUCCESS","end":"1.030s","begin":"7.5s"}\n'
                           '{"stop_reason":"MAX_ELAPSED","end":"60s","begin":"7s"}\n'
                           '{"stop_reason":"SUCC')  # its writer was stopped
            calls = lanes._calls("forbear", path)  # pylint: disable=protected-access
            self.assertEqual([(round(e - b, 3), good) for b, e, good in calls], [(1.03, True), (60, False)])
            self.assertEqual(lanes._calls("forbear", path + ".none"), [])  # pylint: disable=protected-access


def lane(figures, peer="forbear", run=1, **changes):
    made = {
        "scenario": "S2", "protocol": "http", "peer": peer, "run": run, "figures": figures, "stopped_at_limit": False,
        "machine_late_ms": {"p50": 0, "p99": 1, "max": 2}, "load": [1.0, 2.0],
        "bins": {"ok": [2, 0, 1], "refused": [5], "failed": []}
    }
    made.update(changes)
    return made


def results_of(lane_list, scenarios):
    return {
        "made": "2026-01-01", "command": "./dev arena", "quick": False, "seconds": 1, "at_once": 6,
        "machine": {"cores": 2, "cpu": "a & b", "kernel": "6"}, "described": {}, "not_run": {"curl": "no <curl>"},
        "failed": [], "scenarios": scenarios, "lanes": lane_list
    }


class ReportTest(unittest.TestCase):

    def figures(self, wasted, calls=4, answered=4, end=0.5):
        arrivals = [refused(0.01 * k) for k in range(wasted)] + [ok(0.1 * k) for k in range(answered - 1)]
        arrivals.append(ok(end - 0.02))
        return analysis.measure(scenario(calls=calls), arrivals, [(0, 0.1, True)] * answered)

    def test_goals_are_met_or_missed_by_medians(self):
        runs = [lane(self.figures(wasted), run=k) for k, wasted in enumerate((2, 99, 10))]
        crowd = report.crowds(results_of(runs, [scenario()]), "main")[0]
        by_name = {name: (value, met) for name, value, _, met in report.verdicts(crowd.scenario, crowd.peers["forbear"])}
        self.assertEqual(by_name["wasted"], (10, True))
        self.assertEqual(by_name["unanswered"], (0, True))
        runs = [lane(self.figures(wasted), run=k) for k, wasted in enumerate((2, 99, 11))]
        crowd = report.crowds(results_of(runs, [scenario()]), "main")[0]
        self.assertIn(("wasted", 11, 10, False), report.verdicts(crowd.scenario, crowd.peers["forbear"]))

    def test_one_unanswered_run_misses(self):
        runs = [lane(self.figures(0)), lane(self.figures(0, answered=3), run=2), lane(self.figures(0), run=3)]
        crowd = report.crowds(results_of(runs, [scenario()]), "main")[0]
        self.assertIn(("unanswered", 1, 0, False), report.verdicts(crowd.scenario, crowd.peers["forbear"]))
        self.assertEqual(report.times_ideal(crowd.peers["forbear"]), "[1.000]")

    def test_faults_that_meet_everybody_are_the_goal_of_s6(self):
        self.assertEqual(goals.of(scenario(name="S6", ideal_wasted=31))["wasted"], 31)
        self.assertEqual(goals.of(scenario(name="bucket-01-int")), {})

    def test_binds(self):
        self.assertTrue(goals.binds(scenario()))  # 500/s for 20/s
        self.assertFalse(goals.binds(scenario(workers=1, answer_s=0.05)))
        self.assertFalse(goals.binds(scenario(rate=None)))

    def test_worse(self):
        combine = analysis.combine
        good, slow = combine([self.figures(1)]), combine([self.figures(1, end=0.6)])
        self.assertEqual(report.worse(good, slow), "")
        self.assertEqual(report.worse(slow, good), "slower")
        self.assertEqual(report.worse(combine([self.figures(2)]), good), "wasted more")
        self.assertEqual(report.worse(combine([self.figures(0, answered=3)]), good), "answered less")

    def test_bucket_goals(self):
        described = [scenario(name="bucket-0%d-int" % k, group="buckets") for k in range(1, 5)]
        ran = [lane(self.figures(wasted), scenario=s["name"]) for s, wasted in zip(described, (1, 2, 3, 40))]
        found = report.bucket_goals(results_of(ran, described))
        self.assertIn(("int", "wasted p50", "2", 9, True), found)
        self.assertIn(("all", "wasted p90", "40", 32, False), found)
        self.assertEqual(found[-1][0], "where the limit binds")

    def test_text_and_page_say_what_matters(self):
        variant = scenario(name="wait-zero", group="variants", obeyable="yes")
        bucket = scenario(name="bucket-01-int", group="buckets")
        results = results_of([
            lane(self.figures(7)), lane(self.figures(0), "oracle"),
            lane(self.figures(3), scenario="wait-zero"),
            lane(self.figures(2), "full-jitter", scenario="wait-zero"),
            lane(self.figures(3), scenario="bucket-01-int"),
        ], [scenario(), variant, bucket])
        said = report.text(results)
        for part in ("S2 over HTTP", "wasted 7 (goal 10)", "wait-zero", "wasted more", "bucket-01", "no <curl>",
                     "load average"):
            self.assertIn(part, said)
        page = report.page(results)
        self.assertIn("no &lt;curl&gt;", page)
        self.assertNotIn("no <curl>", page)
        self.assertEqual(page.count("<svg"), page.count("</svg>"))
        # Self-contained: it asks nobody for anything.
        for outside in ("http://", "https://", "src=", "@import", "url("):
            self.assertNotIn(outside, page)

    def test_the_run_that_is_drawn_is_the_median(self):
        runs = [lane(self.figures(wasted), run=k) for k, wasted in enumerate((9, 2, 5))]
        self.assertEqual(report.shown(runs)["figures"]["wasted"], 5)
        self.assertEqual(report.shown(runs[:1])["figures"]["wasted"], 9)

    def test_ticks(self):
        self.assertEqual([timeline.nice_step(s, 12) for s in (1, 3, 12, 20, 50, 130)], [0.1, 0.5, 1, 2, 5, 20])


class PlanTest(unittest.TestCase):

    def parse(self, *argv):
        return arena.parse(["--bin", "x", *argv])

    def test_everybody_plays_everything(self):
        planned = arena.plan([scenario()], self.parse())
        counts = {}
        for one in planned:
            counts[one.peer, one.protocol] = counts.get((one.peer, one.protocol), 0) + 1
        self.assertEqual(counts["forbear", "http"], 3)
        self.assertEqual(counts["oracle", "grpc"], 3)
        self.assertEqual(counts["urllib3", "http"], 1)
        self.assertEqual(len({one.name for one in planned}), len(planned))
        # Forbear's runs do not begin together.
        runs = [k for k, one in enumerate(planned) if (one.peer, one.protocol) == ("forbear", "http")]
        self.assertGreater(runs[1] - runs[0], 2)

    def test_choices(self):
        both = [scenario(), scenario(name="S3", grpc=False)]
        planned = arena.plan(both, self.parse("--scenario", "S3", "--peer", "forbear", "--runs", "2"))
        self.assertEqual(sorted({(one.scenario["name"], one.peer) for one in planned}),
                         [("S3", "forbear"), ("S3", "oracle")])
        self.assertEqual(len(planned), 4)
        self.assertEqual(arena.plan(both, self.parse("--peer", "grpc-policy", "--protocol", "http")), [])
        planned = arena.plan(both, self.parse("--peer", "oracle", "--runs", "1"))
        self.assertEqual([one.peer for one in planned], ["oracle"] * 3)

    def test_one_oracle_for_a_bucket(self):
        five = [scenario(name="bucket-01-" + s, group="buckets", grpc=False) for s in ("none", "int", "ms")]
        planned = arena.plan(five, self.parse())
        self.assertEqual([one.peer for one in planned].count("oracle"), 1)
        self.assertEqual([one.peer for one in planned].count("forbear"), 3)

    def test_limits(self):
        self.assertLessEqual(lanes.Lane(scenario(ideal_s=100), "http", "curl").limit, 120)


if __name__ == "__main__":
    unittest.main()
