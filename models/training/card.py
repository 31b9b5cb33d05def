"""The text of a bundle's ``MODEL_CARD.md``, made from its numbers.

References
----------
.. [1] Mitchell et al., Model cards for model reporting, FAT* 2019.
"""

from __future__ import annotations

from typing import Any

from neuroloop.config.bundle import BundleSettings

_DATA_NOTES = {
    "seizure": (
        "Bonn EEG recordings (Andrzejak et al., Phys. Rev. E 64, 061907, 2001) in the form of the UCI table "
        '"Epileptic Seizure Recognition": single-channel segments of 1.025 s at 173.61 Hz. Sets C, D and E are '
        "intracranial recordings of patients, A and B scalp recordings of volunteers. Check the licence of your copy "
        "before you pass on data or weights made from it; the recordings are free for research with citation, and the "
        "terms of the copies in circulation differ."
    ),
    "simulator": "Signals of this program's own simulator, with a known state. No person was recorded.",
}
_USES = {
    "seizure": (
        "Method development, benchmarks of streaming classification, teaching. One bipolar or referenced channel in "
        "microvolts at 173.61 Hz, recorded like the Bonn set."
    ),
    "simulator": "The demonstration and tests of this program.",
}
_CAVEATS = {
    "seizure": (
        "The recordings come from ten people, and who is who was never published: no figure on them is "
        "subject-independent. Holding out blocks of neighbouring files is the strictest split that they allow.",
        "The recordings were chosen by eye and are free of strong artefacts. Real recordings are not.",
        "`healthy` includes the opposite hemisphere of patients. Most confusions are between it and `epileptogenic`.",
        "Absolute amplitude matters to the network: another unit, gain or reference gives other answers.",
        "Every class counts the same in training, whatever its share; probabilities are calibrated for that, not for "
        "the prevalence of seizures in a day's recording.",
    ),
    "simulator": ("It knows nothing about real EEG and must not be used on it.",),
}


def model_card(settings: BundleSettings) -> str:
    """Write the model card.

    Parameters
    ----------
    settings : BundleSettings
        With ``training`` as `neuroloop.models.training.train` fills it in.

    Returns
    -------
    str
        Markdown.
    """
    record = settings.training
    recipe = str(record["recipe"])
    parts = [
        f"# {settings.name}",
        "**Not a medical device.** Not for diagnosis, treatment, or any decision about a person's care.",
        _section("Intended use", _USES[recipe]),
        _section("Input and network", _network(settings)),
        _section("Training data", f"{_DATA_NOTES[recipe]}\n\n{_source(record)}"),
        _section("Held-out figures", _figures(settings)),
        _section("Caveats", "\n".join(f"- {text}" for text in _CAVEATS[recipe])),
        _section("Versions", ", ".join(f"{name} {text}" for name, text in record["versions"].items())),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _network(settings: BundleSettings) -> str:
    layers = ", ".join(
        f"{layer.hidden} units{' in both directions' if layer.bidirectional else ''}" for layer in settings.network.lstm
    )
    units = ", ".join(sorted(set(settings.input.ch_units) - {""})) or "any unit"
    return (
        f"{len(settings.input.ch_names)} channel(s) at {settings.input.sfreq:g} Hz in {units}; "
        f"stages {', '.join(stage.name for stage in settings.stages) or 'none'}; LSTM of {layers}, pooling "
        f"`{settings.network.pooling}`; a decision over {settings.window_samples} feature rows every "
        f"{settings.hop_samples}. Classes: {', '.join(settings.classes)}. Temperature {settings.temperature:g}."
    )


def _source(record: dict[str, Any]) -> str:
    facts = "\n".join(f"- {key}: `{value}`" for key, value in record["data"].items() if not isinstance(value, list))
    split = record["split"]
    return (
        f"{facts}\n- windows: `{split['n_windows']}` of `{split['n_groups']}` recordings, ids `{split['ids_sha256']}`"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _figures(settings: BundleSettings) -> str:
    record = settings.training
    split = record["split"]
    lines = [
        f"Split: {split['means']}; blocks of {split['block_size']}, early stopping on {split['stop_size']} others. "
        f"{len(record['folds'])} fold(s), {record['n']} windows. The bundle's own network was trained on all "
        "but its early-stopping block, for as long as that block gained.",
        "",
        f"Macro recall **{record['macro_recall']:.3f}**, accuracy {record['accuracy']:.3f}, "
        f"Cohen's kappa {_percent(record['kappa'])}, expected calibration error {record['ece']:.3f}.",
        "",
        "| class | recall | precision | F1 | windows |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {_percent(record['recall'][name])} | {_percent(record['precision'][name])} | "
        f"{_percent(record['f1'][name])} | {record['support'][name]} |"
        for name in settings.classes
    ]
    lines += ["", f"Confusion (rows: truth, columns: prediction): `{record['confusion']}`."]
    simple = record.get("amplitude_only")
    if simple:
        lines += [
            "",
            f"One threshold on the standard deviation of a window, on the same folds, has sensitivity "
            f"{simple['sensitivity']:.3f} and specificity {simple['specificity']:.3f} for `{simple['class']}`.",
        ]
    return "\n".join(lines)
