"""SOAP 1.1, as far as two banks need it: a question in an envelope, and the answer out of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.sources import parsing
from service.sources.adapter import RawResponse, SourceSession

_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"


@dataclass(frozen=True)
class Operation:
    """A SOAP operation: its name, the namespace of its elements, the header SOAPAction."""

    name: str
    namespace: str
    action: str

    async def call(self, session: SourceSession, step: str, arguments: Mapping[str, object]) -> RawResponse:
        """Call the operation with `arguments`, which are words, codes and dates."""
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f'<soap:Envelope xmlns:soap="{_ENVELOPE}"><soap:Body>'
            f'<{self.name} xmlns="{self.namespace}">{inside}</{self.name}>'
            "</soap:Body></soap:Envelope>"
        )
        return await session.post(
            step, body.encode(), {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": self.action}
        )

    def result(self, response: RawResponse) -> parsing.Element:
        """Return the element that holds what the operation answered."""
        own = f"{{{self.namespace}}}{self.name}"
        envelope = parsing.xml(response, f"{{{_ENVELOPE}}}Envelope")
        found = envelope.findall(f"{{{_ENVELOPE}}}Body/{own}Response/{own}Result")
        if len(found) > 1:
            response.reject(f"has <{self.name}Result> twice")
        return found[0] if found else response.reject(f"lacks <{self.name}Result>")
