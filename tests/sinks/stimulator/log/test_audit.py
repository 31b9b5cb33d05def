"""The audit log: chained, durable on demand, honest about what happened to its file."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditError, AuditLog, Clocks, read_log
from neuroloop.sinks.stimulator.log.chain import Chain, read_chain
from neuroloop.sinks.stimulator.records import GateInput, GateOutput, Lease, Train
from tests.sinks.stimulator.writing import Done, writer

CLOCKS = Clocks(wall_ns=lambda: 7, lsl_s=lambda: 0.5)
TRAIN = Train(20.0, 1.5, 200.0, "biphasic")
START = GateOutput(
    "command",
    {"action": "start"},
    Lease(1, TRAIN, 0.0, 0.25, 1.5),
    True,
    {"stream": "s", "sample": 9, "k": 0, "time": 1.0, "delay_s": 0.1},
)


def write_log(folder: Path, done: Done, n: int = 5) -> AuditLog:
    log = AuditLog(folder / AUDIT_FILE, done.writer, CLOCKS)
    log.take_input(GateInput(0, 100, "setup", {"run": "a"}))
    for number in range(1, n):
        one = GateInput(number, 100 + number, "pulse", {"age_s": float("nan"), "n": number})
        log.take_input(one)
        log.take_output(one, START)
        log.take_act("start", number, 200 + number, lease=1)
    log.take_input(GateInput(n, 900, "end", {}))
    done.sync()
    return log


def test_inputs_and_outputs_come_back_as_they_were_given(tmp_path: Path) -> None:
    with writer() as done:
        log = write_log(tmp_path, done)
        found = read_log(tmp_path / AUDIT_FILE)
        assert found.chain.fault is None
        assert found.is_ended
        assert [one.number for one in found.inputs()] == [0, 1, 2, 3, 4, 5]
        assert found.inputs()[2] == GateInput(2, 102, "pulse", {"age_s": None, "n": 2})
        assert found.outputs()[0] == (1, START)
        assert (found.chain.head, found.records[-1].seq) == (log.head, log.seq)
        first = json.loads((tmp_path / AUDIT_FILE).read_text().splitlines()[0])
        assert {key: first[key] for key in ("seq", "wall_ns", "lsl_s", "t_ns")} == {
            "seq": 0, "wall_ns": 7, "lsl_s": 0.5, "t_ns": 100,
        }  # fmt: skip
        assert (tmp_path / AUDIT_FILE).stat().st_mode & 0o777 == 0o600


def test_a_log_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / AUDIT_FILE).touch()
    with writer() as done, pytest.raises(AuditError, match="log must be a new file"):
        AuditLog(tmp_path / AUDIT_FILE, done.writer)


def test_a_log_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with writer() as done, pytest.raises(AuditError, match="log must be a file that can be made"):
        AuditLog(tmp_path / "none" / AUDIT_FILE, done.writer)
    with pytest.raises(AuditError, match="log must be a readable file"):
        read_log(tmp_path / "none")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: path.unlink(), "the file was removed"),
        (
            lambda path: shutil.copy(path, path.with_suffix(".new")) and path.with_suffix(".new").replace(path),
            "removed",
        ),
        (lambda path: path.rename(path.with_suffix(".old")), "the file is gone"),
        (lambda path: path.rename(path.with_suffix(".old")) and path.write_bytes(b""), "the file was replaced"),
        (lambda path: path.write_bytes(path.read_bytes() + b"{}\n"), "somebody else wrote into the file"),
        (lambda path: shutil.rmtree(path.parent), "the file was removed"),
    ],
    ids=["removed", "replaced", "renamed", "exchanged", "written-to", "folder-gone"],
)
def test_a_file_that_is_not_the_same_any_more_fails_at_the_next_write(tmp_path: Path, harm, reason: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "run"
    folder.mkdir()
    with writer() as done:
        log = write_log(folder, done)
        harm(folder / AUDIT_FILE)
        log.take_input(GateInput(6, 901, "pulse", {}))
        assert reason in done.fails()
        assert log.failure is not None
        ticket = done.writer.sync()
        assert done.writer.close()
        assert done.writer.done < ticket


def test_a_full_disk_fails_and_leaves_whole_lines(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with writer() as done:
        log = write_log(tmp_path, done)
        size = (tmp_path / AUDIT_FILE).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        try:
            log.take_input(GateInput(6, 901, "pulse", {}))
            assert done.fails() == "File too large"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        log.take_input(GateInput(7, 902, "pulse", {}))
        assert done.writer.close()
        assert (tmp_path / AUDIT_FILE).stat().st_size == size
        assert read_log(tmp_path / AUDIT_FILE).chain.fault is None


LINES = [Chain()]
TEXT = b"".join(LINES[0].add({"n": n, "text": "x" * n}) for n in range(6))


@given(cut=st.integers(0, len(TEXT)))
def test_a_torn_tail_is_told_from_a_broken_chain(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("torn") / "log"
    path.write_bytes(TEXT[:cut])
    found = read_chain(path)
    whole = TEXT[:cut].rfind(b"\n") + 1
    assert found.fault is None
    assert found.n_bytes == whole
    assert found.torn_bytes == cut - whole
    assert len(found.links) == TEXT[:cut].count(b"\n")


@given(place=st.integers(0, len(TEXT) - 1), bits=st.integers(1, 255))
def test_any_changed_byte_breaks_the_chain_or_its_head(
    place: int, bits: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("changed") / "log"
    path.write_bytes(TEXT[:place] + bytes([TEXT[place] ^ bits]) + TEXT[place + 1 :])
    found = read_chain(path)
    assert found.fault is not None or found.torn_bytes or found.head != LINES[0].head


@given(first=st.integers(0, 5), second=st.integers(0, 5))
def test_lines_that_changed_places_are_found(first: int, second: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    lines = TEXT.splitlines(keepends=True)
    lines[first], lines[second] = lines[second], lines[first]
    path = tmp_path_factory.mktemp("order") / "log"
    path.write_bytes(b"".join(lines))
    assert (read_chain(path).fault is None) == (first == second)
