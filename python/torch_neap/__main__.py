# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""`python -m torch_neap run ...`."""

from __future__ import annotations

import sys

from torch_neap import _run


def main() -> int:
    """Run the command of this process's arguments."""
    words = sys.argv[1:]
    if words[:1] != ["run"]:
        print("usage: python -m torch_neap run --budget 8GiB -- train.py ...", file=sys.stderr)
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    return _run.run(words[1:])


if __name__ == "__main__":
    sys.exit(main())
