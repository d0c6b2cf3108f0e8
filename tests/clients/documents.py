"""Generated documents as people write them: comments, odd indentation, CRLF, tabs, trailing commas, unicode, missing newlines."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "théme", "editor.fontSize", "x y", "//", "mcp", "日本", "inputs", "}", "[k]"])
WORDS = st.text(alphabet=st.sampled_from(list("ab é日,{}[]:/*\"\\'#\t-")), max_size=8)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False), WORDS)
EOLS = st.sampled_from(["\n", "\r\n"])
ODD_EOLS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def jsonc(draw: st.DrawFn) -> str:
    """A JSONC text with an object at the top; half of the time it has the container `servers`, maybe empty."""
    eol = draw(ODD_EOLS)

    def blank(*, need: bool = False) -> str:
        options = ["", " ", "  ", "\t", eol, eol + "    ", eol + "\t", " /* c, { */ ", " /* http://x */ "]
        options += [f" // it's, }} x{eol}", f"{eol}  // c{eol}"]
        return draw(st.sampled_from(options[1:] if need else options))

    def value(depth: int) -> str:
        kind = draw(st.sampled_from(["scalar", "scalar", "object", "list"] if depth else ["scalar"]))
        if kind == "scalar":
            return json.dumps(draw(SCALARS), ensure_ascii=draw(st.booleans()))
        return box(depth - 1, "{}" if kind == "object" else "[]", [])

    def box(depth: int, brackets: str, extra: list[tuple[str, str]]) -> str:
        entries: list[tuple[str, str]] = [(key, value(depth)) for key in draw(st.lists(KEYS, max_size=3, unique=True))]
        entries = draw(st.permutations([*entries, *extra]))
        out = brackets[0] + blank()
        for index, (key, text) in enumerate(entries):
            head = f"{json.dumps(key)}{blank()}:{blank()}" if brackets == "{}" else ""
            out += head + text + blank()
            if index < len(entries) - 1 or draw(st.booleans()):
                out += "," + blank()
        return out + brackets[1]

    extra: list[tuple[str, str]] = []
    if draw(st.booleans()):
        extra.append(("servers", box(1, "{}", [])))
    if draw(st.integers(0, 30)) == 0:
        return draw(st.sampled_from(["", " ", eol, eol + eol]))
    return blank() + box(2, "{}", extra) + blank()


@st.composite
def toml(draw: st.DrawFn) -> str:
    """A TOML text with tables, arrays of tables, multi-line strings, comments and dotted keys."""
    eol = draw(EOLS)
    values = [
        "1", "3.0", "true", "'lit # \"'", '"a # [x]"', "[1, 2]", f"[{eol}  1, # one{eol}  2,{eol}]",
        f'"""{eol}[not.a.table]{eol}k = 1"""',
        f"'''{eol}[mcp_servers.x]{eol}'''", "{ a = 1, b = { c = 'x' } }", "1979-05-27T07:32:00Z", '"\\"[q]\\\\"',
    ]  # fmt: skip
    names = ["a", "b-c", '"q.r"', "'s t'", "d.e", '"é"']

    def one_of(*texts: str) -> str:
        return draw(st.sampled_from(texts))

    def assignments() -> str:
        keys = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
        after = ("", eol, f"# [mcp_servers.fake]{eol}")
        return "".join(
            f"{one_of('', '  ', chr(9))}{key} = {one_of(*values)}{one_of('', ' # c')}{eol}{one_of(*after)}" for key in keys
        )

    headers = [
        "[t1]",
        "[t1.sub] # c",
        "[[many]]",
        "[mcp_servers.user]",
        '[mcp_servers."user two"]',
        "[ t3 . 'x' ]",
        "[mcp_servers.user.env]",
    ]
    text = draw(st.sampled_from(["", "", "mcp_servers = {}", "mcp_servers = { user = { url = '#}' }, x.y = [{ a = 1 }] }  # c"]))
    text += eol if text else ""
    inline = "mcp_servers" in text
    headers = [header for header in headers if not (inline and "mcp_servers" in header)]
    text += assignments()
    for header in draw(st.lists(st.sampled_from(headers), max_size=4, unique=True)):
        text += draw(st.sampled_from(["", eol, f"# before{eol}"])) + header + eol + assignments()
    return draw(st.sampled_from([text, text.rstrip("\r\n"), text + eol, text + "# end"]))


@st.composite
def yaml(draw: st.DrawFn, container: str = "servers", *, listed: bool = False) -> str:
    """A YAML text with mixed indentation, block scalars, flow values, comments, anchors; maybe holding `container`."""
    eol = draw(ODD_EOLS)
    scalars = [
        "1", "x y", "'it''s # no'", '"a: \\"b\\""', "true", "~", "", "{}", "[a, {b: c}]", "{a: 1, b: [x]}", "&anchor v", "http://x/y#z",
        f'"two{eol}      lines"',
    ]  # fmt: skip

    def comment() -> str:
        return draw(st.sampled_from(["", "", f"# c: {{{eol}", f"   # deep{eol}", eol]))

    def mapping(indent: int, depth: int, names: list[str]) -> str:
        step = draw(st.sampled_from([2, 3, 4]))
        pad, out = " " * indent, ""
        for name in names:
            kind = draw(st.sampled_from(["scalar", "scalar", "map", "list", "block"] if depth else ["scalar"]))
            tail = draw(st.sampled_from(["", " # c"]))
            out += comment()
            if kind == "scalar":
                out += f"{pad}{name}: {draw(st.sampled_from(scalars))}".rstrip() + tail + eol
            elif kind == "map":
                out += f"{pad}{name}:{tail}{eol}" + mapping(indent + step, depth - 1, draw(SUBKEYS))
            elif kind == "list":
                dash = pad + draw(st.sampled_from(["", "  "]))
                out += f"{pad}{name}:{tail}{eol}{dash}- one{eol}{dash}-   k: v{eol}{dash}    l: w # c{eol}"
            else:
                style = draw(st.sampled_from(["|", "|-", ">", "|+", "|2"]))
                more = draw(st.sampled_from(["", eol, f"{pad}    deeper{eol}"]))
                out += f"{pad}{name}: {style}{eol}{pad}  text # no comment{eol}{more}"
        return out

    names = draw(st.lists(st.sampled_from(["a", "b c", "'q'", '"é"', "d-e"]), max_size=4, unique=True))
    text = draw(st.sampled_from(["", f"---{eol}", f"# top{eol}"]))
    parts = [mapping(0, 2, [name]) for name in names]
    if draw(st.booleans()):
        inner = ["", " # c", " []" if listed else " {}", " [{name: u, url: x}]" if listed else " {u: {url: x}}"]
        form = draw(st.sampled_from([*inner, "block", "anchored"]))
        if form == "anchored":
            block = f"  - name: u{eol}    url: x{eol}" if listed else f"    u: {{url: x}}{eol}"
            flow = f"{container}: &box {inner[-1].strip()}{eol}"
            parts.append(f"{container}: &box # c{eol}{block}" if draw(st.booleans()) else flow)
        elif form == "block":
            block = f"  - name: u{eol}    url: x # c{eol}" if listed else f"    u:{eol}        url: x # c{eol}"
            parts.insert(draw(st.integers(0, len(parts))), f"{container}:{eol}{block}{comment()}")
        else:
            parts.insert(draw(st.integers(0, len(parts))), f"{container}:{form}{eol}")
    text += "".join(parts) + comment()
    return draw(st.sampled_from([text, text.rstrip("\r\n")]))


SUBKEYS = st.lists(st.sampled_from(["k1", "k2", "k3"]), min_size=1, max_size=3, unique=True)

ENTRIES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"type": st.sampled_from(["sse", "http"]), "url": st.sampled_from(["http://h:9090/a/sse", "http://[::1]:1/é # x/mcp"])},
    optional={"headers": st.just({"Authorization": "Bearer ${T}"}), "enabled": st.booleans(), "timeout": st.integers(1, 9)},
)
