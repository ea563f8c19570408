"""The MQTT topics and the names they allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.topics import MAX_NAME_LENGTH, RESERVED_WORDS, Asked, Topics, check_camera_name, check_prefix


def test_topics_when_built_from_a_prefix() -> None:
    """Operators subscribe to exactly these topics."""
    topics = Topics("plant/hall-3")

    assert topics.available == "plant/hall-3/available"
    assert topics.alerts == "plant/hall-3/alerts"
    assert topics.verdicts == "plant/hall-3/verdicts"
    assert topics.stats == "plant/hall-3/stats"
    assert topics.status("lobby") == "plant/hall-3/lobby/status"
    assert topics.alert("lobby") == "plant/hall-3/lobby/alert"
    assert topics.enabled_set("lobby") == "plant/hall-3/lobby/enabled/set"
    assert topics.enabled_state("lobby") == "plant/hall-3/lobby/enabled/state"
    assert topics.replay == "plant/hall-3/alerts/replay"
    assert topics.replayed == "plant/hall-3/alerts/replayed"
    assert topics.feedback("3f0c") == "plant/hall-3/alerts/3f0c/feedback"
    assert topics.drift_state("indoor") == "plant/hall-3/environments/indoor/drift/state"
    assert topics.trainer_state == "plant/hall-3/trainer/state"
    assert topics.model_set("indoor") == "plant/hall-3/environments/indoor/model/set"


def test_requests_when_read_from_their_topics() -> None:
    """What is asked for comes back from the topic it was sent on."""
    topics = Topics("plant/hall-3")

    assert topics.asked(topics.replay) == Asked("replay")
    assert topics.asked(topics.enabled_set("lobby")) == Asked("enabled", "lobby")
    assert topics.asked(topics.feedback("3f0c")) == Asked("feedback", "3f0c")
    assert topics.asked(topics.model_set("indoor")) == Asked("model", "indoor")


@pytest.mark.parametrize(
    "topic",
    [
        *("", "plant/hall-3", "plant/hall-3/alerts", "plant/hall-33/alerts/replay", "alerts/replay"),
        *("plant/hall-3/alerts/enabled/set", "plant/hall-3/Lobby/enabled/set", "plant/hall-3/a/b/enabled/set"),
        *("plant/hall-3/environments/In/model/set", "plant/hall-3/environments/model/set"),
        *("plant/hall-3/alerts/a b/feedback", "plant/hall-3/alerts//feedback", "plant/hall-3/lobby/enabled/state"),
    ],
)
def test_requests_when_the_topic_asks_for_nothing(topic: str) -> None:
    """Another box's topics, our own and hostile ones are no requests."""
    assert Topics("plant/hall-3").asked(topic) is None


@given(st.text(max_size=60))
def test_requests_when_the_topic_is_any_text(rest: str) -> None:
    """No topic a broker may deliver raises."""
    asked = Topics("spectragate").asked(f"spectragate/{rest}")
    assert asked is None or asked.what in {"replay", "enabled", "feedback", "model"}


@pytest.mark.parametrize(
    "prefix", ["", "/", "a//b", "/a", "a/", "a/+", "#", "a#b", "$SYS", "a b", "a\n", "a\0b", "a\ud800", "p" * 201]
)
def test_prefix_when_a_broker_would_refuse_or_misread_it(prefix: str) -> None:
    """Wildcards, empty segments, white space and the broker's own tree never become part of a topic."""
    with pytest.raises(ValueError, match="topic prefix"):
        Topics(prefix)


@given(st.text(max_size=40))
def test_prefix_when_accepted_holds_no_wildcard(prefix: str) -> None:
    """Whatever passes can be published to and is UTF-8."""
    try:
        check_prefix(prefix)
    except ValueError:
        return
    topic = Topics(prefix).alerts
    assert not set("+#\0") & set(topic)
    assert all(topic.split("/"))
    assert topic.encode()


def test_reserved_words_cover_every_fixed_segment() -> None:
    """The words of the documented topics are exactly the names a camera may not have."""
    first = {"available", "alerts", "verdicts", "stats", "environments", "trainer"}
    below = {"status", "alert", "enabled", "set", "state", "drift", "model", "replay", "replayed", "feedback"}
    assert first | below == RESERVED_WORDS


@pytest.mark.parametrize("word", sorted(RESERVED_WORDS))
def test_camera_name_when_it_is_a_fixed_word(word: str) -> None:
    """A camera called `alerts` would shadow the topic of that name; the error says why."""
    with pytest.raises(ValueError, match="fixed word"):
        check_camera_name(word)
    with pytest.raises(ValueError, match="fixed word"):
        Topics("spectragate").status(word)


@pytest.mark.parametrize("name", ["", "Lobby", "a/b", "+", "#", "a b", "tür", "lobby\n", "n" * (MAX_NAME_LENGTH + 1)])
def test_camera_name_when_it_is_no_name(name: str) -> None:
    """Only a-z, 0-9, _ and - make a name, and the error says so."""
    with pytest.raises(ValueError, match="a-z, 0-9"):
        check_camera_name(name)


@pytest.mark.parametrize("name", ["lobby", "gate-2", "cam_01", "-", "7", "n" * MAX_NAME_LENGTH])
def test_camera_name_when_it_is_fine(name: str) -> None:
    """A good name comes back unchanged."""
    assert check_camera_name(name) == name
