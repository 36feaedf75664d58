"""Words of users on the built site: none of them acts there, none is swallowed, and every one can be read."""

import re
from html import escape as html_escape
from pathlib import Path

import pytest

from built_site import CONFIGS, build, copy_of_the_site, once, pages, put_entries
from dangers import Seen
from llmlab.report.escape import printable
from llmlab.report.logbook import write_small_site

pytestmark = pytest.mark.slow

PAYLOADS = [
    "::: llmlab.settings",
    "<script>alert(1)</script>",
    "</p></article><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea></style></script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><style>@import 'https://evil.example/x.css'</style></svg>",
    "<body onpageshow=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=https://evil.example/x.swf>",
    "<base href=https://evil.example/>",
    "<form action=https://evil.example><input name=x></form>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<style>body { display: none }</style>",
    "<a href=javascript:alert(1)>x</a>",
    "<scr<script>ipt>alert(1)</script>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1) \"title\")",
    "![x](https://evil.example/x.png)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "<https://evil.example>",
    "https://evil.example/x",
    "x{: onmouseover=alert(1) }",
    "{: onmouseover=alert(1) .x #y }",
    "# heading {: onclick=alert(1) }",
    "```\n<script>alert(1)</script>\n```",
    "````\n```\n<script>alert(1)</script>",
    "~~~ {onclick=alert(1)}\nx\n~~~",
    "`</code><script>alert(1)</script>`",
    '--8<-- "mkdocs.yml"',
    "--8<-- \"../../mkdocs.yml\"\n",
    "{{ config.site_name }} {{ 7 * 7 }}",
    "{% include 'main.html' %}",
    "---\ntitle: stolen\ntags: [x]\n---",
    "title: !!python/object/apply:os.system ['true']",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&lt;img src=x onerror=alert(1)&gt;",
    "<!-- notes:end -->\n\n<script>alert(1)</script>",
    "<!-- more -->\n\n<script>alert(1)</script>",
    "<!-- notes:begin\n-->",
    "!!! danger \"<script>alert(1)</script>\"\n    x",
    "??? x\n    <script>alert(1)</script>",
    '=== "x"\n    y',
    "$$\\href{javascript:alert(1)}{x}$$",
    '<span class="arithmatex">\\(\\href{javascript:alert(1)}{x}\\)</span>',
    "| a | b |\n| - | - |\n| <script>alert(1)</script> | x |",
    "*[x]: <script>alert(1)</script>",
    "[^1]\n\n[^1]: <script>alert(1)</script>",
    "javascript:/*--></title></style></textarea></script><svg/onload='+/\"/+/onmouseover=1/+/[*/[]/+alert(1)//'>",
    "\x00<script>alert(1)</script>",
    "\u2028<script>alert(1)</script>",
]  # fmt: skip


ALARMS = [
    "<script>",
    "<img src=x onerror=a()>",
    "<a href=' java\nscript:a()'>",
    "<img src='data:x'>",
    "<p style='a:b'>",
]


@pytest.mark.parametrize("document", ALARMS)
def test_the_alarm_rings(document: str) -> None:
    """What counts dangers counts each kind of them."""
    assert Seen(document).dangers.total() == 1
    assert Seen(f"<p title='{html_escape(document)}'>{html_escape(document)}</p>").dangers.total() == 0


@pytest.fixture(scope="session", params=["project", "small", "japanese"])
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same site twice: with entries of harmless words, and with entries of hostile ones."""

    def twin(name: str, words: list[str]) -> Path:
        def make(folder: Path) -> None:
            (write_small_site if request.param == "small" else copy_of_the_site)(folder)
            put_entries(folder, words)
            build(folder / CONFIGS[request.param == "japanese"], folder / "built")

        return once(tmp_path_factory, f"{request.param}-{name}", make) / "built"

    return twin("harmless", ["hello"] * len(PAYLOADS)), twin("hostile", PAYLOADS)


def test_no_word_of_a_user_acts_on_the_site(twins: tuple[Path, Path]) -> None:
    """Hostile notes, tokens and texts add no element, attribute or address that acts, on any page or in the search."""
    harmless, hostile = (pages(site) for site in twins)

    assert harmless.keys() == hostile.keys()
    added = {name: Seen(hostile[name]).dangers - Seen(harmless[name]).dangers for name in hostile}
    assert {name: found for name, found in added.items() if found} == {}


def test_every_word_of_a_user_can_be_read_on_the_site(twins: tuple[Path, Path]) -> None:
    """Hostile words stand on their entry's page as they were written; nothing was obeyed, included or swallowed."""
    for number, words in enumerate(PAYLOADS):
        name = f"log/2026-11-22-phase1-2-{number:08x}"
        file = next(page for page in (twins[1] / f"{name}.html", twins[1] / name / "index.html") if page.is_file())
        shown = Seen(file.read_text("utf-8")).words

        assert " ".join(printable(words).split()) in " ".join(shown.split())
        assert "use_directory_urls" not in shown


def test_no_title_of_an_entry_can_be_stolen(twins: tuple[Path, Path]) -> None:
    """Each page has one title with nothing in it that acts; of a user's words an entry's may hold a plain one."""
    harmless, hostile = (
        {str(page.relative_to(site)): re.findall(r"<title>.*?</title>", page.read_text("utf-8"), re.DOTALL)
         for page in site.rglob("*.html")}
        for site in twins
    )  # fmt: skip

    assert harmless.keys() == hostile.keys()
    assert {page for page in hostile if not re.fullmatch("<title>[^<>]*</title>", "".join(hostile[page]))} == set()
    others = {page for page in hostile if not re.match(r"log/\d{4}-", page)}
    assert {page for page in others if hostile[page] != harmless[page]} == set()
