"""Mutated recordings by the thousand: ``python -m tests.fuzz --n 10000 --seed 0``.

Every file is one of the small handmade ones with one to six seeded edits: bytes flipped, words put, cut, doubled or
moved, and, for XDF, EDF and CSV, edits that know the format (chunk lengths and tags, header fields, cells). Each must
be read correctly or refused in one line, within `LIMIT_S` and the memory that `test_damaged_files` allows.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np

from neuroloop.config.errors import RecordingError
from neuroloop.stream.sources.recordings.opening import open_recording
from tests.stream.sources.recordings.test_damaged_files import _FILES, _WORDS, _read_or_refuse

LIMIT_S = 10
"""Of this process's own time."""
KINDS = ("small.xdf", "small.edf", "small.bdf", "small.csv", "small.txt", "two.gdf", "small.set", "small.npz")
_WEIGHTS = (0.35, 0.2, 0.05, 0.2, 0.05, 0.05, 0.05, 0.05)
_CELLS = (b"nan", b"inf", b"-1e308", b"1e309", b"", b'"', b"C3", b"0x10", b"1,5", b"\xff\xfe", b"9" * 400, b"\x00")
_FIELDS = (b"-1", b"0", b"99999999", b"1e300", b"nan", b"", b"\xff", b"1.5", b"EDF+D", b"EDF Annotations")


def mutate(name: str, content: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy."""
    for _ in range(int(rng.integers(1, 7))):
        if not content:
            break
        own = {"small.xdf": _edit_xdf, "small.edf": _edit_edf, "small.bdf": _edit_edf, "small.csv": _edit_csv}
        edit = own.get(name, _edit_bytes) if rng.random() < 0.5 else _edit_bytes
        content = edit(content, rng)
    return content


def _edit_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Edit without knowing the format."""
    at, until = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    word = _WORDS[int(rng.integers(len(_WORDS)))]
    choice = int(rng.integers(7))
    if choice == 0:
        return content[:at]
    if choice == 1:
        return content[:at] + bytes([int(rng.integers(256))]) + content[at + 1 :]
    if choice == 2:
        return content[:at] + word + content[at + len(word) :]
    if choice == 3:
        return content[:at] + word + content[at:]
    if choice == 4:
        return content[:at] + content[min(until, at + 64) :]
    if choice == 5:
        return content[:until] + content[at:until] + content[until:]
    return content[:at] + content[until:] + content[at:until]


def _edit_xdf(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a chunk's length, tag or stream id, or double, drop or swap chunks."""
    chunks = _chunks(content)
    if len(chunks) < 2:
        return _edit_bytes(content, rng)
    which = int(rng.integers(len(chunks)))
    chunk = bytearray(chunks[which])
    choice = int(rng.integers(6))
    if choice == 0:
        size = int(rng.choice([0, 1, 2, 6, 255, len(chunk), len(chunk) + 7]))
        chunk[1 : 1 + chunk[0]] = size.to_bytes(8, "little")[: chunk[0]]
        chunks[which] = bytes(chunk)
    elif choice == 1:
        tag_at = 1 + chunk[0]
        chunk[tag_at : tag_at + 2] = int(rng.integers(0, 9)).to_bytes(2, "little")
        chunks[which] = bytes(chunk)
    elif choice == 2:
        id_at = 3 + chunk[0]
        chunk[id_at : id_at + 4] = int(rng.integers(0, 4)).to_bytes(4, "little")
        chunks[which] = bytes(chunk)
    elif choice == 3:
        chunks.insert(which, chunks[int(rng.integers(len(chunks)))])
    elif choice == 4:
        del chunks[which]
    else:
        other = int(rng.integers(len(chunks)))
        chunks[which], chunks[other] = chunks[other], chunks[which]
    return content[:4] + b"".join(chunks)


def _chunks(content: bytes) -> list[bytes]:
    """Cut an XDF file at its chunks, as far as their lengths are true."""
    found, at = [], 4
    while at < len(content) and content[at] in (1, 4, 8):
        n_length = content[at]
        end = at + 1 + n_length + int.from_bytes(content[at + 1 : at + 1 + n_length], "little")
        if end > len(content):
            break
        found.append(content[at:end])
        at = end
    return found


def _edit_edf(content: bytes, rng: np.random.Generator) -> bytes:
    """Write something else into an eight byte field of the header."""
    at = 8 * int(rng.integers(0, max(1, min(len(content), 768) // 8)))
    field = _FIELDS[int(rng.integers(len(_FIELDS)))].ljust(8)[:8]
    return content[:at] + field + content[at + 8 :]


def _edit_csv(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, drop or double a cell or a line."""
    lines = content.split(b"\n")
    which = int(rng.integers(len(lines)))
    choice = int(rng.integers(4))
    if choice == 0:
        del lines[which]
    elif choice == 1:
        lines.insert(which, lines[int(rng.integers(len(lines)))])
    else:
        cells = lines[which].split(b",")
        cells[int(rng.integers(len(cells)))] = _CELLS[int(rng.integers(len(_CELLS)))]
        lines[which] = b",".join(cells)
    return b"\n".join(lines)


def check(path: Path, n_bytes: int) -> bool:
    """Open a file and judge it; return whether it was read.

    Raises
    ------
    AssertionError
        If what was read contradicts itself or cannot have been in so many bytes.
    """
    _read_or_refuse(path)
    try:
        recording = open_recording(path)
    except RecordingError:
        return False
    for stream in recording.streams:
        assert np.isfinite(stream.info.sfreq)
        assert stream.info.sfreq >= 0
        assert len(stream.info.ch_units) == stream.info.n_channels
        if path.suffix not in (".npz", ".set"):  # compressed
            assert stream.n_samples <= n_bytes, "more samples than bytes"
    for marker in recording.markers:
        assert isinstance(marker.label, str)
    return True


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"reading must end within {LIMIT_S} s")


def run(n_files: int, seed: int, folder: Path) -> Counter[str]:
    """Judge ``n_files`` mutated files; return how many of which kind were read and refused.

    Raises
    ------
    AssertionError
        At the first that is neither read nor refused as it should; the file is kept in ``folder``.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    outcomes: Counter[str] = Counter()
    before = signal.signal(signal.SIGPROF, _out_of_time)
    try:
        for number in range(n_files):
            name = KINDS[int(rng.choice(len(KINDS), p=_WEIGHTS))]
            content = mutate(name, _FILES[name], rng)
            path = folder / name
            path.write_bytes(content)
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
            try:
                was_read = check(path, len(content))
            except Exception as error:
                kept = path.rename(folder / f"failed-{seed}-{number}{path.suffix}")
                raise AssertionError(f"file {number} of seed {seed}, {kept}: {error!r}") from error
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            outcomes[f"{path.suffix[1:]} {'read' if was_read else 'refused'}"] += 1
    finally:
        signal.signal(signal.SIGPROF, before)
    return outcomes


def main() -> int:
    """Judge as many files as asked for and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="neuroloop-fuzz-"))
    begin = time.perf_counter()
    try:
        outcomes = run(options.n, options.seed, folder)
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.n} files in {time.perf_counter() - begin:.0f} s: {dict(sorted(outcomes.items()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
