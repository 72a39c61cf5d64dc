"""The TES application: routes, errors, documentation pages."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from jobsys.server.auth.base import Access, Authenticator
from jobsys.server.auth.simple import Nobody
from jobsys.server.database import Database, init_db
from jobsys.server.http import Limits, add_error_handlers
from jobsys.server.settings import Settings
from jobsys.server.tes import handlers
from jobsys.server.tes.constants import API_VERSION, PoiesisApiConstants
from jobsys.server.tes.exceptions import APIException, handle_api_exception, handle_unexpected_exception
from jobsys.server.tes.service import TaskService

PREFIXES: Final = (f"/{PoiesisApiConstants.BASE_PATH}", "/v1", "")
"""Where the API is served: the one that GA4GH recommends first, then what older clients and Funnel's use."""


def create_app(
    settings: Settings | None = None, authenticator: Authenticator | None = None, access: Access = Access.OWNER_OR_ADMIN
) -> FastAPI:
    """Make the application; its database is opened, and made if it is not there, when it starts.

    Args:
        settings: those of the server; None: what the environment says.
        authenticator: tells callers; None: nobody is asked.
        access: whose tasks a caller may see and cancel.
    """
    chosen = settings or Settings.from_environment()
    app = FastAPI(title="jobsys: Task Execution Service", version=API_VERSION, lifespan=_lifespan(chosen, access), redirect_slashes=False)
    app.state.authenticator = authenticator or Nobody()
    for number, prefix in enumerate(PREFIXES):
        app.include_router(_services(), prefix=prefix, include_in_schema=False)
        app.include_router(handlers.router, prefix=prefix, include_in_schema=number == 0)
    add_error_handlers(app)
    app.add_exception_handler(APIException, handle_api_exception)
    app.add_exception_handler(Exception, handle_unexpected_exception)
    app.add_middleware(Limits, max_body=chosen.max_body)
    return app


def _services() -> APIRouter:
    """Give the alias that Funnel's older clients ask for; it must come before the route of a task."""
    router = APIRouter()
    router.add_api_route("/tasks/service-info", handlers.GetServiceInfo, methods=["GET"])
    return router


def _lifespan(settings: Settings, access: Access) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.database_url)
        await run_in_threadpool(init_db, database)
        app.state.database = database
        app.state.tasks = TaskService(database, settings, access)
        try:
            yield
        finally:
            await run_in_threadpool(app.state.tasks.close)
            database.close()

    return lifespan
