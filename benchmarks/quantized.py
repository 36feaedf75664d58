"""Eight-bit weights at the original sizes: bytes as written, and time beside fp32 at one thread.

The model is at its start, for bytes and time do not depend on what it has learned.  Processor time, medians in turns.
Run: ``python benchmarks/quantized.py``.
"""

import torch

from llmlab.after.quantize import eight_bits, times
from llmlab.baseline import ContextVectorLM
from llmlab.lab.checkpoint import packed
from llmlab.lab.sizes import Size

BAR = 3_600_000
"""The file of int8 linear weights may have so many bytes."""


def sizes(model: ContextVectorLM) -> None:
    """Print the bytes of each way of keeping the model, of its numbers and of its file."""
    numbers = sum(4 * tensor.numel() for tensor in model.parameters.values())
    file = sum(map(len, packed({"model": model.parameters}).values()))
    print(f"{'weights':<34} {'numbers':>12} {'file':>12} {'smaller':>8}")
    print(f"{'fp32':<34} {numbers:>12,} {file:>12,} {1:>8.2f}")
    for embedding in (False, True):
        for scheme in ("tensor", "row"):
            quantized = eight_bits(model, scheme, embedding=embedding)
            numbers = sum(tensor.numel() * tensor.element_size() for tensor in quantized.values())
            size = sum(map(len, packed({"model": quantized}).values()))
            name = f"int8 by {scheme}{', embedding too' if embedding else ''}"
            print(f"{name:<34} {numbers:>12,} {size:>12,} {file / size:>8.2f}")
            assert size <= BAR, "more than the bar"
    print(f"bar: an int8 file has at most {BAR:,} bytes\n")


def latency(model: ContextVectorLM) -> None:
    """Print the time of a token and of a window of 64, and its ratio to fp32."""
    windows = torch.randint(1, 1_000, (32, 64), generator=torch.Generator().manual_seed(0))
    print(f"{'what is read':<34} {'ms fp32':>12} {'ms int8':>12} {'ratio':>8}")
    for taken in times(model, eight_bits(model), windows, lambda: None):
        name = f"one {taken.what}, batch {taken.batch}"
        print(f"{name:<34} {taken.fp32:>12.3f} {taken.int8:>12.3f} {taken.ratio:>8.2f}")


if __name__ == "__main__":
    original = ContextVectorLM.initial(Size(), 0)
    sizes(original)
    latency(original)
