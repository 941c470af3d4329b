//! Each check passes on what works and names what does not.

use alloc::string::ToString;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::vec::Vec;

use super::memory::{BadWord, Words};
use super::*;
use crate::net::tests::nic::{Wire, cabled, make};
use pbufpool::fault::{FaultPlan, FaultPoint};
use pbufpool::{Pool, PoolConfig};

/// Memory that may be broken: all runs of a machine share its cells.
#[derive(Clone, Default)]
struct Machine {
    cells: Rc<RefCell<HashMap<u64, u64>>>,
    /// Address lines that do nothing.
    dead_lines: u64,
    /// Bits of all words that are always one, always zero.
    stuck: [u64; 2],
}

struct Run(Machine, u64);

impl Words for Run {
    fn count(&self) -> usize {
        64
    }

    fn address(&self) -> u64 {
        self.1
    }

    fn write(&mut self, at: usize, word: u64) {
        let place = (self.1 + at as u64 * 8) & !self.0.dead_lines;
        self.0.cells.borrow_mut().insert(place, word);
    }

    fn read(&self, at: usize) -> u64 {
        let place = (self.1 + at as u64 * 8) & !self.0.dead_lines;
        let [ones, zeros] = self.0.stuck;
        self.0.cells.borrow()[&place] & !zeros | ones
    }
}

fn exercise(machine: &Machine) -> Result<(), BadWord> {
    let mut runs = [0x10_0000, 0x20_0000, 0x1_4000_0000].map(|at| Run(machine.clone(), at));
    memory::exercise(&mut runs)
}

#[test]
fn sound_memory_passes() {
    assert_eq!(exercise(&Machine::default()), Ok(()));
}

#[test]
fn every_stuck_bit_is_found() {
    for bit in 0..64 {
        for which in 0..2 {
            let mut machine = Machine::default();
            machine.stuck[which] = 1 << bit;
            let bad = exercise(&machine).expect_err("stuck");
            assert_eq!(bad.wrote ^ bad.read, 1 << bit, "{bad}");
        }
    }
}

#[test]
fn every_dead_address_line_is_found() {
    // Within a run, between two runs, and the one that folds memory above 4 GiB onto low memory.
    for lines in [8, 16, 256, 0x30_0000, 0x1_4030_0000] {
        let machine = Machine {
            dead_lines: lines,
            ..Machine::default()
        };
        assert!(exercise(&machine).is_err(), "{lines:#x}");
    }
}

#[test]
fn a_pool_passes_whole_or_in_use_and_is_left_as_it_was() {
    let (_, pool, _) = cabled();
    let packets = pool.stats().packets;
    let seen = pool::exercise(&pool).expect("a sound pool");
    let start = std::format!("{packets} packets of 2048 bytes");
    assert!(seen.starts_with(&start), "{seen}");
    let held = pool.alloc().expect("it is full");
    assert!(pool::exercise(&pool).is_ok());
    assert_eq!(pool.stats().packets_in_use, 1);
    drop(held);
}

#[test]
fn a_pool_that_does_not_give_out_what_it_has_fails() {
    let plan = std::sync::Arc::new(FaultPlan::default());
    let config = PoolConfig::new("faulty").packets(64).buffer_size(2048);
    let config = config.on_demand(true).faults(plan.clone());
    let pool = make(config);
    plan.fail_always(FaultPoint::Buffer, true);
    let why = pool::exercise(&pool).expect_err("no buffers");
    assert!(why.contains("packets were free, 0 could be had"), "{why}");
}

/// Sends what the NIC sent back to it, as `change` makes it. Ten milliseconds pass each time.
fn loop_back(change: impl Fn(usize, Vec<u8>) -> Option<Vec<u8>>) -> Result<String, String> {
    let (mut nic, pool, wire) = cabled();
    let now = Cell::new(0);
    let sent = Cell::new(0);
    let turn = |wire: &Wire| {
        while let Some(frame) = wire.receive() {
            if let Some(frame) = change(sent.get(), frame) {
                wire.send(frame);
            }
            sent.set(sent.get() + 1);
        }
        now.set(now.get() + 10);
        now.get()
    };
    let outcome = loopback::exercise(&mut *nic, &pool, &mut || turn(&wire));
    assert_eq!(pool.stats().packets_in_use, 0);
    outcome
}

#[test]
fn frames_that_come_back_pass() {
    let seen = loop_back(|_, frame| Some(frame)).expect("they do");
    let expected = "64 frames of 60 to 1514 bytes came back as they were, 0 on a second attempt";
    assert_eq!(seen, expected);
}

#[test]
fn frames_that_are_lost_now_and_then_are_sent_again() {
    let seen = loop_back(|n, frame| (n % 3 != 0).then_some(frame)).expect("the others do");
    assert!(seen.contains("32 on a second attempt"), "{seen}");
}

#[test]
fn a_nic_that_hears_nothing_fails_in_the_end() {
    let why = loop_back(|_, _| None).expect_err("silence");
    assert_eq!(why, "frame 0 of 60 bytes did not come back in 3000 ms");
}

#[test]
fn each_byte_counts() {
    for at in [20, 59] {
        let damage = |n, mut frame: Vec<u8>| {
            frame[at] ^= u8::from(n == 7);
            Some(frame)
        };
        let why = loop_back(damage).expect_err("damaged");
        assert!(why.contains(&std::format!("byte {at} is another")), "{why}");
    }
    let cut = |n, mut frame: Vec<u8>| {
        frame.truncate(frame.len() - usize::from(n == 3));
        Some(frame)
    };
    let why = loop_back(cut).expect_err("short");
    assert_eq!(why, "frame 3: 129 bytes were sent, 128 came back");
}

#[test]
fn frames_of_others_are_nobodys_answer() {
    let foreign = |_, frame: Vec<u8>| {
        let mut other = frame;
        other[12] = 8;
        Some(other)
    };
    assert!(loop_back(foreign).is_err());
}

/// A pool of chains, as the image has one.
fn chained() -> Pool {
    let config = PoolConfig::new("chains").packets(64).buffer_size(1024);
    make(
        config
            .on_demand(true)
            .max_frags(chains::MOST_BUFFERS as u16),
    )
}

#[test]
fn chains_leave_as_one_frame_each() {
    let (mut nic, _, wire) = cabled();
    let (pool, mac) = (chained(), nic.info().mac);
    wire.set_tx_room(100);
    let seen = chains::exercise(&mut *nic, &pool, &mut || 0).expect("they are sent");
    assert_eq!(
        seen,
        "frames in 2 to 8 buffers were sent, the last in the place of 1 in one"
    );
    let sent: Vec<_> = core::iter::from_fn(|| wire.receive()).collect();
    let numbers = [15, 23, 31, 39, 47, 55, 63].into_iter();
    let expected = numbers.map(|n| loopback::bytes(n, mac).collect::<Vec<_>>());
    assert!(
        sent.iter()
            .map(Vec::len)
            .eq([406, 590, 775, 960, 1144, 1329, 1514])
    );
    assert!(expected.eq(sent));
    assert_eq!(pool.stats().packets_in_use, 0);
}

#[test]
fn chains_that_the_nic_or_the_pool_does_not_take_are_named() {
    let (mut nic, plain, wire) = cabled();
    let why = chains::exercise(&mut *nic, &plain, &mut || 0).expect_err("no chains");
    assert_eq!(
        why,
        "a frame of 406 bytes in 2 buffers: the pool allows no such chain"
    );
    wire.set_tx_room(3);
    let pool = chained();
    let why = chains::exercise(&mut *nic, &pool, &mut || 0).expect_err("a full ring");
    assert_eq!(
        why,
        "a frame of 960 bytes in 5 buffers: the NIC does not take it"
    );
    assert_eq!(pool.stats().packets_in_use, 0);
}

#[test]
fn a_line_says_what_came_of_a_check() {
    let mut tally = Tally::default();
    assert!(!tally.is_good(), "nothing was checked");
    let outcomes = [
        Outcome::from(Ok("seen".into())),
        Outcome::Skip("nothing".into()),
    ];
    outcomes.iter().for_each(|outcome| tally.count(outcome));
    assert!(tally.is_good());
    let failed = Outcome::from(Err("broken".into()));
    tally.count(&failed);
    assert!(!tally.is_good());
    assert_eq!(failed.to_string(), "FAIL broken");
    assert_eq!(tally.to_string(), "1 passed, 1 failed, 1 skipped");
}
