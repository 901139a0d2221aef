"""The GPU side: HTTP in, tokens out.

__main__     composition root: settings, logging, signals, exit codes
settings     command line and environment, read once
live_config  what may change while requests run
keys         who may ask
app, routes  HTTP, thin
incoming     a request's body on its way in, bounded in bytes and time
serving      what the routes share: the parts, whether they are ready, who is still being answered
chat         a request's body -> pictures, prompt, sampling
completion   tokens -> text deltas, stop strings, usage
prompt       messages and pictures -> token ids and pixels, in processes that may be killed
media        addresses and data URIs -> pictures, in processes that may be killed
engine       prompts -> tokens
model        checkpoints -> modules
wire         the OpenAI contract: requests, responses, events, errors
playground   the page at /, for people with a browser
forks        how processes that need torch are started, by one that has none
preload      what they all find imported
"""

__version__ = "0.1.0"
