"""Channel types: one spelling for what senders declare, and a cautious guess from a channel's name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_SPELLINGS = {
    "eeg": "EEG",
    "ieeg": "iEEG",
    "seeg": "SEEG",
    "ecog": "ECoG",
    "lfp": "LFP",
    "dbs": "DBS",
    "meg": "MEG",
    "emg": "EMG",
    "eog": "EOG",
    "heog": "EOG",
    "veog": "EOG",
    "ecg": "ECG",
    "ekg": "ECG",
    "ppg": "PPG",
    "pleth": "PPG",
    "bvp": "PPG",
    "resp": "RESP",
    "respiration": "RESP",
    "eda": "EDA",
    "gsr": "EDA",
    "temp": "TEMP",
    "temperature": "TEMP",
    "acc": "ACC",
    "accel": "ACC",
    "accelerometer": "ACC",
    "gyro": "GYRO",
    "gyroscope": "GYRO",
    "spo2": "SpO2",
    "sao2": "SpO2",
    "stim": "STIM",
    "trigger": "STIM",
    "misc": "misc",
    "aux": "misc",
}
_PREFERENCE = ("EEG", "iEEG", "SEEG", "ECoG", "LFP", "DBS", "MEG", "EMG", "EOG", "ECG")
_ELECTRODE = re.compile(
    r"(?:FPZ|FP\d{1,2}|NZ|IZ|I[12]|(?:AFF|AFP|AF|A|CCP|CPP|CP|C|FFC|FFT|FCC|FC|FTT|FT|F|NFP|OI|O|POO|PPO|PO|P|TPP|TTP|TP|T|M)"
    r"(?:Z|\d{1,2}H?))",
    re.IGNORECASE,
)
_AUXILIARY = re.compile(r"(?<![A-Za-z])AUX(?![A-Za-z])", re.IGNORECASE)
_REFERENCE = re.compile(r"-(?:REF|LE|RE|AR|AVG|AVERAGE|CAR)\d*$", re.IGNORECASE)


def is_eeg_like(stream_type: str) -> bool:
    """Say whether a stream's type is an electrical signal of the body."""
    return normal_channel_type(stream_type) in _PREFERENCE


def is_auxiliary(name: str) -> bool:
    """Say whether a channel is an auxiliary input by its name; senders declare it as what the amplifier is for."""
    return bool(_AUXILIARY.search(name))


def normal_channel_type(text: str | None) -> str:
    """Return a declared channel type in its usual spelling (``eeg`` is ``EEG``); unknown ones stay as they are."""
    plain = (text or "").strip()
    return _SPELLINGS.get(plain.lower(), plain)


def guess_channel_type(name: str) -> str:
    """Guess a channel's type from its name alone.

    Parameters
    ----------
    name : str
        Such as ``EEG Fpz-Cz``, ``Fc5.``, ``EMG submental``, ``LFP_RIGHT_0``.

    Returns
    -------
    str
        The type that the name begins with, ``EEG`` for electrodes of the 10-20 and 10-5 systems (a bipolar pair
        included), otherwise ``misc``.
    """
    plain = re.sub(r"#\d+$", "", name.strip()).rstrip(".").strip()  # without the number of a doubled name
    words = [word for word in re.split(r"[\s_:./-]+|(?<=[A-Za-z])(?=\d+$)", plain) if word]
    if words and words[0].lower() in _SPELLINGS:
        return _SPELLINGS[words[0].lower()]
    parts = [part.strip() for part in _REFERENCE.sub("", plain).split("-")]
    if len(parts) == 3 and parts[2].isdigit():
        parts = parts[:2]  # a running number behind a doubled bipolar name
    if parts and len(parts) <= 2 and all(_ELECTRODE.fullmatch(part) for part in parts):
        return "EEG"
    return "misc"


def most_common_type(types: Sequence[str]) -> str:
    """Return the most common type; of equally common ones the first in channel order, ``misc`` last."""
    counts = Counter(kind for kind in types if kind != "misc")
    best = max(counts, key=counts.__getitem__, default="misc")
    return best if counts[best] >= len(types) - counts.total() else "misc"


def preference(stream_type: str) -> int:
    """Return the place of a type in the order of preference, EEG first; a large number for anything else."""
    kind = normal_channel_type(stream_type)
    return _PREFERENCE.index(kind) if kind in _PREFERENCE else len(_PREFERENCE)
