{{- define "omega-vlm.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* name and component also tell the operator's NetworkPolicies who may ask the servers for their state. */ -}}
{{- define "omega-vlm.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "omega-vlm.labels" -}}
{{ include "omega-vlm.selector" . }}
app.kubernetes.io/part-of: omega-vlm
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "omega-vlm.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "omega-vlm.fullname" .) }}
{{- end }}

{{- /* An image reference from {repository, tag, digest}. Call with (list $ .Values.image). */ -}}
{{- define "omega-vlm.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- /* Replicas on different nodes where there are some, of each version by itself; never a reason not to run. */ -}}
{{- define "omega-vlm.spread" -}}
maxSkew: 1
topologyKey: kubernetes.io/hostname
whenUnsatisfiable: ScheduleAnyway
matchLabelKeys: [pod-template-hash]
{{- end }}
