"""Actors: identities, states, the rasteriser, rendered frames, landmarks, twins."""

import cv2
import numpy as np
import pytest

from faceswap_lite.actors import raster
from faceswap_lite.actors.cast import ACTORS, find_actor, random_actor
from faceswap_lite.actors.performance import ActorState, random_performance
from faceswap_lite.actors.raster import rasterise
from faceswap_lite.actors.render import render_actor
from faceswap_lite.errors import UsageError

SIZE = 128
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)


def opening(points: np.ndarray, upper: list[int], lower: list[int]) -> float:
    """Mean gap between two rows of landmarks, over the distance of the eyes."""
    eyes = np.linalg.norm(points[LEFT_EYE].mean(0) - points[RIGHT_EYE].mean(0))
    return float(np.mean(points[lower, 1] - points[upper, 1]) / eyes)


def mouth_gap(points: np.ndarray) -> float:
    return opening(points, [61, 62, 63], [67, 66, 65])


def lid_gap(points: np.ndarray) -> float:
    return opening(points, [37, 38, 43, 44], [41, 40, 47, 46])


# Identities


def test_there_are_at_least_four_people_and_names_find_them():
    assert {"ada", "bruno", "chen", "dara"} <= set(ACTORS)
    assert all(find_actor(name).name == name for name in ACTORS)
    assert find_actor("random:7") == random_actor(7) != random_actor(8)


@pytest.mark.parametrize("name", ["adda", "random:", "random:x", "random", ""])
def test_an_unknown_name_is_one_line_that_lists_the_names(name):
    with pytest.raises(UsageError) as error:
        find_actor(name)
    assert "bruno" in str(error.value) and "random:SEED" in str(error.value)
    assert "\n" not in str(error.value)


def test_random_people_stay_in_plausible_ranges():
    for seed in range(60):
        person = random_actor(seed)
        for name, value in vars(person).items():
            if isinstance(value, float):
                assert -1.5 <= value <= 1.5, (seed, name)
            if isinstance(value, tuple):
                assert all(0 < channel < 1 for channel in value), (seed, name)


def test_people_can_be_told_apart_when_small():
    small = [
        cv2.resize(render_actor(a, ActorState(), SIZE).image, (64, 64)) for a in ACTORS.values()
    ]
    faces = [picture[20:52, 20:44].astype(float) for picture in small]
    for i, face in enumerate(faces):
        for other in faces[i + 1 :]:
            # Two frames of one person with other noise differ by less than 1.
            assert np.abs(face - other).mean() > 8


# Performances


def test_a_performance_is_smooth_in_range_and_repeatable():
    states = random_performance(250, 25, seed=4, max_yaw_deg=40)
    assert states == random_performance(250, 25, seed=4, max_yaw_deg=40)
    assert states[:100] == random_performance(100, 25, seed=4, max_yaw_deg=40)
    assert states != random_performance(250, 25, seed=5, max_yaw_deg=40)
    yaw = np.array([state.yaw_deg for state in states])
    mouth = np.array([state.mouth for state in states])
    blink = np.array([state.blink for state in states])
    assert np.abs(yaw).max() <= 40 and np.ptp(yaw) > 40
    assert np.abs(np.diff(yaw)).max() < 8
    assert mouth.min() >= 0 and mouth.max() <= 1
    assert (mouth > 0.3).mean() > 0.15 and (mouth < 0.1).mean() > 0.1
    assert np.abs(np.diff(mouth)).max() < 0.45
    assert blink.max() > 0.9 and np.median(blink) == 0


@pytest.mark.parametrize("frames", [1, 2])
def test_short_performances_exist(frames):
    assert len(random_performance(frames, 25, seed=0)) == frames


# Rasteriser


def test_two_triangles_fill_a_square_with_linear_places():
    corners = np.array([[1, 1, 0], [9, 1, 0], [1, 9, 0], [9, 9, 0]], np.float32)
    uv = corners[:, :2] * 2 + 3
    surface = rasterise(corners, np.array([[0, 1, 2], [1, 3, 2]]), uv, 12, 11)
    inside = np.zeros((11, 12), bool)
    inside[1:10, 1:10] = True
    y, x = np.mgrid[:11, :12]
    np.testing.assert_array_equal(surface.nearness, np.where(inside, 0, -np.inf))
    np.testing.assert_allclose(surface.u, np.where(inside, x * 2 + 3, -9), atol=1e-3)
    np.testing.assert_allclose(surface.v, np.where(inside, y * 2 + 3, -9), atol=1e-3)


def test_the_nearer_triangle_wins_whatever_the_order():
    points = np.array(
        [[0, 0, 1], [20, 0, 1], [0, 20, 1], [0, 0, 0], [20, 0, 5], [0, 20, 0]], np.float32
    )
    uv = np.repeat(np.array([[1, 0], [2, 0]], np.float32), 3, axis=0)
    for order in ([0, 1], [1, 0]):
        picture = rasterise(points, np.array([[0, 1, 2], [3, 4, 5]])[order], uv, 20, 20).u
        assert picture[2, 2] == 1 and picture[2, 12] == 2


@pytest.mark.parametrize("batch", [7, 2048])
def test_the_rasteriser_agrees_with_testing_every_sample_against_every_triangle(batch, monkeypatch):
    monkeypatch.setattr(raster, "_BATCH", batch)
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 84, (90, 3)).astype(np.float32)
    triangles = np.arange(90).reshape(30, 3)
    uv = np.repeat(np.arange(30, dtype=np.float32), 3)[:, None] * np.ones((1, 2), np.float32)
    surface = rasterise(points, triangles, uv, 64, 64)
    mine = np.where(surface.nearness > -np.inf, surface.u, -1)
    y, x = np.mgrid[:64, :64].astype(float)
    nearest = np.full((64, 64), -np.inf)
    theirs = np.full((64, 64), -1.0)
    for k, triangle in enumerate(triangles):
        corners = np.vstack([points[triangle, :2].T.astype(float), np.ones(3)])
        weights = np.linalg.solve(corners, np.stack([x.ravel(), y.ravel(), np.ones(x.size)]))
        depth = (points[triangle, 2] @ weights).reshape(64, 64)
        hit = (weights.min(0) >= 0).reshape(64, 64) & (depth > nearest)
        nearest[hit], theirs[hit] = depth[hit], k
    # Samples within a thousandth of an edge may go either way.
    assert (np.abs(mine - theirs) < 1e-3).mean() > 0.998
    assert 0.5 < (theirs >= 0).mean() < 1


def test_nothing_to_draw_draws_nothing():
    far = np.array([[-9, -9, 0], [-5, -9, 0], [-9, -5, 0], [3, 3, 0]], np.float32)
    for triangles in ([[0, 1, 2]], [[3, 3, 3]]):
        surface = rasterise(far, np.array(triangles), far[:, :2].copy(), 8, 8)
        assert (surface.nearness == -np.inf).all() and (surface.u == -9).all()


# Frames


def test_same_arguments_same_bytes_and_shapes():
    state = random_performance(5, 25, seed=2)[4]
    first = render_actor(ACTORS["ada"], state, SIZE, background=3)
    second = render_actor(ACTORS["ada"], state, SIZE, background=3)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.face_mask.tobytes() == second.face_mask.tobytes()
    assert first.landmarks.tobytes() == second.landmarks.tobytes()
    assert first.image.shape == (SIZE, SIZE, 3) and first.image.dtype == np.uint8
    assert first.landmarks.shape == (68, 2)
    assert first.face_mask.min() >= 0 and first.face_mask.max() == 1
    other = render_actor(ACTORS["ada"], state, SIZE, background=4)
    assert np.abs(other.image.astype(float) - first.image).mean() > 3


@pytest.mark.parametrize("size", [64, 97, 256])
def test_landmarks_and_picture_scale_with_the_frame(size):
    points = render_actor(ACTORS["dara"], ActorState(), size).landmarks
    large = render_actor(ACTORS["dara"], ActorState(), 512).landmarks
    np.testing.assert_allclose((points + 0.5) / size, (large + 0.5) / 512, atol=1e-4)


@pytest.mark.parametrize("name", list(ACTORS))
def test_landmarks_lie_where_a_face_has_them(name):
    points = render_actor(ACTORS[name], ActorState(), 256).landmarks
    eyes = [points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)]
    assert eyes[0][0] < eyes[1][0] and abs(eyes[0][1] - eyes[1][1]) < 0.5
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw from left to right
    assert np.argmax(points[:17, 1]) == 8  # the chin lowest
    for chain in (range(17, 27), range(31, 36), range(48, 55)):
        assert (np.diff(points[list(chain), 0]) > 0).all()
    brow, eye, tip, lips, chin = (points[i, 1].mean() for i in ([19, 24], [37, 44], 30, 62, 8))
    assert brow < eye < tip < lips < chin
    # A symmetric head: left and right mirror about the middle.
    middle = points[27, 0]
    assert abs((points[48, 0] + points[54, 0]) / 2 - middle) < 0.5


def test_turning_up_right_and_clockwise_have_the_stated_signs():
    still = render_actor(ACTORS["chen"], ActorState(), SIZE).landmarks

    def nose_from_eyes(points: np.ndarray) -> np.ndarray:
        return points[30] - points[36:48].mean(0)

    right = render_actor(ACTORS["chen"], ActorState(yaw_deg=25), SIZE).landmarks
    up = render_actor(ACTORS["chen"], ActorState(pitch_deg=20), SIZE).landmarks
    rolled = render_actor(ACTORS["chen"], ActorState(roll_deg=15), SIZE).landmarks
    assert nose_from_eyes(right)[0] > nose_from_eyes(still)[0] + 4
    assert nose_from_eyes(up)[1] < nose_from_eyes(still)[1] - 2
    slope = rolled[RIGHT_EYE].mean(0) - rolled[LEFT_EYE].mean(0)
    assert np.rad2deg(np.arctan2(slope[1], slope[0])) == pytest.approx(15, abs=0.5)


def test_the_mouth_opens_and_the_lids_close_with_their_parameters():
    gaps, lids = [], []
    for k in np.linspace(0, 1, 5):
        view = render_actor(ACTORS["ada"], ActorState(mouth=float(k), blink=float(k)), SIZE)
        gaps.append(mouth_gap(view.landmarks))
        lids.append(lid_gap(view.landmarks))
    assert abs(gaps[0]) < 0.02 and gaps[-1] > 0.25 and (np.diff(gaps) > 0.03).all()
    assert lids[0] > 0.1 and abs(lids[-1]) < 0.02 and (np.diff(lids) < -0.02).all()


def test_an_open_mouth_is_dark_and_open_eyes_show_white_and_iris():
    view = render_actor(ACTORS["ewa"], ActorState(mouth=1.0), 256)
    gray = cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY).astype(float)
    x, y = (view.landmarks[62] * 0.4 + view.landmarks[66] * 0.6).round().astype(int)
    cheek_x, cheek_y = (view.landmarks[3] * 0.5 + view.landmarks[31] * 0.5).round().astype(int)
    assert gray[y, x] < 60 < 120 < gray[cheek_y, cheek_x]
    eye = view.landmarks[LEFT_EYE].mean(0).round().astype(int)
    pupil = gray[eye[1] - 2 : eye[1] + 3, eye[0] - 2 : eye[0] + 3].min()
    white = gray[eye[1] - 1 : eye[1] + 2, eye[0] - 9 : eye[0] + 10].max()
    assert pupil < 60 and white > 120


def test_light_comes_from_where_the_state_says():
    left, right = (
        render_actor(ACTORS["bruno"], ActorState(light_yaw_deg=yaw), SIZE) for yaw in (-60, 60)
    )
    points = left.landmarks
    x0, x1 = (points[i].round().astype(int)[0] for i in (2, 14))
    y = int(points[30, 1])
    middle = (x0 + x1) // 2
    for view, brighter in ((left, True), (right, False)):
        row = view.image[y - 4 : y + 4].mean((0, 2))
        assert (row[x0 + 6 : middle].mean() > row[middle : x1 - 6].mean()) == brighter


def test_noise_is_off_by_default_and_its_seed_matters():
    clean, same, noisy, other = (
        render_actor(ACTORS["ada"], state, SIZE).image.astype(float)
        for state in (
            ActorState(),
            ActorState(noise_seed=9),
            ActorState(noise=2.0),
            ActorState(noise=2.0, noise_seed=1),
        )
    )
    assert (clean == same).all() and (noisy != other).mean() > 0.3
    assert (noisy - clean).std() == pytest.approx(2.0, rel=0.2)


def test_no_background_shows_through_a_face():
    for state in random_performance(12, 2, seed=6, max_yaw_deg=40):
        mask = render_actor(ACTORS["bruno"], state, 256).face_mask
        filled = cv2.morphologyEx((mask > 0.2).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9)))
        inside = cv2.erode(filled, np.ones((11, 11))) > 0
        assert (mask[inside] > 0.2).mean() > 0.9995


# Twins


@pytest.mark.parametrize(("wearer", "face"), [("ada", "bruno"), ("chen", "dara"), ("dara", "ewa")])
def test_twins_differ_from_the_actor_only_inside_the_mask(wearer, face):
    actor, twin = ACTORS[wearer], ACTORS[face]
    for state in random_performance(4, 1, seed=8, max_yaw_deg=45):
        own = render_actor(actor, state, SIZE)
        for skin_of in (None, actor):
            worn = render_actor(actor, state, SIZE, face_of=twin, skin_of=skin_of)
            outside = np.maximum(own.face_mask, worn.face_mask) == 0
            assert (own.image[outside] == worn.image[outside]).all()
            assert 0.4 < outside.mean() < 0.95
            inside = own.face_mask > 0.9
            assert np.abs(own.image[inside].astype(float) - worn.image[inside]).mean() > 4


def test_a_matched_twin_has_the_wearers_tone_and_a_raw_one_its_own():
    actor, twin = ACTORS["dara"], ACTORS["ewa"]
    own = render_actor(actor, ActorState(), 256)
    raw = render_actor(actor, ActorState(), 256, face_of=twin)
    matched = render_actor(actor, ActorState(), 256, face_of=twin, skin_of=actor)
    inside = own.face_mask > 0.9
    tones = [view.image[inside].mean() for view in (own, raw, matched)]
    assert abs(tones[2] - tones[0]) < 10 < 40 < tones[1] - tones[0]


def test_a_twin_has_the_faces_landmarks_and_the_wearers_outline():
    actor, twin = ACTORS["ada"], ACTORS["bruno"]
    own = render_actor(actor, ActorState(), 256).landmarks
    worn = render_actor(actor, ActorState(), 256, face_of=twin).landmarks
    other = render_actor(twin, ActorState(), 256).landmarks
    inner = slice(17, 68)
    assert np.abs(worn[inner] - other[inner]).max() < 0.5
    # The uppermost points of the outline lie beside the ears, where the wearer's head goes on.
    assert np.abs(worn[[0, 16]] - own[[0, 16]]).max() < np.abs(other[[0, 16]] - own[[0, 16]]).max()


def test_wearing_ones_own_face_changes_nothing():
    actor = ACTORS["chen"]
    plain = render_actor(actor, ActorState(mouth=0.4), SIZE)
    worn = render_actor(actor, ActorState(mouth=0.4), SIZE, face_of=actor, skin_of=actor)
    assert plain.image.tobytes() == worn.image.tobytes()


# Detectors


def test_mtcnn_finds_the_actors_and_agrees_on_the_five_points():
    torch = pytest.importorskip("torch")
    facenet_pytorch = pytest.importorskip("facenet_pytorch")
    torch.set_num_threads(1)
    mtcnn = facenet_pytorch.MTCNN(device="cpu")
    views = [
        render_actor(actor, ActorState(yaw_deg=yaw, mouth=mouth), 256, background=k)
        for k, actor in enumerate(ACTORS.values())
        for yaw, mouth in ((-45, 0.1), (0, 0.8), (20, 0.0), (45, 0.4))
    ]
    _, scores, points = mtcnn.detect([view.image for view in views], landmarks=True)
    assert all(score[0] is not None and score[0] >= 0.9 for score in scores)
    errors = []
    for found, view in zip(points, views, strict=True):
        eyes = [view.landmarks[eye].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)]
        true = np.stack([*eyes, *view.landmarks[[30, 48, 54]]])
        offset = np.linalg.norm(found[0].astype(float) - true, axis=1)
        errors.append(offset / np.linalg.norm(eyes[0] - eyes[1]))
    assert np.median(errors, axis=0).max() < 0.14


def test_yunet_finds_the_actors_and_the_mesh_sees_the_mouth(weights_dir):
    detector = cv2.FaceDetectorYN.create(
        str(weights_dir / "yunet_n_640_640.onnx"), "", (256, 256), 0.3
    )
    mesh = cv2.dnn.readNetFromTFLite(str(weights_dir / "face_landmark.tflite"))
    gaps, mouths, scores = [], [], []
    for k, actor in enumerate(ACTORS.values()):
        for mouth, yaw in ((0.0, -40), (0.3, 10), (0.6, 45), (1.0, -15)):
            view = render_actor(actor, ActorState(yaw_deg=yaw, mouth=mouth), 256, background=k)
            _, found = detector.detect(view.image[..., ::-1].copy())
            assert found is not None and len(found) == 1
            scores.append(found[0, 14])
            x, y, width, height = found[0, :4]
            side = 1.5 * max(width, height)
            scale = 192 / side
            shift = 96 - scale * np.array([x + width / 2, y + height / 2])
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            crop = cv2.warpAffine(view.image, matrix, (192, 192))
            mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
            outputs = mesh.forward(mesh.getUnconnectedOutLayersNames())
            points = next(o for o in outputs if o.size == 468 * 3).reshape(468, 3)
            gaps.append(np.linalg.norm(points[13] - points[14]))
            mouths.append(mouth)
    assert min(scores) >= 0.6 and np.median(scores) >= 0.9
    assert np.corrcoef(gaps, mouths)[0, 1] > 0.8
