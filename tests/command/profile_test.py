#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""profile_test.py NEAP [unittest arguments]: neap profile draws the memory of a step, and lists what holds its peak."""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import unittest

from running import NEAP, CommandTest, neap
from traces import step_of

ASCII = {"LC_ALL": "C"}
UTF8 = {"LC_ALL": "C.UTF-8"}


def environment(**variables):
    return {name: value for name, value in os.environ.items() if name != "COLUMNS"} | variables


class ProfileTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.trace = self.write("step.jsonl", step_of(["one", "two", "three"]))

    def profile(self, *arguments, columns=None, locale=ASCII):
        variables = locale if columns is None else locale | {"COLUMNS": str(columns)}
        done = neap("profile", *arguments, env=environment(**variables))
        self.assert_ended(done, 0)
        return done.stdout

    def test_the_drawing_is_that_of_the_trace(self):
        # Three forwards of 1 µs that keep 1 MiB each, and three backwards of 2 µs that drop it.
        # 38 columns for 9 µs: the three begin at columns 0, 4 and 8, and are gone after 21, 29 and the end.
        plot = self.profile(self.trace, columns=50).split("\n\n")[1]
        self.assertEqual(plot, """The plain step: 0.009 ms
  3.0 MiB +        ##############
          |        ##############
          |        ##############
  2.3 MiB +        ##############
          |    ##########################
          |    ##########################
  1.5 MiB +    ##########################
          |    ##########################
          |######################################
771.9 KiB +######################################
          |######################################
          |######################################
      0 B +------------^-------------------------
           0.000 ms                      0.009 ms
^ peak 3.0 MiB at 0.003 ms""")

    def test_json_counts_exactly(self):
        whole = json.loads(self.profile(self.trace, "--json"))
        mib = 1 << 20
        self.assertEqual(whole["label"], "made")
        self.assertEqual(whole["plain_base_bytes"], 12000)
        self.assertIsNone(whole["plan"])
        self.assertIsNone(whole["budget_bytes"])
        plain = whole["plain"]
        self.assertEqual(plain["peak_bytes"], 12000 + 3 * mib + 4000 + 100)
        self.assertEqual(plain["at_ns"], 3000)
        self.assertEqual(plain["step_ns"], 9000)
        self.assertEqual([moment["held_bytes"] for moment in plain["moments"]],
                         [12000, 12000 + mib, 12000 + 2 * mib, 12000 + 3 * mib, 12000 + 3 * mib + 4100,
                          12000 + 2 * mib + 8100, 12000 + mib + 12100, 24000])
        self.assertEqual([moment["at_ns"] for moment in plain["moments"]], [0, 0, 1000, 2000, 3000, 5000, 7000, 9000])
        self.assertEqual(sum(holder["held_bytes"] for holder in plain["holders"]), plain["peak_bytes"])
        sizes = [holder["held_bytes"] for holder in plain["holders"]]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.assertEqual({holder["layer"] for holder in plain["holders"][:3]}, {"one", "two", "three"})
        self.assertEqual({holder["operator"] for holder in plain["holders"][:3]}, {"aten::mm"})

    def test_a_budget_draws_the_step_by_a_plan_beside_it(self):
        trace = self.write("long.jsonl", step_of([str(i) for i in range(12)]))
        budget = 6 << 20
        whole = json.loads(self.profile(trace, "--budget", budget, "--json"))
        self.assertEqual(whole["budget_bytes"], budget)
        self.assertLessEqual(whole["plan"]["peak_bytes"], budget)
        self.assertGreater(whole["plain"]["peak_bytes"], budget)
        again = sum(moment["runs_again"] for moment in whole["plan"]["moments"])
        self.assertEqual(again, whole["plan"]["replays"])
        self.assertGreater(again, 0)
        self.assertEqual(whole["plain"]["replays"], 0)
        drawn = self.profile(trace, "--budget", budget, columns=80)
        self.assertIn("The plain step: ", drawn)
        self.assertIn(f"The step inside 6.0 MiB, by a plan: {whole['plan']['step_ns'] / 1e6:.3f} ms, {again} operators run again\n", drawn)
        self.assertEqual(drawn.count("- budget 6.0 MiB"), 2)
        self.assertIn("= operators run again", drawn)
        self.assertRegex(drawn, r"\+[-^]*=+")

    def test_the_peak_is_that_of_neap_plan(self):
        step = ["--model", "mlp", "--batch-size", 8, "--threads", 1, "--repetitions", 1]
        file = self.folder / "mlp.jsonl.gz"
        self.assert_ended(neap("trace", *step, "-o", file), 0)
        plan = json.loads(neap("plan", file, "--budget", "100%", "--json").stdout)
        profile = json.loads(self.profile(file, "--json"))
        self.assertEqual(profile["plain"]["peak_bytes"], plan["plain_peak_bytes"])
        self.assertEqual(profile["plain_base_bytes"], plan["plain_base_bytes"])
        self.assertEqual(profile["plain"]["step_ns"], plan["plain_ns"])
        traced = json.loads(self.profile(*step, "--json"))
        self.assertEqual(traced["plain"]["peak_bytes"], plan["plain_peak_bytes"])

    def test_it_fits_any_width(self):
        trace = self.write("wide.jsonl", step_of([f"encoder.layers.{i}.attention.projection" for i in range(30)]))
        for columns in (1, 10, 20, 40, 80, 200):
            for locale in (ASCII, UTF8):
                with self.subTest(columns=columns, locale=locale):
                    drawn = self.profile(trace, "--budget", "60%", columns=columns, locale=locale)
                    widest = max(len(line) for line in drawn.splitlines())
                    # A word of a reason is not broken.
                    self.assertTrue(widest < max(columns, 2), drawn)
                    self.assertEqual(drawn.isascii(), locale is ASCII)
        narrow = self.profile(trace, columns=40)
        self.assertIn("\n    aten::mm_backward in the backward\n    reads it\n", narrow)
        self.assertIn("are left out.\n", self.profile(trace, columns=200))

    def test_a_pipe_gets_whole_tables_and_a_plot_of_80_columns(self):
        trace = self.write("wide.jsonl", step_of(["encoder.layers.attention.projection" * 3]))
        drawn = self.profile(trace)
        self.assertIn("encoder.layers.attention.projection" * 3, drawn)
        axis = [line for line in drawn.splitlines() if re.match(r" *0 B \+-", line)]
        self.assertEqual([len(line) for line in axis], [79])

    def test_a_width_that_is_none_counts_for_nothing(self):
        usual = self.profile(self.trace)
        for columns in ("", "0", "-1", "x", "80x", "18446744073709551615", "99999999999999999999"):
            self.assertEqual(self.profile(self.trace, columns=columns), usual, columns)

    def test_a_terminal_s_own_width_goes_before_columns(self):
        master, slave = pty.openpty()
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 47, 0, 0))
        process = subprocess.Popen([NEAP, "profile", self.trace], stdout=slave,
                                   env=environment(COLUMNS="200", **UTF8))
        os.close(slave)
        seen = b""
        try:
            while more := os.read(master, 4096):
                seen += more
        except OSError:
            pass
        os.close(master)
        self.assertEqual(process.wait(timeout=60), 0)
        lines = seen.decode().splitlines()
        self.assertEqual(max(map(len, lines)), 46)
        self.assertTrue(any("█" in line for line in lines))

    def test_texts_of_a_trace_are_shown_and_not_obeyed(self):
        evil = self.write("evil.jsonl", step_of(["a\u001b[2Jb\u009b1m"]).replace('"made"', '"\\u001b]0;x\\u0007"'))
        for columns in (40, 200):
            drawn = self.profile(evil, columns=columns, locale=UTF8)
            self.assertNotRegex(drawn, r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
            self.assertIn("\\x1b[2J", drawn)

    def test_wrong_use_is_refused_with_what_to_do(self):
        for arguments, code, text in [
                ([], 2, "profile: there is no step to profile; name a trace"),
                ([self.trace, "--model", "mlp"], 2, "are two steps; leave one of them out"),
                ([self.trace, "--batch-size", 4], 2, "--model"),
                ([self.trace, "--budget", "x"], 2, "--budget"),
                ([self.trace, "--budget", ""], 2, "--budget"),
                ([self.trace, "--budget", "1KiB"], 1, "the smallest"),
                ([self.folder / "none.jsonl"], 1, "none.jsonl"),
                ([self.write("half.jsonl", self.trace.read_text()[:300])], 1, "half.jsonl")]:
            with self.subTest(arguments):
                done = neap("profile", *arguments)
                self.assert_ended(done, code, text)
                self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
