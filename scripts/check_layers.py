#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Compares each #include with docs/layers.txt: includes go down only, never up and never sideways.

    scripts/check_layers.py [ROOT]     checks a source tree; the default is the one this file is in
    scripts/check_layers.py --self-test

Prints FILE:LINE: MESSAGE for each error and exits with 1 when there is one. Reads the text only: an include
that a condition leaves out counts too, one in a comment does not. Standard library of Python 3.8 or newer.
"""

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

OUTSIDE = ("apps", "examples", "bench")  # use neap as a stranger would
FOLDERS = ("src", "include/neap", "tests") + OUTSIDE
SUFFIXES = (".h", ".hpp", ".cpp")
TORCH = ("ATen/", "c10/", "torch/", "caffe2/")
FORMATTING = ("fmt/", "spdlog/")
NAMELESS = ("common", "util", "utils", "helper", "helpers")
UMBRELLAS = ("neap", "all")  # include/neap/neap.h and include/neap/all.h
GENERATED = ("export", "version")  # neap/export.h and neap/version.h, made by CMake
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
NEAP_HEADER = re.compile(r"neap/(\w+)\.h")


class TableError(Exception):
    """docs/layers.txt cannot be used; the text names the line."""


@dataclass
class Layers:
    """docs/layers.txt. Every module that a row names has a row above it, so the table has no cycle."""

    torch: dict = field(default_factory=dict)  # module -> "no", "c10" or "yes"
    below: dict = field(default_factory=dict)  # module -> the modules that it may include
    internals: tuple = ()  # headers, or folders of headers with a slash at the end
    internals_of: tuple = ()  # modules
    public: tuple = ()  # LibTorch's headers that any public header may include
    public_torch: tuple = ()  # modules whose public header may include torch/
    pages: dict = field(default_factory=dict)  # header without ending -> the module whose page it is
    exceptions: dict = field(default_factory=dict)  # (file, header) -> line of the table


def read_layers(path: Path) -> Layers:
    layers = Layers()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}; the table of the layers is needed") from error
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        head, rest = words[0], words[1:]
        if head in ("internals", "internals-of", "public", "public-torch"):
            setattr(layers, head.replace("-", "_"), tuple(rest))
        elif head == "pages":
            if len(rest) < 2 or rest[0] not in layers.torch:
                raise TableError(f"{path}:{number}: pages are `pages MODULE HEADER...`, of a module with a row above")
            layers.pages.update(dict.fromkeys(rest[1:], rest[0]))
        elif head == "except":
            if len(rest) < 4:
                raise TableError(f"{path}:{number}: an exception is `except FILE HEADER why`, with a sentence")
            layers.exceptions[rest[0], rest[1]] = number
        else:
            if len(rest) < 2 or rest[0] not in ("no", "c10", "yes"):
                raise TableError(f"{path}:{number}: a row is `module no|c10|yes modules`, or - for none")
            modules = () if rest[1:] == ["-"] else tuple(rest[1:])
            for module in modules:
                if module not in layers.torch:
                    raise TableError(f"{path}:{number}: {head} includes {module}, which has no row above")
            if head in layers.torch:
                raise TableError(f"{path}:{number}: a second row of {head}")
            layers.torch[head] = rest[0]
            layers.below[head] = modules
    for module in layers.internals_of + layers.public_torch:
        if module not in layers.torch:
            raise TableError(f"{path}: {module} has no row")
    return layers


def includes_of(text: str):
    """Yields (line number, header, whether it is in quotes)."""
    in_comment = False
    for number, line in enumerate(text.splitlines(), 1):
        if in_comment:
            if "*/" not in line:
                continue
            line = line.split("*/", 1)[1]
            in_comment = False
        match = INCLUDE.match(line)
        if match:
            yield number, match[2].strip(), match[1] == '"'
            continue
        code = line.split("//", 1)[0]
        in_comment = "/*" in code and "*/" not in code.split("/*", 1)[1]


def starts_with_any(header: str, beginnings) -> bool:
    return any(header == start or (start.endswith("/") and header.startswith(start)) for start in beginnings)


class Check:
    """One run over a tree. `errors` is what it found, as (file, line, message)."""

    def __init__(self, root: Path, layers: Layers):
        self.root = root
        self.layers = layers
        self.errors = []
        self.used_exceptions = set()

    def run(self) -> list:
        for folder in FOLDERS:
            for path in sorted((self.root / folder).rglob("*")):
                name = PurePosixPath(path.relative_to(self.root).as_posix())
                if path.stem in NAMELESS:
                    self.report(name, 1, f"`{path.stem}` says nothing: name the concept, or put it where it belongs")
                if path.suffix in SUFFIXES and path.is_file():
                    self.check_file(name, path.read_text(encoding="utf-8", errors="replace"))
        for key, line in self.layers.exceptions.items():
            if key not in self.used_exceptions:
                self.report("docs/layers.txt", line, f"{key[0]} does not need this exception: remove it")
        return self.errors

    def report(self, file, line: int, message: str) -> None:
        self.errors.append((str(file), line, message))

    def check_file(self, name: PurePosixPath, text: str) -> None:
        place = name.parts[0]
        public = place == "include"
        module = self.module_of(name)
        if module is None and (place == "src" or public):
            return
        includes = list(includes_of(text))
        first_torch = next((header for _, header, _ in includes if header.startswith(TORCH)), None)
        for line, header, quoted in includes:
            message = (
                self.about_own(name, place, module, header, quoted)
                or self.about_torch(module, public, header)
                or self.about_formatting(header, first_torch)
            )
            if message is None:
                continue
            if (str(name), header) in self.layers.exceptions:
                self.used_exceptions.add((str(name), header))
            else:
                self.report(name, line, message)

    def module_of(self, name: PurePosixPath):
        """The module that a file of src/ or include/neap/ belongs to; reports one without a row."""
        if name.parts[0] == "src":
            module = name.parts[1] if len(name.parts) > 2 else None
        elif name.parts[0] == "include":
            module = self.layers.pages.get(name.stem, name.stem) if len(name.parts) == 3 else None
            if module in UMBRELLAS:
                return module
        else:
            return None
        if module is None:
            self.report(name, 1, "belongs to no module: src/MODULE/ and include/neap/MODULE.h are all there is")
        elif module not in self.layers.torch:
            self.report(name, 1, f"unknown module {module}: it has no row in docs/layers.txt")
            module = None
        return module

    def about_own(self, name, place: str, module, header: str, quoted: bool):
        """What is wrong with including a header of neap, or None."""
        match = NEAP_HEADER.fullmatch(header)
        if match:
            target = self.layers.pages.get(match[1], match[1])
            if target in GENERATED:
                return None
            if target in UMBRELLAS:
                if module in (None, "all"):
                    return None
                return f"{module} includes {target}.h, which is for users: include the module's header"
        elif header.startswith("neap/"):
            return f"{header} is no public header: include/neap/ has no folders"
        elif quoted:
            target = header.split("/")[0] if "/" in header else None
            beside = (self.root / name.parent / header).is_file()
            if target not in self.layers.torch:
                return self.about_unknown(name, place, module, header, target, beside)
            if place in OUTSIDE and not beside and not (self.root / place / header).is_file():
                return f"{place} may include public headers only, and {header} is of src/{target}"
            if place == "include":
                return f"a public header cannot include {header}, which is not installed"
        else:
            return None
        if target not in self.layers.torch:
            return f"unknown module {target}: it has no row in docs/layers.txt"
        if module in (None, target) + UMBRELLAS or target in self.layers.below[module]:
            return None
        return f"{module} may not include {target}: docs/layers.txt allows {self.allowed(module)}"

    def about_unknown(self, name, place: str, module, header: str, target, beside: bool):
        """A header in quotes that is of no module of the table."""
        if place == "src":
            if target is None or beside:
                return f'write "{module}/FILE.h": a header is named from src/ on'
            return f"unknown module {target}: it has no row in docs/layers.txt"
        if place == "include":
            return f"write <neap/MODULE.h>, not {header} in quotes"
        if beside or any((self.root / folder / header).is_file() for folder in (place, ".")):
            return None
        # Beside the target's own folder, as apps/neap/ for the command; made from header.in or a .proto, or as it is.
        own = self.root / place / name.parts[1]
        made_from = (header, f"{header}.in", f"{header.removesuffix('.pb.h')}.proto")
        if place in OUTSIDE + ("tests",) and any((own / file).is_file() for file in made_from):
            return None
        return f"{header} is neither a file of {place}/ nor of a module in docs/layers.txt"

    def allowed(self, module: str) -> str:
        return ", ".join(self.layers.below[module]) or "nothing of neap"

    def about_torch(self, module, public: bool, header: str):
        """What is wrong with including a header of LibTorch, or None. `module` is None outside src/ and include/."""
        if module is None or not header.startswith(TORCH):
            return None
        if module in UMBRELLAS:
            return f"{module}.h includes public headers only, not {header}"
        sees = self.layers.torch[module]
        if sees == "no":
            return f"{module} sees nothing of LibTorch, and {header} is of it"
        if sees == "c10" and not header.startswith("c10/"):
            return f"{module} sees c10 only, and {header} is of the rest of LibTorch"
        if starts_with_any(header, self.layers.internals) and module not in self.layers.internals_of:
            return f"{header} is the dispatcher's: only {', '.join(self.layers.internals_of)} includes it"
        if public and not starts_with_any(header, self.layers.public):
            if not (module in self.layers.public_torch and header.startswith("torch/")):
                return f"a public header of {module} includes {', '.join(self.layers.public)} at most, not {header}"
        return None

    def about_formatting(self, header: str, first_torch):
        if header.startswith(FORMATTING) and first_torch is not None:
            return f"{header} beside {first_torch}: LibTorch brings a formatting library of its own, keep them apart"
        return None


# ---------------------------------------------------------------- self-test

SELF_TEST_TABLE = """
base       no   -
graph      no   base
memory     c10  base
nn         yes  base
intercept  yes  memory base
engine     yes  intercept memory base   # a comment
train      yes  engine nn base
internals  ATen/core/dispatch/ torch/library.h c10/core/impl/LocalDispatchKeySet.h
internals-of intercept
public     ATen/core/Tensor.h
public-torch nn train
pages engine regions
except src/engine/allowed.cpp torch/library.h  it is needed there, so the test says
"""

# What must pass, all in one tree.
GOOD = {
    "src/engine/allowed.cpp": "#include <torch/library.h>\n",
    "src/engine/a.cpp": '#include "engine/a.h"\n\n#include <neap/engine.h>\n#include <neap/base.h>\n#include <vector>\n'
    '#include "memory/a.h"\n#include <ATen/core/stack.h>\n// #include <neap/train.h>\n/*\n#include "train/a.h"\n*/\n',
    "src/memory/a.h": "#include <neap/export.h>\n#include <c10/core/Allocator.h>\n",
    "src/intercept/a.h": "#include <ATen/core/dispatch/Dispatcher.h>\n",
    "src/graph/a.cpp": '#include "base/a.h"\n#include <fmt/format.h>\n',
    "include/neap/engine.h": "#include <ATen/core/Tensor.h>\n#include <neap/base.h>\n#include <neap/export.h>\n",
    "include/neap/regions.h": "#include <neap/memory.h>\n",
    "include/neap/train.h": "#include <torch/nn/module.h>\n#include <neap/nn.h>\n",
    "include/neap/neap.h": "#include <neap/base.h>\n#include <neap/train.h>\n",
    "include/neap/all.h": "#include <neap/neap.h>\n#include <neap/nn.h>\n",
    "apps/neap/main.cpp": '#include "train.h"\n#include <neap/neap.h>\n#include <CLI/CLI.hpp>\n#include <torch/torch.h>\n',
    "apps/neap/train.h": "",
    "tests/support/a.h": "#include <neap/neap.h>\n",
    "tests/engine/a_test.cpp": '#include "support/a.h"\n#include "engine/a.h"\n#include <ATen/core/dispatch/Dispatcher.h>\n',
}

# Each breaks one rule: file, its text, line of the error, words of its message.
BAD = [
    ("src/memory/b.cpp", '\n#include "engine/a.h"\n', 2, "memory may not include engine"),
    ("src/nn/b.cpp", "#include <neap/memory.h>\n", 1, "nn may not include memory"),
    ("src/base/b.cpp", "#include <neap/graph.h>\n", 1, "base may not include graph: docs/layers.txt allows nothing"),
    ("include/neap/memory.h", "#pragma once\n# include <neap/engine.h>\n", 2, "memory may not include engine"),
    ("include/neap/memory.h", '#include "memory/a.h"\n', 1, "not installed"),
    ("include/neap/memory.h", '#include "detail.h"\n', 1, "in quotes"),
    ("include/neap/regions.h", "#include <neap/nn.h>\n", 1, "engine may not include nn"),
    ("src/memory/b.cpp", "#include <neap/regions.h>\n", 1, "memory may not include engine"),
    ("src/engine/b.cpp", "#include <neap/neap.h>\n", 1, "neap.h, which is for users"),
    ("src/engine/b.cpp", "#include <neap/all.h>\n", 1, "all.h, which is for users"),
    ("include/neap/neap.h", "#include <neap/all.h>\n", 1, "neap includes all.h"),
    ("include/neap/all.h", "#include <torch/torch.h>\n", 1, "all.h includes public headers only"),
    ("src/engine/b.cpp", '#include "a.h"\n', 1, "named from src/ on"),
    ("src/engine/b.cpp", '#include "detail/a.h"\n', 1, "unknown module detail"),
    ("src/engine/b.cpp", "#include <neap/detail.h>\n", 1, "unknown module detail"),
    ("src/engine/b.cpp", "#include <neap/detail/a.h>\n", 1, "no public header"),
    ("src/planner/b.cpp", "", 1, "unknown module planner"),
    ("src/b.cpp", "", 1, "belongs to no module"),
    ("include/neap/planner.h", "", 1, "unknown module planner"),
    ("include/neap/detail/a.h", "", 1, "belongs to no module"),
    ("src/graph/b.cpp", "#include <ATen/core/Tensor.h>\n", 1, "graph sees nothing of LibTorch"),
    ("src/graph/b.cpp", "#include <c10/util/SmallVector.h>\n", 1, "graph sees nothing of LibTorch"),
    ("src/base/b.h", "#include <torch/torch.h>\n", 1, "base sees nothing of LibTorch"),
    ("src/base/b.h", "#include <caffe2/a.h>\n", 1, "base sees nothing of LibTorch"),
    ("src/memory/b.cpp", "#include <ATen/core/Tensor.h>\n", 1, "memory sees c10 only"),
    ("src/engine/b.cpp", "#include <ATen/core/dispatch/Dispatcher.h>\n", 1, "only intercept includes it"),
    ("src/engine/b.cpp", "#include <torch/library.h>\n", 1, "only intercept includes it"),
    ("src/train/b.cpp", "#include <c10/core/impl/LocalDispatchKeySet.h>\n", 1, "only intercept includes it"),
    ("include/neap/intercept.h", "#include <torch/torch.h>\n", 1, "ATen/core/Tensor.h at most"),
    ("include/neap/nn.h", "#include <ATen/ATen.h>\n", 1, "ATen/core/Tensor.h at most"),
    ("include/neap/neap.h", "#include <ATen/core/Tensor.h>\n", 1, "neap.h includes public headers only"),
    ("apps/neap/b.cpp", '#include "engine/a.h"\n', 1, "apps may include public headers only"),
    ("examples/b.cpp", '#include "memory/a.h"\n', 1, "examples may include public headers only"),
    ("bench/micro/b.cpp", '#include "memory/a.h"\n', 1, "bench may include public headers only"),
    ("bench/micro/b.cpp", '#include "elsewhere/a.h"\n', 1, "neither a file of bench/"),
    ("tests/engine/b_test.cpp", '#include "elsewhere/a.h"\n', 1, "neither a file of tests/"),
    ("src/engine/utils/b.cpp", "", 1, "`utils` says nothing"),
    ("tests/helpers/b.cpp", "", 1, "`helpers` says nothing"),
    ("src/engine/common.h", "", 1, "`common` says nothing"),
    ("src/nn/b.cpp", "#include <fmt/format.h>\n#include <torch/torch.h>\n", 1, "keep them apart"),
    ("apps/neap/b.cpp", "#include <torch/torch.h>\n#include <spdlog/spdlog.h>\n", 2, "keep them apart"),
    ("src/engine/allowed.cpp", "", 14, "does not need this exception"),
]

BAD_TABLES = [
    ("base no\n", "a row is"),
    ("base maybe -\n", "a row is"),
    ("engine yes base\nbase no -\n", "no row above"),
    ("base no -\nbase no -\n", "a second row"),
    ("except src/a.cpp torch/torch.h\n", "with a sentence"),
    ("internals-of intercept\n", "has no row"),
    ("base no -\npages base\n", "pages are"),
    ("pages base memory\n", "pages are"),
]


def check_tree(files: dict, table: str = SELF_TEST_TABLE) -> list:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in {**files, "docs/layers.txt": table}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return Check(root, read_layers(root / "docs/layers.txt")).run()


def self_test() -> int:
    failures = []
    found = check_tree(GOOD)
    if found:
        failures.append(f"a tree without errors: {found}")
    for name, text, line, words in BAD:
        found = check_tree({**GOOD, name: text})
        # One mistake, one message: a rule that another covers up, or one that fires twice, shows here.
        # A file in a folder without a name is met twice, once for the folder.
        if not (len(found) == 1 and found[0][1] == line and words in found[0][2]):
            failures.append(f"{name} {text!r}: expected one error at line {line} with `{words}`, found {found}")
    for table, words in BAD_TABLES:
        try:
            check_tree({}, table)
            failures.append(f"table {table!r}: accepted")
        except TableError as error:
            if words not in str(error):
                failures.append(f"table {table!r}: {error}")
    for failure in failures:
        print(f"self-test: {failure}", file=sys.stderr)
    print(f"self-test: {len(BAD) + len(BAD_TABLES) + 1 - len(failures)} of {len(BAD) + len(BAD_TABLES) + 1} as expected")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares each #include with docs/layers.txt.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true", help="check that each rule fires")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    try:
        errors = Check(arguments.root, read_layers(arguments.root / "docs/layers.txt")).run()
    except TableError as error:
        print(error, file=sys.stderr)
        return 1
    for file, line, message in errors:
        print(f"{file}:{line}: {message}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
