"""Whether the database that a cluster is to use is there, told before a server is started, and without its password."""

import asyncio
from urllib.parse import urlsplit

from ovseg3r_model.errors import InputError

_SCHEME = "postgresql+asyncpg"
_SECONDS = 10.0


def check_database(url: str) -> None:
    """Connects to a PostgreSQL database once.

    Raises:
        InputError: the URL is none of PostgreSQL for asyncpg, or nothing can be reached or entered there.
    """
    try:
        parts = urlsplit(url)
        port, whole = parts.port, bool(parts.scheme == _SCHEME and parts.hostname and parts.path.strip("/"))
    except ValueError:
        whole = False
    if not whole:
        raise InputError(f"The database's URL cannot be used; write it like {_SCHEME}://user:password@host:5432/name.")
    where = f"{parts.hostname}:{port or 5432}/{parts.path.strip('/')}"
    try:
        asyncio.run(_connect(url.replace(_SCHEME, "postgresql", 1)))
    except Exception as error:  # asyncpg's errors have no base of their own beside those of the system and of asyncio
        raise InputError(
            f"{where}: the database cannot be used ({type(error).__name__}); check host, name, user and password."
        ) from None  # the cause may hold the URL


async def _connect(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url, timeout=_SECONDS)
    await connection.close()
