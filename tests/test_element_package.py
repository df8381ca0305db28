"""packages/element: types, manifest and script agree, and the type checks of frameworks refuse other values."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from service.settings import Settings
from service.settings.loader import ROOT
from service.web.rendering.options import RANGES
from tests.conftest import Started
from tests.support.examples import EXAMPLES, PACKAGE, bin_of, run, run_unchecked, toolchain, unpack, working_copy
from tests.support.http import until_ready
from tests.support.pages import published, text_of
from tests.support.standin import Banks

TYPES: Final = (PACKAGE / "embed.d.ts").read_text(encoding="utf-8")
MANIFEST: Final = json.loads((PACKAGE / "custom-elements.json").read_text(encoding="utf-8"))
ELEMENT: Final[dict[str, Any]] = MANIFEST["modules"][0]["declarations"][0]
SCRIPT: Final = (ROOT / "service" / "web" / "static" / "element.js").read_text(encoding="utf-8")
STYLE: Final = (ROOT / "service" / "web" / "static" / "strip.css").read_text(encoding="utf-8")
DOCUMENT: Final = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
CHART: Final[dict[str, Any]] = MANIFEST["modules"][1]["declarations"][0]
CHART_SCRIPT: Final = (ROOT / "service" / "web" / "static" / "chart-element.js").read_text(encoding="utf-8")
CHART_STYLE: Final = (ROOT / "service" / "web" / "static" / "chart.css").read_text(encoding="utf-8")
LISTED: Final = ("theme", "layout", "show", "period")
"""Attributes whose values are known words."""
CHECKS: Final = {
    "react/Rates.tsx": ("tsc", "--noEmit", "-p", "react"),
    "next/app/page.tsx": ("tsc", "--noEmit", "-p", "next"),
    "vue/Rates.vue": ("vue-tsc", "--noEmit", "-p", "vue"),
    "svelte/Rates.svelte": ("svelte-check", "--workspace", "svelte", "--tsconfig", "./tsconfig.json"),
}
"""The command that checks the types of an example."""


@pytest.fixture(scope="module")
def copied() -> Iterator[Path]:
    with working_copy() as folder:
        yield folder


def quoted(text: str) -> set[str]:
    return set(re.findall(r'"([a-z-]+)"', text))


def body_of(declaration: str) -> str:
    """Return the body of an interface in the types."""
    found = re.search(rf"interface {declaration}[^{{]* \{{(.*?)\n\}}", TYPES, re.DOTALL)
    assert found, declaration
    return found[1]


def values_in_types(attribute: str) -> set[str]:
    name = {"theme": "Theme", "layout": "Layout", "show": "Value", "period": "Period"}[attribute]
    found = re.search(rf"export type CurrencyTicker{name} = ([^;]+);", TYPES)
    assert found, attribute
    return quoted(found[1])


def values_in_script(attribute: str) -> set[str]:
    """Return the words of the script's constant."""
    name = {"theme": "THEMES", "layout": "LAYOUTS", "show": "VALUES", "period": "PERIODS"}[attribute]
    (values,) = re.findall(rf"^const {name} = \[(.*)\];$", SCRIPT, re.MULTILINE)
    return quoted(values)


def test_attributes_of_types_manifest_and_script_agree() -> None:
    """The observed attributes, in all three."""
    observed = re.search(r"observedAttributes = \[(.*?)\]", SCRIPT, re.DOTALL)
    assert observed
    names = quoted(observed[1])
    assert len(names) >= 8
    assert set(re.findall(r"^  (\w+)\?:", body_of("CurrencyTickerAttributes"), re.MULTILINE)) == names
    assert {attribute["name"] for attribute in ELEMENT["attributes"]} == names


@pytest.mark.parametrize("attribute", LISTED)
def test_values_of_types_manifest_and_script_agree(attribute: str) -> None:
    """No value is missing or unknown, and the manifest's default is the first in the script."""
    in_manifest = next(entry for entry in ELEMENT["attributes"] if entry["name"] == attribute)
    assert values_in_types(attribute) == values_in_script(attribute) == quoted(in_manifest["type"]["text"])
    assert in_manifest.get("default", "percent") in values_in_script(attribute)


def test_chart_of_types_manifest_and_script_agrees() -> None:
    """Attributes, their known values, and events."""

    def words(text: str) -> list[str]:
        return re.findall(r'"(\w+)"', text)

    (observed,) = re.findall(r"observedAttributes = \[(.*?)\]", CHART_SCRIPT)
    attributes = {entry["name"]: entry for entry in CHART["attributes"]}
    assert re.findall(r"^  (\w+)\??:", body_of("CurrencyChartAttributes"), re.MULTILINE) == words(observed)
    assert list(attributes) == words(observed)
    (ranges,) = re.findall(r"^const RANGES = \[(.*)\];$", CHART_SCRIPT, re.MULTILINE)
    (typed,) = re.findall(r"export type CurrencyChartRange = ([^;]+);", TYPES)
    assert words(ranges) == words(typed) == words(attributes["range"]["type"]["text"]) == list(RANGES)
    (themes,) = re.findall(r"^const THEMES = \[(.*)\];$", CHART_SCRIPT, re.MULTILINE)
    assert set(words(themes)) == values_in_types("theme") == quoted(attributes["theme"]["type"]["text"])
    types = dict(re.findall(r'^  "([\w-]+)": (.+);$', body_of("CurrencyChartEventMap"), re.MULTILINE))
    assert {event["name"]: event["type"]["text"] for event in CHART["events"]} == types
    (sent,) = re.findall(r'before \? "([\w-]+)" : "[\w-]+"', CHART_SCRIPT)
    assert {*re.findall(r'send\("([\w-]+)"', CHART_SCRIPT), sent, "chart-ready"} == types.keys()


def test_custom_properties_and_parts_of_the_chart_exist() -> None:
    for entry in CHART["cssProperties"]:
        assert f"var({entry['name']}" in CHART_STYLE
    described = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    for entry in CHART["cssParts"]:
        assert f"`{entry['name']}`" in described


def test_element_has_no_property_named_as_an_attribute() -> None:
    """React and Vue set a property that exists, instead of the attribute that the element observes."""
    for script, name, element in ((SCRIPT, "CurrencyTicker", ELEMENT), (CHART_SCRIPT, "CurrencyChart", CHART)):
        code = script.partition(f"class {name}")[2]
        assert "this.getAttribute" in code
        for attribute in (entry["name"] for entry in element["attributes"]):
            property_named_so = rf"\bthis\.{attribute} =|^  (?:[gs]et )?{attribute}\(|^  {attribute} ="
            assert not re.search(property_named_so, code, re.MULTILINE), attribute


def test_events_of_types_and_manifest_agree() -> None:
    types = dict(re.findall(r'^  "([\w-]+)": (.+);$', body_of("CurrencyTickerEventMap"), re.MULTILINE))
    assert {event["name"]: event["type"]["text"] for event in ELEMENT["events"]} == types
    assert types.keys() == {"ticker-ready", "ticker-change", "ticker-error"}


def test_custom_properties_and_parts_of_the_manifest_exist() -> None:
    """The style sheet uses each custom property; docs/embedding.md describes each part."""
    for entry in ELEMENT["cssProperties"]:
        assert f"var({entry['name']}" in STYLE
    described = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    for entry in ELEMENT["cssParts"]:
        assert f"`{entry['name']}`" in described


@pytest.mark.parametrize("name", ["embed.d.ts", "custom-elements.json"])
def test_service_serves_the_types_of_the_package(name: str) -> None:
    served = ROOT / "service" / "web" / "types" / name
    assert served.read_bytes() == (PACKAGE / name).read_bytes(), "run `make assets`"


def test_package_has_the_version_and_licence_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))
    assert (package["version"], package["license"]) == (project["version"], project["license"])
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("name", [*CHECKS, "vue/vite.config.js"])
def test_examples_are_those_of_the_document(name: str) -> None:
    """docs/frameworks.md contains the file that is checked, built and opened."""
    assert (EXAMPLES / name).read_text(encoding="utf-8") in DOCUMENT


def test_locked_packages_have_digests_and_no_host() -> None:
    """Every package is verified; npm takes it from the registry of the user's settings."""
    lock = json.loads((EXAMPLES / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if "integrity" not in entry or "resolved" in entry] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_packed_package_has_its_files(tmp_path: Path) -> None:
    """`npm pack` works, and what it packs has every file that package.json names, and no example."""
    toolchain()
    names = unpack(tmp_path / "package")
    assert names == [
        *("LICENSE", "README.md", "custom-elements.json", "embed.d.ts", "index.d.ts", "index.js", "package.json"),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_manifest_is_valid() -> None:
    """By the schema of the custom elements manifest, of the version that it names."""
    package = toolchain() / "node_modules" / "custom-elements-manifest"
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    assert MANIFEST["schemaVersion"] == version
    check = Path(sys.executable).with_name("check-jsonschema")
    run(check, "--schemafile", package / "schema.json", PACKAGE / "custom-elements.json", cwd=PACKAGE)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_framework_refuses_an_unknown_value(copied: Path, name: str) -> None:
    """An example has no type error; with `layout="bogus"` it has that one."""
    command, *arguments = CHECKS[name]
    file = copied / name
    code = file.read_text(encoding="utf-8")
    run(bin_of(copied, command), *arguments, cwd=copied)
    try:
        file.write_text(code.replace('layout="list"', 'layout="bogus"'), encoding="utf-8")
        status, output = run_unchecked(bin_of(copied, command), *arguments, cwd=copied)
    finally:
        file.write_text(code, encoding="utf-8")
    assert status != 0
    errors = re.findall(r"""Type '"bogus"' is not assignable to type 'CurrencyTickerLayout""", output)
    assert (len(errors), len(re.findall(r"\berror TS|^Error:", output, re.MULTILINE))) == (1, 1), output


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_types_describe_the_response(settings: Settings, start: Started, banks: Banks, tmp_path: Path) -> None:
    """Without any framework: a response of the service has exactly the fields of an event's `detail`."""
    published(banks)
    client = await start(settings)
    await until_ready(client)
    response = await text_of(client, "/v1/ticker?lang=kk&spark=1&on=2026-04-02")
    chart = await text_of(client, "/v1/chart/usd?lang=kk")
    (tmp_path / "embed.d.ts").write_text(TYPES, encoding="utf-8")
    (tmp_path / "page.ts").write_text(
        f"""
        import type {{ CurrencyChartData, CurrencyTickerData }} from "./embed.d.ts";
        ({response}) satisfies CurrencyTickerData;
        ({chart}) satisfies CurrencyChartData;
        document.createElement("currency-chart").addEventListener("chart-range", (event) => event.detail.range);
        const element = document.createElement("currency-ticker");
        const sameType: CurrencyTickerData[] = [];
        element.addEventListener("ticker-ready", (event) => sameType.push(event.detail));
        document.addEventListener("ticker-change", (event) => sameType.push(event.detail));
        element.addEventListener("ticker-error", (event) => event.detail.message.trim());
        // @ts-expect-error
        element.addEventListener("ticker-ready", (event) => event.detail.message);
        """,
        encoding="utf-8",
    )
    tsc = toolchain() / "node_modules" / ".bin" / "tsc"
    options = ("--strict", "--skipLibCheck", "false", "--module", "esnext", "--moduleResolution", "bundler")
    run(tsc, "--noEmit", *options, "--lib", "esnext,dom", "page.ts", cwd=tmp_path)
