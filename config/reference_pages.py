"""The reference of all keys as a page of documentation, and one key explained in a terminal.

``neuroloop schema --markdown > docs/configuration.md`` makes the page anew.
"""

from __future__ import annotations

from neuroloop.config.errors import ConfigError
from neuroloop.config.reference import Key, Section, example_of, examples_of, find_keys, nested, sections

_INTRODUCTION = """\
# Configuration

<!-- Made by `neuroloop schema --markdown`. Change the docstrings of the settings classes instead. -->

A configuration is one YAML file, or the name of a preset. Every key is below, with its unit, its default and what it
may be. An unknown key is a fault, with its file, its line and the key that was probably meant.

    neuroloop init monitor > mine.yaml                  # a commented file to start from
    neuroloop check mine.yaml                           # all faults at once, then what it would compute
    neuroloop check --explain stages.bandpower.hop_s    # what one key means
    neuroloop run mine.yaml --set source.name=MyAmp     # any key from the command line

Units stand in the names: `_s` seconds, `_ms` milliseconds, `_hz` hertz, `_samples` rows of a stage's input, `_ma` mA,
`_uc` µC, `_cm2` cm². Seconds become rows once, by rounding. *Nothing* as a default means that the key may be left out;
what follows then, its meaning says. Entries of lists have their kind in the path here (`stages.bandpower.hop_s`), and
their number in `--set` (`stages.2.hop_s`).

## Completion in an editor

    neuroloop schema > neuroloop.schema.json

writes the JSON Schema (draft 2020-12) of all keys. Editors with a YAML language server then complete and explain keys
in every file that begins with

    # yaml-language-server: $schema=neuroloop.schema.json

The schema is looked for beside the file; `neuroloop init` writes the line. It knows keys, types and ranges, not what
goes with what: `neuroloop check` has the last word.

"""


def _anchor(section: Section) -> str:
    """Return the name of a section's heading, as links to it are written."""
    return section.name.replace(".", "") or "the-top-of-the-file"


def markdown() -> str:
    """Return ``docs/configuration.md``."""
    parts = [_INTRODUCTION]
    first_of: dict[str, Section] = {}
    repeated: set[str] = set()
    for section in sections():
        owner = first_of.setdefault(section.of, section)
        if owner is section:
            parts.append(_section_page(section))
        elif all(first_of[parent.of] is parent for parent in _parents(section)):
            title, same = (".".join(name for name, _, _ in one.steps) for one in (section, owner))
            if title not in repeated:  # kinds of one list are said once
                parts.append(f"{_level(section)} {title}\n\nThe same keys as [`{same}`](#{_anchor(owner)}).\n\n")
            repeated.add(title)
    return "".join(parts).rstrip("\n") + "\n"


def _parents(section: Section) -> list[Section]:
    return [one for one in sections() if one.path and one is not section and section.path[: len(one.path)] == one.path]


def _level(section: Section) -> str:
    return "##" if len(section.path) <= 1 else "###"


def _section_page(section: Section) -> str:
    title = section.name or "The top of the file"
    examples = examples_of(section)
    if not examples:
        raise ConfigError(f"config/examples/sections.yaml must have an example of {section.name}, got none")
    shown = nested(section, examples[0])
    rows = "".join(_row(key) for key in section.keys)
    return (
        f"{_level(section)} {title}\n\n{section.meaning}\n\n```yaml\n{shown}```\n\n"
        f"| key | meaning | value | unit | default |\n|---|---|---|---|---|\n{rows}\n"
    )


def _row(key: Key) -> str:
    default = key.default if key.default in ("", "required", "nothing") else f"`{key.default}`"
    cells = (f"`{key.name}`", key.meaning, key.values, key.unit, default)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def explain(dotted: str) -> str:
    """Return what a key means, as lines for a terminal; a key of several kinds is explained for each.

    Raises
    ------
    ConfigError
        If there is no such key; names the nearest.
    """
    return "\n".join(_explain_one(section, key) for section, key in find_keys(dotted))


def _explain_one(section: Section, key: Key | None) -> str:
    if key is None:
        shown = nested(section, examples_of(section)[0])
        lines = [section.name, f"  {section.meaning}", f"  keys: {', '.join(one.name for one in section.keys)}"]
    else:
        shown = example_of(section, key)
        lines = [".".join((*section.path, key.name)), f"  {key.meaning}", f"  value: {key.values}"]
        lines += [f"  unit: {key.unit}"] if key.unit else []
        lines += [f"  default: {key.default}"] if key.default else []
    text = "\n".join(lines).replace("`", "'") + "\n"
    return text + "".join(f"  {line}\n" for line in ("example:", *(f"  {one}" for one in shown.splitlines())) if shown)
