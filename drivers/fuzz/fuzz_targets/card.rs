//! A running card that does whatever it likes to its rings, headers and registers. The driver neither
//! panics nor leaks nor leaves its buffers; after a reset traffic flows.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/models/mod.rs"]
mod models;

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use drivers::net::{Armed, Health, MacAddr, Moderation, NetDevice, RxFilter, VlanId};
use drivers::virtio::Features;
use drivers::virtio::net::Options;
use models::memory::GuestDma;
use models::bench::PAIR;
use models::{Header, Manner, RX, Rig, Setup, TX, frame};
use pbufpool::PacketQueue;

/// For the models: each input chooses for itself.
const PACKED: bool = false;
const LEGACY: bool = false;
const IN_ORDER: bool = false;

#[derive(Arbitrary, Debug)]
enum Op {
    // What the stack does.
    Send {
        len: u16,
        parts: u8,
        checksum: Option<(u16, u16)>,
        gso: Option<(bool, u16, u16)>,
    },
    Flush,
    Poll {
        budget: u8,
    },
    Refill,
    Reclaim,
    Arm,
    Interrupt,
    Link {
        ms: u16,
    },
    // What a card may do.
    Deliver {
        len: u16,
        merged: bool,
        header: Header,
    },
    Transmit,
    CompleteSent {
        len: u32,
    },
    CompleteReceived {
        len: u32,
    },
    // What it may not.
    Forge {
        tx: bool,
        id: u32,
        len: u32,
    },
    ForgeIndex {
        tx: bool,
        ahead: u16,
    },
    ForgeFlags {
        tx: bool,
        ahead: u8,
        flags: u16,
    },
    ForgeEvent {
        tx: bool,
        place: u16,
        flags: u16,
    },
    Scribble {
        tx: bool,
    },
    ScribbleTable,
    Ask {
        what: u8,
        number: u8,
        manner: u8,
        answer: u8,
    },
    ForgeAnswer {
        id: u32,
        len: u32,
    },
    Configure {
        at: u8,
        byte: u8,
    },
    Status {
        needs_reset: bool,
        gone: bool,
        hangs: bool,
    },
}

impl Op {
    /// After this the card's own books no longer fit what the driver believes.
    fn is_lie(&self) -> bool {
        use Op::*;
        matches!(
            self,
            Forge { .. } | ForgeIndex { .. } | ForgeFlags { .. } | Scribble { .. }
        )
    }

    /// The model of the card goes by its books here.
    fn needs_honesty(&self) -> bool {
        use Op::*;
        matches!(
            self,
            Deliver { .. }
                | Transmit
                | CompleteSent { .. }
                | CompleteReceived { .. }
                | ScribbleTable
        )
    }
}

#[derive(Arbitrary, Debug)]
struct Card {
    packed: bool,
    in_order: bool,
    merging: bool,
    control: bool,
    indirect: bool,
    events: bool,
    rx_ring: u8,
    tx_ring: u8,
}

impl Card {
    /// What a card with tables of descriptors offers.
    fn tables(&self) -> Features {
        if self.indirect {
            Features::INDIRECT_DESC
        } else {
            Features::empty()
        }
    }

    /// What a card with a control queue offers.
    fn asked(&self) -> Features {
        if !self.control {
            return Features::empty();
        }
        Features::CTRL_VQ
            | Features::CTRL_RX
            | Features::CTRL_RX_EXTRA
            | Features::CTRL_VLAN
            | Features::CTRL_MAC_ADDR
            | Features::GUEST_ANNOUNCE
            | Features::NOTF_COAL
    }

    fn start(&self) -> Rig {
        let large = Features::MRG_RXBUF | Features::GUEST_TSO4 | Features::GUEST_TSO6;
        let cut = Features::HOST_TSO4 | Features::HOST_TSO6 | Features::GUEST_ECN;
        let rings = Options {
            rx_ring: 2 << (self.rx_ring % 6),
            tx_ring: 2 << (self.tx_ring % 5),
            ..Options::default()
        };
        Setup {
            packed: self.packed,
            in_order: self.in_order,
            besides: if self.merging { large | cut } else { cut } | self.asked() | self.tables(),
            without: if self.events {
                Features::empty()
            } else {
                Features::EVENT_IDX
            },
            max_frags: if self.merging { 34 } else { 1 },
            packets: 160,
            dma: Some(MEMORY.get_or_init(|| GuestDma::leaked(64 << 20))),
            rings,
            ..Setup::default()
        }
        .start()
    }
}

/// Memory of all runs, each of which gives back what it took.
static MEMORY: OnceLock<&'static GuestDma> = OnceLock::new();

fuzz_target!(|input: (Card, Vec<Op>)| {
    let (card, ops) = input;
    let mut rig = card.start();
    let config = rig.card().config;
    let mut lied = false;
    for op in ops {
        let resets = rig.card().resets;
        lied |= op.is_lie();
        if !(lied && op.needs_honesty()) {
            apply(&mut rig, &card, op);
        }
        // Since a reset both sides agree again on what the device holds.
        lied &= rig.card().resets == resets;
        rig.assert_accounted();
    }
    rig.card().config = config;
    // Whatever happened, a card that behaves again is used again.
    rig.card().faults = Default::default();
    rig.card().manner = Manner::Obeys;
    rig.arrived.clear();
    rig.bench.host.now_ms.fetch_add(60_000, Relaxed);
    rig.nic.reset().expect("it comes up again");
    rig.assert_idle();
    rig.assert_traffic_flows();
    let Rig { nic, bench, .. } = rig;
    drop(nic);
    assert_eq!(bench.pool.stats().packets_in_use, 0, "a leak");
    let memory = bench.host.dma;
    drop(bench);
    assert_eq!(memory.live(), 0, "segments are left");
});

fn apply(rig: &mut Rig, card: &Card, op: Op) {
    let queue = |tx| if tx { TX } else { RX };
    match op {
        Op::Send {
            len,
            parts,
            checksum,
            gso,
        } => {
            let len = usize::from(len % 2000);
            rig.post_any(len, parts % 4, checksum, gso);
        }
        Op::Flush => rig.nic.flush(PAIR),
        Op::Poll { budget } => {
            let mut arrived = PacketQueue::new();
            rig.nic.rx_burst(PAIR, budget.into(), &mut arrived);
            rig.arrived = arrived;
        }
        Op::Refill => {
            rig.arrived.clear();
            rig.nic.refill(PAIR);
        }
        Op::Reclaim => _ = rig.nic.reclaim(PAIR),
        Op::Arm => {
            if rig.arm() == Armed::Work && matches!(rig.nic.health(), Health::Broken(_)) {
                let _ = rig.nic.reset();
            }
        }
        Op::Interrupt => rig.nic.on_interrupt(),
        Op::Link { ms } => {
            rig.bench.host.now_ms.fetch_add(ms.into(), Relaxed);
            rig.nic.link();
        }
        Op::Deliver {
            len,
            merged,
            header,
        } if merged && card.merging => {
            rig.card()
                .deliver_merged(header, &frame(1, usize::from(len).max(4)));
        }
        Op::Deliver { len, header, .. } => {
            let len = usize::from(len % 2000).max(4);
            rig.card().deliver_with(header, &frame(2, len));
        }
        Op::Transmit => _ = rig.card().transmit_all(),
        Op::CompleteSent { len } => {
            let mut card = rig.card();
            if let Some(posted) = card.fetch() {
                card.complete(TX, posted.head, len);
            }
        }
        Op::CompleteReceived { len } => {
            let mut card = rig.card();
            if let Some((id, ..)) = card.next_receive_buffer() {
                card.complete(RX, id, len);
            }
        }
        Op::Forge { tx, id, len } => rig.card().forge(queue(tx), id % 300, len),
        Op::ForgeIndex { tx, ahead } if !card.packed => {
            let next = rig.card().used_index(queue(tx));
            rig.card()
                .forge_used_index(queue(tx), next.wrapping_add(ahead));
        }
        Op::ForgeFlags { tx, ahead, flags } if card.packed => {
            let memory = rig.card().memory();
            let mut card = rig.card();
            card.queues[queue(tx)]
                .packed()
                .forge_flags(memory, ahead.into(), flags);
        }
        Op::ForgeEvent { tx, place, flags } if card.packed => {
            let memory = rig.card().memory();
            rig.card().queues[queue(tx)]
                .packed()
                .forge_event(memory, place, flags);
        }
        Op::ForgeIndex { .. } | Op::ForgeFlags { .. } | Op::ForgeEvent { .. } => {}
        Op::Ask {
            what,
            number,
            manner,
            answer,
        } => ask(rig, what, number, manner, answer),
        Op::ForgeAnswer { id, len } => {
            let queue = rig.card().control_queue();
            if let Some(queue) = queue {
                rig.card().forge(queue, id % 8, len);
            }
        }
        Op::Scribble { tx } => rig.card().scribble_descriptors(queue(tx)),
        Op::ScribbleTable => {
            let mut card = rig.card();
            if let Some(posted) = card.fetch() {
                if let Some(table) = posted.table {
                    table.scribble(card.memory());
                }
                card.complete(TX, posted.head, u32::MAX);
            }
        }
        Op::Configure { at, byte } => {
            let at = usize::from(at) % 24;
            rig.card().config[at] = byte;
        }
        Op::Status {
            needs_reset,
            gone,
            hangs,
        } => {
            let mut card = rig.card();
            card.faults.needs_reset = needs_reset;
            card.faults.gone = gone;
            card.faults.reset_hangs = hangs;
        }
    }
}

/// One request to a card that answers as it likes.
fn ask(rig: &mut Rig, what: u8, number: u8, manner: u8, answer: u8) {
    rig.card().manner = match manner % 4 {
        0 => Manner::Obeys,
        1 => Manner::Refuses,
        2 => Manner::Silent,
        _ => Manner::Answers(answer),
    };
    let many = |n: u8| (0..n % 80).map(|n| MacAddr([2, 0, 0, 0, 0, n])).collect();
    let _ = match what % 5 {
        0 => rig.nic.set_mac(MacAddr([2, 0, 0, 0, 1, number])),
        1 => rig.nic.set_filter(&RxFilter {
            promiscuous: number & 1 != 0,
            all_multicast: number & 2 != 0,
            broadcast: number & 4 != 0,
            stations: many(number),
            groups: many(answer),
        }),
        2 => match VlanId::new(number.into()) {
            Some(vlan) => rig.nic.set_vlan(vlan, manner & 4 != 0),
            None => Ok(()),
        },
        3 => rig.nic.set_moderation(Moderation {
            max_usecs: number.into(),
            max_packets: answer.into(),
        }),
        _ => rig.nic.announced(),
    };
}
