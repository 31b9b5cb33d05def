"""Prove a stage that somebody else has written, and remember what came of it.

A verdict holds for one code, one set of settings and one stream; it is kept in the user's cache folder, so that a run
knows what ``check --prove`` has found.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.kernels import cache_folder
from neuroloop.config.kinds import code_sha256, told
from neuroloop.config.settings import Settings
from neuroloop.processors.stages import proof
from neuroloop.processors.stages.masked_run import run_masked
from neuroloop.processors.stages.own_stage import build_own_stage
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.protocols import Processor

FORMAT = "neuroloop-proof/1"
_SHORTEST, _LONGEST = 600, 60_000
"""Rows that a stage is tried on; more where it warms up slowly."""
_SEEDS = (11, 12, 13, 14, 15)


@dataclass(frozen=True)
class Verdict:
    """What is known of a stage.

    Parameters
    ----------
    verdict : str
        ``exact``: it holds all that our own stages hold. ``tolerant``: its numbers depend on the cutting or the CPU
        within `neuroloop.processors.stages.proof.TOLERATED`. ``refused``: it breaks a rule. ``unproven``: nobody has
        looked.
    reason : str
        Why it is refused; which check was not exact.
    error : float
        The largest relative error of a tolerant one.
    """

    verdict: Literal["exact", "tolerant", "refused", "unproven"]
    reason: str = ""
    error: float = 0.0

    def __str__(self) -> str:
        if self.verdict == "tolerant":
            return f"tolerant, within {self.error:.2g} ({self.reason})"
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict


def prove(stage: type[Any], settings: Settings, info: StreamInfo) -> Verdict:
    """Put a stage through the checks that our own stages are put through.

    Parameters
    ----------
    stage : type
    settings : Settings
    info : StreamInfo
        The stream that comes in; its rates and channels are those of the proof.
    """
    worst, reason = 0.0, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with the numbers is seen in the numbers
            for what, error in _checks(lambda: build_own_stage(stage, settings, info), stage, settings, info):
                if error > worst:
                    worst, reason = error, what
    except NeuroloopError as error:
        return Verdict("refused", str(error))
    except Exception as error:  # noqa: BLE001 - code of somebody else can fail in any way
        return Verdict("refused", told(error))
    return Verdict("tolerant", reason, worst) if worst > 0.0 else Verdict("exact")


def _checks(
    make: Callable[[], Processor], stage: type[Any], settings: Settings, info: StreamInfo
) -> list[tuple[str, float]]:
    """Run every check; return the errors of those that compare numbers."""
    first = make()
    if first.info_in != info:
        raise proof.ProofFailed("info_in must be the stream that the stage was made for, got another")
    ratio = max(info.sfreq / first.info_out.sfreq, 1.0)
    n_rows = int(min(max(_SHORTEST, 6 * (first.warmup_samples + 2 * ratio)), _LONGEST))
    chunk, other = (proof.spoiled(info, n_rows, seed, 42) for seed in (7, 8))
    plain = proof.as_chunk(proof.noise(info, n_rows, 9), info)
    proof.check_input_untouched(make, chunk)
    proof.check_pure(make, plain, other)
    proof.check_newest_input(make, plain, 3)
    for stop in (0, n_rows // 3, n_rows):
        proof.check_empty_chunk(make, chunk, stop)
        proof.check_state_is_copy(make, chunk, stop)
    errors = [("cut into single rows", proof.check_chunking(make, chunk, range(1, n_rows)))]
    for seed in _SEEDS:
        errors.append(("cut otherwise", proof.check_chunking(make, chunk, proof.cuts_of(n_rows, seed))))
        stop = int(np.random.default_rng(seed).integers(1, n_rows))
        errors.append(("resumed from a state", proof.check_resume(make, chunk, stop, other)))
        proof.check_bad_values(make, info, n_rows, seed, 100 * seed)
    errors.append(("after reset()", proof.check_reset(make, chunk, other)))
    proof.check_hard_values(make, info, n_rows)
    proof.check_warm_up(make, info, n_rows)
    proof.check_delay(make, info, n_rows)
    masked = run_masked(stage, settings, info, chunk)
    errors.append(("on a CPU with fewer features", proof.difference(masked, make().process(chunk), "on another CPU")))
    return errors


def recall(stage: type[Any], settings: Settings, info: StreamInfo) -> Verdict:
    """Return what was found before for this code, these settings and such a stream."""
    try:
        record = json.loads(_file(stage, settings, info).read_text(encoding="utf-8"))
        return Verdict(record["verdict"], record["reason"], float(record["error"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Verdict("unproven")


def remember(verdict: Verdict, stage: type[Any], settings: Settings, info: StreamInfo) -> None:
    """Keep a verdict for the runs to come."""
    path = _file(stage, settings, info)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({"format": FORMAT, **asdict(verdict)}) + "\n", encoding="utf-8")
    fresh.replace(path)


def _file(stage: type[Any], settings: Settings, info: StreamInfo) -> Path:
    """Return where a verdict is kept: by code, settings, stream and the libraries that compute."""
    stream = [info.sfreq, info.ch_names, info.ch_types, info.ch_units]
    key = [FORMAT, code_sha256(stage), settings.model_dump_json(), stream, np.__version__]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return proof_folder() / f"{digest}.json"


def proof_folder() -> Path:
    """Return the folder of all verdicts: in the user's cache."""
    return cache_folder().parent.parent / "proofs"
