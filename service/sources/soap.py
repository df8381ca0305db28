"""Minimal SOAP 1.1 client for the two banks that need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession

_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"


@dataclass(frozen=True)
class Operation:
    """A SOAP operation: its name, the namespace of its elements, and the SOAPAction header."""

    name: str
    namespace: str
    action: str

    async def call(self, session: SourceSession, step: str, arguments: Mapping[str, object]) -> RawResponse:
        """Call the operation; `arguments` are not escaped and must be plain words, codes or dates."""
        parameters = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f'<soap:Envelope xmlns:soap="{_ENVELOPE}"><soap:Body>'
            f'<{self.name} xmlns="{self.namespace}">{parameters}</{self.name}>'
            "</soap:Body></soap:Envelope>"
        )
        return await session.post(
            step, body.encode(), {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": self.action}
        )

    def result(self, response: RawResponse) -> parsing.Element:
        """Return the result element of a response."""
        own = f"{{{self.namespace}}}{self.name}"
        envelope = parsing.xml(response, f"{{{_ENVELOPE}}}Envelope")
        results = envelope.findall(f"{{{_ENVELOPE}}}Body/{own}Response/{own}Result")
        if len(results) > 1:
            response.reject(f"has <{self.name}Result> twice")
        return results[0] if results else response.reject(f"lacks <{self.name}Result>")
