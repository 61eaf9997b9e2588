"""The report's page is one file that needs nothing else, and its controls do what they say."""

import base64
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Page
from PIL import Image

from faceswap_lite.actors.cast import find_actor
from faceswap_lite.actors.performance import random_performance
from faceswap_lite.actors.render import render_actor
from faceswap_lite.curation.pose_coverage import Attributes, coverage
from faceswap_lite.evaluation.memorisation import MontageRow
from faceswap_lite.evaluation.report_page import ResultPictures, Shot, write_report_page
from faceswap_lite.figures import COLORS

# What the page promises for 60 frames in pictures.
LIMIT_BYTES = 15_000_000

HOSTILE = [
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken=2'>",
    "<!-- <script>",
    "{{data}} {{blue}}",
    "\"quoted\" & 'so' \\u003c \\",
    "line\u2028separator\u2029",
    "__proto__",
    "顔",
    "\udcff",
]

FRAMES = 250
ATTRIBUTES = ("yaw_deg", "pitch_deg", "mouth", "eyes", "brightness", "hue_deg")


# ---- A report as `evaluate` would write it -------------------------------------------------


def metric(name: str, title: str, unit: str, better: str | None, group: str, note: str) -> dict:
    return {
        "name": name, "title": title, "unit": unit, "better": better, "group": group, "note": note,
    }  # fmt: skip


METRICS = [
    metric("seen_psnr_db", "PSNR, seen", "dB", "higher", "reconstruction", "faces of training"),
    metric("heldout_psnr_db", "PSNR, unseen", "dB", "higher", "reconstruction",
           "inside the mask, on faces that training never saw"),
    metric("heldout_ssim", "SSIM, unseen", "", "one", "reconstruction", "structure, in the mask"),
    metric("generalization_gap_db", "Gap, seen less unseen", "dB", "zero", "reconstruction",
           "what was learned holds on unseen frames"),
    metric("identity_margin_positive", "Nearer to the source", "share", "higher", "identity",
           "frames nearer to the source's mean than to the target's"),
    metric("identity_top1", "Nearest of all known faces", "share", "higher", "identity",
           "frames whose nearest face among all known sets is one of the source"),
    metric("pose_error_deg", "Pose error", "\u00b0", "lower", "pose",
           "length of the yaw, pitch and roll errors together"),
    metric("yaw_noise_deg", "The estimator's own noise, yaw", "\u00b0", None, "pose",
           "errors near it say nothing"),
    metric("yaw_correlation", "Yaw correlation", "", "one", "pose", "follows the target's turns"),
    metric("mouth_correlation", "Mouth correlation", "", "one", "expression",
           "opens when the target's does"),
    metric("mouth_spread_ratio", "Mouth spread ratio", "", "one", "expression",
           "below 1: it opens less than the target's"),
    metric("seam_delta_e", "Seam", "\u0394E", "lower", "blending", "colour step across the edge"),
    metric("flicker_ratio", "Flicker ratio", "", "one", "time",
           "steps of colour from frame to frame, by the target's own"),
    metric("sharpness_ratio", "Sharpness ratio", "", "one", "time", "a blurred swap flickers less"),
    metric("truth_psnr_db", "PSNR to the true swap", "dB", "higher", "truth", "actors only"),
    metric("heldout_lpips", "LPIPS", "", "lower", "perceptual", "learned distance"),
]  # fmt: skip

VALUES = {
    "seen_psnr_db": (31.2, 30.8, 31.6), "heldout_psnr_db": (28.4, 27.9, 28.9),
    "heldout_ssim": (0.913, 0.901, 0.922), "generalization_gap_db": (2.8, 2.2, 3.3),
    "identity_margin_positive": (0.98, 0.95, 1.0), "identity_top1": (0.93, 0.88, 0.97),
    "pose_error_deg": (2.31, 2.02, 2.7), "yaw_noise_deg": (1.4, 1.3, 1.5),
    "yaw_correlation": (0.981, 0.972, 0.988),
    "mouth_correlation": (0.74, 0.66, 0.81), "mouth_spread_ratio": (0.71, 0.64, 0.77),
    "seam_delta_e": (2.12, 1.9, 2.3), "flicker_ratio": (1.14, 1.05, 1.24),
    "sharpness_ratio": (0.82, 0.79, 0.86),
}  # fmt: skip
UNKNOWN = {
    "truth_psnr_db": "the clip has no true swap (not a rendered actor)",
    "heldout_lpips": "no weights given: pass --lpips-weights FILE",
}
VERDICTS = [
    {
        "kind": "data_limited",
        "sentence": "More training will not open the mouth wider: the source never does.",
        "evidence": [
            "held-out loss has not fallen by more than 1 % since step 9,000",
            "no source mouth opens beyond 0.21 eye distances; 14 % of the target's do",
            "mouth spread ratio 0.71 (0.64 to 0.77), on covered frames 0.96",
        ],
        "advice": "Add source footage in which the mouth opens wide, then train 3,000 steps more.",
    },
    {
        "kind": "still_improving",
        "sentence": "Still improving: go on for about 6,000 steps.",
        "evidence": ["held-out loss falls by 4.1 % each 1,000 steps"],
        "advice": "Resume the run with --set training.steps=18000.",
    },
    {
        "kind": "over_fitting",
        "sentence": "Over-fitting since step 7,500: use the checkpoint of that step.",
        "evidence": ["held-out loss has risen by 6 % since, seen loss falls on"],
        "advice": "Convert with the best checkpoint, or add faces.",
    },
    {
        "kind": "out_of_range",
        "sentence": "The clip is darker than anything that the run was trained on.",
        "evidence": ["brightness 0.12, training from 0.31"],
        "advice": "Brighten the clip, or train on darker footage.",
    },
]


def walk(rng: np.random.Generator, spread: float, middle: float = 0.0) -> np.ndarray:
    steps = np.convolve(rng.normal(0, 1, FRAMES + 40).cumsum(), np.ones(9) / 9, "same")[20:-20]
    steps = steps - steps.mean()
    return middle + spread * steps / max(float(np.abs(steps).max()), 1e-9)


def a_series(seed: int) -> dict[str, list[float | None]]:
    rng = np.random.default_rng(seed)
    yaw, pitch, mouth = walk(rng, 38), walk(rng, 12), np.abs(walk(rng, 0.4))
    error = 26 + 0.09 * np.abs(yaw) + rng.normal(0, 0.4, FRAMES)
    series = {
        "psnr_db": 57 - error, "expected_error_db": error,
        "yaw_deg": 0.94 * yaw + rng.normal(0, 1.2, FRAMES), "target_yaw_deg": yaw,
        "pitch_deg": pitch + rng.normal(0, 1, FRAMES), "target_pitch_deg": pitch,
        "mouth": 0.7 * mouth + rng.normal(0, 0.01, FRAMES), "target_mouth": mouth,
        "eyes": 0.3 + rng.normal(0, 0.03, FRAMES), "target_eyes": 0.31 + walk(rng, 0.05),
        "sharpness": 0.8 + walk(rng, 0.1), "seam_delta_e": 2 + walk(rng, 0.8),
        "to_source": 0.42 + walk(rng, 0.1), "to_target": 0.98 + walk(rng, 0.1),
        "trusted": (np.abs(yaw) < 27).astype(float),
    }  # fmt: skip
    lists: dict[str, list[float | None]] = {n: [*map(float, v)] for n, v in series.items()}
    # A face that was not found, and one frame alone between two such.
    for name in ("yaw_deg", "mouth", "psnr_db", "to_source"):
        lists[name][60:72] = [None] * 12
        lists[name][66] = lists[name][59]
    return lists


def a_history(seed: int) -> dict[str, Any]:
    step = np.arange(0, 12_001, 500)
    rng = np.random.default_rng(seed)

    def falling(high: float, low: float, rise: float = 0.0) -> list[float]:
        curve = low + (high - low) * np.exp(-step / 2500) + rise * (step / 12_000) ** 3
        return [*map(float, curve + rng.normal(0, 0.01 * abs(high - low), len(step)))]

    return {
        "step": step.tolist(),
        "heldout_source": falling(2.4, 0.62, 0.08), "heldout_target": falling(2.2, 0.55),
        "seen_source_psnr_db": falling(14, 32), "heldout_source_psnr_db": falling(14, 28.4, -0.5),
        "seen_target_psnr_db": falling(15, 33), "heldout_target_psnr_db": falling(15, 30.2),
        "best_step": 9000,
    }  # fmt: skip


def a_bias(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    bias: dict[str, Any] = {}
    for name in ATTRIBUTES[:5]:
        given = rng.normal(0, 10, 600)
        made = 0.8 * given + rng.normal(1, 2, 600)
        edges = np.linspace(-35, 35, 25)
        bias[name] = {
            "mean_shift": float(made.mean() - given.mean()), "slope": 0.79,
            "spread_ratio": float(made.std() / given.std()), "wasserstein": 1.9,
            "edges": edges.tolist(), "inputs": np.histogram(given, edges)[0].tolist(),
            "outputs": np.histogram(made, edges)[0].tolist(), "reason": None,
        }  # fmt: skip
    bias["hue_deg"] = {
        **dict.fromkeys(bias["mouth"], None), "edges": [], "inputs": [], "outputs": [],
        "reason": "grey faces have no hue",
    }  # fmt: skip
    return bias


def a_coverage(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def faces(count: int, shift: float) -> Attributes:
        return Attributes(
            yaw_deg=rng.normal(shift, 12, count), pitch_deg=rng.normal(2, 6, count),
            mouth=np.abs(rng.normal(0.02, 0.08 + shift / 150, count)),
            eyes=rng.normal(0.3, 0.04, count), light=rng.normal(0.5, 0.08, count),
        )  # fmt: skip

    return coverage(faces(800, 0), faces(FRAMES, 14)).to_json()


def a_result(run: int, clip: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    series = a_series(seed)
    values = {
        name: {
            "value": value + (shift := -abs(float(rng.normal(0, 0.02 * abs(value))))),
            "low": low + shift, "high": high + shift, "reason": None,
        }
        for name, (value, low, high) in VALUES.items()
    }  # fmt: skip
    unknown = {
        name: {"value": None, "low": None, "high": None, "reason": reason}
        for name, reason in UNKNOWN.items()
    }
    return {
        "run": run, "clip": clip, "verdict": VERDICTS[seed % len(VERDICTS)],
        "metrics": values | unknown,
        "frames": {
            "index": list(range(FRAMES)), "time_s": [i / 25 for i in range(FRAMES)],
            "series": series,
        },
        "trust": {
            "share": float(np.mean(np.array(series["trusted"], float))), "bound_db": 2.0,
            "within_bound_share": 0.81, "spearman": 0.64,
            "outside": [{"words": "yaw beyond 27\u00b0 right", "share": 0.12},
                        {"words": "mouth wider than 0.21 eye distances", "share": 0.07}],
            "worst": [121, 122, 40, 200],
        },
        "memorisation": {
            "score": 0.81, "verdict": "generalises", "generalising_share": 0.83,
            "distance_ratio": 0.94, "outside_training_range": None,
            "inside_training_range": {"frames": 200, "generalising_share": 0.9},
            "errors": {"own": 0.031}, "retrieval": None, "interpolation": {"diversity": 0.68},
            "per_frame": {"to_own": [0.1, 0.2]}, "reasons": {"retrieval": "no judge of faces"},
        },
        "bias": {"rebuilt": a_bias(seed), "swapped": a_bias(seed + 50)},
        "coverage": a_coverage(seed),
    }  # fmt: skip


def a_report(runs: int = 2, clips: int = 2) -> dict[str, Any]:
    names = ["franck_grid_quick64", "franck_grid_noaug", "third"]
    pairs = [(run, clip) for run in range(runs) for clip in range(clips)]
    compared = {
        name: {
            "difference": difference, "low": difference - spread, "high": difference + spread,
            "better": ("b" if difference > 0 else "a") if abs(difference) > spread else None,
            "real": abs(difference) > spread,
        }
        for name, difference, spread in [
            ("heldout_psnr_db", -1.4, 0.5), ("identity_margin_positive", 0.01, 0.03),
            ("mouth_correlation", 0.09, 0.05), ("pose_error_deg", -0.1, 0.3),
        ]
    }  # fmt: skip
    return {
        "schema": 2, "tool": "faceswap_lite 0.1.0", "job": "0123456789abcdef",
        "settings": {"evaluation": {"bootstrap": 1000, "block_s": 1.0, "kinds": ["a", "b"]}},
        "runs": [
            {
                "name": names[run], "path": f"runs/{names[run]}", "step": 12_000,
                "weights": "step_012000.safetensors", "architecture": "df 64 px",
                "source": {"name": "franck", "faces": 812},
                "target": {"name": "grid", "faces": 640},
                "history": a_history(run),
            }
            for run in range(runs)
        ],
        "clips": [
            {
                "name": f"grid_s1_eval_{clip + 1}.mp4",
                "path": f"clips/grid_s1_eval_{clip + 1}.mp4",
                "sha256": "ab" * 32, "frames": FRAMES, "faces": FRAMES, "rate": 25.0,
                "actor": False,
            }
            for clip in range(clips)
        ],
        "metrics": METRICS,
        "results": [a_result(run, clip, 2 * run + clip) for run, clip in pairs],
        "comparisons": [
            {"clip": clip, "a": 0, "b": 1, "metrics": compared}
            for clip in range(clips) if runs > 1
        ],
    }  # fmt: skip


@lru_cache
def rendered(place: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame of one actor, the same with the other's face, and where it lies."""
    state = random_performance(FRAMES, 25, 3)[place * 17 % FRAMES]
    mine, other = find_actor("random:1"), find_actor("random:2")
    target = render_actor(mine, state, size, background=1)
    swap = render_actor(mine, state, size, background=1, face_of=other)
    mask = np.round(255 * np.clip(swap.face_mask, 0, 1)).astype(np.uint8)
    return target.image, cv2.GaussianBlur(swap.image, (0, 0), 1.0).astype(np.uint8), mask


def some_pictures(
    report: dict[str, Any], count: int = 12, size: int = 192, distinct: int = 8
) -> list[ResultPictures]:
    made = []
    for result in report["results"]:
        series = result["frames"]["series"]
        frames = np.linspace(0, FRAMES - 1, count).astype(int)
        shots = []
        for place, frame in enumerate(map(int, frames)):
            target, swap, mask = rendered(place % distinct, size)
            numbers = {
                name: math.nan if series[name][frame] is None else float(series[name][frame])
                for name in ("psnr_db", "expected_error_db", "to_source", "trusted")
            }
            crop = np.ascontiguousarray(target[size // 6 : -size // 6, size // 6 : -size // 6])
            shots.append(Shot(frame, frame / 25, target, swap, mask, crop, numbers))
        rows = [
            MontageRow(
                shot.frame,
                {
                    "output": shot.rebuilt, "nearest by pixels": shots[0].rebuilt,
                    "nearest by embedding": shots[1].rebuilt, "nearest by code": shots[2].rebuilt,
                    "true face": shot.rebuilt,
                },
                "nearer to its true face (0.08) than to any of training (0.13)",
            )
            for shot in shots[:4]
        ]  # fmt: skip
        order = sorted(range(count), key=lambda i: series["expected_error_db"][int(frames[i])])
        best, median, worst = (order[0], order[count // 2], order[-1]) if count else (0, 0, 0)
        made.append(ResultPictures(shots, best, median, worst, rows))
    return made


class Elements(HTMLParser):
    """All elements' attributes by tag, and the text of the first <script>."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.scripts and self.attributes[-1][0] == "script":
            self.scripts[-1] += data


def parse(path: Path) -> Elements:
    elements = Elements()
    elements.feed(path.read_text(encoding="utf-8"))
    elements.close()
    return elements


def data_of(path: Path) -> dict[str, Any]:
    return json.loads(parse(path).scripts[0])


# ---- The file -----------------------------------------------------------------------------


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    report = a_report()
    write_report_page(page, report, some_pictures(report, 3, 64))
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|//[a-z0-9-]+\.[a-z]", text)
    linked = [(tag, name) for tag, have in parse(page).attributes for name in ("src", "href")
              if name in have]  # fmt: skip
    assert linked == []
    policy = [have["content"] for _, have in parse(page).attributes if "http-equiv" in have]
    assert policy[0] is not None and policy[0].startswith("default-src 'none'")
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    assert "{{" not in text.split('<script type="application/json"')[0]
    assert all(color in text for color in COLORS[:6])


def test_the_report_and_its_pictures_are_in_the_page(tmp_path: Path) -> None:
    report = a_report(1, 1)
    given = some_pictures(report, 3, 160)
    given[0] = replace(given[0], best=2, median=0, worst=1)
    write_report_page(tmp_path / "report.html", report, given)
    data = data_of(tmp_path / "report.html")
    found = data["report"]["results"][0]
    assert found["verdict"] == report["results"][0]["verdict"]
    assert found["metrics"]["identity_margin_positive"]["value"] == pytest.approx(
        report["results"][0]["metrics"]["identity_margin_positive"]["value"], rel=1e-5
    )
    album = data["albums"][0]
    assert (album["best"], album["median"], album["worst"]) == (2, 0, 1)
    # A number that is not known is none, and the frame stays.
    numbers = [shot["numbers"]["psnr_db"] for shot in album["shots"]]
    for number, shot in zip(numbers, given[0].shots, strict=True):
        expected = shot.numbers["psnr_db"]
        assert number is None if math.isnan(expected) else number == pytest.approx(expected, 1e-4)
    for shot, kept in zip(album["shots"], given[0].shots, strict=True):
        for kind in ("target", "swap", "mask", "rebuilt"):
            shown, pixels = decode(data, shot[kind]), getattr(kept, kind)
            assert shown.shape == pixels.shape
            # JPEG's loss on such pictures is a few grey levels.
            assert np.abs(shown.astype(int) - pixels).mean() < 5
    titles = [title for title, _ in album["montage"][0]["pictures"]]
    assert titles == [
        "output", "nearest by pixels", "nearest by embedding", "nearest by code", "true face",
    ]  # fmt: skip


def decode(data: dict[str, Any], place: int) -> np.ndarray:
    file = base64.b64decode(data["pictures"][place], validate=True)
    return np.asarray(Image.open(io.BytesIO(file)))


def hostile_report(name: str) -> dict[str, Any]:
    """A report in which every text that comes from outside is `name`."""
    report = a_report(2, 1)
    for run in report["runs"]:
        run["name"] = run["path"] = run["source"]["name"] = run["weights"] = name
    report["clips"][0]["name"] = report["clips"][0]["path"] = name
    report["settings"] = {name: {"x": name}}
    for result in report["results"]:
        result["verdict"] = {"kind": name, "sentence": name, "evidence": [name], "advice": name}
        result["metrics"]["heldout_lpips"]["reason"] = name
        result["coverage"]["gaps"] = [{"words": name, "share": 0.2}]
        result["bias"]["rebuilt"]["hue_deg"]["reason"] = name
    return report


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_text(tmp_path: Path, name: str) -> None:
    page, plain = tmp_path / "report.html", tmp_path / "plain.html"
    for path, report in ((page, hostile_report(name)), (plain, hostile_report("a"))):
        write_report_page(path, report, some_pictures(report, 3, 64))
    # The same elements as with a harmless name: nothing has ended or begun one.
    assert parse(page).attributes == parse(plain).attributes
    data = data_of(page)["report"]
    assert data["runs"][0]["name"] == data["results"][0]["verdict"]["sentence"] == name


def test_sixty_frames_stay_small_and_sharp(tmp_path: Path) -> None:
    for runs, clips, sharp in ((1, 1, True), (3, 3, False)):
        report = a_report(runs, clips)
        report["results"] = report["results"][: runs * clips]
        page = tmp_path / f"{runs}.html"
        write_report_page(page, report, some_pictures(report, 60, 256, distinct=4))
        assert page.stat().st_size < LIMIT_BYTES
        data = data_of(page)
        side = decode(data, data["albums"][0]["shots"][0]["swap"]).shape[0]
        assert side == 256 if sharp else 96 <= side < 256


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = [tmp_path / name for name in ("one.html", "two.html")]
    for page in pages:
        report = a_report(1, 1)
        write_report_page(page, report, some_pictures(report, 3, 64))
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    report = a_report(1, 1)
    with pytest.raises(ValueError, match="1 results, but pictures of 0"):
        write_report_page(tmp_path / "a.html", report, [])
    pictures = some_pictures(report, 0)
    report["results"][0]["trust"]["share"] = math.nan
    with pytest.raises(ValueError):
        write_report_page(tmp_path / "a.html", report, pictures)
    assert list(tmp_path.iterdir()) == []


def test_nothing_and_no_frames_make_a_page(tmp_path: Path) -> None:
    report = a_report(1, 1)
    write_report_page(tmp_path / "none.html", {**report, "results": [], "comparisons": []}, [])
    write_report_page(tmp_path / "few.html", report, some_pictures(report, 0))
    assert data_of(tmp_path / "none.html")["pictures"] == []
    assert data_of(tmp_path / "few.html")["albums"][0]["shots"] == []


# ---- In a browser -------------------------------------------------------------------------


class Report(Page):
    """The page of a report."""

    def click(self, css: str) -> None:
        # The bar at the top must not lie over what is clicked.
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.one(css))
        self.one(css).click()

    def texts(self, css: str) -> list[str]:
        return [found.text for found in self.all(css)]

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def over(self, css: str, share: float, click: bool = False) -> None:
        """Point at a chart, `share` of its width from the left."""
        from selenium.webdriver import ActionChains

        chart = self.one(css)
        self.run("arguments[0].scrollIntoView({block: 'center'})", chart)
        actions = ActionChains(self.browser)
        actions.move_to_element_with_offset(chart, int((share - 0.5) * chart.size["width"]), 0)
        (actions.click() if click else actions).perform()

    def color(self, css: str) -> str:
        return self.run("return getComputedStyle(arguments[0]).backgroundColor", self.one(css))


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Page]:
    """Two runs on two clips; afterwards, nothing may have gone wrong in the browser."""
    report = a_report()
    write_report_page(tmp_path / "report.html", report, some_pictures(report, 12, 96))
    made = Report(browser, tmp_path / "report.html")
    yield made
    assert made.run("return performance.getEntriesByType('resource').map(e => e.name)"
                    ".filter(name => !name.startsWith('data:'))") == []  # fmt: skip
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_run_and_clip_are_chosen_by_button_and_key(page: Report) -> None:
    from selenium.webdriver import Keys

    def shown() -> tuple[str, str]:
        return page.one("#verdict .sentence").text, page.one("#verdict .tag").text

    def expected(number: int, tag: str) -> tuple[str, str]:
        return VERDICTS[number]["sentence"], tag  # type: ignore[return-value]

    assert shown() == expected(0, "Data-limited")
    page.click("#runs [data-id='1']")
    assert shown() == expected(2, "Over-fitting")
    assert "franck_grid_noaug" in page.run("return document.title")
    page.click("#clips [data-id='1']")
    assert shown() == expected(3, "Out of range")
    page.press(Keys.ARROW_LEFT)
    assert shown() == expected(2, "Over-fitting")
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert shown() == expected(0, "Data-limited")
    page.click("#verdicts button:nth-child(2)")
    assert shown() == expected(1, "Still improving")
    assert page.texts("#verdict li") == VERDICTS[1]["evidence"]
    pressed = page.all("#runs [aria-pressed=true], #clips [aria-pressed=true]")
    assert [button.text for button in pressed] == ["franck_grid_quick64", "grid_s1_eval_2.mp4"]


@pytest.mark.slow
def test_cards_and_table_tell_values_intervals_and_reasons(page: Report) -> None:
    found = page.run("return report.results[0].metrics.heldout_psnr_db")
    card = page.one("#cards [data-metric=heldout_psnr_db]").text
    for part in ("PSNR, unseen", f"{found['value']:.1f} dB", f"95 %: {found['low']:.1f} to"):
        assert part in card.replace("\u00a0", " ")
    assert "Gap, seen less unseen: 2." in card
    row = page.one("#metric-table [data-metric=truth_psnr_db]")
    assert UNKNOWN["truth_psnr_db"] in row.text and "unknown" in row.text
    assert row.get_attribute("class") == "dim"
    everything = len(page.all("#metric-table [data-metric]"))
    page.click("#groups [data-id=pose]")
    assert everything == len(METRICS)
    names = [row.get_attribute("data-metric") for row in page.all("#metric-table [data-metric]")]
    assert names == ["pose_error_deg", "yaw_noise_deg", "yaw_correlation"]
    # The dot stands where the value lies on the scale, between the ends of its interval.
    left, middle, right = page.run(
        "const bar = document.querySelector('#cards [data-metric=heldout_psnr_db] .scale');"
        "const box = bar.querySelector('i').getBoundingClientRect();"
        "const dot = bar.querySelector('b').getBoundingClientRect();"
        "return [box.left, (dot.left + dot.right) / 2, box.right]"
    )
    share = (found["value"] - found["low"]) / (found["high"] - found["low"])
    assert (middle - left) / (right - left) == pytest.approx(share, abs=0.03)


@pytest.mark.slow
def test_best_median_worst_and_thumbnails_choose_the_frame(page: Report) -> None:
    from selenium.webdriver import Keys

    frames = page.run("return albums[0].shots.map(shot => shot.frame)")
    for name in ("best", "worst", "median"):
        page.click(f"#picks [data-pick={name}]")
        place = page.run(f"return albums[0].{name}")
        assert page.one("#frame-name").text == f"Frame {frames[place]}"
        assert page.one("#picks [aria-pressed=true]").text == name.capitalize()
        shown = page.one("#panels [data-layer=swap] img").get_attribute("src")
        assert shown == page.run("return address(albums[0].shots[arguments[0]].swap)", place)
    page.click("#strip button:nth-child(3)")
    assert page.one("#frame-name").text == f"Frame {frames[2]}"
    page.press(Keys.ARROW_RIGHT)
    assert page.one("#frame-name").text == f"Frame {frames[3]}"
    assert "Data-limited" in page.one("#verdict").text
    page.run("arguments[0].value = 'expected_error_db';"
             "arguments[0].dispatchEvent(new Event('change'))", page.one("#sort"))  # fmt: skip
    errors = page.run("return [...document.querySelectorAll('#strip button')]"
                      ".map(tile => shots()[tile.place].numbers.expected_error_db)")  # fmt: skip
    assert errors == sorted(errors) and len(errors) == 12
    page.click("#direction")
    assert "best" in page.texts("#strip button")[-1]


@pytest.mark.slow
def test_layers_are_shown_and_hidden_and_the_wipe_moves(page: Report) -> None:
    def layers() -> list[str]:
        return [figure.get_attribute("data-layer") for figure in page.all("#panels figure")]

    assert layers() == ["target", "swap", "mask", "wipe"]
    page.click("#layers [data-id=mask]")
    page.click("#layers [data-id=rebuilt]")
    page.click("#layers [data-id=difference]")
    assert layers() == ["target", "swap", "wipe", "rebuilt", "difference"]
    loaded = page.run("return [...document.querySelectorAll('#panels img')]"
                      ".map(i => i.naturalWidth)")  # fmt: skip
    assert len(loaded) == 7 and min(loaded) > 0
    clip = "return getComputedStyle(document.querySelector('.wipe img + img')).clipPath"
    before = page.run(clip)
    page.run("arguments[0].value = 20; arguments[0].dispatchEvent(new Event('input'))",
             page.one("#wipe"))  # fmt: skip
    assert before == "inset(0px 0px 0px 50%)" and page.run(clip) == "inset(0px 0px 0px 20%)"
    # It stays where it was put when the frame changes.
    page.click("#picks [data-pick=worst]")
    assert page.run(clip) == "inset(0px 0px 0px 20%)"


@pytest.mark.slow
def test_curves_are_chosen_and_show_their_frame(page: Report) -> None:
    def titles() -> list[str]:
        return page.texts("#time-charts h3")

    assert titles() == ["PSNR, dB", "Yaw, \u00b0", "Mouth opening"]
    assert page.texts("#time-charts .card:nth-child(2) .legend > span") == ["target", "swap"]
    page.click("#series [data-id=eyes]")
    page.click("#series [data-id=psnr_db]")
    assert titles() == ["Yaw, \u00b0", "Mouth opening", "Eye opening"]
    trusted = page.run("return report.results[0].frames.series.trusted")
    spans = sum(a == 0 and b != 0 for a, b in zip(trusted, [1, *trusted], strict=False))
    assert len(page.all("#time-charts .card:first-child .span")) == spans > 0
    page.over("#time-charts svg", 0.75)
    tip = page.one("#tip")
    assert tip.is_displayed() and len(page.all("#tip img")) == 2
    # The same moment is marked in all charts.
    places = page.run("return [...document.querySelectorAll('#time-charts .cursor')]"
                      ".map(c => c.getAttribute('x1'))")  # fmt: skip
    assert len(places) == 3 and len(set(places)) == 1 and places[0] is not None
    page.over("#time-charts svg", 0.97, click=True)
    assert page.one("#frame-name").text in ("Frame 249", "Frame 226")
    page.over("#time-charts svg", 0.05, click=True)
    assert page.one("#frame-name").text == "Frame 0"


@pytest.mark.slow
def test_a_curve_lies_where_its_values_are(page: Report) -> None:
    points = page.run(
        "const path = document.querySelectorAll('#time-charts .card:nth-child(2) .curve')[0];"
        "return path.getAttribute('d').match(/[ML][^MLl]+/g).map(p => p.slice(1).split(' '))"
    )
    y = np.array([float(point[1]) for point in points])
    given = page.run("return report.results[0].frames.series.target_yaw_deg")
    # Upwards on the screen is down in its numbers.
    assert np.corrcoef(y, given)[0, 1] < -0.9999
    gone = page.run("return document.querySelectorAll('#time-charts .card:nth-child(2) .curve')[1]"
                    ".getAttribute('d').match(/M/g).length")  # fmt: skip
    # Before the gap, alone inside it, after it.
    assert gone == 3


@pytest.mark.slow
def test_bias_is_shown_of_rebuilt_and_of_swapped_faces(page: Report) -> None:
    def drawn() -> str:
        return page.one("#bias-charts svg .curve").get_attribute("d")

    rebuilt = drawn()
    page.click("#bias-sides [data-id=swapped]")
    assert page.one("#bias-sides [aria-pressed=true]").text == "Swapped"
    assert drawn() != rebuilt
    assert "grey faces have no hue" in page.one("#bias-charts").text
    page.click("#bias-sides [data-id=rebuilt]")
    assert drawn() == rebuilt


@pytest.mark.slow
def test_coverage_names_its_gaps_and_frames_them_on_the_map(page: Report) -> None:
    coverage = page.run("return report.results[0].coverage")
    assert len(coverage["gaps"]) > 0
    words = page.texts("#coverage-top .gaps span")
    assert words == [gap["words"] for gap in coverage["gaps"]]
    assert len(page.all("#coverage-top .gap")) == np.sum(coverage["pose"]["gaps"]) > 0
    dots = np.count_nonzero(coverage["pose"]["target"])
    assert len(page.all("#coverage-top circle")) == dots
    assert len(page.all("#coverage-charts .card")) == len(coverage["attributes"])


@pytest.mark.slow
def test_memorisation_is_told_in_numbers_and_pictures(page: Report) -> None:
    shown = {cell.get_attribute("data-number"): cell.text.replace("\u00a0", " ")
             for cell in page.all("#memorisation [data-number]")}  # fmt: skip
    assert "0.810" in shown["score"] and "83 %" in shown["generalising_share"]
    assert "90 %" in shown["inside_training_range.generalises.mean()"]
    assert "no judge of faces" in shown["retrieval"] and "unknown" in shown["retrieval"]
    assert "Generalises" in page.one("#memorisation-numbers").text
    page.click("#memorisation summary")
    assert "errors: own" in page.one("#memorisation details").text
    assert len(page.all("#montage .card")) == 4
    titles = page.texts("#montage .card:first-child figcaption")
    assert (titles[0], titles[-1]) == ("output", "true face")
    widths = page.run("return [...document.querySelectorAll('#montage img')]"
                      ".map(i => i.naturalWidth)")  # fmt: skip
    assert len(widths) == 20 and min(widths) > 0


@pytest.mark.slow
def test_real_differences_stand_out(page: Report) -> None:
    rows = {row.get_attribute("data-metric"): row for row in page.all("#comparison-table tr")}
    assert "A is better" in rows["heldout_psnr_db"].text
    assert "B is better" in rows["mouth_correlation"].text
    assert "\u22121.40 dB" in rows["heldout_psnr_db"].text
    assert "no real difference" in rows["pose_error_deg"].text
    dim = [name for name, row in rows.items() if row.get_attribute("class") == "dim"]
    assert dim == ["identity_margin_positive", "pose_error_deg"]


@pytest.mark.slow
def test_the_theme_changes_and_the_page_fits_a_small_screen(page: Report) -> None:
    before, word = page.color(":root"), page.one("#theme").text
    page.click("#theme")
    assert page.color(":root") != before and page.one("#theme").text != word
    page.click("#theme")
    assert page.color(":root") == before
    small = {"width": 500, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", small)
    page.browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
    wide = page.run("return document.documentElement.scrollWidth")
    chart = page.run("return document.querySelector('#time-charts svg').viewBox.baseVal.width")
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 500 and chart < 500


@pytest.mark.slow
def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    # The last is no valid text, which the driver cannot hand over.
    for name in HOSTILE[:-1]:
        report = hostile_report(name)
        write_report_page(tmp_path / "report.html", report, some_pictures(report, 3, 64))
        page = Report(browser, tmp_path / "report.html")
        page.run("for (const b of document.querySelectorAll('button')) b.click()")
        assert page.run("return window.broken") is None
        assert page.run("return document.querySelector('.sentence').textContent") == name
        assert page.one("#verdict .tag").text == "Unknown"
        sources = page.run("return [...document.images].map(i => i.src.startsWith('data:'))")
        assert sources and all(sources)
        assert browser.get_log("browser") == []


@pytest.mark.slow
def test_a_bare_report_leaves_its_sections_out(browser: Any, tmp_path: Path) -> None:
    report = a_report(1, 1)
    result = report["results"][0]
    bare = {
        **result, "frames": {"index": [], "time_s": [], "series": {}}, "trust": None,
        "memorisation": None, "bias": {"rebuilt": {}, "swapped": {}}, "coverage": None,
        "metrics": {"heldout_psnr_db": {"value": None, "low": None, "high": None,
                                        "reason": "no face was found"}},
    }  # fmt: skip
    report["results"] = [bare]
    report["runs"][0]["history"] = {"step": [], "best_step": None}
    write_report_page(tmp_path / "bare.html", report, some_pictures(a_report(1, 1), 0))
    page = Report(browser, tmp_path / "bare.html")
    shown = [part.get_attribute("id") for part in page.all("main > section[id]")
             if part.is_displayed()]  # fmt: skip
    assert shown == ["frames", "metrics"]
    assert "No frame was kept" in page.one("#frames").text
    assert "no face was found" in page.one("#cards").text
    write_report_page(tmp_path / "none.html", {**report, "results": [], "comparisons": []}, [])
    page = Report(browser, tmp_path / "none.html")
    assert page.one("#verdict").text == "Nothing was measured."
    assert browser.get_log("browser") == []
