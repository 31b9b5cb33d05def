import ast
import builtins
import inspect
import pickle
import re
from pathlib import Path

import pytest

from neuroloop.config.errors import ConfigError, NeuroloopError

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("config", "stream", "processors", "models", "sinks")
ROOT = NeuroloopError.__name__
INTERNAL = {
    "DamagedMat": "becomes a RecordingError that names the file",
    "DamagedChunk": "becomes a note of the recording",
    "BrokenInvariant": "becomes a fault of the gate, which switches off",
    "IllegalTransition": "becomes a fault of the gate, which disarms",
    "TrainingCancelled": "ends the other trainings of a run whose own error is the one told",
    "_SpeaksTls": "becomes a BrokerError",
    "_Refused": "becomes a BrokerError",
}


def _parents() -> dict[str, list[tuple[str, ...]]]:
    """Return the parents of every class of the source by its name, once for each definition."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for path in (path for room in ROOMS for path in (CHECKOUT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = tuple(one.id if isinstance(one, ast.Name) else getattr(one, "attr", "") for one in node.bases)
                found.setdefault(node.name, []).append(bases)
    return found


def _is_exception(name: str, parents: dict[str, list[tuple[str, ...]]]) -> bool:
    builtin = getattr(builtins, name, None)
    if isinstance(builtin, type):
        return issubclass(builtin, BaseException)
    return any(_is_exception(base, parents) for bases in parents.get(name, []) for base in bases if base != name)


def _tree() -> dict[str, str]:
    """Return the parent of every class in the tree that the root's docstring draws."""
    above = [ROOT]
    parent: dict[str, str] = {}
    pattern = r"^ {4}((?:\|   )*)[|`]-- (\w+)  +\w"
    for indent, name in re.findall(pattern, inspect.getdoc(NeuroloopError) or "", re.MULTILINE):
        depth = len(indent) // 4 + 1
        parent[name] = above[depth - 1]
        above[depth:] = [name]
    return parent


def test_every_exception_of_the_source_stands_in_the_tree_or_is_named_as_internal() -> None:
    parents, tree = _parents(), _tree()
    exceptions = {name for name in parents if _is_exception(name, parents)}
    assert exceptions == {ROOT, *tree, *INTERNAL}
    assert not set(tree) & set(INTERNAL)
    for name, parent in tree.items():
        assert [bases[0] for bases in parents[name]] == [parent], name  # one definition, under what the tree says
    assert not any(ROOT in bases for name in INTERNAL for bases in parents[name])


@pytest.mark.parametrize(("room", "imported"), [("errors", ["neuroloop.config.plain_text"]), ("plain_text", [])])
def test_the_errors_import_next_to_nothing_so_that_every_room_can_import_them(room: str, imported: list[str]) -> None:
    code = ast.parse((CHECKOUT / "config" / f"{room}.py").read_text(encoding="utf-8"))
    imports = [getattr(node, "module", "") for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
    assert [name for name in imports if name.startswith("neuroloop")] == imported


@pytest.mark.parametrize("kind", [NeuroloopError, ValueError])
def test_a_wrong_configuration_is_an_error_of_ours_and_a_wrong_value(kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^a must be 1, got 2\nb must be 3, got 4$") as caught:
        raise ConfigError("a must be 1, got 2", "b must be 3, got 4")
    assert isinstance(caught.value, ConfigError)
    assert caught.value.faults == ("a must be 1, got 2", "b must be 3, got 4")


def test_the_faults_of_a_configuration_survive_the_way_between_processes() -> None:
    again = pickle.loads(pickle.dumps(ConfigError("a must be 1, got 2", "b must be 3, got 4")))
    assert again.faults == ("a must be 1, got 2", "b must be 3, got 4")
