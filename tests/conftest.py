"""Fixtures that every test may use."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # other conftests import it, before the rules below hold
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED_DATA = CHECKOUT.parent / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """Let ``kafka-python`` be as it is.

    On Python 3.11 it reads its own files in a way that is deprecated there, and it leaves the sockets with which it
    tried in vain to reach a broker to the garbage collector.
    """
    ignored = (
        "ignore:(read|open)_text is deprecated:DeprecationWarning",
        r"ignore:unclosed <(ssl\.SSLSocket|socket\.socket .*laddr=\('0\.0\.0\.0'):ResourceWarning",
    )
    for line in ignored:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recordings beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no folder of shared recordings beside the checkout")
    return SHARED_DATA
