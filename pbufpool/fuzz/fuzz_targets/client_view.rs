//! A client that writes anything, anywhere in its descriptors, and returns in any order.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use pbufpool::ledger::{OwnerId, ReturnError};
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{Pool, PoolConfig};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Arbitrary, Debug)]
enum Act {
    Loan { buflets: u8, owner: bool },
    LoanBuflet { owner: bool },
    Write { which: u8, field: u8, value: u32 },
    TakeBack { index: u8, owner: bool },
    TakeBuflet { number: u8, owner: bool },
    Purge { owner: bool },
}

static WORLD: OnceLock<(&'static HeapDma, &'static Threads)> = OnceLock::new();

fuzz_target!(|acts: Vec<Act>| {
    let (dma, cpu) = *WORLD.get_or_init(|| (HeapDma::leaked(), Threads::leaked(1)));
    let config = PoolConfig::new("fuzz")
        .packets(16)
        .on_demand(true)
        .max_frags(6)
        .magazine_capacity(2);
    let pool = Pool::new(config, dma, cpu).expect("valid");
    let ledger = pool.ledger().expect("not kernel-only");
    let owner = |first: bool| OwnerId::new(1 + u32::from(first)).expect("not zero");
    for act in acts {
        match act {
            Act::Loan {
                buflets,
                owner: who,
            } => {
                if let Ok(packet) = pool.alloc_buflets(u16::from(buflets % 7)) {
                    ledger.loan(packet, owner(who)).expect("own pool");
                }
            }
            Act::LoanBuflet { owner: who } => {
                if let Ok(buflet) = pool.alloc_buflet(false) {
                    ledger.loan_buflet(buflet, owner(who)).expect("own pool");
                }
            }
            Act::Write {
                which,
                field,
                value,
            } => {
                let which = u32::from(which % 24);
                let (Some(packet), Some(buflet)) =
                    (ledger.packet_view(which), ledger.buflet_view(which))
                else {
                    continue;
                };
                let words = [
                    &packet.flags,
                    &packet.count,
                    &packet.max_frags,
                    &packet.length,
                    &packet.headroom,
                    &packet.l2_len,
                    &packet.buffer,
                    &packet.doff,
                    &packet.dlen,
                    &packet.next,
                    &packet.csum_start,
                    &packet.csum_stuff,
                    &packet.seal,
                    &buflet.buffer,
                    &buflet.doff,
                    &buflet.dlen,
                    &buflet.next,
                    &buflet.seal,
                ];
                words[usize::from(field) % words.len()].store(value, Relaxed);
            }
            Act::TakeBack { index, owner: who } => match ledger.take_back(index.into(), owner(who))
            {
                Ok(packet) => {
                    assert_eq!(packet.buflets().count(), packet.buflet_count());
                    assert!(packet.buflets().all(|b| b.offset() + b.len() <= b.limit()));
                    assert!(packet.buflets().all(|b| b.uses() == 1));
                }
                Err(ReturnError::Bad { item, .. }) => assert!(item.is_dropped()),
                Err(_) => {}
            },
            Act::TakeBuflet { number, owner: who } => {
                let _ = ledger.take_buflet_back(number.into(), owner(who));
            }
            Act::Purge { owner: who } => _ = ledger.purge(Some(owner(who))),
        }
    }
    drop(ledger);
    drop(pool);
    assert_eq!(dma.live_segments(), 0);
});
