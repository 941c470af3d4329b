//! Every interleaving (up to the bounds stated at each test) of the pieces that cores share:
//! use counts, the owner's section against a remote take-over, the depot, the last reference,
//! the ledger. Run with `RUSTFLAGS="--cfg loom" cargo test -p pbufpool --lib --release loom`.

extern crate std;

use crate::buffer::UseCount;
use crate::cache::core_slot::CoreSlot;
use crate::ledger::{OwnerId, ReturnError};
use crate::platform::Platform;
use crate::test_utils::HeapDma;
use crate::{PacketQueue, Pool, PoolConfig};
use alloc::sync::Arc;
use core::cell::Cell;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread;

loom::thread_local! {
    static CORE: Cell<usize> = Cell::new(0);
}

struct Cores;

// SAFETY: each model thread sets its own core id before it uses a pool; there is no
// asymmetric barrier, so owners execute fences.
unsafe impl Platform for Cores {
    fn cores(&self) -> usize {
        2
    }
    fn core_id(&self) -> usize {
        CORE.with(Cell::get)
    }
    fn barrier_all_cores(&self) -> bool {
        false
    }
}

static CORES: Cores = Cores;

/// Explores with at most `preemptions` forced switches per run.
fn explore(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 20_000;
    model.check(f);
}

/// Two holders, all interleavings.
#[test]
fn loom_of_concurrent_releases_one_is_the_last() {
    loom::model(|| {
        let shared = Arc::new((UseCount::new(2), UnsafeCell::new(0), AtomicUsize::new(0)));
        let release = |shared: &(UseCount, UnsafeCell<u32>, AtomicUsize)| {
            shared.1.with(|data| {
                // SAFETY: loom checks that nobody writes meanwhile.
                let _ = unsafe { *data };
            });
            if shared.0.release() {
                // SAFETY: loom checks that the last holder is alone.
                shared.1.with_mut(|data| unsafe { *data += 1 });
                shared.2.fetch_add(1, Ordering::Relaxed);
            }
        };
        let other = shared.clone();
        let thread = thread::spawn(move || release(&other));
        release(&shared);
        thread.join().unwrap();
        assert_eq!(shared.2.load(Ordering::Relaxed), 1);
    });
}

/// Three holders, all interleavings: one lets go while another shares its use on. The last one
/// comes after all of them, although a lone holder shares with a plain store.
#[test]
fn loom_a_use_shared_by_a_store_is_released_in_order() {
    loom::model(|| {
        let shared = Arc::new((UseCount::new(2), UnsafeCell::new(0), AtomicUsize::new(0)));
        let release = |shared: &(UseCount, UnsafeCell<u32>, AtomicUsize)| {
            shared.1.with(|data| {
                // SAFETY: loom checks that nobody writes meanwhile.
                let _ = unsafe { *data };
            });
            if shared.0.release() {
                // SAFETY: loom checks that the last holder is alone.
                shared.1.with_mut(|data| unsafe { *data += 1 });
                shared.2.fetch_add(1, Ordering::Relaxed);
            }
        };
        let first = shared.clone();
        let first = thread::spawn(move || release(&first));
        shared.0.share();
        let second = shared.clone();
        let second = thread::spawn(move || release(&second));
        release(&shared);
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(shared.2.load(Ordering::Relaxed), 1);
    });
}

/// One owner, one remote, all interleavings: the magazines are never in two hands.
#[test]
fn loom_a_take_over_and_the_owner_exclude_each_other() {
    take_over(true);
}

/// The same without the owner's fence: the model must find the race, or it proves nothing.
#[test]
#[should_panic]
fn loom_finds_the_race_without_the_owners_fence() {
    take_over(false);
}

fn take_over(heavy: bool) {
    loom::model(move || {
        let shared = Arc::new((CoreSlot::<u64>::new(heavy), UnsafeCell::new(0)));
        let other = shared.clone();
        let owner = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(_section) = other.0.enter() {
                    // SAFETY: loom checks that the remote core is not at it.
                    other.1.with_mut(|data| unsafe { *data += 1 });
                }
            }
        });
        shared.0.shut();
        fence(Ordering::SeqCst);
        // SAFETY: shut, and the owner executes fences of its own.
        let pair = unsafe { shared.0.take_pair() };
        // SAFETY: loom checks that the owner is out.
        shared.1.with_mut(|data| unsafe { *data += 10 });
        drop(pair);
        shared.0.open();
        owner.join().unwrap();
        // SAFETY: joined.
        assert!(shared.1.with(|data| unsafe { *data }) >= 10);
    });
}

fn pool() -> (Pool, &'static HeapDma) {
    let dma = HeapDma::leaked();
    let config = PoolConfig::new("loom")
        .packets(2)
        .magazine_capacity(1)
        .on_demand(true)
        .max_frags(2);
    (Pool::new(config, dma, &CORES).expect("valid"), dma)
}

/// Two cores through one depot, preemption bound 4: what one frees the other finds, and every
/// object is with one holder.
#[test]
fn loom_objects_cross_the_depot_whole() {
    explore(4, || {
        let (pool, dma) = pool();
        let mut queue = PacketQueue::new();
        assert_eq!(pool.alloc_burst_buflets(3, 0, &mut queue).count, 3);
        let theirs = pool.clone();
        let thread = thread::spawn(move || {
            CORE.with(|c| c.set(1));
            drop(queue);
            let packet = theirs.alloc_buflets(0).expect("just freed three");
            packet.index()
        });
        let mine = pool.alloc_buflets(0).expect("there are more");
        mine.index();
        drop(mine);
        thread.join().unwrap();
        assert_eq!(pool.stats().packets_in_use, 0);
        drop(pool);
        assert_eq!(dma.live_segments(), 0);
    });
}

/// The last handle against the last packet on another core, preemption bound 5: the pool is
/// destroyed exactly once, after both.
#[test]
fn loom_the_last_reference_destroys_the_pool() {
    explore(5, || {
        let (pool, dma) = pool();
        let packet = pool.alloc_buflets(1).expect("fresh");
        let thread = thread::spawn(move || {
            CORE.with(|c| c.set(1));
            drop(packet);
        });
        drop(pool);
        thread.join().unwrap();
        assert_eq!(dma.live_segments(), 0);
    });
}

/// A purge against the owner's alloc and free, preemption bound 4.
#[test]
fn loom_a_purge_loses_nothing() {
    explore(4, || {
        let (pool, dma) = pool();
        drop(pool.alloc_buflets(0));
        let theirs = pool.clone();
        let thread = thread::spawn(move || {
            CORE.with(|c| c.set(1));
            theirs.purge();
        });
        drop(pool.alloc_buflets(0).expect("free or cached"));
        thread.join().unwrap();
        assert_eq!(pool.stats().packets_in_use, 0);
        drop(pool);
        assert_eq!(dma.live_segments(), 0);
    });
}

/// Two clients ask for one loan while it is purged, preemption bound 4: one gets it.
#[test]
fn loom_a_loan_comes_back_to_one() {
    explore(4, || {
        let (pool, dma) = pool();
        let owner = OwnerId::new(1).expect("not zero");
        let ledger = pool.ledger().expect("not kernel-only");
        let index = ledger
            .loan(pool.alloc_buflets(1).expect("fresh"), owner)
            .expect("fits");
        let theirs = ledger.clone();
        let thread = thread::spawn(move || {
            CORE.with(|c| c.set(1));
            theirs.purge(Some(owner)).0
        });
        let mine = match ledger.take_back(index, owner) {
            Ok(_) | Err(ReturnError::Bad { .. }) => 1,
            Err(_) => 0,
        };
        // A purge between the look-up of packet and chain cannot happen: one lock.
        assert_eq!(mine + thread.join().unwrap(), 1);
        assert!(ledger.is_empty());
        drop((ledger, pool));
        assert_eq!(dma.live_segments(), 0);
    });
}
