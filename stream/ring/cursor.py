"""The place of one named reader in a ring, kept in the ring itself, and its waiting for more."""

from __future__ import annotations

from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.header import HEAD, OPEN, STATE, WRITER, Place, RingHeader


class Cursor:
    """A reader's place; what is not committed comes again after a restart.

    Parameters
    ----------
    header : RingHeader
    reader : str
        One of the names that the ring was made with.
    bell : Bell or None
        What the writer rings; without it `wait` is refused.

    Raises
    ------
    ValueError
        If the ring was made without this reader.
    RuntimeError
        If a living process reads under this name.
    """

    def __init__(self, header: RingHeader, reader: str, bell: Bell | None) -> None:
        self._header = header
        self._slot = header.slot(reader)
        header.claim(self._slot, f"reader {reader!r}")
        self.place = header.load(self._slot)
        self._listener = bell.listen() if bell is not None else None
        self._is_open = True

    def advance(self, position: int, n_delivered: int, n_lost: int) -> None:
        """Move on, in this process only."""
        old = self.place
        self.place = Place(position, old.n_delivered + n_delivered, old.n_lost + n_lost)

    def commit(self, place: Place | None = None) -> None:
        """Keep a place in the ring, by default the present one: all that was read up to it is dealt with."""
        self._header.store(self._slot, self.place if place is None else place)

    def is_behind(self) -> bool:
        """Return whether there is something that this reader has not read."""
        return self._header.words[HEAD] > self.place.position

    def is_ended(self) -> bool:
        """Return whether all is read and the writer is gone (closed, or dead): nothing more will come."""
        return not self.is_behind() and self._is_writer_gone() and not self.is_behind()

    def _is_writer_gone(self) -> bool:
        """Ask the descriptor of the writer's process where there is one (1 us), else the process table (20 us)."""
        words = self._header.words
        if words[STATE] == OPEN and self._listener is not None and self._listener.hears_death_of(words[WRITER]):
            return self._listener.is_watched_dead()
        return self._header.is_writer_gone()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there is more, the writer is gone, its bell rang for another ring, or the time is over.

        Returns
        -------
        bool
            Whether there is something to read.

        Raises
        ------
        RuntimeError
            If the ring has no bell.
        """
        if self._listener is None:
            raise RuntimeError("bell must be given when the ring is made to wait for its rows, got None")
        if self.is_behind():
            return True
        pid = self._header.words[WRITER]
        if not self._listener.hears_death_of(pid):
            self._listener.watch(pid)
            if self._header.is_writer_gone():  # asked after the watch began: no death in between is missed,
                self._listener.watch(0)  # and no other process that got the number is watched
        if self._is_writer_gone():
            return self.is_behind()
        self._listener.wait(timeout_s)
        return self.is_behind()

    def close(self) -> None:
        """Free the reader's name and the descriptors; the committed place stays. May be called twice."""
        if self._is_open:
            self._is_open = False
            self._header.release(self._slot)
            if self._listener is not None:
                self._listener.close()
