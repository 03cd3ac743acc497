//! The plan of faults, in a process of its own: it is one for all threads.
#![cfg(feature = "fault")]

use aq_io::fault::{Effect, Site, counts, hit, set_plan};

#[test]
fn plans_are_read_and_counted() {
    set_plan("EIO@fsync:2, short@write:3+, alloc@chunk:2..3").unwrap();
    assert_eq!(hit(Site::Fsync), None);
    assert_eq!(hit(Site::Fsync), Some(Effect::Errno(5)));
    assert_eq!(hit(Site::Fsync), None);
    assert_eq!((1..=4).map(|_| hit(Site::Write).is_some()).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!((1..=4).map(|_| hit(Site::Chunk).is_some()).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(counts()["fsync"], 3);
    for bad in ["EIO", "EIO@fsync", "EIO@nowhere:1", "ENOPE@read:1", "sleep=x@read:1", "EIO@read:x"] {
        assert!(set_plan(bad).is_err(), "{bad}");
    }
    set_plan("").unwrap();
    assert!(counts().is_empty());
}
