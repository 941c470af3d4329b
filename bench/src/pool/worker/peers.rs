//! Peers that hand out plain buffers of 2 KiB: a lock-free queue of boxes, two object pools and
//! two heaps. None writes to the buffer.
#![allow(unsafe_code)] // the heaps' calls

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crossbeam_queue::ArrayQueue;
use heapless::box_pool;
use heapless::pool::boxed::{Box as PoolBox, BoxBlock};
use mimalloc::MiMalloc;
use object_pool::{Pool, Reusable};

use super::source::Single;

/// As many as the pools under test hold.
const OBJECTS: usize = 8192;

/// What is handed out.
pub(super) type Block = MaybeUninit<[u8; 2048]>;

fn block() -> Box<Block> {
    Box::new(MaybeUninit::uninit())
}

/// crossbeam's bounded queue, full of boxes.
pub(super) struct Crossbeam(ArrayQueue<Box<Block>>);

impl Crossbeam {
    pub(super) fn new() -> Self {
        let queue = ArrayQueue::new(OBJECTS);
        while queue.push(block()).is_ok() {}
        Self(queue)
    }
}

impl Single for Crossbeam {
    type Item = Box<Block>;
    #[inline]
    fn get(&self) -> Option<Self::Item> {
        self.0.pop()
    }
    #[inline]
    fn put(&self, item: Self::Item) {
        // It came from here, so there is room.
        let _ = self.0.push(item);
    }
}

box_pool!(Blocks: Block);

/// heapless' boxed pool: a Treiber stack.
pub(super) struct Heapless;

impl Heapless {
    pub(super) fn new() -> Self {
        for _ in 0..OBJECTS {
            Blocks.manage(Box::leak(Box::new(BoxBlock::new())));
        }
        Self
    }
}

impl Single for Heapless {
    type Item = PoolBox<Blocks>;
    #[inline]
    fn get(&self) -> Option<Self::Item> {
        Blocks.alloc(MaybeUninit::uninit()).ok()
    }
    #[inline]
    fn put(&self, item: Self::Item) {
        drop(item);
    }
}

/// `object-pool`: a vector behind a mutex.
pub(super) struct ObjectPool(&'static Pool<Box<Block>>);

impl ObjectPool {
    pub(super) fn new() -> Self {
        Self(Box::leak(Box::new(Pool::new(OBJECTS, block))))
    }
}

impl Single for ObjectPool {
    type Item = Reusable<'static, Box<Block>>;
    #[inline]
    fn get(&self) -> Option<Self::Item> {
        self.0.try_pull()
    }
    #[inline]
    fn put(&self, item: Self::Item) {
        drop(item);
    }
}

/// A heap: `System` is the C library's.
pub(super) struct Heap<A>(A);

/// A block of a heap, owned.
pub(super) struct HeapBlock(NonNull<u8>);

// SAFETY: it owns the block, and both heaps may free on another thread.
unsafe impl Send for HeapBlock {}

const LAYOUT: Layout = Layout::new::<Block>();

impl Heap<System> {
    pub(super) fn glibc() -> Self {
        Self(System)
    }
}

impl Heap<MiMalloc> {
    pub(super) fn mimalloc() -> Self {
        Self(MiMalloc)
    }
}

impl<A: GlobalAlloc + Sync> Single for Heap<A> {
    type Item = HeapBlock;
    #[inline]
    fn get(&self) -> Option<HeapBlock> {
        // SAFETY: the layout's size is not zero.
        let block = unsafe { self.0.alloc(LAYOUT) };
        // Opaque, or the compiler could leave out the pair of calls.
        NonNull::new(black_box(block)).map(HeapBlock)
    }
    #[inline]
    fn put(&self, block: HeapBlock) {
        // SAFETY: came from `get` of this heap, with this layout.
        unsafe { self.0.dealloc(block.0.as_ptr(), LAYOUT) }
    }
}
