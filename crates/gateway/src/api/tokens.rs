//! `revoke_token` and `invalidate_user_tokens`: tokens that no node believes any more, though nothing about them is wrong.

use std::time::SystemTime;

use super::connections::time;
use super::error::ApiError;
use super::requests::{InvalidateUserTokensRequest, RevokeTokenRequest};
use super::results::Done;
use crate::node::Node;
use crate::token::revocation::Revocation;

pub(super) async fn revoke(node: &Node, request: RevokeTokenRequest) -> Result<Done, ApiError> {
    let (name, until) = (request.uid.unwrap_or_default(), time(request.expire_at)?);
    let revocation = Revocation::of_token(name, until, SystemTime::now())?;
    node.cluster.revoke(revocation).await?;
    Ok(Done {})
}

pub(super) async fn invalidate(node: &Node, request: InvalidateUserTokensRequest) -> Result<Done, ApiError> {
    let now = SystemTime::now();
    // Without a name it would be everybody of whom nobody has said who it is.
    let user = request
        .user
        .filter(|user| !user.is_empty())
        .ok_or(ApiError::BadRequest)?;
    let issued_before = time(request.issued_before)?.unwrap_or(now);
    let revocation = Revocation::of_user(user, issued_before, time(request.expire_at)?, now)?;
    node.cluster.revoke(revocation).await?;
    Ok(Done {})
}
