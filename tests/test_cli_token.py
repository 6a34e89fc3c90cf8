"""`flexpatch token`."""

import hashlib

import pytest

from app.api.auth import parse_tokens
from app.cli import main


def test_a_token_is_printed_once_and_its_hash_for_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "prometheus", "--role", "read"]) == 0
    printed = capsys.readouterr()
    secret = printed.out.strip()
    (token,) = parse_tokens([line.split()[1] for line in printed.err.splitlines() if line.startswith("tokens")])
    assert (token.name, token.role) == ("prometheus", "read")
    assert token.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in printed.err


@pytest.mark.parametrize("arguments", [["token"], ["token", "a b"], ["token", "a", "--role", "root"]])
def test_wrong_use_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("Error: ")
