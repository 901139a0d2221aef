"""What a user may declare: the OmegaVLMDeployment resource and the configuration of the server.

This package is where both data paths begin. The CRD is generated from it, the operator parses resources with it, and
the server parses its configuration with it, so every limit is declared once. It needs pydantic and nothing else.

    quantity        sizes ("20Mi") and durations ("10s")
    limits          bounds and reserved names that more than one module needs
    source          where a model comes from ("pvc://weights/omega")
    rules           what no single field can say: each rule once as CEL, once as Python
    resource        the resource itself
    server_config   the live configuration and the boot configuration of one server
    structural      resource -> CustomResourceDefinition
"""
