"""Pictures, between the request and the prompt: addresses and data URIs in, RGB pixels out.

errors   everything that can be wrong with a picture
address  which network addresses may be connected to
fetch    a picture's address -> its bytes, without opening the inside network
decode   bytes -> pixels (pure)
worker   decode, in a process that may be killed
pool     those processes
loader   all of it, for the pictures of one request
"""
