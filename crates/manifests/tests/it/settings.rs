//! The settings that are deployed, read by the gateway's own code.

use std::collections::BTreeMap;
use std::path::Path;

use gateway::config::{Config, Sources, load};
use serde_norway::Value;
use tempfile::TempDir;

use crate::objects::{VARIANTS, Variant};

/// Where the secrets are mounted.
const SECRETS: &str = "/run/secrets";

/// What the gateway of a variant runs with: its ConfigMap, and the variables of its container.
#[track_caller]
pub(crate) fn config(variant: &Variant) -> Config {
    let secrets = TempDir::new().expect("a directory");
    let pod = &variant.one("Deployment", "gateway")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let map = volume(pod, "config")["configMap"]["name"]
        .as_str()
        .expect("a ConfigMap");
    let toml = variant.one("ConfigMap", map)["data"]["fanfare.toml"]
        .as_str()
        .expect("a file");

    let file = secrets.path().join("fanfare.toml");
    write(&file, &here(toml, secrets.path()));
    for name in ["fanfare/api-key", "fanfare/redis-password", "external-redis/ca.crt"] {
        write(&secrets.path().join(name), "a secret of Kubernetes");
    }
    let sources = Sources {
        file: Some(file),
        env: variables(container, secrets.path()),
        flags: vec![],
    };
    load(&sources)
        .unwrap_or_else(|mistakes| panic!("{}: {mistakes}", variant.name))
        .config
}

fn variables(container: &Value, secrets: &Path) -> BTreeMap<String, String> {
    let variables = container["env"].as_sequence().expect("a list").iter();
    variables
        .map(|variable| {
            let name = variable["name"].as_str().expect("a name").to_owned();
            let from = &variable["valueFrom"];
            let value = match (&variable["value"], from["secretKeyRef"]["key"].as_str()) {
                (Value::String(value), _) => value.clone(),
                (_, Some("url")) => "rediss://ann:secret@redis.example:6380".into(),
                (_, Some("ca-file")) => format!("{SECRETS}/external-redis/ca.crt"),
                (_, Some(other)) => panic!("{other}"),
                _ if from["fieldRef"]["fieldPath"] == "metadata.name" => "gateway-1".into(),
                // Kubernetes rounds up.
                _ if from["resourceFieldRef"]["resource"] == "requests.cpu" => "1".into(),
                other => panic!("{name}: {other:?}"),
            };
            (name, here(&value, secrets))
        })
        .collect()
}

/// The same with the secrets where they are in this test.
fn here(text: &str, secrets: &Path) -> String {
    text.replace(SECRETS, &secrets.display().to_string())
}

pub(crate) fn volume<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let volumes = pod["volumes"].as_sequence().expect("volumes");
    volumes
        .iter()
        .find(|volume| volume["name"] == name)
        .expect("the volume")
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("inside")).expect("a directory");
    std::fs::write(path, text).expect("written");
}

#[test]
fn the_gateway_takes_them() {
    for variant in VARIANTS.iter() {
        let config = config(variant);
        assert!(!config.dev && config.admin.api_key.is_some() && config.redis.url.is_some());
        let is_local = variant.name == "local";
        assert_eq!(config.demo.enabled, is_local);
        // Nothing is open in production that nobody has opened.
        assert_eq!(config.raw.channel.is_some(), is_local);
        assert_eq!(
            config.limits.message_rate > 0 && config.limits.connections_per_address > 0,
            !is_local
        );
    }
}
