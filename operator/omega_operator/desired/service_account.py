"""The identity of the pods: one that may do nothing."""

from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment


def service_account(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """An account of its own for each resource, so that nobody grants rights to all of them through `default`."""
    ref = names.service_account(resource.metadata.name)
    return manifest(ref, resource, settings, automountServiceAccountToken=False)
