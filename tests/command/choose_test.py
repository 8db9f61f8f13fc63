#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""choose_test.py NEAP [unittest arguments]: neap train chooses the smallest budget, and the largest batch."""
import unittest

from running import CommandTest, neap

RESNET = {"--model": "resnet", "--data": "synthetic:3x16x16:10:64", "--batch-size": 16, "--steps": 4}
MLP = {"--model": "mlp", "--data": "synthetic:1x8x8:10:100000", "--batch-size": "auto", "--steps": 2}


class ChooseTest(CommandTest):
    def train(self, options, *flags, code=0):
        words = [word for option in options.items() for word in option]
        done = neap("train", "--json", "--no-test", "--threads", 1, *words, *flags)
        self.assertEqual(done.returncode, code, done.stderr)
        done.lines = self.json_lines(done) if code == 0 else []
        return done

    def test_the_smallest_budget_trains_with_the_same_bits_and_less_is_refused(self):
        plain = self.train(RESNET)
        least = self.train({**RESNET, "--budget": "min"})
        self.assertIn("the smallest budget is", least.stderr)
        self.assertEqual([line["loss"] for line in least.lines], [line["loss"] for line in plain.lines])
        summary = least.lines[-1]
        self.assertLessEqual(summary["peak_bytes"], summary["budget_bytes"])
        above = summary["budget_bytes"] - summary["plain_base_bytes"]
        self.assertLess(above, 0.35 * (summary["plain_peak_bytes"] - summary["plain_base_bytes"]))
        less = summary["plain_base_bytes"] + int(0.7 * above)
        self.assert_ended(self.train({**RESNET, "--budget": less}, code=1), 1, "budget of")

    def test_the_largest_batch_fits_and_is_taken_again_by_a_training_that_goes_on(self):
        out = self.folder / "out"
        first = self.train({**MLP, "--budget": "60MiB", "--out": out})
        self.assertRegex(first.stderr, r"batch size (\d+): its step holds .* of 60\.0 MiB; one more does not fit")
        self.assertLessEqual(first.lines[-1]["peak_bytes"], 60 << 20)
        self.assertGreater(first.lines[-1]["peak_bytes"], 50 << 20)
        # Another budget would find another batch.
        again = self.train({**MLP, "--steps": 3, "--budget": "80MiB", "--out": out}, "--resume")
        self.assertEqual([line["step"] for line in again.lines[:-1]], [3])
        self.assertNotIn("looking for", again.stderr)

    def test_a_batch_is_never_larger_than_the_data_set(self):
        few = self.train({**MLP, "--data": "synthetic:1x8x8:10:48", "--budget": "60MiB", "--accumulate": 5})
        self.assertIn("batch size 45: ", few.stderr)
        self.assertIn("the data set has no more samples", few.stderr)

    def test_what_cannot_be_chosen_for_is_refused(self):
        for budget in ("30%", "min"):
            self.assert_ended(self.train({**MLP, "--budget": budget}, code=2), 2,
                              "--batch-size auto seeks the largest batch for a budget")
        few = {**MLP, "--data": "synthetic:1x8x8:10:48", "--budget": "60MiB", "--accumulate": 49}
        self.assert_ended(self.train(few, code=2), 2, "has 48 training samples")
        self.assert_ended(self.train({**MLP, "--budget": "1MiB"}, code=1), 1, "no batch of 2 or more trains in 1.0 MiB")


if __name__ == "__main__":
    unittest.main()
