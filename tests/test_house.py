"""The house rules that a reader relies on: no facades, one way to import."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "faceswap_lite"
FOLDERS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@cache
def names_defined(module: Path) -> set[str]:
    """Names that a module defines itself at its top, and the modules beside it for a folder."""
    names: set[str] = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Try | ast.If):
            names |= {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef)}
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    if module.name == "__init__.py":
        names |= {path.stem for path in module.parent.glob("*.py")}
        names |= {path.parent.name for path in module.parent.glob("*/__init__.py")}
    return names


def own_imports(path: Path) -> list[tuple[Path, str]]:
    """(module, name) of each `from ... import` of the package's own."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        words = node.module.split(".") if node.module else []
        if node.level:
            folder = path.parents[node.level - 1]
        elif words[0] == PACKAGE.name:
            folder, words = PACKAGE, words[1:]
        else:
            continue
        base = folder.joinpath(*words)
        module = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        found += [(module, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_s_init_holds_a_docstring_and_nothing_else(folder: str) -> None:
    body = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")).body
    assert len(body) == 1 and isinstance(body[0], ast.Expr)


def test_a_name_is_imported_from_the_module_that_defines_it() -> None:
    files = [
        path
        for place in ("faceswap_lite", "benchmarks", "tests")
        for path in (ROOT / place).rglob("*.py")
    ]
    wrong = [
        f"{path.relative_to(ROOT)}: {name} from {module.relative_to(ROOT)}"
        for path in files
        for module, name in own_imports(path)
        if name not in names_defined(module)
    ]
    assert not wrong
