"""What is before a face stays the clip's own; a stand-in network takes green for no face."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import Cast, convert_file, silent
from torch import Tensor

from faceswap_lite.config import ConvertConfig, MaskConfig
from faceswap_lite.conversion import paint, settings
from faceswap_lite.conversion.blend import Layer
from faceswap_lite.conversion.casting import CastPlan, cast_clip
from faceswap_lite.conversion.composite import Composite, composite_frames
from faceswap_lite.conversion.detection_pass import build_run_packs
from faceswap_lite.conversion.occlusion import (
    VIEW_EYES,
    MaskView,
    Occlusion,
    keep_what_is_before,
    mask_view,
    steady_share,
)
from faceswap_lite.errors import FaceswapError
from faceswap_lite.evaluation.frame import blending, occluding
from faceswap_lite.evaluation.metric import Instruments, Moment, Scene, Series, figures
from faceswap_lite.evaluation.metric_table import METRICS
from faceswap_lite.evaluation.workbench import occluded_spans
from faceswap_lite.faces.attributes import Reader
from faceswap_lite.faces.user_masks import UserMasks
from faceswap_lite.media.clips import Frame
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import as_clip, open_clip
from faceswap_lite.metrics.landmarks import CANONICAL_FIVE
from faceswap_lite.metrics.screen import seam_delta_e
from faceswap_lite.models.mask_network import MaskNetwork, believed_share, clear_shares
from faceswap_lite.runs.trained import TrainedRun

VISIBLE = ConvertConfig(mask=MaskConfig(kind="visible"))
GREEN = np.array([30, 220, 40], np.uint8)


class NoGreen(MaskNetwork):
    """A mask network whose answer is known: the outline, but for what is green."""

    def forward(self, pixels: Tensor, outline: Tensor) -> Tensor:
        red, green, blue = pixels.unbind(1)
        is_green = green - torch.maximum(red, blue) > 0.2
        return torch.where(is_green[:, None], -8.0, 16 * outline - 8)


@pytest.fixture
def no_green(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = SimpleNamespace(network=lambda: NoGreen().eval(), fingerprint=lambda: "0" * 16)
    for module in (paint, settings):
        monkeypatch.setattr(module, "mask_of", lambda run: weights)


def disc(size: int = 128) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip(0.35 * size - np.hypot(x, y) + 0.5, 0, 1).astype(np.float32)


def skin(size: int = 128) -> np.ndarray:
    rng = np.random.default_rng(0)
    base = np.full((size, size, 3), (200, 150, 130), np.float32)
    shade = cv2.GaussianBlur(rng.normal(0, 60, (size, size)).astype(np.float32), (0, 0), 5)
    return np.clip(base + shade[..., None], 0, 255).astype(np.uint8)


def view_of(crop: np.ndarray) -> MaskView:
    return MaskView(np.eye(2, 3), crop, disc(len(crop)))


def looked_at(crop: np.ndarray) -> Occlusion:
    view = view_of(crop)
    (clear,) = clear_shares(NoGreen(), crop[None], view.outline[None])
    return Occlusion(view, clear)


# A face by itself.


def test_nothing_before_a_face_is_clear_everywhere() -> None:
    seen = looked_at(skin())
    assert seen.clear.min() > 0.999 and seen.hidden < 1e-3
    # A network that is not quite sure is believed all the same.
    view = view_of(skin())
    np.testing.assert_array_equal(
        believed_share(0.9 * view.outline, view.crop, view.outline), seen.clear
    )


def test_what_is_before_it_goes_on_beyond_the_outline() -> None:
    crop = skin()
    crop[70:90, :64] = GREEN
    seen = looked_at(crop)
    assert seen.clear[72:88, 25:62].max() < 0.05 and seen.clear[:60].min() > 0.999
    # Two pixels past the face's left edge, where a mask that was let out would reach.
    assert seen.clear[80, 18] < 0.1
    assert seen.hidden == pytest.approx((disc()[70:90, :64]).sum() / disc().sum(), abs=0.01)


def test_an_answer_that_collapses_without_anything_before_the_face_does_not_count() -> None:
    view = view_of(skin())
    for visible in (0 * view.outline, view.outline * (np.arange(128) < 50)):
        assert believed_share(visible.astype(np.float32), view.crop, view.outline).min() == 1
    # A hand over two thirds of it has an edge.
    crop = skin()
    crop[:, 55:] = skin()[:, 55:] // 2
    share = believed_share(view.outline * (np.arange(128) < 55), crop, view.outline)
    assert share[64, 30] == 1 and share[64, 80] == 0


def test_a_small_place_amid_the_face_is_no_occluder() -> None:
    view = view_of(skin())

    def share_with(rows: slice, columns: slice) -> np.ndarray:
        visible = view.outline.copy()
        visible[rows, columns] = 0
        return believed_share(visible, view.crop, view.outline)

    glint, patch = slice(60, 66), slice(50, 78)
    assert share_with(glint, glint).min() == 1
    assert share_with(patch, patch)[64, 64] == 0
    # As small, and from outside: a finger's tip.
    edge = np.flatnonzero(view.outline[64] > 0.5)[0]
    assert share_with(glint, slice(0, edge + 7))[63, edge + 4] == 0


# Over time.


def half(edge: float, told: float | None = None) -> Occlusion:
    """A face that something dark lies before to the right of an edge, and where it is said to."""
    columns = np.arange(32)
    true, clear = (
        np.tile(np.clip(at - columns + 0.5, 0, 1).astype(np.float32), (32, 1))
        for at in (edge, edge if told is None else told)
    )
    crop = (110 + 70 * true[..., None] * np.ones(3)).astype(np.uint8)
    return Occlusion(MaskView(np.eye(2, 3), crop, np.ones((32, 32), np.float32)), clear)


def test_a_moving_hand_is_neither_smeared_nor_late() -> None:
    seen = [half(4.0 * i) for i in range(7)]
    steady = steady_share(seen, np.full(7, 1 / 7), 3)
    np.testing.assert_allclose(steady, seen[3].clear, atol=0.12)
    assert abs(steady - seen[3].clear).mean() < 0.01
    average = np.mean([one.clear for one in seen], axis=0)
    assert abs(average - seen[3].clear).max() > 0.4
    # A finger that is there in one frame alone stays, too.
    crossing = [half(30), half(30), half(10), half(30), half(30)]
    assert steady_share(crossing, np.full(5, 0.2), 2)[:, 13:25].max() < 0.02


def test_an_edge_that_trembles_is_steadied() -> None:
    rng = np.random.default_rng(0)
    told = 16 + rng.normal(0, 0.4, 60)
    seen = [half(16, edge) for edge in told]
    places = [
        steady_share(seen[i - 3 : i + 4], np.full(7, 1 / 7), 3)[0].sum() for i in range(3, 57)
    ]
    assert np.std(places) < 0.65 * np.std([one.clear[0].sum() for one in seen])


def test_what_all_frames_agree_on_is_left_as_it_is() -> None:
    seen = [half(16, 16 + 0.2 * (i % 2)) for i in range(7)]
    steady = steady_share(seen, np.full(7, 1 / 7), 3)
    apart = np.ptp([one.clear for one in seen], axis=0) > 0
    assert 0 < apart.mean() < 0.1
    assert np.array_equal(steady[~apart], seen[3].clear[~apart])
    assert steady_share(seen[::2], np.full(4, 1 / 4), 2) is seen[4].clear


def test_a_single_frame_s_mistake_is_its_neighbours() -> None:
    seen: list[Occlusion | None] = [half(40) for _ in range(5)]
    seen[2] = half(40, 0)
    assert steady_share(seen, np.full(5, 0.2), 2).min() > 0.99
    # Alone, or with a cut beside it, its own word holds.
    assert steady_share([None, None, seen[2], None, None], np.full(5, 0.2), 2)[:, 2:].max() == 0
    assert steady_share([None, None, *seen[2:4], None], np.full(5, 0.2), 2)[:, 2:].max() < 0.6


# In the frame.


def test_the_edge_is_the_picture_s_own() -> None:
    size, scale = 512, 4
    y, x = np.mgrid[:size, :size]
    hand = x + 0.5 * y > 400
    frame = np.where(hand[..., None], np.array([120, 70, 60], np.uint8), np.uint8(190))
    crop = cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA)
    clear = cv2.resize((~hand).astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA)
    # A network's edge: soft, and a pixel of its own off.
    clear = cv2.GaussianBlur(np.roll(clear, 1, axis=1), (0, 0), 1.0)
    matrix = np.array([[1 / scale, 0, 0.5 / scale - 0.5], [0, 1 / scale, 0.5 / scale - 0.5]])
    occlusion = Occlusion(MaskView(matrix, crop, np.ones((128, 128), np.float32)), clear)
    layer = Layer(40, 30, np.zeros((400, 420, 3), np.float32), np.ones((400, 420, 1), np.float32))
    kept = keep_what_is_before(layer, frame, occlusion, clear)
    assert kept is not None and kept.whole is layer.alpha
    shown, truth = kept.alpha[..., 0], ~hand[30:430, 40:460]
    plain = cv2.resize(clear, (size, size), interpolation=cv2.INTER_LINEAR)[30:430, 40:460]
    assert abs(shown - truth).mean() < 0.3 * abs(plain - truth).mean()
    assert ((shown > 0.5) != truth).mean() < 0.002
    assert keep_what_is_before(layer, frame, occlusion, np.ones_like(clear)) is layer
    assert keep_what_is_before(layer, frame, occlusion, np.zeros_like(clear)) is None


def test_only_the_rectangle_of_a_hand_is_filtered_and_the_rest_is_as_it_was() -> None:
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (128, 128, 3), np.uint8)
    clear = np.ones((128, 128), np.float32)
    clear[40:60, 50:90] = 0
    # Turned by 45 degrees and twice as large in the frame.
    turn = np.array([[1, 1], [-1, 1]]) * 0.5 / np.sqrt(2)
    matrix = np.column_stack([turn, np.full(2, 63.5) - turn @ np.full(2, 150.0)])
    occlusion = Occlusion(MaskView(matrix, crop, np.ones((128, 128), np.float32)), clear)
    frame = rng.integers(0, 256, (300, 300, 3), np.uint8)
    layer = Layer(0, 0, np.zeros((300, 300, 3), np.float32), np.ones((300, 300, 1), np.float32))
    kept = keep_what_is_before(layer, frame, occlusion, clear)
    hand = cv2.warpAffine(1 - clear, matrix, (300, 300), flags=cv2.WARP_INVERSE_MAP)
    assert kept is not None
    assert kept.alpha[cv2.erode(hand, np.ones((7, 7))) == 1].mean() < 0.2
    far = cv2.dilate(hand, np.ones((61, 61))) == 0
    assert far.mean() > 0.5 and kept.alpha[far].min() == 1
    # A part of the frame is filtered as the whole of it.
    part = Layer(30, 20, layer.color[20:, 30:], layer.alpha[20:, 30:])
    some = keep_what_is_before(part, frame, occlusion, clear)
    assert some is not None
    np.testing.assert_allclose(some.alpha, kept.alpha[20:, 30:], atol=2e-3)


def test_what_leaves_the_crop_goes_on_beyond_it() -> None:
    crop = skin()
    crop[:, :30] = GREEN
    clear = np.ones((128, 128), np.float32)
    clear[:, :30] = 0
    frame = np.ascontiguousarray(np.pad(crop, ((20, 20), (20, 20), (0, 0)), "edge"))
    matrix = np.array([[1.0, 0, -20], [0, 1, -20]])
    occlusion = Occlusion(MaskView(matrix, crop, disc()), clear)
    layer = Layer(0, 0, np.zeros((168, 168, 3), np.float32), np.ones((168, 168, 1), np.float32))
    kept = keep_what_is_before(layer, frame, occlusion, clear)
    assert kept is not None and kept.alpha[:, :45].max() == 0 and kept.alpha[:, 60:].min() == 1


def test_the_network_is_shown_as_much_of_any_face() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    for size in (20.0, 45.0):
        five = np.array([120.0, 90]) + size * CANONICAL_FIVE
        view = mask_view(image, five, "five")
        scale = np.sqrt(np.linalg.det(view.frame_to_crop[:, :2]))
        assert 128 / scale == pytest.approx(VIEW_EYES * size, rel=0.02)
    # Of a face at the frame's border, what lies beyond it is no face.
    view = mask_view(image, np.array([4.0, 90]) + 45 * CANONICAL_FIVE, "five")
    assert view.outline[:, :20].max() == 0 < view.outline.max()


def test_the_edge_of_a_hand_is_no_seam() -> None:
    picture = np.full((80, 80, 3), 150, np.uint8)
    picture[:, 40:] = 40
    whole = disc(80)
    alpha = whole.copy()
    alpha[:, 40:] = 0
    assert seam_delta_e(picture, alpha, 3) > 8
    assert seam_delta_e(picture, whole, 3, alpha >= 0.5 * whole) < 2


# In a conversion.

BAR_TOP, BAR_BOTTOM = 138, 156


@pytest.fixture(scope="module")
def plan(cast: Cast, run: TrainedRun) -> CastPlan:
    packs = build_run_packs(run, VISIBLE)
    return cast_clip(run, as_clip(cast.unseen_clip), packs, VISIBLE, say=silent)


def frames_with_bar(cast: Cast) -> Iterator[Frame]:
    """The clip with something green before the lower face, from the left into its middle."""
    with open_clip(cast.unseen_clip) as reader:
        for frame in reader:
            image = frame.image.copy()
            image[BAR_TOP:BAR_BOTTOM, : 124 + frame.index] = GREEN
            yield replace(frame, image=image)


def converted(
    cast: Cast, run: TrainedRun, plan: CastPlan, config: ConvertConfig, masks: UserMasks | None
) -> list[Composite]:
    """As a model paints that has no mask of its own, which might see the bar, too."""
    painted = paint.paint_frames(frames_with_bar(cast), plan, run, config)
    whole = (replace(p, faces=[replace(f, learned=None) for f in p.faces]) for p in painted)
    return list(composite_frames(whole, config, masks))


def test_what_is_before_the_face_stays(
    cast: Cast, run: TrainedRun, plan: CastPlan, no_green: None
) -> None:
    made = converted(cast, run, plan, VISIBLE, None)
    plain = converted(cast, run, plan, ConvertConfig(mask=MaskConfig(kind="product")), None)
    for one, other in zip(made, plain, strict=True):
        bar = (slice(BAR_TOP + 1, BAR_BOTTOM - 1), slice(90, 122 + one.frame.index))
        gap = abs(one.image[bar].astype(int) - one.frame.image[bar])
        assert gap.mean() < 0.5 and gap.max() < 40
        assert abs(other.image[bar].astype(int) - other.frame.image[bar]).mean() > 20
        (layer,) = one.layers
        assert layer.whole is not None
        # Elsewhere it is swapped as ever.
        np.testing.assert_allclose(
            layer.whole[: BAR_TOP - 8 - layer.top],
            layer.alpha[: BAR_TOP - 8 - layer.top],
            atol=0.02,
        )


def test_colours_are_compared_where_the_face_is_seen(
    cast: Cast, run: TrainedRun, plan: CastPlan, no_green: None
) -> None:
    for painted in paint.paint_frames(frames_with_bar(cast), plan, run, VISIBLE):
        (face,) = painted.faces
        green = face.true[..., 1] - face.true[..., [0, 2]].max(-1) > 0.5
        assert (face.hull * green).sum() > 15
        for seen in (face.inside, face.seen):
            # The network sees the face coarser than this.
            assert seen[green].max() < 0.5 and seen[green].mean() < 0.05
        far = cv2.dilate(green.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        np.testing.assert_allclose(face.seen[far], face.hull[far], atol=1e-3)


def test_the_report_tells_which_frames_are_occluded(
    cast: Cast, run: TrainedRun, plan: CastPlan, no_green: None
) -> None:
    tools = Instruments(
        build_run_packs(run, VISIBLE, 1)[0], Reader(run.manifest.coverage), None, None
    )
    hidden, seams = [], []
    for made in converted(cast, run, plan, VISIBLE, None):
        scene = Scene(Moment(made, None, None, None, 0, False), None, run, VISIBLE, tools, None)
        hidden.append(occluding(scene)["hidden"])
        row = blending(scene)
        seams.append(row["seam_delta_e"] - row["target_seam_delta_e"])
    assert min(hidden) > 0.03 and max(hidden) < 0.3 and hidden[-1] > hidden[0]
    assert np.isfinite(seams).all()

    times = np.arange(6) / 25
    series = Series(np.arange(6), times, {"hidden": np.array([0.0, 0.3, 0.1, np.nan, 0.01, 0.2])})
    assert occluded_spans(series) == [[1, 2], [5, 5]]
    figure = figures(METRICS, series, 0)["occluded"]
    assert figure is not None and figure.value == pytest.approx(3 / 5)


def test_a_drawn_mask_wins(
    cast: Cast, run: TrainedRun, plan: CastPlan, no_green: None, tmp_path
) -> None:
    for number in range(1, 13):
        white = np.full((256, 256, 3), 255, np.uint8)
        write_image(tmp_path / f"frame_{number:06d}.png", white)
    made = converted(cast, run, plan, VISIBLE, UserMasks(tmp_path))
    for one in made:
        (layer,) = one.layers
        assert layer.alpha[150 - layer.top, 120 - layer.left] > 0.9


def test_without_weights_it_is_refused_before_any_work(
    cast: Cast, run: TrainedRun, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(run) -> None:
        raise FaceswapError("visible.safetensors: cannot be read")

    monkeypatch.setattr(settings, "mask_of", gone)
    with pytest.raises(FaceswapError, match="cannot be read"):
        convert_file(run, cast.unseen_clip, tmp_path / "a.mp4", VISIBLE, say=silent)
    assert not list(tmp_path.iterdir())


def test_other_weights_make_another_job(
    cast: Cast, run: TrainedRun, tmp_path, no_green: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.mp4"
    convert_file(run, cast.unseen_clip, out, VISIBLE, say=silent)
    assert convert_file(run, cast.unseen_clip, out, VISIBLE, say=silent).done_before
    other = SimpleNamespace(network=lambda: NoGreen().eval(), fingerprint=lambda: "1" * 16)
    monkeypatch.setattr(settings, "mask_of", lambda run: other)
    with pytest.raises(FaceswapError, match="other settings"):
        convert_file(run, cast.unseen_clip, out, VISIBLE, say=silent)
