"""Push-to-result latency through real LSL: the hot loop beside a bare pylsl loop, with decisions, with readers.

What is measured and how is told in ``docs/latency.md`` and in `benchmarks.segments`; the preset is ``monitor`` (notch,
band-pass, average reference, band power), one sample a push. Ratios are ours over the bare loop's.

Figures (36 and 24 pairs of segments a case) on two shared virtual cores of a Zen 5 server while other work kept the
other core busy (load 2.4 to 3.0); microseconds, p50 / p99, then the ratios with their 95 % intervals. The LSTM rows are
of an earlier run at load 7 to 16, those of readers at 8 channels and of scraping of a later one (80 and 40 pairs, load
0.1 to 0.7):

======================================  ===========  ===========  ==================  ===================
case                                    hot loop     beside       ratio of p50        ratio of p99
======================================  ===========  ===========  ==================  ===================
monitor, 8 ch, 250 Hz                   106 / 205    91 / 164     1.17 [1.14, 1.22]   1.25 [1.16, 1.33]
monitor, 32 ch, 1 kHz                   75 / 138     64 / 127     1.17 [1.15, 1.19]   1.09 [1.01, 1.19]
readers beside it, 8 ch (to itself)     120 / 260    116 / 259    1.03 [0.99, 1.08]   1.01 [0.96, 1.04]
readers beside it, 32 ch (to itself)    76 / 158     77 / 161     1.00 [0.93, 1.03]   0.98 [0.93, 1.04]
scraped, 8 ch (to itself)               126 / 276    124 / 293    1.02 [0.97, 1.07]   0.94 [0.84, 1.05]
scraped, 32 ch (to itself)              91 / 192     84 / 196     1.08 [1.02, 1.13]   0.98 [0.91, 1.06]
artifacts, recorder, 8 ch (to itself)   120 / 407    108 / 392    1.11 [1.02, 1.21]   1.04 [0.71, 1.82]
artifacts, recorder, 32 ch (to itself)  85 / 168     76 / 152     1.11 [1.07, 1.15]   1.10 [1.03, 1.21]
LSTM, 8 ch, 250 Hz                      138 / 286    122 / 202    1.13 [1.10, 1.16]   1.42 [1.28, 1.61]
LSTM, 32 ch, 1 kHz                      95 / 246     84 / 154     1.13 [1.10, 1.16]   1.60 [1.51, 2.16]
======================================  ===========  ===========  ==================  ===================

In to out with the LSTM (the twenty samples a second that a decision leaves with): p50 361-367 us. At such a load single
segments hold stalls of many milliseconds, which is what the widest intervals of p99 show.

What limits it
--------------
Four fifths of the median are the bare loop's: liblsl's threads, the socket, waking the reader. Ours adds 9-10 us of
computing (32 channels) when it runs without a pause and 20-34 when it runs once a millisecond beside other work on
the core; an earlier state took 14 without a pause, 17 once a millisecond and 40 once in 4 ms. It is cold code, not
arithmetic, and the reason why 8 channels at 250 Hz cost more than 32 at 1 kHz. Without a pause: numbering 2-2.5 us,
ring 1, filter 1.7, reference 1.9, band power 1.3, the rest Python between them. p99 holds the samples that complete a
window.

Tried and kept, 14.0 us to 9.1-9.6: durations noted in the loop and counted by one kernel behind it, chunks made
through their slots (14.0 to 11.3 together), one empty chunk a row of a windowed stage and fewer checks of types (to
10.8), kernels called without Numba's look at their arguments, which is slow with read-only arrays (to 9.1-10.0). One
ready block object for single samples in the source is not in these figures. At 32 channels the ratios were
1.39 [1.30, 1.49] and 1.25 [1.19, 1.31] before (load 4), 1.21 [1.17, 1.23] and 1.09 [0.54, 1.57] after (load 5).
Last, the copy into the ring and the look for markers moved behind the events: 1.33 to 1.08-1.17 at 32 channels. Left:
``/dev/cpu_dma_latency`` held at 0, which changed nothing in this virtual machine.

The sender has real-time priority: without it the p99 of either loop rose to 1 ms and more beside other work, because
the sender's own threads waited for their core.

Peers (receipt only, as they come, load 2-3; p50 / p99 at 8 and at 32 channels): ezmsg-lsl 1.17.1 230 / 566 and
336 / 1346; timeflux 0.17.2 at rate 0 492 / 1308 and 475 / 1040; mne-lsl 1.14.0 with a callback each millisecond
712 / 1402 and 674 / 1404. They have no core of their own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.distribution import LatencyRow, compare_latencies, percentiles
from benchmarks.measure import LeftOut
from benchmarks.peers.running import PEERS, peer_rows
from benchmarks.segments import Segment
from benchmarks.session import Session, bench_stream, own_network, session
from neuroloop.config.bundle import BundleInput
from neuroloop.config.loading import load_config
from neuroloop.config.stages import ArtifactSettings, StageSettings, ZScoreSettings
from neuroloop.config.tree import ClassifierSettings, Config
from neuroloop.models.bundle import load_bundle, save_bundle
from neuroloop.models.lstm.weights import expected_tensors
from neuroloop.stream.assembly.bundles import SHIPPED_BUNDLES
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.lsl.library import quiet_library

SHAPES = ((8, 250.0), (32, 1000.0))
SETTLE_S = 0.2
TOPIC = "live latency"
BARE = "pull_chunk loop"
QUIET, UNSCRAPED, PLAIN = "{}, readers beside it", "{}, scraped", "{} with artifacts and recorder"


def untrained(folder: Path, info: StreamInfo) -> Path:
    """Write a bundle that is the shipped one but for its stream, its weights (noise) and a decision every 50 ms.

    Parameters
    ----------
    folder : Path
        New.
    info : StreamInfo
    """
    shipped = load_bundle(SHIPPED_BUNDLES / "demo").settings
    scale = len(info.ch_names)
    stages: list[StageSettings] = []
    for stage in shipped.stages:
        if isinstance(stage, ZScoreSettings):
            n_features = scale * len(stage.mean) // len(shipped.input.ch_names)
            resized = {"mean": (0.0,) * n_features, "std": (1.0,) * n_features}
            stages.append(stage.model_copy(update=resized))
        else:
            stages.append(stage)
    network = shipped.network.model_copy(update={"n_features": n_features})
    expected = BundleInput(sfreq=info.sfreq, ch_names=info.ch_names, ch_units=info.ch_units)
    settings = shipped.model_copy(
        update={"stages": tuple(stages), "network": network, "input": expected, "hop_samples": 1}
    )
    rng = np.random.default_rng(17)
    arrays = {
        name: (0.1 * rng.standard_normal(shape)).astype(np.float32) for name, shape in expected_tensors(network).items()
    }
    save_bundle(folder, settings, arrays, "# Untrained\n\nFor measuring latency only.\n")
    return folder


def take_pairs(run: Session, n_pairs: int, seconds: float) -> tuple[list[Segment], list[Segment]]:
    """Take segments of the hot loop and of the bare one in turns, the order alternating."""
    hot: list[Segment] = []
    bare: list[Segment] = []
    for pair in range(n_pairs):
        for kind in ("hot", "bare") if pair % 2 == 0 else ("bare", "hot"):
            (hot if kind == "hot" else bare).append(run.segment(kind, seconds))
    return hot, bare


def against_bare(
    config: Config, info: StreamInfo, name: str, n_pairs: int, seconds: float
) -> Iterator[LatencyRow | LeftOut]:
    """Compare the hot loop with the bare one; with decisions, one more row has the samples that events left with."""
    with session(config, info, settle_s=SETTLE_S) as run:
        hot, bare = take_pairs(run, n_pairs, seconds)
    case = _case(info, name)
    back = percentiles([one.back_ns for one in hot])
    yield compare_latencies(
        TOPIC,
        case,
        _results(hot),
        BARE,
        _results(bare),
        note=f"loop waits again after {back}; {run.reached['scheduler']}, {_load()}",
    )
    if config.classifier is None:
        return
    case = f"{case}, in to out"
    out = [one.back_ns[one.with_event] for one in hot]
    n_out = sum(map(len, out))
    if n_out:
        note = f"samples that a decision left with, events handed out; {_load()}"
        yield LatencyRow(TOPIC, case, n_pairs, n_out, percentiles(out), "", None, None, None, note)
    else:
        yield LeftOut(TOPIC, case, "no decision left the loop")


def against_quiet(config: Config, info: StreamInfo, n_pairs: int, seconds: float) -> list[LatencyRow]:
    """Compare the hot loop with recorder, console and scraper beside it with the hot loop alone."""
    beside, quiet = _with_and_without(config, info, n_pairs, seconds, "all")
    case = _case(info, QUIET.format(config.name))
    return [compare_latencies(TOPIC, case, _results(beside), "hot loop alone", _results(quiet), note=_load())]


def against_unscraped(config: Config, info: StreamInfo, n_pairs: int, seconds: float) -> list[LatencyRow]:
    """Compare the hot loop while somebody scrapes five times a second with the same when nobody does."""
    scraped, unscraped = _with_and_without(config, info, n_pairs, seconds, "scraper")
    case = _case(info, UNSCRAPED.format(config.name))
    return [compare_latencies(TOPIC, case, _results(scraped), "not scraped", _results(unscraped), note=_load())]


def _with_and_without(
    config: Config, info: StreamInfo, n_pairs: int, seconds: float, readers: Literal["all", "scraper"]
) -> tuple[list[Segment], list[Segment]]:
    """Take segments of the hot loop with readers at work and with readers held, in turns."""
    at_work: list[Segment] = []
    held: list[Segment] = []
    with session(config, info, settle_s=SETTLE_S, with_readers=readers) as run:
        for pair in range(n_pairs):
            for is_at_work in (True, False) if pair % 2 == 0 else (False, True):
                if is_at_work:
                    run.go_on()
                else:
                    run.pause()
                (at_work if is_at_work else held).append(run.segment("hot", seconds))
    return at_work, held


def fuller_config(monitor: Config) -> Config:
    """Return the configuration with every artifact kind watched and the recorder on."""
    artifacts = ArtifactSettings.model_validate(
        {
            "kind": "artifacts",
            "amplitude": {"limit": 1e9},
            "gradient": {"limit": 1e9},
            "flat": {"limit": 1e-12},
            "rail": {"low": -1e9, "high": 1e9},
            "muscle": {"limit": 1e9, "when": "sfreq > 2.5 * f0"},
        }
    )
    recorder = monitor.recorder.model_copy(update={"enabled": True})
    stages = (artifacts, *monitor.stages)
    return monitor.model_copy(update={"name": "monitor-recorded", "stages": stages, "recorder": recorder})


def against_plain(config: Config, info: StreamInfo, n_pairs: int, seconds: float) -> list[LatencyRow]:
    """Compare the hot loop with artifact stage and recorder with the hot loop without them, on one inlet."""
    plain: list[Segment] = []
    fuller: list[Segment] = []
    with session(config, info, settle_s=SETTLE_S, fuller=fuller_config(config)) as run:
        for pair in range(n_pairs):
            for is_fuller in (True, False) if pair % 2 == 0 else (False, True):
                (fuller if is_fuller else plain).append(run.segment("fuller" if is_fuller else "hot", seconds))
    case = _case(info, PLAIN.format(config.name))
    return [compare_latencies(TOPIC, case, _results(fuller), "hot loop without", _results(plain), note=_load())]


def _shapes(quick: bool) -> tuple[tuple[int, float], ...]:
    return SHAPES[-1:] if quick else SHAPES


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    each = 3 + 3 + (0 if quick else len(PEERS))
    return each * len(_shapes(quick))


def rows(quick: bool) -> Iterator[LatencyRow | LeftOut]:
    """Measure every case.

    Parameters
    ----------
    quick : bool
        Three pairs a case at one shape and without the peers of `benchmarks.peers`, to see that the benchmark works.
    """
    n_pairs = 3 if quick else 40
    monitor = load_config("monitor", [])
    with ExitStack() as stack:
        stack.enter_context(own_network())
        quiet_library()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neuroloop-bench-")))
        for n_channels, sfreq in _shapes(quick):
            seconds = 0.5 if quick else max(0.6, 250.0 / sfreq)
            info = bench_stream(n_channels, sfreq)
            yield from against_bare(monitor, info, "monitor", n_pairs, seconds)
            bundle = ClassifierSettings(bundle=str(untrained(folder / str(n_channels), info)))
            with_lstm = Config(name="lstm", source=monitor.source, classifier=bundle)
            yield from against_bare(with_lstm, info, "LSTM", n_pairs, seconds)
            for against, name in ((against_quiet, QUIET), (against_unscraped, UNSCRAPED), (against_plain, PLAIN)):
                if (os.cpu_count() or 1) >= 2:
                    yield from against(monitor, info, n_pairs, seconds)
                else:
                    yield LeftOut(TOPIC, _case(info, name.format(monitor.name)), "one core only")
        if not quick:
            yield from peer_rows(SHAPES)


def _case(info: StreamInfo, name: str) -> str:
    return f"{name}, {info.n_channels} ch, {info.sfreq:g} Hz, chunk 1"


def _results(segments: Sequence[Segment]) -> list[NDArray[np.int64]]:
    return [one.result_ns for one in segments]


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""


if __name__ == "__main__":
    for line in rows(quick=False):
        print(line)
