"""What a picture's head says beside its size: the shape of pixels, gamma, light; and its folder."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.clips import ColorTags, one_number, passed_over
from faceswap_lite.media.images import write_image
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.stills import read_still, still_head
from faceswap_lite.media.writing import ClipWriter

GREY = Image.new("RGB", (16, 8), (90, 80, 70))
LINEAR = struct.pack(">I", 100_000)


def png_of(path: Path, *chunks: tuple[bytes, bytes]) -> Path:
    said = PngImagePlugin.PngInfo()
    for name, data in chunks:
        said.add(name, data)
    GREY.save(path, pnginfo=said)
    return path


def again(path: Path, out: Path) -> ClipWriter:
    with open_clip(path) as reader, ClipWriter(out, like=reader.info) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts)
    return writer


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", "deep.tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_pixels_of_pictures_that_are_not_square_stay_so(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path, exif = tmp_path / f"in{suffix}", Image.Exif()
    exif[274] = orientation
    if suffix == "deep.tif":
        tags = [(274, 3, 1, orientation, True)]
        deep = np.full((8, 16, 3), 20_000, np.uint16)
        tifffile.imwrite(path, deep, photometric="rgb", resolution=(200, 100), extratags=tags)
    else:
        GREY.save(path, dpi=(200, 100), exif=exif)
    # Twice the dots across: half as wide as high, until it is turned.
    aspect = Fraction(1, 2) if orientation == 1 else Fraction(2)
    assert still_head(path).pixel_aspect == aspect
    for name in ("out.mkv", "out"):
        writer = again(path, tmp_path / name)
        assert not [note for note in writer.notes if "square" in note]
        with open_clip(tmp_path / name) as reader:
            assert reader.info.pixel_aspect == aspect


def test_shapes_of_pixels_that_only_rounding_tells_apart_are_one(tmp_path: Path) -> None:
    for number in range(3):
        GREY.save(tmp_path / f"a.{number}.jpg", dpi=(300, 300 - number))
    with open_clip(tmp_path) as reader:
        assert (reader.problems, reader.info.pixel_aspect) == ([], 1)


def test_a_video_of_pixels_that_are_not_square_keeps_them_in_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        output.mux(stream.encode(av.VideoFrame(32, 16, "yuv420p")))
        output.mux(stream.encode(None))
    again(tmp_path / "in.mp4", tmp_path / "out")
    with open_clip(tmp_path / "out") as reader:
        assert reader.info.pixel_aspect == Fraction(16, 15)
    assert [n for n in again(tmp_path / "in.mp4", tmp_path / "a.jpg").notes if "as square" in n]


@pytest.mark.parametrize("dots", [(0, 100), (100_000, 1), (72, 72)])
def test_dots_that_say_no_shape_are_square(tmp_path: Path, dots: tuple[int, int]) -> None:
    path = png_of(tmp_path / "a.png")
    data = path.read_bytes()
    at = data.index(b"IDAT") - 4
    chunk = b"pHYs" + struct.pack(">2IB", *dots, 0)
    with path.open("wb") as file:
        file.write(data[:at])
        PngImagePlugin.putchunk(file, chunk[:4], chunk[4:])
        file.write(data[at:])
    assert still_head(path).pixel_aspect == 1


def test_gamma_of_a_png_is_kept_or_said(tmp_path: Path) -> None:
    path = png_of(tmp_path / "a.png", (b"gAMA", LINEAR))
    again(path, tmp_path / "out")
    with Image.open(tmp_path / "out" / "frame_000001.png") as made:
        assert made.info["gamma"] == 1
    for name in ("out.mp4", "out.jpg"):
        assert [n for n in again(path, tmp_path / name).notes if "gAMA" in n], name


def test_gamma_that_does_not_count_is_no_news(tmp_path: Path) -> None:
    usual, srgb = (b"gAMA", struct.pack(">I", 45_455)), (b"sRGB", b"\0")
    assert still_head(png_of(tmp_path / "a.png", usual)).calibration == ()
    assert still_head(png_of(tmp_path / "b.png", (b"gAMA", LINEAR), srgb)).calibration == ()
    off = (31_269, 32_899, 63_999, 33_001, 30_000, 60_000, 15_000, 5_999)
    near = (b"cHRM", struct.pack(">8I", *off))
    assert still_head(png_of(tmp_path / "c.png", usual, near)).calibration == ()
    far = (b"cHRM", struct.pack(">8I", *off[:2], 68_000, *off[3:]))
    assert still_head(png_of(tmp_path / "d.png", usual, far)).calibration == (usual, far)


@pytest.mark.parametrize("gamma", [45_000, 50_994])
def test_a_folder_in_which_some_pictures_say_the_usual_gamma_is_of_one(
    tmp_path: Path, gamma: int
) -> None:
    png_of(tmp_path / "a.1.png", (b"gAMA", struct.pack(">I", gamma)))
    png_of(tmp_path / "a.2.png")
    with open_clip(tmp_path) as reader:
        assert (reader.problems, reader.info.calibration) == ([], ())


def avif_of(path: Path, *numbers: int) -> Path:
    """An AVIF that says these of its primaries, transfer function and matrix."""
    GREY.resize((64, 64)).save(path)
    data = path.read_bytes()
    at = data.index(b"colrnclx") + 8
    path.write_bytes(data[:at] + struct.pack(">3H", *numbers) + data[at + 6 :])
    return path


def test_an_avif_says_that_it_is_pq(tmp_path: Path) -> None:
    with open_clip(avif_of(tmp_path / "a.avif", 9, 16, 9)) as reader:
        assert reader.info.color == ColorTags(9, 16, 9, 1)
        assert [line for line in reader.problems if line.startswith("is PQ HDR")]


@pytest.mark.parametrize("numbers", [(300, 16, 9), (9, 400, 9), (0, 16, 9)])
def test_an_avifs_numbers_that_no_table_has_say_nothing(
    tmp_path: Path, numbers: tuple[int, int, int]
) -> None:
    path = avif_of(tmp_path / "a.avif", *numbers)
    assert still_head(path).color == ColorTags()
    again(path, tmp_path / "out.png")


def test_a_damaged_avif_of_a_folder_is_left_out_and_named(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for number in (1, 2):
        Image.fromarray(levels).save(tmp_path / f"a.{number}.avif")
    bad = tmp_path / "a.2.avif"
    data = bytearray(bad.read_bytes())
    at = data.index(b"mdat") + 4
    data[at:] = bytes(len(data) - at)
    bad.write_bytes(data)
    with pytest.raises(FaceswapError, match=r"a\.2\.avif: is damaged"):
        read_still(bad)
    with open_clip(tmp_path) as reader:
        assert len(list(reader)) == 1
    assert [line for line in reader.problems if "left out: a.2.avif" in line]


def test_a_tiff_whose_channels_have_different_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 16, 3), np.uint8), photometric="rgb")
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 258, 3, 3)) + 8
    bits = int.from_bytes(data[at : at + 4], "little")
    data[bits : bits + 6] = struct.pack("<3H", 8, 16, 8)
    path.write_bytes(data)
    for read in (still_head, read_still):
        with pytest.raises(FaceswapError, match=r"a\.tif"):
            read(path)


# Folders.


def test_a_folder_of_unread_pictures_says_which(tmp_path: Path) -> None:
    for name in ("a.1.exr", "a.2.exr", "b.dpx"):
        (tmp_path / name).touch()
    with pytest.raises(FaceswapError, match=r"3 files are pictures of kinds not read: a\.1\.exr"):
        open_clip(tmp_path)


def test_a_picture_that_is_no_file_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.1.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.2.png").symlink_to("gone.png")
    os.mkfifo(tmp_path / "a.3.png")
    (tmp_path / "a.4.png").mkdir()
    line = passed_over(tmp_path, ["a.1.png"])
    assert (
        line == "3 files are no readable files (links, pipes, folders): a.2.png, a.3.png, a.4.png"
    )


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("a.png")
    assert passed_over(tmp_path, ()).endswith("(a link, a pipe, a folder): a.png")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("beauty.1", "beauty.2", "matte.1", "matte.2"), "beauty.1.png, matte.1.png"),
        (("v001.1", "v001.2", "v002.1", "v002.2"), "v001.1.png, v002.1.png"),
        (("a.1.left", "a.1.right", "a.2.left", "a.2.right"), "a.1.left.png, a.1.right.png"),
        (("a_v002.1001", "a_v002.1002"), ""),
        (("anna", "ben"), ""),
        (("anna_2", "ben_2"), ""),
        (("00001_0", "00002_0", "00003_0"), ""),
        (("shot_0001_v2", "shot_0002_v2", "shot_0003_v2"), ""),
        (("f_0001_1920x1080", "f_0002_1920x1080"), ""),
        (("IMG-20230101-WA0001", "IMG-20230102-WA0001"), ""),
        (("Screenshot 2023-01-02 at 12.00.01", "Screenshot 2023-01-03 at 13.07.01"), ""),
    ],
)
def test_several_sequences_in_a_folder_are_said(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    paths = [tmp_path / f"{name}.png" for name in names]
    for path in paths:
        write_image(path, np.zeros((8, 8, 3), np.uint8))
    assert (said in one_number(paths)) if said else one_number(paths) == ""
    with open_clip(tmp_path) as reader:
        assert [line for line in reader.problems if "of one number" in line] == [
            one_number(paths)
        ] * bool(said)
