//! That the description of the API says what the API does.

use std::process::Command;

use gateway::config::Call;

use super::*;
use crate::support::{config, get};

#[test]
fn the_description_is_up_to_date_and_needs_no_key() {
    let kept = include_str!("../../../docs/openapi.json").to_owned();
    let server = Server::start(config(Transport::Reactor));
    let answer = get(server.admin(), "/openapi.json");
    let command = "cargo run -q -p fanfare-gateway -- openapi > crates/gateway/docs/openapi.json";
    assert!(
        answer == Some((200, kept)),
        "docs/openapi.json is out of date; run: {command}"
    );
}

#[test]
fn the_program_prints_the_description() {
    let printed = Command::new(env!("CARGO_BIN_EXE_fanfare")).arg("openapi").output();
    let printed = printed.expect("the program");
    let kept = include_str!("../../../docs/openapi.json");
    assert!(printed.status.success() && printed.stdout == kept.as_bytes());
}

#[test]
fn every_call_is_described_and_answers_its_example() {
    let server = Server::start(with_rules(config(Transport::Reactor)));
    let (_, text) = get(server.admin(), "/openapi.json").expect("an answer");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut described: Vec<_> = paths.keys().map(String::as_str).collect();
    let mut there: Vec<_> = Call::all().map(|call| format!("/api/{}", call.name())).collect();
    described.sort_unstable();
    there.sort_unstable();
    assert_eq!(described, there);
    for (path, item) in paths {
        let example = &item["post"]["requestBody"]["content"]["application/json"]["example"];
        let method = path.trim_start_matches("/api/");
        let answer = call(&server, method, example);
        let expected = match method {
            "batch" => "replies",
            "presence" | "presence_stats" | "history" | "history_remove" | "rpc" => "error",
            _ => "result",
        };
        assert!(answer.get(expected).is_some(), "{method}: {answer}");
        // Each status that a call is answered with is described.
        let statuses = item["post"]["responses"].as_object().expect("responses");
        for status in ["200", "400", "401", "403", "404", "405", "408", "413", "500"] {
            assert!(statuses.contains_key(status), "{method} {status}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let server = Server::start(config(Transport::Reactor));
    let (_, text) = get(server.admin(), "/openapi.json").expect("an answer");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{found:?}");
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
