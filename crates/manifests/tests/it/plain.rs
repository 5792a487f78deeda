//! The compose file and the unit of systemd: times and versions that must agree with the program's.

use std::time::Duration;

use gateway::config::Config;
use serde_norway::Value;

use crate::objects::{VARIANTS, objects, read};

fn needed_by_default() -> Duration {
    let drain = Config::default().drain;
    drain.delay + drain.window + drain.timeout
}

fn compose() -> Value {
    let mut compose = objects(&read("deploy/compose.yaml")).remove(0);
    // Once for each depth of anchors in anchors.
    for _ in 0..2 {
        compose.apply_merge().expect("anchors that are there");
    }
    compose
}

#[test]
fn compose_gives_a_drain_its_time() {
    for gateway in ["gateway-1", "gateway-2"] {
        let compose = compose();
        let gateway = &compose["services"][gateway];
        let grace = gateway["stop_grace_period"]
            .as_str()
            .and_then(|grace| grace.strip_suffix('s'));
        let grace = Duration::from_secs(grace.and_then(|grace| grace.parse().ok()).expect("seconds"));
        assert!(grace >= needed_by_default() + Duration::from_secs(10));
        assert!(gateway["ports"].is_null(), "clients come through the load balancer");
    }
}

#[test]
fn compose_hardens_everything_and_publishes_on_loopback() {
    for (name, service) in compose()["services"].as_mapping().expect("services") {
        assert_eq!(service["read_only"], true, "{name:?}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name:?}");
        assert_eq!(service["security_opt"][0], "no-new-privileges:true", "{name:?}");
        let image = service["image"].as_str().expect("an image");
        let tag = image.rsplit_once(':').expect("a tag").1;
        assert!(
            tag != "latest" && tag.starts_with(|first: char| first.is_ascii_digit() || first == 'v'),
            "{image}"
        );
        for port in service["ports"].as_sequence().into_iter().flatten() {
            assert!(
                port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")),
                "{port:?}"
            );
        }
    }
}

#[test]
fn images_are_the_same_everywhere() {
    let compose = compose();
    let own = format!("fanfare:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(compose["services"]["gateway-1"]["image"], own.as_str());
    for variant in VARIANTS.iter() {
        let image = |template: &Value| template["spec"]["containers"][0]["image"].clone();
        for (owner, template) in variant.templates() {
            let version = match owner {
                "gateway" => own.as_str(),
                _ => compose["services"]["redis"]["image"].as_str().expect("an image"),
            };
            assert_eq!(image(template), version);
            let labelled = template["metadata"]["labels"]["app.kubernetes.io/version"]
                .as_str()
                .expect("a version");
            assert!(version.ends_with(labelled), "{owner}: {version}, labelled {labelled}");
        }
    }
}

#[test]
fn the_unit_gives_a_drain_its_time() {
    let unit = read("deploy/fanfare.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let stop: u64 = value("TimeoutStopSec")
        .and_then(|stop| stop.parse().ok())
        .expect("seconds");
    assert!(Duration::from_secs(stop) >= needed_by_default() + Duration::from_secs(10));
    assert_eq!(value("Type"), Some("notify"));
    assert_eq!(value("ExecStartPre"), Some("/usr/bin/fanfare config check"));
}
