//! From a base and a target to a patch.
//!
//! Goes through the target once. Where something of the base may continue, the two are compared: there where the last copy ended, because most
//! changes keep the length, and there where a table says that the next eight bytes stand. The table has one place for each of the places
//! it knows of, so that time and memory are bounded whatever the payloads repeat.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "what is counted here are bytes of two texts in memory, and a patch is shorter than its target"
)]

use bytes::Bytes;

use super::{DIGITS, checksum};

/// How many bytes have to be equal before they are looked at more closely.
const WINDOW: usize = 8;

/// How many places of the base are in the table at most; a longer base has only every so many.
const MOST_PLACES: usize = 8192;

/// By how much a copy has to be shorter than its bytes: it cuts an insert in two.
const GAIN: usize = 3;

/// The patch that makes `target` of `base`, if it is shorter than `target`. Of a target in UTF-8 it is UTF-8 too: it cuts no character.
pub fn create(base: &[u8], target: &[u8]) -> Option<Bytes> {
    Search::new(base, target)?.patch()
}

pub(super) struct Search<'a> {
    base: &'a [u8],
    target: &'a [u8],
    places: Places,
    patch: Vec<u8>,
    /// How many bytes were compared, for the test of the cost.
    pub(super) compared: usize,
}

/// Bytes of the target that stand in the base too.
struct Copy {
    base: usize,
    target: usize,
    length: usize,
}

impl<'a> Search<'a> {
    /// `None` when numbers of 32 bits cannot count the bytes.
    pub(super) fn new(base: &'a [u8], target: &'a [u8]) -> Option<Self> {
        u32::try_from(base.len().max(target.len())).ok()?;
        Some(Self {
            base,
            target,
            places: Places::of(base),
            patch: Vec::with_capacity(target.len().min(256)),
            compared: 0,
        })
    }

    pub(super) fn patch(&mut self) -> Option<Bytes> {
        self.number(self.target.len());
        self.patch.push(b'\n');
        // Up to `told` the target is in the patch, up to `at` it was looked at. `here` is the place in the base where it may go on.
        let (mut told, mut at, mut here) = (0, 0, 0);
        while let Some(window) = window(self.target, at) {
            let known = self.places.find(window).filter(|place| *place != here);
            let longest = [Some(here), known]
                .into_iter()
                .flatten()
                .filter_map(|place| self.compare(place, at, told))
                .max_by_key(|copy| copy.length);
            let Some(copy) = longest else {
                at += 1;
                here += 1;
                continue;
            };
            self.insert(told, copy.target);
            self.number(copy.length);
            self.patch.push(b'@');
            self.number(copy.base);
            self.patch.push(b',');
            told = copy.target + copy.length;
            (at, here) = (told, copy.base + copy.length);
            if self.patch.len() >= self.target.len() {
                return None;
            }
        }
        self.insert(told, self.target.len());
        self.number(usize::try_from(checksum(self.target)).ok()?);
        self.patch.push(b';');
        (self.patch.len() < self.target.len()).then(|| Bytes::from(std::mem::take(&mut self.patch)))
    }

    /// How much around `place` of the base and `at` of the target is equal, without what was `told` already; `None` if it is not worth a copy.
    fn compare(&mut self, place: usize, at: usize, told: usize) -> Option<Copy> {
        if window(self.base, place)? != window(self.target, at)? {
            return None;
        }
        let after = common_start(self.base.get(place..)?, self.target.get(at..)?);
        let before = equal(
            self.base.get(..place)?.iter().rev(),
            self.target.get(told..at)?.iter().rev(),
        );
        self.compared += after + before;
        // The inserts around it begin and end between characters, so it does. More than three bytes inside of one are no text.
        let whole = self.target.get(at - before..at + after)?;
        let start = whole.iter().take(3).take_while(|byte| continues(**byte)).count();
        let cut = match self.target.get(at + after) {
            Some(next) if continues(*next) => whole.iter().rev().take(4).position(|byte| !continues(*byte)),
            _ => None,
        };
        let end = whole.len() - cut.map_or(0, |inside| inside + 1);
        let copy = Copy {
            base: place - before + start,
            target: at - before + start,
            length: end.checked_sub(start)?,
        };
        let cost = digits(copy.length) + 1 + digits(copy.base) + 1;
        (copy.length > cost + GAIN).then_some(copy)
    }

    fn insert(&mut self, from: usize, to: usize) {
        if let Some(bytes @ [_, ..]) = self.target.get(from..to) {
            self.number(bytes.len());
            self.patch.push(b':');
            self.patch.extend_from_slice(bytes);
        }
    }

    fn number(&mut self, number: usize) {
        for place in (0..digits(number)).rev() {
            let digit = (number >> (6 * place)) & 63;
            self.patch.extend(DIGITS.get(digit));
        }
    }
}

/// Where in the base which eight bytes stand.
struct Places {
    /// By hash; a place plus one, 0 for none.
    table: Vec<u32>,
    shift: u32,
}

impl Places {
    fn of(base: &[u8]) -> Self {
        let step = base.len().div_ceil(MOST_PLACES).max(1);
        let size = (base.len() / step).next_power_of_two();
        let mut places = Self {
            table: vec![0; size],
            shift: u64::BITS - size.trailing_zeros(),
        };
        // Backwards: what stands first is found, so that the most may follow it.
        for place in (0..base.len()).step_by(step).rev() {
            if let Some(window) = window(base, place) {
                let hash = places.hash(window);
                if let (Some(entry), Ok(place)) = (places.table.get_mut(hash), u32::try_from(place + 1)) {
                    *entry = place;
                }
            }
        }
        places
    }

    fn find(&self, window: u64) -> Option<usize> {
        let place = self.table.get(self.hash(window))?.checked_sub(1)?;
        usize::try_from(place).ok()
    }

    fn hash(&self, window: u64) -> usize {
        let mixed = window.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed.checked_shr(self.shift).unwrap_or(0)).unwrap_or(0)
    }
}

/// The eight bytes at `at`, if there are so many.
fn window(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk::<WINDOW>()
        .map(|chunk| u64::from_le_bytes(*chunk))
}

/// How many bytes are equal from the start.
fn common_start(one: &[u8], other: &[u8]) -> usize {
    let words = one.chunks_exact(WINDOW).zip(other.chunks_exact(WINDOW));
    let sure = WINDOW * words.take_while(|(one, other)| one == other).count();
    sure + equal(one.iter().skip(sure), other.iter().skip(sure))
}

/// How many items are equal from the start.
fn equal<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

/// A byte inside of a character of several.
fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// How many digits a number has.
fn digits(number: usize) -> usize {
    (usize::BITS - number.leading_zeros()).div_ceil(6).max(1) as usize
}
