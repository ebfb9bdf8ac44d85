"""How Sphinx builds this folder: `make docs`. Nothing is fetched while it builds, nor by a page that is read."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "featurecache-rebalance"
author = "the authors of featurecache-rebalance"
copyright = "Apache-2.0"
version = release = installed("featurecache-rebalance")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    "command_help",
    "docstring_fields",
    "figure_cards",
    "formulas",
    "outside_links",
]
smartquotes_action = "D"  # dashes, and quotes as they are written
nitpicky = True
nitpick_ignore_regex = [
    # Other projects' names: their inventories would have to be fetched.
    (r"py:.*", r"(torch|np|numpy|pathlib|os|collections|types|nn|sklearn|PIL|matplotlib)\..*"),
    (r"py:.*", r"Tensor|Path|Any|Sequence|Mapping|Iterable|Iterator|Callable|Collection|NDArray|Module|Dataset"),
    # Names of types, which the signature shows as they are: what they stand for is said in words.
    (r"py:class", r"ArrayLike|Features|Labels|TypeAliasForwardRef|RecipeName|TargetPrior|Payload|dict\[str"),
    # Parts of an object that nobody makes or takes apart.
    (r"py:class", r"featurecache\.(plan|arrays|exporting|classifying|training|datasets|convert)\..*"),
    (r"py:class", r"rebalance\.(methods\.Path|metrics\.classwise\..*|(solving|sampling|report\.style)\..*)"),
]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# autodoc_preserve_defaults would replace the signatures that the commands' options are read from.
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Features", "Labels")}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

highlight_language = "text"  # of tables in docstrings; a page says what its code is

html_theme = "pydata_sphinx_theme"
html_title = "featurecache-rebalance"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "drawn"
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "logo": {"text": "rebalance"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["sphinx-version"],
    "footer_end": ["theme-version"],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "use_edit_page_button": False,
}
html_sidebars = {"start": [], "methods": []}  # pages without others beside them
