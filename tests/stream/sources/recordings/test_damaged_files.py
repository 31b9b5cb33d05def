"""Damaged files of every kind: a correct read or one clear line, in bounded memory and time."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from neuroloop.config.errors import RecordingError
from neuroloop.stream.sources.recordings.opening import open_recording
from tests.stream.sources.recordings.handmade import SMALL_CSV, small_edf, small_gdf, small_xdf, write_brainvision

_MOST_BYTES = 80 << 20
_OPENBCI = (
    b"%OpenBCI Raw EXG Data\n%Number of channels = 2\n%Sample Rate = 250 Hz\nSample Index, EXG Channel 0, "
    b"EXG Channel 1, Timestamp\n0, 1.5, 2.5, 1557936053000\n1, 3.5, 4.5, 1557936053004\n"
)


def _small_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        data=np.arange(6.0).reshape(3, 2),
        timestamps=np.arange(3.0),
        valid=np.ones(3, np.bool_),
        channels=np.array(["C3", "C4"]),
        sfreq=np.float64(1.0),
        first_sample=np.int64(3),
    )
    return buffer.getvalue()


def _small_set() -> bytes:
    buffer: Any = io.BytesIO()
    places = np.array([("C3", ""), ("C4", "EEG")], dtype=[("labels", object), ("type", object)])
    events = np.array([("go", 2.5), ("boundary", 3.5)], dtype=[("type", object), ("latency", object)])
    data = np.arange(10.0).reshape(2, 5)
    eeg = {"srate": 10.0, "nbchan": 2.0, "pnts": 5.0, "trials": 1.0, "data": data, "chanlocs": places, "event": events}
    savemat(buffer, {"EEG": eeg})
    content: bytes = buffer.getvalue()
    return content


_FILES: dict[str, bytes] = {
    "small.set": _small_set(),
    "small.xdf": small_xdf(),
    "small.edf": small_edf(),
    "small.bdf": small_edf(is_bdf=True),
    "one.gdf": small_gdf("GDF 1.25"),
    "two.gdf": small_gdf(),
    "small.npz": _small_npz(),
    "small.csv": SMALL_CSV,
    "small.csv.gz": gzip.compress(SMALL_CSV, mtime=0),
    "small.txt": _OPENBCI,
}
_WORDS = [
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x00" * 4,
    b"99999999",
    b"-1      ",
    b"nan",
    b"1e308",
    b"\n",
    b";",
    b'"',
    b"\x08" + struct.pack("<d", float("nan")),
    struct.pack("<q", -(1 << 62)),
]
_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "put", "insert", "drop"]),
        st.floats(0, 1),
        st.integers(0, 255),
        st.sampled_from(_WORDS),
    ),
    min_size=1,
    max_size=4,
)


def _damage(content: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    for kind, where, number, word in edits:
        at = int(where * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "flip":
            content = content[:at] + bytes([number]) + content[at + 1 :]
        elif kind == "put":
            content = content[:at] + word + content[at + len(word) :]
        elif kind == "insert":
            content = content[:at] + word + content[at:]
        else:
            content = content[:at] + content[at + number % 16 + 1 :]
    return content


def _read_or_refuse(path: Path) -> None:
    """Open a file; what is read must be consistent, what is refused must be told in one line."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        recording = open_recording(path)
    except RecordingError as error:
        refusal = str(error)
    else:
        refusal = path.stem
        for stream in recording.streams:
            assert stream.data.shape == (len(stream.timestamps), stream.info.n_channels)
            assert len(set(stream.info.ch_names)) == stream.info.n_channels
            if stream.sample_numbers is not None:
                assert (np.diff(stream.sample_numbers) > 0).all()
            recording.markers_for(stream)
        assert all("\n" not in note for note in recording.notes)
    finally:
        took_s = time.process_time() - begin
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert path.stem in refusal
    assert "\n" not in refusal
    assert took_s < 10.0  # of this process alone: whatever else the machine does
    assert peak < _MOST_BYTES


_BOUNDED = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", list(_FILES))
def test_the_undamaged_file_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(_FILES[name])
    assert open_recording(tmp_path / name).streams[0].n_samples >= 2


@pytest.mark.parametrize("name", list(_FILES))
@_BOUNDED
@given(edits=_EDITS)
def test_a_damaged_file_is_read_or_refused(
    tmp_path: Path, name: str, edits: list[tuple[str, float, int, bytes]]
) -> None:
    (tmp_path / name).write_bytes(_damage(_FILES[name], edits))
    _read_or_refuse(tmp_path / name)


@pytest.mark.parametrize("target", [".vhdr", ".vmrk", ".eeg"])
@_BOUNDED
@given(edits=_EDITS)
def test_a_damaged_brainvision_file_is_read_or_refused(
    tmp_path: Path, target: str, edits: list[tuple[str, float, int, bytes]]
) -> None:
    marks = ["New Segment,,1,1,0,20240101120000000000", "New Segment,,3,1,0,20240101120001000000", "Stimulus,S1,2,1,0"]
    path = write_brainvision(tmp_path, struct.pack("<8h", *range(8)), marks=marks)
    damaged = path.with_suffix(target)
    damaged.write_bytes(_damage(damaged.read_bytes(), edits))
    _read_or_refuse(path)


@pytest.mark.parametrize("name", ["small.xdf", "small.edf", "two.gdf", "small.csv", "small.set"])
def test_every_length_of_a_cut_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    whole = _FILES[name]
    for length in range(0, len(whole), 3):
        (tmp_path / name).write_bytes(whole[:length])
        _read_or_refuse(tmp_path / name)


@_BOUNDED
@given(content=st.binary(max_size=400), head=st.sampled_from([b"", b"XDF:", b"0       ", b"GDF 2.20", b"PK\x03\x04"]))
@example(content=b"", head=b"XDF:")
def test_arbitrary_bytes_are_refused_or_read_under_every_extension(tmp_path: Path, content: bytes, head: bytes) -> None:
    for suffix in (".xdf", ".edf", ".gdf", ".npz", ".csv", ".set", ".vhdr"):
        (tmp_path / f"noise{suffix}").write_bytes(head + content)
        _read_or_refuse(tmp_path / f"noise{suffix}")


def test_a_huge_count_in_a_tiny_file_allocates_nothing(tmp_path: Path) -> None:
    lies: dict[str, Callable[[], bytes]] = {
        "samples.xdf": lambda: small_xdf().replace(b"\x04\x02\x00\x00\x00\x08", b"\x04\xff\xff\xff\x7f\x08"),
        "records.gdf": lambda: small_gdf()[:236] + struct.pack("<q", 1 << 60) + small_gdf()[244:],
        "records.edf": lambda: small_edf()[:236] + b"99999999" + small_edf()[244:],
    }
    for name, make in lies.items():
        (tmp_path / name).write_bytes(make())
        tracemalloc.start()
        open_recording(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20
