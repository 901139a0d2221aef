"""Answers of a form, on the way between the wire and the engine: what a request wants becomes a grammar, and what comes
becomes calls of tools.

schema     which JSON schemas are taken
grammar    the grammar of an answer: JSON, calls of tools, or either
calls      calls of tools, read out of the text of an answer
"""
