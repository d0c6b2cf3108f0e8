"""A real MCP server with every fixture that the official conformance suite asks for; on stdio, or on HTTP to compare with.

python -m tests.servers.fixtures                  stdio
python -m tests.servers.fixtures --port N         Streamable HTTP at /mcp
python -m tests.servers.fixtures --port N --sse   HTTP+SSE at /sse
"""

# pyright: reportDeprecated=false
from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import secrets
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tests.servers.event_store import MemoryEvents

warnings.filterwarnings("ignore")

Context = ServerRequestContext[Any, Any]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
KEY = secrets.token_bytes(16)
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


def embedded(uri: str, body: str, media: str = "text/plain") -> types.EmbeddedResource:
    return types.EmbeddedResource(type="resource", resource=types.TextResourceContents(uri=uri, mime_type=media, text=body))


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PIXEL, mime_type="image/png")


# --- plain tools ---


async def simple_text(_: Context, __: types.CallToolRequestParams) -> Any:
    return [text("This is a simple text response for testing.")]


async def image_content(_: Context, __: types.CallToolRequestParams) -> Any:
    return [image()]


async def audio_content(_: Context, __: types.CallToolRequestParams) -> Any:
    return [types.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]


async def embedded_resource(_: Context, __: types.CallToolRequestParams) -> Any:
    return [embedded("test://embedded-resource", "This is an embedded resource content.")]


async def multiple_content(_: Context, __: types.CallToolRequestParams) -> Any:
    mixed = embedded("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json")
    return [text("Multiple content types test:"), image(), mixed]


async def with_logging(ctx: Context, _: types.CallToolRequestParams) -> Any:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", line, related_request_id=ctx.request_id)
        await anyio.sleep(0.05)
    return [text("Tool with logging executed successfully")]


async def with_progress(ctx: Context, _: types.CallToolRequestParams) -> Any:
    for step in (0, 50, 100):
        await ctx.session.report_progress(step, 100, f"Completed step {step} of 100")
        await anyio.sleep(0.05)
    return [text(str((ctx.meta or {}).get("progress_token", "none")))]


async def failing(_: Context, __: types.CallToolRequestParams) -> Any:
    return types.CallToolResult(content=[text("This tool intentionally returns an error for testing")], is_error=True)


async def reconnection(ctx: Context, _: types.CallToolRequestParams) -> Any:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
        await anyio.sleep(0.2)
    return [text("Reconnection test completed")]


async def own_schema(_: Context, params: types.CallToolRequestParams) -> Any:
    return [text(json.dumps(params.arguments))]


# --- questions on the handshake wires ---


async def sampling(ctx: Context, params: types.CallToolRequestParams) -> Any:
    asked = types.SamplingMessage(role="user", content=text(str((params.arguments or {}).get("prompt", ""))))
    answer = await ctx.session.create_message(messages=[asked], max_tokens=100, related_request_id=ctx.request_id)
    return [text(f"LLM response: {getattr(answer.content, 'text', '')}")]


async def ask(ctx: Context, question: str, schema: dict[str, Any]) -> Any:
    answer = await ctx.session.elicit_form(question, schema, related_request_id=ctx.request_id)
    return [text(f"User response: action={answer.action}, content={json.dumps(answer.content)}")]


async def elicitation(ctx: Context, params: types.CallToolRequestParams) -> Any:
    field = {"response": {"type": "string", "description": "User's response"}}
    return await ask(
        ctx, str((params.arguments or {}).get("message")), {"type": "object", "properties": field, "required": ["response"]}
    )


async def elicitation_defaults(ctx: Context, _: types.CallToolRequestParams) -> Any:
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await ask(ctx, "Please provide user information", {"type": "object", "properties": fields})


async def elicitation_enums(ctx: Context, _: types.CallToolRequestParams) -> Any:
    def titled(*names: str) -> list[dict[str, str]]:
        return [{"const": name, "title": name.title()} for name in names]

    fields: dict[str, Any] = {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled("value1", "value2", "value3")},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("value1", "value2", "value3")}},
    }
    return await ask(ctx, "Please select values", {"type": "object", "properties": fields})


# --- questions on the stateless wire ---


def form(question: str, field: str, kind: str = "string") -> dict[str, Any]:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": question, "requestedSchema": schema}}


def sample(question: str, tokens: int) -> dict[str, Any]:
    asked = [{"role": "user", "content": {"type": "text", "text": question}}]
    return {"method": "sampling/createMessage", "params": {"messages": asked, "maxTokens": tokens}}


ROOTS: dict[str, Any] = {"method": "roots/list", "params": {}}
WHO = form("What is your name?", "name")
CAPITAL = sample("What is the capital of France?", 100)
CONFIRM = form("Please confirm", "ok", "boolean")


def greet(given: dict[str, Any]) -> str:
    return f"Hello, {given['user_name'].get('content', {}).get('name')}!"


def show(given: dict[str, Any]) -> str:
    return json.dumps(given, default=str)


def sealed(value: str) -> str:
    return f"{value}.{hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()}"


def opened(state: str | None) -> str:
    value, _, seal = (state or "").partition(".")
    if not hmac.compare_digest(sealed(value), f"{value}.{seal}"):
        raise MCPError(types.INVALID_PARAMS, "requestState failed its integrity check")
    return value


def required(asks: dict[str, Any], state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult.model_validate({"inputRequests": asks, "requestState": state})


def asking(asks: dict[str, Any], reply: Callable[[dict[str, Any]], str], state: str | None = None) -> Any:
    async def tool(_: Context, params: types.CallToolRequestParams) -> Any:
        given = {key: value.model_dump(by_alias=True) for key, value in (params.input_responses or {}).items()}
        if state is not None and params.request_state is not None:
            opened(params.request_state)
        if not set(asks) <= set(given):
            return required(asks, sealed(state) if state is not None else None)
        return [text(reply(given))]

    return tool


async def multi_round(_: Context, params: types.CallToolRequestParams) -> Any:
    given = params.input_responses or {}
    round_ = opened(params.request_state) if params.request_state else ""
    if not round_:
        return required({"step1": form("Step 1: What is your name?", "name")}, sealed("one"))
    if round_ == "one":
        if "step1" not in given:
            return required({"step1": form("Step 1: What is your name?", "name")}, sealed("one"))
        return required({"step2": form("Step 2: What is your favorite color?", "color")}, sealed("two"))
    return [text("Both steps are done.")]


async def by_capability(ctx: Context, _: types.CallToolRequestParams) -> Any:
    able = capabilities(ctx)
    asks = {
        "say": ("sampling", sample("Say something", 10)),
        "fill": ("elicitation", form("Anything to add?", "more")),
        "look": ("roots", ROOTS),
    }
    return required({key: value for key, (needed, value) in asks.items() if needed in able} or {"say": sample("Say something", 10)})


async def missing_capability(ctx: Context, _: types.CallToolRequestParams) -> Any:
    if "sampling" not in capabilities(ctx):
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "needs sampling", {"requiredCapabilities": {"sampling": {}}})
    return [text("ok")]


def capabilities(ctx: Context) -> dict[str, Any]:
    known = ctx.session.client_capabilities
    return known.model_dump(exclude_none=True) if known is not None else {}


async def logging_tool(ctx: Context, _: types.CallToolRequestParams) -> Any:
    await ctx.session.send_log_message("info", "a line of the logging tool", related_request_id=ctx.request_id)
    return [text("logged")]


async def tool_change(ctx: Context, _: types.CallToolRequestParams) -> Any:
    await ctx.session.send_tool_list_changed()
    return [text("told")]


async def prompt_change(ctx: Context, _: types.CallToolRequestParams) -> Any:
    await ctx.session.send_prompt_list_changed()
    return [text("told")]


JSON_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object",
                          "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {
        "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]}, "phone": {"type": "string"}, "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]}, "else": {"required": ["email"]}, "additionalProperties": False,
}  # fmt: skip
MARKED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "priority": {"type": "integer", "x-mcp-header": "Priority"},
        "query": {"type": "string"},
    },
}


def _of(key: str, kind: str = "string") -> dict[str, Any]:
    return {"type": "object", "properties": {key: {"type": kind}}, "required": [key]}


Tool = Callable[[Context, types.CallToolRequestParams], Awaitable[Any]]
TOOLS: dict[str, tuple[Tool, dict[str, Any]]] = {
    "test_simple_text": (simple_text, NOTHING),
    "test_image_content": (image_content, NOTHING),
    "test_audio_content": (audio_content, NOTHING),
    "test_embedded_resource": (embedded_resource, NOTHING),
    "test_multiple_content_types": (multiple_content, NOTHING),
    "test_tool_with_logging": (with_logging, NOTHING),
    "test_tool_with_progress": (with_progress, NOTHING),
    "test_error_handling": (failing, NOTHING),
    "test_reconnection": (reconnection, NOTHING),
    "test_sampling": (sampling, _of("prompt")),
    "test_elicitation": (elicitation, _of("message")),
    "test_elicitation_sep1034_defaults": (elicitation_defaults, NOTHING),
    "test_elicitation_sep1330_enums": (elicitation_enums, NOTHING),
    "json_schema_2020_12_tool": (own_schema, JSON_SCHEMA),
    "test_headers": (own_schema, MARKED),
    "test_custom_headers": (own_schema, MARKED),
    "test_input_required_result_elicitation": (asking({"user_name": WHO}, greet), NOTHING),
    "test_input_required_result_sampling": (asking({"capital_question": CAPITAL}, json.dumps), NOTHING),
    "test_input_required_result_list_roots": (asking({"client_roots": ROOTS}, show), NOTHING),
    "test_input_required_result_request_state": (asking({"confirm": CONFIRM}, lambda _: "state-ok", "s"), NOTHING),
    "test_input_required_result_multiple_inputs": (
        asking({"user_name": WHO, "greeting": sample("Generate a greeting", 50), "client_roots": ROOTS}, show, "m"), NOTHING
    ),
    "test_input_required_result_multi_round": (multi_round, NOTHING),
    "test_input_required_result_tampered_state": (asking({"confirm": CONFIRM}, lambda _: "state-ok", "t"), NOTHING),
    "test_input_required_result_capabilities": (by_capability, NOTHING),
    "test_missing_capability": (missing_capability, NOTHING),
    "test_streaming_elicitation": (asking({"user_name": WHO}, lambda _: "thanks"), NOTHING),
    "test_logging_tool": (logging_tool, NOTHING),
    "test_trigger_tool_change": (tool_change, NOTHING),
    "test_trigger_prompt_change": (prompt_change, NOTHING),
}  # fmt: skip


async def list_tools(_: Context, __: Any) -> types.ListToolsResult:
    listed = [types.Tool(name=name, description=f"Fixture {name}", input_schema=schema) for name, (_, schema) in TOOLS.items()]
    return types.ListToolsResult(tools=listed)


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    result = await TOOLS[params.name][0](ctx, params)
    return types.CallToolResult(content=result) if isinstance(result, list) else result  # pyright: ignore[reportUnknownArgumentType]


# --- resources, prompts, completion ---

FIXED = {
    "test://static-text": types.TextResourceContents(
        uri="test://static-text", mime_type="text/plain", text="This is the content of the static text resource."
    ),
    "test://static-binary": types.BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=PIXEL),
    "test://watched-resource": types.TextResourceContents(uri="test://watched-resource", mime_type="text/plain", text="Watched"),
}


async def list_resources(_: Context, __: Any) -> types.ListResourcesResult:
    listed = [types.Resource(uri=uri, name=uri.partition("//")[2], mime_type=item.mime_type) for uri, item in FIXED.items()]
    return types.ListResourcesResult(resources=listed)


async def list_templates(_: Context, __: Any) -> types.ListResourceTemplatesResult:
    one = types.ResourceTemplate(uri_template="test://template/{id}/data", name="template", mime_type="application/json")
    return types.ListResourceTemplatesResult(resource_templates=[one])


async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    found: Any = FIXED.get(uri)
    if found is None and uri.startswith("test://template/") and uri.endswith("/data"):
        which = uri.removeprefix("test://template/").removesuffix("/data")
        body = json.dumps({"id": which, "templateTest": True, "data": f"Data for ID: {which}"})
        found = types.TextResourceContents(uri=uri, mime_type="application/json", text=body)
    if found is None:
        code = types.INVALID_PARAMS if ctx.protocol_version == "2026-07-28" else -32002
        raise MCPError(code, "Resource not found", {"uri": uri})
    return types.ReadResourceResult(contents=[found])


async def acknowledge(_: Context, __: Any) -> types.EmptyResult:
    return types.EmptyResult()


def _arguments(*names: str) -> list[types.PromptArgument]:
    return [types.PromptArgument(name=name, required=True) for name in names]


PROMPTS: dict[str, list[types.PromptArgument]] = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": _arguments("arg1", "arg2"),
    "test_prompt_with_embedded_resource": _arguments("resourceUri"),
    "test_prompt_with_image": [],
    "test_input_required_result_prompt": [],
}


async def list_prompts(_: Context, __: Any) -> types.ListPromptsResult:
    listed = [types.Prompt(name=name, description=f"Fixture {name}", arguments=arguments) for name, arguments in PROMPTS.items()]
    return types.ListPromptsResult(prompts=listed)


async def get_prompt(_: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    parts: list[types.ContentBlock]
    match params.name:
        case "test_simple_prompt":
            parts = [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            parts = [text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")]
        case "test_prompt_with_embedded_resource":
            parts = [embedded(str(given.get("resourceUri")), "Embedded resource content for testing."), text("Please process it.")]
        case "test_prompt_with_image":
            parts = [image(), text("Please analyze the image above.")]
        case "test_input_required_result_prompt":
            if not params.input_responses:
                return required({"user_context": form("What context should the prompt use?", "context")})
            parts = [text("Prompt with context.")]
        case _:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=part) for part in parts])


async def complete(_: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


CACHED: tuple[Any, ...] = ("tools/list", "resources/list", "resources/templates/list", "resources/read", "prompts/list")


def build() -> Server[Any]:
    return Server(
        "mcpwatch-fixtures", version="1.0.0",
        cache_hints=dict.fromkeys(CACHED, CacheHint(ttl_ms=1000, scope="private")),
        get_tool_input_schema=lambda name: TOOLS[name][1] if name in TOOLS else None,
        on_list_tools=list_tools, on_call_tool=call_tool, on_list_resources=list_resources,
        on_list_resource_templates=list_templates, on_read_resource=read_resource, on_subscribe_resource=acknowledge,
        on_unsubscribe_resource=acknowledge, on_list_prompts=list_prompts, on_get_prompt=get_prompt, on_completion=complete,
        on_set_logging_level=acknowledge,
    )  # fmt: skip


def sse_app(server: Server[Any]) -> Starlette:
    """The server on the legacy wire."""
    legacy = SseServerTransport("/messages/")

    async def stream(request: Request) -> Response:
        async with legacy.connect_sse(request.scope, request.receive, request._send) as (reader, writer):  # pyright: ignore[reportPrivateUsage]
            await server.run(reader, writer, server.create_initialization_options())
        return Response()

    return Starlette(routes=[Route("/sse", stream), Mount("/messages/", app=legacy.handle_post_message)])


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sse", action="store_true")
    given = parser.parse_args()
    port, server = given.port, build()
    if port:
        app = sse_app(server) if given.sse else server.streamable_http_app(event_store=MemoryEvents(), retry_interval=100)
        await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).serve()
        return
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
