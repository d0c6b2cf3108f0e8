"""The MCP server over the official SDK: the one door to it. Owns the wire's side; what tools do is in `tools`.

Only `mcpwatch mcp` imports this. Over HTTP it serves a unix socket behind the daemon's own guard, which says in two headers what
the caller may do; over stdio the one who started it is the caller.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette

from mcpwatch import __version__
from mcpwatch.model.errors import McpwatchError
from mcpwatch.web.mcp.tool import Ask, McpTool, call
from mcpwatch.web.mcp.tools import Offer

STATUS_URI = "mcpwatch://status"
ROLE, BY = "mcpwatch-role", "mcpwatch-by"
"""Headers that the daemon's relay sets; a client's own are thrown away there."""
SUBSCRIBERS = 256
PROMPT = "explain_outage"
INSTRUCTIONS = (
    "mcpwatch supervises MCP servers. When a tool of another server fails, ask fleet_status whether its route works, then explain. "
    "Times are seconds since the Unix epoch or RFC 3339."
)

AskAs = Callable[[str], Ask]
"""How the watchdog is asked on behalf of somebody."""
Changes = Callable[[], AsyncIterator[None]]
"""One item for each change of the fleet's health."""


class McpServer:
    """One server. `offer` is what a caller without an HTTP request gets (stdio)."""

    def __init__(self, ask_as: AskAs, changes: Changes, offer: Offer) -> None:
        self._ask_as = ask_as
        self._changes = changes
        self._offer = offer
        self._bus = InMemorySubscriptionBus()
        self._subscribers: dict[int, Any] = {}
        self.server: Server[Any] = Server(
            "mcpwatch",
            version=__version__,
            title="mcpwatch",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=_list_resources,
            on_list_resource_templates=_list_templates,
            on_read_resource=self._read,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_subscriptions_listen=ListenHandler(self._bus, max_subscriptions=SUBSCRIBERS),
            on_list_prompts=_list_prompts,
            on_get_prompt=_prompt,
        )

    def app(self) -> Starlette:
        """The server over Streamable HTTP, at `/mcp`. The daemon's guard checked Host and Origin; only it reaches us."""
        checked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        return self.server.streamable_http_app(streamable_http_path="/mcp", transport_security=checked)

    async def run_stdio(self) -> None:
        """Serve standard input and output until they end."""
        async with anyio.create_task_group() as tasks, stdio_server() as (reading, writing):
            tasks.start_soon(self.follow)
            await self.server.run(reading, writing, self.server.create_initialization_options())
            tasks.cancel_scope.cancel()

    async def follow(self) -> None:
        """Tell subscribers that the status changed, whenever it does."""
        async for _ in self._changes():
            await self._bus.publish(ResourceUpdated(uri=STATUS_URI))
            for key, session in list(self._subscribers.items()):
                try:
                    with anyio.fail_after(2.0):
                        await session.send_resource_updated(STATUS_URI)
                except Exception:  # noqa: BLE001 - whatever a session that is gone raises: it subscribes no more
                    self._subscribers.pop(key, None)

    def _offered(self, context: Any) -> Offer:
        """What this caller may do: as the relay says, else as the one who started us."""
        headers = getattr(context.request, "headers", None)
        if headers is None:
            return self._offer
        return Offer.of(operate=headers.get(ROLE) == "operate", by=headers.get(BY, "")[:64])

    async def _list_tools(self, context: Any, params: Any) -> types.ListToolsResult:  # noqa: ARG002
        return types.ListToolsResult(tools=[_shown(tool) for tool in self._offered(context).tools])

    async def _call_tool(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        offer = self._offered(context)
        try:
            tool = offer.tool(params.name)
            answer = await call(tool, self._ask_as(f"{offer.by or 'agent'} (MCP)"), dict(params.arguments or {}))
        except McpwatchError as error:
            return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)
        text = json.dumps(answer, ensure_ascii=False)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=answer)

    async def _read(self, context: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:  # noqa: ARG002
        _known(str(params.uri))
        try:
            answer = await call(Offer.of(operate=False).tool("fleet_status"), self._ask_as(""), {"limit": 50})
        except McpwatchError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from None
        text = json.dumps(answer, ensure_ascii=False)
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=STATUS_URI, mime_type="application/json", text=text)]
        )

    async def _subscribe(self, context: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
        _known(str(params.uri))
        while len(self._subscribers) >= SUBSCRIBERS:
            del self._subscribers[next(iter(self._subscribers))]
        self._subscribers[id(context.session)] = context.session
        return types.EmptyResult()

    async def _unsubscribe(self, context: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:  # noqa: ARG002
        self._subscribers.pop(id(context.session), None)
        return types.EmptyResult()


def _known(uri: str) -> None:
    if uri.rstrip("/") != STATUS_URI:
        raise MCPError(types.INVALID_PARAMS, f"no resource {uri[:200]}; there is {STATUS_URI}")


def _shown(tool: McpTool) -> types.Tool:
    hints = types.ToolAnnotations(
        title=tool.title,
        read_only_hint=not tool.operate,
        destructive_hint=tool.destructive,
        idempotent_hint=tool.idempotent,
        open_world_hint=tool.open_world,
    )
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=hints,
    )


async def _list_resources(context: Any, params: Any) -> types.ListResourcesResult:  # noqa: ARG001
    found = types.Resource(
        uri=STATUS_URI,
        name="status",
        title="Fleet status",
        description="What works and what does not.",
        mime_type="application/json",
    )
    return types.ListResourcesResult(resources=[found])


async def _list_templates(context: Any, params: Any) -> types.ListResourceTemplatesResult:  # noqa: ARG001
    return types.ListResourceTemplatesResult(resource_templates=[])


async def _list_prompts(context: Any, params: Any) -> types.ListPromptsResult:  # noqa: ARG001
    argument = types.PromptArgument(name="name", description="Member or route; everything when left out.", required=False)
    found = types.Prompt(
        name=PROMPT, title="Explain this outage", description="Find out what is down and why.", arguments=[argument]
    )
    return types.ListPromptsResult(prompts=[found])


async def _prompt(context: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:  # noqa: ARG001
    if params.name != PROMPT:
        raise MCPError(types.INVALID_PARAMS, f"no prompt {params.name[:100]}; there is {PROMPT}")
    name = (params.arguments or {}).get("name", "")
    what = f"the MCP route or member '{name[:200]}'" if name else "every MCP route that does not work"
    text = (
        f"Explain the outage of {what}. Call fleet_status, then explain for each one that is down, and events or logs where the "
        "cause is not clear. Say what is down, since when, why, what mcpwatch does, what is left for a person. Quote evidence."
    )
    return types.GetPromptResult(
        description="Explain this outage",
        messages=[types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))],
    )


@contextlib.asynccontextmanager
async def serving(server: McpServer) -> AsyncGenerator[Callable[..., Awaitable[None]]]:
    """The HTTP application with its sessions running, for as long as the context."""
    app = server.app()
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        tasks.start_soon(server.follow)
        yield app
        tasks.cancel_scope.cancel()
