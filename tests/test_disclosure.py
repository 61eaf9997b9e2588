"""What an output says of itself: the mark, the sidecar, the label, content credentials, `info`."""

import datetime
import json
import shutil
import stat
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from faceswap_lite.about import changed_settings, describe
from faceswap_lite.config import ConvertConfig, options_of
from faceswap_lite.errors import FaceswapError
from faceswap_lite.media.credentials import (
    SIGNING_PURPOSES,
    carries_manifest,
    check_signing,
    local_credentials,
    read_credentials,
    sign_file,
)
from faceswap_lite.media.images import read_image, write_image
from faceswap_lite.media.label import draw_label
from faceswap_lite.media.marks import IPTC, SOURCE_TYPE, SyntheticMark
from faceswap_lite.media.provenance import check_output, read_synthetic_mark
from faceswap_lite.media.reading import open_clip
from faceswap_lite.media.sidecar import sidecar_path, write_sidecar
from faceswap_lite.media.writing import ClipWriter

JOB = "0123456789abcdef"
MARK = SyntheticMark(version="1.2.3", run="89abcdef01234567", job=JOB)
HEIGHT, WIDTH, COUNT = 48, 64, 12


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def clip(path: Path, mark: SyntheticMark | None = MARK, codec: Any = "h264") -> Path:
    """A marked clip, or a folder of pictures."""
    rate = Fraction(25)
    with ClipWriter(
        path, width=WIDTH, height=HEIGHT, rate=rate, codec=codec, mark=mark, metadata={}
    ) as writer:
        for number in range(COUNT):
            writer.write(picture(number), number)
    return path


def output(path: Path, mark: SyntheticMark | None = MARK) -> Path:
    """A clip, a picture or (no suffix) a folder of pictures."""
    if path.suffix in (".png", ".jpg", ".webp"):
        write_image(path, picture(), mark=mark)
        return path
    return clip(path, mark)


def remux(path: Path, out: Path) -> Path:
    """Every packet into another container, none encoded again; metadata handed on, as ffmpeg does.

    FFmpeg keeps in an mp4 or mov only the keys that it knows.
    """
    with av.open(str(path)) as old, av.open(str(out), "w") as new:
        new.metadata.update(old.metadata)
        source = old.streams.video[0]
        stream = new.add_stream_from_template(source)
        for packet in old.demux(source):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return out


def change_byte(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def place_in_pictures(path: Path) -> int:
    """A byte of picture data."""
    if path.suffix in (".mp4", ".mov", ".m4v", ".mkv"):
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        middle = packets[COUNT // 2]
        return int(middle.pos or 0) + middle.size // 2
    data = path.read_bytes()
    begin = data.rindex(b"IDAT" if path.suffix == ".png" else b"\xff\xda")
    return (begin + len(data)) // 2


# The mark.


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.png", "a.jpg", "a.webp", "a"])
@pytest.mark.parametrize("job", [JOB, None])
def test_the_mark_names_the_job(tmp_path: Path, name: str, job: str | None) -> None:
    mark = SyntheticMark(version="1.2.3", run="89ab", job=job)
    assert read_synthetic_mark(output(tmp_path / name, mark)) == mark


def test_the_mark_outlives_stream_copies_between_containers(tmp_path: Path) -> None:
    for first in (".mp4", ".mov", ".mkv"):
        path = clip(tmp_path / f"first{first}")
        for number, suffix in enumerate((".mkv", ".mov", ".mp4", ".mov", ".mkv", ".mp4")):
            path = remux(path, tmp_path / f"{first[1:]}_{number}{suffix}")
            assert read_synthetic_mark(path) == MARK, path.name


def test_apples_spelling_of_a_comment_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["com.apple.quicktime.comment"] = MARK.comment()
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture())))
        container.mux(stream.encode(None))
    assert read_synthetic_mark(path) == MARK


def test_xmp_that_another_program_has_written_anew_is_read(tmp_path: Path) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description>'
        f"<Iptc4xmpExt:DigitalSourceType>{IPTC}{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        f"<dc:source>run:89abcdef01234567 job:{JOB}</dc:source>"
        "<xmp:CreatorTool>faceswap_lite 1.2.3</xmp:CreatorTool>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    Image.fromarray(picture()).save(tmp_path / "a.jpg", xmp=packet.encode())
    assert read_synthetic_mark(tmp_path / "a.jpg") == MARK


def test_marks_of_older_versions_are_read(tmp_path: Path) -> None:
    comment = MARK.comment().partition("; job=")[0]
    with ClipWriter(
        tmp_path / "a.mp4", width=WIDTH, height=HEIGHT, rate=25, metadata={"comment": comment}
    ) as writer:
        writer.write(picture(), 0)
    assert read_synthetic_mark(tmp_path / "a.mp4") == SyntheticMark("1.2.3", MARK.run)


# The sidecar.

FACTS: dict[str, Any] = {
    "job": JOB,
    "tool": "faceswap_lite 1.2.3",
    "clip": "/clips/talk.mp4",
    "run": "/runs/anna",
    "run_step": 4000,
    "run_fingerprint": MARK.run,
    "settings": {**options_of(ConvertConfig()), "color.kind": "mkl", "views": 4},
    "frames": 12,
    "swapped": 9,
    "passed_through": 2,
    "failed": 1,
    "consent": "Anna and Bo, 3 May,\nfor the film",
}
OUTPUTS = ["a.mp4", "a.mov", "a.mkv", "a.png", "a.jpg", "a.webp", "a"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_one_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    out = output(tmp_path / name)
    assert check_output(out).state == "unknown"
    written = write_sidecar(out, FACTS)
    assert json.loads(sidecar_path(out).read_text()) == written
    verdict = check_output(out)
    assert (verdict.state, verdict.line()) == ("unaltered", "not altered since")
    assert verdict.facts == written and verdict.sidecar == sidecar_path(out)
    file = sorted(out.glob("*.png"))[3] if out.is_dir() else out
    whole = file.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 20).tolist()
    for place in [0, len(whole) - 1, *places]:
        file.write_bytes(whole)
        change_byte(file, place)
        # The changed byte may be one of the mark: the sidecar by name is found all the same.
        assert check_output(out, MARK).line() == "bytes changed since", place
    file.write_bytes(whole)
    assert check_output(out).state == "unaltered"


def test_a_picture_more_or_less_in_a_folder_is_noticed(tmp_path: Path) -> None:
    out = output(tmp_path / "frames")
    write_sidecar(out, FACTS)
    extra = out / "frame_000099.png"
    shutil.copy(sorted(out.glob("*.png"))[0], extra)
    assert check_output(out).state == "altered"
    extra.unlink()
    assert check_output(out).state == "unaltered"
    sorted(out.glob("*.png"))[-1].unlink()
    assert check_output(out).state == "altered"


def test_copies_find_the_sidecar_by_the_job(tmp_path: Path) -> None:
    out = output(tmp_path / "a.mp4")
    write_sidecar(out, FACTS)
    # Beside it: another job's sidecar, other JSON, and a folder that is called so.
    write_sidecar(output(tmp_path / "0.mp4"), {**FACTS, "job": "f" * 16})
    (tmp_path / "1.json").write_text("[1, 2]")
    (tmp_path / "2.json").write_text("{")
    (tmp_path / "3.json").mkdir()
    renamed = Path(shutil.copy(out, tmp_path / "renamed.mp4"))
    verdict = check_output(renamed)
    assert (verdict.state, verdict.sidecar) == ("unaltered", sidecar_path(out))
    for suffix in (".mkv", ".mov", ".mp4"):
        verdict = check_output(remux(out, tmp_path / f"remuxed{suffix}"))
        assert (verdict.state, verdict.sidecar) == ("altered", sidecar_path(out)), suffix
    away = tmp_path / "away"
    away.mkdir()
    verdict = check_output(Path(shutil.copy(out, away / "a.mp4")))
    assert (verdict.state, verdict.facts) == ("unknown", {})
    assert verdict.line() == "no sidecar beside it: whether it was altered cannot be told"


def test_a_file_in_anothers_place_goes_by_its_own_mark(tmp_path: Path) -> None:
    other = SyntheticMark("1.2.3", "89ab", job="f" * 16)
    write_sidecar(output(tmp_path / "a.mp4"), FACTS)
    write_sidecar(output(tmp_path / "b.mp4", other), {**FACTS, "job": "f" * 16})
    shutil.copy(tmp_path / "b.mp4", tmp_path / "a.mp4")
    verdict = check_output(tmp_path / "a.mp4")
    assert (verdict.state, verdict.facts["job"]) == ("unaltered", "f" * 16)
    sidecar_path(tmp_path / "b.mp4").unlink()
    assert check_output(tmp_path / "a.mp4").state == "altered"


def test_unmarked_clips_take_no_sidecar_but_their_own(tmp_path: Path) -> None:
    write_sidecar(output(tmp_path / "a.mp4"), FACTS)
    assert check_output(output(tmp_path / "plain.mp4", None)).sidecar is None


def test_sidecars_without_a_hash_or_a_job(tmp_path: Path) -> None:
    out = output(tmp_path / "a.mp4")
    sidecar_path(out).write_text(json.dumps(FACTS))
    assert check_output(out).line().startswith("a.mp4.json holds no hash")
    with pytest.raises(ValueError, match="job"):
        write_sidecar(out, {"clip": "x"})


# `info`.


def told(path: Path) -> dict[str, str]:
    """The lines of `info` by their first words."""
    return {line[:10].strip(): line[10:] for line in describe(path).splitlines()}


def test_info_tells_what_was_made_and_whether_it_was_altered(tmp_path: Path) -> None:
    out = output(tmp_path / "a.mp4")
    write_sidecar(out, FACTS)
    lines = told(out)
    by = f"{SOURCE_TYPE}, by faceswap_lite 1.2.3 (run {MARK.run}); "
    assert lines["synthetic"] == by + "not altered since"
    assert "made from /clips/talk.mp4 by run /runs/anna, step 4000" in describe(out)
    assert lines["settings"] == "test_time_augmentation=4, color.kind=mkl"
    assert describe(out).count("frames    ") == 2
    assert "frames    12, 9 swapped, 2 passed through, 1 failed" in describe(out)
    assert lines["consent"] == "Anna and Bo, 3 May, for the film"
    assert "c2pa" not in lines
    remuxed = remux(out, tmp_path / "copy.mkv")
    assert told(remuxed)["synthetic"] == by + "bytes changed since"
    assert told(remuxed)["consent"] == lines["consent"]
    write_sidecar(out, {**FACTS, "consent": ""})
    assert told(out)["consent"] == "nothing recorded"


def test_info_says_so_when_the_mark_is_gone(tmp_path: Path) -> None:
    out = output(tmp_path / "a.mp4")
    write_sidecar(out, FACTS)
    output(out, None)
    line = told(out)["synthetic"]
    assert "no mark found, but" in line and line.endswith("bytes changed since")
    assert told(output(tmp_path / "b.mp4", None))["synthetic"] == "no mark found"


def test_settings_are_told_as_they_were_changed() -> None:
    assert changed_settings(options_of(ConvertConfig())) == "the defaults"
    told = changed_settings({"views": 4, "gone": 1, "mask.kind": "visible"})
    assert told == "test_time_augmentation=4, gone=1"
    # Which network told what is before a face is no option.
    assert changed_settings({"mask.weights": "0123456789abcdef"}) == "the defaults"
    # As a conversion wrote them before options had groups.
    assert changed_settings({"mask": "visible", "color_steady": 1}) == "color.steady=1"


# The label.


@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (256, 256), (120, 160)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("ground", ["black", "white", "noise"])
def test_the_label_is_legible_and_stays_in_its_box(
    size: tuple[int, int], kind: Any, ground: str
) -> None:
    peak = np.iinfo(kind).max
    frame = np.zeros((*size, 3), kind)
    if ground != "black":
        frame[:] = peak
    if ground == "noise":
        frame[:] = np.random.default_rng(0).integers(0, peak + 1, frame.shape)
    before = frame.copy()
    draw_label(frame, "AI: a swapped face")
    rows, columns = np.nonzero((frame != before).any(-1))
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    height, width = size
    # Lower left, and no higher than a line: 1/28 of the shorter side with what it has around it.
    line = max(10, min(size) / 28)
    assert 0 < left < width / 10 and right < width
    assert height - 1.5 * line < bottom < height
    assert bottom - top <= 2 * line
    box = frame[top:bottom, left:right]
    brightest, ground_level = box.max() / peak, np.percentile(box / peak, 30)
    assert brightest > 0.97
    # WCAG 2: large print wants a contrast of 4.5 : 1, on sRGB as light.
    light = ((ground_level + 0.055) / 1.055) ** 2.4 if ground_level > 0.04 else 0.0
    assert 1.05 / (light + 0.05) > 4.5
    # Text is there: neither an empty box nor a full one.
    assert 0.04 < (box > 0.8 * peak).mean() < 0.5


def test_long_labels_shrink_and_hopeless_ones_are_refused() -> None:
    long = np.zeros((300, 400, 3), np.uint8)
    draw_label(long, "every face in this scene was exchanged with consent, 2026")
    assert long[:, 390:].max() == 0 and long.max() > 240
    for text, why in (("x" * 500, "does not fit"), ("漢字", "no font here has '漢'")):
        frame = np.zeros((300, 400, 3), np.uint8)
        with pytest.raises(FaceswapError, match=why):
            draw_label(frame, text)
        assert frame.max() == 0
    accents = np.zeros((300, 400, 3), np.uint8)
    draw_label(accents, "Gesicht getäuscht, лицо заменено")
    assert accents.max() > 240
    empty = np.full((300, 400, 3), 9, np.uint8)
    draw_label(empty, " \n")
    assert (empty == 9).all()


def test_the_label_costs_less_than_a_millisecond() -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    spent = []
    for _ in range(30):
        began = time.perf_counter()
        draw_label(frame, "every face in this scene was exchanged with consent")
        spent.append(time.perf_counter() - began)
    # The best of many: tests share their machine.
    assert min(spent) < 1e-3


# Content credentials.

ONLY_C2PA = "needs the extra c2pa"
SIGNED = ["a.mp4", "a.m4v", "a.mov", "a.png", "a.jpg"]


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the self-made credentials, away from the user's."""
    pytest.importorskip("c2pa", reason=ONLY_C2PA)
    pytest.importorskip("cryptography", reason=ONLY_C2PA)
    folder = tmp_path / "credentials"
    monkeypatch.setenv("FACESWAP_LITE_CREDENTIALS", str(folder))
    return folder


def frames_of(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    with open_clip(path) as reader:
        frames = [(frame.time, frame.image) for frame in reader]
    assert reader.problems == []
    return frames


@pytest.mark.parametrize("name", SIGNED)
def test_signed_files_play_are_marked_and_notice_changes(
    tmp_path: Path, signer: Path, name: str
) -> None:
    out = output(tmp_path / name)
    before = frames_of(out)
    assert read_credentials(out) is None and not carries_manifest(out)
    sign_file(out, MARK, title="the swap")
    credentials = read_credentials(out)
    assert credentials is not None and carries_manifest(out)
    assert credentials.state == "Valid"
    assert credentials.problems == ["signingCredential.untrusted"]
    assert credentials.digital_source_type == SOURCE_TYPE
    assert credentials.facts == {"job": JOB, "run": MARK.run}
    assert "one machine" in credentials.signer
    assert read_synthetic_mark(out) == MARK
    for (time_a, image_a), (time_b, image_b) in zip(before, frames_of(out), strict=True):
        assert time_a == time_b and np.array_equal(image_a, image_b)
    write_sidecar(out, FACTS)
    assert check_output(out).state == "unaltered"
    assert told(out)["c2pa"].startswith("valid, signed by a key of one machine")
    assert not list(tmp_path.glob(".*")), "nothing is left over"
    change_byte(out, place_in_pictures(out))
    broken = read_credentials(out)
    assert broken is not None and broken.state == "Invalid"
    assert any("mismatch" in problem for problem in broken.problems)
    if out.suffix != ".png":  # a PNG says itself that it is damaged
        assert told(out)["c2pa"].startswith("INVALID: assertion.")


def test_prores_is_signed_too(tmp_path: Path, signer: Path) -> None:
    out = clip(tmp_path / "a.mov", codec="prores")
    before = frames_of(out)
    sign_file(out, MARK)
    credentials = read_credentials(out)
    assert credentials is not None and credentials.state == "Valid"
    assert len(frames_of(out)) == len(before) == COUNT


def test_what_is_appended_after_signing_breaks_the_seal(tmp_path: Path, signer: Path) -> None:
    from faceswap_lite.media.marks import append_xmp

    out = output(tmp_path / "a.mp4")
    sign_file(out, MARK)
    append_xmp(out, MARK)
    credentials = read_credentials(out)
    assert credentials is not None and credentials.state == "Invalid"


def manifest_of(path: Path) -> dict[str, Any]:
    import c2pa

    with path.open("rb") as file, c2pa.Reader("image/png", file) as reader:
        return json.loads(reader.json())


def test_the_clips_own_credentials_travel_along(tmp_path: Path, signer: Path) -> None:
    original = output(tmp_path / "original.png", None)
    sign_file(original, SyntheticMark("9", None, digital_source_type="digitalCapture"))
    damaged = Path(shutil.copy(original, tmp_path / "damaged.png"))
    begin = damaged.read_bytes().index(b"jumdc2pa")
    data = bytearray(damaged.read_bytes())
    data[begin + 200 : begin + 260] = bytes(60)
    damaged.write_bytes(data)
    matroska, folder = clip(tmp_path / "plain.mkv"), clip(tmp_path / "folder")
    manifests = {original: 2, damaged: 1, matroska: 1, folder: 1, tmp_path / "gone.mp4": 1}
    for source, count in manifests.items():
        out = output(tmp_path / "out.png")
        sign_file(out, MARK, clip=source)
        store = manifest_of(out)
        active = store["manifests"][store["active_manifest"]]
        assert store["validation_state"] == "Valid"
        assert len(store["manifests"]) == count, source
        assert [i["title"] for i in active["ingredients"]] == [source.name]
        actions = [a["action"] for a in active["assertions"][0]["data"]["actions"]]
        assert actions == ["c2pa.opened", "c2pa.edited"]
        assert "thumbnail" not in json.dumps(store), "no picture from before the swap"
        credentials = read_credentials(out)
        assert credentials is not None and credentials.digital_source_type == SOURCE_TYPE


def test_a_manifest_elsewhere_is_not_fetched(tmp_path: Path, signer: Path) -> None:
    import c2pa

    source, out = output(tmp_path / "a.png"), tmp_path / "b.png"
    chain, key = local_credentials()
    agent = {"name": "x", "version": "1"}
    action = {"action": "c2pa.created", "digitalSourceType": IPTC + "digitalCapture"}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    info = c2pa.C2paSignerInfo("es256", chain.read_bytes(), key.read_bytes(), None)
    builder = c2pa.Builder({"claim_generator_info": [agent], "assertions": [actions]})
    builder.set_no_embed()
    builder.set_remote_url("http://127.0.0.1:9/a.c2pa")
    with source.open("rb") as old, out.open("w+b") as new, c2pa.Signer.from_info(info) as key_:
        builder.sign(key_, "image/png", old, new)
    credentials = read_credentials(out)
    assert credentials is not None and credentials.state == "Elsewhere"
    assert "not fetched" in credentials.line() and "127.0.0.1" in credentials.line()


def test_the_self_made_signer_is_made_once_and_kept_private(signer: Path, tmp_path: Path) -> None:
    chain, key = local_credentials()
    assert chain.parent.parent == key.parent.parent == signer
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    before = (chain.read_bytes(), key.read_bytes())
    sign_file(output(tmp_path / "a.png"), MARK)
    assert local_credentials() == (chain, key)
    assert (chain.read_bytes(), key.read_bytes()) == before
    key.unlink()
    local_credentials()
    assert chain.read_bytes() != before[0], "a pair, or none of it"


def test_an_expired_self_made_signer_gives_way_to_a_new_one(
    signer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr("faceswap_lite.media.credentials.YEARS", 0)
        expired = local_credentials()[0].read_bytes()
    sign_file(output(tmp_path / "a.png"), MARK)
    assert local_credentials()[0].read_bytes() != expired
    credentials = read_credentials(tmp_path / "a.png")
    assert credentials is not None and credentials.state == "Valid"


def test_the_users_data_folder_holds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography", reason=ONLY_C2PA)
    monkeypatch.delenv("FACESWAP_LITE_CREDENTIALS", raising=False)
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / name))
    assert local_credentials()[0].parent == tmp_path / "faceswap_lite/credentials/self_made"


def certificate(
    folder: Path,
    kind: Callable[[], Any] | None = None,
    *,
    authority: bool = False,
    signs: bool = True,
    purposes: tuple[str, ...] = ("1.3.6.1.5.5.7.3.4",),
    days: tuple[int, int] = (-1, 30),
    issuer: bool = True,
) -> tuple[Path, Path]:
    """A certificate issued here, and its key: as it should be, or not."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.x509.oid import NameOID

    root, key = ec.generate_private_key(ec.SECP256R1()), (kind or (lambda: None))()
    key = key or ec.generate_private_key(ec.SECP384R1())
    now = datetime.datetime.now(datetime.timezone.utc)

    def name(organisation: str, common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    def build(subject: x509.Name, public: Any, *, ca: bool, signing: bool) -> Any:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"), False,
        )  # fmt: skip
        begun = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name("The Authority", "root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=signing, key_cert_sign=ca, crl_sign=ca, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if issuer:
            own = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
            begun = begun.add_extension(own, critical=False)
        return begun

    leaf = build(name("The Studio", "Anna"), key.public_key(), ca=authority, signing=signs)
    if purposes:
        usages = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose) for purpose in purposes])
        leaf = leaf.add_extension(usages, critical=False)
    top = build(name("The Authority", "root"), root.public_key(), ca=True, signing=False)
    chain = [made.sign(root, hashes.SHA256()) for made in (leaf, top)]
    pem = serialization.Encoding.PEM
    folder.mkdir(exist_ok=True)
    (folder / "chain.pem").write_bytes(b"".join(c.public_bytes(pem) for c in chain))
    # As openssl writes keys of curves: not in PKCS 8, which is all that the library reads.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    if isinstance(key, ed25519.Ed25519PrivateKey):
        form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    return folder / "chain.pem", folder / "key.pem"


def kinds_of_keys() -> dict[str, Callable[[], Any]]:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    return {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa", "ed25519"])
def test_a_certificate_of_ones_own_signs(tmp_path: Path, signer: Path, kind: str) -> None:
    chain, key = certificate(tmp_path / "own", kinds_of_keys()[kind])
    out = output(tmp_path / "a.jpg")
    check_signing(out, chain, key)
    sign_file(out, MARK, certificate=chain, key=key)
    credentials = read_credentials(out)
    assert credentials is not None and credentials.state == "Valid"
    assert credentials.signer == "Anna, The Studio"
    assert not signer.exists(), "no other signer is made"


BAD = {
    "a certificate authority's": {"authority": True},
    "lacks digitalSignature": {"signs": False},
    "extended key usage has none of emailProtection": {"purposes": ()},
    "has none of .* documentSigning": {"purposes": ("1.3.6.1.5.5.7.3.1",)},
    "for any purpose": {"purposes": ("1.3.6.1.5.5.7.3.4", "2.5.29.37.0")},
    "has expired": {"days": (-9, -1)},
    "is not yet valid": {"days": (1, 9)},
    "authorityKeyIdentifier": {"issuer": False},
    # The library's own word: time stamps are signed by nothing that signs anything else.
    "cannot be signed": {"purposes": ("1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.8")},
}


@pytest.mark.parametrize("purpose", SIGNING_PURPOSES)
def test_every_purpose_that_c2pa_names_signs(tmp_path: Path, signer: Path, purpose: str) -> None:
    chain, key = certificate(tmp_path / "own", purposes=(purpose,))
    out = output(tmp_path / "a.jpg")
    sign_file(out, MARK, certificate=chain, key=key)
    credentials = read_credentials(out)
    assert credentials is not None and credentials.state == "Valid"


@pytest.mark.parametrize("why", BAD)
def test_certificates_that_will_not_do_are_refused(tmp_path: Path, signer: Path, why: str) -> None:
    options: Any = BAD[why]
    chain, key = certificate(tmp_path / "own", **options)
    out = output(tmp_path / "a.png")
    before = out.read_bytes()
    for refuse in (check_signing, lambda *a: sign_file(a[0], MARK, certificate=a[1], key=a[2])):
        with pytest.raises(FaceswapError, match=why) as caught:
            refuse(out, chain, key)
        assert "\n" not in str(caught.value)
    assert out.read_bytes() == before and not list(tmp_path.glob(".*"))


def test_files_that_are_no_credentials_are_refused(tmp_path: Path, signer: Path) -> None:
    chain, key = certificate(tmp_path / "own")
    other = certificate(tmp_path / "other")[1]
    junk, locked = tmp_path / "junk.pem", tmp_path / "locked.pem"
    junk.write_text("no PEM")
    from cryptography.hazmat.primitives import serialization

    private: Any = serialization.load_pem_private_key(key.read_bytes(), None)
    form, lock = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    locked.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, lock))
    out = output(tmp_path / "a.png")
    cases: list[tuple[Path | None, Path | None, str]] = [
        (junk, key, "junk.pem: holds no certificate"),
        (chain, junk, "junk.pem: is not a private key"),
        (chain, locked, "locked.pem: is encrypted"),
        (chain, other, "is not the key of"),
        (tmp_path / "gone.pem", key, "gone.pem: cannot be read"),
        (chain, None, "name both or neither"),
    ]
    for given, its_key, why in cases:
        with pytest.raises(FaceswapError, match=why) as caught:
            check_signing(out, given, its_key)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a.mkv", "C2PA does not support Matroska"),
        ("a.webp", "a .webp is not"),
        ("a", "a folder cannot"),
    ],
)
def test_what_cannot_be_signed_is_refused(
    tmp_path: Path, signer: Path, name: str, why: str
) -> None:
    out = output(tmp_path / name)
    for refuse in (check_signing, lambda path: sign_file(path, MARK)):
        with pytest.raises(FaceswapError, match=why) as caught:
            refuse(out)
        assert "write .mp4, .mov, .png or .jpg" in str(caught.value)
    assert read_credentials(out) is None


@pytest.mark.parametrize("missing", ["c2pa", "cryptography"])
def test_without_the_extra_it_is_said_what_to_install(
    tmp_path: Path, signer: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    signed, plain = output(tmp_path / "a.mp4"), output(tmp_path / "b.mp4")
    sign_file(signed, MARK)
    monkeypatch.setitem(sys.modules, missing, None)
    install = r'pip install "faceswap_lite\[c2pa\]"'
    for refused in (lambda: check_signing(plain), lambda: sign_file(plain, MARK)):
        with pytest.raises(FaceswapError, match=install):
            refused()
    with pytest.raises(FaceswapError, match=install):
        read_credentials(signed)
    assert read_credentials(plain) is None
    assert 'pip install "faceswap_lite[c2pa]"' in told(signed)["c2pa"]
    assert told(signed)["synthetic"].startswith(SOURCE_TYPE), "the rest is told"
    assert "c2pa" not in told(plain)


def test_signed_pictures_are_still_pictures(tmp_path: Path, signer: Path) -> None:
    out = output(tmp_path / "a.png")
    sign_file(out, MARK)
    assert np.array_equal(read_image(out), picture())
