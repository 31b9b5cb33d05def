"""How long a run has been armed in all: renewals by a script must not make the operator's presence needless."""

from __future__ import annotations


class ArmedTime:
    """Add up the time armed.

    Parameters
    ----------
    total_s : float
        The most of one run.
    """

    def __init__(self, total_s: float) -> None:
        self._total_ns = round(total_s * 1e9)
        self._before_ns = 0
        self._since_ns: int | None = None

    def used_ns(self, now_ns: int) -> int:
        """Return how long it has been armed so far."""
        return self._before_ns + (0 if self._since_ns is None else now_ns - self._since_ns)

    def until_ns(self, now_ns: int, arming_s: float) -> int:
        """Arm, or renew the arming, and return when it expires: never beyond what is left of the total."""
        if self._since_ns is None:
            self._since_ns = now_ns
        return now_ns + min(round(arming_s * 1e9), max(0, self._total_ns - self.used_ns(now_ns)))

    def end(self, now_ns: int) -> None:
        """Note that it is disarmed; may be called again."""
        self._before_ns = self.used_ns(now_ns)
        self._since_ns = None
