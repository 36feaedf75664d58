"""What cannot be done is refused in a line or two that name the option, and nothing is written.

``run_llmlab`` adds to every case: no traceback, a documented exit code, one or two lines on standard error.
"""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Done

Run = Callable[..., Done]
SHORT = ("--epochs", "2", "--quiet")


def assert_refused(done: Done, code: int, *words: str) -> None:
    """Assert that a run was refused with a code and words, printed nothing and left nothing behind."""
    assert (done.code, done.out) == (code, ""), done.err
    assert {word for word in words if word not in done.err} == set(), done.err
    assert "torch" not in done.err
    assert list(done.folder.iterdir()) == [], "something was written"


OUT_OF_RANGE = [
    ("phase1", "--dim", "0 -1 2.5 1e9 1000000000 abc '' 9223372036854775808 nan"),
    ("phase1-2", "--lr", "nan inf -inf -1 0 1e999 1e-999 abc ''"),
    ("phase1", "--epochs", "0 -5 1e3 2000000"),
    ("phase1-2", "--seeds", "0 -1 1.5 100001"),
    ("phase1", "--seed", "-1 9223372036854775807 x"),
    ("phase1-2", "--threads", "-1 5000"),
    ("phase1-2", "--weight-decay", "-1"),
    ("log serve", "--port", "0"),
    ("baseline", "--layers", "0 65 x"),
    ("baseline", "--hidden", "100000"),
    ("baseline", "--dropout", "1 -0.1 nan"),
    ("baseline", "--clip", "0 -1 much nan inf"),
    ("baseline", "--batch", "0 60000"),
    ("baseline", "--seeds", "101"),
    ("layers", "--layers", "0 '' 1,1"),
    ("embedding-freeze", "--grow", "0"),
    ("embedding-freeze", "--noise", "nan"),
    ("two-stage", "--noises", "-1"),
    ("two-stage", "--depths", "0"),
    ("phase1", "--focus", "x o he \u0301 \udcff el"),
]


@pytest.mark.parametrize(("command", "option", "values"), OUT_OF_RANGE, ids=lambda value: ascii(value.split(" ")[0]))
def test_a_value_out_of_range_is_refused(run_llmlab: Run, command: str, option: str, values: str) -> None:
    """Every numeric option refuses zero, the negative, the huge, the fractional and the wordy, and says its name.

    So does the focus what nothing follows in the text.
    """
    for value in shlex.split(values):
        assert_refused(run_llmlab(*command.split(), option, value), 2, option)


WRONG = {
    "phase1 --nope": "See llmlab phase1 --help",
    "phase1 word": "See llmlab phase1 --help",
    "phase9": "phase9",
    "phase2": "'phase1'? See llmlab --help",
    "expand": "write llmlab baseline expand",
    "phase1 --dim": "--dim",
    "phase1-2 --freeze all": "embedding",
    "phase1-2 --optimizer Adam": "adamw",
    "phase1 --freeze none": "--freeze",
    "phase1 --seeds 100000 --epochs 1000000": "--seeds",
    "phase1 --seeds 100000 --dim 4096": "--dim",
    "log nope": "See llmlab log --help",
    "log compare": "ID",
    "log supersede": "See llmlab log supersede --help",
    "log show nope": "nope",
    "log compare nope nope": "nope",
    "baseline --vocabulary 20": "--vocabulary",
    "baseline --length 8": "--length",
    "baseline --preset huge": "pocket",
    "baseline --model bert": "tiny-gpt2",
    "baseline --precision fp8": "bf16",
    "layers --only 5": "--only",
    "embedding-freeze --arms melted": "--arms",
    "embedding-freeze --arms frozen": "--grow",
    "embedding-freeze --data nowhere.txt": "--pretrained",
    "embedding-freeze --resume a --out b": "--out",
    "two-stage --ablate x": "--ablate",
    "baseline --layers 64 --hidden 8192": "--hidden",
    "baseline --length 4096 --batch 256 --hidden 4096 --context 4096": "GB of memory",
    "layers --layers 1,64 --hidden 8192": "--hidden",
    "two-stage --layers 64 --context 8192 --inputs 64 --width 8192": "GB of memory",
    "claims --id P1-0": "--id",
    "claims --chapter phase9": "--chapter",
    "claims --verdict maybe": "--verdict",
    "claims --document 999": "--document",
    "claims P12-2": "llmlab claims --id P12-2",  # a claim in the place of a command is told its option
    **{
        f"{command} --log-dir {folder}": f"--log-dir: {folder} holds no log"
        for command in ("claims", "log list", "log show ab", "log render", "log serve")
        for folder in ("no-such", ".")
    },
}
"""Unknown options, commands and choices, what does not fit together, what no machine holds, and no log in a folder."""


@pytest.mark.parametrize("command", WRONG)
def test_wrong_usage_is_refused(run_llmlab: Run, command: str) -> None:
    assert_refused(run_llmlab(*command.split()), 2, WRONG[command])


TEXTS = ["", "a", "aaaa", "\n", " " * 50, "🙂", b"a\xffb", b"\xed\xa0\x80b"]
INPUTS = {
    b"": "--text",
    b"abc\xff": "byte 3",
    b"\xff\xfea\x00b\x00": "byte 0",
    "".join(map(chr, range(0x4E00, 0x4E00 + 2049))).encode(): "2049",
}


@pytest.mark.parametrize(
    ("text", "stdin", "word"),
    [*((text, b"", "--text") for text in TEXTS), *(("-", stdin, word) for stdin, word in INPUTS.items())],
    ids=lambda value: ascii(value)[:20],
)
def test_a_text_that_cannot_be_used_is_refused(run_llmlab: Run, text: str | bytes, stdin: bytes, word: str) -> None:
    """Empty, one symbol again and again, no Unicode, or too many characters: exit 3 with what was found, and where."""
    assert_refused(run_llmlab("phase1", "--text", text, stdin=stdin), 3, word)


@pytest.mark.parametrize(("source", "words"), [("<&-", ["standard input"]), ("< /dev/zero", ["standard input", "MB"])])
def test_a_closed_or_endless_standard_input_is_refused(shell_llmlab: Run, source: str, words: list[str]) -> None:
    """It says so, and reading ends at the limit."""
    assert_refused(shell_llmlab(f"$LLMLAB phase1 --text - {source}"), 3, *words)


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d👩\u200d👧e\u0301\u0302漢字",
        "\u202eשלום\u2028\u00a0\u3000",
        "a\x01b\x1b[2J\x9b",
        "[/INST][red]```\n---\n",
        "<script>alert(1)</script>",
        "<!-- notes:begin",
        "- - -x",
    ],
    ids=ascii,
)
def test_any_other_text_works_and_its_entry_is_whole(run_llmlab: Run, text: str) -> None:
    done = run_llmlab("phase1", "--epochs", "2", "--json", "--text", text)
    assert (done.code, done.complaints) == (0, "")
    assert done.document["settings"]["text"] == text
    assert {f"moved_{character}" for character in text} <= set(done.document["metrics"])
    assert len(done.entries) == 1
    checked = run_llmlab("log", "render", "--check")
    assert (checked.code, checked.err) == (0, ""), "the fresh entry is not what its record says"


@pytest.mark.parametrize(("stdin", "text"), [(b"a\x00b\x00", "a\x00b\x00"), (b"\xef\xbb\xbfab", "ab")])
def test_nul_comes_through_standard_input_and_a_byte_order_mark_does_not(run_llmlab: Run, stdin: bytes, text: str):
    """A text with NUL, which no argument can hold, is learned and is strict JSON; a byte order mark is no character."""
    done = run_llmlab("phase1", *SHORT, "--json", "--text", "-", stdin=stdin)
    assert done.document["settings"]["text"] == text
    assert "\x00" not in done.document["command"]


def test_a_megabyte_of_text_works(run_llmlab: Run) -> None:
    """Its entry names it without copying it."""
    done = run_llmlab("phase1", *SHORT, "--json", "--text", "-", stdin=b"the quick brown fox " * 50_000)
    kept = done.document["settings"]["text"]
    assert (done.code, len(kept) < 400) == (0, True)
    assert "1,000,000 characters, SHA-256" in kept
    assert "--text - " in done.document["command"]
    assert done.document["command"].endswith(" < TEXT")
    assert sum(path.stat().st_size for path in done.entries[0].iterdir()) < 200_000


@pytest.mark.parametrize("lr", ["1e30", "1e25", "1e12"])
def test_a_mad_learning_rate_ends_in_words(run_llmlab: Run, lr: str) -> None:
    """However large the step: diverged, or done, and never a crash; a diverged run has its entry."""
    done = run_llmlab("phase1-2", "--lr", lr, "--epochs", "1", "--json")
    metrics = done.document["metrics"]
    assert (done.code, done.document["status"]) in ((0, "complete"), (6, "diverged"))
    assert done.code == 0 or (metrics["loss"] is None and "diverged" in metrics["loss_reason"])
    assert len(done.entries) == 1
    assert run_llmlab("log", "list").err == "", "the log does not read what it wrote"


@pytest.mark.parametrize("args", [("phase1", *SHORT), ("log", "list")], ids=lambda args: args[0])
@pytest.mark.parametrize("name", ["x" * 300, "loop", "file/below", "file"], ids=lambda name: name[:10])
def test_a_strange_log_folder_is_named(run_llmlab: Run, tmp_path: Path, args: tuple[str, ...], name: str) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    (tmp_path / "loop").symlink_to("loop")
    done = run_llmlab(*args, "--log-dir", name)
    assert done.code == 7 if args[0] == "phase1" else done.code in (0, 2, 7)
    assert (tmp_path / "file").read_text("utf-8") == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_a_removed_working_directory_is_named(shell_llmlab: Run) -> None:
    for command in ("log list", "phase1 --epochs 2", "doctor"):
        done = shell_llmlab(f"mkdir gone && cd gone && rmdir ../gone && $LLMLAB {command}")
        assert done.code in (0, 2, 7)


@pytest.mark.parametrize(("wrong", "code"), [("--dim 0", 2), ("--text a", 3), ("--log-dir no/such", 7)])
def test_debug_shows_where_and_keeps_the_exit_code(run_llmlab: Run, wrong: str, code: int) -> None:
    """Without it there is one line that names the option, and nothing is written."""
    assert_refused(run_llmlab("phase1", *wrong.split()), code, *wrong.split(" ")[:1])
    done = run_llmlab("phase1", *wrong.split(), "--debug")
    assert ("Traceback" in done.err, done.code) == (True, code)
