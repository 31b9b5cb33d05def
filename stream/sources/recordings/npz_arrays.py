"""Arrays of an NPZ archive, each checked against the bytes that are there before it is made; nothing is unpickled."""

from __future__ import annotations

import io
import lzma
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.sources.recordings.faults import MAX_UNPACKED_BYTES, read_bytes, unreadable

Arrays = Mapping[str, NDArray[Any]]
_FAULTS = (
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    lzma.LZMAError,
    tokenize.TokenError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
_MOST_MEMBERS = 1000
_LONGEST_EMPTY = 1 << 20
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> Arrays:
    """Read all arrays of an ``.npz`` file.

    Raises
    ------
    RecordingError
        If it is no such archive, if an array claims more than its bytes, or is one of Python objects.
    """
    buffer = read_bytes(path)
    if buffer[:4] != b"PK\x03\x04":
        raise unreadable(path, "it does not begin like an NPZ archive")
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(io.BytesIO(buffer)) as archive:
            warnings.simplefilter("ignore")
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            if len(members) > _MOST_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
                raise unreadable(path, f"it holds more than {MAX_UNPACKED_BYTES >> 30} GiB or {_MOST_MEMBERS} arrays")
            return {member.filename[:-4]: _array(path, archive, member) for member in members}
    except _FAULTS as error:
        raise unreadable(path, f"damaged NPZ archive: {error}") from error


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array."""
    with archive.open(member) as file:
        raw = file.read(member.file_size + 1)
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADER_READERS:
        raise unreadable(path, f"array {member.filename!r} has the unknown format version {version!r}")
    shape, in_columns, dtype = _HEADER_READERS[version](stream)
    if dtype.hasobject or dtype.names is not None:
        raise unreadable(path, f"array {member.filename!r} must hold numbers or texts, got {dtype.kind!r}")
    n_items = 1
    for size in shape:
        n_items *= size
    begin = stream.tell()
    if not dtype.itemsize or (not n_items and max(shape) > _LONGEST_EMPTY):
        raise unreadable(path, f"array {member.filename!r} claims {shape!r} items without bytes")
    if min(shape, default=0) < 0 or n_items * dtype.itemsize != len(raw) - begin:
        raise unreadable(
            path, f"array {member.filename!r} claims {shape!r} x {dtype.itemsize} bytes, got {len(raw) - begin} bytes"
        )
    if not n_items:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(raw, dtype, n_items, begin)
    return flat.reshape(shape, order="F" if in_columns else "C")
