"""The report as a user calls it, and as a browser shows it."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroloop.sinks.report.digest import EventDigest
from neuroloop.sinks.report.reading import RunFiles
from neuroloop.stream.cli.reporting import _numbers
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.recordings.recording import RecordedStream
from tests.stream.cli.conftest import Command, write_npz

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--window-size=1080,2400",
)


@pytest.fixture
def run_folder(neuroloop: Command, recording: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A replayed run with decisions and a gap, and the dump of its input."""
    with np.load(recording) as archive:
        data, stamps = archive["data"], archive["timestamps"]
    keep = np.r_[0:2000, 2060 : len(data)]
    holed = write_npz(tmp_path / "holed.npz", data[keep], stamps[keep])
    dump = tmp_path / "input.npz"
    done = neuroloop("replay", holed, "--config", "demo", "--out", tmp_path / "run", "--dump", f"input={dump}")
    assert done.status == 0, done.err
    return tmp_path / "run", dump


def test_a_replayed_run_becomes_one_page_in_its_folder(neuroloop: Command, run_folder: tuple[Path, Path]) -> None:
    run, _ = run_folder
    done = neuroloop("report", run)
    assert done.status == 0
    assert done.out.strip() == str(run / "report.html")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "no signals.xdf" in page
    assert "60 samples missing" in page
    assert not list(run.glob("*.partial"))


def test_signals_of_a_dump_are_drawn(neuroloop: Command, run_folder: tuple[Path, Path], tmp_path: Path) -> None:
    run, dump = run_folder
    out = tmp_path / "page.html"
    options = ("--out", out, "--channels", "C3,C4", "--event", "gap", "--around", 1)
    done = neuroloop("report", run, "--signals", dump, *options)
    assert done.status == 0, done.err
    page = out.read_text(encoding="utf-8")
    assert "Signals, whole recording" in page
    assert "gap of 60 samples at" in page
    assert page.count('class="trace signal"') == 4


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("--out", "page.txt"), "out must be a file whose name ends in .html"),
        (("--around", "0"), "around must be in"),
        (("--channels", "C3"), "channels must be left out for a run without signals"),
        (("--signals", "none.npz"), "none.npz"),
    ],
)
def test_wrong_options_are_one_clear_line(
    neuroloop: Command, run_folder: tuple[Path, Path], arguments: tuple[str, ...], rule: str
) -> None:
    done = neuroloop("report", run_folder[0], *arguments)
    assert done.status == 1
    assert rule in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_channel_that_is_not_there_is_named(neuroloop: Command, run_folder: tuple[Path, Path]) -> None:
    done = neuroloop("report", run_folder[0], "--signals", run_folder[1], "--channels", "C3,Xx")
    assert done.status == 1
    assert "got 'Xx'" in done.err


def test_what_is_no_run_is_one_clear_line(neuroloop: Command, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        done = neuroloop("report", path)
        assert done.status == 1
        assert "run must be" in done.err
        assert len(done.err.strip().splitlines()) == 1


def test_a_broken_recording_in_the_run_is_a_note(neuroloop: Command, run_folder: tuple[Path, Path]) -> None:
    run, _ = run_folder
    (run / "signals.xdf").write_bytes(b"XDF:nonsense")
    done = neuroloop("report", run)
    assert done.status == 0
    assert "signals.xdf" in done.err
    assert "1 warning" in (run / "report.html").read_text(encoding="utf-8")


def digest_of(*events: dict[str, object]) -> RunFiles:
    digest = EventDigest()
    for one in events:
        digest.add({"stream": "amp", **one})
    return RunFiles(Path("run"), events=digest)


def test_samples_without_numbers_are_numbered_as_the_events_count_them() -> None:
    info = StreamInfo("amp", "EEG", "", 250.0, ("C3",), ("EEG",), ("uV",))
    stamps = 100.0 + np.arange(50) / 250
    begin = {"type": "stream", "what": "start", "sample": 4, "time": stamps[3]}
    gap = {"type": "gap", "sample": 40, "missing": 10, "first_missing": 27, "filled": True}

    def numbers(run: RunFiles, stamps: np.ndarray, **options: object) -> list[int]:
        stream = RecordedStream(info, np.zeros((len(stamps), 1)), stamps, **options)  # type: ignore[arg-type]
        return _numbers(stream, run).tolist()

    assert numbers(digest_of(begin), stamps) == list(range(1, 51))
    assert numbers(digest_of(begin, gap), np.r_[stamps[:26], stamps[36:]]) == [*range(1, 27), *range(37, 51)]
    assert numbers(digest_of(), stamps, first_sample=7) == list(range(7, 57))
    own = np.arange(0, 100, 2)
    assert numbers(digest_of(begin), stamps, sample_numbers=own) == own.tolist()


@pytest.mark.slow
def test_a_browser_draws_the_plots(neuroloop: Command, run_folder: tuple[Path, Path], tmp_path: Path) -> None:
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    run, dump = run_folder
    assert neuroloop("report", run, "--signals", dump).status == 0
    page, picture = run / "report.html", tmp_path / "page.png"
    profile = tmp_path / "profile"
    profile.mkdir()
    command = [browser, *_FLAGS, f"--user-data-dir={profile}"]
    dom = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    plots = re.search(r'<html[^>]* data-plots="(\d+)"', dom.stdout)
    assert plots is not None, "the page's script did not run to its end"
    assert int(plots[1]) >= 3
    assert "CONSOLE" not in dom.stderr, dom.stderr
    subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=120, check=True)
    pixels = read_png(picture)
    assert pixels.shape == (2400, 1080, 3)
    colours = pixels.reshape(-1, 3)
    assert 0.02 < np.mean((colours != colours[0]).any(axis=1)) < 0.9
    for colour in ((0x2F, 0x6F, 0xB3), (0xD9, 0x82, 0x2B), (0xD9, 0x8B, 0x00)):  # two states and a filled gap
        assert np.count_nonzero((colours == colour).all(axis=1)) > 20, colour


def read_png(path: Path) -> np.ndarray:
    """Read an 8-bit RGB or RGBA picture without a library."""
    raw, at, parts, header = path.read_bytes(), 8, [], (0, 0, 0, 0)
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        body = raw[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            header = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            parts.append(body)
        at += 12 + size
    width, height, depth, colour = header
    assert depth == 8
    assert colour in (2, 6)
    n = 3 if colour == 2 else 4
    rows = np.frombuffer(zlib.decompress(b"".join(parts)), np.uint8).reshape(height, 1 + width * n)
    out = np.zeros((height, width, n), np.uint8)
    above = np.zeros((width, n), np.int64)
    for index, row in enumerate(rows):
        line = row[1:].reshape(width, n).astype(np.int64)
        above = _unfilter(int(row[0]), line, above)
        out[index] = above
    return out[:, :, :3]


def _unfilter(kind: int, line: NDArray[np.int64], above: NDArray[np.int64]) -> NDArray[np.int64]:
    """Undo one row's filter (PNG specification, section 9)."""
    if kind == 0:
        return line
    if kind == 1:
        return np.mod(np.cumsum(line, axis=0), 256, dtype=np.int64)
    if kind == 2:
        return (line + above) % 256
    done = np.zeros_like(line)
    left = np.zeros(line.shape[1], np.int64)
    corner = left
    for x in range(len(line)):
        if kind == 3:
            guess = (left + above[x]) // 2
        else:
            a, b, c = np.abs(above[x] - corner), np.abs(left - corner), np.abs(left + above[x] - 2 * corner)
            guess = np.where((a <= b) & (a <= c), left, np.where(b <= c, above[x], corner))
        left, corner = (line[x] + guess) % 256, above[x]
        done[x] = left
    return done
