from __future__ import annotations

import fcntl
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.ring import segment as segment_module
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.samples import SampleRing
from neuroloop.stream.ring.segment import Segment, SharedMemoryError
from tests.stream.ring.signals import INFO, assert_whole, has_ended, numbered_chunk

CHECKOUT = Path(__file__).resolve().parents[3]

linux = pytest.mark.skipif(sys.platform != "linux", reason="shared memory needs Linux")


def test_words_and_arrays_show_the_same_memory() -> None:
    with Segment.private(4096) as segment:
        words, numbers = segment.words(64, 8), segment.array(64, (2, 4), np.int64)
        words[5] = -7
        assert numbers[1, 1] == -7
        numbers[0, 0] = 3
        assert words[0] == 3
        del numbers


@linux
def test_request_beyond_the_free_memory_is_one_clear_line() -> None:
    with pytest.raises(
        SharedMemoryError, match=r"^shared memory must have at least 4503599627370496 bytes free in memory, got \d+; "
    ):
        Segment.shared(1 << 52, "test")
    assert issubclass(SharedMemoryError, NeuroloopError)


@linux
def test_ring_beyond_the_free_memory_is_one_clear_line_and_leaks_nothing() -> None:
    info = StreamInfo("wide", "EEG", "id", 1.0, tuple(map(str, range(64))), ("eeg",) * 64, ("",) * 64)
    n_descriptors = len(os.listdir("/proc/self/fd"))
    with Bell() as bell, pytest.raises(SharedMemoryError, match=r"must have at least \d+ bytes free in memory, got"):
        SampleRing.shared(info, 1 << 40, bell=bell, readers=())
    assert len(os.listdir("/proc/self/fd")) == n_descriptors


@linux
def test_folder_that_is_too_small_is_one_clear_line() -> None:
    with pytest.raises(SharedMemoryError, match=r"at least 4503599627370496 bytes free in /dev/shm, got \d+"):
        Segment.shared(1 << 52, "test", folder="/dev/shm")


@linux
def test_allocation_that_fails_after_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    n_descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    for folder, place in ((None, "memory"), ("/dev/shm", "/dev/shm")):
        with pytest.raises(SharedMemoryError, match=f"at least 4096 bytes free in {place}, got"):
            Segment.shared(4096, "test", folder=folder)
    assert len(os.listdir("/proc/self/fd")) == n_descriptors


SMALL_MOUNT = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$0" -c "$1"'
SMALL_SHM = """
from neuroloop.stream.ring.segment import Segment, SharedMemoryError
try:
    Segment.shared(1 << 20, "test", folder="/dev/shm")
except SharedMemoryError as error:
    print(error)
with Segment.shared(1 << 20, "test") as segment:
    segment.array(0, (1 << 17,), "i8")[:] = 1
    print("written")
"""


@linux
def test_small_dev_shm_kills_nobody() -> None:
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", SMALL_MOUNT, sys.executable, SMALL_SHM],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.stderr.startswith(("unshare:", "mount:")):
        pytest.skip("no mount namespaces here")
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[0].startswith("shared memory must have at least 1048576 bytes free in /dev/shm, got 65536;")
    assert lines[1:] == ["written"]


@linux
@pytest.mark.parametrize("folder", [None, "/dev/shm"])
def test_shared_block_has_no_name_and_is_zeroed(folder: str | None) -> None:
    before = set(os.listdir("/dev/shm"))
    with Segment.shared(8192, "nameless", folder=folder) as segment:
        assert not [name for name in set(os.listdir("/dev/shm")) - before if "nameless" in name or "neuroloop" in name]
        numbers = segment.array(0, (1024,), np.int64)
        assert not numbers.any()
        assert len(segment) == 8192
        del numbers


@linux
def test_nobody_can_shrink_a_shared_block() -> None:
    with Segment.shared(8192, "sealed") as segment:
        assert fcntl.fcntl(segment._fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        with pytest.raises(PermissionError, match="Operation not permitted"):
            os.ftruncate(segment._fd, 0)


@linux
def test_without_memfd_the_block_is_an_unnamed_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with Segment.shared(8192, "test") as segment:
        assert os.readlink(f"/proc/self/fd/{segment._fd}").startswith("/dev/shm/#")


def test_other_platforms_have_private_rings_and_one_clear_line_for_shared_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    message = "platform must be Linux to run in several processes, got 'darwin'"
    with pytest.raises(SharedMemoryError, match=message):
        Segment.shared(4096, "test")
    with pytest.raises(SharedMemoryError, match=message):
        Bell()
    with SampleRing.private(INFO, 4, readers=("r",)) as ring, ring.writer() as writer, ring.reader("r") as reader:
        writer.append(numbered_chunk(0, 3))
        assert_whole(reader.read(3))
        assert not has_ended(reader)
        writer.close()
        assert has_ended(reader)


def test_closed_segment_refuses_words_and_keeps_arrays_in_use() -> None:
    segment = Segment.private(4096)
    words, numbers = segment.words(0, 1), segment.array(8, (1,), np.int64)
    segment.close()
    segment.close()
    with pytest.raises(ValueError, match="released memoryview"):
        words[0] = 1
    numbers[0] = 5
    assert numbers[0] == 5


def test_private_memory_cannot_be_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with Segment.private(4096) as segment:
        with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
            pickle.dumps(segment)
        monkeypatch.setattr("multiprocessing.context.assert_spawning", lambda _: None)
        with pytest.raises(TypeError, match="segment must be shared to be handed to another process, got private"):
            pickle.dumps(segment)


def _group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_room_in_control_groups_of_version_2_counts_every_level(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/a/b\n")
    _group(tmp_path / "fs" / "a" / "b", memory__max="max\n", memory__current="10\n", memory__stat="inactive_file 1\n")
    _group(
        tmp_path / "fs" / "a", memory__max="1000\n", memory__current="700\n", memory__stat="anon 5\ninactive_file 50\n"
    )
    room = segment_module._control_group_room(tmp_path / "membership", tmp_path / "fs")
    assert list(room) == [350]


def test_room_in_control_groups_of_version_1_is_found_where_the_path_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("5:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    _group(
        tmp_path / "fs" / "memory",
        memory__limit_in_bytes="1000\n",
        memory__usage_in_bytes="1200\n",
        memory__stat="total_inactive_file 100\n",
    )
    assert list(segment_module._control_group_room(tmp_path / "membership", tmp_path / "fs")) == [0]


def test_no_control_groups_leave_no_limit(tmp_path: Path) -> None:
    assert list(segment_module._control_group_room(tmp_path / "none", tmp_path)) == []
