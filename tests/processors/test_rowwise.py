from __future__ import annotations

import numpy as np
import pytest

from config.errors import ConfigError
from config.stages import PickSettings, ReferenceSettings, ZScoreSettings
from processors.pick import Pick
from processors.reference import Reference
from processors.zscore import ZScore
from tests.processors import naive

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("n_channels", [1, 2, 7, 8, 9, 19, 64])
def test_average_reference_subtracts_the_mean(n_channels: int) -> None:
    x = RNG.standard_normal((20, n_channels)) * 50
    stage = Reference(ReferenceSettings(kind="reference"), naive.stream_info(n_channels))
    out = stage.process(naive.as_chunk(x, stage.info_in))
    np.testing.assert_allclose(out.data, x - x.mean(axis=1, keepdims=True), rtol=0, atol=1e-12)


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
