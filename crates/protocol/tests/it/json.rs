//! JSON: the same judgement as serde_json, and the same compact text for plain values.

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use protocol::json::compact;
use serde_json::{Value, json};

use crate::checks;

proptest! {
    #[test]
    fn pretty_text_becomes_what_serde_json_would_write(value in value()) {
        let pretty = serde_json::to_string_pretty(&value).expect("a value can be written");
        let plain = serde_json::to_vec(&value).expect("a value can be written");
        prop_assert_eq!(compact(Bytes::from(pretty), 64), Ok(Bytes::from(plain)));
    }

    #[test]
    fn any_text(text in "\\PC{0,60}") {
        checks::json::text(&text);
    }

    #[test]
    fn any_tokens(tokens in vec(token(), 0..14)) {
        checks::json::text(&tokens.concat());
    }

    #[test]
    fn json_with_one_mistake(value in value(), at: prop::sample::Index, replacement in token(), cut in 0..3usize) {
        let mut text: Vec<char> = serde_json::to_string_pretty(&value).expect("a value can be written").chars().collect();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, replacement.chars());
        checks::json::text(&text.into_iter().collect::<String>());
    }
}

/// Pieces of JSON, and of what looks like it.
fn token() -> impl Strategy<Value = String> {
    let fixed = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\t",
        "\r",
        "\"",
        "\\",
        "\"a\"",
        "\"\\u12aF\"",
        "\"\\ud800\"",
        "\\n",
        "\\x",
        "\u{0}",
        "\u{1f}",
        "true",
        "false",
        "null",
        "nul",
        "0",
        "-",
        "1",
        "9",
        ".",
        "e",
        "E",
        "+",
        "1E400",
        "\u{feff}",
        "\u{a0}",
        "\u{2028}",
        "ü",
        "'",
        "/",
    ]);
    prop_oneof![8 => fixed.prop_map(str::to_owned), 1 => "\\PC"]
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    scalar.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(".{0,6}", inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}
