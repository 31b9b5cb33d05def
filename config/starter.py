"""A commented file to start from: a preset as it is, and beside it the keys that are changed most often."""

from __future__ import annotations

import re
import textwrap

from neuroloop.config.loading import find_preset, load_config
from neuroloop.config.reference import NOTHING, REQUIRED, Section, examples_of, sections
from neuroloop.config.schema_words import as_yaml
from neuroloop.config.source import KIND_KEYS
from neuroloop.config.tree import Config

SCHEMA_FILE = "neuroloop.schema.json"
"""Where the file's first line looks for the schema: beside it."""
_WITHIN = {
    "source": ("name", "type", "units", "channels", "timing", "fill", "gap_tolerance_s", "reset_after_s", "staleness"),
    "classifier": ("mode",),
    "stimulation": ("impedance_ohm", "ledger"),
}
"""Keys that are added to a section that the preset has."""
_BEHIND = ("decision", "drift", "accuracy", "markers", "outlets", "recorder", "metrics", "process", "kafka")
"""Sections that are added where the preset has none; nothing that could stimulate is among them."""
_NEED_CLASSIFIER = frozenset({"decision", "accuracy"})
_TOP_KEY = re.compile(r"([a-z_]+):(.*)$")
_WIDTH = 116


def starter(preset: str) -> str:
    """Return the text of a file that is this preset and says what else could stand in it.

    A line that begins with ``#`` and no space behind it is a setting: without the ``#`` it holds.

    Parameters
    ----------
    preset : str

    Raises
    ------
    ConfigError
        If there is no such preset.
    """
    path = find_preset(preset)
    config = load_config(preset)
    by_name = {section.name: section for section in sections()}
    given = {key for key in type(config).model_fields if key in config.model_fields_set}
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# The preset '{preset}'. Keys behind a '#' are not set: what they say is their default, or an example where",
        "# there is none. All keys: docs/configuration.md, or neuroloop check --explain KEY.",
        "#",
    ]
    for name, block, rest in _blocks(path.read_text(encoding="utf-8")):
        lines += block
        if name in _WITHIN:
            lines += _within(by_name[name], config, block)
        lines += rest
    for name in _BEHIND:
        if name not in given and (config.classifier is not None or name not in _NEED_CLASSIFIER):
            meaning = next(key.meaning for key in by_name[""].keys if key.name == name)
            lines += ["", *_prose(meaning), *_behind(by_name[name])]
    return "\n".join(lines) + "\n"


def _blocks(text: str) -> list[tuple[str, list[str], list[str]]]:
    """Cut a file at its top keys: name, the lines that belong to it, and what stands between it and the next."""
    blocks: list[tuple[str, list[str], list[str]]] = [("", [], [])]
    for line in text.splitlines():
        key = _TOP_KEY.match(line)
        if key:
            blocks.append((key[1], [line], []))
        elif line.startswith(" ") and line.strip():
            blocks[-1][1].extend((*blocks[-1][2], line))
            blocks[-1][2].clear()
        else:
            blocks[-1][2].append(line)
    return blocks


def _within(section: Section, config: Config, block: list[str]) -> list[str]:
    """Return the lines that are added to a section of the preset; none where it is written in one line."""
    if _TOP_KEY.sub(r"\2", block[0]).partition("#")[0].strip():
        return []
    there = {line.strip().partition(":")[0] for line in block[1:]}
    of_other_kinds = frozenset[str]().union(*KIND_KEYS.values()) - KIND_KEYS[config.source.kind]
    lines = []
    for name in _WITHIN[section.name]:
        if name not in there and not (section.name == "source" and name in of_other_kinds):
            lines += [f"  {line}" for line in _setting(section, name)]
    return lines


def _behind(section: Section) -> list[str]:
    """Return a whole section behind a ``#``."""
    shown = list(examples_of(section)[0])
    (_, in_list, _), inner = section.steps[0], []
    for name in shown:
        inner += _setting(section, name, behind=False)
    first, others = ("  - ", "    ") if in_list else ("  ", "  ")
    lines = [f"#{section.name}:"]
    is_first = True
    for line in inner:
        is_setting = not line.startswith("#")
        lines.append(f"#{first if is_setting and is_first else others}{line}")
        is_first = is_first and not is_setting
    return lines


def _setting(section: Section, name: str, *, behind: bool = True) -> list[str]:
    """Return a key with its default, or an example, under what it means."""
    key = next(one for one in section.keys if one.name == name)
    has_default = key.default not in ("", NOTHING, REQUIRED)
    given = next((one[name] for one in examples_of(section) if name in one), None)
    value = key.default if has_default else as_yaml(given)
    unit = f" Unit: {key.unit}." if key.unit else ""
    says = {NOTHING: " Default: nothing.", REQUIRED: " Required."}.get(key.default, "")
    return [*_prose(f"{key.meaning}{unit}{says}"), f"{'#' if behind else ''}{name}: {value}"]


def _prose(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text.replace("`", "'"), _WIDTH)]
