"""Chapter 5 from Python: a pretrained embedding, frozen and trained, and a random one, on the same few tokens.

Run it: python examples/embedding_freeze.py
"""

import tempfile
from pathlib import Path

from llmlab import embedding_freeze
from llmlab.settings import EmbeddingFreezeSettings

ARMS = ("frozen", "trained", "random-frozen")

with tempfile.TemporaryDirectory() as folder:
    settings = EmbeddingFreezeSettings(
        arms=",".join(ARMS), tokens=4_000, val_tokens=3_000, grow="none", seeds=1, out=Path(folder) / "runs"
    )
    result = embedding_freeze.run(settings)

found = result.metrics

print(f"{found['train_tokens']:,} tokens of the synthetic language, one seed (llmlab embedding-freeze has several).\n")
print("embedding       trained parameters   per token   train loss   val loss   val PPL")
for arm in ARMS:
    end = arm.replace("-", "_")
    count, ppl = found[f"trainable_parameters_{end}"], found[f"val_ppl_{end}"]
    train, val = found[f"train_loss_at_best_{end}"], found[f"val_loss_token_{end}"]
    print(f"{arm:14s}   {count:18,}   {count / settings.tokens:9.2f}   {train:10.3f}   {val:8.3f}   {ppl:7.2f}")

print(f"\nCounting pairs of words gives {found['bigram_ppl']:.2f}. The contexts moved by {found['context_drift']:g}.")
