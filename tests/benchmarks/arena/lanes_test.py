#!/usr/bin/env python3
"""The arena's programs together: a short scenario, played for real.

    lanes_test.py PROVIDER ORACLE FORBEAR SIMULATE
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "benchmarks", "arena"))

import analysis  # pylint: disable=wrong-import-position
import lanes  # pylint: disable=wrong-import-position
import report  # pylint: disable=wrong-import-position

PROVIDER, ORACLE, FORBEAR, SIMULATE = (os.path.abspath(path) for path in sys.argv[1:5])


class LanesTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.runner = lanes.Runner(PROVIDER, ORACLE, FORBEAR, SIMULATE, self.folder)
        self.scenarios = {scenario["name"]: scenario for scenario in self.runner.scenarios()}

    def play(self, peer, protocol):
        return self.runner.run(lanes.Lane(self.scenarios["S1"], protocol, peer))

    def test_the_oracle_loses_nothing_that_can_be_avoided(self):
        for protocol in ("http", "grpc"):
            result = self.play("oracle", protocol)
            figures = result["figures"]
            self.assertEqual((figures["answered"], figures["sends"], figures["wasted"]), (100, 103, 3), protocol)
            self.assertTrue(figures["consistent"])
            self.assertFalse(result["stopped_at_limit"])
            # Never faster than the ideal, but for the rounding of a microsecond.
            self.assertGreaterEqual(figures["x_ideal"], 0.9999)

    def test_forbear_is_counted_at_the_door(self):
        for protocol in ("http", "grpc"):
            figures = self.play("forbear", protocol)["figures"]
            self.assertEqual((figures["asked"], figures["answered"]), (100, 100), protocol)
            self.assertEqual(figures["sends"], 100 + figures["wasted"])
            self.assertGreaterEqual(figures["wasted"], 3)
            self.assertTrue(figures["consistent"])

    def test_the_simulator_plays_the_same_scenarios(self):
        simulated = self.runner.simulated(["S1", "S3"])
        self.assertEqual([(s["scenario"], s["protocol"]) for s in simulated],
                         [("S1", "http"), ("S3", "http"), ("S3", "grpc")])
        results = {
            "scenarios": [self.scenarios["S1"]],
            "lanes": [self.play("forbear", "http")],
            "simulated": simulated
        }
        rows = report.simulated_rows(results)
        self.assertEqual([(r[0], r[5]) for r in rows], [("S1 http", "yes")])
        drawn = report.picture(results, "S1")
        self.assertEqual(xml.etree.ElementTree.fromstring(drawn).tag, "{http://www.w3.org/2000/svg}svg")
        self.assertIsNone(report.picture(results, "S2"))
        # It can say no.
        simulated[0]["wasted"] += 10
        self.assertEqual(report.simulated_rows(results)[0][5], "no")

    def test_the_simulator_says_what_is_wrong(self):
        for args, said in ((["--runs", "0"], "--runs must be from 1 to 100000, and is '0'"),
                           (["--scenario", "S99"], "there is no scenario 'S99'"), (["S2"], "usage:")):
            done = subprocess.run([SIMULATE, *args], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, said in done.stderr), (2, True), args)

    def test_a_provider_ends_by_itself(self):
        door = os.path.join(self.folder, "door.jsonl")
        done = subprocess.run([PROVIDER, "--scenario", "S5", "--log", door, "--max-seconds", "1"],
                              capture_output=True,
                              check=True,
                              timeout=60)
        self.assertEqual(set(json.loads(done.stdout)), {"http", "grpc", "begin_ns"})
        run, arrivals = analysis.read_door(door)
        self.assertEqual((run["scenario"], run["sends"], arrivals), ("S5", 0, []))

    def test_wrong_usage(self):
        for wrong in ([PROVIDER], [PROVIDER, "--scenario", "S9", "--log", "/dev/null"], [PROVIDER, "--list", "x"],
                      [ORACLE], [ORACLE, "--scenario", "S1"]):
            done = subprocess.run(wrong, capture_output=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 2, wrong)
            self.assertNotEqual(done.stderr, b"")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
