//! What a token that can be believed says, and when.

use super::*;

#[test]
fn times() {
    let over = Err(TokenError::Expired(Untimely::Over));
    let not_yet = Err(TokenError::Expired(Untimely::NotYet));
    check(json!({"exp": NOW + 1}), Ok(()));
    check(json!({"exp": NOW}), over.clone());
    check(json!({"exp": NOW - 1}), over.clone());
    check(json!({"exp": 0}), over.clone());
    check(json!({"exp": -5}), over.clone());
    check(json!({"exp": 1_800_000_000.5}), Ok(()));
    check(json!({"exp": 1_799_999_999.5}), over.clone());
    check(json!({"exp": 1e300}), Ok(()));
    check(json!({"exp": -1e300}), over.clone());
    check(json!({"exp": u64::MAX}), Ok(()));
    check(json!({"exp": END, "nbf": NOW}), Ok(()));
    check(json!({"exp": END, "nbf": NOW + 1}), not_yet.clone());
    check(json!({"exp": END, "nbf": 1_800_000_000.5}), not_yet.clone());
    check(json!({"exp": END, "nbf": 1e300}), not_yet.clone());
    check(json!({"exp": END, "iat": NOW + 1000}), Ok(()));
    check(json!({}), Err(Flaw::NoExpiry.into()));
    check(json!({"exp": null}), Err(Flaw::NoExpiry.into()));
    for odd in [json!("1893456000"), json!(true), json!([END]), json!({})] {
        check(json!({"exp": odd}), Err(Flaw::Claim("exp").into()));
        check(json!({"exp": END, "nbf": odd}), Err(Flaw::Claim("nbf").into()));
        check(json!({"exp": END, "iat": odd}), Err(Flaw::Claim("iat").into()));
        check(
            json!({"exp": END, "expire_at": odd}),
            Err(Flaw::Claim("expire_at").into()),
        );
    }
    let leeway = Tokens {
        leeway: Duration::from_secs(10),
        ..settings()
    };
    check_under(&leeway, json!({"exp": NOW - 9}), Ok(()));
    check_under(&leeway, json!({"exp": NOW - 10}), over);
    check_under(&leeway, json!({"exp": END, "nbf": NOW + 10}), Ok(()));
    check_under(&leeway, json!({"exp": END, "nbf": NOW + 11}), not_yet);
    let for_ever = Tokens {
        require_exp: false,
        ..settings()
    };
    check_under(&for_ever, json!({}), Ok(()));
    check_under(&for_ever, json!({"exp": NOW}), Err(TokenError::Expired(Untimely::Over)));
}

#[test]
fn how_long_a_connection_holds() {
    let expires = |claims| connection(claims).expires;
    assert_eq!(expires(json!({"exp": NOW + 60})), Some(at(NOW + 60)));
    assert_eq!(
        expires(json!({"exp": NOW + 60, "expire_at": NOW + 5})),
        Some(at(NOW + 5))
    );
    assert_eq!(
        expires(json!({"exp": NOW + 60, "expire_at": NOW + 500})),
        Some(at(NOW + 500))
    );
    assert_eq!(expires(json!({"exp": NOW + 60, "expire_at": 0})), None);
    assert_eq!(expires(json!({"exp": NOW + 2 * YEAR})), Some(at(NOW + YEAR)));
    assert_eq!(expires(json!({"exp": 1e300})), Some(at(NOW + YEAR)));
    check(json!({"exp": END, "expire_at": NOW}), Err(TokenError::Lapsed));
    check(json!({"exp": END, "expire_at": -1}), Err(TokenError::Lapsed));
    check(
        json!({"exp": NOW, "expire_at": 0}),
        Err(TokenError::Expired(Untimely::Over)),
    );
    let leeway = Tokens {
        leeway: Duration::from_secs(10),
        ..settings()
    };
    let token = signed(&json!({"alg": "HS256"}), &json!({"exp": NOW - 5}));
    let claims = verifier(&leeway)
        .connection(&token, at(NOW))
        .expect("within the leeway");
    assert_eq!(claims.expires, Some(at(NOW + 1)));
}

#[test]
fn audience_and_issuer() {
    let audience = Tokens {
        audience: vec!["chat".into(), "news".into()],
        ..settings()
    };
    let wrong = Err(Flaw::Audience.into());
    check_under(&audience, json!({"exp": END, "aud": "chat"}), Ok(()));
    check_under(&audience, json!({"exp": END, "aud": ["x", "news"]}), Ok(()));
    check_under(&audience, json!({"exp": END, "aud": "x"}), wrong.clone());
    check_under(&audience, json!({"exp": END, "aud": "chat,news"}), wrong.clone());
    check_under(&audience, json!({"exp": END, "aud": "CHAT"}), wrong.clone());
    check_under(&audience, json!({"exp": END, "aud": []}), wrong.clone());
    check_under(&audience, json!({"exp": END}), wrong.clone());
    check_under(&audience, json!({"exp": END, "aud": 5}), Err(Flaw::Claim("aud").into()));
    // Wrong for good, so no other token is asked for.
    check_under(&audience, json!({"exp": NOW - 1, "aud": "x"}), wrong);
    let issuer = Tokens {
        issuer: Some("https://a.example".into()),
        ..settings()
    };
    check_under(&issuer, json!({"exp": END, "iss": "https://a.example"}), Ok(()));
    check_under(
        &issuer,
        json!({"exp": END, "iss": "https://a.example/"}),
        Err(Flaw::Issuer.into()),
    );
    check_under(&issuer, json!({"exp": END}), Err(Flaw::Issuer.into()));
    check_under(
        &issuer,
        json!({"exp": END, "iss": ["https://a.example"]}),
        Err(Flaw::Claim("iss").into()),
    );
    check(json!({"exp": END, "aud": 5, "iss": 5}), Ok(()));
}

#[test]
fn what_a_connection_may_say() {
    let all = connection(json!({
        "sub": "u", "exp": END, "jti": "t1", "iat": NOW - 5, "info": {"name": "A\nB", "n": 1.0}, "meta": [1, 2], "other": {"x": 1},
        "channels": ["ignored"],
        "subs": {
            "a": {"info": {"x": 1}, "b64data": "AAE=", "override": {"presence": {"value": false}, "force_recovery": {"value": true}}},
            "b": {},
            "c": null,
        },
    }));
    let channel = |name| Channel::parse(name).expect("a channel");
    let grant = Grant {
        info: Some(r#"{"x":1}"#.into()),
        data: Some(Bytes::from_static(&[0, 1])),
        overrides: Overrides {
            presence: Some(false),
            force_recovery: Some(true),
            ..Overrides::default()
        },
    };
    let channels = [
        (channel("a"), grant),
        (channel("b"), Grant::default()),
        (channel("c"), Grant::default()),
    ];
    assert_eq!(all.channels, BTreeMap::from(channels));
    assert_eq!(all.user, "u");
    assert_eq!(all.info.as_deref(), Some(&br#"{"n":1.0,"name":"A\nB"}"#[..]));
    assert_eq!(all.meta.as_deref(), Some(&b"[1,2]"[..]));
    assert_eq!(
        (all.origin.id.as_deref(), all.origin.issued),
        (Some("t1"), Some(at(NOW - 5)))
    );
    let none = connection(json!({"exp": END}));
    assert_eq!(
        (none.user.as_str(), none.info, none.meta, none.channels.len()),
        ("", None, None, 0)
    );
    let plain = connection(json!({"exp": END, "channels": ["b", "a", "b"], "subs": {}}));
    assert_eq!(
        plain.channels.into_keys().collect::<Vec<_>>(),
        [channel("a"), channel("b")]
    );
    let binary = connection(json!({"exp": END, "info": {"x": 1}, "b64info": "AAE="}));
    assert_eq!(binary.info.as_deref(), Some(&[0, 1][..]));
}

#[test]
fn whitespace_in_payloads_goes() {
    let claims = "{\"exp\":1893456000,\"info\": {\n \"a\" : 12345678901234567890123 } }";
    let token = signed_as(hmac::HMAC_SHA256, r#"{"alg":"HS256"}"#, claims, SECRET.as_bytes());
    let claims = verifier(&settings()).connection(&token, at(NOW)).expect("it is right");
    assert_eq!(claims.info.as_deref(), Some(&br#"{"a":12345678901234567890123}"#[..]));
}

#[test]
fn claims_that_cannot_be_understood() {
    let check_claim = |name: &'static str, value: Value| {
        check(json!({"exp": END, name: value}), Err(Flaw::Claim(name).into()));
    };
    check_claim("sub", json!(42));
    check_claim("sub", json!(["u"]));
    check_claim("jti", json!(1));
    check(json!({"exp": END, "b64info": "*"}), Err(Flaw::Claim("info").into()));
    check_claim("b64info", json!({}));
    check_claim("channels", json!("a"));
    check_claim("channels", json!([1]));
    check_claim("channels", json!(["a b"]));
    check_claim("channels", json!([""]));
    check_claim("channels", json!(["x".repeat(256)]));
    check_claim("subs", json!(["a"]));
    check_claim("subs", json!({"a*": {}}));
    check_claim("subs", json!({"a": 1}));
    check_claim("subs", json!({"a": {"override": {"presence": true}}}));
    check_claim("subs", json!({"a": {"override": {"presence": {"value": "yes"}}}}));
    check_claim("subs", json!({"a": {"b64data": "*"}}));
    check(json!({"exp": END, "channel": null}), Err(Flaw::ForSubscription.into()));
    check(json!({"exp": END, "channel": ""}), Err(Flaw::ForSubscription.into()));
    let deep = format!(
        "{{\"exp\":1893456000,\"info\":{}{}}}",
        "[".repeat(2000),
        "]".repeat(2000)
    );
    let token = signed_as(hmac::HMAC_SHA256, r#"{"alg":"HS256"}"#, &deep, SECRET.as_bytes());
    assert!(matches!(
        verifier(&settings()).connection(&token, at(NOW)),
        Err(TokenError::Invalid(_))
    ));
}

#[test]
fn subscriptions() {
    let news = Channel::parse("news").expect("a channel");
    let verifier = verifier(&settings());
    let ask = |claims: &Value| {
        let token = signed(&json!({"alg": "HS256"}), claims);
        verifier.subscription(&token, "u", "c1", &news, at(NOW))
    };
    let check =
        |claims: Value, expected: Result<(), TokenError>| assert_eq!(ask(&claims).map(drop), expected, "{claims}");
    let wrong = |subject| Err(TokenError::WrongSubject(subject));
    check(json!({"exp": END, "sub": "u", "channel": "news"}), Ok(()));
    check(
        json!({"exp": END, "sub": "u", "channel": "news", "client": "c1"}),
        Ok(()),
    );
    check(
        json!({"exp": END, "sub": "u", "channel": "news", "client": "c2"}),
        wrong(Subject::Client),
    );
    check(
        json!({"exp": END, "sub": "u", "channel": "news", "client": ""}),
        wrong(Subject::Client),
    );
    check(
        json!({"exp": END, "sub": "u", "channel": "News"}),
        wrong(Subject::Channel),
    );
    check(
        json!({"exp": END, "sub": "u", "channel": "news2"}),
        wrong(Subject::Channel),
    );
    check(json!({"exp": END, "sub": "u", "channel": ""}), wrong(Subject::Channel));
    check(
        json!({"exp": END, "sub": "u", "channels": ["news"]}),
        Err(TokenError::Invalid(Flaw::ForConnection)),
    );
    check(json!({"exp": END, "sub": "v", "channel": "news"}), wrong(Subject::User));
    check(json!({"exp": END, "channel": "news"}), wrong(Subject::User));
    check(
        json!({"exp": NOW, "sub": "v", "channel": "news"}),
        Err(TokenError::Expired(Untimely::Over)),
    );
    check(
        json!({"exp": END, "sub": "u", "channel": ["news"]}),
        Err(Flaw::Claim("channel").into()),
    );
    check(
        json!({"exp": END, "sub": "u", "channel": "news", "override": 1}),
        Err(Flaw::Claim("override").into()),
    );
    let all = ask(&json!({
        "exp": END, "sub": "u", "channel": "news", "expire_at": 0, "jti": "t", "info": 1, "data": "x",
        "override": {"join_leave": {"value": true}, "force_positioning": null, "later": {"value": 1}},
    }));
    let all = all.expect("it is right");
    assert_eq!((all.expires, all.origin.id.as_deref()), (None, Some("t")));
    assert_eq!(
        (all.grant.info.as_deref(), all.grant.data.as_deref()),
        (Some(&b"1"[..]), Some(&b"\"x\""[..]))
    );
    assert_eq!(
        all.grant.overrides,
        Overrides {
            join_leave: Some(true),
            ..Overrides::default()
        }
    );
    // Whose user is nobody in particular.
    let token = signed(&json!({"alg": "HS256"}), &json!({"exp": END, "channel": "news"}));
    assert!(verifier.subscription(&token, "", "c1", &news, at(NOW)).is_ok());
}

#[test]
fn revoked_tokens() {
    use crate::token::revocation::Revocation;

    let verifier = verifier(&settings());
    let channel = Channel::parse("room").expect("a channel");
    let add = |revocation: Revocation| assert!(verifier.revocations().add(&revocation, at(NOW)));
    add(Revocation::of_token("t1".into(), Some(at(NOW + 60)), at(NOW)).expect("short"));
    add(Revocation::of_user("anna".into(), at(NOW), None, at(NOW)).expect("short"));
    let revoked = Err(TokenError::Invalid(Flaw::Revoked));
    for (claims, expected) in [
        (json!({"exp": END, "jti": "t1"}), revoked.clone()),
        (json!({"exp": END, "jti": "t2"}), Ok(())),
        (json!({"exp": END, "sub": "anna", "iat": NOW - 1}), revoked.clone()),
        (json!({"exp": END, "sub": "anna", "iat": NOW}), Ok(())),
        (json!({"exp": END, "sub": "anna"}), revoked),
        (
            json!({"exp": NOW, "jti": "t1"}),
            Err(TokenError::Expired(Untimely::Over)),
        ),
    ] {
        let user = claims["sub"].as_str().unwrap_or_default();
        let mut of_subscription = claims.clone();
        of_subscription["channel"] = json!("room");
        let sign = |claims| signed(&json!({"alg": "HS256"}), claims);
        let (connection, subscription) = (sign(&claims), sign(&of_subscription));
        assert_eq!(
            verifier.connection(&connection, at(NOW)).map(drop),
            expected,
            "{claims}"
        );
        let found = verifier
            .subscription(&subscription, user, "c", &channel, at(NOW))
            .map(drop);
        assert_eq!(found, expected, "{claims}");
        for token in [&connection, &subscription] {
            assert_eq!(
                verifier.bearer(token, &channel, at(NOW)).map(drop),
                expected,
                "{claims}"
            );
        }
    }
    let t1 = signed(&json!({"alg": "HS256"}), &json!({"exp": END, "jti": "t1"}));
    assert!(
        verifier.connection(&t1, at(NOW + 60)).is_ok(),
        "it is not revoked for longer"
    );
}
