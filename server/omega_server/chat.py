"""A chat request from its body to its answer: what is asked, of which pictures and videos, how it is sampled, how it is told."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from omega_schema.resource import Generation
from omega_schema.server_config import ServerConfig
from omega_server import tracing
from omega_server.completion import Completion, Delta, encode_plain
from omega_server.engine.request import Sampling
from omega_server.form import described, grammar_of, tools_of
from omega_server.keys import tenant
from omega_server.media.loader import Source, VideoSource
from omega_server.prompt.builder import Built
from omega_server.prompt.messages import Call, Shown, Tools, Turn
from omega_server.serving import Serving
from omega_server.telling import Telling
from omega_server.wire import responses
from omega_server.wire.errors import ApiError, Problem, bad_request
from omega_server.wire.messages import (
    AudioPart,
    CallingMessage,
    ImagePart,
    ImageUrlPart,
    Message,
    TextPart,
    ToolMessage,
    UserPart,
    VideoPart,
    VideoUrlPart,
)
from omega_server.wire.requests import ChatRequest, TokenizeRequest

logger = logging.getLogger(__name__)

Number = TypeVar("Number", int, float)
Media = ImagePart | ImageUrlPart | VideoPart | VideoUrlPart

PATIENCE = 15.0
"""Seconds for which a stream waits for its first piece before it begins without: whoever stands between could lose hope."""


@dataclass(frozen=True, eq=False)
class Job:
    """A request that is ready to be computed."""

    request: ChatRequest
    turns: Sequence[Turn]
    built: Built
    samplings: Sequence[Sampling]
    tools: Tools = ()


async def prepare(serving: Serving, request: ChatRequest) -> Job:
    """Check a request against the limits of now, load its pictures and videos and build its prompt.

    Raises:
        ApiError: a limit is exceeded, or the model is another.
        MediaError: a picture or video cannot be used.
        ContextLengthExceeded: the prompt is too long.
    """
    config, prompts = serving.live.current, serving.prompts
    check(request, config, serving.settings.boot.model_name, prompts.vocabulary)
    if not prompts.tools:
        _check_no_tools(request, serving.settings.boot.model_name)
    grammar = await grammar_of(request, prompts.validate)
    tools = described(tools_of(request))
    asker = tenant.get()
    shown = await serving.loader.load(_sources(request), config.images, config.video, prompts.video, asker)
    turns = _turns(request, shown)
    with tracing.span("prompt"):
        built = await prompts.build(turns, asker, tools)
    room = prompts.max_length - len(built.prompt.token_ids)
    named = {
        "user": request.user,
        "safety_identifier": request.safety_identifier,
        "metadata": request.metadata,
        "media": [part.uuid for _, part in _parts(request) if isinstance(part, Media) and part.uuid],
    }
    fields = {
        "prompt_tokens": len(built.prompt.token_ids),
        "image_tokens": sum(built.image_tokens),
        "video_tokens": sum(built.video_tokens),
    }
    logger.info("prompt", extra={"fields": fields | {name: value for name, value in named.items() if value}})
    chosen = samplings(request, config.generation, room, grammar)
    _note(serving.settings.boot.model_name, request, chosen)
    return Job(request, turns, built, chosen, tools)


def _note(model: str, request: ChatRequest, chosen: Sequence[Sampling]) -> None:
    """Say in the trace what is asked for, under OpenTelemetry's names."""
    tracing.note(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "omega",
            "gen_ai.request.model": request.model or model,
            "gen_ai.response.model": model,
            "gen_ai.request.choice.count": len(chosen),
            "gen_ai.request.max_tokens": chosen[0].max_tokens,
            "gen_ai.request.temperature": chosen[0].temperature,
            "gen_ai.request.top_p": chosen[0].top_p,
            "gen_ai.request.top_k": chosen[0].top_k,
            "gen_ai.request.seed": request.seed,
        }
    )


def check(request: ChatRequest, config: ServerConfig, model: str, vocabulary: int) -> None:
    """Hold a request against what only the running server knows.

    Raises:
        ApiError: the model is unknown, cannot hear, or a limit is exceeded.
    """
    _check_model(request.model, model)
    for param, part in _parts(request):
        if isinstance(part, AudioPart):
            message = f"The model {model} cannot hear: content of type {part.type} is not supported."
            raise bad_request("unsupported_content_type", message, param)
    limits = config.generation.limits
    _at_most(*request.answer_tokens, limits.max_new_tokens)
    _at_most("min_tokens", request.min_tokens, limits.max_new_tokens)
    _at_most("n", request.n, limits.max_choices)
    if len(request.stop or ()) > limits.max_stops:
        raise bad_request("array_above_max_length", f"stop may have at most {limits.max_stops} strings.", "stop")
    for name, tokens in (("logit_bias", request.logit_bias), ("stop_token_ids", request.stop_token_ids)):
        if any(int(token) >= vocabulary for token in tokens or ()):
            raise bad_request("invalid_value", f"{name} names a token that the model does not have.", name)
    sources = _sources(request)
    if len(sources) > config.images.max_per_request:
        most = config.images.max_per_request
        raise bad_request(
            "array_above_max_length", f"A request may have at most {most} pictures and videos.", "messages"
        )
    for source in sources:
        if isinstance(source, VideoSource):
            _at_most(f"{source.param}.num_frames", source.count, config.video.max_frames)
            _at_most(f"{source.param}.max_frames", source.max_frames, config.video.max_frames)
            continue
        most = source.max_size(config.images) ** 2
        if (source.min_pixels or 0) > most:
            message = f"min_pixels may be at most {most}: the longer side is at most {source.max_size(config.images)}."
            raise bad_request("integer_above_max_value", message, source.param)


def samplings(
    request: ChatRequest, generation: Generation, room: int, grammar: str | None = None
) -> tuple[Sampling, ...]:
    """How each choice is sampled.

    Args:
        request: what was asked.
        generation: the defaults.
        room: tokens that the context has left for the answer.
        grammar: of the answer.

    Raises:
        ApiError: the answer that was asked for does not fit.
    """
    defaults = generation.defaults
    field, asked = request.answer_tokens
    if asked is not None and asked > room:
        message = f"{field} is {asked}, but the prompt leaves room for {room} tokens."
        raise bad_request("context_length_exceeded", message, field)
    tokens = min(defaults.max_new_tokens, room) if asked is None else asked
    if (request.min_tokens or 0) > tokens:
        raise bad_request("invalid_value", f"min_tokens is more than the {tokens} tokens of the answer.", "min_tokens")
    top_p = _or(request.top_p, defaults.top_p)
    common = Sampling(
        max_tokens=tokens,
        min_tokens=request.min_tokens or 0,
        temperature=_or(request.temperature, defaults.temperature),
        top_p=top_p or 1.0,
        # A share of nothing leaves the likeliest token.
        top_k=_or(request.top_k, defaults.top_k) if top_p else 1,
        min_p=request.min_p or 0.0,
        repetition_penalty=_or(request.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        stop_token_ids=tuple(request.stop_token_ids or ()),
        ignore_eos=bool(request.ignore_eos),
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        grammar=grammar,
    )
    return tuple(replace(common, seed=_seed(request.seed, index)) for index in range(request.n or 1))


def describe(job: Job, text: str) -> dict[str, Any]:
    """What /v1/apply_template answers: the prompt, without computing anything with it."""
    return {
        "prompt": text,
        "prompt_tokens": len(job.built.prompt.token_ids),
        "image_tokens": list(job.built.image_tokens),
        "video_tokens": list(job.built.video_tokens),
        "max_tokens": job.samplings[0].max_tokens,
    }


async def tokenize(serving: Serving, request: TokenizeRequest | ChatRequest) -> dict[str, Any]:
    """What /v1/tokenize answers: the token ids of a text as it stands in a message, or of a conversation's prompt.

    Raises:
        ApiError: the model is another, or the conversation exceeds a limit.
        MediaError: a picture or video cannot be used.
        ContextLengthExceeded: the conversation is too long; a text alone may have any length.
    """
    prompts = serving.prompts
    if isinstance(request, ChatRequest):
        built = (await prepare(serving, request)).built
        return responses.tokens(built.prompt.token_ids, prompts.max_length, built.image_tokens, built.video_tokens)
    _check_model(request.model, serving.settings.boot.model_name)
    token_ids = await asyncio.to_thread(encode_plain, prompts.tokenizer, request.prompt)
    return responses.tokens(token_ids, prompts.max_length)


async def answer(serving: Serving, job: Job) -> dict[str, Any]:
    """The whole answer, when it is complete.

    Raises:
        EngineError: the engine refused or failed.
    """
    completion = _completion(serving, job)
    tellings = _tellings(job)
    async with aclosing(completion.deltas()) as deltas:
        async for delta in deltas:
            tellings[delta.choice].add(delta.choice, delta)
    with_logprobs = bool(job.request.logprobs)
    choices = [telling.choice(index, with_logprobs=with_logprobs) for index, telling in enumerate(tellings)]
    return responses.completion(_head(serving), choices, _usage(job, completion))


async def open_stream(serving: Serving, job: Job, patience: float = PATIENCE) -> AsyncGenerator[dict[str, Any], None]:
    """The answer as chunks, which raise EngineError if it cannot be completed.

    It is opened when the first piece is there, because until then an error can have a status of its own; but after
    `patience` seconds at the latest.

    Raises:
        EngineError: the engine refused or failed before that.
    """
    completion = _completion(serving, job)
    deltas = completion.deltas()
    first = asyncio.ensure_future(anext(deltas))
    try:
        await asyncio.wait({first}, timeout=patience)
        if first.done():
            first.result()
    except BaseException:
        await _drop(first, deltas)
        raise
    return _chunks(_head(serving), job, completion, first, deltas)


async def _chunks(
    head: responses.Head,
    job: Job,
    completion: Completion,
    first: asyncio.Future[Delta],
    rest: AsyncGenerator[Delta, None],
) -> AsyncGenerator[dict[str, Any], None]:
    with_usage = job.request.stream_options is not None and bool(job.request.stream_options.include_usage)
    tellings = _tellings(job)

    def chunk(choice: dict[str, Any]) -> dict[str, Any]:
        return responses.chunk(head, [choice], with_usage=with_usage)

    try:
        for index in range(len(job.samplings)):
            yield chunk(responses.piece(index, {"role": "assistant", "content": ""}))
        async for delta in _chain(first, rest):
            for choice in tellings[delta.choice].add(delta.choice, delta):
                yield chunk(choice)
    finally:
        await _drop(first, rest)
    if with_usage:
        yield responses.chunk(head, [], with_usage=True, usage=_usage(job, completion))


async def _chain(first: asyncio.Future[Delta], rest: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
    yield await first
    async for delta in rest:
        yield delta


async def _drop(first: asyncio.Future[Delta], rest: AsyncGenerator[Delta, None]) -> None:
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await rest.aclose()


def _completion(serving: Serving, job: Job) -> Completion:
    return Completion(
        serving.router,
        serving.prompts.tokenizer,
        serving.metrics,
        prompt=job.built.prompt,
        samplings=job.samplings,
        stops=job.request.stop or (),
    )


def _head(serving: Serving) -> responses.Head:
    return responses.Head(serving.settings.boot.model_name)


def _usage(job: Job, completion: Completion) -> responses.Usage:
    return responses.Usage(
        completion.prompt_tokens,
        completion.completion_tokens,
        completion.cached_tokens,
        image=sum(job.built.image_tokens),
        video=sum(job.built.video_tokens),
    )


def _tellings(job: Job) -> list[Telling]:
    return [Telling(with_calls=bool(job.tools)) for _ in job.samplings]


def _parts(request: ChatRequest) -> Iterator[tuple[str, UserPart]]:
    """All parts of all messages, and where each stands."""
    for at, message in enumerate(request.messages):
        for index, part in enumerate(message.content):
            yield f"messages[{at}].content[{index}]", part


def _sources(request: ChatRequest) -> list[Source | VideoSource]:
    sources: list[Source | VideoSource] = []
    for param, part in _parts(request):
        if isinstance(part, ImagePart | ImageUrlPart):
            look = part.look
            coarse, bare = look.detail == "low", isinstance(part, ImagePart)
            sources.append(Source(part.source, param, coarse, bare, look.min_pixels, look.max_pixels))
        elif isinstance(part, VideoPart | VideoUrlPart):
            pixels = (part.max_pixels, part.total_pixels)
            sources.append(VideoSource(part.source, param, part.fps, part.num_frames, part.max_frames, *pixels))
    return sources


def _turns(request: ChatRequest, shown: Sequence[Shown]) -> list[Turn]:
    remaining = iter(shown)
    return [
        Turn(
            message.role,
            tuple(part.text if isinstance(part, TextPart) else next(remaining) for part in message.content),
            _called(message),
        )
        for message in _in_order_of_calls(request.messages)
    ]


def _called(message: Message) -> tuple[Call, ...]:
    calls = message.tool_calls if isinstance(message, CallingMessage) else ()
    return tuple(Call(call.function.name, call.function.arguments) for call in calls)


def _in_order_of_calls(messages: Sequence[Message]) -> list[Message]:
    """The same messages, with what came of several calls in the order of the calls: templates write no ids."""
    places: dict[str, int] = {}
    keys = []
    last = 0
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            keys.append((last, 1 + places[message.tool_call_id]))
            continue
        last = index
        keys.append((last, 0))
        if isinstance(message, CallingMessage):
            places = {call.id: place for place, call in enumerate(message.tool_calls)}
    return [message for _, message in sorted(zip(keys, messages, strict=True), key=lambda item: item[0])]


def _seed(seed: int | None, index: int) -> int | None:
    """Each choice has its own random numbers; the first has those of a request for one."""
    return None if seed is None else (seed + index * 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63


def _check_no_tools(request: ChatRequest, model: str) -> None:
    """Refuse what the chat template cannot write."""
    lacks = f"the chat template of the model {model} has no tools."
    if request.tools is not None:
        raise bad_request("unsupported_parameter", f"tools: {lacks}", "tools")
    for index, message in enumerate(request.messages):
        if isinstance(message, CallingMessage | ToolMessage):
            raise bad_request("unsupported_parameter", f"messages[{index}]: {lacks}", f"messages[{index}]")


def _check_model(asked: str | None, model: str) -> None:
    if asked not in (None, model):
        raise ApiError(Problem(404, "model_not_found", f"This server has one model, {model}.", "model"))


def _or(value: Number | None, default: Number) -> Number:
    return default if value is None else value


def _at_most(field: str, value: int | None, limit: int) -> None:
    if value is not None and value > limit:
        raise bad_request("integer_above_max_value", f"{field} may be at most {limit}.", field)
