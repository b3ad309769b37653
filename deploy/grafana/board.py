"""What the dashboards have in common: variables, links, and panels in rows, numbered in their order."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from .panels import DATASOURCE, Panel

TAG = "skimstream"
# The data source of provisioning/datasources/; another one is chosen at the top of each dashboard.
SOURCE_UID = "skim-prometheus"
PAGE = "http://127.0.0.1:8000"
# Exists from a worker's first moment on, whatever it reads.
ALWAYS_THERE = "skim_relearned_messages_total"


def dashboard(uid: str, title: str, tells: str, *rows: tuple[str, Sequence[Panel]]) -> models.Dashboard:
    """A dashboard of rows, each a title and its panels from left to right, 24 columns wide."""
    board = (
        Dashboard(f"Skimstream / {title}")
        .uid(uid)
        .description(tells)
        .tags([TAG])
        .timezone("utc")
        .time("now-1h", "now")
        .refresh("15s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(_variables())
        .link(_others())
        .link(_page())
    )
    for name, panels in rows:
        board.with_row(Row(name))
        for panel in panels:
            board.with_panel(panel)
    made = board.build()
    for number, one in enumerate(made.panels or [], 1):
        one.id_val = number
    return made


def _variables() -> list[Builder[models.VariableModel]]:
    source = DatasourceVariable("datasource").label("Data source").type("prometheus")
    page = TextBoxVariable("page").label("Page").description("Where `skim serve` listens.").default_value(PAGE)
    streams = _choice("stream", f"label_values({ALWAYS_THERE}, stream)")
    workers = _choice("instance", f'label_values({ALWAYS_THERE}{{stream=~"$stream"}}, instance)')
    return [
        source.current(models.VariableOption(selected=True, text="Prometheus", value=SOURCE_UID)),
        streams.label("Stream"),
        workers.label("Worker").description("Times, batches, Redis and memory belong to a worker, not to its stream."),
        page.current(models.VariableOption(selected=True, text=PAGE, value=PAGE)),
    ]


def _choice(name: str, query: str) -> QueryVariable:
    """Some or all values of a label. All is a pattern rather than a list: a worker that comes later is in it."""
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    choice = QueryVariable(name).query(query).datasource(DATASOURCE).multi(True).include_all(True).all_value(".+")
    choice = choice.current(everything).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return choice.sort(models.VariableSort.ALPHABETICAL_ASC)


def _others() -> DashboardLink:
    link = DashboardLink("Skimstream").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(True).include_vars(True)


def _page() -> DashboardLink:
    link = DashboardLink("Tonight's list").type(models.DashboardLinkType.LINK).url("${page}/").icon("external link")
    return link.target_blank(True).tooltip("The objects themselves, live")
