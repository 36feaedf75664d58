"""The laws of the tiny model.  Read it as a list of what can be relied on.

Each law is one short property: hypothesis looks for a text, a model or a rotation that breaks it.
"""

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.lab.optimizer import SGD, Adam, Optimizer
from llmlab.phase1 import BIAS, EMBEDDING, TRAINED_WITH_FROZEN, WEIGHT, TinyModel, TinyRun, train
from llmlab.phase1_2 import padded, rotated
from llmlab.text.pairs import Pairs
from strategies import SEEDS, rotations, texts, texts_and_models, texts_with_unseen

Drawn = tuple[Pairs, TinyModel]
FEW = settings(max_examples=25)
"""For laws about whole trainings."""


def gradients(pairs: Pairs, model: TinyModel) -> dict[str, torch.Tensor]:
    return model.loss_and_gradients(pairs.joint().double())[1]


def trained(
    start: TinyModel, pairs: Pairs, new: Callable[[], Optimizer] = lambda: Adam(0.05), frozen: str = "none"
) -> TinyRun:
    return train(start, pairs, new, trained=TRAINED_WITH_FROZEN[frozen], updates=8)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-9) -> bool:
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


# ---- what leaves the predictions as they are ---------------------------------------------------------------------


@given(texts_and_models(), st.data())
def test_rotating_embedding_and_output_together_changes_no_score(drawn: Drawn, data: st.DataObject):
    """(E R, W R, b) gives the scores of (E, W, b) for every orthogonal R: coordinates mean nothing."""
    _, model = drawn
    rotation = data.draw(rotations(model.embedding.shape[-1]))

    assert close(rotated(model, rotation).logits(), model.logits())


@given(texts_and_models(), st.floats(min_value=0.01, max_value=100))
def test_scaling_embedding_up_and_output_down_changes_no_score(drawn: Drawn, scale: float):
    """(a E, W / a, b) gives the scores of (E, W, b): the length of an embedding alone means nothing."""
    _, model = drawn

    scaled = TinyModel(model.embedding * scale, model.weight / scale, model.bias)

    assert close(scaled.logits(), model.logits())


@given(texts_and_models(), st.data())
def test_renumbering_the_tokens_renumbers_the_scores(drawn: Drawn, data: st.DataObject):
    """A permutation of the vocabulary permutes rows and columns of the score table and does nothing else."""
    _, model = drawn
    order = data.draw(st.permutations(range(model.bias.shape[-1])))

    renumbered = TinyModel(model.embedding[:, order], model.weight[:, order], model.bias[:, order])

    assert close(renumbered.logits(), model.logits()[:, order][:, :, order])


@given(texts_and_models(), st.floats(min_value=-50, max_value=50))
def test_raising_all_biases_together_changes_no_probability(drawn: Drawn, shift: float):
    """Softmax sees differences of scores only."""
    _, model = drawn

    raised = TinyModel(model.embedding, model.weight, model.bias + shift)

    assert close(raised.probabilities(), model.probabilities())


@given(texts_and_models(), st.integers(min_value=4, max_value=7))
def test_padding_with_zero_coordinates_changes_no_score_and_no_gradient(drawn: Drawn, dim: int):
    """Models of different dimensions can share a stack: new coordinates stay zero, old ones do not notice."""
    pairs, model = drawn
    old, wider = model.embedding.shape[-1], padded(model, dim)
    found = gradients(pairs, wider)

    assert close(wider.logits(), model.logits())
    assert close(found[EMBEDDING][..., :old], gradients(pairs, model)[EMBEDDING])
    assert not found[EMBEDDING][..., old:].any()
    assert not found[WEIGHT][..., old:].any()


# ---- loss and gradients -----------------------------------------------------------------------------------------


@given(texts_and_models())
def test_the_loss_is_never_below_the_floor(drawn: Drawn):
    """No model that sees one token beats the conditional entropy of the text's pairs."""
    pairs, model = drawn

    assert (model.loss(pairs.joint().double()) >= pairs.conditional_entropy() - 1e-6).all()


@given(texts_and_models(texts_with_unseen))
def test_a_token_that_is_never_an_input_gets_exactly_no_gradient(drawn: Drawn):
    """Not a small gradient: zero, in every coordinate of its embedding."""
    assert not gradients(*drawn)[EMBEDDING][:, drawn[0].unseen()].any()


@given(texts_and_models())
def test_what_one_output_row_gains_the_others_lose(drawn: Drawn):
    """The rows of dL/dW, and the entries of dL/db, sum to zero over the vocabulary: probability is shared out."""
    found = gradients(*drawn)

    assert close(found[WEIGHT].sum(1), torch.zeros(()).double())
    assert close(found[BIAS].sum(1), torch.zeros(()).double())


# ---- whole trainings --------------------------------------------------------------------------------------------


@FEW
@given(texts_and_models(), st.sampled_from(sorted(TRAINED_WITH_FROZEN)), st.sampled_from(["adam", "sgd"]))
def test_what_is_frozen_is_the_same_to_the_last_bit(drawn: Drawn, frozen: str, rule: str):
    pairs, start = drawn
    run = trained(start, pairs, (lambda: Adam(0.05)) if rule == "adam" else (lambda: SGD(0.5)), frozen)

    for name, before in run.before.parameters().items():
        assert torch.equal(before, run.after.parameters()[name]) == (name not in TRAINED_WITH_FROZEN[frozen])


@FEW
@given(texts, st.integers(min_value=0, max_value=1000), st.integers(min_value=1, max_value=6))
def test_a_stack_trains_each_seed_as_if_it_were_alone(text: str, first: int, dim: int):
    pairs, seeds = Pairs.of(text), range(first, first + 4)
    stack = trained(TinyModel.initial(len(pairs.tokens), dim, seeds), pairs)

    for number, seed in enumerate(seeds):
        alone = trained(TinyModel.initial(len(pairs.tokens), dim, [seed]), pairs)
        assert close(alone.after.embedding[0], stack.after.embedding[number], 1e-5)
        assert close(alone.losses[:, 0], stack.losses[:, number], 1e-5)


@FEW
@given(texts, SEEDS, st.integers(min_value=1, max_value=6))
def test_the_same_seed_gives_the_same_bits(text: str, seed: int, dim: int):
    pairs = Pairs.of(text)
    one, other = (trained(TinyModel.initial(len(pairs.tokens), dim, [seed]), pairs) for _ in range(2))

    assert torch.equal(one.after.embedding, other.after.embedding)
    assert torch.equal(one.losses, other.losses)


@FEW
@given(texts_and_models(dims=st.integers(min_value=2, max_value=4)), st.data())
def test_training_with_sgd_commutes_with_rotation(drawn: Drawn, data: st.DataObject):
    pairs, start = drawn
    rotation = data.draw(rotations(start.embedding.shape[-1]))

    first, after = (trained(each, pairs, lambda: SGD(0.3)) for each in (rotated(start, rotation), start))

    assert close(first.after.embedding, rotated(after.after, rotation).embedding, 1e-7)
    assert close(first.losses, after.losses, 1e-7)
