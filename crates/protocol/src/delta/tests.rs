#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::collection::vec;
use proptest::prelude::*;

use super::create::Search;
use super::*;

const BASE: &[u8] = br#"{"price":100,"symbol":"ACME"}"#;
const TARGET: &[u8] = br#"{"price":101,"symbol":"ACME"}"#;

/// Makes a patch and applies it. Returns its length, or `None` when the whole target is as good.
#[track_caller]
fn check(base: &[u8], target: &[u8]) -> Option<usize> {
    let patch = create(base, target)?;
    assert!(patch.len() < target.len());
    assert_eq!(apply(base, &patch, target.len()).as_deref(), Ok(target), "{patch:?}");
    if std::str::from_utf8(target).is_ok() {
        assert!(std::str::from_utf8(&patch).is_ok(), "{patch:?} cuts a character");
    }
    Some(patch.len())
}

#[test]
fn a_known_patch() {
    let patch = &b"T\nB@0,1:1H@C,2Qlq0D;"[..];
    assert_eq!(create(BASE, TARGET).as_deref(), Some(patch));
    assert_eq!(apply(BASE, patch, 29).as_deref(), Ok(TARGET));
}

#[test]
fn small_changes_are_small() {
    let text = |at: usize, word: &str| {
        let mut words: Vec<String> = (0..4000_u64)
            .map(|number| format!("{:x}", number * number * 7919))
            .collect();
        words[at] = word.into();
        words.join(" ")
    };
    let base = text(0, "");
    for (target, most) in [
        (text(2000, "another"), 40),
        (text(0, "first"), 40),
        (text(3999, "last"), 40),
        (format!("{base}, and more"), 40),
        (base.split_at(10_000).1.to_owned(), 40),
        (format!("{}{}", base.split_at(10_000).1, base.split_at(10_000).0), 50),
    ] {
        let length = check(base.as_bytes(), target.as_bytes());
        assert!(length.is_some_and(|length| length <= most), "{length:?}");
    }
    assert_eq!(check(b"", b"something"), None);
    assert_eq!(check(b"something", b""), None);
    assert_eq!(check(b"something", b"entirely different"), None);
}

#[test]
fn characters_stay_whole() {
    // Each pair shares the first or the last byte of a character that differs.
    for (base, target) in [
        ("a long beginning: ä, a long end", "a long beginning: ö, a long end"),
        ("a long beginning: 😀, a long end", "a long beginning: 😁, a long end"),
        ("a long beginning: ¤, a long end", "a long beginning: ä, a long end"),
    ] {
        assert!(check(base.as_bytes(), target.as_bytes()).is_some(), "{target}");
    }
}

/// Bytes compared for each byte there is.
fn cost(base: &[u8], target: &[u8]) -> usize {
    let mut search = Search::new(base, target).expect("not too large");
    search.patch();
    search.compared / (base.len() + target.len())
}

#[test]
fn the_cost_grows_with_the_size_only() {
    const SIZE: usize = 64 * 1024;
    let equal = vec![b'a'; SIZE];
    let repeated: Vec<u8> = b"abcdefgh".iter().copied().cycle().take(SIZE).collect();
    // Begins everywhere like the other, and goes on differently.
    let broken: Vec<u8> = (0..SIZE).map(|at| if at % 13 == 12 { b'b' } else { b'a' }).collect();
    let almost: Vec<u8> = (0..SIZE)
        .map(|at| if at % 4096 == 4095 { b'b' } else { b'a' })
        .collect();
    // No text, but inside of a character everywhere.
    let inside = vec![0x80; SIZE];
    let payloads = [equal, repeated, broken, almost, inside];
    for base in &payloads {
        for target in &payloads {
            assert!(cost(base, target) <= 16);
            check(base, target);
        }
    }
}

#[test]
fn what_is_no_patch_is_refused() {
    let unexpected = |at| Err(DeltaError::Unexpected { at });
    for (patch, expected) in [
        (&b""[..], unexpected(0)),
        (b"T", unexpected(1)),
        (b"\n", unexpected(0)),
        (b"T\nB", unexpected(3)),
        (b"T\nB@0", unexpected(5)),
        (b"T\nB@,", unexpected(4)),
        (b"T\n!", unexpected(2)),
        (b"T\nB!", unexpected(4)),
        (b"T\n5:abc", unexpected(4)),
        (b"zzzzzzzz\n0;", unexpected(6)),
        (b"V\nB@0,", Err(DeltaError::TooLarge { length: 31 })),
        (b"T\nT@1,0;", Err(DeltaError::Outside)),
        (b"T\n1@zzzzz,0;", Err(DeltaError::Outside)),
        (b"2\n3:abc0;", Err(DeltaError::Length)),
        (b"4\n3:abc0;", Err(DeltaError::Length)),
        (b"3\n3:abc0;", Err(DeltaError::Checksum)),
        (b"T\nB@0,1:1H@C,2Qlq0D;;", unexpected(20)),
    ] {
        assert_eq!(apply(BASE, patch, 29), expected, "{patch:?}");
    }
}

/// Changes to a text: at which place, how much is taken out, what is put in.
fn changed(mut bytes: Vec<u8>, changes: Vec<(prop::sample::Index, usize, Vec<u8>)>) -> Vec<u8> {
    for (at, out, new) in changes {
        let at = at.index(bytes.len() + 1);
        let end = (at + out).min(bytes.len());
        bytes.splice(at..end, new);
    }
    bytes
}

proptest! {
    #[test]
    fn anything(base: Vec<u8>, target: Vec<u8>) {
        check(&base, &target);
    }

    #[test]
    fn similar(base in vec(any::<u8>(), 0..2000), changes in vec((any::<prop::sample::Index>(), 0..40_usize, vec(any::<u8>(), 0..40)), 0..6)) {
        let target = changed(base.clone(), changes);
        check(&base, &target);
    }

    #[test]
    fn repetitive(base in vec(0..3_u8, 0..600), target in vec(0..3_u8, 0..600)) {
        check(&base, &target);
        prop_assert!(base.is_empty() || cost(&base, &target) <= 16);
    }

    #[test]
    fn text(base in "[aäö😀😁 ]{0,200}", changes in vec((any::<prop::sample::Index>(), any::<char>()), 0..4)) {
        let mut target: Vec<char> = base.chars().collect();
        for (at, char) in changes {
            let at = at.index(target.len() + 1);
            target.insert(at, char);
        }
        check(base.as_bytes(), target.iter().collect::<String>().as_bytes());
    }

    #[test]
    fn broken_patches(at: prop::sample::Index, byte: u8) {
        let mut patch = b"T\nB@0,1:1H@C,2Qlq0D;".to_vec();
        let at = at.index(patch.len());
        patch[at] = byte;
        if let Ok(made) = apply(BASE, &patch, 100) {
            prop_assert!(made == TARGET);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn big(seed in vec(any::<u8>(), 1..70), changes in vec((any::<prop::sample::Index>(), 0..4000_usize, vec(any::<u8>(), 0..100)), 0..6)) {
        // Not periodic, but full of what was there before.
        let base: Vec<u8> = (0..65_536_usize).map(|at| seed[at * at % 8191 % seed.len()]).collect();
        check(&base, &changed(base.clone(), changes));
    }
}
