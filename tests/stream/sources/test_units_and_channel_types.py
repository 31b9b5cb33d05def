"""Spellings of units and channel types."""

from __future__ import annotations

import pytest

from neuroloop.stream.sources.channel_types import (
    guess_channel_type,
    is_eeg_like,
    most_common_type,
    normal_channel_type,
)
from neuroloop.stream.sources.units import normal_unit

_UNITS = {
    "uV": (
        "microvolts",
        "Microvolt",
        "uV",
        "UV",
        "\u00b5V",
        "\u03bcV",
        "\u00c2\u00b5V",
        "[uV]",
        "-6",
        "micro volts",
        "uVolts",
    ),
    "mV": ("millivolts", "mV", "mv", "-3"),
    "V": ("V", "Volts", "volt", "v"),
    "degC": ("DegC", "\u00b0C", "Celsius", "degrees celsius", "C"),
    "bpm": ("BPM", "bpm", "beats/min"),
    "": ("", " ", "-", "n/a", "None", "unknown", None),
    **{text: (text,) for text in ("g", "dps", "adu", "l/min", "MV", "fT/cm", "0", "uS", "us", "mmHg")},
    "kOhm": ("kOhms",),
    "Ohm": ("\u03a9",),
    "m/s^2": ("m/s\u00b2",),
    "s": ("seconds",),
    "ms": ("milliseconds",),
    "nV": ("nanovolts", "nV\x00\x00"),
}
_TYPES = {
    "EEG": (
        *("Cz", "Fp1", "FPZ", "TP10", "Fc5.", "C5..", "EEG Fpz-Cz", "T8-P8", "C3-Ref", "C3-A2", "M1", "AFF5h"),
        "T8-P8-0",
        "T8-P8#2",
    ),
    "misc": ("AUX22", "V", "II", "AVR", "MOV_RIGHT", "BIP1", "Event marker", "ch1", "hr", "A-B"),
    "EMG": ("EMG submental",),
    "EOG": ("EOG1",),
    "ECG": ("EKG", "ECG2"),
    "RESP": ("Resp oro-nasal",),
    "TEMP": ("Temp rectal",),
    "PPG": ("PLETH",),
    "LFP": ("LFP_RIGHT_0",),
    "ECoG": ("ECOG_RIGHT_5",),
    "ACC": ("ACC_X",),
}


@pytest.mark.parametrize(("symbol", "text"), [(symbol, text) for symbol, texts in _UNITS.items() for text in texts])
def test_a_unit_becomes_its_symbol_or_stays_as_it_is(text: str | None, symbol: str) -> None:
    assert normal_unit(text) == symbol
    assert normal_unit(normal_unit(text)) == symbol


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in _TYPES.items() for name in names])
def test_a_type_is_guessed_from_the_name(name: str, kind: str) -> None:
    assert guess_channel_type(name) == kind


def test_declared_types_get_their_usual_spelling() -> None:
    assert [normal_channel_type(text) for text in ("eeg", " EKG ", "accelerometer", "Mystery", None)] == [
        "EEG", "ECG", "ACC", "Mystery", "",
    ]  # fmt: skip
    assert is_eeg_like("ieeg")
    assert not is_eeg_like("Markers")


@pytest.mark.parametrize(
    ("types", "common"),
    [
        (("EEG", "EOG", "EEG"), "EEG"),
        (("RESP", "EMG"), "RESP"),
        (("misc", "TEMP"), "TEMP"),
        (("misc", "misc", "TEMP"), "misc"),
        ((), "misc"),
    ],
)
def test_the_most_common_type_is_the_streams(types: tuple[str, ...], common: str) -> None:
    assert most_common_type(types) == common
