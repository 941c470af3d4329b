//! One TCP connection: a socket in a set of its own, the handler that runs it, and its stage.
//!
//! The table makes, runs and recycles connections. A set of one socket is what keeps a packet's
//! cost flat: smoltcp scans the set that it is given, so it is given the one socket concerned.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::IpAddress;

use super::buffers::Sizes;
use super::core::{Core, Egress};
use super::flow::Flow;
use crate::services::{Context, Next, TcpHandler, Volume};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A silent peer is probed after this long …
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// … and given up when nothing was heard for this long.
const SILENCE: Duration = Duration::from_secs(240);
/// How long a connection that we closed waits for the peer to close its side, too.
const LINGER: Duration = Duration::from_secs(60);
/// After a segment, smoltcp's timers let at least so much time pass: the least retransmission timeout
/// (RFC 6298, 2.4).
const QUIET: Duration = Duration::from_secs(1);
/// Bytes that may be under way before the first acknowledgement: three segments of an Ethernet link
/// (RFC 5681, 3.1; RFC 6928 allows for more).
const INITIAL_WINDOW: usize = 3 * 1460;
/// Bytes of Ethernet, IPv4 and TCP headers in front of data …
const HEADERS_V4: usize = 14 + 20 + 20;
/// … and with IPv6.
const HEADERS_V6: usize = 14 + 40 + 20;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// SYN received; not the service's business yet.
    Handshake,
    /// The service runs it.
    Open,
    /// We closed; aborted at this time if the peer does not close its side.
    Closing(Instant),
}

/// A socket with its buffers, in its set; worth keeping when a connection ends.
pub(super) struct Line {
    pub(super) sockets: SocketSet<'static>,
    handle: SocketHandle,
    sizes: Sizes,
    /// smoltcp may remember a neighbour that did not answer.
    silenced: bool,
    /// A congestion window is kept. Nobody needs one until more than the initial window is under way,
    /// or something may have been lost; smoltcp's begins with 2 KiB, so that it would cut many an
    /// answer in two, with a round trip in between.
    paced: bool,
}

impl Line {
    /// A line with buffers of these sizes; `None` if there is no memory for them.
    pub(super) fn new(sizes: Sizes) -> Option<Self> {
        let make = |size| {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(size).ok()?;
            bytes.resize(size, 0);
            Some(SocketBuffer::new(bytes))
        };
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).ok()?;
        let mut sockets = SocketSet::new(storage);
        let handle = sockets.add(Socket::new(make(sizes.receive)?, make(sizes.send)?));
        Some(Self {
            sockets,
            handle,
            sizes,
            silenced: false,
            paced: false,
        })
    }

    /// Bytes of the buffers.
    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Listens for one connection to `port`, which carries `sends`.
    pub(super) fn listen(&mut self, port: u16, sends: Volume) -> bool {
        if core::mem::take(&mut self.silenced) {
            // Taken out and put back, the entry loses what smoltcp remembers of its last neighbour.
            let socket = self.sockets.remove(self.handle);
            let smoltcp::socket::Socket::Tcp(socket) = socket else {
                return false;
            };
            self.handle = self.sockets.add(socket);
        }
        // The window grows by the size of the peer's segments, which is told in its SYN.
        self.paced = sends == Volume::Bulk;
        let pace = match self.paced {
            true => CongestionControl::Reno,
            false => CongestionControl::None,
        };
        let socket = self.socket();
        socket.abort();
        let listening = socket.listen(port).is_ok();
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(pace);
        // Set now, it counts from the handshake's end; set then, smoltcp probes at once.
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(HANDSHAKE));
        listening
    }

    /// Notes that its neighbour's address was not known.
    pub(super) fn silence(&mut self) {
        self.silenced = true;
    }

    /// Keeps a congestion window from now on.
    fn pace(&mut self) {
        if !core::mem::replace(&mut self.paced, true) {
            self.socket()
                .set_congestion_control(CongestionControl::Reno);
        }
    }

    /// Keeps one once more is to be sent than may be without.
    fn pace_if_long(&mut self) {
        if !self.paced && self.socket().send_queue() > INITIAL_WINDOW {
            self.pace();
        }
    }

    /// A timer has come to its end, maybe because something was lost: with it, the initial window
    /// (RFC 5681, 3.1 for a handshake, 3.5 for data).
    fn pace_if_lossy(&mut self) {
        let awaits = self.socket().send_queue() > 0 || self.state() == State::SynReceived;
        if awaits {
            self.pace();
        }
    }

    /// The socket.
    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// The socket's state.
    pub(super) fn state(&self) -> State {
        self.sockets.get::<Socket>(self.handle).state()
    }

    /// Whether the connection is over and nothing, not even a reset, is left to send.
    pub(super) fn is_over(&self) -> bool {
        let socket = self.sockets.get::<Socket>(self.handle);
        matches!(socket.state(), State::Closed | State::Listen)
            && socket.remote_endpoint().is_none()
    }

    /// The handshake is done: from now on only a dead peer is given up.
    pub(super) fn established(&mut self) {
        self.socket().set_timeout(Some(SILENCE));
    }
}

/// One connection in the table.
pub(super) struct Connection {
    pub(super) flow: Flow,
    pub(super) line: Line,
    /// Index of its service.
    pub(super) service: usize,
    /// Made when the handshake is done.
    pub(super) handler: Option<Box<dyn TcpHandler>>,
    pub(super) stage: Stage,
    /// It stands in the list of connections to be run.
    pub(super) due: bool,
    /// When its SYN came.
    pub(super) since: Instant,
    /// When its handler wants a turn.
    pub(super) wake: Option<Instant>,
    /// Nothing happens by itself before this time.
    pub(super) deadline: Option<Instant>,
    /// The deadline has come.
    pub(super) timed_out: bool,
}

impl Connection {
    /// Gives the handler its turn and does what it asks for, as well as what the time asks for.
    pub(super) fn turn(&mut self, core: &Core) {
        if self.timed_out {
            self.line.pace_if_lossy();
        }
        self.serve(core);
        self.line.pace_if_long();
    }

    fn serve(&mut self, core: &Core) {
        match self.stage {
            Stage::Open => {}
            Stage::Closing(until) if until <= core.now => return self.line.socket().abort(),
            Stage::Handshake | Stage::Closing(_) => return,
        }
        let Some(handler) = &mut self.handler else {
            return;
        };
        let status = core.status();
        let cx = Context {
            now: core.now,
            status: &status,
        };
        self.wake = None;
        match handler.turn(self.line.socket(), &cx) {
            Next::Wait => {}
            Next::WaitUntil(at) => self.wake = Some(at),
            Next::Close => {
                self.line.socket().close();
                self.stage = Stage::Closing(core.now + LINGER);
            }
            Next::Abort => self.line.socket().abort(),
        }
    }

    /// Sends what there is to send, and works out when something is to be done next.
    ///
    /// # Errors
    /// There is more to send, which has to wait for its turn.
    pub(super) fn send(&mut self, core: &mut Core) -> Result<(), Unsent> {
        let remote = self.flow.key.remote.addr;
        let timed_out = core::mem::take(&mut self.timed_out);
        let handle = self.line.handle;
        let is_last = |sockets: &SocketSet<'static>, frame| {
            !timed_out && is_all_in(sockets.get(handle), frame, remote)
        };
        let by_socket = match core.send_up_to(&mut self.line.sockets, &is_last) {
            Egress::Done(next) => next,
            // All its timers are as they were, or were set just now. Whichever is first, this is
            // not later, and smoltcp is asked when the time has come.
            Egress::Last => earlier(self.deadline, Some(core.now + QUIET)),
            Egress::Stalled | Egress::Budget => return Err(Unsent),
        };
        let linger = match self.stage {
            Stage::Closing(until) => Some(until),
            _ => None,
        };
        self.deadline = earlier(earlier(by_socket, self.wake), linger);
        Ok(())
    }
}

/// There is more to send.
pub(super) struct Unsent;

/// The earlier one of two times, as far as they are set.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether all that `socket` has to send was in the frame of `frame` bytes that it sent just now:
/// with more behind it, or before it and not acknowledged yet, its queue would hold more than that.
fn is_all_in(socket: &Socket<'_>, frame: usize, remote: IpAddress) -> bool {
    let headers = match remote {
        IpAddress::Ipv4(_) => HEADERS_V4,
        IpAddress::Ipv6(_) => HEADERS_V6,
    };
    frame == headers + socket.send_queue() || socket.state() == State::SynReceived
}

/// Whether the handshake is behind this state.
pub(super) fn is_established(state: State) -> bool {
    !matches!(
        state,
        State::Listen | State::SynSent | State::SynReceived | State::Closed
    )
}
