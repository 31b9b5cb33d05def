"""A text file as a table of cells: separator, header, rows, each fault with its line number."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuroloop.config.errors import RecordingError
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.sources.recordings.faults import read_bytes, unreadable

_NOT_A_NUMBER = frozenset({"", "nan", "na", "n/a", "null", "none"})
_MOST_COLUMNS = 65536


@dataclass(frozen=True, eq=False)
class TextTable:
    """Rows of equally many cells.

    Parameters
    ----------
    path : Path
    header : tuple of str or None
        The cells of the first row, where it is not one of numbers.
    lines : tuple of str
        The other rows, blank ones and comments left out.
    line_numbers : tuple of int
        Where each of them stands in the file, counted from 1.
    separator : str or None
        None for white space.
    has_decimal_comma : bool
    n_columns : int
    """

    path: Path
    header: tuple[str, ...] | None
    lines: tuple[str, ...]
    line_numbers: tuple[int, ...]
    separator: str | None
    has_decimal_comma: bool
    n_columns: int

    def cells(self, column: int) -> list[str]:
        """Return the texts of one column."""
        return [self.cell(row, column) for row in range(len(self.lines))]

    def cell(self, row: int, column: int) -> str:
        """Return the text of one cell; a decimal comma in a number becomes a point."""
        text = split_line(self.lines[row], self.separator)[column].strip()
        pointed = text.replace(",", ".") if self.has_decimal_comma else text
        return pointed if cell_number(pointed) is not None else text

    def numbers(self, columns: Sequence[int]) -> FloatArray:
        """Return some columns as numbers, shape (n_rows, n_columns), C order; empty cells are NaN.

        Raises
        ------
        RecordingError
            If a cell is not a number; names the line and the column.
        """
        if not columns:
            return np.empty((len(self.lines), 0))
        lines = [line.replace(",", ".") for line in self.lines] if self.has_decimal_comma else self.lines
        if not any('"' in line for line in lines):
            try:
                return np.loadtxt(lines, delimiter=self.separator, usecols=list(columns), comments=None, ndmin=2)
            except ValueError:
                pass  # an empty or faulty cell: read cell by cell, which finds it
        result = np.empty((len(lines), len(columns)))
        for row, line in enumerate(lines):
            cells = split_line(line, self.separator)
            for place, column in enumerate(columns):
                result[row, place] = self._number(cells[column], row, column)
        return result

    def _number(self, cell: str, row: int, column: int) -> float:
        number = cell_number(cell)
        if number is None:
            raise self.fault(row, f"column {self.name_of(column)!r} must be a number, got {cell.strip()[:40]!r}")
        return number

    def name_of(self, column: int) -> str:
        """Return a column's name, or its number counted from 1."""
        return self.header[column] if self.header and self.header[column] else f"{column + 1}"

    def fault(self, row: int, why: str) -> RecordingError:
        """Make the error for one row."""
        return unreadable(self.path, f"line {self.line_numbers[row]}: {why}")


def read_text(path: Path) -> str:
    """Return a text file's contents: UTF-8 with or without its mark, UTF-16 with it, else Latin-1."""
    raw = read_bytes(path)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    if b"\x00" in raw[:4096]:
        raise unreadable(path, "it is not a text file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read_table(path: Path, text: str | None = None, *, comment: str = "#") -> TextTable:
    """Split a text file into a table.

    Parameters
    ----------
    path : Path
    text : str, optional
        The file's contents, where they are already read.
    comment : str
        Lines that begin with it are passed over.

    Raises
    ------
    RecordingError
        If the file has no rows, or a row has more or fewer cells than the first.
    """
    kept = [
        (number, line)
        for number, line in enumerate((read_text(path) if text is None else text).splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith(comment)
    ]
    if not kept:
        raise unreadable(path, "it has no rows")
    separator = _separator([line for _, line in kept[:20]])
    first = [cell.strip() for cell in split_line(kept[0][1], separator)]
    n_columns = len(first)
    if n_columns > _MOST_COLUMNS:
        raise unreadable(path, f"it must have at most {_MOST_COLUMNS} columns, got {n_columns}")
    has_comma = separator == ";" and _has_decimal_comma([line for _, line in kept[1:200]])
    is_header = any(_cell_is_text(cell, has_comma) for cell in first)
    rows = kept[1:] if is_header else kept
    if not rows:
        raise unreadable(path, "it has a header but no rows")
    table = TextTable(
        path,
        tuple(first) if is_header else None,
        tuple(line for _, line in rows),
        tuple(number for number, _ in rows),
        separator,
        has_comma,
        n_columns,
    )
    for row, line in enumerate(table.lines):
        n_cells = _count(line, separator)
        if n_cells != n_columns:
            raise table.fault(row, f"a row must have {n_columns} cells, got {n_cells}")
    return table


def split_line(line: str, separator: str | None) -> list[str]:
    """Split one line into cells; quotes protect a separator."""
    if separator is None:
        return line.split()
    if '"' in line:
        try:
            return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [""])
        except csv.Error:
            pass  # a cell beyond csv's limit: the quotes are taken as characters
    return line.split(separator)


def cell_number(cell: str) -> float | None:
    """Return a cell's number, NaN for an empty cell or a word for a missing value, None for any other text."""
    plain = cell.strip()
    if plain.lower() in _NOT_A_NUMBER:
        return float("nan")
    if "_" in plain:
        return None
    try:
        return float(plain)
    except ValueError:
        return None


def _cell_is_text(cell: str, has_decimal_comma: bool) -> bool:
    """Say whether a cell of the first row can only be a name, or a date."""
    plain = cell.replace(",", ".") if has_decimal_comma else cell
    return cell_number(plain) is None and not re.match(r"\d{4}-\d\d-\d\d", plain)


def _count(line: str, separator: str | None) -> int:
    if separator is None or '"' in line:
        return len(split_line(line, separator))
    return line.count(separator) + 1


def _separator(lines: Sequence[str]) -> str | None:
    """Choose the separator that the first lines agree on; white space only where their cells are numbers."""
    for candidate in ("\t", ";", ","):
        if all(candidate in line for line in lines):
            return candidate
    for candidate in ("\t", ";", ","):
        if candidate in lines[0]:
            return candidate
    if all(len(line.split()) > 1 for line in lines) and all(
        cell_number(cell) is not None for line in lines[1:] for cell in line.split()
    ):
        return None
    return ","


def _has_decimal_comma(lines: Sequence[str]) -> bool:
    """Say whether numbers between semicolons are written with a comma."""
    return any(re.search(r"(?:^|;)\s*[+-]?\d+,\d+", line) for line in lines) and not any("." in line for line in lines)
