"""A Faust agent that does nothing with the frames, or answers each, or runs the pipeline: what is there without us.

``python -m benchmarks.kafka_bare BOOTSTRAP TOPIC GROUP N_FRAMES`` prints its processor seconds after a quarter of the
frames and after the last. Its client has the worker's own settings. With ``--pipeline FRAME_MS`` each frame makes it
push as many rows of its own through an engine of that stream: nothing is decoded, ordered, sent or kept.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.kafka_load import engine_of_wide_stream, frames_of, wide_rows, wide_stream
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.worker import WorkerSettings
from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.worker.counts import WorkerCounts
from neuroloop.stream.worker.faust_app import make_app, quiet_libraries

_OWN_S = 20.0
"""Rows of its own, pushed again and again: the stamps go on by themselves."""


class Pipelines:
    """Engines of streams, fed with rows of our own, a frame's worth at a time."""

    def __init__(self, frame_ms: float) -> None:
        frames = frames_of(wide_stream(0), wide_rows(_OWN_S, 1), frame_ms)
        self._blocks = [RawBlock(frame.data, frame.timestamps.copy()) for frame in frames]
        self._engines: dict[bytes, tuple[Engine, list[int]]] = {}

    def push(self, key: bytes) -> None:
        """Push the next rows of a stream."""
        known = self._engines.get(key)
        if known is None:
            known = self._engines[key] = (engine_of_wide_stream(), [0])
        engine, place = known
        turn, index = divmod(place[0], len(self._blocks))
        block = self._blocks[index]
        engine.push_block(RawBlock(block.data, block.timestamps + turn * _OWN_S))
        place[0] += 1


async def run(options: argparse.Namespace) -> None:
    """Take the frames and end."""
    pipelines = Pipelines(options.pipeline) if options.pipeline is not None else None
    n_frames, answers = options.n_frames, options.answers
    with tempfile.TemporaryDirectory() as folder:
        kafka = KafkaSettings(bootstrap=options.bootstrap)
        app = make_app(kafka, WorkerSettings(), options.group, Path(folder))
        quiet_libraries(WorkerCounts())
        source = app.topic(options.topic, key_type=bytes, value_type=bytes, key_serializer="raw",
                           value_serializer="raw", acks=False)  # fmt: skip
        done = asyncio.Event()
        n_taken, quarter_s = 0, 0.0

        async def answer(event: Any) -> None:
            producer = await app.maybe_start_producer()
            identity = dict(event.message.headers)["ce_id"]
            await producer.send(answers, event.message.key, identity, None, None, None)

        answering: Callable[[Any], Awaitable[None]] | None = answer if answers is not None else None

        async def take(stream: Any) -> None:
            nonlocal n_taken, quarter_s
            async for event in stream.noack().events():
                n_taken += 1
                if n_taken == n_frames // 4:
                    quarter_s = time.process_time()
                if pipelines is not None:
                    pipelines.push(event.message.key)
                if answering is not None:
                    await answering(event)
                if n_taken >= n_frames:
                    done.set()

        app.agent(source, name="bare")(take)
        await app.start()
        print("up", flush=True)
        await done.wait()
        print(f"{quarter_s:.6f} {time.process_time():.6f}", flush=True)
        await asyncio.wait_for(app.stop(), 10)


def main() -> None:
    """Run it as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka_bare", description=__doc__)
    for name in ("bootstrap", "topic", "group"):
        parser.add_argument(name)
    parser.add_argument("n_frames", type=int)
    parser.add_argument("--answers", help="topic for an answer to each frame")
    parser.add_argument("--pipeline", type=float, metavar="FRAME_MS")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
