#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""command_test.py NEAP [unittest arguments]: help, wrong use, and config files."""
import json
import re
import unittest

from running import TrainingTest, neap


class UsageTest(TrainingTest):
    def test_help_has_examples_everywhere(self):
        for arguments in ([], ["train"], ["verify"], ["analyze"], ["bench"], ["max-batch"], ["doctor"]):
            done = neap(*arguments, "--help")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("neap " + (arguments[0] if arguments else ""), done.stdout)
            self.assertIn("xample", done.stdout)

    def test_doctor_says_what_it_found(self):
        done = neap("doctor")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for text in ("neap", "LibTorch", "Fake", "allocator", "oneDNN", "thread", "not seen"):
            self.assertIn(text.lower(), done.stdout.lower())

    def test_doctor_says_what_a_directory_for_offloading_is_like(self):
        where = self.folder / "tier"
        where.mkdir()
        done = neap("doctor", "--offload", where)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for text in (rf"offload to +{re.escape(str(where))}\n", r"its file system +\w+", r"of it free +[\d.]+ \wi?B",
                     r"direct +([\d.]+ \wiB a second there, [\d.]+ \wiB a second back|the file system cannot)\n",
                     r"(through the cache of files|buffered, with the disk) +[\d.]+ \wiB a second there, [\d.]+ \wiB a second back\n",
                     r"taken +(direct|buffered)\n"):
            self.assertRegex(done.stdout, text)
        self.assertEqual(list(where.iterdir()), [], "nothing stays there")
        found = json.loads(neap("doctor", "--offload", where, "--json").stdout)
        self.assertEqual(found["problems"], [])
        self.assertEqual(found["offload"]["directory"], str(where))
        self.assertEqual(found["offload"]["uses_direct"] and found["offload"]["direct_out_bytes_per_s"] is None, False)

    def test_doctor_refuses_a_directory_that_cannot_be_offloaded_to(self):
        plain = self.write("plain", "text")
        for directory, why in ((self.folder / "missing", "No such file or directory; make it, or name another one"),
                               (plain, "Not a directory; name a directory")):
            for options in ([], ["--json"]):
                done = neap("doctor", "--offload", directory, *options)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertEqual(done.stderr, f"neap: {directory} cannot be offloaded to: {why}\n")

    def test_the_version_is_told(self):
        self.assertRegex(neap("--version").stdout, r"^neap \d+\.\d+\.\d+\n$")

    def test_wrong_use_ends_with_2_and_names_what_is_wrong(self):
        for arguments, text in [
                ([], "subcommand"),
                (["fly"], "'fly' is no command"),
                (["train", "--modle", "mlp"], "--modle"),
                (["train", "--model", "vgg"], "vgg not in {gpt,mlp,resnet,transformer}, and no path of a "
                                              "library"),
                (["train", "--optimizer", "lion"], "lion"),
                (["train", "--budget", "12XB"], "'12XB' is not a number of bytes: at position 3"),
                (["train", "--budget", "-5"], "'-5' is not a number of bytes"),
                (["train", "--budget", "0%"], "'0%' is not a share"),
                (["train", "--budget", "x%"], "'x%' is not a share"),
                (["train", "--batch-size", "0"], "--batch-size: '0' is no whole number from 1 to 1099511627776"),
                (["train", "--steps", "-1"], "--steps: '-1' is no whole number from 0 to"),
                (["train", "--lr", "nan"], "--lr: 'nan' is no number from 0 to 1e+06"),
                (["verify", "--budget", ""], "--budget"),
                (["train", "--policy", "best"], "--policy: 'best'; expected planned, online, or"),
                (["train", "--policy", "online", "--plan-cache", "x"],
                 "--plan-cache keeps the plans of --policy planned"),
                (["verify", "--json"], "--json"),
                (["train", "--config", "nowhere.toml"], "nowhere.toml"),
                (["analyze", "--batch-sizes", "8,0"], "--batch-sizes: '0' is no whole number from 1 to"),
                (["analyze", "--input", "3,x,32"], "--input"),
                (["analyze", "--input", "7"], "--model resnet: --input has samples of 7, and this "
                                              "model reads pictures"),
                (["analyze", "--model", "gpt", "--input", "3,8,8"], "--input has samples of 3x8x8 tokens, and "
                                                                    "this model reads rows of tokens"),
                (["analyze", "--budget", "12XB"], "--budget: '12XB' is not a number of bytes"),
                (["bench", "--budgets", "50%,0%"], "--budgets: "),
                (["max-batch"], "--budget is required"),
                (["max-batch", "--budget", "30%"], "--budget: '30%' is no number of bytes"),
                (["max-batch", "--budget", "none"], "--budget: 'none' is no number of bytes"),
                (["max-batch", "--budget", "1GiB", "--margin", "100%"], "--margin: '100%'"),
                (["max-batch", "--budget", "1GiB", "--margin", ""], "--margin: ''"),
                (["max-batch", "--budget", "1GiB", "--time-limit", "-1"], "--time-limit")]:
            with self.subTest(arguments):
                self.assert_ended(neap(*arguments), 2, text)

    def test_the_values_of_a_config_file_are_used_and_the_command_line_wins(self):
        config = self.write("neap.toml", 'model = "mlp"\nsteps = 2\nbatch-size = 32\nseed = 5\n')
        lines = self.json_lines(self.train("--config", config, "--json"))
        self.assertEqual(lines[-1]["steps"], 2)
        lines = self.json_lines(self.train("--config", config, "--steps", 3, "--json"))
        self.assertEqual(lines[-1]["steps"], 3)

    def test_config_files_that_are_wrong_are_refused_with_the_place(self):
        for text, told in [('optimiser = "sgd"\n', "unknown key 'optimiser'; did you mean 'optimizer'?"),
                           ('steps = "many"\n', "steps"), ("steps = [1, 2]\n", "steps"),
                           ("steps = \n", "line 1"), ('model = "vgg"\n', "vgg")]:
            with self.subTest(text):
                path = self.write("wrong.toml", text)
                self.assert_ended(self.train("--config", path), 2, str(path), told)


if __name__ == "__main__":
    unittest.main()
