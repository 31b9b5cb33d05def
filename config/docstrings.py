"""What is said of each setting: the docstrings under the fields of the settings classes.

They are read from the source only when somebody asks. Pydantic can do it when it makes the classes
(``use_attribute_docstrings``), which made every process of a run start 55 ms later.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise

from neuroloop.config.settings import Settings


def docstrings_of(model: type[Settings]) -> dict[str, str]:
    """Return the docstring of every field that has one, inherited ones too; empty where there is no source."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        own = _docstrings(one.__module__).get(one.__qualname__, {}) if issubclass(one, Settings) else {}
        for key in inspect.get_annotations(one):
            found.pop(key, None)  # a field that is defined anew means what it says here
        found |= own
    return {key: text for key, text in found.items() if key in model.model_fields}


@cache
def _docstrings(module: str) -> Mapping[str, dict[str, str]]:
    """Return the docstrings of fields by the name of their class, for all classes of a module."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    return {name: _under_fields(node.body) for name, node in _classes(tree.body)}


def _classes(body: list[ast.stmt], within: str = "") -> Iterator[tuple[str, ast.ClassDef]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield within + node.name, node
            yield from _classes(node.body, f"{within}{node.name}.")


def _under_fields(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for pair in pairwise(body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
