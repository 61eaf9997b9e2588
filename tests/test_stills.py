"""Every type of picture in every format: its scale follows from its type. Written by others."""

import io
import itertools
import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, features

from faceswap_lite.config import ConvertConfig
from faceswap_lite.conversion.writers import _check_pictures
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.clips import ColorTags, Light, gaps_closed, passed_over
from faceswap_lite.media.images import read_image, write_image
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.stills import read_still, still_head
from faceswap_lite.media.writing import ClipWriter

H, W = 6, 10


def shares(channels: int) -> np.ndarray:
    """A dim picture, from 0 to a fifth of white: what it happens to hold is no scale."""
    values = np.linspace(0, 0.2, H * W * channels).reshape(H, W, channels)
    return values if channels > 1 else values[..., 0]


def of_type(channels: int, dtype: str) -> np.ndarray:
    values = shares(channels)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return values.astype(kind)
    if channels in (2, 4):
        values[..., -1] *= 5
    return np.round(values * np.iinfo(kind).max).astype(kind)


def wanted(values: np.ndarray) -> np.ndarray:
    """Colours of a written array as shares of white."""
    top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    colors = values if values.ndim == 2 else values[..., : 1 if values.shape[2] == 2 else 3]
    shown = colors.astype(np.float64) / top
    return np.dstack([shown] * 3) if shown.ndim == 2 or shown.shape[2] == 1 else shown


def close(path: Path, colors: np.ndarray, bits: int) -> None:
    still = read_still(path)
    assert still.image.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(still.image / (2.0**bits - 1) - colors).max() <= 0.51 / (2**bits - 1)
    assert still_head(path).bits == bits
    assert np.abs(read_image(path) / 255 - colors).max() <= 0.51 / 255 + 1e-6


UINTS = ["uint8", "uint16", "uint32"]


@pytest.mark.parametrize("dtype", [*UINTS, "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff(tmp_path: Path, dtype: str, channels: int, compression: str | None) -> None:
    values, path = of_type(channels, dtype), tmp_path / "a.tif"
    alpha = channels in (2, 4)
    tifffile.imwrite(
        path,
        values,
        photometric="rgb" if channels > 2 else "minisblack",
        extrasamples=["unassalpha"] if alpha else None,
        compression=compression,
    )
    close(path, wanted(values), 8 if dtype == "uint8" else 16)
    still = read_still(path)
    assert still_head(path).alpha == alpha == (still.alpha is not None)
    assert still_head(path).notes == []
    if still.alpha is not None:
        top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
        maximum = np.iinfo(still.alpha.dtype).max
        assert np.abs(still.alpha / maximum - values[..., -1] / top).max() <= 0.51 / maximum


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_of_lzw(tmp_path: Path, dtype: str, channels: int) -> None:
    values, path = of_type(channels, dtype), tmp_path / "a.tif"
    given = values[..., ::-1] if channels == 3 else values
    if not cv2.imwrite(str(path), given, [cv2.IMWRITE_TIFF_COMPRESSION, 5]):
        pytest.skip("OpenCV does not write this")
    close(path, wanted(values), 16)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_signed_integers_are_refused(tmp_path: Path, dtype: str, channels: int) -> None:
    path = tmp_path / "a.tif"
    photometric = "rgb" if channels > 2 else "minisblack"
    tifffile.imwrite(path, of_type(channels, dtype), photometric=photometric)
    for read in (read_image, read_still, still_head, open_clip):
        with pytest.raises(FaceswapError, match=r"a\.tif: holds signed integers") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_tiff_of_twelve_bits(tmp_path: Path) -> None:
    values = np.round(shares(1) * 4095).astype(np.uint32)
    first, second = values[:, ::2], values[:, 1::2]
    both = (first << 12) | second
    data = np.stack([both >> 16, both >> 8, both], -1).astype(np.uint8).tobytes()
    tags = [(256, W), (257, H), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, H)]
    tags += [(279, len(data))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    path = tmp_path / "a.tif"
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + table + b"\0\0\0\0")
    close(path, np.dstack([values / 4095] * 3), 16)


@pytest.mark.parametrize("dtype", [*UINTS, "float16", "float32", "float64"])
def test_tiff_whose_white_is_zero(tmp_path: Path, dtype: str) -> None:
    values, path = of_type(1, dtype), tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="miniswhite")
    close(path, 1 - wanted(values), 8 if dtype == "uint8" else 16)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_cmyk_is_read_and_said(tmp_path: Path, dtype: str) -> None:
    values, path = of_type(4, dtype), tmp_path / "a.tif"
    values[..., 3] = 0
    tifffile.imwrite(path, values, photometric="separated")
    close(path, 1 - wanted(values), 8 if dtype == "uint8" else 16)
    with open_clip(path) as reader:
        (line,) = reader.problems
    assert "CMYK" in line and not reader.info.alpha


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_premultiplied_alpha_becomes_straight_and_is_said(tmp_path: Path, dtype: str) -> None:
    top = 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)
    straight = np.dstack([shares(3) * 4, np.full((H, W), 0.5)])
    straight[0, 0, 3] = 0
    laid = straight.copy()
    laid[..., :3] *= straight[..., 3:]
    values = laid * top if dtype == "float32" else np.round(laid * top)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values.astype(dtype), photometric="rgb", extrasamples=["assocalpha"])
    still, there = read_still(path), straight[..., 3] > 0
    maximum = np.iinfo(still.image.dtype).max
    assert np.abs(still.image / maximum - straight[..., :3])[there].max() <= 2.1 / min(
        maximum, 65535
    )
    assert still.alpha is not None
    assert np.abs(still.alpha / maximum - straight[..., 3]).max() <= 0.51 / maximum
    (line,) = still_head(path).notes
    assert "premultiplied" in line


def test_floats_beyond_white_are_cut_and_said(tmp_path: Path) -> None:
    values, path = of_type(3, "float32"), tmp_path / "a.tif"
    values[0, 0], values[0, 1, 0], values[0, 2] = 7, -1, np.nan
    tifffile.imwrite(path, values, photometric="rgb")
    image = read_still(path).image
    assert (image[0, 0] == 65535).all() and image[0, 1, 0] == 0 and (image[0, 2] == 0).all()
    (line,) = still_head(path).notes
    assert "floats outside" in line


def test_the_largest_page_is_taken_and_said(tmp_path: Path) -> None:
    for dtype in ("uint8", "uint16"):
        path = tmp_path / f"{dtype}.tif"
        large = of_type(3, dtype)
        with tifffile.TiffWriter(path) as writer:
            for page in (large[::2, ::2], large, large[::-1]):
                writer.write(np.ascontiguousarray(page), photometric="rgb")
        close(path, wanted(large), 8 if dtype == "uint8" else 16)
        with open_clip(path) as reader:
            (line,) = reader.problems
            assert len(list(reader)) == 1 and reader.info.frame_count == 1
        assert "3 pictures" in line and "number 2 (10x6)" in line


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_and_png_are_turned_as_a_shallow_one(tmp_path: Path, orientation: int) -> None:
    values = of_type(3, "uint16")
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="rgb", extratags=tag)
    exif = Image.Exif()
    exif[274] = orientation
    shallow = Image.fromarray(np.round(values / 257).astype(np.uint8))
    shallow.save(tmp_path / "a.png", exif=exif)
    wanted_image = read_image(tmp_path / "a.png")
    assert np.abs(read_image(tmp_path / "deep.tif").astype(int) - wanted_image).max() <= 1
    held = io.BytesIO()
    shallow.save(held, "PNG", exif=exif)
    chunk = held.getvalue()
    at = chunk.index(b"eXIf") - 4
    (length,) = struct.unpack(">I", chunk[at : at + 4])
    deep = cv2.imencode(".png", np.ascontiguousarray(values[..., ::-1]))[1].tobytes()
    made = deep[:33] + chunk[at : at + 12 + length] + deep[33:]
    (tmp_path / "deep.png").write_bytes(made)
    assert np.abs(read_image(tmp_path / "deep.png").astype(int) - wanted_image).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(tmp_path: Path, dtype: str, channels: int) -> None:
    values, path = of_type(channels, dtype), tmp_path / "a.png"
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.reshape(H, -1).astype(">u2" if dtype == "uint16" else np.uint8)
    path.write_bytes(png(kind, 8 * np.dtype(dtype).itemsize, rows))
    close(path, wanted(values), 8 * np.dtype(dtype).itemsize)
    still = read_still(path)
    assert (still.alpha is not None) == (channels in (2, 4)) == still_head(path).alpha
    if still.alpha is not None:
        assert np.array_equal(still.alpha, values[..., -1])


def png(kind: int, bits: int, rows: np.ndarray, *further: tuple[bytes, bytes]) -> bytes:
    """A PNG by the letter of the standard: colour type, bits, rows of samples, chunks between."""
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", W, H, bits, kind, 0, 0, 0)
    chunks = [(b"IHDR", head), *further, (b"IDAT", data), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_png_whose_transparent_colour_is_named(tmp_path: Path) -> None:
    values, path = of_type(3, "uint16"), tmp_path / "a.png"
    key = values[2, 3].astype(">u2")
    path.write_bytes(png(2, 16, values.reshape(H, -1).astype(">u2"), (b"tRNS", key.tobytes())))
    close(path, wanted(values), 16)
    alpha = read_still(path).alpha
    assert alpha is not None and still_head(path).alpha
    assert alpha[2, 3] == 0 and (alpha == 0).sum() == 1


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "RGBA", "LA"])
def test_pillow_s_modes(tmp_path: Path, suffix: str, mode: str) -> None:
    ramp = (np.arange(H * W).reshape(H, W) % 2 * 200 + 20).astype(np.uint8)
    colors = Image.fromarray(np.dstack([ramp] * 3)).convert("1" if mode == "1" else "L")
    picture = colors
    if mode in ("P", "PA"):
        picture = colors.convert("RGB").quantize(4)
        if mode == "PA":
            picture.info["transparency"] = picture.getpixel((1, 0))
    elif mode in ("RGBA", "LA"):
        picture = colors.convert(mode)
        picture.putalpha(Image.fromarray(ramp))
    path = tmp_path / f"a{suffix}"
    try:
        picture.save(path, lossless=True, exact=True)
    except (OSError, ValueError):
        pytest.skip(f"Pillow writes no {mode} into {suffix}")
    still = read_still(path)
    with Image.open(path) as opened:
        assert (still.alpha is not None) == opened.has_transparency_data == still_head(path).alpha
    shown = still.image[..., 0]
    if mode in ("1", "L"):
        assert np.array_equal(shown, np.asarray(colors.convert("L")))
    elif mode in ("RGBA", "LA") and still.alpha is not None:
        assert np.array_equal(still.alpha, ramp)
        assert np.array_equal(shown, np.asarray(colors))
    elif mode == "PA" and still.alpha is not None:
        assert {0, 255} == set(np.unique(still.alpha))


def test_a_dim_picture_is_not_brightened(tmp_path: Path) -> None:
    deep = np.full((H, W), 200, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep)
    Image.fromarray(deep).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        assert (read_image(tmp_path / name) == 1).all()
        assert (read_still(tmp_path / name).image == 200).all()


# Several pictures in time.


@pytest.mark.parametrize(("pixels", "bits"), [("yuv420p", 8), ("yuv420p10le", 10)])
def test_bits_of_avif_that_are_not_read_are_said(tmp_path: Path, pixels: str, bits: int) -> None:
    if not features.check("avif") or "libsvtav1" not in av.codecs_available:
        pytest.skip("AVIF is not made or read here")
    path = tmp_path / "a.avif"
    with av.open(str(path), "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 100, np.uint8))
        container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))
    with open_clip(path) as reader:
        assert sum(f"of {bits} bits" in line for line in reader.problems) == (bits > 8)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif"])
def test_a_moving_picture_is_a_clip(tmp_path: Path, suffix: str) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    shown = [np.full((16, 32, 4), (20 + 60 * n, 90, 200, 128 + 20 * n), np.uint8) for n in range(4)]
    first, *others = map(Image.fromarray, shown)
    lasts, path = [100, 40, 200, 80], tmp_path / f"a{suffix}"
    first.save(path, save_all=True, append_images=others, duration=lasts, lossless=True)
    with open_clip(path) as reader:
        frames = list(reader)
        assert reader.problems == [] and reader.info.frame_count == 4 and reader.info.alpha
    assert [frame.time for frame in frames] == [Fraction(t, 1000) for t in (0, 100, 140, 340)]
    for frame, picture in zip(frames, shown, strict=True):
        near = 0 if suffix != ".avif" else 6
        assert frame.alpha is not None
        assert np.abs(frame.with_alpha(frame.image).astype(int) - picture).max() <= near


def test_a_moving_picture_may_become_a_video(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (32, 32), (n * 50, 0, 0)) for n in range(3)]
    path = tmp_path / "a.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=50)
    with open_clip(path) as reader:
        _check_pictures(tmp_path / "out.mp4", path, reader.info, ConvertConfig())


def test_why_no_picture_of_a_folder_can_be_read_is_said(tmp_path: Path) -> None:
    for number in (1, 2):
        tifffile.imwrite(tmp_path / f"f_{number}.tif", np.zeros((8, 8, 3), np.int16))
    with pytest.raises(FaceswapError, match=r"none of its 2 pictures .* holds signed integers"):
        open_clip(tmp_path)


def test_in_a_folder_a_moving_picture_is_one_and_said(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (n * 50, 0, 0)) for n in range(3)]
    for name in ("f_1.png", "f_2.png"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=50)
    with open_clip(tmp_path) as reader:
        assert len(list(reader)) == 2
        (line,) = reader.problems
    assert "f_1.png and 1 other:" in line and "first" in line
    (tmp_path / "f_2.png").unlink()
    with open_clip(tmp_path) as reader:
        assert len(list(reader)) == 1
        (line,) = reader.problems
    assert line.startswith("f_1.png: is animated")


# There and back.


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_what_is_written_is_what_others_read(
    tmp_path: Path, suffix: str, dtype: type, channels: int
) -> None:
    values, path = of_type(channels, np.dtype(dtype).name), tmp_path / f"a{suffix}"
    write_image(path, values, {"key": "text"} if suffix == ".png" else None)
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None and found.dtype == dtype
    if suffix == ".png" or dtype is np.uint16:
        assert np.array_equal(found[..., [2, 1, 0, 3][:channels]], values)
    with Image.open(path) as picture:
        assert picture.mode == ("RGB" if channels == 3 else "RGBA")
        assert suffix != ".png" or picture.info["key"] == "text"
    still = read_still(path)
    assert np.array_equal(still.image, values[..., :3])
    if channels == 4:
        assert still.alpha is not None and np.array_equal(still.alpha, values[..., 3])


@pytest.mark.parametrize("name", ["out.png", "out"])
def test_a_clip_of_deep_pictures_with_alpha_goes_out_as_it_came(tmp_path: Path, name: str) -> None:
    values = of_type(4, "uint16")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    with open_clip(tmp_path / "a.tif") as reader:
        info, (frame,) = reader.info, list(reader)
    assert info.alpha and info.bit_depth == 16
    with ClipWriter(tmp_path / name, like=info, alpha=True) as writer:
        writer.write(frame.with_alpha(frame.image), frame.pts)
    assert writer.notes == []
    path = tmp_path / name if name == "out.png" else tmp_path / name / "frame_000001.png"
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None and np.array_equal(found[..., [2, 1, 0, 3]], values)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("before", [".png", ".jpg", ".webp", ".tif", "deep.tif"])
@pytest.mark.parametrize("after", ["out.png", "out.jpg", "out.webp", "out.tif", "out", "out.mp4"])
def test_the_icc_profile_is_kept_or_said(tmp_path: Path, before: str, after: str) -> None:
    path, shape = tmp_path / f"in{before}", (16, 16, 3)
    if before == "deep.tif":
        deep = np.full(shape, 20_000, np.uint16)
        tifffile.imwrite(path, deep, photometric="rgb", iccprofile=PROFILE)
    else:
        Image.new("RGB", (16, 16), (90, 80, 70)).save(path, icc_profile=PROFILE)
    with open_clip(path) as reader:
        info, (frame,) = reader.info, list(reader)
    with ClipWriter(tmp_path / after, like=info) as writer:
        writer.write(frame.image, frame.pts)
    said = [note for note in writer.notes if "ICC" in note]
    assert len(said) == (after == "out.mp4")
    if not said:
        out = tmp_path / after
        with Image.open(out / "frame_000001.png" if after == "out" else out) as made:
            assert made.info["icc_profile"] == PROFILE


def test_exif_beyond_the_orientation_is_known(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (16, 8)).save(tmp_path / "turned.jpg", exif=exif)
    exif[271] = "a camera"
    Image.new("RGB", (16, 8)).save(tmp_path / "camera.jpg", exif=exif)
    assert not still_head(tmp_path / "turned.jpg").exif
    assert still_head(tmp_path / "camera.jpg").exif


def test_where_only_eight_bits_fit_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", of_type(3, "uint16"), photometric="rgb")
    with open_clip(tmp_path / "a.tif") as reader:
        writer = ClipWriter(tmp_path / "out.jpg", like=reader.info)
    writer.check()
    (note,) = writer.notes
    assert "8 bits" in note and ".jpg" in note


# The light of HDR.


def chunk_of(path: Path, name: bytes) -> bytes:
    """A PNG's chunk, before its data."""
    head = path.read_bytes().partition(b"IDAT")[0]
    length, _, after = head.partition(name)
    return after[: int.from_bytes(length[-4:], "big")]


def hdr_clip(path: Path, transfer: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc = 9, transfer
        context.colorspace, context.color_range = 9, 1
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p10le")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", [16, 18, 14, 1])
@pytest.mark.parametrize("name", ["out", "out.png"])
def test_pictures_of_a_bright_clip_say_so_and_keep_it(
    tmp_path: Path, transfer: int, name: str
) -> None:
    source = hdr_clip(tmp_path / "in.mkv", transfer)
    out = tmp_path / name
    with open_clip(source) as reader, ClipWriter(out, like=reader.info) as writer:
        for frame in itertools.islice(reader, 1 if out.suffix else None):
            writer.write(frame.image, frame.pts)
    picture = out if out.suffix else out / "frame_000002.png"
    assert chunk_of(picture, b"cICP") == bytes([9, transfer, 0, 1]) and writer.notes == []

    with open_clip(out) as reader, ClipWriter(tmp_path / "b.mkv", like=reader.info) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts)
        assert [("PQ" in line) for line in reader.problems] == [True] * (transfer == 16)
    with av.open(str(tmp_path / "b.mkv")) as container:
        context = container.streams.video[0].codec_context
        tags = context.color_primaries, context.color_trc, context.colorspace
    assert tags == (9, transfer, 9)


def test_a_picture_that_cannot_say_that_it_is_bright_says_so_first(tmp_path: Path) -> None:
    with open_clip(hdr_clip(tmp_path / "in.mkv", 18)) as reader:
        writer = ClipWriter(tmp_path / "a.tif", like=reader.info)
        writer.check()
    assert writer.notes == ["a .tif cannot say that its colours are HLG; a .png can"]


LIGHT = Light((35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450, 50, 10_000_000), (1000, 400))
"""Of a P3 display of 1000 cd/m2."""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_light_levels_go_from_png_to_png_and_to_hevc(
    tmp_path: Path, dtype: type, suffix: str
) -> None:
    before, level = tmp_path / "in.png", np.iinfo(dtype).max // 2
    pq = ColorTags(9, 16, 9, 1)
    write_image(before, np.full((64, 64, 3), level, dtype), color=pq, light=LIGHT)
    # Source: PNG (Third Edition), 11.3.2.7: the most light comes before the least.
    assert chunk_of(before, b"mDCV")[-8:] == struct.pack(">2I", 10_000_000, 50)
    assert chunk_of(before, b"cLLI") == struct.pack(">2I", 10_000_000, 4_000_000)
    out, clip = tmp_path / f"out{suffix}", tmp_path / "out.mp4"
    with open_clip(before) as reader:
        assert reader.info.light == LIGHT
        (frame,) = reader
        for path in (out, clip):
            with ClipWriter(path, like=reader.info, codec="hevc") as writer:
                writer.write(frame.image, 0)
            assert not [note for note in writer.notes if "mastering" in note]
    written = read_still(out if suffix else out / "frame_000001.png").image
    assert written.dtype == dtype and (written == level).all()
    for path in (out, clip):
        with open_clip(path) as reader:
            assert reader.info.light == LIGHT


def test_pictures_that_do_not_keep_light_levels_say_so_first(tmp_path: Path) -> None:
    with open_clip(hdr_clip(tmp_path / "in.mkv", 16)) as reader:
        writer = ClipWriter(tmp_path / "a.tif", like=replace(reader.info, light=LIGHT))
        writer.check()
    assert "the HDR mastering metadata is not kept in a .tif; a .png keeps it" in writer.notes


def test_a_usual_clip_s_pictures_say_nothing_of_light(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8), color=ColorTags(1, 1, 1, 1))
    assert b"cICP" not in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".apng"])
def test_a_frame_of_no_length_stands_as_in_browsers_and_is_counted(
    tmp_path: Path, suffix: str
) -> None:
    path, lengths = tmp_path / f"a{suffix}", [40, 0, 200, 0]
    pictures = [Image.fromarray(np.full((16, 16, 3), 60 * n, np.uint8)) for n in range(4)]
    options = {"lossless": True} if suffix == ".webp" else {}
    kind = "PNG" if suffix == ".apng" else None
    more = {"save_all": True, "append_images": pictures[1:], "duration": lengths}
    pictures[0].save(path, kind, **more, **options)
    with open_clip(path) as reader:
        shown = [(f.ticks or 0) * reader.info.time_base for f in reader]
    assert shown == [Fraction(n, 1000) for n in (40, 100, 200, 100)]
    line = "2 frames have a length of 0 and are shown for 100 ms, as browsers do"
    assert reader.problems == [line]


def test_a_gap_of_a_sequence_is_told(tmp_path: Path) -> None:
    for number in (1, 2, 4, 7, 8):
        write_image(tmp_path / f"a{number:03d}.png", np.zeros((8, 8, 3), np.uint8))
    with open_clip(tmp_path) as reader:
        numbers = reader.info.numbers
    assert numbers == (1, 2, 4, 7, 8)
    assert gaps_closed(numbers).startswith("3 numbers are missing (3, from 5 on): ")
    assert gaps_closed(numbers[:2]) == ""


def test_a_picture_of_an_unread_kind_is_named_first(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt", "d.txt", "shot.mpo", "x.heic", ".hidden.tga"):
        (tmp_path / name).touch()
    line = passed_over(tmp_path, [])
    assert line.startswith("2 files are pictures of kinds not read: shot.mpo, x.heic; 5 files are")
