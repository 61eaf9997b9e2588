import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cast, silent
from jaxtyping import Float
from PIL import Image
from safetensors.numpy import save_file
from skimage.color import rgb2lab
from torch import Tensor

from faceswap_lite.config import Side
from faceswap_lite.errors import FaceswapError, UsageError
from faceswap_lite.faces.attributes import Reader
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.records import read_record, write_crop
from faceswap_lite.latent import counterfactual_stage, direction_stage, sheet_job
from faceswap_lite.latent.counterfactual_stage import counterfactual
from faceswap_lite.latent.direction_stage import find_direction, read_direction, sweep_direction
from faceswap_lite.latent.directions import Direction, chosen_penalty, ridge
from faceswap_lite.latent.interpolate_stage import interpolate_faces
from faceswap_lite.latent.sheet_job import GAP_PX, SheetRow, face_sheet, read_face
from faceswap_lite.latent.study import (
    change_color,
    straight_direction,
    study,
    sweep_attribute,
    swept_faces,
)
from faceswap_lite.media.images import read_image
from faceswap_lite.media.sheets import CELL_PX
from faceswap_lite.models.autoencoder import Painted, SwapAutoencoder
from faceswap_lite.models.crops import encode
from faceswap_lite.outputs import read_json
from faceswap_lite.runs.known import KnownFaces, known_faces
from faceswap_lite.runs.trained import TrainedRun

CODE = 16


class PlantedModel(SwapAutoencoder):
    """Codes that hold the brightness along a known vector, and five textures along others.

    One of the others is nearly that vector, so that to read the brightness is to cancel the
    texture. The decoder paints even grey: all it knows is how far a code lies along the vector.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.true = torch.randn(CODE, generator=random)
        self.others = torch.randn(5, CODE, generator=random)
        self.others[0] = self.true + 0.2 * self.others[0]
        signs = torch.randn(5, size * size, generator=random).argsort(1) < size * size // 2
        self.textures = (signs.float() * 2 - 1) / (size * size)
        self.size = size

    def encode(self, faces: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        grey = faces.mean(1).flatten(1)  # (b, s * s)
        return grey.mean(1, keepdim=True) * self.true + 30 * grey @ self.textures.T @ self.others

    def decode(self, code: Float[Tensor, "b n"], side: Side) -> Painted:
        grey = (code @ self.true / (self.true @ self.true)).clamp(0, 1)
        return grey[:, None, None, None].expand(-1, 3, self.size, self.size), None

    def forward(
        self, source: Float[Tensor, "b 3 s s"], target: Float[Tensor, "c 3 s s"]
    ) -> tuple[Painted, Painted]:
        return self.paint(source, "source"), self.paint(target, "target")


@pytest.fixture
def planted(run: TrainedRun) -> TrainedRun:
    return replace(run, model=PlantedModel(run.config.model.size), fingerprint="f" * 16)


@pytest.fixture(autouse=True)
def five_points_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip alone brings reads the faces."""
    monkeypatch.setenv("FACESWAP_LITE_WEIGHTS", "/nowhere")


def crops_of(folder: Path) -> list[Path]:
    return [face.path for face in open_face_set(folder).faces]


def test_known_change_is_what_was_asked_for() -> None:
    crops = np.full((2, 4, 4, 3), 100, np.uint8)
    crops[..., 0] = 140
    changed = change_color(crops, "brightness", np.array([0.1, -0.2]))
    np.testing.assert_allclose(
        changed - crops / 255, np.array([0.1, -0.2])[:, None, None, None] + 0 * crops, atol=1e-6
    )
    turned = change_color(crops, "hue_deg", np.array([0.0, 20.0]))
    hues = [np.degrees(np.arctan2(*rgb2lab(face)[0, 0, :0:-1])) for face in turned]
    assert hues[1] - hues[0] == pytest.approx(20, abs=0.2)
    np.testing.assert_allclose(turned[0], crops[0] / 255, atol=1e-4)


def test_pattern_moves_brightness_and_ridge_weights_do_not(planted: TrainedRun) -> None:
    """The pitfall: the weights read the brightness best, and do next to nothing as a direction."""
    reader = Reader(planted.manifest.coverage)
    known = known_faces(planted, "target")
    studied = study(planted, known, reader(known.crops, known.masks), "brightness", reader)
    straight = straight_direction(studied)
    penalty = chosen_penalty(studied.codes, studied.values, studied.clips)
    weights, offset = ridge(studied.codes, studied.values, penalty)
    told = studied.codes @ weights + offset
    assert np.corrcoef(told, studied.values)[0, 1] > 0.95
    wrong = replace(straight, line=weights / float(weights @ weights))
    places = swept_faces(studied, False)
    good = sweep_attribute(planted, studied, straight, places, "brightness", reader)
    bad = sweep_attribute(planted, studied, wrong, places, "brightness", reader)
    assert good.slope >= 0.5
    assert good.rising == 1.0
    assert bad.slope < 0.5 * good.slope
    assert bad.slope < 0.5


def test_direction_is_found_stored_and_swept(
    planted: TrainedRun, cast: Cast, tmp_path: Path
) -> None:
    out = tmp_path / "bright.png"
    report = find_direction(planted, "brightness", out, side="target", say=silent)
    # Textures do not change with the light: the change is told perfectly, the light itself less.
    assert report["r2_of_change_blocked"] > 0.95
    assert 0 < report["r2_blocked"] < report["r2_of_change_blocked"]
    assert report["known_change"]
    assert report["heldout"][report["chosen"]]["slope"] == pytest.approx(0.9, abs=0.2)
    assert report["heldout"][report["chosen"]]["rising_share"] == 1.0
    # Five textures with random signs are all that hides the planted vector from the pattern.
    assert isinstance(planted.model, PlantedModel)
    found, facts = read_direction(out.with_suffix(".safetensors"), planted)
    true = planted.model.true.numpy()
    cosine = found.line @ true / np.linalg.norm(found.line) / np.linalg.norm(true)
    assert cosine > 0.95
    assert report["split_half_cosine"] > 0.9
    assert (facts["attribute"], facts["side"]) == ("brightness", "target")
    assert read_image(out).shape[1] >= 5 * CELL_PX

    crop = crops_of(cast.target)[3]
    again = tmp_path / "one.png"
    told = sweep_direction(
        planted, out.with_suffix(".safetensors"), crop, again, steps=(-1, 2), say=silent
    )
    assert told["steps"] == [-1.0, 0.0, 2.0]
    deviation = report["deviation"]
    np.testing.assert_allclose(told["requested"], [-deviation, 0, 2 * deviation])
    given = read_face(planted, crop)
    grey = [given.code @ true / (true @ true)]
    for move in (-deviation, 2 * deviation):
        grey.append(found.moved(given.code, 0.0, move) @ true / (true @ true))
    assert told["read"][1] == pytest.approx(grey[0], abs=0.01)
    assert told["read"][0] == pytest.approx(grey[1], abs=0.01)
    assert told["read"][2] == pytest.approx(min(1, grey[2]), abs=0.01)


def test_same_direction_twice_is_the_same_bytes(planted: TrainedRun, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        find_direction(planted, "brightness", tmp_path / name / "d.png", side="source", say=silent)
        files.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert set(files[0]) == {"d.png", "d.json", "d.safetensors"}


def test_done_is_not_done_again_and_others_files_are_left_alone(
    planted: TrainedRun, cast: Cast, tmp_path: Path
) -> None:
    a, b = crops_of(cast.target)[2], crops_of(cast.target)[20]
    out = tmp_path / "mix.png"
    first = interpolate_faces(planted, a, b, out, side="target", say=silent)
    before = out.stat().st_mtime_ns
    assert interpolate_faces(planted, a, b, out, side="target", say=silent) == first
    assert out.stat().st_mtime_ns == before
    with pytest.raises(FaceswapError, match="belongs to another job"):
        interpolate_faces(planted, b, a, out, side="target", say=silent)
    second = interpolate_faces(planted, b, a, out, side="target", say=silent, overwrite=True)
    assert second["job"] == read_json(out.with_suffix(".json"))["job"] != first["job"]
    mine = tmp_path / "mine.png"
    mine.write_bytes(b"a picture")
    with pytest.raises(FaceswapError, match="not made by this command"):
        interpolate_faces(planted, a, b, mine, side="target", say=silent)
    assert mine.read_bytes() == b"a picture"


def test_interpolation_through_codes_and_pixels(
    run: TrainedRun, cast: Cast, tmp_path: Path
) -> None:
    faces = crops_of(cast.target)
    out = tmp_path / "mix.png"
    report = interpolate_faces(
        run, faces[2], faces[20], out, side="target", steps=5, arc=True, say=silent
    )
    assert list(report["walks"]) == ["code", "arc", "pixel"]
    for walk in report["walks"].values():
        assert {len(column) for column in walk.values()} == {5}
    ends = [report["walks"][name]["brightness"] for name in ("code", "arc", "pixel")]
    assert ends[0][0] == ends[1][0] == ends[2][0]
    assert ends[0][-1] == pytest.approx(ends[2][-1], abs=0.005)
    # Blending pixels blends their means exactly.
    pixel = ends[2]
    np.testing.assert_allclose(pixel[2], (pixel[0] + pixel[4]) / 2, atol=0.005)
    only = interpolate_faces(
        run, faces[2], faces[20], tmp_path / "code.png", side="target", space="code", say=silent
    )
    assert list(only["walks"]) == ["code"]
    with Image.open(out) as picture:
        assert "TrainedAlgorithmicMedia" in str(picture.info)


def test_brightness_answers_the_question_of_brightness(
    planted: TrainedRun, cast: Cast, tmp_path: Path
) -> None:
    face = crops_of(cast.target)[5]
    out = tmp_path / "why.png"
    report = counterfactual(planted, face, "brightness", out, side="target", say=silent)
    effects = {row["direction"]: row["effect"] for row in report["ranked"]}
    assert report["ranked"] == sorted(report["ranked"], key=lambda row: -abs(row["effect"]))
    # Only the brightness's own direction and axes along it change an even grey.
    assert effects["brightness"] > 0.8 * max(map(abs, effects.values()))
    assert 0.6 <= report["top5_axes_share"] <= 1.3
    assert len(report["kept"]) == 5
    assert report["kept"][report["ranked"][0]["direction"]]["change_inside"] > 0


def test_directions_whose_faces_cannot_be_read_are_ranked_last_and_not_painted(
    planted: TrainedRun, cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face, readable = crops_of(cast.target)[5], 2

    def effects(run: TrainedRun, known: KnownFaces, moves: dict[str, Any], *_: Any) -> Any:
        return {name: 1.0 if i < readable else np.nan for i, name in enumerate(moves)}

    monkeypatch.setattr(counterfactual_stage, "_effects", effects)
    out = tmp_path / "some.png"
    report = counterfactual(planted, face, "brightness", out, side="target", say=silent)
    assert [row["effect"] is None for row in report["ranked"][:3]] == [False, False, True]
    assert list(report["kept"]) == [row["direction"] for row in report["ranked"][:2]]
    readable = 0
    with pytest.raises(
        FaceswapError, match="brightness cannot be measured on decoded target faces"
    ):
        counterfactual(planted, face, "brightness", tmp_path / "no.png", side="target", say=silent)


def test_identity_is_told_and_asked_for_the_other_side(
    run: TrainedRun, cast: Cast, tmp_path: Path
) -> None:
    face = crops_of(cast.source)[5]
    out = tmp_path / "who.png"
    report = counterfactual(run, face, "identity", out, side="source", say=silent)
    assert 0 <= report["blocked_accuracy"] <= 1
    assert report["ranked"][0]["effect"] is not None
    assert read_image(out).ndim == 3


def test_readable_refusals(planted: TrainedRun, cast: Cast, tmp_path: Path) -> None:
    crop = crops_of(cast.target)[0]
    out = tmp_path / "x.png"
    plain = tmp_path / "plain.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(plain)
    with pytest.raises(FaceswapError, match="no face record"):
        read_face(planted, plain)
    with pytest.raises(FaceswapError, match="no such file"):
        interpolate_faces(planted, crop, tmp_path / "none.png", out, side="target", say=silent)
    with pytest.raises(UsageError, match="unknown"):
        find_direction(planted, "beauty", out, side="target", say=silent)
    with pytest.raises(UsageError, match="unknown"):
        counterfactual(planted, crop, "beauty", out, side="target", say=silent)
    with pytest.raises(UsageError, match="png"):
        find_direction(planted, "brightness", tmp_path / "x.jpg", side="target", say=silent)
    with pytest.raises(UsageError, match="at least 3"):
        interpolate_faces(planted, crop, crop, out, side="target", steps=2, say=silent)
    with pytest.raises(FaceswapError, match="what this command reads"):
        interpolate_faces(planted, crop, crop, crop, side="target", say=silent)
    # Five points do not show a mouth on decoded faces.
    with pytest.raises(FaceswapError, match="cannot be measured"):
        counterfactual(planted, crop, "mouth", out, side="target", say=silent)
    record = read_record(crop)
    assert record is not None
    other = tmp_path / "head.png"
    write_crop(other, read_image(crop), record.model_copy(update={"coverage": "head"}))
    with pytest.raises(FaceswapError, match="coverage head"):
        read_face(planted, other)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(FaceswapError, match="cannot be read as a direction"):
        read_direction(tmp_path / "broken.safetensors", planted)
    assert not out.exists()


def test_direction_of_other_weights_is_refused(planted: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "d.png"
    find_direction(planted, "brightness", out, side="target", say=silent)
    with pytest.raises(FaceswapError, match="other weights"):
        read_direction(out.with_suffix(".safetensors"), replace(planted, fingerprint="0" * 16))


@pytest.mark.parametrize(
    ("facts", "vectors", "why"),
    [
        ({"run": None}, {}, "run"),
        ({"attribute": "beauty"}, {}, "attribute beauty is unknown"),
        ({"attribute": [1]}, {}, "attribute"),
        ({"side": None}, {}, "side"),
        ({"known_change": "yes"}, {}, "known_change yes is unknown"),
        ({"deviation": float("nan")}, {}, "not finite"),
        ({"deviation": -1.0}, {}, "not positive"),
        ({"middle": float("inf")}, {}, "not finite"),
        ({}, {"line": np.full(CODE, np.nan)}, "not finite"),
        ({}, {"bend": np.zeros(CODE - 1)}, "cannot be read"),
        ({}, {"line": np.zeros((1, CODE)), "bend": np.zeros((1, CODE))}, "cannot be read"),
        ({}, {"line": np.zeros(CODE - 1), "bend": np.zeros(CODE - 1)}, "codes of 15 numbers"),
    ],
)
def test_directions_that_were_tampered_with_are_refused(
    planted: TrainedRun, cast: Cast, tmp_path: Path, facts: dict[str, Any],
    vectors: dict[str, np.ndarray], why: str,
) -> None:  # fmt: skip
    whole = {
        "run": planted.fingerprint, "attribute": "brightness", "side": "target", "middle": 0.0,
        "deviation": 0.1, "known_change": True,
    }  # fmt: skip
    path, out = tmp_path / "odd.safetensors", tmp_path / "swept.png"
    crop = crops_of(cast.target)[0]

    def sweep_it() -> None:
        told = {name: value for name, value in (whole | facts).items() if value is not None}
        lines = {"line": np.ones(CODE), "bend": np.zeros(CODE)} | vectors
        save_file(lines, path, {direction_stage.DIRECTION_KEY: json.dumps(told)})
        sweep_direction(planted, path, crop, out, say=silent)

    with pytest.raises(FaceswapError, match=rf"odd\.safetensors.*{why}"):
        sweep_it()
    assert not out.exists()
    facts, vectors = {}, {}
    sweep_it()
    assert out.exists()


def test_a_direction_cut_short_is_found_by_the_same_call(
    planted: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "d.PNG"
    said: list[str] = []

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for module, step in ((direction_stage, "_store"), (sheet_job, "write_image")):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, step, stop)
            find_direction(planted, "brightness", out, side="target", say=silent)
    for _ in range(2):
        find_direction(planted, "brightness", out, side="target", say=said.append)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"d.PNG", "d.json", "d.safetensors"}
    assert said[-2:] == [f"written to {out} and {tmp_path / 'd.json'}", f"{out}: already done"]


def test_mouth_of_actors_comes_from_their_truth(
    planted: TrainedRun, cast: Cast, tmp_path: Path
) -> None:
    reader = Reader(planted.manifest.coverage)
    known = known_faces(planted, "target")
    studied = study(planted, known, reader(known.crops, known.masks), "mouth", reader)
    assert not studied.readable
    wanted = [face.record.mouth_opening for face in known.faces]
    np.testing.assert_array_equal(studied.values, wanted)
    out = tmp_path / "mouth.png"
    report = find_direction(planted, "mouth", out, side="target", say=silent)
    assert report["heldout"]["straight"] == {"slope": None, "rising_share": None}


def test_given_face_has_the_code_of_its_crop(planted: TrainedRun, cast: Cast) -> None:
    faces = open_face_set(cast.target)
    size = planted.config.model.size
    given = read_face(planted, faces.faces[4].path)
    crop = faces.crops(size, 0.0)[4]
    np.testing.assert_array_equal(given.crop, crop)
    np.testing.assert_allclose(given.code, encode(planted.model, crop[None])[0], rtol=1e-6)


def test_sheet_holds_every_face_where_it_belongs() -> None:
    colors = np.linspace(0, 1, 3)[:, None, None, None] * np.ones((3, 8, 8, 3))
    rows = [
        SheetRow("one", colors, ["a", "b", "c"]),
        SheetRow("two", colors[::-1], ["d", "e", "f"]),
    ]
    sheet = face_sheet("a title", rows)
    step = (len(sheet) - 44) // 2
    for place, row in enumerate(rows):
        for column, face in enumerate(row.faces):
            x = GAP_PX + column * (CELL_PX + GAP_PX) + CELL_PX // 2
            y = 44 + place * step + 26 + CELL_PX // 2
            assert sheet[y, x, 0] == round(float(face[0, 0, 0]) * 255)
    with pytest.raises(ValueError, match="zip"):
        face_sheet("a title", [SheetRow("one", colors, ["a"])])


def test_direction_moves_are_per_unit(planted: TrainedRun) -> None:
    direction = Direction(np.array([2.0, 0.0]), np.array([0.0, 1.0]), 10.0, 3.0)
    moved = direction.moved(np.zeros(2), 11.0, 2.0)
    np.testing.assert_allclose(moved, [4.0, 9.0 - 1.0])
