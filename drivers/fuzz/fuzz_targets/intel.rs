//! A running Intel card that writes back whatever it likes, loses its registers, and goes away and
//! comes back. The driver neither panics nor leaks nor leaves its buffers; after a reset traffic flows.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/models/mod.rs"]
mod models;

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use drivers::net::{Armed, Health, MacAddr, Moderation, NetDevice, RxFilter, VlanId};
use models::frame;
use models::intel::{Said, at};
use models::intel_igb::reg;
use models::intel_rig::{KINDS, Rig, Setup};
use models::memory::GuestDma;
use models::bench::PAIR;
use pbufpool::PacketQueue;

/// For the models of virtio.
#[allow(dead_code, reason = "for the models")]
const PACKED: bool = false;

/// Not the ports of legacy devices.
const LEGACY: bool = false;

/// Their devices complete in any order.
#[allow(dead_code, reason = "for the models")]
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
    Ask {
        what: u8,
        stations: u8,
        groups: u8,
        all: u8,
        number: u16,
    },
    // What a card may do.
    Deliver {
        len: u16,
        status: u32,
        ip: Option<u8>,
    },
    Transmit,
    Fetch,
    Report,
    Carrier {
        on: bool,
    },
    // What it may not.
    Say {
        pair: bool,
        status: u32,
        len: u16,
    },
    Scribble {
        upper: u64,
    },
    Register {
        which: u8,
        value: u32,
    },
    Faults {
        gone: bool,
        hangs: bool,
        never_quiet: bool,
        forgets_nothing: bool,
        never_masks: bool,
    },
}

impl Op {
    /// After this the descriptors are not those that the driver wrote: the model of the card cannot
    /// go by them.
    fn is_lie(&self) -> bool {
        matches!(self, Op::Scribble { .. } | Op::Register { .. })
    }

    /// The model of the card goes by descriptors and registers here.
    fn needs_honesty(&self) -> bool {
        use Op::*;
        matches!(
            self,
            Deliver { .. } | Transmit | Fetch | Report | Say { .. } | Flush | Ask { .. }
        )
    }
}

#[derive(Arbitrary, Debug)]
struct Card {
    kind: u8,
    jumbo: bool,
    pairs: bool,
    rx_ring: u8,
    tx_ring: u8,
}

/// Memory of all runs, each of which gives back what it took.
static MEMORY: OnceLock<&'static GuestDma> = OnceLock::new();

impl Card {
    fn start(&self) -> Rig {
        let kind = KINDS[usize::from(self.kind) % KINDS.len()];
        let mut setup = Setup::new(kind);
        if self.jumbo {
            setup = Setup::jumbo(kind);
        }
        setup.options.rx_ring = 5 + u16::from(self.rx_ring % 60);
        setup.options.tx_ring = 2 + u16::from(self.tx_ring % 60);
        setup.options.pairs = 1 + u16::from(self.pairs);
        setup.packets = 500;
        setup.dma = Some(MEMORY.get_or_init(|| GuestDma::leaked(64 << 20)));
        setup.start()
    }
}

fuzz_target!(|input: (Card, Vec<Op>)| {
    let (card, ops) = input;
    let mut rig = card.start();
    let mut lied = false;
    for op in ops {
        let resets = rig.nic.stats().resets;
        lied |= op.is_lie();
        if !(lied && op.needs_honesty()) {
            apply(&mut rig, op);
        }
        // Since a reset both sides agree again on what lies in the rings.
        lied &= rig.nic.stats().resets == resets;
        check(&rig);
    }
    // Whatever happened, a card that behaves again is used again.
    {
        let mut card = rig.card();
        card.faults = Default::default();
        card.carrier = true;
    }
    rig.arrived.clear();
    rig.bench.host.now_ms.fetch_add(60_000, Relaxed);
    // Told with the reset, if the driver holds the card for broken.
    let _ = rig.nic.join_vlan(None);
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

/// What holds at any time.
fn check(rig: &Rig) {
    rig.assert_accounted();
    for packet in &rig.arrived {
        assert!((14..=rig.nic.info().mtu.max(2034) + 14).contains(&packet.len()));
    }
}

fn apply(rig: &mut Rig, op: Op) {
    match op {
        Op::Send {
            len,
            parts,
            checksum,
            gso,
        } => {
            let len = usize::from(len % 2049);
            rig.post_any(len, parts % 4, checksum, gso);
        }
        Op::Flush => rig.pairs().for_each(|pair| rig.nic.flush(pair)),
        Op::Poll { budget } => {
            let mut arrived = PacketQueue::new();
            for pair in rig.pairs() {
                rig.nic.rx_burst(pair, budget.into(), &mut arrived);
            }
            rig.arrived = arrived;
        }
        Op::Refill => {
            rig.arrived.clear();
            for pair in rig.pairs() {
                rig.nic.refill(pair);
            }
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
        Op::Ask {
            what,
            stations,
            groups,
            all,
            number,
        } => {
            let address = |n| MacAddr([2, 0, 0, 0, number as u8, n]);
            let filter = RxFilter {
                promiscuous: all & 1 != 0,
                all_multicast: all & 2 != 0,
                broadcast: all & 4 != 0,
                stations: (0..stations % 20).map(address).collect(),
                groups: (0..groups).map(address).collect(),
            };
            let limits = Moderation {
                max_usecs: u32::from(number) << (all & 15),
                max_packets: u32::from(groups & 1),
            };
            // An answer either way.
            let _ = match (what % 5, VlanId::new(number)) {
                (0, _) => rig.nic.set_mac(address(stations)),
                (1, _) => rig.nic.set_filter(&filter),
                (2, Some(vlan)) => rig.nic.set_vlan(vlan, all & 1 != 0),
                (3, vlan) => rig.nic.join_vlan(vlan.filter(|_| all & 1 != 0)),
                _ => rig.nic.set_moderation(limits),
            };
        }
        Op::Deliver { len, status, ip } => {
            let mut frame = frame(1, usize::from(len % 9015).max(14));
            if let Some(host) = ip {
                // One of several addresses, which decide on the pair.
                frame[12..14].copy_from_slice(&[8, 0]);
                frame.get_mut(26..27).into_iter().for_each(|byte| byte[0] = host);
            }
            let running = rig.card().register(at::RCTL) & 2 != 0;
            if running {
                rig.card().deliver_with(&frame, status);
            }
        }
        Op::Transmit => _ = rig.card().transmit_all(),
        Op::Fetch => _ = rig.card().fetch(),
        Op::Report => rig.card().report_all(),
        Op::Carrier { on } => rig.card().carrier = on,
        Op::Say { pair, status, len } => {
            let pair = u16::from(pair) % rig.nic.info().queue_pairs;
            _ = rig.card().say_on(pair, &[], Said { status, len });
        }
        Op::Scribble { upper } => rig.card().scribble_descriptors(upper),
        Op::Register { which, value } => {
            let registers = [
                at::RCTL,
                at::TCTL,
                at::ICR,
                at::CTRL_EXT,
                at::IVAR,
                at::RXCSUM,
                reg::GPIE,
                reg::IVAR,
                reg::RXDCTL0,
                reg::TXDCTL0,
            ];
            rig.card()
                .put(registers[usize::from(which) % registers.len()], value);
        }
        Op::Faults {
            gone,
            hangs,
            never_quiet,
            forgets_nothing,
            never_masks,
        } => {
            let mut card = rig.card();
            card.faults.gone = gone;
            card.faults.reset_hangs = hangs;
            card.faults.never_quiet = never_quiet;
            card.faults.forgets_nothing = forgets_nothing;
            card.faults.never_masks = never_masks;
        }
    }
}
