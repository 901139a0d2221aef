"""Bounds and reserved names that more than one module needs. A bound that one field alone has stands at that field."""

GROUP = "omegavlm.io"
VERSION = "v1alpha1"
KIND = "OmegaVLMDeployment"
PLURAL = "omegavlmdeployments"

MAX_NAME = 40
"""Longest name of a resource, in characters: with what is added to it for Jobs and pods (up to 23 characters) it must
fit into a label, 63."""

MAX_GPUS = 8
"""Most GPUs of one pod: one node's worth. More GPUs are more replicas."""

MAX_NEW_TOKENS = 131072
"""Most tokens that any configuration lets one answer have."""

MAX_MODEL_LENGTH = 1048576
"""Most tokens of prompt and answer together."""

MAX_LABELS = 64
"""Most entries of a map of labels, annotations or node selectors."""

MAX_ANNOTATION = 4096
"""Longest value of an annotation that we pass through, in characters."""

RESERVED_PREFIXES = ("omegavlm.io/", "app.kubernetes.io/")
"""Labels and annotations with these prefixes are set by the operator."""

RESERVED_ENV = {
    "MODEL_PATH": "model.source",
    "MODEL_NAME": "model.name",
    "GPU_COUNT": "gpu.count",
    "TENSOR_PARALLEL": "gpu.tensorParallel",
    "MAX_MODEL_LENGTH": "model.maxLength",
    "DTYPE": "model.dtype",
    "QUANTIZATION": "model.quantization",
    "DEVICE": "gpu.device",
    "DRAIN_SECONDS": "rollout.drainSeconds",
    "PORT": "service.port",
    "CONFIG_FILE": "generation, images, video and batching",
    "API_KEYS_DIR": "auth.secretRef",
    "API_KEY": "auth.secretRef",
    "MAX_BATCH_SIZE": "batching.maxBatchSize",
    "BATCH_TIMEOUT_MS": "batching.batchTimeoutMs",
    "MAX_IMAGE_SIZE": "images.maxSize",
    "MAX_IMAGES_PER_REQUEST": "images.maxPerRequest",
    "ALLOW_REMOTE_IMAGES": "images.allowRemote",
    "MAX_NEW_TOKENS_DEFAULT": "generation.defaults.maxNewTokens",
    "TOP_K_DEFAULT": "generation.defaults.topK",
    "REPETITION_PENALTY_DEFAULT": "generation.defaults.repetitionPenalty",
}
"""Environment variables of the server that a field of the resource sets, and that field.

The environment beats the live configuration, so a variable in pod.env would quietly disable its field.
"""
