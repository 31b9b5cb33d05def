from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.counters import CounterBlock
from neuroloop.stream.ring.events import EventRing
from neuroloop.stream.ring.header import HEAD
from neuroloop.stream.ring.samples import SampleRing
from tests.stream.ring import children
from tests.stream.ring.signals import INFO, check_to_end, numbered_chunk, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared rings need Linux")

CHECKOUT = Path(__file__).resolve().parents[3]
SPAWN = multiprocessing.get_context("spawn")
N_HAMMERED = 2_000_000


@pytest.fixture
def bell() -> Iterator[Bell]:
    with Bell() as made:
        yield made


def test_hammered_readers_see_no_torn_repeated_or_silently_lost_row(bell: Bell) -> None:
    with SampleRing.shared(INFO, 4096, bell=bell, readers=("near", "lapped")) as ring:
        here, there = SPAWN.Pipe(duplex=False)
        lapped = SPAWN.Process(target=children.follow_samples, args=(ring, "lapped", 16, 3 * 4096, there))
        lapped.start()
        there.close()
        writer = SPAWN.Process(target=children.hammer_samples, args=(ring, N_HAMMERED, True))
        writer.start()
        with ring.reader("near") as reader:
            next_sample = check_to_end(reader, 1000)
            assert reader.n_delivered + reader.n_lost == N_HAMMERED
            assert reader.n_delivered > 0
        n_delivered, n_lost, last = here.recv()
        writer.join()
        lapped.join()
        assert (writer.exitcode, lapped.exitcode) == (0, 0)
        assert n_delivered + n_lost == N_HAMMERED
        assert n_lost >= 2 * 4096
        assert last == next_sample
        status = ring.status()["lapped"]
        assert (status.n_delivered, status.n_lost, status.n_behind) == (n_delivered, n_lost, 0)


def test_hammered_event_reader_sees_every_record_whole_or_counts_it(bell: Bell) -> None:
    n_records = 60_000
    with EventRing.shared(1 << 14, bell=bell, readers=("r",)) as ring, ring.reader("r") as reader:
        writer = SPAWN.Process(target=children.hammer_events, args=(ring, n_records))
        writer.start()
        expected = 0
        while not reader.is_ended:
            reader.wait(10.0)
            got = reader.read(50)
            assert got.first_sequence == expected + got.n_lost
            assert got.records == [children.event(got.first_sequence + i) for i in range(len(got.records))]
            expected = got.first_sequence + len(got.records)
        writer.join()
        assert expected == n_records
        assert reader.n_delivered + reader.n_lost == n_records


def test_killed_reader_goes_on_where_it_committed(bell: Bell) -> None:
    n_samples = 60_000
    with SampleRing.shared(INFO, n_samples, bell=bell, readers=("r",)) as ring:
        with ring.writer() as writer:
            while writer.head < n_samples:
                writer.append(numbered_chunk(writer.head, 1000))
            covered = 0
            for n_reports in (300, 50):
                here, there = SPAWN.Pipe(duplex=False)
                reader = SPAWN.Process(target=children.report_samples, args=(ring, there))
                reader.start()
                there.close()
                first, stop, n_lost = here.recv()
                assert (n_lost, covered - 30 < first <= covered) == (0, True)  # at most one portion comes again
                for _ in range(n_reports):
                    covered = stop
                    first, stop, n_lost = here.recv()
                    assert (first, n_lost) == (covered, 0)
                reader.kill()
                with suppress(EOFError):  # what it had reported before it died
                    while True:
                        first, stop, n_lost = here.recv()
                covered = stop
                reader.join()
        with ring.reader("r") as last:
            rows = last.read(n_samples)
            assert covered - 30 < rows.chunk.first_sample <= covered
            assert rows.chunk.next_sample == n_samples
            assert (last.n_lost, last.n_delivered, last.is_ended) == (0, n_samples, True)


def test_readers_see_the_end_of_a_killed_writer_at_once_and_keep_what_it_wrote(bell: Bell) -> None:
    with (
        SampleRing.shared(INFO, 1000, bell=bell, readers=("r",)) as ring,
        EventRing.shared(10_000, bell=bell, readers=("r",)) as events,
        CounterBlock.shared(children.SPECS) as counters,
        ring.reader("r") as reader,
        events.reader("r") as event_reader,
    ):
        ready, there = SPAWN.Pipe()
        writer = SPAWN.Process(target=children.write_until_killed, args=(ring, events, counters, there))
        writer.start()
        assert ready.recv() == "ready"
        assert reader.wait(90.0)
        assert len(reader.read(1000).chunk) == 100
        assert len(event_reader.read(1000).records) == 10
        assert not reader.is_ended
        ended: list[float] = []

        def sleep() -> None:
            while not reader.is_ended:
                reader.wait(60.0)
            ended.append(time.monotonic())

        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        assert writer.pid is not None
        os.kill(writer.pid, 9)  # not reaped: the writer stays behind as a zombie
        sleeper.join(90.0)
        assert ended, "the sleeping reader was not woken"
        assert event_reader.is_ended
        assert counters.snapshot().numbers["n"][0] == 7
        writer.join()
        with ring.writer() as successor, events.writer() as event_successor:
            assert successor.head == 100
            assert event_successor.append(b"next") == 10
            assert not event_reader.is_ended


def test_writer_killed_in_full_flight_leaves_whole_rows_and_balanced_books(bell: Bell) -> None:
    with SampleRing.shared(INFO, 512, bell=bell, readers=("r",)) as ring, ring.reader("r") as reader:
        writer = SPAWN.Process(target=children.hammer_samples, args=(ring, 1 << 40, False))
        writer.start()
        wait_until(lambda: ring.status()["r"].n_behind > 20_000, "the writer is at work")
        writer.kill()
        next_sample = check_to_end(reader, 100)
        assert ring.header.words[HEAD] == reader.n_delivered + reader.n_lost > 20_000
        with ring.writer() as successor:
            assert successor.head == next_sample
            successor.append(numbered_chunk(next_sample, 5))
            assert reader.read(10).chunk.first_sample == next_sample
        writer.join()


def test_counters_are_read_whole_while_they_are_added_to() -> None:
    n = 50_000
    with CounterBlock.shared(children.SPECS) as counters:
        writer = SPAWN.Process(target=children.count_up, args=(counters, n))
        writer.start()
        last = 0
        while writer.is_alive():
            snapshot = counters.snapshot()
            number = int(snapshot.numbers["n"][0])
            low, observed, high = snapshot.histograms["h"].buckets
            assert last <= number <= observed + n
            assert (low, high) == (0, 0)
            assert snapshot.histograms["h"].total % 0.5 == 0
            last = number
        writer.join()
        final = counters.snapshot()
        assert (final.numbers["n"][0], final.histograms["h"].buckets[1]) == (n, n)
        assert final.histograms["h"].total == n / 2


def test_rows_go_to_another_process_and_back(bell: Bell) -> None:
    with (
        Bell() as bell_back,
        SampleRing.shared(INFO, 100, bell=bell, readers=("r",)) as there,
        SampleRing.shared(INFO, 100, bell=bell_back, readers=("r",)) as back,
        back.reader("r") as reader,
    ):
        with there.writer() as writer:
            other = SPAWN.Process(target=children.echo_samples, args=(there, back))
            other.start()
            for k in range(300):
                writer.append(numbered_chunk(k, 1))
                writer.notify()
                while not reader.wait(10.0):
                    assert not reader.is_ended
                assert reader.read(10).chunk.first_sample == k
        other.join()
        assert reader.is_ended


def _processes_with(token: str) -> list[str]:
    """List the processes whose environment, memory map or descriptors show a token."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if token.encode() in (folder / "environ").read_bytes() or token in (folder / "maps").read_text():
                    found.append(folder.name)
    return found


@pytest.mark.parametrize("kind", ["normal", "exception", "reader killed", "writer killed", "parent killed"])
def test_no_process_and_no_memory_stays_behind(kind: str) -> None:
    token = f"ring-test-{os.getpid()}-{kind.replace(' ', '-')}"
    before = _own_leftovers()
    run = subprocess.run(
        [sys.executable, "-m", "tests.stream.ring.children", kind, token],
        cwd=CHECKOUT,
        env={**os.environ, "RING_TEST_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    codes = {"normal": (0, "0 0\n"), "exception": (1, ""), "reader killed": (0, "0 -9\n")}
    codes |= {"writer killed": (0, "-9 0\n"), "parent killed": (-9, "")}
    assert (run.returncode, run.stdout) == codes[kind], run.stderr
    assert ("on purpose" in run.stderr) == (kind == "exception")
    wait_until(lambda: not _processes_with(token), "all processes and their memory are gone")
    assert _own_leftovers() == before


def _own_leftovers() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if "neuroloop" in path.name}


def test_descriptors_and_mappings_are_given_back() -> None:
    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text()
        return len(os.listdir("/proc/self/fd")), maps.count("ring-fd-test")

    before = held()
    with Bell() as bell:
        ring = SampleRing.shared(INFO, 10, bell=bell, readers=("r",), name="ring-fd-test")
        events = EventRing.shared(100, bell=bell, readers=("r",), name="ring-fd-test")
        counters = CounterBlock.shared(children.SPECS, name="ring-fd-test")
        with ring, events, counters:
            writer, reader, event_reader = ring.writer(), ring.reader("r"), events.reader("r")
            writer.append(numbered_chunk(0, 3))
            assert reader.wait(0.0)
            assert not event_reader.wait(0.0)
            assert held()[1] == 3
            assert held()[0] > before[0]
    assert held() == before
