"""`make audit`: check the deployed packages for known vulnerabilities with pip-audit and osv.dev.

Exit status 0: every package was checked, no vulnerability is known. 1: vulnerabilities are known. 2: some packages
could not be checked. pip-audit alone returns 0 if packages were skipped, and 1 if it crashed.
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
VULNERABLE: Final = 1
NOT_CHECKED: Final = 2
_TIMEOUT: Final = 600
_COMMAND: Final = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def verdict(output: str, expected: Collection[str], errors: str = "") -> tuple[int, str]:
    """Return exit status and message for pip-audit's output about the `expected` packages."""
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        last = errors.strip().splitlines()[-1:] or ["no output"]
        return NOT_CHECKED, f"NOT CHECKED, the result is unknown: {last[0]}"
    messages = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in dependencies
        for vulnerability in package.get("vulns", ())
    ]
    checked = {canonicalize_name(package["name"]) for package in dependencies if "skip_reason" not in package}
    if missing := sorted(set(expected) - checked):
        messages.append(f"NOT CHECKED: {len(missing)} of {len(expected)}: {', '.join(missing)}")
        return VULNERABLE if len(messages) > 1 else NOT_CHECKED, "\n".join(messages)
    return (
        (VULNERABLE, "\n".join(messages))
        if messages
        else (CLEAN, f"no known vulnerabilities in {len(checked)} packages")
    )


def audit(url: str | None = None) -> tuple[int, str]:
    """Run pip-audit; `url` is that of another OSV database."""
    service = ("--vulnerability-service", "osv", *(("--osv-url", url) if url else ()))
    command = (sys.executable, "-m", "pip_audit", *_COMMAND, *service, "--requirement", str(lock.DEPLOYED))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    return verdict(done.stdout, lock.for_this_machine(), done.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.supply.audit", description=__doc__)
    parser.add_argument("--url", help="URL of another OSV database")
    status, message = audit(parser.parse_args().url)
    print(message)
    return status


if __name__ == "__main__":
    sys.exit(main())
