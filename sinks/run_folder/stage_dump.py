"""``--dump STAGE=FILE.npz``: every row of one stage's output as arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo


class DumpError(NeuroloopError):
    """A dump cannot be written."""


class StageDump:
    """Collect the rows of one tap and write them as NPZ at the end.

    Keys: ``data`` (n_rows, n_channels) float64, ``timestamps`` (n_rows,), ``valid`` (n_rows,), ``first_sample`` (of the
    first row), ``samples`` (n_rows,) global index of each row, ``channels``, ``sfreq``, ``units``.

    Parameters
    ----------
    path : Path
        File to write; an existing one is replaced at the end.
    run_folder : Path, optional
        Folder that the run makes; a file in it needs no folder before.

    Raises
    ------
    DumpError
        If the file's name or folder will not do.
    """

    def __init__(self, path: Path, *, run_folder: Path | None = None) -> None:
        if path.suffix != ".npz":
            raise DumpError(f"dump must be a file whose name ends in .npz, got {str(path)!r}")
        is_made_later = run_folder is not None and path.resolve().is_relative_to(run_folder.resolve())
        if not is_made_later and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise DumpError(f"dump must be in a folder that exists and is writable, got {str(path)!r}")
        self._path = path
        self._chunks: list[Chunk] = []

    def add(self, chunk: Chunk) -> None:
        """Take the rows of one chunk, which is kept as it is: the engine gives each away."""
        if len(chunk):
            self._chunks.append(chunk)

    def save(self, info: StreamInfo) -> None:
        """Write the file; nothing is left of it if that fails.

        Parameters
        ----------
        info : StreamInfo
            What the tap gives out; describes the columns even where no row came.
        """
        chunks = self._chunks
        arrays = {
            "data": np.concatenate([chunk.data for chunk in chunks] or [np.empty((0, info.n_channels))]),
            "timestamps": np.concatenate([chunk.timestamps for chunk in chunks] or [np.empty(0)]),
            "valid": np.concatenate([chunk.valid for chunk in chunks] or [np.empty(0, np.bool_)]),
            "samples": np.concatenate(
                [np.arange(chunk.first_sample, chunk.next_sample) for chunk in chunks] or [np.empty(0, np.int64)]
            ),
            "first_sample": np.int64(chunks[0].first_sample if chunks else 0),
            "channels": np.array(info.ch_names, dtype=np.str_),
            "sfreq": np.float64(info.sfreq),
            "units": np.array(info.ch_units, dtype=np.str_),
        }
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            partial.replace(self._path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DumpError(f"dump must be a writable file, got {str(self._path)!r}: {error.strerror}") from error


class StageDumps:
    """The dumps of one run; implements `neuroloop.stream.contracts.protocols.Tap`.

    Parameters
    ----------
    paths : mapping of str to Path
        Files by stage name; see `StageDump`.
    run_folder : Path, optional
        As `StageDump` has it.

    Raises
    ------
    DumpError
        If a file's name or folder will not do.
    """

    def __init__(self, paths: Mapping[str, Path], *, run_folder: Path | None = None) -> None:
        self._dumps = {stage: StageDump(path, run_folder=run_folder) for stage, path in paths.items()}

    def write_chunk(self, stage: str, chunk: Chunk) -> None:
        """Take the rows of one stage; of one that is not dumped they are ignored."""
        dump = self._dumps.get(stage)
        if dump is not None:
            dump.add(chunk)

    def save(self, infos: Mapping[str, StreamInfo]) -> None:
        """Write all files; as `StageDump.save`."""
        for stage, dump in self._dumps.items():
            dump.save(infos[stage])
