"""Figures are drawn whole, without a display, and show what they are given."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceswap_lite.figures import COLORS, Curve, write_line_figure
from faceswap_lite.media.images import read_image

TEXTS: dict[str, Any] = {"title": "A title", "x_label": "step", "y_label": "loss"}


def share_of_color(path: Path, color: str) -> float:
    """The share of pixels that are exactly of a colour (#rrggbb)."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return float((read_image(path) == np.array(rgb, np.uint8)).all(-1).mean())


def test_a_figure_shows_its_curves_and_marks(tmp_path: Path) -> None:
    curves = {"one": Curve([1, 10, 100], [3, 2, 1]), "two": Curve([1, 10, 100], [1, 2, 4])}
    plain, marked = tmp_path / "plain.png", tmp_path / "new" / "marked.png"
    write_line_figure(plain, curves, **TEXTS, log_x=True, log_y=True)
    write_line_figure(marked, curves, **TEXTS, log_x=True, log_y=True, marks={"here": 20})
    assert read_image(plain).shape == (675, 1200, 3)
    for color in COLORS[:2]:
        assert share_of_color(plain, color) > 0.001
    assert share_of_color(plain, COLORS[2]) == 0
    changed = (read_image(plain) != read_image(marked)).any(-1)
    # The mark's dashes go from bottom to top at one place, a third of the figure at least.
    assert changed.sum(0).max() > 675 / 3
    write_line_figure(tmp_path / "again.png", curves, **TEXTS, log_x=True, log_y=True)
    assert (tmp_path / "again.png").read_bytes() == plain.read_bytes()


def test_a_faint_curve_shares_the_colour_of_the_next(tmp_path: Path) -> None:
    curves = {"raw": Curve([0, 1, 2], [0, 3, 1], faint=True), "smooth": Curve([0, 1, 2], [0, 1, 2])}
    write_line_figure(tmp_path / "a.png", curves, **TEXTS)
    assert share_of_color(tmp_path / "a.png", COLORS[0]) > 0.001
    assert share_of_color(tmp_path / "a.png", COLORS[1]) == 0


def test_a_figure_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_line_figure(tmp_path / "a.png", {"odd": Curve([0, 1, 2], [0, 1])}, **TEXTS)
    assert list(tmp_path.iterdir()) == []


def test_drawing_waits_for_no_display_and_loads_nothing_before() -> None:
    code = (
        "import sys, tempfile; from pathlib import Path; "
        "from faceswap_lite.figures import Curve, write_line_figure; "
        "assert 'matplotlib' not in sys.modules; "
        "out = Path(tempfile.mkdtemp()) / 'a.png'; "
        "write_line_figure(out, {'a': Curve([0, 1], [0, 1])}, title='', x_label='', y_label=''); "
        "assert out.is_file() and 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
