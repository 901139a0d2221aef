"""Proofs that the operator keeps its word whatever the API server and the machine do to it.

    PYTHONPATH=crds:operator .venv/bin/python tools/faults kill|outages|errors|watches|freeze

The operator runs as a process of this machine against a real cluster (KUBECONFIG, else the local one), through a proxy that
counts its calls and does the harm. Each proof has namespaces of its own, prints what it found, and ends with 1 if the operator
broke its word.
"""
