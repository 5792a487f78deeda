//! Random lives of connections against a naive model: whoever stays hears everything of its channel once and in order, and whoever is
//! too slow hears the beginning of it, and why.

use std::cell::{Cell, RefCell};
use std::io;
use std::io::Write;
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::frame::{Parser, Role};
use protocol::{Channel, Dialect, Publication};

use super::*;
use crate::admission::{Admission, AdmissionLimits};
use crate::client::{Bearing, Mode, Plain, Talk, Who};
use crate::lane::inbox::Recheck;
use crate::lane::interest::Interests;
use crate::token::Origin;
use crate::token::revocation::{Revocation, Revocations};

const CHANNELS: [&str; 3] = ["news", "sports", "weather"];
const OUTBOX: usize = 2000;

const SETTINGS: LaneSettings = LaneSettings {
    frames: LIMITS,
    outbox: OUTBOX,
    outboxes: 4 * OUTBOX,
    inbox: InboxLimits {
        publications: 100,
        bytes: 1 << 20,
        turn_bytes: OUTBOX / 2,
    },
    windows: WindowSettings {
        window: Duration::from_millis(5),
        longest: Duration::from_millis(10),
        fan_out: 2,
    },
    ping_interval: Duration::from_secs(3600),
    ping_timeout: Duration::from_secs(3600),
    rhythm: Rhythm {
        connect_timeout: Duration::from_secs(10),
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(8),
    },
    connections_per_user: 0,
    drain_timeout: Duration::from_secs(3600),
};

const LIMITS: Limits = Limits {
    message_size: 1 << 20,
    fragments: 1,
};

#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    Publish {
        channel: usize,
        size: usize,
    },
    /// The others take a connection by number, modulo how many there were.
    Close(usize),
    Lose(usize),
    /// The client takes so many more bytes.
    Take(usize, usize),
    Turn {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let publish = (0..CHANNELS.len(), 1_usize..400).prop_map(|(channel, size)| Step::Publish { channel, size });
    prop_oneof![
        2 => (0..CHANNELS.len()).prop_map(Step::Open),
        6 => publish,
        1 => any::<usize>().prop_map(Step::Close),
        1 => any::<usize>().prop_map(Step::Lose),
        3 => (any::<usize>(), 0_usize..1500).prop_map(|(who, bytes)| Step::Take(who, bytes)),
        4 => (0_u64..12).prop_map(|millis| Step::Turn { millis }),
    ]
}

/// Takes as many bytes as there is room for.
struct Pipe(Rc<Far>);

/// The client's end of a pipe.
#[derive(Default)]
struct Far {
    taken: RefCell<Vec<u8>>,
    room: Cell<usize>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0.room.get());
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.room.set(self.0.room.get() - taken);
        self.0.taken.borrow_mut().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Pipe {
    fn hang_up(&mut self) {}
    fn reset(&mut self) {}
}

/// What the model knows of a connection.
struct Member {
    id: ConnectionId,
    channel: usize,
    far: Rc<Far>,
    /// What was published in its channel while it was open.
    due: Vec<String>,
    is_open: bool,
    was_lost: bool,
}

struct Lane {
    connections: Connections<Pipe>,
    interests: Arc<Interests>,
    admission: Arc<Admission>,
    members: Vec<Member>,
    published: usize,
    now: Instant,
}

impl Lane {
    /// An empty one; must be called on a runtime of tokio.
    fn new() -> Self {
        let (bus, _events) = bus::MemoryBus::start(bus::QueueLimits {
            messages: 9,
            bytes: 999,
        });
        let limits = AdmissionLimits {
            connections: 2000,
            connections_per_address: 0,
            handshakes: 9,
            handshakes_per_address: 0,
            trusted_proxies: vec![],
        };
        let durations = prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("d", "d")).expect("valid");
        Self {
            connections: Connections::new(SETTINGS, Arc::new(LaneStats::new(0)), Arc::default()),
            interests: Interests::new(bus, 1),
            admission: Admission::new(limits, durations),
            members: Vec::new(),
            published: 0,
            now: Instant::now(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open(channel) => self.open(channel),
            Step::Publish { channel, size } => self.publish(channel, size),
            Step::Close(who) => self.with(who, |connections, member, key| {
                connections.close(key, Close::Shutdown);
                member.is_open = false;
            }),
            Step::Lose(who) => self.with(who, |connections, member, key| {
                connections.end(key, Ended::Lost);
                (member.is_open, member.was_lost) = (false, true);
            }),
            Step::Take(who, bytes) => self.with(who, |connections, member, key| {
                member.far.room.set(member.far.room.get() + bytes);
                connections.write_on(key);
            }),
            Step::Turn { millis } => {
                self.now += Duration::from_millis(millis);
                self.connections.set_now(self.now);
                self.connections.flush();
                self.connections.look_at_due();
            }
        }
    }

    fn open(&mut self, channel: usize) {
        self.open_plain(channel, Plain::new(Mode::Listens));
    }

    fn open_plain(&mut self, channel: usize, plain: Plain) {
        let name = Channel::parse(CHANNELS[channel]).expect("valid");
        let admitted = self.admission.admit([127, 0, 0, 1].into()).expect("room");
        let interest = self.interests.hold(&name, Some(0), None);
        let client = Client::new(Dialect::Raw { channel: name }, Talk::Plain(plain), None, 8, self.now);
        let far = Rc::<Far>::default();
        let key = self
            .connections
            .open(Pipe(Rc::clone(&far)), client, admitted, Some(interest), &Bytes::new());
        self.members.push(Member {
            id: self.connections.id(key).expect("just opened"),
            channel,
            far,
            due: Vec::new(),
            is_open: true,
            was_lost: false,
        });
    }

    fn publish(&mut self, channel: usize, size: usize) {
        self.published += 1;
        let text = format!("{:0size$}", self.published);
        let name = Channel::parse(CHANNELS[channel]).expect("valid");
        let publication = Arc::new(Publication::new(name, text.clone().into()));
        self.connections.hub.collect(&publication, self.now);
        let hear = |member: &&mut Member| member.is_open && member.channel == channel;
        self.members
            .iter_mut()
            .filter(hear)
            .for_each(|member| member.due.push(text.clone()));
    }

    /// Does something to a connection that is still there.
    fn with(&mut self, who: usize, act: impl FnOnce(&mut Connections<Pipe>, &mut Member, SocketKey)) {
        let count = self.members.len().max(1);
        if let Some(member) = self.members.get_mut(who % count)
            && let Some(key) = self.connections.find(member.id)
        {
            act(&mut self.connections, member, key);
        }
    }

    /// Lets everybody take everything that is still to come.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.take(Step::Turn { millis: 1000 });
            (0..self.members.len()).for_each(|who| self.take(Step::Take(who, 1 << 20)));
        }
    }
}

impl Member {
    fn check(&self) {
        let taken = self.far.taken.borrow();
        let (mut heard, mut input, mut parser) = (Vec::new(), &taken[..], Parser::new(Role::Client));
        let mut code = None;
        while let Ok(Some(frame)) = parser.next(&mut input, &LIMITS) {
            assert_eq!(code, None, "something after the Close");
            match frame {
                Frame::Message(message) => heard.push(String::from_utf8(message.data.to_vec()).expect("a text")),
                Frame::Close { code: Some(said), .. } => code = Some(said),
                other => panic!("{other:?}"),
            }
        }
        match code {
            _ if self.was_lost => assert!(self.due.starts_with(&heard)),
            Some(1013) => assert!(self.due.starts_with(&heard), "a hole before the end"),
            None => assert_eq!((&heard, self.is_open), (&self.due, true)),
            Some(1001) => assert_eq!((&heard, self.is_open), (&self.due, false)),
            Some(other) => panic!("{other}"),
        }
    }
}

proptest! {
    #[test]
    fn everybody_hears_everything_or_is_told(steps in vec(step(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let mut lane = Lane::new();
        steps.into_iter().for_each(|step| lane.take(step));
        lane.settle();
        lane.members.iter().for_each(Member::check);
        lane.connections.abandon();
        prop_assert_eq!((lane.connections.hub.size(), lane.admission.connections(), lane.connections.table.waiting), ((0, 0), 0, 0));
    }
}

#[tokio::test]
async fn who_has_a_revoked_token_goes_whether_it_is_open_or_on_its_way() {
    let revocations = Arc::<Revocations>::default();
    let with = |id: &str| {
        let mut plain = Plain::new(Mode::Listens);
        let token = Origin {
            id: Some(id.to_owned()),
            issued: None,
        };
        let revocations = Arc::clone(&revocations);
        plain.who = Some(Box::new(Who {
            client: uuid::Uuid::new_v4(),
            user: "anna".into(),
            bearing: Some(Box::new(Bearing { token, revocations })),
        }));
        plain
    };
    let mut lane = Lane::new();
    let is_open = |lane: &Lane, who: usize| {
        let key = lane.connections.find(lane.members[who].id);
        key.is_some_and(|key| lane.connections.table.slab[key].state == State::Open)
    };
    // More than are looked at in one go.
    (0..1500).for_each(|who| lane.open_plain(0, with(if who % 500 == 499 { "revoked" } else { "good" })));
    let now = SystemTime::now();
    let revocation = Revocation::of_token("revoked".into(), None, now).expect("short");
    assert!(revocations.add(&revocation, now));
    lane.connections.recheck(Recheck::One(lane.members[0].id));
    lane.connections.recheck(Recheck::One(lane.members[499].id));
    assert_eq!((is_open(&lane, 0), is_open(&lane, 499)), (true, false));
    let rest = lane.connections.recheck(Recheck::From(0));
    assert_eq!(rest, Some(Recheck::From(1000)));
    assert_eq!((is_open(&lane, 999), is_open(&lane, 1499)), (false, true));
    let mut rest = rest;
    while let Some(some) = rest {
        rest = lane.connections.recheck(some);
    }
    (0..1500).for_each(|who| assert_eq!(is_open(&lane, who), who % 500 != 499, "{who}"));
    // Checked at the door before it was revoked.
    lane.open_plain(0, with("revoked"));
    lane.open_plain(0, with("good"));
    assert_eq!((is_open(&lane, 1500), is_open(&lane, 1501)), (false, true));
}
