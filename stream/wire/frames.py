"""The sample frame: consecutive rows of one stream as one message.

Avro's single-object encoding: the marker ``C3 01``, the CRC-64-AVRO fingerprint of the schema (little endian), the
body. The schema is ``stream/wire/sample_frame.avsc``; its fingerprint is the schema version. ``docs/kafka.md``
describes the bytes for readers in any language.

A block survives the way bit for bit. Stamps are left out where every one of them is exactly
``first_timestamp + i / sfreq`` in float64 (one division, one addition; row 0 has the first stamp itself).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form
from numpy.typing import NDArray

from neuroloop.config.errors import WireError
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, RawBlock

Counts = Literal["samples", "received"]
DType = Literal["float64", "float32", "int32", "int16", "int8", "uint32", "uint16", "uint8"]
IntArray = NDArray[np.int64]

COUNTS: tuple[Counts, ...] = get_args(Counts)
DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name).newbyteorder("<") for name in get_args(DType)}
"""Every one of them fits into float64 exactly."""
SCHEMA_FILE = Path(__file__).resolve().parent / "sample_frame.avsc"
MARKER = b"\xc3\x01"
HEADER_BYTES = 10
MAX_FRAME_BYTES = 900_000
"""Clients and brokers refuse messages above one megabyte unless told otherwise."""
_OVERHEAD_BYTES = 160
_SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
_PARSED = parse_schema(_SCHEMA)
FINGERPRINT = bytes.fromhex(fingerprint(to_parsing_canonical_form(_SCHEMA), "CRC-64-AVRO"))
VERSIONS: dict[bytes, int] = {FINGERPRINT: 1}
"""Schema versions by fingerprint."""
_HEADER = MARKER + FINGERPRINT
_INT32_END = 2**31
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Consecutive rows of one stream, as they travel.

    Parameters
    ----------
    stream : str
        Id of the stream.
    first_sample : int
        Index of the first row; row ``i`` has ``first_sample + i``.
    counts : {"samples", "received"}
        ``samples``: missing samples are counted in, the index is the sample number. ``received``: rows as the producer
        received them; the index orders and finds repeated and lost rows, the stamps rule the numbering as in a replay.
    sfreq : float
        Nominal rate in Hz, 0 for an irregular stream.
    data : array, shape (n_samples, n_channels)
        Of one of `DTYPES`, C order.
    timestamps : array, shape (n_samples,), float64
        The sender's own stamps in seconds.
    session : int
        Chosen by the producer when it begins (milliseconds since 1970), higher than any before: its indices begin anew.
    sample_numbers : array, shape (n_samples,), int64, optional
        The sender's own count where ``counts`` is ``received`` and there is one.
    valid : array, shape (n_samples,), bool, optional
        False where the producer knows a row to be bad.
    last : bool
        Whether the stream is over after these rows, of which there may be none.
    """

    stream: str
    first_sample: int
    counts: Counts
    sfreq: float
    data: NDArray[Any]
    timestamps: FloatArray
    session: int = 0
    sample_numbers: IntArray | None = None
    valid: BoolArray | None = None
    last: bool = False

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def next_sample(self) -> int:
        """Index of the row after the last one."""
        return self.first_sample + len(self.timestamps)

    def block(self, start: int = 0) -> RawBlock:
        """Return the rows from ``start`` on as a source hands them over: new float64 data, views of the rest."""
        numbers = self.sample_numbers
        if self.counts == "samples":
            numbers = np.arange(self.first_sample, self.next_sample, dtype=np.int64)
        return RawBlock(
            self.data[start:].astype(np.float64, order="C"),
            self.timestamps[start:],
            None if numbers is None else numbers[start:],
            None if self.valid is None else self.valid[start:],
        )


def regular_stamps(first_timestamp: float, sfreq: float, n_samples: int) -> FloatArray:
    """Return the stamps of a frame that carries only the first.

    Parameters
    ----------
    first_timestamp : float
        In seconds.
    sfreq : float
        In Hz.
    n_samples : int

    Returns
    -------
    array, shape (n_samples,)
        ``first_timestamp + i / sfreq``, and the first stamp itself for row 0.
    """
    with np.errstate(all="ignore"):
        stamps = _since_first(n_samples, sfreq) + first_timestamp
    if n_samples:
        stamps[0] = first_timestamp  # -0.0 is kept
    return stamps


@lru_cache(maxsize=16)
def _since_first(n_samples: int, sfreq: float) -> FloatArray:
    """Return the seconds of each row since row 0; frames of a stream are of few lengths."""
    with np.errstate(all="ignore"):
        seconds = np.arange(float(n_samples)) / sfreq if n_samples > 1 else np.zeros(n_samples)
    seconds.setflags(write=False)
    return seconds


def encode_frame(frame: Frame) -> bytes:
    """Write a frame.

    Raises
    ------
    WireError
        If its fields contradict each other or have no place on the wire.
    """
    dtype = DTYPES.get(frame.data.dtype.name)
    if dtype is None:
        raise WireError(f"dtype must be one of {', '.join(DTYPES)}, got {frame.data.dtype.name!r}")
    if frame.data.ndim != 2:
        raise WireError(f"data must have shape (n_samples, n_channels), got {frame.data.shape!r}")
    n_samples, n_channels = frame.data.shape
    columns = (
        ("timestamps", frame.timestamps, np.float64),
        ("sample_numbers", frame.sample_numbers, np.int64),
        ("valid", frame.valid, np.bool_),
    )
    for name, column, kind in columns:
        if column is not None and (column.shape != (n_samples,) or column.dtype != kind):
            rule = f"an array of {n_samples} {np.dtype(kind).name}"
            raise WireError(f"{name} must be {rule}, got shape {column.shape!r} of {column.dtype.name}")
    first_timestamp = float(frame.timestamps[0]) if n_samples else 0.0
    record = {
        "stream": frame.stream,
        "session": frame.session,
        "first_sample": frame.first_sample,
        "counts": frame.counts,
        "n_samples": n_samples,
        "n_channels": n_channels,
        "sfreq": float(frame.sfreq),
        "first_timestamp": first_timestamp,
        "dtype": dtype.name,
        "last": frame.last,
    }
    _check(record, has_numbers=frame.sample_numbers is not None)
    record["data"] = _little(frame.data, dtype)
    record["timestamps"] = None
    if not _are_regular(frame.timestamps, frame.sfreq):
        record["timestamps"] = _little(frame.timestamps, DTYPES["float64"])
    numbers = frame.sample_numbers
    record["sample_numbers"] = None if numbers is None else _little(numbers, np.dtype("<i8"))
    record["valid"] = None if frame.valid is None else frame.valid.tobytes()
    out = io.BytesIO()
    out.write(_HEADER)
    schemaless_writer(out, _PARSED, record)
    return out.getvalue()


def decode_frame(payload: bytes) -> Frame:
    """Read a frame.

    Parameters
    ----------
    payload : bytes
        A whole message.

    Returns
    -------
    Frame
        With read-only arrays of its own.

    Raises
    ------
    WireError
        If the bytes are no frame, end too early or contradict themselves.
    """
    record = _read(payload)
    _check(record, has_numbers=record["sample_numbers"] is not None)
    n_samples, n_channels, name = record["n_samples"], record["n_channels"], record["dtype"]
    dtype = DTYPES[name]
    _check_bytes("data", record["data"], n_samples * n_channels, dtype)
    for column, kind in (("timestamps", "<f8"), ("sample_numbers", "<i8"), ("valid", "u1")):
        if record[column] is not None:
            _check_bytes(column, record[column], n_samples, np.dtype(kind))
    data = np.frombuffer(record["data"], dtype).reshape(n_samples, n_channels)
    if record["timestamps"] is not None:
        timestamps = np.frombuffer(record["timestamps"], "<f8")
    elif n_samples > 1 and record["sfreq"] == 0.0:
        raise WireError("timestamps must be given for an irregular stream, got none")
    else:
        timestamps = regular_stamps(record["first_timestamp"], record["sfreq"], n_samples)
        timestamps.flags.writeable = False
    numbers = record["sample_numbers"]
    valid = None if record["valid"] is None else np.frombuffer(record["valid"], np.uint8)
    if valid is not None and (valid > 1).any():
        raise WireError(f"valid must be bytes of 0 or 1, got {int(valid[valid > 1][0])}")
    return Frame(
        record["stream"],
        record["first_sample"],
        record["counts"],
        record["sfreq"],
        data,
        timestamps,
        record["session"],
        None if numbers is None else np.frombuffer(numbers, "<i8"),
        None if valid is None else valid.view(np.bool_),
        record["last"],
    )


def frames_of_block(
    block: RawBlock,
    *,
    stream: str,
    first_sample: int,
    counts: Counts,
    sfreq: float,
    session: int = 0,
    dtype: DType = "float64",
    max_bytes: int = MAX_FRAME_BYTES,
) -> Iterator[Frame]:
    """Cut raw rows into frames that fit into a message.

    Parameters
    ----------
    block : RawBlock
        Its arrays are not copied, save for another ``dtype``.
    stream, sfreq, session
        As `Frame` has them.
    first_sample : int
        Index of the first row.
    counts : {"samples", "received"}
        ``samples``: where the block has sample numbers these are the indices (``first_sample`` is not used), and a
        frame ends where they jump. ``received``: they travel beside the index.
    dtype : str
        What the numbers become on the wire; must hold them all exactly.
    max_bytes : int
        The largest frame.

    Raises
    ------
    WireError
        If the numbers do not fit into ``dtype``, or one row not into ``max_bytes``.
    """
    n_samples, n_channels = block.data.shape
    numbers = block.sample_numbers
    row_bytes = n_channels * DTYPES[dtype].itemsize + 8 + (numbers is not None) * 8 + (block.valid is not None)
    n_rows = (max_bytes - _OVERHEAD_BYTES - len(stream.encode())) // row_bytes
    if n_rows < 1:
        rule = f"room for one row of {n_channels} channels"
        raise WireError(f"max_bytes must be {rule}, got {max_bytes!r}")
    data = _narrowed(block.data, dtype)
    cuts = [0, n_samples]
    if counts == "samples" and numbers is not None:
        cuts[1:1] = (np.flatnonzero(numbers[1:] - numbers[:-1] != 1) + 1).tolist()
    for begin, end in pairwise(cuts):
        for start in range(begin, end, n_rows):
            part = slice(start, min(start + n_rows, end))
            index, own = first_sample + start, numbers
            if counts == "samples":
                index, own = (index if numbers is None else int(numbers[start])), None
            yield Frame(
                stream,
                index,
                counts,
                sfreq,
                data[part],
                block.timestamps[part],
                session,
                None if own is None else own[part],
                None if block.valid is None else block.valid[part],
            )


def frames_of_chunk(
    chunk: Chunk, *, stream: str, session: int = 0, dtype: DType = "float64", max_bytes: int = MAX_FRAME_BYTES
) -> Iterator[Frame]:
    """Cut numbered rows into frames; the index is the sample number. Parameters as `frames_of_block` has them."""
    yield from frames_of_block(
        RawBlock(chunk.data, chunk.timestamps, None, None if chunk.valid.all() else chunk.valid),
        stream=stream,
        first_sample=chunk.first_sample,
        counts="samples",
        sfreq=chunk.info.sfreq,
        session=session,
        dtype=dtype,
        max_bytes=max_bytes,
    )


def last_frame(
    *, stream: str, first_sample: int, counts: Counts, sfreq: float, n_channels: int, session: int = 0
) -> Frame:
    """Make the frame without rows that ends a stream; ``first_sample`` is the index that would come next."""
    return Frame(
        stream, first_sample, counts, sfreq, np.empty((0, n_channels)), np.empty(0), session=session, last=True
    )


def join_blocks(blocks: Sequence[RawBlock]) -> RawBlock:
    """Return consecutive blocks as one; they all have sample numbers, or none has.

    Parameters
    ----------
    blocks : sequence of RawBlock
        At least one; a block without flags is valid as a whole.
    """
    if len(blocks) == 1:
        return blocks[0]
    numbers = [block.sample_numbers for block in blocks if block.sample_numbers is not None]
    valid = None
    if any(block.valid is not None for block in blocks):
        valid = np.concatenate(
            [np.ones(len(one.timestamps), np.bool_) if one.valid is None else one.valid for one in blocks]
        )
    return RawBlock(
        np.concatenate([block.data for block in blocks]),
        np.concatenate([block.timestamps for block in blocks]),
        np.concatenate(numbers) if numbers else None,
        valid,
    )


def _read(payload: bytes) -> dict[str, Any]:
    """Take the marker and the fingerprint off and read the body with the schema they name."""
    if not payload.startswith(_HEADER):
        raise WireError(_wrong_header(payload))
    body = io.BytesIO(payload)
    body.seek(HEADER_BYTES)
    try:
        record = schemaless_reader(body, _PARSED, None)
    except EOFError as error:
        raise WireError(f"frame must be whole, got {len(payload)} bytes that end within a field") from error
    except (IndexError, ValueError, OverflowError, TypeError, MemoryError) as error:
        raise WireError(f"frame must follow its schema, got {type(error).__name__}: {error}") from error
    if body.tell() != len(payload):
        raise WireError(f"frame must end with its last field, got {len(payload) - body.tell()} more bytes")
    if not isinstance(record, dict):
        raise WireError(f"frame must be a record, got {type(record).__name__}")
    return record


def _wrong_header(payload: bytes) -> str:
    """Say what is wrong with the first bytes."""
    if len(payload) < HEADER_BYTES:
        return f"frame must have at least {HEADER_BYTES} bytes, got {len(payload)}"
    if payload[:2] != MARKER:
        return f"frame must begin with the marker {MARKER.hex(' ')}, got {payload[:2].hex(' ')}"
    known = ", ".join(f"{number} ({mark.hex()})" for mark, number in VERSIONS.items())
    return f"schema version must be {known}, got the fingerprint {payload[2:HEADER_BYTES].hex()}"


def _check(record: Mapping[str, Any], *, has_numbers: bool) -> None:
    """Refuse fields that cannot be true, whoever wrote them."""
    n_samples, sfreq, first_sample = record["n_samples"], record["sfreq"], record["first_sample"]
    if not record["stream"]:
        raise WireError(f"stream must be a text that is not empty, got {record['stream']!r}")
    if record["counts"] not in COUNTS:
        raise WireError(f"counts must be one of {', '.join(COUNTS)}, got {record['counts']!r}")
    if record["dtype"] not in DTYPES:
        raise WireError(f"dtype must be one of {', '.join(DTYPES)}, got {record['dtype']!r}")
    if not 0 <= sfreq < math.inf:
        raise WireError(f"sfreq must be a finite number >= 0, got {sfreq!r}")
    if not 0 <= n_samples < _INT32_END:
        raise WireError(f"n_samples must be >= 0 and below 2**31, got {n_samples!r}")
    if not 0 <= record["n_channels"] < _INT32_END:
        raise WireError(f"n_channels must be >= 0 and below 2**31, got {record['n_channels']!r}")
    if n_samples == 0 and not record["last"]:
        raise WireError("n_samples must be above 0 but in the last frame, got 0")
    if n_samples and not record["n_channels"]:
        raise WireError(f"n_channels must be above 0 where there are rows, got 0 and {n_samples} rows")
    if not _INT64_MIN <= record["session"] <= _INT64_MAX:
        raise WireError(f"session must fit into 64 bits, got {record['session']!r}")
    if not _INT64_MIN <= first_sample <= _INT64_MAX - n_samples:
        raise WireError(f"first_sample must leave room for the rows in 64 bits, got {first_sample!r}")
    if has_numbers and record["counts"] == "samples":
        raise WireError("sample_numbers must be left out where counts is 'samples', got some")


def _check_bytes(name: str, field: bytes, n_values: int, dtype: np.dtype[Any]) -> None:
    if len(field) != n_values * dtype.itemsize:
        rule = f"{n_values * dtype.itemsize} bytes long ({n_values} values of {dtype.name})"
        raise WireError(f"{name} must be {rule}, got {len(field)}")


def _little(values: NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    """Return the bytes in C order, little endian."""
    return values.astype(dtype, copy=False).tobytes()


def _are_regular(timestamps: FloatArray, sfreq: float) -> bool:
    """Whether every stamp follows from the first, to the bit (so that NaN and -0.0 are no exception)."""
    n_samples = len(timestamps)
    if n_samples < 2:
        return True
    if not sfreq > 0:
        return False
    predicted = regular_stamps(float(timestamps[0]), sfreq, n_samples)
    return predicted.tobytes() == np.ascontiguousarray(timestamps).tobytes()


def _narrowed(data: FloatArray, dtype: DType) -> NDArray[Any]:
    """Return the data as another type of number that holds them all to the bit."""
    if dtype == "float64":
        return data
    with np.errstate(all="ignore"):
        narrow = data.astype(DTYPES[dtype])
    if narrow.astype(np.float64).tobytes() != np.ascontiguousarray(data).tobytes():
        raise WireError(f"dtype must hold every value exactly, got {dtype!r}")
    return narrow
