"""Configs as they are given: YAML, presets, `--set section.key=value`; what is wrong is named.

The options themselves are in `config.py`.
"""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .config import AUGMENTED, GONE_COLORS, ColorConfig, Config, Section
from .errors import UsageError
from .renames import CONSTANTS, is_old, new_name, old_names_in, under_new_names

# What lies beside the config of a run (`runs.manifest.MANIFEST_FILE`).
_RUN_FILE = "run.json"

_SectionT = TypeVar("_SectionT", bound=Section)


class Change(str):
    """`section.key=value`, and the option of a command that asked for it, as it was typed."""

    typed: str

    def __new__(cls, text: str, typed: str) -> "Change":
        """As any string."""
        change = super().__new__(cls, text)
        change.typed = typed
        return change


def load_config(
    source: str | Path | None = None,
    changes: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Config:
    """The config of a YAML file, or of a preset's name, with `section.key=value` changes applied.

    A run's own file holds every option, chosen or not, under the names of its day: there, what went
    is what it is by default now, and `say` hears of it. Elsewhere old names are refused.
    Raises: UsageError naming the key, and the nearest right one when it is a typo; and the option
    or the file that it was given by.
    """
    values: dict[str, Any] = {}
    if source is not None:
        path = find_config(source)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path}: is not a readable config ({reason})") from error
        if not isinstance(values, dict):
            raise UsageError(f"{path}: must consist of sections ({', '.join(Config.model_fields)})")
        if path.with_name(_RUN_FILE).is_file():
            for name, value in old_names_in(values):
                if say is not None and name in CONSTANTS and value != CONSTANTS[name]:
                    say(f"{path}: {new_name(name)}")
            values = under_new_names(values)
            if not any(_key(change) == "convert.color.kind" for change in changes):
                values = _without_gone(values, path, say)
        elif old := [new_name(name) for name, _ in old_names_in(values)]:
            raise UsageError(f"{path}: {'; '.join(old)}")
    unchanged = values
    named = set[str]()
    for change in changes:
        name, value = _parsed(change)
        if is_old(name, value):
            raise UsageError(f"{_typed(change)}: {new_name(name)}")
        values = _with_change(values, change)
        named |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    by_hand = {f"training.augment.{name}" for name in AUGMENTED} & named
    if by_hand and "training.augment.kind" not in named:
        # A run's own file holds all options: what is asked for now decides.
        values = _with_change(values, "training.augment.kind=hand")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        blamed = _blamed(error, changes, unchanged)
        where = blamed or (f"{path}: " if source is not None else "")
        raise UsageError(where + _explain(error)) from None


def change_section(section: _SectionT, changes: Sequence[str]) -> _SectionT:
    """The section with changes that read `key=value`.

    Raises: UsageError naming the key, and the nearest right one when it is a typo.
    """
    name = type(section).__name__.removesuffix("Config").lower()
    values: dict[str, Any] = {name: section.model_dump()}
    for change in (Change(f"{name}.{change}", change) for change in changes):
        if is_old(*_parsed(change)):
            told = new_name(_key(change)).replace(f"{name}.", "")
            raise UsageError(f"{change.typed}: {told}")
        values = _with_change(values, change)
    try:
        return type(section).model_validate(values[name])
    except ValidationError as error:
        raise UsageError(f"{' '.join(changes)}: {_explain(error, name)}") from None


def find_config(source: str | Path) -> Path:
    """The file of a config: a path, or the name of a preset in `configs/`."""
    path = Path(source)
    if path.is_file():
        return path
    package = Path(__file__).parent
    # A checkout keeps the presets beside the package, an installed wheel inside it.
    folders = [package.parent / "configs", package / "configs"]
    if path.suffix == "" and path.name == str(source):
        for folder in folders:
            if (folder / f"{source}.yaml").is_file():
                return folder / f"{source}.yaml"
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise UsageError(f"{source}: no such config file or preset (presets: {', '.join(names)})")


def _without_gone(
    values: dict[str, Any], path: Path, say: Callable[[str], None] | None
) -> dict[str, Any]:
    """A run's options without those that went."""
    try:
        kind = values["convert"]["color"]["kind"]
    except (KeyError, TypeError):
        return values
    # A list, as no key of a mapping can be: what is no name is told of later.
    if kind not in [*GONE_COLORS]:
        return values
    now = ColorConfig().kind
    if say is not None:
        say(f"{path}: convert.color.kind {kind} no longer exists; {now} is used instead")
    return _with_change(values, f"convert.color.kind={now}")


def _key(change: str) -> str:
    return change.partition("=")[0].strip()


def _typed(change: str) -> str:
    return change.typed if isinstance(change, Change) else f"--set {change}"


def _blamed(error: ValidationError, changes: Sequence[str], unchanged: dict[str, Any]) -> str:
    """Which changes brought the error, as they were typed; empty: it was there before them."""
    where = ".".join(str(part) for part in error.errors()[0]["loc"])
    same = [change for change in changes if f"{where}.".startswith(f"{_key(change)}.")]
    if same:
        return f"{_typed(same[-1])}: "
    try:
        Config.model_validate(unchanged)
    except ValidationError:
        return ""
    # Options that do not go together.
    near = [change for change in changes if _key(change).startswith(where)]
    return f"{' '.join(dict.fromkeys(map(_typed, near)))}: " if near else ""


def _parsed(change: str) -> tuple[str, Any]:
    """The option that a change names, and its value."""
    name, equals, text = change.partition("=")
    name = name.strip()
    if equals and name == "consent":
        return name, text
    section, *keys = name.split(".")
    if not (equals and keys and all([section, *keys])):
        raise UsageError(f"--set {change}: must read section.key=value")
    try:
        value = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        value = text
    if isinstance(value, dict) and not text.lstrip().startswith("{"):
        # A colon in a sentence makes no mapping of it.
        value = text
    return name, "" if text == "" else value


def _with_change(values: dict[str, Any], change: str) -> dict[str, Any]:
    name, value = _parsed(change)

    def put(options: dict[str, Any], key: str, *rest: str) -> dict[str, Any]:
        if not rest:
            both = isinstance(value, dict) and isinstance(options.get(key), dict)
            return {**options, key: {**options[key], **value} if both else value}
        inner = options.get(key) or {}
        if not isinstance(inner, dict):
            raise UsageError(
                f"{_typed(change)}: {key} must hold options, one per line, not {inner!r}"
            )
        return {**options, key: put(inner, *rest)}

    return put(values, *name.split("."))


def _explain(error: ValidationError, *inside: str) -> str:
    first = error.errors()[0]
    path = (*inside, *first["loc"])
    where = ".".join(str(part) for part in path)
    if first["type"] != "extra_forbidden":
        return f"{where or 'config'}: {first['msg'].removeprefix('Value error, ')}"
    section: type[BaseModel] = Config
    for part in path[:-1]:
        section = type(getattr(section(), str(part)))
    near = difflib.get_close_matches(str(path[-1]), section.model_fields, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(section.model_fields)}"
    return f"{where}: no such option; {hint}"
