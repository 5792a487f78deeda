//! Why a call is refused: errors of the API itself, which have codes, and those of HTTP, which are problem details (RFC 9457).
//!
//! Invariant: texts are fixed; nothing of a request, a key or the inside is in them.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use bus::{PublishError, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::results::ErrorObject;
use crate::cluster::RevokeError;
use crate::token::revocation::RevocationError;

/// An error of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiError {
    /// Something failed here; the same call may succeed later.
    Internal,
    /// No rule knows the channel.
    UnknownChannel,
    /// There is no such method.
    NotFound,
    /// The request cannot be carried out by anybody.
    BadRequest,
    /// The channel does not have what is asked for.
    NotAvailable,
}

impl ApiError {
    pub(super) const ALL: [Self; 5] = [
        Self::Internal,
        Self::UnknownChannel,
        Self::NotFound,
        Self::BadRequest,
        Self::NotAvailable,
    ];

    /// As it stands on the wire.
    pub(super) fn object(self) -> ErrorObject {
        let (code, message) = match self {
            Self::Internal => (100, "internal server error"),
            Self::UnknownChannel => (102, "unknown channel"),
            Self::NotFound => (104, "not found"),
            Self::BadRequest => (107, "bad request"),
            Self::NotAvailable => (108, "not available"),
        };
        ErrorObject { code, message }
    }

    /// The status that stands for it when the request asks for one.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UnknownChannel | Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadRequest | Self::NotAvailable => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        tracing::debug!(%error, "the bus did not take what a call asked for");
        Self::Internal
    }
}

impl From<RevokeError> for ApiError {
    fn from(error: RevokeError) -> Self {
        tracing::debug!(%error, "tokens were not revoked, or not everywhere at once");
        Self::Internal
    }
}

impl From<RevocationError> for ApiError {
    fn from(_: RevocationError) -> Self {
        Self::BadRequest
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::debug!(%error, "a question about presence was not answered");
        Self::Internal
    }
}

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The call says so.
    Error(ApiError),
    /// The body is not what the call takes.
    Malformed,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

/// What is wrong with a request before any call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    NoSuchCall,
    Method,
    Forbidden,
    TooLarge,
    TooSlow,
}

/// Problem details.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: the status says it.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What to do about it.
    detail: &'static str,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [
        Self::NoSuchCall,
        Self::Method,
        Self::Forbidden,
        Self::TooLarge,
        Self::TooSlow,
    ];

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoSuchCall => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::NoSuchCall => "there is no such call",
            Self::Method => "calls are made with POST",
            Self::Forbidden => "the key is not for this call",
            Self::TooLarge => "the body is larger than api.body_size allows",
            Self::TooSlow => "the body did not come in time",
        }
    }

    pub(super) fn answer(self) -> HttpResponse {
        let status = self.status();
        let problem = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.detail(),
        };
        let mut response = HttpResponse::build(status);
        if self == Self::Method {
            response.insert_header(("Allow", "POST"));
        }
        response
            .insert_header((CONTENT_TYPE, "application/problem+json"))
            .body(serde_json::to_string(&problem).expect("texts and a number"))
    }
}
