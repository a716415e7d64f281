//! Allocations of the codecs, as a table.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system's allocator's; two counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(size.saturating_sub(layout.size()) as u64, Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted<T>(run: impl Fn() -> T) -> (u64, u64) {
    drop(run());
    let before = (COUNT.load(Relaxed), BYTES.load(Relaxed));
    drop(run());
    (COUNT.load(Relaxed) - before.0, BYTES.load(Relaxed) - before.1)
}

fn main() -> Result<(), String> {
    println!("| codec | encode: allocations, bytes | decode | stream, each piece | 10 MiB picture: bytes allocated for each of its own |");
    println!("|---|---|---|---|---|");
    for case in codecs::cases()? {
        let encode = counted(|| case.encode());
        let decode = counted(|| case.decode());
        let stream = counted(|| case.stream());
        let picture = counted(|| case.encode_picture());
        let pieces = case.pieces() as u64;
        println!(
            "| {} | {}, {} B | {}, {} B | {}, {} B | {:.2} |",
            case.name,
            encode.0,
            encode.1,
            decode.0,
            decode.1,
            stream.0 / pieces,
            stream.1 / pieces,
            picture.1 as f64 / codecs::PICTURE as f64,
        );
    }
    Ok(())
}
