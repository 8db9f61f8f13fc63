#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""train_test.py NEAP [unittest arguments]: a run of neap train: summary, budget, kept plans, and where the output goes."""
import json
import re
import signal
import subprocess
import unittest

from running import NEAP, TrainingTest, neap

SUMMARY_KEYS = {"ending", "reason", "budget_bytes", "peak_bytes", "plain_peak_bytes", "max_rss_bytes", "replays",
                "step_ms_median", "loss", "accuracy"}


class TrainTest(TrainingTest):
    def test_json_is_one_object_a_line_and_ends_with_the_summary(self):
        lines = self.json_lines(self.train("--model", "resnet", "--steps", 3, "--batch-size", 32,
                                           "--budget", "40%", "--json"))
        summary = lines[-1]
        self.assertLessEqual(SUMMARY_KEYS, summary.keys())
        self.assertLessEqual(summary["peak_bytes"], summary["budget_bytes"])
        self.assertLess(summary["budget_bytes"], summary["plain_peak_bytes"])
        self.assertGreater(summary["replays"], 0)
        self.assertGreater(summary["max_rss_bytes"], summary["peak_bytes"])
        self.assertEqual(summary["steps"], 3)

    def test_the_budget_does_not_change_the_loss(self):
        losses = set()
        for budget in ("none", "100%", "40%"):
            summary = self.json_lines(self.train("--model", "transformer", "--steps", 3, "--seed", 3,
                                                 "--batch-size", 32, "--accumulate", 2, "--optimizer",
                                                 "adamw", "--budget", budget, "--json"))[-1]
            losses.add((summary["loss"], summary["accuracy"]))
        self.assertEqual(len(losses), 1, losses)

    def test_a_run_ends_with_a_table_and_quiet_leaves_nothing_else(self):
        done = self.train("--model", "mlp", "--steps", 2, "--batch-size", 64, "--budget", "100%")
        self.assert_ended(done, 0)
        for text in ("plain peak", "budget", "peak", "replay", "accuracy"):
            self.assertIn(text, (done.stdout + done.stderr).lower())
        self.assertNotIn("\r", done.stdout + done.stderr, "no progress line where no terminal is")
        quiet = self.train("--model", "mlp", "--steps", 2, "--quiet", "--json")
        self.assert_ended(quiet, 0)
        self.assertEqual(quiet.stderr, "")

    def test_the_evaluation_shows_how_far_it_is_and_is_left_out_when_asked(self):
        common = ("--model", "mlp", "--steps", 1, "--batch-size", 64)
        done = self.train(*common)
        self.assert_ended(done, 0)
        tested = [line for line in done.stderr.splitlines() if line.startswith("test batch ")]
        self.assertRegex(tested[0], r"^test batch 1/4  \d+m\d\ds left  \d+ samples/s$")
        self.assertRegex(tested[-1], r"^test batch 4/4  0m00s left  \d+ samples/s$")
        self.assertIn("test accuracy", done.stdout)
        without = self.train(*common, "--no-test")
        self.assert_ended(without, 0)
        self.assertIn("step 1/1", without.stderr)
        self.assertNotIn("test", without.stdout + without.stderr)
        self.assertIsNone(self.json_lines(self.train(*common, "--no-test", "--json"))[-1]["accuracy"])
        config = self.write("neap.toml", "no-test = true\n")
        self.assertIsNone(self.json_lines(self.train(*common, "--config", config, "--json"))[-1]["accuracy"])

    def test_a_training_that_is_refused_or_not_finite_has_a_summary_with_the_reason(self):
        for arguments, ending, reason in [
                (["--budget", "3MiB"], "budget_exceeded", "budget of 3.0 MiB"),
                (["--optimizer", "sgd", "--lr", "1e6", "--epochs", 50], "not_finite", "loss"),
                (["--budget", "200MiB", "--policy", "./nowhere.jsonl"], "failed", "nowhere.jsonl")]:
            with self.subTest(ending):
                done = self.train("--model", "mlp", *arguments, "--json")
                self.assertEqual(done.returncode, 1, done.stderr)
                summary = json.loads(done.stdout.splitlines()[-1])
                self.assertEqual((summary["event"], summary["ending"]), ("summary", ending))
                self.assertIn(reason, summary["reason"])
                self.assertIn(f"neap: {summary['reason']}", done.stderr)
                table = self.train("--model", "mlp", *arguments)
                self.assert_ended(table, 1, reason)
                if ending == "failed":
                    self.assertEqual(table.stdout, "", "there is nothing to sum up for people")
                    continue
                for row in ("  ended  ", "  steps  ", "  peak  "):
                    self.assertIn(row, table.stdout)

    def test_time_against_plain_is_said_of_steps_after_the_first_ones_only(self):
        common = ("--model", "mlp", "--batch-size", 16, "--budget", "200%", "--no-test")
        self.assertNotIn("time against plain", self.train(*common, "--steps", 19).stdout)
        self.assertIn("time against plain", self.train(*common, "--steps", 20).stdout)

    def test_a_percentage_means_the_same_in_all_commands(self):
        common = ("--model", "mlp", "--threads", 1)
        trained = self.json_lines(neap("train", *common, "--data", "synthetic:3x32x32:10", "--batch-size", 64,
                                       "--budget", "80%", "--steps", 1, "--no-test", "--json"))[-1]
        analyzed = neap("analyze", *common, "--batch-sizes", 64, "--budget", "80%", "--repetitions", 1, "--json")
        benched = json.loads(neap("bench", *common, "--batch-sizes", 64, "--budgets", "80%", "--repetitions", 1,
                                  "--json").stdout)["rows"]
        verified = neap("verify", *common, "--batch-size", 64, "--budget", "80%", "--steps", 1)
        planned = json.loads(neap("plan", *common, "--batch-size", 64, "--budget", "80%", "--format-rules", "--json").stdout)
        budget = trained["budget_bytes"]
        self.assertEqual(budget, trained["plain_base_bytes"] +
                         int(0.8 * (trained["plain_peak_bytes"] - trained["plain_base_bytes"])))
        self.assertEqual(json.loads(analyzed.stdout)["performance"]["budget_bytes"], budget)
        self.assertEqual(benched[2]["budget_bytes"], budget)
        # A trace does not count the memory that the allocator keeps between blocks.
        self.assertLess(abs(planned["budget_bytes"] - budget), 0.01 * budget)
        self.assertEqual(re.search(r"budget (\S+ \S+),", verified.stderr).group(1),
                         re.search(r"80% is (.*)", analyzed.stderr).group(1))

    def test_plans_are_kept_from_one_run_to_the_next(self):
        kept = self.folder / "plans"
        common = ("--model", "transformer", "--steps", 3, "--batch-size", 32)
        # The budget is in bytes. For a share, plain steps would run first, and the first step would follow a plan.
        budget = self.json_lines(self.train(*common, "--budget", "40%", "--json"))[-1]["budget_bytes"]
        arguments = (*common, "--budget", budget, "--plan-cache", kept)
        first = self.json_lines(self.train(*arguments, "--json"))
        self.assertFalse(first[0]["planned"])
        files = list(kept.iterdir())
        self.assertGreaterEqual(len(files), 1)
        for file in files:
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        again = self.json_lines(self.train(*arguments, "--json"))
        self.assertTrue(any(line["planned"] for line in again[:2]), again)
        self.assertEqual([line["loss"] for line in first], [line["loss"] for line in again])
        self.assertLessEqual(again[-1]["peak_bytes"], again[-1]["budget_bytes"])
        for file in files:
            file.write_bytes(file.read_bytes()[:-5])
        damaged = self.train(*arguments)
        self.assert_ended(damaged, 0, f"{files[0]} is ignored: it is damaged: its sum is wrong")
        with self.subTest("where none can be kept"):
            file = self.write("file", "")
            done = self.train(*arguments[:-1], file)
            self.assert_ended(done, 0, f"{file} is ignored: Not a directory")

    def test_impossible_budgets_end_with_1_and_say_what_to_do(self):
        small = self.train("--model", "mlp", "--steps", 1, "--budget", "64KiB")
        self.assert_ended(small, 1, "budget of 64.0 KiB cannot be set", "name a larger one")
        tight = self.train("--model", "resnet", "--steps", 1, "--budget", "2%")
        self.assert_ended(tight, 1, "exceeded", "aten::", "the smallest budget known to work for this step is")

    def test_a_full_disk_under_the_output_ends_with_1(self):
        with open("/dev/full", "w") as full:
            done = self.train("--model", "mlp", "--steps", 2, "--json", stdout=full)
        self.assert_ended(done, 1, "output")

    def test_a_closed_pipe_is_an_error_and_no_signal(self):
        process = subprocess.Popen([NEAP, "train", "--data", self.folder, "--model", "mlp", "--json",
                                    "--epochs", "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        self.assertNotEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(), 1)

    def test_an_interrupt_ends_with_the_summary_so_far(self):
        process = subprocess.Popen(
            [NEAP, "train", "--data", self.folder, "--model", "mlp", "--json", "--epochs", "100000"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()
        process.stdout.close()
        self.assertEqual(process.wait(), 130)
        summary = json.loads(out.splitlines()[-1])
        self.assertLessEqual(SUMMARY_KEYS, summary.keys())
        self.assertEqual((summary["ending"], summary["reason"]), ("interrupted", "interrupted"))


if __name__ == "__main__":
    unittest.main()
