{{- /*
What the operator may do, and nothing else: no wildcard, no Secret. Each line is one thing that it does.
*/ -}}

{{- /* Where OmegaVLMDeployments live. */ -}}
{{- define "omega-vlm.rules.namespaced" -}}
# Its resource: read; it writes nothing but the status.
- {apiGroups: [omegavlm.io], resources: [omegavlmdeployments], verbs: [get, list, watch]}
- {apiGroups: [omegavlm.io], resources: [omegavlmdeployments/status], verbs: [patch]}
# What it makes of a resource: applied from the server's side, repaired, pruned.
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, watch, create, patch, delete]}
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [batch], resources: [jobs], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [get, list, watch, create, patch, delete]}
# The same, of kinds that not every cluster has.
- {apiGroups: [monitoring.coreos.com], resources: [podmonitors], verbs: [get, list, watch, create, patch, delete]}
- apiGroups: [keda.sh]
  resources: [scaledobjects, triggerauthentications]
  verbs: [get, list, watch, create, patch, delete]
- {apiGroups: [gateway.networking.k8s.io], resources: [httproutes], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [inference.networking.k8s.io], resources: [inferencepools], verbs: [get, list, watch, create, patch, delete]}
# The annotation that makes the kubelet bring a changed configuration to a pod at once.
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch, patch]}
# Whether a quota has room for one more pod.
- {apiGroups: [""], resources: [resourcequotas], verbs: [list]}
# Why a pod does not start; and Events of its own when a condition changes.
- {apiGroups: [""], resources: [events], verbs: [list]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
{{- end }}

{{- /* What has no namespace. */ -}}
{{- define "omega-vlm.rules.cluster" -}}
# How many GPUs are free, and in which node.
- {apiGroups: [""], resources: [nodes], verbs: [list]}
# The watches: which resources and namespaces there are.
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [list, watch]}
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
{{- end }}

{{- /* In the operator's own namespace: the Lease that says which of its pods leads. */ -}}
{{- define "omega-vlm.rules.own" -}}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
{{- end }}
