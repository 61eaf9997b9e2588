"""Nothing measured: writes docs/options.md, every option as the config describes it.

python benchmarks/options.py [--write docs/options.md]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from faceswap_lite.config import Config, Section

HEAD = """# Options

Every option of every stage, made from the config's own descriptions (`faceswap_lite/config.py`) by
`python benchmarks/options.py`; do not edit it by hand. An option is given in a file,
`--config FILE`:

```yaml
training:
  batch: 16
  loss:
    l1: 5
```

or on the command line: `--set training.batch=16 --set training.loss.l1=5`. `--config` also takes
the name of a preset of `configs/`; `--set` is stronger. What options were
called before is in the table of `CHANGELOG.md`.
"""


def page() -> str:
    """The whole page."""
    tables = (text for name in Config.model_fields for text in tables_of(name, Config()))
    return "\n".join([HEAD, *tables])


def tables_of(name: str, parent: Section) -> Iterator[str]:
    """The table of a section's own options, then those of its groups."""
    group = getattr(parent, name.rpartition(".")[2])
    if not isinstance(group, Section):
        field = type(parent).model_fields[name]
        yield f"## {name}\n\nA line of text: {field.description}.\n"
        return
    fields = type(group).model_fields
    rows = [row(f"{name}.{key}", fields[key]) for key in fields if not is_group(group, key)]
    about = " ".join((type(group).__doc__ or "").split())
    head = ["| option | values | default | what it is |", "|---|---|---|---|"]
    yield "\n".join([f"## {name}", "", about, "", *head, *rows, ""])
    for key in fields:
        if is_group(group, key):
            yield from tables_of(f"{name}.{key}", group)


def is_group(section: Section, key: str) -> bool:
    return isinstance(getattr(section, key), Section)


def row(name: str, field: FieldInfo) -> str:
    default = said(field.default)
    about = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | {values_of(field)} | {default} | {about} |"


def values_of(field: FieldInfo) -> str:
    """The kind of an option's values, their range, and what else it may be."""
    kind: Any = field.annotation
    first, *rest = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    signs = {"ge": "from {:g}", "gt": "above {:g}", "le": "to {:g}", "lt": "below {:g}"}
    limits = [
        text.format(getattr(limit, sign))
        for limit in field.metadata
        for sign, text in signs.items()
        if getattr(limit, sign, None) is not None
    ]
    return ", ".join([" ".join([kind_of(first), *limits]), *map(kind_of, rest)])


def kind_of(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) in (list, tuple):
        return f"list of {kind_of(get_args(kind)[0])}s"
    words = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
    return "`null`" if kind is NoneType else words[kind]


def said(value: object) -> str:
    """A value as YAML has it."""
    plain = {None: "null", True: "true", False: "false", "": '""'}
    if isinstance(value, bool | NoneType) or value == "":
        return f"`{plain[value]}`"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--write", type=Path, default=Path("docs/options.md"), help="the page")
    parser.parse_args().write.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
