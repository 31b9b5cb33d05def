from __future__ import annotations

import io

from rich.console import Console

from neuroloop.models.training.progress import progress_bars


def test_every_training_has_a_bar_with_its_latest_figures() -> None:
    text = io.StringIO()
    with progress_bars(Console(file=text, width=120, force_terminal=False)) as progress:
        progress("fold 1/2", 1, 40, {"loss": 0.5})
        progress("bundle", 3, 40, {"loss": 0.25})
        progress("fold 1/2", 2, 40, {"loss": 0.125})
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    assert len(lines) == 2
    assert "fold 1/2" in lines[0]
    assert "2/40" in lines[0]
    assert "loss 0.125" in lines[0]
    assert "3/40" in lines[1]
