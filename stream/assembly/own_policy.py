"""What is known of a policy that somebody else has written, its proof, and where an unproven one has no place.

Run as a program (``python -m``) it lets a policy decide rows on a CPU that has fewer features.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.config.decision import POLICY_KINDS, Decision, OwnDecisionSettings
from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.kinds import code_sha256, told
from neuroloop.config.open_settings import declared_settings
from neuroloop.models.own_policy import OwnPolicy, PolicyPlace, build_policy
from neuroloop.models.policy import ThresholdPolicy
from neuroloop.processors.stages.masked_run import masked_environment
from neuroloop.processors.stages.verdict import Verdict, recall, remember
from neuroloop.stream.contracts.chunks import Chunk, StateDict, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import canonical

_ROWS = 400
_SEEDS = (21, 22, 23, 24, 25)
_PATIENCE_S = 600.0


def own_policy_code(settings: Decision) -> dict[str, Any]:
    """Return what a plan's hash covers of a policy that is not built in; nothing for the one that is."""
    policy = POLICY_KINDS.class_of(settings)
    if policy is None or not isinstance(settings, OwnDecisionSettings):
        return {}
    return {"own_kind": settings.kind, "code_sha256": code_sha256(policy)}


def own_policy_proof(settings: Decision, info: StreamInfo) -> dict[str, Any]:
    """Return what was proved of a policy that is not built in, for such rows of probabilities."""
    policy = POLICY_KINDS.class_of(settings)
    return {} if policy is None else {"proof": asdict(recall(policy, settings, info))}


def refuse_unproven_policy(settings: Decision, info: StreamInfo, where: str) -> None:
    """Refuse a policy that is not built in and not proven exact.

    Parameters
    ----------
    settings : DecisionSettings or OwnDecisionSettings
    info : StreamInfo
        Of the probabilities.
    where : str
        Such as ``next to a stimulator``.

    Raises
    ------
    ConfigError
    """
    policy = POLICY_KINDS.class_of(settings)
    if policy is None or not isinstance(settings, OwnDecisionSettings):
        return
    verdict = recall(policy, settings, info)
    if verdict.verdict != "exact":
        raise ConfigError(
            f"decision.kind must be proven exact {where} (run 'neuroloop check CONFIG --prove --stream RECORDING' with "
            f"such a stream), got {settings.kind!r}, which is {verdict}"
        )


def prove_policy(settings: Decision, info: StreamInfo) -> Verdict | None:
    """Try a policy on random probabilities, cut and resumed at random, and keep the verdict.

    Parameters
    ----------
    settings : DecisionSettings or OwnDecisionSettings
    info : StreamInfo
        Of the probabilities; its channels are the classes.

    Returns
    -------
    Verdict or None
        ``exact`` or ``refused``; ``None`` for the policy that is built in.
    """
    policy = POLICY_KINDS.class_of(settings)
    if policy is None:
        return None
    try:
        reason = next(policy_faults(settings, info), "")
        verdict = Verdict("refused", reason) if reason else Verdict("exact")
    except NeuroloopError as error:
        verdict = Verdict("refused", str(error))
    except Exception as error:  # noqa: BLE001 - code of somebody else can fail in any way
        verdict = Verdict("refused", told(error))
    remember(verdict, policy, settings, info)
    return verdict


def policy_faults(settings: Decision, info: StreamInfo) -> Iterator[str]:
    """Run every check; say of each that fails what it was."""
    for seed in _SEEDS:
        rng = np.random.default_rng(seed)
        chunk, other = _rows(info, rng), _rows(info, rng)
        whole = _told(_make(settings, info), [chunk])
        if _told(_make(settings, info), [chunk]) != whole:
            yield "run again: other events"
        used = _make(settings, info)
        used.decide(other)
        used.reset()
        if _told(used, [chunk]) != whole:
            yield "after reset(): other events"
        one, two = _make(settings, info), _make(settings, info)
        beside: list[str] = []
        for row, strange in zip(_cut(chunk, range(1, _ROWS)), _cut(other, range(1, _ROWS)), strict=True):
            beside += _told(one, [row])
            two.decide(strange)
        if beside != whole:
            yield "row by row, beside another policy: other events"
        cuts = np.sort(rng.integers(0, _ROWS + 1, 30))
        if _told(_make(settings, info), _cut(chunk, cuts)) != whole:
            yield "cut into random chunks: other events"
        for stop in map(int, rng.integers(0, _ROWS + 1, 4)):
            yield from _resume_faults(settings, info, chunk, other, stop, whole)
    if _masked(settings, info, chunk) != whole:
        yield "on a CPU with fewer features: other events"


def _make(settings: Decision, info: StreamInfo) -> ThresholdPolicy | OwnPolicy:
    return build_policy(settings, PolicyPlace(info.ch_names, "proof", info.sfreq, 0.25, lambda k: 7 * k + 13, 20))


def _resume_faults(
    settings: Decision, info: StreamInfo, chunk: Chunk, other: Chunk, stop: int, whole: list[str]
) -> Iterator[str]:
    """Take the state in the middle, go on with another policy that has seen other rows."""
    first, second = _make(settings, info), _make(settings, info)
    head = _told(first, [chunk.slice(0, stop)])
    state = first.get_state()
    kept = {key: array.copy() for key, array in state.items()}
    second.decide(other)
    second.set_state(kept)
    if not _same(second.get_state(), kept):
        yield f"resumed at row {stop}: another state"
    if head + _told(second, [chunk.slice(stop, _ROWS)]) != whole:
        yield f"resumed at row {stop}: other events"
    first.decide(chunk.slice(stop, _ROWS))
    if not _same(state, kept):
        yield "get_state() must return new arrays"


def _same(one: StateDict, other: StateDict) -> bool:
    """Return whether two states are the same bytes."""
    return one.keys() == other.keys() and all(
        array.dtype == other[key].dtype and array.shape == other[key].shape and array.tobytes() == other[key].tobytes()
        for key, array in one.items()
    )


def _told(policy: ThresholdPolicy | OwnPolicy, chunks: Iterable[Chunk]) -> list[str]:
    """Return the events of chunks as they are written."""
    return [canonical(event) for chunk in chunks for event in policy.decide(chunk)]


def _cut(chunk: Chunk, places: Iterable[int]) -> list[Chunk]:
    """Cut rows at places; some pieces are empty."""
    edges = [0, *map(int, places), len(chunk)]
    return [chunk.slice(start, stop) for start, stop in pairwise(edges)]


def _rows(info: StreamInfo, rng: np.random.Generator) -> Chunk:
    """Make probabilities in runs of one class, undecided here and there, some flagged and some not finite."""
    n_classes = info.n_channels
    favoured = np.repeat(rng.integers(0, n_classes, _ROWS), rng.integers(1, 12, _ROWS))[:_ROWS]
    weights = rng.random((_ROWS, n_classes)) ** 2
    weights[np.arange(_ROWS), favoured] += rng.choice((0.0, 1.0, 20.0), _ROWS)
    data = weights / weights.sum(axis=1, keepdims=True)
    valid = rng.random(_ROWS) > 0.03
    data[~valid & (rng.random(_ROWS) < 0.5)] = np.nan
    first = int(rng.integers(0, 1000))
    return make_chunk(data, 3.0 + (first + np.arange(_ROWS)) / info.sfreq, first, valid, info)


def _masked(settings: Decision, info: StreamInfo, chunk: Chunk) -> list[str]:
    """Return the events of a policy on a CPU with fewer features."""
    policy: Any = POLICY_KINDS.class_of(settings)
    arrays = (np.array(chunk.data), np.array(chunk.timestamps), chunk.first_sample, np.array(chunk.valid))
    values = settings.model_dump(exclude_unset=True)
    question = (policy.__module__, policy.__qualname__, values, info, arrays)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__],
        input=pickle.dumps((list(sys.path), pickle.dumps(question))),
        env=os.environ | masked_environment() | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise ConfigError(f"the policy must run in another process, got: {lines[-1]}")
    answer: list[str] = pickle.loads(done.stdout)  # noqa: S301 - of our own process
    return answer


def main() -> None:
    """Read a policy and rows, write the events."""
    path, question = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - `_masked` has written it
    sys.path[:] = path
    module, name, values, info, (data, timestamps, first_sample, valid) = pickle.loads(question)  # noqa: S301
    policy: Any = importlib.import_module(module)
    for part in name.split("."):
        policy = getattr(policy, part)
    kind = f"{module}:{name}"
    settings: Any = declared_settings(policy, kind, OwnDecisionSettings).model_validate({**values, "kind": kind})
    made = _make(settings, info)
    sys.stdout.buffer.write(pickle.dumps(_told(made, [make_chunk(data, timestamps, first_sample, valid, info)])))


if __name__ == "__main__":
    main()
