"""Smoothed stamps against liblsl's own."""

from __future__ import annotations

import numpy as np
import pylsl

from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.engine.sequencer import Sequencer
from tests.integration.lsl import DEADLINE_S, make_outlet, wait_until

N_SAMPLES = 2000
SFREQ = 250.0


def test_smoothed_stamps_are_liblsls(lsl_session: str) -> None:
    rng = np.random.default_rng(3)
    stamps = 1000.25 + np.arange(N_SAMPLES) / 251.0 + np.repeat(rng.uniform(0, 0.03, N_SAMPLES // 10), 10)
    outlet = make_outlet("jittery", n_channels=1, sfreq=SFREQ)
    (found,) = wait_until(lambda: pylsl.resolve_byprop("name", "jittery", 1, 1.0), "the stream is found")
    inlet = pylsl.StreamInlet(found, processing_flags=pylsl.proc_dejitter)
    try:
        inlet.open_stream(DEADLINE_S)
        wait_until(outlet.have_consumers, "the inlet is connected")
        for n, stamp in enumerate(stamps):
            outlet.push_sample([float(n)], float(stamp))
        theirs: list[float] = []
        numbers: list[float] = []

        def has_all() -> bool:
            rows, times = inlet.pull_chunk(timeout=0.0, max_samples=N_SAMPLES)
            theirs.extend(times)
            numbers.extend(row[0] for row in rows)
            return len(theirs) == N_SAMPLES

        wait_until(has_all, "all samples came")
    finally:
        inlet.close_stream()
    assert numbers == list(range(N_SAMPLES))
    info = StreamInfo("jittery", "EEG", "", SFREQ, ("c",), ("EEG",), ("",))
    seq = Sequencer(TimingSettings(dejitter="linear"), info)
    (chunk,) = seq.push(np.arange(N_SAMPLES, dtype=np.float64)[:, None], stamps)
    assert np.abs(np.array(theirs) - stamps).max() > 5e-3  # liblsl did smooth
    np.testing.assert_allclose(chunk.timestamps, theirs, rtol=0, atol=1e-6)
