"""The Data API over HTTP: two API variants, a path prefix for each data set, a position for each group."""

import csv
import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint

from datos.catalog import Catalog, UnknownDatasetError
from datos.dataset import Dataset, DatasetError, as_objects
from datos.index import ABOUT, described, index_page
from datos.metrics import Metrics
from datos.positions import Positions, PositionsError
from datos.settings import DatosSettings
from mlops_lab.errors import LabError
from mlops_lab.files import FILE_FAULT, OWNER, path_id
from mlops_lab.front_page import HEADERS, wants_page
from mlops_lab.logs import RequestId

logger = logging.getLogger("datos")


DAYS = frozenset(
    [
        *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        *("lunes", "martes", "miercoles", "miércoles", "jueves", "viernes", "sabado", "sábado", "domingo"),
    ]
)

Name = Annotated[str, Path(description="A data set that GET / lists", examples=["realtor"])]
Group = Annotated[int, Query(ge=1, le=10, description="The course's group, 1 to 10")]
Day = Annotated[
    str | None,
    Query(
        description="Day of the group's class, a weekday's name or 1 to 31: rows come as objects",
        json_schema_extra={"enum": [*sorted(DAYS), *map(str, range(1, 32))]},
    ),
]

ColumnNames = Annotated[
    bool, Header(description="Whether the reply has `columns`, their names in the order of the rows.")
]

Key = Annotated[
    str,
    Header(
        max_length=64,
        description="A key of the caller's. A request that is sent again with it gets its batch again.",
    ),
]


def _find(dataset: Name, request: Request) -> Dataset:
    found = request.app.state.catalog.get(dataset)
    request.state.dataset = dataset
    return found


Found = Annotated[Dataset, Depends(_find)]


class _Detail(BaseModel):
    detail: str = Field(description="one line: what is wrong, and what to do")


_Replies = dict[int | str, dict[str, Any]]
_UNUSABLE: _Replies = {
    404: {"model": _Detail, "description": "No such data set"},
    422: {"model": _Detail, "description": "A parameter that can't be used"},
    503: {"model": _Detail, "description": "The data set or the positions can't be read; try again"},
}
_CSV: _Replies = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
_MOVES: _Replies = _UNUSABLE | {403: {"model": _Detail, "description": "Asked by a page of another site"}}
_NEXT: _Replies = _MOVES | {400: {"model": _Detail, "description": "The end of the data"}}


class _RefusedError(LabError):
    """A refused request, with an HTTP status and one line."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _not_from_another_site(request: Request) -> None:
    """Refuses what a page of another site makes a browser send, such as an image's address: it would move positions."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise _RefusedError(403, "a page of another site can't request data; open the address itself")


def create_app(settings: DatosSettings | None = None, clock: Callable[[], float] = time.time) -> FastAPI:
    """The service for `settings`; `clock` gives seconds, by which batches repeat.

    Raises PositionsError when the file of positions is damaged.
    """
    settings = settings or DatosSettings()
    catalog = Catalog(settings)
    positions = Positions(settings.state, clock)
    metrics = Metrics()
    app = FastAPIOffline(
        title="Data API",
        description=ABOUT,
        version="1.0.0",
        redoc_url=None,
        openapi_tags=[
            {"name": "batches", "description": "The next batch of a group. These calls move its position."},
            {"name": "data sets", "description": "What there is to serve. These calls move nothing."},
            {"name": "service", "description": "The state of the service."},
        ],
    )
    app.state.catalog = catalog
    _answer_errors(app)

    @app.middleware("http")
    async def count(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        # Only data sets that exist become labels: a caller must not be able to add time series.
        metrics.requests.labels(getattr(request.state, "dataset", ""), str(response.status_code)).inc()
        return response

    app.add_middleware(RequestId)

    @app.get(
        "/",
        summary="The data sets, as JSON; a page for browsers",
        tags=["data sets"],
        responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
        response_class=JSONResponse,
    )
    def index(request: Request, accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """The data sets, with their rows, batches and columns; a broken one with its error."""
        found = described(catalog)
        if wants_page(accept):
            return HTMLResponse(index_page(found, str(request.base_url)), headers=HEADERS)
        reply = {"datasets": found, "interval_seconds": settings.interval, "docs": "/docs"}
        return JSONResponse(reply, headers={"Vary": "Accept"})

    @app.get("/health", summary="Whether the service is alive", tags=["service"])
    def health(response: Response) -> dict[str, str]:
        """Alive. A header tells a lab on the same machine whether the positions are its own."""
        if settings.state is not None:
            response.headers[OWNER] = path_id(settings.state)
        return {"status": "ok"}

    @app.get("/metrics", summary="Prometheus metrics", tags=["service"], response_class=PlainTextResponse)
    def exposition() -> Response:
        """Requests, rows served and positions, for Prometheus."""
        return Response(metrics.text(positions.all()), media_type=CONTENT_TYPE_LATEST)

    @app.get(
        "/{dataset}/data",
        summary="The group's next batch",
        tags=["batches"],
        responses=_NEXT,
        dependencies=[Depends(_not_from_another_site)],
    )
    def data(
        dataset: Name,
        found: Found,
        group_number: Group,
        day: Day = None,
        idempotency_key: Key = "",
        column_names: ColumnNames = False,
    ) -> Response:
        """The group's next batch: lists of texts, or with `day` objects; 400 at the end of the data."""
        key = _day(day)
        # The object variant never repeats a batch.
        interval = settings.interval if day is None else 0
        with positions.turn(dataset, group_number, key, found.sizes, interval, idempotency_key) as turn:
            if turn.number is None:
                again = f"/{dataset}/restart_data_generation?group_number={group_number}"
                raise _RefusedError(
                    400,
                    f"end of the data: group {group_number} has received all {len(found.sizes)} batches "
                    f"of {dataset}; "
                    f"GET {again}{'' if day is None else f'&day={day}'} starts again",
                )
            rows = found.read(turn.number)[turn.skip :]
        metrics.rows.labels(dataset).inc(len(rows))
        fields = {"dataset": dataset, "batch": turn.number, "group": group_number, "rows": len(rows)}
        logger.info("batch %(batch)d of %(dataset)s for group %(group)d", fields, extra={"data": fields})
        reply: dict[str, Any] = {"group_number": group_number}
        if day is not None:
            reply["day"] = day
        if column_names:
            reply["columns"] = list(found.columns)
        reply |= {
            "batch_number": turn.number,
            "data": rows if day is None else as_objects(found, rows),
        }
        return Response(orjson.dumps(reply), media_type="application/json")

    @app.get(
        "/{dataset}/restart_data_generation",
        summary="Start again at the first batch",
        tags=["batches"],
        responses=_MOVES,
        dependencies=[Depends(_not_from_another_site)],
    )
    def restart(dataset: Name, found: Found, group_number: Group, day: Day = None) -> dict[str, Any]:
        """Resets the group's position to the first batch; with `day`, only the position of that day."""
        positions.restart(dataset, group_number, _day(day))
        reply = {"ok": True, "dataset": dataset, "group_number": group_number}
        return reply if day is None else reply | {"day": day}

    @app.get("/{dataset}/columns", summary="Names of the columns", tags=["data sets"], responses=_UNUSABLE)
    def columns(dataset: Name, found: Found) -> list[str]:
        """Names of the columns, in the order of the rows."""
        return list(found.columns)

    @app.get(
        "/{dataset}/data.csv",
        summary="One batch, or all, as a CSV file",
        tags=["data sets"],
        response_class=Response,
        responses=_CSV | _UNUSABLE,
    )
    def download(
        dataset: Name,
        found: Found,
        batch: Annotated[
            int | None,
            Query(ge=1, description="Number of the batch; all batches without it"),
        ] = None,
    ) -> Response:
        """One batch, or all batches, as CSV. No group's position changes."""
        if batch is not None and batch > len(found.sizes):
            raise _RefusedError(404, f"{dataset} has no batch {batch}; it has 1 to {len(found.sizes)}")
        numbers = range(1, len(found.sizes) + 1) if batch is None else [batch]
        # The rows are read before the headers are sent, so that a file that was damaged meanwhile is still an error.
        first = found.read(numbers[0])
        name = dataset if batch is None else f"{dataset}-{batch}"
        return StreamingResponse(
            _csv(found, first, numbers[1:]),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
        )

    return app


def _answer_errors(app: FastAPI) -> None:
    """Every error becomes one line in `detail`."""

    @app.exception_handler(_RefusedError)
    def refused(request: Request, error: _RefusedError) -> JSONResponse:
        return JSONResponse({"detail": error.detail}, error.status)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)

    @app.exception_handler(UnknownDatasetError)
    def unknown(request: Request, error: UnknownDatasetError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404, {FILE_FAULT: "true"})

    # 503, not 400: for callers 400 is the end of the data, and an incomplete file may still be being copied.
    @app.exception_handler(DatasetError)
    def broken(request: Request, error: DatasetError) -> JSONResponse:
        logger.error("%s", error)
        return JSONResponse({"detail": str(error)}, 503, {FILE_FAULT: "true"})

    @app.exception_handler(PositionsError)
    def stuck(request: Request, error: PositionsError) -> JSONResponse:
        logger.error("%s", error)
        return JSONResponse({"detail": str(error)}, 503)


def _day(day: str | None) -> str | None:
    if day is None:
        return None
    known = day.strip().lower()
    if known in DAYS or (known.isascii() and known.isdigit() and 1 <= int(known) <= 31):
        return known
    raise _RefusedError(
        422,
        f"day: {day!r} is not a day; send a weekday's name (Tuesday, martes) or a number from 1 to 31",
    )


def _csv(dataset: Dataset, first: list[list[str]], numbers: Iterable[int]) -> Iterator[str]:
    yield _lines([list(dataset.columns), *first])
    for number in numbers:
        yield _lines(dataset.read(number))


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
