"""Which files one `caption()` passes: how much a reader has to know who follows a photo to its words.

    python -m benchmarks.caption_path [MODEL [PHOTO]]

Prints the files of picscribe in which a function ran, reading threads included, with how many functions of each.
"""

import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import FrameType

import picscribe

ROOT = Path(picscribe.__file__).parent


def trace_caption(model: str, photo: str) -> dict[str, set[str]]:
    """The functions that run while a photo is captioned, by file; modules that are imported meanwhile do not count."""
    functions: dict[str, set[str]] = defaultdict(set)

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)) and code.co_name != "<module>":
            functions[str(Path(code.co_filename).relative_to(ROOT))].add(code.co_name)

    scribe = picscribe.load(model)
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        scribe.caption(photo)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return dict(functions)


def main() -> None:
    """Print them."""
    model, photo = [*sys.argv[1:], *["nano", "examples/cat.jpg"][len(sys.argv) - 1 :]][:2]
    functions = trace_caption(model, photo)
    for file, names in sorted(functions.items()):
        print(f"{len(names):3}  {file}")
    print(f"{len(functions)} files, {sum(map(len, functions.values()))} functions")


if __name__ == "__main__":
    main()
