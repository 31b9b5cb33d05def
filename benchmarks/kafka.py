"""What a Kafka worker costs and how fast it is, against a bare Faust agent and the pipeline alone.

64 channels at 1 kHz as float64, the preset ``monitor`` (notch, band-pass, average reference, five band powers),
frames of several lengths; each on the embedded broker and, where it lies beside the checkout, on Apache Kafka.

How it is measured
------------------
Processor time is that of whole processes, as the line through two moments of one load: a quarter of the frames taken,
and all. What the line leaves at no frames is the fixed cost of a process (imports, joining the group), stated apart.
The peer of the worker's cost is a bare agent that runs the pipeline: Faust with the worker's own settings takes the
same frames, and each makes it push as many rows of its own through the stream's engine. Measured apart, an agent that
does nothing and the engines alone add up to less, for each then has the caches to itself; both are in the note. The
cost of a snapshot is what the worker's own processor clock says of taking and encoding it (the difference between a
run with many snapshots and one with few, 5.0 ms with a spread of 6.5, drowned it); the client's batch around it takes
0.07 ms more. It is compared with what the stream costs in 5 s by the slope, without the process's start. For the
scaling the workers share the partitions first and are held while the streams are sent. Latencies are from the
producer's ``send`` to the consumer's ``poll``, both in this process, at a real-time pace; the bare agent answers
every frame with a short message.

What was tried for the worker's cost: reading frames with plain integers and kept stamps (18 to 9 us a frame); handing
on 16 messages at once (within the noise, and messages of lost partitions could hide in it: taken out again); kernels
that keep the interpreter's lock (no gain); Faust's opt-in for its compiled stream (171 against 179 us a frame: none);
freezing the collector's first generation; a short way for frames in order (1.5 us).

Figures (two shared cores, nothing else on the machine; medians of five to seven rounds)
----------------------------------------------------------------------------------------
Apache Kafka. Worker against agent with pipeline at frames of 20, 50, 100 ms: 1.21, 1.18, 1.14 times (spread 0.1 to
0.25; the goal is 1.25); against both apart 1.37, 1.36, 1.21. A snapshot (154 kB): 2.5 % of the worker's time at 5 s.
Producer to event at 20 ms: p50 5.1 ms, 0.9 more than the bare agent, p99 8.2 against 7.2. First new event after a
SIGKILL: 5.8 s, at most 6.8, bare agents 6.0, at a session of 6. Slope over 2 and 4 workers: 1.10 and 1.06 times that
of one; in elapsed time 0.7 and 1.0 times as fast, for the broker, its clients and all workers share two cores.

The embedded broker. Snapshot 2.4 %; worker at 50 ms 1.28 times (spread 0.2), 1.51 times both apart. Its long polls
take 0.4 s, which is the median latency (403 against 395 ms of the bare agent, spread 13). After a SIGKILL 9.4 s, at
most 9.8: bare agents take 9.1 and at most 9.9, so the broker's group does, and not the worker. Slope over 2 and 4
workers 0.94 and 1.11 times that of one (three rounds, spread 0.15).
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.kafka_failures import recovery, restart
from benchmarks.kafka_load import (
    APACHE,
    DEMO,
    MONITOR,
    Bench,
    broker,
    engine_of_wide_stream,
    frames_of,
    row_of,
    settle,
    start_bare,
    until,
    wide_rows,
    wide_stream,
    work_off,
)
from benchmarks.measure import LeftOut, Row
from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.wire.messages import StreamDescription, description_message, frame_message

FRAME_MS = (20.0, 50.0, 100.0)
N_STREAMS = 4


def _kinds(quick: bool) -> tuple[str, ...]:
    return ("embedded",) if quick else ("embedded", "apache")


def _frame_ms(quick: bool) -> tuple[float, ...]:
    return FRAME_MS[1:2] if quick else FRAME_MS


def _workers(quick: bool) -> tuple[int, ...]:
    return (1, 2) if quick else (1, 2, 4)


def n_rows(quick: bool) -> int:
    """Return how many rows there will be; where there is no Apache Kafka all of its rows are one that is left out."""
    each = len(_frame_ms(quick)) + len(_workers(quick)) - 1 + 3
    return each * (len(_kinds(quick)) if APACHE.is_file() else 1) + 1


def rows(quick: bool) -> Iterator[Row | LeftOut]:
    """Measure everything; each row begins with a broker of its own, for the embedded one keeps everything in memory.

    Parameters
    ----------
    quick : bool
        One round, one length of frames, and the embedded broker but for its restart.
    """
    for kind in _kinds(quick) if APACHE.is_file() else ("embedded",):
        for frame_ms in _frame_ms(quick):
            with broker(kind) as bootstrap:
                yield cost(bootstrap, kind, frame_ms, quick)
        for one in (snapshots, latency, scaling, recovery):
            with broker(kind) as bootstrap:
                made = one(bootstrap, kind, quick)
            yield from made if isinstance(made, list) else [made]
    if APACHE.is_file():
        yield restart(quick)
    else:
        yield LeftOut(
            "kafka", "the same on Apache Kafka, and its restart", f"no {APACHE.name} of it beside the checkout"
        )


def pipeline_alone(frame_ms: float, seconds: float) -> float:
    """Return processor seconds per stream-second of the engines alone, over the same streams frame by frame."""
    engines = [engine_of_wide_stream(k) for k in range(N_STREAMS)]
    frames = frames_of(wide_stream(0), wide_rows(seconds, 1), frame_ms)
    first = len(frames) // 4
    begin = 0.0
    for index, frame in enumerate(frames):
        if index == first:
            begin = time.thread_time()
        for engine in engines:
            engine.push_block(RawBlock(frame.data, frame.timestamps))
    return (time.thread_time() - begin) / (N_STREAMS * (len(frames) - first) * frame_ms * 1e-3)


def _load(bench: Bench, seconds: float, frame_ms: float, n_streams: int = N_STREAMS) -> int:
    """Send streams of equal length; return the frames."""
    block = wide_rows(seconds, 1)
    infos = [wide_stream(k) for k in range(n_streams)]
    return bench.send([(info, frames_of(info, block, frame_ms)) for info in infos])


def cost(bootstrap: str, kind: str, frame_ms: float, quick: bool) -> Row:
    """Compare the worker's processor time per stream-second with that of a bare agent that runs the pipeline."""
    ours, theirs, bare, alone, fixed = [], [], [], [], []
    seconds = 40.0 if quick else 80.0
    frames_a_second = 1000.0 / frame_ms
    for _ in range(1 if quick else 7):
        bench = Bench(bootstrap, MONITOR)
        n_frames = _load(bench, seconds, frame_ms)
        bare.append(bench.bare(n_frames).frame_s * frames_a_second)
        theirs.append(bench.bare(n_frames, "--pipeline", frame_ms).frame_s * frames_a_second)
        with bench.workers(1) as workers:
            spent, _ = work_off(workers, n_frames)
        ours.append(spent.frame_s * frames_a_second)
        fixed.append(spent.fixed_s)
        alone.append(pipeline_alone(frame_ms, 8.0 if quick else 30.0))
    apart = [a + b for a, b in zip(bare, alone, strict=True)]
    bare_us, alone_us = 1e6 * statistics.median(bare), 1e6 * statistics.median(alone)
    note = (
        f"{_ratio(ours, theirs):.2f} x a bare agent that runs the pipeline (goal <= 1.25), "
        f"{_ratio(ours, apart):.2f} x both apart ({bare_us:.0f} + {alone_us:.0f} us); "
        f"{1 / statistics.median(ours):.0f} streams a core; {statistics.median(fixed):.1f} s fixed a process"
    )
    case = f"{kind}, frames of {frame_ms:g} ms"
    return row_of("worker, a stream-second", case, ours, "bare agent + pipeline", theirs, note)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median([a / b for a, b in zip(ours, theirs, strict=True)])


def snapshots(bootstrap: str, kind: str, quick: bool) -> Row:
    """Compare what snapshots take with all that a worker without them takes in the 5 s between two."""
    cost_s, base = [], []
    sizes: list[float] = []
    seconds = 40.0 if quick else 100.0
    for _ in range(1 if quick else 5):
        taken: list[float] = []
        for every_s in (600.0, 0.1):
            bench = Bench(bootstrap, MONITOR)
            n_frames = _load(bench, seconds, 50.0)
            with bench.workers(1, snapshot_s=every_s) as workers:
                spent, _ = work_off(workers, n_frames)
                numbers = workers[0].numbers()
                n_snapshots = numbers["neuroloop_worker_snapshots_total"]
                if every_s < 1.0:
                    sizes.append(numbers["neuroloop_worker_snapshot_bytes_total"] / n_snapshots)
                    cost_s.append(numbers["neuroloop_worker_snapshot_cpu_seconds_total"] / n_snapshots)
                taken.append(spent.frame_s * 1000.0 / 50.0)
        base.append(5.0 * taken[0])
    share = statistics.median([a / (a + b) for a, b in zip(cost_s, base, strict=True)])
    note = f"{100 * share:.1f} % of the worker's time at 5 s (goal <= 3 %); {statistics.median(sizes):.0f} bytes"
    return row_of("snapshot of 64 ch x 1 kHz", kind, cost_s, "5 s of the worker", base, note)


def scaling(bootstrap: str, kind: str, quick: bool) -> list[Row]:
    """Compare processor seconds per stream-second of one, two and four workers.

    The workers share the partitions first and are held while the streams are sent, so that all begin at once.
    """
    found = []
    counts = _workers(quick)
    seconds, frame_ms, n_streams = 20.0 if quick else 40.0, 100.0, 16
    slopes: dict[int, list[float]] = {n: [] for n in counts}
    elapsed: dict[int, list[float]] = {n: [] for n in counts}
    fixed: dict[int, list[float]] = {n: [] for n in counts}
    for _ in range(1 if quick else 5):
        for n in counts:
            bench = Bench(bootstrap, MONITOR, partitions=16, session_s=45.0)
            with bench.workers(n) as workers:
                settle(workers)
                with ExitStack() as stack:
                    for worker in workers:
                        stack.enter_context(worker.held())
                    n_frames = _load(bench, seconds, frame_ms, n_streams)
                spent, took = work_off(workers, n_frames)
            slopes[n].append(spent.frame_s * 1000.0 / frame_ms)
            elapsed[n].append(took)
            fixed[n].append(spent.fixed_s / n)
    for n in counts[1:]:
        speed_up = statistics.median(elapsed[1]) / statistics.median(elapsed[n])
        slope = statistics.median([a / b for a, b in zip(slopes[n], slopes[1], strict=True)])
        note = (
            f"slope {slope:.2f} x that of one (goal within 10 %); {statistics.median(fixed[n]):.1f} s fixed a process, "
            f"of one {statistics.median(fixed[1]):.1f}; {speed_up:.2f} x as fast in elapsed time"
        )
        case = f"{kind}, {n} workers"
        found.append(row_of("a stream-second by workers", case, slopes[n], "1 worker", slopes[1], note))
    return found


def latency(bootstrap: str, kind: str, quick: bool) -> Row:
    """Compare producer -> worker -> events with producer -> bare agent -> answer, p50."""
    seconds = 8.0 if quick else 40.0
    ours, theirs = [], []
    for _ in range(1 if quick else 3):
        bench = Bench(bootstrap, DEMO, partitions=1)
        with bench.workers(1) as workers:
            until(lambda: bool(workers[0].numbers().get("neuroloop_worker_rebalances_total")))
            ours.append(_paced(bench, (bench.topics.predictions, bench.topics.states), seconds, is_answer=False))
        bench = Bench(bootstrap, DEMO, partitions=1)
        answers = bench.topics.commands
        n_frames = round(seconds / 0.02) + 10**9
        process = start_bare(bootstrap, bench.topics.samples, f"{bench.prefix}.bare", n_frames, "--answers", answers)
        try:
            if process.stdout is not None:
                process.stdout.readline()
            theirs.append(_paced(bench, (answers,), seconds, is_answer=True))
        finally:
            process.kill()
            process.wait()
    (p50s, p99s), (bare50, bare99) = zip(*ours, strict=True), zip(*theirs, strict=True)
    more = statistics.median(p50s) - statistics.median(bare50)
    note = (
        f"{1e3 * more:+.2f} ms over the bare agent at p50 (goal <= 2 ms); p99 {1e3 * statistics.median(p99s):.1f} ms, "
        f"bare {1e3 * statistics.median(bare99):.1f} ms"
    )
    return row_of("producer to event, p50", f"{kind}, frames of 20 ms", list(p50s), "bare agent", list(bare50), note)


def _paced(bench: Bench, topics: Sequence[str], seconds: float, *, is_answer: bool) -> tuple[float, float]:
    """Send one stream in real time; return p50 and p99 of the way to the answers in seconds."""
    simulator = Simulator(SimulatorSettings(seed=7, duration_s=seconds, block_s=2.0))
    data, stamps = simulator.generate(0, simulator.n_samples or 0)
    info = simulator.info
    frames = frames_of(info, RawBlock(data, stamps), 20.0)
    sent: dict[int, float] = {}
    ways: list[float] = []
    consumer = KafkaConsumer(bootstrap_servers=bench.bootstrap, auto_offset_reset="latest", fetch_max_wait_ms=50)
    places = [TopicPartition(name, 0) for name in topics]
    consumer.assign(places)
    consumer.seek_to_end(*places)
    for place in places:
        consumer.position(place)
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            for records in consumer.poll(timeout_ms=50).values():
                now = time.perf_counter()
                for record in records:
                    text = record.value if is_answer else dict(record.headers)["ce_id"]
                    begin = sent.get(int(text.decode().split("/")[-1 if is_answer else -2]) // len(frames[0]))
                    if begin is not None:
                        ways.append(now - begin)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    producer = KafkaProducer(bootstrap_servers=bench.bootstrap, acks=1, linger_ms=0)
    message = description_message(bench.topics, StreamDescription(info.source_id, info, 1))
    producer.send(message.topic, value=message.value, key=message.key)
    producer.flush()
    begin = time.perf_counter()
    for index, frame in enumerate(frames):
        wait_s = frame.next_sample / info.sfreq - (time.perf_counter() - begin)
        if wait_s > 0:
            time.sleep(wait_s)
        message = frame_message(bench.topics, frame)
        if index > len(frames) // 8:
            sent[index] = time.perf_counter()
        producer.send(message.topic, value=message.value, key=message.key, headers=list(message.headers))
    producer.flush()
    time.sleep(0.5)
    ended.set()
    reader.join(5)
    consumer.close()
    producer.close()
    if not ways:
        raise RuntimeError("answers must come, got none")
    return float(np.quantile(ways, 0.5)), float(np.quantile(ways, 0.99))
