"""Functions that flows of the tests call on Ray."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


class Clip(BaseModel):
    title: str
    seconds: float


@dataclass
class Cut:
    at_s: float


def film(title: str, seconds: float = 1.5) -> Clip:
    return Clip(title=title, seconds=seconds)


def clips(topic: str, count: int = 2) -> list[str]:
    return [f"{topic} {number}" for number in range(count)]


def total(parts: list[Clip]) -> float:
    return sum(part.seconds for part in parts)


def cut(title: str) -> Cut:
    return Cut(at_s=len(title))


def fields(title: str) -> dict[str, Any]:
    return {"title": title}


def unsaid(title: str) -> Any:
    return title


def steps(count: int) -> Generator[float, None, int]:
    yield 0.5
    return count


async def later(title: str) -> str:
    return title


async def streamed(title: str) -> AsyncGenerator[str, None]:
    yield title


def perhaps(title: str) -> str | None:
    return title or None


def content() -> bytes:
    return b"an artifact"


class Array:
    """What is like an array of NumPy."""

    def tolist(self) -> list[int]:
        return [1]


def array() -> Array:
    return Array()


def misspelt() -> "Nowhere":  # type: ignore[name-defined] # noqa: F821 - a hint that leads nowhere
    return None
