"""The snapshot of one stream: its state as flat arrays in safetensors, no pickle, version and plan hash inside.

Text arrays travel in the metadata.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from neuroloop.stream.contracts.chunks import StateDict
from neuroloop.stream.worker.errors import SnapshotError

SCHEMA_VERSION = 2
_KEY = "neuroloop.snapshot"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where one stream stands.

    Parameters
    ----------
    stream : str
        Id of the stream.
    session : int
    plan_hash : str
        Of the pipeline that made it; empty for an ended stream that never had a row.
    resume_offset : int
        Offset in the partition from which messages must be read again.
    covered_offset : int
        Every message of the stream below it is dealt with, those between the two offsets will be skipped or refilled.
    row : int
        Index of the first row that must be processed again.
    live_row : int
        Index of the first row whose events are new; rows between the two refill windows.
    serial : int
        Counts the snapshots of a stream.
    first_sample : int
        Number that the stream's first sample got.
    is_ended : bool
        Nothing will come any more; no arrays.
    seen_markers : tuple of int
        Which markers were taken: all below the first number, and the others.
    markers_offset : int
        Offset in the markers' partition from which markers must be read again.
    upstream_checksum : int
        Of the refilled stages' whole state at ``live_row``; 0 where nothing is refilled.
    refused : str
        Why the rest of the session is not processed, where it is not; then it is ended.
    arrays : dict
        The state, see `neuroloop.stream.worker.snapshot_state`.
    """

    stream: str
    session: int
    plan_hash: str
    resume_offset: int
    covered_offset: int
    row: int
    live_row: int
    serial: int
    first_sample: int = 0
    is_ended: bool = False
    seen_markers: tuple[int, ...] = (0,)
    markers_offset: int = 0
    upstream_checksum: int = 0
    refused: str = ""
    arrays: StateDict = field(default_factory=dict, compare=False)


_FIELDS: dict[str, type] = {
    "stream": str, "session": int, "plan_hash": str, "resume_offset": int, "covered_offset": int, "row": int,
    "live_row": int, "serial": int, "first_sample": int, "is_ended": bool, "markers_offset": int,
    "upstream_checksum": int,
}  # fmt: skip


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Write a snapshot."""
    header: dict[str, Any] = {name: getattr(snapshot, name) for name in _FIELDS}
    header |= {"schema_version": SCHEMA_VERSION, "seen_markers": list(snapshot.seen_markers)}
    if snapshot.refused:
        header["refused"] = snapshot.refused
    texts: dict[str, list[str]] = {}
    tensors: StateDict = {}
    for name, array in snapshot.arrays.items():
        if array.dtype.kind == "U":
            texts[name] = array.tolist()
        else:
            tensors[name] = np.ascontiguousarray(array)
    header["texts"] = texts
    return bytes(save(tensors, {_KEY: json.dumps(header, allow_nan=False)}))


def without_arrays(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without its state, which its stream session has."""
    return replace(snapshot, arrays={})


def decode_snapshot(payload: bytes) -> Snapshot:
    """Read a snapshot.

    Raises
    ------
    SnapshotError
        If the bytes are no snapshot, damaged, or one of another version.
    """
    header = _header(payload)
    version = header.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SnapshotError(f"snapshot version must be {SCHEMA_VERSION}, got {version!r}")
    for name, kind in _FIELDS.items():
        if not isinstance(header.get(name), kind):
            raise SnapshotError(f"snapshot {name} must be {kind.__name__}, got {header.get(name)!r}")
    refused = header.get("refused", "")
    if not isinstance(refused, str):
        raise SnapshotError(f"snapshot refused must be str, got {refused!r}")
    try:
        tensors = load(payload)
        arrays: StateDict = {name: np.array(texts, np.str_) for name, texts in header["texts"].items()}
        arrays |= tensors
        seen = tuple(int(k) for k in header["seen_markers"])
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotError(f"snapshot must be whole, got {type(error).__name__}: {error}") from error
    return Snapshot(**{name: header[name] for name in _FIELDS}, seen_markers=seen, refused=refused, arrays=arrays)


def _header(payload: bytes) -> dict[str, Any]:
    """Return the metadata, without a look at the arrays."""
    try:
        length = int.from_bytes(payload[:8], "little")
        if not 2 <= length <= len(payload) - 8:
            raise ValueError(f"a header of {length} bytes in {len(payload)}")
        header = json.loads(json.loads(payload[8 : 8 + length])["__metadata__"][_KEY])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SnapshotError(f"snapshot must be a safetensors file of ours, got {type(error).__name__}") from error
    if not isinstance(header, dict):
        raise SnapshotError(f"snapshot header must be an object, got {type(header).__name__}")
    return header
