"""neuroloop: a real-time streaming signal processor, the same numbers live, in replay and on a cluster.

The folders of the checkout are the parts of this package: ``neuroloop.stream`` is ``stream/``, and so on.
"""

from pathlib import Path

# In a ZIP or a clone on Windows the links to the folders are small text files: take the folders themselves.
if not (Path(__file__).parent / "stream").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))
