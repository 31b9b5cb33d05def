"""Segment files of the spool: records, one behind the other."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neuroloop.sinks.kafka.spool_records import HEADER_BYTES, end_of, is_whole


@dataclass
class Segment:
    """One file, open only while somebody writes or reads it.

    Parameters
    ----------
    number : int
    path : Path
    size : int
        Bytes of its records; behind them may be what is left of one that found no room.
    n_unread : int
        Records behind the place up to which it was read.
    is_damaged : bool
        Whether it holds bytes that are in no whole record.
    """

    number: int
    path: Path
    size: int = 0
    n_unread: int = 0
    is_damaged: bool = False
    _descriptor: int = -1

    @property
    def descriptor(self) -> int:
        """The open file."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR)
        return self._descriptor

    def append(self, record: bytes) -> None:
        """Write a record as a whole, or take back what part of it the disk took."""
        written = 0
        try:
            while written < len(record):
                written += os.pwrite(self.descriptor, record[written:], self.size + written)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(record)
        self.n_unread += 1

    def record_at(self, begin: int) -> bytes | None:
        """Return the record at a place; None where it is damaged, or the file is gone."""
        try:
            header = os.pread(self.descriptor, HEADER_BYTES, begin)
            n_bytes = end_of(header, 0, self.size - begin)
            record = b"" if n_bytes is None else os.pread(self.descriptor, n_bytes, begin)
        except FileNotFoundError:
            return None
        return record if n_bytes is not None and is_whole(record, 0, n_bytes) else None

    def raw(self) -> bytes:
        """Return all bytes; none where the file is gone."""
        try:
            return os.pread(self.descriptor, self.size, 0)
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """Close the file until it is used again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def force(path: Path) -> None:
    """Force what was written to a file to the disk; nothing where it is gone.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
