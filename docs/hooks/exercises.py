"""The exercises in the pages: questions and answers stand in ``llmlab.exercises``, where ``llmlab exercise`` has them.

    <!-- question: 2.3 -->      the number and the question
    <!-- answer: 2.3 -->        the explanation, folded, and the entry of the log that it goes by

A number that is not there stops the build.
"""

import os
import re
from pathlib import Path

from mkdocs.exceptions import PluginError

from llmlab.exercises import read
from llmlab.report.escape import md_text
from llmlab.report.language import language

PLACE = re.compile(r"^<!-- (?P<kind>question|answer): (?P<number>\d\.\d) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, page, config, **_) -> str:
    """Return the page with its exercises; a log entry, which holds a user's words, as it is."""
    where = page.file.src_uri
    if where.startswith("log/"):
        return markdown
    said = language(str(config.theme["language"] or "en"))

    def shown(place: re.Match[str]) -> str:
        one = read().get(place["number"])
        if one is None:
            raise PluginError(f"{where}: {place[0]}: there is no such exercise")
        if place["kind"] == "question":
            return f"**{one.number}** {md_text(one.question[said.code])}"
        answer = f'??? success "{said.say("Answer")}"\n\n    {md_text(one.why[said.code])}'
        if one.record:
            (post,) = (Path(config.docs_dir) / "log" / "posts").glob(f"*-{one.record}")
            link = os.path.relpath(f"log/posts/{post.name}/entry.md", Path(where).parent)
            answer += f"\n\n    [{said.say('The entry of the log')}]({link})"
        return answer

    return PLACE.sub(shown, markdown)
