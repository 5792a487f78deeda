//! Redis answers, but refuses, or says what no Redis says: named in the health, counted, survived.

use std::time::Duration;

use bus::{Outgoing, PublishError, RedisConfig};

use crate::support::{Node, Redis, channel, fake_redis, outgoing};

#[tokio::test]
async fn a_wrong_password_is_named_and_not_repeated() {
    let redis = Redis::start().await;
    let _: String = redis
        .ask(&["ACL", "SETUSER", "ann", "on", ">right", "~*", "&*", "+@all"])
        .await;
    let mut config = RedisConfig::new(format!("redis://ann:hush@127.0.0.1:{}", redis.port));
    let node = Node::start(config.clone());
    node.until_problem("WRONGPASS").await;
    node.until(|health| {
        health
            .problem
            .as_ref()
            .is_some_and(|problem| problem.contains("publishing"))
    })
    .await;
    let problem = node.bus.health().problem.expect("there is one");
    assert!(!problem.contains("hush"), "{problem}");
    config.url = format!("redis://ann@127.0.0.1:{}", redis.port);
    config.password = Some("right".to_owned());
    Node::up(config).await;
}

#[tokio::test]
async fn a_missing_password_is_named() {
    let redis = Redis::start_with(|port, _| {
        ["--port", &port.to_string(), "--requirepass", "secret"]
            .map(str::to_owned)
            .into()
    })
    .await;
    let node = Node::start(RedisConfig::new(redis.url()));
    node.until_problem("NOAUTH").await;
    Node::up(RedisConfig {
        password: Some("secret".to_owned()),
        ..RedisConfig::new(redis.url())
    })
    .await;
}

#[tokio::test]
async fn what_the_acl_denies_is_named_and_the_rest_works() {
    let redis = Redis::start().await;
    let rules = "on >pw resetchannels &fanfare:node:* &fanfare:nodes &fanfare:channel:{a} -@all +subscribe +unsubscribe +publish +ping";
    let words: Vec<_> = ["ACL", "SETUSER", "ann"].into_iter().chain(rules.split(' ')).collect();
    let _: String = redis.ask(&words).await;
    let mut node = Node::up(RedisConfig::new(format!("redis://ann:pw@127.0.0.1:{}", redis.port))).await;
    let (denied, allowed) = (channel("denied"), channel("a"));
    node.bus.subscribe(&denied);
    let generation = node.bus.subscribe(&allowed);
    let event = node.next().await;
    assert_eq!(
        event,
        bus::BusEvent::Subscribed {
            channel: allowed,
            generation
        }
    );
    node.until_problem("refuses the subscription of denied").await;
    assert!(node.bus.health().link_up);
    let answers = node
        .bus
        .publish(vec![outgoing("a", "1"), outgoing("denied", "2"), outgoing("a", "3")])
        .await;
    assert!(
        matches!(&answers[..], [Ok(()), Err(PublishError::Refused { .. }), Ok(())]),
        "{answers:?}"
    );
    node.until_problem("refuses publications: NOPERM").await;
    assert_eq!(node.heard().await.data, "1");
    assert_eq!(node.heard().await.data, "3");
    let _: String = redis.ask(&["ACL", "SETUSER", "ann", "&*"]).await;
    assert!(
        matches!(node.next().await, bus::BusEvent::Subscribed { .. }),
        "tried again"
    );
    node.publish("denied", "4").await;
    assert_eq!(node.heard().await.data, "4");
    node.until(|health| health.problem.is_none()).await;
}

#[tokio::test]
async fn what_was_refused_can_be_published_once_later() {
    let redis = Redis::start().await;
    let rules = "on >pw resetchannels &fanfare:node* ~* -@all +subscribe +publish +ping +eval +set +del";
    let words: Vec<_> = ["ACL", "SETUSER", "ann"].into_iter().chain(rules.split(' ')).collect();
    let _: String = redis.ask(&words).await;
    let mut node = Node::up(RedisConfig::new(format!("redis://ann:pw@127.0.0.1:{}", redis.port))).await;
    let once = || Outgoing {
        once: Some("k".to_owned()),
        ..outgoing("a", "1")
    };
    let answers = node.bus.publish(vec![once()]).await;
    assert!(
        matches!(answers[..], [Err(PublishError::Refused { .. })]),
        "{answers:?}"
    );
    let _: String = redis.ask(&["ACL", "SETUSER", "ann", "&*"]).await;
    node.subscribed("a").await;
    assert_eq!(node.bus.publish(vec![once()]).await, [Ok(())]);
    assert_eq!(node.heard().await.data, "1");
}

#[tokio::test]
async fn a_full_redis_is_named_and_not_stormed() {
    let redis = Redis::start().await;
    let mut operator = redis.operator().await;
    let mut ask = async |words: &[&str]| -> String {
        let answer = redis::cmd(words[0]).arg(&words[1..]).query_async(&mut operator).await;
        answer.expect("an answer")
    };
    ask(&["CONFIG", "SET", "maxclients", "1"]).await;
    let node = Node::start(RedisConfig::new(redis.url()));
    node.until_problem("refuses this client: ERR max number of clients reached")
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await; // an outage has a length
    let stats = ask(&["INFO", "stats"]).await;
    let rejected = stats
        .lines()
        .find_map(|line| line.strip_prefix("rejected_connections:"));
    let rejected: u64 = rejected.expect("counted").parse().expect("a number");
    assert!(rejected < 60, "{rejected} attempts in about a second by three tasks");
    ask(&["CONFIG", "SET", "maxclients", "100"]).await;
    node.until(|health| health.link_up && health.publisher_up && health.problem.is_none())
        .await;
}

#[tokio::test]
async fn a_forbidden_ping_is_named() {
    let redis = Redis::start().await;
    let rules = "on >pw resetchannels &* -@all +subscribe +unsubscribe +publish";
    let words: Vec<_> = ["ACL", "SETUSER", "ann"].into_iter().chain(rules.split(' ')).collect();
    let _: String = redis.ask(&words).await;
    let node = Node::start(RedisConfig::new(format!("redis://ann:pw@127.0.0.1:{}", redis.port)));
    node.until_problem("refuses PING: NOPERM").await;
}

#[tokio::test]
async fn a_protected_redis_is_named() {
    let (port, _tasks) = fake_redis(|_| b"-DENIED Redis is running in protected mode\r\n".to_vec()).await;
    let node = Node::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")));
    node.until_problem("refuses this client: DENIED").await;
    assert!(!node.bus.health().publisher_up);
}

#[tokio::test]
async fn loading_is_named() {
    let (port, _tasks) = fake_redis(|asked| {
        let commands = asked.matches("\r\n$").count().max(1);
        b"-LOADING Redis is loading the dataset in memory\r\n".repeat(commands)
    })
    .await;
    let node = Node::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")));
    node.until_problem("LOADING").await;
    assert!(!node.bus.health().publisher_up);
    assert_eq!(
        node.bus.publish(vec![outgoing("a", "1")]).await,
        [Err(PublishError::Unavailable)]
    );
}

#[tokio::test]
async fn what_is_no_redis_is_named() {
    let (port, _tasks) = fake_redis(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let node = Node::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")));
    node.until_problem("Redis sent what it must not").await;
}

#[tokio::test]
async fn refused_publications_keep_their_reason() {
    let (port, _tasks) = fake_redis(|asked| {
        let answers = asked.split("\r\n*").map(|command| match command {
            command if command.contains("PUBLISH") => {
                &b"-READONLY You can't write against a read only replica.\r\n"[..]
            }
            _ => b"+OK\r\n",
        });
        answers.collect::<Vec<_>>().concat()
    })
    .await;
    let node = Node::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")));
    node.until(|health| health.publisher_up).await;
    let answers = node.bus.publish(vec![outgoing("a", "1")]).await;
    assert!(
        matches!(&answers[..], [Err(PublishError::Refused { reason })] if reason.contains("READONLY")),
        "{answers:?}"
    );
    node.until_problem("READONLY").await;
}
