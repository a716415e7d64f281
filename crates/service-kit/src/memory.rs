//! What memory the process takes.

/// Takes memory by small pages. To be called first in `main`.
///
/// The allocator asks for huge pages (2 MiB) where the kernel leaves that to programs, and then a page of which one object is used
/// is resident as a whole: a service took half as much again, and grew in steps when the kernel got round to collapsing pages.
/// Calls were no quicker for it. Where it cannot be asked for, all stays as it is.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages cannot be declined");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn huge_pages_are_declined_for_the_whole_process() {
        super::use_small_pages();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("THP_enabled:\t0"), "{status}");
    }
}
