"""Which device: --device, or CUDA where there is one. torch is imported only where a CUDA driver is installed."""

from __future__ import annotations

import ctypes

from harness.errors import ScoringError, did_you_mean


def has_cuda() -> bool:
    """Whether torch can use a CUDA device here; without NVIDIA's driver library the answer needs no torch."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


def gpu_use(device: str) -> int | None:
    """Per cent of the last sample period in which the GPU ran a kernel; None on a CPU or without nvidia-ml-py."""
    if not device.startswith("cuda"):
        return None
    import torch

    try:
        return int(torch.cuda.utilization(torch.device(device)))
    except (ModuleNotFoundError, RuntimeError, OSError):
        return None


def choose_device(wanted: str | None) -> str:
    """A device name: "cpu", "cuda" or "cuda:1". Raises ScoringError for anything else, or where there is no CUDA."""
    if wanted is None:
        return "cuda" if has_cuda() else "cpu"
    kind, _, index = wanted.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ScoringError(f"--device {wanted}: {did_you_mean(wanted, ['cpu', 'cuda', 'cuda:0'])}")
    if kind == "cuda" and not has_cuda():
        raise ScoringError(f"--device {wanted}: this machine has no usable CUDA device; use --device cpu")
    if index:
        import torch

        if kind == "cuda" and int(index) >= torch.cuda.device_count():
            raise ScoringError(f"--device {wanted}: this machine has {torch.cuda.device_count()} CUDA devices")
    return wanted
