#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""advise_test.py NEAP [unittest arguments]: neap advise says which budget to take, and its figures are those of neap plan."""
import csv
import json
import unittest

from running import CommandTest, neap

STEP = ["--model", "resnet", "--input", "3,16,16", "--batch-size", 16, "--threads", 1, "--repetitions", 1]


class AdviseTest(CommandTest):
    def advise(self, *arguments, code=0):
        done = neap("advise", *STEP, "--json", *arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        advice = json.loads(done.stdout)
        return advice, {row["choice"]: row for row in advice["rows"]}

    def test_where_the_plain_step_fits_it_is_recommended(self):
        advice, rows = self.advise("--budget", "1GiB")
        self.assertEqual([name for name, row in rows.items() if row["recommended"]], ["plain"])
        self.assertIn("nothing runs again", advice["why"])
        self.assertEqual(list(rows)[0], "plain")
        self.assertEqual(list(rows)[-1], "min")
        budgets = [row["budget_bytes"] for row in advice["rows"]]
        self.assertEqual(budgets, sorted(budgets, reverse=True))
        times = [row["predicted_ns"] for row in advice["rows"]]
        self.assertEqual(min(times), rows["plain"]["predicted_ns"])
        batches = [row["largest_batch"] for row in advice["rows"]]
        self.assertEqual(batches, sorted(batches))
        for row in advice["rows"]:
            self.assertLessEqual(row["predicted_peak_bytes"], row["budget_bytes"])
            self.assertAlmostEqual(row["items_per_second"], 16e9 / row["predicted_ns"], 3)

    def test_where_it_does_not_what_there_is_is_planned_for(self):
        _, rows = self.advise("--budget", "1GiB")
        there_is = (rows["50 %"]["budget_bytes"] + rows["70 %"]["budget_bytes"]) // 2
        advice, rows = self.advise("--budget", there_is)
        name = [name for name, row in rows.items() if row["recommended"]]
        self.assertEqual(name, [str(there_is)])
        self.assertEqual(rows[name[0]]["budget_bytes"], there_is)
        self.assertLess(rows["plain"]["largest_batch"], 16)
        self.assertGreaterEqual(rows["50 %"]["largest_batch"], 16)
        self.assertIn("takes the least time", advice["why"])

    def test_the_smallest_is_not_recommended_where_the_plain_step_takes_no_more(self):
        done = neap("advise", "--model", "mlp", "--batch-size", 64, "--threads", 1, "--budget", "1GiB", "--json")
        self.assertEqual([row["choice"] for row in json.loads(done.stdout)["rows"] if row["recommended"]], ["plain"])

    def test_where_nothing_fits_the_smallest_is_named(self):
        advice, rows = self.advise("--budget", "2MiB", code=1)
        self.assertFalse(any(row["recommended"] for row in advice["rows"]))
        self.assertIn("the smallest budget is", advice["why"])

    def test_one_can_train_in_the_smallest(self):
        _, rows = self.advise("--budget", "1GiB")
        trace = self.folder / "step.jsonl"
        self.assert_ended(neap("trace", *STEP, "-o", trace), 0)
        self.assert_ended(neap("plan", trace, "--budget", rows["min"]["budget_bytes"]), 0)

    def test_table_and_csv_say_the_same(self):
        file = self.folder / "advice.csv"
        done = neap("advise", *STEP, "--budget", "1GiB", "--csv", file)
        self.assert_ended(done, 0)
        rows = list(csv.DictReader(file.read_text().splitlines()))
        self.assertEqual([row["choice"] for row in rows if row["recommended"] == "1"], ["plain"])
        for row in rows:
            self.assertIn(row["choice"], done.stdout)
        self.assertIn("\n*  plain ", done.stdout)

    def test_a_share_is_refused(self):
        self.assert_ended(neap("advise", *STEP, "--budget", "30%"), 2, "is no number of bytes")


if __name__ == "__main__":
    unittest.main()
