"""The OpenAI contract, where every request enters and every answer leaves. A leaf: it imports nothing of this server.

strict_json  bytes -> JSON values, without the lenience of the standard parser
requests     JSON values -> ChatRequest, or the one error that names the field
errors       exception -> status, type, code, param
responses    results -> response bodies and chunks
sse          chunks -> server-sent events
"""
