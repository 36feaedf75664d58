"""Messages: the same numbers in both languages, whole through a record, and nothing a record holds can break them."""

import copy
import json
import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmlab
from llmlab.report.messages import CODES, Message, messages, read, said, say, sentences, stored
from llmlab.shown.table import declared

SOURCE = Path(llmlab.__file__).parent
HOOKS = Path(__file__).parents[1] / "docs" / "hooks"
POSTS = Path(__file__).parents[1] / "docs" / "log" / "posts"
HOSTILE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def holes(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def example(key: str) -> dict[str, int]:
    return {name: 1_000 + 111 * place for place, name in enumerate(sorted(holes(messages()[key]["en"])))}


@pytest.mark.parametrize("key", messages())
def test_every_message_can_be_said_and_says_the_same_in_both_languages(key: str) -> None:
    templates = messages()[key]
    assert sorted(templates) == sorted(CODES)
    assert holes(templates["en"]) == holes(templates["ja"])
    assert all(name.isidentifier() for name in holes(templates["en"]))
    for code in CODES:
        text = said(key, example(key), code)
        assert not text.startswith(f"{key} {{")
        assert "{" not in text


def test_every_message_is_used_and_every_one_used_is_there() -> None:
    files = [*SOURCE.rglob("*.py"), *HOOKS.glob("*.py")]
    code = "\n".join(path.read_text("utf-8") for path in files)
    used = set(re.findall(r'"([a-z0-9_]+\.[a-z0-9_]+)"', code)) & set(messages())
    used |= {key for key in messages() for name in re.findall(r'group\("(\w+)"', code) if key.startswith(f"{name}.")}

    records = "".join(path.read_text("utf-8") for path in POSTS.glob("*/record.json"))
    spoken = set(re.findall(r'"say": "([a-z0-9_.]+)"', records))

    assert used | spoken == set(messages())


def test_every_declared_table_and_figure_is_made() -> None:
    """The keys of ``parts.toml`` all stand in the code."""
    code = "\n".join(path.read_text("utf-8") for path in (SOURCE / "shown").glob("*.py"))

    assert {key for key in declared() if f'"{key}"' not in code} == set()


def test_a_message_is_its_english_sentence() -> None:
    """Whoever shows English need not know that it is one."""
    message = say("phase1.next_token", focus="h", seeds=1_000)

    assert message == "P(next | h), mean over 1,000 seeds, likeliest first."
    assert message.spoken("ja") == "P(次 | h)、1,000個のシードの平均、確率の高い順。"


def test_a_message_needs_its_own_values_and_no_others() -> None:
    """A typing error is found where it is made."""
    with pytest.raises(ValueError, match=r"phase1\.next_token: takes \['focus', 'seeds'\], not \['focus'\]"):
        say("phase1.next_token", focus="h")
    with pytest.raises(KeyError):
        say("phase1.nothing")


def test_messages_stand_inside_messages() -> None:
    """One within another, and a list of them, each in the language asked for."""
    mean = say("phase1.mean", mean=0.5, seeds=3, low=0.25, high=0.75)
    parts = [say("phase1_2.scatter_part", kind="other pairs", product=1.0, distance=2.0)] * 2
    message = say("phase1_2.scatter", seeds=1, parts=parts)

    assert str(say("phase1.p_next", next="e", focus="h", probability=mean)).endswith(
        "ended at 0.5000 (mean over 3 seeds, 95% 0.2500 to 0.7500)."
    )
    assert message.spoken("ja", {"other pairs": "ほかの組"}.__getitem__).count("ほかの組は平均距離2.00") == 2


def test_sentences_stand_side_by_side_in_either_language() -> None:
    """English puts a space between them, Japanese nothing; an empty one is not there, and words go by the catalogue."""
    told = sentences("One text.", "", say("intervals.of_seeds", seeds=3))

    assert told == "One text. The 95 % intervals are over seeds (n = 3), all on one text."
    assert isinstance(told, Message)
    assert told.spoken("ja", {"One text.": "1つ。"}.__getitem__).startswith("1つ。95%区間")
    assert sentences("a.", "", "b.") == "a. b."


@given(HOSTILE, HOSTILE)
def test_no_record_can_break_a_message(first: Any, second: Any) -> None:
    values = {"focus": first, "seeds": second}
    message = Message("phase1.next_token", values)

    again = read(json.loads(json.dumps(stored([message]))))

    assert isinstance(message.spoken("ja"), str)
    assert isinstance(again[0], Message)
    assert stored(again) == stored([message])


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_template_reaches_into_nothing(key: str, value: str) -> None:
    """A key that is none of ours is shown, not obeyed; a value that looks like a template stays as it is."""
    assert said(key, {"x": value}, "en") == f"{key} {{'x': {value!r}}}" or key in messages()
    assert "{seeds.__class__}" in say("phase1.next_token", focus="{seeds.__class__}", seeds=1)


def test_copies_are_messages() -> None:
    """A Result is copied when its document is made."""
    message = copy.deepcopy([say("phase1.next_token", focus="h", seeds=2)])[0]

    assert isinstance(message, Message)
    assert message.key == "phase1.next_token"
