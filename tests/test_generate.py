"""``baseline generate``: the fast way writes what the plain loop would, and its memory never grows."""

import math
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Done
from llmlab.after import generate
from llmlab.after.generate import draw, write
from llmlab.after.opening import restored
from llmlab.baseline import ContextVectorLM
from llmlab.fast.reader import Reader
from llmlab.report.result import Result
from llmlab.settings import GenerateSettings
from llmlab.text.story import closed
from llmlab.text.words import BOS, EOS, UNK
from processes import started
from strategies_trained import saved, small_models, state_of

Run = Callable[..., Done]
SEEDS = st.integers(0, 2**40)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small New-LLM over the synthetic language that likes to end its lines."""
    state = state_of()
    state["model"]["output.bias"][EOS] = 6.0
    return saved(tmp_path_factory.mktemp("model") / "m", state)


def settings(checkpoint: Path = Path("m"), **options: Any) -> GenerateSettings:
    return GenerateSettings(checkpoint=checkpoint, **options)


@given(small_models(), st.lists(st.integers(0, 4), min_size=1, max_size=12), SEEDS, st.sampled_from([0.0, 1.0]))
def test_every_probability_is_that_of_the_plain_loop(
    model: ContextVectorLM, prompt: list[int], seed: int, temperature: float
) -> None:
    """What was written, read again from an empty context, gives each token the probability that was written down.

    At temperature 0 it is the likeliest; equal logits aside, which two ways of adding may tell apart.
    """
    written = list(write(Reader(model), prompt, settings(tokens=8, temperature=temperature, stop=False), seed))
    tokens = [one.number for one in written]
    logits = model.logits(torch.tensor([prompt + tokens]))[0, len(prompt) - 1 : -1]
    logs, chosen = logits.double().log_softmax(1), logits[range(8), tokens]
    assert [one.probability for one in written] == pytest.approx(logs.exp()[range(8), tokens].tolist(), abs=1e-4)
    assert [one.entropy for one in written] == pytest.approx((-(logs.exp() * logs).sum(1)).tolist(), abs=1e-3)
    assert temperature or bool((chosen >= logits.max(1).values - 1e-4).all())


scores_of_tokens = st.lists(
    st.integers(-5, 5).map(float) | st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=9
)


@given(scores_of_tokens, st.floats(0, 1e3) | st.just(5e-324), st.integers(0, 12) | st.just(1), SEEDS)
def test_a_drawn_token_is_among_the_likeliest(logits: list[float], temperature: float, top_k: int, seed: int) -> None:
    """Fewer than k are likelier, however small the temperature; at 0, or for k = 1, it is the first of the best."""
    scores = torch.tensor(logits)
    drawn = draw(scores, temperature, top_k, torch.Generator().manual_seed(seed))
    assert int((scores > scores[drawn]).sum()) < (top_k or len(logits))
    assert 0 not in (temperature, top_k - 1) or drawn == int(scores.argmax())


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    """Of 4,000 draws each token has its share within five standard errors, with temperature and top-k."""
    logits, chance = torch.tensor([0.0, 2.0, -1.0, 1.0]), torch.Generator().manual_seed(0)
    for temperature, top_k in ((1.0, 0), (0.5, 0), (3.0, 3)):
        wanted = (logits / temperature).double()
        if top_k:
            wanted[2] = -math.inf
        drawn = torch.bincount(
            torch.tensor([draw(logits, temperature, top_k, chance) for _ in range(4_000)]), minlength=4
        )
        share = wanted.softmax(0)
        assert bool(((drawn / 4_000 - share).abs() <= 5 * (share * (1 - share) / 4_000).sqrt()).all())


def said(result: Result) -> str:
    return str(result.metrics["text"])


@pytest.fixture(scope="module")
def long(checkpoint: Path) -> Result:
    """A text of 900 tokens, whatever stands in it."""
    return generate.run(settings(checkpoint, tokens=900, stop=False))


def test_several_seeds_write_what_each_would_alone(checkpoint: Path) -> None:
    """Every token of each is announced, in one count."""
    heard: list[tuple[int, int]] = []
    options = {"tokens": 20, "stop": False}
    both = generate.run(settings(checkpoint, seeds=2, **options), lambda at, most, told="": heard.append((at, most)))
    alone = [generate.run(settings(checkpoint, seed=seed, **options)) for seed in (0, 1)]
    assert both.samples["mean_entropy"] == [one.samples["mean_entropy"][0] for one in alone]
    assert said(alone[0]) != said(alone[1])
    assert "mean_entropy_sd" in both.metrics
    assert heard == [(at, 40) for at in range(1, 41)]


def test_a_text_ends_with_its_line_or_at_its_length(checkpoint: Path, long: Result) -> None:
    """The first <eos> ends the text unless ``--no-stop`` is given; then the text is the same, and goes on."""
    ended = generate.run(settings(checkpoint, tokens=900))
    assert said(ended).split().count("<eos>") == 1
    assert said(ended).endswith("<eos>")
    assert said(long).startswith(said(ended))
    assert long.metrics["tokens"] == 900
    assert "After <eos>" in " ".join(long.summary)


def test_a_long_text_needs_no_more_memory_and_is_shown_by_its_beginning_and_end(long: Result) -> None:
    """After 900 tokens the state has the bytes that it had after one: a context and a token."""
    rows = long.tables[1].rows
    assert {long.metrics[name] for name in ("state_bytes", "state_bytes_most")} == {8 * 4 + 8}
    assert len(rows) < 50
    assert said(long).endswith(str(rows[-1][2]))
    assert all(len(mark.xs) <= 200 for figure in long.figures for mark in figure.marks)
    assert long.metrics["unk_share"] == pytest.approx(said(long).split().count("<unk>") / 900)


def test_a_prompt_is_read_in_the_models_words(checkpoint: Path) -> None:
    """What they are not is told; without a prompt a line is begun, from <bos> alone."""
    found = restored(checkpoint)
    known = found.vocabulary.words[7]
    result = generate.run(settings(checkpoint, prompt=f"Hello {known.upper()}", tokens=3))
    assert result.tables[1].rows[0] == ["prompt", None, f"<bos> <unk> {known}"]
    assert "does not know hello:" in " ".join(result.summary)
    written = write(Reader(found.model.model), [BOS], settings(tokens=10), 0)  # type: ignore[attr-defined]
    assert said(generate.run(settings(checkpoint, tokens=10))) == found.vocabulary.decode(one.number for one in written)


def test_the_storys_signs_are_words_in_a_prompt(checkpoint: Path) -> None:
    """A prompt for a model of the story is read word by word and sign by sign, and its text is closed up again."""
    found = restored(checkpoint)
    story = replace(found, settings=replace(found.settings, data="story"))
    assert generate.words_of(story, "“Oh dear!”") == "“ Oh dear ! ”"
    assert generate.words_of(found, "“Oh dear!”") == "“Oh dear!”"
    assert closed(generate.words_of(story, "“Oh dear!”")) == "“Oh dear!”"


# ---- a conversation ------------------------------------------------------------------------------------------------


LINES = ("kazu kali", "", "Nothing it knows")


def test_each_line_goes_on_as_its_prompt_would(checkpoint: Path) -> None:
    """A line goes on as its prompt with a seed of its own would, without marks; the given seed comes first."""
    wanted = settings(checkpoint, tokens=8, seed=3)
    go_on, found = generate.continuing(wanted), restored(checkpoint)
    found.model.parameters["output.bias"][UNK] = -math.inf
    for number, line in enumerate(LINES):
        prompt = found.vocabulary.encode(line)[:-1]
        written = write(Reader(found.model.model), prompt, wanted, 3 + number)  # type: ignore[attr-defined]
        assert go_on(line) == found.vocabulary.decode(one.number for one in written if one.number != EOS)


def test_a_conversation_never_says_unk(tmp_path: Path) -> None:
    """Of a model that would write nothing but <unk>, only words are heard; asked for a text, it still writes <unk>."""
    state = state_of()
    state["model"]["output.bias"][UNK] = 50.0
    folder = saved(tmp_path / "m", state)
    assert "<unk>" in said(generate.run(settings(folder, tokens=5)))
    answer = generate.continuing(settings(folder, tokens=50, stop=False))("kazu")
    assert answer
    assert "<unk>" not in answer


def test_a_pipe_gets_a_line_for_each_line(run_llmlab: Run, checkpoint: Path) -> None:
    """One continuation a line, the same again and again, no entry, and exit code 0 at the end of the input."""
    words = ("baseline", "generate", str(checkpoint), "--prompt", "-", "--tokens", "5", "--no-stop")
    first, again = (run_llmlab(*words, stdin="\n".join(LINES).encode()) for _ in range(2))
    assert (first.code, first.err, len(first.out.splitlines())) == (0, "", 3)
    assert first.out == again.out
    assert first.entries == []
    assert run_llmlab(*words, stdin=b"").out == ""


@pytest.mark.parametrize(
    ("words", "stdin", "code", "told"),
    [
        ("m --json", b"a", 2, "--json: --prompt -"),
        ("m --seeds 2", b"a", 2, "--seeds: --prompt -"),
        ("m --note x", b"a", 2, "--note: --prompt -"),
        ("m", b"a\n\xff\n", 3, "line 2: not UTF-8"),
        ("m", "あ".encode() * 4000, 3, "line 1: 10,000 bytes and more"),
        ("m", b"x" * 1_001, 2, "--prompt: 1,001 characters"),
        ("gru", b"a", 2, "a GRU; generate is for New-LLM"),
        ("none", b"a", 4, "none"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_conversation_is_refused_in_one_line(
    run_llmlab: Run, tmp_path: Path, words: str, stdin: bytes, code: int, told: str
) -> None:
    """What leaves no result has no document, seeds or notes; a line that is no text ends it; a peer has no context."""
    saved(tmp_path / "m", state_of())
    saved(tmp_path / "gru", state_of(model="gru"))
    done = run_llmlab("baseline", "generate", *words.split(), "--prompt", "-", stdin=stdin)
    assert (done.code, told in done.err) == (code, True)


def test_a_conversation_needs_somebody_who_talks_and_ends_without_one_who_listens(
    shell_llmlab: Run, checkpoint: Path
) -> None:
    """When the listener goes, as in ``| head -1`` of an input without end, the code is 0, and nothing is said."""
    deaf = shell_llmlab("$LLMLAB baseline generate none --prompt - <&-")
    assert (deaf.code, "there is no standard input" in deaf.err) == (3, True)
    talk = f"yes kazu | $LLMLAB baseline generate {checkpoint} --prompt -"
    left = shell_llmlab(f'{talk} | head -1 > /dev/null; exit "${{PIPESTATUS[1]}}"')
    assert (left.code, left.err) == (0, "")


def test_ctrl_c_ends_a_conversation(tmp_path: Path, checkpoint: Path) -> None:
    """After the first answer, while it waits for the next line: one line, and exit code 130."""
    process = started(tmp_path, "baseline", "generate", str(checkpoint), "--prompt", "-", stdin=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"kazu\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told.decode().strip()) == (130, "llmlab: stopped by Ctrl-C")
