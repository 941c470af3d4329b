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
/// Smallest buffer of a connection: below this a full segment hardly fits.
pub(super) const LEAST_BUFFER: usize = 4096;
/// Largest: what a fast link in one building keeps full.
const MOST_BUFFER: usize = 64 * 1024;
/// A new connection's two buffers take at most this part of the free heap.
const SHARE: usize = 64;

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
    buffer: usize,
}

impl Line {
    /// Bytes for each buffer when `free` bytes of heap are left; `None` if it is too few.
    pub(super) fn buffer_for(free: usize) -> Option<usize> {
        let share = free / SHARE / 2;
        let size = if share.is_power_of_two() {
            share
        } else {
            share.next_power_of_two() / 2
        };
        if size >= LEAST_BUFFER {
            return Some(size.min(MOST_BUFFER));
        }
        // Near the end small buffers are still served, down to the last eighth of a mebibyte.
        (free >= 128 * 1024).then_some(LEAST_BUFFER)
    }

    /// A line with two buffers of `buffer` bytes; `None` if there is no memory for them.
    pub(super) fn new(buffer: usize) -> Option<Self> {
        let make = || {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(buffer).ok()?;
            bytes.resize(buffer, 0);
            Some(SocketBuffer::new(bytes))
        };
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).ok()?;
        let mut sockets = SocketSet::new(storage);
        let handle = sockets.add(Socket::new(make()?, make()?));
        Some(Self {
            sockets,
            handle,
            buffer,
        })
    }

    /// Bytes of each buffer.
    pub(super) fn buffer(&self) -> usize {
        self.buffer
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_shrink_with_the_free_heap_and_end() {
        let mib = 1024 * 1024;
        assert_eq!(Line::buffer_for(200 * mib), Some(64 * 1024));
        assert_eq!(Line::buffer_for(8 * mib), Some(64 * 1024));
        assert_eq!(Line::buffer_for(8 * mib - 1), Some(32 * 1024));
        assert_eq!(Line::buffer_for(mib), Some(8 * 1024));
        assert_eq!(Line::buffer_for(mib / 4), Some(4096));
        assert_eq!(Line::buffer_for(64 * 1024), None);
    }
}
