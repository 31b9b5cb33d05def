"""neuroloop: a real-time streaming signal processor, the same numbers live, in replay and on a cluster.

``import neuroloop as nl`` gives the names below, each loaded when it is first used; the library page of the
documentation shows what they are for. The folders of the checkout are the parts of this package: ``neuroloop.stream``
is ``stream/``, and so on.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a ZIP or a clone on Windows the links to the folders are small text files: take the folders themselves.
if not (Path(__file__).parent / "stream").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:  # what type checkers and editors see; the table below is what happens
    from neuroloop.config.errors import ConfigError as ConfigError
    from neuroloop.config.errors import InputError as InputError
    from neuroloop.config.errors import NeuroloopError as NeuroloopError
    from neuroloop.config.errors import RecordingError as RecordingError
    from neuroloop.config.errors import StreamLost as StreamLost
    from neuroloop.config.errors import StreamMismatch as StreamMismatch
    from neuroloop.config.loading import load_config as load_config
    from neuroloop.config.tree import Config as Config
    from neuroloop.descriptions import stream_info as stream_info
    from neuroloop.lsl_stream import LslStream as LslStream
    from neuroloop.lsl_stream import open_stream as open_stream
    from neuroloop.pipeline import Pipeline as Pipeline
    from neuroloop.pipeline import open_pipeline as open_pipeline
    from neuroloop.processors.stages.row_stage import RowStage as RowStage
    from neuroloop.processors.stages.window_stage import WindowStage as WindowStage
    from neuroloop.results import Output as Output
    from neuroloop.results import Result as Result
    from neuroloop.runs import Run as Run
    from neuroloop.runs import open_run as open_run
    from neuroloop.runs import replay as replay
    from neuroloop.simulated import simulate as simulate
    from neuroloop.stream.contracts.chunks import Chunk as Chunk
    from neuroloop.stream.contracts.chunks import StreamInfo as StreamInfo
    from neuroloop.stream.contracts.events import Event as Event
    from neuroloop.stream.contracts.events import Marker as Marker
    from neuroloop.stream.sources.recordings.opening import open_recording as open_recording

_HOMES = {
    "Chunk": "neuroloop.stream.contracts.chunks",
    "Config": "neuroloop.config.tree",
    "ConfigError": "neuroloop.config.errors",
    "Event": "neuroloop.stream.contracts.events",
    "InputError": "neuroloop.config.errors",
    "LslStream": "neuroloop.lsl_stream",
    "Marker": "neuroloop.stream.contracts.events",
    "NeuroloopError": "neuroloop.config.errors",
    "Output": "neuroloop.results",
    "Pipeline": "neuroloop.pipeline",
    "RecordingError": "neuroloop.config.errors",
    "Result": "neuroloop.results",
    "RowStage": "neuroloop.processors.stages.row_stage",
    "Run": "neuroloop.runs",
    "StreamInfo": "neuroloop.stream.contracts.chunks",
    "StreamLost": "neuroloop.config.errors",
    "StreamMismatch": "neuroloop.config.errors",
    "WindowStage": "neuroloop.processors.stages.window_stage",
    "load_config": "neuroloop.config.loading",
    "open_pipeline": "neuroloop.pipeline",
    "open_recording": "neuroloop.stream.sources.recordings.opening",
    "open_run": "neuroloop.runs",
    "open_stream": "neuroloop.lsl_stream",
    "replay": "neuroloop.runs",
    "simulate": "neuroloop.simulated",
    "stream_info": "neuroloop.descriptions",
}
"""Where each public name lives."""

__all__ = sorted(_HOMES)  # noqa: PLE0605  # a list, of the one table


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'neuroloop' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_HOMES})
