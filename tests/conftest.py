"""What every test may use: three ways to run Hypothesis, ``llmlab`` as a real process under watch, and where to work.

The watch is the point: ``run_llmlab`` checks, in every test that starts a process, that no traceback and no
undocumented exit code ever appears, that no half-written file stays, and that what is called JSON is JSON.
"""

import contextlib
import importlib.util
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads of several test workers wait for each other

from llmlab.cli import app
from llmlab.cli.progress import STOPPING
from llmlab.errors import Stopped
from llmlab.report.logbook import Logbook
from strategies_report import strict_json

if TYPE_CHECKING:
    from browser_walk import Walk
    from llmlab.lab.context_text import EmbeddedCorpus
    from llmlab.report.result import Result

PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "max_examples": 50}
"""No test reads the clock: a machine may be slow, or busy with something else."""

settings.register_profile("dev", **PATIENT)
settings.register_profile("ci", **PATIENT, derandomize=True, database=None, print_blob=True)
settings.register_profile("pi", **PATIENT | {"max_examples": 20}, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

HANG = 1800
"""Seconds after which a process counts as hanging: a guard, and no measure of anything."""

LLMLAB = [sys.executable, "-m", "llmlab"]
FRESH = ("PYTHON", "OMP_", "LANG", "HF_")
"""How variables begin that only an interpreter of its own obeys."""

OBEYED_HERE = {"PYTHONIOENCODING", "HF_TOKEN"}
"""Those among them that ``run_here`` and the library read when a command begins."""

DIGITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Variables by which a processor is made to do with fewer instructions: they decide the last digits of a number, so
that a new process has to have them as this one does."""

HERE = {"PYTHONUTF8": "1", "SYSTEMROOT": os.environ.get("SYSTEMROOT")} if os.name == "nt" else {}
"""Without these no Python starts on Windows, and none speaks UTF-8."""

DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 129, 130, 143}


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    """Return the mark of a test that is skipped where a library of an extra is not installed."""
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed: pip install '.[{extra}]'")


@dataclass(frozen=True)
class Done:
    """A finished ``llmlab``: what it said, where it ran, and how it ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def complaints(self) -> str:
        """Its standard error without the lines of progress, which only a run of ten seconds or more prints."""
        return "".join(line for line in self.err.splitlines(True) if not line.startswith("update "))

    @property
    def document(self) -> Any:
        """What it printed, as strict JSON."""
        return strict_json(self.out)

    @property
    def entries(self) -> list[Path]:
        """The folders of the log entries that it left under its working directory."""
        return sorted(path.parent for path in self.folder.rglob("record.json"))


class Stop:
    """Counts updates, remembers what was told, and stops a run at an update of those of all runs together."""

    def __init__(self, at: float = math.inf) -> None:
        self.at, self.updates, self.planned, self.told = at, list[int](), set[int](), list[str]()

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of a step."""
        if not (told.endswith("validating") or "context block" in told or told.startswith("making")):
            self.updates.append(update)
        self.planned.add(planned)
        self.told.append(told)
        if update >= self.at:
            raise Stopped("stopped by SIGTERM", signal.SIGTERM)


def rows(result: "Result", name: str) -> dict[Any, dict[str, Any]]:
    """Return a table as cells by column name, by its first column."""
    table = next(table for table in result.tables if table.name == name)
    names = [column.name for column in table.columns]
    return {row[0]: dict(zip(names, row, strict=True)) for row in table.rows}


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics that do not depend on how fast the machine is."""
    return {name: value for name, value in metrics.items() if "second" not in name and "equal_time" not in name}


def environment(folder: Path, **changes: str | None) -> dict[str, str]:
    """Return a small environment, the same wherever the tests run; ``None`` removes a variable."""
    wanted: dict[str, str | None] = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.environ.get("PYTHONPATH"),
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS"),
        **{name: os.environ.get(name) for name in DIGITS},
        **HERE,
        **changes,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def as_in_a_terminal(ignored: int | None = None) -> None:
    """Let signals act in a new process even where these tests run in the background, which ignores some."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A command sets what signals do; in the tests' own process that is put back, or its children would ignore them."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _texts_are_kept_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept of texts is kept in a folder of the tests, which all their processes share."""
    top = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMLAB_CACHE", str((top.parent if "PYTEST_XDIST_WORKER" in os.environ else top) / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Let torch work with one thread, as commands do where products are small: two take several times as long."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="module")
def all_threads() -> Iterator[None]:
    """Let torch work with as many threads as the environment says."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    yield
    torch.set_num_threads(1)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the test's own folder, where its runs leave their checkpoints."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands read the synthetic language and count it once for all tests of this process: nothing changes it."""
    from llmlab.lab.dataset import dataset_of

    def read(settings: Any, vocabulary: Any = None) -> Any:
        if settings.data != "synthetic":
            return dataset_of(settings, vocabulary)
        key = settings.vocabulary, settings.length, vocabulary
        if key not in COUNTED:
            COUNTED[key] = dataset_of(settings, vocabulary)
        return COUNTED[key]

    for module in ("baseline", "layers", "peers", "after.opening"):
        monkeypatch.setattr(f"llmlab.{module}.dataset_of", read)


COUNTED: dict[tuple[int, int, Any], Any] = {}


@pytest.fixture
def sixty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every embedding that is made in a run be made of sixty lines."""
    monkeypatch.setattr("llmlab.lab.made_embedding.LINES", 60)


@pytest.fixture(scope="module")
def source() -> "EmbeddedCorpus":
    """The synthetic language with an embedding that was made of sixty lines."""
    from strategies_contexts import small_source

    return small_source()


@pytest.fixture(scope="session")
def own_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some lines of the synthetic language, as a folder of the reader's own."""
    from llmlab.text.grammar import Grammar
    from strategies_trained import write_text

    language = Grammar.standard()
    return write_text(tmp_path_factory.mktemp("text") / "original", language.lines(400, 1), language.lines(60, 2))


@pytest.fixture(scope="session")
def dialect_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer lines of the dialect, one of them of two words only."""
    from llmlab.text.grammar import Grammar
    from strategies_trained import write_text

    lines = Grammar.dialect().lines(80, 3)
    folder = tmp_path_factory.mktemp("text") / "other"
    return write_text(folder, [*lines, lines[0][:9]], Grammar.dialect().lines(30, 4))


@pytest.fixture(scope="session")
def trained(own_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small New-LLM that was trained on a text of the reader's own."""
    from llmlab import baseline
    from llmlab.settings import BaselineSettings
    from strategies_trained import TINY

    out = tmp_path_factory.mktemp("run")
    baseline.run(BaselineSettings(**TINY, data=str(own_text), epochs=8, lr=1e-2, out=out, dropout=0.1))
    return out


@pytest.fixture
def no_model_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder with an empty cache of models, and let one small model more have a name."""
    from llmlab.text import hub
    from stand_in_hub import SMALL

    caches = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    for name in (*caches, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "LLMLAB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(hub.MODELS, "small", SMALL)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Walk"]:
    """The built site with two entries in its log, served on this machine only, and a browser."""
    from browser_walk import walking

    yield from walking(tmp_path_factory)


@pytest.fixture
def walk(walked: "Walk") -> Iterator["Walk"]:
    """A walk on which no page complains and none asks another host."""
    walked.complaints.clear()
    walked.strangers.clear()
    yield walked
    assert (walked.complaints, walked.strangers) == ([], [])


def watch(done: Done, args: list[str] | tuple[str, ...]) -> Done:
    """Assert what must hold however a run ended, and hand it on."""
    shown = f"llmlab {' '.join(map(repr, args))}\nrc {done.code}\n{done.err[-2000:]}"
    assert done.code in DOCUMENTED, f"undocumented exit code: {shown}"
    if "--debug" not in args:
        assert "Traceback" not in done.err, shown
        assert "Exception ignored" not in done.err, shown
    assert done.code != 1, f"exit code 1 means a bug: {shown}"
    if done.code in {2, 3, 4, 5, 7} and "--debug" not in args:
        assert 1 <= len(done.err.strip().splitlines()) <= 2, f"a failure is one or two lines: {shown}"
    assert not list(done.folder.rglob(".tmp-*")), f"something half-written stayed: {shown}"
    if "--json" in args and done.code in {0, 6}:
        strict_json(done.out)
    return done


def run_here(words: list[str], folder: Path, variables: dict[str, str], stdin: bytes) -> tuple[int, bytes, bytes]:
    """Run ``llmlab`` in this process and return its exit code, output and errors; what it changed is put back."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    with contextlib.chdir(folder), mock.patch.dict(os.environ, variables, clear=True):
        runner = CliRunner(charset=variables.get("PYTHONIOENCODING", "utf-8"))
        done = runner.invoke(app, words, input=stdin, prog_name="llmlab")
    if torch:
        torch.set_num_threads(threads)
    return done.exit_code, done.stdout_bytes, done.stderr_bytes


@pytest.fixture
def run_llmlab(tmp_path: Path) -> Callable[..., Done]:
    """Run ``llmlab`` in an empty folder and watch it (see ``watch``): in this process, which is the quickest.

    The function takes the arguments, then ``folder``, ``stdin``, ``prefix`` (a command to run it under) and any
    variable of the environment.  With a prefix, or a variable that Python itself reads, it is a fresh interpreter.
    """

    def run(
        *args: str | bytes,
        folder: Path | None = None,
        stdin: bytes = b"",
        prefix: list[str] | None = None,
        **changes: str | None,
    ) -> Done:
        where = folder or tmp_path
        words, variables = [os.fsdecode(word) for word in args], environment(where, **changes)
        if prefix is None and not any(name.startswith(FRESH) for name in changes.keys() - OBEYED_HERE):
            told = run_here(words, where, variables, stdin)
        else:
            command = [*(prefix or []), *LLMLAB, *args]
            found = subprocess.run(
                command, cwd=where, env=variables, input=stdin, capture_output=True, timeout=HANG, check=False
            )
            told = found.returncode, found.stdout, found.stderr
        encoding = changes.get("PYTHONIOENCODING") or "utf-8"
        out, err = (stream.decode(encoding).replace(os.linesep, "\n") for stream in told[1:])
        return watch(Done(told[0], out, err, where), words)

    return run


@pytest.fixture
def log(tmp_path: Path) -> Logbook:
    """An empty log where ``run_llmlab`` finds it."""
    return Logbook.at(tmp_path / "llmlab-log")


@pytest.fixture
def shell_llmlab(tmp_path: Path) -> Callable[..., Done]:
    """Run a bash script in which ``$LLMLAB`` is the command, and watch it; the code is the script's own."""

    def run(script: str, **changes: str | None) -> Done:
        found = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(tmp_path, LLMLAB=" ".join(LLMLAB), **changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HANG,
            check=False,
        )
        return watch(Done(found.returncode, found.stdout.decode(), found.stderr.decode(), tmp_path), [script])

    return run
