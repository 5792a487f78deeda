//! Checks a JSON text (RFC 8259) and takes out the whitespace between its tokens.
//!
//! One pass and no recursion, so a hostile text can neither overflow the stack nor make this build anything. Every token stays as it
//! was written: numbers keep their digits, strings their escapes, objects their duplicates and order. Lone surrogate escapes and
//! numbers of any size are therefore accepted, as the grammar has them.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "what is counted here are bytes of a text in memory, and brackets among them"
)]

use bytes::{Buf, Bytes};

/// Where and why a text is not JSON. Positions count bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text ends before its value does, or has no value at all.
    #[error("the text ends too early, at byte {at}")]
    End {
        /// The length of the text.
        at: usize,
    },
    /// Something else was expected here.
    #[error("byte {at} does not belong there")]
    Unexpected {
        /// Where.
        at: usize,
    },
    /// A string holds a control character that has to be escaped.
    #[error("a control character in a string, at byte {at}")]
    Control {
        /// Where.
        at: usize,
    },
    /// A backslash is not followed by an escape that JSON knows.
    #[error("an unknown escape, at byte {at}")]
    Escape {
        /// Where the escape goes wrong.
        at: usize,
    },
    /// Arrays and objects nest deeper than allowed.
    #[error("nested too deep, at byte {at}")]
    TooDeep {
        /// The bracket that goes too deep.
        at: usize,
    },
}

/// The JSON text `data` without the whitespace between its tokens; `data` itself when there is none. `data` has to be UTF-8.
///
/// Arrays and objects may nest `max_depth` deep: 0 allows only strings, numbers and literals.
pub fn compact(mut data: Bytes, max_depth: usize) -> Result<Bytes, JsonError> {
    let mut scanner = Scanner {
        text: &data,
        at: 0,
        kept: 0,
        copy: Vec::new(),
    };
    scanner.text(max_depth)?;
    let Scanner { kept, mut copy, .. } = scanner;
    if copy.is_empty() {
        // Whitespace in front only, or none.
        data.advance(kept);
        return Ok(data);
    }
    copy.extend_from_slice(data.get(kept..).unwrap_or_default());
    Ok(Bytes::from(copy))
}

struct Scanner<'a> {
    text: &'a [u8],
    /// The next byte to look at.
    at: usize,
    /// From here on, nothing has been copied yet.
    kept: usize,
    /// The text up to `kept`, without whitespace.
    copy: Vec<u8>,
}

/// What may come next.
#[derive(Clone, Copy)]
enum Expect {
    Value,
    ElementOrEnd,
    NameOrEnd,
    Name,
    AfterValue,
}

impl Scanner<'_> {
    fn text(&mut self, max_depth: usize) -> Result<(), JsonError> {
        let mut nesting = Nesting::default();
        let mut expect = Expect::Value;
        loop {
            self.whitespace();
            let Some(byte) = self.peek() else {
                let complete = matches!(expect, Expect::AfterValue) && nesting.depth == 0;
                return if complete {
                    Ok(())
                } else {
                    Err(JsonError::End { at: self.at })
                };
            };
            expect = match (expect, byte) {
                (Expect::ElementOrEnd, b']') | (Expect::NameOrEnd, b'}') => self.close(&mut nesting),
                (Expect::Value | Expect::ElementOrEnd, b'[') => {
                    self.open(&mut nesting, false, max_depth)?;
                    Expect::ElementOrEnd
                }
                (Expect::Value | Expect::ElementOrEnd, b'{') => {
                    self.open(&mut nesting, true, max_depth)?;
                    Expect::NameOrEnd
                }
                (Expect::Value | Expect::ElementOrEnd, _) => {
                    self.scalar(byte)?;
                    Expect::AfterValue
                }
                (Expect::NameOrEnd | Expect::Name, b'"') => {
                    self.name()?;
                    Expect::Value
                }
                (Expect::AfterValue, b',') if nesting.depth > 0 => {
                    self.at += 1;
                    if nesting.in_object() {
                        Expect::Name
                    } else {
                        Expect::Value
                    }
                }
                (Expect::AfterValue, b'}') if nesting.depth > 0 && nesting.in_object() => self.close(&mut nesting),
                (Expect::AfterValue, b']') if nesting.depth > 0 && !nesting.in_object() => self.close(&mut nesting),
                _ => return Err(JsonError::Unexpected { at: self.at }),
            };
        }
    }

    fn open(&mut self, nesting: &mut Nesting, object: bool, max_depth: usize) -> Result<(), JsonError> {
        if nesting.depth >= max_depth {
            return Err(JsonError::TooDeep { at: self.at });
        }
        nesting.push(object);
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, nesting: &mut Nesting) -> Expect {
        nesting.pop();
        self.at += 1;
        Expect::AfterValue
    }

    fn scalar(&mut self, first: u8) -> Result<(), JsonError> {
        match first {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => Err(JsonError::Unexpected { at: self.at }),
        }
    }

    fn name(&mut self) -> Result<(), JsonError> {
        self.string()?;
        self.whitespace();
        self.expect(b':')
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        word.iter().try_for_each(|&byte| self.expect(byte))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.skip_if(|byte| byte == b'-');
        if !self.skip_if(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.skip_if(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.skip_if(|byte| matches!(byte, b'e' | b'E')) {
            self.skip_if(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.skip_if(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected());
        }
        while self.skip_if(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    /// A string, from its first quote to behind its last.
    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            self.ordinary_characters();
            match self.peek() {
                None => return Err(self.unexpected()),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(JsonError::Control { at: self.at }),
            }
        }
    }

    /// Skips what needs no look inside a string, eight bytes at a time where possible.
    fn ordinary_characters(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let words = rest
            .as_chunks::<8>()
            .0
            .iter()
            .take_while(|&&word| is_ordinary(u64::from_ne_bytes(word)))
            .count();
        let skipped = words * 8;
        let tail = rest.get(skipped..).unwrap_or_default();
        let more = tail
            .iter()
            .take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
            .count();
        self.at += skipped + more;
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                (0..4).try_for_each(|_| {
                    if self.skip_if(|byte| byte.is_ascii_hexdigit()) {
                        Ok(())
                    } else {
                        Err(self.bad_escape())
                    }
                })
            }
            _ => Err(self.bad_escape()),
        }
    }

    /// Skips whitespace; what came before it is copied.
    fn whitespace(&mut self) {
        let start = self.at;
        while self.skip_if(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {}
        if start < self.at {
            let before = self.text.get(self.kept..start).unwrap_or_default();
            if self.copy.capacity() == 0 && !before.is_empty() {
                self.copy.reserve_exact(self.text.len() - self.kept - (self.at - start));
            }
            self.copy.extend_from_slice(before);
            self.kept = self.at;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let found = self.peek().is_some_and(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.skip_if(|found| found == byte) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> JsonError {
        if self.at < self.text.len() {
            JsonError::Unexpected { at: self.at }
        } else {
            JsonError::End { at: self.at }
        }
    }

    fn bad_escape(&self) -> JsonError {
        if self.at < self.text.len() {
            JsonError::Escape { at: self.at }
        } else {
            JsonError::End { at: self.at }
        }
    }
}

/// Whether none of the eight bytes is a quote, a backslash or a control character. Bit 7 of each byte of the sums below is set by a
/// match; one may also be set above a match, which does not matter here.
fn is_ordinary(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH == 0
}

/// Which arrays and objects are open: one bit each, the innermost last. The first 64 need no heap.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost up to 64, 1 for an object.
    top: u64,
    outer: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.top);
        }
        self.top = self.top << 1 | u64::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.top >>= 1;
        if self.depth.is_multiple_of(64) {
            self.top = self.outer.pop().unwrap_or_default();
        }
    }

    fn in_object(&self) -> bool {
        self.top & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, JsonError>) {
        let expected = expected.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(compact(Bytes::copy_from_slice(text.as_bytes()), 3), expected, "{text}");
    }

    #[test]
    fn whitespace_between_tokens_goes_and_tokens_stay() {
        check("{ \"b\" : 1,\n \"a\": [1, 2] }", Ok(r#"{"b":1,"a":[1,2]}"#));
        check("\t\r\n 1 \t\r\n", Ok("1"));
        check("  {}", Ok("{}"));
        check("{}\n", Ok("{}"));
        check(" [ [ ] , { } ] ", Ok("[[],{}]"));
        check(r#" "a b\t\u0020 " "#, Ok(r#""a b\t\u0020 ""#));
        check(r#"{"dup":1,"dup":2}"#, Ok(r#"{"dup":1,"dup":2}"#));
        for number in [
            "0",
            "-0",
            "2.0",
            "1e3",
            "1E+03",
            "-0.1000e-9",
            "12345678901234567890",
            "1E400",
        ] {
            check(number, Ok(number));
        }
        for string in [
            r#""""#,
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u00e9\uABCD""#,
            r#""\ud800""#,
            "\"ü𝄞\u{7f}\u{80}\u{2028}\u{feff}\"",
        ] {
            check(string, Ok(string));
        }
    }

    #[test]
    fn what_is_not_json() {
        use JsonError::{Control, End, Escape, TooDeep, Unexpected};
        for (text, error) in [
            ("", End { at: 0 }),
            (" \n", End { at: 2 }),
            ("\u{feff}{}", Unexpected { at: 0 }),
            ("\u{a0}1", Unexpected { at: 0 }),
            ("1\u{c}", Unexpected { at: 1 }),
            ("NaN", Unexpected { at: 0 }),
            ("nul", End { at: 3 }),
            ("nulL", Unexpected { at: 3 }),
            ("True", Unexpected { at: 0 }),
            ("1 2", Unexpected { at: 2 }),
            ("{}}", Unexpected { at: 2 }),
            ("[1,]", Unexpected { at: 3 }),
            ("[,1]", Unexpected { at: 1 }),
            ("[1 2]", Unexpected { at: 3 }),
            ("[1}", Unexpected { at: 2 }),
            ("[1", End { at: 2 }),
            (r#"{"a":1,}"#, Unexpected { at: 7 }),
            (r#"{"a" 1}"#, Unexpected { at: 5 }),
            (r#"{"a":}"#, Unexpected { at: 5 }),
            (r#"{"a"]"#, Unexpected { at: 4 }),
            (r#"{"a":1]"#, Unexpected { at: 6 }),
            ("{1:1}", Unexpected { at: 1 }),
            ("{'a':1}", Unexpected { at: 1 }),
            ("{", End { at: 1 }),
            (r#"{"a""#, End { at: 4 }),
            ("]", Unexpected { at: 0 }),
            (":", Unexpected { at: 0 }),
            (",", Unexpected { at: 0 }),
            ("/**/1", Unexpected { at: 0 }),
            ("01", Unexpected { at: 1 }),
            ("-", End { at: 1 }),
            ("+1", Unexpected { at: 0 }),
            (".5", Unexpected { at: 0 }),
            ("1.", End { at: 2 }),
            ("1.e3", Unexpected { at: 2 }),
            ("1e", End { at: 2 }),
            ("1e+", End { at: 3 }),
            ("0x10", Unexpected { at: 1 }),
            ("- 1", Unexpected { at: 1 }),
            (r#"""#, End { at: 1 }),
            (r#""abcdefghijk"#, End { at: 12 }),
            ("\"a\nb\"", Control { at: 2 }),
            ("\"abcdefgh\u{0}bcdefgh\"", Control { at: 9 }),
            ("\"abcdefg\u{1f}\"", Control { at: 8 }),
            (r#""\x""#, Escape { at: 2 }),
            (r#""\u12g4""#, Escape { at: 5 }),
            (r#""\u12"#, End { at: 5 }),
            (r#""\"#, End { at: 2 }),
            (r#"[[[[]]]]"#, TooDeep { at: 3 }),
            (r#"[[[{"a":1}]]]"#, TooDeep { at: 3 }),
        ] {
            check(text, Err(error));
        }
    }

    #[test]
    fn nothing_is_copied_when_nothing_goes() {
        let text = Bytes::from(br#"{"a":[1,2,"x y"]}"#.to_vec());
        let compacted = compact(text.clone(), 3).expect("JSON");
        assert_eq!(compacted.as_ptr(), text.as_ptr());
        assert_eq!(compact(Bytes::from_static(b"1"), 0).as_deref(), Ok(&b"1"[..]));
    }

    #[test]
    fn nesting_is_remembered_at_any_depth() {
        for depth in [1, 63, 64, 65, 128, 129, 512, 100_000] {
            let text = |open: &str, close: &str| Bytes::from(open.repeat(depth) + "1" + &close.repeat(depth));
            let mixed = text("[{\"\":", "}]");
            assert_eq!(compact(mixed.clone(), 2 * depth), Ok(mixed.clone()));
            assert!(matches!(compact(mixed, 2 * depth - 1), Err(JsonError::TooDeep { .. })));
            assert!(compact(text("[{\"\":", "]}"), 2 * depth).is_err());
            assert!(compact(Bytes::from("[".repeat(depth)), depth).is_err());
        }
    }
}
