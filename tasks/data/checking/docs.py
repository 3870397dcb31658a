"""Data Docs as pages that need nothing else: no script, style sheet, picture or font from another place.

Great Expectations writes pages that load theirs from public servers; a page kept with a run must open without a
network, and opening it tells nobody. The content stays as it is.
"""

import re
import shutil
from pathlib import Path

# What stands between these is markup of Great Expectations' own templates, never text of a user: that is escaped.
_UNWANTED = re.compile(
    r"<script\b.*?</script>|<footer\b.*?</footer>|<link\b[^>]*>|<img\b[^>]*>|<form\b.*?</form>",
    re.DOTALL | re.IGNORECASE,
)
_LOADED_BY_STYLE = re.compile(r"@font-face\s*\{[^}]*\}|@import[^;]*;|url\([^)]*\)(?=[^<]*</style>)")
_STYLE = """<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; color-scheme: light dark; }
nav, .modal, .btn-group, .card .card-text { display: none; }
h1, h2, h3, h4 { font-weight: 600; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { border: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
</style>
"""


def make_self_contained(site: Path) -> None:
    """Rewrite the pages of a Data Docs site so that they load nothing, and remove the files that they then leave."""
    for page in sorted(site.rglob("*.html")):
        html = _LOADED_BY_STYLE.sub("", _UNWANTED.sub("", page.read_text("utf-8")))
        page.write_text(html.replace("</head>", f"{_STYLE}</head>", 1), "utf-8")
    shutil.rmtree(site / "static", ignore_errors=True)
