//! What the backend is asked, and what comes of its word.

use super::*;

/// With a backend that is asked about everything.
fn asking() -> Talk {
    let mut config = config();
    config.centrifuge.anonymous = false;
    let url = || Some("http://127.0.0.1:1/".parse().expect("a URL"));
    let backend = &mut config.backend;
    (backend.connect, backend.refresh, backend.subscribe) = (url(), url(), url());
    (backend.publish, backend.sub_refresh, backend.rpc) = (url(), url(), url());
    config.channels.insert(
        0,
        ChannelRule {
            r#match: "asked-*".parse().expect("a pattern"),
            subscribe: Subscribe::Backend,
            publish: Publish::Backend,
            ..ChannelRule::default()
        },
    );
    Talk::by(config)
}

fn granted<T>(reply: T, wrap: fn(T) -> Reply) -> Result<Verdict<Reply>, Failure> {
    Ok(Verdict::Granted(wrap(reply)))
}

/// A client that the backend has let in as anna, for so many seconds.
fn let_in(seconds: Option<u64>) -> Talk {
    let mut talk = asking();
    assert_eq!(talk.says(CONNECT), [r#"question 1 of "": connect"#]);
    let connection = Connection {
        user: "anna".into(),
        expires: seconds.map(|seconds| talk.at.wall + Duration::from_secs(seconds)),
        ..Connection::default()
    };
    let told = talk.is_told(1, granted(Box::new(connection), Reply::Connect));
    assert_eq!(
        told,
        [r#"known as "anna""#, "welcome"],
        "of an end only the server knows"
    );
    talk
}

const INTERNAL: &str = r#""error":{"code":100,"message":"internal server error","temporary":true}"#;

#[test]
fn the_backend_says_who_comes() {
    let mut talk = asking();
    let both = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}";
    assert_eq!(talk.says(both), [r#"question 1 of "": connect"#]);
    let mut connection = Connection {
        user: "anna".into(),
        data: Some("{}".into()),
        ..Connection::default()
    };
    connection
        .channels
        .insert(Channel::parse("lobby").expect("valid"), Granted::default());
    let told = talk.is_told(1, granted(Box::new(connection), Reply::Connect));
    assert_eq!(told, ["subscribe lobby for 1"]);
    assert_eq!(
        talk.hears("lobby", 1),
        [
            r#"known as "anna""#,
            "join lobby",
            r#"welcome ["lobby"]"#,
            "anna enters lobby",
            "subscribe a for 2"
        ]
    );
    assert!(talk.is_told(1, Ok(Verdict::Nothing)).is_empty(), "again");

    let told = |word| {
        let mut talk = asking();
        talk.says(CONNECT);
        let told = talk.is_told(1, word);
        assert!(!talk.session.is_known());
        told
    };
    assert_eq!(told(Ok(Verdict::Nothing)), error(1, 101, "unauthorized"));
    assert_eq!(
        told(Ok(Verdict::Refused(CommandError::PermissionDenied))),
        error(1, 103, "permission denied")
    );
    assert_eq!(told(Err(Failure::Busy)), [format!(r#"{{"id":1,{INTERNAL}}}"#)]);
    let lapsed = Connection {
        expires: Some(SystemTime::UNIX_EPOCH),
        ..Connection::default()
    };
    assert_eq!(
        told(granted(Box::new(lapsed), Reply::Connect)),
        error(1, 110, "expired")
    );
}

#[test]
fn who_brings_a_token_is_not_asked_about() {
    let mut talk = asking();
    let token = talk.token(60, json!({"sub": "anna"}));
    assert_eq!(
        talk.asks(&json!({"id": 1, "connect": {"token": token}}))[0],
        r#"known as "anna""#
    );
}

#[test]
fn the_backend_says_how_long_a_connection_lasts() {
    let mut talk = let_in(Some(60));
    assert_eq!(
        talk.says(r#"{"id":2,"refresh":{"token":"t"}}"#),
        ["Close(InvalidToken)"]
    );
    let token = talk.token(60, json!({"sub": "anna"}));
    assert_eq!(
        talk.asks(&json!({"id": 2, "refresh": {"token": token}})),
        ["Close(BadRequest)"]
    );
    talk.wait(59);
    assert!(talk.expires().is_empty());
    talk.wait(1);
    assert_eq!(talk.expires(), [r#"question 2 of "anna": refresh"#]);
    assert!(talk.expires().is_empty(), "it is asked once");
    assert!(talk.is_told(2, Err(Failure::Busy)).is_empty());
    talk.wait(60);
    assert_eq!(talk.expires(), [r#"question 3 of "anna": refresh"#]);
    let kept = Renewal::Kept {
        expires: Some(talk.at.wall + Duration::from_secs(5)),
        info: None,
        meta: None,
    };
    assert!(talk.is_told(3, granted(kept, Reply::Refresh)).is_empty());
    talk.wait(5);
    assert_eq!(talk.expires(), [r#"question 4 of "anna": refresh"#]);
    assert_eq!(talk.is_told(4, Ok(Verdict::Nothing)), ["Close(Expired)"]);
}

#[test]
fn the_backend_lets_into_channels() {
    let mut talk = let_in(None);
    let subscribe = |talk: &mut Talk, id| talk.asks(&json!({"id": id, "subscribe": {"channel": "asked-1"}}));
    assert_eq!(subscribe(&mut talk, 2), [r#"question 2 of "anna": subscribe asked-1"#]);
    assert_eq!(subscribe(&mut talk, 3), error(3, 105, "already subscribed"));
    assert!(talk.hears("asked-1", 2).is_empty());
    let refused = talk.is_told(2, Ok(Verdict::Refused(CommandError::PermissionDenied)));
    assert_eq!(refused, error(2, 103, "permission denied"));
    subscribe(&mut talk, 4);
    assert_eq!(
        talk.is_told(3, Err(Failure::Open)),
        [format!(r#"{{"id":4,{INTERNAL}}}"#)]
    );
    subscribe(&mut talk, 5);
    let grant = Granted {
        expires: Some(talk.at.wall + Duration::from_secs(9)),
        ..Granted::default()
    };
    assert_eq!(
        talk.is_told(4, granted(Box::new(grant), Reply::Subscribe)),
        ["subscribe asked-1 for 5"]
    );
    assert_eq!(talk.hears("asked-1", 5), ["join asked-1", r#"{"id":5,"subscribe":{}}"#]);
    talk.wait(9);
    assert_eq!(talk.expires(), [r#"question 5 of "anna": sub_refresh asked-1"#]);
    let over = talk.is_told(5, granted(Renewal::Expired, Reply::SubRefresh));
    assert_eq!(over[0], "unsubscribe asked-1");
    assert!(over[1].contains("2501"), "{over:?}");
}

#[test]
fn who_leaves_while_the_backend_thinks_is_not_taken_in() {
    let mut talk = let_in(None);
    talk.says(r#"{"id":2,"subscribe":{"channel":"asked-1"}}"#);
    talk.says(r#"{"id":3,"unsubscribe":{"channel":"asked-1"}}"#);
    assert!(talk.is_told(2, Ok(Verdict::Nothing)).is_empty());
    talk.says(r#"{"id":4,"subscribe":{"channel":"asked-1"}}"#);
    assert_eq!(talk.is_told(3, Ok(Verdict::Nothing)), ["subscribe asked-1 for 4"]);
}

#[test]
fn the_backend_approves_of_publications_one_after_another() {
    let mut talk = let_in(None);
    let publish = |id: u32| format!(r#"{{"id":{id},"publish":{{"channel":"asked-1","data":{id}}}}}"#);
    assert_eq!(
        talk.says(publish(2)),
        [r#"question 2 of "anna": publish b"2" in asked-1"#]
    );
    assert!(talk.says(publish(3)).is_empty(), "it waits for the one before");
    assert!(talk.says(publish(4)).is_empty());
    assert_eq!(
        talk.is_told(2, Ok(Verdict::Nothing)),
        [
            "publish in asked-1 for Some(2)",
            r#"question 3 of "anna": publish b"3" in asked-1"#
        ]
    );
    let refused = talk.is_told(3, Ok(Verdict::Refused(CommandError::PermissionDenied)));
    assert_eq!(refused[..1], error(3, 103, "permission denied"));
    assert_eq!(refused[1], r#"question 4 of "anna": publish b"4" in asked-1"#);
    let instead = Publication {
        data: Some("5".into()),
        ..Publication::default()
    };
    let mut actions = Vec::new();
    talk.session
        .consulted(4, granted(Box::new(instead), Reply::Publish), talk.at, &mut actions);
    assert!(
        matches!(&actions[..], [Action::Publish { outgoing, answer: Some(4) }] if outgoing.data == "5"),
        "{actions:?}"
    );
}

#[test]
fn the_backend_answers_calls() {
    let mut talk = let_in(None);
    let call = r#"{"id":2,"rpc":{"method":"sum","data":[1,2]}}"#;
    assert_eq!(talk.says(call), [r#"question 2 of "anna": rpc sum"#]);
    let told = talk.is_told(2, granted(Bytes::from_static(b"3"), Reply::Rpc));
    assert_eq!(told, [r#"{"id":2,"rpc":{"data":3}}"#]);
    talk.says(call);
    let application = CommandError::Application {
        code: 404,
        message: "no such sum".into(),
        is_temporary: false,
    };
    assert_eq!(
        talk.is_told(3, Ok(Verdict::Refused(application))),
        error(2, 404, "no such sum")
    );
    assert_eq!(Talk::known().says(call), error(2, 108, "not available"));
}
