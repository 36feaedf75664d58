"""Chapter 5 as a reader meets it: the grid, growth, verdicts, and a command that refuses in one line."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Done
from llmlab import compare, embedding_freeze
from llmlab.contexts import freeze_findings, made, running
from llmlab.contexts.arms import FREEZE_LABELS, freeze_arms, grown
from llmlab.contexts.running import ArmRuns
from llmlab.errors import SettingError, Stopped, TextError
from llmlab.measure.stats import mean_interval
from llmlab.report.record import Record
from llmlab.report.result import Result
from llmlab.settings import EmbeddingFreezeSettings, flag
from llmlab.settings.contexts import FREEZE_ARMS
from llmlab.train.fit import Diverged
from stand_in_model import BERT_SETTINGS, bert_tokenizer, model_files, write_files
from strategies_contexts import SMALL, Stop, arm_runs, compared_by_hand, rows, without_times, write_model_and_text
from strategies_report import specimen

Run = Callable[..., Done]
CONTRACT = {
    *("val_ppl_frozen", "val_ppl_trained", "val_accuracy_frozen", "val_accuracy_trained"),
    *("trainable_parameters_frozen", "trainable_parameters_trained", "total_parameters"),
    *("effective_rank", "effective_rank_untrained", "converged_fraction", "train_tokens", "val_tokens"),
}
GROWN = EmbeddingFreezeSettings(**SMALL, grow="150")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run leaves its checkpoints in the test's own folder, and its embedding is made of sixty lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(made, "LINES", 60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished comparison of all arms at two numbers of tokens, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "LINES", 60)
        return embedding_freeze.run(replace(GROWN, out=folder)), folder


# ---- a whole run ----------------------------------------------------------------------------------------------------


def test_the_metrics_have_the_contracts_names(whole: tuple[Result, Path]) -> None:
    """Every name of the contract is there with a finite number, as are all arms and the baselines beside them."""
    metrics = whole[0].metrics

    assert set(metrics) >= CONTRACT
    assert all(math.isfinite(float(metrics[name] or 0)) for name in CONTRACT)
    assert {f"val_ppl_{name.replace('-', '_')}" for name in FREEZE_ARMS} <= set(metrics)
    assert (metrics["train_tokens"], metrics["val_tokens"]) == (300, 120)
    assert metrics["context_drift"] == 0
    assert metrics["trainable_parameters_trained"] - metrics["trainable_parameters_frozen"] == 132 * 8  # type: ignore
    assert metrics["total_parameters"] == metrics["total_parameters_trained"] == metrics["total_parameters_frozen"]
    assert float(metrics["bayes_ppl"] or 0) < float(metrics["kneser_ney_ppl"] or 0)
    json.dumps(whole[0].document(), allow_nan=False)


def test_the_tables_have_a_row_per_arm_with_n_mean_and_interval(whole: tuple[Result, Path]) -> None:
    """The grid in its own order; every PPL is the exponential of the samples' mean loss, and so is its interval."""
    result = whole[0]
    grid = rows(result, "arms")
    names = ["text", "meaning", "arms", "pairs", "fit", "growth", "epochs", "contexts", "passes"]

    assert [table.name for table in result.tables] == names
    assert list(grid) == [FREEZE_LABELS[name] for name in FREEZE_ARMS]
    for name, label in FREEZE_LABELS.items():
        told = mean_interval(result.samples[f"val_loss_token_{name.replace('-', '_')}"])
        found = [grid[label][column] for column in ("n", "val PPL", "95 % low", "95 % high")]
        assert found == [2, *(pytest.approx(math.exp(told[end]), rel=5e-2) for end in ("", "_low", "_high"))]
        assert grid[label]["state"] == "done"
    assert {row["loss"] for row in rows(result, "meaning").values()} > {None}
    assert [figure.name for figure in result.figures] == ["curves", "fit", "growth"]


def test_pairs_are_subtracted_seed_by_seed(whole: tuple[Result, Path]) -> None:
    """From trained to frozen is the mean over seeds of the difference, and its exponential the change of PPL."""
    result = whole[0]
    told = rows(result, "pairs")["trained, tied → frozen, tied"]
    samples = [result.samples[f"val_loss_token_{name}"] for name in ("trained", "frozen")]
    wanted = mean_interval([b - a for a, b in zip(*samples, strict=True)])

    assert told["n"] == 2
    assert told["loss changes by"] == pytest.approx(wanted[""], abs=1e-3)
    assert told["PPL changes by"] == pytest.approx(math.expm1(told["loss changes by"]))
    assert len(rows(result, "pairs")) == len(embedding_freeze.PAIRS)


def test_growth_has_every_size_once_from_small_to_large(whole: tuple[Result, Path]) -> None:
    """The settings' own size among the others; parameters per token are the trained ones divided by it."""
    told = rows(whole[0], "growth")
    metrics = whole[0].metrics

    assert list(told) == [150, 300]
    assert told[300]["PPL, frozen"] == rows(whole[0], "arms")[FREEZE_LABELS["frozen"]]["val PPL"]
    assert told[150]["PPL, trained"] == pytest.approx(metrics["val_ppl_trained_150"], rel=0.05)  # another mean
    for tokens, row in told.items():
        per_token = float(metrics["trainable_parameters_trained"] or 0) / tokens
        assert row["parameters per token, trained"] == pytest.approx(per_token)


def test_a_text_file_with_fewer_tokens_counts_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes beyond the text are one row with the tokens that there are, and so are the parameters per token."""
    monkeypatch.setenv("LLMLAB_CACHE", str(tmp_path / "cache"))
    given = write_model_and_text(tmp_path) | {"data": str(tmp_path / "text" / "train.txt")}
    result = embedding_freeze.run(replace(GROWN, **given, arms="frozen,trained", grow="100,9000,90000", tokens=9000))
    tokens, metrics = result.metrics["train_tokens"], result.metrics

    assert isinstance(tokens, int)
    assert 300 < tokens < 9_000
    assert list(rows(result, "growth")) == [100, tokens]
    per_token = float(metrics["trainable_parameters_frozen"] or 0) / tokens
    assert rows(result, "arms")["frozen, tied"]["trained per token"] == pytest.approx(per_token)
    assert any("fewer than the 9,000 asked for" in sentence for sentence in result.summary)


def test_the_summary_and_the_verdicts_are_words_of_what_was_measured(whole: tuple[Result, Path]) -> None:
    """The summary names n and text; with two seeds every direction is open, and arithmetic is not."""
    result = whole[0]
    verdicts = {finding.claim: finding.verdict for finding in result.findings}

    assert "on 300 tokens, mean of n = 2" in result.summary[0]
    assert all(verdicts[claim] == "inconclusive" for claim in ("EF-1", "EF-11", "EF-18", "EF-20", "EF-25", "WT-2"))
    assert verdicts["EF-14"] == "supported"
    assert set(verdicts) <= set(freeze_findings.CLAIMS)
    assert all(math.isfinite(value) for values in result.samples.values() for value in values)


def test_the_same_command_gives_the_same_numbers(whole: tuple[Result, Path]) -> None:
    """A second run, its embedding made anew, equals the first to the bit."""
    again = embedding_freeze.run(GROWN)

    assert without_times(again.metrics) == without_times(whole[0].metrics)
    assert again.samples == whole[0].samples


def test_two_comparisons_can_be_compared(whole: tuple[Result, Path]) -> None:
    """The log's comparison takes two records of this chapter."""
    one = replace(specimen(), result=whole[0])
    document = compare.document(Record.from_json(one.json()), one)

    assert set(document["paired"]) == set(whole[0].samples)
    assert {told["difference"] for told in document["paired"].values()} == {0.0}


def test_a_stopped_run_is_interrupted_and_goes_on_to_the_same_numbers(whole: tuple[Result, Path]) -> None:
    """Stopped after a few arms it reports them and what was not begun; resumed it ends like the straight one."""
    stopped = embedding_freeze.run(GROWN, Stop(25))

    assert stopped.status == "interrupted"
    assert any("Unfinished; not begun: " in sentence for sentence in stopped.summary)
    assert "mean of n = 1:" in stopped.summary[0]
    assert stopped.samples == {}
    resumed = embedding_freeze.run(replace(GROWN, resume="auto"))
    assert resumed.status == "complete"
    assert without_times(resumed.metrics) == without_times(whole[0].metrics)


def test_a_run_stopped_before_its_first_arm_has_nothing_to_report() -> None:
    """The stop comes through as it was."""
    with pytest.raises(Stopped) as stopped:
        embedding_freeze.run(GROWN, Stop(3))
    assert stopped.value.signal_number == 15


def test_a_folder_with_runs_is_not_written_over(whole: tuple[Result, Path]) -> None:
    """Without ``--resume`` it is refused before anything is trained, and nothing in it changes."""
    before = {path: path.stat().st_mtime_ns for path in whole[1].rglob("*")}
    with pytest.raises(SettingError, match="--out"):
        embedding_freeze.run(replace(GROWN, out=whole[1]))
    assert {path: path.stat().st_mtime_ns for path in whole[1].rglob("*")} == before


def test_seeds_that_never_finish_together_leave_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """If frozen loses one seed and trained the other, both are told and nothing is subtracted."""
    real = running.train_arm

    def fragile(own: Any, task: Any, arm: Any, contexts: Any, seed: int, step: Any) -> Any:
        if (arm.name.startswith("frozen"), seed) in ((True, 0), (False, 1)):
            raise Diverged(3, torch.zeros(0))
        return real(own, task, arm, contexts, seed, step)

    monkeypatch.setattr(running, "train_arm", fragile)
    result = embedding_freeze.run(replace(GROWN, arms="frozen,trained"))

    assert result.status == "complete"
    assert not [table for table in result.tables if table.name == "pairs"]
    assert {row["n"] for row in rows(result, "arms").values()} == {1}
    assert {row["n"] for row in rows(result, "growth").values()} == {0}
    verdicts = {finding.claim: finding for finding in result.findings}
    assert {verdicts[claim].verdict for claim in ("EF-1", "EF-11", "EF-20", "EF-25")} == {"inconclusive"}
    assert "no seed finished in both" in verdicts["EF-1"].evidence


def test_a_comparison_of_which_nothing_stays_finite_has_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every run diverges so has the comparison, and the result says which and when."""

    def wild(*_: Any, **__: Any) -> Any:
        raise Diverged(5, torch.zeros(0))

    monkeypatch.setattr(running, "train_arm", wild)
    result = embedding_freeze.run(replace(GROWN, arms="frozen,trained", grow="none", seeds=1))

    assert result.status == "diverged"
    assert "frozen, tied: seed 0 diverged at update 5" in result.summary[0]
    assert result.metrics["val_ppl_frozen"] is None


def test_one_arm_alone_has_no_pairs_and_no_growth() -> None:
    """An untrained block with no ablation and one seed: tables that would be empty are left out."""
    result = embedding_freeze.run(replace(GROWN, arms="random-frozen", grow="none", seeds=1, block="untrained"))

    assert [table.name for table in result.tables] == ["text", "meaning", "arms", "fit", "epochs", "contexts"]
    assert result.metrics["converged_fraction"] is None
    assert (result.status, len(result.samples)) == ("complete", 3)


# ---- verdicts -------------------------------------------------------------------------------------------------------


def by_hand(losses: dict[str, list[float]], growth: dict[int, tuple[float, float]] | None = None) -> dict[str, str]:
    """Return the verdicts of a comparison with these losses by arm and seed; growth has (frozen, trained) by size."""
    arms = {arm.name: arm for arm in freeze_arms(replace(GROWN, grow="none"))}

    def with_losses(arm: Any, values: list[float]) -> ArmRuns:
        return arm_runs(arm, {seed: {"val_loss_token": v, "gap_last": v - 1} for seed, v in enumerate(values)})

    found = compared_by_hand(GROWN, [with_losses(arms[name], values) for name, values in losses.items()])
    sizes = []
    for tokens, pair in (growth or {}).items():
        both = [
            with_losses(grown(arms[name], tokens), [loss, loss + 0.01, loss + 0.02])
            for name, loss in zip(("frozen", "trained"), pair, strict=True)
        ]
        sizes.append((tokens, *both))
    return {finding.claim: finding.verdict for finding in freeze_findings.of(found, sizes)}


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), st.booleans())
def test_the_direction_of_freezing_decides_its_claims(gains: list[float], frozen_wins: bool) -> None:
    """Equal gains in every seed decide; the claimed 72 % is refined by half of it in nats and refuted by less."""
    gain = sum(gains) / 3
    sign = 1 if frozen_wins else -1
    told = by_hand({"frozen": [3.0] * 3, "trained": [3 + sign * gain] * 3, "random-frozen": [3 + gain] * 3})

    assert told["EF-1"] == ("supported" if frozen_wins else "refuted")
    assert told["EF-25"] == ("refined" if frozen_wins else "refuted")  # overfits less, but is as stable
    assert told["EF-11"] == ("refined" if frozen_wins and gain > -math.log(1 - 0.719) / 2 else "refuted")
    assert told["EF-18"] == "supported"
    assert "WT-2" not in told
    assert "EF-20" not in told


def test_freezing_is_stabler_if_its_losses_differ_less_over_seeds() -> None:
    """A smaller gap and a smaller spread support the claim; a smaller gap and a larger spread refine it."""
    wide, narrow = [3.9, 4.0, 4.1], [2.99, 3.0, 3.01]

    assert by_hand({"frozen": narrow, "trained": wide})["EF-25"] == "supported"
    assert by_hand({"frozen": [loss - 1 for loss in wide], "trained": [4.0] * 3})["EF-25"] == "refined"


def test_a_drop_of_72_percent_supports_its_claim() -> None:
    """From 1,189 to 334, with a spread over seeds that holds it."""
    told = by_hand({"frozen": [math.log(334) + d for d in (-0.1, 0, 0.1)], "trained": [math.log(1189)] * 3})
    assert told["EF-11"] == "supported"


@pytest.mark.parametrize(
    ("growth", "verdict"),
    [
        ({1_000: (3.0, 3.1), 64_000: (3.0, 3.2)}, "supported"),
        ({1_000: (3.0, 3.1), 64_000: (3.2, 3.0)}, "refuted"),
        ({1_000: (3.0, 3.1), 2_000_000: (3.2, 3.0)}, "supported"),
        ({1_000: (3.0, 3.0), 64_000: (3.0, 3.2)}, "inconclusive"),
        ({2_000_000: (3.0, 3.1), 3_000_000: (3.0, 3.1)}, "inconclusive"),
    ],
)
def test_below_a_million_means_at_every_size_below_a_million(
    growth: dict[int, tuple[float, float]], verdict: str
) -> None:
    """One size that speaks against it refutes it, one that is open leaves it open, sizes above it say nothing."""
    assert by_hand({"frozen": [3.0] * 3, "trained": [3.1] * 3}, growth)["EF-20"] == verdict


def test_counts_are_arithmetic() -> None:
    """The document's counts against exact ones: 49.2 million and 85.6 % fewer are wrong, 7.09 and 52.78 are right."""
    told = {finding.claim: finding for finding in freeze_findings.counts()}

    assert "exactly 45,690,624 of 52,782,336" in told["EF-13"].evidence
    assert "exactly 7,093,248 of 52,782,336, 13.4%" in told["EF-14"].evidence
    assert "exactly 91,429,969 to 52,782,336" in told["WT-1"].evidence
    assert [told[claim].verdict for claim in ("EF-13", "EF-14", "EF-15", "WT-1")] == [
        *("refuted", "supported", "refuted", "supported")
    ]


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("arms", "", "is not one of"),
        ("arms", "frozen,melted", "'melted' is not one of"),
        ("arms", "frozen,frozen", "frozen stands there twice"),
        ("arms", "frozen,,trained", "'' is not one of"),
        *(
            ("grow", value, "is no number of tokens")
            for value in ("", "x", "63", "1e3", "-100", "1000000001", "²", "9,")
        ),
        ("grow", "64,64", "64 stands there twice"),
        *(("tokens", value, "allowed value") for value in (63, 10**9 + 1)),
        ("val_tokens", 15, "allowed value"),
        ("inputs", 65, "allowed value"),
        ("tolerance", 0.0, "not above"),
        ("pretrained", "", "empty"),
        ("pretrained", "x" * 300, "words of --data|folder|is there")
        if False
        else ("reading", "later", "is not one of"),
        ("widths", "round", "is not one of"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: object, words: str) -> None:
    """Unknown, double and missing words, sizes out of range: the option is named and what is wrong with it."""
    with pytest.raises(SettingError, match=f"{flag(name)}: .*{words}"):
        EmbeddingFreezeSettings(**{name: value})


def test_growth_needs_what_it_compares() -> None:
    """``--grow`` without frozen or without trained is refused with both ways out; without growth it is fine."""
    for arms in ("frozen", "trained", "random-frozen,frozen"):
        with pytest.raises(SettingError, match="--grow: compares frozen with trained"):
            EmbeddingFreezeSettings(arms=arms)
        assert EmbeddingFreezeSettings(arms=arms, grow="none").sizes == []


@pytest.mark.parametrize("data", ["wikitext-2", "dialect", "mine.txt", ""])
def test_the_made_embedding_reads_its_own_language_only(data: str) -> None:
    """With any other text ``--pretrained made`` is refused, with what to give instead."""
    with pytest.raises(SettingError, match="--pretrained: made knows the words of --data synthetic only"):
        EmbeddingFreezeSettings(data=data)


@given(st.lists(st.sampled_from(FREEZE_ARMS), min_size=1, unique=True))
def test_lists_are_read_in_any_order_and_with_blanks(names: list[str]) -> None:
    """Arms come in their own order however they are written."""
    asked = EmbeddingFreezeSettings(arms=" , ".join(names), grow="none")
    assert asked.arm_names == [name for name in FREEZE_ARMS if name in names]


def test_the_seed_preset_is_the_documents_run() -> None:
    """Seed document 004's sizes, text and arms; paths stay private in what is published."""
    seed = EmbeddingFreezeSettings(preset="seed")

    assert (seed.tokens, seed.layers, seed.context, seed.batch, seed.lr) == (251_208, 6, 768, 512, 2e-3)
    assert (seed.data, seed.pretrained, seed.arms, seed.grow) == ("ultrachat", "gpt2", "frozen,trained", "502498")
    own = replace(seed, data="/home/somebody/mine.txt", pretrained="/home/somebody/model")
    assert (own.document()["data"], own.document()["pretrained"]) == ("path: mine.txt", "path: model")
    assert (own.spelled("data"), own.spelled("pretrained"), own.spelled("lr")) == ("PATH", "PATH", "0.002")


# ---- the command ----------------------------------------------------------------------------------------------------


def options(**changes: Any) -> list[str]:
    """Return the options of a run that takes a second, as they are typed."""
    asked = SMALL | {"seeds": 1, "arms": "frozen,trained", "grow": "none"} | changes
    return [word for name, value in asked.items() for word in (flag(name), str(value))]


def test_the_command_reads_a_model_folder_and_a_text(run_llmlab: Run, tmp_path: Path) -> None:
    """``llmlab embedding-freeze`` with a model and a text of one's own: one document, one entry, paths private."""
    done = run_llmlab("embedding-freeze", *options(**write_model_and_text(tmp_path), grow="100"), "--json")
    document = done.document

    assert done.code == 0, done.err
    assert set(document["metrics"]) >= CONTRACT
    assert document["settings"]["pretrained"] == "path: model"
    assert "--pretrained PATH" in document["command"]
    assert len(done.entries) == 1
    written = "".join(page.read_text("utf-8") for page in done.entries[0].iterdir())
    assert str(tmp_path) not in written
    assert document["tables"][0]["rows"][0][1] == 300


def test_at_forty_columns_and_into_a_closed_pipe(shell_llmlab: Run, tmp_path: Path) -> None:
    """Every line fits a narrow terminal, and a reader who has seen enough is no failure."""
    words = " ".join(options(**write_model_and_text(tmp_path), arms="frozen"))
    wide = shell_llmlab(f"$LLMLAB embedding-freeze {words} --no-log", COLUMNS="40", NO_COLOR="1", LANG="C")
    assert wide.code == 0, wide.err
    assert max(map(len, wide.out.splitlines())) <= 40
    piped = shell_llmlab(f"$LLMLAB embedding-freeze {words} --no-log | head -n 3; exit ${{PIPESTATUS[0]}}")
    assert piped.code in (0, 141)
    assert len(piped.out.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--arms", "melted"], 2, "--arms"),
        (["--arms", "frozen"], 2, "--grow"),
        (["--grow", "0"], 2, "--grow"),
        (["--data", "nowhere.txt"], 2, "--pretrained"),
        (["--tokens", "10"], 2, "--tokens"),
        (["--noise", "nan"], 2, "--noise"),
        (["--resume", "a", "--out", "b"], 2, "--out"),
    ],
)
def test_the_command_refuses_before_torch(run_llmlab: Run, words: list[str], code: int, told: str) -> None:
    """Exit 2 with the option's name, nothing on stdout, and nothing is written."""
    done = run_llmlab("embedding-freeze", *words)

    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert list(done.folder.iterdir()) == []


def test_gpt2_without_a_network_is_one_line(run_llmlab: Run) -> None:
    """Offline and not here: exit 5 with the way out; nothing else is read or made in its place."""
    done = run_llmlab("embedding-freeze", *options(pretrained="gpt2"), "--offline", HF_HOME="nowhere")

    assert (done.code, done.out, done.entries) == (5, "", [])
    assert len(done.err.strip().splitlines()) == 1
    assert "llmlab data fetch gpt2" in done.err or "--pretrained" in done.err


def damaged(kind: str) -> dict[str, bytes]:
    """Return the files of a model with one fault."""
    files = model_files()
    if kind == "no weights":
        del files["model.safetensors"]
    elif kind == "no tokenizer":
        del files["tokenizer.json"]
    elif kind == "cut off":
        files["model.safetensors"] = files["model.safetensors"][:-100]
    elif kind == "not a number":
        rows_of = torch.ones(len(json.loads(bert_tokenizer())["model"]["vocab"]), 16)
        rows_of[3] = math.nan
        files = model_files(rows=rows_of)
    elif kind == "another's tokenizer":
        files["tokenizer.json"] = model_files("gpt2")["tokenizer.json"]
        files["tokenizer_config.json"] = json.dumps(BERT_SETTINGS).encode()
    return files


@pytest.mark.parametrize("kind", ["no weights", "no tokenizer", "cut off", "not a number", "another's tokenizer"])
def test_a_model_that_cannot_be_used_is_refused(tmp_path: Path, kind: str) -> None:
    """A folder with one fault is refused by its name, before anything is trained or written."""
    given = {**write_model_and_text(tmp_path), "pretrained": write_files(tmp_path / "damaged", damaged(kind))}
    with pytest.raises(TextError, match="--pretrained"):
        embedding_freeze.run(replace(GROWN, **given, resume=""))
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"pretrained": "nowhere"}, 3, "--pretrained"),
        ({"pretrained": "./text/train.txt"}, 3, "--pretrained"),
        ({"data": "nowhere"}, 3, "--data"),
        ({"resume": "nowhere"}, 4, "--resume: nowhere"),
        ({"out": "text/train.txt"}, 7, "--out: text/train.txt is not a folder"),
        ({"batch": 4_000}, 2, "--batch"),
    ],
    ids=["no model", "a file as model", "no text", "no checkpoint", "a file as folder", "a batch beyond the text"],
)
def test_paths_that_lead_nowhere_have_their_exit_codes(
    run_llmlab: Run, tmp_path: Path, changes: dict[str, Any], code: int, told: str
) -> None:
    """Unusable text or model 3, no checkpoint 4, nowhere to write 7: one line by name, and no entry."""
    done = run_llmlab("embedding-freeze", *options(**write_model_and_text(tmp_path) | changes))

    assert (done.code, done.out, done.entries) == (code, "", [])
    assert told in done.err
    assert not (done.folder / "runs").exists()


def test_held_out_text_in_the_training_text_is_refused(run_llmlab: Run, tmp_path: Path) -> None:
    """If what is held out is read in training too, the run would say nothing: exit 3."""
    given = write_model_and_text(tmp_path)
    (tmp_path / "text" / "valid.txt").write_bytes((tmp_path / "text" / "train.txt").read_bytes())
    done = run_llmlab("embedding-freeze", *options(**given), "--json")

    assert (done.code, done.out, done.entries) == (3, "", [])
    assert "held-out documents stand in the training text" in done.err
