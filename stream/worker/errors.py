"""What makes a worker stop, or refuse one stream."""

from __future__ import annotations

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.plain_text import clean

_MOST_CHARACTERS = 1000

FAULTS: tuple[type[Exception], ...] = (
    NeuroloopError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError,
)  # fmt: skip
"""What the numbers of one stream may lead to in the pipeline, a recursion that is too deep among it.

A lack of memory is none of it: that is the machine's, and another one may go on.
"""
BUILD_FAULTS: tuple[type[Exception], ...] = (*FAULTS, MemoryError)
"""The same where a pipeline is built and nothing was begun."""


class WorkerError(NeuroloopError):
    """The worker cannot go on: the brokers, its group or its own state are not what they must be."""


class PlanMismatch(WorkerError):
    """A stream's snapshot was made by another pipeline."""


class SnapshotError(NeuroloopError):
    """Bytes are no snapshot, or one of another version."""


class StreamRefused(NeuroloopError):
    """A stream cannot be processed here; its messages go to the dead letters."""


def one_line(error: Exception) -> str:
    """Return what an error says, in one line; with its kind where it was not meant for a user."""
    if isinstance(error, NeuroloopError):
        return "; ".join(error.lines())
    return clean(f"{type(error).__name__}: {error}", _MOST_CHARACTERS)


def words(error: Exception) -> str:
    """Return what an error of the client says, with its kind once."""
    kind, said = type(error).__name__, str(error)
    return said if said.startswith(kind) else f"{kind}: {said}"
