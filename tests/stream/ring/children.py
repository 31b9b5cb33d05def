"""What runs in the other processes of the ring tests."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection

from neuroloop.stream.contracts.shared_memory import CounterSpec
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.counters import CounterBlock
from neuroloop.stream.ring.events import EventRing
from neuroloop.stream.ring.samples import SampleRing
from tests.stream.ring.signals import INFO, JUMP, assert_whole, check_to_end, numbered_chunk, wait_until

SPECS = (CounterSpec("n", "count"), CounterSpec("h", "histogram", bounds=(0.25, 0.75)))


def event(number: int) -> bytes:
    """A record whose bytes and length follow from its number."""
    return b"%d:" % number + bytes([number % 251]) * (number % 97)


def hammer_samples(ring: SampleRing, n_samples: int, wait_for_reader: bool) -> None:
    """Append chunks of 1 to 64 rows as fast as possible, with a jump of the sample number now and then."""
    if wait_for_reader:
        wait_until(lambda: all(status.is_alive for status in ring.status().values()), "readers are there")
    with ring, ring.writer() as writer:
        n_written = k = 0
        while n_written < n_samples:
            count = min(1 + k * 7 % 64, n_samples - n_written)
            writer.append(numbered_chunk(writer.head + (JUMP if k % 1000 == 999 else 0), count), arrival_ns=k)
            writer.notify()
            n_written += count
            k += 1


def follow_samples(ring: SampleRing, name: str, max_samples: int, start_behind: int, results: Connection) -> None:
    """Read to the end, beginning when some rows are there; send the books."""
    with ring, ring.reader(name) as reader:
        wait_until(lambda: ring.status()[name].n_behind > start_behind, "the writer is ahead")
        next_sample = check_to_end(reader, max_samples)
        reader.commit()
        results.send((reader.n_delivered, reader.n_lost, next_sample))


def report_samples(ring: SampleRing, results: Connection) -> None:
    """Read in small portions; report each before committing it."""
    with ring, ring.reader("r") as reader:
        while not reader.is_ended:
            reader.wait(10.0)
            rows = reader.read(1 + reader.n_delivered % 29)
            assert_whole(rows)
            results.send((rows.chunk.first_sample, rows.chunk.next_sample, rows.n_lost))
            reader.commit()
        results.send(None)


def hammer_events(ring: EventRing, n_records: int) -> None:
    """Append records as fast as possible."""
    with ring, ring.writer() as writer:
        for number in range(n_records):
            writer.append(event(number))
            writer.notify()


def write_until_killed(ring: SampleRing, events: EventRing, counters: CounterBlock, ready: Connection) -> None:
    """Write a little, say so, and hold on."""
    writer, event_writer = ring.writer(), events.writer()
    writer.append(numbered_chunk(0, 100))
    for number in range(10):
        event_writer.append(event(number))
    counters.numbers("n")[0] += 7
    writer.notify()
    ready.send("ready")
    ready.recv()


def count_up(counters: CounterBlock, n: int) -> None:
    """Add to every counter ``n`` times."""
    numbers, histogram = counters.numbers("n"), counters.histogram("h")
    for _ in range(n):
        numbers[0] += 1
        histogram.observe(0.5)


def echo_samples(there: SampleRing, back: SampleRing) -> None:
    """Send every row back in a ring of its own."""
    with there, back, there.reader("r") as reader, back.writer() as writer:
        while not reader.is_ended:
            reader.wait(10.0)
            chunk = reader.read(1000).chunk
            if len(chunk):
                writer.append(chunk)
                writer.notify()


def trickle(ring: SampleRing, events: EventRing, counters: CounterBlock, stop: Connection) -> None:
    """Write slowly until told to stop or left alone."""
    with ring, events, ring.writer() as writer, events.writer() as event_writer:
        while not stop.poll(0.001):
            writer.append(numbered_chunk(writer.head, 1))
            event_writer.append(b"record")
            counters.numbers("n")[0] += 1
            writer.notify()


def drain(ring: SampleRing, events: EventRing, results: Connection) -> None:
    """Read until the writer is gone."""
    with ring, events, ring.reader("r") as reader, events.reader("r") as event_reader:
        has_reported = False
        while not (reader.is_ended and event_reader.is_ended):
            reader.wait(10.0)
            if len(reader.read(1000).chunk) and event_reader.read(1000).records and not has_reported:
                results.send("reading")
                has_reported = True


def life_and_death(kind: str, token: str) -> None:
    """Run a writer and a reader as children, and come to an end of the given kind; the main of a process."""
    spawn = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        bell = stack.enter_context(Bell())
        ring = stack.enter_context(SampleRing.shared(INFO, 1000, bell=bell, readers=("r",), name=token))
        events = stack.enter_context(EventRing.shared(1 << 14, bell=bell, readers=("r",), name=token))
        counters = stack.enter_context(CounterBlock.shared(SPECS, name=token))
        stop_here, stop_there = spawn.Pipe()
        results_here, results_there = spawn.Pipe()
        writer = spawn.Process(target=trickle, args=(ring, events, counters, stop_there))
        reader = spawn.Process(target=drain, args=(ring, events, results_there))
        for process in (writer, reader):
            process.start()
            stack.callback(process.join)
        stack.callback(stop_here.close)
        stop_there.close()
        results_there.close()
        assert results_here.recv() == "reading"
        if kind == "exception":
            raise RuntimeError("on purpose")
        if kind == "parent killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind in ("writer killed", "reader killed"):
            victim = writer if kind == "writer killed" else reader
            victim.kill()
            victim.join()
        stop_here.close()
        for process in (writer, reader):
            process.join()
        sys.stdout.write(f"{writer.exitcode} {reader.exitcode}\n")


if __name__ == "__main__":
    life_and_death(*sys.argv[1:])
