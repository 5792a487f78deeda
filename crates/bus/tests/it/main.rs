//! The bus at its true boundary: real redis-servers, started, stopped, moved and misled.

mod contract;
mod notices;
mod outage;
mod presence;
mod refused;
mod support;
mod tls;
