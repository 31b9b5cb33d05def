"""Wrong arguments of the live commands: one clear line each, before anything is opened."""

import pytest

from tests.stream.cli.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("play simulator --chunk 0", "neuroloop play: chunk must be at least 1, got 0"),
        ("play simulator --speed 0", "neuroloop play: speed must be 'max' or a number above 0, got '0'"),
        ("play simulator --speed nan", "neuroloop play: speed must be 'max' or a number above 0, got 'nan'"),
        ("play simulator --speed 2 --restamp", "neuroloop play: speed must be 1 for stamps of the clock, got 2.0"),
        ("play simulator --seconds -1", "neuroloop play: seconds must be a number above 0, got -1.0"),
        ("play simulator --seconds nan", "neuroloop play: seconds must be a number above 0, got nan"),
        ("play simulator --select EEG", "neuroloop play: --loop, --select, --sfreq and --adapter must be left out"),
        ("play nowhere.xdf --seconds 3", "neuroloop play: --set and --seconds must be left out for a recording"),
        ("run monitor --seconds -1", "neuroloop run: seconds must be a number above 0, got -1.0"),
        ("run monitor --metrics-port 70000", "neuroloop run: metrics-port must be in [0, 65535], got 70000"),
        ("run monitor --set process.hot_core=999", "neuroloop run: process.hot_core must be one of the usable cores"),
        ("run demo --set process.hot_core=999", "neuroloop run: process.hot_core must be one of the usable cores"),
        ("demo --seconds 0", "neuroloop demo: seconds must be in (0, 86400], got 0.0"),
        ("demo --config monitor", "neuroloop demo: source.kind must be 'simulator' for a demo, got 'lsl'"),
        ("streams --wait 0", "neuroloop streams: wait must be in (0, 60] s, got 0.0"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(neuroloop: Command, arguments: str, line: str) -> None:
    done = neuroloop(*arguments.split())
    assert done.status == 1
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1
