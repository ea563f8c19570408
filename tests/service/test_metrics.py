"""What Prometheus reads."""

import json
import re
from pathlib import Path

import pytest
from fakes.web import BEARER, app_over, client_of
from fakes.windows import GATE_TOKEN, PASSWORD, TOKEN, FakeWindow, camera_view
from prometheus_client.parser import text_string_to_metric_families

from gateway.contract import messages
from gateway.contract.doorway import Doorway, Limits
from gateway.contract.examples import EXAMPLES
from gateway.service.window import Readiness

DASHBOARD = Path(__file__).parents[2] / "configs" / "grafana.json"
GATE = {"camera": "gate", "environment": "default"}


async def scraped(window: FakeWindow) -> tuple[str, dict[tuple[str, str], float]]:
    """Return the text, and every sample by its name and its labels as JSON."""
    async with client_of(app_over(window), headers=BEARER) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    samples = {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    return answer.text, samples


def labelled(name: str, **labels: str) -> tuple[str, str]:
    """Return the key of a sample."""
    return name, json.dumps(labels, sort_keys=True)


async def test_metrics_tell_every_part() -> None:
    """Cameras, batches, outbox, broker, calibration, model: the daemon's own counts."""
    _, samples = await scraped(FakeWindow())
    assert samples[labelled("spectragate_ready")] == 1.0
    assert samples[labelled("spectragate_camera_up", **GATE)] == 1.0
    assert samples[labelled("spectragate_camera_fps", **GATE)] == 4.9
    assert samples[labelled("spectragate_camera_frame_age_seconds", **GATE)] == 0.0815
    assert samples[labelled("spectragate_camera_frames_total", outcome="replaced", **GATE)] == 7.0
    assert samples[labelled("spectragate_camera_faces_total", outcome="found", **GATE)] == 42.0
    assert samples[labelled("spectragate_camera_tracks_total", verdict="triggered", **GATE)] == 1.0
    assert samples[labelled("spectragate_camera_calibration_tracks_missing", **GATE)] == 987.0
    assert samples[labelled("spectragate_batch_faces_bucket", le="8.0")] == 2.0
    assert samples[labelled("spectragate_inference_seconds_bucket", device="cpu", le="+Inf")] == 3.0
    assert samples[labelled("spectragate_inference_seconds_sum", device="cpu")] == 0.06
    assert labelled("spectragate_outbox_depth") in samples
    assert labelled("spectragate_broker_up") in samples
    assert samples[labelled("spectragate_calibration_tracks", environment="default")] == 24.0
    model = {"environment": "default", "version": "3", "sha256": "ab" * 32, "profile": "paper"}
    assert samples[labelled("spectragate_model_info", **model)] == 1.0


async def test_metrics_leave_out_what_is_not_known() -> None:
    """A camera without a promise or a face has no 0 there, and a box that is not ready says so."""
    window = FakeWindow(ready=Readiness(ready=False, reasons=("starting",)))
    view = camera_view("gate", promise=None, state="offline", reason="timeout")
    window.views["gate"] = view.model_copy(update={"stats": view.stats.model_copy(update={"frame_age_ms": None})})
    _, samples = await scraped(window)
    assert samples[labelled("spectragate_ready")] == 0.0
    assert samples[labelled("spectragate_camera_up", **GATE)] == 0.0
    assert labelled("spectragate_camera_asked_rate", **GATE) not in samples
    assert labelled("spectragate_camera_frame_age_seconds", **GATE) not in samples


async def test_drift_is_told_camera_by_camera() -> None:
    """Every number of a camera's drift state is a figure; a word says whether it drifted."""
    window = FakeWindow(drift={"state": "drifted", "cameras": [{"camera": "gate", "statistic": 0.31, "note": None}]})
    _, samples = await scraped(window)
    key = labelled("spectragate_drift", environment="default", camera="gate", figure="statistic")
    assert samples[key] == 0.31
    assert samples[labelled("spectragate_drifted", environment="default")] == 1.0


async def test_drift_of_the_contract_is_told() -> None:
    """The message that goes out over MQTT holds what the dashboard asks for."""
    state = EXAMPLES["a hall grew dark"]
    assert isinstance(state, messages.DriftState)
    _, samples = await scraped(FakeWindow(drift=state.model_dump(mode="json")))
    figures = {json.loads(labels)["figure"] for name, labels in samples if name == "spectragate_drift"}
    assert {"statistic", "threshold", "tracks"} <= figures
    assert samples[labelled("spectragate_drifted", environment="default")] == 1.0


async def test_metrics_hold_no_secret() -> None:
    """Neither token nor password stands in a value, a label or a help text."""
    text, _ = await scraped(FakeWindow())
    for secret in (TOKEN, PASSWORD, GATE_TOKEN):
        assert secret not in text


async def test_bundle_under_way_is_told() -> None:
    """Where it stands, and whether it is pinned; nothing where no bundle is taken up."""
    _, samples = await scraped(FakeWindow(model_state={"state": "probation", "pinned": True}))
    assert samples[labelled("spectragate_model_phase", environment="default", phase="probation")] == 1.0
    assert samples[labelled("spectragate_model_pinned", environment="default")] == 1.0
    _, samples = await scraped(FakeWindow())
    assert not any(name.startswith("spectragate_model_p") for name, _ in samples)


async def test_those_who_are_not_let_in_are_counted() -> None:
    """By reason, from the start on, so that an increase shows."""
    _, samples = await scraped(FakeWindow())
    for reason in ("connections", "connection_rate", "request_rate"):
        assert samples[labelled("spectragate_http_refused_total", reason=reason)] == 0.0
    doorway = Doorway(Limits(connections=1, of_address=1, requests_at_once=1))
    doorway.admits("192.0.2.9", ["192.0.2.8"])
    async with client_of(app_over(doorway=doorway), headers=BEARER, address="127.0.0.1") as client:
        assert 'spectragate_http_refused_total{reason="connections"} 1.0' in (await client.get("/metrics")).text


PROMISED = {
    "a camera's rate": ("spectragate_camera_fps", {"camera", "environment"}),
    "a camera's age": ("spectragate_camera_frame_age_seconds", {"camera", "environment"}),
    "a camera's drops": ("spectragate_camera_frames_total", {"camera", "environment", "outcome"}),
    "a camera's faces": ("spectragate_camera_faces_total", {"camera", "environment", "outcome"}),
    "sizes of batches": ("spectragate_batch_faces_bucket", {"le"}),
    "time of inference by device": ("spectragate_inference_seconds_bucket", {"device", "le"}),
    "depth of the outbox": ("spectragate_outbox_depth", set()),
    "its oldest message": ("spectragate_outbox_oldest_seconds", set()),
    "the broker": ("spectragate_broker_up", set()),
    "drift": ("spectragate_drifted", {"environment"}),
    "figures of drift": ("spectragate_drift", {"camera", "environment", "figure"}),
    "calibration": ("spectragate_calibration_tracks", {"environment"}),
    "a camera's calibration": ("spectragate_camera_calibration_tracks", {"camera", "environment"}),
    "what can be promised": ("spectragate_camera_attainable_rate", {"camera", "environment"}),
    "what became of the promise": ("spectragate_camera_raised_alerts", {"camera", "environment"}),
    "the model": ("spectragate_model_info", {"environment", "version", "sha256", "profile"}),
}


@pytest.mark.parametrize("what", PROMISED)
async def test_what_was_promised_is_there_with_its_labels(what: str) -> None:
    """Each metric that monitoring was promised, by name; labels carry neither process nor address."""
    _, samples = await scraped(drifted())
    name, labels = PROMISED[what]
    found = [set(json.loads(text)) for told, text in samples if told == name]
    assert found
    assert all(each == labels for each in found)


def drifted() -> FakeWindow:
    """Return a daemon that has everything to tell."""
    state = EXAMPLES["a hall grew dark"]
    assert isinstance(state, messages.DriftState)
    realised = messages.RealisedRate(tracks=9, promised_alerts=0.1, alerts=1, exceeds=False, last_day_tracks=7)
    window = FakeWindow(drift=state.model_dump(mode="json"), model_state={"state": "steady", "pinned": False})
    window.views = {name: camera_view(name, realised=realised) for name in window.names}
    return window


SELECTOR = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


async def test_dashboard_asks_only_for_what_is_there() -> None:
    """Every metric, label and value that a query of the Grafana dashboard names is told; each panel has its place."""
    _, samples = await scraped(drifted())
    told: dict[str, list[dict[str, str]]] = {}
    for name, text in samples:
        told.setdefault(name, []).append(json.loads(text))
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert len(panels) >= 12
    for panel in panels:
        assert panel["title"]
        assert panel["gridPos"]["w"] > 0
        for target in panel["targets"]:
            queries = re.findall(r"(spectragate_\w+)(?:\{([^}]*)\})?", target["expr"])
            assert queries
            for name, selectors in queries:
                assert name in told, name
                for label, _, wanted in SELECTOR.findall(selectors):
                    if wanted.startswith("$"):
                        assert wanted[1:] in variables
                        assert all(label in each for each in told[name])
                    else:
                        values = {each[label] for each in told[name]}
                        assert set(wanted.split("|")) <= values, (name, label, wanted)
            for labels in re.findall(r"by \(([^)]*)\)", target["expr"]):
                named = {label.strip() for label in labels.split(",")}
                assert all(named <= set(each) for name, _ in queries for each in told[name]), target["expr"]


async def test_no_metric_is_missing_on_the_dashboard() -> None:
    """Whatever the box counts somebody can see, except what the sum of its parts shows."""
    text, _ = await scraped(drifted())
    told = {family.name for family in text_string_to_metric_families(text) if family.name.startswith("spectragate_")}
    shown = DASHBOARD.read_text(encoding="utf-8")
    assert {name for name in told if not re.search(rf"\b{name}(_total|_info|_bucket|_sum|_count)?\b", shown)} == {
        "spectragate_camera_frames_received"
    }


def test_panels_of_the_dashboard_lie_side_by_side() -> None:
    """None covers another, and each has a number of its own."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        across = range(place["x"], place["x"] + place["w"])
        own = {(x, y) for x in across for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in own) < 24
        assert not own & cells, place
        cells |= own
