"""Who one is to the service."""

from fastapi import APIRouter, Request

from app.api.auth import token_of
from app.api.schemas import WhoModel

router = APIRouter(tags=["access"])


@router.get("/whoami", response_model=WhoModel)
async def who(request: Request) -> WhoModel:
    """The name and role of the token that was sent; a service without tokens lets everybody do everything."""
    token = token_of(request.scope)
    return WhoModel(name=token.name, role=token.role) if token else WhoModel(name=None, role="admin")
