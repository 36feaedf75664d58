"""Chapter 6 from Python: contexts computed token by token, and in segments side by side.  Is it the same, and how long?

Run it: python examples/two_stage.py
"""

import time

import torch

from llmlab.embedding_freeze import initial
from llmlab.fast.fixed_contexts import embedded, fixed_contexts, sequential
from llmlab.lab.block_sizes import BlockSize

TOKENS = 20_000

chance = torch.Generator().manual_seed(0)
embedding = torch.randn(1_000, 64, generator=chance)  # V x D
ids = torch.randint(len(embedding), (TOKENS,), generator=chance)
reads = embedded(embedding, ids)

print(f"{TOKENS:,} random tokens, a context of 64 numbers, blocks as chance made them.\n")
print("layers   warm-up   seconds   token by token   largest difference")
for layers in (2, 6):
    size = BlockSize(embedding=64, context=64, layers=layers)
    block = initial(size.context_shapes(), seed=0)
    side_by_side = fixed_contexts(size, block, reads, TOKENS)
    begun = time.perf_counter()
    plain = sequential(size, block, reads, TOKENS)
    took = time.perf_counter() - begun
    apart = float((plain - side_by_side.contexts).abs().max())
    print(f"{layers:6d}   {side_by_side.warm_up:7d}   {side_by_side.seconds:7.2f}   {took:14.2f}   {apart:18.7f}")

print("\nA block forgets what it held before, so a segment may begin anywhere. With fewer layers it forgets later,")
print("and makes more of the last bit on the way.")
