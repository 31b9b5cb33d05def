"""What a Kafka worker costs and how fast it is, against a bare Faust agent and the pipeline alone.

64 channels at 1 kHz as float64, the preset ``monitor`` (notch, band-pass, average reference, five band powers), frames
of several lengths; each on the embedded broker and, where it lies beside the checkout, on Apache Kafka.

How it is measured
------------------
Processor time is that of whole processes. A short and a long load are worked off by fresh processes; the difference is
the slope, and what is left is the fixed cost of a process (imports, joining the group), stated apart. The pipeline
alone runs in this process over the same rows in the same pieces. The cost of a snapshot is what the worker's own
processor clock says of taking, encoding and handing it over (the difference between a run with many snapshots and one
with few, 5.0 ms with a spread of 6.5, drowned it); the client's batch around it takes 0.07 ms more. Latencies are from
the producer's ``send`` to the consumer's ``poll``, both in this process, at a real-time pace; the bare agent answers
every frame with a short message.

Figures (Apache Kafka, two shared cores, little else on the machine; medians, frames of 50 ms unless said)
----------------------------------------------------------------------------------------------------------
A stream-second takes 3.75 ms in the worker and 2.84 in bare agent and pipeline together: 1.30 times (spread 0.2; the
goal is 1.25), 267 streams a core, 1.7 s fixed a process. A snapshot (150 kB) takes 1.4 ms, 1.6 % of the worker's time
at 5 s. Producer to event at frames of 20 ms: p50 2.6 ms, 0.64 more than the bare agent; p99 5.8 against 6.0. The first
new event after a SIGKILL comes after 7.0 s (spread 1.2) with a session of 6 s. The slope over 1, 2 and 4 workers has
not been taken with loads long enough to say anything.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.kafka_load import (
    APACHE,
    PATIENCE_S,
    Bench,
    Restartable,
    broker,
    frames_of,
    start_bare,
    wide_rows,
    wide_stream,
    work_off,
)
from benchmarks.measure import Row, middle
from config.loading import PRESET_FOLDER, parse
from config.source import SimulatorSettings
from stream.app import build
from stream.contracts.chunks import RawBlock
from stream.contracts.messages import StreamDescription, description_message, frame_message
from stream.engine import Engine
from stream.sources.simulator import Simulator

MONITOR: dict[str, Any] = {
    **yaml.safe_load((PRESET_FOLDER / "monitor.yaml").read_text(encoding="utf-8")), "description": "",
}  # fmt: skip
DEMO: dict[str, Any] = {"name": "demo", "source": {"kind": "simulator"}, "classifier": {"bundle": "demo"}}
FRAME_MS = (20.0, 50.0, 100.0)
N_STREAMS = 4


def rows(quick: bool) -> list[Row]:
    """Return all rows."""
    found: list[Row] = []
    kinds = ["embedded"]
    if APACHE.is_file() and not quick:
        kinds.append("apache")
    for kind in kinds:
        with broker(kind) as bootstrap:
            for frame_ms in FRAME_MS[1:2] if quick else FRAME_MS:
                found.append(cost(bootstrap, kind, frame_ms, quick))
            found.append(snapshots(bootstrap, kind, quick))
            found.append(latency(bootstrap, kind, quick))
            found += scaling(bootstrap, kind, quick)
            found.append(recovery(bootstrap, kind, quick))
    if APACHE.is_file():
        found.append(restart(quick))
    return found


def pipeline_alone(frame_ms: float, seconds: float) -> float:
    """Return processor seconds per stream-second of the engine over the same pieces."""
    info, block = wide_stream(0), wide_rows(seconds, 0)
    frames = frames_of(info, block, frame_ms)
    config = parse(dict(MONITOR))
    engine = Engine(config.source, build(config, info).pipeline)
    for frame in frames[: len(frames) // 4]:
        engine.push_block(frame.block())
    begin = time.thread_time()
    for frame in frames[len(frames) // 4 :]:
        engine.push_block(frame.block())
    return (time.thread_time() - begin) / (seconds * 0.75)


def _load(bench: Bench, seconds: float, frame_ms: float, n_streams: int = N_STREAMS) -> int:
    """Send streams of equal length; return the frames."""
    block = wide_rows(seconds, 1)
    infos = [wide_stream(k) for k in range(n_streams)]
    return bench.send([(info, frames_of(info, block, frame_ms)) for info in infos])


def cost(bootstrap: str, kind: str, frame_ms: float, quick: bool) -> Row:
    """Compare the worker's processor time per stream-second with a bare agent and the pipeline together."""
    ours, theirs, fixed = [], [], []
    short_s, long_s = (4.0, 20.0) if quick else (10.0, 60.0)
    for _ in range(1 if quick else 5):
        cpu: dict[str, list[float]] = {"worker": [], "bare": []}
        for seconds in (short_s, long_s):
            bench = Bench(bootstrap, MONITOR)
            n_frames = _load(bench, seconds, frame_ms)
            cpu["bare"].append(bench.bare(n_frames))
            with bench.workers(1) as workers:
                cpu["worker"].append(work_off(workers, n_frames)[0])
        stream_s = N_STREAMS * (long_s - short_s)
        ours.append((cpu["worker"][1] - cpu["worker"][0]) / stream_s)
        alone = pipeline_alone(frame_ms, 8.0 if quick else 30.0)
        theirs.append((cpu["bare"][1] - cpu["bare"][0]) / stream_s + alone)
        fixed.append(cpu["worker"][0] - ours[-1] * N_STREAMS * short_s)
    note = (
        f"ours is {statistics.median([a / b for a, b in zip(ours, theirs, strict=True)]):.2f} x (goal <= 1.25); "
        f"{1 / statistics.median(ours):.0f} streams a core; {statistics.median(fixed):.1f} s fixed a process"
    )
    return _row("worker, a stream-second", f"{kind}, frames of {frame_ms:g} ms", ours, "bare + pipeline", theirs, note)


def snapshots(bootstrap: str, kind: str, quick: bool) -> Row:
    """Compare what snapshots take with all that a worker without them takes in the 5 s between two."""
    cost_s, base = [], []
    sizes: list[float] = []
    seconds = 10.0 if quick else 30.0
    for _ in range(1 if quick else 5):
        taken: list[float] = []
        for every_s in (600.0, 0.05):
            bench = Bench(bootstrap, MONITOR)
            n_frames = _load(bench, seconds, 50.0)
            with bench.workers(1, snapshot_s=every_s) as workers:
                cpu = work_off(workers, n_frames)[0]
                numbers = workers[0].numbers()
                n_snapshots = numbers["neuroloop_worker_snapshots_total"]
                if every_s < 1.0:
                    sizes.append(numbers["neuroloop_worker_snapshot_bytes_total"] / n_snapshots)
                    cost_s.append(numbers["neuroloop_worker_snapshot_cpu_seconds_total"] / n_snapshots)
                taken.append(cpu)
        base.append(5.0 * taken[0] / (N_STREAMS * seconds))
    share = statistics.median([a / (a + b) for a, b in zip(cost_s, base, strict=True)])
    note = f"{100 * share:.1f} % of the worker's time at 5 s (goal <= 3 %); {statistics.median(sizes):.0f} bytes"
    return _row("snapshot of 64 ch x 1 kHz", kind, cost_s, "5 s of the worker", base, note)


def scaling(bootstrap: str, kind: str, quick: bool) -> list[Row]:
    """Compare processor seconds per stream-second of one, two and four workers."""
    found = []
    counts = (1, 2) if quick else (1, 2, 4)
    short_s, long_s = (3.0, 9.0) if quick else (10.0, 30.0)
    slopes: dict[int, list[float]] = {n: [] for n in counts}
    elapsed: dict[int, list[float]] = {n: [] for n in counts}
    for _ in range(1 if quick else 3):
        for n in counts:
            used = []
            for seconds in (short_s, long_s):
                bench = Bench(bootstrap, MONITOR, partitions=8)
                n_frames = _load(bench, seconds, 100.0, 8)
                with bench.workers(n) as workers:
                    cpu, took = work_off(workers, n_frames)
                    used.append(cpu)
            slopes[n].append((used[1] - used[0]) / (8 * (long_s - short_s)))
            elapsed[n].append(took)
    for n in counts[1:]:
        speed_up = statistics.median(elapsed[1]) / statistics.median(elapsed[n])
        slope = statistics.median(slopes[n]) / statistics.median(slopes[1])
        note = f"slope {slope:.2f} x that of one (goal within 10 %); {speed_up:.2f} x as fast in elapsed time"
        found.append(_row("a stream-second by workers", f"{kind}, {n} workers", slopes[n], "1 worker", slopes[1], note))
    return found


def latency(bootstrap: str, kind: str, quick: bool) -> Row:
    """Compare producer -> worker -> events with producer -> bare agent -> answer, p50."""
    seconds = 8.0 if quick else 40.0
    ours, theirs = [], []
    for _ in range(1 if quick else 3):
        bench = Bench(bootstrap, DEMO, partitions=1)
        with bench.workers(1) as workers:
            _until(lambda: bool(workers[0].numbers().get("neuroloop_worker_rebalances_total")))
            ours.append(_paced(bench, (bench.topics.predictions, bench.topics.states), seconds, is_answer=False))
        bench = Bench(bootstrap, DEMO, partitions=1)
        answers = bench.topics.commands
        n_frames = round(seconds / 0.02) + 10**9
        process = start_bare(bootstrap, bench.topics.samples, f"{bench.prefix}.bare", n_frames, answers)
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
    return _row("producer to event, p50", f"{kind}, frames of 20 ms", list(p50s), "bare agent", list(bare50), note)


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


def recovery(bootstrap: str, kind: str, quick: bool) -> Row:
    """Take the time from the SIGKILL of one of two workers to the first new event of a stream that it had."""
    took = []
    session_s = 6.0
    for _ in range(1 if quick else 5):
        bench = Bench(bootstrap, DEMO, partitions=4)
        simulator = Simulator(SimulatorSettings(seed=7, duration_s=40.0))
        data, stamps = simulator.generate(0, simulator.n_samples or 0)
        names = [f"s{k}" for k in range(8)]
        seen: dict[str, list[float]] = {name: [] for name in names}
        ended = threading.Event()
        reader = threading.Thread(target=_watch, args=(bench, seen, ended), daemon=True)
        sender = threading.Thread(target=_feed, args=(bench, names, RawBlock(data, stamps), ended), daemon=True)
        with bench.workers(2, snapshot_s=1.0) as workers:
            _until(lambda: all(one.numbers().get("neuroloop_worker_rebalances_total") for one in workers))
            reader.start()
            sender.start()
            _until(lambda: all(len(times) > 8 for times in seen.values()))  # noqa: B023
            workers[0].popen.kill()
            killed = time.perf_counter()
            _until(lambda: all(times[-1] > killed + session_s * 0.5 for times in seen.values()))  # noqa: B023
            gaps = [min(t for t in times if t > killed + 0.3) - killed for times in seen.values()]
            took.append(max(gaps))
            ended.set()
            sender.join(5)
            reader.join(5)
    note = f"goal: {session_s:g} s of the group's session and 2 s more"
    return _row("first new event after SIGKILL", kind, took, "session time-out", [session_s] * len(took), note)


def restart(quick: bool) -> Row:
    """Kill the broker in mid-run and start it again: the longest silence of any stream against the broker's absence."""
    seconds = 14.0 if quick else 40.0
    silences, absences, notes = [], [], []
    for _ in range(1 if quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            apache = Restartable(Path(folder) / "kafka")
            try:
                silence, absence, note = _restarted(apache, seconds)
            finally:
                apache.kill()
        silences.append(silence)
        absences.append(absence)
        notes.append(note)
    return _row("silence over a broker's restart", "apache", silences, "broker away", absences, "; ".join(notes))


def _restarted(apache: Restartable, seconds: float) -> tuple[float, float, str]:
    """Feed eight streams over a restart; return the longest silence, the broker's absence, and what was counted."""
    bench = Bench(apache.bootstrap, DEMO, partitions=4)
    simulator = Simulator(SimulatorSettings(seed=7, duration_s=seconds))
    block = RawBlock(*simulator.generate(0, simulator.n_samples or 0))
    config = parse(dict(DEMO))
    n_expected = sum(
        event.type == "prediction"
        for event in Engine(config.source, build(config, simulator.info).pipeline).push_block(block)
    )
    names = [f"s{k}" for k in range(8)]
    seen: dict[str, list[float]] = {name: [] for name in names}
    ended = threading.Event()
    threads = [
        threading.Thread(target=_watch, args=(bench, seen, ended), daemon=True),
        threading.Thread(target=_feed, args=(bench, names, block, ended), daemon=True),
    ]
    with bench.workers(1, snapshot_s=1.0) as workers:
        _until(lambda: bool(workers[0].numbers().get("neuroloop_worker_rebalances_total")))
        for thread in threads:
            thread.start()
        _until(lambda: all(len(times) > 8 for times in seen.values()))
        before = workers[0].process.memory_info().rss
        begin = time.perf_counter()
        apache.kill()
        apache.start()
        absence = time.perf_counter() - begin
        _until(lambda: all(len(times) >= n_expected for times in seen.values()))
        after, retries = workers[0].process.memory_info().rss, workers[0].numbers()["neuroloop_worker_retries_total"]
        ended.set()
    for thread in threads:
        thread.join(10)
    silence = max(max(b - a for a, b in pairwise(times)) for times in seen.values())
    n_seen = sum(map(len, seen.values()))
    note = (
        f"{n_seen} of {8 * n_expected} decisions, {retries:.0f} warnings counted, "
        f"memory {before / 1e6:.0f} -> {after / 1e6:.0f} MB"
    )
    return silence, absence, note


def _watch(bench: Bench, seen: dict[str, list[float]], ended: threading.Event) -> None:
    consumer = KafkaConsumer(bootstrap_servers=bench.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    places = [TopicPartition(bench.topics.predictions, p) for p in range(bench.partitions)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    known: set[tuple[bytes, bytes]] = set()
    while not ended.is_set():
        for records in consumer.poll(timeout_ms=50).values():
            for record in records:
                identity = (record.key, dict(record.headers)["ce_id"])
                if identity not in known:
                    known.add(identity)
                    seen[record.key.decode()].append(time.perf_counter())
    consumer.close()


def _feed(bench: Bench, names: Sequence[str], block: RawBlock, ended: threading.Event) -> None:
    base = Simulator(SimulatorSettings()).info
    producer = KafkaProducer(bootstrap_servers=bench.bootstrap, acks=1)
    infos = [replace(base, name=name, source_id=name) for name in names]
    for info in infos:
        message = description_message(bench.topics, StreamDescription(info.source_id, info, 1))
        producer.send(message.topic, value=message.value, key=message.key)
    producer.flush()
    begin = time.perf_counter()
    for group in zip(*(frames_of(info, block, 100.0) for info in infos), strict=True):
        wait_s = group[0].next_sample / base.sfreq - (time.perf_counter() - begin)
        if ended.wait(max(0.0, wait_s)):
            break
        for frame in group:
            message = frame_message(bench.topics, frame)
            producer.send(message.topic, value=message.value, key=message.key, headers=list(message.headers))
    producer.close()


def _until(is_so: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError("workers must come to it within minutes, got nothing")
        time.sleep(0.1)


def _row(topic: str, case: str, ours: Sequence[float], peer: str, theirs: Sequence[float], note: str) -> Row:
    """Return a row; times come in seconds."""
    ratios = [b / a if a > 0 else float("nan") for a, b in zip(ours, theirs, strict=True)]
    a, a_spread = middle([1e6 * one for one in ours])
    b, b_spread = middle([1e6 * one for one in theirs])
    ratio, ratio_spread = middle(ratios)
    print(f"kafka: {topic}, {case}: {note}", file=sys.stderr, flush=True)
    return Row(topic, case, a, a_spread, peer, b, b_spread, ratio, ratio_spread, note)
