//! A key set behind a URL: against a real server, whose keys change and which is not always there.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, web};
use parking_lot::Mutex;

use super::super::remote::{FetchError, keep_keys, keep_keys_with};
use super::*;

/// An issuer that publishes what it is told to.
struct Publisher {
    says: Mutex<(u16, String)>,
    asked: AtomicUsize,
}

impl Publisher {
    /// Starts it with no keys; it ends with the test's runtime.
    fn start() -> (web::Data<Self>, Tokens) {
        let publisher = web::Data::new(Self {
            says: Mutex::new((404, String::new())),
            asked: AtomicUsize::new(0),
        });
        let data = publisher.clone();
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(publish)));
        let server = server
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .expect("a free port");
        let url = format!("http://{}/keys.json", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        let tokens = Tokens {
            jwks_url: Some(url.parse().expect("a URL")),
            ..settings()
        };
        (publisher, tokens)
    }

    fn says(&self, status: u16, body: impl Into<String>) {
        *self.says.lock() = (status, body.into());
    }

    fn publishes(&self, issuers: &[&Issuer]) {
        let keys: Vec<_> = issuers.iter().map(|issuer| &issuer.jwk).collect();
        self.says(200, json!({ "keys": keys }).to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }
}

async fn publish(publisher: web::Data<Publisher>) -> HttpResponse {
    publisher.asked.fetch_add(1, Ordering::AcqRel);
    let (status, body) = publisher.says.lock().clone();
    let status = StatusCode::from_u16(status).expect("a status");
    HttpResponse::build(status)
        .insert_header(("location", "/elsewhere"))
        .body(body)
}

fn told(verifier: &Verifier, issuer: &Issuer) -> Result<(), TokenError> {
    verifier.connection(&issuer.with_kid, at(NOW)).map(drop)
}

fn kid(issuer: &Issuer) -> String {
    issuer.jwk["kid"].as_str().expect("a name").to_owned()
}

fn unknown(issuer: &Issuer) -> Result<(), TokenError> {
    Err(TokenError::UnknownKey { kid: kid(issuer) })
}

/// Waits until the token of `issuer` is told `expected`.
#[track_caller]
fn until<'a>(
    verifier: &'a Verifier,
    issuer: &'a Issuer,
    expected: Result<(), TokenError>,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while told(verifier, issuer) != expected {
            let found = told(verifier, issuer);
            assert!(
                std::time::Instant::now() < end,
                "{caller}: {found:?} and not {expected:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[actix_web::test]
async fn keys_are_fetched_and_change() {
    let (one, other) = (issuer("ES256"), issuer("EdDSA"));
    let (publisher, tokens) = Publisher::start();
    publisher.publishes(&[&one]);
    let verifier = Arc::new(verifier(&tokens));
    // Nothing was fetched yet: it may be right soon.
    assert_eq!(told(&verifier, &one), unknown(&one));
    // What needs no such key is right at once, whatever it calls the secret.
    assert!(verifier.connection(CONNECTION, at(NOW)).is_ok());
    let named = signed(&json!({"alg": "HS256", "kid": "ours"}), &json!({"exp": END}));
    assert!(verifier.connection(&named, at(NOW)).is_ok());

    let keeping = actix_web::rt::spawn(keep_keys_with(Arc::clone(&verifier), Duration::from_millis(20)));
    until(&verifier, &one, Ok(())).await;
    publisher.publishes(&[&other]);
    until(&verifier, &other, Ok(())).await;
    // The set changes as a whole. A key that is gone is looked for once, and then only the secret is left,
    // which is for other algorithms.
    until(&verifier, &one, Err(INVALID_ALGORITHM)).await;
    assert!(verifier.connection(CONNECTION, at(NOW)).is_ok());
    keeping.abort();
}

#[actix_web::test]
async fn an_issuer_that_is_away_changes_nothing() {
    let (one, other) = (issuer("ES256"), issuer("EdDSA"));
    let (publisher, tokens) = Publisher::start();
    publisher.publishes(&[&one]);
    let verifier = Arc::new(verifier(&tokens));
    let keeping = actix_web::rt::spawn(keep_keys_with(Arc::clone(&verifier), Duration::from_millis(20)));
    until(&verifier, &one, Ok(())).await;
    publisher.says(500, "");
    let before = publisher.asked();
    while publisher.asked() < before + 3 {
        assert_eq!(told(&verifier, &other), unknown(&other));
        assert_eq!(told(&verifier, &one), Ok(()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    publisher.publishes(&[&one, &other]);
    until(&verifier, &other, Ok(())).await;
    assert_eq!(told(&verifier, &one), Ok(()));
    keeping.abort();
}

#[actix_web::test]
async fn tokens_cannot_make_the_issuer_be_asked_often() {
    let (one, other) = (issuer("ES256"), issuer("EdDSA"));
    let (publisher, tokens) = Publisher::start();
    publisher.publishes(&[&one]);
    let verifier = Arc::new(verifier(&tokens));
    let (pause, begin) = (Duration::from_millis(300), std::time::Instant::now());
    let keeping = actix_web::rt::spawn(keep_keys_with(Arc::clone(&verifier), pause));
    // Also a name that is not in the set makes it be fetched again: it may be there later than its tokens.
    while publisher.asked() < 4 {
        assert!(told(&verifier, &other).is_err());
        assert!(begin.elapsed() < Duration::from_secs(20), "it is not asked again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begin.elapsed() >= 3 * pause, "{:?}", begin.elapsed());
    keeping.abort();
}

#[actix_web::test]
async fn what_cannot_be_fetched() {
    let (publisher, tokens) = Publisher::start();
    let one = issuer("ES256");
    let verifier = verifier(&tokens);
    publisher.publishes(&[&one]);
    let fetched = verifier.fetch().await.expect("a set");
    assert_eq!(fetched.map(|inventory| inventory.keys), Some(1));
    let set = publisher.says.lock().1.clone();
    for (status, body, expected) in [
        (404, set.clone(), "answered with status 404"),
        (302, set.clone(), "answered with status 302"),
        (201, set.clone(), "answered with status 201"),
        (200, "<html>".into(), "expected a key set"),
        (
            200,
            r#"{"keys":[{"kty":"oct","k":"hush"}]}"#.into(),
            "a shared secret does not belong",
        ),
        (200, set.clone() + &" ".repeat(1 << 20), "more than 1048576 bytes"),
    ] {
        publisher.says(status, body);
        let error = verifier.fetch().await.expect_err("it cannot be used").to_string();
        assert!(error.contains(expected) && error.contains("/keys.json"), "{error}");
        assert_eq!(told(&verifier, &one), Ok(()), "the keys stay");
    }
    let nobody = Tokens {
        jwks_url: Some("http://127.0.0.1:1/".parse().expect("a URL")),
        ..settings()
    };
    let outcome = super::verifier(&nobody).fetch().await;
    assert!(matches!(outcome, Err(FetchError::Http { .. })), "{outcome:?}");
    assert_eq!(
        super::verifier(&settings()).fetch().await.expect("nothing to fetch"),
        None
    );
}

#[actix_web::test]
async fn files_are_read_again_by_the_same_task() {
    let (one, other) = (issuer("ES256"), issuer("EdDSA"));
    let (made, directory) = with_files(None, Some(&json!({"keys": [one.jwk]})), settings());
    let verifier = Arc::new(made.expect("a set").0);
    let keeping = actix_web::rt::spawn(keep_keys(Arc::clone(&verifier)));
    assert_eq!(told(&verifier, &one), Ok(()));
    let path = directory.path().join("set.json");
    fs::write(&path, json!({"keys": [other.jwk]}).to_string()).expect("a file");
    let later = SystemTime::now() + Duration::from_secs(10);
    let file = fs::File::options().append(true).open(path);
    file.and_then(|file| file.set_modified(later)).expect("a date");
    until(&verifier, &other, Ok(())).await;
    keeping.abort();
}
