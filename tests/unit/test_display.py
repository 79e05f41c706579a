import pytest

from flows.display import show_findings
from flows.doctor import Finding


def test_advice_with_an_extra_is_shown_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show_findings([Finding("engine", "not installed", False, False, "pip install 'ovseg3r[dust3r]'")])
    assert "pip install 'ovseg3r[dust3r]'" in capsys.readouterr().out
