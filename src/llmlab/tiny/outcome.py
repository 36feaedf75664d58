"""What is read off a trained stack of tiny models, one number per seed.

Covers the metrics that the tiny chapters report, under names that every chapter shares, and how numbers per seed
become metrics with intervals.  Leaves out tables, and what the numbers mean.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llmlab.measure.entropy import conditional_entropy, unigram_entropy
from llmlab.measure.geometry import affine_rank, distances, moved
from llmlab.measure.ranks import quantiles, rank_correlation
from llmlab.measure.stats import mean_interval, share_interval
from llmlab.report.result import counted
from llmlab.text.pairs import Pairs
from llmlab.tiny.training import TinyRun
from llmlab.tiny.trials import Equivariance, PoleStar


def per_seed(run: TinyRun, focus: int) -> dict[str, Tensor]:
    """Return each headline metric as an (S,) tensor; a boolean one is a share of seeds.

    ``p_next`` and ``correct_fraction`` speak of the token that follows ``focus`` most often; where several do,
    ``p_next`` takes the first in the text and each of them counts as correct.
    """
    followers = run.pairs.followers(focus)
    highest = max(followers.values())
    right = torch.tensor([token for token, share in followers.items() if share == highest])
    after_focus = run.after.probabilities()[:, focus]  # (S, V)
    return {
        "loss": run.losses[-1],
        "p_next": after_focus[:, next(iter(followers))],
        "correct_fraction": torch.isin(after_focus.argmax(-1), right),
        "embedding_moved": moved(run.before.embedding, run.after.embedding).mean(-1),
        "linear_moved": moved(run.before.weight, run.after.weight).mean(-1),
    }


def movement_per_seed(run: TinyRun, focus: int) -> dict[str, Tensor]:
    """Return the metrics that chapter 2 adds, each (S,): distances, who names the winner, and what tells P.

    The two rank correlations compare, over all pairs of an input and another token, P(next | input) with
    closeness (minus the distance of the two embeddings) and with the inner product that the model uses.
    """
    probabilities = run.after.probabilities()
    products = run.after.embedding @ run.after.weight.transpose(1, 2)  # (S, V, V): scores without bias
    found = {"score_argmax_agrees_fraction": products[:, focus].argmax(-1) == probabilities[:, focus].argmax(-1)}
    closeness, product, probability = _other_tokens(run, -distances(run.after.embedding), products, probabilities)
    if probability.shape[-1] > 2:  # with one or two pairs, ranks say nothing
        found["rank_correlation_closeness"] = rank_correlation(closeness, probability)
        found["rank_correlation_product"] = rank_correlation(product, probability)
    way, unseen = moved(run.before.embedding, run.after.embedding), run.pairs.unseen()  # (S, V)
    found["seen_moved"] = way[:, run.pairs.inputs()].mean(-1)
    if unseen:
        found["unseen_moved"] = way[:, unseen].mean(-1)
    other = next_other_token(run.pairs, focus)
    if other is not None:
        # one formula for both, so that what did not move is exactly as far apart as before
        before, now = (moved(model.embedding[:, focus], model.embedding[:, other]) for model in (run.before, run.after))
        found |= {"distance_before": before, "distance_after": now, "distance_shrank_fraction": now < before}
    return found


def turning(run: TinyRun, focus: int) -> dict[str, float]:
    """Return how the embedding of ``focus`` lies to the output row of the token that follows it, as metrics.

    The cosine before and after, and the share of seeds in which it rose.
    """
    wanted = next(iter(run.pairs.followers(focus)))
    before, after = (
        torch.cosine_similarity(model.embedding[:, focus], model.weight[:, wanted], dim=-1)
        for model in (run.before, run.after)
    )
    found = {"cosine_before": before, "cosine_after": after, "cosine_rose_fraction": after > before}
    return {name: number for metric, values in found.items() for name, number in interval(metric, values).items()}


def frozen(run: TinyRun) -> dict[str, float]:
    """Return what a frozen embedding did and allows, as metrics.

    The largest change of any of its numbers, and the share of seeds in which a linear layer can reach every table of
    scores: the inputs' places, with a constant 1 appended, are linearly independent.
    """
    inputs, dim = run.pairs.inputs(), run.before.embedding.shape[-1]
    change = float((run.after.embedding - run.before.embedding).abs().max())
    full = torch.zeros(len(run.before), dtype=torch.bool)
    if len(inputs) <= dim + 1:
        full = affine_rank(run.before.embedding[:, inputs]) == len(inputs)
    return {"embedding_change_max": change, **interval("reaches_every_table_fraction", full)}


def growth(run: TinyRun, focus: int) -> dict[str, float]:
    """Return the norms of the inputs' embeddings before and after, as metrics, and who is first.

    That is in how many seeds the token that follows ``focus`` moved farthest of all inputs, grew most, and both.
    """
    inputs, wanted = run.pairs.inputs(), next_other_token(run.pairs, focus)
    before, after = (model.embedding[:, inputs].norm(dim=-1) for model in (run.before, run.after))  # (S, inputs)
    found: dict[str, float] = {}
    for column, number in enumerate(inputs):
        token = run.pairs.vocabulary.tokens[number]
        found |= interval(f"norm_before_{token}", before[:, column])
        found |= interval(f"norm_after_{token}", after[:, column])
    if wanted in inputs:
        way = moved(run.before.embedding, run.after.embedding)[:, inputs]
        first, largest = (values.argmax(-1) == inputs.index(wanted) for values in (way, after - before))
        found |= interval("moved_most_fraction", first) | interval("grew_most_fraction", largest)
        found |= interval("moved_and_grew_most_fraction", first & largest)
    return found


def of_trials(
    arms: Mapping[str, TinyRun], turned: Sequence[Equivariance], star: Sequence[PoleStar]
) -> dict[str, float]:
    """Return what the side experiments found, as metrics; all but the losses are of the first seed."""
    found: dict[str, float] = {}
    for frozen, run in arms.items():
        found |= interval(f"loss_freeze_{frozen}", run.losses[-1])
    for name, row in zip(("sgd", "adam"), turned, strict=True):
        found[f"rotation_training_difference_{name}"] = row.probability_difference
    for name, moves in zip(("adam", "sgd", "adamw", "tied"), star, strict=False):
        found[f"unseen_moved_under_{name}"] = moves.embedding_moved
    return found


def next_other_token(pairs: Pairs, focus: int) -> int | None:
    """Return the token that follows ``focus`` most often and is not ``focus`` itself, if there is one."""
    return next((token for token in pairs.followers(focus) if token != focus), None)


def _other_tokens(run: TinyRun, *tables: Tensor) -> list[Tensor]:
    """Return (S, V, V) tables as (S, pairs) of inputs and other tokens: a token is at distance 0 from itself."""
    size = len(run.pairs.vocabulary)
    keep = ~torch.eye(size, dtype=torch.bool)
    keep[run.pairs.unseen()] = False
    return [table[:, keep] for table in tables]


def metrics(run: TinyRun, samples: dict[str, Tensor]) -> dict[str, float | str | None]:
    """Return the metrics: means over seeds with ``_sd``, ``_low``, ``_high``; see ``stats``."""
    found: dict[str, float | str | None] = {"loss_floor": conditional_entropy(run.pairs.counts)}
    for name, values in samples.items():
        found |= interval(name, values)
    found |= dict(zip(("loss_p05", "loss_p50", "loss_p95"), quantiles(samples["loss"], 0.05, 0.5, 0.95), strict=True))
    found |= dict(zip(("p_next_p05", "p_next_p95"), quantiles(samples["p_next"], 0.05, 0.95), strict=True))
    found |= {"loss_min": float(samples["loss"].min()), "loss_max": float(samples["loss"].max())}
    found["unigram_loss"] = unigram_entropy(run.pairs.counts)
    found |= interval("beats_unigram_fraction", samples["loss"] < unigram_entropy(run.pairs.counts))
    by_token = moved(run.before.embedding, run.after.embedding)  # (S, V)
    for number, token in enumerate(run.pairs.vocabulary.tokens):
        found |= interval(f"moved_{token}", by_token[:, number])
    unseen = run.pairs.unseen()
    found["unseen_moved_max"] = float(by_token[:, unseen].max()) if unseen else None
    if not unseen:
        found["unseen_moved_max_reason"] = "every token of the text is an input"
    return found


def interval(name: str, values: Tensor) -> dict[str, float]:
    """Return a metric with its interval: a share of seeds for booleans, otherwise a mean."""
    summary = (share_interval if values.dtype == torch.bool else mean_interval)(values.tolist())
    return {name + suffix: value for suffix, value in summary.items()}


def told(values: Tensor) -> str:
    """Return a metric for a sentence: its value, or the mean over seeds with its interval."""
    found = interval("", values)
    if len(values) == 1:
        return f"{found['']:.4f}"
    return (
        f"{found['']:.4f} (mean over {counted(len(values), 'seed')}, 95% {found['_low']:.4f} to {found['_high']:.4f})"
    )
