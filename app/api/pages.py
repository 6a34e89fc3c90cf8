"""What browsers are shown: the dashboard at `/`, and the API's description at `/docs`; all their files are our own."""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

DASHBOARD = Path(__file__).parent.parent / "web" / "index.html"
FILES_PATH = "/web"
"""Below it lie the dashboard's files,"""
SWAGGER_PATH = f"{FILES_PATH}/swagger"
"""and below this those of the description."""
DOCS_PATH = "/docs"

_OWN = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    # Modules of two versions must not be mixed.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": f"{_OWN}; script-src 'self'; style-src 'self'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_DOCS_HEADERS = _HEADERS | {
    # Swagger's page begins with a script of its own, and sets styles as it goes.
    "Content-Security-Policy": f"{_OWN}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'",
}

router = APIRouter()


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def dashboard() -> Response:
    """The dashboard."""
    return FileResponse(DASHBOARD)


def mount_files(app: FastAPI) -> None:
    """Have the application give the dashboard's files."""
    app.mount(FILES_PATH, StaticFiles(directory=DASHBOARD.parent), name="web")


def headers_of(path: str) -> dict[str, str]:
    """What browsers are told with a page or a file of one; nothing with all else that the service gives."""
    if path == "/" or path.startswith(f"{FILES_PATH}/"):
        return _HEADERS
    return _DOCS_HEADERS if path == DOCS_PATH else {}
