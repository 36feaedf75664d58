"""Chapter 2 from Python: do tokens that follow each other move together?  And which letter never moves?

Run it: python examples/phase1_2.py
"""

from llmlab import phase1_2
from llmlab.settings import Phase12Settings

for text in ("hello", "helloh"):
    settings = Phase12Settings(text=text, seeds=200)
    result = phase1_2.run(settings)
    found = result.metrics
    print(f"{text!r}, {settings.seeds} random starts")
    print(f"  h and e: {found['distance_before']:.2f} apart before, {found['distance_after']:.2f} after;")
    print(f"  they came closer in {found['distance_shrank_fraction']:.1%} of the starts.")
    for letter in "helo":
        moved = found[f"moved_{letter}"]
        print(f"  {letter} moved by {moved:.2f}" + ("  <- never an input: no gradient, no step" if moved == 0 else ""))
    print(f"  Inner product agrees with P(next): rank correlation {found['rank_correlation_product']:.2f};")
    print(f"  closeness does so with only {found['rank_correlation_closeness']:.2f}.\n")
