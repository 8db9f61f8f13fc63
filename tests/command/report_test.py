#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""report_test.py NEAP [unittest arguments]: the pages of neap report, in a browser without a network."""
import json
import re
import unittest

from browser import open_page
from reporting import CATEGORIES
from running import CommandTest, neap
from traces import EVIL, step_of

SMALL = ["--model", "mlp", "--data", "synthetic:1x8x8:10:640", "--batch-size", 32, "--threads", 1, "--no-test"]


class ReportTest(CommandTest):
    def report(self, *arguments):
        page = self.folder / "page.html"
        self.assert_ended(neap("report", *arguments, "-o", page), 0)
        return page

    def assert_drawn(self, page, **options):
        opened = open_page(page, **options)
        self.assertEqual(opened.console, [])
        self.assertEqual(opened.sections, len(re.findall(r'"kind":"', page.read_text())))
        self.assertTrue(opened.colours)
        for colours in opened.colours:
            self.assertGreater(colours, 3, "a chart is empty")
        return opened

    def test_a_traced_step_is_drawn_plain_and_inside_a_budget(self):
        trace = self.folder / "step.jsonl"
        self.assert_ended(neap("trace", "--model", "resnet", "--input", "3,16,16", "--batch-size", 16,
                               "--repetitions", 1, "-o", trace), 0)
        page = self.report(trace, "--budget", "60%", "--points", 4)
        for options in ({}, {"dark": True}, {"width": 380}):
            with self.subTest(options):
                opened = self.assert_drawn(page, **options)
        text = opened.text()
        for title in ("Memory of the plain step", "Memory of the step inside the budget", "Layers", "Time against memory",
                      "What is there at the peak inside the budget", "The peak of the plain step by layer"):
            self.assertIn(title, text)
        plan = json.loads(neap("plan", trace, "--budget", "60%", "--json").stdout)
        data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text()).group(1))
        facts = {name: value for name, value, _ in data["facts"]}
        self.assertEqual(facts["budget"], plan["budget_bytes"])
        self.assertEqual(facts["plain peak"], plan["plain_peak_bytes"])
        self.assertEqual(facts["peak by the plan"], plan["predicted_peak_bytes"])
        self.assertEqual(facts["operators that run again"], plan["reruns"])
        for section, peak in ((data["sections"][0], "plain_peak_bytes"), (data["sections"][1], "predicted_peak_bytes")):
            counted = [series["values"] for series in section["series"] if not series.get("beside")]
            self.assertEqual(max(map(sum, zip(*counted))), plan[peak])
        # What the allocator kept was measured in the plain step.
        names = [[series["name"] for series in section["series"]] for section in data["sections"][:2]]
        self.assertEqual(names, [[*CATEGORIES, "cached"], CATEGORIES])
        self.assertIn("cached", text)

    def test_what_is_cached_lies_above_the_step_and_hides_no_peak(self):
        lines = [json.loads(line) for line in step_of([f"l{i}" for i in range(2000)]).splitlines()]
        held = 3 << 30
        for line in lines:
            if "op" in line or "neap_trace" in line:
                line["reserved"] = held
        trace = self.write("kept.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        page = self.report(trace, "--no-frontier")
        self.assert_drawn(page)
        data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text()).group(1))
        self.assertEqual({sum(values) for values in zip(*(one["values"] for one in data["sections"][0]["series"]))}, {held})
        rows = json.loads(neap("profile", trace, "--json").stdout)["plain"]["moments"]
        self.assertEqual({row["held_bytes"] + row["cached_bytes"] for row in rows}, {held})
        at_most = held - rows[0]["held_bytes"]
        self.assertIn(f"at most {at_most / 2**30:.1f} GiB", neap("profile", trace).stdout)
        # A trace of an older neap does not say it.
        old = self.write("old.jsonl", step_of(["a"]))
        self.assertNotIn("cached", self.assert_drawn(self.report(old, "--no-frontier")).text())
        self.assertNotIn("cached", neap("profile", old).stdout)
        wrong = self.write("wrong.jsonl", trace.read_text().replace(f'"reserved": {held}', '"reserved": -1', 1))
        self.assert_ended(neap("profile", wrong), 1, 'wrong.jsonl: line 1: "reserved"')

    def test_trainings_are_drawn_side_by_side_and_a_resumed_one_as_a_whole(self):
        for name, steps, more in (("a", 12, ["--save-every", 5]), ("a", 20, ["--resume"]), ("b", 20, ["--budget", "64MiB"])):
            self.assert_ended(neap("train", *SMALL, "--quiet", "--steps", steps, "--out", self.folder / name, *more), 0)
        lines = [json.loads(line) for line in (self.folder / "a" / "run.jsonl").read_text().splitlines()]
        self.assertEqual([one["step"] for one in lines if one["event"] == "step"], list(range(1, 21)))
        self.assertEqual([one["event"] for one in lines if one["event"] != "step"], ["run", "run", "summary"])
        self.assertEqual(lines[0]["settings"]["model"], "mlp")
        opened = self.assert_drawn(self.report(self.folder / "a", self.folder / "b" / "run.jsonl"))
        self.assertIn("The trainings side by side", opened.text())
        self.assertIn("64.0 MiB", opened.text())

    def test_a_training_that_is_done_keeps_its_record_and_another_one_begins_anew(self):
        out = self.folder / "out"
        record = out / "run.jsonl"
        run = ["train", *SMALL, "--quiet", "--steps", 6, "--out", out]
        self.assert_ended(neap(*run), 0)
        before = record.read_bytes()
        self.assert_ended(neap(*run, "--resume"), 0)
        self.assertEqual(record.read_bytes(), before)
        other = self.folder / "other"
        other.mkdir()
        (other / "run.jsonl").write_text('{"event":"step","step":1,"loss":777}\n')
        self.assert_ended(neap("train", *SMALL, "--quiet", "--steps", 8, "--out", other, "--resume", out), 0)
        self.assertNotIn("777", (other / "run.jsonl").read_text())
        self.assert_ended(neap("report", out, "-o", record), 2, "FILE and -o name the same file")
        self.assertEqual(record.read_bytes(), before)

    def test_runs_of_one_name_are_told_apart(self):
        names = []
        for folder in ("a", "b"):
            (self.folder / folder / "run").mkdir(parents=True)
            file = self.folder / folder / "run" / "run.jsonl"
            file.write_text('{"event":"step","step":1,"loss":2.5}\n{"event":"step","step":2,"loss":2.25}\n')
            names.append(file.parent)
        text = self.assert_drawn(self.report(*names)).text()
        self.assertIn("a/run", text)
        self.assertIn("b/run", text)

    def test_lines_of_json_are_drawn_also_where_a_kill_has_cut_the_last_one(self):
        done = neap("train", *SMALL, "--quiet", "--json", "--steps", 5)
        file = self.write("lines.jsonl", "".join(done.stdout.splitlines(keepends=True)[:4])[:-20])
        opened = self.assert_drawn(self.report(file))
        self.assertIn("no end", opened.text())

    def test_names_are_shown_as_they_are_and_are_never_code(self):
        trace = self.write("evil.jsonl", step_of(["block.one", EVIL]))
        opened = self.assert_drawn(self.report(trace, "--no-frontier"))
        self.assertIn("<title>neap report: evil.jsonl</title>", opened.dom)
        self.assertIn(EVIL.replace("&amp;", "&amp;amp;").replace("<", "&lt;").replace(">", "&gt;"), opened.dom)

    def test_a_page_asks_for_nothing(self):
        page = self.report(self.write("step.jsonl", step_of(["a", "b"])), "--no-frontier").read_text()
        self.assertIn("default-src 'none'", page)
        self.assertEqual(re.findall(r"<(?:script|img|iframe)[^>]+src=|<link[^>]+href=\"(?!data:)|@import|sourceMappingURL", page),
                         [])

    def test_a_long_step_keeps_each_peak_in_sight(self):
        layers = [f"block{i // 100}.{i % 100}" for i in range(20_000)]
        page = self.report(self.write("long.jsonl", step_of(layers)), "--no-frontier")
        self.assert_drawn(page)

    def test_what_is_no_trace_and_no_training_is_refused_and_no_page_is_left(self):
        (self.folder / "empty").mkdir()
        words = self.write("words.txt", "words\n")
        other = self.write("other.jsonl", '{"event":"step","step":1}\n{"event":"dance"}\n')
        page = self.folder / "page.html"
        for file, told in ((self.folder / "nowhere", "nowhere"), (self.folder / "empty", "there is no run.jsonl"),
                           (words, "line 1"), (other, "line 2: no line of a training")):
            with self.subTest(file):
                self.assert_ended(neap("report", file, "-o", page), 1, told)
                self.assertFalse(page.exists())
        self.assert_ended(neap("report", other, "-o", other), 2, "FILE and -o name the same file")
        run = self.write("run.jsonl", '{"event":"step","step":1,"loss":2.5}\n')
        self.assert_ended(neap("report", run, "--budget", "30%", "-o", page), 2, "--budget is for traced steps")


if __name__ == "__main__":
    unittest.main()
