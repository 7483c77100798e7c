"""Pages of the site that are made from the program itself: every command with its options, and every error."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "picscribe"
BASE_ERROR = "PicscribeError"


def write_pages(folder):
    """Write `commands.md` and `errors.md` into `folder`, unless they are there with the same text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("commands.md", commands_page()), ("errors.md", errors_page())):
        page = folder / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


# Commands


def commands_page():
    """Every command: what it does, its arguments and its options, as `--help` shows them."""
    from typer.main import get_command

    from picscribe.cli.main import app

    top = get_command(app)
    parts = [
        "# Commands",
        "This page is made from the commands themselves: `picscribe COMMAND --help` prints the same.",
        *(line for name, command in walk(top, "picscribe") for line in command_section(name, command)),
    ]
    return "\n\n".join(parts) + "\n"


def walk(command, name):
    """Every command below `command`, depth first, each with the words that call it."""
    for word, one in sorted(getattr(command, "commands", {}).items()):
        one = getattr(one, "built", one)
        if not one.hidden:
            yield f"{name} {word}", one
            yield from walk(one, f"{name} {word}")


def command_section(name, command):
    """The paragraphs of one command."""
    context = command.context_class(command, info_name=name)
    yield f"## {name}"
    yield f"```text\n{plain_usage(command.get_usage(context))}\n```"
    yield from (escaped(" ".join(part.split())) for part in (command.help or "").split("\n\n") if part.strip())
    if hasattr(command, "commands"):
        return
    if command.epilog:
        examples = [line.strip() for line in command.epilog.splitlines() if line.startswith("  ")]
        yield "```sh\n" + "\n".join(examples) + "\n```"
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        records = [one.get_help_record(context) for one in command.params if one.param_type_name == kind]
        rows = [
            f"`{plain(record[0])}`\n: {escaped(' '.join(record[1].split())) or '–'}" for record in records if record
        ]
        if rows:
            yield f"**{title}**"
            yield "\n\n".join(rows)


def plain(name):
    """The name of a parameter without Typer's spelling of types."""
    for spelt, word in (("list[str]", "TEXT"), ("list[Path]", "FILE"), ("int range", "N"), ("float range", "X")):
        name = name.replace(f"<{spelt}>", word)
    return name.replace("<str>", "TEXT").replace("<path>", "PATH").replace("<int>", "N").replace("<float>", "X")


def plain_usage(text):
    return re.sub(r"\s+", " ", text.removeprefix("Usage: "))


def escaped(text):
    """`text` with what Markdown would read as markup, but for code in backticks, taken literally."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>\[\]#$|{}])", r"\\\1", part) for part in parts)


# Errors


def errors_page():
    """Every text of an error that the package raises on purpose, by part of the package and by type."""
    found = {}
    for file, kind, message in errors():
        place = found.setdefault(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), {})
        place.setdefault(kind, {})[message] = None
    parts = [
        "# Errors",
        "Every error that picscribe raises on purpose is a `PicscribeError`. This page is made from the source and "
        "lists their texts. “…” stands for a name, a path or a number that is filled in.",
        "| type | meaning |\n|---|---|\n" + "\n".join(f"| `{name}` | {text} |" for name, text in error_types()),
    ]
    for place in sorted(found):
        parts.append(f"## {place}")
        for kind in sorted(found[place]):
            parts.append(f"**{kind}**")
            parts.append("\n".join(f"- {escaped(message)}" for message in sorted(found[place][kind])))
    return "\n\n".join(parts) + "\n"


def error_types():
    """The name of each error type of the package and the first line of its docstring."""
    classes = {
        node.name: node for file in sources() for node in ast.walk(parsed(file)) if isinstance(node, ast.ClassDef)
    }
    family = {BASE_ERROR}
    while True:
        more = {
            name
            for name, node in classes.items()
            if any(isinstance(base, ast.Name) and base.id in family for base in node.bases)
        } - family
        if not more:
            break
        family |= more
    for name in sorted(family, key=lambda name: (name != BASE_ERROR, name)):
        yield name, escaped(" ".join((ast.get_docstring(classes[name]) or "–").split("\n\n")[0].split()))


def errors():
    """(file, type, text) of each place in the package that makes one of its errors."""
    family = {name for name, _ in error_types()}
    for file in sources():
        tree = parsed(file)
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                if name in family:
                    texts = [text for argument in node.args for text in spelt(argument, constants)]
                    messages = [text for text in texts if " " in text.strip("… ")]
                    yield from ((file, name, " ".join(message.split())) for message in messages)


def spelt(node, constants):
    """The texts that an expression can be, with … for what is not known before the program runs."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.Name) and node.id in constants:
        return [str(constants[node.id])]
    if isinstance(node, ast.IfExp):
        return [*spelt(node.body, constants), *spelt(node.orelse, constants)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [left + right for left in spelt(node.left, constants) for right in spelt(node.right, constants)]
    if isinstance(node, ast.JoinedStr):
        texts = [""]
        for value in node.values:
            inner = value.value if isinstance(value, ast.FormattedValue) else value
            known = spelt(inner, constants) if isinstance(inner, ast.Constant | ast.Name) else ["…"]
            texts = [text + more for text in texts for more in known]
        return texts
    return ["…"]


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def parsed(file):
    return ast.parse(file.read_text(encoding="utf-8"))
