"""What a reload must do, found by comparing plans, and told without showing a value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.config.diff import diff
from mcpwatch.config.explain import changes, summary
from mcpwatch.model.probe import Target
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, RouteSpec, UpstreamSpec
from tests.config.plans import plan

BASE = """\
proxy: {auth: {tokens: [abcdef]}}
members:
  h: {stdio: {command: uvx, args: [x]}}
  p: {process: {command: uvx, env: {A: one}}, url: http://127.0.0.1:9073/sse}
  e: {url: http://far:1/sse}
telemetry: {metrics: {listen: 127.0.0.1:9464}}
"""


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (("", ""), ()),
        (("  e: {url: http://far:1/sse}\n", ""), ("e: removed", "proxy: retuned (upstream e)")),
        (("  e:", "  n: {url: http://far:2/sse}\n  e:"), ("n: added", "proxy: retuned (upstream n)")),
        (("args: [x]", "args: [y]"), ("h: replaced (args)", "proxy: retuned (upstream h)")),
        (("A: one", "A: two"), ("p: replaced (env)",)),
        (("far:1/sse}", "far:1/sse, checks: [{interval: 5s}]}"), ("e: retuned (checks, route)",)),
        (("far:1/sse}", "far:1/sse, restart: {intensity: 2}}"), ("e: retuned (restart)",)),
        (("far:1/sse}", "far:1/sse, enabled: false}"), ("e: retuned (enabled)",)),
        (("far:1/sse}", "far:1/sse, route: public}"), ("e: retuned (route)", "proxy: retuned (upstream e, upstream public)")),
        (("9464", "9465"), ("telemetry: section changed",)),
        (
            ("abcdef", "ghijkl"),
            ("h: retuned (route)", "p: retuned (route)", "e: retuned (route)", "proxy: retuned (tokens)"),
        ),
    ],
)
def test_each_change_touches_only_what_it_must(
    change: tuple[str, str], lines: tuple[str, ...], tmp_path: Path, environ: dict[str, str]
) -> None:
    old, new = plan(BASE, tmp_path, environ), plan(BASE.replace(*change, 1), tmp_path, environ)
    found = diff(old, new)
    assert changes(old, new, found) == lines
    assert bool(found) == bool(lines)


def test_an_explanation_never_shows_a_value(tmp_path: Path, environ: dict[str, str]) -> None:
    old, new = plan(BASE, tmp_path, environ), plan(BASE.replace("one", "two").replace("abcdef", "ghijkl"), tmp_path, environ)
    told = "\n".join(changes(old, new, diff(old, new)))
    assert not [word for word in ("one", "two", "abcdef", "ghijkl") if word in told]


def test_a_plan_is_summed_up_in_a_line(tmp_path: Path, environ: dict[str, str]) -> None:
    told = summary(plan(BASE, tmp_path, environ)).replace(str(tmp_path), "")
    assert told == "/fleet.yaml: 3 members behind gateway on 127.0.0.1:9090, 3 routes, 9 checks"


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
MEMBERS = st.builds(
    MemberSpec,
    name=NAMES,
    kind=st.just("server"),
    runtime=st.sampled_from(["process", "docker"]),
    carrier=st.none(),
    fingerprint=st.sampled_from(["1", "2"]),
    restart=st.builds(RestartPolicy, intensity=st.integers(1, 2)),
    checks=st.sampled_from([(), (CheckSpec("mcp"),)]),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    members = tuple(draw(st.lists(MEMBERS, max_size=5, unique_by=lambda member: member.name)))
    routes = tuple(RouteSpec(m.name, m.name, draw(st.sampled_from(["u", "v"])), Target("http://p/")) for m in members)
    upstreams = tuple(UpstreamSpec(m.name, "sse", url="http://m/") for m in members)
    proxy = ProxySpec("gateway", "proxy", "127.0.0.1:1", "http://p", upstreams=upstreams)
    last = MemberSpec("proxy", "proxy", "process", None, draw(st.sampled_from(["1", "2"])))
    sections = tuple((name, draw(st.integers(0, 1))) for name in draw(st.sets(st.sampled_from(["web", "alerts"]))))
    return Plan((*members, last), proxy, routes, sections)


@given(plans(), plans())
def test_a_diff_names_every_member_at_most_once_and_turns_around(old: Plan, new: Plan) -> None:
    found, back = diff(old, new), diff(new, old)
    named = [*found.add, *found.remove, *found.replace, *found.retune]
    assert len(named) == len(set(named))
    before, after = {m.name for m in old.members}, {m.name for m in new.members}
    assert set(found.add) == after - before == set(back.remove)
    assert set(found.remove) == before - after == set(back.add)
    assert set(found.replace) == set(back.replace)
    assert set(found.retune) == set(back.retune)
    assert set(found.sections) == set(back.sections)
    assert found.remove == tuple(m.name for m in reversed(old.members) if m.name not in after)
    assert found.add == tuple(m.name for m in new.members if m.name not in before)
    carried = {m.name: m.runtime for m in old.members}
    assert {m.name for m in new.members if carried.get(m.name, m.runtime) != m.runtime} <= set(found.replace)
    untouched = (before & after) - set(named)
    assert all(old.member(name) == new.member(name) for name in untouched)
    assert not diff(old, old)
    assert bool(found) == bool(changes(old, new, found))


@given(plans())
def test_what_is_unchanged_is_left_alone_whatever_the_order_of_the_file(old: Plan) -> None:
    assert not diff(old, replace(old, members=tuple(reversed(old.members)), source="elsewhere"))
