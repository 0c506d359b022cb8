"""Whether a service answers at an address; in containers as a command: `python -m deployments.site.health ADDRESS`."""

import sys
import urllib.request

PATIENCE_SECONDS = 3


def answers(address: str) -> bool:
    """Whether a service answers 200 to an HTTP request, or at a `postgresql://` address takes connections."""
    return _takes_connections(address) if address.startswith("postgresql://") else _http_answers(address)


def _http_answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - our own addresses
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _takes_connections(address: str) -> bool:
    from psycopg import pq

    return pq.PGconn.ping(f"{address}?connect_timeout={PATIENCE_SECONDS}".encode()) == pq.Ping.OK


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
