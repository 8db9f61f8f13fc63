#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""options_test.py NEAP [unittest arguments]: gives every option of every command odd values, and unknown words.

The options are read from each command's --help. An option without a row here fails the test.
"""
import re
import struct
import tempfile
import unittest

from running import CommandTest, neap

# A file of weights without tensors: it can be opened, so what is said is about the options.
WEIGHTS = tempfile.NamedTemporaryFile(suffix=".safetensors")
WEIGHTS.write(struct.pack("<Q", 2) + b"{}")
WEIGHTS.flush()

COMMANDS = {"train": [], "evaluate": ["--weights", WEIGHTS.name], "verify": [], "analyze": [], "bench": [], "max-batch": ["--budget", "1GiB"],
            "trace": ["-o", "-"], "plan": ["--model", "mlp", "--min"], "report": ["missing.jsonl", "-o", "page.html"], "advise": [],
            "profile": ["--model", "mlp"], "summary": [], "explain": ["--model", "mlp", "--budget", "30%"], "doctor": [],
            "predict": ["--weights", WEIGHTS.name], "export": ["x", "-o", "y.safetensors"], "import": [WEIGHTS.name, "-o", "y"], "runs": ["list", "missing"],
            "completion": ["bash"], "man": []}
FLAGS = {"--help", "--bf16", "--json", "--quiet", "--no-test", "--format-rules", "--frontier", "--no-frontier", "--min", "--verify",
         "--all", "--best", "--allow-other-threads", "--allow-other-torch", "--allow-other-kernels"}

WHOLE = ["", " ", "x", "1.5", "1e3", "0x10", "+1", " 1", "1 ", "1,", "nan", "inf", "--1", "99999999999999999999"]
POSITIVE = WHOLE + ["0", "-1", "1099511627777"]
LIST = POSITIVE + [",", "1,,2", "1,x", "1,0", "1 2"]
NUMBER = ["", " ", "x", "nan", "-nan", "inf", "-inf", "1e999", "-1", "-0", "0x10", "1,5", "1.5.2", "1e-999"]
BYTES = ["", " ", "x", "nan", "inf", "-1", "0", "0%", "-1%", "nan%", "inf%", "1e999%", "1001%", "%", "1%%", "30 % x", "1.5",
         "12XB", "99999999999GiB", "1e3", "non", "autos"]
NAME = ["", " ", "x", "MLP", "mlp ", "mlp,gpt"]
FILE = [""]

# The values that each option refuses, in all commands that have it.
ROWS = {
    "--model": NAME,
    "--optimizer": ["", " ", "lion", "SGD", "adam,sgd"],
    "--seed": WHOLE + ["9223372036854775808", "-9223372036854775809"],
    "--threads": WHOLE + ["-1", "1025"],
    "--budget": BYTES,
    "--bandwidth": ["", " ", "x", "3", "3GB", "3GB/", "/s", "0/s", "-1/s", "3GB/s,", ",3GB/s", "1/s,2/s,3/s", "3GB/s,0B/s", "3 GB/h", "nan/s", "nan"],
    "--budgets": [",", "50%,", "50%,0%", "50%,,30%", "50% 30%"] + [one for one in BYTES if one != "30 % x"],
    "--policy": ["", " ", "x", "Planned", "on line"],
    "--plan-cache": FILE,
    "--data": ["", "cifar11:x", "synthetic:", "synthetic:3x0:2", "synthetic:3:nan", "text:", "pictures:", "csv:", "npy:", "npy:x",
               "idx:", "safetensors:", "safetensors:x:y", "safetensors:x::y"],
    "--split": ["", " ", "x", "%", "10", "0%", "100%", "-1%", "nan%", "inf%", "1e999%", "1%%", "1,5%", "nan"],
    "--normalize": ["", " ", "x", "Training", "1", "1:", ":1", "1:0", "1:-1", "1,2:1", "1:2:3", "1,:1,1", "1;2:1;2", "nan:1", "1:inf",
                    "1:1e999", "nan"],
    "--augment": ["", " ", "x", "crop", "crop:", "crop:0", "crop:-1", "crop:1025", "crop:1.5", "crop:4,", ",flip", "flip,flip",
                  "crop:1,crop:2", "Flip", "flip crop:4", "nan"],
    "--config": ["", "/", "nowhere.toml"],
    "--batch-size": POSITIVE,
    "--batch-sizes": LIST,
    "--input": LIST,
    "--accumulate": POSITIVE,
    "--steps": WHOLE + ["-1", "1099511627777"],
    "--epochs": POSITIVE,
    "--repetitions": POSITIVE,
    "--sort": ["", " ", "x", "Tree", "tree,flops", "size"],
    "--points": POSITIVE + ["1", "10001"],
    "--lr": NUMBER + ["1e7"],
    "--layers": POSITIVE + ["1000001"],
    "--blocks": POSITIVE + ["1000001"],
    "--width": POSITIVE + ["1000001"],
    "--heads": POSITIVE + ["1000001"],
    "--context": POSITIVE + ["1000001"],
    "--betas": ["", ",", "0.9", "0.9,", "0.9,,0.99", "0.9,1", "0.9,0.99,0.999", "x,0.9", "nan,0.9", "-0.1,0.9"],
    "--label-smoothing": NUMBER + ["1.1"],
    "--eval-every": WHOLE + ["-1", "1099511627777"],
    "--early-stop": WHOLE + ["-1", "1099511627777"],
    "--write-config": FILE,
    "--margin": ["", " ", "x", "%", "nan", "nan%", "-1%", "100%", "1e999%", "2%%", "inf%"],
    "--time-limit": NUMBER + ["0", "1e10"],
    "--offload": FILE,
    "--offload-limit": ["", " ", "x", "0", "-1", "1.5", "12XB", "nan"],
    "--out": FILE,
    "--save-every": ["", " ", "x", "m", "0", "-1", "1.5", "5x", "5mm", "0m", "1000001", "nan"],
    "--keep": WHOLE + ["-1", "1099511627777"],
    "--resume": FILE,
    "--init": FILE,
    "--weights": FILE,
    "--top": POSITIVE,
    "--prompt": FILE,
    "--tokens": POSITIVE + ["1000001"],
    "--schedule": ["", " ", "Cosine", "cos", "cosine,step"],
    "--warmup": WHOLE + ["-1", "1099511627777"],
    "--clip-norm": NUMBER + ["1e13"],
    "--weight-decay": NUMBER + ["1e7"],
    "--where": [""],
    "--sort": [""],
    "--format": ["", " ", "x", "HTML", "chrome ", "csv,json"],
    "--report": FILE,
    "--csv": FILE,
    "--svg": FILE,
}
# The other options that an option needs.
WITH = {"--points": ["--frontier"], "--csv": ["--frontier"], "--svg": ["--frontier"]}


class OptionsTest(CommandTest):
    def options_of(self, command):
        done = neap(command, "--help")
        self.assertEqual(done.returncode, 0, done.stderr)
        return {names.group(1) for line in done.stdout.splitlines()
                if (names := re.match(r"  (?:-\w,)?(--[a-z][a-z0-9-]*)", line))}

    def test_every_option_has_a_row(self):
        for command in COMMANDS:
            with self.subTest(command):
                options = self.options_of(command)
                self.assertIn("--help", options)
                self.assertEqual(options - FLAGS - ROWS.keys(), set(), "write down which values are odd")

    def test_every_command_is_here(self):
        listed = neap("--help").stdout.split("Subcommands:")[1].split("Examples:")[0]
        self.assertEqual(set(re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)), COMMANDS.keys())

    def test_odd_values_end_with_2_and_are_named(self):
        seen = set()
        for command, needed in COMMANDS.items():
            for option in sorted(self.options_of(command) - FLAGS):
                around = needed
                if command == "plan":
                    around = ["--model", "mlp", *(WITH.get(option) or ([] if option == "--budget" else ["--min"]))]
                if option in around:
                    around = [one for i, one in enumerate(around) if option not in (one, (around[i - 1] if i else ""))]
                # The first command with an option gets all values. The others get a few, to see that they check it too.
                values = [value for i, value in enumerate(ROWS[option])
                          if option not in seen or value == "nan" or i == len(ROWS[option]) - 1]
                seen.add(option)
                for value in values:
                    if command in ("plan", "report", "profile", "explain") and option == "--budget" and value in ("0", "0%"):
                        continue  # no plan fits: exit code 1
                    with self.subTest(f"neap {command} {option} '{value}'"):
                        done = neap(command, *around, f"{option}={value}" if value.startswith("-") else option,
                                    *([] if value.startswith("-") else [value]))
                        self.assert_ended(done, 2, option)
                        self.assertEqual(done.stdout, "")

    def test_flags_take_true_and_false_only(self):
        for command in COMMANDS:
            for flag in sorted(self.options_of(command) & FLAGS - {"--help"}):
                with self.subTest(f"neap {command} {flag}=maybe"):
                    self.assert_ended(neap(command, *COMMANDS[command], f"{flag}=maybe"), 2, "maybe")

    def test_a_word_that_is_none_is_answered_with_the_nearest_one(self):
        for arguments, told in [
                (["trian"], "neap: 'trian' is no command; did you mean 'train'?; see neap --help"),
                (["veryfy", "--steps", 3], "'veryfy' is no command; did you mean 'verify'?"),
                (["maxbatch"], "did you mean 'max-batch'?"),
                (["fly"], "neap: 'fly' is no command; see neap --help"),
                (["train", "--bugdet", "30%"], "'--bugdet' is no option of neap train; did you mean '--budget'?; "
                                               "see neap train --help"),
                (["train", "--batchsize=4"], "'--batchsize' is no option of neap train; did you mean "
                                             "'--batch-size'?"),
                (["plan", "--xyzzy"], "'--xyzzy' is no option of neap plan; see neap plan --help")]:
            with self.subTest(arguments):
                self.assert_ended(neap(*arguments), 2, told)

    def test_two_options_with_one_file_are_refused_before_anything_runs(self):
        trace = self.write("step.jsonl", "not read")
        link = self.folder / "link"
        link.symlink_to(trace)
        file = self.folder / "new"
        for arguments, told in [
                (["analyze", "--csv", file, "--svg", file], "--csv and --svg name the same file"),
                (["bench", "--csv", file, "--svg", self.folder / "." / "new"], "--csv and --svg name the same file"),
                (["plan", trace, "--frontier", "--csv", file, "--svg", file], "--csv and --svg name the same file"),
                (["plan", trace, "--min", "-o", trace], "FILE and -o name the same file"),
                (["plan", trace, "--min", "-o", link], "FILE and -o name the same file")]:
            with self.subTest(arguments):
                self.assert_ended(neap(*arguments), 2, told, "one would be lost; name two")
        self.assertEqual(trace.read_text(), "not read")
        self.assertFalse(file.exists())

    def test_a_percentage_is_read_as_it_is_written(self):
        for command in ("train", "verify", "analyze"):
            for value in ("50%", "50 %"):
                with self.subTest(f"{command} {value}"):
                    # The refusal names another option, so this one was accepted.
                    done = neap(command, "--budget", value, "--threads", "x")
                    self.assert_ended(done, 2, "--threads")
        small = ["--model", "mlp", "--input", "1,8,8", "--batch-sizes", 4, "--repetitions", 1, "--threads", 1]
        self.assert_ended(neap("analyze", *small, "--budget", "150 %"), 0)
        self.assert_ended(neap("bench", *small, "--budgets", "150 %"), 0)

    def test_numbers_in_a_config_file_keep_all_their_digits(self):
        config = self.write("neap.toml", "lr = 0.0100000049\n")
        losses = []
        for how in (["--config", config], ["--lr", "0.0100000049"], ["--lr", "0.01"]):
            done = neap("train", "--model", "mlp", "--data", "synthetic:1x8x8:4:64", "--batch-size", 8, "--steps", 40,
                        "--no-test", "--threads", 1, "--json", *how)
            self.assertEqual(done.returncode, 0, done.stderr)
            losses.append([line for line in done.stdout.splitlines() if '"step":40,' in line][0].split('"loss":')[1])
        self.assertEqual(losses[0].split(",")[0], losses[1].split(",")[0])
        self.assertNotEqual(losses[0].split(",")[0], losses[2].split(",")[0])

    def test_what_would_move_a_terminal_s_cursor_is_written_out(self):
        evil = "x\x1b[2J\x07\u009b5mé"
        for arguments in (["plan", evil, "--min"], ["train", "--data", evil], ["train", "--model", f"./{evil}"],
                          ["train", "--optimizer", evil], ["plan", "--budget", evil, "x"], [evil]):
            with self.subTest(arguments):
                done = neap(*arguments)
                self.assertIn(done.returncode, (1, 2))
                self.assertNotRegex(done.stderr, "[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f]")
                self.assertIn("x\\x1b[2J\\x07\\x9b5mé", done.stderr)


if __name__ == "__main__":
    unittest.main()
