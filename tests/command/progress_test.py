#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""progress_test.py NEAP [unittest arguments]: what a running command shows, on terminals and elsewhere."""
import fcntl
import os
import pty
import struct
import subprocess
import termios
import unittest

from running import NEAP, CommandTest, neap, write_pictures

CLEAR = b"\r\x1b[K"


class Terminal:
    """A command whose standard error is a terminal of `columns` columns."""

    def __init__(self, arguments, columns):
        self.master, slave = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen([NEAP, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        self.seen = b""

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        """Reads more of the output. False: the command has ended."""
        try:
            more = os.read(self.master, 4096)
        except OSError:
            return False
        self.seen += more
        return more != b""

    def end(self):
        while self.read():
            pass
        os.close(self.master)
        return self.process.wait(timeout=300)

    def draws(self, what):
        """The successive texts of the line that is overwritten."""
        texts = [part.split(b"\r\n")[0].decode() for part in self.seen.split(CLEAR)[1:]]
        return [text for text in texts if text.startswith(what)]


class ProgressTest(CommandTest):
    def setUp(self):
        super().setUp()
        write_pictures(self.folder)
        self.training = ("train", "--data", self.folder, "--threads", 1, "--model", "mlp", "--batch-size", 16,
                         "--budget", "200MiB")

    def test_the_line_fits_a_terminal_also_when_its_width_changes(self):
        terminal = Terminal([*self.training, "--steps", 400], 80)
        while not terminal.draws("step ") and terminal.read():
            pass
        first = terminal.draws("step ")[0]
        self.assertRegex(first, r"^step 1/400  \d+m\d\ds left  loss \d+\.\d{4}  \d+ samples/s  peak ")
        self.assertTrue(40 < len(first) < 80, first)
        terminal.resize(40)
        self.assertEqual(terminal.end(), 0)
        steps = terminal.draws("step ")
        self.assertTrue(all(len(text) < 80 for text in steps), steps)
        self.assertRegex(steps[-1], r"^step 400/400  0m00s left  loss ")
        # The text that was being drawn when the width changed may still be long.
        self.assertTrue(all(len(text) < 40 for text in steps[2:] + steps[-1:]), steps)
        tests = terminal.draws("test batch ")
        self.assertRegex(tests[-1], r"^test batch 16/16  0m00s left")
        self.assertTrue(all(len(text) < 40 for text in tests), tests)
        # Between two draws, nothing else is written.
        lines = terminal.seen.split(b"\r\n")
        self.assertEqual(sum(CLEAR in line for line in lines), 2, lines)

    def test_a_terminal_that_does_not_know_its_width_is_taken_for_one_of_80_columns(self):
        terminal = Terminal([*self.training, "--steps", 2, "--no-test"], 0)
        self.assertEqual(terminal.end(), 0)
        self.assertTrue(all(40 < len(text) < 80 for text in terminal.draws("step ")), terminal.seen)

    def test_where_there_is_room_a_bar_shows_what_is_done(self):
        terminal = Terminal([*self.training, "--steps", 40, "--no-test"], 140)
        self.assertEqual(terminal.end(), 0)
        steps = terminal.draws("step ")
        self.assertRegex(steps[0], r"^step 1/40  \[-{10,30}\]  \d+m\d\ds left  loss \S+  \d+ samples/s  peak \S+ MiB  "
                                   r"\S+ % of the budget$")
        self.assertRegex(steps[-1], r"^step 40/40  \[#{10,30}\]  0m00s left  loss ")
        for text in steps:
            done = int(text.split("/")[0].split()[1])
            cells = text[text.index("[") + 1:text.index("]")]
            self.assertEqual(cells.count("#"), done * len(cells) // 40, text)
            self.assertLess(len(text), 140)

    def test_what_is_least_important_goes_first(self):
        figures = ["step 3/3", "left", "loss", "samples/s", "peak", "of the budget"]
        counts = []
        for columns in range(10, 121, 10):
            terminal = Terminal([*self.training, "--steps", 3, "--no-test"], columns)
            self.assertEqual(terminal.end(), 0)
            last = terminal.draws("step ")[-1]
            self.assertLess(len(last), columns)
            there = [figure in last for figure in figures]
            self.assertEqual(there, sorted(there, reverse=True), last)
            self.assertTrue("[" not in last or all(there), last)
            counts.append(sum(there))
        self.assertEqual(counts, sorted(counts))
        self.assertEqual((counts[0], counts[-1]), (1, len(figures)))

    def test_a_very_narrow_terminal_gets_what_fits(self):
        terminal = Terminal([*self.training, "--steps", 2, "--no-test"], 6)
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(set(terminal.draws("step ")), {"step "})

    def test_where_no_terminal_is_there_are_plain_lines(self):
        done = neap(*self.training, "--steps", 20)
        self.assert_ended(done, 0)
        self.assertNotIn("\x1b", done.stderr)
        self.assertNotIn("\r", done.stderr)
        lines = done.stderr.splitlines()
        self.assertRegex(lines[1], r"^step 1/20  \d+m\d\ds left  loss .* of the budget$")
        self.assertTrue(any(line.startswith("step 20/20  ") for line in lines))


if __name__ == "__main__":
    unittest.main()
