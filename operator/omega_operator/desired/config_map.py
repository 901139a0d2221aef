"""The live configuration, mounted as a directory and outside the pod template: a change never rolls a pod."""

from omega_operator.desired import names
from omega_operator.desired.metadata import manifest
from omega_operator.kinds import Manifest
from omega_operator.settings import Settings
from omega_schema.resource import OmegaVLMDeployment
from omega_schema.server_config import ServerConfig, config_hash

FILE = "config.json"
"""Key in the ConfigMap and name of the file in the pod."""


def text(resource: OmegaVLMDeployment) -> str:
    """What the file holds."""
    return ServerConfig.of(resource.spec).to_json()


def digest(resource: OmegaVLMDeployment) -> str:
    """What a server says once it has applied the file."""
    return config_hash(text(resource))


def config_map(resource: OmegaVLMDeployment, settings: Settings) -> Manifest:
    """The file as a ConfigMap."""
    return manifest(names.config_map(resource.metadata.name), resource, settings, data={FILE: text(resource)})
