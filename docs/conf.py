"""How the site is built: `sphinx-build -W docs site`. It needs the extra `docs` and no network."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import docstrings  # noqa: E402
import generated  # noqa: E402

import picscribe  # noqa: E402

project = "picscribe"
author = "picscribe contributors"
copyright = author
release = version = picscribe.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["deflist", "html_image"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"picscribe {release}"
html_copy_source = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True


def setup(app):
    """Write the generated pages before Sphinx looks for pages, and turn docstrings into reStructuredText."""
    generated.write_pages(HERE / "reference" / "generated")
    app.connect("autodoc-process-docstring", docstrings.convert)
