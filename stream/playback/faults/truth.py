"""The truth that was injected: one record per fault, one JSON line per record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from neuroloop.stream.contracts.events import encode


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """What one fault did.

    Parameters
    ----------
    kind : str
    spec : str
        The fault as it was written.
    first_sample : int
        True number of the first sample it concerns: its place in the undisturbed stream.
    n_samples : int or None
        How many samples it concerns; 0 for ``clock_step``, None where it lasts to the end.
    duration_s : float or None
        The same in seconds.
    stamp_before, stamp_after : float or None
        As they were sent: the stamp of the last sample before the fault's first one, and of the first sample after its
        last one (for ``clock_step``, ``drift_ppm`` and ``rate`` of the first one that it concerns); None where there is
        no such sample.
    channels : tuple of str
        Whose values it changed.
    value : float or None
        Of ``burst``, ``clock_step``, ``drift_ppm`` and ``rate``.
    """

    kind: str
    spec: str
    first_sample: int
    n_samples: int | None
    duration_s: float | None
    stamp_before: float | None
    stamp_after: float | None
    channels: tuple[str, ...] = ()
    value: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)


class FaultLog:
    """Writes records to a file, each as soon as it is true.

    Parameters
    ----------
    path : Path
        Made anew.

    Raises
    ------
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8")

    def write(self, record: InjectedFault) -> None:
        """Append one line."""
        self._file.write(encode(record.as_dict()) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def __enter__(self) -> FaultLog:
        """Return the open log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
