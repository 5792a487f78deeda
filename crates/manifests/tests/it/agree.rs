//! What is said in more than one place says the same.

use std::time::Duration;

use serde_norway::Value;

use crate::objects::{VARIANTS, Variant, name, objects, root, run};
use crate::settings::{config, volume};

fn text<'a>(value: &'a Value, what: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("{what}: {value:?}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value:?}"))
}

/// Bytes of a quantity.
fn bytes(value: &Value) -> usize {
    let quantity = text(value, "a quantity");
    let (digits, factor) = match quantity {
        quantity if quantity.ends_with("Gi") => (&quantity[..quantity.len() - 2], 1 << 30),
        quantity if quantity.ends_with("Mi") => (&quantity[..quantity.len() - 2], 1 << 20),
        other => panic!("{other}"),
    };
    digits.parse::<usize>().expect("a number") * factor
}

/// Whether `selector` picks pods with `labels`.
fn picks(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_mapping().expect("a mapping");
    !selector.is_empty() && selector.iter().all(|(name, value)| &labels[name] == value)
}

/// The ports of the gateway's container, by name.
fn port(variant: &Variant, of: &str) -> u64 {
    let container = &variant.one("Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0];
    let ports = container["ports"].as_sequence().expect("ports");
    let port = ports.iter().find(|port| port["name"] == of).expect("the port");
    number(&port["containerPort"])
}

#[test]
fn a_drain_has_the_time_that_it_needs() {
    for variant in VARIANTS.iter() {
        let drain = config(variant).drain;
        let spec = &variant.one("Deployment", "gateway")["spec"];
        let grace = Duration::from_secs(number(&spec["template"]["spec"]["terminationGracePeriodSeconds"]));
        let needed = drain.delay + drain.window + drain.timeout;
        assert!(
            grace >= needed + Duration::from_secs(10),
            "{}: {grace:?} for {needed:?}",
            variant.name
        );
        // A rollout is not called failed while it is only paced.
        let pause = number(&spec["minReadySeconds"]);
        let hpa = &variant.one("HorizontalPodAutoscaler", "gateway")["spec"];
        assert!(number(&spec["progressDeadlineSeconds"]) >= number(&hpa["maxReplicas"]) * (pause + 20));
        // The metric lies until everybody is back.
        let window = number(&hpa["behavior"]["scaleDown"]["stabilizationWindowSeconds"]);
        assert!(Duration::from_secs(window) > needed * 2);
        // Endpoints, and load balancers, learn of it before the door is closed.
        let readiness = &spec["template"]["spec"]["containers"][0]["readinessProbe"];
        let noticed = number(&readiness["periodSeconds"]) * number(&readiness["failureThreshold"]);
        assert!(Duration::from_secs(noticed) < drain.delay);
    }
}

#[test]
fn ports_are_where_they_are_said_to_be() {
    for variant in VARIANTS.iter() {
        let config = config(variant);
        let (http, admin) = (port(variant, "http"), port(variant, "admin"));
        assert_eq!(u64::from(config.listener.port), http);
        assert_eq!(u64::from(config.admin_address().port()), admin);
        assert!(config.admin_address().ip().is_unspecified(), "probes come from outside");
        let template = &variant.one("Deployment", "gateway")["spec"]["template"];
        assert_eq!(
            template["metadata"]["annotations"]["prometheus.io/port"],
            admin.to_string().as_str()
        );
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let get = &template["spec"]["containers"][0][probe]["httpGet"];
            let path = if probe == "readinessProbe" { "/readyz" } else { "/livez" };
            assert_eq!((text(&get["port"], probe), text(&get["path"], probe)), ("admin", path));
        }
        // The admin port is in no Service but the one of the component for it.
        for service in variant.all("Service") {
            let expected = match name(service) {
                "gateway" => "http",
                "gateway-api" => "admin",
                other => other,
            };
            for port in service["spec"]["ports"].as_sequence().expect("ports") {
                assert_eq!(port["targetPort"], expected, "{service:?}");
            }
        }
        let has_api = variant.find("Service", "gateway-api");
        assert_eq!(has_api.is_some(), variant.name.ends_with("the server API"));
        assert!(has_api.is_none_or(|service| service["spec"]["ports"][0]["port"] == admin));
    }
}

#[test]
fn selectors_pick_what_they_are_for() {
    for variant in VARIANTS.iter() {
        let labels = |object: &Value| object["spec"]["template"]["metadata"]["labels"].clone();
        for kind in ["Deployment", "StatefulSet"] {
            for object in variant.all(kind) {
                assert!(
                    picks(&object["spec"]["selector"]["matchLabels"], &labels(object)),
                    "{}",
                    name(object)
                );
                for spread in object["spec"]["template"]["spec"]["topologySpreadConstraints"]
                    .as_sequence()
                    .into_iter()
                    .flatten()
                {
                    assert!(picks(&spread["labelSelector"]["matchLabels"], &labels(object)));
                }
            }
        }
        for object in variant.all("Service") {
            let (kind, of) = match name(object) {
                "gateway-api" => ("Deployment", "gateway"),
                "redis" => ("StatefulSet", "redis"),
                other => ("Deployment", other),
            };
            assert!(
                picks(&object["spec"]["selector"], &labels(variant.one(kind, of))),
                "{}",
                name(object)
            );
        }
        let gateway = variant.one("Deployment", "gateway");
        for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
            for object in variant.all(kind).filter(|object| name(object) == "gateway") {
                let selector = if kind == "NetworkPolicy" {
                    "podSelector"
                } else {
                    "selector"
                };
                assert!(
                    picks(&object["spec"][selector]["matchLabels"], &labels(gateway)),
                    "{kind}"
                );
            }
        }
        let hpa = &variant.one("HorizontalPodAutoscaler", "gateway")["spec"];
        assert_eq!(text(&hpa["scaleTargetRef"]["name"], "a name"), name(gateway));
        assert!(
            gateway["spec"]["replicas"].is_null(),
            "an apply would undo what the HPA has done"
        );
        let pdb = &variant.one("PodDisruptionBudget", "gateway")["spec"];
        assert!(number(&pdb["maxUnavailable"]) < number(&hpa["minReplicas"]));
    }
}

#[test]
fn what_is_referred_to_is_there() {
    let secrets = objects(&run(
        std::process::Command::new(root().join("scripts/secrets")).arg("--manifest")
    ));
    for variant in VARIANTS.iter() {
        let namespace = variant.all("Namespace").next().map(name).expect("a namespace");
        for object in variant.objects.iter().filter(|object| object["kind"] != "Namespace") {
            assert_eq!(text(&object["metadata"]["namespace"], name(object)), namespace);
        }
        let has_key = |secret: &str, key: &str| {
            let made = secrets.iter().find(|object| name(object) == secret);
            // The local overlay's names end in a hash.
            let own = variant.find("Secret", secret);
            own.or(made).is_some_and(|object| !object["data"][key].is_null())
        };
        for (owner, template) in variant.templates() {
            let pod = &template["spec"];
            assert!(
                variant
                    .find("ServiceAccount", text(&pod["serviceAccountName"], owner))
                    .is_some()
            );
            for container in pod["containers"].as_sequence().expect("containers") {
                for mount in container["volumeMounts"].as_sequence().into_iter().flatten() {
                    let is_claim = |claim: &Value| claim["metadata"]["name"] == mount["name"];
                    let claims = variant
                        .find("StatefulSet", owner)
                        .map(|set| &set["spec"]["volumeClaimTemplates"]);
                    if !claims
                        .and_then(Value::as_sequence)
                        .is_some_and(|claims| claims.iter().any(is_claim))
                    {
                        volume(pod, text(&mount["name"], owner));
                    }
                }
            }
            for volume in pod["volumes"].as_sequence().expect("volumes") {
                if let Some(map) = volume["configMap"]["name"].as_str() {
                    assert!(variant.find("ConfigMap", map).is_some(), "{map}");
                }
                match volume["secret"]["secretName"].as_str() {
                    None | Some("external-redis") => {}
                    Some(secret) if secret.starts_with("gateway-secrets") => {
                        assert!(has_key(secret, "api-key") && has_key(secret, "redis-password"));
                    }
                    Some(secret) => assert!(
                        has_key(secret, "users.acl") && has_key(secret, "probe-password"),
                        "{secret}"
                    ),
                }
            }
        }
        if let Some(set) = variant.find("StatefulSet", "redis") {
            let service = variant.one("Service", text(&set["spec"]["serviceName"], "a Service"));
            assert_eq!(service["spec"]["clusterIP"], "None", "its name is the pod's address");
            let port = number(&service["spec"]["ports"][0]["port"]);
            let url = config(variant).redis.url.expect("a URL");
            assert_eq!(url.expose(), format!("redis://{}:{port}", name(service)));
        }
    }
}

#[test]
fn memory_is_enough_for_what_the_limits_allow() {
    /// Of the gateway and the kernel, which counts against the pod.
    const CONNECTION: usize = 6 << 10;
    for variant in VARIANTS.iter() {
        let limits = config(variant).limits;
        let redis = config(variant).redis;
        let container = &variant.one("Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0];
        let limit = bytes(&container["resources"]["limits"]["memory"]);
        let queues = redis.queue_bytes + limits.reactor_queue_bytes + limits.publish_queue_bytes;
        let needed = limits.connections * CONNECTION + limits.outboxes + queues;
        assert!(needed < limit * 4 / 5, "{}: {needed} of {limit}", variant.name);
        assert!(
            container["resources"]["limits"]["cpu"].is_null(),
            "it would throttle when everybody comes back"
        );
    }
}
