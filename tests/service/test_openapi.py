"""The routes against their own description, with requests that schemathesis makes up."""

import schemathesis
from fakes.web import BEARER, app_over
from fakes.windows import GATE_TOKEN, PASSWORD, TOKEN, FakeSignalling, FakeWindow
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from gateway.service.doors import Doors

GATE = {"Authorization": f"Bearer {GATE_TOKEN}"}
MOST = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@schemathesis.serializer("application/sdp")
def sdp(_context: object, value: object) -> bytes:
    """Write an offer that was made up."""
    return str(value).encode("utf-8", "replace")


def app() -> object:
    """Return an application that lets nobody wait: whatever is made up comes from one address, at once."""
    doors = Doors(TOKEN, PASSWORD, clock=iter(range(0, 10**9, 60)).__next__)
    return app_over(FakeWindow(), doors=doors, signalling=FakeSignalling())


box = schemathesis.openapi.from_asgi("/openapi.json", app(), headers=BEARER)
script_routes = box.exclude(path="/api/v1/events").exclude(path_regex="^/(whip|whep)")
whip_routes = box.include(path_regex="^/whip")
whep_routes = box.include(path_regex="^/whep")


@script_routes.parametrize()
@MOST
def test_routes_for_scripts_keep_to_their_description(case: schemathesis.Case) -> None:
    """Whatever comes, the answer is one that the description promises, and never a fault of ours."""
    case.call_and_validate(headers=BEARER)


@whip_routes.parametrize()
@MOST
def test_publishers_routes_keep_to_their_description(case: schemathesis.Case) -> None:
    """Offers of any content and any kind: answered or refused as described."""
    case.call_and_validate(headers=GATE)


@whep_routes.parametrize()
@MOST
def test_viewers_routes_keep_to_their_description(case: schemathesis.Case) -> None:
    """The same; what is no offer is the worker's to refuse, and this one takes any text."""
    case.call_and_validate(headers=BEARER, excluded_checks=[negative_data_rejection])
