#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""plan_file_test.py NEAP [unittest arguments]: neap train and neap verify follow the plans that neap plan writes.

Two faults must not come back. A plan made by `neap plan -o` and given to --policy was silently never followed ("storage 440 is not
resident"), with exit status 0. And both commands refused the budget that `neap plan --min` named.
"""
import json
import unittest

import running

OPTIMIZERS = ("sgd", "adam", "adamw")
# The samples per step of each built-in model. With these, its activations need about as much memory as its parameters.
MODELS = {"mlp": 512, "resnet": 8, "transformer": 8, "gpt": 2}


def neap(*arguments):
    return running.neap(*arguments, "--threads", 1)


class PlanFileTest(running.CommandTest):
    def setUp(self):
        super().setUp()
        self.plan = self.folder / "plan.jsonl"

    def planned(self, *arguments):
        done = neap("plan", *arguments, "--repetitions", 1, "--json", "-o", self.plan)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def data(self, job):
        if "gpt" not in job:
            return "synthetic:3x32x32:10"
        text = self.write("text.txt", "to be or not to be " * 2000)
        return f"text:{text}"

    def check_smallest(self, job, budget):
        done = neap("verify", *job, "--budget", budget, "--policy", self.plan)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("equal bits", done.stdout)
        self.assertRegex(done.stderr, r"\b2 steps by a plan\n", "the first makes the optimizer's state")
        # This works without the file too. Where a first step does not fit online, it is planned from plain steps.
        done = neap("verify", *job, "--budget", budget)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("equal bits", done.stdout)

    def check_between(self, job, shown, budget):
        done = neap("train", *job, "--steps", 3, "--data", self.data(job), "--budget", budget, "--policy", self.plan, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        first, *others, summary = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([step["planned"] for step in others], [True, True], others)
        self.assertEqual([step["replays"] for step in others], [shown["reruns"]] * 2)
        self.assertEqual(first["replays"], shown["reruns"])
        self.assertIn(" is not what it foresees there", first["plan_note"])
        self.assertEqual(summary["planned_steps"], 2)

    def test_the_budgets_that_plan_names_train_with_equal_bits_within_one_percent(self):
        for model, rows in MODELS.items():
            for optimizer in OPTIMIZERS:
                with self.subTest(model=model, optimizer=optimizer):
                    job = ("--model", model, "--optimizer", optimizer, "--batch-size", rows)
                    least = self.planned(*job, "--min")
                    self.check_smallest(job, least["budget_bytes"] * 101 // 100)
                    shown = self.planned(*job, "--budget", (least["budget_bytes"] + least["plain_peak_bytes"]) // 2)
                    self.check_between(job, shown, shown["budget_bytes"] * 101 // 100)


if __name__ == "__main__":
    unittest.main()
