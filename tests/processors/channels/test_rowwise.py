from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import PickSettings, ReferenceSettings, ZScoreSettings
from neuroloop.processors.channels.pick import Pick
from neuroloop.processors.channels.reference import Reference
from neuroloop.processors.features.zscore import ZScore
from neuroloop.stream.contracts.chunks import StreamInfo
from tests.processors import naive

RNG = np.random.default_rng(3)


MIXED = StreamInfo(
    "amp", "EEG", "", 100.0,
    ("C3", "C4", "ECG", "Cz", "SpO2", "DC1"), ("EEG", "EEG", "ECG", "EEG", "SpO2", "misc"),
    ("uV", "uV", "mV", "uV", "%", "mV"),
)  # fmt: skip
"""As clinical recordings are."""


@pytest.mark.parametrize("n_channels", [2, 7, 8, 9, 19, 64])
def test_average_reference_subtracts_the_mean(n_channels: int) -> None:
    x = RNG.standard_normal((20, n_channels)) * 50
    stage = Reference(ReferenceSettings(kind="reference"), naive.stream_info(n_channels))
    out = stage.process(naive.as_chunk(x, stage.info_in))
    np.testing.assert_allclose(out.data, x - x.mean(axis=1, keepdims=True), rtol=0, atol=1e-12)


def test_an_average_is_over_the_eeg_channels_and_changes_no_others() -> None:
    x = RNG.standard_normal((20, 6)) * [10, 10, 1, 10, 1, 3000]
    stage = Reference(ReferenceSettings(kind="reference"), MIXED)
    out = stage.process(naive.as_chunk(x, MIXED)).data
    np.testing.assert_array_equal(out[:, [2, 4, 5]], x[:, [2, 4, 5]])
    eeg = x[:, [0, 1, 3]]
    np.testing.assert_allclose(out[:, [0, 1, 3]], eeg - eeg.mean(axis=1, keepdims=True), rtol=0, atol=1e-14)
    assert stage.left_out == (
        "ECG (ECG, mV), SpO2 (SpO2, %), DC1 (misc, mV): not in the average over 3 channels (EEG, uV), "
        "handed on unchanged",
    )


@pytest.mark.parametrize(
    ("types", "averaged"),
    [
        (("SEEG", "ECG", "ECoG", "ECoG"), (2, 3)),
        (("LFP", "LFP", "misc", "LFP"), (0, 1, 3)),
        (("EMG", "EMG", "EMG", "EMG"), (0, 1, 2, 3)),
    ],
)
def test_without_eeg_an_average_is_over_the_next_type_there_is(
    types: tuple[str, ...], averaged: tuple[int, ...]
) -> None:
    stage = Reference(ReferenceSettings(kind="reference"), naive.stream_info(4, types=types))
    assert np.flatnonzero(stage.plan_arrays()["weights"]).tolist() == list(averaged)
    np.testing.assert_array_equal(stage.plan_arrays()["changed"], stage.plan_arrays()["weights"])


def test_an_average_over_one_channel_changes_nothing_and_says_so() -> None:
    x = RNG.standard_normal((20, 2))
    stage = Reference(ReferenceSettings(kind="reference"), naive.stream_info(2, types=("EEG", "EMG")))
    np.testing.assert_array_equal(stage.process(naive.as_chunk(x, stage.info_in)).data, x)
    assert stage.left_out == (
        "the average: over c0 alone it would leave zeros, nothing is subtracted",
        "c1 (EMG, uV): not averaged with c0, the only channel of type EEG, handed on unchanged",
    )


def test_a_single_reference_channel_is_not_handed_on() -> None:
    x = RNG.standard_normal((20, 4)) * 50
    x[7, 1] = np.nan
    stage = Reference(ReferenceSettings(kind="reference", channels=("C4",)), naive.EXAMPLE_INFO)
    out = stage.process(naive.as_chunk(x, stage.info_in))
    assert stage.info_out.ch_names == out.info.ch_names == ("C3", "Cz", "EOG")
    assert stage.info_out.ch_types == ("EEG", "EEG", "EOG")
    x = naive.held(x)
    np.testing.assert_array_equal(out.data, x[:, [0, 2, 3]] - x[:, 1:2])
    assert np.flatnonzero(~out.valid).tolist() == [7]
    assert stage.left_out == ("C4: the one reference channel is not handed on, it would be zero",)


def test_named_references_change_the_channels_of_their_unit_only() -> None:
    x = RNG.standard_normal((20, 6))
    stage = Reference(ReferenceSettings(kind="reference", channels=("C3", "C4"), exclude=("Cz",)), MIXED)
    out = stage.process(naive.as_chunk(x, MIXED)).data
    np.testing.assert_array_equal(out[:, 2:], x[:, 2:])
    np.testing.assert_allclose(out[:, :2], x[:, :2] - x[:, :2].mean(axis=1, keepdims=True), rtol=0, atol=1e-14)
    assert stage.left_out == (
        "ECG (ECG, mV), SpO2 (SpO2, %), DC1 (misc, mV): not in the unit of the reference (uV), handed on unchanged",
    )


@pytest.mark.parametrize(
    "settings",
    [
        ReferenceSettings(kind="reference"),
        ReferenceSettings(kind="reference", exclude=("C3", "C4")),
        ReferenceSettings(kind="reference", channels=("C3", "Cz"), exclude=("C4",)),
        ReferenceSettings(kind="reference", channels=("C4",)),
    ],
)
def test_frozen_settings_do_the_same_whatever_types_a_sender_declares(settings: ReferenceSettings) -> None:
    x = RNG.standard_normal((20, 6)) * 30
    stage = Reference(settings, MIXED)
    other = dataclasses.replace(MIXED, ch_types=("EEG",) * 6)
    again = Reference(stage.frozen, other)
    assert again.info_out.ch_names == stage.info_out.ch_names
    naive.assert_same(again.process(naive.as_chunk(x, other)), stage.process(naive.as_chunk(x, MIXED)))


@pytest.mark.parametrize(
    ("settings", "units", "message"),
    [
        (
            ReferenceSettings(kind="reference"),
            ("uV", "mV", "uV", ""),
            r"^channels must have one unit to be averaged, "
            r"got c0, c2 in uV; c1 in mV; c3 in an unknown unit: leave some out$",
        ),
        (
            ReferenceSettings(kind="reference", channels=("c0", "c1")),
            ("uV", "mV", "uV", "uV"),
            r"^channels must have one unit to be averaged, got c0 in uV; c1 in mV: leave some out$",
        ),
    ],
)
def test_reference_channels_of_several_units_are_refused(
    settings: ReferenceSettings, units: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Reference(settings, dataclasses.replace(naive.stream_info(4), ch_units=units))


def test_many_channels_of_several_units_are_not_all_named() -> None:
    info = dataclasses.replace(naive.stream_info(40), ch_units=("uV",) * 39 + ("mV",))
    with pytest.raises(ConfigError, match=r"got c0, c1, c2, c3, c4, c5, c6, c7 and 31 more in uV; c39 in mV: leave"):
        Reference(ReferenceSettings(kind="reference"), info)


def test_an_average_that_could_be_over_several_types_is_refused() -> None:
    info = naive.stream_info(3, types=("PPG", "RESP", "misc"))
    rule = (
        r"^channels must be named where a stream has none of type EEG, .* and several others \(PPG, RESP, misc\), got"
    )
    with pytest.raises(ConfigError, match=rule):
        Reference(ReferenceSettings(kind="reference"), info)


def test_a_reference_that_leaves_no_other_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^channels must leave a channel besides the reference, got \('c0',\)$"):
        Reference(ReferenceSettings(kind="reference", channels=("c0",)), naive.stream_info(1))


def test_excluded_channels_neither_enter_the_average_nor_change() -> None:
    x = RNG.standard_normal((20, 4))
    stage = Reference(ReferenceSettings(kind="reference", exclude=("EOG",)), naive.EXAMPLE_INFO)
    out = stage.process(naive.as_chunk(x, stage.info_in)).data
    np.testing.assert_array_equal(out[:, 3], x[:, 3])
    np.testing.assert_allclose(out[:, :3], x[:, :3] - x[:, :3].mean(axis=1, keepdims=True), rtol=0, atol=1e-14)


def test_named_reference_channels_are_subtracted_from_every_channel() -> None:
    x = RNG.standard_normal((20, 4))
    stage = Reference(ReferenceSettings(kind="reference", channels=("Cz", "C4")), naive.EXAMPLE_INFO)
    out = stage.process(naive.as_chunk(x, stage.info_in)).data
    np.testing.assert_allclose(out, x - (x[:, 1:2] + x[:, 2:3]) / 2, rtol=0, atol=1e-14)


def test_pick_keeps_channels_in_the_given_order() -> None:
    x = RNG.standard_normal((5, 4))
    stage = Pick(PickSettings(kind="pick", channels=("EOG", "C3")), naive.EXAMPLE_INFO)
    out = stage.process(naive.as_chunk(x, stage.info_in))
    np.testing.assert_array_equal(out.data, x[:, [3, 0]])
    assert out.info.ch_names == ("EOG", "C3")
    assert out.info.ch_types == ("EOG", "EEG")


def test_pick_by_type_keeps_the_order_of_the_stream() -> None:
    stage = Pick(PickSettings(kind="pick", types=("EEG",), exclude=("C4",)), naive.EXAMPLE_INFO)
    assert stage.info_out.ch_names == ("C3", "Cz")


def test_pick_flags_only_rows_whose_kept_channels_are_bad() -> None:
    x = RNG.standard_normal((5, 4))
    x[1, 3] = np.nan
    x[3, 0] = np.inf
    stage = Pick(PickSettings(kind="pick", channels=("C3", "C4")), naive.EXAMPLE_INFO)
    out = stage.process(naive.as_chunk(x, stage.info_in))
    np.testing.assert_array_equal(out.valid, [True, True, True, False, True])
    assert out.data[3, 0] == x[2, 0]


@pytest.mark.parametrize(("mean", "std"), [((2.0,), (4.0,)), ((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 0.5, 3.0))])
def test_zscore_standardises(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    x = RNG.standard_normal((6, 4))
    stage = ZScore(ZScoreSettings(kind="zscore", mean=mean, std=std), naive.EXAMPLE_INFO)
    out = stage.process(naive.as_chunk(x, stage.info_in))
    np.testing.assert_array_equal(out.data, (x - np.array(mean)) / np.array(std))
    assert out.info.ch_units == ("1",) * 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ReferenceSettings(kind="reference", channels=("C3", "Pz")),
            r"^channels\.1 must be a channel of the stream \(C3, C4, Cz, EOG\), got 'Pz'$",
        ),
        (
            ReferenceSettings(kind="reference", channels=("C3", "C3")),
            r"^channels\.1 must be named once, got 'C3' again$",
        ),
        (ReferenceSettings(kind="reference", exclude=("Pz",)), r"^exclude\.0 must be a channel of the stream"),
        (
            ReferenceSettings(kind="reference", channels=("C3",), exclude=("C3",)),
            r"^channels\.0 must not be in exclude, got 'C3'$",
        ),
        (
            ReferenceSettings(kind="reference", exclude=("C3", "C4", "Cz", "EOG")),
            r"^channels must leave at least one reference channel, got 'average'$",
        ),
    ],
)
def test_an_impossible_reference_names_its_field(settings: ReferenceSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Reference(settings, naive.EXAMPLE_INFO)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PickSettings(kind="pick", channels=("Pz",)), r"^channels\.0 must be a channel of the stream"),
        (
            PickSettings(kind="pick", types=("EMG",)),
            r"^types\.0 must be a channel type of the stream \(EEG, EOG\), got 'EMG'$",
        ),
        (
            PickSettings(kind="pick", types=("EOG",), exclude=("EOG",)),
            r"^exclude must leave at least one channel, got \['EOG'\]$",
        ),
    ],
)
def test_an_impossible_pick_names_its_field(settings: PickSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pick(settings, naive.EXAMPLE_INFO)


def test_a_mean_for_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^mean must have 1 or n_channels=4 entries, got 3$"):
        ZScore(ZScoreSettings(kind="zscore", mean=(1.0,) * 3, std=(1.0,) * 3), naive.EXAMPLE_INFO)


def test_of_many_channels_the_message_names_the_one_that_was_meant() -> None:
    info = StreamInfo("s", "EEG", "", 100.0, tuple(f"EEG{i}" for i in range(64)))
    with pytest.raises(
        ConfigError, match=r"^channels.0 must be a channel of the stream \(did you mean 'EEG7'\?\), got 'EG7'$"
    ):
        Pick(PickSettings(kind="pick", channels=("EG7",)), info)
    with pytest.raises(ConfigError, match=r"of the stream \(EEG0, EEG1, .*, EEG15 and 48 more\), got 'Pz'$"):
        Pick(PickSettings(kind="pick", channels=("Pz",)), info)
