"""Every key of the configuration: its section, meaning, type, unit, default, allowed values, and examples.

All of it is read from the settings classes through their JSON Schema; only the examples are a file of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from neuroloop.config.errors import ConfigError
from neuroloop.config.nearest import did_you_mean
from neuroloop.config.schema import branches, json_schema, resolve, tag_of
from neuroloop.config.schema_words import NUMBERS, as_yaml, in_words
from neuroloop.config.tree import Config

_EXAMPLES = Path(__file__).resolve().parent / "examples" / "sections.yaml"
_UNITS = (
    ("_per_h", "per hour"),
    ("_per_day", "per day"),
    ("_uc_cm2", "µC/cm²"),
    ("_ma_cm2", "mA/cm²"),
    ("_cm2", "cm²"),
    ("_ma_s", "mA/s"),
    ("per_phase_uc", "µC"),
    ("_ohm", "ohm"),
    ("_mm", "mm"),
    ("_hz", "Hz"),
    ("sfreq", "Hz"),
    ("_ms", "ms"),
    ("_us", "µs"),
    ("_ma", "mA"),
    ("_ua", "µA"),
    ("_mc", "mC"),
    ("_mj", "mJ"),
    ("_kb", "kB"),
    ("_mb", "MB"),
    ("_bytes", "bytes"),
    ("_samples", "rows"),
    ("_windows", "windows"),
    ("_frames", "frames"),
    ("minutes", "minutes"),
    ("baudrate", "bit/s"),
    ("_h", "h"),
    ("_s", "s"),
)
"""Unit by the end of a key's name, longer ends first."""
_FIRST = ("kind", "name")
"""Keys that are said before the others of their section."""
_LIKENESS = 0.4
REQUIRED = "required"
NOTHING = "nothing"
"""What stands in place of a default where a key must be given, and where it may be left out and means nothing then."""


@dataclass(frozen=True)
class Key:
    """One setting.

    Attributes
    ----------
    name : str
        The key itself.
    meaning : str
        One paragraph; code stands between single backticks.
    values : str
        Type and allowed values in plain words.
    unit : str
        Empty where the value has none.
    default : str
        As YAML, in one line; `REQUIRED` or `NOTHING`; empty where it is a section or depends on other keys.
    """

    name: str
    meaning: str
    values: str
    unit: str
    default: str


@dataclass(frozen=True)
class Section:
    """Keys that stand together.

    Attributes
    ----------
    path : tuple of str
        As in ``neuroloop check --explain``: ``("stages", "bandpower")``; empty for the keys at the top.
    steps : tuple of (str, bool, str)
        How the section is nested: key, whether its value is a list, and the kind of the entry, or nothing.
    of : str
        Name of the settings class.
    meaning : str
    keys : tuple of Key
    """

    path: tuple[str, ...]
    steps: tuple[tuple[str, bool, str], ...]
    of: str
    meaning: str
    keys: tuple[Key, ...]

    @property
    def name(self) -> str:
        """The dotted path."""
        return ".".join(self.path)


@cache
def sections() -> tuple[Section, ...]:
    """Return all sections, from the top down, each before those within it."""
    root = json_schema(Config)
    return tuple(_walk(root, root, "Config", (), ()))


def _walk(
    node: Mapping[str, Any],
    root: Mapping[str, Any],
    of: str,
    path: tuple[str, ...],
    steps: tuple[tuple[str, bool, str], ...],
) -> Iterator[Section]:
    """Yield the section of a node, then those within it."""
    required = node.get("required", ())
    keys, inner = [], []
    for name, value in node["properties"].items():
        keys.append(_key(name, value, root, is_required=name in required))
        for child, child_of, in_list in _held_sections(value, root):
            kind = tag_of(child) or ""
            inner.append((child, child_of, (*path, name, *([kind] if kind else [])), (*steps, (name, in_list, kind))))
    keys.sort(key=lambda one: _FIRST.index(one.name) if one.name in _FIRST else len(_FIRST))
    yield Section(path, steps, of, str(node.get("description", "")), tuple(keys))
    for child, child_of, child_path, child_steps in inner:
        yield from _walk(child, root, child_of, child_path, child_steps)


def _held_sections(
    node: Mapping[str, Any], root: Mapping[str, Any], *, in_list: bool = False
) -> Iterator[tuple[Mapping[str, Any], str, bool]]:
    """Yield the settings that a key holds, itself or as entries of a list, with their class."""
    reference = node.get("$ref")
    if isinstance(reference, str) and "properties" in resolve(node, root):
        yield resolve(node, root), reference.rpartition("/")[2], in_list
        return
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _held_sections(choice, root, in_list=in_list)
    if isinstance(node.get("items"), dict):
        yield from _held_sections(node["items"], root, in_list=True)


def _key(name: str, node: Mapping[str, Any], root: Mapping[str, Any], *, is_required: bool) -> Key:
    choices = branches(node, root)
    words = list(dict.fromkeys(in_words(choice, root) for choice in choices))
    has_number = any(choice.get("type") in NUMBERS for choice in choices)
    unit = next((unit for end, unit in _UNITS if name.endswith(end)), "") if has_number else ""
    if is_required:
        default = REQUIRED
    elif node.get("default", "") is None:
        default = NOTHING
    else:
        default = as_yaml(node["default"]) if "default" in node else ""
    return Key(name, str(node.get("description", "")), " or ".join(words), unit, default)


@cache
def _all_examples() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(_EXAMPLES.read_text(encoding="utf-8"))
    return found


def examples_of(section: Section) -> list[dict[str, Any]]:
    """Return what the section may hold, the one to show first; those of another place where the class stands too."""
    known = _all_examples()
    if section.name in known:
        return known[section.name]
    return next((known[one.name] for one in sections() if one.of == section.of and one.name in known), [])


def nested(section: Section, values: Mapping[str, Any]) -> str:
    """Return values of a section as YAML from the top of a file."""
    whole: Any = dict(values)
    for name, in_list, kind in reversed(section.steps):
        entry = {"kind": kind, **whole} if kind else whole
        whole = {name: [entry] if in_list else entry}
    whole = json.loads(json.dumps(whole))  # no object twice: YAML would write an alias
    return yaml.safe_dump(
        whole, sort_keys=False, allow_unicode=True, default_flow_style=None if section.steps else False, width=100
    )


def example_of(section: Section, key: Key) -> str:
    """Return an example of one key as YAML from the top of a file."""
    for one in examples_of(section):
        if key.name in one:
            return nested(section, {key.name: one[key.name]})
    if key.default in ("", NOTHING, REQUIRED):
        return ""
    return nested(section, {key.name: yaml.safe_load(key.default)})


def find_keys(dotted: str) -> list[tuple[Section, Key | None]]:
    """Return what a dotted key names: one key, a key of several kinds, or, without a key, a section.

    Parameters
    ----------
    dotted : str
        Such as ``stages.bandpower.hop_s``. Numbers of list entries may stand in it, the kind may be left out.

    Raises
    ------
    ConfigError
        If nothing is named so.
    """
    asked = tuple(part for part in dotted.strip().split(".") if not part.isdigit())
    named: list[tuple[tuple[str, ...], tuple[Section, Key | None]]] = []
    for section in sections():
        short = tuple(name for name, _, _ in section.steps)
        if section.path and asked in (section.path, short):
            named.append((section.path, (section, None)))
        for key in section.keys:
            if asked in ((*section.path, key.name), (*short, key.name)):
                named.append(((*section.path, key.name), (section, key)))
    exact = [found for path, found in named if path == asked]
    found = exact or [found for _, found in named]
    if found:
        return found
    known = [".".join((*section.path, key.name)) for section in sections() for key in section.keys]
    same_end = [one for one in known if asked and one.rpartition(".")[2] == asked[-1]]
    hint = did_you_mean(dotted, same_end or known, likeness=0.0 if same_end else _LIKENESS)
    raise ConfigError(f"key must be a known setting{hint}, got {dotted!r}")
