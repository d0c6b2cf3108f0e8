"""The value of a YAML text that was edited, without reading all of it again: only the lines around the change are, in their place.

At a line that begins an entry of a block container, all that is open inside the container ends at the line's first sign, and the
parser's state is nothing but the containers around. So the change is cut out at two such lines and read for itself, below stand-ins
for the containers around it and above one for the entry that follows: when this comes out where it should, the rest is read as it
was. The parser also goes over the whole new text, making nothing of it, and must meet as many events as were put together. At any
doubt (an anchor, a directive, a key that is there twice, an entry that shares its line) there is no answer here.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from mcpwatch.clients.formats.path import MISSING, EditRefused, Value, elements, members
from mcpwatch.clients.formats.yaml_events import EventKind, YamlDocument, count_events, documents
from mcpwatch.clients.formats.yaml_tree import break_before, line_start

LARGE = 50_000
"""Characters up to which reading all of a text costs nothing that anybody would notice."""
_ABOVE, _BELOW = "stand-in", "stand-in-below"
_FRAME = 4
"""Events of a stream with one document that are none of the document's own."""


class _Unsure(Exception):
    """The new text must be read whole."""


@dataclass(frozen=True, slots=True)
class _Level:
    """A block container around the change: the records of its entries; those from `low` to before `high` are cut out."""

    listed: bool
    entries: list[int]
    low: int
    high: int


def value_after(old: YamlDocument, new: str) -> Value:
    """The value of `new`, which was made from the text of `old`; `MISSING` when it takes reading the whole to be sure of it."""
    try:
        return _value_after(old, new)
    except (_Unsure, EditRefused):
        return MISSING


def _value_after(old: YamlDocument, new: str) -> Value:
    text, tail, after, stop = old.text, "", len(old.shapes), len(old.text)
    _sure(not old.anchors and "\ufeff" not in new and "%" not in text[: old.starts[0]])
    levels = _levels(old, new)
    first = levels[-1].entries[levels[-1].low]
    start = line_start(text, old.starts[first])
    last = max((depth for depth, level in enumerate(levels) if level.high < len(level.entries)), default=-1)
    if last >= 0:
        after = levels[last].entries[levels[last].high]
        stop, tail = line_start(text, old.starts[after]), _stand_in(old, after, _BELOW, " 0")
    head = "".join(_stand_in(old, level.entries[level.low], _ABOVE) for level in levels[:-1])
    cut = new[start : stop + len(new) - len(text)]
    _sure(len(cut) <= max(LARGE, len(new) // 2) and (not tail or break_before(cut, len(cut)) < len(cut)))
    found = documents(head + cut + tail)
    _sure(len(found) == 1 and not found[0].anchors)
    boxes, place = _boxes(found[0], levels), found[0].starts
    _sure(place[boxes[-1] + 1] == len(head) + old.starts[first] - start)
    close = found[0].ends[boxes[last]] - (1 if levels[last].listed else 2) if tail else len(found[0].shapes)
    _sure(not tail or place[close] == len(head + cut + tail) - len(tail.lstrip(" -")))
    _sure(count_events(new) == _FRAME + len(old.shapes) - (after - first) + close - boxes[-1] - 1)
    return _joined(old.value, found[0], boxes, levels, last)


def _sure(sure: bool) -> None:
    if not sure:
        raise _Unsure


def _shared(one: str, other: str) -> int:
    """How many signs at the beginning are the same."""
    return bisect_left(range(min(len(one), len(other))), True, key=lambda at: not other.startswith(one[: at + 1]))


def _levels(old: YamlDocument, new: str) -> list[_Level]:
    """The block containers around the change, as long as it is within one entry that begins before it."""
    begin = _shared(old.text, new)
    end = len(old.text) - _shared(old.text[begin:][::-1], new[begin:][::-1])
    levels: list[_Level] = []
    box = 0
    while old.shapes[box] in (EventKind.MAP, EventKind.LIST) and (not levels or levels[-1].high == levels[-1].low + 1):
        listed, entries = old.shapes[box] == EventKind.LIST, _entries(old, box)
        low = bisect_left(entries, begin, key=old.starts.__getitem__) - 1
        if low >= 0 and not listed and old.ends[entries[low]] >= begin:
            low -= 1
        if low < 0 or not _alone(old, entries[low], listed):
            break
        high = bisect_left(entries, end, key=old.starts.__getitem__)
        while high < len(entries) and not (
            _alone(old, entries[high], listed) and line_start(old.text, old.starts[entries[high]]) >= end
        ):
            high += 1
        levels.append(_Level(listed, entries, low, high))
        box = entries[low] + (not listed)
    _sure(bool(levels))
    return levels


def _entries(document: YamlDocument, box: int) -> list[int]:
    """The records of a container's entries: of their keys, or of a list's elements."""
    shapes, ends = document.shapes, document.ends
    found: list[int] = []
    at, close = box + 1, ends[box]
    while at < close:
        found.append(at)
        at = ends[at] + 1 if shapes[at] > EventKind.END else at + 1
    return found if shapes[box] == EventKind.LIST else found[::2]


def _lead(old: YamlDocument, record: int) -> str:
    return old.text[line_start(old.text, old.starts[record]) : old.starts[record]]


def _alone(old: YamlDocument, record: int, listed: bool) -> bool:
    """Whether an entry begins its line, and has no key that is more than a scalar."""
    return _lead(old, record).strip(" ") == ("-" if listed else "") and (listed or old.shapes[record] < EventKind.ALIAS)


def _stand_in(old: YamlDocument, record: int, name: str, value: str = "") -> str:
    """A line that begins an entry where that of `record` begins."""
    lead = _lead(old, record)
    return f"{lead.rstrip(' ')}{value}\n" if "-" in lead else f"{lead}{name}:{value}\n"


def _boxes(found: YamlDocument, levels: list[_Level]) -> list[int]:
    """The records of the same containers in what was read, each in the first entry of the one around it."""
    boxes: list[int] = []
    chain = bytearray()
    for level in levels:
        boxes.append(len(chain))
        chain += bytes([EventKind.LIST] if level.listed else [EventKind.MAP, EventKind.PLAIN])
    _sure(found.shapes[: boxes[-1] + 1] == chain[: boxes[-1] + 1])
    return boxes


def _joined(old: Value, found: YamlDocument, boxes: list[int], levels: list[_Level], last: int) -> Value:
    """The old value with what was cut out of it replaced by what was found there; the containers around it are made anew."""
    way: list[tuple[list[tuple[str, Value]], list[tuple[str, Value]]]] = []
    new = found.value
    for level, box in zip(levels, boxes, strict=True):
        way.append((_pairs(old, level.entries), _pairs(new, _entries(found, box))))
        old, new = way[-1][0][level.low][1], way[-1][1][0][1]
    value = MISSING
    for depth, (level, (before, inside)) in reversed(list(enumerate(zip(levels, way, strict=True)))):
        if value is not MISSING:
            inside[0] = before[level.low][0], value
        _sure(depth != last or inside.pop() == ("" if level.listed else _BELOW, 0))
        pairs = before[: level.low] + inside + before[level.high :]
        value = [item for _, item in pairs] if level.listed else dict(pairs)
        _sure(len(value) == len(pairs) and "\0" not in "".join(name for name, _ in pairs))
    return value


def _pairs(value: Value, entries: list[int]) -> list[tuple[str, Value]]:
    """A container's entries, of which there must be so many: fewer are two with one name, more are a tag."""
    pairs = list(members(value).items()) or [("", item) for item in elements(value)]
    _sure(len(pairs) == len(entries))
    return pairs
