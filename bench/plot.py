"""The ladder as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.ladder import Kind, Way

_COLOURS = {Kind.BASELINE: "#b0b7c3", Kind.BULKLOAD: "#2f6fb3", Kind.FLOOR: "#7a9e5f"}


def draw(file: Path, ways: Sequence[Way], milliseconds: Mapping[str, float], title: str) -> None:
    """A bar a way, the milliseconds of a record on a logarithmic scale; ways that were not run are left out."""
    shown = [way for way in ways if way.name in milliseconds]
    figure = Figure(figsize=(9, 0.45 * len(shown) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kind, colour in _COLOURS.items():
        places = [place for place, way in enumerate(shown) if way.kind is kind]
        bars = axes.barh(places, [milliseconds[shown[place].name] for place in places], color=colour, label=kind.value)
        axes.bar_label(bars, fmt="{:.3g} ms", padding=3)
    axes.set_yticks(range(len(shown)), [way.label for way in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("milliseconds a record (log scale)")
    axes.set_title(title, loc="left")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)
