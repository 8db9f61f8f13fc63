# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Tables that show themselves: as text, in a notebook, and as a frame of pandas."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of values, and how people read them.

    Attributes
    ----------
    columns
        The names of the columns, with their units.
    rows
        The values.
    texts
        The same cells as people read them.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    texts: Sequence[Sequence[str]]

    def __str__(self) -> str:
        widths = [
            max(len(line[index]) for line in (self.columns, *self.texts))
            for index in range(len(self.columns))
        ]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in (self.columns, *self.texts)
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        body = "".join(line(cells, "td") for cells in self.texts)
        return f"<table><thead>{line(self.columns, 'th')}</thead><tbody>{body}</tbody></table>"

    def to_pandas(self) -> Any:
        """Make a `pandas.DataFrame`. Needs pandas."""
        import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415

        return pd.DataFrame(list(self.rows), columns=list(self.columns))
