"""kubectl omega: the plugin of kubectl for people who run OmegaVLMDeployments.

Stands beside the data path, and beside the command omega, whose questions and loads it sends to a resource by its name. It
speaks to the cluster through kubectl alone, so contexts, logins and proxies are those that kubectl has. The standard library
is enough for all but bench.

__main__  the command line: which command, exit codes
cluster   what kubectl says, and tunnels to pods
status    how resources are; pure, but for reading them
why       why one is not as it should be, and what to do
top       how busy the replicas are
ask       chat and bench, through a tunnel
keys      the API key of a resource
words     tables, ages and sizes, for people
advice    what to do about a reason: advice.json, which is generated from docs/troubleshooting.md
"""
