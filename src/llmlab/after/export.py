"""``llmlab baseline export CHECKPOINT FOLDER``: a trained model as anybody opens it, without llmlab.

Question: what is a trained model, when nothing is left of the program that trained it?

Four files: the numbers (``model.safetensors``), their sizes (``config.json``), the words (``vocabulary.json``), and a
model card (``README.md``) that says what it reads, how it does beside counting, and how it was made.  With New-LLM goes
``load.py``: its equations once more, in 40 lines of plain torch, which give the same logits to the last bit.  Tiny
GPT-2 is laid out as the ``transformers`` library has it, and opens with its ``from_pretrained``.
"""

import json
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from llmlab.after import evaluate
from llmlab.after.opening import Restored, restored
from llmlab.after.saving import check_free, save
from llmlab.errors import SettingError, TextError, UnreachableError
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import tensor_file
from llmlab.lab.language import EPS
from llmlab.lab.sizes import CLAMP, MODELS
from llmlab.lab.steps import OnStep
from llmlab.measure.score import perplexity
from llmlab.report.messages import CODES, Text, say
from llmlab.report.result import Result, Scalar
from llmlab.settings import BaselineSettings, EvaluateSettings, ExportSettings, flag, options_of
from llmlab.shown import after as shown

ARGUMENT = "FOLDER"
UNSAID = ("seeds", "device")
"""Of the settings, what does not matter to the model of one seed."""


def model_files(found: Restored, path: Path) -> dict[str, bytes]:
    """Return numbers, sizes, words and, for New-LLM, the code that opens them, by the names of their files."""
    network: Any = getattr(found.model, "module", None)
    if isinstance(found.model, SweptNewLLM):
        sizes = {"model": MODELS["new-llm"], **asdict(found.model.model.size), "clamp": CLAMP, "eps": EPS}
        config, code = json.dumps(sizes, indent=1), {"load.py": (files("llmlab") / "after/load.py.txt").read_bytes()}
    elif found.settings.model == "tiny-gpt2":
        network.config.architectures = [type(network).__name__]
        config, code = network.config.to_json_string(), {}
    else:
        raise SettingError(f"{path}: a {MODELS[found.settings.model]}; export is for New-LLM and tiny GPT-2")
    return {
        "model.safetensors": tensor_file("model", found.model.parameters, {"format": "pt"}),
        "config.json": config.encode(),
        "vocabulary.json": json.dumps(found.vocabulary.words, ensure_ascii=False, indent=0).encode(),
        **code,
    }


def command(found: Restored) -> str:
    """Return the command that trains such a model; of a text of the reader's own only that there is one."""
    made, told = replace(found.settings, seed=found.seed), dict[str, Any]()
    for option in options_of(made):
        own = getattr(made, option.name)
        usual = BaselineSettings(**{name: told[name] for name in ("preset", "data") if name in told})
        if option.metadata["recorded"] and option.name not in UNSAID and own != getattr(usual, option.name):
            told[option.name] = own
    return " ".join(["llmlab baseline", *(f"{flag(name)} {made.spelled(name)}" for name in told)])


def judged(settings: ExportSettings, found: Restored, on_step: OnStep | None) -> tuple[dict[str, Scalar], list[Text]]:
    """Return how good the model is; where its text is not here, what its run wrote down, and a note that says so."""
    same = {name: getattr(settings, name) for name in ("checkpoint", "data", "offline", "batch")}
    try:
        return evaluate.run(EvaluateSettings(**same), on_step).metrics, []
    except (SettingError, TextError, UnreachableError) as error:
        if settings.data or not found.history:
            raise
        last, note = found.history[-1], say("export.not_judged", error=str(error))
        return {"val_ppl": perplexity(last["val_loss_token"]), "val_accuracy": last["val_accuracy"]}, [note]


def run(settings: ExportSettings, on_step: OnStep | None = None) -> Result:
    """Write the model of a checkpoint as a folder that opens without llmlab, a new one."""
    check_free(settings.folder, ARGUMENT)
    found = restored(settings.checkpoint, device="cpu")
    written = model_files(found, settings.checkpoint)
    metrics, notes = judged(settings, found, on_step)
    card = shown.card(found.settings, command(found), len(found.vocabulary), len(found.history), metrics)
    written["README.md"] = "\n".join(card.spoken(code) for code in CODES).encode()
    save(settings.folder, written, ARGUMENT)
    sizes = {name: len(content) for name, content in written.items()}
    return Result(
        settings.experiment,
        settings.document(),
        say("export.why"),
        say("export.how"),
        metrics={"files": len(sizes), "bytes": sum(sizes.values()), **metrics},
        summary=[say("export.written", files=len(sizes), bytes=sum(sizes.values())), *notes, *found.notes],
        tables=[found.table(), shown.written(sizes)],
    )
