"""A gateway's upload against the trainer's service as it is started, encrypted, over loopback."""

import asyncio
import datetime as dt
import json
import ssl
from pathlib import Path

import httpx2
import pytest
from fakes.adaptation import faces
from fakes.brokers import make_authority
from fakes.clean_sets import PASSPHRASE, TOKEN, kept_in, service_config
from fakes.processes import wait_until
from fakes.trainer_service import service, with_tls
from pydantic import SecretStr

from gateway.adaptation.collect import Choice, CleanFace
from gateway.adaptation.upload import job, pack, upload
from gateway.contract.exchange import JobState, JobView
from gateway.daemon.sending import client_of
from gateway.errors import ExchangeError, ExchangeReason
from gateway.settings import AdaptationSettings
from trainer.keys import init_keys

COUNT = 60


class Line:
    """Notes what is sent, and is cut before the request that follows `lasts` others."""

    def __init__(self, *, lasts: int = 10**6) -> None:
        self.sent: list[str] = []
        self._lasts = lasts

    async def note(self, request: httpx2.Request) -> None:
        """Let a request through."""
        if len(self.sent) == self._lasts:
            raise httpx2.ConnectError("cut")
        self.sent.append(f"{request.method} {request.url.path.rpartition('/')[2]}")


def settings(folder: Path, url: object, token: str = TOKEN) -> AdaptationSettings:
    """Return what the gateway is configured with."""
    return AdaptationSettings(
        upload="crops",
        legal_basis="consent of the staff",
        trainer=str(url),
        token=SecretStr(token),
        ca_file=folder / "ca.pem",
    )


async def ended(client: httpx2.AsyncClient, name: str) -> JobView:
    """Follow a job to its end."""
    for _ in range(3000):
        view = await job(client, name)
        if view is not None and view.state.is_final:
            return view
        await asyncio.sleep(0.1)
    raise AssertionError("the job did not end")


@pytest.mark.end_to_end
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_an_upload_survives_a_cut_line_a_wrong_token_and_a_restart_of_the_trainer(tmp_path: Path) -> None:
    """What the trainer has is not sent again, its job is one, and the gateway hears why it was refused."""
    make_authority(tmp_path)
    config = service_config(tmp_path)
    init_keys(config.keys, passphrase=PASSPHRASE, environments=["hall"], now=dt.datetime.now(dt.UTC))
    with_tls(tmp_path, certfile="srv.pem", keyfile="srv.key")
    file = tmp_path / "trainer.yaml"
    value = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(value | {"reference": None}), "utf-8")
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    pictures = faces(COUNT, seed=4, side_px=48)
    kept = [CleanFace("gate", 1_800_000_000.0 + 60 * number, 0.5, pictures[number]) for number in range(COUNT)]
    choice = Choice(tuple(range(40)), tuple(range(40, COUNT)))
    clean_set, contents = pack(kept, choice, gateway="box", environment="hall")
    assert len(contents) == 2
    with service(tmp_path, trust) as trainer:
        async with client_of(settings(tmp_path, trainer.base_url, "a-token-of-yesterday")) as client:
            with pytest.raises(ExchangeError, match=r"adaptation\.token is not its http\.token") as refused:
                await upload(client, clean_set, contents)
        assert refused.value.reason is ExchangeReason.REFUSED
        line = Line(lasts=2)
        async with client_of(settings(tmp_path, trainer.base_url)) as client:
            client.event_hooks = {"request": [line.note]}
            with pytest.raises(ExchangeError) as cut:
                await upload(client, clean_set, contents)
        assert cut.value.reason is ExchangeReason.UNREACHABLE
    with service(tmp_path, trust) as trainer:
        again = Line()
        async with client_of(settings(tmp_path, trainer.base_url)) as client:
            client.event_hooks = {"request": [again.note]}
            first = await upload(client, clean_set, contents)
            assert sorted(line.sent[1:] + again.sent[1:-1]) == sorted(f"PUT {part}" for part in contents)
            assert (await upload(client, clean_set, contents)).job == first.job
            view = await ended(client, first.job)
            await wait_until(lambda: kept_in(config.folder) == [])
    assert (view.state, view.version) == (JobState.REFUSED, None)
    assert "there is no reference set" in (view.reason or "")
