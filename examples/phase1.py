"""Chapter 1 from Python: how near to the floor does a frozen embedding come, in 1, 2, 8 and 64 dimensions?

Run it: python examples/phase1.py
"""

from llmlab import phase1
from llmlab.settings import Phase1Settings

SEEDS = 200

print(f"Only the output layer is trained, {SEEDS} random starts each.\n")
print("dim   mean loss   95 % interval     above floor   P(e after h)")
for dim in (1, 2, 8, 64):
    result = phase1.run(Phase1Settings(dim=dim, seeds=SEEDS))
    found = result.metrics
    interval = f"{found['loss_low']:.4f} to {found['loss_high']:.4f}"
    above = found["loss"] - found["loss_floor"]
    print(f"{dim:3d}      {found['loss']:.4f}   {interval}       {above:+.4f}          {found['p_next']:.3f}")

print("\nFrom two dimensions on a frozen embedding limits nothing but the speed: more dimensions, faster.")
