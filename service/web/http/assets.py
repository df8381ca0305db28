"""The files that pages load: read once, named by their content, kept by browsers for good.

Scripts are put together here from their parts, so that a page asks for one. No build step, nothing to
install: what is served is what stands in `static/`, less white space and comments.
"""

import json
import re
from base64 import b64encode
from hashlib import sha256, sha384
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parents[1] / "static"
_RELEASED: Final = Path(__file__).parents[1] / "released"
"""Scripts of earlier releases, under the names that sites have pinned: they are served for good."""
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_SCRIPTS: Final = {
    "embed.js": ("refresh.js", "tape.js", "element.js"),
    "frame.js": ("refresh.js", "tape.js", "frame.js"),
    "builder.js": ("builder.js",),
    "docs.js": ("docs.js",),
}
_STYLE: Final = '"strip.css"'
"""Stands in a script for the whole of that style sheet."""
_SPARE_CSS: Final = re.compile(r";?\s*([{}])\s*|([:;,])\s+")
_SPARE_JS: Final = re.compile(
    r"""("(?:\\.|[^"\\])*"|'[^']*'|`[^`]*`|/(?:\\.|[^\s/\\])+/)"""  # a string, a template, a regular expression
    r"|\s*//.*"
    r"|\((\w+)\) (=>)\s*"
    r"|[;,]?\s*(})\s*"
    r"|\s*([*%=<>!&|?:;,(){[\]])\s*"
)
"""White space that means nothing and what goes with it, in scripts as ours are: all statements end in a semicolon, no
template stands in another, and a slash that divides has spaces around it."""


class Assets:
    """Every file, under a name that changes with its content."""

    def __init__(self, folder: Path, released: Path) -> None:
        self.files: dict[str, tuple[bytes, str]] = {}
        self.names: dict[str, str] = {}
        self.integrity: dict[str, str] = {}
        for path in sorted((*folder.glob("*.css"), *folder.glob("*.svg"))):
            self._add(path.name, _lean(path))
        for name, parts in _SCRIPTS.items():
            self._add(name, "".join(_lean(folder / part) for part in parts))
        for path in sorted(released.glob("embed.*.js")):
            self.files[path.name] = (path.read_bytes(), _TYPES[path.suffix])

    def _add(self, name: str, text: str) -> None:
        path, body = Path(name), text.encode()
        hashed = f"{path.stem}.{sha256(body).hexdigest()[:12]}{path.suffix}"
        self.names[name] = hashed
        self.files[hashed] = (body, _TYPES[path.suffix])
        self.integrity[name] = f"sha384-{b64encode(sha384(body).digest()).decode()}"


def _lean(path: Path) -> str:
    """Read a file without what only its writers need; a script gets the style sheet that it asks for."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith(("//", "/*"))) + "\n"
    if path.suffix == ".css":
        return _SPARE_CSS.sub(r"\1\2", text)
    if path.suffix == ".js":
        text = _SPARE_JS.sub(r"\1\2\3\4\5", text)
    if _STYLE in text:
        text = text.replace(_STYLE, json.dumps(_lean(path.parent / "strip.css"), ensure_ascii=False))
    return text


ASSETS: Final = Assets(_FOLDER, _RELEASED)


if __name__ == "__main__":  # `make pin`
    name = ASSETS.names["embed.js"]
    _RELEASED.mkdir(exist_ok=True)
    (_RELEASED / name).write_bytes(ASSETS.files[name][0])
