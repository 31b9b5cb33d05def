"""From the pooled hidden state to class probabilities: dense layers, temperature, softmax."""

from __future__ import annotations

from typing import Any

from neuroloop.config.kernels import kernel
from neuroloop.models.lstm.activations import exp
from neuroloop.models.lstm.packing import (
    DENSE_BIAS,
    DENSE_BLOCKS,
    DENSE_COLUMNS,
    DENSE_INPUTS,
    DENSE_RELU,
    DENSE_WEIGHTS,
)
from neuroloop.models.lstm.simd32 import WIDTH, add, clamp, div, fma, load, store

_LARGEST = 3.4028234e38


@kernel(inline=True)
def apply_dense(weights: Any, plan: Any, layer_at: Any, x: Any, x_at: Any, out: Any, out_at: Any) -> Any:
    """Write one dense layer: bias plus ``x[k] * w[k]``, ``k`` ascending, each step one fused multiply-add."""
    n = plan[layer_at + DENSE_INPUTS]
    n_blocks = plan[layer_at + DENSE_BLOCKS]
    for block in range(n_blocks):
        total = load(weights, plan[layer_at + DENSE_BIAS] + block * WIDTH)
        place = plan[layer_at + DENSE_WEIGHTS] + block * WIDTH
        for k in range(n):
            total = fma(load(weights, place), x[x_at + k], total)
            place += n_blocks * WIDTH
        if plan[layer_at + DENSE_RELU]:
            total = clamp(total, 0.0, _LARGEST)
        store(out, out_at + block * WIDTH, total)


@kernel(inline=True)
def classify(
    weights: Any,
    plan: Any,
    dense_at: Any,
    n_dense: Any,
    temperature_at: Any,
    n_classes: Any,
    work: Any,
    first_at: Any,
    second_at: Any,
    out: Any,
    row: Any,
) -> Any:
    """Write the probabilities of ``work[first_at:]``; both places are used as scratch.

    Logits that overflowed are held at the largest float32 and the largest logit is taken away before the exponential,
    so that the result is finite and sums to one whatever came in.
    """
    source, target = first_at, second_at
    for layer in range(n_dense):
        apply_dense(weights, plan, dense_at + layer * DENSE_COLUMNS, work, source, work, target)
        source, target = target, source
    temperature = weights[temperature_at]
    largest = clamp(div(work[source], temperature), -_LARGEST, _LARGEST)
    for j in range(n_classes):
        logit = clamp(div(work[source + j], temperature), -_LARGEST, _LARGEST)
        work[source + j] = logit
        if logit > largest:
            largest = logit
    total = exp(add(work[source], -largest))
    work[source] = total
    for j in range(1, n_classes):
        value = exp(add(work[source + j], -largest))
        work[source + j] = value
        total = add(total, value)
    for j in range(n_classes):
        out[row, j] = div(work[source + j], total)
