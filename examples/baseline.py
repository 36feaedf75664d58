"""Chapter 3 from Python: is the context a memory?  The same model with one number of it, and with sixty-four.

Run it: python examples/baseline.py
"""

import tempfile
from pathlib import Path

from llmlab import baseline
from llmlab.settings import BaselineSettings

EPOCHS = 3

print(f"{EPOCHS} epochs of the synthetic language, one seed.\n")
print("numbers in the context   parameters   validation PPL   context recovered")
for size in (1, 64):
    with tempfile.TemporaryDirectory() as folder:
        settings = BaselineSettings(context=size, epochs=EPOCHS, out=Path(folder) / "run")
        result = baseline.run(settings)
    found = result.metrics
    recovered = f"{found['context_recovered']:.0%}"
    print(f"{size:22d}   {found['parameters']:10,}   {found['val_ppl']:14.2f}   {recovered:>17}")

print(f"\nThe best reader of the last word only has {found['exact_bigram_ppl']:.2f}, the best of all")
print(f"{found['bayes_ppl']:.2f}. The LayerNorm of a single number is always zero: nothing can be kept in it.")
