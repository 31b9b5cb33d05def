"""What was probably meant."""

import pytest

from neuroloop.config.nearest import did_you_mean


@pytest.mark.parametrize(
    ("name", "said"),
    [("hop", " (did you mean 'hop_s'?)"), ("HOP_S", " (did you mean 'hop_s'?)"), ("bands", ""), ("", "")],
)
def test_the_nearest_name_is_said_and_nothing_where_none_is_near(name: str, said: str) -> None:
    assert did_you_mean(name, ["hop_s", "window_s"]) == said
