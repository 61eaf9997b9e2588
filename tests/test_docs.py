"""The documents: links lead somewhere, commands parse with their options and presets."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from faceswap_lite import cli
from faceswap_lite.config import ConvertConfig
from faceswap_lite.config_files import change_section, load_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def of_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


@cache
def anchors_of(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text_of(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_a_link_leads_to_a_file_and_its_anchor_to_a_heading(page: Path) -> None:
    wrong = []
    for link in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", without_blocks(text_of(page)))
    ):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if name.startswith(("http:", "https:")):
            continue
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            wrong.append(link)
    assert not wrong


def test_every_page_is_found_from_the_readme() -> None:
    named = set(re.findall(r"\]\((docs/[\w.]+\.md)\)", text_of(ROOT / "README.md")))
    assert {of_page(page) for page in PAGES if page.parent == ROOT / "docs"} <= named


def test_the_readme_is_short_and_its_presets_exist() -> None:
    text = text_of(ROOT / "README.md")
    assert len(text.splitlines()) <= 170
    presets = re.findall(r"^\| `(\w+)` \|", text, re.M)
    assert presets
    for preset in presets:
        assert (ROOT / "configs" / f"{preset}.yaml").is_file(), preset


def commands_of(page: Path) -> list[list[str]]:
    """The words of every command of ours that a page shows, in blocks and in sentences."""
    text = text_of(page)
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(code.split()) for code in re.findall(r"`(faceswap-lite [^`]+)`", text)]
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["torchrun"] and "faceswap_lite" in words:
            words = ["faceswap-lite", *words[words.index("faceswap_lite") + 1 :]]
        if words[:1] == ["bash"]:
            assert (ROOT / words[1]).is_file(), line
        if words[:1] == ["faceswap-lite"]:
            found.append(words[1:])
    return found


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and its values. `...`, or no word at all, stands for what it cannot miss."""
    command: Any = typer.main.get_command(cli.app)
    name = "faceswap-lite"
    given = [word for word in words if word != "..."]
    while hasattr(command, "commands"):
        name, *given = given
        command = command.commands[name]
    if "--help" in given:
        return name, {}
    if "..." in words or not given:
        for parameter in command.params:
            named = parameter.param_type_name == "option"
            if parameter.required and not (named and set(parameter.opts) & set(given)):
                given = [*given, *([parameter.opts[0]] if named else []), "yaw_deg"]
    with command.make_context(name, given) as context:
        return name, context.params


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_commands_parse_with_their_options_and_presets(page: Path) -> None:
    for words in commands_of(page):
        check(words)


def check(words: list[str]) -> None:
    _, values = parsed(words)
    load_config(values.get("config"), values.get("changes") or [])
    for row in values.get("tries") or []:
        change_section(ConvertConfig(), row.split())


def test_help_shows_uses_that_parse() -> None:
    door: Any = typer.main.get_command(cli.app)
    commands = [*door.commands.values(), *door.commands["latent"].commands.values()]
    for command in commands:
        uses = re.findall(r"^faceswap-lite (.*)", command.help, re.M)
        assert len(uses) >= (1 if command.name == "latent" else 2), command.name
        for use in uses:
            check(shlex.split(use))


def test_the_readme_shows_the_whole_road() -> None:
    shown = {words[0] for words in commands_of(ROOT / "README.md")}
    assert {"extract", "curate", "train", "convert", "evaluate", "info"} <= shown


@pytest.mark.parametrize(
    "words", [["train", "...", "--no-such-option"], ["convert", "--run", "a"], ["no_such_command"]]
)
def test_a_command_that_does_not_parse_is_noticed(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"no_such|No such|Missing"):
        parsed(words)


@pytest.mark.parametrize("page", ["architecture", "extending", "glossary"])
def test_modules_named_in_sentences_exist_and_hold_what_is_said(page: str) -> None:
    text = without_blocks(text_of(ROOT / "docs" / f"{page}.md"))
    new = set(re.findall(r"^In `([\w/]+\.py)`", text, re.M))
    wrong = []
    for name, module in re.findall(r"(?:`(\w+)` in )?`((?:\w+/)?\w+\.py)`", text):
        places = [ROOT / "faceswap_lite" / module, ROOT / module]
        held = "".join(text_of(place) for place in places if place.is_file())
        if module not in new and (not held or name not in held):
            wrong.append((name, module))
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_options_named_in_sentences_exist(page: Path) -> None:
    """`section.key` in code, whole: of the config's sections, at any depth."""
    known = load_config().model_dump()
    wrong = []
    for code in re.findall(r"`([^`\n]+)`", text_of(page)):
        for name in re.findall(r"(?<![\w./])((?:\w+\.)+\w+)(?=$|[=\s:])", code):
            held: Any = known
            for key in name.split("."):
                if key not in (held if isinstance(held, dict) else ()):
                    break
                held = held[key]
            else:
                continue
            if name.split(".")[0] in known and not name.endswith((".py", ".json")):
                wrong.append(name)
    assert not wrong
