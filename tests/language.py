"""Check the words of the project: `make check` runs it over code, documents, names of tests and commit subjects.

The field's words are used, not pictures of our own: CONTRIBUTING.md says why. Vale would do the same, but its package
fetches a binary when it is first run, which CI cannot.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TEXTS: Final = (
    "*.py",
    "*.md",
    "*.html",
    "*.js",
    "*.css",
    "*.ts",
    "*.tsx",
    "*.vue",
    "*.svelte",
    "*.toml",
    "*.yml",
    "*.yaml",
    "*.conf",
    "*.php",
    "Makefile",
    "*.json",
)
FOLDERS: Final = (
    "service",
    "docs",
    "packages",
    "config",
    "packages",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "Makefile",
)
NOT_OURS: Final = ("service/web/viewer/", "service/web/static/uplot/", "service/web/assets/")
BANNED: Final = {
    r"(?<!screen )(?<!screen-)\breaders?\b": "client, visitor",
    r"(?<![a-z])figures?(?![a-z])": "rate, value",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\btell(s|ing)?\b|\btold\b": "report, show, return",
    r"\bask(s|ed|ing)?\b": "request, poll",
    r"\basleep\b": "disabled by default",
    r"\bharm(s|ed)?\b": "fault, damage",
    r"\b(house|door|shelf|shelved)\b": "(a picture)",
    r"\bway through\b": "(a picture)",
    r"\bsecond choice\b|\bfirst choice\b|\blater choice\b": "fallback source, preferred source",
    r"\bthere (is|are) no such\b": "unknown",
    r"\bthat there (is|are)\b": "existing",
    r"\bas ever\b": "as before",
    r"\bmade anew\b|\bmakes? anew\b": "rebuilt",
    r"\bhas gone\b|\bis gone\b|\bare gone\b": "was removed, is down",
    r"\bupdate (late|overdue)\b": "delayed, outdated",
}
"""Patterns, and what is used instead."""
MOST: Final = 72
"""Characters of a commit's subject."""
SINCE: Final = "c25243d"
"""The commit after which subjects are checked."""


def problems() -> Iterator[str]:
    """Yield each problem as a line."""
    for name, number, line in _lines(*FOLDERS):
        yield from (f"{name}:{number}: {problem}" for problem in _banned(line))
    for name, number, line in _lines("tests"):
        if test := re.match(r"\s*(?:async )?def (test_\w+)", line):
            words = test[1].replace("_", " ")
            yield from (f"{name}:{number}: in the name of a test: {problem}" for problem in _banned(words))
    for subject in _git("log", "--format=%s", f"{SINCE}..HEAD"):
        if len(subject) > MOST:
            yield f"commit subject of {len(subject)} characters, more than {MOST}: {subject}"


def _banned(text: str) -> Iterator[str]:
    for pattern, instead in BANNED.items():
        if found := re.search(pattern, text, re.IGNORECASE):
            yield f"{found[0]!r}: use {instead}"


def _lines(*folders: str) -> Iterator[tuple[str, int, str]]:
    """Yield the lines of all texts, each with its file and number."""
    for name in _git("ls-files", *folders):
        if any(Path(name).match(pattern) for pattern in TEXTS) and not name.startswith(NOT_OURS):
            for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
                yield name, number, line


def _git(*arguments: str) -> list[str]:
    """Return the lines that git prints; none outside a repository, or for a commit that a shallow clone lacks."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


if __name__ == "__main__":
    found = list(problems())
    print("\n".join(found) or "The language is plain.")  # noqa: T201
    sys.exit(bool(found))
