{{/* Labels by which a component's pods are found. They never change: a Deployment's selector cannot. */}}
{{- define "sparkmesh.selector" -}}
app.kubernetes.io/name: sparkmesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "sparkmesh.labels" -}}
{{ include "sparkmesh.selector" . }}
app.kubernetes.io/part-of: sparkmesh
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sparkmesh.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Name of the webhook configuration. Cluster-scoped, so it says which namespace it belongs to. */}}
{{- define "sparkmesh.webhookConfiguration" -}}
sparkmesh-{{ .Release.Namespace }}
{{- end }}

{{/* Where nothing is injected, as JSON: the one list behind the selector and the configuration. */}}
{{- define "sparkmesh.excludedNamespaces" -}}
{{ concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.injection.excludedNamespaces | uniq | toJson }}
{{- end }}

{{/* What the pods of both Deployments have in common, all but containers and volumes. There is no
runAsUser: the image names a user, and OpenShift chooses its own. */}}
{{- define "sparkmesh.pod" -}}
serviceAccountName: sparkmesh-{{ .component }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: 30
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "sparkmesh.selector" . | nindent 12 }}
topologySpreadConstraints:
- topologyKey: topology.kubernetes.io/zone
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "sparkmesh.selector" . | nindent 6 }}
securityContext:
  {{- include "sparkmesh.podSecurity" . | nindent 2 }}
{{- end }}

{{- define "sparkmesh.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "sparkmesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Probes of the admin port, the same in both components. */}}
{{- define "sparkmesh.probes" -}}
livenessProbe:
  httpGet:
    path: /livez
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{/* Rules of a NetworkPolicy that both components have: metrics in, API server out. The client finds
the API server by address, so no name is looked up. */}}
{{- define "sparkmesh.metricsIngress" -}}
{{- with .Values.networkPolicy.metricsFrom -}}
- ports:
  - protocol: TCP
    port: 9090
  from:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "sparkmesh.apiServerEgress" -}}
- ports:
  {{- range .Values.networkPolicy.apiServer.ports }}
  - protocol: TCP
    port: {{ . }}
  {{- end }}
  {{- with .Values.networkPolicy.apiServer.cidrs }}
  to:
  {{- range . }}
  - ipBlock:
      cidr: {{ . | quote }}
  {{- end }}
  {{- end }}
{{- end }}
