"""The small calls beside the completions: one client, JSON in and out, faults in words.

Redirects are off and the environment is not trusted (no proxy, no netrc): what a person wrote goes
to the address that was configured and nowhere else. httpx keeps no log of bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empathy_agent.backends.completions.options import Options
from empathy_agent.backends.completions.refusals import Fault, broken, refusal, unusable
from empathy_agent.errors import BackendError, BackendUnavailable

_PROBE_TIMEOUT_S = 10.0
_UNKNOWN_THERE = (400, 404, 405, 422, 501)


class Calls:
    """One HTTP client, to be used from one event loop."""

    def __init__(self, options: Options) -> None:
        try:
            import httpx
        except ModuleNotFoundError:
            raise BackendUnavailable(
                "endpoints need httpx; install `empathy-agent[endpoint]`"
            ) from None
        self._options = options
        self._small = httpx.Timeout(
            min(_PROBE_TIMEOUT_S, options.read_timeout_s), connect=options.connect_timeout_s
        )
        self.client = httpx.AsyncClient(
            headers=options.all_headers(),
            timeout=httpx.Timeout(
                options.read_timeout_s, connect=options.connect_timeout_s, pool=None
            ),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            follow_redirects=False,
            trust_env=False,
        )

    async def find(
        self,
        method: str,
        url: str,
        body: Mapping[str, object] | None = None,
        *,
        is_optional: bool = True,
    ) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON that a call brings, or None where the server does not know it.

        Args:
            method: `"GET"` or `"POST"`.
            url: The whole address.
            body: Sent as JSON.
            is_optional: Take any refusal for not knowing it: gateways refuse unknown paths in
                many ways. Otherwise a refused key or a server that is not ready is told.

        Raises:
            Fault: There is no connection, or the server refuses what is not optional.
        """
        try:
            return await self.ask(method, url, body)
        except Fault as fault:
            is_no_json = fault.status is None and type(fault.error) is BackendError
            is_refused = fault.status is not None and is_optional
            if not (is_refused or is_no_json or fault.status in _UNKNOWN_THERE):
                raise
        return None

    async def ask(self, method: str, url: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401
        """Return the JSON that a call brings.

        Raises:
            Fault: It brings none.
        """
        import httpx

        fault: Fault | None = None
        try:
            response = await self.client.request(method, url, json=body, timeout=self._small)
        except httpx.HTTPError as error:
            fault = broken(error, self._options.host, self._options.read_timeout_s)
        if fault is not None:
            raise fault
        if response.status_code != 200:
            raise await refusal(response, self._options.host, self._options.model)
        try:
            return response.json()
        except ValueError:
            pass
        raise unusable("no JSON")

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
