"""Coverage-guided fuzzing of what takes bytes from strangers.

cli       the command line: one target, so many seconds or inputs
targets   what is fed, and what must hold whatever comes
seeds     files and requests that are in order, from which the search begins
mutate    JSON that stays JSON while it changes
"""
