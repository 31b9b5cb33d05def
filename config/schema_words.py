"""What a node of the JSON Schema allows, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from neuroloop.config.schema import branches, resolve, tag_of

NUMBERS = {"number": "number", "integer": "whole number"}
_LONGEST_PATTERN = 60
_NAME_PATTERN = "^[A-Za-z][A-Za-z0-9_-]*$"


def as_yaml(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def in_words(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Say in plain words what a node allows."""
    if "enum" in node:
        return "one of " + ", ".join(f"`{as_yaml(one)}`" for one in node["enum"])
    if "const" in node:
        return f"`{as_yaml(node['const'])}`"
    kind = node.get("type")
    if "properties" in node:
        tag = tag_of(node)
        return f"a section of kind `{tag}`" if tag else "a section"
    if kind in NUMBERS:
        return NUMBERS[kind] + _bounds(node)
    if kind == "boolean":
        return "`true` or `false`"
    if kind == "array":
        return _list_in_words(node, root)
    if kind == "object":
        inner = (
            branches(node["additionalProperties"], root) if isinstance(node.get("additionalProperties"), dict) else []
        )
        held = " or ".join(dict.fromkeys(in_words(one, root) for one in inner)) or "anything"
        return f"a mapping from names to {held}"
    if node.get("pattern") == _NAME_PATTERN:
        return f"a name: letters, digits, `-` and `_`, a letter first, at most {node['maxLength']}"
    if len(node.get("pattern", "")) > _LONGEST_PATTERN:
        return "text of a certain form"
    if "pattern" in node:
        return f"text that matches `{node['pattern']}`"
    least, most = node.get("minLength"), node.get("maxLength")
    if most is not None:
        return f"text of {least or 0} to {most} characters"
    return "text"


def _list_in_words(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "prefixItems" in node:
        entries = [in_words(resolve(one, root), root) for one in node["prefixItems"]]
        return f"a list of {len(entries)}: {', '.join(entries)}"
    choices = branches(node["items"], root)
    kinds = [f"`{tag}`" for one in choices if (tag := tag_of(one))]
    words = list(dict.fromkeys(in_words(one, root) for one in choices))
    least = f", {node['minItems']} or more" if node.get("minItems") else ""
    if kinds:
        return f"a list of sections{least}; kinds: {', '.join(kinds)}"
    if words == ["a section"]:
        return f"a list of sections{least}"
    return f"a list{least}, each {' or '.join(words)}"


def _bounds(node: Mapping[str, Any]) -> str:
    """Say the range of a number."""
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None and most is not None:
        return f" from {_plain(least)} to {_plain(most)}"
    words = {
        "exclusiveMinimum": " above",
        "minimum": ", at least",
        "exclusiveMaximum": ", below",
        "maximum": ", at most",
    }
    return "".join(f"{word} {_plain(node[key])}" for key, word in words.items() if key in node)


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)
