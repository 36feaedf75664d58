"""Chapter 4 from Python: does a deeper stack fit worse because it learns too much, or too little?

Run it: python examples/layers.py
"""

import tempfile
from pathlib import Path

from llmlab import layers
from llmlab.settings import LayersSettings

with tempfile.TemporaryDirectory() as folder:
    settings = LayersSettings(layers="1,6", seeds=1, epochs=2, remedy=False, out=Path(folder))
    result = layers.run(settings)

found = result.metrics

print("Two epochs of the synthetic language, one seed (llmlab layers has several, with intervals).\n")
print("layers   parameters   train loss   val loss   val PPL")
for depth in settings.depths:
    parameters, ppl = found[f"parameters_L{depth}"], found[f"val_ppl_L{depth}"]
    train, val = found[f"train_loss_L{depth}"], found[f"val_loss_token_L{depth}"]
    print(f"{depth:6d}   {parameters:10,}   {train:10.3f}   {val:8.3f}   {ppl:7.2f}")

worse = found["train_loss_L6"] - found["train_loss_L1"]
print(f"\nWithout dropout, six layers differ by {worse:+.3f} nats on the very text that they were trained on.")
