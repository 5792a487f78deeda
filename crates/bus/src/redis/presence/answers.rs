//! The answers to a batch, taken one by one.
//!
//! What Redis refuses is an error; what it must not answer is one too.

use ::redis::{FromRedisValue, Value, from_redis_value};

use super::life::millis;
use crate::redis::trouble::told;
use crate::{PresenceError, PublishError};

/// Answers that are not read yet.
pub(crate) struct Answers(std::vec::IntoIter<Value>);

impl Answers {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// The next answer.
    pub(crate) fn read<T: FromRedisValue>(&mut self) -> Result<T, PresenceError> {
        match self.0.next() {
            Some(Value::ServerError(refusal)) => Err(PresenceError::Refused {
                reason: told(refusal.code(), refusal.details()),
            }),
            Some(value) => from_redis_value(value).map_err(|_| unexpected()),
            None => Err(unexpected()),
        }
    }

    /// The next answer, which is one to TIME, in milliseconds.
    pub(crate) fn time(&mut self) -> Result<f64, PresenceError> {
        self.read().and_then(|time| millis(time).ok_or_else(unexpected))
    }

    /// Takes answers up to the end and looks only for refusals.
    pub(crate) fn check(self) -> Result<(), PresenceError> {
        let mut rest = self;
        while !rest.0.as_slice().is_empty() {
            let _: Value = rest.read()?;
        }
        Ok(())
    }
}

fn unexpected() -> PresenceError {
    PresenceError::Refused {
        reason: "an answer that nobody asked for".to_owned(),
    }
}

impl From<PublishError> for PresenceError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Unavailable | PublishError::Unknown => Self::Unavailable,
            PublishError::Refused { reason } => Self::Refused { reason },
        }
    }
}
