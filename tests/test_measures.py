"""What is measured of each face, on rendered actors whose crops are changed by hand."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Cast
from PIL import Image
from test_conversion_occlusion import GREEN, NoGreen

from faceswap_lite.curation import measures as measuring
from faceswap_lite.curation.decisions import report_folder
from faceswap_lite.curation.measures import MEASURES_FILE, measure_face, measure_faces
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.face_set import FaceSet, StoredFace, open_face_set
from faceswap_lite.faces.landmarkers import build_mesh
from faceswap_lite.faces.records import write_crop


@pytest.fixture
def faces(cast: Cast, tmp_path: Path) -> FaceSet:
    shutil.copytree(cast.source, tmp_path / "set")
    return open_face_set(tmp_path / "set")


def changed(face: StoredFace, crop: np.ndarray) -> StoredFace:
    write_crop(face.path, crop, face.record)
    return face


def crop_of(face: StoredFace) -> np.ndarray:
    with Image.open(face.path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_rows_follow_the_set_and_are_of_the_face(faces: FaceSet) -> None:
    found = measure_faces(faces)
    assert len(found.light) == len(faces.faces) == len(found.views)
    assert ((found.light > 0.1) & (found.light < 0.9)).all()
    assert (found.clipped < 0.2).all()
    # The renderer's heads are of one size: the eyes are about as far apart in all frames.
    assert found.eyes_px.max() < 1.3 * found.eyes_px.min()
    # No mask is empty or full.
    share = (found.masks > 127).mean((1, 2))
    assert ((share > 0.2) & (share < 0.9)).all()


def test_blur_and_darkness_are_seen(faces: FaceSet) -> None:
    face = faces.faces[0]
    before = measure_face(face, None)
    crop = crop_of(face)
    after = measure_face(changed(face, cv2.GaussianBlur(crop, (0, 0), 4)), None)
    assert after["sharpness"] < 0.5 * before["sharpness"]
    after = measure_face(changed(face, crop // 8), None)
    assert after["light"] < 0.2 * before["light"]
    after = measure_face(changed(face, np.full_like(crop, 255)), None)
    assert after["clipped"] == 1 and after["sharpness"] == 0


def test_what_is_before_a_face_is_measured_with_its_place(faces: FaceSet) -> None:
    face = faces.faces[0]
    unknown = measure_face(face, None)
    assert np.isnan(unknown["hidden"]) and np.isnan(unknown["hidden_place"]).all()
    bare = measure_face(face, None, NoGreen())
    assert bare["hidden"] < 0.01
    crop = crop_of(face).copy()
    edge = len(crop)
    crop[round(0.62 * edge) : round(0.72 * edge), : edge // 2] = GREEN
    found = measure_face(changed(face, crop), None, NoGreen())
    assert 0.03 < found["hidden"] < 0.3
    x, y = found["hidden_place"]
    assert 0.2 < x < 0.5 and 0.55 < y < 0.8


def test_enlarging_is_not_blurring(faces: FaceSet) -> None:
    """A face seen small and shown large is as sharp as it was."""
    face = faces.faces[0]
    before = measure_face(face, None)
    crop, size = crop_of(face), face.record.size
    factor = 12 / before["eyes_px"]
    small = cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    record = face.record.model_copy(
        update={
            "landmarks": face.record.landmarks * factor,
            "true_landmarks": None,
            "frame_to_crop": face.record.frame_to_crop @ np.diag([1 / factor, 1 / factor, 1]),
        }
    )
    write_crop(face.path, large, record)
    after = measure_face(StoredFace(face.path, record), None)
    assert after["eyes_px"] == pytest.approx(12, rel=1e-3)
    assert after["sharpness"] > 0.8 * before["sharpness"]


def test_the_mesh_finds_misplaced_faces_and_none(faces: FaceSet, with_weights: Path) -> None:
    mesh, face = build_mesh(), faces.faces[0]
    crop = crop_of(face)
    before = measure_face(face, mesh)
    assert before["presence"] > 0.9 and before["alignment_error"] < 0.12
    middle = (len(crop) / 2, len(crop) / 2)
    turned = cv2.warpAffine(
        crop,
        cv2.getRotationMatrix2D(middle, 25, 1),
        crop.shape[:2],
        borderMode=cv2.BORDER_REPLICATE,
    )
    assert measure_face(changed(face, turned), mesh)["alignment_error"] > 0.2
    noise = np.random.default_rng(0).integers(0, 256, crop.shape, dtype=np.uint8)
    assert measure_face(changed(face, noise), mesh)["presence"] < 0.2


def test_what_was_measured_is_not_measured_again(
    faces: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure_faces(faces)
    taken: list[str] = []
    measure = measuring.measure_face

    def counted(face: StoredFace, *networks: Any) -> dict[str, Any]:
        taken.append(face.path.name)
        return measure(face, *networks)

    monkeypatch.setattr(measuring, "measure_face", counted)
    again = measure_faces(faces)
    assert taken == []
    np.testing.assert_array_equal(again.views, first.views)
    # One that has changed, and only that.
    face = changed(faces.faces[3], crop_of(faces.faces[3]) // 2)
    after = measure_faces(open_face_set(faces.path))
    assert taken == [face.path.name]
    assert after.light[3] < 0.6 * first.light[3]


def test_a_broken_store_is_made_anew(faces: FaceSet) -> None:
    first = measure_faces(faces)
    (report_folder(faces.path) / MEASURES_FILE).write_bytes(b"PK\x03\x04 no longer")
    np.testing.assert_array_equal(measure_faces(faces).light, first.light)


def test_an_unreadable_crop_is_named(faces: FaceSet) -> None:
    path = faces.faces[2].path
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FaceswapError, match=f"{path.name}.*delete it"):
        measure_faces(faces)
