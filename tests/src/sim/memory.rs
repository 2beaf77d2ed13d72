//! Counts what the code under test allocates: nothing is what it should.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts. A program that simulates should have it, or allocations pass unseen:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: socklet_tests::sim::CountingAllocator = socklet_tests::sim::CountingAllocator;
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct CountingAllocator;

fn note() {
    if WATCHED.get() {
        COUNT.set(COUNT.get() + 1);
    }
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    /// Not by way of `alloc`, which would touch every page of a buffer that may never be filled.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Does something in which no allocation is expected.
pub fn counted<R>(act: impl FnOnce() -> R) -> R {
    watched(true, act)
}

/// Does something inside of that in which it is.
pub(super) fn uncounted<R>(act: impl FnOnce() -> R) -> R {
    watched(false, act)
}

fn watched<R>(watch: bool, act: impl FnOnce() -> R) -> R {
    let before = WATCHED.replace(watch);
    let result = act();
    WATCHED.set(before);
    result
}

/// How many allocations were seen on this thread since the last call.
pub fn take_count() -> u64 {
    WATCHED.set(false);
    COUNT.take()
}
