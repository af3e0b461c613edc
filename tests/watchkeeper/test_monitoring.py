"""The files for Prometheus and Grafana speak of figures that there are, and of labels that they have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from watchkeeper.metrics import COMMON, KINDS

INFRA = Path(__file__).parents[2] / "infra"
RULES = INFRA / "prometheus" / "watchkeeper.rules.yml"
DASHBOARD = INFRA / "grafana" / "watchkeeper.json"
NAMES = {f"{name}_total" if kind.type == "counter" else name: kind for name, kind in KINDS.items()}


def alerts() -> list[dict[str, str]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def expressions() -> Iterator[str]:
    """Every expression of the rules, of the panels and of the dashboard's lists."""
    yield from (rule["expr"] for rule in alerts())
    dashboard = json.loads(DASHBOARD.read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    yield from (entry["definition"] for entry in dashboard["templating"]["list"] if "definition" in entry)


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_figure_that_is_named_exists_with_its_labels(expression: str) -> None:
    """Names are those of the code, and only labels are asked for that the figure has."""
    found = re.findall(r"(watchkeeper_\w+)(?:\{([^}]*)\})?", expression)
    assert found
    for name, labels in found:
        assert name in NAMES, name
        allowed = {*COMMON, NAMES[name].label}
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", labels)) <= allowed


def test_a_figure_that_is_gone_would_be_noticed() -> None:
    """Counters without `_total` and misspelt names are not among the names."""
    assert not {"watchkeeper_alarms", "watchkeeper_flow_runs", "watchkeeper_champion"} & set(NAMES)


def test_every_figure_is_shown_or_watched() -> None:
    """No figure is kept that nobody looks at."""
    assert set(NAMES) == {name for text in expressions() for name in re.findall(r"watchkeeper_\w+", text)}


def test_every_alert_says_what_it_is_about_and_is_tested() -> None:
    """Each has a severity and a summary that names the watch, and stands in the rules' own test."""
    tested = (RULES.parent / "watchkeeper.rules.test.yml").read_text()
    for alert in alerts():
        assert alert["labels"]["severity"] in ("info", "warning", "critical")
        assert "$labels.watch" in alert["annotations"]["summary"]
        assert alert["alert"] in tested


def test_the_panels_have_places_of_their_own() -> None:
    """No two panels overlap, none reaches over the 24 columns, and ids are unique."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_reads_the_rules() -> None:
    """Its configuration names the file that lies beside it."""
    config = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())
    assert [(INFRA / "prometheus" / name).exists() for name in config["rule_files"]] == [True]
