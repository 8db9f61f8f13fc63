#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""plan_test.py NEAP [unittest arguments]: neap trace and neap plan, used rightly and wrongly."""
import gzip
import json
import pathlib
import signal
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

from running import NEAP, EndingTest, neap

PLAN_KEYS = {"label", "plain_base_bytes", "plain_peak_bytes", "plain_ns", "budget_bytes", "predicted_peak_bytes",
             "arena_bytes", "predicted_ns", "extra_ns", "waited_ns", "offloaded_bytes", "bound_ns", "reruns", "starts", "winner"}
FRONTIER_KEYS = {"label", "plain_base_bytes", "plain_peak_bytes", "plain_ns", "floor_bytes", "floor_operator", "points",
                 "points_without_copies"}
SMALL = ("--model", "resnet", "--input", "3,16,16", "--batch-size", 16, "--threads", 1)
LABEL = "resnet 3x16x16 batch 16 adamw"


class PlanTest(EndingTest):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = pathlib.Path(scratch.name)
        cls.trace = cls.folder / "step.jsonl"
        cls.traced = neap("trace", *SMALL, "-o", cls.trace)
        assert cls.traced.returncode == 0, cls.traced.stderr
        cls.lines = [json.loads(line) for line in cls.trace.read_text().splitlines()]

    def planned(self, *arguments):
        done = neap("plan", *arguments, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def lines_of(self, path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    # ---- traces

    def test_a_trace_is_a_step_with_its_names_and_what_it_keeps(self):
        head, *events, end = self.lines
        self.assertEqual((head["neap_trace"], head["device"]), (1, "cpu"))
        self.assertEqual(head["label"], LABEL)
        operators = [event for event in events if "op" in event]
        self.assertEqual([op["op"] for op in operators], list(range(len(operators))))
        kinds = {event["kind"] for event in events if "storage" in event}
        self.assertLessEqual({"parameter", "buffer", "input", "optimizer"}, kinds)
        self.assertLessEqual({"forward", "backward", "optimizer"}, {op["phase"] for op in operators})
        self.assertTrue(any(len(op.get("mutates_once", [])) == 2 for op in operators), "BatchNorm's statistics")
        self.assertTrue(any(op["scope"].startswith("block0.") for op in operators))
        self.assertTrue(end["end"])
        parameters = {event["storage"] for event in events if event.get("kind") == "parameter"}
        self.assertLessEqual(parameters, set(end["keep"]))
        self.assertRegex(self.traced.stderr, rf"^{LABEL}: \d+ operators, \d+ storages; its plain "
                                             r"peak is .*B, of which .*B are there before it; next: neap plan "
                                             rf"{self.trace} --budget 50%\n$")
        self.assertEqual(self.traced.stdout, "")

    def test_standard_output_takes_a_trace_and_a_second_one_differs_in_times_only(self):
        done = neap("trace", *SMALL, "-o", "-")
        self.assert_ended(done, 0, "neap plan FILE")
        again = [json.loads(line) for line in done.stdout.splitlines()]
        for lines in (again, first := [dict(line) for line in self.lines]):
            for line in lines:
                line.pop("ns", None)
        self.assertEqual(again, first)

    # ---- plans

    def test_a_plan_fits_its_budget_and_says_what_it_costs(self):
        plan = self.folder / "plan.jsonl"
        shown = self.planned(self.trace, "--budget", "50%", "-o", plan)
        self.assertEqual(shown.keys(), PLAN_KEYS)
        head, *steps = self.lines_of(plan)
        self.assertEqual(head, {"neap_plan": 1, "budget": shown["budget_bytes"],
                                "predicted_peak": shown["predicted_peak_bytes"],
                                "predicted_ns": shown["predicted_ns"], "label": shown["label"]})
        room = shown["plain_peak_bytes"] - shown["plain_base_bytes"]
        self.assertEqual(shown["budget_bytes"], shown["plain_base_bytes"] + room // 2)
        self.assertLessEqual(shown["predicted_peak_bytes"], shown["budget_bytes"])
        self.assertGreaterEqual(shown["arena_bytes"], shown["predicted_peak_bytes"])
        self.assertLessEqual(shown["arena_bytes"], 1.03 * shown["predicted_peak_bytes"])
        self.assertEqual(shown["predicted_ns"], shown["plain_ns"] + shown["extra_ns"])
        self.assertLessEqual(shown["bound_ns"], shown["extra_ns"])
        self.assertEqual(shown["reruns"], sum("rerun" in step for step in steps))
        self.assertGreater(shown["reruns"], 0)
        self.assertIn(shown["winner"], [start["name"] for start in shown["starts"]])
        for start in shown["starts"]:
            self.assertEqual(start.keys(), {"name", "extra_ns"})
        again = self.folder / "again.jsonl"
        self.planned(self.trace, "--budget", shown["budget_bytes"], "--seed", 1, "-o", again)
        self.assertEqual(plan.read_bytes(), again.read_bytes(), "equal arguments give equal plans")

    def test_people_get_a_table_and_a_plan_on_standard_output_leaves_it_to_the_errors(self):
        packed = self.folder / "packed.jsonl.gz"
        packed.write_bytes(gzip.compress(self.trace.read_bytes()))
        done = neap("plan", packed, "--budget", "60%", "--time-limit", "0.2", "-o", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("plain peak", "plain time", "budget", "predicted peak", "in one block", "extra time", "no plan takes less",
                     "distance", "run again", "start dtr", "the plan's start"):
            self.assertIn(text, done.stderr)
        self.assertEqual(json.loads(done.stdout.splitlines()[0])["neap_plan"], 1)
        done = neap("plan", self.trace, "--budget", "100%")
        self.assertRegex(done.stdout, r"operators that run again +0\n")

    def test_the_smallest_budget_works_and_what_is_below_the_floor_is_refused_with_both(self):
        smallest = self.planned("--min", self.trace)
        self.assertLess(smallest["budget_bytes"], smallest["plain_peak_bytes"])
        works = self.planned(self.trace, "--budget", smallest["budget_bytes"])
        self.assertLessEqual(works["predicted_peak_bytes"], smallest["budget_bytes"])
        plan = self.folder / "refused.jsonl"
        done = neap("plan", self.trace, "--budget", "1KiB", "-o", plan)
        self.assert_ended(done, 1, "neap: no plan found for a budget of 1.0 KiB: operator ", " needs ",
                          "whatever the plan; the smallest budget known to work is ")
        self.assertFalse(plan.exists(), "nothing is left where no plan is")
        plan.write_text("older")
        self.assert_ended(neap("plan", self.trace, "--budget", "0%", "-o", plan), 1, "no plan found")
        self.assertEqual(plan.read_text(), "older")

    def test_with_a_bandwidth_a_plan_copies_and_fits_where_reruns_alone_do_not(self):
        plan = self.folder / "copies.jsonl"
        smallest = self.planned("--min", "--format-rules", self.trace)
        self.assertEqual((smallest["waited_ns"], smallest["offloaded_bytes"]), (0, 0))
        below = smallest["plain_base_bytes"] + (smallest["budget_bytes"] - smallest["plain_base_bytes"]) * 3 // 4
        self.assert_ended(neap("plan", self.trace, "--budget", below), 1, "no plan found")
        shown = self.planned(self.trace, "--budget", below, "--bandwidth", "100GB/s", "-o", plan)
        head, *steps = self.lines_of(plan)
        self.assertEqual((head["neap_plan"], head["predicted_offloaded"]), (2, shown["offloaded_bytes"]))
        self.assertEqual({len(step) for step in steps if "offload" in step or "load" in step}, {1})
        self.assertGreater(sum("load" in step for step in steps), 0)
        self.assertGreater(shown["offloaded_bytes"], 0)
        self.assertEqual(shown["predicted_ns"], shown["plain_ns"] + shown["extra_ns"])
        self.assertLessEqual(shown["waited_ns"], shown["extra_ns"])
        slower = self.planned(self.trace, "--budget", below, "--bandwidth", "100GB/s,1MB/s")
        self.assertGreater(slower["extra_ns"], shown["extra_ns"])
        done = neap("plan", self.trace, "--budget", below, "--bandwidth", "100GB/s")
        self.assertIn("of it waits for copies", done.stdout)
        self.assertIn("in the tier at most", done.stdout)

    def test_a_frontier_with_a_bandwidth_has_both_in_one_picture(self):
        svg = self.folder / "both.svg"
        shown = self.planned(self.trace, "--frontier", "--points", 3, "--bandwidth", "10GB/s", "--svg", svg)
        alone = self.planned(self.trace, "--frontier", "--points", 3)
        self.assertEqual(shown["points_without_copies"], alone["points"])
        self.assertIsNone(alone["points_without_copies"])
        self.assertLess(shown["floor_bytes"], alone["floor_bytes"])
        text = svg.read_text()
        for name in ("with copies", "without copies"):
            self.assertIn(name, text)
        self.assertIn("without copies:\n", neap("plan", self.trace, "--frontier", "--points", 2, "--bandwidth", "10GB/s").stdout)

    def test_a_frontier_is_a_table_a_csv_and_a_plot(self):
        csv, svg = self.folder / "out.csv", self.folder / "out.svg"
        shown = self.planned(self.trace, "--frontier", "--points", 4, "--csv", csv, "--svg", svg)
        self.assertEqual(shown.keys(), FRONTIER_KEYS)
        points = shown["points"]
        self.assertEqual(len(points), 4)
        self.assertEqual(points[0]["budget_bytes"], shown["floor_bytes"])
        self.assertEqual((points[-1]["budget_bytes"], points[-1]["share"], points[-1]["extra_ns"]),
                         (shown["plain_peak_bytes"], 1, 0))
        found = [point["extra_ns"] for point in points if point["extra_ns"] is not None]
        self.assertEqual(found, sorted(found, reverse=True))
        rows = csv.read_text().split("\n")
        self.assertEqual(rows[0].strip(), "budget_bytes,share_percent,extra_ns,extra_percent,bound_ns")
        self.assertEqual([int(row.split(",")[0]) for row in rows[1:5]], [point["budget_bytes"] for point in points])
        texts = [element.text for element in xml.etree.ElementTree.parse(svg).iter() if element.text]
        for name in ("plan", "no plan below this", "no plan left of this"):
            self.assertIn(name, texts)
        done = neap("plan", self.trace, "--frontier", "--points", 2)
        self.assertEqual(len(done.stdout.splitlines()), 5, done.stdout)
        self.assertRegex(done.stdout, r"\nno plan stays below .*B: operator \d+, aten::\w+, needs that\n$")

    def test_a_model_is_traced_first(self):
        done = neap("plan", *SMALL, "--repetitions", 1, "--budget", "50%", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = json.loads(done.stdout)
        self.assertEqual(shown["label"], LABEL)
        self.assertLessEqual(shown["predicted_peak_bytes"], shown["budget_bytes"])

    # ---- misuse

    def test_wrong_use_ends_with_2_and_says_what_to_do(self):
        for arguments, told in [
                (["plan", "--budget", "1GiB"], "name a trace, as neap trace writes one, or --model"),
                (["plan", "a.jsonl", "--model", "mlp", "--min"], "a.jsonl and --model mlp are two steps; leave one"),
                (["plan", "a.jsonl"], "name --budget, --min for the smallest budget that works, or --frontier"),
                (["plan", "a.jsonl", "--budget", "30%", "--min"], "--budget and --min ask for different things"),
                (["plan", "a.jsonl", "--frontier", "-o", "b.jsonl"], "a frontier has no plan that -o could take"),
                (["plan", "a.jsonl", "--min", "--json", "-o", "-"], "both write to standard output"),
                (["plan", "a.jsonl", "--min", "--svg", "a.svg"], "--svg requires --frontier"),
                (["plan", "a.jsonl", "--min", "--input", "3,8,8"], "--input requires --model"),
                (["plan", "a.jsonl", "--frontier", "--points", "1"], "--points"),
                (["plan", "a.jsonl", "--budget", "12XB"], "--budget: '12XB' is not a number of bytes"),
                (["plan", "a.jsonl", "--budget", "101%"], "--budget: '101%' is no share"),
                (["plan", "a.jsonl", "--budget", "none"], "--budget: 'none' is not a number of bytes"),
                (["plan", "a.jsonl", "--min", "--time-limit", "0"], "--time-limit"),
                (["trace", "--model", "mlp"], "--out is required"),
                (["trace", "--model", "vgg", "-o", "a"], "vgg not in")]:
            with self.subTest(arguments):
                self.assert_ended(neap(*arguments), 2, told)

    def test_help_has_examples(self):
        for command in ("trace", "plan"):
            done = neap(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn(f"neap {command} ", done.stdout)
            self.assertIn("Examples:", done.stdout)

    def test_files_that_are_damaged_or_not_there_end_with_1_and_name_themselves(self):
        text = self.trace.read_text()
        damaged = self.folder / "damaged.jsonl"
        for content, told in [(text[:len(text) // 2], "line "), ("{}\n", "line 1: expected the head"),
                              (text.replace('"neap_trace":1', '"neap_trace":7', 1), "line 1: version 7 is not known"),
                              (text + "x\n", "line ")]:
            damaged.write_text(content)
            self.assert_ended(neap("plan", damaged, "--min"), 1, f"neap: {damaged}: ", told)
        nowhere = self.folder / "nowhere" / "file"
        self.assert_ended(neap("plan", nowhere, "--min"), 1, f"{nowhere}: cannot be opened: No such file")
        for arguments in (["trace", *SMALL, "-o", nowhere], ["plan", self.trace, "--min", "-o", nowhere]):
            self.assert_ended(neap(*arguments), 1, f"-o: {nowhere} cannot be written: No such file")
        self.assert_ended(neap("plan", self.trace, "--frontier", "--csv", nowhere), 1, f"--csv: {nowhere} cannot be")
        self.assert_ended(neap("plan", self.trace, "--budget", "100%", "-o", "/dev/full"), 1,
                          "-o: /dev/full cannot be written: No space left")
        with open("/dev/full", "w") as full:
            self.assert_ended(neap("plan", self.trace, "--budget", "100%", stdout=full), 1, "standard output")


    def test_an_interrupt_ends_a_search(self):
        process = subprocess.Popen([NEAP, "plan", self.trace, "--budget", "40%", "--time-limit", "100"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # The search begins when the trace has been read. The system counts the bytes read. A sleep would depend on the machine.
        io = pathlib.Path(f"/proc/{process.pid}/io")
        while int(io.read_text().split()[1]) < self.trace.stat().st_size:  # rchar: N
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.communicate()[0], b"")
        self.assertIn(process.returncode, (-signal.SIGINT, 130), "130 where it was still reading")


if __name__ == "__main__":
    unittest.main()
