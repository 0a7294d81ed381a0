"""What this machine can do at most: matrix products, matrix-vector products, memory."""

from __future__ import annotations

from statistics import median

import numpy as np
import report
import torch


def gemm(kind: torch.dtype, m: int, k: int, n: int) -> float:
    """GFLOP/s of (m, k) times (k, n), the median of the rounds."""
    left, right = torch.randn(m, k).to(kind), torch.randn(k, n).to(kind)
    out = torch.empty(m, n, dtype=kind)
    repeat = max(1, int(2e9 / (m * k * n)))
    taken = report.seconds(lambda: torch.mm(left, right, out=out), repeat=repeat)
    return 2 * m * k * n / median(taken) / 1e9


def gemm_peak(kind: torch.dtype) -> float:
    """GFLOP/s that large products reach: the best of a few sizes."""
    return max(gemm(kind, size, size, size) for size in (1024, 1536, 2048))


def main() -> None:
    """Measure, print and write the table."""
    large = np.ones(64 << 20, np.float32)
    matrix, vector = np.ones((2048, 512), np.float32), np.ones(512, np.float32)
    copying = 2 * large.nbytes / median(report.seconds(large.copy, repeat=1)) / 1e9
    gemv = matrix.nbytes / median(report.seconds(lambda: matrix @ vector, repeat=300)) / 1e9
    rows = [["matrix-vector product 2048x512, fp32", f"{gemv:.0f} GB/s"]]
    rows.append(["copying memory", f"{copying:.0f} GB/s"])
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rows.append([f"GEMM {name}, large", f"{gemm_peak(kind):.0f} GFLOP/s"])
        for m in (16, 64):
            rows.append(
                [f"GEMM {name}, ({m}x512)(512x2048)", f"{gemm(kind, m, 512, 2048):.0f} GFLOP/s"]
            )
    report.write("limits", "What this machine can do at most", ["what", "rate"], rows)


if __name__ == "__main__":
    main()
