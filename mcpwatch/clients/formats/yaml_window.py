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
_NAME = "stand-in"
_FRAME = 4
"""Events of a stream with one document that are none of the document's own."""


class _Unsure(Exception):
    """The new text must be read whole."""


@dataclass(frozen=True, slots=True)
class _Level:
    """A block container of the old text around the change: the record of its first entry that is cut out, and of the next after.

    `low` is that entry's place, -1 when the change begins before any; `high` that of the next, `count` when none follows.
    """

    listed: bool
    count: int
    low: int
    high: int
    first: int
    after: int


def value_after(old: YamlDocument, new: str) -> Value:
    """The value of `new`, which was made from the text of `old`; `MISSING` when it takes reading the whole to be sure of it."""
    try:
        return _value_after(old, new)
    except (_Unsure, EditRefused):
        return MISSING


def _value_after(old: YamlDocument, new: str) -> Value:
    text = old.text
    _sure(not old.anchors and "\ufeff" not in new and "%" not in text[: old.starts[0]])
    begin = _shared(text, new)
    levels = _levels(old, begin, len(text) - _shared(text[begin:][::-1], new[begin:][::-1]))
    real = max((depth for depth, level in enumerate(levels) if level.low >= 0), default=-1)
    last = max((depth for depth, level in enumerate(levels) if level.high < level.count), default=-1)
    _sure(real >= 0)
    start, stop, tail = _line(old, levels[real].first, levels[real].listed), len(text), ""
    if last >= 0:
        after, listed = levels[last].after, levels[last].listed
        stop, tail = _line(old, after, listed), _stand_in(old, after, listed, " 0")
    head = "".join(_stand_in(old, level.first, level.listed) for level in levels[:real])
    cut = new[start : stop + len(new) - len(text)]
    _sure(len(cut) <= max(LARGE, len(new) // 2) and (not tail or break_before(cut, len(cut)) < len(cut)))
    found = _one(head + cut + tail)
    boxes = _boxes(found, levels)
    first = boxes[real] + 1
    close = found.ends[boxes[last]] - (1 if levels[last].listed else 2) if tail else len(found.shapes)
    _sure(found.starts[first] - len(head) == old.starts[levels[real].first] - start)
    _sure(not tail or found.starts[close] == len(head) + len(cut) + len(tail) - len(tail.lstrip(" -")))
    gone = (levels[last].after if tail else len(old.shapes)) - levels[real].first
    _sure(count_events(new) == _FRAME + len(old.shapes) - gone + close - first)
    return _joined(old.value, found, boxes, levels, real, last)


def _sure(sure: bool) -> None:
    if not sure:
        raise _Unsure


def _shared(one: str, other: str) -> int:
    """How many signs at the beginning are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


# ---- where the change is -----------------------------------------------------------------------------------------------


def _levels(old: YamlDocument, begin: int, end: int) -> list[_Level]:
    """The block containers around the change, as long as it is within one entry that begins before it."""
    levels: list[_Level] = []
    record = 0
    while old.shapes[record] in (EventKind.MAP, EventKind.LIST):
        levels.append(level := _level(old, record, begin, end))
        if level.low < 0 or level.high != level.low + 1:
            break
        record = level.first + (not level.listed)
    return levels


def _level(old: YamlDocument, box: int, begin: int, end: int) -> _Level:
    entries, listed = _records(old, box), old.shapes[box] == EventKind.LIST
    low = bisect_left(entries, begin, key=old.starts.__getitem__) - 1
    if low >= 0 and not listed and old.ends[entries[low]] >= begin:
        low -= 1
    if low >= 0 and _line(old, entries[low], listed) < 0:
        low = -1
    high = bisect_left(entries, end, key=old.starts.__getitem__)
    while high < len(entries) and _line(old, entries[high], listed) < end:
        high += 1
    return _Level(listed, len(entries), low, high, entries[low], entries[min(high, len(entries) - 1)])


def _records(document: YamlDocument, box: int) -> list[int]:
    """The records of a container's entries: of their keys, or of a list's elements."""
    shapes, ends = document.shapes, document.ends
    found: list[int] = []
    at, close = box + 1, ends[box]
    while at < close:
        found.append(at)
        at = ends[at] + 1 if shapes[at] > EventKind.END else at + 1
    return found if shapes[box] == EventKind.LIST else found[::2]


def _line(old: YamlDocument, record: int, listed: bool) -> int:
    """Where the line of an entry begins; -1 when it is not the first thing there, or has a key that is not just a scalar."""
    start = line_start(old.text, old.starts[record])
    alone = old.text[start : old.starts[record]].strip(" ") == ("-" if listed else "")
    return start if alone and (listed or old.shapes[record] < EventKind.ALIAS) else -1


def _stand_in(old: YamlDocument, record: int, listed: bool, value: str = "") -> str:
    """A line that begins an entry where that of `record` begins."""
    lead = old.text[line_start(old.text, old.starts[record]) : old.starts[record]]
    return f"{lead.rstrip(' ')}{value}\n" if listed else f"{lead}{_NAME}:{value}\n"


# ---- what came out -----------------------------------------------------------------------------------------------------


def _one(text: str) -> YamlDocument:
    found = documents(text)
    _sure(len(found) == 1 and not found[0].anchors)
    return found[0]


def _boxes(found: YamlDocument, levels: list[_Level]) -> list[int]:
    """The records of the same containers in what was read, each in the first entry of the one around it."""
    boxes: list[int] = []
    record = 0
    for level in levels:
        _sure(found.shapes[record] == (EventKind.LIST if level.listed else EventKind.MAP))
        boxes.append(record)
        _sure(level.listed or found.shapes[record + 1] < EventKind.ALIAS)
        record += 1 if level.listed else 2
    return boxes


def _joined(old: Value, found: YamlDocument, boxes: list[int], levels: list[_Level], real: int, last: int) -> Value:
    """The old value with what was cut out of it replaced by what was found there; the containers around it are made anew."""
    way = [(_entries(old, levels[0].count), _entries(found.value, len(_records(found, 0))))]
    for level, inner, box in zip(levels, levels[1:], boxes[1:], strict=False):
        before, inside = way[-1]
        way.append((_entries(before[level.low][1], inner.count), _entries(inside[0][1], len(_records(found, box)))))
    value = MISSING
    for depth in range(len(levels) - 1, -1, -1):
        level, (before, inside) = levels[depth], way[depth]
        if value is not MISSING:
            inside[0] = before[level.low][0] if depth < real else inside[0][0], value
        _sure(depth != last or inside.pop() == ("" if level.listed else _NAME, 0))
        parts = before[: max(level.low, 0)] + inside + before[level.high :]
        value = [item for _, item in parts] if level.listed else dict(parts)
        _sure(len(value) == len(parts) and "\0" not in "".join(name for name, _ in parts))
    return value


def _entries(value: Value, count: int) -> list[tuple[str, Value]]:
    """The entries of a container, which must be so many: fewer are two with one name, more are a tag."""
    found = list(members(value).items()) or [("", item) for item in elements(value)]
    _sure(len(found) == count)
    return found
