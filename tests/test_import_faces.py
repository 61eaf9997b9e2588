"""Faces of DeepFaceLab become a face set: pictures and their data byte for byte."""

import io
import pickle
import random
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import silent
from PIL import Image

from faceswap_lite.about import describe_face_set
from faceswap_lite.config import CurateConfig, ExtractConfig
from faceswap_lite.config_files import load_config
from faceswap_lite.curation.curate import curate_faces
from faceswap_lite.errors import FaceswapError
from faceswap_lite.faces.align import align
from faceswap_lite.faces.extract import extract_faces
from faceswap_lite.faces.face_set import open_face_set
from faceswap_lite.faces.footage import find_footage
from faceswap_lite.faces.user_masks import user_mask_views
from faceswap_lite.geometry import invert_similarity, transform_points
from faceswap_lite.interchange.deepfacelab_faces import clip_and_frame, list_faces, read_face
from faceswap_lite.interchange.importing_faces import import_faces
from faceswap_lite.runs.load import load_run
from faceswap_lite.training.train import train

CONFIG = ExtractConfig(embedder="none", detector="mtcnn")
CORNERS = np.array([[0.0, 0.0], [256, 0], [256, 256], [0, 256]])
MUTATIONS = 100


@pytest.fixture(scope="module")
def dfl(fixtures_dir: Path) -> Path:
    return fixtures_dir / "deepfacelab/faces"


@pytest.fixture(scope="module")
def imported(dfl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faces") / "set"
    import_faces(dfl / "aligned/whole_face", out, CONFIG, say=silent)
    return out


def test_all_of_it_is_kept(dfl: Path, imported: Path) -> None:
    faces = open_face_set(imported)
    assert (len(faces.faces), faces.pack, faces.coverage) == (7, "ibug68", "dfl_whole")
    assert not faces.problems
    with np.load(dfl / "geometry.npz") as geometry:
        truth = geometry["landmarks68"]
    for face, points in zip(faces.faces, truth, strict=True):
        original = (dfl / "aligned/whole_face" / face.path.name).read_bytes()
        written, record = face.path.read_bytes(), face.record
        # Nothing was taken away: what was there is there, around our comment.
        cut = next(i for i, (a, b) in enumerate(zip(original, written, strict=False)) if a != b)
        added = len(written) - len(original)
        assert original[:cut] == written[:cut] and original[cut:] == written[cut + added :]
        assert np.array_equal(
            np.asarray(Image.open(face.path)), np.asarray(Image.open(io.BytesIO(original)))
        )
        assert np.abs(record.landmarks - points).max() < 0.01
        assert record.frame_index == int(face.path.name[:5])
        shown = transform_points(CORNERS, invert_similarity(record.frame_to_crop))
        ours = transform_points(shown, align(points, "ibug68", "dfl_whole", 256))
        assert np.abs(ours - CORNERS).max() < 0.05
        assert record.pose is not None and record.mouth_opening is not None
        assert record.time is None and record.frame_width is None
    assert "dfl_whole" in describe_face_set(imported)


def test_masks_and_polygons(dfl: Path, imported: Path) -> None:
    faces = open_face_set(imported)
    given = user_mask_views(faces, 256, 0.0)
    assert [faces.faces[place].path.name for place in sorted(given)] == [
        "00001_0.jpg", "00063_0.jpg", "00125_0.jpg",
    ]  # fmt: skip
    stored = {name: read_face(data, name) for name, data in list_faces(dfl / "aligned/whole_face")}
    mask = stored["00001_0.jpg"].mask
    assert mask is not None and np.abs(given[0].astype(int) - mask).mean() < 1
    # Drawn by hand, polygons count for more.
    (includes, outline), (hides, hidden) = stored["00063_0.jpg"].polygons
    assert includes and not hides
    left, top = (outline.min(0) + 20).astype(int)
    inside = hidden.mean(0).round().astype(int)
    assert given[1][top, left] == 255 and given[1][0, 0] == 0
    assert given[1][inside[1], inside[0]] == 0


def test_a_pak_is_the_same_set(dfl: Path, imported: Path, tmp_path: Path) -> None:
    import_faces(dfl / "faceset.pak", tmp_path / "set", CONFIG, say=silent)
    one, other = open_face_set(imported), open_face_set(tmp_path / "set")
    assert [f.path.name for f in one.faces] == [f.path.name for f in other.faces]
    for a, b in zip(one.faces, other.faces, strict=True):
        assert np.abs(a.record.landmarks - b.record.landmarks).max() < 0.01
        assert np.array_equal(np.asarray(Image.open(a.path)), np.asarray(Image.open(b.path)))
    masks = [sorted(p.name for p in (s / "_masks").iterdir()) for s in (imported, tmp_path / "set")]
    assert masks[0] == masks[1]


def test_given_again_and_after_a_kill(dfl: Path, imported: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    import_faces(dfl / "faceset.pak", out, CONFIG, say=silent)
    whole = {path.name: path.read_bytes() for path in out.glob("*.jpg")}
    lines: list[str] = []
    import_faces(dfl / "faceset.pak", out, CONFIG, say=lines.append)
    assert lines == [f"{out}: already done"]
    # Killed before its end: some faces and the note of the end are missing.
    note = out / ".faceswap_lite/import.json"
    note.write_text(note.read_text().replace("true", "false"))
    for name in list(whole)[::2]:
        (out / name).unlink()
    # And one that a power cut has shortened.
    (out / list(whole)[1]).write_bytes(whole[list(whole)[1]][:-2000])
    import_faces(dfl / "faceset.pak", out, CONFIG, say=lines.append)
    assert {path.name: path.read_bytes() for path in out.glob("*.jpg")} == whole
    with pytest.raises(FaceswapError, match="belongs to another job"):
        import_faces(dfl / "aligned/head", out, CONFIG)


@pytest.mark.parametrize("kind", ["full_face", "head"])
def test_other_geometries(dfl: Path, tmp_path: Path, kind: str) -> None:
    import_faces(dfl / "aligned" / kind, tmp_path / "set", CONFIG, say=silent)
    assert open_face_set(tmp_path / "set").coverage == f"dfl_{kind.removesuffix('_face')}"


def test_they_train_with_extracted_ones(
    dfl: Path, imported: Path, media_dir: Path, with_weights: Path, tmp_path: Path
) -> None:
    clip = media_dir / "video/grid_s1_eval_1.mp4"
    options = ExtractConfig(crop_coverage="dfl_whole", embedder="none", size=96, every=4)
    extract_faces(find_footage([clip]), tmp_path / "extracted", options)
    config = load_config("quick64", ["training.steps=2", "init.run=none", "training.threads=1"])
    train(
        open_face_set(imported), open_face_set(tmp_path / "extracted"), tmp_path / "run", config,
        say=silent,
    )  # fmt: skip
    manifest = load_run(tmp_path / "run").manifest
    assert (manifest.landmarks_pack, manifest.coverage) == ("mesh", "dfl_whole")

    # Curation goes by them, too, and compares the two.
    summary = curate_faces(imported, CurateConfig(), against=tmp_path / "extracted")
    assert len(summary.decisions) == 7 and summary.coverage is not None


def test_the_mesh_cuts_as_the_tool_cut(
    dfl: Path, media_dir: Path, with_weights: Path, tmp_path: Path
) -> None:
    # The fixture's faces are every 62nd frame of this clip, from its first on.
    options = ExtractConfig(crop_coverage="dfl_whole", margin=0, embedder="none", every=62)
    extract_faces(find_footage([media_dir / "video/grid_s1_eval_1.mp4"]), tmp_path / "set", options)
    faces = open_face_set(tmp_path / "set").faces
    with np.load(dfl / "geometry.npz") as geometry:
        matrices = geometry["matrices"][:, geometry["types"].tolist().index("whole_face")]
    off = []
    for face, matrix in zip(faces, matrices, strict=True):
        shown = transform_points(CORNERS, invert_similarity(matrix))
        ours = transform_points(shown, face.record.frame_to_crop)
        off.append(np.linalg.norm(ours - CORNERS, axis=1).mean() / 256)
    assert np.mean(off) < 0.02


def test_files_that_cannot_be_used(dfl: Path, tmp_path: Path) -> None:
    folder = tmp_path / "aligned"
    shutil.copytree(dfl / "aligned/whole_face", folder)
    folder.chmod(0o755)
    good = (folder / "00001_0.jpg").read_bytes()
    Image.new("RGB", (64, 64)).save(folder / "plain.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(good[:3000])
    # A reader of pictures steps over it; a comment has no place in such a file.
    behind = good.index(b"\xff\xdb")
    (folder / "stray.jpg").write_bytes(good[:behind] + b"\xff\x00" + good[behind:])
    lines: list[str] = []
    import_faces(folder, tmp_path / "set", CONFIG, say=lines.append)
    assert "7 faces" in lines[0] and lines[1].startswith("4 are left out: ")
    assert "plain.jpg: holds no data of DeepFaceLab" in lines[1]
    with pytest.raises(FaceswapError, match="holds no faces of DeepFaceLab"):
        import_faces(tmp_path / "nothing.txt", tmp_path / "other", CONFIG)


def chunk_of(value: object) -> bytes:
    """A crop with this in its chunk."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "JPEG")
    data, chunk = stream.getvalue(), pickle.dumps(value, 4)
    return data[:2] + struct.pack(">BBH", 0xFF, 0xEF, len(chunk) + 2) + chunk + data[2:]


class Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return shutil.rmtree, (str(self.mark),)


def test_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "mark").mkdir()
    with pytest.raises(FaceswapError, match="nothing of it was run"):
        read_face(chunk_of({"face_type": Runs(tmp_path / "mark")}), "a.jpg")
    assert (tmp_path / "mark").is_dir()
    odd: list[object] = [
        {},
        [],
        {"face_type": "mouth"},
        {"face_type": "head", "source_filename": 1},
    ]
    for value in odd:
        with pytest.raises(FaceswapError, match="cannot be used"):
            read_face(chunk_of(value), "a.jpg")


def pak_of(*files: tuple[str, bytes]) -> bytes:
    """A faceset.pak of crops under these names."""
    configs = pickle.dumps([{"filename": name, "face_type": 4} for name, _ in files], 4)
    ends = np.cumsum([0, *(len(data) for _, data in files)]).astype("<u8")
    head = struct.pack("<QQ", 1, len(configs)) + configs
    return head + ends.tobytes() + b"".join(data for _, data in files)


def test_names_that_are_no_names(dfl: Path, tmp_path: Path) -> None:
    crops = [data for _, data in list_faces(dfl / "faceset.pak")]
    names = ["a/00001_0.jpg", "b/00001_0.jpg", "../../x\x00.jpg", "\ud800.jpg", "n" * 300, ".x.jpg"]
    (tmp_path / "faceset.pak").write_bytes(pak_of(*zip(names, crops, strict=False)))
    import_faces(tmp_path / "faceset.pak", tmp_path / "set", CONFIG, say=silent)
    assert sorted(p.name for p in (tmp_path / "set").glob("*.jpg")) == [
        "00001_0.jpg", "1_00001_0.jpg", "face2_0.jpg", "face3_0.jpg", "face4_0.jpg", "face5_0.jpg",
    ]  # fmt: skip
    assert len(open_face_set(tmp_path / "set").faces) == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faceset.pak", "set"]


def test_points_that_are_no_face(dfl: Path, tmp_path: Path) -> None:
    whole = {
        "face_type": "whole_face", "source_filename": "00001.png", "source_rect": (0, 0, 9, 9),
        "source_landmarks": np.zeros((68, 2)).tolist(), "image_to_face_mat": np.eye(3)[:2],
    }  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in/oddly_same.jpg").write_bytes(chunk_of(whole))
    far = {**whole, "source_landmarks": np.full((68, 2), 1e30)}
    (tmp_path / "in/far.jpg").write_bytes(chunk_of(far))
    odd = {**whole, "source_filename": "\ud800_00001.png"}
    (tmp_path / "in/odd.jpg").write_bytes(chunk_of(odd))
    good = dfl / "aligned/whole_face/00001_0.jpg"
    (tmp_path / "in/00001_0.jpg").write_bytes(good.read_bytes())
    lines: list[str] = []
    import_faces(tmp_path / "in", tmp_path / "set", CONFIG, say=lines.append)
    assert "1 faces" in lines[0] and lines[1].startswith("3 are left out: far.jpg: its data")
    assert "oddly_same.jpg: its data of DeepFaceLab cannot be used (its points lie" in lines[1]


def test_mutations_end_in_a_line(dfl: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    jpeg = (dfl / "aligned/whole_face/00063_0.jpg").read_bytes()
    pak = (dfl / "faceset.pak").read_bytes()
    for turn in range(MUTATIONS):
        data = bytearray(pak if turn % 2 else jpeg)
        head = 15_000 if turn % 2 else 5_000
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(head)] = rng.randrange(256)
        mutated = bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)
        (tmp_path / "faceset.pak").write_bytes(mutated)
        try:
            if turn % 2:
                for name, face in list_faces(tmp_path / "faceset.pak"):
                    read_face(face, name)
            else:
                read_face(mutated, "a.jpg").drawn_mask(256)
        except FaceswapError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("00063.png", ("frames", 63)),
        ("scene_2_00012.jpg", ("scene_2", 12)),
        ("C:\\\\data\\\\00001.png", ("frames", 1)),
        ("portrait.jpg", ("portrait", None)),
        ("IMG 2034.jpg", ("IMG", 2034)),
    ],
)
def test_names_of_frames(name: str, told: tuple[str, int | None]) -> None:
    assert clip_and_frame(name) == told
