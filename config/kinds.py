"""Open kinds: what a configuration may name beside what is built in, and from where code is taken.

A kind is found among those that are registered, then among the entry points of installed packages, then as
``package.module:Class``. The last one imports code that a text names, so it holds only in a configuration that the
user names on the command line or builds in Python. Whoever reads a text from elsewhere (a run's folder, a bundle, a
browser) says so by its `CodeRules`, and `--allow-code` is the user's word that he trusts it all the same.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.nearest import did_you_mean

CODE_VARIABLE = "NEUROLOOP_ALLOW_CODE"
"""Set to ``1`` in the environment of a process, it is the same as ``--allow-code``; child processes inherit it."""
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_CONTEXT = "code"


@dataclass(frozen=True, slots=True)
class CodeRules:
    """Whether a text may name code, and where that is looked for.

    Parameters
    ----------
    allowed : bool
        Whether ``package.module:Class`` is obeyed.
    folder : Path, optional
        Where modules are found besides `sys.path`, after it: the folder of the configuration.
    unread : bool
        Whether code is neither taken nor missed: the text is read for what it says, nothing will be built from it.
    """

    allowed: bool = False
    folder: Path | None = None
    unread: bool = False

    def as_context(self) -> dict[str, Any]:
        """Return the rules as the context of a validation by pydantic."""
        return {_CONTEXT: self}

    @staticmethod
    def of(context: Any) -> CodeRules:
        """Return the rules of a validation; without any, no code is taken."""
        rules = context.get(_CONTEXT) if isinstance(context, Mapping) else None
        return rules if isinstance(rules, CodeRules) else CodeRules()


TRUSTED = CodeRules(allowed=True)
"""For what was built in Python."""


def code_is_allowed() -> bool:
    """Return whether the user trusts code that files name."""
    return os.environ.get(CODE_VARIABLE) == "1"


def rules_for_files() -> CodeRules:
    """Return the rules for texts that the user did not name as his configuration."""
    return CodeRules(allowed=code_is_allowed())


@contextmanager
def allowing_code(is_allowed: bool) -> Iterator[None]:
    """Take code from files too (``--allow-code``) until the block ends, in child processes as well."""
    before = os.environ.get(CODE_VARIABLE)
    if is_allowed:
        os.environ[CODE_VARIABLE] = "1"
    try:
        yield
    finally:
        if is_allowed:
            if before is None:
                del os.environ[CODE_VARIABLE]
            else:
                os.environ[CODE_VARIABLE] = before


def is_dotted(kind: str) -> bool:
    """Return whether a kind is written as ``package.module:Class``."""
    return _DOTTED.fullmatch(kind) is not None


class Kinds:
    """The kinds of one thing: built-in ones by name, registered ones, entry points, dotted names.

    Parameters
    ----------
    noun : str
        What they are kinds of (``stage``).
    group : str
        The group of entry points (``neuroloop.stages``).
    builtin : iterable of str
        The names that the program itself answers to; nothing else can take them.
    field : str
        The setting that names a kind, for messages.
    """

    def __init__(self, noun: str, group: str, builtin: Iterable[str], *, field: str = "kind") -> None:
        self.noun, self.group, self.field = noun, group, field
        self.builtin = tuple(builtin)
        self._registered: dict[str, type[Any]] = {}

    def register(self, kind: str, made: type[Any]) -> None:
        """Let a class answer to a name in this process.

        Raises
        ------
        ValueError
            If the name is taken.
        """
        if kind in self.builtin or kind in self._registered:
            raise ValueError(f"kind must be new, got {kind!r}")
        self._registered[kind] = made

    def resolve(self, kind: str, rules: CodeRules) -> type[Any]:
        """Return the class that a kind which is not built in stands for.

        Raises
        ------
        ConfigError
            If there is none, code is not taken from here, or it cannot be imported; one line that begins with the
            field.
        """
        if kind in self._registered:
            return self._registered[kind]
        if ":" not in kind:
            return self._installed(kind)
        if not is_dotted(kind):
            raise ConfigError(f"{self.field} must be a known kind or package.module:Class, got {kind!r}")
        if not rules.allowed:
            raise self.closed(kind)
        module, _, name = kind.partition(":")
        return self._class(self._imported(module, kind, rules.folder), name, kind)

    def closed(self, kind: str) -> ConfigError:
        """Return the error for code that is not taken from here."""
        return ConfigError(
            f"{self.field} must be a known kind (code is taken from here only with --allow-code or "
            f"{CODE_VARIABLE}=1), got {kind!r}"
        )

    def _installed(self, kind: str) -> type[Any]:
        """Return the class of an installed package's entry point."""
        found = {entry.name: entry for entry in entry_points(group=self.group)}
        if kind not in found:
            known = [*self.builtin, *self._registered, *sorted(found)]
            rule = f"one of {', '.join(known)}" if known else f"package.module:Class or an installed {self.noun}"
            raise ConfigError(f"{self.field} must be {rule}{did_you_mean(kind, known)}, got {kind!r}")
        entry = found[kind]
        return self._class(self._imported(entry.module, kind, None), entry.attr, kind)

    def _imported(self, module: str, kind: str, folder: Path | None) -> ModuleType:
        """Import a module, from the configuration's folder if it is nowhere else."""
        if folder is not None and str(folder) not in sys.path:
            sys.path.append(str(folder))  # last: what is installed is not hidden; spawned processes get the same path
        try:
            return importlib.import_module(module)
        except Exception as error:
            raise ConfigError(
                f"{self.field} must name a class that can be imported, got {kind!r} ({told(error)})"
            ) from error

    def _class(self, module: ModuleType, name: str, kind: str) -> type[Any]:
        """Return a class of a module by its (dotted) name."""
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type):
            raise ConfigError(f"{self.field} must name a class of {module.__name__}, got {kind!r}")
        return found


def told(error: BaseException) -> str:
    """Return what an error of a user's code says, and where it arose, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    root = Path(__file__).resolve().parent.parent
    ours = [root / room for room in ("config", "stream", "processors", "models", "sinks")]
    theirs = [
        frame for frame in frames if not any(Path(frame.filename).resolve().is_relative_to(room) for room in ours)
    ]
    theirs = [frame for frame in theirs if not frame.filename.startswith("<")]
    at = f" at {Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{at}{': ' + text if text else ''}"


def code_sha256(made: type[Any]) -> str:
    """Hash the code of a class: its module's file and every file of the package that it stands in.

    Files are hashed by their place within the package and their bytes, so that the hash is that of every machine. What
    the package imports from elsewhere is not part of it.
    """
    digest = hashlib.sha256(f"{made.__module__}:{made.__qualname__}".encode())
    module = sys.modules.get(made.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        return digest.hexdigest()
    root, files = _package_files(made.__module__, Path(file))
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _package_files(module: str, file: Path) -> tuple[Path, list[Path]]:
    """Return the folder that the outermost package of a module lies in, and the package's files."""
    package: Path | None = None
    parts = module.split(".")
    for depth in range(len(parts), 0, -1):
        outer = getattr(sys.modules.get(".".join(parts[:depth])), "__file__", None)
        if outer is None:  # a folder without __init__.py: what lies beside is not of one piece
            break
        if Path(outer).stem == "__init__":
            package = Path(outer).parent
    if package is None:
        return file.parent, [file]
    found = [
        path
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]
    return package.parent, found
