#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""offload_test.py NEAP [unittest arguments]: trainings that copy to a directory what does not fit."""
import unittest

from running import CommandTest, neap

MODEL = ["--model", "resnet", "--blocks", 6, "--batch-size", 16, "--threads", 1]
SMALL = [*MODEL, "--data", "synthetic:3x32x32:4:64"]


class OffloadTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.tier = self.folder / "tier"
        self.tier.mkdir()

    def train(self, *arguments):
        return self.json_lines(neap("train", *SMALL, "--steps", 4, "--no-test", "--json", "--quiet", *arguments))

    def test_a_training_below_the_floor_of_recomputation_has_the_losses_of_a_plain_one(self):
        budget = ["--budget", "12%"]
        self.assert_ended(neap("train", *SMALL, "--steps", 4, "--no-test", *budget), 1, "exceeded")
        plain = self.train("--budget", "none")
        for policy in ("planned", "online"):
            with self.subTest(policy):
                lines = self.train(*budget, "--offload", self.tier, "--policy", policy)
                self.assertEqual([line.get("loss") for line in lines], [line.get("loss") for line in plain])
                summary = lines[-1]
                self.assertGreater(summary["offloads"], 0)
                self.assertGreater(summary["loads"], 0)
                self.assertGreater(summary["offload_peak_bytes"], 0)
                self.assertLessEqual(summary["peak_bytes"], summary["budget_bytes"])
        self.assertEqual(list(self.tier.iterdir()), [])

    def test_the_limit_holds(self):
        summary = self.train("--budget", "40%", "--offload", self.tier, "--offload-limit", "1MiB")[-1]
        self.assertGreater(summary["offloads"], 0)
        self.assertLessEqual(summary["offload_peak_bytes"], 1 << 20)

    def test_verify_compares_the_bits_of_steps_that_offload(self):
        done = neap("verify", *MODEL, "--steps", 2, "--budget", "15%", "--offload", self.tier)
        self.assert_ended(done, 0)
        self.assertIn("equal bits", done.stdout)

    def test_what_cannot_be_is_said_before_data_are_read(self):
        missing = ["--data", f"pictures:{self.folder}/nowhere:3x32x32"]
        for command in ("train", "verify"):
            with self.subTest(command):
                start = [command, *MODEL, *(missing if command == "train" else []), "--offload", self.tier]
                self.assert_ended(neap(*start, "--budget", "30%", "--offload-limit", "x"), 2, "--offload-limit: ")
                self.assert_ended(neap(*start, "--budget", "none"), 2, "and there is none; name a --budget")
        self.assert_ended(neap("train", *SMALL, "--budget", "30%", "--offload", self.folder / "none"), 1,
                          f"{self.folder}/none cannot be offloaded to: ")


if __name__ == "__main__":
    unittest.main()
