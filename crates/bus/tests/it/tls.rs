//! TLS, and an ACL user with exactly the rights that are deployed.

use std::path::Path;

use bus::RedisConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::{Node, Redis};

/// The rules of the gateway's user.
fn rules() -> Vec<String> {
    let users = Redis::deployed_users();
    let rules = users
        .lines()
        .find_map(|line| line.strip_prefix("user fanfare on GATEWAY_PASSWORD "));
    rules
        .expect("the user is there")
        .split(' ')
        .map(str::to_owned)
        .collect()
}

fn write_certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("valid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("valid");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    for (name, pem) in [
        ("ca.pem", issuer.pem()),
        ("cert.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(dir.join(name), pem).expect("written");
    }
}

#[tokio::test]
async fn tls_and_an_acl_user_with_few_rights() {
    let certificates = tempfile::TempDir::new().expect("a directory");
    let dir = certificates.path();
    write_certificates(dir);
    let path = |name: &str| dir.join(name).to_str().expect("text").to_owned();
    let tls_port = crate::support::free_port();
    let redis = Redis::start_with(|port, _| {
        let mut arguments = vec![
            "--port".to_owned(),
            port.to_string(),
            "--tls-port".to_owned(),
            tls_port.to_string(),
        ];
        for (name, value) in [
            ("cert-file", "cert.pem"),
            ("key-file", "key.pem"),
            ("ca-cert-file", "ca.pem"),
        ] {
            arguments.extend([format!("--tls-{name}"), path(value)]);
        }
        arguments.extend(["--tls-auth-clients", "no"].map(str::to_owned));
        arguments
    })
    .await;
    let rules = rules();
    let words: Vec<_> = ["ACL", "SETUSER", "ann", "on", ">p@ss"]
        .into_iter()
        .chain(rules.iter().map(String::as_str))
        .collect();
    let _: String = redis.ask(&words).await;

    let mut config = RedisConfig::new(format!("rediss://ann:p%40ss@localhost:{tls_port}/1"));
    config.ca_file = Some(path("ca.pem").into());
    let mut node = Node::up(config.clone()).await;
    node.subscribed("a").await;
    node.subscribed("chat-channel").await;
    node.publish("a", "1").await;
    node.publish("chat-channel", "2").await;
    assert_eq!(node.heard().await.data, "1");
    assert_eq!(node.heard().await.data, "2");
    let long = "x".repeat(1_000_000);
    node.publish("a", &long).await;
    assert_eq!(node.heard().await.data.len(), long.len());
    // Asked over the pool, so the pool can log in over TLS as well.
    node.until(|_| node.bus.stats().pool_idle.get() == 1).await;
    let log: Vec<redis::Value> = redis.ask(&["ACL", "LOG"]).await;
    assert!(log.is_empty(), "something was denied: {log:?}");

    config.ca_file = None;
    Node::start(config.clone()).until_problem("no TLS with localhost").await;
    config.ca_file = Some(path("cert.pem").into());
    Node::start(config.clone()).until_problem("no TLS with localhost").await;
    config.url = format!("rediss://ann:p%40ss@127.0.0.1:{tls_port}");
    config.ca_file = Some(path("ca.pem").into());
    Node::start(config).until_problem("no TLS with 127.0.0.1").await;
}
