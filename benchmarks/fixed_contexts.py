"""Chapters 5 and 6 at the original sizes: fixed contexts and training on them, against doing both token by token.

Two blocks of 6 layers, 768 wide, and a head over 50,257 words tied to a frozen embedding; random numbers, as speed does
not depend on them.  Five questions:

- Stage 1: how much faster is ``fixed_contexts`` than the token-by-token pass, and how far is it from it?
- Stage 2: how much faster are gradients of positions at once than autograd through the plain loop?
- Do tokens per second of either stage depend on the length of the text?
- How much memory does the frozen arm need at its peak, from contexts to updates and validation?
- How long do the pocket runs of both commands take?

All ways are timed in turns within this process; the peak and the pocket runs are of processes of their own.  Run it
alone on the machine: ``python benchmarks/fixed_contexts.py``, or with parts of it and sizes behind it (``--help``).  It
exits with 1 if a bar is missed.  Products in bf16 are timed on processors that multiply it (AVX-512 BF16, AMX, ARM from
v8.6).
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.embedding_freeze import BLOCKS, context_layers, fresh_parameters, initial, logits_by_token
from llmlab.fast.fixed_context_lm import NOT_SCORED, FixedContextLM
from llmlab.fast.fixed_contexts import FixedContexts, embedded, fixed_contexts
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.device import fast_bf16
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import Judging, Place

PARTS = ("stage1", "stage2", "length", "memory", "pocket")
STAGE_1, FAR = 10.0, 1e-4
STAGE_2 = {"fp32": 15.0} | ({"bf16": 45.0} if fast_bf16() else {})
LENGTHS, EVEN = (20_000, 500_000), 0.10
LENGTH_BATCHES = 2
"""Batches of one timing of stage 2 when lengths are compared: short ones, so that both texts meet the same machine."""
LENGTH_TURNS = 8
"""So many times the turns of stage 1 are taken of stage 2, whose timings are short."""
PEAK = 2.5e9
POCKET = 180.0
PLAIN_TOKENS = 24
"""Tokens of the plain loop that are timed in one turn."""

Found = TypeVar("Found")
Row = tuple[str, str, str, bool]
"""What was measured, its value, its bar, and whether it is met."""


class Bench:
    """Blocks, an embedding and a text of some sizes."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.size = BlockSize(args.width, args.width, args.layers)
        self.batch, self.turns = args.batch, args.turns
        chance = torch.Generator().manual_seed(0)
        self.frozen = initial(self.size.context_shapes(), 0)
        self.frozen["embedding"] = torch.randn(args.vocabulary, args.width, generator=chance).mul_(0.14)  # as GPT-2's
        self.ids = torch.randint(args.vocabulary, (args.tokens,), generator=chance)

    def contexts(self, n: int, out: Tensor | None = None) -> FixedContexts:
        """Return the contexts of the first n tokens, again and again the same if the text is shorter."""
        read = embedded(self.frozen["embedding"], self.ids, self.size.n_tokens)
        return fixed_contexts(self.size, self.frozen, lambda at: read(at % len(self.ids)), n, out=out)

    def model(self, contexts: Tensor, precision: str, *cuts: int) -> FixedContextLM:
        """Return the frozen, tied model over the first tokens."""
        ids = self.ids[: len(contexts)]
        embedding = self.frozen["embedding"]
        parameters = fresh_parameters(self.size, embedding, 0)
        streams = ids.tensor_split(cuts)
        return FixedContextLM(BLOCKS, self.size, self.frozen, streams, contexts, parameters, precision)

    def stage1(self) -> list[Row]:
        """Time the plain loop and segments side by side in turns, and compare all that both computed."""
        n, plain, fast = len(self.ids), list[float](), list[float]()
        some = min(n, 2000)
        read = embedded(self.frozen["embedding"], self.ids, self.size.n_tokens)
        for _ in range(self.turns):
            seconds, expected = timed(lambda: token_by_token(self.size, self.frozen, read(torch.arange(some))))
            plain.append(some / seconds)
            found = self.contexts(n)
            fast.append(n / found.seconds)
        far = float((found.contexts[:some] - expected).abs().max())
        ratio = median(fast) / median(plain)
        return [
            ("stage 1, plain loop", f"{median(plain):,.0f} tokens/s", "", True),
            ("stage 1, side by side", f"{median(fast):,.0f} tokens/s", "", True),
            ("  how many times faster", f"{ratio:.1f}", f">= {STAGE_1:.0f}", ratio >= STAGE_1),
            ("  warm-up, tokens", f"{found.warm_up}", "", True),
            (f"  largest error of {some:,} tokens", f"{far:.1e}", f"<= {FAR:.0e}", far <= FAR),
            (f"  as measured by itself on {found.checked}", f"{found.max_error:.1e}", f"<= {FAR:.0e}", not found.plain),
        ]

    def stage2(self) -> list[Row]:
        """Time gradients by the plain loop and by batches of positions in turns."""
        contexts = self.contexts(max(self.batch + 1, PLAIN_TOKENS + 1)).contexts
        models = {precision: self.model(contexts, precision) for precision in STAGE_2}
        ways: dict[str, tuple[int, Callable[[], object]]] = {
            "plain loop": (PLAIN_TOKENS, lambda: self.loop(models["fp32"]))
        }
        for precision, model in models.items():
            rows = model.windows()[: self.batch]
            ways[precision] = (
                self.batch,
                lambda model=model, rows=rows: model.gradients(  # type: ignore[misc]
                    rows[:, :1], rows[:, 1:], count=len(rows), place=Place(0, 0)
                ),
            )
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(self.turns + 1):
            for name, (tokens, way) in ways.items():
                seconds, _ = timed(way)
                if turn:  # the first turn chooses kernels
                    rates[name].append(tokens / seconds)
        found = [("stage 2, plain loop, autograd", f"{median(rates['plain loop']):,.1f} tokens/s", "", True)]
        for precision, bar in STAGE_2.items():
            ratio = median(rates[precision]) / median(rates["plain loop"])
            found += [
                (f"stage 2, {self.batch} at once, {precision}", f"{median(rates[precision]):,.0f} tokens/s", "", True),
                ("  how many times faster", f"{ratio:.1f}", f">= {bar:.0f}", ratio >= bar),
            ]
        return found

    def loop(self, model: FixedContextLM) -> list[Tensor]:
        """Return the gradients of some tokens by autograd through the plain loop."""
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in model.parameters.items()}
        scores = logits_by_token(self.size, self.frozen, leaves, self.ids[:PLAIN_TOKENS])
        losses = [
            F.cross_entropy(score, target) for score, target in zip(scores, self.ids[1 : PLAIN_TOKENS + 1], strict=True)
        ]
        return list(torch.autograd.grad(torch.stack(losses).mean(), list(leaves.values())))

    def length(self) -> list[Row]:
        """Time both stages over a short and a long text; a turn gives a ratio, so that a slow minute harms both."""
        long = max(LENGTHS)
        room = torch.empty(long, self.size.context)
        stage1 = self.far_apart("stage 1", lambda n: n / self.contexts(n, room[:n]).seconds, self.turns)
        room.normal_(generator=torch.Generator().manual_seed(1))  # the rest of stage 2 does not ask what it reads
        self.ids = self.ids.repeat(-(-long // len(self.ids)))
        models = {n: self.model(room[:n], "bf16" if fast_bf16() else "fp32") for n in LENGTHS}
        chance = torch.Generator().manual_seed(2)
        return stage1 + self.far_apart("stage 2", lambda n: self.updates(models[n], chance), LENGTH_TURNS * self.turns)

    def far_apart(self, stage: str, rate: Callable[[int], float], turns: int) -> list[Row]:
        """Return tokens per second over the short and the long text, and by how much they differ."""
        short, long = LENGTHS
        rate(short)  # the first time chooses kernels
        found = [(rate(short), rate(long), rate(short)) for _ in range(turns)]
        even = abs(median((before + after) / 2 / between for before, between, after in found) - 1)
        rates = {short: median(turn[0] for turn in found), long: median(turn[1] for turn in found)}
        return [(f"{stage} over {n:,} tokens", f"{rates[n]:,.0f} tokens/s", "", True) for n in LENGTHS] + [
            ("  how far apart", f"{even:.1%}", f"<= {EVEN:.0%}", even <= EVEN)
        ]

    def updates(self, model: FixedContextLM, chance: torch.Generator) -> float:
        """Return tokens per second of the gradients of a few batches, drawn anew from all of the text."""
        rows = model.windows()
        chosen = torch.randperm(len(rows), generator=chance)[: LENGTH_BATCHES * self.batch]

        def some() -> None:
            for at in torch.split(chosen, self.batch):
                batch = rows[at]
                model.gradients(batch[:, :1], batch[:, 1:], count=len(batch), place=Place(0, 0))

        seconds, _ = timed(some)
        return len(chosen) / seconds

    def memory(self) -> list[Row]:
        """Run contexts of the whole text, two updates and a validation, and return this process's peak."""
        n = len(self.ids)
        contexts, cut = torch.empty(n, self.size.context), int(0.9 * n)
        for part in (contexts[:cut], contexts[cut:]):
            # a tenth of each has the same peak: contexts are written in place
            self.contexts(len(part) // 10, part[: len(part) // 10])
        contexts[len(contexts) // 10 :].zero_()
        model = self.model(contexts, "bf16" if fast_bf16() else "fp32", cut)
        rows = model.windows(0)[: 2 * self.batch]
        recipe = Recipe(1, self.batch, 1e-3, clip="1.0")
        valid = model.windows(1)[:1024]
        Training(model, rows, valid, recipe, judging=Judging(NOT_SCORED, NOT_SCORED, self.batch)).run()
        # ru_maxrss counts KiB here, and bytes on macOS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return [(f"peak memory, {n:,} tokens, frozen", f"{peak / 1e9:.2f} GB", f"<= {PEAK / 1e9} GB", peak <= PEAK)]


def pocket() -> list[Row]:
    """Time both commands as a newcomer runs them, but for the log."""
    return [pocket_run(command) for command in ("embedding-freeze", "two-stage")]


def pocket_run(command: str) -> Row:
    """Time one command in a folder of its own, where its checkpoints go."""
    words = [sys.executable, "-m", "llmlab", command, "--no-log", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = timed(lambda: subprocess.run(words, cwd=folder, check=True))
    return (f"llmlab {command}", f"{seconds:,.0f} s", f"<= {POCKET:.0f} s", seconds <= POCKET)


def token_by_token(size: BlockSize, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the context after each token read, (n, M d) -> (n, c), with every matrix multiplied at every token."""
    context, found = torch.zeros(1, size.context), []
    with torch.no_grad():
        for row in torch.split(x, 1):  # type: ignore[no-untyped-call]
            context = context_layers(size, parameters, context, row)[-1]
            found.append(context)
    return torch.cat(found)


def timed(way: Callable[[], Found]) -> tuple[float, Found]:
    """Return how long something took, in seconds, and what it returned."""
    start = time.perf_counter()
    found = way()
    return time.perf_counter() - start, found


def arguments() -> argparse.Namespace:
    """Read sizes and parts from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none is named")
    for name, default in {
        "width": 768,
        "layers": 6,
        "vocabulary": 50_257,
        "tokens": 250_000,
        "batch": 512,
        "turns": 3,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    """Print what was measured, ratios and bars; return 1 if a bar is missed."""
    bench = Bench(args)
    if args.parts == ["memory"]:
        return report(bench.memory())
    print(f"{bench.size.layers} + {bench.size.layers} layers, {args.width} wide, {torch.get_num_threads()} threads")
    missed = 0
    for part in args.parts or PARTS:
        if part == "memory":  # in a process of its own: a peak does not fall
            sizes = [word for name in ("width", "layers", "vocabulary", "tokens", "batch")
                     for word in (f"--{name}", str(getattr(args, name)))]  # fmt: skip
            missed |= subprocess.run([sys.executable, __file__, "memory", *sizes]).returncode
        else:
            missed |= report(pocket() if part == "pocket" else getattr(bench, part)())
    return missed


def report(rows: list[Row]) -> int:
    """Print rows; return 1 if a bar is missed."""
    for what, value, bar, met in rows:
        print(f"{what:<42} {value:>16} {bar:>10} {'' if not bar else 'ok' if met else 'MISSED'}".rstrip(), flush=True)
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main(arguments()))
