#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Each C++ block of README.md and docs/ stands, line for line, in a file that is compiled and run; each file and each
`make` target that they name exists; so does each
test that docs/parity.md claims, and each function of the walk in docs/design.md."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


MOST_STOPS = 12


def walk_errors(text: str) -> list:
    """What is wrong with the walk of docs/design.md: each stop names a function that its file defines."""
    errors = []
    stops = re.findall(r"^(\d+)\. `(\w+)::(\w+)` \(`([^`]+)`\)", text, re.MULTILINE)
    if [int(number) for number, *_ in stops] != list(range(1, len(stops) + 1)) or not 0 < len(stops) <= MOST_STOPS:
        errors.append(f"docs/design.md: a walk of {len(stops)} stops, expected 1 to {MOST_STOPS} in order")
    for _, owner, function, file in stops:
        path = ROOT / file
        if not path.exists() or not re.search(rf"\b{owner}::{function}\(", path.read_text()):
            errors.append(f"docs/design.md: {file} does not define {owner}::{function}")
    return errors


def main() -> int:
    errors = []
    compiled = [path.read_text() for folder in ("examples", "tests", "bench")
                for path in sorted((ROOT / folder).rglob("*.cpp"))]
    # Indentation may differ: a block shows the inside of a function.
    flat = ["\n".join(line.strip() for line in text.splitlines()) for text in compiled]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    for page in pages + sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text()
        name = page.relative_to(ROOT)
        for block in re.findall(r"```cpp\n(.*?)```", text, re.DOTALL):
            wanted = "\n".join(line.strip() for line in block.strip().splitlines())
            if not any(wanted in file for file in flat):
                errors.append(f"{name}: this block is compiled nowhere:\n{block}")
        for target in re.findall(r"\bmake ([a-z][a-z-]*)\b(?=[^a-z-]*`|\s*#|\s+[A-Z_]+=)", text):
            if target not in targets:
                errors.append(f"{name}: `make {target}` is no target of the Makefile")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            if not (page.parent / link).exists():
                errors.append(f"{name}: links to {link}, which is not there")
    errors += walk_errors((ROOT / "docs" / "design.md").read_text())
    parity = "".join(path.read_text() for path in (ROOT / "tests" / "parity").glob("*.cpp"))
    for case in re.findall(r"^\| `(\w+)[^|]*\| same name", (ROOT / "docs" / "parity.md").read_text(), re.MULTILINE):
        if f", {case}" not in parity:
            errors.append(f"docs/parity.md: {case} is no test in tests/parity")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
