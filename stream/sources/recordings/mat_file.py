"""MAT files of level 5 (MATLAB versions 5 to 7): numbers, texts, structures and cells.

A reader of its own: scipy's ends the whole process with a segmentation fault on some damaged files. Here every size is
checked against the bytes that are there.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroloop.stream.sources.recordings.faults import MAX_UNPACKED_BYTES

MatStruct = list[dict[str, Any]]
"""A structure array: one mapping per element. Numbers are arrays, texts `str`, cells lists, anything else None."""

_STORAGE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _NUMERIC = 1, 2, 3, 4, range(6, 16)
_COMPLEX = 0x0800
_DEEPEST = 32
_MOST_DIMENSIONS = 32


class DamagedMat(Exception):
    """The file is not what its sizes say."""


@dataclass(frozen=True)
class _Element:
    """One data element: its storage type, its content, and where the next one begins."""

    kind: int
    content: memoryview
    end: int


def read_mat(buffer: bytes) -> dict[str, Any]:
    """Read the variables of a MAT file.

    Parameters
    ----------
    buffer : bytes
        The whole file.

    Returns
    -------
    dict
        By name; see `MatStruct` for the values. Classes, sparse matrices and functions are None.

    Raises
    ------
    DamagedMat
        If a size contradicts the bytes that are there.

    References
    ----------
    .. [1] MAT-File Format, The MathWorks, chapter 1 (level 5).
    """
    order = {b"IM": "<", b"MI": ">"}.get(buffer[126:128])
    if order is None:
        raise DamagedMat("it has no byte order mark")
    variables: dict[str, Any] = {}
    view, position, budget = memoryview(buffer), 128, MAX_UNPACKED_BYTES
    while position < len(view):
        element = _element(view, position, order)
        position = element.end
        if element.kind == _COMPRESSED:
            unpacked = _unpack(element.content, budget)
            budget -= len(unpacked)
            element = _element(memoryview(unpacked), 0, order)
        if element.kind == _MATRIX:
            name, value = _matrix(element.content, order, 0)
            variables[name] = value
    return variables


def _unpack(content: memoryview, most: int) -> bytes:
    engine = zlib.decompressobj()
    try:
        unpacked = engine.decompress(content, most)
    except zlib.error as error:
        raise DamagedMat(str(error)) from error
    if engine.unconsumed_tail:
        raise DamagedMat("it unpacks to more than can be read")
    return unpacked


def _element(view: memoryview, position: int, order: str) -> _Element:
    """Take the element at a position."""
    if position + 8 > len(view):
        raise DamagedMat("an element is cut off")
    first, second = np.frombuffer(view, f"{order}u4", 2, position).tolist()
    if first >> 16:
        kind, size, begin, end = first & 0xFFFF, first >> 16, position + 4, position + 8
        if size > 4:
            raise DamagedMat("a small element has more than 4 bytes")
    else:
        kind, size, begin = first, second, position + 8
        end = begin + size if kind == _COMPRESSED else begin + size + -size % 8
    if begin + size > len(view):
        raise DamagedMat("an element is longer than the file")
    return _Element(kind, view[begin : begin + size], min(end, len(view)))


def _matrix(view: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """Read a matrix element of any class; return its name and value."""
    if not len(view):
        return "", np.empty((0, 0))
    if depth > _DEEPEST:
        raise DamagedMat("structures are nested too deeply")
    flags = _element(view, 0, order)
    words = _whole_numbers(flags, order)
    if len(words) < 1:
        raise DamagedMat("a matrix has no flags")
    kind, is_complex = int(words[0]) & 0xFF, bool(int(words[0]) & _COMPLEX)
    if kind not in (_CELL, _STRUCT, _CHAR, *_NUMERIC):
        return "", None
    dimensions = _element(view, flags.end, order)
    shape = tuple(int(size) for size in _whole_numbers(dimensions, order))
    if len(shape) > _MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise DamagedMat(f"a matrix has the shape {shape[:_MOST_DIMENSIONS]!r}")
    label = _element(view, dimensions.end, order)
    name = bytes(label.content).decode("latin-1")
    n_items = 1
    for size in shape:
        n_items *= max(size, 0)
    if kind == _STRUCT:
        return name, _struct(view, label.end, order, n_items, depth)
    if kind == _CELL:
        return name, _items(view, label.end, order, n_items, depth)[0]
    stored = _element(view, label.end, order)
    if kind == _CHAR:
        return name, _text(stored, order, shape)
    values = _numbers(stored, order)
    if len(values) != n_items or is_complex or len(shape) < 2:
        raise DamagedMat(f"a matrix of shape {shape!r} holds {len(values)} numbers")
    return name, values.reshape(shape, order="F")


def _numbers(element: _Element, order: str) -> np.ndarray[Any, Any]:
    code = _STORAGE.get(element.kind)
    if code is None:
        raise DamagedMat(f"numbers are stored with the unknown type {element.kind}")
    item = np.dtype(order + code)
    if len(element.content) % item.itemsize:
        raise DamagedMat("a number is cut off")
    return np.frombuffer(element.content, item)


def _whole_numbers(element: _Element, order: str) -> np.ndarray[Any, Any]:
    numbers = _numbers(element, order)
    if numbers.dtype.kind == "f":
        raise DamagedMat("a size, flag or letter is no whole number")
    return numbers


def _text(element: _Element, order: str, shape: tuple[int, ...]) -> str:
    """Return a text; the rows of a text matrix become lines."""
    if element.kind in _TEXTS:
        codec = _TEXTS[element.kind]
        suffix = "" if codec == "utf-8" else "-le" if order == "<" else "-be"
        plain = bytes(element.content).decode(codec + suffix, "replace")
    else:
        plain = "".join(
            chr(code) if 0 <= code < 0xD800 else "\ufffd" for code in _whole_numbers(element, order).tolist()
        )
    n_rows = shape[0] if shape else 0
    if n_rows <= 1 or n_rows > len(plain):
        return plain
    return "\n".join(plain[row::n_rows].rstrip() for row in range(n_rows))


def _struct(view: memoryview, position: int, order: str, n_items: int, depth: int) -> MatStruct:
    """Read a structure array: field names of one length, then the fields of each element."""
    width = _element(view, position, order)
    names = _element(view, width.end, order)
    sizes = _whole_numbers(width, order)
    size = int(sizes[0]) if len(sizes) else 0
    if size <= 0 or len(names.content) % size:
        raise DamagedMat("field names have no length")
    raw = bytes(names.content)
    fields = [raw[i : i + size].split(b"\x00")[0].decode("latin-1") for i in range(0, len(raw), size)]
    if not fields:
        return []
    values, _ = _items(view, names.end, order, n_items * len(fields), depth)
    return [dict(zip(fields, values[i : i + len(fields)], strict=True)) for i in range(0, len(values), len(fields))]


def _items(view: memoryview, position: int, order: str, n_items: int, depth: int) -> tuple[list[Any], int]:
    """Read consecutive matrix elements; each takes at least 8 bytes, so that a lie about their number ends soon."""
    values = []
    for _ in range(n_items):
        element = _element(view, position, order)
        if element.kind != _MATRIX:
            raise DamagedMat("a field or cell is no matrix")
        values.append(_matrix(element.content, order, depth + 1)[1])
        position = element.end
    return values, position
