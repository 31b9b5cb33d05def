"""Small recordings made byte by byte, independent of any reader."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

BOUNDARY = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")


def xdf_chunk(tag: int, content: bytes) -> bytes:
    body = struct.pack("<H", tag) + content
    return (b"\x01" + bytes([len(body)]) if len(body) < 256 else b"\x04" + struct.pack("<I", len(body))) + body


def xdf_header(
    stream_id: int,
    *,
    name: str = "amp",
    kind: str = "EEG",
    n_channels: int = 2,
    sfreq: str = "100",
    fmt: str = "float32",
    host: str = "lab",
    source_id: str = "amp-1",
    desc: str = "",
) -> bytes:
    xml = (
        f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type><channel_count>{n_channels}</channel_count>"
        f"<nominal_srate>{sfreq}</nominal_srate><channel_format>{fmt}</channel_format><source_id>{source_id}</source_id>"
        f"<hostname>{host}</hostname><desc>{desc}</desc></info>"
    )
    return xdf_chunk(2, struct.pack("<I", stream_id) + xml.encode())


def xdf_samples(stream_id: int, code: str, rows: Sequence[tuple[float | None, Sequence[float]]]) -> bytes:
    content = struct.pack("<I", stream_id) + b"\x04" + struct.pack("<I", len(rows))
    for stamp, values in rows:
        content += b"\x00" if stamp is None else b"\x08" + struct.pack("<d", stamp)
        content += struct.pack(f"<{len(values)}{code}", *values)
    return xdf_chunk(3, content)


def xdf_texts(stream_id: int, rows: Sequence[tuple[float | None, Sequence[str]]]) -> bytes:
    content = struct.pack("<I", stream_id) + b"\x01" + bytes([len(rows)])
    for stamp, values in rows:
        content += b"\x00" if stamp is None else b"\x08" + struct.pack("<d", stamp)
        for value in values:
            content += b"\x01" + bytes([len(value.encode())]) + value.encode()
    return xdf_chunk(3, content)


def xdf_offset(stream_id: int, when: float, offset_s: float) -> bytes:
    return xdf_chunk(4, struct.pack("<Idd", stream_id, when, offset_s))


def xdf_footer(stream_id: int, n_samples: int) -> bytes:
    return xdf_chunk(
        6, struct.pack("<I", stream_id) + f"<info><sample_count>{n_samples}</sample_count></info>".encode()
    )


def xdf_file(*chunks: bytes) -> bytes:
    return b"XDF:" + xdf_chunk(1, b"<info><version>1.0</version></info>") + b"".join(chunks)


def small_xdf() -> bytes:
    """Two data streams, text markers of another computer, a boundary in the middle."""
    rows = [(10.0, (1.0, 2.0)), (None, (3.0, 4.0)), (None, (5.0, 6.0)), (10.05, (7.0, 8.0))]
    return xdf_file(
        xdf_header(1, desc="<channels><channel><label>C3</label><unit>microvolts</unit><type>eeg</type></channel>"
                           "<channel><label>C4</label><unit>microvolts</unit><type>eeg</type></channel></channels>"),
        xdf_header(2, name="marks", kind="Markers", n_channels=1, sfreq="0", fmt="string", host="stim", source_id=""),
        xdf_header(3, name="acc", kind="Accelerometer", n_channels=1, sfreq="50", fmt="int16", source_id="acc-1"),
        xdf_samples(1, "f", rows[:2]),
        xdf_offset(1, 10.0, 5.0),
        xdf_offset(2, 10.0, 105.0),
        xdf_chunk(5, BOUNDARY),
        xdf_samples(1, "f", rows[2:]),
        xdf_texts(2, [(-89.98, ["go"]), (-89.96, ["stop"])]),
        xdf_samples(3, "h", [(10.0, (-7,)), (None, (9,))]),
        xdf_footer(1, 4),
        xdf_footer(2, 2),
        xdf_footer(3, 2),
    )  # fmt: skip


def edf_bytes(
    signals: Sequence[tuple[str, str, Sequence[float], Sequence[Sequence[int]]]],
    *,
    record_s: str = "1",
    reserved: str = "",
    n_records: int | None = None,
    is_bdf: bool = False,
    annotations: Sequence[bytes] | None = None,
) -> bytes:
    """Make an EDF or BDF file.

    ``signals``: label, unit, (physical min, max, digital min, max), stored numbers per record.
    """
    per_record = [len(records[0]) for *_, records in signals]
    labels = [label for label, *_ in signals]
    units = [unit for _, unit, *_ in signals]
    limits = [list(limit) for _, _, limit, _ in signals]
    width = 3 if is_bdf else 2
    n_bytes = 0
    if annotations is not None:
        n_bytes = max(len(item) for item in annotations)
        n_bytes += -n_bytes % 6
        labels.append("BDF Annotations" if is_bdf else "EDF Annotations")
        units.append("")
        limits.append([-1, 1, -32768, 32767])
        per_record.append(n_bytes // width)
    count = len(signals[0][3]) if signals else len(annotations or ())
    n = len(labels)
    head = b"\xffBIOSEMI" if is_bdf else b"0".ljust(8)
    head += b"".ljust(80) + b"".ljust(80) + b"01.01.0000.00.00" + str(256 * (n + 1)).encode().ljust(8)
    head += reserved.encode().ljust(44) + str(count if n_records is None else n_records).encode().ljust(8)
    head += record_s.encode().ljust(8) + str(n).encode().ljust(4)

    def column(values: Sequence[object], size: int) -> bytes:
        return b"".join((v.encode("latin-1") if isinstance(v, str) else str(v).encode()).ljust(size) for v in values)

    head += column(labels, 16) + column([""] * n, 80) + column(units, 8)
    for place in range(4):
        head += column([limit[place] for limit in limits], 8)
    head += column([""] * n, 80) + column(per_record, 8) + column([""] * n, 32)
    body = b""
    for record in range(count):
        for *_, records in signals:
            body += b"".join(int(v).to_bytes(width, "little", signed=True) for v in records[record])
        if annotations is not None:
            body += annotations[record].ljust(n_bytes, b"\x00")
    return head + body


def small_edf(*, is_bdf: bool = False) -> bytes:
    """Two signals at 4 Hz and one at 2 Hz, three records, annotations."""
    eeg = [[0, 100, 200, -300], [1, 2, 3, 4], [5, 6, 7, 8]]
    other = [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0, -1, -2]]
    slow = [[10, 20], [30, 40], [50, 60]]
    tal = [b"+0\x14\x14\x00", b"+1\x14\x14\x00+1.25\x150.5\x14go\x14\x00", b"+2\x14\x14\x00"]
    scale = (-200.0, 200.0, -2000, 2000)
    return edf_bytes(
        [
            ("EEG C3", "uV", scale, eeg),
            ("EEG C4", "uV", scale, other),
            ("Temp rectal", "DegC", (0, 100, 0, 1000), slow),
        ],
        annotations=tal,
        reserved="BDF+C" if is_bdf else "EDF+C",
        is_bdf=is_bdf,
    )


def gdf_bytes(
    signals: Sequence[tuple[str, int, int, int, Sequence[float], Sequence[Sequence[float]]]],
    *,
    version: str = "GDF 2.20",
    record: tuple[int, int] = (1, 1),
    n_records: int | None = None,
    events: Sequence[tuple[int, int]] = (),
    event_rate: float = 4.0,
) -> bytes:
    """Make a GDF file; ``signals``: label, unit code, type code, -, limits, stored numbers per record."""
    n, count = len(signals), len(signals[0][5])
    first = float(version[4:]) < 1.9
    head = version.encode().ljust(8)
    head += bytes(160) if first else bytes(176)
    if first:
        head += b"2020010100000000" + struct.pack("<q", 256 * (n + 1)) + bytes(44)
    else:
        head += struct.pack("<H", n + 1) + bytes(50)
    head += struct.pack("<qII", count if n_records is None else n_records, *record)
    head += struct.pack("<I", n) if first else struct.pack("<HH", n, 0)
    assert len(head) == 256
    head += b"".join(label.encode().ljust(16, b"\x00") for label, *_ in signals) + bytes(80 * n)
    if first:
        head += b"".join(b"uV".ljust(8) for _ in signals)
    else:
        head += bytes(6 * n) + b"".join(struct.pack("<H", unit) for _, unit, *_ in signals)
    for place in range(4):
        code = "<q" if first and place > 1 else "<d"
        head += b"".join(
            struct.pack(code, int(limits[place]) if code == "<q" else limits[place]) for *_, limits, _ in signals
        )
    head += bytes(80 * n)
    head += b"".join(struct.pack("<I", len(records[0])) for *_, records in signals)
    head += b"".join(struct.pack("<I", kind) for _, _, kind, *_ in signals)
    head += bytes(32 * n)
    codes = {3: "h", 16: "f", 17: "d", 5: "i"}
    body = b""
    for index in range(count):
        for _, _, kind, _, _, records in signals:
            body += struct.pack(f"<{len(records[index])}{codes[kind]}", *records[index])
    if events:
        body += b"\x01"
        if float(version[4:]) < 1.94:
            body += int(event_rate).to_bytes(3, "little") + struct.pack("<I", len(events))
        else:
            body += len(events).to_bytes(3, "little") + struct.pack("<f", event_rate)
        body += b"".join(struct.pack("<I", position) for position, _ in events)
        body += b"".join(struct.pack("<H", code) for _, code in events)
    return head + body


def small_gdf(version: str = "GDF 2.20") -> bytes:
    """Two signals at 4 Hz, two records, two events."""
    limits = (-100.0, 100.0, -1000.0, 1000.0)
    return gdf_bytes(
        [
            ("C3", 4275, 3, 0, limits, [[0, 10, 20, 30], [40, 50, 60, 70]]),
            ("C4", 4275, 3, 0, limits, [[-1, -2, -3, -4], [-5, -6, -7, -8]]),
        ],
        version=version,
        events=[(1, 768), (5, 769)],
    )


def write_brainvision(
    folder: Path,
    values: bytes,
    *,
    stem: str = "small",
    n_channels: int = 2,
    channels: Sequence[str] = ("C3,,0.5,\u00b5V", "Fp1\\1a,,2,mV"),
    fmt: str = "INT_16",
    orientation: str = "MULTIPLEXED",
    period_us: str = "4000",
    marks: Sequence[str] = (),
) -> Path:
    """Write the three files of a BrainVision recording; return the header's path."""
    entries = "\n".join(f"Ch{i + 1}={entry}" for i, entry in enumerate(channels))
    header = (
        "Brain Vision Data Exchange Header File Version 1.0\n; a comment\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={stem}.eeg\nMarkerFile={stem}.vmrk\nDataFormat=BINARY\nDataOrientation={orientation}\n"
        f"NumberOfChannels={n_channels}\nSamplingInterval={period_us}\n\n[Binary Infos]\nBinaryFormat={fmt}\n\n"
        f"[Channel Infos]\n{entries}\n\n[Comment]\nfree text = nothing\n"
    )
    lines = "\n".join(f"Mk{i + 1}={mark}" for i, mark in enumerate(marks))
    marker = f"Brain Vision Data Exchange Marker File, Version 1.0\n\n[Marker Infos]\n{lines}\n"
    (folder / f"{stem}.vhdr").write_text(header, encoding="utf-8")
    (folder / f"{stem}.vmrk").write_text(marker, encoding="utf-8")
    (folder / f"{stem}.eeg").write_bytes(values)
    return folder / f"{stem}.vhdr"


SMALL_CSV = b"time,C3 [uV],C4 [uV],marker\n0.000,1.0,2.0,0\n0.004,3.0,4.0,1\n0.008,5.0,nan,1\n0.012,,8.0,0\n"
