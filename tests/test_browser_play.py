"""The playground in a real browser: its training is the command's, and hands can do what it says they can."""

import json
import math
from typing import Any

import pytest
from typer.testing import CliRunner

import site_hooks
from browser_walk import CHROMIUM, Walk
from llmlab.cli import app
from llmlab.phase1 import TinyModel
from llmlab.text.pairs import Pairs

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

STATION, ROW = "#play .station", "#play .sign"
SMALLEST = """() => Math.min(...[...document.querySelectorAll("#play, #play *")]
  .filter(one => one.checkVisibility() && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
  .map(one => parseFloat(getComputedStyle(one).fontSize)))"""


def playground(walk: Walk, **options: Any) -> Any:
    """Open the playground; without movement, unless asked otherwise, so that a training is done at once."""
    return walk.page("play.html", **{"reduced_motion": "reduce", **options})


def number(page: Any, name: str) -> float:
    """Return one of the playground's numbers, unrounded."""
    return float(page.eval_on_selector(f"#play data.{name}", "one => one.value"))


def probabilities(page: Any) -> list[float]:
    """Return P(next), unrounded, by letter."""
    return [float(value) for value in page.eval_on_selector_all("#play tbody data", "all => all.map(one => one.value)")]


def begin(page: Any, text: str = "hello", seed: int = 0) -> None:
    page.fill("#play [name=text]", text)
    page.fill("#play [name=seed]", str(seed))
    page.click("#play [type=submit]")


@pytest.mark.parametrize(
    ("text", "seed", "optimizer", "freeze"),
    [
        *[("hello", seed, "adam", "none") for seed in range(5)],
        ("hello", 1, "sgd", "none"),
        ("hello", 2, "adamw", "none"),
        ("hello", 3, "adam", "embedding"),
        ("hello", 4, "adam", "linear"),
        ("anna <b>", 0, "adam", "none"),
    ],
)
def test_it_ends_where_the_command_ends(walk: Walk, text: str, seed: int, optimizer: str, freeze: str) -> None:
    rate = {"adam": "0.01", "adamw": "0.01", "sgd": "0.5"}[optimizer]
    words = f"phase1-2 --dim 2 --seed {seed} --optimizer {optimizer} --lr {rate} --freeze {freeze} --json --no-log"
    done = CliRunner().invoke(app, [*words.split(), "--text", text])
    wanted = json.loads(done.stdout)["metrics"]
    page = playground(walk)
    begin(page, text, seed)
    page.select_option("#play [name=rule]", optimizer)
    page.select_option("#play [name=freeze]", freeze)
    page.click("#play [name=train]")

    assert number(page, "updates") == 200
    assert number(page, "last") == pytest.approx(wanted["loss"], abs=1e-4)
    assert number(page, "floor") == pytest.approx(wanted["loss_floor"], abs=1e-6)
    assert number(page, "before") == pytest.approx(wanted["distance_before"], abs=1e-4)
    assert number(page, "after") == pytest.approx(wanted["distance_after"], abs=1e-4)
    follower = list(dict.fromkeys(text)).index(text[1])
    assert probabilities(page)[follower] == pytest.approx(wanted["p_next"], abs=1e-4)
    assert page.inner_text(".play-source").startswith("Start: as in llmlab phase1-2")


def test_what_is_trained_in_view_is_trained_as_well(walk: Walk) -> None:
    """Drawn update by update it ends where the training at once ends; a second click stops it on the way."""
    at_once, in_view = playground(walk), playground(walk, reduced_motion="no-preference")
    at_once.click("#play [name=train]")
    in_view.click("#play [name=train]")
    in_view.wait_for_selector("#play data.updates[value='200']")

    assert number(in_view, "loss") == number(at_once, "loss")
    in_view.click("#play [name=train]")
    in_view.click("#play [name=train]")
    assert 200 < number(in_view, "updates") < 400


def test_a_station_is_moved_by_keys_and_by_pointer(walk: Walk) -> None:
    page = playground(walk)
    before = number(page, "after")
    page.locator(STATION).nth(1).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")

    assert page.locator(STATION).nth(1).get_attribute("aria-label") == "Station of e: −2.28, 1.07"
    assert page.locator(STATION).nth(1).get_attribute("aria-pressed") == "true"
    assert page.inner_text("#play caption").startswith("After e: ")
    page.locator(STATION).nth(0).focus()
    assert number(page, "after") != before
    was, frame = probabilities(page), page.locator("#play svg").bounding_box()
    page.locator(ROW).nth(1).hover()
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.75, frame["y"] + frame["height"] * 0.25, steps=4)
    page.mouse.up()
    x, y = (float(value) for value in page.locator(ROW).nth(1).get_attribute("aria-label").split(":")[1].split(","))
    assert x == pytest.approx(y, abs=0.02)
    assert x > 1
    assert probabilities(page) != was
    assert page.inner_text(".play-source") == "Start: as you have set it. The optimiser has forgotten what came before."
    assert number(page, "updates") == 0


def test_a_finger_drags_and_the_page_stays(walk: Walk) -> None:
    page = playground(walk, width=400, has_touch=True, is_mobile=True)
    page.locator("#play svg").scroll_into_view_if_needed()
    touch = page.context.new_cdp_session(page)

    def swipe(x: float, y: float, up: float) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in range(1, 9):
            points = [{"x": x, "y": y - up * step / 8}]
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    for kind in (STATION, ROW):
        grip, scrolled = page.locator(kind).nth(1), page.evaluate("scrollY")
        was = grip.locator(".shape").bounding_box()
        swipe(was["x"] + was["width"] / 2, was["y"] + was["height"] / 2, 40)
        now = grip.locator(".shape").bounding_box()
        assert was["y"] - now["y"] == pytest.approx(40, abs=1)
        assert page.evaluate("scrollY") == scrolled
    assert page.inner_text(".play-source").startswith("Start: as you have set it.")


def test_a_score_is_its_parts_and_a_bias_counts(walk: Walk) -> None:
    page = playground(walk)
    page.locator("#play tbody input").nth(3).fill("9")
    for row in page.locator("#play tbody tr").all():
        cells = [text.replace("−", "-") for text in row.locator("td").all_inner_texts()]
        parts = [float(cells[0]), float(cells[1]), float(row.locator("input").input_value())]
        assert sum(parts) == pytest.approx(float(cells[3]), abs=0.016)

    assert page.inner_text("#play caption").startswith("After h: o, 99")


def test_rotating_changes_coordinates_and_no_probability(walk: Walk) -> None:
    """The slider turns the finished model; products change, sums do not."""
    page = playground(walk)
    page.click("#play [name=train]")
    was, label = probabilities(page), page.locator(STATION).first.get_attribute("aria-label")
    parts = page.locator("#play tbody td").all_inner_texts()
    page.locator("#play [name=angle]").fill("77")

    assert probabilities(page) == pytest.approx(was, abs=1e-12)
    assert page.locator(STATION).first.get_attribute("aria-label") != label
    now = page.locator("#play tbody td").all_inner_texts()
    assert now[0] != parts[0]
    assert now[3::5] == parts[3::5]


@pytest.mark.parametrize(("rule", "least", "most"), [("sgd", 0, 1e-9), ("adam", 1e-3, 1)])
def test_a_rotated_start_is_adams_trouble_and_not_sgds(walk: Walk, rule: str, least: float, most: float) -> None:
    """Beside the training from the rotated start runs the same from the plain one: SGD keeps them together."""
    page = playground(walk)
    page.check("#play [name=turned]")
    page.select_option("#play [name=rule]", rule)
    page.click("#play [name=train]")

    assert least <= number(page, "difference") <= most
    assert page.locator("#play .twin").count() == 4


def test_what_the_command_or_the_page_refuses_is_not_trained(walk: Walk) -> None:
    """While such a text stands in the field nothing can be trained, and the reason is said; the next good one frees."""
    page = playground(walk)
    for text in ("", "a", "aa", "aaaa", "ninechars"):
        page.fill("#play [name=text]", text)
        assert "letter" in page.inner_text("#play caption")
        assert all(page.is_disabled(f"#play [name={button}]") for button in ("step", "train"))
        page.click("#play [type=submit]")
        assert page.locator(STATION).count() == 4
        assert text not in page.inner_text(".play-source").split() or not text
    page.fill("#play [name=text]", "anna")
    page.click("#play [name=train]")
    assert (page.locator(STATION).count(), number(page, "updates")) == (2, 200)
    assert page.inner_text("#play caption").startswith("After a: n")


def test_letters_are_those_of_the_command_and_told_apart(walk: Walk) -> None:
    """An emoji of several parts, a tab, an invisible sign: as many letters, named as in the package's tables."""
    page = playground(walk)
    for text in ("a\tb c", "a\u200bb\u3000", "\U0001f468\u200d\U0001f469x", "e\u0301\u2423h"):
        begin(page, text)
        assert tuple(page.locator("#play tbody th").all_inner_texts()) == Pairs.of(text).names


@pytest.mark.parametrize(("text", "seed"), [("abcdefgh", 3), ("hello", 0)])
def test_a_training_that_blows_up_is_called_that(walk: Walk, text: str, seed: int) -> None:
    """With a rate far too high no answer is given for one: it has diverged, until a reset; nothing breaks."""
    page = playground(walk)
    begin(page, text, seed)
    page.select_option("#play [name=rule]", "sgd")
    page.fill("#play [name=rate]", "10")
    for _ in range(20):
        page.click("#play [name=train]")

    told = page.inner_text("#play caption")
    assert number(page, "loss") < 1e6
    assert told.startswith("Diverged: " if number(page, "updates") < 4000 else "After")
    assert sum(probabilities(page)) == pytest.approx(1)
    page.click("#play [type=submit]")
    assert page.inner_text("#play caption").startswith("After ")


def test_every_handle_is_seen_wherever_it_is_taken(walk: Walk) -> None:
    """At the start none hides under another, and arrow keys move the edge of the plane, not a handle over it."""
    page = playground(walk)
    boxes = page.eval_on_selector_all(
        "#play .shape",
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.top])",
    )
    apart = [math.dist(a, b) for at, a in enumerate(boxes) for b in boxes[:at]]
    assert min(apart) > 16
    for kind, way in ((STATION, "ArrowRight"), (ROW, "ArrowUp")):
        page.locator(kind).nth(1).focus()
        for _ in range(50):
            page.keyboard.press(f"Shift+{way}")
        frame, box = (page.locator(one).bounding_box() for one in ("#play svg", f"{kind} >> nth=1 >> .shape"))
        assert frame["x"] <= box["x"] <= frame["x"] + frame["width"] - box["width"]
        assert frame["y"] <= box["y"] <= frame["y"] + frame["height"] - box["height"]


def test_reset_turns_the_plane_back_and_says_what_stays(walk: Walk) -> None:
    """Model and rotation are as at the start; the optimiser is the chosen one, and the legend says so."""
    page = playground(walk)
    page.locator("#play [name=angle]").fill("77")
    page.select_option("#play [name=rule]", "sgd")
    page.click("#play [type=submit]")

    assert page.inner_text("#play [name=degrees]") == "0°"
    assert page.locator(STATION).nth(1).get_attribute("aria-label") == "Station of e: −2.18, 0.57"
    assert page.input_value("#play [name=rule]") == "sgd"
    assert "Reset" in page.inner_text(".play-legend")


@pytest.mark.parametrize("folder", ["", "ja/"])
def test_without_a_script_only_the_notice_is_there(walk: Walk, folder: str) -> None:
    """No dead button and no empty box, but a sentence."""
    page = walk.browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{walk.base}{folder}play.html")

    assert page.locator("#play :is(button, input, label, svg):visible").count() == 0
    assert "JavaScript" in page.inner_text("article")


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (800, "light"), (1280, "dark")])
def test_it_fits_any_screen_and_opens_from_a_disk(walk: Walk, width: int, scheme: str) -> None:
    for folder in (walk.site, walk.site / "ja"):
        page = walk.page(width=width, scheme=scheme, reduced_motion="reduce")
        page.goto((folder / "play.html").as_uri())
        page.click("#play [name=train]")

        assert not page.evaluate("document.scrollingElement.scrollWidth > innerWidth")
        assert page.evaluate(SMALLEST) >= 11
        assert number(page, "updates") == 200


def test_its_starts_are_the_packages() -> None:
    """What the page holds is what ``TinyModel.initial`` draws, to float32's last digit."""
    for size, by_seed in enumerate(site_hooks.hook("play").starts(), 1):
        model = TinyModel.initial(size, 2, range(len(by_seed)))
        for seed, values in enumerate(by_seed):
            parts = (model.embedding[seed], model.weight[seed], model.bias[seed])
            assert values == pytest.approx([value for part in parts for value in part.flatten().tolist()], rel=1e-8)
