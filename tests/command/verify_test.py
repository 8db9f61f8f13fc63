#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""verify_test.py NEAP UNSTEADY_MODEL [unittest arguments]: neap verify: equal bits, differences, memory, and interrupts."""
import pathlib
import re
import resource
import signal
import subprocess
import unittest

from running import NEAP, CommandTest, neap
from unsteady import unsteady


class VerifyTest(CommandTest):
    def test_verify_proves_equal_bits(self):
        done = neap("verify", "--model", "transformer", "--budget", "40%", "--steps", 2,
                    "--batch-size", 32)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"equal bits: \d+ tensors, \d+ bytes")

    def test_verify_takes_no_more_memory_for_more_steps(self):
        peaks = [neap("verify", "--model", "mlp", "--budget", "none", "--batch-size", 1, "--steps", steps,
                      "--threads", 1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (3 << 29, 3 << 29)))
                 for steps in (1, 60)]
        for done in peaks:
            self.assert_ended(done, 0)
        # verify compares 60 times as many bytes, and keeps no copy of each step.
        one, many = (int(re.match(r"equal bits: \d+ tensors, (\d+) bytes", done.stdout).group(1)) for done in peaks)
        self.assertGreater(one, 32 << 20)
        self.assertGreater(many, 59 * one)

    def test_verify_ends_at_the_first_difference_however_many_steps_are_asked_for(self):
        done = unsteady("inside 1", "verify", "--budget", "none", "--steps", 1 << 40)
        self.assertEqual(done.returncode, 1)
        self.assertIn("different bits in step 1: ", done.stdout)

    def test_verify_says_why_there_are_no_plain_steps(self):
        self.assert_ended(unsteady("killed", "verify", "--budget", "none"), 1,
                          "neap: the process with the plain steps was killed by signal 9; where that is for want "
                          "of memory, take a smaller --batch-size")

    def test_an_interrupt_ends_verify_and_both_of_its_processes(self):
        process = subprocess.Popen([NEAP, "verify", "--model", "mlp", "--budget", "none", "--steps", str(1 << 40)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (child := children.read_text().strip()):
            pass
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", process.communicate(timeout=120)[1])
        self.assertEqual(process.returncode, 130)
        self.assertFalse(pathlib.Path(f"/proc/{child}").exists())

    def test_addresses_are_taken_as_they_are_needed_where_the_system_limits_them(self):
        limit = 2000000 << 10  # ulimit -v 2000000
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            with self.subTest(kind):
                done = neap("verify", "--model", "resnet", "--budget", "40%", "--steps", 1, "--batch-size", 16,
                            "--threads", 1, preexec_fn=lambda kind=kind: resource.setrlimit(kind, (limit, limit)))
                self.assert_ended(done, 0)
                self.assertIn("equal bits", done.stdout)

    def test_a_model_that_gives_other_bits_each_time_is_found_out(self):
        self.assert_ended(unsteady("", "verify", "--budget", "none"), 0)
        done = unsteady("forward", "verify", "--budget", "none")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^plain LibTorch does not repeat its own bits: step 1: loss\[0\]: "
                                      r"first 0x[0-9a-f]+, then 0x[0-9a-f]+; inside the budget they are "
                                      r"different again, so nothing is proved; the model, or an operator of "
                                      r"it, is not deterministic\n$")
        done = unsteady("forward", "bench", "--batch-sizes", 8, "--budgets", "1GiB",
                        "--repetitions", 1)
        self.assert_ended(done, 1, "batch 8, checkpointed: bits are not proved to be the plain step's: ")

    def test_a_difference_is_put_down_to_neap_only_where_plain_steps_repeat_themselves(self):
        done = unsteady("inside 1", "verify", "--budget", "none")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^different bits in step 1: loss\[0\]: plain 0x[0-9a-f]+, "
                                      r"inside the budget 0x[0-9a-f]+\n$")
        done = unsteady("plain 1", "verify", "--budget", "none")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^plain LibTorch does not repeat its own bits: step 1: loss\[0\]: "
                                      r"first 0x[0-9a-f]+, then 0x[0-9a-f]+; inside the budget all are those "
                                      r"of its second run\n$")


if __name__ == "__main__":
    unittest.main()
