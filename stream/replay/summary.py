"""What a replay comes to: what came in, what became of it, what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuroloop.stream.assembly.build import Built
from neuroloop.stream.engine.engine import Engine


def summarise_run(
    engine: Engine,
    built: Built,
    *,
    n_received: int,
    elapsed_s: float,
    notes: Sequence[str] = (),
    quality: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return ``summary.json``.

    Parameters
    ----------
    engine : Engine
        After its last sample.
    built : Built
    n_received : int
        Samples that the source handed over.
    elapsed_s : float
        Wall time of the loop in seconds.
    notes : sequence of str
        What is odd about the source.
    quality : mapping, optional
        What `neuroloop.stream.quality.quality.QualityMeter.report` returned; stands beside the counts of ``quality``.

    Returns
    -------
    dict
        ``samples``: ``in = processed + counted``, the counted by reason; beside them what was filled or jumped.
        ``left_out``: what stages do not do for this stream, as the plan says.
    """
    info = engine.pipeline.info
    books = engine.books()
    counted = {reason: books.counted[reason] for reason in sorted(books.counted)}
    return {
        "stream": {
            "name": info.name,
            "type": info.type,
            "sfreq": info.sfreq,
            "effective_sfreq": engine.sequencer.effective_sfreq,
            "n_channels": info.n_channels,
            "timing": engine.sequencer.mode,
        },
        "samples": {
            "in": n_received,
            "processed": books.processed,
            "counted": counted,
            "balanced": n_received == books.processed + sum(counted.values()),
            "missing": books.missing,
        },
        "quality": {**books.quality, **(quality or {})},
        "events": dict(sorted(engine.tally.events.items())),
        "predictions": dict(sorted(engine.tally.predictions.items())),
        "states": engine.state_seconds(),
        "left_out": built.plan.left_out,
        "plan_sha256": built.plan.hash,
        "elapsed_s": elapsed_s,
        "times_real_time": n_received / info.sfreq / elapsed_s if elapsed_s > 0 else None,
        "notes": list(notes),
    }
