"""The rules that give samples their numbers: one kernel, one pass, explicit state.

The *line* is the stamp that the next sample should carry. It is followed by an expanding-memory line fit [1]_: the
recursion whose gains are those of a least-squares line through the last ``weight`` stamps. The weight is half a second
of samples at first, so that the nominal rate counts, then three quarters of the samples seen, so that the nominal rate
is forgotten, and stays at five seconds. It finds an effective rate of 186 Hz under a nominal 250 within a second,
averages the jitter of packets, and forgets what is older than some five seconds. A second line with a memory of five
minutes gives the effective rate by which missing samples are counted: 274 s of them ask for more than five seconds of
jittery stamps tell. Every quantity is a recursion over samples, so nothing depends on how the stream was cut.

On recordings that lost nothing the line's largest lead was 32 ms (OpenBCI over radio), 43 ms (Muse, stamps that go
backwards) and 151 ms (one OpenBCI file whose computer stalled for four seconds), against a tolerance of 250 ms.

References
----------
.. [1] Morrison, Introduction to Sequential Smoothing and Prediction, McGraw-Hill, 1969, chapter 9.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, types
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray

IntArray = NDArray[np.int64]

LINE_PRIOR_S = 0.5
LINE_MEMORY_S = 5.0
LINE_GROWTH = 0.75
RATE_MEMORY_S = 300.0
HISTORY = 4096
"""Samples whose stamp, and a check sum of whose row, are remembered to recognise a repeated one."""
MAX_MISSING = 1e12
RATE_BLOCK_S = 5.0
RATE_BLOCKS = 4
"""The effective rate is compared with the nominal one every 5 s; four blocks in a row make a verdict."""
MIN_RATE_BLOCK = 16
MIN_CLEAN = 16
"""Steps of one period before a longer one counts as a gap while ``auto`` still judges."""

# modes
JUDGING, COUNTER, REGULAR, BURSTY, ARRIVAL = 0, 1, 2, 3, 4

# floats: parameters, state, then the last row, the remembered stamps, and the check sums of their rows
SFREQ, TOLERANCE, LINE_TOLERANCE, LINE_PRIOR, LINE_MEMORY, RATE_MEMORY, RATE_TOLERANCE = 0, 1, 2, 3, 4, 5, 6
N_FLOAT_PARAMETERS = 7
LINE, PERIOD, RATE_LINE, RATE_PERIOD, SEEN, PREVIOUS, REFERENCE, CELLS, WHOLE, LAST_STAMP, WATCHED_RATE = (
    7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
)  # fmt: skip
BLOCK_LINES = 18
GAP_FROM = BLOCK_LINES + RATE_BLOCKS + 1
GAP_TO = GAP_FROM + 1
ROW = GAP_TO + 1

# ints: parameters, state, counters
AUTO, N_JUDGE, N_TOLERANCE, N_RESET, N_BLOCK = 0, 1, 2, 3, 4
N_INT_PARAMETERS = 5
MODE, START, NEXT, STARTED, ON_LINE, LAST_NUMBER, JUDGED, OFF_GRID, LONG, SINCE, HEAD, KEPT = (
    5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
)  # fmt: skip
RECEIVED, FILLED, JUMPED, DUPLICATES, BACKWARD, NONFINITE, GAPS, CLOCK_STEPS, COUNTER_RESETS, BAD_STAMPS = (
    17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
)  # fmt: skip
NEXT_BLOCK, BLOCKS_DONE, IS_OFF_RATE = 27, 28, 29
BLOCK_NUMBERS = 30
GAP_AGE = BLOCK_NUMBERS + RATE_BLOCKS + 1
GAP_LEFT, REPEATING = GAP_AGE + 1, GAP_AGE + 2
N_INTS = GAP_AGE + 3

# a note is the advance of the sample number times 4 plus a remark; a dropped sample advances by 0
PLAIN_NOTE = 4
NO_REMARK, CLOCK_STEP, COUNTER_RESET, OFF_RATE = 0, 1, 2, 3

_F1_IN = types.Array(float64, 1, "C", readonly=True)
_F2_IN = types.Array(float64, 2, "C", readonly=True)
_I1_IN = types.Array(int64, 1, "C", readonly=True)
_B1_IN = types.Array(boolean, 1, "C", readonly=True)


@kernel(inline=True)
def _check_sum(data: FloatArray, row: int) -> float:
    """Reduce a row to one number, the same for equal rows; values that are not finite count as 1."""
    total = 0.0
    for c in range(data.shape[1]):
        value = data[row, c]
        total = total * 0.9375 + (value if np.isfinite(value) else 1.0)
    return total


@kernel(inline=True)
def _is_remembered(data: FloatArray, row: int, stamp: float, floats: FloatArray, ints: IntArray) -> bool:
    """Search the ring of remembered samples, whose stamps ascend, for exactly this stamp and row."""
    base = ROW + data.shape[1]
    low, high = ints[HEAD] - ints[KEPT], ints[HEAD]
    while low < high:
        middle = (low + high) // 2
        if floats[base + middle % HISTORY] < stamp:
            low = middle + 1
        else:
            high = middle
    known = low < ints[HEAD] and floats[base + low % HISTORY] == stamp
    return bool(known and floats[base + HISTORY + low % HISTORY] == _check_sum(data, row))


@kernel(inline=True)
def _is_late(stamp: float, floats: FloatArray, ints: IntArray) -> bool:
    """Return whether a sample comes right after a gap that ``regular`` counted, and belongs into it."""
    half = 0.5 / floats[SFREQ]
    inside = floats[GAP_FROM] + half < stamp < floats[GAP_TO] - half
    return bool(ints[GAP_LEFT] > 0 and ints[GAP_AGE] <= ints[N_TOLERANCE] and inside)


@kernel(inline=True)
def _is_same_row(data: FloatArray, row: int, last: int, floats: FloatArray) -> bool:
    """Compare a row with the last accepted one: row ``last`` of the same block, or the kept one."""
    for c in range(data.shape[1]):
        value = data[row, c]
        other = data[last, c] if last >= 0 else floats[ROW + c]
        if value != other and not (np.isnan(value) and np.isnan(other)):
            return False
    return True


@kernel(inline=True)
def _follow(floats: FloatArray, line: int, stamp: float, advance: int, memory: float) -> None:
    """Advance the line at ``line`` (its period stands behind it) to a stamp; a lead beyond the tolerance moves it."""
    sfreq = floats[SFREQ]
    lead = stamp - (floats[line] + floats[line + 1] * advance)
    if abs(lead) > floats[LINE_TOLERANCE] or sfreq == 0:
        floats[line] = stamp
        return
    weight = min(max(LINE_GROWTH * floats[SEEN], floats[LINE_PRIOR]), memory)
    scale = weight * (weight + 1.0)
    floats[line] = stamp - lead + 2.0 * (2.0 * weight - 1.0) / scale * lead
    period = floats[line + 1] + 6.0 / scale * lead
    floats[line + 1] = min(max(period, 0.5 / sfreq), 2.0 / sfreq)


@kernel(inline=True)
def _regular_advance(data: FloatArray, row: int, last: int, stamp: float, floats: FloatArray, ints: IntArray) -> int:
    """Return by how much a stamp advances the number under ``regular``; 0 for a sample to drop.

    Samples with stamps below the newest one are counted, so that the next higher stamp is compared with where it
    should be; if they are more than the tolerance holds, the clock stays behind and the newest stamp is forgotten.
    """
    if stamp <= floats[REFERENCE]:
        step = stamp - floats[PREVIOUS]
        repeated = step == 0 and (ints[AUTO] == 0 or _is_same_row(data, row, last, floats))
        if repeated or _is_remembered(data, row, stamp, floats, ints):
            return 0
        if _is_late(stamp, floats, ints):
            ints[GAP_LEFT] -= 1
            if ints[AUTO] != 0:
                ints[MODE] = BURSTY
            return 0
        ints[SINCE] += 1
        if ints[SINCE] > ints[N_TOLERANCE]:
            floats[REFERENCE] = stamp
            ints[SINCE] = 0
            ints[KEPT] = 0
        if step >= -floats[TOLERANCE] and ints[AUTO] != 0:
            ints[MODE] = BURSTY
        return 1
    cells = (stamp - floats[REFERENCE]) * floats[SFREQ] - ints[SINCE]
    if cells < 0.5 and ints[AUTO] != 0:
        ints[MODE] = BURSTY
    return int64(np.rint(min(cells, MAX_MISSING))) if cells > 1.5 else 1


@kernel(inline=True)
def _watch_rate(floats: FloatArray, ints: IntArray, number: int, block: int) -> bool:
    """Close a block at the sample with this number; say whether an episode of a wrong rate begins here.

    A stream that stalls and catches up is off in opposite directions in neighbouring blocks; only a rate that is off
    in the same direction in all blocks is wrong. It is right again when all blocks are within the tolerance.
    """
    done = ints[BLOCKS_DONE]
    slot = done % (RATE_BLOCKS + 1)
    floats[BLOCK_LINES + slot] = floats[LINE]
    ints[BLOCK_NUMBERS + slot] = number
    ints[BLOCKS_DONE] = done + 1
    ints[NEXT_BLOCK] = number + block
    if done < RATE_BLOCKS:
        return False
    n_fast = n_slow = 0
    for b in range(done - RATE_BLOCKS, done):
        begin, end = b % (RATE_BLOCKS + 1), (b + 1) % (RATE_BLOCKS + 1)
        cells = (floats[BLOCK_LINES + end] - floats[BLOCK_LINES + begin]) * floats[SFREQ]
        count = float64(ints[BLOCK_NUMBERS + end] - ints[BLOCK_NUMBERS + begin])
        n_fast += count > cells * (1.0 + floats[RATE_TOLERANCE])
        n_slow += count < cells * (1.0 - floats[RATE_TOLERANCE])
    oldest = (done + 1) % (RATE_BLOCKS + 1)
    span = floats[BLOCK_LINES + slot] - floats[BLOCK_LINES + oldest]
    if ints[IS_OFF_RATE] == 0:
        if max(n_fast, n_slow) == RATE_BLOCKS and span > 0:
            ints[IS_OFF_RATE] = 1
            floats[WATCHED_RATE] = (number - ints[BLOCK_NUMBERS + oldest]) / span
            return True
    elif n_fast + n_slow == 0:
        ints[IS_OFF_RATE] = 0
    return False


@kernel(inline=True)
def _weigh(floats: FloatArray, ints: IntArray, cells: float) -> None:
    """Note one step in periods for the judgement of ``auto``."""
    whole = np.rint(cells)
    if whole < 1 or abs(cells - whole) > 0.25:
        ints[OFF_GRID] += 1
    elif whole > 1:
        ints[LONG] += 1
    floats[CELLS] += cells
    floats[WHOLE] += whole


@kernel(inline=True)
def _clean_skip(floats: FloatArray, ints: IntArray, cells: float) -> int:
    """Return the samples that a step in periods leaves out, 0 unless all steps so far were of one period.

    A stream that has been perfectly regular for a quarter of the time of judgement is taken at its word; otherwise a
    loss in its first seconds would stay unseen up to the tolerance of packets.
    """
    whole = np.rint(cells)
    is_clean = ints[AUTO] != 0 and ints[OFF_GRID] == 0 and ints[LONG] == 0
    if not is_clean or ints[JUDGED] < max(MIN_CLEAN, ints[N_JUDGE] // 4) or abs(cells - whole) > 0.25:
        return 0
    return int(min(whole, MAX_MISSING)) - 1


@kernel(inline=True)
def _judge(floats: FloatArray, ints: IntArray) -> None:
    """Decide between ``regular`` and ``bursty`` once enough samples were seen."""
    ints[JUDGED] += 1
    if ints[JUDGED] >= ints[N_JUDGE]:
        on_grid = ints[OFF_GRID] == 0 and floats[WHOLE] > 0 and 10 * ints[LONG] <= ints[N_JUDGE]
        at_rate = abs(floats[CELLS] - floats[WHOLE]) <= 0.01 * floats[WHOLE]
        ints[MODE] = REGULAR if on_grid and at_rate else BURSTY


@kernel(
    int64(
        _F2_IN,
        _F1_IN,
        _I1_IN,
        _B1_IN,
        float64[::1],
        int64[::1],
        float64[:, ::1],
        float64[::1],
        boolean[::1],
        int64[::1],
        float64[::1],
    )
)
def number_samples(
    data: FloatArray,
    timestamps: FloatArray,
    numbers: IntArray,
    valid: BoolArray,
    floats: FloatArray,
    ints: IntArray,
    out_data: FloatArray,
    out_timestamps: FloatArray,
    out_valid: BoolArray,
    notes: IntArray,
    rates: FloatArray,
) -> int:
    """Number the samples, copy them out and note what is special; return how much is.

    Parameters
    ----------
    data : array, shape (n_samples, n_channels)
    timestamps : array, shape (n_samples,)
    numbers : array of int64, shape (n_samples,)
        Sample numbers; may be empty where the mode is not ``COUNTER``.
    valid : array of bool, shape (n_samples,) or (0,)
        What the source says about its rows; empty means all true.
    floats, ints : array
        Parameters and state, advanced.
    out_data, out_timestamps, out_valid : array
        Filled with one row per input row, dropped ones included; a stamp that is not finite becomes the line's.
    notes : array of int64, shape (>= n_samples,)
        Filled with ``advance * 4 + remark``.
    rates : array of float64, shape (>= n_samples,)
        Filled with the effective rate where the remark is ``OFF_RATE``.

    Returns
    -------
    int
        0 if every sample follows its predecessor and the mode stayed the same.
    """
    n_samples, n_channels = data.shape
    sfreq = floats[SFREQ]
    tolerance = floats[TOLERANCE]
    line_tolerance = floats[LINE_TOLERANCE]
    history = ROW + n_channels
    mode_before = ints[MODE]
    special = 0
    last = -1
    for i in range(n_samples):
        stamp = timestamps[i]
        mode = ints[MODE]
        stamped = np.isfinite(stamp)
        follows = ints[STARTED] != 0
        compared = follows and stamped and ints[ON_LINE] != 0
        advance = 1
        remark = NO_REMARK
        step = stamp - floats[PREVIOUS] if compared else 0.0
        repeated = False

        if mode == COUNTER:
            number = numbers[i]
            if follows:
                difference = number - ints[LAST_NUMBER]
                if difference > 0:
                    advance = difference
                elif -difference > ints[N_RESET] and compared and stamp > floats[REFERENCE]:
                    remark = COUNTER_RESET
                else:
                    repeated = True
            if not repeated:
                ints[LAST_NUMBER] = number
        elif compared and mode == REGULAR:
            advance = _regular_advance(data, i, last, stamp, floats, ints)
            repeated = advance == 0
        elif compared and (mode in (BURSTY, JUDGING)):
            lead = stamp - (floats[LINE] + floats[PERIOD])
            skipped = _clean_skip(floats, ints, step * sfreq) if mode == JUDGING else 0
            if skipped > 0:
                advance = 1 + skipped
            elif lead > line_tolerance:
                # a rate that fell gives a lead, too, but no long step
                if step > 1.5 * max(floats[PERIOD], 1.0 / sfreq):
                    advance = 1 + int64(np.rint(min(lead / floats[RATE_PERIOD], MAX_MISSING)))
            elif stamp < floats[REFERENCE] or (ints[REPEATING] != 0 and stamp == floats[REFERENCE]):
                # where the signal stands still, an equal row proves nothing
                tells = ints[REPEATING] != 0 or not _is_same_row(data, i, last, floats)
                repeated = tells and _is_remembered(data, i, stamp, floats, ints)
                if not repeated and _is_late(stamp, floats, ints):
                    ints[GAP_LEFT] -= 1
                    repeated = True

        ints[REPEATING] = 1 if repeated else 0
        if repeated:
            ints[DUPLICATES] += 1
            for c in range(n_channels):
                out_data[i, c] = data[i, c]
            out_timestamps[i] = stamp
            out_valid[i] = False
            notes[i] = 0
            special += 1
            continue

        ints[GAP_AGE] += 1
        if compared:
            if mode == REGULAR and advance > 1:
                floats[GAP_FROM] = floats[REFERENCE]
                floats[GAP_TO] = stamp
                ints[GAP_AGE] = 0
                ints[GAP_LEFT] = advance - 1
            if step < 0:
                ints[BACKWARD] += 1
            lead = stamp - (floats[LINE] + floats[PERIOD] * advance)
            if step < -tolerance and (lead < -line_tolerance or mode not in (BURSTY, JUDGING)):
                remark = CLOCK_STEP
                ints[CLOCK_STEPS] += 1
                floats[REFERENCE] = stamp
                ints[SINCE] = 0
                ints[KEPT] = 0
            floats[SEEN] += 1.0
            _follow(floats, LINE, stamp, advance, floats[LINE_MEMORY])
            _follow(floats, RATE_LINE, stamp, advance, floats[RATE_MEMORY])
            if mode == JUDGING and advance == 1 and remark == NO_REMARK:
                _weigh(floats, ints, step * sfreq)
        elif stamped:
            floats[LINE] = floats[RATE_LINE] = stamp
            floats[REFERENCE] = stamp
            ints[ON_LINE] = 1
        else:
            ints[BAD_STAMPS] += 1
            ints[SINCE] += advance
            if ints[ON_LINE] != 0:
                floats[LINE] += floats[PERIOD] * advance
                floats[RATE_LINE] += floats[RATE_PERIOD] * advance
                stamp = floats[LINE]
        if stamped:
            floats[PREVIOUS] = stamp
            if stamp > floats[REFERENCE]:
                floats[REFERENCE] = stamp
                ints[SINCE] = 0
            if mode in (REGULAR, BURSTY, JUDGING) and stamp == floats[REFERENCE]:
                head = ints[HEAD]
                floats[history + head % HISTORY] = stamp
                floats[history + HISTORY + head % HISTORY] = _check_sum(data, i)
                ints[HEAD] = head + 1
                ints[KEPT] = min(ints[KEPT] + 1, HISTORY)
        if remark == COUNTER_RESET:
            ints[COUNTER_RESETS] += 1
        number_now = ints[NEXT] + advance - 1
        if remark != NO_REMARK or advance - 1 > ints[N_RESET] or follows == 0:
            ints[BLOCKS_DONE] = 0
            ints[NEXT_BLOCK] = number_now
        ends_block = number_now >= ints[NEXT_BLOCK] and sfreq > 0 and ints[ON_LINE] != 0
        if ends_block and _watch_rate(floats, ints, number_now, ints[N_BLOCK]):
            remark = OFF_RATE
            rates[i] = floats[WATCHED_RATE]
        ints[STARTED] = 1
        last = i

        if mode == JUDGING:
            _judge(floats, ints)

        finite = len(valid) == 0 or valid[i]
        whole_row = True
        for c in range(n_channels):
            value = data[i, c]
            out_data[i, c] = value
            whole_row &= np.isfinite(value)
        if not whole_row:
            ints[NONFINITE] += 1
        out_timestamps[i] = stamp
        out_valid[i] = finite and whole_row
        ints[RECEIVED] += 1
        ints[NEXT] += advance
        if advance > 1:
            ints[GAPS] += 1
            if advance - 1 <= ints[N_RESET]:
                ints[FILLED] += advance - 1
            else:
                ints[JUMPED] += advance - 1
        notes[i] = 4 * advance + remark
        special += notes[i] != PLAIN_NOTE

    if special == 0 and n_samples > 0:
        floats[LAST_STAMP] = out_timestamps[n_samples - 1]
        for c in range(n_channels):
            floats[ROW + c] = data[n_samples - 1, c]
    return int(special + (ints[MODE] != mode_before))
