"""A wired loop without hardware: an amplifier in this process that feeds the stimulator's output back on a channel."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pylsl
import pytest
import yaml

from neuroloop.config.loading import load_config
from neuroloop.sinks.stimulator.control import ControlError, ask
from neuroloop.sinks.stimulator.token import hash_token
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.lsl.description import make_lsl_info
from neuroloop.stream.tools.latency.detector import make_threshold, stream_of
from neuroloop.stream.tools.latency.onsets import OnsetPlan, OnsetSignal
from neuroloop.stream.tools.latency.trace import LoopbackError, read_edges
from tests.integration.live import PATIENCE_S, SHARING, Start
from tests.integration.lsl import wait_until

pytestmark = pytest.mark.usefixtures("lsl_session")
SFREQ, TOKEN, DELAY_ROWS = 250.0, "let me", 3


class Amplifier:
    """Sends steps at irregular times, and on its last channel, some samples late, whether the stimulator is on."""

    def __init__(self, info: StreamInfo, device_record: Path) -> None:
        inner = stream_of(info.n_channels - 1, SFREQ, info.name)
        self._signal = OnsetSignal(inner, OnsetPlan(2000, burst_s=0.1, gap_s=(0.3, 0.5), lead_s=1.0), "step")
        self._record = device_record
        described = make_lsl_info(info, name=info.name, source_id="wired", value_format="double64", stamps="clock")
        self._outlet = pylsl.StreamOutlet(described)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _is_on(self) -> bool:
        try:
            on, off = read_edges(self._record)
        except LoopbackError:  # not there yet, or a line is half written
            return False
        return len(on) > len(off)

    def _send(self) -> None:
        while not self._outlet.wait_for_consumers(0.1):
            if self._is_over.is_set():
                return
        row, sample = 0, np.zeros((1, self._signal.info.n_channels + 1))
        begin, stamp = time.perf_counter(), pylsl.local_clock()
        levels = [0.0] * DELAY_ROWS
        while not self._is_over.is_set():
            self._signal.row(row, sample[0, :-1])
            levels.append(float(self._is_on()))
            sample[0, -1] = levels.pop(0)
            self._is_over.wait(max(0.0, begin + row / SFREQ - time.perf_counter()))
            self._outlet.push_chunk(sample, stamp + row / SFREQ)
            row += 1

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    plain = stream_of(5, SFREQ, "wired-amplifier")
    info = StreamInfo(plain.name, "EEG", "wired", SFREQ, (*plain.ch_names[:-1], "TRIG"), plain.ch_types, plain.ch_units)
    values = json.loads(load_config("latency", []).model_dump_json(exclude_none=True, exclude_unset=True))
    values["classifier"] = {"bundle": str(make_threshold(tmp_path / "bundle", info))}
    values["source"] = {"kind": "lsl", "name": info.name, "resolve_s": PATIENCE_S}
    values["stimulation"] |= {"ledger": str(tmp_path / "ledger"), "operator": {"token_sha256": hash_token(TOKEN)}}
    path = tmp_path / "wired.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    amplifier = Amplifier(info, tmp_path / "out" / "run" / "device.jsonl")
    yield path
    amplifier.close()


def test_the_time_to_the_edge_on_the_channel_holds_the_way_back(start: Start, tmp_path: Path, config: Path) -> None:
    out = tmp_path / "out"
    program = start("latency", config, "--loopback-channel", "TRIG", "--events", "4", "--out", out, *SHARING)

    def is_over() -> bool:
        """Keep it armed to the end: a machine whose cores are taken may disarm it."""
        with suppress(ControlError):
            state = ask(out / "run", {"verb": "status", "token": TOKEN, "reason": "test"})["state"]
            if verb := {"FAULT": "reset", "DISARMED": "arm"}.get(str(state)):
                ask(out / "run", {"verb": verb, "token": TOKEN, "reason": "test"})
        return program.popen.poll() is not None

    wait_until(is_over, "four doses", PATIENCE_S)
    assert "wired loop: " in program.ends_well()
    record = json.loads((out / "latency.json").read_text(encoding="utf-8"))
    assert record["doses"] >= 4
    assert record["missed"] < record["doses"]
    assert record["resolution_us"] == 4000.0
    assert DELAY_ROWS * 4000.0 <= record["latency"]["wired"]["min_us"] < 1e6
