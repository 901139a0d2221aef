"""omega-server bench: load for any server with the OpenAI API, and what it measured.

Stands beside the data path: it speaks to a server as a client does, and knows nothing of this one's inside.

command   the command line: arguments, what is said, exit codes
workload  seed and size -> requests; pure
load      requests -> HTTP, at their times -> records
client    one request -> one record
figures   records -> rates and percentiles; pure
progress  how far it is, on one line
"""
