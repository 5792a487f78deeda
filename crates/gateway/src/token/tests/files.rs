//! Where keys come from: sets, and files that change.

use super::*;

#[test]
fn keys_of_a_set_that_are_not_for_us_are_left_out() {
    let key = issuer("ES256");
    let with = |name: &str, value: Value| {
        let mut jwk = key.jwk.clone();
        jwk[name] = value;
        jwk
    };
    let other = issuer("ES512").jwk;
    let set = json!({"keys": [
        with("use", "sig".into()), with("key_ops", json!(["verify"])), with("alg", "ES256".into()),
        with("use", "enc".into()), with("key_ops", json!(["sign"])), with("alg", "ES384".into()), with("kty", "new".into()),
        with("crv", "P-384".into()), with("d", "AAAA".into()), with("x", "AAAA".into()), with("kty", 5.into()),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, {"kty": "OKP", "crv": "X25519", "x": key.jwk["x"]}, other, issuer("short").jwk, 7, null,
    ]});
    let (made, _directory) = with_files(None, Some(&set), Tokens::default());
    let (verifier, Inventory { keys, left_out }) = made.expect("a set");
    assert_eq!(keys, 3);
    let why: Vec<_> = left_out
        .iter()
        .map(|key| (key.number, key.reason.to_string()))
        .collect();
    let short = |text: &str| {
        why.iter()
            .filter(|(_, reason)| reason.contains(text))
            .map(|(number, _)| *number)
            .collect::<Vec<_>>()
    };
    assert_eq!(short("not for signatures"), [4, 5]);
    assert_eq!(short("algorithm is not supported"), [6]);
    assert_eq!(short("kind is not known"), [7, 11, 13, 16, 17]);
    assert_eq!(short("expected a key of RSA"), [8, 10, 14]);
    assert_eq!(short("private key"), [9]);
    assert_eq!(short("shared secret"), [12]);
    assert_eq!(short("2048"), [15]);
    assert!(
        left_out[8]
            .to_string()
            .starts_with("key 12 (\"s\") is left out: a shared secret")
    );
    assert!(verifier.connection(&key.with_kid, at(NOW)).is_ok());
    let token = signed_as(
        hmac::HMAC_SHA256,
        r#"{"alg":"HS256","kid":"s"}"#,
        r#"{"exp":1893456000}"#,
        b"secret",
    );
    assert_eq!(verifier.connection(&token, at(NOW)), Err(Flaw::NoKey.into()));
}

#[test]
fn sets_that_cannot_be_used() {
    let check = |text: &str, expected: &str| {
        let error = jwks::parse(text).expect_err("it cannot be used").to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("", "expected a key set");
    check("-----BEGIN PUBLIC KEY-----", "expected a key set");
    check("[]", "expected a key set");
    check("{}", "expected a key set");
    check(r#"{"keys":{}}"#, "expected a key set");
    check(r#"{"keys":[]}"#, "no key for tokens");
    check(
        r#"{"keys":[{"kty":"oct","k":"hush"}]}"#,
        "a shared secret does not belong",
    );
}

#[test]
fn files_that_change_are_read_again() {
    let (one, other) = (issuer("ES256"), issuer("EdDSA"));
    let (made, directory) = with_files(None, Some(&json!({"keys": [one.jwk]})), settings());
    let verifier = made.expect("a set").0;
    let mut date = SystemTime::now();
    let mut write = |text: &str| {
        let path = directory.path().join("set.json");
        fs::write(&path, text).expect("a file");
        // Far enough for every file system to tell.
        date += Duration::from_secs(10);
        fs::File::options()
            .append(true)
            .open(path)
            .and_then(|file| file.set_modified(date))
            .expect("a date");
    };
    let accepted =
        |verifier: &Verifier| [&one, &other].map(|issuer| verifier.connection(&issuer.with_kid, at(NOW)).is_ok());
    assert_eq!(verifier.reload().expect("a set"), None);
    assert_eq!(accepted(&verifier), [true, false]);
    write(&json!({"keys": [other.jwk, one.jwk]}).to_string());
    assert_eq!(verifier.reload().expect("a set").map(|read| read.keys), Some(3));
    assert_eq!(accepted(&verifier), [true, true]);
    // A broken file is told once, and changes nothing.
    write("{");
    assert!(verifier.reload().is_err());
    assert_eq!(verifier.reload().expect("told already"), None);
    assert_eq!(accepted(&verifier), [true, true]);
    write(&json!({"keys": [other.jwk]}).to_string());
    assert!(verifier.reload().expect("a set").is_some());
    assert_eq!(accepted(&verifier), [false, true]);
    assert!(verifier.connection(CONNECTION, at(NOW)).is_ok());
}

#[test]
fn files_that_are_not_there_or_too_long() {
    let told = |path: &Path| {
        sources::flaw_of_key_set(path)
            .map(|error| error.without_path())
            .unwrap_or_default()
    };
    let directory = TempDir::new().expect("a directory");
    assert!(told(&directory.path().join("none")).contains("cannot be read"));
    assert!(told(directory.path()).contains("cannot be read"));
    let long = directory.path().join("long");
    fs::write(&long, vec![b' '; (1 << 20) + 1]).expect("a file");
    assert!(told(&long).contains("too many"));
}
