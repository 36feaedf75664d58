"""What every experiment's command does: run it under watch, put its entry into the log, show it.

Covers signals, the import of torch, progress, the exit code, and who speaks where several processes train together.
"""

import dataclasses
import gc
import importlib
import os
import secrets
import signal
import sys
import time
import types
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.cli.log import judged_document
from llmlab.cli.options import Chosen
from llmlab.cli.output import spoken, write_json
from llmlab.cli.progress import ProgressLine, on_signals, signals_held
from llmlab.environment import facts, rank_and_size
from llmlab.errors import SettingError, Stopped
from llmlab.report import terminal
from llmlab.report.logbook import Logbook
from llmlab.report.messages import say
from llmlab.report.record import CREATED, Record
from llmlab.report.result import Result, Scalar

if TYPE_CHECKING:  # as in ``progress``
    from llmlab.report.watching import Screen

DIVERGED = 6
TOGETHER = "llmlab.baseline", "llmlab.peers", "llmlab.layers"
"""The modules whose models several processes train together."""


def execute(name: str, module: str, chosen: Chosen, rerun_of: str = "") -> int:
    """Run an experiment, put its entry into the log, show it; return the exit code.

    A log that cannot be written to is noticed before the run.  Where it fails after it, the result is shown all
    the same, and then the failure is raised.  The experiment's ``module`` is not imported before: it imports torch.
    ``rerun_of`` is the id of the entry that the run is to confirm.
    """
    options, (rank, size) = chosen.options, rank_and_size()
    if size > 1 and module not in TOGETHER:
        raise SettingError(
            "torchrun: several processes train one model in llmlab baseline and llmlab layers only; start this one "
            "without it"
        )
    if rank:
        return _beside(module, chosen)
    logbook, page = Logbook.at(options.log_dir), None
    if options.log:
        logbook.check_writable()
    progress = ProgressLine(
        hidden=options.quiet, saves=hasattr(chosen.settings, "resume"), together=size > 1, screen=_screen(chosen)
    )
    command = _to_go_on(name, chosen)
    result, seconds = _supervised(module, chosen, progress, command)
    record = _record(result, seconds, chosen, chosen.command_line(name), rerun_of)
    try:
        if options.log:
            record, page = logbook.put(record)
    finally:
        _show(record, page, chosen, progress.folders)
        _wait_for_all()  # the others go when everything is written
    if result.status == "interrupted":
        raise _interruption(progress, command)
    if result.status != "complete":
        terminal.say(f"llmlab: {result.summary[0]}")
        return DIVERGED
    return 0


def _screen(chosen: Chosen) -> "Screen | None":
    """Return where the picture is redrawn, if that is asked for and there is a terminal to do it on."""
    asked = getattr(chosen.settings, "watch", False) and not chosen.options.quiet
    if not (asked and sys.stderr is not None and sys.stderr.isatty()):
        return None
    from llmlab.report.watching import Screen

    return Screen(spoken(chosen.options.lang))


def _beside(module: str, chosen: Chosen) -> int:
    """Run a process of a team that is not the first: it shows and logs nothing but its own failures."""
    progress = ProgressLine(hidden=True, saves=hasattr(chosen.settings, "resume"), together=True)
    try:
        result, _ = _supervised(module, chosen, progress)
    except Stopped as stopped:
        return stopped.exit_code
    _wait_for_all()
    ends = {"interrupted": 128 + (progress.stopped_by or signal.SIGINT), "diverged": DIVERGED}
    return ends.get(result.status, 0)


def _wait_for_all() -> None:
    if rank_and_size() != (0, 1):
        importlib.import_module("llmlab.lab.team").Team(*rank_and_size()).share()


def _supervised(module: str, chosen: Chosen, progress: ProgressLine, command: str = "") -> tuple[Result, float]:
    """Import and run an experiment with progress shown; return its result and the seconds it took."""
    settings = chosen.settings
    on_signals(progress.stop)
    try:
        chapter = import_with_torch(module, chosen.options.threads)
        start = time.perf_counter()
        if hasattr(settings, "data"):
            progress.begin("reading and counting the text")
        return chapter.run(settings, progress), time.perf_counter() - start
    except Stopped as stopped:
        if progress.saves and (stopped.kept or "resume" in chosen.given):
            raise _interruption(progress, command, saved=stopped.kept) from None
        out = getattr(settings, "out", None)
        begun = out is not None and progress.planned and out.is_dir()  # what keeps a model but cannot go on with it
        left = f"what is in {out} is unfinished" if begun else "nothing was written"
        raise Stopped(f"{stopped}{progress.where()}; {left}", stopped.signal_number) from None
    finally:
        progress.close()


def _interruption(progress: ProgressLine, command: str, *, saved: bool = True) -> Stopped:
    """Return the stop that an interrupted run was, with the line that goes on from there."""
    number = progress.stopped_by or signal.SIGINT
    what = "what is finished is reported, and this makes all of it"
    if progress.saves:
        now = saved and not progress.at_once
        what = f"{'a checkpoint was saved, go on' if now else 'go on from the last checkpoint'} with"
    return Stopped(f"stopped{progress.where()}; {what}: {command}", number)


def _to_go_on(name: str, chosen: Chosen) -> str:
    """Return the command that goes on where this run is when it is stopped, or makes it again where it cannot."""
    if not hasattr(chosen.settings, "resume"):
        return chosen.command_line(name, private=True)
    if "resume" not in chosen.given:
        return f"{chosen.command_line(name, private=True)} --resume auto"
    place = Path(chosen.settings.resume)
    if (place / "run.json").is_file():  # a checkpoint is where this run began; its folder knows where it ends
        settings = dataclasses.replace(chosen.settings, resume=str(place.parent))  # type: ignore[call-arg]
        chosen = dataclasses.replace(chosen, settings=settings)
    return chosen.command_line(name, private=True)


def _record(result: Result, seconds: float, chosen: Chosen, command: str, rerun_of: str = "") -> Record:
    torch = sys.modules["torch"]
    found: dict[str, Scalar] = {**facts(torch.get_num_threads())}
    if torch.cuda.is_initialized():  # which card it computed on, and the most memory held there
        memory = round(torch.cuda.max_memory_reserved() / 2**20)
        found |= {"card": torch.cuda.get_device_name(), "card_peak_memory_mb": memory}
    if "resume" in chosen.given:
        found["resumed"] = "the seconds are those of the last piece"
    return Record(
        result.finite(),
        id=secrets.token_hex(4),
        created=datetime.now(UTC).strftime(CREATED),
        command=command,
        seconds=round(seconds, 3),
        environment=found,
        expectation=_unicode(chosen.options.expect),
        note=_unicode(chosen.options.note),
        rerun_of=rerun_of,
    )


def _place(chosen: Chosen, folders: list[Path]) -> str:
    """Return which checkpoint a command that goes on from this run has to name, if it is not the newest run."""
    read = getattr(chosen.settings, "checkpoint", None)
    if read is not None:
        return str(read) if "checkpoint" in chosen.given and read != Path("runs") else ""
    elsewhere = {"out", "resume"} & {*chosen.given} or len(folders) > 1
    return terminal.from_here(folders[0]) if elsewhere and folders else ""


def _show(record: Record, page: Path | None, chosen: Chosen, folders: list[Path]) -> None:
    """Print the result, where its checkpoints are (one folder for all of them), and its entry."""
    entry, options = terminal.from_here(page) if page else None, chosen.options
    if options.json:
        write_json({**judged_document(record), "entry": entry})
        return
    language = spoken(options.lang)
    if not options.quiet:
        from llmlab.report.table import first_screen, report

        folders = [folder for folder in folders if any(folder.glob("*/run.json"))]  # a run that diverged may have none
        kept = [language.say(say("first.kept", folder=os.path.commonpath(folders)))] if folders else []
        console, place = terminal.console(), _place(chosen, folders)
        if options.full:
            parts = report(record, console, language, place)
        else:
            parts = first_screen(record, console, language, len(kept), place)
        terminal.show(*parts, *kept)
    if entry:
        terminal.write(entry + "\n" if options.quiet else f"{language.say('Entry: ')}{entry}\n")


def import_with_torch(module: str, threads: int) -> types.ModuleType:
    """Import a module, and torch with it, at two thirds of the usual price; let torch begin with so many threads.

    A million objects are born in that import and none dies: looking for garbage among them, again and again
    and once more at the end of the process, takes a third of the start-up.
    """
    gc.disable()
    try:
        with signals_held(), warnings.catch_warnings():
            # torch would like numpy; nothing here needs it
            warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
            chapter = importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()
    importlib.import_module("llmlab.lab.device").begin(threads)
    return chapter


def _unicode(text: str) -> str:
    """Return an argument without the lone surrogates that stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
