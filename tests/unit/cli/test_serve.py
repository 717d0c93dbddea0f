"""`serve` and `config check`: settings on their way to the registry."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_config_check(run, tmp_path: Path) -> None:
    """Good settings are said to be good; every problem of bad ones is named."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[http]\nlisten = "127.0.0.1:5001"\n')
    bad.write_text('[http]\nlisten = 5\nlistne = "x"\n')
    assert run("config", "check").code == 0
    assert run("config", "check", "--config", good, "--json").json == {"ok": True}
    refused = run("config", "check", "-c", bad)
    assert refused.code == 2
    assert "listen" in refused.err
    assert "listne" in refused.err


@pytest.mark.parametrize(
    "options", [["--listen", "nowhere"], ["--workers", "0"], ["--config", "absent.toml"]], ids=" ".join
)
def test_settings_that_cannot_be_used(run, options: list[str]) -> None:
    """A registry does not start with settings that it cannot use."""
    assert run("serve", *options).code == 2
