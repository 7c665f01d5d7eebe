"""Packages that the program uses when they are there (requirements-extras.txt) and can do without."""

from importlib.util import find_spec

from mindiffusion.runtime.errors import UserError


def installed(package: str) -> bool:
    """Whether the package can be imported, without importing it."""
    return find_spec(package) is not None


def advice(package: str) -> str:
    """What to do about a package that is missing."""
    return f"{package} is not installed here (pip install {package}, or -r requirements-extras.txt for all extras)."


def require(package: str, purpose: str) -> None:
    """UserError if the package, without which ``purpose`` is impossible, is missing."""
    if not installed(package):
        raise UserError(f"{purpose} is impossible: {advice(package)}")
