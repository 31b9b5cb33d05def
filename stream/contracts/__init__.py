"""What every part of the program agrees on: chunks, events, the seams and the errors.

This module imports nothing of ours. The seams are Protocols with one working method each:

===============  =============================================  ==========================================
seam             contract                                       who implements it
===============  =============================================  ==========================================
`Source`         ``read(timeout_s) -> RawBlock | None``         ``stream/sources``
`MarkerSource`   ``read() -> list[Marker]``                     ``stream/sources``
`Processor`      ``process(chunk) -> Chunk``                    ``processors``, the classifier in ``models``
`Monitor`        ``observe(chunk) -> Sequence[Finding]``        ``processors/drift``
`Reporter`       ``take_findings() -> Sequence[Finding]``       processors that have something to say
`Policy`         ``decide(probabilities) -> list[Event]``       ``models``
`EventSink`      ``write(events)``                              ``sinks``, the cold process's consumers
`Tap`            ``write_chunk(stage, chunk)``                  ``sinks`` that keep or send rows
===============  =============================================  ==========================================
"""
