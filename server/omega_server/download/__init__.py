"""omega-server download: a model from the Hugging Face Hub into a directory. What the operator's cache job runs.

command    the command line, and the order of things
listing    what a revision consists of, asked once and kept beside the files
transfer   one file: fetched, gone on with, checked
checksum   whether a file is the one that the hub has
patience   what is tried again, and for how long
room       space for it, if need be that of revisions that nobody uses
progress   bytes and rate, for people and for the operator
"""
