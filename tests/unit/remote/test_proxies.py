from __future__ import annotations

import pytest
from yarl import URL

from entrepot.errors import ConfigError
from entrepot.remote.proxies import Proxies

BOTH = {"HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "http://plain:3128"}


def chosen(environ: dict[str, str], url: str) -> str | None:
    proxy = Proxies.from_environment(environ).for_url(URL(url))
    return None if proxy is None else str(proxy)


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, "https://r.example/", None),
        (BOTH, "https://r.example/", "http://proxy:3128"),
        (BOTH, "http://r.example/", "http://plain:3128"),
        ({"https_proxy": "http://lower:1", **BOTH}, "https://r.example/", "http://lower:1"),
        ({"HTTPS_PROXY": "proxy:3128"}, "https://r.example/", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://me:pw@proxy:3128"}, "https://r.example/", "http://me:pw@proxy:3128"),
        ({"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}, "http://r.example/", None),
        ({"http_proxy": "http://ours:1", "REQUEST_METHOD": "GET"}, "http://r.example/", "http://ours:1"),
        ({"ALL_PROXY": "http://proxy:3128"}, "https://r.example/", None),
        (BOTH, "http://localhost:5000/", None),
        (BOTH, "http://127.0.0.1:5000/", None),
        (BOTH, "https://[::1]:5000/", None),
    ],
)
def test_the_proxy_of_a_url(environ: dict[str, str], url: str, expected: str | None) -> None:
    """The scheme chooses the variable, lower case counts before upper, this machine needs no proxy."""
    assert chosen(environ, url) == expected


@pytest.mark.parametrize(
    ("exempt", "url", "direct"),
    [
        ("*", "https://r.example/", True),
        ("r.example", "https://r.example/", True),
        ("r.example", "https://sub.r.example/", True),
        ("r.example", "https://other.example/", False),
        ("r.example", "https://notr.example/", False),
        (".r.example", "https://sub.r.example/", True),
        (".r.example", "https://r.example/", False),
        ("*.r.example", "https://sub.r.example/", True),
        ("R.Example", "https://r.example/", True),
        (" a.example , r.example ", "https://r.example/", True),
        ("r.example:5000", "https://r.example:5000/", True),
        ("r.example:5000", "https://r.example/", False),
        ("r.example:443", "https://r.example/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("fd00::/8", "https://[fd00::1]/", True),
        ("[fd00::1]:5000", "https://[fd00::1]:5000/", True),
        ("fd00::1", "https://[fd00::1]/", True),
        ("nonsense/xx", "https://r.example/", False),
        ("", "https://r.example/", False),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_hosts_that_need_no_proxy(variable: str, exempt: str, url: str, direct: bool) -> None:
    """NO_PROXY lists hosts, suffixes, ports, addresses and networks."""
    assert (chosen({**BOTH, variable: exempt}, url) is None) is direct


@pytest.mark.parametrize("value", ["socks5://me:canary@proxy:1", "ftp://proxy", "http://", "http://[::1"])
def test_an_unusable_proxy_is_named_without_its_password(value: str) -> None:
    """A proxy that we cannot use is an error of the settings, which shows no credentials."""
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        Proxies.from_environment({"HTTPS_PROXY": value})
    assert "canary" not in str(caught.value)
