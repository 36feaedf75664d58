"""The built site: it loads nothing from elsewhere, carries its policy, draws formulas, and obeys no word of a user."""

import html.parser
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html import escape as html_escape
from pathlib import Path

import pytest

from llmlab.report import entry
from llmlab.report.escape import printable
from llmlab.report.site import write_small_site
from strategies_report import specimen

ROOT = Path(__file__).resolve().parents[1]
RUNNING = {"script", "iframe", "frame", "object", "embed", "applet", "style", "base", "form", "input", "button"}
ADDRESSES = {"href", "src", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href", "ping"}
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


def build(config: Path, site: Path) -> Path:
    """Build a site as a user would, in a process of its own, and return its folder; a warning fails it."""
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(config), "-d", str(site)]
    done = subprocess.run(
        mkdocs, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return site


def copy_of_the_site(folder: Path) -> Path:
    """Copy what the site is made of, without the log's entries, and return the folder."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("posts", "__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    (folder / "src").symlink_to(ROOT / "src")
    return folder


def put_entries(folder: Path, words: list[str]) -> None:
    """Put one entry per text into the log of a site, the text in every place that words of a user can reach."""
    for number, text in enumerate(words):
        record = replace(specimen(text), id=f"{number:08x}")
        post = folder / "docs" / "log" / "posts" / record.name
        post.mkdir(parents=True)
        for name, content in entry.files(record).items():
            (post / name).write_text(content, "utf-8")


class Danger(html.parser.HTMLParser):
    """Counts what could act in a document, and keeps its text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count an element that runs, an attribute that runs, and an address that leaves the site."""
        if tag in RUNNING:
            self.found[tag] += 1
        for name, value in attrs:
            plain = re.sub(r"[\s\x00-\x20]", "", value or "").lower()
            if name.startswith("on") or name == "srcdoc":
                self.found[name] += 1
            if name in ADDRESSES and re.match(r"(?!file)[a-z][a-z+.-]*:|//", plain):
                self.found[f"{tag} {name} {plain}"] += 1
            if name == "style" and not re.fullmatch(r"text-align:(left|right|center);?", plain):
                self.found[f"style {plain}"] += 1

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text.append(data)


def danger(document: str) -> Danger:
    """Return what could act in an HTML document."""
    parser = Danger()
    parser.feed(document)
    parser.close()
    return parser


def pages(site: Path) -> dict[str, str]:
    """Return every HTML page of a site by its path, and every document of its search index by its address."""
    found = {str(page.relative_to(site)): page.read_text("utf-8") for page in sorted(site.rglob("*.html"))}
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    documents: dict[str, str] = {}
    for document in index["docs"]:
        address = f"search {document['location'].split('#')[0]}"
        documents[address] = documents.get(address, "") + f"{document['title']} {document['text']} "
    return found | documents


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
    assert danger(document).found.total() == 1
    assert danger(f"<p title='{html_escape(document)}'>{html_escape(document)}</p>").found.total() == 0


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's site as it stands."""
    return build(ROOT / "mkdocs.yml", tmp_path_factory.mktemp("site"))


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """No page and no style sheet names a resource on another host."""
    loads = {"src", "srcset", "poster", "data", "background"}
    outside = []

    class Loads(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                asked = name in loads or (tag == "link" and name == "href") or name == "style"
                if asked and re.search(r"https?:|(^|[\s('\"])//", value or ""):
                    outside.append((tag, name, value))

    for page in site.rglob("*.html"):
        Loads().feed(page.read_text("utf-8"))
    for sheet in site.rglob("*.css"):
        outside += re.findall(r"@import[^;]*|url\(\s*['\"]?(?:https?:|//)[^)]*", sheet.read_text("utf-8"))

    assert outside == []


def test_every_page_carries_its_policy_before_anything_else(site: Path) -> None:
    """Each page opens with a policy that allows itself and the theme's own inline scripts by their hash."""
    for page in site.rglob("*.html"):
        head = page.read_text("utf-8").split("<head>", 1)[1]
        policy = re.match(r'\s*<meta http-equiv="Content-Security-Policy" content="([^"]*)">', head)
        assert policy, page
        rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))

        assert rules["default-src"] == "'self'"
        assert rules["object-src"] == rules["frame-src"] == rules["base-uri"] == "'none'"
        assert re.fullmatch(r"'self'( 'sha256-[A-Za-z0-9+/=]{44}')+", rules["script-src"])
        assert "http" not in policy[1]


def test_the_policy_allows_no_script_of_an_article() -> None:
    """Scripts of the theme are allowed by their hash, those between the articles' tags are not."""
    spec = importlib.util.spec_from_file_location("llmlab_docs_security", ROOT / "docs" / "hooks" / "security.py")
    assert spec is not None
    assert spec.loader is not None
    security = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(security)
    theirs = "<article><script>bad()</script></article><script>bad()</script><article></article>"

    assert security.policy(f"<script>a()</script>{theirs}").count("sha256") == 1
    assert security.policy(f"{theirs}<script>b()</script>").count("sha256") == 1


@pytest.mark.parametrize("page", ["study/phase1.html", "study/phase1-2.html", "glossary.html", "index.html"])
def test_formulas_are_drawn_without_a_script(site: Path, page: str) -> None:
    """Each formula is MathML in the page itself; no dollar sign and no TeX is left over."""
    text = (site / page).read_text("utf-8")

    assert "<math " in text
    assert "arithmatex" not in text
    assert not re.search(r"\\(frac|sum|partial|cdot|text)\b", text)
    assert "$$" not in "".join(danger(text).text)


def test_the_search_index_finds_the_chapters(site: Path) -> None:
    """The search knows the study pages and the reference."""
    addresses = {name.removeprefix("search ") for name in pages(site) if name.startswith("search ")}

    assert {"study/phase1.html", "study/phase1-2.html", "reference/model.html", "glossary.html"} <= addresses


@pytest.fixture(scope="session", params=["project", "small"])
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same site twice: with entries of harmless words, and with entries of hostile ones."""
    built = []
    for name, words in (("harmless", ["hello"] * len(PAYLOADS)), ("hostile", PAYLOADS)):
        folder = tmp_path_factory.mktemp(name)
        if request.param == "project":
            copy_of_the_site(folder)
        else:
            write_small_site(folder)
        put_entries(folder, words)
        built.append(build(folder / "mkdocs.yml", folder / "built"))
    return built[0], built[1]


def test_no_word_of_a_user_acts_on_the_site(twins: tuple[Path, Path]) -> None:
    """Hostile notes, tokens and texts add no element, attribute or address that acts, on any page or in the search."""
    harmless, hostile = (pages(site) for site in twins)

    assert harmless.keys() == hostile.keys()
    added = {name: danger(hostile[name]).found - danger(harmless[name]).found for name in hostile}
    assert {name: found for name, found in added.items() if found} == {}


def test_every_word_of_a_user_can_be_read_on_the_site(twins: tuple[Path, Path]) -> None:
    """Hostile words stand on their entry's page as they were written; nothing was obeyed, included or swallowed."""
    for number, words in enumerate(PAYLOADS):
        name = f"log/2026-11-22-phase1-2-{number:08x}"
        file = next(page for page in (twins[1] / f"{name}.html", twins[1] / name / "index.html") if page.is_file())
        shown = "".join(danger(file.read_text("utf-8")).text)

        assert " ".join(printable(words).split()) in " ".join(shown.split())
        assert "use_directory_urls" not in shown


def test_no_title_of_an_entry_can_be_stolen(twins: tuple[Path, Path]) -> None:
    """The titles of all pages are the same, whatever the words of the users."""
    harmless, hostile = (
        {str(page.relative_to(site)): re.findall(r"<title>.*?</title>", page.read_text("utf-8"), re.DOTALL)
         for page in site.rglob("*.html")}
        for site in twins
    )  # fmt: skip

    assert harmless == hostile
