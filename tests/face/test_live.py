"""A live LSL stream through a pipeline in the user's own process."""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import neuroloop as nl
from neuroloop.stream.contracts.chunks import RawBlock
from tests.face.senders import Sender, sending
from tests.face.test_pipeline import BANDS
from tests.integration import lsl

SFREQ = 250.0


@pytest.fixture
def amplifier() -> Iterator[Sender]:
    """A sender of two channels."""
    signal = np.random.default_rng(4).normal(size=(1 << 14, 2))
    with sending(f"face-{secrets.token_hex(4)}", signal, sfreq=SFREQ, labels=("C3", "C4")) as sender:
        yield sender


def test_a_live_stream_gives_the_numbers_of_its_samples(amplifier: Sender) -> None:
    with nl.open_stream(amplifier.name, wait_s=lsl.DEADLINE_S) as stream:
        assert stream.info.ch_names == ("C3", "C4")
        with nl.open_pipeline(BANDS, stream, outputs=["input", "power"], units="uV") as pipeline:
            parts = [pipeline.run(seconds=0.5)]
            for result in pipeline.follow(seconds=lsl.DEADLINE_S):
                parts.append(result)
                if sum(len(part.outputs["input"]) for part in parts) >= 500:
                    break
            amplifier.switch_off()
            parts.append(pipeline.run())
            with pytest.raises(nl.StreamLost, match=r"^source must keep sending, got a stream that stopped: 'face-"):
                pipeline.run(seconds=1)
            parts.append(pipeline.finish())
    assert parts[-2].events[-1].values == {"what": "lost"}

    def rows(stage: str, field: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.concatenate([getattr(part.outputs[stage], field) for part in parts])

    assert len(rows("power", "data")) > 10
    with nl.open_pipeline(BANDS, sfreq=SFREQ, units="uV") as again:
        once_more = again.push(rows("input", "data"), sample_numbers=rows("input", "samples").astype(np.int64))
    np.testing.assert_array_equal(once_more.outputs["power"].data, rows("power", "data"))


def test_an_interrupt_ends_a_run_and_keeps_what_came(amplifier: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")
    before = signal.getsignal(signal.SIGINT)
    with nl.open_stream(amplifier.name, wait_s=lsl.DEADLINE_S) as stream:
        read, n_blocks = stream.source.read, 0

        def interrupted(timeout_s: float) -> RawBlock | None:
            nonlocal n_blocks
            block = read(timeout_s)
            n_blocks += block is not None
            if block is not None and n_blocks == 3:
                signal.raise_signal(signal.SIGINT)
            return block

        monkeypatch.setattr(stream.source, "read", interrupted)
        with nl.open_pipeline({**BANDS, "markers": {"enabled": False}}, stream, outputs=["input"]) as pipeline:
            result = pipeline.run()
            n_first = len(result.outputs["input"])
            later = (one.outputs["input"] for one in pipeline.follow(seconds=lsl.DEADLINE_S))
            more = next(rows for rows in later if len(rows))
    assert n_first > 0
    assert more.samples[0] == n_first  # no sample is missing between the two
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stream_that_is_not_there_is_said() -> None:
    with pytest.raises(nl.StreamLost, match=r"^source must be a stream on the network with name 'nobody', got none"):
        nl.open_stream("nobody", wait_s=0.2)
