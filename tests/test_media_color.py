"""YUV to RGB and back against exact arithmetic: every depth, layout, range and matrix.

Chroma changes slowly (its period is 16 samples or more), so that how it is resampled does not
decide; luma has a new value at every pixel.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.reformatter import VideoReformatter

from faceswap_lite.media.clips import ColorTags
from faceswap_lite.media.color import frame_from_rgb, frame_to_rgb
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.writing import ClipWriter

WIDTH, HEIGHT = 96, 64
# Of an 8-bit level: of each channel's mean, and of a sample on average. Rounding 8 bits costs .25,
# and twice as much in blue, which luma and chroma are both rounded for.
SIGNED, MEAN = 0.1, 0.6
LIMITED, FULL = 1, 2
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
GRIDS = {
    "400": (1, 1), "410": (4, 4), "411": (4, 1), "420": (2, 2), "422": (2, 1), "440": (1, 2),
    "444": (1, 1),
}  # fmt: skip
PLANAR = {
    "400": ["gray", *(f"gray{bits}le" for bits in (9, 10, 12, 14, 16))],
    "410": ["yuv410p"],
    "411": ["yuv411p"],
    "440": ["yuv440p", "yuvj440p", "yuv440p10le", "yuv440p12le"],
    **{
        layout: [
            f"yuv{layout}p",
            f"yuvj{layout}p",
            f"yuva{layout}p",
            *(f"yuv{layout}p{bits}le" for bits in (9, 10, 12, 14, 16)),
            *(
                f"yuva{layout}p{bits}le"
                for bits in (9, 10, 12, 16)
                if (layout, bits) != ("420", 12)
            ),
        ]
        for layout in ("420", "422", "444")
    },
}
# Chroma interleaved, and the shift of what lies in the high bits.
PAIRED = {
    "nv12": ("420", 0), "nv21": ("420", 0), "nv16": ("422", 0), "nv24": ("444", 0),
    "p010le": ("420", 6), "p012le": ("420", 4), "p016le": ("420", 0), "p210le": ("422", 6),
    "p410le": ("444", 6),
}  # fmt: skip
LAYOUTS = {name: layout for layout, names in PLANAR.items() for name in names} | {
    name: layout for name, (layout, _) in PAIRED.items()
}


def depth_of(name: str) -> int:
    return VideoFormat(name).components[0].bits


def ranges_of(name: str) -> list[int]:
    return [FULL] if name.startswith("yuvj") else [LIMITED, FULL]


def waves(height: int, width: int, period: float, phase: float) -> np.ndarray:
    """Between -1 and 1, no faster than the period."""
    y, x = np.mgrid[:height, :width] * 2 * np.pi / period
    return (np.sin(x + phase) + np.sin(y * 0.9 + 2 * phase) + np.sin((x - y) * 0.6 + phase)) / 3


def scales(bits: int, span: int) -> tuple[float, float, float, float]:
    """The code of black, of no colour, and what one of luma and of chroma spans (H.273, 8.3)."""
    unit, top = 2.0 ** (bits - 8), 2.0**bits - 1
    if span == FULL:
        return 0, 128 * unit, top, top
    return 16 * unit, 128 * unit, 219 * unit, 224 * unit


def textured(name: str, span: int) -> list[np.ndarray]:
    """The planes of a picture whose RGB is inside the cube: luma, and chroma if it has any."""
    bits, (across, down) = depth_of(name), GRIDS[LAYOUTS[name]]
    black, none, luma_span, chroma_span = scales(bits, span)
    noise = np.random.default_rng(3).uniform(-0.12, 0.12, (HEIGHT, WIDTH))
    luma = 0.5 + 0.2 * waves(HEIGHT, WIDTH, 40, 1) + noise
    planes = [black + luma * luma_span]
    if LAYOUTS[name] != "400":
        for phase in (2.0, 4.0):
            chroma = 0.085 * waves(HEIGHT // down, WIDTH // across, 24, phase)
            planes.append(none + chroma * chroma_span)
    depth = np.uint8 if bits == 8 else np.uint16
    return [np.round(plane).astype(depth) for plane in planes]


def frame_of(name: str, planes: list[np.ndarray]) -> av.VideoFrame:
    frame = av.VideoFrame(WIDTH, HEIGHT, name)
    shift = PAIRED[name][1] if name in PAIRED else 0
    if name in PAIRED:
        pair = planes[:0:-1] if name == "nv21" else planes[1:]
        planes = [planes[0], np.stack(pair, -1).reshape(pair[0].shape[0], -1)]
    elif "yuva" in name:
        planes = [*planes, np.full_like(planes[0], 2 ** depth_of(name) - 1)]
    for plane, samples in zip(frame.planes, planes, strict=True):
        lines = np.frombuffer(memoryview(plane), samples.dtype).reshape(plane.height, -1)
        lines[:, : samples.shape[1]] = samples << shift
    return chroma_left(frame) if LAYOUTS[name] == "420" else frame


def chroma_left(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as a decoder of H.264 gives it."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
    )
    place, sink = graph.add("setparams", "chroma_location=left"), graph.add("buffersink")
    source.link_to(place)
    place.link_to(sink)
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """Luma, and chroma if it has any; not alpha."""
    name = frame.format.name
    depth = np.uint8 if depth_of(name) == 8 else np.uint16
    planes: list[np.ndarray] = []
    for plane in frame.planes[:3]:
        lines: np.ndarray = np.frombuffer(memoryview(plane), depth).reshape(plane.height, -1)
        samples = plane.width * (2 if name in PAIRED and planes else 1)
        planes.append(lines[:, :samples] >> (PAIRED[name][1] if name in PAIRED else 0))
    if name in PAIRED:
        pair = [planes[1][:, ::2], planes[1][:, 1::2]]
        planes[1:] = pair[::-1] if name == "nv21" else pair
    return planes


def spread(chroma: np.ndarray, grid: tuple[int, int], left: bool) -> np.ndarray:
    """Linear between samples, which lie at the middle of their pixels or, across, at the left."""
    for axis, step in ((0, grid[1]), (1, grid[0])):
        size = chroma.shape[axis]
        at = np.arange(size * step) / step
        at = at if left and axis == 1 else at + 0.5 / step - 0.5
        first = np.clip(np.floor(at).astype(int), 0, max(size - 2, 0))
        share = np.clip(at - first, 0, 1).reshape((-1, 1) if axis == 0 else (1, -1))
        ahead = np.minimum(first + 1, size - 1)
        chroma = chroma.take(first, axis) * (1 - share) + chroma.take(ahead, axis) * share
    return chroma


def gathered(chroma: np.ndarray, grid: tuple[int, int], left: bool) -> np.ndarray:
    across, down = grid
    chroma = chroma.reshape(chroma.shape[0] // down, down, -1).mean(1)
    if left:
        edged = np.pad(chroma, ((0, 0), (1, 1)), mode="edge")
        return ((edged[:, :-2] + 2 * chroma + edged[:, 2:]) / 4)[:, ::across]
    return chroma.reshape(chroma.shape[0], -1, across).mean(2)


def exact_rgb(
    planes: list[np.ndarray], bits: int, span: int, matrix: int, grid: tuple[int, int], left: bool
) -> np.ndarray:
    """In 8-bit levels, not rounded."""
    red, blue = WEIGHTS[matrix]
    black, none, luma_span, chroma_span = scales(bits, span)
    luma = (planes[0].astype(float) - black) / luma_span
    if len(planes) == 1:
        return np.clip(np.stack([luma] * 3, -1), 0, 1) * 255
    cb, cr = (
        (spread(plane.astype(float), grid, left) - none) / chroma_span for plane in planes[1:]
    )
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], -1), 0, 1) * 255


def exact_planes(
    image: np.ndarray, bits: int, span: int, matrix: int, grid: tuple[int, int], left: bool
) -> list[np.ndarray]:
    """In levels of so many bits, not rounded, of RGB between 0 and 1."""
    red, blue = WEIGHTS[matrix]
    black, none, luma_span, chroma_span = scales(bits, span)
    luma = image @ [red, 1 - red - blue, blue]
    chroma = ((image[..., 2] - luma) / (2 * (1 - blue)), (image[..., 0] - luma) / (2 * (1 - red)))
    return [
        black + luma * luma_span,
        *(none + gathered(part, grid, left) * chroma_span for part in chroma),
    ]


def levels(image: np.ndarray) -> np.ndarray:
    return image / (257.0 if image.dtype == np.uint16 else 1.0)


def assert_close(found: np.ndarray, right: np.ndarray, what: str) -> None:
    """By channel, in 8-bit levels."""
    error = np.asarray(found, float) - right
    signed = np.abs(error.reshape(-1, *error.shape[2:]).mean(0)).max()
    assert signed <= SIGNED, f"{what}: {signed:.3f} off"
    assert np.abs(error).mean() <= MEAN, f"{what}: {np.abs(error).mean():.3f} on average"


@pytest.mark.parametrize("name", LAYOUTS)
def test_yuv_is_read_as_the_standard_says(name: str) -> None:
    bits, grid = depth_of(name), GRIDS[LAYOUTS[name]]
    for span in ranges_of(name):
        planes = textured(name, span)
        for matrix in WEIGHTS:
            frame = frame_of(name, planes)
            image = frame_to_rgb(
                frame, ColorTags(2, 2, matrix, span), VideoReformatter(), WIDTH, HEIGHT
            )
            assert image.dtype == (np.uint8 if bits == 8 else np.uint16)
            right = exact_rgb(planes, bits, span, matrix, grid, LAYOUTS[name] == "420")
            assert_close(levels(image), right, f"{name}, range {span}, matrix {matrix}")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", LAYOUTS)
def test_yuv_is_made_as_the_standard_says(name: str, depth: type) -> None:
    bits, grid, left = depth_of(name), GRIDS[LAYOUTS[name]], LAYOUTS[name] == "420"
    for span in ranges_of(name):
        for matrix in WEIGHTS:
            made = exact_rgb(textured("yuv444p", LIMITED), 8, LIMITED, matrix, (1, 1), False) / 255
            image: np.ndarray = np.round(made * np.iinfo(depth).max).astype(depth)
            tags = ColorTags(2, 2, matrix, span)
            frame = frame_from_rgb(image, tags, name, VideoReformatter())
            assert (frame.format.name, frame.colorspace, frame.color_range) == (name, matrix, span)
            right = exact_planes(image / np.iinfo(depth).max, bits, span, matrix, grid, left)
            for number, (found, exact) in enumerate(zip(planes_of(frame), right, strict=False)):
                what = f"{name}, range {span}, matrix {matrix}, plane {number}"
                assert_close(found / 2.0 ** (bits - 8), exact / 2.0 ** (bits - 8), what)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_read_and_written_back_stays(name: str) -> None:
    bits = depth_of(name)
    for span in ranges_of(name):
        planes = textured(name, span)
        for matrix in WEIGHTS:
            tags, scaler = ColorTags(2, 2, matrix, span), VideoReformatter()
            image = frame_to_rgb(frame_of(name, planes), tags, scaler, WIDTH, HEIGHT)
            back = planes_of(frame_from_rgb(image, tags, name, VideoReformatter()))
            for number, (found, before) in enumerate(zip(back, planes, strict=True)):
                what = f"{name}, range {span}, matrix {matrix}, plane {number}"
                assert_close(found / 2.0 ** (bits - 8), before / 2.0 ** (bits - 8), what)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("alpha", ["", "a"])
def test_rgb_of_every_depth_is_kept(bits: int, alpha: str) -> None:
    name = f"gbr{alpha}p" + ("" if bits == 8 else f"{bits}le")
    if name == "gbrap9le":
        pytest.skip("FFmpeg has no such format")
    depth = np.uint8 if bits == 8 else np.uint16
    picture = np.random.default_rng(1).integers(0, 2**bits, (HEIGHT, WIDTH, 3)).astype(depth)
    frame = av.VideoFrame(WIDTH, HEIGHT, name)
    for plane, channel in zip(frame.planes, (1, 2, 0), strict=False):
        lines = np.frombuffer(memoryview(plane), depth).reshape(plane.height, -1)
        lines[:, :WIDTH] = picture[..., channel]
    image = frame_to_rgb(frame, ColorTags(), VideoReformatter(), WIDTH, HEIGHT)
    assert np.abs(levels(image) - picture / (2**bits - 1) * 255).max() < 0.02
    for given in (image, image.astype(np.uint16) * 257 if bits == 8 else image):
        back = frame_from_rgb(given, ColorTags(), name, VideoReformatter())
        for plane, channel in zip(back.planes, (1, 2, 0), strict=False):
            lines = np.frombuffer(memoryview(plane), depth).reshape(plane.height, -1)
            # The scaler dithers 16 bits down to fewer.
            assert np.abs(lines[:, :WIDTH].astype(int) - picture[..., channel]).max() <= (bits > 8)


def test_alpha_keeps_its_ends() -> None:
    image = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    image[: HEIGHT // 2, :, 3], image[HEIGHT // 2 :, :, 3] = 0, 255
    for given in (image, image.astype(np.uint16) * 257):
        for span in (LIMITED, FULL):
            tags = ColorTags(1, 1, 1, span)
            frame = frame_from_rgb(given, tags, "yuva444p10le", VideoReformatter())
            lines = np.frombuffer(memoryview(frame.planes[3]), np.uint16).reshape(HEIGHT, -1)
            assert lines[0, 0] == 0 and lines[-1, 0] == 1023


def test_untagged_grey_is_of_full_range() -> None:
    planes = textured("gray", FULL)
    image = frame_to_rgb(frame_of("gray", planes), ColorTags(), VideoReformatter(), WIDTH, HEIGHT)
    assert (image == planes[0][..., None]).all()


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "gray", "gray10le", "gbrp10le"])
def test_tags_that_nobody_uses_and_other_sizes_are_read(name: str) -> None:
    frame = av.VideoFrame(WIDTH, HEIGHT, name)
    for plane in frame.planes:
        np.frombuffer(memoryview(plane), np.uint8)[:] = 1
    frame.color_primaries, frame.color_trc, frame.colorspace = 3, 0, 3
    tags = ColorTags(3, 0, 3, 0)
    image = frame_to_rgb(frame, tags, VideoReformatter(), WIDTH + 23, HEIGHT - 15)
    assert image.shape == (HEIGHT - 15, WIDTH + 23, 3)


# What encoders here keep without loss: each with its options, and the formats that it takes.
CODECS: dict[str, tuple[dict[str, str], list[str]]] = {
    "libx264": ({"qp": "0"}, ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray"]),
    "libx265": (
        {"x265-params": "lossless=1:log-level=error"},
        ["yuv420p10le", "yuv420p12le", "yuv422p10le", "yuv444p12le", "gray10le", "gray12le"],
    ),
    "libvpx-vp9": ({"lossless": "1"}, ["yuv420p", "yuv444p"]),
    "ffv1": (
        {"strict": "experimental"},
        [
            "yuv410p", "yuv411p", "yuv440p", "yuv440p12le", "yuv420p9le", "yuv420p10le",
            "yuv420p12le", "yuv420p16le", "yuv422p16le", "yuv444p16le", "yuva444p12le",
            "yuva420p10le", "gray", "gray9le", "gray10le", "gray12le", "gray16le",
        ],
    ),
}  # fmt: skip
# Decoders that say so, and of which formats; the others leave it open, and the middle is taken.
SAY_LEFT = {"libx264": ("420", "422"), "libx265": ("420",)}


def stored(path: Path, codec: str, name: str, tags: ColorTags) -> list[np.ndarray]:
    planes = textured(name, FULL if name.startswith("yuvj") else tags.range)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, name
        stream.options = {**CODECS[codec][0]}
        stream.codec_context.colorspace = tags.matrix
        stream.codec_context.color_range = tags.range
        frame = frame_of(name, planes)
        frame.colorspace, frame.color_range = tags.matrix, tags.range
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return planes


@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize(
    ("codec", "name"), [(codec, name) for codec, (_, names) in CODECS.items() for name in names]
)
def test_clips_are_read_as_the_standard_says(
    tmp_path: Path, codec: str, name: str, span: int
) -> None:
    if name.startswith("yuvj") and span == LIMITED:
        pytest.skip("FFmpeg's yuvj formats are of full range")
    tags = ColorTags(1, 1, 9 if depth_of(name) > 8 else 1, span)
    planes = stored(tmp_path / "a.mkv", codec, name, tags)
    with open_clip(tmp_path / "a.mkv") as clip:
        (frame,) = clip
    bits, layout = depth_of(name), LAYOUTS[name]
    left = layout in SAY_LEFT.get(codec, ())
    right = exact_rgb(planes, bits, span, tags.matrix, GRIDS[layout], left)
    assert_close(levels(frame.image), right, f"{codec} {name} range {span}")


@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize(
    ("source", "name", "codec"),
    [
        ("libx264", "yuv420p", "h264"),
        ("libx264", "yuvj420p", "h264"),
        ("libx264", "yuv444p", "hevc"),
        ("libx265", "yuv420p10le", "hevc"),
        ("libx265", "yuv420p12le", "h264"),
        ("ffv1", "yuv422p16le", "prores"),
        ("ffv1", "yuv420p9le", "ffv1"),
    ],
)
def test_clips_are_written_back_as_they_were(
    tmp_path: Path, source: str, name: str, codec: str, span: int
) -> None:
    tags = ColorTags(1, 1, 1, span)
    stored(tmp_path / "in.mkv", source, name, tags)
    with open_clip(tmp_path / "in.mkv") as clip:
        (before,) = clip
        out = tmp_path / "out.mkv"
        with ClipWriter(out, like=clip.info, codec=codec, quality=0) as writer:  # type: ignore[arg-type]
            writer.write(before.image, 0)
    with open_clip(out) as clip:
        (after,) = clip
    error = levels(after.image) - levels(before.image)
    assert np.abs(error.mean((0, 1))).max() <= 2 * SIGNED
    # Both were rounded, and encoders lose something of their own: ProRes, of noise, much.
    assert np.abs(error).mean() <= (2 if codec != "prores" else 4) * MEAN
