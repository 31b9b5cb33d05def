"""What is said once for each stream and reason, and for so many of them only: a flood of names is no flood of lines."""

from __future__ import annotations

import logging

_log = logging.getLogger("neuroloop.worker")
_MAX_SAID = 1000
_MAX_NAME = 200


class SaidOnce:
    """Remember what was said of which stream."""

    def __init__(self) -> None:
        self._said: set[tuple[bytes, str]] = set()

    def is_first(self, stream: bytes, reason: str) -> bool:
        """Say whether this is the first time, and to be said.

        Parameters
        ----------
        stream : bytes
            Key of its messages.
        reason : str
            A text; what stands behind ``, got`` does not count.
        """
        one = stream[:_MAX_NAME], reason.partition(", got")[0][:_MAX_NAME]
        if one in self._said or len(self._said) > _MAX_SAID:
            return False
        self._said.add(one)
        if len(self._said) > _MAX_SAID:
            _log.warning("more than %d streams and reasons were named: no more are, all are counted", _MAX_SAID)
            return False
        return True
