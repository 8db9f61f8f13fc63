#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""report_option_test.py NEAP [unittest arguments]: --report of train, bench, analyze and plan, and what was measured on a page."""
import json
import os
import re
import unittest

from browser import open_page
from reporting import ReportTest
from running import neap
from traces import EVIL, step_of

TRAIN = ["train", "--model", "mlp", "--data", "synthetic:1x8x8:10:640", "--batch-size", 32, "--threads", 1, "--no-test"]
STEP = ["--model", "mlp", "--input", "1,8,8", "--threads", 1, "--repetitions", 1]


class ReportOptionTest(ReportTest):
    def setUp(self):
        super().setUp()
        self.page = self.folder / "page.html"

    def data(self):
        return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', self.page.read_text()).group(1))

    def sections(self):
        return {section["title"]: section for section in self.data()["sections"]}

    def drawn(self, **options):
        opened = open_page(self.page, **options)
        self.assertEqual(opened.console, [])
        self.assertEqual(opened.sections, len(self.data()["sections"]))
        for colours in opened.colours:
            self.assertGreater(colours, 3, "a chart is empty")
        return opened.text()

    def test_a_training_has_the_page_of_its_folder(self):
        out = self.folder / "run"
        done = neap(*TRAIN, "--steps", 6, "--out", out, "--report", self.page)
        self.assert_ended(done, 0, f"wrote {self.page}; a browser opens it")
        first = self.data()
        self.assertIn("Peak of each step", self.drawn())
        again = self.page_data(out)
        self.assertEqual((first["sections"], first["facts"]), (again["sections"], again["facts"]))
        self.assert_ended(neap(*TRAIN, "--steps", 9, "--out", out, "--resume", "--report", self.page), 0)
        whole = self.data()
        self.assertEqual(self.sections()["Loss"]["x"]["values"], list(range(1, 10)))
        self.assertEqual(whole["sections"], self.page_data(out)["sections"])
        # One that is over keeps its record, and draws it.
        record = (out / "run.jsonl").read_bytes()
        self.assert_ended(neap(*TRAIN, "--steps", 9, "--out", out, "--resume", "--report", self.page), 0)
        self.assertEqual((out / "run.jsonl").read_bytes(), record)
        self.assertEqual(self.sections()["Loss"], [one for one in whole["sections"] if one["title"] == "Loss"][0])

    def test_a_training_without_a_folder_is_drawn_too_however_it_ends(self):
        done = neap(*TRAIN, "--steps", 4, "--json", "--quiet", "--report", self.page)
        self.assert_ended(done, 0)
        self.assertEqual(done.stderr, "")
        losses = [line["loss"] for line in map(json.loads, done.stdout.splitlines()) if line["event"] == "step"]
        self.assertEqual(self.sections()["Loss"]["series"][0]["values"], losses)
        self.assertFalse((self.folder / "run.jsonl").exists())
        self.assert_ended(neap(*TRAIN, "--lr", 1e6, "--optimizer", "sgd", "--epochs", 50, "--report", self.page), 1)
        self.assertIn("not_finite", self.drawn())
        self.assert_ended(neap(*TRAIN, "--steps", 4, "--budget", "3MiB", "--report", self.page), 1)
        self.assertIn("budget_exceeded", self.drawn())
        self.page.write_text("older")
        self.assert_ended(neap(*TRAIN[:3], "--data", "text:nowhere", "--report", self.page), 1, "nowhere")
        self.assertEqual(self.page.read_text(), "older", "a training that never began has no page")

    def test_what_bench_and_analyze_measured_is_drawn_by_report_as_by_themselves(self):
        for command, more, titles in (
                ("bench", ["--budgets", "100%,none,3MiB"], ("Time against memory, measured", "Ways to train a step")),
                ("analyze", [], ("Time of a step by batch", "Peak of a step by batch", "Steps by batch"))):
            with self.subTest(command):
                done = neap(command, *STEP, "--batch-sizes", "4,8", *more, "--json", "--report", self.page)
                self.assert_ended(done, 0)
                data = self.data()
                self.assertEqual(data["title"], f"neap {command}: mlp")
                for options in ({}, {"dark": True}, {"width": 380}):
                    text = self.drawn(**options)
                for title in titles:
                    self.assertIn(title, text)
                for layout in (None, 2):  # as the command writes it, and as other tools lay it out
                    file = self.write("measured.json", json.dumps(json.loads(done.stdout), indent=layout))
                    again = self.page_data(file)
                    self.assertEqual((again["sections"], again["facts"]), (data["sections"], data["facts"]))

    def test_bench_s_page_has_its_numbers(self):
        done = neap("bench", *STEP, "--batch-sizes", 4, "--budgets", "100%,none,3MiB", "--json", "--report", self.page)
        rows = json.loads(done.stdout)["rows"]
        self.assertEqual({row["label"] for row in rows}, {"mlp 1x8x8 batch 4 adamw"})
        sections = self.sections()
        points = {point[3]: point for one in sections["Time against memory, measured"]["series"] for point in one["points"]}
        fitting = [row for row in rows if row["refusal"] is None]
        self.assertEqual(points.keys(), {"plain", "checkpointed", "100%", "none"})
        self.assertEqual(len(fitting), 4)
        for row in fitting:
            self.assertEqual(points[row["variant"]][0], row["peak_live_bytes"])
            self.assertAlmostEqual(points[row["variant"]][1], 100 * (row["against_plain"]["median"] - 1))
            self.assertAlmostEqual(points[row["variant"]][2], 1e6 * row["step_ms"]["median"])
        table = sections["Ways to train a step"]["rows"]
        self.assertEqual([row[1] for row in table], ["plain", "checkpointed", "100%", "none", "3MiB"])
        self.assertTrue(table[-1][-1].startswith("does not fit: "))

    def test_other_ways_lie_beside_the_curve_of_the_same_step(self):
        trace = self.folder / "step.jsonl"
        self.assert_ended(neap("trace", *STEP, "--batch-size", 64, "-o", trace), 0)
        done = neap("bench", *STEP, "--batch-sizes", "32,64", "--budgets", "100%", "--json")
        bench = self.write("bench.json", done.stdout)
        ways = self.write("ways.csv", "way,share,time\n# measured elsewhere\nselective checkpointing,50,1.25\n"
                                      '"sequential, in 4",25,1.5\r\nselective checkpointing,75,1.125\n')
        report = neap("report", trace, bench, ways, "--points", 3, "-o", self.page)
        self.assert_ended(report, 0)
        self.assertNotIn("has no row", report.stderr)
        for options in ({}, {"dark": True}):
            self.assertIn("Time against memory", self.drawn(**options))
        plan = json.loads(neap("plan", trace, "--budget", "100%", "--json").stdout)
        head, room = plan["plain_base_bytes"], plan["plain_peak_bytes"] - plan["plain_base_bytes"]
        series = {one["name"]: one for one in self.sections()["Time against memory"]["series"]}
        self.assertEqual(list(series)[:2], ["plans", "no plan is below this"])
        self.assertEqual(series["sequential, in 4"]["points"], [[head + 0.25 * room, 50.0, None]])
        self.assertEqual([point[1] for point in series["selective checkpointing"]["points"]], [25.0, 12.5])
        rows = [row for row in json.loads(done.stdout)["rows"] if row["batch_size"] == 64]
        above = {row["variant"]: row["peak_live_bytes"] - row["base_bytes"] for row in rows}
        for variant, name in (("plain", "plain, measured"), ("checkpointed", "checkpointed, measured"),
                              ("100%", "neap, 100%, measured")):
            point, = series[name]["points"]
            self.assertAlmostEqual(point[0], head + room * above[variant] / above["plain"], delta=1)
        # Without the curve they are there alone; of another step they are not.
        self.assert_ended(neap("report", trace, bench, "--no-frontier", "-o", self.page), 0)
        self.assertNotIn("plans", [one["name"] for one in self.sections()["Time against memory"]["series"]])
        other = self.write("other.jsonl", step_of(["a"]))
        self.assert_ended(neap("report", other, bench, "--no-frontier", "-o", self.page), 0,
                          "has no row of made, so its ways are not drawn beside that step")
        self.assertNotIn("Time against memory", self.sections())

    def test_a_plan_is_drawn_with_its_step_and_a_frontier_with_its_curve(self):
        trace = self.folder / "step.jsonl"
        self.assert_ended(neap("trace", *STEP, "--batch-size", 64, "-o", trace), 0)
        done = neap("plan", trace, "--budget", "100%", "--json", "--report", self.page)
        self.assert_ended(done, 0)
        self.assertIn("Memory of the step inside the budget", self.drawn())
        facts = {name: value for name, value, _ in self.data()["facts"]}
        plan = json.loads(done.stdout)
        self.assertEqual((facts["budget"], facts["peak by the plan"]), (plan["budget_bytes"], plan["predicted_peak_bytes"]))
        self.assertNotIn("Time against memory", self.sections())
        done = neap("plan", *STEP, "--frontier", "--points", 3, "--json", "--report", self.page)
        self.assert_ended(done, 0)
        self.drawn()
        plans = self.sections()["Time against memory"]["series"][0]["points"]
        self.assertEqual([point[0] for point in plans],
                         [point["budget_bytes"] for point in json.loads(done.stdout)["points"] if point["extra_ns"] is not None])
        self.page.write_text("older")
        self.assert_ended(neap("plan", trace, "--budget", "1B", "--report", self.page), 1)
        self.assertEqual(self.page.read_text(), "older")

    def test_a_page_that_cannot_be_written_is_told_before_anything_runs(self):
        trace = self.write("step.jsonl", step_of(["a"]))
        nowhere = self.folder / "nowhere" / "page.html"
        for command in ([*TRAIN, "--steps", 4, "--out", self.folder / "run"], ["bench", *STEP], ["analyze", *STEP],
                        ["plan", trace, "--min"]):
            for path in (nowhere, self.folder):
                with self.subTest(command[0], path=path):
                    done = neap(*command, "--report", path)
                    self.assert_ended(done, 1, "--report: ", str(path))
                    self.assertEqual(done.stdout, "")
        self.assertFalse((self.folder / "run").exists())

    def test_a_page_may_lie_in_the_new_folder_of_the_training(self):
        out = self.folder / "new" / "run"
        page = out / "page.html"
        self.assert_ended(neap(*TRAIN[:3], "--data", "text:nowhere", "--out", out, "--report", page), 1, "nowhere")
        self.assertFalse(out.parent.exists(), "a training that never began leaves no folder")
        self.assert_ended(neap(*TRAIN, "--steps", 2, "--out", out, "--report", page), 0, f"wrote {page}")
        self.assertIn("Loss", page.read_text())

    def test_a_page_takes_the_place_of_no_other_file(self):
        trace, config = self.write("step.jsonl", step_of(["a"])), self.write("job.toml", "seed = 3\n")
        text, new = self.write("book.txt", "neap " * 500), self.folder / "new"
        run = self.folder / "run"
        for arguments, told in (
                (["plan", trace, "--min", "--report", trace], "FILE and --report"),
                (["plan", trace, "--min", "-o", new, "--report", new], "-o and --report"),
                (["bench", "--svg", new, "--report", new], "--svg and --report"),
                (["analyze", "--csv", new, "--report", new], "--csv and --report"),
                (["analyze", "--config", config, "--report", config], "--config and --report"),
                (["train", "--config", config, "--report", config], "--config and --report"),
                (["train", "--data", f"text:{text}", "--report", text], "--data and --report"),
                (["train", "--init", text, "--report", text], "--init and --report"),
                (["train", "--policy", trace, "--report", trace], "--policy and --report"),
                (["train", "--out", run, "--report", run / "run.jsonl"], "--out and --report"),
                (["train", "--out", run, "--report", run], "--out and --report"),
                (["train", "--plan-cache", run, "--report", run], "--plan-cache and --report")):
            with self.subTest(arguments):
                self.assert_ended(neap(*arguments), 2, told, "one would be lost; name two")
        self.assertEqual((trace.read_text(), config.read_text()), (step_of(["a"]), "seed = 3\n"))
        self.assertEqual(text.read_text(), "neap " * 500)
        self.assertFalse(new.exists() or run.exists())

    def test_what_was_measured_is_refused_where_it_is_wrong(self):
        trace, other = self.write("step.jsonl", step_of(["a"])), self.write("other.jsonl", step_of(["b"]))
        ways = self.write("ways.csv", "way,share,time\na,50,1.5\n")
        bench = self.write("bench.json", '{"rows":[{"variant":"plain"}]}')
        for files, form, told in (([ways], "html", "there are 0 traced steps"), ([trace, other, ways], "html", "there are 2 traced"),
                                  ([bench], "csv", "--format csv takes no"), ([trace, ways], "chrome", "--format chrome takes no")):
            with self.subTest(told):
                self.assert_ended(neap("report", *files, "--format", form, "-o", self.page), 2, told)
        for line, told in (("a,50", "fewer than three cells"), ("a", "fewer than three cells"), ("a,x,1", "its share is none"),
                           ("a,-1,1", "its share is none"), ("a,50,0", "its time is none"), ("a,50,nan", "its time is none"),
                           ("a,50,", "its time is none"), ("a,50,1e999", "its time is none"), (",,", "its share is none")):
            with self.subTest(line):
                file = self.write("wrong.csv", f"way,share,time\nb,50,1\n{line}\n")
                self.assert_ended(neap("report", trace, file, "-o", self.page), 1, "wrong.csv: line 3: ", told)
        empty = self.write("empty.csv", "way,share,time\n# nothing\n")
        self.assert_ended(neap("report", trace, empty, "-o", self.page), 1, "no row follows")
        self.assert_ended(neap("report", self.write("cut.json", '{"rows":[{"variant"'), "-o", self.page), 1, "cut.json")
        self.assert_ended(neap("report", self.write("none.json", ""), "-o", self.page), 1, "none.json: it is empty")
        read, write = os.pipe()
        os.write(write, bench.read_bytes())
        os.close(write)
        done = neap("report", f"/dev/fd/{read}", "-o", self.page, pass_fds=[read])
        os.close(read)
        self.assert_ended(done, 1, "a pipe will not do")
        deep = "[" * 200_000 + "]" * 200_000
        for text in ('{"rows":[{"variant":"plain","label":"x","budget_bytes":%s}]}' % deep, deep, '{"event":%s}' % deep):
            self.assert_ended(neap("report", self.write("deep.json", text), "-o", self.page), 1, "deep.json: ")
        self.assertFalse(self.page.exists())

    def test_a_page_of_several_files_says_what_is_whose(self):
        def bench(folder, rows):
            (self.folder / folder).mkdir()
            return self.write(f"{folder}/bench.json", json.dumps({"rows": rows}))
        row = {"variant": "plain", "label": "made", "against_plain": {"median": 1}, "peak_live_bytes": 9, "step_ms": {"median": 1}}
        one, two = bench("one", [row, {**row, "equal_bits": True}]), bench("two", [{**row, "equal_bits": False, "difference": "loss"}])
        analysis = self.write("analysis.json", json.dumps({"label": "a", "performance": {"rows": []}, "memory": {"layers": []}}))
        trace, run = self.write("step.jsonl", step_of(["a"])), self.write("run.jsonl", '{"event":"step","step":1,"loss":2.5}\n')
        self.assert_ended(neap("report", one, two, analysis, analysis, trace, run, "--no-frontier", "-o", self.page), 0)
        data = self.data()
        self.assertEqual(data["facts"], [])
        parts = {one["title"]: one for one in data["sections"] if one["kind"] == "part"}
        # Trainings, then what was measured, and steps: each by as much of its path as tells it from the others.
        self.assertEqual([re.sub(r".*?((one|two)/)?([^/]*)$", r"\1\3", title) for title in parts],
                         [self.folder.name, "one/bench.json", "two/bench.json", "analysis.json (3)", "analysis.json (4)", "step.jsonl"])
        for title, part in parts.items():
            facts = {name for name, _, _ in part["facts"]}
            self.assertEqual("step" in facts, "analysis" in title or "step.jsonl" in title, title)
        text = self.drawn()
        for title in parts:
            self.assertIn(title, text)
        bits = [cells[-1] for one in data["sections"] if one["title"] == "Ways to train a step" for cells in one["rows"]]
        self.assertEqual(bits, ["", "equal", "differ: loss"])
        # One alone has no heading.
        self.assertNotIn("part", [one["kind"] for one in self.page_data(analysis)["sections"]])

    def test_a_table_of_ways_may_begin_with_a_line_that_is_left_out(self):
        trace = self.write("step.jsonl", step_of(["a"]))
        ways = self.write("ways.csv", "# measured elsewhere\n# twice\nway,share,time\na,50,1.5\n")
        self.assert_ended(neap("report", trace, ways, "--no-frontier", "-o", self.page), 0)
        self.assertEqual([one["name"] for one in self.sections()["Time against memory"]["series"]], ["a"])
        wrong = self.write("wrong.csv", "# measured elsewhere\nway,share,time\n\na\n")
        self.assert_ended(neap("report", trace, wrong, "-o", self.page), 1, "wrong.csv: line 4: ")

    def test_hostile_measurements_stay_texts_and_odd_values_are_left_out(self):
        row = {"variant": EVIL, "label": EVIL, "against_plain": {"median": 2.5}, "peak_live_bytes": 1 << 40, "refusal": [1],
               "difference": {"a": 1}, "step_ms": "x", "budget_bytes": -1, "batch_size": None, "equal_bits": "yes"}
        bench = self.write("bench.json", json.dumps({"rows": [row, {}, {"variant": 7, "against_plain": 7}]}))
        layers = [{"name": EVIL, "parameters_bytes": 7}, {}, {"name": 3, "activations_bytes": "x"}]
        analysis = self.write("analysis.json", json.dumps({"performance": {"rows": [{}, {"step_ms": {"median": 3}}]},
                                                           "memory": {"layers": layers}}))
        self.assert_ended(neap("report", bench, analysis, "-o", self.page), 0)
        self.assertIn(EVIL, self.drawn())


if __name__ == "__main__":
    unittest.main()
