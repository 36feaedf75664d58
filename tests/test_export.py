"""``baseline export``: what leaves llmlab opens without it, gives the same numbers, and is whole or not there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import Done, needs
from llmlab.after import export, quantize
from llmlab.after.opening import restored
from llmlab.errors import SettingError, TextError, WriteError
from llmlab.settings import BaselineSettings, ExportSettings
from llmlab.settings.declare import options_of
from llmlab.settings.language import CORPORA
from strategies_trained import saved, state_of

pytestmark = pytest.mark.usefixtures("counted_once")
FILES = {"model.safetensors", "config.json", "vocabulary.json", "README.md"}
ALONE = """
import json, runpy, sys
sys.modules["llmlab"] = None  # whoever imports it fails
import torch
tokens, folders = torch.tensor(json.loads(sys.argv[1])), sys.argv[2:]
for folder in folders:
    load = runpy.run_path(f"{folder}/load.py")
    context, found = torch.zeros(len(tokens), load["SIZE"]["context"]), []
    for t in range(tokens.shape[1]):
        logits, context = load["step"](tokens[:, t], context)
        found.append(logits)
    print(json.dumps(torch.stack(found, 1).tolist()))
sys.argv = ["load.py", "kazu", "unheard"]
runpy.run_path(f"{folders[0]}/load.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "m", state_of())


def exported(checkpoint: Path, folder: Path, **options: Any) -> dict[str, Any]:
    return dict(export.run(ExportSettings(checkpoint=checkpoint, folder=folder, **options)).metrics)


def test_the_loader_gives_the_same_logits_to_the_last_bit_and_writes(tmp_path: Path) -> None:
    """Where llmlab cannot be imported, the largest difference of a logit is 0, whatever the stack, of int8 too."""
    stacks: tuple[dict[str, Any], ...] = ({}, {"stack": "residual", "layers": 3}, {"layers": 1})
    folders = [saved(tmp_path / f"m{number}", state_of(**options)) for number, options in enumerate(stacks)]
    exact = restored(folders[0]).model.model  # type: ignore[attr-defined]
    folders.append(saved(tmp_path / "q", state_of() | {"model": quantize.eight_bits(exact)}))
    for folder in folders:
        exported(folder, tmp_path / f"{folder.name}-out")
    tokens = torch.randint(132, (3, 40), generator=torch.Generator().manual_seed(0))
    told = json.dumps(tokens.tolist()), *(f"{folder}-out" for folder in folders)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-I", "-c", ALONE, *told]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    *logits, written = done.stdout.splitlines()
    for folder, line in zip(folders, logits, strict=True):
        own = restored(folder, device="cpu").model.model  # type: ignore[attr-defined]
        assert float((torch.tensor(json.loads(line)) - own.logits(tokens)).abs().max()) == 0
    assert 1 <= len(written.split()) <= 30
    assert {*written.split()} <= {*json.loads((tmp_path / "m0-out" / "vocabulary.json").read_text("utf-8"))}
    lines = (tmp_path / "m0-out" / "load.py").read_text("utf-8").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert not [line for line in lines if "llmlab" in line and "import" in line]


@needs("transformers", "peers")
def test_tiny_gpt2_opens_with_transformers(tmp_path: Path) -> None:
    import transformers

    folder = saved(tmp_path / "m", state_of(model="tiny-gpt2"))
    exported(folder, tmp_path / "out")
    transformers.utils.logging.disable_progress_bar()
    found, told = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(told[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = torch.randint(132, (2, 30), generator=torch.Generator().manual_seed(0))
    own = restored(folder, device="cpu").model
    with torch.no_grad():
        logits = found.eval()(input_ids=tokens).logits
        assert float((logits - own.logits(tokens)).abs().max()) <= 1e-6  # type: ignore[attr-defined]
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


def test_the_card_says_what_it_is(tmp_path: Path, checkpoint: Path) -> None:
    metrics = exported(checkpoint, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    for words in ("made by its grammar", "MIT", "llmlab baseline --embedding 8", "Kneser–Ney", "人工言語"):
        assert words in card
    for metric in ("val_ppl", "kneser_ney_ppl", "bigram_ppl", "unigram_ppl", "bayes_ppl"):
        assert card.count(f"| {metrics[metric]:.2f} |") == 2


@pytest.mark.parametrize("data", [*CORPORA, "path: mine.txt"])
def test_every_text_has_its_licence(data: str) -> None:
    card = export.shown.card(BaselineSettings(data=data), "", 1, 1, {"val_accuracy": 0.5})
    assert any(word in card for word in ("licence", "CC BY", "public domain"))
    assert "mine.txt" not in card


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "original", "data": "synthetic", "epochs": 3},
        {"data": "story", "dropout": 0.1},
        {"model": "gru", "hidden": 12, "layers": 2, "stack": "residual", "lr": 0.01},
    ],
    ids=str,
)
def test_the_cards_command_asks_for_the_same_model(tmp_path: Path, options: dict[str, Any]) -> None:
    settings = BaselineSettings(**options, seed=4)
    found = restored(saved(tmp_path / "m", state_of()))
    told = export.command(replace(found, settings=settings, seed=4)).split()[2:]
    types = {f"--{field.name.replace('_', '-')}": field for field in options_of(BaselineSettings)}
    read = {types[name].name: types[name].type(value) for name, value in zip(told[::2], told[1::2], strict=True)}
    assert BaselineSettings(**read).document() == settings.document()


def test_without_its_text_the_card_has_what_the_run_wrote_down(tmp_path: Path) -> None:
    """A model of a reader's own file leaves without that file; a text that is asked for has to be there."""
    state = state_of()
    state["settings"]["data"] = "path: mine.txt"
    state["progress"]["history"] = [{"val_loss_token": 0.0, "val_accuracy": 0.25}]
    folder = saved(tmp_path / "m", state)
    metrics = exported(folder, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert (metrics["val_ppl"], "| New-LLM | 1.00 |" in card, "25.0%" in card) == (1.0, True, True)
    assert "Kneser" not in card
    with pytest.raises(TextError, match="--data"):
        exported(folder, tmp_path / "other", data=str(tmp_path / "none"))
    unfinished = saved(tmp_path / "unfinished", state | {"progress": {"history": []}})
    with pytest.raises(SettingError, match="--data: the model was trained on"):
        exported(unfinished, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_only_a_free_place_is_written_to(tmp_path: Path, checkpoint: Path) -> None:
    """And only with what another program opens: our GRU is none."""
    for name in ("empty", "full", "new-old"):
        (tmp_path / name).mkdir()
    for name in ("full", "new-old"):
        (tmp_path / name / "mine").write_text("x", "utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for place in (tmp_path / "empty", tmp_path / "full", tmp_path / "full" / "mine", tmp_path / "link", Path()):
        with pytest.raises(SettingError, match=r"FOLDER: .* exists; choose another name"):
            exported(checkpoint, place)
    with pytest.raises(WriteError, match="FOLDER: there is no folder"):
        exported(checkpoint, tmp_path / "no" / "such")
    with pytest.raises(SettingError, match="gru: a GRU; export is for New-LLM and tiny GPT-2"):
        exported(saved(tmp_path / "gru", state_of(model="gru")), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    exported(checkpoint, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*FILES, "load.py"}
    assert {path.name for name in ("full", "new-old", "empty") for path in (tmp_path / name).iterdir()} == {"mine"}


def test_a_full_disk_leaves_nothing(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:10])
        if path.name == "README.md":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmlab.disk.write_synced", full)
    with pytest.raises(WriteError, match=r"FOLDER: .* was not written: No space left"):
        exported(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_the_last_run_and_says_what_it_wrote(
    run_llmlab: Callable[..., Done], tmp_path: Path, checkpoint: Path
) -> None:
    """Without arguments the last run that can be used goes to ``export``; twice is refused, in one line."""
    run = tmp_path / "runs" / "baseline-pocket-1"
    run.mkdir(parents=True)
    saved(run / "best", state_of())
    done = run_llmlab("baseline", "export", "--json", "--no-log")
    assert (done.code, done.document["experiment"], done.document["metrics"]["files"]) == (0, "export", 5)
    again = run_llmlab("baseline", "export", "--no-log")
    assert (again.code, "FOLDER: export exists" in again.err) == (2, True)
    diverged, broken = (tmp_path / "runs" / f"baseline-pocket-{number}" for number in (2, 3))
    diverged.mkdir()
    broken.mkdir()
    (saved(broken / "best", state_of()) / "model.safetensors").write_bytes(b"")
    for age, newer in enumerate((broken, diverged), start=1):
        os.utime(newer, (run.stat().st_atime + age, run.stat().st_mtime + age))
    older = run_llmlab("baseline", "export", "runs", "second", "--no-log")
    assert "newest run, baseline-pocket-2, has no checkpoint that can be used" in " ".join(older.out.split())
    assert "this is baseline-pocket-1." in " ".join(older.out.split())
    named = run_llmlab("baseline", "export", str(checkpoint), "mine", "--no-log")
    assert (named.code, (tmp_path / "mine" / "load.py").is_file()) == (0, True)
    assert run_llmlab("baseline", "export", "none", "other").code == 4
