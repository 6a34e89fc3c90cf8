"""Who one is to the service."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.api.auth import Token, token_of
from app.api.schemas import WhoModel

router = APIRouter(tags=["access"])


# A coroutine: FastAPI would run a plain function in a thread.
async def _token(request: Request) -> Token | None:
    return token_of(request.scope)


@router.get("/whoami", response_model=WhoModel)
async def who(token: Annotated[Token | None, Depends(_token)]) -> WhoModel:
    """The name and role of the token that was sent; a service without tokens lets everybody do everything."""
    return WhoModel(name=token.name, role=token.role) if token else WhoModel(name=None, role="admin")
