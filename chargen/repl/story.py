"""The text of a session with its branches, as Markdown or as a page that works offline."""

from __future__ import annotations

import html
from collections.abc import Iterator

from chargen.inference.tree import MAIN, ROOT
from chargen.repl.session import Session, branches_by_age
from chargen.terminal.safetext import safe

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{max-width:42rem;margin:2rem auto;padding:0 1rem;font:1.05rem/1.6 Georgia,serif}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit}"
    "b{font-weight:700}.from{opacity:.65;font-size:.9rem}"
)
_MAX_FROM_CHARACTERS = 60


def markdown(session: Session) -> str:
    """A heading for each branch; what the person typed is bold."""
    parts = [f"# {_name(session)}"]
    for name, origin, pieces in _branches(session):
        parts.append(f"## {_literal(name)}")
        if origin:
            parts.append(f"*goes on after: {_literal(origin)}*")
        parts.append("".join(_marked(text, typed) for text, typed in pieces))
    return "\n\n".join(parts) + "\n"


def page(session: Session) -> str:
    """One HTML page without outside references; what the person typed is bold."""
    body = [f"<h1>{html.escape(_name(session))}</h1>"]
    for name, origin, pieces in _branches(session):
        body.append(f"<h2>{html.escape(safe(name))}</h2>")
        if origin:
            body.append(f'<p class="from">goes on after: {html.escape(safe(origin))}</p>')
        shown = "".join(
            f"<b>{html.escape(safe(text))}</b>" if typed else html.escape(safe(text))
            for text, typed in pieces
        )
        body.append(f"<pre>{shown}</pre>")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(_name(session))}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _name(session: Session) -> str:
    return f"Written with {safe(session.name)}"


def _branches(session: Session) -> Iterator[tuple[str, str, list[tuple[str, bool]]]]:
    """Each branch: its name, the end of the text that it goes on after, and its own pieces."""
    tree, shown = session.tree, list[int]()
    for name, end in sorted(branches_by_age(tree), key=lambda item: (item[0] != MAIN, item[1])):
        origin = max((tree.common(end, other) for other in shown), default=ROOT)
        shown.append(end)
        before = session.text(_MAX_FROM_CHARACTERS, origin) if origin != ROOT else ""
        yield name, " ".join(before.split()), list(_pieces(session, origin, end))


def _pieces(session: Session, origin: int, end: int) -> Iterator[tuple[str, bool]]:
    """The stretches of a text, and whether the person typed each."""
    begins = dict(session.starts)
    nodes, typed, stretch = session.tree.path(end, after=origin), False, list[int]()
    previous = origin
    for node in nodes:
        if previous in begins and stretch:
            yield "".join(session.labels(stretch)), typed
            stretch = []
        if previous in begins:
            typed = not begins[previous]
        stretch.append(node)
        previous = node
    if stretch:
        yield "".join(session.labels(stretch)), typed


def _literal(text: str) -> str:
    """A text of one line that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in " ".join(safe(text).split()))


_SPECIAL = set("\\`*_{}[]()#+-.!|<>~&")


def _marked(text: str, typed: bool) -> str:
    """A stretch of text as Markdown: line ends stay, and typed text is bold."""
    lines = []
    for line in safe(text).split("\n"):
        shown = "".join(f"\\{c}" if c in _SPECIAL else c for c in line)
        inner = shown.strip(" ")
        if typed and inner:
            lead = shown[: len(shown) - len(shown.lstrip(" "))]
            tail = shown[len(shown.rstrip(" ")) :]
            shown = f"{lead}**{inner}**{tail}"
        lines.append(shown)
    return "\\\n".join(lines)
