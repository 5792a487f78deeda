//! Settings: which source wins, what is refused and in which words, what is never shown, and that every page fits the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use gateway::config::Call;
use gateway::config::{self, Config, GivenFlag, Loaded, Mistakes, Sources};
use gateway::config::{Publish, Subscribe};
use tempfile::TempDir;

/// What one case gives to the loader.
#[derive(Default)]
struct Given {
    file: &'static str,
    env: &'static [(&'static str, &'static str)],
    flags: &'static [(&'static str, &'static str, &'static str)],
}

fn file(file: &'static str) -> Given {
    Given {
        file,
        ..Given::default()
    }
}

fn env(env: &'static [(&'static str, &'static str)]) -> Given {
    Given {
        env,
        ..Given::default()
    }
}

impl Given {
    fn load(&self) -> Result<Loaded, Mistakes> {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("f.toml");
        fs::write(&path, self.file).expect("a file");
        let env = self
            .env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let flags = self.flags.iter().map(|(setting, flag, value)| GivenFlag {
            setting,
            flag,
            value: (*value).into(),
        });
        let sources = Sources {
            file: (!self.file.is_empty()).then_some(path.clone()),
            env,
            flags: flags.collect(),
        };
        let unplaced = |text: &str| text.replace(&*path.to_string_lossy(), "F");
        config::load(&sources)
            .map(|mut loaded| {
                loaded
                    .origins
                    .values_mut()
                    .for_each(|origin| *origin = unplaced(origin));
                loaded
            })
            .map_err(|Mistakes(mut mistakes)| {
                for mistake in &mut mistakes {
                    mistake.problem = unplaced(&mistake.problem);
                    mistake
                        .subjects
                        .iter_mut()
                        .for_each(|subject| subject.origin = unplaced(&subject.origin));
                }
                Mistakes(mistakes)
            })
    }
}

#[track_caller]
fn load(given: &Given) -> Loaded {
    given.load().unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The port in force, and where it came from.
#[track_caller]
fn check_port(given: &Given, port: u16, origin: &str) {
    let loaded = load(given);
    let found = loaded.origins.get("listener.port").map_or("default", String::as_str);
    assert_eq!((loaded.config.listener.port, found), (port, origin));
}

/// All mistakes, each as `name = value (origin) & ...: problem`.
#[track_caller]
fn check_mistakes(given: &Given, expected: &[&str]) {
    let Mistakes(mistakes) = given.load().expect_err("there are mistakes");
    let found: Vec<_> = mistakes
        .iter()
        .map(|mistake| {
            let subjects = mistake.subjects.iter().map(|subject| match &subject.value {
                Some(value) => format!("{} = {value} ({})", subject.name, subject.origin),
                None => format!("{} ({})", subject.name, subject.origin),
            });
            format!("{}: {}", subjects.collect::<Vec<_>>().join(" & "), mistake.problem)
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn defaults_are_without_mistakes() {
    let loaded = load(&Given::default());
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.origins.is_empty());
}

#[test]
fn each_source_wins_over_the_one_before() {
    const FILE: &str = "[listener]\nport = 1";
    const PORT: (&str, &str) = ("PORT", "2");
    const OWN: (&str, &str) = ("FANFARE__LISTENER__PORT", "3");
    const FLAG: (&str, &str, &str) = ("listener.port", "--port", "4");
    check_port(&Given::default(), 3000, "default");
    check_port(&file(FILE), 1, "file F");
    check_port(
        &Given {
            file: FILE,
            env: &[PORT],
            flags: &[],
        },
        2,
        "variable PORT",
    );
    check_port(
        &Given {
            file: FILE,
            env: &[PORT, OWN],
            flags: &[],
        },
        3,
        "variable FANFARE__LISTENER__PORT",
    );
    check_port(
        &Given {
            file: FILE,
            env: &[PORT, OWN],
            flags: &[FLAG],
        },
        4,
        "flag --port",
    );
    check_port(&env(&[PORT]), 2, "variable PORT");
}

#[test]
fn sources_are_merged_setting_by_setting() {
    let given = Given {
        file: "[listener]\nport = 1\nbacklog = 7\n[ping]\ninterval = '1m'",
        env: &[("FANFARE__LISTENER__ADDRESS", "::1"), ("FANFARE__PING__TIMEOUT", "5s")],
        flags: &[("listener.port", "--port", "4")],
    };
    let config = load(&given).config;
    assert_eq!((config.listener.port, config.listener.backlog), (4, 7));
    assert_eq!(config.listener.address.to_string(), "::1");
    assert_eq!(
        (config.ping.interval, config.ping.timeout),
        (Duration::from_secs(60), Duration::from_secs(5))
    );
}

#[test]
fn empty_variables_count_as_not_set() {
    let given = Given {
        file: "[listener]\nport = 1\nallowed_origins = ['*']\n[redis]\nurl = 'redis://a'",
        env: &[
            ("PORT", ""),
            ("FANFARE__LISTENER__PORT", ""),
            ("REDIS_URL", ""),
            ("FANFARE__REDIS__URL", ""),
            ("FANFARE__LISTENER__ALLOWED_ORIGINS", ""),
            ("FANFARE__RAW__CHANNEL", ""),
        ],
        ..Given::default()
    };
    let config = load(&given).config;
    assert_eq!(config.listener.port, 1);
    assert_eq!(config.redis.url.expect("kept").expose(), "redis://a");
    assert_eq!(config.listener.allowed_origins, ["*"]);
    assert_eq!(config.raw.channel, None);
}

#[test]
fn what_others_put_into_the_environment_is_not_ours() {
    check_port(
        &env(&[
            ("FANFARE_PORT", "tcp://10.0.0.1:3000"),
            ("FANFARE_SERVICE_HOST", "10.0.0.1"),
            ("fanfare__x", "1"),
        ]),
        3000,
        "default",
    );
}

#[test]
fn the_redis_url_of_our_own_name_wins() {
    #[track_caller]
    fn check(given: &Given, expected: Option<&str>) {
        let config = load(given).config;
        assert_eq!(config.redis.url.as_ref().map(|url| url.expose()), expected);
        assert_eq!(config.bus_config().map(|bus| bus.url).as_deref(), expected);
    }
    check(&Given::default(), None);
    check(&env(&[("REDIS_URL", "redis://a")]), Some("redis://a"));
    check(
        &env(&[("REDIS_URL", "redis://a"), ("FANFARE__REDIS__URL", "redis://b")]),
        Some("redis://b"),
    );
    check(
        &Given {
            env: &[("FANFARE__REDIS__URL", "redis://b")],
            flags: &[("redis.url", "--redis-url", "redis://c")],
            file: "",
        },
        Some("redis://c"),
    );
}

#[test]
fn what_a_client_may_send_is_taken_in_by_every_process() {
    let usual = load(&env(&[("REDIS_URL", "redis://a")])).config;
    assert_eq!(usual.bus_config().expect("a URL").max_publication, 2 << 20);
    let given = Given {
        file: "[limits]\nmessage_size = '8MiB'\noutbox = '8MiB'",
        env: &[("REDIS_URL", "redis://a")],
        ..Given::default()
    };
    assert!(load(&given).config.bus_config().expect("a URL").max_publication > 8 << 20);
}

#[test]
fn secrets_that_look_like_numbers_stay_as_they_are() {
    let given = env(&[
        ("REDIS_URL", "redis://a"),
        ("FANFARE__REDIS__PASSWORD", "00123"),
        ("FANFARE__REDIS__USERNAME", "1e5"),
    ]);
    let bus = load(&given).config.bus_config().expect("a URL");
    assert_eq!(
        (bus.password.as_deref(), bus.username.as_deref()),
        (Some("00123"), Some("1e5"))
    );
}

#[test]
fn all_mistakes_are_told_at_once_each_with_value_and_origin() {
    let given = Given {
        file: "[listener]\nport = 70000\n[limits]\nmessage_size = 64\n[ping]\ninterval = '30'\n[log]\nformat = 'xml'\n[demo]\nenabled = 'yes'",
        env: &[
            ("FANFARE__LISTENER__TRUSTED_PROXIES", "10.0.0.0/8,x"),
            ("FANFARE__RAW__CHANNEL", "a b"),
        ],
        flags: &[("log.filter", "--log", "=,=x=")],
    };
    check_mistakes(
        &given,
        &[
            "listener.port = 70000 (file F): expected a whole number from 0 to 65535",
            "listener.trusted_proxies = \"10.0.0.0/8,x\" (variable FANFARE__LISTENER__TRUSTED_PROXIES): expected a list, each a network such as \"10.0.0.0/8\", or an address; invalid IP address syntax",
            "raw.channel = \"a b\" (variable FANFARE__RAW__CHANNEL): expected a channel name, or \"\" for none; a channel name must not contain ' ' (at byte 1)",
            "limits.message_size = 64 (file F): expected a size with its unit (B, KiB, MiB, GiB) such as \"64KiB\"; a number alone has no unit, write for example \"64B\"",
            "ping.interval = \"30\" (file F): expected a duration with its unit such as \"500ms\", \"5s\" or \"1m 30s\"; a number alone has no unit, write for example \"30s\"",
            "log.format = \"xml\" (file F): expected \"auto\" or \"text\" or \"json\"",
            "demo.enabled = \"yes\" (file F): expected true or false",
            "log.filter = \"=,=x=\" (flag --log): expected levels and targets such as \"info,gateway=debug\"; invalid filter directive",
        ],
    );
}

#[test]
fn what_does_not_exist_is_refused_with_a_suggestion() {
    check_mistakes(
        &file("[listner]\nport = 1"),
        &["[listner] (file F): there is no such section; did you mean listener?"],
    );
    check_mistakes(
        &file("[listener]\nprot = 1"),
        &["listener.prot (file F): there is no such setting; did you mean listener.port?"],
    );
    check_mistakes(
        &file("port = 1"),
        &["port (file F): there is no such setting; did you mean listener.port?"],
    );
    check_mistakes(
        &file("[redis]\nPassword = 'x'"),
        &["redis.Password (file F): there is no such setting; did you mean redis.password?"],
    );
    check_mistakes(
        &file("[log.filter]\nx = 1"),
        &["log.filter = a table (file F): expected text"],
    );
    check_mistakes(
        &file("\"listener.port\" = 1"),
        &["listener.port (file F): there is no such setting; write it as port below [listener]"],
    );
    check_mistakes(
        &file("listener = 3000"),
        &["listener = *** (file F): expected a section: [listener] and its settings below"],
    );
    check_mistakes(
        &file("[zzz]\nx = 1"),
        &["[zzz] (file F): there is no such section; `fanfare config default` lists all"],
    );
    check_mistakes(
        &env(&[
            ("FANFARE__LISTNER__PORT", "1"),
            ("FANFARE__X", "1"),
            ("FANFARE__CHANNELS__0__MATCH", "a"),
            ("FANFARE__REDIS_URL", "a"),
        ]),
        &[
            "FANFARE__CHANNELS__0__MATCH (environment): channel rules can only be set in a file, as [[channels]]",
            "FANFARE__LISTNER__PORT (environment): there is no such setting; did you mean FANFARE__LISTENER__PORT?",
            "FANFARE__REDIS_URL (environment): there is no such setting; did you mean FANFARE__REDIS__URL?",
            "FANFARE__X (environment): there is no such setting; `fanfare config default` lists all",
        ],
    );
}

#[test]
fn files_that_cannot_be_used() {
    let missing = Sources {
        file: Some("/does/not/exist.toml".into()),
        ..Sources::default()
    };
    let mistakes = config::load(&missing).expect_err("no such file").to_string();
    assert!(
        mistakes.contains("file /does/not/exist.toml: cannot be read: No such file"),
        "{mistakes}"
    );
    check_conflict(
        &file("[listener]\n\nport = = 1"),
        &[],
        "file F: line 3, column 8: not TOML: ",
    );
}

#[test]
fn channel_rules() {
    let given = file(
        "[[channels]]\nmatch = 'room-*'\nsubscribe = 'anyone'\npublish = 'subscribers'\nwindow = '0'\n[[channels]]\nmatch = '*'\n",
    );
    let rules = load(&given).config.channels;
    let [first, second] = &rules[..] else {
        panic!("{rules:?}")
    };
    assert_eq!(
        (first.r#match.glob(), first.subscribe, first.publish, first.window),
        ("room-*", Subscribe::Anyone, Publish::Subscribers, Some(Duration::ZERO))
    );
    assert_eq!(
        (second.r#match.glob(), second.subscribe, second.publish, second.window),
        ("*", Subscribe::Nobody, Publish::Nobody, None)
    );
}

#[test]
fn channel_rules_that_cannot_be_used() {
    let given = file(
        "[[channels]]\nmatch = 'chat-channel'\n[[channels]]\nmatch = 'a{b'\nsubscribe = 'token'\npublish = 'all'\nwindow = '1s'\npresense = true\n[[channels]]\nsubscibe = 'anyone'",
    );
    let Mistakes(mistakes) = given.load().expect_err("mistakes");
    let mut found: Vec<_> = mistakes
        .iter()
        .map(|mistake| format!("{}: {}", mistake.subjects[0].name, mistake.problem))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "channels[0].match: the bare channel is governed by the settings of [raw] alone; it must not have a rule of its own",
            "channels[1].match: expected a pattern such as \"room-*\"; error parsing glob 'a{b': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
            "channels[1].presense: there is no such setting of a rule; did you mean presence?",
            "channels[1].publish: expected \"nobody\" or \"subscribers\" or \"token\" or \"backend\" or \"anyone\"",
            "channels[1].window: must not be more than delivery.window_max",
            "channels[2].match: a rule must say which channels it is for",
            "channels[2].subscibe: there is no such setting of a rule; did you mean subscribe?",
        ]
    );
    for (rules, subject) in [
        (
            "[[channels]]\nmatch = 'a-*'\n[[channels]]\nmatch = 'a-*'",
            Some("channels[1].match"),
        ),
        (
            "[[channels]]\nmatch = '*'\n[[channels]]\nmatch = 'a-*'",
            Some("channels[1].match"),
        ),
        (
            "[[channels]]\nmatch = 'a-*'\n[[channels]]\nmatch = 'a-1'",
            Some("channels[1].match"),
        ),
        ("[[channels]]\nmatch = 'a-1'\n[[channels]]\nmatch = 'a-*'", None),
        (
            "[[channels]]\nmatch = 'a'\nsubscribe = 'backend'",
            Some("channels[0].subscribe"),
        ),
        (
            "[[channels]]\nmatch = 'a'\npublish = 'backend'",
            Some("channels[0].publish"),
        ),
        (
            "[[channels]]\nmatch = 'a'\nforce_push_join_leave = true",
            Some("channels[0].force_push_join_leave"),
        ),
    ] {
        let mistakes = file(rules)
            .load()
            .err()
            .map_or(Vec::new(), |Mistakes(mistakes)| mistakes);
        let found: Vec<_> = mistakes
            .iter()
            .map(|mistake| mistake.subjects[0].name.as_str())
            .collect();
        assert_eq!(found, subject.into_iter().collect::<Vec<_>>(), "{rules:?}");
    }
    check_mistakes(
        &file("channels = 5"),
        &["channels = 5 (file F): expected rules, each below a line [[channels]]"],
    );
    check_mistakes(
        &file("channels = [5]"),
        &["channels[0] = 5 (file F): expected a rule, below a line [[channels]]"],
    );
    check_mistakes(
        &file("[channels]\nmatch = 'a'"),
        &["channels = a table (file F): expected rules, each below a line [[channels]]"],
    );
}

/// Settings that do not fit together: the names, and the beginning of the problem.
#[track_caller]
fn check_conflict(given: &Given, names: &[&str], problem: &str) {
    let Mistakes(mistakes) = given.load().expect_err("a conflict");
    let [mistake] = &mistakes[..] else {
        panic!("{}", Mistakes(mistakes))
    };
    let found: Vec<_> = mistake.subjects.iter().map(|subject| subject.name.as_str()).collect();
    assert_eq!(found, names, "{}", mistake.problem);
    assert!(mistake.problem.starts_with(problem), "{}", mistake.problem);
}

#[test]
fn settings_must_fit_together() {
    check_conflict(
        &env(&[("PORT", "59536")]),
        &["listener.port", "admin.address"],
        "the admin port, 6000 above",
    );
    check_conflict(
        &file("[admin]\naddress = '0.0.0.0:3000'"),
        &["listener.address", "listener.port", "admin.address"],
        "both listeners would have the same port",
    );
    check_conflict(
        &file("[listener]\ntls_cert = 'c.pem'"),
        &["listener.tls_cert", "listener.tls_key"],
        "TLS needs both",
    );
    check_conflict(
        &file("[listener]\nallowed_origins = ['https://a.example/']"),
        &["listener.allowed_origins"],
        "\"https://a.example/\" is not an origin",
    );
    check_conflict(
        &file("[listener]\nallowed_origins = ['a.example']"),
        &["listener.allowed_origins"],
        "\"a.example\" is not an origin",
    );
    check_conflict(&file("[redis]\nurl = 'http://a'"), &["redis.url"], "expected redis://");
    check_conflict(
        &file("[redis]\nurl = 'redis://:hush@'"),
        &["redis.url"],
        "expected redis://",
    );
    check_conflict(
        &file("[redis]\npassword = 'hush'"),
        &["redis.password", "redis.url"],
        "credentials of Redis are set",
    );
    check_conflict(&file("[redis]\nprefix = ''"), &["redis.prefix"], "expected 1 to 64");
    check_conflict(
        &file("[redis]\nprefix = 'chat'"),
        &["raw.channel", "redis.prefix"],
        "the bare channel could not be told",
    );
    check_conflict(
        &file("[redis]\npool_size = 0"),
        &["redis.pool_size"],
        "must be more than 0",
    );
    check_conflict(
        &file("[limits]\nhandshake_timeout = '0'"),
        &["limits.handshake_timeout"],
        "must be more than 0",
    );
    check_conflict(
        &file("[limits]\noutbox = '1KiB'"),
        &["limits.outbox", "limits.message_size"],
        "must have room",
    );
    check_conflict(
        &file("[limits]\noutboxes = '512KiB'"),
        &["limits.outboxes", "limits.outbox"],
        "all outboxes together",
    );
    check_conflict(
        &file("[limits]\nhandshakes = 8"),
        &["limits.handshakes_per_address", "limits.handshakes"],
        "one address could",
    );
    check_conflict(
        &file("[limits]\nmessage_burst = 8"),
        &["limits.message_burst", "limits.message_rate"],
        "a burst means nothing",
    );
    check_conflict(
        &file("[limits]\nmessage_burst = 8\nmessage_rate = 9"),
        &["limits.message_burst", "limits.message_rate"],
        "must not be less",
    );
    check_conflict(
        &file("[delivery]\nwindow = '11ms'"),
        &["delivery.window", "delivery.window_max"],
        "must not be more",
    );
    check_conflict(&file("[node]\nname = 'a b'"), &["node.name"], "expected 1 to 253");
}

#[test]
fn a_setting_that_was_not_read_is_not_told_twice() {
    check_mistakes(
        &file("[delivery]\nwindow = '1h'\nwindow_max = 5"),
        &[
            "delivery.window_max = 5 (file F): expected a duration with its unit such as \"500ms\", \"5s\" or \"1m 30s\"; a number alone has no unit, write for example \"5s\"",
        ],
    );
}

#[test]
fn secrets_of_tokens_are_long() {
    let secret = |length: usize| "s".repeat(length);
    let given = |dev: bool, secret: &str| format!("dev = {dev}\n[tokens]\nhmac_secret = '{secret}'");
    let check =
        |text: &str, is_right: bool| assert_eq!(file(text.to_owned().leak()).load().is_ok(), is_right, "{text}");
    check(&given(false, &secret(32)), true);
    check(&given(false, &secret(31)), false);
    check(&given(false, ""), false);
    check(&given(true, "s"), true);
    check(&given(true, ""), false);
    check_conflict(
        &file("[tokens]\nhmac_secret = '12345678901234567890123456789012'\nhmac_algorithms = []"),
        &["tokens.hmac_algorithms", "tokens.hmac_secret"],
        "with a secret there must be an algorithm",
    );
    check_conflict(&file("[tokens]\nleeway = '61s'"), &["tokens.leeway"], "at most 1m");
    check_conflict(
        &file("[tokens]\njwks_refresh = '9s'"),
        &["tokens.jwks_refresh"],
        "at least 10s",
    );
    check_mistakes(
        &file("[tokens]\njwks_url = 'issuer.example/keys'"),
        &[
            "tokens.jwks_url = \"***\" (file F): expected a URL such as \"http://app:8000/path\" or \"https://app.example/path\"; it is not one",
        ],
    );
    check_conflict(&file("[tokens]\nissuer = ''"), &["tokens.issuer"], "must not be empty");
    check_conflict(
        &file("[tokens]\naudience = ['']"),
        &["tokens.audience"],
        "must not be empty",
    );
    check_mistakes(
        &env(&[("FANFARE__TOKENS__HMAC_ALGORITHMS", "HS256,none")]),
        &[
            "tokens.hmac_algorithms = \"HS256,none\" (variable FANFARE__TOKENS__HMAC_ALGORITHMS): expected a list, each \"HS256\" or \"HS384\" or \"HS512\"",
        ],
    );
}

#[test]
fn keys_of_the_api() {
    let given = file(
        "[[api.keys]]\nname = 'shop'\nkey = 'sixteen bytes, 1'\ncalls = ['publish', 'broadcast']\n[[api.keys]]\nname = 'all'\nkey = 'sixteen bytes, 2'",
    );
    let loaded = load(&given);
    let keys = &loaded.config.api.keys;
    assert_eq!(keys[0].calls, [Call::Publish, Call::Broadcast]);
    assert_eq!(keys[1].calls.len(), Call::all().count());
    assert!(!config::show(&loaded).contains("sixteen"), "{}", config::show(&loaded));
    let variable = env(&[("FANFARE__API__KEYS", "[{name = 'shop', key = 'sixteen bytes, 1'}]")]);
    assert_eq!(load(&variable).config.api.keys[0].name, "shop");

    let short = "must have at least 16 bytes; `openssl rand -hex 32` makes one";
    check_mistakes(
        &file(
            "[admin]\napi_key = 'short'\n[[api.keys]]\nkey = 'short'\n[[api.keys]]\nname = 'a'\n[[api.keys]]\nname = 'a'\nkey = 'sixteen bytes, 1'\ncalls = []\n[[api.keys]]\nname = 'b'\nkey = 'sixteen bytes, 1'",
        ),
        &[
            &format!("admin.api_key = \"***\" (file F): {short}"),
            "api.keys[0].name (file F): a key must have a name",
            &format!("api.keys[0].key (file F): {short}"),
            "api.keys[1].key (file F) & api.keys[1].key_file (file F): one of the two must be set",
            "api.keys[2].name (file F): another key has that name",
            "api.keys[2].calls (file F): a key must be for at least one call",
            "api.keys[3].key (file F): another key is the same",
        ],
    );
    let expected = "expected keys, each with a name, a key or a key_file, and the calls it is for";
    check_mistakes(
        &file("[[api.keys]]\nname = 5"),
        &[&format!(
            "api.keys = *** (file F): {expected}; name of key 0 is not text"
        )],
    );
    check_mistakes(
        &env(&[("FANFARE__API__KEYS", "sixteen bytes, 1")]),
        &[&format!(
            "api.keys = \"***\" (variable FANFARE__API__KEYS): {expected}; it is not TOML such as [{{name = \"shop\", key_file = \"/run/key\"}}]"
        )],
    );
    assert!(file("dev = true\n[admin]\napi_key = 'short'").load().is_ok());
    check_mistakes(
        &env(&[("FANFARE__API__KEYS", "[{name = 'a', key_file = '/does/not/exist'}]")]),
        &[
            "api.keys[0].key_file = \"/does/not/exist\" (variable FANFARE__API__KEYS): the file cannot be read: No such file or directory (os error 2)",
        ],
    );
}

#[test]
fn the_admin_port_follows_the_public_one() {
    #[track_caller]
    fn check(given: &Given, expected: &str) {
        assert_eq!(load(given).config.admin_address().to_string(), expected);
    }
    check(&Given::default(), "127.0.0.1:9000");
    check(&env(&[("PORT", "3001")]), "127.0.0.1:9001");
    check(&env(&[("PORT", "0")]), "127.0.0.1:0");
    check(&env(&[("PORT", "59535")]), "127.0.0.1:65535");
    check(
        &env(&[("PORT", "60000"), ("FANFARE__ADMIN__ADDRESS", "0.0.0.0:9000")]),
        "0.0.0.0:9000",
    );
}

#[test]
fn development_mode_opens_what_nobody_has_set() {
    let config = load(&env(&[("FANFARE__DEV", "true")])).config;
    assert!(config.dev && config.demo.enabled);
    assert_eq!(config.listener.allowed_origins, ["*"]);
    let given = Given {
        file: "[demo]\nenabled = false",
        flags: &[("dev", "--dev", "true")],
        ..Given::default()
    };
    assert!(!load(&given).config.demo.enabled);
    check_mistakes(
        &Given {
            flags: &[("dev", "--dev", "true")],
            env: &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
            file: "",
        },
        &[
            "dev = true (flag --dev): development mode opens everything to anyone and is refused on Kubernetes (KUBERNETES_SERVICE_HOST is set)",
        ],
    );
}

fn with_secret_files(files: &[(&str, &str)], env: &[(&str, &str)]) -> (Result<Loaded, Mistakes>, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let mut env: BTreeMap<_, _> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    for (variable, content) in files {
        let path = directory.path().join(variable);
        fs::write(&path, content).expect("a file");
        env.insert((*variable).to_owned(), path.to_string_lossy().into_owned());
    }
    (
        config::load(&Sources {
            env,
            ..Sources::default()
        }),
        directory,
    )
}

#[test]
fn secrets_are_read_from_files() {
    let files = [
        ("FANFARE__REDIS__PASSWORD_FILE", "hush \n"),
        ("FANFARE__REDIS__URL_FILE", "redis://a\r\n"),
    ];
    let (loaded, directory) = with_secret_files(&files, &[]);
    let loaded = loaded.expect("no mistakes");
    let bus = loaded.config.bus_config().expect("a URL");
    assert_eq!(
        (bus.url.as_str(), bus.password.as_deref()),
        ("redis://a", Some("hush "))
    );
    assert!(loaded.origins["redis.password"].contains(&*directory.path().to_string_lossy()));
    assert!(!config::show(&loaded).contains("hush"));
}

#[test]
fn secret_files_that_cannot_be_used() {
    #[track_caller]
    fn check(files: &[(&str, &str)], env: &[(&str, &str)], expected: &[&str]) {
        let Mistakes(mistakes) = with_secret_files(files, env).0.expect_err("mistakes");
        let found: Vec<_> = mistakes.iter().map(|mistake| mistake.problem.as_str()).collect();
        assert_eq!(found, expected);
        assert!(!Mistakes(mistakes).to_string().contains("hush"));
    }
    let url = ("REDIS_URL", "redis://a");
    let password = "FANFARE__REDIS__PASSWORD_FILE";
    check(&[(password, "\n")], &[url], &["the file is empty"]);
    check(
        &[(password, "hush1")],
        &[url, ("FANFARE__REDIS__PASSWORD", "hush2")],
        &["only one of the two may be set"],
    );
    check(
        &[("FANFARE__REDIS__URL_FILE", "hush")],
        &[],
        &["expected redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or the same with rediss:// for TLS"],
    );
    check(
        &[],
        &[url, (password, "/does/not/exist")],
        &["the file cannot be read: No such file or directory (os error 2)"],
    );
}

#[test]
fn secrets_are_never_shown() {
    const PLACES: [&str; 19] = [
        "[backend]\nconnect = 'http://ann:hush@a/'",
        "[backend]\nstatic_headers = ['hush']",
        "[backend]\nstatic_headers = [\"X-Key: hush\\u0007\"]",
        "[backend]\nstatic_headers = ['Host: hush']",
        "[admin]\napi_key = 'hush'",
        "[[api.keys]]\nname = 'a'\nkey = 'hush'",
        "[[api.keys]]\nname = 'a'\nkey = ['hush']",
        "[[api.keys]]\nname = 'a'\nkee = 'hush'",
        "[api]\nkeys = 'hush'",
        "[tokens]\nhmac_secret = 'hush'",
        "[redis]\npassword = 'x://hush'",
        "[redis]\npassword = 'hush'\nurl = 5",
        "[redis]\nurl = 'hush'",
        "[redis]\nurl = 'http://ann:hush@a'",
        "[redis]\nurl = 'redis://a'\npassword = ['hush']",
        "[redis]\nurl = 'redis://a'\npasword = 'hush'",
        "[redis]\npassword = hush",
        "[redis]\npassword = 'hush",
        "[redis]\npassword = \"\\hush\"",
    ];
    for place in PLACES {
        let mistakes = file(place).load().expect_err(place);
        assert!(!format!("{mistakes} {mistakes:?}").contains("hush"), "{mistakes}");
    }
    let loaded = load(&file(
        "[redis]\nurl = 'rediss://ann:hush1@a.example/2'\npassword = 'hush2'\n[backend]\nrpc = 'http://a/?k=hush3'\nstatic_headers = ['X-Key: hush4']",
    ));
    let shown = format!(
        "{} {:?} {:?}",
        config::show(&loaded),
        loaded,
        loaded.config.bus_config()
    );
    assert!(!shown.contains("hush"), "{shown}");
    assert!(
        config::show(&loaded).contains("url = \"rediss://***@a.example/2\""),
        "{shown}"
    );
    for line in ["rpc = \"http://a/?***\"", "static_headers = [\"x-key: ***\"]"] {
        assert!(config::show(&loaded).contains(line), "{shown}");
    }
}

#[test]
fn settings_of_the_backend() {
    let check = |settings: &'static str, expected: &str| {
        let Mistakes(mistakes) = file(settings).load().expect_err("a mistake");
        let [mistake] = &mistakes[..] else {
            panic!("{}", Mistakes(mistakes))
        };
        assert!(mistake.problem.ends_with(expected), "{}", mistake.problem);
    };
    check("[backend]\nconnect = 'a:80'", "it is not one");
    check(
        "[backend]\nconnect = 'http://ann@a'",
        "a login does not belong in a URL",
    );
    check("[backend]\nheaders = ['a b']", "invalid HTTP header name");
    check(
        "[backend]\nheaders = ['Host']",
        "host is about one connection or message, and is not passed on",
    );
    check(
        "[backend]\nemulated_headers = ['Sec-WebSocket-Key']",
        "sec-websocket-key is about one connection or message, and is not passed on",
    );
    check("[backend]\nin_flight = 0", "must be more than 0");
    check("[backend]\ntimeout = '0'", "must be more than 0");
    check(
        "[[backend.statuses]]\nstatus = 200",
        "status 200 is not from 201 to 599",
    );
    check(
        "[[backend.statuses]]\nstatus = 404",
        "status 404 needs either an error or a disconnect",
    );
    check(
        "[[backend.statuses]]\nstatus = 404\nerror = { code = 2000, message = 'no' }",
        "code 2000 of an error is not from 1 to 1999",
    );
    check(
        "[[backend.statuses]]\nstatus = 404\nerror = { code = 404, mesage = 'no' }",
        "\"mesage\" is not one of code, message, temporary",
    );
    check(
        "[[backend.statuses]]\nstatus = 404\ndisconnect = { code = 1000, reason = 'no' }",
        "a reason of 1 to 123 bytes that is not JSON",
    );
    const ERROR: &str = "error = { code = 404, message = 'no' }";
    let twice = format!("[backend]\nstatuses = [{{ status = 404, {ERROR} }}, {{ status = 404, {ERROR} }}]");
    check(twice.leak(), "a status has two answers");

    let both = "[[backend.statuses]]\nstatus = 404\nerror = { code = 404, message = 'no', temporary = true }\n\
                [[backend.statuses]]\nstatus = 410\ndisconnect = { code = 4410, reason = 'gone' }";
    let shown = config::show(&load(&file(both)));
    let line = "statuses = [{ status = 404, error = { code = 404, message = \"no\", temporary = true } }, \
                { status = 410, disconnect = { code = 4410, reason = \"gone\" } }]";
    assert!(shown.contains(line), "{shown}");

    // A variable has one header a line, as their values may have commas.
    let variable = env(&[("FANFARE__BACKEND__STATIC_HEADERS", "X-Key: a,b\n\nX-Other: c")]);
    let in_file = file("[backend]\nstatic_headers = ['x-key: a,b', 'X-Other:c']");
    let headers = load(&variable).config.backend.static_headers;
    assert_eq!(
        (headers.len(), &headers),
        (2, &load(&in_file).config.backend.static_headers)
    );
    let (from_file, _directory) = with_secret_files(
        &[("FANFARE__BACKEND__STATIC_HEADERS_FILE", "X-Key: a,b\nX-Other: c\n")],
        &[],
    );
    assert_eq!(from_file.expect("no mistake").config.backend.static_headers, headers);
    let (wrong, _directory) = with_secret_files(&[("FANFARE__BACKEND__STATIC_HEADERS_FILE", "hush")], &[]);
    let wrong = wrong.expect_err("a mistake").to_string();
    assert!(wrong.contains("one a line") && !wrong.contains("hush"), "{wrong}");
}

#[test]
fn the_pages_say_what_the_code_does() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("default.toml");
    fs::write(&path, config::default_toml()).expect("a file");
    let loaded = config::load(&Sources {
        file: Some(path),
        ..Sources::default()
    })
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(
        Config {
            sources: Vec::new(),
            ..loaded.config
        },
        Config::default()
    );

    let variables = config::env_file();
    let env = variables
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='));
    let env: BTreeMap<_, _> = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(env.len() > 50, "{variables}");
    let loaded = config::load(&Sources {
        env,
        ..Sources::default()
    })
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(
        Config {
            sources: Vec::new(),
            ..loaded.config
        },
        Config::default()
    );
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let given = file(
        "dev = true\n[backend]\nrpc = 'http://a/b'\nheaders = ['cookie']\nstatuses = [{ status = 404, error = { code = 404, message = 'no' } }]\n[listener]\nport = 1\nallowed_origins = ['https://a', 'https://b']\n[[channels]]\nmatch = 'a-*'\nsubscribe = 'anyone'\nwindow = '3ms'",
    );
    let loaded = load(&given);
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("shown.toml");
    fs::write(&path, config::show(&loaded)).expect("a file");
    let again = config::load(&Sources {
        file: Some(path),
        ..Sources::default()
    })
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let without_sources = |loaded: Loaded| Config {
        sources: Vec::new(),
        ..loaded.config
    };
    assert_eq!(without_sources(again), without_sources(loaded));
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let page = fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == config::reference_page(),
        "docs/settings.md is out of date; run: cargo run -q -p fanfare-gateway -- config reference > crates/gateway/docs/settings.md"
    );
}
