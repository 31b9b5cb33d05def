"""Measure what `benchmarks.peers` installed: each peer reads the same sender in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.distribution import LatencyRow, percentiles
from benchmarks.measure import LeftOut
from benchmarks.session import bench_stream, sending
from neuroloop.config.live import ProcessSettings
from neuroloop.stream.live.placement import plan_placement

TOPIC = "live latency, peers"
_SECONDS = 5.0
_N_SEGMENTS = 3
_LIMIT_S = 60.0


def peers_folder() -> Path:
    """Return where the environments are: ``NEUROLOOP_PEERS`` or a folder of the user's cache."""
    return Path(os.environ.get("NEUROLOOP_PEERS") or Path.home() / ".cache" / "neuroloop" / "peers")


@dataclass(frozen=True)
class Peer:
    """One peer: what to install, and the script that reads with it."""

    name: str
    title: str
    requirements: tuple[str, ...]
    script: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return peers_folder() / self.name / "bin" / "python"


PEERS = (
    Peer(
        "ezmsg",
        "ezmsg-lsl 1.17.1",
        ("ezmsg==3.10.0b5", "ezmsg-sigproc==3.11.1", "ezmsg-lsl==1.17.1"),
        "read_ezmsg.py",
    ),
    Peer("mnelsl", "mne-lsl 1.14.0, callback each 1 ms", ("mne-lsl==1.14.0",), "read_mnelsl.py"),
    Peer(
        "timeflux",
        "timeflux 0.17.2, rate 0",
        ("timeflux==0.17.2", "numpy==1.26.4", "pandas==3.0.6", "pylsl==1.18.6"),
        "read_timeflux.py",
    ),
)


def _read(peer: Peer, source_id: str, n_samples: int, base_ns: int) -> NDArray[np.int64] | str:
    """Return one segment of latencies in nanoseconds, or why there is none."""
    with tempfile.TemporaryDirectory(prefix="neuroloop-peer-") as folder:
        path = Path(folder) / "latency.npy"
        script = Path(__file__).with_name(peer.script)
        command = [str(peer.python), str(script), source_id, str(n_samples), str(base_ns), str(path)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LIMIT_S)
            failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            failure = [f"no end within {_LIMIT_S:g} s"]
        if not path.exists():
            return " ".join(failure) or "no result"
        latencies: NDArray[np.int64] = np.load(path)
        return latencies


def peer_rows(shapes: Sequence[tuple[int, float]]) -> Iterator[LatencyRow | LeftOut]:
    """Measure every peer as it comes: on all cores, with ordinary priority, receipt only; a row for each and shape."""
    cores = plan_placement(ProcessSettings()).others
    for n_channels, sfreq in shapes:
        info = bench_stream(n_channels, sfreq)
        with sending(info, cores) as base_ns:
            for peer in PEERS:
                case = f"{peer.title}, {n_channels} ch, {sfreq:g} Hz, chunk 1"
                if not peer.python.exists():
                    yield LeftOut(TOPIC, case, "not installed (python -m benchmarks.peers)")
                    continue
                found = [_read(peer, info.source_id, round(_SECONDS * sfreq), base_ns) for _ in range(_N_SEGMENTS)]
                parts = [one for one in found if not isinstance(one, str)]
                if not parts:
                    yield LeftOut(TOPIC, case, next(one for one in found if isinstance(one, str)))
                    continue
                n = sum(map(len, parts))
                yield LatencyRow(TOPIC, case, len(parts), n, percentiles(parts), "", None, None, None,
                                 f"receipt only; load {os.getloadavg()[0]:.1f}")  # fmt: skip
