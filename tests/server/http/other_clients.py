"""Run by test_clients.py in an environment of its own: asks with LiteLLM or LangChain, and prints what came as JSON."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

NAME, URL, PICTURE = sys.argv[1:]
ADDRESS = f"data:image/png;base64,{base64.b64encode(Path(PICTURE).read_bytes()).decode()}"
CONTENT: list[Any] = [
    {"type": "image_url", "image_url": {"url": ADDRESS}},
    {"type": "text", "text": "What does the image show?"},
]


SEEN = {
    "type": "object",
    "properties": {"shape": {"enum": ["circle", "square"]}},
    "required": ["shape"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "paint", "description": "Paints it.", "parameters": SEEN}}
FORM = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SEEN, "strict": True}}


def litellm() -> dict[str, Any]:
    """By the provider hosted_vllm's and openai's way: any server with that API."""
    import litellm as library

    common: dict[str, Any] = {
        "model": "openai/demo",
        "api_base": URL,
        "messages": [{"role": "user", "content": CONTENT}],
        "temperature": 0,
        "num_retries": 0,
    }
    whole = library.completion(**common)
    pieces = [chunk.choices[0].delta.content or "" for chunk in library.completion(**common, stream=True)]
    later = asyncio.run(library.acompletion(**common))
    formed = library.completion(**common, response_format=FORM)
    called = library.completion(**common, tools=[TOOL], tool_choice="required")
    (call,) = called.choices[0].message.tool_calls
    try:
        library.completion(**common | {"temperature": 3})
    except library.exceptions.BadRequestError as error:
        refused = error
    return {
        "whole": whole.choices[0].message.content,
        "streamed": "".join(pieces),
        "pieces": len(pieces),
        "async": later.choices[0].message.content,
        "formed": json.loads(formed.choices[0].message.content),
        "called": [call.function.name, json.loads(call.function.arguments)],
        "prompt_tokens": whole.usage.prompt_tokens,
        "error": type(refused).__name__,
        "message": str(refused),
    }


def langchain() -> dict[str, Any]:
    """ChatOpenAI, as LangChain's users have it."""
    import openai
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="demo", base_url=URL, temperature=0, max_retries=0, stream_usage=True)
    asked = [HumanMessage(content=CONTENT)]
    whole = model.invoke(asked)
    pieces = [chunk.text for chunk in model.stream(asked)]
    later = asyncio.run(model.ainvoke(asked))
    formed = model.with_structured_output({"title": "seen", **SEEN}, method="json_schema").invoke(asked)
    (call,) = model.bind_tools([TOOL], tool_choice="any").invoke(asked).tool_calls
    try:
        ChatOpenAI(model="demo", base_url=URL, temperature=3, max_retries=0).invoke(asked)
    except openai.BadRequestError as error:
        refused = error
    return {
        "whole": whole.text,
        "streamed": "".join(pieces),
        "pieces": len(pieces),
        "async": later.text,
        "formed": formed,
        "called": [call["name"], call["args"]],
        "prompt_tokens": (whole.usage_metadata or {})["input_tokens"],
        "error": "BadRequestError",
        "message": str(refused),
    }


sys.stdout.write(json.dumps({"litellm": litellm, "langchain": langchain}[NAME]()) + "\n")
