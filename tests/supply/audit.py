"""`make audit`: whether a fault is known of what is deployed, by pip-audit and the database of osv.dev.

Exit status 0: asked of every package, and nothing is known. 1: something is. 2: it could not be asked of all, which
pip-audit alone takes for nothing known where packages were skipped, and for something known where it crashed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Collection
from typing import Final

from packaging.utils import canonicalize_name

from tests.supply import lock

CLEAN: Final = 0
KNOWN: Final = 1
NOT_ASKED: Final = 2
_LONGEST: Final = 600
_COMMAND: Final = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def verdict(answer: str, wanted: Collection[str], complaint: str = "") -> tuple[int, str]:
    """Return the exit status and what to say of pip-audit's answer about the packages that were wanted."""
    try:
        told = json.loads(answer)["dependencies"]
    except (ValueError, KeyError):
        last = complaint.strip().splitlines()[-1:] or ["no answer"]
        return NOT_ASKED, f"COULD NOT ASK, so nothing is known either way: {last[0]}"
    known = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'nothing yet'}"
        for one in told
        for fault in one.get("vulns", ())
    ]
    asked = {canonicalize_name(one["name"]) for one in told if "skip_reason" not in one}
    if missing := sorted(set(wanted) - asked):
        known.append(f"COULD NOT ASK about {len(missing)} of {len(wanted)}: {', '.join(missing)}")
        return KNOWN if len(known) > 1 else NOT_ASKED, "\n".join(known)
    return (KNOWN, "\n".join(known)) if known else (CLEAN, f"nothing is known of {len(asked)} packages")


def audit(url: str | None = None) -> tuple[int, str]:
    """Ask; `url` is that of another database of OSV."""
    where = ("--vulnerability-service", "osv", *(("--osv-url", url) if url else ()))
    command = (sys.executable, "-m", "pip_audit", *_COMMAND, *where, "--requirement", str(lock.DEPLOYED))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST)
    return verdict(done.stdout, lock.here(), done.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.supply.audit", description=__doc__)
    parser.add_argument("--url", help="another database that speaks OSV")
    status, told = audit(parser.parse_args().url)
    print(told)
    return status


if __name__ == "__main__":
    sys.exit(main())
