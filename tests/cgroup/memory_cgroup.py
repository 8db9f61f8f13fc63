# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""A memory cgroup, of version 2 or 1, for the test beside this file and for bench/python."""
import os
import pathlib


class MemoryCgroup:
    """Below the cgroup of this process; without swap. It is removed at the end of a with block.

    Raises OSError where the system gives none, with a limit as well as without one.
    """

    def __init__(self, limit=None):
        lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
        own = {line.split(":")[1]: line.split(":")[2] for line in lines}
        self.first = "memory" in own  # version 1
        if not self.first and "" not in own:
            raise OSError("this system has no cgroups")
        parent = pathlib.Path("/sys/fs/cgroup/memory" if self.first else "/sys/fs/cgroup" + own[""])
        self.folder = parent / f"neap_{os.getpid()}"
        self.folder.mkdir()
        try:
            self.set_limit(limit)
        except OSError:
            self.folder.rmdir()
            raise

    def set_limit(self, limit):
        """The most bytes that its processes may have, files in the cache included; None: no limit."""
        if not self.first:
            (self.folder / "memory.max").write_text("max" if limit is None else str(limit))
            if (self.folder / "memory.swap.max").exists():
                (self.folder / "memory.swap.max").write_text("0")
            return
        memory, with_swap = (self.folder / f"memory.{kind}limit_in_bytes" for kind in ("", "memsw."))
        # The limit of memory with swap may never be the lower one.
        for file, value in [(with_swap, -1), (memory, limit or -1), (with_swap, limit or -1)]:
            if file.exists():
                file.write_text(str(value))

    def anonymous(self):
        """The bytes of its processes that are in no file."""
        counts = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return int(counts["rss" if self.first else "anon"])

    def enter(self):
        """Puts this process into it."""
        (self.folder / "cgroup.procs").write_text("0")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.folder.rmdir()
