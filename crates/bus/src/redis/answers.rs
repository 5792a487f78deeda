//! The answers to a batch, taken one by one.
//!
//! What Redis refuses is an error; what it must not answer is one too.

use ::redis::{FromRedisValue, Value, from_redis_value};

use super::trouble::told;
use crate::{PublishError, StoreError};

/// Answers that are not read yet.
pub(crate) struct Answers(std::vec::IntoIter<Value>);

impl Answers {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// The next answer.
    pub(crate) fn read<T: FromRedisValue>(&mut self) -> Result<T, StoreError> {
        match self.0.next() {
            Some(Value::ServerError(refusal)) => Err(StoreError::Refused {
                reason: told(refusal.code(), refusal.details()),
            }),
            Some(value) => from_redis_value(value).map_err(|_| unexpected()),
            None => Err(unexpected()),
        }
    }

    /// The next answer, which is one to TIME, in milliseconds.
    pub(crate) fn time(&mut self) -> Result<f64, StoreError> {
        self.read().and_then(|time| millis(time).ok_or_else(unexpected))
    }

    /// Takes answers up to the end and looks only for refusals.
    pub(crate) fn check(self) -> Result<(), StoreError> {
        let mut rest = self;
        while !rest.0.as_slice().is_empty() {
            let _: Value = rest.read()?;
        }
        Ok(())
    }
}

/// The answer to TIME, in milliseconds.
fn millis(time: Value) -> Option<f64> {
    let (seconds, micros): (f64, f64) = from_redis_value(time).ok()?;
    Some((seconds * 1000.0 + micros / 1000.0).floor())
}

fn unexpected() -> StoreError {
    StoreError::Refused {
        reason: "an answer that nobody asked for".to_owned(),
    }
}

impl From<PublishError> for StoreError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Unavailable | PublishError::Unknown => Self::Unavailable,
            PublishError::Refused { reason } => Self::Refused { reason },
        }
    }
}
