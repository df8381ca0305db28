"""Grafana's dashboard: whole, and of expressions that Prometheus reads; what it names is tested with the alerts."""

import re
from pathlib import Path

import pytest

from tests.support.promtool import DASHBOARD, GRAFANA, PROMTOOL, dashboard, parsed


def test_its_panels_are_of_one_piece() -> None:
    """Each with an id of its own, in the page's width, over no other one, with a title and something to show."""
    read = dashboard()
    ids = [panel["id"] for panel in read["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set[tuple[int, int]]()
    for panel in read["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        assert panel["title"]
        assert panel["type"] == "row" or panel["targets"]
        taken |= cells


def test_dashboard_queries_the_provisioned_prometheus() -> None:
    """By its uid, in every panel and every query; and it lies where its provider looks."""
    provisioned = (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    (uid,) = re.findall(r"^ +uid: (\w+)$", provisioned, re.MULTILINE)
    shown = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    asked = [one["datasource"] for panel in shown for one in (panel, *panel["targets"])]
    assert all(one == {"type": "prometheus", "uid": uid} for one in asked)
    provider = (GRAFANA / "provisioning" / "dashboards" / "ticker.yml").read_text(encoding="utf-8")
    (path,) = re.findall(r"^ +path: /etc/grafana/(\w+)$", provider, re.MULTILINE)
    assert DASHBOARD.parent.name == path


@pytest.mark.skipif(PROMTOOL is None, reason="NO TESTS OF ALERTS: there is no promtool (Debian's package prometheus)")
def test_its_expressions_can_be_read(tmp_path: Path) -> None:
    """By Prometheus' own parser."""
    parsed(tmp_path, (one["expr"] for panel in dashboard()["panels"] for one in panel.get("targets", ())))
