"""The official Python SDK as referee: whether its client takes a conversation. Reads texts as its transports do."""

from __future__ import annotations

from typing import cast

import anyio
from mcp.client.session import ClientSession
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from tests.checks.referees.answers import Case


async def taken(case: Case) -> str:
    """The empty string when the SDK's client gets through `initialize` and `tools/list`, else why it does not."""
    to_client, read = anyio.create_memory_object_stream[SessionMessage | Exception](8)
    write, from_client = anyio.create_memory_object_stream[SessionMessage](8)
    answers = {"initialize": case.hello, "tools/list": case.listed}
    refused: list[str] = []

    async def serve(scope: anyio.CancelScope) -> None:
        async for sent in from_client:
            text = answers.get(getattr(sent.message, "method", ""))
            if text is None:
                continue
            try:
                message = jsonrpc_message_adapter.validate_json(text, by_name=False)
            except ValueError as error:
                refused.append(str(error).replace("\n", " ")[:200])
                scope.cancel()
                return
            number = getattr(message, "id", None)
            if isinstance(number, bool) or str(number) != str(getattr(sent.message, "id", None)):
                refused.append(f"an answer with id {number} is not waited for")
                scope.cancel()
                return
            await to_client.send(SessionMessage(message))

    try:
        with anyio.move_on_after(20) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(serve, scope)
                async with ClientSession(read, write) as session:
                    await session.initialize()
                    await session.list_tools()
                group.cancel_scope.cancel()
                return ""
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its answer
        return _words(error) or "refused"
    finally:
        for stream in (to_client, read, write, from_client):
            stream.close()
    return refused[0] if refused else "no answer"


def _words(error: BaseException) -> str:
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", inner).exceptions[0]
    return str(inner).replace("\n", " ")[:200]
