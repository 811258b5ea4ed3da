"""The installer hands pip's settings to uv."""

from __future__ import annotations

import runpy
from pathlib import Path

INSTALL = runpy.run_path(str(Path(__file__).parents[1] / "build_backend" / "install.py"))


def test_settings_of_pip_reach_uv() -> None:
    settings = INSTALL["pip_settings"](
        [
            ":env:.index-url='https://mirror.example/simple'",
            "global.index-url='https://pypi.org/simple'",
            "global.extra-index-url='https://one.example\\nhttps://two.example'",
            "user.find-links='/wheels /more-wheels'",
            "global.cert='/etc/ca.crt'",
            "global.cache-dir='/unused'",
        ]
    )
    variables = INSTALL["uv_environment"](settings)
    assert variables["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert variables["UV_INDEX"] == "https://one.example https://two.example"
    assert variables["UV_FIND_LINKS"] == "/wheels,/more-wheels"
    assert variables["SSL_CERT_FILE"] == "/etc/ca.crt"
    assert not any("unused" in value for value in variables.values())


def test_without_settings_uv_uses_its_own_index() -> None:
    variables = INSTALL["uv_environment"](INSTALL["pip_settings"]([]))
    assert "UV_DEFAULT_INDEX" not in variables
    assert "UV_INDEX" not in variables
