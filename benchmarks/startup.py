"""Whole commands against ``import torch``, the floor of every experiment.  Ratios, measured in turns.

Run it alone on the machine: ``python benchmarks/startup.py``.  The bars are those of the project's design:
a chapter costs little more than the import it stands on, and help costs a fraction of it.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROUNDS = 11
LLMLAB = [sys.executable, "-m", "llmlab"]
COMMANDS = {
    "import torch": ([sys.executable, "-c", "import torch"], None),
    "phase1-2 --dim 2 --no-log": ([*LLMLAB, "phase1-2", "--dim", "2", "--no-log"], 1.25),
    "phase1-2 --dim 2, with entry and figures": ([*LLMLAB, "phase1-2", "--dim", "2"], 1.7),
    "--help": ([*LLMLAB, "--help"], 0.25),
}


def seconds(command: list[str], folder: Path) -> float:
    """Return how long a command takes from start to exit."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> int:
    """Time all commands in turns and print medians and ratios; return 1 if a bar is missed."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS + 1):
            for name, (command, _) in COMMANDS.items():
                taken = seconds(command, Path(folder))
                if turn:  # the first turn only warms the disk's cache
                    times[name].append(taken)
    floor = median(times["import torch"])
    print(f"{'command':<44} {'median s':>9} {'ratio':>6} {'bar':>6}")
    ratios_met = list[bool]()
    for name, (_, bar) in COMMANDS.items():
        ratio = median(times[name]) / floor
        ratios_met.append(bar is None or ratio <= bar)
        verdict = "" if bar is None else "ok" if ratios_met[-1] else "MISSED"
        print(f"{name:<44} {median(times[name]):>9.3f} {ratio:>6.2f} {bar or '':>6} {verdict}")
    return 0 if all(ratios_met) else 1


if __name__ == "__main__":
    sys.exit(main())
