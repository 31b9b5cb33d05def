"""Commands and refusals as markers of a recording, read back by pyxdf and by our own reader."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyxdf

from neuroloop.config.live import RecorderSettings
from neuroloop.sinks.xdf.recorder import RecordedRun, Recorder
from neuroloop.sinks.xdf.stimulation_markers import marker_of
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.recordings.opening import open_recording
from tests.sinks.bids.test_bids import EVENTS

INFO = StreamInfo("amp", "EEG", "amp-1", 250.0, ("C3",), ("EEG",), ("uV",))
RUN = RecordedRun("pipe", INFO, has_numbers=False, taps={}, stimulates=True)


def markers() -> list[dict[str, Any]]:
    made = [marker_of(one, "LT01") for one in EVENTS]
    return [json.loads(one) for one in made if one is not None]


def test_each_command_and_refusal_is_one_marker_and_nothing_else_is() -> None:
    assert [one["ev"] for one in markers()] == ["arm", "stim_start", "stim_stop", "refuse", "refuse", "disarm"]


def test_a_start_carries_its_dose_and_a_refusal_its_rule() -> None:
    start, refusal, _ = (one for one in markers() if one["ev"] in ("stim_start", "refuse"))
    assert start == {
        "ev": "stim_start",
        "id": "amp/command/1550/0",
        "ch": "LT01",
        "mA": 2.5,
        "us": 200.0,
        "hz": 20.0,
        "uC": 0.5,
        "k": 0.6197887582883939,
        "wave": "biphasic",
        "state": "alpha",
    }
    assert refusal["rules"] == ["charge_density_uc_cm2", "shannon_k"]
    assert (refusal["what"], refusal["state"]) == ("start", "seizure")
    assert "got 2.018" in refusal["why"]


def test_what_has_no_value_is_left_out() -> None:
    made = marker_of({"type": "command", "id": "i", "action": "stop", "reason": "", "shannon_k": float("nan")}, "e")
    assert made == '{"ev":"stim_stop","id":"i","ch":"e"}'


@pytest.mark.parametrize("stimulates", [True, False])
def test_the_file_has_a_marker_stream_of_them_where_the_run_stimulates(tmp_path: Path, stimulates: bool) -> None:
    recorder = Recorder(tmp_path, replace(RUN, stimulates=stimulates), RecorderSettings(enabled=True))
    recorder.add_rows(np.zeros((5, 1)), 1000.0 + np.arange(5) / 250.0, 0)
    texts = [json.dumps(one) for one in markers()]
    stamps = [1000.0 + index / 250.0 for index in range(len(texts))]
    if stimulates:
        recorder.add_stimulation(texts, stamps)
    recorder.close()
    streams, _ = pyxdf.load_xdf(str(tmp_path / "signals.xdf"), synchronize_clocks=False, dejitter_timestamps=False)
    found = {one["info"]["name"][0]: one for one in streams}
    assert ("pipe-stimulation" in found) is stimulates
    if stimulates:
        stream = found["pipe-stimulation"]
        assert stream["info"]["type"] == ["Markers"]
        assert [json.loads(text) for (text,) in stream["time_series"]] == markers()
        assert stream["time_stamps"].tolist() == stamps
    recording = open_recording(tmp_path)
    assert recording.marker_streams == ()  # not taken for input when the run is replayed
    assert not recorder.n_lost
