"""omega: the command for people who ask a server.

Stands beside the data path: it speaks to a server with the OpenAI API as any client does, and knows nothing of this one's
inside. It needs the standard library alone and starts at once.

__main__  the command line: which command, exit codes
chat      pictures and a question -> the answer, while it comes
models    which models a server has
program   how a command ends: exit code, one line on what went wrong
server    one server over HTTP, and what it may answer
"""
