//! From a base and a patch to the target.

use super::{DIGITS, checksum};

/// Why a patch cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// Something else was expected.
    #[error("byte {at} of the patch does not belong there")]
    Unexpected {
        /// Where in the patch.
        at: usize,
    },
    /// The target would be larger than allowed.
    #[error("the target would have {length} bytes")]
    TooLarge {
        /// How large.
        length: u32,
    },
    /// A copy begins or ends beyond the base: it is another base than that of the patch.
    #[error("a copy from outside of the base")]
    Outside,
    /// The commands make more or less than the patch has announced.
    #[error("the target has another length than announced")]
    Length,
    /// The target is not the one that the patch was made for.
    #[error("the target has another checksum")]
    Checksum,
}

/// What `patch` makes of `base`, if that has no more than `most` bytes.
pub fn apply(base: &[u8], patch: &[u8], most: usize) -> Result<Vec<u8>, DeltaError> {
    let mut reader = Reader { patch, rest: patch };
    let length = reader.number()?;
    reader.expect(b'\n')?;
    let announced = usize::try_from(length).unwrap_or(usize::MAX);
    if announced > most {
        return Err(DeltaError::TooLarge { length });
    }
    let mut target = Vec::with_capacity(announced);
    loop {
        let number = reader.number()?;
        let size = usize::try_from(number).unwrap_or(usize::MAX);
        let piece = match reader.byte()? {
            b'@' => {
                let start = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
                reader.expect(b',')?;
                let end = start.saturating_add(size);
                base.get(start..end).ok_or(DeltaError::Outside)?
            }
            b':' => reader.bytes(size)?,
            b';' if !reader.rest.is_empty() => return Err(reader.unexpected()),
            b';' if target.len() != announced => return Err(DeltaError::Length),
            b';' if checksum(&target) != number => return Err(DeltaError::Checksum),
            b';' => return Ok(target),
            _ => return Err(reader.unexpected()),
        };
        if piece.len() > announced.saturating_sub(target.len()) {
            return Err(DeltaError::Length);
        }
        target.extend_from_slice(piece);
    }
}

struct Reader<'a> {
    patch: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A number of one digit at least.
    fn number(&mut self) -> Result<u32, DeltaError> {
        let mut number = self.digit().ok_or(self.unexpected())?;
        while let Some(digit) = self.digit() {
            number = number.checked_mul(64).ok_or(self.unexpected())? | digit;
        }
        Ok(number)
    }

    fn digit(&mut self) -> Option<u32> {
        let (first, rest) = self.rest.split_first()?;
        let value = DIGITS.iter().position(|digit| digit == first)?;
        self.rest = rest;
        u32::try_from(value).ok()
    }

    fn byte(&mut self) -> Result<u8, DeltaError> {
        let (first, rest) = self.rest.split_first().ok_or(self.unexpected())?;
        self.rest = rest;
        Ok(*first)
    }

    fn expect(&mut self, expected: u8) -> Result<(), DeltaError> {
        match self.byte()? {
            byte if byte == expected => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    fn bytes(&mut self, size: usize) -> Result<&'a [u8], DeltaError> {
        let (bytes, rest) = self.rest.split_at_checked(size).ok_or(self.unexpected())?;
        self.rest = rest;
        Ok(bytes)
    }

    fn unexpected(&self) -> DeltaError {
        DeltaError::Unexpected {
            at: self.patch.len().saturating_sub(self.rest.len()),
        }
    }
}
