"""A Faust agent that does nothing with the frames, or answers each: what any worker on Faust costs at the least.

``python -m benchmarks.kafka_bare BOOTSTRAP TOPIC GROUP N_FRAMES [ANSWERS]`` prints its processor seconds after the last
frame. Its client has the worker's own settings.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from config.kafka import KafkaSettings
from config.worker import WorkerSettings
from stream.worker.counts import WorkerCounts
from stream.worker.group import make_app, quiet_libraries


async def run(bootstrap: str, topic: str, group: str, n_frames: int, answers: str | None) -> None:
    """Take the frames and end."""
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(KafkaSettings(bootstrap=bootstrap), WorkerSettings(), group, Path(folder))
        quiet_libraries(WorkerCounts())
        source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
                           acks=False)  # fmt: skip
        done = asyncio.Event()
        n_taken = 0

        async def take(stream: Any) -> None:
            nonlocal n_taken
            async for event in stream.noack().events():
                n_taken += 1
                if answers is not None:
                    producer = await app.maybe_start_producer()
                    identity = dict(event.message.headers)["ce_id"]
                    await producer.send(answers, event.message.key, identity, None, None, None)
                if n_taken >= n_frames:
                    done.set()

        app.agent(source, name="bare")(take)
        await app.start()
        print("up", flush=True)
        await done.wait()
        print(f"{time.process_time():.6f}", flush=True)
        await asyncio.wait_for(app.stop(), 10)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        run(arguments[0], arguments[1], arguments[2], int(arguments[3]), arguments[4] if len(arguments) > 4 else None)
    )
