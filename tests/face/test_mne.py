"""MNE objects: volts, types and annotations are taken over."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import neuroloop as nl
from tests.face.test_pipeline import BANDS, noise

mne = pytest.importorskip("mne")


@pytest.fixture
def raw() -> Any:
    """Four seconds of three channels with two annotations."""
    info = mne.create_info(["C3", "C4", "ECG"], 250.0, ["eeg", "eeg", "ecg"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = mne.io.RawArray(1e-5 * noise().T, info, verbose="error")
    made.set_annotations(mne.Annotations([1.0, 2.5], [0.0, 0.5], ["cue", "answer"]))
    return made


def test_a_raw_brings_rate_names_types_and_volts(raw: Any) -> None:
    with nl.open_pipeline("monitor", raw) as pipeline:
        info = pipeline.info
    assert (info.sfreq, info.ch_names) == (250.0, ("C3", "C4", "ECG"))
    assert info.ch_types == ("EEG", "EEG", "ECG")
    assert info.ch_units == ("V", "V", "V")


def test_annotations_become_markers_also_of_a_cropped_raw(raw: Any) -> None:
    for begin_s, expected in ((0.0, [(250, "cue"), (625, "answer")]), (0.5, [(125, "cue"), (500, "answer")])):
        part = raw.copy().crop(begin_s)
        with nl.open_pipeline(BANDS, part) as pipeline:
            markers = pipeline.push(part).of_type("marker")
        assert [(one.sample, one.values["label"]) for one in markers] == expected


def test_a_raw_gives_the_numbers_of_its_array(raw: Any) -> None:
    with nl.open_pipeline(BANDS, raw) as whole, nl.open_pipeline(BANDS, raw.info) as in_pieces:
        result = whole.push(raw)
        data = raw.get_data().T
        pieces = [in_pieces.push(data[:333]), in_pieces.push(data[333:])]
    power = np.concatenate([one.outputs["power"].data for one in pieces])
    assert result.outputs["power"].units == ("V^2",) * 3
    np.testing.assert_array_equal(result.outputs["power"].data, power)


def test_another_raw_is_refused(raw: Any) -> None:
    with (
        nl.open_pipeline(BANDS, raw) as pipeline,
        pytest.raises(
            nl.StreamMismatch, match=r"^x must have the pipeline's channels and rate \(250 Hz\), got another Raw$"
        ),
    ):
        pipeline.push(raw.copy().pick(["C3"]))
