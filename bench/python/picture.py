# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Draw what side_by_side.py measured, a panel for each model: `picture.py FILE.csv FILE.svg`.

The same figures give the same bytes, so that the picture changes only with them.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

COLUMNS = 2
WIDTH = 830 / 96  # inches: of a page of GitHub, where an inch has 96 pixels
ROW_HEIGHT = 260 / 96
FOOT = 46 / 96
INK, QUIET, GRID = "#24292f", "#6e7781", "#e4e6e9"
NEAP, OFFLOADING, PYTORCH = "#0a58ca", "#0b7a55", "#b3400b"

TITLES = {
    "resnet": "ResNet",
    "gpt": "GPT",
    "lstm": "LSTM of cells",
    "mlp": "MLP",
    "unet": "U-Net",
    "llama": "Llama, 100 million parameters",
    "gpt2": "GPT-2",
}
SHORT = {
    "checkpoint per block": "checkpoint",
    "torch_remat per block": "torch_remat",
    "selective checkpoint": "selective",
    "torch.compile": "compile",
    "torch.compile, activation budget 0.5": "compile, budget 0.5",
    "torch.compile by blocks": "compile by blocks",
    "saved-tensor hooks to files": "hooks to files",
}
LADDERS = [
    [n / 10 for n in range(3, 101)],
    [n / 5 for n in range(2, 101)],
    [n / 2 for n in range(1, 101)],
    [0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000],
]
"""Ticks of time; the first of them that are not too narrow are taken."""

RADII = (10, 14, 21, 30, 41, 54, 69, 86, 105)  # how far a label may be from its point, in pixels
ANGLES = [math.radians(15 * n) for n in range(24)]
FINE = 4  # labels are measured so many times larger, where hinting of letters does not matter
LEADER = 12  # a label that is further away has a line to its point


@dataclass(frozen=True)
class Point:
    """A way of a model, as it is drawn."""

    way: str
    share: float
    time: float

    @property
    def kind(self) -> str:
        if self.way == "plain":
            return "plain"
        if not self.way.startswith("neap"):
            return "PyTorch's ways"
        if "compiled" in self.way:
            return "neap, compiled"
        return "neap, offloading" if "offloading" in self.way else "neap"

    @property
    def waits(self) -> bool:
        """Whether it waits for files, while threads of its own may copy for it."""
        return "files" in self.way or "offloading" in self.way

    @property
    def label(self) -> str:
        return "neap, compiled" if self.kind == "neap, compiled" else SHORT.get(self.way, self.way)


COLORS = {
    "plain": INK,
    "PyTorch's ways": PYTORCH,
    "neap": NEAP,
    "neap, compiled": NEAP,
    "neap, offloading": OFFLOADING,
}


def _median(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


def read(path: Path) -> dict[str, list[Point]]:
    """The points of each model, in the order of the file."""
    models: dict[str, list[Point]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            share, way = float(row["peak"].rstrip(" %")), row["way"]
            point = Point(way, share, _median(row["processor time: median (least)"]))
            if point.waits:
                point = Point(way, share, _median(row["wall time"]))
            models.setdefault(row["model"], []).append(point)
    return models


Place = tuple[float, float]


def _crosses(box: Bbox, start: Place, end: Place) -> bool:
    steps = 64
    return any(
        box.contains(
            start[0] + (end[0] - start[0]) * n / steps, start[1] + (end[1] - start[1]) * n / steps
        )
        for n in range(steps + 1)
    )


def _nearest(box: Bbox, at: Place) -> Place:
    return min(max(at[0], box.x0), box.x1), min(max(at[1], box.y0), box.y1)


@dataclass(frozen=True)
class Spot:
    """Where a label may be."""

    radius: int
    side: str  # of the box, that looks at the point
    box: Bbox


class Labels:
    """Places labels beside points, so that no label covers a point, a line or another one.

    All is counted in pixels.
    """

    def __init__(self, axes: Axes, points: list[Point]) -> None:
        self.axes = axes
        self.room = self._in_pixels(axes.get_window_extent()).padded(-3)
        self.places = {point: self._place(point) for point in points}
        self.boxes: list[Bbox] = []
        self.leaders: list[tuple[Place, Place]] = []
        self.lines: list[tuple[Place, Place]] = []

    @staticmethod
    def _in_pixels(box: Bbox) -> Bbox:
        return Bbox(box.get_points() / FINE)

    def _place(self, point: Point) -> Place:
        x, y = self.axes.transData.transform((point.share, point.time)) / FINE
        return float(x), float(y)

    def _in_data(self, place: Place) -> Place:
        x, y = self.axes.transData.inverted().transform((place[0] * FINE, place[1] * FINE))
        return float(x), float(y)

    def keep_off(self, line: list[Point]) -> None:
        """Lay no label on this line."""
        self.lines += list(itertools.pairwise(self._place(point) for point in line))

    @staticmethod
    def _spots(at: Place, width: float, height: float) -> Iterator[Spot]:
        for radius in RADII:
            for angle in ANGLES:
                cos, sin = math.cos(angle), math.sin(angle)
                near = (at[0] + radius * cos, at[1] + radius * sin)
                box = Bbox.from_bounds(
                    near[0] - width * (1 - cos) / 2, near[1] - height * (1 - sin) / 2, width, height
                )
                side = "left" if cos > 0.5 else "right" if cos < -0.5 else "center"
                yield Spot(radius, side, box)

    def _cost(self, own: Point, spot: Spot) -> tuple[int, float]:
        at, box, wide = self.places[own], spot.box, spot.box.padded(2)
        inside = self.room.contains(*box.min) and self.room.contains(*box.max)
        hits = 0 if inside else 100
        hits += 50 * sum(wide.overlaps(other) for other in self.boxes)
        hits += 10 * sum(_crosses(wide, *leader) for leader in self.leaders)
        hits += 5 * sum(box.padded(4).contains(*place) for place in self.places.values())
        hits += 2 * any(_crosses(wide, *line) for line in self.lines)
        if spot.radius > LEADER:
            end = _nearest(box, at)
            dots = [Bbox([place, place]).padded(4) for place in self.places.values()]
            hits += 10 * sum(_crosses(other.padded(1), at, end) for other in self.boxes)
            hits += 20 * sum(_crosses(dot, at, end) for dot in dots if not dot.contains(*at))
        centre = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        crowd = sum(20 / max(20, math.dist(centre, place)) for place in self.places.values())
        return hits, spot.radius + 2 * crowd

    def add(self, point: Point) -> None:
        """Write the label of a point."""
        color = COLORS[point.kind]
        text = self.axes.text(0, 1, point.label, size=7.5, color=color, va="bottom", zorder=5)
        extent = self._in_pixels(text.get_window_extent())
        at = self.places[point]
        spots = self._spots(at, extent.width, extent.height)
        spot = min(spots, key=lambda one: self._cost(point, one))
        box = spot.box
        self.boxes.append(box)
        # Another font may be narrower: the side that looks at the point stays.
        text.set_horizontalalignment(spot.side)
        x = {"left": box.x0, "right": box.x1, "center": (box.x0 + box.x1) / 2}[spot.side]
        text.set_position(self._in_data((x, box.y0)))
        if spot.radius > LEADER:
            end = _nearest(box, at)
            self.leaders.append((at, end))
            xs, ys = zip(*[self._in_data(place) for place in (at, end)], strict=True)
            self.axes.plot(xs, ys, color=color, linewidth=0.6, alpha=0.6, zorder=2)


def _ticks(low: float, high: float) -> list[float]:
    ladders = [[tick for tick in ladder if low <= tick <= high] for ladder in LADDERS]
    for ladder in ladders:
        gaps = (math.log(after / before) for before, after in itertools.pairwise(ladder))
        if min(gaps, default=0.0) > 0.075 * math.log(high / low):
            return ladder
    return ladders[-1]


def _limits(axes: Axes, points: list[Point]) -> None:
    least, most = min(point.time for point in points), max(point.time for point in points)
    low, high = min(least / 1.09, 0.94), max(most * 1.12, 1.5)
    axes.set_xlim(0, max(108.0, *(point.share + 8 for point in points)))
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(FixedLocator(range(0, 201, 20)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))


def panel(axes: Axes, model: str, points: list[Point]) -> None:
    """Draw one model."""
    axes.set_title(TITLES.get(model, model), loc="left", size=9, weight="bold", color=INK)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=7.5, length=0, colors=QUIET)
    _limits(axes, points)
    labels = Labels(axes, points)
    labels.keep_off([Point("", 0, 1), Point("", 200, 1)])
    axes.axhline(1, color=QUIET, linewidth=0.8, zorder=1)
    for kind in ("neap", "neap, offloading"):
        line = sorted((p for p in points if p.kind == kind), key=lambda p: (p.share, -p.time))
        labels.keep_off(line)
        xs, ys = [point.share for point in line], [point.time for point in line]
        axes.plot(xs, ys, color=COLORS[kind], linewidth=1.8, marker="o", markersize=4, zorder=4)
    single = [point for point in points if point.kind not in {"neap", "neap, offloading"}]
    for point in single:
        axes.plot(
            [point.share],
            [point.time],
            color=COLORS[point.kind],
            marker="s" if point.kind == "PyTorch's ways" else "o",
            markerfacecolor="white" if point.kind == "neap, compiled" else COLORS[point.kind],
            markersize=4.5,
            zorder=3,
        )
    # From the right, where most of them are, and from above.
    for point in sorted(single, key=lambda one: (-one.share, -one.time, one.way)):
        labels.add(point)


def _legend(figure: Figure, models: dict[str, list[Point]]) -> None:
    kinds = {point.kind for points in models.values() for point in points}
    names = {
        "neap": "neap, a point for each budget",
        "neap, offloading": "neap, offloading",
        "PyTorch's ways": "PyTorch's ways",
    }
    handles = [
        Line2D(
            [],
            [],
            color=COLORS[kind],
            marker="s" if kind == "PyTorch's ways" else "o",
            markersize=4.5,
            linewidth=0 if kind == "PyTorch's ways" else 1.8,
            label=name,
        )
        for kind, name in names.items()
        if kind in kinds
    ]
    inch = 1 / figure.get_figheight()
    figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(0.5, 0.15 * inch),
        ncols=len(handles),
        frameon=False,
        fontsize=8.25,
        labelcolor=INK,
    )
    said = "Peak as a share of the plain step's; lower and further left is better."
    if any(point.waits for points in models.values() for point in points):
        said += " Time of the processor; of the wall where a way offloads."
    figure.text(0.5, 0.31 * inch, said, size=8.25, color=QUIET, ha="center")


def draw(models: dict[str, list[Point]]) -> Figure:
    """All panels."""
    rows = math.ceil(len(models) / COLUMNS)
    height = rows * ROW_HEIGHT + FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=96 * FINE, facecolor="white")
    FigureCanvasAgg(figure)  # measures the labels
    left, right, gap = 0.062, 0.99, 0.075
    width = (right - left - gap * (COLUMNS - 1)) / COLUMNS
    for number, (model, points) in enumerate(models.items()):
        row, column = divmod(number, COLUMNS)
        top = height - row * ROW_HEIGHT - 0.3
        bottom = top - ROW_HEIGHT + 0.3 + 0.26
        place = (left + column * (width + gap), bottom / height, width, (top - bottom) / height)
        axes = figure.add_axes(place)
        panel(axes, model, points)
        if column == 0:
            axes.set_ylabel("times the plain step", size=7.5, color=QUIET)
    _legend(figure, models)
    return figure


def main(source: str, target: str) -> None:
    """Read figures, and write the picture when it is whole."""
    models = read(Path(source))
    if not models:
        sys.exit(f"{source}: no figures are in it: write it by side_by_side.py --csv")
    written = io.BytesIO()
    about = {"Date": None, "Creator": None, "Title": "Time of a training step against its memory"}
    # Letters stay letters: a reader can search them, and the file is a fraction as large.
    letters = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"]}
    with mpl.rc_context({"svg.hashsalt": "neap", **letters}):
        draw(models).savefig(written, format="svg", metadata=about)
    Path(target).write_bytes(written.getvalue())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("picture.py FILE.csv FILE.svg")
    main(*sys.argv[1:])
