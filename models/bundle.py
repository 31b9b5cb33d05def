"""Bundles: a trained network with all it needs, in one folder.

=====================  =====================================================================================
file                   holds
=====================  =====================================================================================
``model.safetensors``  the weights, float32, named as `neuroloop.models.lstm.weights` says
``model.json``         `neuroloop.config.bundle.BundleSettings`, with the SHA-256 of the weights
``MODEL_CARD.md``      what it is for, what it was trained on, how good it is and what it must not be used for
``baseline.json``      optional, put there by hand: baselines of drift monitors (``neuroloop baseline make``)
=====================  =====================================================================================

Nothing is pickled: loading a bundle runs none of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from neuroloop.config.bundle import BundleSettings
from neuroloop.config.errors import BundleError, StreamMismatch
from neuroloop.config.json_text import parse_json
from neuroloop.config.kinds import TRUSTED, CodeRules, rules_for_files
from neuroloop.models.lstm.weights import check_tensors
from neuroloop.stream.contracts.chunks import StreamInfo

WEIGHTS_FILE, SETTINGS_FILE, CARD_FILE = "model.safetensors", "model.json", "MODEL_CARD.md"
BASELINE_FILE = "baseline.json"
"""Optional: what drift monitors compare with, as ``neuroloop baseline make`` writes it; it states its own hash."""
_FILES = (WEIGHTS_FILE, SETTINGS_FILE, CARD_FILE)
_RATE_TOLERANCE = 1e-6
"""Relative; a nominal rate written with six digits agrees with itself."""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Parameters
    ----------
    settings : BundleSettings
        What ``model.json`` says.
    arrays : dict
        From tensor name to float32 array; read-only.
    """

    settings: BundleSettings
    arrays: dict[str, NDArray[np.float32]]

    @property
    def bundle_hash(self) -> str:
        """SHA-256 of the settings, which hold that of the weights; independent of how ``model.json`` is laid out."""
        canonical = json.dumps(self.settings.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def save_bundle(
    folder: Path | str, settings: BundleSettings, arrays: Mapping[str, NDArray[Any]], model_card: str
) -> Bundle:
    """Write a bundle; the folder appears whole or not at all.

    Parameters
    ----------
    folder : path
        Where; an existing bundle there is replaced.
    settings : BundleSettings
        Everything but the hash: ``sha256`` is computed here, whatever it holds.
    arrays : mapping
        From tensor name to float32 array.
    model_card : str
        Text of ``MODEL_CARD.md``.

    Returns
    -------
    Bundle
        What was written, as `load_bundle` reads it.

    Raises
    ------
    BundleError
        If the tensors are not the network's, the settings contradict themselves or the folder holds something else.
    """
    target = Path(folder)
    check_tensors(settings.network, arrays)
    weights = save_safetensors({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    settings = settings.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    _check_input(settings)
    if target.exists():
        foreign = (
            sorted({path.name for path in target.iterdir()} - {*_FILES, BASELINE_FILE})
            if target.is_dir()
            else [target.name]
        )
        if foreign:
            raise BundleError(f"folder must be new, empty or a bundle, got {str(target)!r} with {', '.join(foreign)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (target.with_name(f".{target.name}.{label}-{os.getpid()}") for label in ("new", "old"))
    fresh.mkdir()
    try:
        _write(fresh / WEIGHTS_FILE, weights)
        _write(fresh / SETTINGS_FILE, (settings.model_dump_json(indent=2) + "\n").encode())
        _write(fresh / CARD_FILE, model_card.encode())
        bundle = load_bundle(fresh, code=TRUSTED)  # it holds what the caller has built
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return bundle


def load_bundle(folder: Path | str, *, code: CodeRules | None = None) -> Bundle:
    """Read a bundle and check all of it.

    Parameters
    ----------
    folder : path
    code : CodeRules, optional
        Whether its stages may be ``package.module:Class``; only with ``--allow-code`` unless given.

    Raises
    ------
    BundleError
        If the folder or a file is missing, the weights are not the bytes that were saved, ``model.json`` is wrong
        (every wrong key is named) or a tensor is missing, superfluous, misshapen, not float32 or not finite.
    """
    source = Path(folder)
    if not source.is_dir():
        raise BundleError(
            f"bundle must be a folder, got {str(source)!r}, which is {'a file' if source.exists() else 'missing'}"
        )
    missing = [name for name in _FILES if not (source / name).is_file()]
    if missing:
        raise BundleError(f"bundle must hold {', '.join(_FILES)}, got {str(source)!r} without {', '.join(missing)}")
    settings = _read_settings(source / SETTINGS_FILE, code or rules_for_files())
    _check_input(settings)
    weights = (source / WEIGHTS_FILE).read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    if digest != settings.sha256:
        raise BundleError(
            f"{WEIGHTS_FILE} must have the SHA-256 that {SETTINGS_FILE} states, {settings.sha256}, got {digest}:"
            f" {str(source)!r} was altered"
        )
    try:
        arrays = load_safetensors(weights)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:  # a type that NumPy has none of is a KeyError
        raise BundleError(f"{WEIGHTS_FILE} must be a safetensors file, got {str(source)!r}: {error}") from error
    check_tensors(settings.network, arrays)
    for array in arrays.values():
        array.flags.writeable = False
    return Bundle(settings, arrays)


def check_stream(bundle: Bundle, info: StreamInfo) -> None:
    """Refuse a stream that a bundle was not made for.

    The rate must agree to 1e-6 of itself, the number of channels exactly, the names in order (unless the bundle says
    ``any_names``). A unit that the bundle leaves empty is unknown and accepts any; a unit that it knows refuses every
    other one, the unknown unit of a stream included: a factor of a million would go unnoticed.

    Raises
    ------
    StreamMismatch
        With every difference, in one line.
    """
    wanted = bundle.settings.input
    differences = []
    if abs(info.sfreq - wanted.sfreq) > _RATE_TOLERANCE * wanted.sfreq:
        differences.append(f"rate {info.sfreq!r} Hz in place of {wanted.sfreq!r} Hz")
    if info.n_channels != len(wanted.ch_names):
        differences.append(f"{info.n_channels} channels in place of {len(wanted.ch_names)}")
    if not wanted.any_names and info.ch_names != wanted.ch_names:
        if sorted(info.ch_names) == sorted(wanted.ch_names):
            differences.append(f"channel order {', '.join(info.ch_names)} in place of {', '.join(wanted.ch_names)}")
        else:
            lacking = [name for name in wanted.ch_names if name not in info.ch_names]
            foreign = [name for name in info.ch_names if name not in wanted.ch_names]
            differences.append(
                f"channels {', '.join(lacking) or 'none'} missing, {', '.join(foreign) or 'none'} unknown"
            )
    if info.n_channels == len(wanted.ch_units):
        for name, unit, expected in zip(info.ch_names, info.ch_units, wanted.ch_units, strict=True):
            if expected and unit != expected:
                differences.append(f"unit {unit!r} in place of {expected!r} in channel {name}")
    if differences:
        raise StreamMismatch(
            f"stream must be what bundle {bundle.settings.name!r} was made for, got {info.name!r} with"
            f" {'; '.join(differences)}"
        )


def _write(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_settings(path: Path, code: CodeRules) -> BundleSettings:
    """Parse ``model.json``; name every key that is wrong."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path.name} must be JSON, got {str(path)!r}: {error}") from error
    try:
        return BundleSettings.model_validate(content, context=code.as_context())
    except ValidationError as error:
        faults = [(".".join(map(str, fault["loc"])) or "the whole", fault["msg"]) for fault in error.errors()]
        listed = "; ".join(
            f"{key}: {message}".replace(": Value error, kind must", ".kind must") for key, message in faults
        )
        raise BundleError(f"{path.name} must describe a bundle, got {str(path)!r} with {listed}") from error


def _check_input(settings: BundleSettings) -> None:
    """Refuse an input with another number of units than channels."""
    n_names, n_units = len(settings.input.ch_names), len(settings.input.ch_units)
    if n_names != n_units:
        raise BundleError(f"input.ch_units must have one entry per channel ({n_names}), got {n_units!r}")
