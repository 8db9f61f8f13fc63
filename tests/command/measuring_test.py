#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""measuring_test.py NEAP [unittest arguments]: neap analyze, bench and max-batch."""
import json
import pathlib
import signal
import subprocess
import unittest

from running import NEAP, CommandTest, neap


class MeasuringTest(CommandTest):
    def test_analyze_shows_time_and_memory_by_batch_and_goes_on_after_one_that_does_not_fit(self):
        common = ["analyze", "--model", "mlp", "--input", "3,8,8", "--repetitions", 2, "--threads", 1]
        done = neap(*common, "--batch-sizes", "4,16")
        self.assert_ended(done, 0)
        for text in ("forward", "best batch", "Linear", "activations"):
            self.assertIn(text.lower(), done.stdout.lower())
        csv, svg = self.folder / "out.csv", self.folder / "out.svg"
        fitting = neap(*common, "--batch-sizes", "16,4096", "--budget", "25MiB", "--json", "--csv", csv,
                       "--svg", svg)
        self.assertEqual(fitting.returncode, 0, fitting.stderr)
        shown = json.loads(fitting.stdout)
        rows = shown["performance"]["rows"]
        self.assertEqual([row["batch_size"] for row in rows], [16, 4096])
        self.assertIsNone(rows[0]["refusal"])
        self.assertLessEqual(rows[0]["peak_live_bytes"], 25 << 20)
        self.assertIn("exceeded", rows[1]["refusal"])
        self.assertEqual(shown["memory"]["batch_size"], 16)
        self.assertEqual(csv.read_bytes().count(b"\r\n"), 3)
        self.assertTrue(svg.read_text().rstrip().endswith("</svg>"))
        share = neap(*common, "--batch-sizes", "16,64", "--budget", "60%")
        self.assert_ended(share, 0, "a plain step of the largest batch needs")

    def test_bench_puts_plain_checkpointed_and_budgets_side_by_side_with_equal_bits(self):
        for model, shape, batch in [("resnet", "3,8,8", 64), ("gpt", "16", 64), ("mlp", "1,8,8", 512),
                                    ("transformer", "1,8,8", 64)]:
            with self.subTest(model):
                done = neap("bench", "--model", model, "--input", shape, "--batch-sizes", batch,
                            "--budgets", "70%", "--repetitions", 1, "--threads", 1, "--json")
                self.assertEqual(done.returncode, 0, done.stderr)
                rows = json.loads(done.stdout)["rows"]
                self.assertEqual([row["variant"] for row in rows], ["plain", "checkpointed", "70%"])
                self.assertTrue(all(row["equal_bits"] for row in rows), rows)
                self.assertGreater(rows[1]["replays"], 0)

    def test_max_batch_proves_the_largest_batch_on_both_sides(self):
        done = neap("max-batch", "--model", "mlp", "--input", "1,8,8", "--budget", "26MiB", "--margin",
                    "2%", "--threads", 1, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = json.loads(done.stdout)
        self.assertEqual(shown["budget_bytes"], int((26 << 20) * 0.98))
        self.assertTrue(shown["plain"]["proved"] and shown["neap"]["proved"], shown)
        self.assertGreater(shown["neap"]["batch_size"], shown["plain"]["batch_size"])
        self.assert_ended(neap("max-batch", "--model", "mlp", "--budget", "2MiB"), 1,
                          "no batch trains in 2.0 MiB: budget of 2.0 MiB cannot be set")

    def test_max_batch_tries_nothing_when_the_time_is_over(self):
        done = neap("max-batch", "--model", "mlp", "--budget", "1GiB", "--time-limit", "1e-9", "--json")
        self.assert_ended(done, 1, "no batch was tried inside 1.0 GiB within --time-limit")
        shown = json.loads(done.stdout)
        self.assertEqual((shown["neap"]["batch_size"], shown["neap"]["proved"]), (0, False))

    def test_a_report_that_cannot_be_written_is_refused_before_anything_is_measured(self):
        for option in ("--csv", "--svg"):
            done = neap("analyze", option, self.folder / "nowhere" / "file")
            self.assert_ended(done, 1, option, "nowhere/file cannot be written: No such file")
            self.assertEqual(done.stdout, "")

    def test_an_interrupt_ends_a_measurement_with_130(self):
        process = subprocess.Popen([NEAP, "max-batch", "--model", "resnet", "--budget", "8GiB"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while pathlib.Path(f"/proc/{process.pid}/status").read_text().find("SigCgt:\t0000000000000000") >= 0:
            pass
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", process.communicate()[1])
        self.assertEqual(process.returncode, 130)


if __name__ == "__main__":
    unittest.main()
