"""Cron expressions: what is read, what is refused, and that every walk agrees with looking at each minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.model.cron import NAMED, checked, parse
from mcpwatch.watchdog.schedule import CronTrigger

MINUTE = timedelta(minutes=1)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def minutes(expression: str, day: str, days: int = 1) -> list[str]:
    rule, first = parse(expression), datetime.fromisoformat(day).replace(tzinfo=UTC)
    every = (first + MINUTE * number for number in range(days * 1440))
    return [one.strftime("%a %d %H:%M") for one in every if rule.matches(one)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * *", ["Mon 01 03:00"]),
        ("*/30 1-2 * * *", ["Mon 01 01:00", "Mon 01 01:30", "Mon 01 02:00", "Mon 01 02:30"]),
        ("5,10 0 * jun mon-fri", ["Mon 01 00:05", "Mon 01 00:10"]),
        ("0 0 * * 1", ["Mon 01 00:00"]),
        ("0 0 * * sun", []),
        ("0 0 * jul *", []),
        ("50/5 23 * * *", ["Mon 01 23:50", "Mon 01 23:55"]),
        ("@daily", ["Mon 01 00:00"]),
        ("@Monthly", ["Mon 01 00:00"]),
        ("@weekly", []),
    ],
)
def test_a_cron_expression_matches_its_minutes(expression: str, expected: list[str]):
    assert minutes(expression, "2026-06-01") == expected


def test_weekdays_count_from_sunday_and_seven_is_sunday_too():
    found = [minutes(f"0 0 * * {number}", "2026-06-07", days=7) for number in range(8)]  # the 7th is a Sunday
    assert [one[0][:6] for one in found] == ["Sun 07", "Mon 08", "Tue 09", "Wed 10", "Thu 11", "Fri 12", "Sat 13", "Sun 07"]


def test_day_of_month_and_weekday_both_restricted_are_alternatives():
    assert minutes("0 0 3 * 7", "2026-06-01", days=7) == ["Wed 03 00:00", "Sun 07 00:00"]
    assert minutes("0 0 */2 * 7", "2026-06-01", days=7) == ["Sun 07 00:00"]


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "*/10 * * * *", "0,30 8-18 * * mon-fri", "5 4 1 jan *", "0 0 29 2 *", "0 0 * * 7", "1-59/2 * * * *", *NAMED],
)
def test_what_cron_knows_is_accepted_as_it_stands(text: str):
    assert checked(text) == text
    assert checked(f"  {text.upper().replace(' ', '   ')} ") == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields; cron has five"),
        ("* * * * * *", "has 6 fields"),
        ("60 * * * *", "minute '60' is not between 0 and 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "weekday '8' is not between 0 and 7"),
        ("* * * * funday", "weekday 'funday'"),
        ("jan * * * *", "minute 'jan'"),
        ("5-1 * * * *", "minute '5-1' is empty"),
        ("0 9-5 * * *", "hour '9-5' is empty"),
        ("*/0 * * * *", r"minute '\*/0' is empty"),
        ("a,, * * * *", "minute"),
        ("*-5 * * * *", "is not cron"),
        ("٣ * * * *", "is not cron"),
        ("0 0 31 4 *", "never comes"),
        ("0 0 30 feb *", "never comes"),
        ("0 0 30 feb */2", "never comes"),
        ("@reboot", "'@reboot' is no name of cron's; write @hourly"),
        ("@hourly * * * *", "minute '@hourly' is not cron"),
    ],
)
def test_what_is_no_cron_is_refused_in_one_line(text: str, why: str):
    with pytest.raises(ValueError, match=why) as caught:
        checked(text)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Written:
    """One field as text, with the values that whoever wrote it means."""

    text: str
    means: frozenset[int]


def field(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[Written]:
    """A field whose meaning is known because the text is made from it."""

    def word(value: int) -> st.SearchStrategy[str]:
        spellings = [str(value), f"0{value}"]
        return st.sampled_from([*spellings, names[value - low]] if value - low < len(names) else spellings)

    @st.composite
    def part(draw: st.DrawFn) -> Written:
        first, step = draw(st.integers(low, high)), draw(st.integers(1, 9))
        last = draw(st.integers(first, high))
        match draw(st.sampled_from(("one", "range", "stepped range", "from", "star step"))):
            case "one":
                return Written(draw(word(first)), frozenset((first,)))
            case "range":
                return Written(f"{draw(word(first))}-{draw(word(last))}", frozenset(range(first, last + 1)))
            case "stepped range":
                return Written(f"{draw(word(first))}-{draw(word(last))}/{step}", frozenset(range(first, last + 1, step)))
            case "from":
                return Written(f"{draw(word(first))}/{step}", frozenset(range(first, high + 1, step)))
            case _:
                return Written(f"*/{step}", frozenset(range(low, high + 1, step)))

    every = st.just(Written("*", frozenset(range(low, high + 1))))
    listed = st.lists(part(), min_size=1, max_size=3).map(
        lambda parts: Written(",".join(one.text for one in parts), frozenset[int]().union(*(one.means for one in parts)))
    )
    return st.one_of(every, listed)


fields = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), field(0, 7, DAYS))
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 31))  # noqa: DTZ001
zones = st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"))


def meant(written: tuple[Written, ...], local: datetime) -> bool:
    """What the manual of cron says, from the meanings alone."""
    minute, hour, day, month, weekday = written
    on_day = local.day in day.means
    on_weekday = (local.weekday() + 1) % 7 in weekday.means or (local.weekday() == 6 and 7 in weekday.means)
    starred = day.text.startswith("*") or weekday.text.startswith("*")
    right_day = on_day and on_weekday if starred else on_day or on_weekday
    return local.minute in minute.means and local.hour in hour.means and local.month in month.means and right_day


def comes(written: tuple[Written, ...]) -> bool:
    """Whether any day of a leap year is one that is meant."""
    _, _, day, month, weekday = written
    starred = day.text.startswith("*") or weekday.text.startswith("*")
    dates = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(366))
    return not starred or any(one.day in day.means and one.month in month.means for one in dates)


@given(fields, moments, zones)
def test_every_expression_means_what_its_writer_means(written: tuple[Written, ...], when: datetime, zone: str):
    text, zoned = " ".join(one.text for one in written), ZoneInfo(zone)
    if not comes(written):
        with pytest.raises(ValueError, match="never comes"):
            parse(text)
        return
    rule = parse(text)
    start = when.replace(tzinfo=UTC)
    due = rule.following(start, lambda at: at.astimezone(zoned))
    first = start.replace(second=0, microsecond=0) + MINUTE
    seen = [first + MINUTE * number for number in range(2 * 1440)]
    matching = [at for at in seen if meant(written, at.astimezone(zoned))]
    assert [at for at in seen if rule.matches(at.astimezone(zoned))] == matching
    if matching:
        assert due == matching[0]
    else:
        assert due is not None
        assert due > seen[-1]
        assert meant(written, due.astimezone(zoned))


def test_the_next_match_over_clock_changes_leap_years_and_rare_days():
    berlin = ZoneInfo("Europe/Berlin")

    def following(text: str, after: str, count: int = 1) -> list[str]:
        found, at = list[str](), datetime.fromisoformat(after).replace(tzinfo=berlin)
        for _ in range(count):
            due = parse(text).following(at, lambda one: one.astimezone(berlin))
            assert due is not None
            at = due
            found.append(due.astimezone(berlin).isoformat(timespec="minutes"))
        return found

    assert following("30 2 * * *", "2026-03-28T12:00") == ["2026-03-30T02:30+02:00"]  # the clock skips it on the 29th
    assert following("30 2 * * *", "2026-10-24T12:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]
    assert following("0 0 29 2 *", "2026-03-01T00:00", 2) == ["2028-02-29T00:00+01:00", "2032-02-29T00:00+01:00"]
    assert following("0 0 29 feb 1", "2096-03-01T00:00")[0].startswith("2097-02-04")  # either day: the next Monday in February
    assert following("0 0 29 2 *", "2096-03-01T00:00") == ["2104-02-29T00:00+01:00"]  # 2100 is no leap year


def test_checks_are_due_on_the_weekday_that_cron_means():
    trigger = CronTrigger("0 3 * * 0", lambda at: at)
    sunday = datetime(2026, 6, 7, 3, tzinfo=UTC)
    assert trigger.get_next_fire_time(None, datetime(2026, 6, 1, tzinfo=UTC)) == sunday
    assert trigger.get_next_fire_time(sunday, sunday) == sunday + timedelta(days=7)
    late = sunday + timedelta(days=30)
    assert trigger.get_next_fire_time(sunday, late) == datetime(2026, 7, 12, 3, tzinfo=UTC)  # what was missed is not made up for
