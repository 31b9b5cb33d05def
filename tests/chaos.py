"""Kill workers at random, restart the broker, repeat, disorder and spoil messages: the events stay those of a replay.

``python -m tests.chaos --seconds 60`` runs it on the real recordings and a real Kafka, with the broker killed too;
``--embedded`` on simulated streams and the embedded broker. The seed decides everything but the moment at which each
message arrives.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.wire.messages import Message
from neuroloop.stream.wire.topics import Topics
from tests.conftest import SHARED_DATA
from tests.integration.brokers import ApacheBroker, embedded, topic_prefix_of
from tests.integration.cluster import PATIENCE_S, Cluster, Collector, Sent, put, rhythm
from tests.integration.live import starting
from tests.stream.sources.recordings.recording_table import REFUSED, all_files, few_channels, first_part, streams_of

DEMO_CHANNELS = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4")
DEMO: dict[str, object] = {"name": "demo", "source": {"kind": "simulator"}, "classifier": {"bundle": "demo"}}
ANY_STREAM: dict[str, object] = {
    "name": "any",
    "source": {"kind": "lsl"},
    "stages": [
        {
            "kind": "artifacts",
            "name": "artifacts",
            "amplitude": {"limit": 15.0, "baseline_s": 0.5},
            "flat": {"limit": 1e-9, "flat_s": 0.1},
            "recover_s": 0.1,
        },
        {"kind": "logvar", "name": "logvar", "window_samples": 64, "hop_samples": 16},
    ],
    "drift": [
        {
            "name": "drift", "tap": "logvar", "rule": "threshold", "window_s": 1.0, "hop_s": 0.5, "std_threshold": 0.2,
            "confirm_windows": 1, "baseline": {"source": "stream", "minutes": 0.05},
        }
    ],
}  # fmt: skip
"""A pipeline that any stream suits, and that says something of most."""


@dataclass
class Plan:
    """What is done to a cluster.

    Parameters
    ----------
    seed : int
    seconds : float
        Over which the messages are sent.
    n_workers, n_kills : int
    restart_broker : callable, optional
        Kills the broker and starts it again.
    repeat, disorder, spoil : float
        Shares of messages that come twice, that come late, and that are followed by one that cannot be read.
    """

    seed: int
    seconds: float
    n_workers: int = 2
    n_kills: int = 2
    restart_broker: Callable[[], None] | None = None
    repeat: float = 0.05
    disorder: float = 0.05
    spoil: float = 0.005


@dataclass
class Outcome:
    """What became of it."""

    differences: list[str]
    n_events: int
    n_messages: int
    n_dead: int
    n_spoilt: int
    n_kills: int
    log: list[str] = field(default_factory=list)


def messages_of(streams: Sequence[Sent], topics: Topics, plan: Plan, cluster: Cluster) -> tuple[list[Message], int]:
    """Return all frames in the order of sending, repeated, disordered and with spoilt ones between; and how many."""
    rng = np.random.default_rng(plan.seed)
    queues: list[tuple[float, Message]] = []
    for stream in streams:
        rows = int(rng.integers(8, 64))
        frames = stream.frames(rows)
        for index, frame in enumerate(frames):
            at = (index + 0.5) / len(frames)
            step = 1.0 / len(frames)
            message = cluster.message(frame)
            late = rng.random() < plan.disorder
            queues.append((at + late * rng.integers(1, 6) * step, message))
            if rng.random() < plan.repeat:
                queues.append((at + rng.integers(0, 9) * step, message))
    order = sorted(range(len(queues)), key=lambda i: (queues[i][0], i))
    made: list[Message] = []
    n_spoilt = 0
    for i in order:
        message = queues[i][1]
        made.append(message)
        if rng.random() < plan.spoil:
            n_spoilt += 1
            kind = n_spoilt % 4
            spoilt = (
                rng.bytes(int(rng.integers(1, 400))),
                message.value[: len(message.value) // 2],
                message.value + b"x",
                b"",
            )[kind]
            made.append(message._replace(value=spoilt, key=b"nobody" if kind == 0 else message.key))
    return made, n_spoilt


def run_chaos(cluster: Cluster, streams: Sequence[Sent], plan: Plan) -> Outcome:
    """Send, kill, restart; wait until everything that a replay says has come."""
    rng = np.random.default_rng(plan.seed + 1)
    truth = {stream.key: stream.truth(cluster.config) for stream in streams}
    n_truth = sum(map(len, truth.values()))
    made, n_spoilt = messages_of(streams, cluster.topics, plan, cluster)
    log: list[str] = []
    with Collector(cluster) as collector, cluster.producer() as producer:
        cluster.describe(producer, streams)
        workers = [cluster.begin() for _ in range(plan.n_workers)]
        sender = threading.Thread(target=_send, args=(producer, made, plan.seconds), daemon=True)
        sender.start()
        begin = time.perf_counter()
        collector.wait_for(1)
        log.append(f"first event after {time.perf_counter() - begin:.1f} s")
        shares = sorted((k + float(rng.uniform(0.2, 0.8))) / (plan.n_kills + 1) for k in range(plan.n_kills))
        for number, share in enumerate(shares):
            collector.wait_for(int(share * n_truth))
            victim = int(rng.integers(0, len(workers)))
            workers[victim].popen.kill()
            workers[victim].popen.wait(PATIENCE_S)
            log.append(f"{time.perf_counter() - begin:.1f} s: worker {victim} killed at {collector.n_events} events")
            workers[victim] = cluster.begin()
            if plan.restart_broker is not None and number == plan.n_kills // 2:
                plan.restart_broker()
                log.append(f"{time.perf_counter() - begin:.1f} s: broker restarted at {collector.n_events} events")
        sender.join(PATIENCE_S)
        producer.flush(timeout=PATIENCE_S)
        collector.wait_for(n_truth)
        log.append(f"{time.perf_counter() - begin:.1f} s: all {n_truth} events")
        for worker in workers:
            worker.popen.terminate()
        for worker in workers:
            status, _, err = worker.finish()
            is_unborn = status == -signal.SIGTERM and not err  # it was told before it had begun
            assert status == 0 or is_unborn, (status, err)
            assert "Traceback" not in err
        return Outcome(
            collector.differences(truth), collector.n_events, collector.n_messages, len(collector.dead), n_spoilt,
            plan.n_kills, log,
        )  # fmt: skip


def _send(producer: object, made: Sequence[Message], seconds: float) -> None:
    """Send everything evenly over a time."""
    begin = time.perf_counter()
    for index, message in enumerate(made):
        ahead_s = index / len(made) * seconds - (time.perf_counter() - begin)
        if ahead_s > 0.02:
            time.sleep(ahead_s)
        put(producer, message)


def recorded_streams(folder: Path, n: int, n_samples: int) -> list[Sent]:
    """Return short cuts of real recordings, each with its markers, under keys of their own."""
    streams: list[Sent] = []
    names = [name for name in all_files(folder) if name not in REFUSED]
    for name in names:
        recording = open_recording(folder / name)
        for stream in streams_of(recording, 2):
            part = few_channels(first_part(stream, n_samples), 4)
            if part.info.sfreq < 10 or part.n_samples < 200:
                continue
            end = float(np.nanmax(part.timestamps))
            markers = [one for one in recording.markers_for(stream) if one.time <= end][:200]
            block = RawBlock(part.data, part.timestamps, part.sample_numbers, part.valid)
            streams.append(Sent(f"{len(streams):02d}-{part.info.name}", part.info, block, markers, part.first_sample))
            if len(streams) == n:
                return streams
    return streams


def simulated_streams(n: int, n_samples: int) -> list[Sent]:
    """Return streams that the demo's bundle was made for."""
    return [rhythm(f"sim{k}", n_samples, k, DEMO_CHANNELS) for k in range(n)]


def main() -> int:
    """Run it as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long messages are sent (default: 60)")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--samples", type=int, default=20_000, help="of each stream")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embedded", action="store_true", help="simulated streams on the embedded broker")
    options = parser.parse_args()
    plan = Plan(options.seed, options.seconds, options.workers, options.kills)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        start = stack.enter_context(starting(folder))
        if options.embedded:
            bootstrap = stack.enter_context(embedded()).bootstrap
            streams, pipeline = simulated_streams(options.streams, options.samples), DEMO
        else:
            apache = stack.enter_context(ApacheBroker(folder / "kafka"))
            bootstrap = apache.bootstrap

            def restart() -> None:
                apache.kill()
                apache.start()

            plan.restart_broker = restart
            streams, pipeline = recorded_streams(SHARED_DATA, options.streams, options.samples), ANY_STREAM
        cluster = Cluster(bootstrap, topic_prefix_of("chaos"), folder, start, pipeline, partitions=8)
        outcome = run_chaos(cluster, streams, plan)
    for line in outcome.log:
        print(line)
    print(
        f"{len(streams)} streams, {outcome.n_events} events in {outcome.n_messages} messages, "
        f"{outcome.n_dead} dead letters of {outcome.n_spoilt} spoilt messages, {outcome.n_kills} workers killed"
    )
    for line in outcome.differences[:20]:
        print(line, file=sys.stderr)
    print("nothing lost, nothing changed" if not outcome.differences else "NOT the events of a replay")
    return 0 if not outcome.differences else 1


if __name__ == "__main__":
    sys.exit(main())
