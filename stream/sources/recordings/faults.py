"""How a reader refuses a file, collects what is odd about it, and takes its bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

from neuroloop.config.errors import RecordingError

MAX_UNPACKED_BYTES = 4 << 30
"""A compressed file that unpacks to more is refused: a few bytes can claim to be any size."""
_PIECE = 1 << 22
_MOST_NOTES = 40


def unreadable(path: Path, why: object) -> RecordingError:
    """Make the error for a file that cannot be read, as one line that names it."""
    return RecordingError(f"path must be a readable recording ({' '.join(str(why).split())}), got {str(path)!r}")


class Notes:
    """Collects what a user should be told about a file: each line once, a bounded number of them."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}
        self._n_left_out = 0

    def add(self, line: str) -> None:
        """Add one line."""
        plain = " ".join(line.split())
        if plain in self._lines:
            return
        if len(self._lines) >= _MOST_NOTES:
            self._n_left_out += 1
        else:
            self._lines[plain] = None

    def extend(self, lines: Iterable[str]) -> None:
        """Add several lines."""
        for line in lines:
            self.add(line)

    def lines(self) -> tuple[str, ...]:
        """Return the lines in order."""
        rest = (f"and {self._n_left_out} notes more",) if self._n_left_out else ()
        return (*self._lines, *rest)


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes, unpacked where it is gzip-compressed.

    Raises
    ------
    RecordingError
        If the file is missing, a folder, empty, damaged as an archive or unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise unreadable(path, "it is neither a file nor a folder")
    try:
        packed = path.read_bytes()
    except (OSError, ValueError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or error) from error
    if not packed:
        raise unreadable(path, "it is empty")
    if packed[:2] != b"\x1f\x8b":
        return packed
    pieces, size = [], 0
    try:
        with gzip.open(path, "rb") as file:
            while piece := file.read(_PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_UNPACKED_BYTES:
                    raise unreadable(path, f"it unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB")
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, f"damaged gzip file: {error}") from error
    if not size:
        raise unreadable(path, "it is empty")
    return b"".join(pieces)
