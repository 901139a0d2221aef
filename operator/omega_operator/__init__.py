"""The cluster side of Omega VLM: one OmegaVLMDeployment in, Kubernetes objects and a truthful status out.

Data path: handlers (kopf's watches) -> queue -> reconcile -> kube.observe -> desired -> kube.apply -> pods -> status.
`desired`, `status`, `causes`, `rollout`, `capacity` and `ownership` are pure: no clock, no network, neither kopf nor kubernetes.
"""

__version__ = "0.1.0"
