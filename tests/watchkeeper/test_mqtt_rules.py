"""What a watch file may say of MQTT."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from watchkeeper.errors import WatchError
from watchkeeper.mqtt import MqttSource, overlap
from watchkeeper.watch import load_watch

LEVELS = st.sampled_from(["a", "b", "+", ""])


def source(**options: object) -> MqttSource:
    """A source; nobody connects to it."""
    return MqttSource(**{"kind": "mqtt", "url": "mqtt://broker", "topics": "a/+", "series": 2, **options})


def test_one_stands_for_a_list_of_one() -> None:
    """Of topics and of levels; a source that was written out is read again."""
    some = source()
    assert (some.topics, some.series) == (("a/+",), (2,))
    assert MqttSource.model_validate_json(some.model_dump_json()) == some


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker", ("broker", 1883)),
        ("mqtts://broker.example", ("broker.example", 8883)),
        ("mqtt://10.0.0.7:18830/", ("10.0.0.7", 18830)),
        ("mqtts://[::1]:1", ("::1", 1)),
    ],
)
def test_addresses(url: str, address: tuple[str, int]) -> None:
    """With the usual ports where none is given."""
    assert source(url=url).address == address


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('url = "http://broker"', "no address of a broker"),
        ('url = "mqtt://me:hunter2@broker"', "no user belongs here"),
        ('url = "mqtt://broker:99999999"', "no address of a broker"),
        ('user = "me"', "user and password come together"),
        ('user = "me"\npassword = "hunter2"', "a watch file holds no secret"),
        ("topics = []", "source.mqtt.topics"),
        ('topics = ""', "'' is no topic filter; wanted one like"),
        ('topics = "a/#/b"', "'a/#/b' is no topic filter"),
        ('topics = "a/b+"', "'a/b+' is no topic filter"),
        ('topics = "$share/us/a"', "a shared subscription"),
        ('topics = ["a/#", "b/c", "a/+/c"]', "a/# and a/+/c have topics in common"),
        ("series = 0", "wanted a level of the topic, from 1"),
        ("series = []", "wanted a level of the topic, from 1"),
        ("series = [1, 'x']", "wanted a level of the topic, from 1"),
        ("channel = true", "wanted a level of the topic, from 1"),
        ("channel = ''", "or the key of a JSON object"),
        ('ca = "ca.pem"', "ca is for mqtts://"),
        ('format = "unix_s"', "format is that of `time`"),
        ("flush_s = 60", "late_s must be longer than flush_s, found 60 and 60"),
        ("in_flight = 70000", "source.mqtt.in_flight"),
        ("retain = true", "unknown key source.mqtt.retain"),
    ],
)
def test_a_watch_file_that_is_wrong_says_so_without_the_secret(tmp_path: Path, line: str, said: str) -> None:
    """One line that names the key."""
    keys = {"url": '"mqtt://broker"', "topics": '"a/+"', "series": "2"}
    lines = [f"{key} = {value}" for key, value in keys.items() if not line.startswith(key)]
    (tmp_path / "w.toml").write_text("\n".join(["[source]", 'kind = "mqtt"', *lines, line]))
    with pytest.raises(WatchError) as error:
        load_watch("w", tmp_path)
    assert said in str(error.value)
    assert "hun" not in str(error.value)


FILTERS = st.tuples(st.lists(LEVELS, max_size=3), st.sampled_from([[], ["#"]])).map(
    lambda both: "/".join(both[0] + both[1])
)
TOPICS = ["/".join(levels) for depth in range(1, 5) for levels in itertools.product(["a", "b", "", "c"], repeat=depth)]


@given(one=FILTERS.filter(bool), other=FILTERS.filter(bool))
def test_filters_that_share_a_topic_are_found(one: str, other: str) -> None:
    """As a search through all topics finds them, by paho's own rule of what matches."""
    common = any(topic_matches_sub(one, topic) and topic_matches_sub(other, topic) for topic in TOPICS)
    assert overlap(one, other) is overlap(other, one) is common


def test_topics_of_the_broker_itself_are_matched_by_name_alone() -> None:
    """`#` and `+` do not stand for a first level that begins with $."""
    assert not overlap("#", "$SYS/uptime")
    assert not overlap("+/uptime", "$SYS/#")
    assert overlap("$SYS/#", "$SYS/uptime")
