"""The server-side include of docs/embedding.md, with a real nginx in front of a real service."""

import re

import aiohttp

from service.settings.loader import ROOT
from tests.conftest import Started
from tests.support.edge import run_nginx
from tests.support.http import until_ready
from tests.support.pages import published
from tests.support.ports import unused_port
from tests.support.standin import Banks

CONFIG = """
daemon off;
pid nginx.pid;
error_log stderr alert;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path temp; fastcgi_temp_path temp; scgi_temp_path temp; uwsgi_temp_path temp;
    server {{
        listen 127.0.0.1:{port};
        default_type "text/html; charset=utf-8";
        ssi on;
        {location}
    }}
}}
"""


async def test_documented_include_inserts_the_strip(start: Started, banks: Banks) -> None:
    """As text, for browsers that accept compressed responses too; query parameters arrive."""
    document = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    (location,) = re.findall(r"`(location /v1/ .+)`", document)
    (directive,) = re.findall(r"<!--#include .+-->", document)
    published(banks)
    service = await start()
    await until_ready(service)
    port = unused_port()
    location = location.replace("127.0.0.1:8080", f"127.0.0.1:{service.port}")
    page = f"<!doctype html><title>News</title>\n{directive}\n<p>After</p>"
    files = {"nginx.conf": CONFIG.format(port=port, location=location), "prefix/html/index.html": page}
    with run_nginx(files, port) as site:
        async with aiohttp.ClientSession() as client:
            for encoding in ("gzip, br", "identity"):
                async with client.get(site.url, headers={"Accept-Encoding": encoding}) as response:
                    text = await response.text()
                assert re.search(r'<title>News</title>\s+<div class="ticker list ', text), text[:300]
                assert "доллар США" in text
                assert text.endswith("<p>After</p>")
