"""PNG for e-mail, where Gmail and Outlook show no SVG: the SVG of a ticker, drawn by resvg with a bundled font."""

import asyncio
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from service.web.http.problems import Problem

CHARACTERS: Final = (
    "U+0020-007E,U+00A0-024F,U+02BB-02BC,U+0300-036F,U+1E00-1EFF,"  # Latin
    "U+0370-03E1,U+0400-052F,"  # Greek, Cyrillic
    "U+2000-206F,U+20A0-20BF,U+2212,U+25A0,U+25B2,U+25BC"  # punctuation, currencies, minus, symbols of directions
)
"""The characters of the bundled font, as `make fonts` passes them to pyftsubset."""
_RANGES: Final = re.sub(r"([0-9A-F]{4})", r"\\u\1", CHARACTERS.replace("U+", "").replace(",", ""))
_DRAWABLE: Final = re.compile(f"[{_RANGES}]*")
MAX_PIXELS: Final = 4_000_000
"""Largest picture: it takes 16 MB while it is drawn."""
_TIMEOUT: Final = 10
"""Seconds after which the process is killed. It takes some 0.1 s."""
_PROGRAM: Final = (sys.executable, "-I", str(Path(__file__).with_name("resvg.py")))

log = structlog.get_logger()


def is_drawable(text: str) -> bool:
    """Return whether the bundled font has all characters of a text."""
    return _DRAWABLE.fullmatch(text) is not None


@dataclass
class PngRenderer:
    """Draws pictures, one at a time."""

    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def draw(self, svg: bytes) -> bytes:
        """Return the PNG of an SVG. Raises `Problem`: 503 if it cannot be drawn."""
        try:
            async with self._turn, asyncio.timeout(_TIMEOUT):
                return await _run(svg)
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("picture.failed", error=str(error) or type(error).__name__)
            raise Problem(503, "The picture could not be drawn.", {"Retry-After": "30"}) from None


async def _run(svg: bytes) -> bytes:
    """Run the program; raise `ValueError` with the end of its error output if it fails."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*_PROGRAM, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        png, errors = await process.communicate(svg)
    finally:
        if process.returncode is None:  # cancelled, or too slow
            process.kill()
            await process.wait()
    if process.returncode:
        raise ValueError(f"exit status {process.returncode}: {errors.decode(errors='replace').strip()[-200:]}")
    return png
