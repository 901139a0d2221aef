"""What ``make demo`` does, stage by stage; ``demo/run.py`` is the sequence.

    host        is this machine able to
    cluster     the one that KUBECONFIG names, or one of our own (tools/cluster)
    images      the operator, the server, and the demo model as an image of its own
    release     the chart with helm, the resource with kubectl, until it is Ready
    questions   pictures and questions through the Service with the official client

``console`` is how it looks and ``program`` how other programs are run.
"""
