"""Static assets of the pages: the file name contains a hash of the content, so that caches may keep them for good.

`make assets` builds them with esbuild from `static/` into `assets/`, which is committed: running the service needs no
build step.
"""

from base64 import b64encode
from hashlib import sha256, sha384
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parents[1] / "assets"
_RELEASED: Final = Path(__file__).parents[1] / "released"
"""Scripts of earlier releases, under their hashed names: sites pin them, so they stay available."""
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

PINNED: Final = ("embed.js", "chart.js")
"""The scripts that sites can pin by their hash."""


class Assets:
    """All assets: contents, hashed names and integrity values (SRI)."""

    def __init__(self, folder: Path, released: Path) -> None:
        """Read all files of `folder`, and the pinned scripts of `released`."""
        self.files: dict[str, tuple[bytes, str]] = {}
        """Content and Content-Type by hashed name."""
        self.names: dict[str, str] = {}
        """Hashed name by file name."""
        self.integrity: dict[str, str] = {}
        """Value of the `integrity` attribute by file name."""
        for path in sorted(folder.iterdir()):
            self._add(path.name, path.read_bytes())
        for path in sorted(path for script in PINNED for path in released.glob(f"{Path(script).stem}.*.js")):
            self.files[path.name] = (path.read_bytes(), _TYPES[path.suffix])

    def newest(self, name: str) -> tuple[bytes, str]:
        """Return content and Content-Type of the current version of a file."""
        return self.files[self.names[name]]

    def _add(self, name: str, body: bytes) -> None:
        path = Path(name)
        hashed = f"{path.stem}.{sha256(body).hexdigest()[:12]}{path.suffix}"
        self.names[name] = hashed
        self.files[hashed] = (body, _TYPES[path.suffix])
        self.integrity[name] = f"sha384-{b64encode(sha384(body).digest()).decode()}"


ASSETS: Final = Assets(_FOLDER, _RELEASED)


if __name__ == "__main__":  # `make pin`
    _RELEASED.mkdir(exist_ok=True)
    for name in map(ASSETS.names.__getitem__, PINNED):
        (_RELEASED / name).write_bytes(ASSETS.files[name][0])
