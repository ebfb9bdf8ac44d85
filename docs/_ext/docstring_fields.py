"""The docstrings of this project as Sphinx reads them: ``name: text`` lines become a list of parameters.

A docstring here is plain text: a sentence on what comes back, a line ``name: text`` a parameter, what is raised, the
source. `lines_of` makes reStructuredText of it: prose first, then parameters, errors and source, each in its field.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sphinx.application import Sphinx

_NAMES = r"(?:[a-z]\w*|X)(?:, (?:[a-z]\w*|…))*"  # X is what scikit-learn calls features
# A field begins a line, or stands behind a sentence; text that is quoted begins none.
_FIELD = re.compile(rf"(?:^|(?<=[.;] ))(?P<names>{_NAMES}): (?=\S)")
_ERROR = re.compile(r"(?:^|(?<=\. ))(?=(?:Raises )?(?:[A-Z]\w*Error|[A-Z]\w*Warning)\b)")
# In backticks; or an option of a command; or what would be taken for an address.
_LITERAL = re.compile(r"(``.+?``|`[^`\n]+`|(?<![\w-])--[a-z][\w-]*|\bfile:\w[\w./:]*\w)")
_RAISES = re.compile(r"(?:Raises )?(?P<name>[A-Z]\w*(?:Error|Warning))(?:,? )(?P<text>(?!or\b|and\b).*)", re.DOTALL)


@dataclass
class Parts:
    """What a docstring holds: paragraphs of prose (or of code, as they are), and the fields that follow them."""

    prose: list[list[str]] = field(default_factory=list)
    described: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    source: str = ""


def plain(text: str) -> str:
    """Plain text as reStructuredText that reads the same; what stands in backticks is shown as code."""
    out = []
    for place, piece in enumerate(_LITERAL.split(text)):
        if place % 2:
            out.append(f"``{piece.strip('`')}``")
        else:
            escaped = re.sub(r"([\\*|`])", r"\\\1", piece)
            out.append(re.sub(r"(?<=\w)_(?!\w)", r"\\_", escaped))
    return "".join(out)


def lines_of(text: str, parameters: Collection[str] = ()) -> list[str]:
    """The docstring as lines of reStructuredText.

    text: as `inspect.getdoc` gives it. parameters: the names in the signature; other names are attributes.
    """
    parts = _parts(text, parameters)
    lines: list[str] = []
    for paragraph in parts.prose:
        lines += [*paragraph, ""]
    own = [(names, about) for names, about in parts.described if set(names.split(", ")) & set(parameters)]
    rest = [each for each in parts.described if each not in own]
    lines += _listed("Parameters", own) + _listed("Attributes", rest)
    for error in parts.errors:
        raised = _RAISES.fullmatch(error)
        lines.append(f":raises {raised['name']}: {plain(raised['text'])}" if raised else f":Errors: {plain(error)}")
    if parts.source:
        lines.append(f":Source: {plain(parts.source)}")
    return [*lines, ""]


def _listed(title: str, described: Sequence[tuple[str, str]]) -> list[str]:
    if not described:
        return []
    lines = [f":{title}:"]
    for names, about in described:
        bold = ", ".join(name if name == "…" else f"**{plain(name)}**" for name in names.split(", "))
        lines.append(f"    * {bold} – {plain(about)}")
    return lines


def _parts(text: str, parameters: Collection[str]) -> Parts:
    parts, code = Parts(), False
    for paragraph in re.split(r"\n[ \t]*\n", text):
        lines = paragraph.split("\n")
        if code and lines[0].startswith("    "):
            parts.prose.append(lines)  # a literal block stays what it is
            continue
        for kind, whole in _sentences(lines, parameters):
            piece = re.sub(";$", ".", whole)  # what it went on to stands elsewhere now
            match kind:
                case "field":
                    names, about = piece.split(": ", 1)
                    if names not in dict(parts.described):
                        parts.described.append((names, about))
                case "error":
                    parts.errors.append(piece)
                case "source":
                    parts.source = piece.removeprefix("Source: ")
                case _:
                    parts.prose.append([plain(piece)])
        code = paragraph.endswith("::")
    return parts


def _sentences(lines: Sequence[str], parameters: Collection[str]) -> list[tuple[str, str]]:
    """The pieces of a paragraph, each with what it is: "field", "error", "source" or "prose"."""
    pieces: list[tuple[str, str]] = []
    ended = True
    for line in lines:
        for piece in [line.strip()] if pieces and pieces[-1][0] == "source" else _cut(line.strip()):
            kind = _kind(piece, ended, parameters)
            # A sentence that begins a line of its own belongs to no parameter.
            apart = ended and piece[:1].isupper() and pieces and pieces[-1][0] in ("field", "error")
            if pieces and (pieces[-1][0] == "source" or not (kind or apart)):
                pieces[-1] = (pieces[-1][0], f"{pieces[-1][1]} {piece}")
            else:
                pieces.append((kind or "prose", piece))
            ended = piece.endswith((".", ";"))
    return pieces


def _cut(line: str) -> list[str]:
    """The line, cut where a field or an error begins behind a sentence; its source is one piece."""
    if line.startswith("Source: "):
        return [line]
    marks = sorted({0, *(m.start() for m in _FIELD.finditer(line)), *(m.start() for m in _ERROR.finditer(line))})
    return [line[start:end].strip() for start, end in zip(marks, [*marks[1:], len(line)], strict=True)]


def _kind(piece: str, ended: bool, parameters: Collection[str]) -> str:
    """What a piece is; ended: whether a sentence did before it. The names of parameters need none."""
    if (found := _FIELD.match(piece)) and (ended or set(found["names"].split(", ")) <= set(parameters)):
        return "field"
    if ended and _ERROR.match(piece):
        return "error"
    return "source" if piece.startswith("Source: ") else ""


def with_literals(lines: Sequence[str]) -> list[str]:
    """A module's docstring, which is reStructuredText but for its tables: what is indented is shown as it is."""
    out: list[str] = []
    for place, line in enumerate(lines):
        before = lines[place - 1] if place else ""
        if line.startswith("    ") and not before.strip() and not _last(out).endswith("::") and not _indented(out):
            out += ["::", ""]
        out.append(line)
    return out


def _last(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")


def _indented(lines: Sequence[str]) -> bool:
    return _last(lines).startswith("    ")


def convert(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's event autodoc-process-docstring; a module's docstring is reStructuredText already."""
    if what == "module":
        lines[:] = with_literals(lines)
        return
    try:
        parameters = set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        parameters = set()
    lines[:] = lines_of("\n".join(lines).strip("\n"), parameters)


def signature_of(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Sphinx's event autodoc-process-signature: without what only a program reads of types and of defaults."""
    if signature is not None:
        signature = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature.replace("<factory>", "..."))
    return signature, returned


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-process-signature", signature_of)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
