//! From an HTTP request to a socket of a reactor.
//!
//! actix-web calls the hook for every request that asks for an upgrade. The hook puts the request to the same routes as any other; an
//! answer that carries a [`Pass`] makes it take the socket out of actix and hand it over, any other answer is written and the connection
//! closed. Invariant: nothing of actix remains with a socket that was handed over.

use std::io;
use std::time::Duration;

use actix_codec::{Encoder, Framed};
use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{ConnectionType, Request, Response, h1};
use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_web::HttpMessage;
use actix_web::dev::ServiceResponse;
use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lane::inbox::{Handover, Item};
use crate::lane::line::Line;
use crate::lane::pass::Pass;
use crate::node::Node;

/// How long the client of a refused request may take to read the answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// Marks a request whose socket can be handed over.
pub(crate) struct CanBeHandedOver;

/// Handles one request for an upgrade, and the connection it came on.
pub(crate) async fn upgrade<S, B>(node: &Node, app: &S, request: Request, framed: Framed<Line<TcpStream>, h1::Codec>)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    request.extensions_mut().insert(CanBeHandedOver);
    let mut response: Response<BoxBody> = match app.call(request).await {
        Ok(response) => response.into_parts().1.map_into_boxed_body().into(),
        Err(error) => error.error_response().into(),
    };
    let pass = response.extensions_mut().remove::<Pass>();
    let outcome = match pass {
        Some(pass) => hand_over(node, pass, response, framed),
        None => refuse(response, framed).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection broke during its handshake");
    }
}

fn hand_over(
    node: &Node,
    pass: Pass,
    response: Response<BoxBody>,
    framed: Framed<Line<TcpStream>, h1::Codec>,
) -> io::Result<()> {
    let mut parts = framed.into_parts();
    let mut head = BytesMut::new();
    parts
        .codec
        .encode(h1::Message::Item((response.drop_body(), BodySize::None)), &mut head)?;
    let stream = parts.io.into_inner().into_std()?;
    let Pass {
        lane,
        client,
        admitted,
        interest,
        first,
        protocol: _,
    } = pass;
    // Copied, so that the buffers of the handshake can go.
    let (head, early) = (Bytes::copy_from_slice(&head), Bytes::copy_from_slice(&parts.read_buf));
    node.lanes[lane].inbox.push(Item::Open(Box::new(Handover {
        stream,
        head,
        early,
        client,
        admitted,
        interest,
        first,
    })));
    Ok(())
}

/// Writes the answer, and reads what the client still sends for a moment: a reset could overtake the answer.
async fn refuse(response: Response<BoxBody>, framed: Framed<Line<TcpStream>, h1::Codec>) -> io::Result<()> {
    let (mut head, body) = response.into_parts();
    head.head_mut().set_connection_type(ConnectionType::Close);
    let body = body_bytes(body).await;
    let mut parts = framed.into_parts();
    let mut answer = BytesMut::new();
    parts.codec.encode(
        h1::Message::Item((head, BodySize::Sized(body.len() as u64))),
        &mut answer,
    )?;
    parts.codec.encode(h1::Message::Chunk(Some(body)), &mut answer)?;
    parts.codec.encode(h1::Message::Chunk(None), &mut answer)?;
    let farewell = async {
        parts.io.write_all(&answer).await?;
        parts.io.shutdown().await?;
        let mut rest = [0; 1024];
        while parts.io.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // A client that went away, or lingers, is not an error of ours.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    Ok(())
}

async fn body_bytes(body: BoxBody) -> Bytes {
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(Ok(chunk)) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        bytes.extend_from_slice(&chunk);
    }
    bytes.freeze()
}
