"""The one way to compile a kernel, and where compiled kernels are kept.

Numba notices a change of the file that a cached kernel stands in, but not of a kernel that it calls in another file:
the cache would keep stale code. The cache folder is therefore named by the hash of every file that holds kernels.

The folder belongs to our kernels alone: ``numba.config`` is the program's that imports us, and stays as it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching, typeinfer

_F = TypeVar("_F", bound=Callable[..., Any])
_ROOT = Path(__file__).resolve().parent.parent
_KERNEL_FOLDERS = ("config", "processors", "models", "stream")


def _kernel_hash() -> str:
    """Hash every Python file that may hold a kernel."""
    digest = hashlib.sha256()
    for folder in _KERNEL_FOLDERS:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            source = path.read_bytes()
            if b"@kernel" in source or b"@intrinsic" in source or path.name == "kernels.py":
                digest.update(path.name.encode())
                digest.update(source)
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder of compiled kernels: ``NEUROLOOP_CACHE`` or the user's cache folder, keyed by the hash."""
    base = os.environ.get("NEUROLOOP_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "neuroloop"
    )
    return Path(base) / "kernels" / _kernel_hash()


_CACHE_FOLDER = str(cache_folder())


class _KernelLocator(caching.UserProvidedCacheLocator):  # type: ignore[misc]  # numba has no types
    """Says where a kernel is kept: what Numba does with ``CACHE_DIR``, with our folder in its place."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno
        self._cache_path = os.path.join(_CACHE_FOLDER, self.get_suitable_cache_subpath(py_file))

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _KernelLocator | None:
        """Return the place of a function; None where the folder cannot be written."""
        # past the parent's own, which asks for CACHE_DIR
        return super(caching.UserProvidedCacheLocator, cls).from_function(py_func, py_file)  # type: ignore[no-any-return]


class _KernelCacheImpl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Looks in our folder first; where it cannot be written, where Numba would."""

    _locator_classes = [_KernelLocator, *caching.CompileResultCacheImpl._locator_classes]  # noqa: RUF012  # as Numba has it


class _KernelCache(caching.FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, in our folder."""

    _impl_class = _KernelCacheImpl


def _compile(function: Callable[..., Any], signatures: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Do what ``numba.njit(signatures, cache=True)`` does, save that it would choose the cache by ``numba.config``."""
    dispatcher = numba.njit(**options)(function)
    if not hasattr(dispatcher, "compile"):  # compilation is switched off
        return dispatcher
    dispatcher._cache = _KernelCache(function)
    with typeinfer.register_dispatcher(dispatcher):
        for signature in signatures:
            dispatcher.compile(signature)
        dispatcher.disable_compile()
    return dispatcher


def kernel(*signatures: Any, inline: bool = False) -> Callable[[_F], _F]:
    """Compile a function for the declared signatures only, without fastmath, and cache the machine code.

    Parameters
    ----------
    *signatures : numba signatures
        Every accepted combination of argument types; another one raises TypeError at the call.
    inline : bool
        Whether callers take the body in (for small functions that other kernels call).
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
    if inline:
        return numba.njit(inline="always", **options)  # type: ignore[no-any-return]
    return lambda function: _compile(function, signatures, options)


def direct(compiled: _F) -> _F:
    """Return what a kernel of one signature compiles to, without the dispatcher's look at the arguments.

    A call with eight arrays takes 0.5 us in place of 0.8 to 1.3 (the dispatcher is slow with read-only arrays). Nothing
    but the size of the items is checked any more: the caller has made sure of type, dimensions and contiguity, and
    calls the kernel itself where he is not sure.

    Raises
    ------
    ValueError
        If the kernel has more signatures than one.
    """
    overloads = getattr(compiled, "overloads", None)
    if overloads is None:  # compilation is switched off
        return compiled
    if len(overloads) != 1:
        raise ValueError(f"compiled must have one signature, got {len(overloads)}")
    (only,) = overloads.values()
    return only.entry_point  # type: ignore[no-any-return]
