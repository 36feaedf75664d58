"""Settings: what follows from what is given, before anything slow is imported; what is refused: ``test_bad_input``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.lab.sizes import sized
from llmlab.settings import (
    MAX_CHARACTERS,
    BaselineSettings,
    EmbeddingFreezeSettings,
    FinetuneSettings,
    Phase1Settings,
    RunOptions,
    Settings,
)
from strategies import any_texts


def test_a_text_with_as_many_characters_as_allowed_is_taken():
    assert Phase1Settings(text="".join(map(chr, range(0x4E00, 0x4E00 + MAX_CHARACTERS))))


@given(any_texts)
def test_the_focus_is_the_first_character_unless_chosen(text: str):
    """Any text that has something to predict is accepted, and its first character can always be looked at."""
    assert Phase1Settings(text=text).focus == text[0]


@pytest.mark.parametrize("model", ["new-llm", "tiny-gpt2", "gru"])
@pytest.mark.parametrize("given", [{}, {"layers": 2}, {"layers": 2, "hidden": 64}, {"preset": "modern"}])
def test_copying_settings_changes_nothing(model: str, given: dict[str, Any]):
    """A copy with other seeds is of the same model, whether its depth was given or is the preset's."""
    first = BaselineSettings(model=model, **given)
    other = replace(first, seeds=3)

    assert replace(other, seeds=1) == replace(first) == first
    assert sized(other, model, 131) == replace(sized(first, model, 131), seeds=3)


def declared_settings(kind: type[Settings] = Settings) -> list[type[Settings]]:
    below = [found for each in kind.__subclasses__() for found in declared_settings(each)]
    return below if below or kind is Settings else [kind]


@given(st.data())
def test_a_default_does_not_depend_on_whether_a_value_was_given(data: st.DataObject):
    """A copy is equal, and so are one with any of its own values given and settings made anew of all of them."""
    chapter: Any = data.draw(st.sampled_from(declared_settings()))
    named = chapter.__dataclass_fields__
    given = {"preset": data.draw(st.sampled_from(named["preset"].metadata["choices"]))} if "preset" in named else {}
    first = chapter(**given, **({"checkpoint": Path("a")} if "checkpoint" in named else {}))
    name = data.draw(st.sampled_from(sorted(vars(first))))

    assert replace(first) == replace(first, **{name: getattr(first, name)}) == chapter(**vars(first)) == first
    assert replace(first, seed=1).document() == first.document() | {"seed": 1}


def test_every_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch):
    """``--out=~/x`` is no folder called ``~``: no shell takes that off our hands."""
    monkeypatch.setenv("HOME", "/home/me")
    own = BaselineSettings(out=Path("~/x"), data="~/text.txt", resume="~/x")

    assert (own.out, own.data, own.resume) == (Path("/home/me/x"), "/home/me/text.txt", "/home/me/x")
    assert RunOptions(log_dir=Path("~/log")).log_dir == Path("/home/me/log")
    assert FinetuneSettings(checkpoint=Path("~/a"), original="~/b").original == "/home/me/b"
    assert EmbeddingFreezeSettings(pretrained="~/m", data="~/t").pretrained == "/home/me/m"
    assert Phase1Settings(text="~/x").text == "~/x"
