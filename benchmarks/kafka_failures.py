"""What a cluster of workers does when a member or the broker is killed; `benchmarks.kafka` has the notes."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.kafka_load import (
    DEMO,
    SETTLED_S,
    Bench,
    Restartable,
    frames_of,
    row_of,
    settle,
    start_bare,
    until,
)
from benchmarks.measure import Row
from neuroloop.config.loading import parse
from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.wire.messages import StreamDescription, description_message, frame_message

SESSION_S = 6.0


def recovery(bootstrap: str, kind: str, quick: bool) -> Row:
    """Take the time from the SIGKILL of one of two members to the first new event of every stream that it had.

    Workers against bare agents that answer each frame: what is above theirs is ours, the rest is the group's.
    """
    ours, theirs = [], []
    for _ in range(1 if quick else 5):
        bench = Bench(bootstrap, DEMO, partitions=4)
        with bench.workers(2, snapshot_s=1.0) as workers:
            settle(workers)
            ours.append(_killed(bench, workers[0].popen, bench.topics.predictions))
        bench = Bench(bootstrap, DEMO, partitions=4)
        answers = bench.topics.commands
        arguments = (bootstrap, bench.topics.samples, f"{bench.prefix}.bare", 10**9, "--answers", answers)
        agents = [start_bare(*arguments) for _ in range(2)]
        try:
            for agent in agents:
                if agent.stdout is not None:
                    agent.stdout.readline()
            time.sleep(SETTLED_S)
            theirs.append(_killed(bench, agents[0], answers))
        finally:
            for agent in agents:
                agent.kill()
                agent.wait()
    note = (
        f"{statistics.median(ours):.1f} s, at most {max(ours):.1f} (goal: {SESSION_S:g} s of the session and 2 more); "
        f"bare agents {statistics.median(theirs):.1f} s, at most {max(theirs):.1f}"
    )
    return row_of("first new event after SIGKILL", kind, ours, "bare agents", theirs, note)


def _killed(bench: Bench, victim: subprocess.Popen[Any], topic: str) -> float:
    """Feed eight streams in real time, kill a member; return the seconds until all streams are answered again."""
    simulator = Simulator(SimulatorSettings(seed=7, duration_s=60.0))
    block = RawBlock(*simulator.generate(0, simulator.n_samples or 0))
    names = [f"s{k}" for k in range(8)]
    seen: dict[str, list[float]] = {name: [] for name in names}
    ended = threading.Event()
    threads = [
        threading.Thread(target=_watch, args=(bench, topic, seen, ended), daemon=True),
        threading.Thread(target=_feed, args=(bench, names, block, ended), daemon=True),
    ]
    try:
        for thread in threads:
            thread.start()
        until(lambda: all(len(times) > 8 for times in seen.values()))
        victim.kill()
        killed = time.perf_counter()
        until(lambda: all(times[-1] > killed + 0.5 * SESSION_S for times in seen.values()))
        return max(min(t for t in times if t > killed + 0.3) - killed for times in seen.values())
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)


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
    return row_of("silence over a broker's restart", "apache", silences, "broker away", absences, "; ".join(notes))


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
        threading.Thread(target=_watch, args=(bench, bench.topics.predictions, seen, ended), daemon=True),
        threading.Thread(target=_feed, args=(bench, names, block, ended), daemon=True),
    ]
    with bench.workers(1, snapshot_s=1.0) as workers:
        until(lambda: bool(workers[0].numbers().get("neuroloop_worker_rebalances_total")))
        for thread in threads:
            thread.start()
        until(lambda: all(len(times) > 8 for times in seen.values()))
        before = workers[0].process.memory_info().rss
        begin = time.perf_counter()
        apache.kill()
        apache.start()
        absence = time.perf_counter() - begin
        until(lambda: all(len(times) >= n_expected for times in seen.values()))
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


def _watch(bench: Bench, topic: str, seen: dict[str, list[float]], ended: threading.Event) -> None:
    """Note when each event, or answer, of a stream came first."""
    consumer = KafkaConsumer(bootstrap_servers=bench.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    places = [TopicPartition(topic, p) for p in range(bench.partitions)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    known: set[tuple[bytes, bytes]] = set()
    while not ended.is_set():
        for records in consumer.poll(timeout_ms=50).values():
            for record in records:
                identity = (record.key, dict(record.headers or ()).get("ce_id", record.value))
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
