//! Tests of what is deployed: the manifests of `k8s`, and the compose file and unit of `deploy`. All of it is in `tests/it`.
