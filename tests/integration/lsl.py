"""Real LSL for tests, out of sight of everything else on the network, this machine's other test runs included.

liblsl reads its settings once, at its first use. Importing this module names a settings file of its own for this
process and all that it starts; `tests/integration/conftest.py` does so while tests are collected, before any runs.
"""

from __future__ import annotations

import atexit
import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pylsl

from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.sources.lsl.network import FoundStream, Network
from neuroloop.stream.sources.lsl.source import LslSource

SESSION_ID = f"neuroloop-test-{secrets.token_hex(8)}"
DEADLINE_S = 90.0
"""For a machine that others keep busy; never reached where nothing is wrong."""


def write_lsl_config(folder: Path) -> Path:
    """Write settings that keep LSL on this machine and in one session."""
    # Below the range that the system gives out by itself, so that a second run on this host meets other ports.
    base_port = random.SystemRandom().randrange(17000, 32000, 64)
    path = folder / "lsl_api.cfg"
    path.write_text(
        "[ports]\n"
        "IPv6 = disable\n"
        f"BasePort = {base_port}\n"
        "PortRange = 48\n"
        "[multicast]\n"
        "ResolveScope = machine\n"
        "[lab]\n"
        "KnownPeers = {127.0.0.1}\n"
        f"SessionID = {SESSION_ID}\n"
        "[log]\n"
        "level = -3\n",
        encoding="utf-8",
    )
    return path


def _isolate() -> None:
    folder = Path(tempfile.mkdtemp(prefix="neuroloop-lsl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["LSLAPICFG"] = str(write_lsl_config(folder))


_isolate()


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """Return the condition's first true value; fail after the deadline."""
    end = time.perf_counter() + timeout_s
    while time.perf_counter() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"{what}: not within {timeout_s:g} s")


def make_outlet(
    name: str,
    *,
    n_channels: int = 2,
    sfreq: float = 1000.0,
    value_format: str = "double64",
    source_id: str | None = None,
    stream_type: str = "EEG",
    labels: tuple[str, ...] = (),
) -> Any:
    """Make a plain pylsl outlet, as any sender would."""
    info = pylsl.StreamInfo(
        name, stream_type, n_channels, sfreq, value_format, name if source_id is None else source_id
    )
    if labels:
        info.set_channel_labels(list(labels))
    return pylsl.StreamOutlet(info)


def find(name: str) -> FoundStream:
    """Find a stream, of text too, that is known to be the only one of its name."""
    network = Network()
    found: list[FoundStream] = wait_until(
        lambda: [one for one in network.streams() if one.name == name], f"stream {name!r} found"
    )
    return found[0]


@contextmanager
def reading(name: str, **options: Any) -> Iterator[LslSource]:
    """Open a source and close it again."""
    source = LslSource(find(name), **options)
    try:
        source.open(DEADLINE_S)
        yield source
    finally:
        source.close()


def read_samples(source: LslSource, n_samples: int, timeout_s: float = DEADLINE_S) -> RawBlock:
    """Read until so many samples are there; the blocks as one, in copies."""
    blocks: list[RawBlock] = []
    end = time.perf_counter() + timeout_s
    while sum(len(block.timestamps) for block in blocks) < n_samples:
        if time.perf_counter() > end:
            got = sum(len(block.timestamps) for block in blocks)
            raise AssertionError(f"got {got} of {n_samples} samples within {timeout_s:g} s")
        block = source.read(0.2)
        if block is not None:
            numbers = None if block.sample_numbers is None else block.sample_numbers.copy()
            blocks.append(RawBlock(block.data.copy(), block.timestamps.copy(), numbers))
    numbers_of = [block.sample_numbers for block in blocks if block.sample_numbers is not None]
    return RawBlock(
        np.concatenate([block.data for block in blocks]),
        np.concatenate([block.timestamps for block in blocks]),
        np.concatenate(numbers_of) if numbers_of else None,
    )
