//! The demo page: a small chat on the bare channel, for a plain GET of `/`.
//!
//! Owns the page, the headers that fence it in, and the cookie by which a tab learns which instance serves its WebSocket. Knows nothing of
//! sockets. Invariant: nothing from outside gets into the page but the node's name, escaped; nothing runs there but our own script.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header;
use uuid::Uuid;

/// What the page has to know of the process that serves it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The name of the instance.
    pub(crate) node: &'a str,
    /// The bare channel.
    pub(crate) channel: &'a str,
    /// Whether a client that shows no token may talk the Centrifuge protocol.
    pub(crate) has_centrifuge: bool,
}

/// The page with its style and script in place; the facts and the nonce still missing.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("demo/page.html")
        .replace("{{style}}", include_str!("demo/page.css"))
        .replace("{{script}}", include_str!("demo/page.js"))
});

/// The page, served by the instance that `facts` are about.
pub(crate) fn page(facts: Facts<'_>) -> HttpResponse {
    let nonce = Uuid::new_v4().simple().to_string();
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, content_security_policy(&nonce)))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(html(facts, &nonce))
}

/// The `Set-Cookie` value for the 101 of a raw handshake that carries `query`, if the demo page asked for it.
///
/// Behind a load balancer the page may come from one instance and the WebSocket from another, and a script sees no header of a 101. So the
/// page opens `/?demo=<key>` and finds the name of the instance in the cookie of that key, which lives for ten seconds.
pub(crate) fn serving_node_cookie(query: &str, node: &str) -> Option<String> {
    let key = query.split('&').find_map(|pair| pair.strip_prefix("demo="))?;
    let is_key = key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then(|| {
        format!(
            "fanfare_demo_{key}={}; Max-Age=10; Path=/; SameSite=Strict",
            percent_encode(node)
        )
    })
}

/// The names go in last, and cannot hold a mark: what they contain is not looked at again.
fn html(facts: Facts<'_>, nonce: &str) -> String {
    PAGE.replace("{{nonce}}", nonce)
        .replace("{{centrifuge}}", if facts.has_centrifuge { "yes" } else { "no" })
        .replace("{{channel}}", &escape(facts.channel))
        .replace("{{node}}", &escape(facts.node))
}

fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '{' => escaped.push_str("&#123;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(node: &str) -> Facts<'_> {
        Facts {
            node,
            channel: "chat-channel",
            has_centrifuge: true,
        }
    }

    #[test]
    fn page_is_whole_and_fenced_in() {
        let page = html(facts("node-1"), "abc");
        assert!(!page.contains("{{"), "every mark is filled");
        assert_eq!(
            page.matches("nonce=\"abc\"").count(),
            2,
            "style and script carry the nonce"
        );
        assert!(page.contains("name=\"fanfare-node\" content=\"node-1\""));
        for forbidden in [
            "http://www.w3.org/1999",
            "src=\"",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!page.contains(forbidden), "{forbidden} in the page");
        }
        let policy = content_security_policy("abc");
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
    }

    #[test]
    fn every_answer_has_its_own_nonce() {
        let policy = |answer: HttpResponse| answer.headers().get(header::CONTENT_SECURITY_POLICY).cloned();
        assert_ne!(policy(page(facts("a"))), policy(page(facts("a"))));
    }

    #[test]
    fn node_name_cannot_leave_its_attribute() {
        #[track_caller]
        fn check(node: &str, expected: &str) {
            assert!(
                html(facts(node), "abc").contains(&format!("content=\"{expected}\"")),
                "{node}"
            );
        }
        check("pod-7.zone_b", "pod-7.zone_b");
        check(
            "\"><script>alert(1)</script>",
            "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
        );
        check("a&b'c", "a&amp;b&#39;c");
        check("{{nonce}}", "&#123;&#123;nonce}}");
    }

    #[test]
    fn cookie_only_for_the_page() {
        #[track_caller]
        fn check(query: &str, node: &str, expected: Option<&str>) {
            let cookie = serving_node_cookie(query, node);
            assert_eq!(cookie.as_deref().and_then(|cookie| cookie.split(';').next()), expected);
        }
        check(
            "demo=0123456789abcdef",
            "node-1",
            Some("fanfare_demo_0123456789abcdef=node-1"),
        );
        check(
            "x=1&demo=0123456789abcdef",
            "a b;\r\n",
            Some("fanfare_demo_0123456789abcdef=a%20b%3B%0D%0A"),
        );
        check("", "node-1", None);
        check("demo=", "node-1", None);
        check("demo=0123456789abcde", "node-1", None);
        check("demo=0123456789abcde%0a", "node-1", None);
        check("demo=0123456789abcde;", "node-1", None);
    }
}
