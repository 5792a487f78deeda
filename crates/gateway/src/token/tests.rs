//! Tokens as tables. The public keys of `test_keys.json` and the tokens beside them were made with Node's `crypto`, and the private keys
//! thrown away; what is signed with a secret is signed here by hand, byte for byte as wanted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::Secret;
use crate::grant::{Grant, Overrides};

mod contents;
mod files;
mod remote;

/// Of the tokens that are well known.
const SECRET: &str = "fanfare-secret";
/// `{"sub":"u-42","exp":1893456000}`, of which the end is the first second of 2030.
const CONNECTION: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1LTQyIiwiZXhwIjoxODkzNDU2MDAwfQ.\
                          ChvMlC3A7WiSTD3slWmitdIS3-mRNOhNemEDQlEEhJw";
/// `{"sub":"u-42","channel":"$room:1","exp":1893456000}`.
const SUBSCRIPTION: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                            eyJzdWIiOiJ1LTQyIiwiY2hhbm5lbCI6IiRyb29tOjEiLCJleHAiOjE4OTM0NTYwMDB9.\
                            5NXGf7w5rxzOxTJTWUdBX-7iFI_7gTBf6AMBMav8u9E";
const END: u64 = 1_893_456_000;
/// When all tokens here are judged, unless a test is about time.
const NOW: u64 = 1_800_000_000;
const YEAR: u64 = 365 * 86_400;

const INVALID_ALGORITHM: TokenError = TokenError::Invalid(Flaw::Algorithm);
const INVALID_SIGNATURE: TokenError = TokenError::Invalid(Flaw::Signature);
const MALFORMED: TokenError = TokenError::Invalid(Flaw::Malformed);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn settings() -> Tokens {
    Tokens {
        hmac_secret: Some(Secret::new(SECRET)),
        ..Tokens::default()
    }
}

fn verifier(tokens: &Tokens) -> Verifier {
    Verifier::new(tokens).expect("settings that can be used").0
}

/// A token of exactly this header and these claims, signed by HMAC.
fn signed_as(algorithm: hmac::Algorithm, header: &str, claims: &str, secret: &[u8]) -> String {
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signed(header: &Value, claims: &Value) -> String {
    signed_as(
        hmac::HMAC_SHA256,
        &header.to_string(),
        &claims.to_string(),
        SECRET.as_bytes(),
    )
}

/// What a token with these claims is told, under these settings.
#[track_caller]
fn check_under(tokens: &Tokens, claims: Value, expected: Result<(), TokenError>) {
    let token = signed(&json!({"alg": "HS256"}), &claims);
    let found = verifier(tokens).connection(&token, at(NOW)).map(drop);
    assert_eq!(found, expected, "{claims}");
}

#[track_caller]
fn check(claims: Value, expected: Result<(), TokenError>) {
    check_under(&settings(), claims, expected);
}

/// The claims of a connection, which must be right.
#[track_caller]
fn connection(claims: Value) -> ConnectionClaims {
    let token = signed(&json!({"alg": "HS256"}), &claims);
    verifier(&settings())
        .connection(&token, at(NOW))
        .expect("a token that is right")
}

#[test]
fn well_known_tokens() {
    let verifier = verifier(&settings());
    let claims = verifier.connection(CONNECTION, at(END - 1)).expect("it is right");
    assert_eq!((claims.user.as_str(), claims.expires), ("u-42", Some(at(END))));
    assert_eq!(
        verifier.connection(CONNECTION, at(END)),
        Err(TokenError::Expired(Untimely::Over))
    );
    assert_eq!(
        verifier.connection(SUBSCRIPTION, at(NOW)),
        Err(Flaw::ForSubscription.into())
    );
    let channel = Channel::parse("$room:1").expect("a channel");
    let claims = verifier.subscription(SUBSCRIPTION, "u-42", "c", &channel, at(END - 1));
    assert_eq!(claims.map(|claims| claims.expires), Ok(Some(at(END))));
}

/// One issuer's key of `test_keys.json`.
#[derive(Deserialize)]
struct Issuer {
    name: String,
    pem: String,
    pkcs1: Option<String>,
    jwk: Value,
    with_kid: String,
    without_kid: String,
}

fn issuers() -> Vec<Issuer> {
    serde_json::from_str(include_str!("test_keys.json")).expect("the file is right")
}

fn issuer(name: &str) -> Issuer {
    issuers()
        .into_iter()
        .find(|issuer| issuer.name == name)
        .expect("it is there")
}

/// A verifier with a PEM file, a key set, or both.
fn with_files(
    pem: Option<&str>,
    set: Option<&Value>,
    tokens: Tokens,
) -> (Result<(Verifier, Inventory), SourceError>, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let tokens = Tokens {
        public_key_file: pem.map(|pem| file("key.pem", pem.to_owned())),
        jwks_file: set.map(|set| file("set.json", set.to_string())),
        ..tokens
    };
    (Verifier::new(&tokens), directory)
}

fn with_pem(pem: &str) -> Result<Verifier, String> {
    let made = with_files(Some(pem), None, Tokens::default()).0;
    made.map(|made| made.0).map_err(|error| error.without_path())
}

#[test]
fn every_algorithm() {
    for (name, algorithm) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ] {
        let header = json!({"alg": name}).to_string();
        let token = signed_as(algorithm, &header, r#"{"exp":1893456000}"#, SECRET.as_bytes());
        assert!(verifier(&settings()).connection(&token, at(NOW)).is_ok(), "{name}");
    }
    for issuer in issuers() {
        let Issuer {
            name,
            pem,
            jwk,
            with_kid,
            without_kid,
            pkcs1,
        } = &issuer;
        let set = json!({"keys": [jwk]});
        let set = with_files(None, Some(&set), Tokens::default()).0.map(|made| made.0);
        match name.as_str() {
            "RS256" | "RS384" | "RS512" | "ES256" | "ES384" | "EdDSA" => {
                for pem in [Some(pem), pkcs1.as_ref()].into_iter().flatten() {
                    let verifier = with_pem(pem).expect("a key");
                    for token in [with_kid, without_kid] {
                        let claims = verifier.connection(token, at(NOW));
                        assert_eq!(claims.map(|claims| claims.user), Ok("u-42".to_owned()), "{name}");
                    }
                }
                let set = set.expect("a set");
                assert!(set.connection(with_kid, at(NOW)).is_ok(), "{name}");
                // A key with a name is for tokens that say it.
                assert_eq!(set.connection(without_kid, at(NOW)), Err(Flaw::NoKey.into()), "{name}");
            }
            // An RSA key serves PKCS #1 signatures only.
            "PS256" => {
                let verifier = with_pem(pem).expect("a key");
                assert_eq!(verifier.connection(without_kid, at(NOW)), Err(INVALID_ALGORITHM));
                assert_eq!(
                    set.expect("a set").connection(with_kid, at(NOW)),
                    Err(INVALID_ALGORITHM)
                );
            }
            "ES512" => {
                assert_eq!(with_pem(pem).err(), Some(keys::KeyError::Unsupported.to_string()));
                assert!(set.is_err());
                assert_eq!(
                    verifier(&settings()).connection(without_kid, at(NOW)),
                    Err(INVALID_ALGORITHM)
                );
            }
            "short" => {
                assert_eq!(with_pem(pem).err(), Some(keys::KeyError::RsaLength(1024).to_string()));
                assert!(set.is_err());
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn the_algorithm_is_never_the_tokens_choice() {
    let claims = r#"{"sub":"u-42","exp":1893456000}"#;
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "typ": "JWT"}).to_string();
        [header.as_str(), claims, ""]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".")
    };
    let rsa = issuer("RS256");
    let both = with_files(Some(&rsa.pem), None, settings()).0.expect("keys").0;
    for alg in ["none", "None", "NONE", "nOnE", "", "HS1", "ES512", "HS257", "hs256"] {
        assert_eq!(
            both.connection(&unsigned(alg), at(NOW)),
            Err(INVALID_ALGORITHM),
            "{alg:?}"
        );
    }
    for alg in ["HS256", "RS256"] {
        assert_eq!(
            both.connection(&unsigned(alg), at(NOW)),
            Err(INVALID_SIGNATURE),
            "{alg:?}"
        );
    }
    // What everybody knows of a public key, taken for a secret.
    let only_public = with_pem(&rsa.pem).expect("a key");
    let in_set = with_files(None, Some(&json!({"keys": [rsa.jwk]})), Tokens::default())
        .0
        .expect("a set")
        .0;
    let n = URL_SAFE_NO_PAD
        .decode(rsa.jwk["n"].as_str().expect("text"))
        .expect("base64");
    let der: String = rsa.pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(der).expect("base64");
    for secret in [rsa.pem.as_bytes(), rsa.pem.trim().as_bytes(), &n, &der, b""] {
        let token = signed_as(
            hmac::HMAC_SHA256,
            r#"{"alg":"HS256","kid":"test-RS256"}"#,
            claims,
            secret,
        );
        assert_eq!(only_public.connection(&token, at(NOW)), Err(INVALID_ALGORITHM));
        assert_eq!(in_set.connection(&token, at(NOW)), Err(INVALID_ALGORITHM));
        assert_eq!(both.connection(&token, at(NOW)), Err(INVALID_SIGNATURE));
    }
    for name in ["ES256", "EdDSA"] {
        let issuer = issuer(name);
        let part = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(issuer.jwk[part].as_str().unwrap_or_default())
                .expect("base64")
        };
        let point = [&[4][..], &part("x"), &part("y")].concat();
        let public = with_pem(&issuer.pem).expect("a key");
        for secret in [issuer.pem.as_bytes(), &point, &part("x")] {
            let token = signed_as(hmac::HMAC_SHA256, r#"{"alg":"HS256"}"#, claims, secret);
            assert_eq!(public.connection(&token, at(NOW)), Err(INVALID_ALGORITHM), "{name}");
        }
    }
    // Not every algorithm of a secret, if the settings say so.
    let one = Tokens {
        hmac_algorithms: vec![HmacAlgorithm::Hs512],
        ..settings()
    };
    assert_eq!(verifier(&one).connection(CONNECTION, at(NOW)), Err(INVALID_ALGORITHM));
    assert_eq!(
        verifier(&Tokens::default()).connection(CONNECTION, at(NOW)),
        Err(Flaw::NoKey.into())
    );
}

#[test]
fn which_key_counts() {
    let (one, other) = (issuer("ES256"), issuer("EdDSA"));
    let set = json!({"keys": [one.jwk, other.jwk]});
    let (made, _directory) = with_files(Some(&one.pem), Some(&set), settings());
    let verifier = made.expect("keys").0;
    let check = |token: &str, expected: Result<(), TokenError>| {
        assert_eq!(verifier.connection(token, at(NOW)).map(drop), expected, "{token}");
    };
    check(&one.with_kid, Ok(()));
    check(&other.with_kid, Ok(()));
    // Of the PEM file and the secret, which have no names.
    check(&one.without_kid, Ok(()));
    check(CONNECTION, Ok(()));
    check(&other.without_kid, Err(INVALID_ALGORITHM));
    let claims = json!({"exp": END});
    let named = |kid: Value| signed(&json!({"alg": "HS256", "kid": kid}), &claims);
    for unknown in [
        "mine",
        "",
        "../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "test-es256",
    ] {
        check(&named(unknown.into()), Ok(()));
    }
    // The name of a key is a promise to use that key.
    check(&named("test-ES256".into()), Err(INVALID_ALGORITHM));
    check(&named("test-EdDSA".into()), Err(INVALID_ALGORITHM));
    check(&named(json!(5)), Err(MALFORMED));
    check(&named(json!(["test-ES256"])), Err(MALFORMED));
}

#[test]
fn what_is_no_token() {
    let verifier = verifier(&settings());
    let check = |token: &str, expected: TokenError| {
        assert_eq!(verifier.connection(token, at(NOW)), Err(expected), "{token}");
    };
    let parts: Vec<_> = CONNECTION.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    check("", MALFORMED);
    check("..", MALFORMED);
    check("a.b.c", MALFORMED);
    check(&format!("{header}.{claims}"), MALFORMED);
    check(&format!("{header}.{claims}.{signature}."), MALFORMED);
    check(&format!("{CONNECTION}.{CONNECTION}"), MALFORMED);
    check(&format!("{CONNECTION} "), MALFORMED);
    check(&format!("{CONNECTION}="), MALFORMED);
    check(&format!("{CONNECTION} {CONNECTION}"), MALFORMED);
    check(&format!("Bearer {CONNECTION}"), MALFORMED);
    check(&format!("{header}.{claims}."), INVALID_SIGNATURE);
    check(
        &format!("{header}.{claims}.{}", &signature[..signature.len() - 3]),
        INVALID_SIGNATURE,
    );
    // The claims of another token under this one's signature, and each part with one letter changed.
    check(
        &format!(
            "{header}.{}.{signature}",
            SUBSCRIPTION.split('.').nth(1).expect("claims")
        ),
        INVALID_SIGNATURE,
    );
    check(
        &format!("{header}.{}.{signature}", claims.replace("LTQy", "LTQz")),
        INVALID_SIGNATURE,
    );
    check(
        &format!("{header}.{claims}.{}", signature.replacen('C', "D", 1)),
        INVALID_SIGNATURE,
    );
    check(&CONNECTION.replace("IkpXVCJ9", "IkpXVDJ9"), MALFORMED);
    for secret in ["", "fanfare-secre", "fanfare-secret ", "Fanfare-secret"] {
        let forged = signed_as(
            hmac::HMAC_SHA256,
            r#"{"alg":"HS256"}"#,
            r#"{"exp":1893456000}"#,
            secret.as_bytes(),
        );
        check(&forged, INVALID_SIGNATURE);
    }
    let long = signed(
        &json!({"alg": "HS256"}),
        &json!({"exp": END, "info": "x".repeat(LONGEST)}),
    );
    check(&long, Flaw::TooLong.into());
    check(&"a".repeat(100 << 20), Flaw::TooLong.into());
    let odd = |header: &str, claims: &str| signed_as(hmac::HMAC_SHA256, header, claims, SECRET.as_bytes());
    check(&odd("[]", "{}"), MALFORMED);
    check(&odd("{}", "{}"), MALFORMED);
    check(&odd(r#"{"alg":5}"#, "{}"), MALFORMED);
    check(&odd(r#"{"alg":"HS256"}"#, "[]"), MALFORMED);
    check(&odd(r#"{"alg":"HS256"}"#, "null"), MALFORMED);
    check(&odd(r#"{"alg":"HS256"}"#, ""), MALFORMED);
    check(&odd(r#"{"alg":"HS256"}"#, r#"{"exp":1893456000}x"#), MALFORMED);
    check(
        &odd(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, r#"{"exp":1893456000}"#),
        Flaw::Critical.into(),
    );
}

#[test]
fn a_token_of_the_longest_is_read() {
    let of = |filling: usize| signed(&json!({"alg": "HS256"}), &json!({"exp": END, "x": "y".repeat(filling)}));
    let filling = (LONGEST - of(0).len()) / 4 * 3;
    let token = of(filling);
    assert!((LONGEST - 4..=LONGEST).contains(&token.len()), "{}", token.len());
    assert!(verifier(&settings()).connection(&token, at(NOW)).is_ok());
    assert_eq!(
        verifier(&settings()).connection(&of(filling + 9), at(NOW)),
        Err(Flaw::TooLong.into())
    );
}

#[test]
fn what_is_created_is_accepted() {
    for (algorithm, name) in [(HmacAlgorithm::Hs256, "HS256"), (HmacAlgorithm::Hs512, "HS512")] {
        let tokens = Tokens {
            hmac_algorithms: vec![algorithm],
            ..settings()
        };
        let claims = json!({"sub": "u", "exp": END});
        let token = create::create(claims.as_object().expect("an object"), &tokens).expect("a token");
        let inspection = verifier(&tokens).inspect(&token, at(NOW)).expect("a token");
        assert_eq!((&inspection.header["alg"], &inspection.claims), (&name.into(), &claims));
        assert_eq!((inspection.channel, inspection.verdict), (None, Ok(())));
    }
    let none = create::create(&serde_json::Map::new(), &Tokens::default());
    assert_eq!(none, Err(create::CreateError::NoSecret));
}

#[test]
fn an_inspection_makes_every_check() {
    let tokens = Tokens {
        issuer: Some("me".into()),
        audience: vec!["chat".into()],
        ..settings()
    };
    let forged = json!({"exp": NOW, "sub": "u", "channel": "news"});
    let forged = signed_as(hmac::HMAC_SHA256, r#"{"alg":"HS256"}"#, &forged.to_string(), b"x");
    let inspection = verifier(&tokens).inspect(&forged, at(NOW)).expect("a token");
    let checks: Vec<_> = inspection
        .checks
        .into_iter()
        .map(|(name, result)| (name, result.expect_err("wrong")))
        .collect();
    let expected = [
        ("signature", INVALID_SIGNATURE),
        ("times", TokenError::Expired(Untimely::Over)),
        ("audience", Flaw::Audience.into()),
        ("issuer", Flaw::Issuer.into()),
    ];
    assert_eq!(checks, expected);
    assert_eq!(
        (inspection.channel.as_deref(), inspection.verdict),
        (Some("news"), Err(INVALID_SIGNATURE))
    );
    let own = verifier(&settings()).inspect(SUBSCRIPTION, at(NOW)).expect("a token");
    assert_eq!(own.verdict, Ok(()));
    for odd in [json!("a b"), json!(5), json!(null)] {
        let token = signed(&json!({"alg": "HS256"}), &json!({"exp": END, "channel": odd}));
        let inspection = verifier(&settings()).inspect(&token, at(NOW)).expect("a token");
        assert_eq!(inspection.verdict, Err(Flaw::Claim("channel").into()), "{odd}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let (made, _directory) = with_files(Some(&issuer("RS256").pem), None, settings());
    let verifier = made.expect("keys").0;
    let shown = format!(
        "{verifier:?} {:?} {:?}",
        settings(),
        verifier.connection(&format!("{CONNECTION}x"), at(NOW))
    );
    assert!(!shown.contains(SECRET) && !shown.contains("ChvMlC3A"), "{shown}");
    let bytes = format!("{:?}", SECRET.as_bytes());
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

proptest! {
    #[test]
    fn garbage_is_refused(text in ".{0,200}") {
        prop_assert!(verifier(&settings()).connection(&text, at(NOW)).is_err());
        prop_assert!(verifier(&settings()).inspect(&text, at(NOW)).is_err());
    }

    #[test]
    fn garbage_that_is_signed_never_panics(header in "\\PC{0,40}", claims in "\\PC{0,80}", alg in any::<bool>()) {
        let header = if alg { r#"{"alg":"HS256"}"#.to_owned() } else { header };
        let token = signed_as(hmac::HMAC_SHA256, &header, &claims, SECRET.as_bytes());
        let _ = verifier(&settings()).connection(&token, at(NOW));
        let _ = verifier(&settings()).inspect(&token, at(NOW));
    }

    #[test]
    fn no_number_is_too_odd(exp in any::<f64>(), nbf in any::<f64>(), expire_at in any::<f64>(), now in 0..END) {
        let claims = json!({"exp": exp, "nbf": nbf, "iat": nbf, "expire_at": expire_at});
        let token = signed(&json!({"alg": "HS256"}), &claims);
        let claims = verifier(&settings()).connection(&token, at(now));
        if let Ok(claims) = claims {
            prop_assert!(claims.expires.is_none_or(|expires| expires > at(now) && expires <= at(now + YEAR)));
        }
    }

    #[test]
    fn a_token_with_another_byte_is_another_token(at_byte in 0..CONNECTION.len(), letter in "[A-Za-z0-9_-]") {
        let mut token = CONNECTION.to_owned();
        token.replace_range(at_byte..=at_byte, &letter);
        prop_assume!(token != CONNECTION);
        prop_assert!(verifier(&settings()).connection(&token, at(NOW)).is_err());
    }

    #[test]
    fn no_set_panics(text in "\\PC{0,100}", kty in "RSA|EC|OKP|oct", x in "[A-Za-z0-9_=-]{0,90}") {
        let _ = jwks::parse(&text);
        let _ = jwks::parse(&json!({"keys": [{"kty": kty, "n": x, "e": x, "x": x, "y": x, "crv": "P-256", "k": x}]}).to_string());
        let _ = keys::Key::pem(&format!("-----BEGIN PUBLIC KEY-----\n{x}\n-----END PUBLIC KEY-----\n"));
    }
}
