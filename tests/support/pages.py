"""Read HTML pages, fragments and SVG as documents."""

import json
from typing import Any

from justhtml import Element, JustHTML, Node
from lxml import etree
from yarl import URL

from tests.support.fixings import APRIL
from tests.support.http import Client, body
from tests.support.standin import Banks

SVG = "{http://www.w3.org/2000/svg}"


def published(banks: Banks) -> Banks:
    """Let the National Bank publish the rates of April, and the other banks return 404."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    return banks


async def text_of(client: Client, path: str, status: int = 200, language: str = "") -> str:
    async with client.get(URL(path, encoded=True), headers={"Accept-Language": language}) as response:
        text = await body(response)
        assert response.status == status, text
        return text


async def json_of(client: Client, path: str) -> Any:
    return json.loads(await text_of(client, path))


async def page_of(client: Client, path: str, language: str = "") -> Node:
    """Return a page or fragment; fail if it has a parse error."""
    text = await text_of(client, path, language=language)
    fragment = not text.startswith("<!doctype html>")
    return JustHTML(text, sanitize=False, strict=True, fragment=fragment).root


async def picture_of(client: Client, path: str, language: str = "") -> etree._Element:
    """Return a picture; fail if it is not well-formed XML."""
    return etree.fromstring((await text_of(client, path, language=language)).encode())


def select(page: Node, selector: str) -> list[Element]:
    return [node for node in page.query(selector) if isinstance(node, Element)]


def select_one(page: Node, selector: str) -> Element:
    (element,) = select(page, selector)
    return element
