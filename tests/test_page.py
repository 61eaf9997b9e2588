"""The page is one file that needs nothing else, and its controls do what they say."""

import base64
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import Page
from PIL import Image

from faceswap_lite.curation.decisions import Decision
from faceswap_lite.curation.gallery_page import write_page

# What the page promises for 5,000 faces.
LIMIT_BYTES = 15_000_000

HOSTILE = [
    "</script><script>window.broken = 1</script>.png",
    "<img src=x onerror='window.broken=2'>.png",
    "<!-- <script>.png",
    "{{title}} {{data}}.png",
    "\"quoted\" & 'so' \\u003c \\.png",
    "line\u2028separator\u2029.png",
    "顔.png",
    "\udcff.png",
]


def decision(file: str, reason: str = "", kept: bool = False, **more: Any) -> Decision:
    facts = {"key": file, "words": "0.91, limit 0.45", "weight": 1.0, **more}
    return Decision(file=file, reason=reason, kept=kept, **facts)


def faces_like_photographs(count: int, size: int, grain: float = 5.0) -> np.ndarray:
    """Smooth blotches with some grain: they compress about as faces do."""
    rng = np.random.default_rng(0)
    blotches = rng.uniform(0, 255, (count, 6, 6, 3)).astype(np.float32)
    smooth = np.stack(
        [cv2.resize(b, (size, size), interpolation=cv2.INTER_CUBIC) for b in blotches]
    )
    noise = rng.normal(0, grain, (size, size, 3)).astype(np.float32)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


class Elements(HTMLParser):
    """All elements' attributes by tag, and the text inside each kind of element."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        self.open.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass


def parse(path: Path) -> Elements:
    elements = Elements()
    elements.feed(path.read_text(encoding="utf-8"))
    elements.close()
    return elements


def data_of(path: Path) -> dict[str, Any]:
    return json.loads(parse(path).texts["script"][0])


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    write_page(page, "Faces", [decision("a.png", "blurred")], faces_like_photographs(1, 64))
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|//[a-z0-9-]+\.[a-z]", text)
    elements = parse(page)
    linked = [(tag, name) for tag, have in elements.attributes for name in ("src", "href")
              if name in have]  # fmt: skip
    assert linked == []
    policy = [have["content"] for _, have in elements.attributes if "http-equiv" in have]
    assert policy[0] is not None and policy[0].startswith("default-src 'none'")
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_every_face_is_named_with_its_decision_and_its_picture(tmp_path: Path) -> None:
    decisions = [
        decision("a.png", "blurred", scores={"sharpness": 12.3456789, "yaw": -3.0}),
        decision("b.png", kept=True, scores={"pitch": 1e9}),
        decision("c.png", "rare", kept=True, weight=2.5, by_user=True),
    ]
    faces = faces_like_photographs(3, 64)
    write_page(tmp_path / "page.html", "Faces", decisions, faces)
    data = data_of(tmp_path / "page.html")
    assert data["scores"] == ["sharpness", "yaw", "pitch"]
    assert [face["file"] for face in data["faces"]] == ["a.png", "b.png", "c.png"]
    titles = [data["groups"][face["group"]]["title"] for face in data["faces"]]
    assert titles == ["Rejected: blurred", "Kept: ordinary", "Kept: rare"]
    expected = [[12.3457, -3.0, None], [None, None, 1e9], [None] * 3]
    assert [face["scores"] for face in data["faces"]] == expected
    assert [face["number"] for face in data["faces"]] == ["0.91"] * 3
    assert (data["faces"][2]["weight"], data["faces"][2]["byUser"]) == (2.5, True)
    for face, pixels in zip(data["faces"], faces, strict=True):
        shown = decode(data, face)
        assert shown.shape == pixels.shape
        # JPEG's loss on such pictures is a few grey levels.
        assert np.abs(shown.astype(int) - pixels).mean() < 6


def decode(data: dict[str, Any], face: dict[str, Any]) -> np.ndarray:
    """A face's picture as a browser would see it: joined as text, then read."""
    file = base64.b64decode(data["pictureHead"] + face["picture"], validate=True)
    return np.asarray(Image.open(io.BytesIO(file)))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_text(tmp_path: Path, name: str) -> None:
    page, plain = tmp_path / "page.html", tmp_path / "plain.html"
    hostile = [decision(name, "blurred", words=name, scores={name: 1.0})]
    write_page(page, name, hostile, faces_like_photographs(1, 64))
    write_page(plain, "Faces", [decision("a.png", "blurred")], faces_like_photographs(1, 64))
    elements = parse(page)
    # The same elements as with a harmless name: nothing has ended or begun one.
    assert elements.attributes == parse(plain).attributes
    data = data_of(page)
    assert (data["faces"][0]["file"], data["faces"][0]["words"]) == (name, name)
    assert data["scores"] == [name]
    if name.isprintable():
        assert elements.texts["title"] == elements.texts["h1"] == [name]


def test_five_thousand_faces_stay_small_and_a_few_stay_sharp(tmp_path: Path) -> None:
    scores = {f"score {number}": 0.123456 for number in range(10)}
    some = faces_like_photographs(250, 96, grain=12.0)
    sides = {}
    for count in (100, 5000):
        decisions = [
            decision(f"clip_{i:06d}_0.png", kept=i % 9 > 0, reason="" if i % 9 else "duplicate",
                     words=f"nearly the same as clip_{i:06d}_0.png: 0.02 apart", scores=scores)
            for i in range(count)
        ]  # fmt: skip
        page = tmp_path / f"{count}.html"
        write_page(page, "Faces", decisions, np.resize(some, (count, *some.shape[1:])))
        assert page.stat().st_size < LIMIT_BYTES
        data = data_of(page)
        assert len(data["faces"]) == count
        sides[count] = decode(data, data["faces"][-1]).shape[0]
    assert sides[100] == 96
    assert 64 <= sides[5000] < 96


def test_the_same_faces_give_the_same_bytes(tmp_path: Path) -> None:
    pages = [tmp_path / name for name in ("one.html", "two.html")]
    for page in pages:
        decisions = [decision(f"{i}.png", "blurred", scores={"a": i / 3}) for i in range(7)]
        write_page(page, "Faces", decisions, faces_like_photographs(7, 48))
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_no_faces_and_tiny_faces_make_a_page(tmp_path: Path) -> None:
    write_page(tmp_path / "none.html", "Faces", [], np.zeros((0, 64, 64, 3), np.uint8))
    assert data_of(tmp_path / "none.html")["faces"] == []
    write_page(tmp_path / "tiny.html", "Faces", [decision("a.png")], faces_like_photographs(1, 20))
    data = data_of(tmp_path / "tiny.html")
    assert decode(data, data["faces"][0]).shape == (20, 20, 3)


def test_each_decision_needs_its_thumbnail(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_page(tmp_path / "a.html", "Faces", [decision("a.png")], faces_like_photographs(2, 32))
    assert list(tmp_path.iterdir()) == []


# ---- In a browser -------------------------------------------------------------------------


class Faces(Page):
    """The page of a face set's decisions."""

    def names(self) -> list[str]:
        """The names of the faces shown, in their order (a label is "name, fate, words")."""
        return [
            tile.get_attribute("aria-label").split(",")[0] for tile in self.all("#groups .face")
        ]

    def chip(self, title: str) -> None:
        next(c for c in self.all("#chips button") if c.text.startswith(title)).click()

    def choose(self, css: str, title: str) -> None:
        next(o for o in self.all(f"{css} option") if o.text == title).click()

    def click(self, place: int, shift: bool = False) -> None:
        from selenium.webdriver import ActionChains, Keys

        actions = ActionChains(self.browser)
        if shift:
            actions.key_down(Keys.SHIFT)
        actions.click(self.all("#groups .face")[place]).key_up(Keys.SHIFT).perform()

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def copied(self) -> str:
        """What a click on "Copy" leaves in the clipboard."""
        self.browser.execute_cdp_cmd(
            "Browser.grantPermissions",
            {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
        )
        self.one("#copy").click()
        script = "navigator.clipboard.readText().then(arguments[0], e => arguments[0](`${e}`))"
        return self.browser.execute_async_script(script)


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Page]:
    """Six faces; afterwards, nothing may have gone wrong in the browser."""
    decisions = [
        decision("clip_10.png", "blurred", words="blurred: 3", scores={"sharp_ness": 3, "yaw": 5}),
        decision("clip_9.png", "blurred", words="blurred: 4", scores={"sharp_ness": 4, "yaw": 1}),
        decision("other.png", "other_person", scores={"sharp_ness": 50, "yaw": -8}),
        decision("rare.png", "rare", kept=True, weight=2.5, scores={"sharp_ness": 60, "yaw": 60}),
        decision("clip_1.png", kept=True, words="", scores={"sharp_ness": 100}),
        decision("clip_2.png", kept=True, words="", scores={"sharp_ness": 80, "yaw": 0}),
    ]
    path = tmp_path / "page.html"
    write_page(path, "A set", decisions, faces_like_photographs(6, 64))
    made = Faces(browser, path)
    yield made
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_buttons_and_filters_choose_the_faces(page: Faces) -> None:
    titles = [heading.text for heading in page.all("h2") if heading.text]
    assert [re.sub(r"\s*\d+$", "", title) for title in titles] == [
        "Rejected: not the same person", "Rejected: blurred", "Kept: rare", "Kept: ordinary",
    ]  # fmt: skip
    assert [count.text for count in page.all("#chips .count")] == list("6312312")
    page.chip("Kept")
    assert page.names() == ["rare.png", "clip_1.png", "clip_2.png"]
    page.chip("blurred")
    assert page.names() == ["clip_10.png", "clip_9.png"]
    page.chip("All")
    page.one("#search").send_keys("CLIP_1")
    assert page.names() == ["clip_10.png", "clip_1.png"]
    page.one("#search").clear()
    page.one("#search").send_keys("nothing")
    assert page.names() == [] and "No face passes" in page.one("#groups").text


@pytest.mark.slow
def test_faces_are_sorted_by_name_reason_and_score(page: Faces) -> None:
    page.one("#grouped").click()
    given = ["clip_10.png", "clip_9.png", "other.png", "rare.png", "clip_1.png", "clip_2.png"]
    assert page.names() == given
    page.choose("#sort", "File name")
    by_name = ["clip_1.png", "clip_2.png", "clip_9.png", "clip_10.png", "other.png", "rare.png"]
    assert page.names() == by_name
    page.one("#direction").click()
    assert page.names() == by_name[::-1]
    page.choose("#sort", "Reason")
    assert page.names() == ["other.png", "clip_10.png", "clip_9.png", *given[3:]]
    page.choose("#sort", "yaw")
    # The face without the score is last either way.
    by_yaw = ["other.png", "clip_2.png", "clip_9.png", "clip_10.png", "rare.png"]
    assert page.names() == [*by_yaw, "clip_1.png"]
    shown = page.run("return [...document.querySelectorAll('.value')].map(v => v.textContent)")
    assert shown == ["-8", "0", "1", "5", "60", "none"]
    page.one("#direction").click()
    assert page.names() == [*by_yaw[::-1], "clip_1.png"]


@pytest.mark.slow
def test_sliders_keep_the_faces_between_two_scores(page: Faces) -> None:
    from selenium.webdriver import Keys

    page.run("arguments[0].open = true", page.one("#score"))
    page.choose("#score-name", "sharp ness")
    assert "3 to 100 (all)" in page.one("#score-text").text
    # A page is a tenth of the way from 3 to 100.
    page.one("#low").send_keys(*[Keys.PAGE_UP] * 5)
    page.run("return new Promise(requestAnimationFrame)")
    low = float(page.one("#score-text").text.split()[0])
    assert 50 < low < 60
    assert page.names() == ["rare.png", "clip_1.png", "clip_2.png"]
    page.one("#high").send_keys(Keys.HOME)
    page.run("return new Promise(requestAnimationFrame)")
    # The upper thumb stops at the lower one.
    assert page.one("#high").get_attribute("value") == page.one("#low").get_attribute("value")
    assert page.names() == []


@pytest.mark.slow
def test_the_card_tells_all_of_a_face_to_mouse_and_keyboard(page: Faces) -> None:
    from selenium.webdriver import ActionChains, Keys

    ActionChains(page.browser).move_to_element(page.all("#groups .face")[3]).perform()
    card = page.one("#face").text
    for part in ("rare.png", "Kept: rare", "0.91, limit 0.45", "2.5 times", "sharp ness 60"):
        assert part in card
    page.run("arguments[0].focus()", page.all("#groups .face")[0])
    assert "other.png" in page.one("#face").text
    # Each group is a row here.
    page.press(Keys.ARROW_DOWN)
    assert "clip_10.png" in page.one("#face").text
    page.press(Keys.ARROW_RIGHT, Keys.SPACE, Keys.END)
    assert "clip_2.png" in page.one("#face").text
    assert page.copied() == "clip_9.png"


@pytest.mark.slow
def test_names_are_copied_and_saved(page: Faces) -> None:
    everything = page.names()
    assert page.copied().split("\n") == everything
    page.click(1)
    page.click(3, shift=True)
    assert len(page.all("[aria-selected=true]")) == 3
    assert "3 selected" in page.one("#count").text
    assert sorted(page.copied().split("\n")) == sorted(everything[1:4])
    page.click(2)
    # Filtered away, a selected face is still selected, and the page says so.
    page.chip("Kept")
    assert "2 selected, 1 of them not shown" in page.one("#count").text
    assert page.copied().split("\n") == ["clip_10.png", "rare.png"]
    page.one("#clear").click()
    page.one("#save").click()
    saved = page.browser.downloads / "names.txt"
    for _ in range(100):
        if saved.exists():
            break
        page.browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert saved.read_text() == "rare.png\nclip_1.png\nclip_2.png\n"


@pytest.mark.slow
def test_without_a_clipboard_the_names_stand_in_a_text_field(page: Faces) -> None:
    page.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.one("#copy").click()
    # The old command works here, so that the field closes again.
    assert "6 names copied" in page.one("#count").text
    page.run("document.execCommand = () => false")
    page.one("#copy").click()
    assert page.one("#names").get_attribute("value").split("\n") == page.names()
    assert page.run("return document.activeElement.id") == "names"
    page.one("#dialog-close").click()
    assert not page.one("#dialog").is_displayed()


@pytest.mark.slow
def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    decisions = [decision(n, "blurred", words=n, scores={n: 1.0}) for n in HOSTILE]
    write_page(tmp_path / "page.html", HOSTILE[0], decisions, faces_like_photographs(8, 64))
    page = Faces(browser, tmp_path / "page.html")
    for place in range(len(HOSTILE)):
        page.run("arguments[0].focus()", page.all("#groups .face")[place])
    assert page.run("return window.broken") is None
    # The last is no valid text, which the driver cannot hand over.
    assert page.one("h1").text == HOSTILE[0]
    assert page.run("return faces.map(face => face.file).slice(0, 7)") == HOSTILE[:7]
    pictures = page.run("return [...document.images].map(i => i.src.startsWith('data:'))")
    assert pictures and all(pictures)
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_five_thousand_faces_open_quickly(browser: Any, tmp_path: Path) -> None:
    decisions = [
        decision(f"clip_{i:06d}_0.png", kept=True, scores={"a": i / 7, "b": i % 9})
        for i in range(5000)
    ]
    write_page(tmp_path / "page.html", "Faces", decisions, faces_like_photographs(5000, 96))
    page = Faces(browser, tmp_path / "page.html")
    milliseconds = page.run("return performance.getEntriesByType('navigation')[0].domInteractive")
    # About half a second alone on two cores; the rest is for a busy machine.
    assert milliseconds < 5000
    # Pictures are made as they come near the screen, and those further down not yet.
    assert 0 < len(page.all("#groups img")) < 500
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    page.browser.execute_async_script("setTimeout(arguments[0], 500)")
    assert page.run("return tileOf(4999).querySelector('img').naturalWidth") > 0
    assert browser.get_log("browser") == []
