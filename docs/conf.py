"""How Sphinx builds the documentation: ``sphinx-build -W --keep-going -b html docs docs/_build/html``.

Pages are Markdown, the reference comes from the docstrings, and the guide is run: every script in ``examples/guide``
becomes a page with the output and the pictures it made. Nothing is fetched from elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import convkit

HERE = Path(__file__).parent

project = "convkit"
author = "the convkit developers"
copyright = "the convkit developers"
version = release = convkit.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
tables = [f"claims/{path.name}" for path in HERE.glob("claims/*.md") if path.stem != "index"]  # which index.md includes
exclude_patterns = ["_build", *tables]
templates_path = ["_templates"]
smartquotes = False  # H' and 'same' are meant as they stand
default_role = "py:obj"  # `name` is a link where the reference has that name, and code elsewhere

# --- the reference ------------------------------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more: shapes and dtypes
autodoc_inherit_docstrings = False
autodoc_default_options = {"exclude-members": "set_fit_request, set_score_request"}  # scikit-learn's own
numpydoc_show_class_members = False  # the template for classes shows them

# --- pages --------------------------------------------------------------------------------------------------
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

# --- the guide ----------------------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples" / "guide"),
    "gallery_dirs": "guide",
    "filename_pattern": "",  # run every file
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": False,  # a failing page is a warning, so that one build tells of all of them
    "capture_repr": (),  # a page shows what it prints and draws
    "image_scrapers": ("matplotlib",),
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 60,  # seconds; what a page takes depends on the machine
    "write_computation_times": False,
}

# --- the theme ----------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"convkit {version}"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
