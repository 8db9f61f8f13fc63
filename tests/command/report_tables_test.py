#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""report_tables_test.py NEAP [unittest arguments]: the tables that neap report --format csv and json write."""
import csv
import json
import pathlib
import re
import unittest

from reporting import CATEGORIES, ReportTest
from running import neap
from traces import EVIL, NASTY, step_of

SMALL = ["--model", "mlp", "--data", "synthetic:1x8x8:10:640", "--batch-size", 32, "--threads", 1, "--quiet"]
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "report.md"


class TablesTest(ReportTest):
    def read_tables(self, *arguments):
        """All tables, from JSON; the CSV must say the same."""
        tables = json.loads(self.export("tables.json", *arguments, form="json").read_text())
        folder = self.export("tables", *arguments, form="csv")
        self.assertEqual({file.name for file in folder.iterdir()}, {f"{name}.csv" for name in tables})
        for name, rows in tables.items():
            with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
                columns, *lines = csv.reader(file)
            self.assertEqual(len(lines), len(rows), name)
            for line, row in zip(lines, rows):
                self.assertEqual(columns, list(row))
                for cell, value in zip(line, row.values()):
                    if isinstance(value, str):
                        value = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda one: f"\\x{ord(one.group()):02x}", value)
                        self.assertEqual(cell, value)
                    else:
                        self.assertEqual(json.loads(cell) if cell else None, value)
        return tables

    def test_the_tables_of_a_step_have_the_numbers_of_the_page(self):
        trace = self.traced()
        wanted = (trace, "--budget", "60%", "--points", 3)
        tables = self.read_tables(*wanted)
        data = self.page_data(*wanted)
        facts = {name: value for name, value, _ in data["facts"]}
        step, = tables["traced_steps"]
        self.assertEqual([step[key] for key in ("label", "plain_peak_bytes", "given_bytes", "plain_ns", "budget_bytes",
                                                "predicted_peak_bytes", "extra_ns", "reruns")],
                         [facts[name] for name in ("step", "plain peak", "of it before the step", "plain time", "budget",
                                                   "peak by the plan", "extra time by the plan", "operators that run again")])
        sections = {section["title"]: section for section in data["sections"]}
        self.assertEqual([[row[key] for key in ("module", "parameters_bytes", "activations_bytes", "freed_by_checkpoint_bytes",
                                                "forward_ns", "backward_ns")] for row in tables["layers"]],
                         sections["Layers"]["rows"])
        for variant, memory, peak in (("plain", "Memory of the plain step", "of the plain step"),
                                      ("budget", "Memory of the step inside the budget", "inside the budget")):
            rows = [row for row in tables["timeline"] if row["variant"] == variant]
            self.assertEqual([row["ns"] for row in rows], sections[memory]["x"]["values"])
            for series in sections[memory]["series"]:
                self.assertEqual([row[f"{series['name']}_bytes"] for row in rows], series["values"])
            self.assertEqual([row["total_bytes"] for row in rows],
                             [sum(row[f"{one}_bytes"] for one in CATEGORIES) for row in rows])
            holders = [[row[key] for key in ("bytes", "category", "layer", "maker", "why")]
                       for row in tables["peak_holders"] if row["variant"] == variant]
            shown = sections[f"What is there at the peak {peak}"]["rows"]
            self.assertEqual(holders[:len(shown)], shown)
            self.assertEqual(sum(one[0] for one in holders), max(row["total_bytes"] for row in rows))
        self.assertEqual(sum(row["rerun"] for row in tables["timeline"]), step["reruns"])
        plans = next(one for one in sections["Time against memory"]["series"] if one["name"] == "plans")["points"]
        self.assertEqual([row["budget_bytes"] for row in tables["frontier"] if row["extra_ns"] is not None],
                         [point[0] for point in plans])
        self.assertNotIn("frontier", json.loads(
            self.export("none.json", trace, "--no-frontier", form="json").read_text()))

    def test_the_tables_of_trainings_are_their_records(self):
        for name, steps, more in (("a", 6, []), ("b", 8, ["--budget", "64MiB"])):
            self.assert_ended(neap("train", *SMALL, "--no-test", "--steps", steps, "--out", self.folder / name, *more), 0)
        tables = self.read_tables(self.folder / "a", self.folder / "b")
        self.assertEqual(list(tables), ["trainings", "training_steps", "evaluations"])
        self.assertEqual(tables["evaluations"], [])
        for name in ("a", "b"):
            lines = [json.loads(line) for line in (self.folder / name / "run.jsonl").read_text().splitlines()]
            steps = [line for line in lines if line["event"] == "step"]
            rows = [row for row in tables["training_steps"] if row["training"] == name]
            self.assertEqual(rows, [{"training": name} | {key: line[key] for key in rows[0] if key != "training"}
                                    for line in steps])
            self.assertEqual(len(rows), 6 if name == "a" else 8)
            row, = [one for one in tables["trainings"] if one["training"] == name]
            summary = lines[-1]
            for key in ("ending", "steps", "budget_bytes", "peak_bytes", "plain_peak_bytes", "accuracy", "planned_steps",
                        "replays", "against_plain_median"):
                self.assertEqual(row[key], summary[key], key)
            self.assertAlmostEqual(row["loss"], summary["loss"])

    def test_the_tables_of_trainings_have_their_evaluations(self):
        self.assert_ended(neap("train", *SMALL, "--steps", 6, "--eval-every", 2, "--out", self.folder / "a"), 0)
        self.assert_ended(neap("train", *SMALL, "--no-test", "--steps", 2, "--out", self.folder / "b"), 0)
        lines = [json.loads(line) for line in (self.folder / "a" / "run.jsonl").read_text().splitlines()]
        tables = self.read_tables(self.folder / "b", self.folder / "a")
        evaluations = [line for line in lines if line["event"] == "evaluation"]
        self.assertEqual([line["step"] for line in evaluations], [2, 4, 6])
        self.assertEqual(tables["evaluations"], [{"training": "a"} | {key: line[key] for key in ("step", "test_loss", "accuracy")}
                                                 for line in evaluations])
        without, row = tables["trainings"]
        for key in ("accuracy", "test_loss", "best_step", "best_accuracy", "best_test_loss"):
            self.assertEqual(row[key], lines[-1][key], key)
            self.assertIsNotNone(row[key], key)
            self.assertIsNone(without[key], key)

    def test_evaluations_without_numbers_or_in_another_order_stay_as_they_are(self):
        run = self.write("run.jsonl", '{"event":"step","step":1,"loss":2.5}\n{"event":"evaluation","step":3,"test_loss":null}\n'
                                      '{"event":"evaluation","step":2,"test_loss":0.5,"accuracy":"x"}\n')
        self.assertEqual([(row["step"], row["test_loss"], row["accuracy"]) for row in self.read_tables(run)["evaluations"]],
                         [(3, None, None), (2, 0.5, None)])

    def test_several_steps_and_trainings_go_into_the_same_tables(self):
        first, second = self.write("one.jsonl", step_of(["a"])), self.write("two.jsonl", step_of(["b", "c"]))
        run = self.write("run.jsonl", '{"event":"step","step":1,"loss":2.5}\n')
        tables = self.read_tables(first, run, second, "--no-frontier")
        self.assertEqual([(row["file"], row["module"]) for row in tables["layers"]],
                         [(str(first), "a"), (str(second), "b"), (str(second), "c")])
        self.assertEqual(tables["training_steps"][0]["loss"], 2.5)
        self.assertIsNone(tables["training_steps"][0]["planned"])
        self.assertIsNone(tables["trainings"][0]["ending"])

    def test_the_page_of_the_documentation_names_all_tables_and_columns(self):
        trace = self.write("one.jsonl", step_of(["a"]))
        run = self.write("run.jsonl", '{"event":"step","step":1,"loss":2.5}\n{"event":"evaluation","step":1,"test_loss":2.5}\n')
        tables = self.read_tables(trace, run, "--points", 2)
        told = {table: re.findall(r"`(\w+)`", columns)
                for table, columns in re.findall(r"^\| `(\w+)` \| (`.*`) \|", PAGE.read_text(), re.MULTILINE)}
        self.assertEqual(told, {name: list(rows[0]) for name, rows in tables.items()})

    def test_hostile_names_stay_names(self):
        for name in (EVIL, NASTY):
            tables = self.read_tables(self.write("evil.jsonl", step_of([name])), "--points", 2)
            self.assertIn(name, [row["module"] for row in tables["layers"]])


if __name__ == "__main__":
    unittest.main()
