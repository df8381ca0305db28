"""Grafana's dashboard: layout, data source and syntax; tests/test_alerts_live.py checks its metrics."""

import re
from pathlib import Path

import pytest

from tests.support.promtool import DASHBOARD, GRAFANA, PROMTOOL, check_syntax, dashboard


def test_panels_are_complete_and_do_not_overlap() -> None:
    """Each has a unique id, a title and a query, fits the page's width and overlaps no other panel."""
    document = dashboard()
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    occupied = set[tuple[int, int]]()
    for panel in document["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not cells & occupied, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        assert panel["title"]
        assert panel["type"] == "row" or panel["targets"]
        occupied |= cells


def test_dashboard_queries_the_provisioned_prometheus() -> None:
    """Every panel and query uses its uid, and the file is in the provider's directory."""
    provisioned = (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    (uid,) = re.findall(r"^ +uid: (\w+)$", provisioned, re.MULTILINE)
    visible = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    used = [item["datasource"] for panel in visible for item in (panel, *panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": uid} for source in used)
    provider = (GRAFANA / "provisioning" / "dashboards" / "ticker.yml").read_text(encoding="utf-8")
    (path,) = re.findall(r"^ +path: /etc/grafana/(\w+)$", provider, re.MULTILINE)
    assert DASHBOARD.parent.name == path


@pytest.mark.skipif(
    PROMTOOL is None, reason="NO TESTS OF ALERTS: promtool is not installed (Debian's package prometheus)"
)
def test_expressions_are_valid(tmp_path: Path) -> None:
    """Prometheus' own parser reads them."""
    check_syntax(tmp_path, (target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())))
