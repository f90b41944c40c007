"""What every section of the parameters is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]


class FrozenModel(BaseModel):
    """A part of the parameters; an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
