"""Draw an SVG as PNG, in a process of its own: from standard input to standard output.

resvg-py 0.5 holds the interpreter's lock while it draws. In a thread it would block the event loop for 25 ms at scale 2
and for 100 ms with a long list, so `png` runs this file as a program; nothing else imports it.
"""

import sys
from pathlib import Path
from typing import Final

from resvg_py import svg_to_bytes

_FONTS: Final = sorted(map(str, (Path(__file__).parents[1] / "fonts").glob("*.ttf")))


def draw(svg: str) -> bytes:
    """Return the PNG of an SVG in its own size, with the bundled font. Raises `ValueError` for an invalid SVG."""
    png: bytes = svg_to_bytes(svg_string=svg, skip_system_fonts=True, font_files=_FONTS, sans_serif_family="Noto Sans")
    return png


if __name__ == "__main__":
    sys.stdout.buffer.write(draw(sys.stdin.buffer.read().decode()))
