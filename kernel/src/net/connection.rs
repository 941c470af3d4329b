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

use super::buffers::Sizes;
use super::core::Core;
use super::flow::FlowKey;
use crate::services::{Context, Next, TcpHandler};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A silent peer is probed after this long …
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// … and given up when nothing was heard for this long.
const SILENCE: Duration = Duration::from_secs(240);
/// How long a connection that we closed waits for the peer to close its side, too.
const LINGER: Duration = Duration::from_secs(60);
/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// SYN received; not the service's business yet.
    Handshake,
    /// The service runs it.
    Open,
    /// We closed; aborted at this time if the peer does not close its side.
    Closing(Instant),
    /// Closed on both sides; only kept to answer a repeated FIN (TIME-WAIT).
    Waiting,
}

/// A socket with its buffers, in its set; worth keeping when a connection ends.
pub(super) struct Line {
    pub(super) sockets: SocketSet<'static>,
    handle: SocketHandle,
    sizes: Sizes,
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
        })
    }

    /// Bytes of the buffers.
    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Listens for one connection to `port`.
    pub(super) fn listen(&mut self, port: u16) -> bool {
        // Taken out and put back, the entry loses what smoltcp remembers of its last neighbour.
        let removed = self.sockets.remove(self.handle);
        let smoltcp::socket::Socket::Tcp(mut socket) = removed else {
            return false;
        };
        socket.abort();
        let listening = socket.listen(port).is_ok();
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::Reno);
        // Set now, it counts from the handshake's end; set then, smoltcp probes at once.
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(HANDSHAKE));
        self.handle = self.sockets.add(socket);
        listening
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
    pub(super) flow: FlowKey,
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
}

impl Connection {
    /// Gives the handler its turn and does what it asks for.
    pub(super) fn turn(&mut self, core: &Core) {
        match self.stage {
            Stage::Open => {}
            Stage::Closing(until) if until <= core.now => return self.line.socket().abort(),
            Stage::Handshake | Stage::Closing(_) | Stage::Waiting => return,
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
}

/// Whether the handshake is behind this state.
pub(super) fn is_established(state: State) -> bool {
    !matches!(
        state,
        State::Listen | State::SynSent | State::SynReceived | State::Closed
    )
}
