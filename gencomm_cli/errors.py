"""The errors that users meet, each with the exit status that scripts rely on."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class GencommError(Exception):
    """A failure with one line for the user: ``<what>: <what is wrong, and what would be right>``."""

    exit_status = 1

    @property
    def flagged(self) -> str:
        """The line as a command shows it."""
        return str(self)


class InputError(GencommError):
    """Bad usage or bad input."""

    exit_status = 2


class FieldError(GencommError):
    """A failure that lies in one thing that was asked for.

    Args:
        field: its name in Python; a command shows it as its flag.
        problem: what is wrong with it, and what would be right.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field, self.problem = field, problem

    @property
    def flagged(self) -> str:
        """The line with the flag in the place of the field: ``--guidance-scale: …``."""
        return f"--{self.field.replace('_', '-')}: {self.problem}"


class OptionError(FieldError, InputError):
    """An option that cannot be as it is given."""


class PromptLost(GencommError):
    """The prompt's CRC failed and ``--strict`` was asked for."""

    exit_status = 3


class ImageLost(GencommError):
    """The image's bits were lost and ``--strict`` was asked for."""

    exit_status = 3


class ModelMismatch(GencommError):
    """File and model do not match."""

    exit_status = 4


def one_line(error: object) -> str:
    """The start of a foreign message, fit for one line of a terminal."""
    line = " ".join((str(error) or type(error).__name__).split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:200]


def imported(module: str, without: str) -> Any:
    """A module that comes with an extra. Raises InputError, whose line is ``without``, where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise InputError(without) from None


class NotFinite(GencommError):
    """A network gave NaN or infinite numbers."""

    def __init__(self, network: str) -> None:
        super().__init__(
            f"{network}: gives NaN or infinite numbers for this input; train it again, or give --precision fp32 if it ran in half"
        )


class RateError(FieldError):
    """The requested rate cannot be met.

    Args:
        fits: the fewest symbols, for image and side information together, that would do; None where nobody knows.
    """

    exit_status = 5

    def __init__(self, problem: str, field: str = "cbr", fits: int | None = None) -> None:
        super().__init__(field, problem)
        self.fits = fits
