"""The resource: OmegaVLMDeployment, omegavlm.io/v1alpha1.

The text under each field is its description in the CRD, in `kubectl explain` and in the reference: plain sentences
with the unit. Bounds and defaults stand in the declaration and are added to those texts by the generator.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NotRequired, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
    with_config,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from omega_schema import limits, rules
from omega_schema.bounds import KeysMatch, Matches, NotReserved, UniqueBy, Within
from omega_schema.errors import ResourceError, explain
from omega_schema.quantity import Duration, Quantity
from omega_schema.source import MAX_SOURCE

_DNS_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_DNS_MESSAGE = "must be the name of an object: lower-case letters, digits, - and ., such as my-object"

ObjectName = Annotated[str, Field(min_length=1, max_length=253), Matches(f"^{_DNS_SUBDOMAIN}$", _DNS_MESSAGE)]
OptionalName = Annotated[str, Field(max_length=253), Matches(f"^({_DNS_SUBDOMAIN})?$", _DNS_MESSAGE)]
LabelValue = Annotated[
    str,
    Field(max_length=63),
    Matches(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        "must be the value of a label: letters, digits, -, _ and ., beginning and ending with a letter or digit",
    ),
]
_KEYS = KeysMatch(
    r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    "each key must be a name of at most 63 letters, digits, -, _ and ., with or without a prefix such as example.com/",
)
Labels = Annotated[dict[str, LabelValue], Field(max_length=limits.MAX_LABELS), _KEYS]
Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=limits.MAX_ANNOTATION)]], Field(max_length=limits.MAX_LABELS), _KEYS
]
PlainQuantity = Annotated[Quantity, AfterValidator(str)]
Resources = Annotated[dict[str, PlainQuantity], Field(max_length=16), _KEYS]
FreeObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


def _without_nulls(fields: Any) -> Any:
    """Leave out what is null, as the API server does before it fills in defaults."""
    return {name: value for name, value in fields.items() if value is not None} if isinstance(fields, dict) else fields


_NULL_IS_NOTHING = BeforeValidator(_without_nulls)
"""For what is passed through to pods, which is no model of ours."""


class Declared(BaseModel):
    """What every model of the resource has in common: strict, frozen, nothing unknown, and the rules that name it."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, fields: Any) -> Any:
        return _without_nulls(fields)

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        rules.check(self)
        return self


class SecretRef(Declared):
    """A Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret. Each of its keys holds one API key."""


class ModelCache(Declared):
    """Where a model from hf:// is kept, so that it is downloaded once and shared by all replicas."""

    size: Annotated[Quantity, Within("1Mi", "64Ti")]
    """Size of the volume, in bytes. It can grow later but never shrink."""

    storage_class_name: OptionalName = ""
    """Storage class of the volume, which must offer ReadWriteMany. Empty: the cluster's default class. It cannot be
    changed later."""


class Model(Declared):
    """Which model is served, and how it is loaded. Changing it rolls the pods."""

    source: Annotated[str, Field(min_length=1, max_length=MAX_SOURCE)]
    """Where the model comes from: pvc://CLAIM/PATH (a directory in a volume), hf://ORG/NAME[@REVISION] (the Hugging
    Face Hub, needs cache), oci://IMAGE (an image volume) or path:///DIRECTORY (in the server image). The part before
    :// cannot be changed later."""

    name: Annotated[
        str,
        Field(max_length=128),
        Matches(
            r"^([A-Za-z0-9][A-Za-z0-9_./:-]*)?$",
            "must be a model id: letters, digits, ., _, -, / and :, beginning with a letter or digit",
        ),
    ] = ""
    """The model id that clients use in their requests. Empty: the name of the resource."""

    max_length: Annotated[int, Field(ge=128, le=limits.MAX_MODEL_LENGTH)] = 8192
    """Longest prompt and answer together, in tokens."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of the weights and of the arithmetic. float32 needs twice the memory."""

    quantization: Literal["none", "int8", "int4"] = "none"
    """Weight-only quantization of the language model: int8 halves its memory, int4 quarters it."""

    cache: ModelCache | None = None
    """Volume for a model from hf://. Required for hf://, refused for every other source."""


class Gpu(Declared):
    """How many GPUs each pod has and how its engines use them. Changing it rolls the pods."""

    count: Annotated[int, Field(ge=0, le=limits.MAX_GPUS)] = 1
    """GPUs per pod. With device cpu: engine processes per pod, and 0 means one."""

    tensor_parallel: Annotated[int, Field(ge=1, le=limits.MAX_GPUS)] = 1
    """GPUs that hold one copy of the model together. It divides count: a pod runs count / tensorParallel engines."""

    resource_name: Annotated[
        str,
        Field(min_length=1, max_length=253),
        Matches(
            r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
            "must be the name of a node resource, such as nvidia.com/gpu",
        ),
    ] = "nvidia.com/gpu"
    """The node resource that stands for one GPU."""

    device: Literal["cuda", "cpu"] = "cuda"
    """cuda runs each engine on its GPUs, cpu runs the same engines without a GPU."""


class GenerationDefaults(Declared):
    """What a request gets that does not say."""

    max_new_tokens: Annotated[int, Field(ge=1, le=limits.MAX_NEW_TOKENS)] = 512
    """Longest answer, in tokens."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Randomness of the answer, without a unit. 0 always takes the likeliest token."""

    top_p: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Share of the probability that tokens are drawn from, without a unit. 1 means all."""

    top_k: Annotated[int, Field(ge=0, le=1000)] = 50
    """How many of the likeliest tokens are drawn from, in tokens. 0 means all."""

    repetition_penalty: Annotated[float, Within("0.1", "10")] = 1.0
    """Factor against tokens that occurred already, without a unit. 1 means none."""


class GenerationLimits(Declared):
    """The most that a request may ask for; a request beyond is refused with status 400."""

    max_new_tokens: Annotated[int, Field(ge=1, le=limits.MAX_NEW_TOKENS)] = 4096
    """Longest answer that a request may ask for, in tokens. At least defaults.maxNewTokens."""

    max_stops: Annotated[int, Field(ge=0, le=64)] = 4
    """Stop strings per request."""

    max_choices: Annotated[int, Field(ge=1, le=16)] = 4
    """Answers per request (the field n of the OpenAI API)."""


class Generation(Declared):
    """Generation of text. LIVE: a change reaches running pods within seconds, without a restart."""

    defaults: GenerationDefaults = GenerationDefaults()
    limits: GenerationLimits = GenerationLimits()


class Images(Declared):
    """Limits of pictures in requests. LIVE: a change reaches running pods within seconds, without a restart."""

    max_per_request: Annotated[int, Field(ge=0, le=100)] = 10
    """Pictures and videos per request, together. 0 refuses them all."""

    max_size: Annotated[int, Field(ge=28, le=16384)] = 1024
    """Longer side of a picture as the model sees it, in pixels. A larger picture is scaled down to it, a smaller one is
    never scaled up. Frames of videos too."""

    max_pixels: Annotated[int, Field(ge=784, le=1_000_000_000)] = 50_000_000
    """Width times height of the picture as it was sent, in pixels; checked before it is decoded. At least maxSize
    times maxSize."""

    max_bytes: Annotated[Quantity, Within("1Ki", "1Gi")] = Quantity("20Mi")
    """Size of one encoded picture, in bytes."""

    allow_remote: bool = True
    """Whether a request may name a picture by an http or https address, which the server then fetches; videos too."""

    allowed_hosts: Annotated[list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """Hosts that pictures and videos may be fetched from, such as example.com, or *.example.com for all hosts below it. Empty: any
    public host. Private, loopback and link-local addresses are always refused unless allowedCidrs has them."""

    allowed_cidrs: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """Private address ranges that pictures and videos may be fetched from, such as 10.0.0.0/8 or fd00::/8."""

    fetch_timeout: Annotated[Duration, Within("100ms", "5m")] = Duration("10s")
    """Longest time to fetch one picture or video, as a duration such as 500ms or 10s."""


class Video(Declared):
    """Limits of videos in requests: MP4 and WebM, without their sound. LIVE: a change reaches running pods within seconds,
    without a restart. Where videos may be fetched from, how many come in one request and how large their frames are is in
    images.
    """

    max_bytes: Annotated[Quantity, Within("1Ki", "4Gi")] = Quantity("100Mi")
    """Size of one encoded video, in bytes."""

    max_seconds: Annotated[int, Field(ge=1, le=86400)] = 600
    """Length of one video, in seconds. It may have at most 120 times as many frames."""

    max_frames: Annotated[int, Field(ge=2, le=16384)] = 768
    """Frames that are taken from one video at most, in frames. From a longer video they are taken at greater distances; a
    request that asks for more is refused."""


class Batching(Declared):
    """How requests share an engine. LIVE: a change reaches running pods within seconds, without a restart."""

    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    """Requests that one engine answers at the same time."""

    batch_timeout_ms: Annotated[int, Field(ge=0, le=10_000)] = 0
    """How long an idle engine waits for more requests before it begins, in milliseconds."""

    max_queue: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Requests that may wait for one engine; a request beyond is refused with status 429."""


class Auth(Declared):
    """Who may use the endpoint."""

    secret_ref: SecretRef
    """Secret whose every key is an API key. Keys are added, rotated and removed without a restart."""


class Rollout(Declared):
    """How pods are replaced when a change needs new ones."""

    strategy: Literal["Auto", "Surge", "DrainFirst"] = "Auto"
    """Surge starts the new pod before it stops the old one and needs free GPUs. DrainFirst stops the old pod first.
    Auto surges where the GPUs for it are free and drains first where they are not."""

    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 120
    """Time that a pod has to finish its running requests before it stops, in seconds."""


class Service(Declared):
    """The Service in front of the pods."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """How the Service is reachable: inside the cluster, on each node, or through a load balancer."""

    port: Annotated[int, Field(ge=1, le=65535)] = 80
    """Port of the Service, a TCP port number."""

    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Service, for example for a cloud's load balancer."""


class Toleration(TypedDict):
    """A taint that the pods tolerate."""

    key: NotRequired[Annotated[str, Field(max_length=317)]]
    """Key of the taint. Empty with operator Exists: every taint."""

    operator: NotRequired[Literal["Exists", "Equal"]]
    """Exists ignores the value, Equal compares it. Kubernetes takes Equal when it is missing."""

    value: NotRequired[Annotated[str, Field(max_length=63)]]
    """Value of the taint."""

    effect: NotRequired[Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]]
    """Effect of the taint. Missing: every effect."""

    tolerationSeconds: NotRequired[Annotated[int, Field(ge=0, le=31_536_000)]]
    """How long a NoExecute taint is tolerated, in seconds."""


class EnvVar(TypedDict):
    """An environment variable of the server."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253),
        Matches(
            r"^[-._a-zA-Z][-._a-zA-Z0-9]*$",
            "must be the name of a variable: letters, digits, -, _ and ., not beginning with a digit",
        ),
        NotReserved(limits.RESERVED_ENV),
    ]
    """Name of the variable."""

    value: NotRequired[Annotated[str, Field(max_length=32768)]]
    """Value of the variable. A number needs quotes."""

    valueFrom: NotRequired[FreeObject]
    """Where the value comes from, as in a container of a pod: secretKeyRef, configMapKeyRef, fieldRef."""


class ResourceRequirements(TypedDict):
    """CPU and memory of the server container."""

    requests: NotRequired[Resources]
    """What the scheduler reserves, by resource name; memory in bytes, cpu in cores."""

    limits: NotRequired[Resources]
    """What the container cannot exceed, by resource name; memory in bytes, cpu in cores."""


class LocalObjectRef(TypedDict):
    """An object in the same namespace."""

    name: ObjectName
    """Name of the object."""


for _passed_through in (Toleration, EnvVar, ResourceRequirements, LocalObjectRef):
    with_config(ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True))(_passed_through)


class Pod(Declared):
    """What is passed through to the pods. Changing it rolls the pods."""

    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have to run a pod."""

    tolerations: Annotated[list[Annotated[Toleration, _NULL_IS_NOTHING]], Field(max_length=32)] = Field(
        default_factory=list
    )
    """Taints that the pods tolerate. The taint of the GPU resource is tolerated already."""

    affinity: FreeObject = Field(default_factory=dict)
    """Affinity of the pods, as in a pod's spec.affinity."""

    runtime_class_name: OptionalName = ""
    """Runtime class of the pods, for example nvidia. Empty: the node's default runtime."""

    priority_class_name: OptionalName = ""
    """Priority class of the pods. Empty: the cluster's default."""

    resources: Annotated[ResourceRequirements, _NULL_IS_NOTHING] = Field(default_factory=ResourceRequirements)
    """CPU and memory of the server container. What is missing is chosen by gpu.count. The GPUs themselves are set by
    gpu.count and refused here."""

    shared_memory: Annotated[Quantity, Within("1Mi", "1Ti")] | None = None
    """Size of /dev/shm, in bytes; it counts as memory of the pod. Missing: chosen by gpu.count."""

    env: Annotated[
        list[Annotated[EnvVar, _NULL_IS_NOTHING]],
        Field(max_length=100),
        UniqueBy("name"),
    ] = Field(default_factory=list)
    """More environment variables of the server, for example HTTPS_PROXY. Variables that a field of this resource sets
    are refused here."""

    labels: Labels = Field(default_factory=dict)
    """More labels of the pods."""

    annotations: Annotations = Field(default_factory=dict)
    """More annotations of the pods."""

    image_pull_secrets: Annotated[list[Annotated[LocalObjectRef, _NULL_IS_NOTHING]], Field(max_length=16)] = Field(
        default_factory=list
    )
    """Secrets to pull the server image with."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the server image is pulled."""


class Monitoring(Declared):
    """Metrics for Prometheus."""

    pod_monitor: bool = False
    """Whether a PodMonitor is made for the pods. Needs the Prometheus operator's CRDs in the cluster."""


class NetworkPolicy(Declared):
    """Who may open connections to the pods, and to whom they may open some."""

    enabled: bool = True
    """Whether NetworkPolicies are made. They let in connections to the server's port only. They let out questions to DNS;
    connections to public addresses while images.allowRemote is true, and from the download of a model from hf://; and
    connections to images.allowedCidrs and to."""

    from_: Annotated[list[FreeObject], Field(max_length=32)] = Field(default_factory=list, alias="from")
    """Sources that may connect, as in ingress.from of a NetworkPolicy: podSelector, namespaceSelector, ipBlock. Empty:
    every source."""

    to: Annotated[list[FreeObject], Field(max_length=32)] = Field(default_factory=list)
    """More destinations that may be connected to, on every port, as in egress.to of a NetworkPolicy: podSelector,
    namespaceSelector, ipBlock. For example a proxy, a collector of traces, or a hub of your own."""


class ParentRef(Declared):
    """A Gateway that the route belongs to."""

    name: ObjectName
    """Name of the Gateway."""

    namespace: OptionalName = ""
    """Namespace of the Gateway. Empty: the namespace of the resource."""

    section_name: OptionalName = ""
    """Name of one listener of the Gateway. Empty: all of them."""


class EndpointPicker(Declared):
    """A picker of the Gateway API inference extension, which chooses the pod for each request."""

    name: ObjectName
    """Name of the picker's Service, in the namespace of the resource."""

    port: Annotated[int, Field(ge=1, le=65535)] = 9002
    """Port of that Service, a TCP port number."""

    failure_mode: Literal["FailOpen", "FailClose"] = "FailClose"
    """What becomes of requests while the picker does not answer: FailOpen sends them to any pod, FailClose refuses
    them."""


class Gateway(Declared):
    """A way into the cluster by the Gateway API."""

    parent_refs: Annotated[list[ParentRef], Field(min_length=1, max_length=8)]
    """Gateways that the HTTPRoute belongs to."""

    hostnames: Annotated[
        list[
            Annotated[
                str,
                Field(min_length=1, max_length=253),
                Matches(
                    rules.HOST_PATTERN,
                    "must be a host name such as example.com, or *.example.com, in lower case and without scheme, port or path",
                ),
            ]
        ],
        Field(max_length=16),
    ] = Field(default_factory=list)
    """Host names that the HTTPRoute answers to. Empty: those of the Gateway."""

    endpoint_picker: EndpointPicker | None = None
    """Makes an InferencePool of the pods, and sends the HTTPRoute's requests there. Missing: the Service gets them."""


class Autoscaling(Declared):
    """How many pods there are, by how much they have to do. Needs KEDA or a metrics adapter in the cluster: see the
    documents.
    """

    scaler: Literal["Auto", "HPA", "KEDA"] = "Auto"
    """Who counts: HPA makes a HorizontalPodAutoscaler, which reads a metrics adapter, KEDA makes a ScaledObject for KEDA
    2.19 or newer, which asks the pods itself. Auto takes KEDA where the cluster has it."""

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Fewest pods."""

    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Most pods."""

    requests_per_engine: Annotated[int, Field(ge=1, le=4096)] = 16
    """Requests, running and waiting, that one engine should have on average; with more of them pods are added. Below
    batching.maxBatchSize, or requests wait before another pod comes."""


class Spec(Declared):
    """What is wanted."""

    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Pods that serve the model. Missing means 1, or what autoscaling says. 0 stops the service and keeps everything
    else. An autoscaler of your own needs a number to begin with: give it one with kubectl scale, and leave this field
    out of what you apply."""

    autoscaling: Autoscaling | None = None
    """A HorizontalPodAutoscaler or a ScaledObject for the pods. Missing: none."""

    image: Annotated[
        str,
        Field(max_length=512),
        Matches(
            r"^([a-z0-9][A-Za-z0-9._/:@-]*)?$",
            "must be a container image without a scheme, such as registry.example.com/omega-server:1",
        ),
    ] = ""
    """Container image of the server. Empty: the image that the operator was installed with."""

    model: Model
    gpu: Gpu = Gpu()
    generation: Generation = Generation()
    images: Images = Images()
    video: Video = Video()
    batching: Batching = Batching()

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much the server logs. LIVE: a change reaches running pods within seconds, without a restart."""

    auth: Auth | None = None
    """Who may use the endpoint. Missing: everyone who can reach it."""

    rollout: Rollout = Rollout()
    service: Service = Service()
    pod: Pod = Pod()
    monitoring: Monitoring = Monitoring()
    network_policy: NetworkPolicy = NetworkPolicy()

    gateway: Gateway | None = None
    """An HTTPRoute, and if asked for an InferencePool. Needs the Gateway API's CRDs in the cluster. Missing: neither."""


class StatusGpus(Declared):
    """GPUs of all pods together."""

    per_replica: Annotated[int, Field(ge=0, le=limits.MAX_GPUS)] | None = None
    """GPUs of one pod."""

    ready: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """GPUs of the pods that are ready."""

    desired: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """GPUs of all the pods that are wanted."""


class StatusConfig(Declared):
    """How far the live configuration has come."""

    desired: Annotated[str, Field(max_length=64)] | None = None
    """Hash of the live configuration that is wanted, 12 hexadecimal digits."""

    applied_replicas: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Pods that report this hash."""


class Condition(Declared):
    """One aspect of the state, in the form that Kubernetes tools know."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Aspect: Ready, Reconciling, Stalled, ConfigApplied or ModelCached."""

    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""

    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, in one fixed word."""

    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, in a sentence that says what to do."""

    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """The metadata.generation that this was true for."""

    last_transition_time: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
    """When the status changed last, RFC 3339."""


class Status(Declared):
    """What was observed. Written by the operator only."""

    observed_generation: Annotated[int, Field(ge=-1, le=2**53)] | None = None
    """The metadata.generation that this status belongs to; -1 before the operator has seen the resource."""

    replicas: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Pods that exist."""

    ready_replicas: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Pods that are ready to answer."""

    ready: Annotated[str, Field(max_length=32)] | None = None
    """Ready and wanted pods, for example 2/2."""

    summary: Annotated[str, Field(max_length=256)] | None = None
    """The state in words, for example Ready, or why it is not."""

    selector: Annotated[str, Field(max_length=512)] | None = None
    """Label selector of the pods, for autoscalers."""

    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """Base address for OpenAI clients inside the cluster."""

    gpus: StatusGpus | None = None
    """GPUs of all pods together."""

    config: StatusConfig | None = None
    """How far the live configuration has come."""

    conditions: Annotated[
        list[Condition],
        Field(max_length=16),
        UniqueBy("type"),
    ] = Field(default_factory=list)
    """The aspects of the state: Ready, Reconciling, Stalled, ConfigApplied, ModelCached."""


class Metadata(Declared):
    """What we read of an object's metadata; the API server owns the rest."""

    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class OmegaVLMDeployment(Declared):
    """A vision-language model served behind one OpenAI-compatible endpoint in the cluster."""

    API_VERSION: ClassVar = f"{limits.GROUP}/{limits.VERSION}"
    KIND: ClassVar = limits.KIND

    api_version: Literal["omegavlm.io/v1alpha1"]
    kind: Literal["OmegaVLMDeployment"]
    metadata: Metadata
    spec: Spec
    # Without it kstatus (Flux, Helm) would take a resource that no operator has seen yet for one that is ready.
    status: Status = Status(observed_generation=-1)

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read a resource as the API server gives it.

        Raises:
            ResourceError: it breaks the schema, as one from before an upgrade of the CRD may.
        """
        try:
            return cls.model_validate(body, by_alias=True, by_name=False)
        except ValidationError as error:
            raise ResourceError(explain(error)) from None
