"""The picture of a coverage: where source and target lie, and what is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures import COLORS, DOTS_PER_INCH, INK, QUIET, dress
from ..outputs import whole_file
from .pose_coverage import KINDS, POSE_CELL_DEG, Coverage, Gap, PoseCoverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = (12.0, 8.6)
_SOURCE, _TARGET, _GAP = COLORS[0], COLORS[1], COLORS[3]
# What a page can hold; the rest is counted.
_GAPS_SHOWN = 7
# The map and the histograms show at least this much, so that small ranges look small.
_MIN_YAW_DEG, _MIN_PITCH_DEG, _MIN_BINS = 40.0, 20.0, 12
# A disc of this many square points stands for the fullest cell of the target.
_FULL_DISC, _MIN_DISC = 260.0, 8.0
_DASHES = (0, (4, 3))
_TITLE: dict[str, Any] = {"loc": "left", "color": INK, "fontsize": 11, "fontweight": "bold"}


def draw_coverage(path: Path, coverage: Coverage) -> None:
    """Write a PNG: the gaps in words, the map of yaw and pitch, a histogram of each attribute.

    The file appears whole or not at all.
    """
    # Half a second to load, and only those who draw need it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=DOTS_PER_INCH)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    [[top], [bottom]] = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.5, 1))
    pose_axes, words_axes = top.subplots(1, 2, width_ratios=(1.3, 1))
    _draw_pose(pose_axes, coverage)
    top.legend(
        handles=_legend(), loc="outside lower left", ncols=4, frameon=False, fontsize=9,
        labelcolor=INK, columnspacing=1.6,
    )  # fmt: skip
    _write_gaps(words_axes, coverage)
    for axes, name in zip(bottom.subplots(1, len(KINDS)), KINDS, strict=True):
        _draw_attribute(axes, name, coverage)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")


def _write_gaps(axes: "Axes", coverage: Coverage) -> None:
    """The largest gaps, each with its share before it, under a heading."""
    axes.axis("off")
    axes.set_title("What the source's faces do not cover", **_TITLE)
    share = float(coverage.outside.mean())
    axes.text(
        0, 0.985, f"{100 * share:.0f} % of the target's {coverage.target_faces} faces lie outside "
        f"the source's {coverage.source_faces}", va="top", color=QUIET, fontsize=9.5,
    )  # fmt: skip
    for row, gap in enumerate(coverage.gaps[:_GAPS_SHOWN]):
        y = 0.89 - row * 0.115
        axes.text(
            0.115, y, f"{100 * gap.share:.0f} %",
            ha="right", va="top", color=_GAP, fontsize=12, fontweight="bold",
        )  # fmt: skip
        axes.text(0.145, y, gap.missing, va="top", color=INK, fontsize=10.5)
        axes.text(0.145, y - 0.048, gap.concerned, va="top", color=QUIET, fontsize=9)
    rest = len(coverage.gaps) - _GAPS_SHOWN
    if not coverage.gaps:
        axes.text(0, 0.89, "No gaps.", va="top", color=INK, fontsize=10.5)
    elif rest > 0:
        axes.text(0.145, 0.07, f"and {rest} smaller", va="top", color=QUIET, fontsize=9)


def _draw_pose(axes: "Axes", coverage: Coverage) -> None:
    """Source: shaded cells; target: a disc in each; gaps: framed. Dashed: the source's limits."""
    _dress(axes, "Head pose")
    axes.set_xlabel("yaw, ° (left −, right +)", color=INK)
    axes.set_ylabel("pitch, ° (down −, up +)", color=INK)
    if coverage.pose is None:
        _say_unknown(axes)
        return
    _draw_cells(axes, coverage.pose)
    limits = [coverage.attributes[name].limits for name in ("yaw_deg", "pitch_deg")]
    (left, right), (low, high) = limits
    axes.plot(
        [left, right, right, left, left], [low, low, high, high, low],
        color=_SOURCE, linewidth=1.5, linestyle=_DASHES, zorder=4,
    )  # fmt: skip


def _draw_cells(axes: "Axes", pose: PoseCoverage) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    shades = LinearSegmentedColormap.from_list("source", ["#ffffff", _SOURCE])
    # Square roots: a cell with a hundredth of the faces is still seen.
    shown = np.sqrt(pose.source.T / max(pose.source.max(), 1))
    axes.pcolormesh(
        pose.yaw_edges, pose.pitch_edges, np.ma.masked_equal(0.12 + 0.68 * shown, 0.12),
        cmap=shades, vmin=0, vmax=1,
    )  # fmt: skip
    half = POSE_CELL_DEG / 2
    yaw, pitch = np.nonzero(pose.target)
    sizes = pose.target[yaw, pitch] / pose.target.max()
    axes.scatter(
        pose.yaw_edges[yaw] + half, pose.pitch_edges[pitch] + half,
        s=np.maximum(_FULL_DISC * sizes, _MIN_DISC), color=_TARGET, edgecolor="white",
        linewidth=0.8, zorder=5,
    )  # fmt: skip
    for i, j in np.argwhere(pose.gaps):
        # Inside its cell, so that neighbours' frames do not hide each other.
        corner = (pose.yaw_edges[i] + 0.35, pose.pitch_edges[j] + 0.35)
        edge = POSE_CELL_DEG - 0.7
        frame = Rectangle(corner, edge, edge, facecolor=_GAP + "38", edgecolor=_GAP, linewidth=1.8)
        axes.add_patch(frame).set_zorder(3)
    x_range = _at_least(pose.yaw_edges, _MIN_YAW_DEG)
    y_range = _at_least(pose.pitch_edges, _MIN_PITCH_DEG)
    axes.set_xticks(np.arange(x_range[0], x_range[1] + 1, POSE_CELL_DEG))
    axes.set_yticks(np.arange(y_range[0], y_range[1] + 1, POSE_CELL_DEG))
    axes.set_xlim(*x_range)
    axes.set_ylim(*y_range)
    # Over the shades: it shows the cells.
    axes.set_axisbelow(False)


def _at_least(edges: np.ndarray, minimum: float) -> tuple[float, float]:
    return min(float(edges[0]), -minimum), max(float(edges[-1]), minimum)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=_SOURCE + "90", edgecolor=_SOURCE, label="source"),
        Line2D([], [], color=_SOURCE, linestyle=_DASHES, label="source's limits"),
        Line2D([], [], color=_TARGET, marker="o", linewidth=2, label="target"),
        Patch(facecolor=_GAP + "38", edgecolor=_GAP, label="the source is missing here"),
    ]


def _draw_attribute(axes: "Axes", name: str, coverage: Coverage) -> None:
    """Both histograms, each as shares of its own set; where there is a gap, its share."""
    kind, attribute = KINDS[name], coverage.attributes.get(name)
    _dress(axes, kind.title.capitalize())
    axes.set_xlabel(kind.unit, color=INK, fontsize=9)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if attribute is None:
        _say_unknown(axes)
        return
    source, target = (c / max(c.sum(), 1) for c in (attribute.source, attribute.target))
    axes.stairs(source, attribute.edges, fill=True, color=_SOURCE, alpha=0.35)
    axes.stairs(source, attribute.edges, color=_SOURCE, linewidth=1.2)
    axes.stairs(target, attribute.edges, color=_TARGET, linewidth=2)
    # Head room for the shares.
    axes.set_ylim(0, 1.3 * max(source.max(), target.max()))
    padding = max(1, _MIN_BINS - len(source)) / 2 * kind.bin
    left, right = attribute.edges[0] - padding, attribute.edges[-1] + padding
    low, high = attribute.limits
    for gap in coverage.gaps:
        if gap.attribute == name:
            _mark_gap(axes, gap, (left, low) if gap.direction == "below" else (right, high))
    axes.set_xlim(left, right)


def _mark_gap(axes: "Axes", gap: Gap, span: tuple[float, float]) -> None:
    """Shade from the edge of the picture to the source's limit, with the share at the edge."""
    edge, limit = span
    axes.axvspan(*sorted(span), facecolor=_GAP + "38", linewidth=0, zorder=0)
    axes.axvline(limit, color=_GAP, linewidth=1.2)
    axes.text(
        edge, 0.98, f" {100 * gap.share:.0f} % ", transform=axes.get_xaxis_transform(),
        ha="left" if edge < limit else "right", va="top",
        color=_GAP, fontsize=11, fontweight="bold",
    )  # fmt: skip


def _say_unknown(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color=QUIET)
    axes.set_xticks([])
    axes.set_yticks([])


def _dress(axes: "Axes", title: str) -> None:
    dress(axes, title, 11)
    axes.tick_params(colors=QUIET, labelsize=9)
