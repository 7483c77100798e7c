"""How the words read: short sentences where people arrive, and no phrases that read as if translated."""

import ast
import importlib.util
import re
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts and path.name != "changelog.md"
)
RESEARCH = sorted((ROOT / "research").glob("*.md"))
LONGEST = 30
"""Words of a sentence in the README and on the first screen of a page."""
SCREEN = 24
"""Lines that a page shows first."""

TRANSLATED = {
    r"\banew\b": "again",
    r"\b(is|are|be) told of\b": "warns",
    r"\bwhat .{3,40} make[s]? of\b": "name the thing",
    r"\bbeside each other\b": "next to each other",
    r"(?<!there )\b(is|are) no (file|folder|photo|number|class|XML|CSV|dictionary|checkpoint)\b": "is not a",
    r"\bthere is none of\b": "there are no",
    r"\bwhere it stood\b": "from there",
    r"\bgo(es)? on (from|with|in|to)\b": "continues",
    r"\bof those that\b": "of the … that",
    r"\bstands? (alone|beside|twice)\b": "is",
    r"\bbeside (it|them|the|each|a|an|others?)\b": "next to",
    r"\b(have|has) not got\b": "does not have",
}
"""Phrases that no English-speaking engineer writes, and what to write instead."""


def prose(text: str) -> str:
    """The running text of a page: no code, tables, headings, links' targets or markup."""
    text = re.sub(r"^(```|~~~).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(\||    |#|<!--|:|\(|---).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"`[^`]*`", "code", text)


def sentences(text: str) -> list[str]:
    """Sentences; an item of a list, and what stands alone before a blank line, is one too."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", prose(text)):
        found += re.split(r"(?<=[.!?:])\s+", " ".join(paragraph.split()))
    return [sentence for sentence in found if sentence]


def long_sentences(text: str) -> list[str]:
    """Sentences of more than LONGEST words."""
    return [sentence for sentence in sentences(text) if len(re.findall(r"[\w'’/-]+", sentence)) > LONGEST]


def test_long_sentences_are_found() -> None:
    short = "It is short. " * 20
    assert long_sentences(short) == []
    long = "word " * 31
    assert long_sentences(f"# {long}\n\n{short}\n\n- {long}.\n- and `{long}`\n") == [f"- {long}."]


def test_the_readme_has_no_long_sentence() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("GIT: Jianfeng")[0]
    assert long_sentences(text) == []
    assert 100 <= len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_the_first_screen_of_a_page_has_no_long_sentence(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()[:SCREEN]
    if sum(line.startswith("```") for line in lines) % 2:
        lines.append("```")
    found = long_sentences("\n".join(lines))
    assert [one for one in found if one.endswith((".", ":", "?", "!"))] == []


def help_texts() -> str:
    """What `--help` of every command says."""
    spec = importlib.util.spec_from_file_location("picscribe_docs_generated", ROOT / "docs" / "generated.py")
    assert spec is not None and spec.loader is not None
    generated = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generated
    spec.loader.exec_module(generated)
    return str(generated.commands_page())


def strings_of_the_package() -> str:
    """Every string of the package: texts of errors, everything else that it writes, and docstrings."""
    found = []
    for file in sorted((ROOT / "picscribe").rglob("*.py")):
        found += [
            f"{file.relative_to(ROOT)}: {' '.join(node.value.split())}"
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    return "\n".join(found)


def comments_of_the_package() -> str:
    found = []
    for file in sorted((ROOT / "picscribe").rglob("*.py")):
        with tokenize.open(file) as source:
            tokens = list(tokenize.generate_tokens(source.readline))
        found += [f"{file.relative_to(ROOT)}: {one.string}" for one in tokens if one.type == tokenize.COMMENT]
    return "\n".join(found)


@pytest.mark.parametrize("where", ["README", "docs", "help", "strings", "comments"])
def test_no_phrase_reads_as_if_translated(where: str) -> None:
    texts = {
        "README": lambda: (ROOT / "README.md").read_text(encoding="utf-8"),
        "docs": lambda: "\n".join(page.read_text(encoding="utf-8") for page in [*PAGES, *RESEARCH]),
        "help": help_texts,
        "strings": strings_of_the_package,
        "comments": comments_of_the_package,
    }
    text = texts[where]()
    found = [
        (line, better) for phrase, better in TRANSLATED.items() for line in text.splitlines() if re.search(phrase, line)
    ]
    assert found == []
