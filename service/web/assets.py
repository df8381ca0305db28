"""The files that pages load: read once, named by their content, kept by browsers for good."""

from hashlib import sha256
from pathlib import Path
from typing import Final

_TYPES: Final = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


class Assets:
    """Every file of `static/`, under a name that changes with its content."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, tuple[bytes, str]] = {}
        self.names: dict[str, str] = {}
        for path in sorted(folder.iterdir()):
            body = path.read_bytes()
            name = f"{path.stem}.{sha256(body).hexdigest()[:12]}{path.suffix}"
            self.names[path.name] = name
            self.files[name] = (body, _TYPES[path.suffix])


ASSETS: Final = Assets(Path(__file__).parent / "static")
