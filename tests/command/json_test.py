#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""json_test.py NEAP [unittest arguments]: all commands write the keys of docs/json.md, with the types given there."""
import json
import pathlib
import re
import unittest

from running import CommandTest, neap

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "json.md"
SMALL = ("--model", "mlp", "--input", "1,8,8", "--threads", 1, "--repetitions", 1)
QUARTILES = {"lower", "median", "upper"}


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


TYPES = {"count": is_count, "number": is_number, "text": lambda value: isinstance(value, str),
         "flag": lambda value: isinstance(value, bool), "list": lambda value: isinstance(value, list),
         "object": lambda value: isinstance(value, dict),
         "quartiles": lambda value: isinstance(value, dict) and value.keys() == QUARTILES
         and all(is_number(one) for one in value.values())}


class JsonTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        cls.types = {}
        for line in PAGE.read_text().splitlines():
            if row := re.match(r"\| `(\w+)` \| ([a-z ]+) \| \S", line):
                assert row.group(1) not in cls.types, f"{row.group(1)} has two rows"
                cls.types[row.group(1)] = row.group(2)

    def lines(self, *arguments, code=0):
        done = neap(*arguments, "--json")
        self.assertEqual(done.returncode, code, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def outputs(self):
        data = ("--data", "synthetic:1x8x8:4:64", "--model", "mlp", "--batch-size", 8, "--threads", 1)
        trace = self.folder / "step.jsonl"
        self.assert_ended(neap("trace", *SMALL, "-o", trace), 0)
        book, run, gpt = self.write("book.txt", "neap " * 500), self.folder / "run", ("--model", "gpt", "--threads", 1)
        self.assert_ended(neap("train", *data, "--steps", 1, "--out", run), 0)
        self.assert_ended(neap("train", *gpt, "--data", f"text:{book}", "--batch-size", 2, "--steps", 1, "--out", self.folder / "gpt"), 0)
        return [self.lines("train", *data, "--steps", 21, "--budget", "100%"),
                self.lines("train", *data, "--steps", 1, "--no-test"),
                self.lines("train", *data, "--steps", 4, "--eval-every", 2),
                self.lines("train", *data, "--lr", 1e6, "--optimizer", "sgd", "--epochs", 50, code=1),
                self.lines("train", *data, "--budget", "3MiB", code=1),
                self.lines("predict", *data, "--weights", run),
                self.lines("predict", *gpt, "--weights", self.folder / "gpt", "--prompt", "neap", "--tokens", 2),
                self.lines("analyze", *SMALL, "--batch-sizes", "4,4096", "--budget", "25MiB"),
                self.lines("analyze", *SMALL, "--batch-sizes", 4, "--budget", "none"),
                self.lines("bench", *SMALL, "--batch-sizes", 4, "--budgets", "100%,3MiB,none"),
                self.lines("max-batch", "--model", "mlp", "--input", "1,8,8", "--budget", "24MiB", "--threads", 1),
                self.lines("plan", trace, "--budget", "100%"),
                self.lines("plan", trace, "--frontier", "--points", 2),
                self.lines("advise", *SMALL, "--budget", "1GiB"),
                self.lines("profile", trace),
                self.lines("profile", trace, "--budget", "100%"),
                self.lines("summary", *SMALL),
                self.lines("explain", trace, "--budget", "100%"),
                self.lines("doctor"),
                self.lines("doctor", "--offload", self.folder)]

    def check(self, value, seen):
        if isinstance(value, list):
            for one in value:
                self.check(one, seen)
        if not isinstance(value, dict):
            return
        for key, one in value.items():
            self.assertIn(key, self.types, "docs/json.md has no row for it")
            kind, _, null = self.types[key].partition(" or ")
            if one is None:
                self.assertEqual(null, "null", key)
                seen.setdefault(key, set()).add(None)
                continue
            self.assertTrue(TYPES[kind](one), f"{key} is {one!r}, expected {self.types[key]}")
            seen.setdefault(key, set()).add(kind)
            if kind != "quartiles":
                self.check(one, seen)

    def test_all_commands_write_the_keys_of_the_page_and_no_others(self):
        seen = {}
        for lines in self.outputs():
            self.check(lines, seen)
        self.assertEqual(self.types.keys() - seen.keys(), set(), "written by no command")

    def test_a_name_ends_with_its_unit(self):
        for key, kind in self.types.items():
            self.assertNotRegex(key, r"(^|_)(milliseconds|seconds|bytes_(?!per_s$)\w+|mib|kb)$", key)
            if key.endswith("_bytes") or key.endswith("_ns"):
                self.assertRegex(kind, r"^count( or null)?$", key)
            if re.search(r"_ms(_median)?$", key):
                self.assertRegex(kind, r"^(number|quartiles)( or null)?$", key)

    def test_columns_of_tables_have_the_same_names(self):
        csv = self.folder / "table.csv"
        for command, option in (("analyze", []), ("bench", ["--budgets", "none"])):
            self.assert_ended(neap(command, *SMALL, "--batch-sizes", 4, *option, "--csv", csv), 0)
            self.assert_columns(csv, command)
        self.assert_ended(neap("advise", *SMALL, "--budget", "1GiB", "--csv", csv), 0)
        self.assert_columns(csv, "advise")

        run, data = self.folder / "run", ("--data", "synthetic:1x8x8:4:64", "--model", "mlp", "--threads", 1)
        self.assert_ended(neap("train", *data, "--batch-size", 8, "--steps", 1, "--out", run), 0)
        self.assert_ended(neap("predict", *data, "--weights", run, "-o", csv), 0)
        self.assert_columns(csv, "predict")

    def assert_columns(self, csv, command):
        for column in csv.read_text().splitlines()[0].split(","):
            self.assertIn(re.sub("_(lower|upper)$", "", column), self.types.keys(), command)


if __name__ == "__main__":
    unittest.main()
