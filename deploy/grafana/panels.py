"""The kinds of panels that the dashboards are made of. All take a title, what the panel tells, a unit and queries."""

import typing

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

Panel = Builder[dashboard.Panel]
Query = tuple[str, str]  # a PromQL expression, and the legend of its series: "{{label}} in words"
Steps = tuple[tuple[str, float | None], ...]  # colours from values on; the first from None, minus infinity

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
PLAIN: Steps = (("blue", None),)
ANY_IS_BAD: Steps = (("green", None), ("red", 1e-9))

Built = typing.TypeVar("Built", stat.Panel, timeseries.Panel, bargauge.Panel, heatmap.Panel, table.Panel)


def figure(
    title: str, tells: str, unit: str, *queries: Query, steps: Steps = PLAIN, width: int = 4, height: int = 4
) -> Panel:
    """One number, or one a series, with its last hours behind it."""
    panel = _filled(stat.Panel(), title, tells, queries, width, height)
    return (
        panel.unit(unit)
        .thresholds(_thresholds(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(kinds.BigValueColorMode.VALUE)
        .graph_mode(kinds.BigValueGraphMode.AREA)
    )


def lines(
    title: str, tells: str, unit: str, *queries: Query, steps: Steps = (), width: int = 8, logarithmic: bool = False
) -> Panel:
    """Values over time; `steps` after the first are drawn as dashed lines."""
    panel = _filled(timeseries.Panel(), title, tells, queries, width, height=8)
    panel = panel.unit(unit).line_width(1).fill_opacity(8).show_points(kinds.VisibilityMode.NEVER).legend(_legend())
    panel = panel.tooltip(
        common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    )
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(style)
    if logarithmic:
        scale = common.ScaleDistributionConfig().type(kinds.ScaleDistribution.LOG).log(10)
        return panel.scale_distribution(scale)
    return panel.axis_soft_min(0)


def stacked(title: str, tells: str, unit: str, *queries: Query, width: int = 8) -> Panel:
    """Parts of a whole over time, one upon another."""
    panel = _filled(timeseries.Panel(), title, tells, queries, width, height=8)
    return (
        panel.unit(unit)
        .line_width(1)
        .fill_opacity(40)
        .stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
        .show_points(kinds.VisibilityMode.NEVER)
        .axis_soft_min(0)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.NONE))
    )


def ranking(title: str, tells: str, unit: str, query: Query, steps: Steps = PLAIN, width: int = 12) -> Panel:
    """The first of a list as bars, as it is now."""
    panel = _filled(bargauge.Panel(), title, tells, (query,), width, height=9, instant=True)
    return (
        panel.unit(unit)
        .min(0)
        .thresholds(_thresholds(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
    )


def distribution(title: str, tells: str, unit: str, expression: str, width: int = 12) -> Panel:
    """A histogram's buckets over time; the expression is by `le`."""
    panel = _filled(heatmap.Panel(), title, tells, ((expression, "{{le}}"),), width, height=8, buckets=True)
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    return panel.color(colours).y_axis(heatmap.YAxisConfig().unit(unit)).cell_gap(1).hide_legend()


def listing(title: str, tells: str, query: Query, width: int = 12, height: int = 4) -> Panel:
    """Labels as a table, as they are now, and how many workers have them."""
    panel = _filled(table.Panel(), title, tells, (query,), width, height, instant=True)
    hidden = {"excludeByName": {"Time": True}, "renameByName": {"Value": "workers"}}
    return panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=hidden))


def note(title: str, markdown: str, width: int = 24, height: int = 3) -> Panel:
    """Words."""
    panel = text.Panel().title(title).description(title).span(width).height(height)
    return panel.mode(TextMode.MARKDOWN).content(markdown)


def _filled(
    panel: Built,
    title: str,
    tells: str,
    queries: tuple[Query, ...],
    width: int,
    height: int,
    instant: bool = False,
    buckets: bool = False,
) -> Built:
    panel.title(title).description(tells).datasource(DATASOURCE).span(width).height(height)
    for number, (expression, legend) in enumerate(queries):
        query = prometheus.Dataquery().ref_id("ABCDEFGH"[number]).datasource(DATASOURCE)
        query = query.expr(expression).legend_format(legend)
        query = query.instant() if instant else query.range()
        if isinstance(panel, table.Panel):
            query = query.format(PromQueryFormat.TABLE)
        elif buckets:
            query = query.format(PromQueryFormat.HEATMAP)
        panel.with_target(query)
    return panel


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return ThresholdsConfig().steps([dashboard.Threshold(value, colour) for colour, value in steps])


def _legend() -> common.VizLegendOptions:
    shown = common.VizLegendOptions().show_legend(True)
    return shown.display_mode(kinds.LegendDisplayMode.LIST).placement(kinds.LegendPlacement.BOTTOM)
