//! Who connects where, and as whom: one client for each connection of a run.
//!
//! What the command line asks for becomes values here, before anything is opened. Knows no socket.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::Channel;

use crate::args::Common;
use crate::centrifuge::Session;
use crate::layout::Layout;
use crate::target::Target;
use crate::token::Issuer;

/// How long tokens are good for: longer than any run.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// One of the clients.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Where it connects.
    pub(crate) target: Target,
    /// What it says and hears there, from the beginning; `None` if it is raw.
    pub(crate) session: Option<Session>,
}

/// The clients of a run, by their index. They are dealt to the URLs in turn; their path is the URL's, or `path`, or with `room` and raw
/// clients that and the number of their channel.
pub(crate) fn all(
    common: &Common,
    layout: &Layout,
    path: Option<&str>,
    room: Option<&str>,
) -> anyhow::Result<Vec<Client>> {
    let format = common.dialect.format();
    anyhow::ensure!(
        format.is_some() || (common.token.is_none() && common.token_secret.is_none()),
        "only Centrifuge clients show tokens: --dialect says raw"
    );
    let servers: Vec<Target> = common
        .url
        .iter()
        .map(|url| Target::parse(url, common.dialect.usual_path()))
        .collect::<Result<_, _>>()?;
    let issuer = common.token_secret.as_deref().map(Issuer::new);
    let expires_at = SystemTime::now().duration_since(UNIX_EPOCH)? + TOKEN_LIFE;
    let client = |index: usize| {
        let server = &servers[index % servers.len()];
        let target = match (room, path) {
            (Some(prefix), _) if format.is_none() => server.with_path(&format!("{prefix}{}", layout.channel_of(index))),
            (None, Some(path)) => server.with_path(path),
            _ => server.clone(),
        };
        let token = match &issuer {
            Some(issuer) => Some(issuer.token(index, expires_at.as_secs())),
            None => common.token.clone(),
        };
        let session = match format {
            Some(format) => Some(Session::new(format, channel(common, layout, index)?, token)),
            None => None,
        };
        Ok(Client { target, session })
    };
    (0..layout.connections()).map(client).collect()
}

fn channel(common: &Common, layout: &Layout, index: usize) -> anyhow::Result<Channel> {
    match layout.channels() {
        1 => Ok(common.channel.clone()),
        _ => {
            let name = format!("{}-{}", common.channel.as_str(), layout.channel_of(index));
            Ok(Channel::parse(&name)?)
        }
    }
}
