"""The house keeps its law: every module stands in a layer, and every name of a module is its whole name."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import CHECKOUT, ROOMS

FACE = CHECKOUT / "neuroloop"
_BARE_IMPORT = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(ROOMS)})(?:\.|\s|$)", re.MULTILINE)
_BARE_NAME = re.compile(rf"(?<![\w./{{-])(?:{'|'.join(ROOMS)})(?:\.[a-z_][a-z_0-9]*)+(?!\()")
_TEXTS = (".md", ".yaml", ".yml", ".toml", ".service", ".cfg", ".ipynb")
_SETTINGS = re.compile(r"config\.kafka must be given")
"""Messages whose words look like a module and are none."""


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files that git knows, or those of the folders where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        names = [Path(name) for name in done.stdout.split("\0") if name]
    else:
        names = [path.relative_to(CHECKOUT) for path in CHECKOUT.rglob("*") if ".venv" not in path.parts]
    return tuple(
        name for name in names if (CHECKOUT / name).is_file() and (name.parts[0] != "neuroloop" or len(name.parts) == 2)
    )


def modules() -> set[str]:
    """Return every module of the program by its whole name, packages too."""
    found = {"neuroloop"} | {f"neuroloop.{path.stem}" for path in FACE.glob("*.py") if path.stem != "__init__"}
    for room in ROOMS:
        for path in (CHECKOUT / room).rglob("*.py"):
            name = ".".join(("neuroloop", *path.relative_to(CHECKOUT).with_suffix("").parts))
            found.add(name.removesuffix(".__init__"))
    return found


def layers() -> list[str]:
    """Return the names of the contract that orders the whole house."""
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (house,) = [one for one in contracts if one["type"] == "layers"]
    return [name for layer in house["layers"] for name in re.split(r"\s*[|:]\s*", layer)]


def test_every_module_stands_in_one_layer() -> None:
    names = layers()
    outside = {
        module for module in modules() if not any(module == name or module.startswith(f"{name}.") for name in names)
    }
    assert outside == {"neuroloop", "neuroloop.stream"}  # the table of public names, and a docstring
    assert not [name for name in names if name not in modules()], "a layer names what is not there"
    assert not [(a, b) for a in names for b in names if a != b and b.startswith(f"{a}.")], "two layers share modules"


def test_packages_hold_only_a_docstring() -> None:
    full = []
    for room in ROOMS:
        for path in (CHECKOUT / room).rglob("__init__.py"):
            text = path.read_text(encoding="utf-8").strip()
            if not (text.startswith('"""') and text.endswith('"""') and text.count('"""') == 2):
                full.append(path.relative_to(CHECKOUT).as_posix())
    assert full == []


def _prose(path: Path) -> Iterator[str]:
    """Return what of a file is text: all of it, or of Python the strings and comments."""
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            yield token.string


def test_no_text_names_a_module_without_the_package() -> None:
    ours = {name.removeprefix("neuroloop.") for name in modules()}
    found = []
    for path in tracked():
        if path.suffix not in (".py", *_TEXTS) and path.name not in ("Makefile", "Dockerfile", "run"):
            continue
        if path.name in ("CHANGELOG.md", Path(__file__).name):
            continue
        for text in _prose(path):
            for match in _BARE_NAME.finditer(text):
                parts = match[0].split(".")
                named = any(".".join(parts[:n]) in ours for n in range(2, len(parts) + 1))
                if named and not _SETTINGS.match(text, match.start()):
                    found.append(f"{path}: {match[0]}")
    assert found == []


def test_no_file_imports_a_room_without_the_package() -> None:
    found = []
    for path in tracked():
        if path.suffix in (".py", ".md", ".ipynb"):
            text = (CHECKOUT / path).read_text(encoding="utf-8")
            found += [f"{path}: {match[0].strip()}" for match in _BARE_IMPORT.finditer(text)]
    assert found == []
