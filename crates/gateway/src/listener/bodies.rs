//! Bodies that nobody reads.
//!
//! What is left of a body when its request is answered would be read and thrown away for as long as it comes, and a client that never ends
//! one would keep a thread busy. So such a connection ends soon after the answer.

use std::any::Any;
use std::net::Shutdown;
use std::time::Duration;

use actix_http::ConnectionType;
use actix_rt::net::TcpStream;
use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::Next;
use socket2::{SockRef, Socket};

use crate::lane::line::End;

/// So long a client is waited for that has its answer, but has not taken it or goes on sending.
pub(super) const TAKING: Duration = Duration::from_secs(1);

/// A second handle of a connection that has no [`End`].
struct Handle(Socket);

/// Makes [`limit_body`] work on a listener whose sockets are actix' own.
pub(super) fn keep_handle(connection: &dyn Any, extensions: &mut Extensions) {
    let tcp = connection.downcast_ref::<TcpStream>();
    if let Some(handle) = tcp.and_then(|tcp| SockRef::from(tcp).try_clone().ok()) {
        extensions.insert(Handle(handle));
    }
}

/// Ends the connections of requests with a body that nobody reads.
pub(super) async fn limit_body(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let headers = request.headers();
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_wanted = request.method() == Method::POST;
    let mut response = next.call(request).await?.map_into_boxed_body();
    let is_refused = response.status().is_client_error() || response.status().is_server_error();
    if has_body && (is_refused || !is_wanted) {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
        let request = response.request();
        if let Some(end) = request.conn_data::<End>() {
            end.cut_after(TAKING);
        } else if let Some(Ok(socket)) = request.conn_data::<Handle>().map(|handle| handle.0.try_clone()) {
            actix_web::rt::spawn(async move {
                tokio::time::sleep(TAKING).await;
                let _ = socket.shutdown(Shutdown::Both);
            });
        }
    }
    Ok(response)
}
