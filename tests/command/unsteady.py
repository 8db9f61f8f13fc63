# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Runs the command with the library of unsteady_model.cpp, which is the next argument of the test program."""
import os
import pathlib
import sys

from running import neap

UNSTEADY_MODEL = pathlib.Path(sys.argv.pop(1))


def unsteady(how, *arguments):
    return neap(*arguments, "--model", UNSTEADY_MODEL, "--threads", 1, env={**os.environ, "UNSTEADY": how})
