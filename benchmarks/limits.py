"""The fastest that this machine can be: matrix products, matrix-vector products, memory.

python benchmarks/limits.py
"""

from __future__ import annotations

from statistics import median

import numpy as np
import report
import torch

PEAK_SIZES = (1024, 1536, 2048)
"""Sides of the matrices whose best product is the peak."""
MIN_PRODUCTS_PER_ROUND = 2e9
"""Multiplications in a round, so that a round is long enough to be measured."""


def gemm(dtype: torch.dtype, rows: int, inner: int, columns: int) -> float:
    """GFLOP/s of (rows, inner) times (inner, columns): the median of the rounds."""
    left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    out = torch.empty(rows, columns, dtype=dtype)
    products = rows * inner * columns
    repeat = max(1, int(MIN_PRODUCTS_PER_ROUND / products))
    times = report.seconds(lambda: torch.mm(left, right, out=out), repeat=repeat)
    return 2 * products / median(times) / 1e9


def gemm_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of large products: the best of a few sizes."""
    return max(gemm(dtype, size, size, size) for size in PEAK_SIZES)


def main() -> None:
    """Measures, prints and writes the table."""
    large = np.ones(64 << 20, np.float32)
    matrix, vector = np.ones((2048, 512), np.float32), np.ones(512, np.float32)
    copying = 2 * large.nbytes / median(report.seconds(large.copy)) / 1e9
    gemv = matrix.nbytes / median(report.seconds(lambda: matrix @ vector, repeat=300)) / 1e9
    rows = [
        ["matrix-vector product 2048x512, fp32", f"{gemv:.0f} GB/s"],
        ["copying memory", f"{copying:.0f} GB/s"],
    ]
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rows.append([f"GEMM {name}, large", f"{gemm_peak(dtype):.0f} GFLOP/s"])
        for batch_size in (16, 64):
            rate = gemm(dtype, batch_size, 512, 2048)
            rows.append([f"GEMM {name}, ({batch_size}x512)(512x2048)", f"{rate:.0f} GFLOP/s"])
    report.write("limits", "What this machine can do at most", ["what", "rate"], rows)


if __name__ == "__main__":
    main()
