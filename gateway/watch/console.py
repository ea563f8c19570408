"""The command `watch`: every alert and notice a JSON line on stdout, what is missing in words on stderr."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gateway.contract.topics import Topics
from gateway.settings import BrokerSettings
from gateway.watch.core import Watch, to_request
from gateway.watch.state import load_positions, save_positions
from gateway.watch.steps import (
    Ask,
    Deliver,
    GapFilled,
    GapLost,
    GapNoticed,
    Garbled,
    HeldBack,
    NoAnswer,
    Renumbered,
    Step,
)
from gateway.watch.subscriber import Arrived, Down, News, Subscriber, Up

_SAVE_S = 1.0
_SILENCE_S = 5.0  # every box that was ever there left a retained word, which comes at once
_REMARK_S = 1.0
_LOST = {
    "gone": "the box has them no longer",
    "unanswered": "nobody answers for them",
    "too_many_gaps": "there are too many gaps to keep",
}


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the user asks for; `count` alerts and notices end the command."""

    since_seq: int | None = None
    state: Path | None = None
    count: int | None = None
    everything: bool = False


async def watch_command(settings: BrokerSettings, options: WatchOptions) -> int:
    """Watch until `count` is reached or the task is cancelled; the state is saved then, and once a second before.

    Raises:
        ConfigError: The state cannot be read or written.
    """
    loop = asyncio.get_running_loop()
    positions = load_positions(options.state) if options.state else ()
    watch = Watch(
        Topics(settings.topic_prefix),
        name=settings.client_id,
        since_seq=options.since_seq,
        positions=positions,
        now_s=loop.time(),
    )
    filters = (f"{settings.topic_prefix}/#",) if options.everything else watch.filters
    async with Subscriber(settings, filters) as subscriber:
        watching = Watching(watch, subscriber, Console(settings), options)
        try:
            await watching.run()
        except asyncio.CancelledError:
            watching.save()
            raise
        watching.save()  # not after an error: what could not be printed has to come again
    return 0


class Console:
    """Says things: results on `out`, all else on `err`; of garbled messages at most one a second."""

    def __init__(self, settings: BrokerSettings, *, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._where = f"{settings.host}:{settings.port}"
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._garbled = 0
        self._quiet_until_s = float("-inf")

    def line(self, payload: bytes) -> None:
        """Print a message as it was received, as one line."""
        text = payload.decode()
        self._out.write((text if "\n" not in text else json.dumps(json.loads(text))) + "\n")
        self._out.flush()

    def other(self, topic: str, payload: bytes) -> None:
        """Print a message that is neither alert nor notice."""
        text = payload.decode(errors="replace")
        try:
            content: object = json.loads(text)
        except ValueError:
            content = text
        self._out.write(json.dumps({"topic": topic, "payload": content}) + "\n")
        self._out.flush()

    def state(self, news: Up | Down) -> None:
        """Tell of the connection."""
        words = "connected" if isinstance(news, Up) else f"no connection: {news.reason}; trying again"
        self._remark(f"{self._where}: {words}")

    def silence(self, prefix: str) -> None:
        """Tell that nobody is there; the most likely reason is a prefix with a mistake."""
        self._remark(
            f"{self._where}: no gateway has ever said a word under the prefix {prefix!r}: is it the "
            "mqtt.topic_prefix of the gateway, and may this user read it? Waiting"
        )

    def tell(self, step: Step, *, now_s: float) -> None:
        """Tell of what is missing, or odd."""
        match step:
            case GapNoticed():
                self._remark(f"{step.source}: {_span(step)} did not arrive: asking for the replay")
            case GapFilled():
                self._remark(f"{step.source}: {_span(step)} filled after {step.after_s:.1f} s")
            case GapLost():
                self._remark(f"{step.source}: {_span(step)} is lost: {_LOST[step.reason]}")
            case HeldBack():
                self._remark(f"{step.source}: {_span(step)} was held back by the box: ask with --since-seq")
            case Renumbered():
                self._remark(f"{step.source}: counts anew from {step.seq}: its outbox was lost or replaced")
            case NoAnswer():
                self._remark(f"{step.source}: does not answer requests; may this user publish on alerts/replay?")
            case Garbled():
                self._tell_garbled(step, now_s)

    def _tell_garbled(self, step: Garbled, now_s: float) -> None:
        self._garbled += 1
        if now_s < self._quiet_until_s:
            return
        more = f" ({self._garbled} so far)" if self._garbled > 1 else ""
        self._remark(f"not used, {step.topic}: {step.reason[:300]}{more}")
        self._quiet_until_s = now_s + _REMARK_S

    def _remark(self, text: str) -> None:
        self._err.write(text + "\n")
        self._err.flush()


def _span(step: GapNoticed | GapFilled | GapLost | HeldBack) -> str:
    return f"seq {step.first}" if step.first == step.last else f"seq {step.first} to {step.last}"


class Watching:
    """Carries out what the core says."""

    def __init__(self, watch: Watch, subscriber: Subscriber, console: Console, options: WatchOptions) -> None:
        self._watch = watch
        self._subscriber = subscriber
        self._console = console
        self._options = options
        self._clock = asyncio.get_running_loop().time
        self._printed = 0
        self._unsaved_since_s: float | None = None
        self._was_heard = False
        self._silent_at_s: float | None = None

    @property
    def done(self) -> bool:
        """Whether so many messages came as were asked for."""
        return self._options.count is not None and self._printed >= self._options.count

    async def run(self) -> None:
        """Take what comes until done."""
        while not self.done:
            news = await self._subscriber.news(within_s=self._wait_s())
            if news is not None:
                self._hear(news)
            self._carry_out(self._watch.tick(self._clock()))
            if self._unsaved_since_s is not None and self._clock() - self._unsaved_since_s >= _SAVE_S:
                self.save()
            if self._silent_at_s is not None and self._clock() >= self._silent_at_s:
                self._silent_at_s = None
                self._console.silence(self._watch.request_topic.removesuffix("/alerts/replay"))

    def _wait_s(self) -> float | None:
        save_at_s = None if self._unsaved_since_s is None else self._unsaved_since_s + _SAVE_S
        times = [self._watch.next_s, save_at_s, self._silent_at_s]
        next_s = min((time_s for time_s in times if time_s is not None), default=None)
        return None if next_s is None else max(next_s - self._clock(), 0.0)

    def _hear(self, news: News) -> None:
        match news:
            case Arrived(topic, payload):
                self._was_heard, self._silent_at_s = True, None
                steps = self._watch.take(topic, payload, now_s=self._clock())
                if self._options.everything and topic not in self._watch.filters[:2]:
                    self._console.other(topic, payload)
                self._carry_out(steps)
                if steps and self._options.state and self._unsaved_since_s is None:
                    self._unsaved_since_s = self._clock()
            case Up():
                self._console.state(news)
                self._watch.connected(self._clock())
                self._silent_at_s = None if self._was_heard else self._clock() + _SILENCE_S
            case Down():
                self._console.state(news)

    def _carry_out(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Deliver():
                    if not self.done:
                        self._console.line(step.reading.payload)
                    self._printed += 1
                case Ask():
                    self._subscriber.publish(self._watch.request_topic, to_request(step))
                case _:
                    self._console.tell(step, now_s=self._clock())

    def save(self) -> None:
        """Write the state, where one is kept."""
        self._unsaved_since_s = None
        if self._options.state:
            save_positions(self._options.state, self._watch.positions)
