"""What is kept of a session's streams: all that was missed, nothing else, or a word that it is gone."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.gateway.session.replay import BYTES, EVENTS, SECONDS, STANDALONE, EventGone, Replay, frame, parse

SIZES = st.sampled_from([1, 10, 5000, BYTES // 3, BYTES + 1])


@given(st.lists(st.tuples(st.integers(0, 3), SIZES, st.booleans()), max_size=60), st.integers(0, 60))
def test_a_stream_is_taken_up_with_all_that_was_missed_or_not_at_all(events: list[tuple[int, int, bool]], expired: int) -> None:
    replay = Replay()
    streams = [STANDALONE, replay.open(), replay.open(), replay.open()]
    sent: dict[int, list[tuple[int, bytes]]] = {stream: [] for stream in streams}
    closed: set[int] = set()
    for at, (which, size, close) in enumerate(events):
        stream = streams[which]
        if stream in closed:
            continue
        data = b"%d" % at * size
        sent[stream].append((replay.add(stream, data, at), data))
        if close and stream != STANDALONE:
            replay.close(stream)
            closed.add(stream)
    replay.expire(expired + SECONDS)
    for stream, events_of in sent.items():
        for position, (number, _) in enumerate(events_of):
            with suppress(EventGone):
                assert [(kept.number, kept.data) for kept in replay.after(stream, number)] == events_of[position + 1 :]


def test_everything_recent_can_be_replayed_and_the_oldest_goes_first() -> None:
    replay = Replay()
    stream = replay.open()
    numbers = [replay.add(stream, b"x%d" % at, at) for at in range(EVENTS + 10)]
    assert len(replay) == EVENTS
    assert [kept.data for kept in replay.after(stream, numbers[9])] == [b"x%d" % at for at in range(10, EVENTS + 10)]
    with pytest.raises(EventGone):
        replay.after(stream, numbers[8])


def test_a_stream_of_another_session_or_of_the_future_is_not_known() -> None:
    replay = Replay()
    number = replay.add(STANDALONE, b"x", 0)
    for stream, after in ((STANDALONE, number + 1), (7, 0), (7, number)):
        with pytest.raises(EventGone):
            replay.after(stream, after)


def test_a_finished_stream_is_forgotten_with_its_last_event() -> None:
    replay = Replay()
    stream = replay.open()
    number = replay.add(stream, b"answer", 0)
    replay.close(stream)
    assert replay.after(stream, number) == []
    replay.expire(SECONDS)
    with pytest.raises(EventGone):
        replay.after(stream, number)


@pytest.mark.parametrize(
    ("given_id", "found"),
    [(b"3-17", (3, 17)), (b"0-0", (0, 0)), (b"", None), (b"3", None), (b"-1-2", None), (b"a-b", None), (b"1-" + b"9" * 60, None)],
)
def test_event_ids_are_read_strictly(given_id: bytes, found: tuple[int, int] | None) -> None:
    assert parse(given_id) == found


def test_an_event_tells_its_id_first() -> None:
    assert frame(3, 17, b"{}") == b"id: 3-17\r\nevent: message\r\ndata: {}\r\n\r\n"
