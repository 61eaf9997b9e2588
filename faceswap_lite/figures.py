"""Line figures as PNG: curves with labels, drawn without a display."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .outputs import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by the colour-blind too, without their pale yellow.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GRID, INK, QUIET = "#e4e4e4", "#222222", "#777777"

FIGURE_INCHES = (8.0, 4.5)
DOTS_PER_INCH = 150


@dataclass(frozen=True)
class Curve:
    """One line of a figure. `x` and `y` are equally long; NaN leaves a gap."""

    x: Sequence[float | int]
    y: Sequence[float | int]
    faint: bool = False
    """Drawn thin and pale, in the colour of the next curve: the raw values behind a smooth one."""


def write_line_figure(
    path: Path,
    curves: Mapping[str, Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    marks: Mapping[str, float | int] | None = None,
    y_range: tuple[float, float] | None = None,
) -> None:
    """Write a PNG of curves by label, with a dashed upright line at each of `marks`.

    `y_range` cuts off what would squeeze the rest. The file appears whole or not at all.
    """
    # Half a second to load, and only those who draw need it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    color = 0
    for label, curve in curves.items():
        axes.plot(
            curve.x,
            curve.y,
            label=label,
            color=COLORS[color % len(COLORS)],
            linewidth=1.0 if curve.faint else 2.0,
            alpha=0.35 if curve.faint else 1.0,
        )
        color += not curve.faint
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    axes.margins(x=0.02)
    if y_range is not None:
        axes.set_ylim(*y_range)
    for label, x in (marks or {}).items():
        axes.axvline(x, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        # Beside its line, at the top; the legend keeps clear of the curves by itself.
        axes.annotate(
            label, (x, 1), xycoords=("data", "axes fraction"), xytext=(5, -6),
            textcoords="offset points", va="top", color=INK, fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )  # fmt: skip
    dress(axes, title, 12)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=QUIET, which="both")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")


def dress(axes: "Axes", title: str, font_size: int) -> None:
    """The house's look: a bold title at the left, a quiet grid behind, no frame but two edges."""
    axes.set_title(title, loc="left", color=INK, fontsize=font_size, fontweight="bold")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    for spine in ("left", "bottom"):
        axes.spines[spine].set_color(QUIET)
