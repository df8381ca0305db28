"""A machine with systemd, on which the service is installed by the commands of docs/operations.md.

Not as in production: the banks are stand-ins, packages come from a folder, and the memory limit is not enforced.
"""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.containers.conftest import block, blocks, repository_of_this_checkout
from tests.containers.engine import MACHINE, Engine
from tests.support.process import NEW, OLD, local
from tests.support.promtool import WATCHDOG, rules
from tests.support.standin import Banks
from tests.support.wait import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

NAME = "currency-ticker-systemd"
CONFIG = "/etc/currency-ticker.toml"
BACKUP = "/var/lib/currency-ticker/fixings.ndjson.gz"
YESTERDAY = local("Asia/Almaty") - timedelta(days=1)
RATES = "usd +1.35%\neur +2.68%\nrub 0.00%\ngbp +4.11%\ncny +0.25%\n"
BOOT = f"""
mount -t cgroup2 cgroup2 /mnt
mkdir -p /mnt/{NAME}
echo $$ > /mnt/{NAME}/cgroup.procs
umount /mnt
exec unshare --cgroup sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec env container=docker /sbin/init'
"""
"""Start systemd in a control group of its own; the engine may use version 1, which systemd no longer supports."""
RIGHTS = [
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "SYS_PTRACE")),
    *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")),
]
"""What systemd needs to mount, and root to look at a process.

Fewer than `--privileged`, which a machine that is a container itself may refuse."""
REMOVE_GROUPS = f"mount -t cgroup2 cgroup2 /mnt && find /mnt/{NAME} -depth -type d -exec rmdir {{}} +"


@dataclass(frozen=True)
class Machine:
    """A container whose first process is systemd."""

    engine: Engine

    def run(self, command: str, *, check: bool = True) -> str:
        """Return what a shell script prints, as root; it ends at the first command that fails."""
        return self.engine.run("exec", NAME, "bash", "-euc", command, check=check)

    def follow(self, commands: str) -> str:
        """Run commands of the guide."""
        return self.run(commands.replace("REPOSITORY_URL", "/repository.git"))

    def state(self, name: str, unit: str = "currency-ticker") -> str:
        return self.run(f"systemctl show --value --property={name} {unit}").strip()

    def rates(self) -> str:
        """Return the ticker, one line a currency; nothing while the service does not respond."""
        return self.run("curl --silent --fail http://127.0.0.1:8080/v1/ticker.txt || true")

    def wait_for_rates(self, rates: str) -> None:
        wait_until(lambda: self.rates() == rates, rates)

    def log(self) -> str:
        return self.run("journalctl --unit currency-ticker --output cat --no-pager")


@pytest.fixture(scope="module")
def machine(docker: Engine, banks: Banks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot a machine; its repository is this checkout, with changes that are not committed."""
    banks.published["nbk"] = {YESTERDAY - timedelta(days=1): OLD, YESTERDAY: NEW}
    repository = repository_of_this_checkout(tmp_path_factory.mktemp("clone"))
    try:
        running = Machine(docker)
        try:
            docker.run("run", "--detach", *RIGHTS, "--tmpfs", "/run", "--name", NAME, MACHINE, "sh", "-euc", BOOT)
            wait_until(lambda: running.run("systemctl is-system-running || true").strip() == "running", "systemd")
        except AssertionError as error:  # nothing of this project is in it yet
            pytest.skip(f"NO CONTAINERS: systemd does not boot in one here: {error}")
        docker.run("cp", repository, f"{NAME}:/repository.git")
        yield running
    finally:
        docker.run("rm", "--force", NAME, check=False)
        docker.run("run", "--rm", *RIGHTS, MACHINE, "sh", "-c", REMOVE_GROUPS, check=False)


@pytest.fixture(scope="module")
def installed(machine: Machine, banks: Banks) -> Machine:
    """Follow the section on systemd, with the stand-ins instead of the banks."""
    environment = "\n".join(f"Environment={name}={value}" for name, value in banks.environ().items())
    script = f"""
mkdir -p /etc/systemd/system/currency-ticker.service.d
cat > /etc/systemd/system/currency-ticker.service.d/banks.conf <<'END'
[Service]
{environment}
END
"""
    for language, text in blocks("systemd"):
        script += f"cat > {CONFIG} <<'END'\n{text}END\n" if language == "toml" else text
    health = machine.follow(script)
    assert "currency ticker" in health.lower()
    machine.wait_for_rates(RATES)
    return machine


def test_start_reaches_ready_and_serves(installed: Machine) -> None:
    """`systemctl enable --now` has waited for it."""
    assert installed.state("ActiveState") == "active"
    assert installed.state("NRestarts") == "0"
    assert installed.rates() == RATES
    pid = installed.state("MainPID")
    fields = installed.run(f"cat /proc/{pid}/status")
    assert re.search(r"^CapEff:\t0+$", fields, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", fields, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", fields, re.MULTILINE)
    assert installed.run(f"stat --format=%U /proc/{pid}").strip() == "ticker"
    assert installed.run("systemctl is-system-running").strip() == "running"


def test_reload_applies_a_changed_setting(installed: Machine) -> None:
    """The process remains the same for systemd, and no restart is counted."""
    pid = installed.state("MainPID")
    installed.run(f"""sed -i 's/^currencies = .*/currencies = ["USD"]/' {CONFIG}; systemctl reload currency-ticker""")
    installed.wait_for_rates("usd +1.35%\n")
    assert (installed.state("MainPID"), installed.state("NRestarts")) == (pid, "0")


def test_reload_refuses_an_invalid_setting(installed: Machine) -> None:
    """The service goes on with the settings of before; the log has the reason."""
    pid, rates = installed.state("MainPID"), installed.rates()
    installed.run(f"cp {CONFIG} /root/valid.toml; sed -i '1i oops = 1' {CONFIG}; systemctl reload currency-ticker")
    wait_until(lambda: "settings.refused" in installed.log(), "the refusal")
    assert f"{CONFIG}: oops: unknown setting" in installed.log()
    assert installed.rates() == rates != ""
    assert (installed.state("MainPID"), installed.state("ActiveState")) == (pid, "active")
    installed.run(f"cp /root/valid.toml {CONFIG}")


def test_killed_service_is_restarted(installed: Machine) -> None:
    before, rates = int(installed.state("NRestarts")), installed.rates()
    installed.run("systemctl kill --signal=KILL --kill-whom=main currency-ticker")
    wait_until(lambda: int(installed.state("NRestarts")) > before, "restart")
    wait_until(lambda: installed.state("ActiveState") == "active", "start")
    installed.wait_for_rates(rates)


def test_hung_service_is_restarted_by_the_watchdog(installed: Machine) -> None:
    """After WatchdogSec, and after TimeoutStopSec, since a stopped process does not obey the first signal."""
    before, pid, rates = int(installed.state("NRestarts")), installed.state("MainPID"), installed.rates()
    installed.run("systemctl kill --signal=STOP --kill-whom=main currency-ticker")
    wait_until(lambda: int(installed.state("NRestarts")) > before, "restart", within=300)
    wait_until(lambda: installed.state("ActiveState") == "active", "start")
    assert installed.state("MainPID") != pid
    assert "Watchdog timeout" in installed.log()
    installed.wait_for_rates(rates)


def test_backup_is_written_and_restored_by_the_guide(installed: Machine) -> None:
    """By the service that the timer starts; seven files before are kept."""
    assert installed.state("ActiveState", "currency-ticker-backup.timer") == "active"
    for _ in range(2):
        installed.run("systemctl start currency-ticker-backup.service")
    assert str(YESTERDAY) in installed.run(f"zcat {BACKUP}")
    assert installed.run(f"stat --format='%U %a' {BACKUP} {BACKUP}.1").splitlines() == ["ticker 600"] * 2
    restore = block("Backup and restore", "# systemd").split("# Docker Compose")[0]
    assert re.search(r": 0 added, [1-9]\d* unchanged, 0 refused$", installed.follow(restore), re.MULTILINE)


def test_damaged_file_is_repaired_by_the_guide(installed: Machine) -> None:
    """The service does not start, and says which file is damaged; the guide's commands lose nothing."""
    rates = installed.rates()
    installed.run("systemctl start currency-ticker-backup.service")
    stop, repair, start = (
        block("Backup and restore", part) for part in ("cp -a", "valkey-check-aof --fix", "systemctl start")
    )
    installed.follow(stop)
    files = "/var/lib/currency-ticker/appendonlydir/appendonly.aof.*.incr.aof"
    installed.run(f"printf 'damage' >> {files}; echo complete >> {files}; systemctl start currency-ticker || true")
    wait_until(lambda: ".incr.aof" in installed.log(), "the error")
    assert installed.state("ActiveState") != "active"
    installed.run("systemctl stop currency-ticker")
    (number,) = re.findall(r"(\d+)\.incr", installed.run(f"ls {files}"))
    installed.follow(repair.replace("NUMBER", number).replace("sudo -u", "yes | sudo -u"))
    imported = installed.follow(start)
    assert re.search(r": 0 added, [1-9]\d* unchanged, 0 refused$", imported, re.MULTILINE)
    installed.wait_for_rates(rates)


def test_upgrade_by_the_guide_loses_nothing(installed: Machine) -> None:
    """The new version runs from its own folder, with the rates of the old one."""
    rates = installed.rates()
    installed.follow(block("Upgrade", "systemctl"))
    pid = installed.state("MainPID")
    assert installed.run(f"readlink /proc/{pid}/cwd").strip() == "/opt/currency-ticker/2"
    installed.wait_for_rates(rates)


def test_monitoring_by_the_guide(installed: Machine, docker: Engine) -> None:
    """Prometheus scrapes the service, its alert reaches Alertmanager, and both listen on loopback only."""
    commands = block("Monitoring", "apt-get install").replace("FILE /etc", "/root/password /etc")
    installed.follow(f"echo secret > /root/password; cd /opt/currency-ticker/current\n{commands}")

    def get(path: str) -> Any:
        return json.loads(installed.run(f"curl --silent --fail http://127.0.0.1:{path} || echo null"))

    def health() -> dict[str, str]:
        active = (get("9090/api/v1/targets") or {"data": {"activeTargets": []}})["data"]["activeTargets"]
        return {target["scrapePool"]: target["health"] for target in active}

    def firing() -> list[str]:
        return [alert["labels"]["alertname"] for alert in get("9093/api/v2/alerts") or ()]

    jobs = ("alertmanager", "prometheus", "ticker")
    wait_until(lambda: health() == dict.fromkeys(jobs, "up"), "targets", within=300)
    wait_until(lambda: WATCHDOG in firing(), WATCHDOG, within=300)
    loaded = {rule["name"] for group in get("9090/api/v1/rules")["data"]["groups"] for rule in group["rules"]}
    assert loaded >= rules().keys()
    assert get("9090/api/v1/status/flags")["data"]["storage.tsdb.retention.time"] == "90d"
    (network,) = docker.inspect(NAME)["NetworkSettings"]["Networks"].values()
    for port in (9090, 9093):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((network["IPAddress"], port), timeout=30)


def test_service_starts_with_the_machine(installed: Machine, docker: Engine) -> None:
    rates = installed.rates()
    docker.run("restart", "--time", "1", NAME)
    active = "systemctl is-active currency-ticker"
    wait_until(lambda: installed.run(active, check=False).strip() == "active", "start")  # no bus in the first seconds
    installed.wait_for_rates(rates)
    assert installed.state("ActiveState", "currency-ticker-backup.timer") == "active"
