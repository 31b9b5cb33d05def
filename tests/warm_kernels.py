"""Compile every kernel once, before several processes that test would each compile all of them.

``python -m tests.warm_kernels`` takes a second or two where they are in the cache.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from neuroloop.config.kernels import cache_folder

CHECKOUT = Path(__file__).resolve().parent.parent


def modules_with_kernels() -> list[str]:
    """Return the names of all modules of the program that hold kernels."""
    found = []
    for room in ("config", "processors", "models", "stream"):
        for path in sorted((CHECKOUT / room).rglob("*.py")):
            if "\n@kernel(" in path.read_text(encoding="utf-8"):
                found.append(".".join(path.relative_to(CHECKOUT).with_suffix("").parts))
    return found


if __name__ == "__main__":
    for name in modules_with_kernels():
        import_module(name)
    sys.stdout.write(f"{sum(1 for _ in cache_folder().rglob('*.nbc'))} kernels in {cache_folder()}\n")
