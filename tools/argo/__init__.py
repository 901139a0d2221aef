"""The real Argo CD on the local cluster: its processes, a Git repository for it, and Applications that are watched."""
