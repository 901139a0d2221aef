"""Pictures and videos, between the request and the prompt: addresses and data URIs in, RGB pixels out.

errors     everything that can be wrong with a picture or video
address    which network addresses may be connected to
fetch      an address -> bytes, without opening the inside network
kept       what was taken out of its request, because it is large
downloads  what was fetched, as long as HTTP permits
picture    pixels, and how closely to look at them
text       base64 -> bytes (pure)
decode     bytes of a picture -> pixels (pure)
clip       which frames of a video are taken, and these frames
video      bytes of a video -> its frames (pure)
worker     decode and video, in a process that may be killed
pool       those processes
loader     all of it, for the pictures and videos of one request
"""
