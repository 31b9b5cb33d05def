"""Segment files of the spool: records, one behind the other, and how many of them are whole where bytes are not.

A record is the length and the CRC-32 of its body, two unsigned 32-bit numbers, little endian, then the body. What a
body holds is the matter of a `RecordFormat`: the spool keeps whatever a sink wants to send.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_RECORD_BYTES = 1 << 28
HEADER_BYTES = 8
_HEADER = struct.Struct("<II")


@dataclass(frozen=True)
class Survey:
    """What is in the bytes of a segment.

    Parameters
    ----------
    n_whole : int
        Records as they were written.
    n_damaged : int
        Others, as far as their lengths tell: one at least wherever bytes are in no whole record.
    end : int
        Where a torn last record begins, which is not counted; the end of all bytes if there is none.
    """

    n_whole: int
    n_damaged: int
    end: int


@dataclass(frozen=True)
class RecordFormat(Generic[T]):
    """How things become the bodies of records, and how the next record is found behind damaged bytes.

    Parameters
    ----------
    pack : callable
        Returns the body of a thing.
    unpack : callable
        Returns the thing of a whole record, whose body begins at a place.
    min_bytes : int
        Length of the shortest body: zeros, as a power cut leaves them, are no empty records.
    landmark : pattern
        What every body has at `landmark_at`.
    landmark_at : int
    """

    pack: Callable[[T], bytes]
    unpack: Callable[[bytes, int], T]
    min_bytes: int
    landmark: re.Pattern[bytes]
    landmark_at: int

    def as_record(self, thing: T) -> bytes:
        """Return the bytes of a record."""
        body = self.pack(thing)
        return _HEADER.pack(len(body), zlib.crc32(body)) + body

    def thing_of(self, record: bytes) -> T:
        """Return what a whole record holds."""
        return self.unpack(record, HEADER_BYTES)

    def end_of(self, raw: bytes, begin: int, size: int) -> int | None:
        """Return where the record at a place ends by its length; None where it would not end within ``size``."""
        if len(raw) < begin + HEADER_BYTES:
            return None
        length = _length_at(raw, begin)
        end = begin + HEADER_BYTES + length
        return end if self._is_length(length) and end <= size else None

    def whole_records(self, raw: bytes, begin: int = 0) -> Iterator[tuple[int, int]]:
        """Yield begin and end of every whole record from a place on, of those behind damaged bytes too."""
        at = begin
        while at < len(raw):
            end = self.end_of(raw, at, len(raw))
            if end is not None and is_whole(raw, at, end):
                yield at, end
                at = end
            else:
                at = self._next_whole(raw, at + 1)

    def survey(self, raw: bytes, begin: int = 0) -> Survey:
        """Look through the bytes of a segment from a place on."""
        n_whole = n_damaged = 0
        at = begin
        for first, end in self.whole_records(raw, begin):
            if first > at:
                n_damaged += max(1, self._step(raw, at, first)[0])
            n_whole += 1
            at = end
        n_steps, behind = self._step(raw, at, len(raw))
        if behind < len(raw) and self._is_torn(raw, behind):
            return Survey(n_whole, n_damaged + n_steps, behind)
        return Survey(n_whole, n_damaged + max(n_steps, int(at < len(raw))), len(raw))

    def _next_whole(self, raw: bytes, begin: int) -> int:
        """Return the first place where a whole record begins; the end of all bytes if there is none."""
        landmark_at = HEADER_BYTES + self.landmark_at
        for found in self.landmark.finditer(raw, begin + landmark_at):
            at = found.start() - landmark_at
            end = self.end_of(raw, at, len(raw))
            if end is not None and is_whole(raw, at, end):
                return at
        return len(raw)

    def _step(self, raw: bytes, begin: int, end: int) -> tuple[int, int]:
        """Step over damaged records as far as their lengths lead; return how many they are, and where that ends."""
        n_steps, at = 0, begin
        while (beyond := self.end_of(raw, at, end)) is not None:
            n_steps, at = n_steps + 1, beyond
        return n_steps, at

    def _is_torn(self, raw: bytes, begin: int) -> bool:
        """Say whether what no record ends in is the begin of one, or room in which nothing was written."""
        is_begin = len(raw) < begin + HEADER_BYTES or self._is_length(_length_at(raw, begin))
        return is_begin or not raw[begin:].strip(b"\0")

    def _is_length(self, length: int) -> bool:
        return self.min_bytes <= length <= MAX_RECORD_BYTES


def is_whole(raw: bytes, begin: int, end: int) -> bool:
    """Say whether the bytes of a record are those that were written."""
    _, checksum = _HEADER.unpack_from(raw, begin)
    return end <= len(raw) and zlib.crc32(memoryview(raw)[begin + HEADER_BYTES : end]) == checksum


def _length_at(raw: bytes, begin: int) -> int:
    return int(_HEADER.unpack_from(raw, begin)[0])


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

    def record_at(self, begin: int, form: RecordFormat[T]) -> bytes | None:
        """Return the record at a place; None where it is damaged, or the file is gone."""
        try:
            header = os.pread(self.descriptor, HEADER_BYTES, begin)
            n_bytes = form.end_of(header, 0, self.size - begin)
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
