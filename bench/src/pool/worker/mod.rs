//! The process that runs this project's pool and the peers from crates: it takes requests line
//! by line, as `peers/dpdk.c` does, and answers with nanoseconds.
//!
//! A request is "CONTENDER CASE BULK MAGAZINES OBJECTS MODE" (see [`super::request`]). Before it
//! measures, it warms up: with a quarter of the objects, or, when it counts, with as many.

mod one_core;
mod ours;
mod peers;
mod ring;
mod source;
mod two_cores;

use std::collections::HashMap;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pbufpool::Pool;

use self::one_core::{buffers, chains, clones, queued_chains, single_clones, take_and_give};
use self::ours::{Magazines, Packets, Queued, Sort, WholeBursts, pool};
use self::peers::{Crossbeam, Heap, Heapless, ObjectPool};
use self::source::Source;
use self::two_cores::{Run, STEP_BURSTS, both_ways, one_way};
use super::request::{Case, Mode, Request};
use crate::callgrind::{measured_dump, measured_run};
use crate::child::pin;

/// Serves requests until standard input ends.
pub(crate) fn serve(core: usize, other_core: usize) -> Result<()> {
    pin(core);
    let mut contenders = Contenders {
        other_core,
        pools: HashMap::new(),
        crossbeam: Crossbeam::new(),
        heapless: Heapless::new(),
        object_pool: ObjectPool::new(),
    };
    println!("ready");
    for line in stdin().lock().lines() {
        let line = line?;
        let request: Request = line.parse().with_context(|| format!("request {line:?}"))?;
        println!("{}", contenders.answer(&request));
        stdout().flush()?;
    }
    Ok(())
}

/// Everything that lives from request to request.
struct Contenders {
    other_core: usize,
    pools: HashMap<(Sort, Magazines), Pool>,
    crossbeam: Crossbeam,
    heapless: Heapless,
    object_pool: ObjectPool,
}

impl Contenders {
    /// Warms up, runs the request, says how it went.
    fn answer(&mut self, request: &Request) -> String {
        let mut warm = request.clone();
        if request.mode == Mode::Time {
            warm.objects = (request.bursts() / 4).max(STEP_BURSTS) * request.bulk;
        }
        if self.run(&warm).is_none() {
            return "none".to_owned();
        }
        measured_dump(); // the warm-up's profile is of no use
        let took = self.run(request);
        measured_dump();
        match request.mode {
            Mode::Time => took.map_or(0, |t| t.as_nanos()).to_string(),
            Mode::Count => "ok".to_owned(),
        }
    }

    /// Runs a request; `None` if there is no such thing.
    fn run(&mut self, request: &Request) -> Option<Duration> {
        let magazines = match (request.magazines, request.contender.as_str()) {
            (false, _) => Magazines::Off,
            (true, "default-size") => Magazines::Default,
            (true, _) => Magazines::Set,
        };
        let sort = match request.contender.as_str() {
            "on-demand" | "on-demand-queue" | "single-clones" => Sort::OnDemand,
            "buffer" => Sort::Buffers,
            _ => Sort::Regular,
        };
        let other_core = self.other_core;
        match request.contender.as_str() {
            "crossbeam" => plain(&self.crossbeam, request, other_core),
            "heapless" => plain(&self.heapless, request, other_core),
            "object-pool" => plain(&self.object_pool, request, other_core),
            "malloc" => plain(&Heap::glibc(), request, other_core),
            "mimalloc" => plain(&Heap::mimalloc(), request, other_core),
            name => {
                let pool = self
                    .pools
                    .entry((sort, magazines))
                    .or_insert_with(|| pool(sort, magazines));
                match name {
                    "regular" | "on-demand" | "default-size" => packets(pool, request, other_core),
                    "regular-queue" | "on-demand-queue" => queued(pool, request, other_core),
                    "single-clones" if request.case == Case::Clone => Some(timed(request, || {
                        single_clones(pool, request.bulk, request.bursts());
                    })),
                    "whole-bursts" => whole_bursts(pool, request, other_core),
                    "buffer" if request.case == Case::Buffer => Some(timed(request, || {
                        buffers(pool, request.bulk, request.bursts());
                    })),
                    _ => None,
                }
            }
        }
    }
}

fn packets(pool: &Pool, request: &Request, other_core: usize) -> Option<Duration> {
    let (bulk, bursts) = (request.bulk, request.bursts());
    match request.case {
        Case::Alloc => Some(timed(request, || {
            take_and_give(&Packets(pool), bulk, bursts);
        })),
        Case::Chain => Some(timed(request, || chains(pool, bulk, bursts))),
        Case::Clone => Some(timed(request, || clones(pool, bulk, bursts))),
        Case::OneWay | Case::BothWays => across(&Packets(pool), request, other_core),
        Case::Buffer => None,
    }
}

fn queued(pool: &Pool, request: &Request, other_core: usize) -> Option<Duration> {
    let (bulk, bursts) = (request.bulk, request.bursts());
    match request.case {
        Case::Alloc => Some(timed(request, || {
            take_and_give(&Queued(pool), bulk, bursts)
        })),
        Case::Chain => Some(timed(request, || queued_chains(pool, bulk, bursts))),
        Case::OneWay | Case::BothWays => across(&Queued(pool), request, other_core),
        Case::Clone | Case::Buffer => None,
    }
}

/// Bursts that travel as one queue: the ring's elements are bursts, the answer's objects packets.
fn whole_bursts(pool: &Pool, request: &Request, other_core: usize) -> Option<Duration> {
    let source = WholeBursts {
        pool,
        bulk: request.bulk,
    };
    let bursts = Request {
        bulk: 1,
        objects: request.bursts(),
        ..request.clone()
    };
    across(&source, &bursts, other_core)
}

fn plain<S: Source>(source: &S, request: &Request, other_core: usize) -> Option<Duration> {
    match request.case {
        Case::Buffer => Some(timed(request, || {
            take_and_give(source, request.bulk, request.bursts());
        })),
        Case::OneWay | Case::BothWays => across(source, request, other_core),
        Case::Alloc | Case::Chain | Case::Clone => None,
    }
}

fn across<S: Source>(source: &S, request: &Request, other_core: usize) -> Option<Duration> {
    let run = Run {
        bulk: request.bulk,
        objects: request.objects,
        steps: request.mode == Mode::Count,
        other_core,
    };
    match request.case {
        Case::OneWay => Some(one_way(source, run)),
        Case::BothWays => Some(both_ways(source, run)),
        _ => None,
    }
}

fn timed(request: &Request, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    match request.mode {
        Mode::Time => work(),
        Mode::Count => measured_run(&mut work),
    }
    start.elapsed()
}
