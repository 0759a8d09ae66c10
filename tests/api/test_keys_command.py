"""`rillflow keys` makes, lists and revokes keys; `docs/access.md` shows how."""

import asyncio
import json
import shlex
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from rillflow.client.http_transport.transport import KEY_VARIABLE
from tests.api.serving import Api, served
from tests.spec.documented import blocks_of
from tests.unit.commands import run

FIRST: Final = "the-key-of-the-settings"
PAGE: Final = Path(__file__).parents[2] / "docs" / "access.md"


async def said(api: Api, *arguments: str) -> tuple[int, str, str]:
    command = (*arguments, "--url", api.stack.settings.base_url)
    return await asyncio.to_thread(partial(run, *command))


async def test_a_key_is_made_listed_and_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, FIRST)
    async with served(api_key=FIRST) as api:
        add = ("keys", "add", "cut", "--role", "operator")
        code, out, _ = await said(api, *add, "--workspace", "video", "--expires", "90d")
        assert code == 0
        key = out.strip()
        assert key.startswith("rfk_")
        monkeypatch.setenv(KEY_VARIABLE, key)
        assert (await said(api, "list", "--business", "video"))[0] == 0
        code, _, err = await said(api, "list", "--business", "shop")
        assert (code, "workspace of others" in err) == (1, True)
        monkeypatch.setenv(KEY_VARIABLE, FIRST)
        code, out, _ = await said(api, "keys", "list")
        assert code == 0
        assert out.split()[:4] == ["cut", "operator", "valid", "until"]
        assert key not in out
        assert await said(api, "keys", "revoke", "cut") == (0, "revoked cut\n", "")
        assert "revoked" in (await said(api, "keys", "list"))[1]
        monkeypatch.setenv(KEY_VARIABLE, key)
        assert (await said(api, "list", "--business", "video"))[0] == 1


async def test_the_commands_of_the_page_do_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, FIRST)
    blocks = [each.text for each in blocks_of(PAGE.read_text(encoding="utf-8"))]
    async with served(api_key=FIRST) as api:
        lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
        outs = []
        for line in lines:
            code, out, err = await said(api, *line[1:])
            assert code == 0, err
            outs.append(out)
    assert outs[0].startswith("rfk_")
    assert ("grafana" in outs[2], "video" in outs[2]) == (True, True)
    assert outs[3] == "revoked grafana\n"
    assert outs[4].startswith("rfk_")
    entries = [line.split()[-3:] for line in outs[5].splitlines()]
    assert entries[:2] == [["keys/add", "importer", "200"], ["keys/revoke", "grafana", "200"]]
    assert len(json.loads(outs[6])["entries"]) == 4


async def test_what_is_wrong_with_a_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, FIRST)
    async with served(api_key=FIRST) as api:
        code, _, err = await said(api, "keys", "add", "a", "--role", "operators")
        assert (code, "did you mean" in err) == (1, True), err
        code, _, err = await said(api, "keys", "add", "a", "--role", "viewer", "--workspace", "")
        assert code == 2
        assert "a workspace is empty" in err
        code, _, err = await said(api, "keys", "add", "a", "--role", "viewer", "--expires", "soon")
        assert (code, "as in 90d" in err) == (2, True), err
        code, _, err = await said(api, "keys", "revoke", "nobody")
        assert (code, "there is no key nobody" in err) == (1, True), err
