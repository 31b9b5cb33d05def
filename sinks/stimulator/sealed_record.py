"""``device.sealed``: what a blinded run really handed to its device and heard from it, for the third party alone.

The first line holds a key of this run, sealed for the third party; every other line is a box under that key, all of one
length. There is one box for each thing that was handed over, in either arm, and its hash stands in the audit log beside
it: neither how many there are nor how long they are says anything, and none can be changed later.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuroloop.sinks.stimulator.blinding import Assignment
from neuroloop.sinks.stimulator.log.disk_writer import AppendFile, DiskWriter
from neuroloop.sinks.stimulator.sealing import BoxKey, PrivateKey, SealError, seal

SEALED_FILE = "device.sealed"
_BOX_BYTES = 4096
_RUN_KEY = "run key"


class SealedRecord:
    """Collects what is to be sealed and writes it in boxes.

    Parameters
    ----------
    path : Path
        A new file.
    assignment : Assignment
        Goes into the first box.
    writer : DiskWriter

    Raises
    ------
    SealError
        If nothing can be sealed for the third party.
    OSError
        If the file cannot be made.
    """

    def __init__(self, path: Path, assignment: Assignment, writer: DiskWriter) -> None:
        raw = secrets.token_bytes(32)
        first = json.dumps({"key": seal(raw, assignment.third_party, _RUN_KEY)}).encode() + b"\n"
        self._key = BoxKey(raw)
        self._file = AppendFile(path)
        self._writer = writer
        self._number = 0
        self._waiting: deque[bytes] = deque()
        writer.append(self._file, first)
        self.note({"commitment": assignment.commitment, "arm": assignment.arm, "salt": assignment.salt})

    def note(self, values: Mapping[str, Any]) -> None:
        """Keep something for the next box."""
        line = json.dumps(values).encode()
        if len(line) >= _BOX_BYTES:  # a device's own words can be long
            line = json.dumps({"too_long": len(line), "sha256": hashlib.sha256(line).hexdigest()}).encode()
        self._waiting.append(line)

    def seal(self) -> str:
        """Write a box with what waits, as far as it has room, and return the hash of its line."""
        text = bytearray()
        while self._waiting and len(text) + len(self._waiting[0]) < _BOX_BYTES:
            text += self._waiting.popleft() + b"\n"
        box = self._key.seal(self._number, bytes(text.ljust(_BOX_BYTES)))
        self._number += 1
        line = json.dumps({"box": box}).encode()
        self._writer.append(self._file, line + b"\n")
        return hashlib.sha256(line).hexdigest()

    def close(self) -> None:
        """Let go of the file, after the writer is closed."""
        self._file.close()


def box_hashes(path: Path) -> list[str]:
    """Return the hash of every box in a file, in order."""
    return [hashlib.sha256(line).hexdigest() for line in path.read_bytes().split(b"\n")[1:] if line]


def open_boxes(path: Path, key: PrivateKey) -> Iterator[list[dict[str, Any]]]:
    """Yield what is in each box.

    Raises
    ------
    SealError
        If the file was sealed for another key, or was changed.
    """
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    try:
        boxes = BoxKey(key.open(json.loads(lines[0])["key"], _RUN_KEY))
        sealed = [str(json.loads(line)["box"]) for line in lines[1:]]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise SealError(f"{SEALED_FILE} must be a key and boxes, got other lines") from error
    for number, box in enumerate(sealed):
        yield [json.loads(line) for line in boxes.open(number, box).split(b"\n") if line.strip()]
