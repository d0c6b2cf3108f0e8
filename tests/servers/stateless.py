"""A real server by the official SDK that asks for input, tells of changes and marks a parameter as a header.

python -m tests.servers.stateless PORT      both eras on Streamable HTTP at /mcp; PORT may be 0, the one in use is printed
python -m tests.servers.stateless           both eras on stdio
"""

# pyright: reportDeprecated=false
from __future__ import annotations

import json
import socket
import sys
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ToolsListChanged

Context = ServerRequestContext[Any, Any]
BUS = InMemorySubscriptionBus()
FORM: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ASKS: dict[str, Any] = {
    "who": {"method": "elicitation/create", "params": {"mode": "form", "message": "Who are you?", "requestedSchema": FORM}},
    "where": {"method": "roots/list", "params": {}},
}
MARKED: dict[str, Any] = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
TOOLS: dict[str, dict[str, Any]] = {
    name: {"type": "object"} for name in ("ask", "again", "grow", "touch", "client", "log", "wait")
} | {"marked": MARKED}


async def list_tools(_: Context, __: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=schema) for name, schema in TOOLS.items()])


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
    given = {
        key: value.model_dump(mode="json", by_alias=True, exclude_none=True)
        for key, value in (params.input_responses or {}).items()
    }
    arguments = params.arguments or {}
    said: Any = arguments
    match params.name:
        case "ask" if not given:
            return types.InputRequiredResult.model_validate({"inputRequests": ASKS, "requestState": "first"})
        case "ask":
            said = {"given": given, "state": params.request_state}
        case "again" if params.request_state != "yes":
            return types.InputRequiredResult.model_validate({"requestState": "yes" if params.request_state else "not yet"})
        case "grow":
            await BUS.publish(ToolsListChanged())
        case "touch":
            await BUS.publish(ResourceUpdated(uri=arguments["uri"]))
        case "client":
            known = ctx.session.client_capabilities
            said = known.model_dump(exclude_none=True) if known is not None else None
        case "log":
            await ctx.session.send_log_message("info", "a line", related_request_id=ctx.request_id)
        case "wait":
            try:
                await anyio.sleep_forever()
            finally:
                print("cancelled", flush=True)
        case _:
            pass
    return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps(said))])


async def list_resources(_: Context, __: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[types.Resource(uri="it://one", name="one")])


async def done(_: Context, __: Any) -> types.EmptyResult:
    return types.EmptyResult()


def build() -> Server[Any]:
    return Server(
        "stateless", version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool, on_list_resources=list_resources,
        on_subscriptions_listen=ListenHandler(BUS), on_subscribe_resource=done, on_unsubscribe_resource=done,
        on_set_logging_level=done,
    )  # fmt: skip


async def main() -> None:
    server = build()
    if len(sys.argv) > 1:
        listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
        print(listener.getsockname()[1], flush=True)
        await uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="warning")).serve([listener])
        return
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
