"""Docstrings of this project are plain text: this makes reStructuredText of them, for the API reference."""

import re

ITEM = re.compile(r"^(\w+(?:, \w+)*): (.+)$")
"""`name: what it is`, or several names that share a description."""


def convert(app, what, name, object, options, lines):
    """Sphinx's `autodoc-process-docstring`: rewrite `lines` in place."""
    lines[:] = restructured(lines)


def restructured(lines):
    """Paragraphs stay paragraphs; lines of the form `name: text` become a list; indented blocks become code."""
    made, item, code = [], False, False
    for line in lines:
        text = line.strip()
        indented = line.startswith(" ")
        if not text:
            made.append("")
            item = False
        elif match := ITEM.match(line):
            if not item and made and made[-1]:
                made.append("")
            names = ", ".join(f"``{one}``" for one in match[1].split(", "))
            made.append(f"- {names}: {escaped(match[2])}")
            item, code = True, False
        elif item:
            # What follows an item without indentation goes on with it, unless it starts a sentence of its own.
            if not indented and re.match(r"(Raises|Returns|Within|A|The|With|On) ", text):
                made += ["", escaped(text)]
                item = False
            else:
                made.append(f"  {escaped(text)}")
        elif indented:
            if not code:
                made += ["", "::", ""]
            made.append(line)
            code = True
            continue
        else:
            made.append(escaped(text))
        if text:
            code = False
    return [*made, ""]


def escaped(text):
    """`text` with what reStructuredText would read as markup, but for code in backticks, taken literally."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        f"``{part[1:-1]}``" + ("" if following[:1] in " .,;:)" or not following else "\\ ")
        if part.startswith("`") and len(part) > 2
        else re.sub(r"([*|\\`]|_(?=\W|$))", r"\\\1", part)
        for part, following in zip(parts, [*parts[1:], ""], strict=True)
    )
