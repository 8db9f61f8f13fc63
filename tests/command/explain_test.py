#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""explain_test.py NEAP [unittest arguments]: neap explain says of each storage at the peak what a plan does with it."""
import collections
import json
import os
import unittest

from running import CommandTest, neap
from traces import step_of

MIB = 1 << 20


class ExplainTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.trace = self.write("step.jsonl", step_of([str(i) for i in range(12)]))

    def explain(self, *arguments):
        done = neap("explain", *arguments, "--json")
        self.assert_ended(done, 0)
        return json.loads(done.stdout)

    def fates(self, whole, at="at_plain_peak"):
        return collections.Counter(one["fate"] for one in whole["storages"] if one[at])

    def test_where_all_fits_everything_is_kept(self):
        whole = self.explain(self.trace, "--budget", "100%")
        # 12 weights; 12 activations, and the gradient that the first backward operator makes.
        self.assertEqual(self.fates(whole), {"pinned": 12, "kept": 13})
        self.assertEqual(whole["extra_ns"], 0)
        self.assertEqual(sum(one["held_bytes"] for one in whole["storages"]), whole["plain_peak_bytes"] - 100)
        for one in whole["storages"]:
            self.assertTrue(one["at_peak"] and one["at_plain_peak"])
            self.assertEqual(one["times"], 0)
            if one["fate"] == "pinned":
                self.assertIsNone(one["remake_ns"])
                self.assertIsNone(one["operator"])
                self.assertRegex(one["why"], "^given: a parameter, which no operator of the step makes; ")

    def test_inside_a_budget_it_says_what_is_made_again_and_for_which_operator(self):
        whole = self.explain(self.trace, "--budget", 6 * MIB)
        fates = self.fates(whole)
        self.assertGreaterEqual(fates["recomputed"], 6)
        self.assertEqual(fates["pinned"], 12)
        self.assertLessEqual(whole["predicted_peak_bytes"], 6 * MIB)
        self.assertLessEqual(sum(one["held_bytes"] for one in whole["storages"] if one["at_peak"]),
                             whole["predicted_peak_bytes"])
        for one in whole["storages"]:
            if one["fate"] != "recomputed":
                self.assertEqual(one["times"], 0)
                continue
            self.assertEqual((one["held_bytes"], one["remake_ns"]), (MIB, 1000))
            self.assertGreater(one["times"], 0)
            self.assertRegex(one["why"], r"^freed after aten::mm in the forward; made again for aten::mm_backward in "
                                         r"the backward(, \d+ times in all)?$")
        again = sum(one["times"] for one in whole["storages"])
        self.assertEqual(whole["extra_ns"], 1000 * again)

    def test_what_must_not_run_twice_is_pinned(self):
        text = self.trace.read_text().replace('"op": 3, "name": "aten::mm"',
                                              '"op": 3, "name": "aten::odd", "replayable": false')
        whole = self.explain(self.write("odd.jsonl", text), "--budget", "60%")
        odd = [one for one in whole["storages"] if one["operator"] == "aten::odd"]
        self.assertEqual([one["fate"] for one in odd], ["pinned"])
        self.assertRegex(odd[0]["why"], "^its maker aten::odd must not run twice")

    def test_a_model_is_traced_first(self):
        step = ["--model", "mlp", "--batch-size", 64, "--threads", 1, "--repetitions", 1]
        whole = self.explain(*step, "--budget", "100%")
        self.assertTrue(whole["label"].startswith("mlp "))
        self.assertEqual({one["category"] for one in whole["storages"] if one["fate"] == "pinned"} & {"parameters"},
                         {"parameters"})

    def text(self, columns, *arguments):
        variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"LC_ALL": "C"}
        if columns:
            variables["COLUMNS"] = str(columns)
        done = neap("explain", *arguments, env=variables)
        self.assert_ended(done, 0)
        return done.stdout

    def test_the_tables_have_all_storages_and_fit(self):
        whole = self.explain(self.trace, "--budget", 6 * MIB)
        text = self.text(None, self.trace, "--budget", 6 * MIB)
        head, sums, fates, storages = text.split("\n\n")
        self.assertIn("made\n", head)
        self.assertEqual([line.split()[0] for line in sums.splitlines()[2:]], ["pinned", "kept", "recomputed", "evicted"])
        self.assertEqual(sum(int(line.split()[1]) for line in sums.splitlines()[2:]), len(whole["storages"]))
        for fate in ("pinned", "kept", "recomputed", "evicted"):
            self.assertIn(fate + ": ", fates)
        self.assertEqual(len(storages.splitlines()), 2 + len(whole["storages"]))
        for columns in (80, 40, 20):
            narrow = self.text(columns, self.trace, "--budget", 6 * MIB)
            self.assertLess(max(map(len, narrow.splitlines())), columns)
        self.assertIn("\n    freed after aten::mm in the forward;\n    made again for aten::mm_backward in\n",
                      self.text(41, self.trace, "--budget", 6 * MIB))

    def test_wrong_use_is_refused_with_what_to_do(self):
        for arguments, code, text in [
                ([self.trace], 2, "--budget"),
                (["--budget", "30%"], 2, "explain: there is no step to explain; name a trace"),
                ([self.trace, "--model", "mlp", "--budget", "30%"], 2, "are two steps"),
                ([self.trace, "--budget", "1KiB"], 1, "the smallest"),
                ([self.folder / "none.jsonl", "--budget", "30%"], 1, "none.jsonl")]:
            with self.subTest(arguments):
                done = neap("explain", *arguments)
                self.assert_ended(done, code, text)
                self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
