//! Clients whom the application's backend lets in, or not: a real HTTP server, asked over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{App, HttpResponse, HttpServer, web};
use gateway::config::{ChannelRule, Publish, Subscribe};
use gateway::config::{Config, Transport};
use serde_json::{Value, json};

use crate::support::{Server, Socket, config, on_both_transports, upgrade};

const PATH: &str = "/connection/websocket";

/// An application that answers by what `decide` says, and remembers what it was asked.
pub(crate) struct Application {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

pub(crate) type Decide = fn(&str, &Value) -> Value;

impl Application {
    pub(crate) fn start(decide: Decide) -> Self {
        let (started, address) = mpsc::channel();
        let asked = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let remembered = Arc::clone(&asked);
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let answer = move |event: web::Path<String>, body: web::Json<Value>| {
                    let word = decide(&event, &body);
                    remembered
                        .lock()
                        .expect("no panic")
                        .push((event.into_inner(), body.into_inner()));
                    async move {
                        match word {
                            Value::Number(status) => {
                                let status = status.as_u64().and_then(|status| u16::try_from(status).ok());
                                HttpResponse::build(status.and_then(|it| it.try_into().ok()).expect("a status"))
                                    .finish()
                            }
                            word => HttpResponse::Ok().json(word),
                        }
                    }
                };
                let server = HttpServer::new(move || App::new().route("/{event}", web::post().to(answer.clone())))
                    .workers(1)
                    .disable_signals()
                    .bind(("127.0.0.1", 0))
                    .expect("a free port");
                started.send(server.addrs()[0]).expect("the test waits");
                server.run().await
            })
        });
        let address = address.recv_timeout(Duration::from_secs(10)).expect("it starts");
        Self { address, asked }
    }

    /// What it was asked about `event`, in order.
    pub(crate) fn asked(&self, event: &str) -> Vec<Value> {
        let asked = self.asked.lock().expect("no panic");
        let about = asked.iter().filter(|(what, _)| what == event);
        about.map(|(_, question)| question.clone()).collect()
    }
}

/// Has `application` asked about everything.
pub(crate) fn asking(application: &Application, mut config: Config) -> Config {
    let url = |event: &str| {
        Some(
            format!("http://{}/{event}", application.address)
                .parse()
                .expect("a URL"),
        )
    };
    let backend = &mut config.backend;
    (backend.connect, backend.refresh, backend.subscribe) = (url("connect"), url("refresh"), url("subscribe"));
    (backend.publish, backend.sub_refresh, backend.rpc) = (url("publish"), url("sub_refresh"), url("rpc"));
    backend.timeout = Duration::from_secs(5);
    backend.headers = vec!["cookie".parse().expect("a name")];
    config
}

fn with(application: &Application, config: Config) -> Config {
    let mut config = asking(application, config);
    let rule = |pattern: &str, subscribe, publish| ChannelRule {
        r#match: pattern.parse().expect("a pattern"),
        subscribe,
        publish,
        ..ChannelRule::default()
    };
    config.channels = vec![
        rule("asked-*", Subscribe::Backend, Publish::Backend),
        rule("room-*", Subscribe::Anyone, Publish::Subscribers),
    ];
    config
}

#[track_caller]
fn told(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text()).expect("JSON")
}

#[track_caller]
fn asks(socket: &mut Socket, command: Value) -> Value {
    socket.send(command.to_string());
    told(socket)
}

/// A client that says this of itself.
#[track_caller]
fn connected(server: &Server, data: Value) -> (Socket, Value) {
    let mut socket = server.client_of(PATH);
    let answer = asks(&mut socket, json!({"id": 1, "connect": {"data": data}}));
    (socket, answer)
}

fn seconds_from_now(seconds: u64) -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
        + seconds
}

/// Does what the data of a question says; without, it has nothing to say.
fn obliging(_: &str, question: &Value) -> Value {
    match question.get("data") {
        Some(data) if data.get("answer").is_some() => data["answer"].clone(),
        _ => json!({}),
    }
}

on_both_transports! {
    it_says_who_connects
    it_lets_into_channels
    it_approves_of_publications_in_order
    it_answers_calls
    what_it_granted_for_a_time_is_asked_about_again
    plain_websockets_are_asked_about_too
}

fn it_says_who_connects(transport: Transport) {
    let application = Application::start(obliging);
    let server = Server::start(with(&application, config(transport)));
    let grant = json!({"answer": {"result": {
        "user": "anna", "info": {"name": "Anna"}, "data": {"hello": 1}, "channels": ["room-1"], "subs": {"room-2": {"data": 2}}
    }}});
    let (mut anna, welcome) = connected(&server, grant.clone());
    let connect = &welcome["connect"];
    assert_eq!((&connect["data"], connect.get("expires")), (&json!({"hello": 1}), None));
    assert_eq!(connect["subs"]["room-2"], json!({"data": 2}));
    let asked = &application.asked("connect")[0];
    assert_eq!(
        *asked,
        json!({"client": connect["client"], "transport": "websocket", "protocol": "json", "encoding": "json", "data": grant})
    );
    anna.send(json!({"id": 2, "publish": {"channel": "room-2", "data": 1}}).to_string());
    let heard = [told(&mut anna), told(&mut anna)];
    let push = heard.iter().find(|told| told.get("push").is_some()).expect("its own");
    assert_eq!(push["push"]["pub"]["info"]["user"], json!("anna"));

    // What it asks for at once waits until it is let in.
    let mut hasty = server.client_of(PATH);
    let connect = json!({"id": 1, "connect": {"data": grant}});
    let subscribe = json!({"id": 2, "subscribe": {"channel": "room-3"}});
    hasty.send(format!("{connect}\n{subscribe}"));
    assert_eq!(told(&mut hasty)["id"], json!(1));
    assert_eq!(told(&mut hasty), json!({"id": 2, "subscribe": {}}));

    let refused = |answer: Value| connected(&server, json!({"answer": answer})).1["error"].clone();
    assert_eq!(refused(json!({})), json!({"code": 101, "message": "unauthorized"}));
    assert_eq!(
        refused(json!({"error": {"code": 1000, "message": "not today"}})),
        json!({"code": 1000, "message": "not today"})
    );
    assert_eq!(
        refused(json!({"result": {"user": "anna", "channels": ["nowhere"]}}))["code"],
        json!(102)
    );
    assert_eq!(
        refused(json!({"result": {"user": "anna", "expire_at": 1}}))["code"],
        json!(110)
    );
    let failed = refused(json!(500));
    assert_eq!((&failed["code"], &failed["temporary"]), (&json!(100), &json!(true)));
    let mut banned = server.client_of(PATH);
    let answer = json!({"answer": {"disconnect": {"code": 4500, "reason": "banned"}}});
    banned.send(json!({"id": 1, "connect": {"data": answer}}).to_string());
    assert_eq!(banned.close(), (Some(4500), "banned".into()));
}

fn it_lets_into_channels(transport: Transport) {
    let application = Application::start(|event, question| match event {
        "connect" => json!({"result": {"user": "anna"}}),
        _ => obliging(event, question),
    });
    let server = Server::start(with(&application, config(transport)));
    let (mut anna, _) = connected(&server, json!(null));
    let mut id = 1;
    let mut subscribe = |answer: Value| {
        id += 1;
        let data = json!({"answer": answer});
        asks(
            &mut anna,
            json!({"id": id, "subscribe": {"channel": format!("asked-{id}"), "data": data}}),
        )
    };
    assert_eq!(subscribe(json!({})), json!({"id": 2, "subscribe": {}}));
    assert_eq!(
        subscribe(json!({"result": {"data": {"a": 1}}})),
        json!({"id": 3, "subscribe": {"data": {"a": 1}}})
    );
    assert_eq!(
        subscribe(json!({"error": {"code": 403, "message": "not a member"}}))["error"],
        json!({"code": 403, "message": "not a member"})
    );
    assert_eq!(subscribe(json!(503))["error"]["temporary"], json!(true));
    let first = &application.asked("subscribe")[0];
    assert_eq!((&first["user"], &first["channel"]), (&json!("anna"), &json!("asked-2")));
}

fn it_approves_of_publications_in_order(transport: Transport) {
    let application = Application::start(|event, question| match (event, question["data"].as_u64()) {
        ("publish", Some(2)) => json!({"error": {"code": 403, "message": "not 2"}}),
        ("publish", Some(3)) => json!({"result": {"data": {"instead": 3}, "tags": {"odd": "yes"}}}),
        ("connect", _) => json!({"result": {"user": "anna"}}),
        _ => json!({}),
    });
    let server = Server::start(with(&application, config(transport)));
    let (mut anna, _) = connected(&server, json!(null));
    asks(&mut anna, json!({"id": 2, "subscribe": {"channel": "asked-1"}}));
    let mut raw = server.client_of("/raw/asked-1");
    let publish = |number: u32| json!({"id": 10 + number, "publish": {"channel": "asked-1", "data": number}});
    let all: Vec<String> = (1..=5).map(|number| publish(number).to_string()).collect();
    anna.send(all.join("\n"));
    for expected in ["1", r#"{"instead":3}"#, "4", "5"] {
        raw.expect(expected);
    }
    let (mut pushes, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let told = told(&mut anna);
        match told.get("push") {
            Some(push) => pushes.push(push["pub"]["data"].clone()),
            None => errors.extend(
                told.get("error")
                    .map(|error| (told["id"].clone(), error["code"].clone())),
            ),
        }
    }
    assert_eq!(pushes, [json!(1), json!({"instead": 3}), json!(4), json!(5)]);
    assert_eq!(errors, [(json!(12), json!(403))]);
}

fn it_answers_calls(transport: Transport) {
    let application = Application::start(|event, question| match event {
        "connect" => json!({"result": {"user": "anna"}}),
        _ => json!({"result": {"data": {"method": question["method"], "given": question["data"]}}}),
    });
    let server = Server::start(with(&application, config(transport)));
    let (mut anna, _) = connected(&server, json!(null));
    let answer = asks(&mut anna, json!({"id": 2, "rpc": {"method": "sum", "data": [1, 2]}}));
    assert_eq!(
        answer,
        json!({"id": 2, "rpc": {"data": {"method": "sum", "given": [1, 2]}}})
    );
}

fn what_it_granted_for_a_time_is_asked_about_again(transport: Transport) {
    let application = Application::start(|event, question| match event {
        "connect" => json!({"result": {"user": question["data"]["user"], "expire_at": question["data"]["until"]}}),
        "refresh" if question["user"] == "anna" => json!({"result": {"expire_at": seconds_from_now(600)}}),
        "subscribe" => json!({"result": {"expire_at": seconds_from_now(2)}}),
        _ => json!({}),
    });
    let server = Server::start(with(&application, config(transport)));
    let user = |user: &str| json!({"user": user, "until": seconds_from_now(2)});
    let (mut anna, welcome) = connected(&server, user("anna"));
    assert_eq!(welcome["connect"].get("expires"), None);
    let (mut bert, _) = connected(&server, user("bert"));
    asks(&mut anna, json!({"id": 2, "subscribe": {"channel": "asked-1"}}));
    assert_eq!(bert.close(), (Some(3005), "connection expired".into()));
    let push = told(&mut anna)["push"].take();
    assert_eq!(push["unsubscribe"]["code"], json!(2501));
    assert_eq!(application.asked("refresh").len(), 2);
    let alive = asks(&mut anna, json!({"id": 3, "subscribe": {"channel": "room-1"}}));
    assert_eq!(alive, json!({"id": 3, "subscribe": {}}));
}

fn plain_websockets_are_asked_about_too(transport: Transport) {
    let application = Application::start(|event, question| match (event, question["channel"].as_str()) {
        ("subscribe", Some("asked-no")) => json!({"error": {"code": 403, "message": "no"}}),
        ("subscribe", Some("asked-ill")) => json!(500),
        ("publish", _) if question["data"] == json!("bad") => json!({"error": {"code": 403, "message": "no"}}),
        ("publish", _) if question["data"] == json!("worse") => {
            json!({"disconnect": {"code": 4500, "reason": "banned"}})
        }
        _ => json!({}),
    });
    let server = Server::start(with(&application, config(transport)));
    assert_eq!(server.ask(upgrade("/raw/asked-no", &[])).status, 403);
    assert_eq!(server.ask(upgrade("/raw/asked-ill", &[])).status, 503);
    let (raw, answer) = Socket::ask(server.address(), upgrade("/raw/asked-1", &[("Cookie", "session=1")]));
    let mut raw = raw.unwrap_or_else(|| panic!("{answer:?}"));
    for number in 0..5 {
        raw.send(number.to_string());
        raw.send("\"bad\"");
    }
    for number in 0..5 {
        raw.expect(&number.to_string());
    }
    raw.send("\"worse\"");
    assert_eq!(raw.close(), (Some(4500), "banned".into()));
}
