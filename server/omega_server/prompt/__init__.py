"""Conversations to prompts, between pictures and the engine: the checkpoint's own template, tokenizer and picture processor.

messages   a conversation, and what the server's process and a prompt process tell each other
builder    the server's end: a few prompt processes, and which of them builds what
worker     a prompt process
processor  turns -> token ids and pixels
videos     the same, of videos
"""
