"""The panels that our dashboards are made of: each kind of question looks the same everywhere. See `tools.dashboards`."""

from __future__ import annotations

from collections.abc import Iterable

from grafana_foundation_sdk.builders import (
    common as commons,
)
from grafana_foundation_sdk.builders import (
    dashboard as dashboards,
)
from grafana_foundation_sdk.builders import (
    heatmap,
    logs,
    loki,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROM = common.DataSourceRef(type_val="prometheus", uid="${ds_prom}")
LOKI = common.DataSourceRef(type_val="loki", uid="${ds_loki}")
JOB = 'job=~"$job"'
MEMBER = f'{JOB},member=~"$member"'
"""Several members: Grafana escapes each name of a choice of many for a pattern."""
ONE = f'{JOB},member="$member"'
"""One member: a choice of one is not escaped, so it must not be a pattern."""
GREEN, YELLOW, RED, GREY, BLUE = "green", "yellow", "red", "text", "blue"

Panel = Builder[dashboard.Panel]


def query(expr: str, legend: str = "", *, instant: bool = False, as_table: bool = False, ref: str = "A") -> prometheus.Dataquery:
    """One PromQL target."""
    found = prometheus.Dataquery().datasource(PROM).expr(expr).legend_format(legend or "__auto").ref_id(ref)
    if as_table:
        return found.format(PromQueryFormat.TABLE).instant()
    return found.instant() if instant else found.range()


def steps(*pairs: tuple[float | None, str]) -> dashboards.ThresholdsConfig:
    """Colours from a value on."""
    thresholds = [dashboard.Threshold(value=value, color=color) for value, color in pairs]
    return dashboards.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(thresholds)


def number(title: str, text: str, expr: str, unit: str, marks: dashboards.ThresholdsConfig, width: int = 4) -> Panel:
    """One figure on a coloured ground."""
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(PROM)
        .with_target(query(expr, instant=True))
        .unit(unit)
        .thresholds(marks)
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .height(4)
        .span(width)
        .no_value("-")
    )


def lines(
    title: str,
    text: str,
    queries: Iterable[tuple[str, str]],
    unit: str,
    *,
    width: int = 12,
    stack: bool = False,
    bars: bool = False,
) -> Panel:
    """Figures over time."""
    found = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(PROM)
        .unit(unit)
        .min(0)
        .height(8)
        .span(width)
        .fill_opacity(30 if stack or bars else 8)
        .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            commons.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs([])
        )
        .tooltip(commons.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    )
    if stack:
        found = found.stacking(commons.StackingConfig().mode(common.StackingMode.NORMAL))
    for place, (expr, legend) in enumerate(queries):
        found = found.with_target(query(expr, legend, ref=chr(ord("A") + place)))
    return found


def words(*pairs: tuple[str, str, str]) -> list[dashboard.ValueMapping]:
    """What a figure is called and its colour."""
    return [
        dashboard.ValueMap(
            options={
                value: dashboard.ValueMappingResult(text=text, color=color, index=place)
                for place, (value, text, color) in enumerate(pairs)
            }
        )
    ]


def timeline(title: str, text: str, expr: str, legend: str, mappings: list[dashboard.ValueMapping], height: int = 9) -> Panel:
    """States over time, a row each."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(PROM)
        .with_target(query(expr, legend))
        .mappings(mappings)
        .thresholds(steps((None, GREY)))
        .color_scheme(dashboards.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .merge_values(merge_values=True)
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(80)
        .height(height)
        .span(24)
    )


def heat(title: str, text: str, expr: str, width: int = 12) -> Panel:
    """A histogram over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(text)
        .datasource(PROM)
        .with_target(query(expr, "{{le}}").format(PromQueryFormat.HEATMAP))
        .calculate(calculate=False)
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Spectral").reverse(reverse=True).steps(64))
        .height(8)
        .span(width)
    )


def log_panel(title: str, expr: str) -> Panel:
    """Lines from Loki."""
    return (
        logs.Panel()
        .title(title)
        .datasource(LOKI)
        .with_target(loki.Dataquery().datasource(LOKI).expr(expr).ref_id("A"))
        .show_time(show_time=True)
        .wrap_log_message(wrap_log_message=True)
        .enable_log_details(enable_log_details=True)
        .sort_order(common.LogsSortOrder.DESCENDING)
        .height(10)
        .span(24)
    )


def grid(title: str, text: str, columns: list[tuple[str, str, str]]) -> Panel:
    """A table joined by member: (name, unit, query) each."""
    found = table.Panel().title(title).description(text).datasource(PROM).height(9).span(24)
    rename = {"member": "member"}
    order = {"member": 0}
    for place, (name, unit, expr) in enumerate(columns):
        ref = chr(ord("A") + place)
        found = found.with_target(query(f"max by (member) ({expr})", as_table=True, ref=ref))
        rename[f"Value #{ref}"] = name
        order[f"Value #{ref}"] = place + 1
        found = found.override_by_name(name, [dashboard.DynamicConfigValue(id_val="unit", value=unit)])
    mapped = [mapping.to_json() for mapping in UP_DOWN]
    found = found.override_by_name(
        "up",
        [
            dashboard.DynamicConfigValue(id_val="mappings", value=mapped),
            dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
        ],
    )
    link = {"title": "this member", "url": "/d/mcpwatch-member?${__url_time_range}&var-member=${__value.text}"}
    found = found.override_by_name("member", [dashboard.DynamicConfigValue(id_val="links", value=[link])])
    joined = dashboard.DataTransformerConfig(id_val="joinByField", options={"byField": "member", "mode": "outer"})
    hidden = {f"Time {place + 1}": True for place in range(len(columns))} | {"Time": True}
    tidy = dashboard.DataTransformerConfig(
        id_val="organize", options={"excludeByName": hidden, "renameByName": rename, "indexByName": order}
    )
    return found.with_transformation(joined).with_transformation(tidy)


UP_DOWN = words(("1", "up", GREEN), ("0", "down", RED))
VERDICTS = words(("0", "unknown", GREY), ("1", "unhealthy", RED), ("2", "degraded", YELLOW), ("3", "healthy", GREEN))
PHASES = words(
    ("0", "stopped", GREY),
    ("1", "starting", BLUE),
    ("2", "running", GREEN),
    ("3", "stopping", BLUE),
    ("4", "backoff", YELLOW),
    ("5", "failed", RED),
)


def ranked(metric: str, label: str, ranks: dict[str, int], by: str, who: str = MEMBER) -> str:
    """One series by `by` whose value is the rank of the word that is set."""
    sets = " or ".join(f'{metric}{{{who},{label}="{word}"}} * {rank}' for word, rank in ranks.items())
    return f"max by ({by}) ({sets})"


VERDICT_RANK = {"unhealthy": 1, "degraded": 2, "healthy": 3, "unknown": 0}
PHASE_RANK = {"stopped": 0, "starting": 1, "running": 2, "stopping": 3, "backoff": 4, "failed": 5}


def base(title: str, uid: str, text: str, *, member: str | None = "multi") -> dashboards.Dashboard:
    """An empty dashboard with our variables, links and annotations."""
    found = (
        dashboards.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["mcpwatch"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(
            dashboards.DashboardLink("mcpwatch")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["mcpwatch"])
            .keep_time(keep_time=True)
        )
        .with_variable(dashboards.DatasourceVariable("ds_prom").label("Prometheus").type("prometheus"))
        .with_variable(dashboards.DatasourceVariable("ds_loki").label("Loki").type("loki"))
        .with_variable(choice("job", "label_values(mcpwatch_build_info, job)"))
    )
    if member is None:
        return found
    who = MEMBER if member == "multi" else ONE
    found = found.with_variable(choice("member", f"label_values(mcpwatch_member_up{{{JOB}}}, member)", multi=member == "multi"))
    return (
        found.annotation(
            mark(
                "restarts",
                f"sum by (member) (changes(mcpwatch_member_generation{{{who}}}[$__interval])) > 0",
                YELLOW,
                "{{member}} restarted",
            )
        )
        .annotation(
            mark(
                "incidents",
                f"sum by (member, cause) (mcpwatch_member_diagnosis{{{who}}} or mcpwatch_route_diagnosis{{{who}}}) > 0",
                RED,
                "{{member}}: {{cause}}",
            )
        )
        .annotation(
            mark(
                "contract changes",
                f"sum by (member) (increase(mcpwatch_contract_changes_total{{{who}}}[$__interval])) > 0",
                BLUE,
                "the tools of {{member}} changed",
            )
        )
    )


def choice(name: str, asked: str, *, multi: bool = True) -> dashboards.QueryVariable:
    """A variable filled from Prometheus."""
    found = (
        dashboards.QueryVariable(name)
        .label(name)
        .datasource(PROM)
        .query(asked)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(multi)
    )
    if not multi:
        return found
    every = dashboard.VariableOption(text="All", value="$__all")
    return found.include_all(include_all=True).all_value(".*").current(every)


def mark(name: str, expr: str, color: str, title: str) -> dashboards.AnnotationQuery:
    """An annotation wherever `expr` has a value."""
    return (
        dashboards.AnnotationQuery()
        .name(name)
        .datasource(PROM)
        .enable(enable=True)
        .icon_color(color)
        .expr(expr)
        .title_format(title)
        .target(query(expr, title, ref="Anno"))
    )
