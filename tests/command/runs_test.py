#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""runs_test.py NEAP [unittest arguments]: neap runs finds, chooses, shows and compares trainings."""
import json
import os
import unittest

from running import CommandTest, neap

SMALL = ["--model", "mlp", "--data", "synthetic:1x8x8:10:640", "--threads", 1, "--no-test", "--quiet"]


class RunsTest(CommandTest):
    def record(self, name, steps=1, loss=2.5, ending="done", settings=None, **more):
        """A training as neap train --out writes it down."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        lines = [{"event": "run", "began": "2026-01-31T12:00:00Z", "budget": "none",
                  "settings": {"model": "mlp", "batch size": "32"} | (settings or {})}]
        lines += [{"event": "step", "step": i + 1, "loss": loss, "peak_bytes": 1 << 20, "took_ms": 2.0, "replays": 1}
                  for i in range(steps)]
        lines += [{"event": "summary", "ending": ending} | more] if ending else []
        (folder / "run.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    def chosen(self, *arguments):
        done = neap("runs", "list", self.folder, "--json", *arguments)
        self.assert_ended(done, 0)
        return [run["run"] for run in json.loads(done.stdout)["runs"]]

    def test_list_finds_all_trainings_below_a_folder_and_has_the_numbers_of_their_records(self):
        for name, steps, more in (("a", 3, []), ("deep/b", 4, ["--budget", "64MiB"])):
            self.assert_ended(neap("train", *SMALL, "--batch-size", 32, "--steps", steps, "--out", self.folder / name, *more), 0)
        done = neap("runs", "list", self.folder, "--json")
        self.assert_ended(done, 0)
        runs = {run["run"]: run for run in json.loads(done.stdout)["runs"]}
        self.assertEqual(runs.keys(), {"a", "b"})
        for name, place in (("a", "a"), ("b", "deep/b")):
            lines = [json.loads(line) for line in (self.folder / place / "run.jsonl").read_text().splitlines()]
            start, summary, run = lines[0], lines[-1], runs[name]
            for key in ("ending", "steps", "budget_bytes", "peak_bytes", "replays", "planned_steps"):
                self.assertEqual(run[key], summary[key], key)
            self.assertEqual([run[key] for key in ("began", "label", "budget", "threads")],
                             [start[key] for key in ("began", "label", "budget", "threads")])
            self.assertEqual(run["batch_size"], start["settings"]["batch size"])
        table = neap("runs", "list", self.folder).stdout.splitlines()
        self.assertEqual(len(table), 4)
        self.assertEqual([line.split()[0] for line in table[2:]], ["a", "b"])
        self.assertIn("64.0 MiB", neap("runs", "show", self.folder / "deep").stdout)

    def test_where_and_sort_are_sql(self):
        self.record("a", steps=3, loss=1.5)
        self.record("b", steps=2, loss=0.5, settings={"batch size": "256"})
        self.record("c", steps=9, loss=2.5, settings={"model": "gpt"}, ending=None)
        self.record("d", steps=1, loss=None)
        for arguments, names in ((["--sort", "loss"], "bacd"), (["--sort", "loss desc"], "cabd"), (["--sort", "steps"], "dbac"),
                                 (["--where", "loss < 2"], "ab"), (["--where", "batch_size > 32"], "b"),
                                 (["--where", "model = 'gpt' or loss < 1", "--sort", "run desc"], "cb"),
                                 (["--where", "ending is null"], "c"), (["--where", "run = 'nobody'"], ""),
                                 (["--where", "steps > 1 -- and no more"], "abc"), (["--where", "peak_bytes >= 1048576"], "abcd")):
            with self.subTest(arguments):
                self.assertEqual("".join(self.chosen(*arguments)), names)

    def test_flags_are_conditions(self):
        self.record("a", settings={"bf16": "true", "shuffled": "false"})
        self.record("b", settings={"shuffled": "true"})
        for where, names in (("bf16", "a"), ("bf16 = true", "a"), ("bf16 is null", "b"), ("shuffled", "b"), ("not shuffled", "a"),
                             ("shuffled = false", "a"), ("\"loss\" > 2", "ab")):
            with self.subTest(where):
                self.assertEqual("".join(self.chosen("--where", where)), names)
        self.assertIn(["bf16", "true"], [line.split() for line in neap("runs", "show", self.folder / "a").stdout.splitlines()])

    def test_the_figures_of_the_test_set_are_columns(self):
        self.record("a", test_loss=0.5, best_step=3, best_accuracy=0.75, best_test_loss=0.25)
        self.record("b", test_loss=0.25, best_step=9, best_accuracy=0.5, best_test_loss=0.125)
        self.record("c", ending=None)
        for key, order in (("test_loss", "bac"), ("best_step", "abc"), ("best_accuracy", "bac"), ("best_test_loss", "bac")):
            self.assertEqual("".join(self.chosen("--sort", key)), order, key)
        self.assertEqual(self.chosen("--where", "best_accuracy > 0.6 and best_step = 3"), ["a"])

    def test_what_sqlite_does_not_understand_is_refused_with_the_names_of_the_columns(self):
        folder = self.record("a")
        for arguments, told in ((["--where", "lss < 2"], "no such column: lss; the columns are run, began, budget, model, "
                                                         "batch_size, ending, steps, loss"),
                                (["--where", '"lossx" < 0.5'], "no such column: lossx"),
                                (["--sort", '"lossx"'], "no such column: lossx"),
                                (["--sort", "loss downwards"], "--sort 'loss downwards'"), (["--where", "(1"], "--where '(1'"),
                                (["--where", "1; DROP TABLE runs"], "has a semicolon"), (["--where", ""], "--where"),
                                (["--where", "load_extension('x')"], "--where")):
            with self.subTest(arguments):
                self.assert_ended(neap("runs", "list", folder, *arguments), 2, told)

    def test_show_has_all_that_is_known_and_compare_what_differs(self):
        a = self.record("a", loss=1.5, accuracy=0.25)
        b = self.record("b", loss=0.5, settings={"seed": "7"})
        shown = {words[0]: " ".join(words[1:]) for line in neap("runs", "show", a).stdout.splitlines()[2:] if (words := line.split())}
        self.assertEqual(shown, {"began": "2026-01-31T12:00:00Z", "budget": "none", "model": "mlp", "batch_size": "32",
                                 "ending": "done", "steps": "1", "loss": "1.5", "accuracy": "0.25", "test_loss": "-",
                                 "best_step": "-", "best_accuracy": "-", "best_test_loss": "-", "budget_bytes": "-",
                                 "peak_bytes": "1.0 MiB", "plain_peak_bytes": "-", "step_ms_median": "2",
                                 "against_plain_median": "-", "replays": "1", "planned_steps": "0"})
        done = neap("runs", "compare", a, b)
        self.assert_ended(done, 0)
        self.assertEqual([line.split() for line in done.stdout.splitlines()[2:]],
                         [["loss", "1.5", "0.5"], ["accuracy", "0.25", "-"], ["seed", "-", "7"]])
        self.assertIn("do not differ", neap("runs", "compare", a, self.record("c", loss=1.5, accuracy=0.25)).stdout)

    def test_what_is_no_training_and_too_many_of_them(self):
        (self.folder / "empty").mkdir()
        a, b = self.record("x/a"), self.record("x/b")
        for arguments, code, told in ((["list", self.folder / "empty"], 1, "there is no run.jsonl in it or below"),
                                      (["list", self.folder / "nowhere"], 1, "nowhere"),
                                      (["show", self.folder / "x"], 2, "show takes one training, and there are 2"),
                                      (["compare", a], 2, "compare takes two trainings or more"),
                                      (["compare", a, a], 2, "compare takes two trainings or more"),
                                      (["dance", a], 2, "dance"), (["list"], 2, "folders")):
            with self.subTest(arguments):
                self.assert_ended(neap("runs", *arguments), code, told)
        (b / "run.jsonl").write_text('{"event":"dance"}\n')
        done = neap("runs", "list", self.folder, "--json")
        self.assert_ended(done, 0, "left out: ", "line 1: no line of a training")
        self.assertEqual([run["run"] for run in json.loads(done.stdout)["runs"]], ["a"])
        self.assert_ended(neap("runs", "show", b), 1, "line 1: no line of a training")

    def test_show_and_compare_count_those_that_fit(self):
        folders = [self.record(name, loss=loss) for name, loss in (("a", 1.5), ("b", 2.5), ("c", 3.5))]
        self.assertIn("1.5", neap("runs", "show", *folders, "--where", "run = 'a'").stdout)
        done = neap("runs", "compare", *folders, "--where", "loss > 2")
        self.assert_ended(done, 0)
        self.assertEqual([line.split() for line in done.stdout.splitlines()[2:]], [["loss", "2.5", "3.5"]])
        for arguments, told in ((["show", folders[0], "--where", "loss < -1"], "none of 1 fits --where 'loss < -1'"),
                                (["compare", *folders, "--where", "loss < -1"], "none of 3 fits --where 'loss < -1'"),
                                (["compare", *folders, "--where", "loss < -1", "--json"], "none of 3 fits"),
                                (["show", *folders, "--where", "loss > 2"], "and 2 of 3 fit --where"),
                                (["compare", *folders, "--where", "loss < 2"], "and 1 of 3 fits --where; use show")):
            with self.subTest(arguments):
                done = neap("runs", *arguments)
                self.assert_ended(done, 2, told)
                self.assertEqual(done.stdout, "")

    def test_links_to_folders_are_followed_once_and_what_cannot_be_looked_into_is_told(self):
        self.record("e1")
        self.record("many/e2")
        many = self.folder / "many"
        (many / "e1").symlink_to("../e1")
        (many / "a").symlink_to("e2")  # before it by name
        (many / "e2" / "up").symlink_to("..")
        done = neap("runs", "list", many, "--json")
        self.assert_ended(done, 0)
        self.assertEqual(done.stderr, "")
        self.assertEqual([run["run"] for run in json.loads(done.stdout)["runs"]], ["e1", "e2"])
        (many / "gone").symlink_to("nowhere")
        (many / "itself").symlink_to("itself")
        done = neap("runs", "list", many, "--json")
        self.assert_ended(done, 0, f"left out: {many}/gone: it cannot be looked into",
                          f"left out: {many}/itself: it cannot be looked into")
        self.assertEqual([run["run"] for run in json.loads(done.stdout)["runs"]], ["e1", "e2"])

    @unittest.skipIf(os.geteuid() == 0, "root may look into every folder")
    def test_a_folder_without_permission_is_told(self):
        self.record("a")
        closed = self.record("b/c").parent
        closed.chmod(0)
        self.addCleanup(closed.chmod, 0o700)
        done = neap("runs", "list", self.folder, "--json")
        self.assert_ended(done, 0, f"left out: {closed}: it cannot be looked into: ")
        self.assertEqual([run["run"] for run in json.loads(done.stdout)["runs"]], ["a"])

    def test_a_line_that_is_nested_deeper_than_the_stack_is_refused(self):
        run = self.record("a")
        for deep in ("[" * 1_000_000 + "]" * 1_000_000, '{"a":' * 1_000_000 + "1" + "}" * 1_000_000):
            (run / "run.jsonl").write_text('{"event":"run"}\n{"event":"step","step":1,"deep":' + deep + "}\n")
            self.assert_ended(neap("runs", "show", run), 1, "run.jsonl: line 2: no line of a training")

    def test_hostile_names_are_names(self):
        evil = "x\x1b[2J'\"; DROP TABLE runs;--\n"
        self.record(evil, settings={evil: evil, "LOSS": "3", "id": "4", "Model": "again"})
        self.record("b", settings={evil: "1"})
        done = neap("runs", "list", self.folder)
        self.assert_ended(done, 0)
        self.assertNotRegex(done.stdout, "[\x00-\x08\x0b-\x1f]")
        self.assertEqual(sorted(self.chosen("--where", "loss = 2.5 and model = 'mlp'")), sorted([evil, "b"]))


if __name__ == "__main__":
    unittest.main()
