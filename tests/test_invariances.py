"""The laws of the tiny model.  Read it as a list of what can be relied on.

Each law is one short property: hypothesis looks for a text, a model or a rotation that breaks it.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.lab.optimizer import SGD, Adam
from llmlab.phase1 import BIAS, EMBEDDING, TRAINED_WITH_FROZEN, WEIGHT, TinyModel, train
from llmlab.phase1_2 import padded, rotated
from llmlab.text.pairs import Pairs
from strategies import SEEDS, rotations, texts, texts_and_models, texts_with_unseen

ALL = TRAINED_WITH_FROZEN["none"]
FEW = settings(max_examples=25)
"""For laws about whole trainings."""


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-9) -> bool:
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


# ---- what leaves the predictions as they are ---------------------------------------------------------------------


@given(texts_and_models(), st.data())
def test_rotating_embedding_and_output_together_changes_no_score(drawn: tuple[Pairs, TinyModel], data: st.DataObject):
    """(E R, W R, b) gives the scores of (E, W, b) for every orthogonal R: coordinates mean nothing."""
    _, model = drawn
    rotation = data.draw(rotations(model.embedding.shape[-1]))

    assert close(rotated(model, rotation).logits(), model.logits())


@given(texts_and_models(), st.floats(min_value=0.01, max_value=100))
def test_scaling_embedding_up_and_output_down_changes_no_score(drawn: tuple[Pairs, TinyModel], scale: float):
    """(a E, W / a, b) gives the scores of (E, W, b): the length of an embedding alone means nothing."""
    _, model = drawn

    scaled = TinyModel(model.embedding * scale, model.weight / scale, model.bias)

    assert close(scaled.logits(), model.logits())


@given(texts_and_models(), st.data())
def test_renumbering_the_tokens_renumbers_the_scores(drawn: tuple[Pairs, TinyModel], data: st.DataObject):
    """A permutation of the vocabulary permutes rows and columns of the score table and does nothing else."""
    _, model = drawn
    order = data.draw(st.permutations(range(model.bias.shape[-1])))

    renumbered = TinyModel(model.embedding[:, order], model.weight[:, order], model.bias[:, order])

    assert close(renumbered.logits(), model.logits()[:, order][:, :, order])


@given(texts_and_models(), st.floats(min_value=-50, max_value=50))
def test_raising_all_biases_together_changes_no_probability(drawn: tuple[Pairs, TinyModel], shift: float):
    """Softmax sees differences of scores only."""
    _, model = drawn

    raised = TinyModel(model.embedding, model.weight, model.bias + shift)

    assert close(raised.probabilities(), model.probabilities())


@given(texts_and_models(), st.integers(min_value=4, max_value=7))
def test_padding_with_zero_coordinates_changes_no_score_and_no_gradient(drawn: tuple[Pairs, TinyModel], dim: int):
    """Models of different dimensions can share a stack: new coordinates stay zero, old ones do not notice."""
    pairs, model = drawn
    old = model.embedding.shape[-1]

    _, gradients = model.loss_and_gradients(pairs.joint().double())
    wider = padded(model, dim)
    _, padded_gradients = wider.loss_and_gradients(pairs.joint().double())

    assert close(wider.logits(), model.logits())
    assert close(padded_gradients[EMBEDDING][..., :old], gradients[EMBEDDING])
    assert not padded_gradients[EMBEDDING][..., old:].any()
    assert not padded_gradients[WEIGHT][..., old:].any()


# ---- loss and gradients -----------------------------------------------------------------------------------------


@given(texts_and_models())
def test_the_loss_is_never_below_the_floor(drawn: tuple[Pairs, TinyModel]):
    """No model that sees one token beats the conditional entropy of the text's pairs."""
    pairs, model = drawn

    assert (model.loss(pairs.joint().double()) >= pairs.conditional_entropy() - 1e-6).all()


@given(texts_and_models(texts_with_unseen))
def test_a_token_that_is_never_an_input_gets_exactly_no_gradient(drawn: tuple[Pairs, TinyModel]):
    """Not a small gradient: zero, in every coordinate of its embedding."""
    pairs, model = drawn

    _, gradients = model.loss_and_gradients(pairs.joint().double())

    assert not gradients[EMBEDDING][:, pairs.unseen()].any()


@given(texts_and_models())
def test_what_one_output_row_gains_the_others_lose(drawn: tuple[Pairs, TinyModel]):
    """The rows of dL/dW, and the entries of dL/db, sum to zero over the vocabulary: probability is shared out."""
    pairs, model = drawn

    _, gradients = model.loss_and_gradients(pairs.joint().double())

    assert close(gradients[WEIGHT].sum(1), torch.zeros(()).double())
    assert close(gradients[BIAS].sum(1), torch.zeros(()).double())


# ---- whole trainings --------------------------------------------------------------------------------------------


@FEW
@given(texts_and_models(), st.sampled_from(sorted(TRAINED_WITH_FROZEN)), st.sampled_from(["adam", "sgd"]))
def test_what_is_frozen_is_the_same_to_the_last_bit(drawn: tuple[Pairs, TinyModel], frozen: str, rule: str):
    pairs, start = drawn
    new = (lambda: Adam(0.05)) if rule == "adam" else (lambda: SGD(0.5))

    run = train(start, pairs, new, trained=TRAINED_WITH_FROZEN[frozen], updates=5)

    for name, before in run.before.parameters().items():
        assert torch.equal(before, run.after.parameters()[name]) == (name not in TRAINED_WITH_FROZEN[frozen])


@FEW
@given(texts, st.integers(min_value=0, max_value=1000), st.integers(min_value=1, max_value=6))
def test_a_stack_trains_each_seed_as_if_it_were_alone(text: str, first: int, dim: int):
    pairs = Pairs.of(text)
    size = len(pairs.tokens)
    seeds = range(first, first + 4)

    stack = train(TinyModel.initial(size, dim, seeds), pairs, lambda: Adam(0.05), trained=ALL, updates=8)

    for number, seed in enumerate(seeds):
        alone = train(TinyModel.initial(size, dim, [seed]), pairs, lambda: Adam(0.05), trained=ALL, updates=8)
        assert close(alone.after.embedding[0], stack.after.embedding[number], 1e-5)
        assert close(alone.losses[:, 0], stack.losses[:, number], 1e-5)


@FEW
@given(texts, SEEDS, st.integers(min_value=1, max_value=6))
def test_the_same_seed_gives_the_same_bits(text: str, seed: int, dim: int):
    pairs = Pairs.of(text)

    def once() -> tuple[torch.Tensor, torch.Tensor]:
        start = TinyModel.initial(len(pairs.tokens), dim, [seed])
        run = train(start, pairs, lambda: Adam(0.05), trained=ALL, updates=8)
        return run.after.embedding, run.losses

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


@FEW
@given(texts_and_models(dims=st.integers(min_value=2, max_value=4)), st.data())
def test_training_with_sgd_commutes_with_rotation(drawn: tuple[Pairs, TinyModel], data: st.DataObject):
    pairs, start = drawn
    rotation = data.draw(rotations(start.embedding.shape[-1]))

    first = train(rotated(start, rotation), pairs, lambda: SGD(0.3), trained=ALL, updates=12)
    after = train(start, pairs, lambda: SGD(0.3), trained=ALL, updates=12)

    assert close(first.after.embedding, rotated(after.after, rotation).embedding, 1e-7)
    assert close(first.losses, after.losses, 1e-7)
