"""What cannot be done is said in one clear line, at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neuroloop as nl
from tests.face.test_pipeline import BANDS, noise


@pytest.fixture
def pipeline() -> nl.Pipeline:
    """A pipeline for arrays of three channels."""
    return nl.open_pipeline(BANDS, sfreq=250, units="uV", channels=3)


_BARE = r"^sfreq and units must be given for bare arrays \(such as sfreq=250, units='uV'\), or a stream, got "


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ({}, "sfreq None and units None$"),
        ({"sfreq": 250}, "sfreq 250 and units None$"),
        ({"units": "uV"}, "sfreq None and units 'uV'$"),
    ],
)
def test_bare_arrays_need_a_rate_and_a_unit(given: dict[str, Any], got: str) -> None:
    with pytest.raises(nl.ConfigError, match=_BARE + got):
        nl.open_pipeline(BANDS, **given)


def test_a_described_stream_needs_a_unit_too() -> None:
    info = nl.stream_info(sfreq=250, n_channels=3)
    rule = r"^units must be given where no channel has one \(such as 'uV', or '' where there is none\), got none for "
    with pytest.raises(nl.ConfigError, match=rule + "stream 'array'$"):
        nl.open_pipeline(BANDS, info)
    nl.open_pipeline(BANDS, info, units="").close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sfreq": 0}, r"^sfreq must be a number above 0 \(Hz\), got 0$"),
        ({"sfreq": float("nan")}, r"^sfreq must be a number above 0 \(Hz\), got nan$"),
        ({"channels": []}, r"^channels must be names or a number above 0, got \[\]$"),
        ({"channels": "C3"}, r"^channels must be names or a number above 0, got 'C3'$"),
        ({"channels": ["C3", "C3"]}, r"^channels must have different names, got 'C3' twice$"),
        ({"units": ["uV"]}, r"^units must be one for all or one per channel \(3\), got 1$"),
    ],
)
def test_a_wrong_description_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(nl.ConfigError, match=message):
        nl.open_pipeline(BANDS, **{"sfreq": 250, "units": "uV", "channels": 3, **options})


def test_what_a_stream_says_is_not_said_again() -> None:
    info = nl.stream_info(sfreq=250, n_channels=3, units="uV")
    with pytest.raises(nl.ConfigError, match=r"^sfreq must be left out for a stream that says it, got 500$"):
        nl.open_pipeline(BANDS, info, sfreq=500)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            np.zeros(3), nl.InputError,
            r"^x must have two dimensions \(n_samples, n_channels\), got shape \(3,\) \(one sample is x\[np.newaxis, :",
        ),
        (np.zeros((2, 3, 1)), nl.InputError, r"^x must have two dimensions .* got shape \(2, 3, 1\)$"),
        (np.zeros((5, 4)), nl.StreamMismatch, r"^x must have the pipeline's 3 channels, got shape \(5, 4\)$"),
        (
            np.zeros((3, 100)), nl.StreamMismatch,
            r"^x must have the pipeline's 3 channels, got shape \(3, 100\) \(channels are columns: push x.T\)$",
        ),
        (np.zeros((5, 3), complex), nl.InputError, r"^x must be an array of real numbers, got ndarray of complex128$"),
        ("samples", nl.InputError, r"^x must be an array of real numbers, got str of <U7$"),
        ([[1, 2, 3], [1, 2]], nl.InputError, r"^x must be an array \(n_samples, n_channels\), got rows of different"),
    ],
)  # fmt: skip
def test_an_array_of_another_shape_or_kind_is_refused(
    pipeline: nl.Pipeline, x: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipeline.push(x)
    assert len(pipeline.push(noise(10)).outputs["filter"]) == 10  # nothing of it was taken


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timestamps": [0.0, np.nan, 0.2]}, r"^timestamps must be finite, got nan in row 1$"),
        ({"timestamps": [0.0, 0.1]}, r"^timestamps must be one number per sample \(3\), got shape \(2,\)$"),
        (
            {"sample_numbers": [0.5, 1.5, 2.5]},
            r"^sample_numbers must be one integer per sample \(3\), got shape \(3,\)$",
        ),
        ({"valid": [1, 1, 1]}, r"^valid must be one bool per sample \(3\), got shape \(3,\) of int64$"),
        ({"markers": [("cue", 1.0)]}, r"^markers must be pairs of a time in seconds and a label, got \('cue', 1.0\)$"),
        ({"markers": [(np.inf, "cue")]}, r"^markers must have finite times, got inf for 'cue'$"),
    ],
)
def test_what_goes_with_an_array_must_fit_it(pipeline: nl.Pipeline, options: dict[str, Any], message: str) -> None:
    with pytest.raises(nl.InputError, match=message):
        pipeline.push(np.zeros((3, 3)), **options)


def test_stamps_come_with_every_array_or_with_none(pipeline: nl.Pipeline) -> None:
    pipeline.push(noise(10))
    with pytest.raises(
        nl.InputError, match=r"^timestamps must be given with every array or with none, got one without them before$"
    ):
        pipeline.push(noise(10), np.arange(10) / 250)


def test_samples_of_another_stream_are_refused(pipeline: nl.Pipeline) -> None:
    info = nl.stream_info(sfreq=500, n_channels=3, units="uV")
    chunk = nl.Chunk(np.zeros((2, 3)), np.arange(2) / 500, 0, np.ones(2, np.bool_), info)
    with pytest.raises(nl.StreamMismatch, match=r"^x must be of the pipeline's stream \(sfreq 250.0\), got 500.0$"):
        pipeline.push(chunk)
    with pytest.raises(nl.InputError, match=r"^timestamps must be left out for a Chunk, which has its own$"):
        pipeline.push(chunk, np.arange(2) / 500)


@pytest.mark.parametrize("what", ["push", "finish", "run"])
def test_nothing_comes_after_the_end(pipeline: nl.Pipeline, what: str) -> None:
    pipeline.push(noise(10))
    pipeline.finish()
    arguments = (noise(10),) if what == "push" else ()
    rule = rf"^{what} must come before finish\(\) or the end of 'with', got it after$"
    with pytest.raises(nl.InputError, match=rule):
        getattr(pipeline, what)(*arguments)


def test_a_recording_needs_a_pipeline_that_knows_it() -> None:
    with nl.open_pipeline(BANDS, sfreq=250, units="uV") as pipeline:
        with pytest.raises(
            nl.InputError, match=r"^channels must be given, or an array pushed, before the plan is known, got neither$"
        ):
            _ = pipeline.plan
        with pytest.raises(
            nl.InputError, match=r"^stream must be given to open_pipeline for a RecordedStream, got none$"
        ):
            pipeline.push(nl.simulate(1))


def test_only_an_lsl_stream_runs(pipeline: nl.Pipeline) -> None:
    with pytest.raises(nl.InputError, match=r"^stream must be an open LSL stream .* for run\(\), got another$"):
        pipeline.run(seconds=1)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(nl.ConfigError, match=r"^outputs must name stages \(input, filter, power\), got 'bands'$"):
        nl.open_pipeline(BANDS, sfreq=250, units="uV", channels=3, outputs=["bands"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (3, r"^config must be a preset, a path, a Config or a mapping, got int$"),
        ("nothing", r"^config must be a preset \(.*\) or the path of a YAML file, got 'nothing'$"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(config: Any, message: str) -> None:
    with pytest.raises(nl.ConfigError, match=message):
        nl.open_pipeline(config, sfreq=250, units="uV")


def test_a_stream_of_another_kind_is_refused() -> None:
    with pytest.raises(nl.ConfigError, match=r"^stream must be a StreamInfo, .* or left out for arrays, got ndarray$"):
        nl.open_pipeline(BANDS, noise())


def test_every_misuse_is_a_value_error_too() -> None:
    assert issubclass(nl.InputError, ValueError)
    assert issubclass(nl.InputError, nl.NeuroloopError)
