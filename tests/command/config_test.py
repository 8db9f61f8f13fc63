#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""config_test.py NEAP [unittest arguments]: --config, --write-config, completion and the manual."""
import itertools
import re
import subprocess
import unittest

from running import NEAP, CommandTest, neap

# Of each command that takes options: some of them, with values that a file could spoil.
LINES = {
    "train": ["--model", "gpt", "--data", 'text:a "b"\\c\n\'d\'.txt', "--lr", "0.0100000049", "--betas", "0.9,0.95",
              "--seed", "-7", "--no-test", "--save-every", "30s", "--out", "007", "--resume", "1.", "--budget", "30%"],
    "evaluate": ["--weights", "run", "--layers", "3", "--json"],
    "predict": ["--weights", "run", "--top", "3", "--all", "--out", "-"],
    "export": ["run", "--best", "--out", "weights.safetensors"],
    "import": ["weights.safetensors", "--model", "mlp", "--data", "synthetic:1x8x8:4", "--out", "run"],
    "verify": ["--model", "./libmymodel.so", "--steps", "5", "--bf16"],
    "analyze": ["--batch-sizes", "8,16", "--input", "3,8,8", "--csv", "a.csv"],
    "bench": ["--budgets", "50%,1GiB", "--repetitions", "2"],
    "max-batch": ["--budget", "1GiB", "--time-limit", "1.5"],
    "trace": ["--out", "-", "--batch-size", "4"],
    "plan": ["--model", "mlp", "--frontier", "--points", "3", "--svg", "true"],
    "advise": ["--budget", "auto"],
    "profile": ["--model", "mlp", "--json"],
    "summary": ["--model", "gpt", "--sort", "flops"],
    "explain": ["step.jsonl", "--budget", "30%"],
    "runs": ["list", "runs", "--where", "loss < 0.5 and model = 'mlp'"],
    "report": ["step.jsonl", "--out", "page.html", "--no-frontier"],
}


# The options that name a file or a folder which is read. Every other one is written, so no file names it elsewhere.
READ = {"--init", "--weights"}


class ConfigTest(CommandTest):
    def written(self, command, *arguments):
        file = self.folder / f"{len(list(self.folder.iterdir()))}.toml"
        done = neap(command, *arguments, "--write-config", file)
        self.assert_ended(done, 0)
        self.assertEqual(done.stdout, "")
        return file

    def test_what_is_written_is_read_as_the_same_options_by_every_command(self):
        for command, line in LINES.items():
            with self.subTest(command):
                first = self.written(command, *line)
                given = {one[2:] for one in line if one.startswith("--")}
                library = [one for one in line if one.endswith(".so")]
                if library:
                    given.remove("model")
                    self.assertIn(f"# Beside it the command line names --model {library[0]}\n", first.read_text())
                    library.insert(0, "--model")
                self.assertEqual({text.split(" = ")[0] for text in first.read_text().splitlines()
                                  if re.match("[a-z0-9-]+ = ", text)}, given)
                positional = list(itertools.takewhile(lambda one: not one.startswith("--"), line))
                self.assertEqual(self.written(command, *positional, *library, "--config", first).read_text(),
                                 first.read_text())

    def test_every_command_with_options_is_here(self):
        listed = neap("--help").stdout.split("Subcommands:")[1].split("Examples:")[0]
        commands = set(re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE))
        self.assertEqual({command for command in commands if "--config" in neap(command, "--help").stdout}, LINES.keys())

    def test_what_a_command_needs_may_stand_in_the_file(self):
        weights = self.write("evaluate.toml", 'weights = "nowhere"\nmodel = "mlp"\ndata = "synthetic:1x8x8:4:64"\n')
        self.assert_ended(neap("evaluate", "--config", weights), 1, "nowhere")
        frontier = self.write("plan.toml", 'frontier = true\nmodel = "mlp"\n')
        self.assert_ended(neap("plan", "--config", frontier, "--points", 1), 2, "--points")
        self.assert_ended(neap("plan", "--points", 3, "--min", "--model", "mlp"), 2, "--frontier")

    def test_a_flag_that_is_false_is_as_if_it_were_left_out(self):
        config = self.write("plan.toml", 'frontier = false\nbf16 = false\nmin = true\n')
        self.assert_ended(neap("plan", self.write("step.jsonl", "{}"), "--config", config), 1, "step.jsonl")

    def test_the_largest_batch_and_lists_survive_a_file(self):
        file = self.written("train", "--model", "mlp", "--batch-size", "auto", "--budget", "1GiB")
        self.assertIn("batch-size = 'auto'", file.read_text())
        self.assertEqual(self.written("train", "--config", file).read_text(), file.read_text())
        # A default that is no comment any more is the default.
        for command in ("bench", "analyze", "train"):
            plain = self.written(command).read_text()
            file = self.write("whole.toml", re.sub(r"^# ([a-z0-9-]+ = (?!\.\.\.))", r"\1", plain, flags=re.MULTILINE))
            with self.subTest(command):
                self.assert_ended(neap(command, "--config", file, "--write-config", self.folder / "again.toml"), 0)

    def test_what_no_key_can_say_stands_in_a_comment(self):
        text = self.written("report", "step.jsonl", "runs/a", "-o", "page.html").read_text()
        self.assertIn("# Beside it the command line names files: step.jsonl runs/a\n", text)

    def test_the_command_line_wins_also_by_a_short_name(self):
        config = self.write("trace.toml", 'out = "-"\nmodel = "mlp"\ninput = [1, 8, 8]\nbatch-size = 2\nrepetitions = 1\n')
        file = self.folder / "step.jsonl"
        for short in (["-o", file], [f"-o{file}"], ["--out", file]):
            with self.subTest(short):
                done = neap("trace", "--config", config, *short)
                self.assert_ended(done, 0)
                self.assertNotIn('"node"', done.stdout)
                self.assertTrue(file.exists())
                file.unlink()

    def test_lists_and_wrong_values_in_a_file(self):
        for text, told in [
                ("batch-sizes = [8, \"x\"]\n", "line 1: --batch-sizes"),
                ("batch-sizes = [[8]]\n", "line 1: 'batch-sizes' must be a text, a number, or a list"),
                ("\nbatch-sizes = 2020-01-01\n", "line 2: 'batch-sizes' must be"),
                ("batch-sizes = []\n", "line 1:"),
                ("[batch-sizes]\na = 1\n", "line 1: 'batch-sizes' must be"),
                ("json = 1\n", "line 1: 'json' must be true or false"),
                ("csv = true\n", "line 1: 'csv' is not true or false"),
                ("input = \"3,,8\"\n", "--input: '3,,8' has an empty item"),
                ("write-config = \"x\"\n", "line 1: unknown key 'write-config'")]:
            with self.subTest(text):
                config = self.write("odd.toml", text)
                self.assert_ended(neap("analyze", "--model", "mlp", "--config", config), 2, str(config), told)

    def test_no_file_names_a_path_elsewhere_where_something_is_written(self):
        outside, inside = self.folder / "outside", self.folder / "inside"
        outside.mkdir(), inside.mkdir()
        (inside / "link").symlink_to(outside)
        (inside / "to-nothing").symlink_to(outside / "new")
        (inside / "to-itself").symlink_to(inside / "to-itself")
        seen = set()
        for command in LINES:
            options = re.findall(r"^  (?:-\w,)?(--[a-z-]+) (?:\[?)\S*(?:FILE|DIR|PATH)\b", neap(command, "--help").stdout, re.MULTILINE)
            for option in sorted(set(options) - {"--config", "--write-config"}):
                seen.add(option)
                for path in (outside / "x", "../x", "link/x", "to-nothing", "to-nothing/x", "./to-nothing/../x", "to-itself"):
                    with self.subTest(command, option=option, path=path):
                        config = self.write("job.toml", f'{option[2:]} = "{path}"\n')
                        done = neap(command, "--config", config, "--threads", "x", cwd=inside)
                        self.assert_ended(done, 2)
                        self.assertEqual("leads out of the folder" in done.stderr, option not in READ, done.stderr)
        self.assertLessEqual(READ | {"--out", "--report", "--csv", "--svg", "--plan-cache", "--resume"}, seen)
        self.assertEqual(list(outside.iterdir()), [])
        text = self.written("analyze", "--report", outside / "x").read_text()
        self.assertIn("line names --report", text)
        self.assertNotRegex(text, "(?m)^report = ")

    def test_nothing_that_is_written_takes_the_place_of_the_file(self):
        step = self.write("step.jsonl", "not read")
        for command, *line in (["trace", "--out"], ["predict", "--weights", "x", "--out"], ["plan", step, "--min", "--out"],
                               ["plan", step, "--frontier", "--csv"], ["report", step, "--out"], ["advise", "--csv"],
                               ["export", "x", "--out"], ["import", "x", "--out"], ["train", "--out"], ["train", "--report"],
                               ["train", "--plan-cache"], ["analyze", "--csv"], ["bench", "--svg"]):
            with self.subTest(command, line=line):
                config = self.write("job.toml", "seed = 7\n" if command not in ("report", "export") else "# nothing\n")
                before = config.read_text()
                self.assert_ended(neap(command, "--config", config, *line, config), 2, f"--config and {line[-1]} name the same file")
                self.assertEqual(config.read_text(), before)

    def test_a_dash_is_no_name_of_a_file(self):
        for command, *line in (["train", "--report"], ["train", "--out"], ["plan", "--model", "mlp", "--min", "--report"],
                               ["analyze", "--csv"], ["bench", "--svg"], ["report", "step.jsonl", "--out"], ["export", "x", "--out"],
                               ["runs", "list", "runs", "--write-config"]):
            with self.subTest(command, line=line):
                self.assert_ended(neap(command, *line, "-", cwd=self.folder), 2, line[-1], "write ./-")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_written_file_replaces_none_that_is_read_and_says_why_it_cannot_be(self):
        config = self.write("neap.toml", "steps = 2\n")
        self.assert_ended(neap("train", "--config", config, "--write-config", config), 2, "one would be lost")
        self.assertEqual(config.read_text(), "steps = 2\n")
        self.assert_ended(neap("train", "--write-config", self.folder / "no" / "x"), 1, "--write-config", "no/x")


class ManualTest(CommandTest):
    def completed(self, *words):
        script = ('source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _neap; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, NEAP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash_completes_commands_options_and_values(self):
        self.assertEqual(self.completed("neap", "tra"), ["train", "trace"])
        self.assertEqual(self.completed("neap", "--v"), ["--version"])
        self.assertEqual(self.completed("neap", "train", "--weight"), ["--weight-decay"])
        self.assertEqual(self.completed("neap", "train", "--optimizer", "ad"), ["adam", "adamw"])
        self.assertEqual(self.completed("neap", "train", "--model", ""), ["gpt", "mlp", "resnet", "transformer"])
        self.assertEqual(self.completed("neap", "plan", "--csv", ""), [])  # the names of files
        self.assertEqual(self.completed("neap", "plan", "st"), [])
        self.assertEqual(self.completed("neap", "train", "--no-test", "--qu"), ["--quiet"])

    def test_the_manual_has_every_option_and_no_mark_that_roff_does_not_know(self):
        page = neap("man").stdout
        shown = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-rLL=100n"], input=page, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, check=True)
        self.assertEqual(shown.stderr, "")
        for command in LINES:
            part = page.split(f".SS neap {command}\n".replace("-", "\\-"))[1].split("\n.SS ")[0]
            for option in re.findall(r"^  (?:-\w,)?(--[a-z][a-z0-9-]*)", neap(command, "--help").stdout, re.MULTILINE):
                self.assertIn(option.replace("-", "\\-"), part)
        self.assertIn("Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.", shown.stdout)

    def test_a_shell_that_is_not_known_is_refused(self):
        self.assert_ended(neap("completion", "fish"), 2, "fish")
        self.assert_ended(neap("completion"), 2, "shell")


if __name__ == "__main__":
    unittest.main()
