"""The JSON Schema of settings: for editors, for the reference of all keys, and for messages about unknown ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from neuroloop.config.docstrings import docstrings_of
from neuroloop.config.settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Node = dict[str, Any]


class _Described(GenerateJsonSchema):
    """Puts the docstring of every field into the schema of its class."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Node:
        """Return the schema of one class."""
        made: Node = super().model_schema(schema)
        properties = made.get("properties", {})
        for key, text in docstrings_of(schema["cls"]).items():
            if key in properties:
                properties[key].setdefault("description", text)
        return made


@cache
def _raw_schema(model: type[Settings]) -> Node:
    return model.model_json_schema(schema_generator=_Described)


def json_schema(model: type[Settings], *, title: str = "Configuration of neuroloop") -> Node:
    """Return the schema of a settings class and all that it holds, draft 2020-12.

    Parameters
    ----------
    model : type of Settings
    title : str, optional
        Of the whole.

    Returns
    -------
    dict
        JSON values. Every key has its ``description``; defaults are those of single values. What only validators know,
        such as which key goes with which kind, it does not say: a file that fits may still have faults.
    """
    raw = _raw_schema(model)
    tidy: Node = _tidy(raw)
    head = {"$schema": DIALECT, "title": title}
    return head | {key: value for key, value in tidy.items() if key != "title"}


def _tidy(node: Any, *, names_keys: bool = False) -> Any:
    """Leave out titles, which repeat the keys, and defaults that are sections; make descriptions one paragraph."""
    if isinstance(node, list):
        return [_tidy(one) for one in node]
    if not isinstance(node, dict):
        return node
    tidy: Node = {}
    for key, value in node.items():
        if names_keys:  # the keys of ``properties`` and ``$defs`` are names, whatever they look like
            tidy[key] = _tidy(value)
        elif key == "description":
            tidy[key] = " ".join(str(value).replace("``", "`").split())
        elif key == "title" or (key == "default" and isinstance(value, dict) and value):
            continue
        elif key in ("default", "enum", "const", "required", "examples"):
            tidy[key] = value
        else:
            tidy[key] = _tidy(value, names_keys=key in ("properties", "$defs"))
    return tidy


def resolve(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a node refers to, or the node itself."""
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return node
    found: Mapping[str, Any] = root["$defs"][reference.rpartition("/")[2]]
    return found


def branches(node: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the alternatives of a node, each resolved, without *nothing*; the node itself where it has none."""
    found = resolve(node, root)
    choices = found.get("oneOf") or found.get("anyOf")
    if choices is None:
        return [] if found.get("type") == "null" else [found]
    return [one for choice in choices for one in branches(choice, root)]


def tag_of(node: Mapping[str, Any]) -> str | None:
    """Return the kind that a section is for, where it is one of several."""
    kind = node.get("properties", {}).get("kind", {}).get("const")
    return kind if isinstance(kind, str) else None


def known_keys(model: type[Settings], position: Sequence[str | int]) -> tuple[str, ...]:
    """Return the keys that settings may have at a position as pydantic names it, with the tags of unions."""
    root = _raw_schema(model)
    here: list[Mapping[str, Any]] = [root]
    for part in position:
        deeper: list[Mapping[str, Any]] = []
        for node in here:
            if part in node.get("properties", {}):
                deeper += branches(node["properties"][part], root)
            elif isinstance(part, int) and isinstance(node.get("items"), dict):
                deeper += branches(node["items"], root)
            elif isinstance(node.get("additionalProperties"), dict):
                deeper += branches(node["additionalProperties"], root)
        if not deeper and isinstance(part, str):
            deeper = [node for node in here if tag_of(node) == part] or here  # the tag of a union is no key
        here = deeper
    return tuple(dict.fromkeys(key for node in here for key in node.get("properties", {})))
