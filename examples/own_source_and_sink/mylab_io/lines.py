"""A sink: every event as a line of a file."""

from neuroloop.config.sinks import OwnSinkSettings
from neuroloop.stream.contracts.events import canonical


class Lines:
    class Settings(OwnSinkSettings):
        path: str

    def __init__(self, settings):
        self._file = open(settings.path, "a", encoding="utf-8")

    def write(self, events):
        self._file.writelines(f"{canonical(event)}\n" for event in events)
        self._file.flush()

    def close(self):
        self._file.close()
