"""One case of the latency benchmark: a sender, a reading process and, where asked for, readers beside it."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal

from benchmarks.attached import RECORDER, run_console, run_recorder, run_scraper
from benchmarks.segments import Kind, ReadingPlan, Segment, run_reading
from benchmarks.sender import SenderPlan, run_sender
from neuroloop.config.live import MetricsSettings
from neuroloop.config.tree import Config
from neuroloop.sinks.xdf.recorder import RecordedRun
from neuroloop.stream.assembly.build import build
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.cold_process import ColdPlan
from neuroloop.stream.live.hot_process import HotPlan
from neuroloop.stream.live.live_source import SourcePlan, find_source
from neuroloop.stream.live.placement import plan_placement
from neuroloop.stream.live.recorder_process import RecorderPlan
from neuroloop.stream.live.recorder_process import run_recorder as record
from neuroloop.stream.live.recorder_rings import RecorderRings
from neuroloop.stream.live.shared_state import READER, Shared
from neuroloop.stream.ring.samples import SampleRing

_START_S = 180.0
_END_S = 5.0


@contextmanager
def own_network() -> Iterator[None]:
    """Keep LSL on this machine and out of everybody's sight, in this process and all that it starts.

    Once in a process: liblsl reads its settings at first use and keeps them, while processes started later read the new
    ones, so that in a second network parent and children would not see each other.
    """
    before = os.environ.get("LSLAPICFG")
    if before is not None:  # isolated already, by the tests
        yield
        return
    with tempfile.TemporaryDirectory(prefix="neuroloop-bench-") as folder:
        path = Path(folder) / "lsl_api.cfg"
        path.write_text(
            "[ports]\nIPv6 = disable\n"
            f"BasePort = {17000 + 64 * secrets.randbelow(230)}\nPortRange = 48\n"
            "[multicast]\nResolveScope = machine\n"
            f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = bench-{secrets.token_hex(8)}\n[log]\nlevel = -3\n",
            encoding="utf-8",
        )
        os.environ["LSLAPICFG"] = str(path)
        try:
            yield
        finally:
            del os.environ["LSLAPICFG"]


@dataclass
class Session:
    """Processes that run; `segment` asks for one segment.

    Parameters
    ----------
    base_ns : int
        As `benchmarks.sender.SenderPlan`.
    """

    info: StreamInfo
    base_ns: int
    pipe: Any = None
    reached: dict[str, Any] = field(default_factory=dict)
    beside: list[SpawnProcess] = field(default_factory=list)

    def segment(self, kind: Kind, seconds: float) -> Segment:
        """Take one segment."""
        self.pipe.send((kind, seconds))
        if not self.pipe.poll(_START_S):
            raise RuntimeError("the reading process must answer, got nothing")
        segment: Segment = self.pipe.recv()
        return segment

    def pause(self) -> None:
        """Hold the readers beside the hot process."""
        for process in self.beside:
            os.kill(process.pid or 0, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the readers beside the hot process run."""
        for process in self.beside:
            os.kill(process.pid or 0, signal.SIGCONT)


def bench_stream(n_channels: int, sfreq: float, ch_names: Sequence[str] = ()) -> StreamInfo:
    """Describe the stream that the sender offers."""
    names = tuple(ch_names) or tuple(f"C{i}" for i in range(n_channels))
    kinds, units = ("EEG",) * n_channels, ("uV",) * n_channels
    return StreamInfo("bench", "EEG", f"bench-{secrets.token_hex(4)}", sfreq, names, kinds, units)


@contextmanager
def sending(info: StreamInfo, cores: frozenset[int]) -> Iterator[int]:
    """Start the sender; gives the moment from which it counts."""
    context = multiprocessing.get_context("spawn")
    base_ns = time.perf_counter_ns()
    ours, theirs = context.Pipe()
    process = context.Process(target=run_sender, args=(SenderPlan(info, base_ns, cores), theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(_START_S):
            raise RuntimeError("the sender must start, got no answer")
        ours.recv()
        yield base_ns
    finally:
        ours.send(None)
        _end(process)


@contextmanager
def session(
    config: Config,
    info: StreamInfo,
    *,
    settle_s: float,
    with_readers: Literal["none", "all", "scraper"] = "none",
    fuller: Config | None = None,
) -> Iterator[Session]:
    """Start everything for one configuration and stream, and end it.

    Parameters
    ----------
    config : Config
        Its source is replaced by the sender.
    info : StreamInfo
    settle_s : float
        As `benchmarks.segments.ReadingPlan`.
    with_readers : str
        ``all``: a recorder, the console and a scraper beside the hot process, paused at first. ``scraper``: only the
        scraper is paused, and the process that it asks runs all the time.
    fuller : Config, optional
        A second hot loop in the same process, which records: its rings and the real recorder process run too.
    """
    source = config.source.model_copy(update={"kind": "lsl", "source_id": info.source_id, "reset_after_s": 3600.0})
    config = config.model_copy(update={"source": source, "metrics": MetricsSettings(port=0)})
    placement = plan_placement(config.process)
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        base_ns = stack.enter_context(sending(info, placement.others))
        plan = find_source(config)
        built = build(config, plan.info, bundle=load_classifier(config))
        names = [stage.name for stage in built.pipeline.stages]
        shared = Shared.make(plan.info, stages=names, classes=built.classes, ring_s=config.process.ring_s)
        shared.samples.close()
        capacity = shared.samples.capacity
        shared = replace(
            shared, samples=SampleRing.shared(plan.info, capacity, bell=shared.bell, readers=(READER, RECORDER))
        )
        stack.callback(shared.close)
        found = Session(plan.info, base_ns)
        ours, theirs = context.Pipe()
        hot = HotPlan(config, plan, placement, None)
        reading_plan, fuller_shared = ReadingPlan(hot, base_ns, settle_s), None
        if fuller is not None:
            fuller = fuller.model_copy(update={"source": source})
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neuroloop-bench-")))
            fuller_shared = _start_recording(fuller, plan, folder, placement.others, stack)
            reading_plan = replace(reading_plan, fuller=HotPlan(fuller, plan, placement, None))
        reading = context.Process(target=run_reading, args=(reading_plan, shared, theirs, fuller_shared))
        reading.daemon = True
        reading.start()
        stack.callback(_end, reading)
        found.pipe = ours
        if not ours.poll(_START_S):
            raise RuntimeError("the reading process must start, got no answer")
        found.reached = ours.recv()
        if with_readers != "none":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neuroloop-bench-")))
            readers = _start_readers(config, plan, shared, built.plan.hash, folder, placement.others)
            for process in readers.values():
                stack.callback(_end, process)
            if with_readers == "scraper":
                readers["recorder"].kill()
                readers = {"scraper": readers["scraper"]}
            found.beside = list(readers.values())
            found.pause()
        try:
            yield found
        finally:
            found.go_on()
            ours.send(None)
            reading.join(_END_S)


def _start_recording(
    config: Config, source: SourcePlan, folder: Path, cores: frozenset[int], stack: ExitStack
) -> Shared:
    """Make the rings of a run that records, and start its recorder."""
    built = build(config, source.info, bundle=None)
    rings = RecorderRings.make(source.info, {}, has_numbers=source.has_numbers, ring_s=config.process.ring_s)
    stack.callback(rings.close)
    names = [stage.name for stage in built.pipeline.stages]
    shared = Shared.make(source.info, stages=names, classes=(), ring_s=config.process.ring_s, recorder=rings)
    stack.callback(shared.close)
    run = RecordedRun(
        pipeline=config.name,
        info=source.info,
        has_numbers=source.has_numbers,
        taps={},
        host=source.host,
        is_played=source.is_played,
        first_sample=source.first_sample,
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    plan = RecorderPlan(config.recorder, run, source, folder, cores)
    recorder = context.Process(target=record, args=(plan, shared, theirs), daemon=True)
    recorder.start()
    stack.callback(_end, recorder)
    if not ours.poll(_START_S) or ours.recv()[0] != "ready":
        raise RuntimeError("the recorder must start, got no answer")
    return shared


def _start_readers(
    config: Config, source: Any, shared: Shared, plan_hash: str, folder: Path, cores: frozenset[int]
) -> dict[str, SpawnProcess]:
    """Start the recorder, the console with metrics, and the scraper."""
    context = multiprocessing.get_context("spawn")
    cold = ColdPlan(
        config=config,
        source=source,
        out=None,
        cores=cores,
        machine={},
        plan_sha256=plan_hash,
        left_out={},
        title="bench",
        show=True,
    )
    ours, theirs = context.Pipe()
    console = context.Process(target=run_console, args=(cold, shared, theirs), daemon=True)
    console.start()
    if not ours.poll(_START_S):
        raise RuntimeError("the console must start, got no answer")
    port = ours.recv()[1]["metrics_port"]
    recorder = context.Process(target=run_recorder, args=(shared, folder / "rows.bin", cores), daemon=True)
    scraper = context.Process(target=run_scraper, args=(port, cores), daemon=True)
    recorder.start()
    scraper.start()
    return {"console": console, "recorder": recorder, "scraper": scraper}


def _end(process: SpawnProcess) -> None:
    process.join(1.0)
    if process.is_alive():
        process.kill()
        process.join(_END_S)
