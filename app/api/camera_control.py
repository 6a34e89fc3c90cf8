"""The control endpoint of a simulated camera: what it does, and faults on demand."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field

from app.api import problems
from app.ingest.camera.faults import parse_fault
from app.ingest.camera.server import Camera


class FaultRequest(BaseModel):
    """A fault to begin."""

    model_config = ConfigDict(extra="forbid")

    fault: str = Field(description="As on the command line: KIND or KIND:name=value,…", examples=["stall:seconds=5"])


class CameraState(BaseModel):
    """What the camera does."""

    url: str
    watchers: int = Field(description="Clients that get pictures.")
    active_faults: list[str] = Field(description="Kinds of the lasting faults that are on.")
    connections: int = Field(description="So far.")
    units: int = Field(description="Encoded pictures so far.")
    skipped: int = Field(description="Pictures that a client did not get, because it is slow or waits for a key frame.")
    faults: dict[str, int] = Field(description="Faults begun so far, by kind.")


def create_camera_control(camera: Camera) -> FastAPI:
    """An ASGI application that runs on the camera's own event loop."""
    app = FastAPIOffline(title="FlexPatch camera", redoc_url=None)
    problems.install(app)

    @app.get("/")
    async def state() -> CameraState:
        """What the camera does."""
        counts = camera.counts
        return CameraState(
            url=camera.url,
            watchers=camera.n_watchers,
            active_faults=camera.active_faults,
            connections=counts.connections,
            units=counts.units,
            skipped=counts.skipped,
            faults=counts.faults,
        )

    @app.post("/faults", status_code=202)
    async def begin(request: FaultRequest) -> CameraState:
        """Have something go wrong."""
        camera.add_fault(parse_fault(request.fault))
        return await state()

    @app.delete("/faults")
    async def end() -> CameraState:
        """End all faults, also those that would come again."""
        await camera.clear_faults()
        return await state()

    return app
