//! The output folder exists complete or not at all, and what was there before is never lost.

use aq_io::Disk;
use aq_io::error::{IoError, IoOp};
use aq_io::output::{Existing, Found, Staging};
use aq_testkit::model::text;
use aq_testkit::tree::{names, snapshot};
use std::fs;
use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::thread;
use tempfile::TempDir;

fn staged(output: &Path, overwrite: bool) -> Staging {
    let staging = Staging::create(&Disk::default(), output, Existing { overwrite, resume: false }).expect("the output can be staged");
    staging.write(Path::new("config.json"), b"{}").expect("a file can be staged");
    staging.write(Path::new("unet/x.bin"), b"new").expect("a file can be staged");
    staging
}

#[test]
fn the_output_appears_at_the_end_and_complete() {
    let dir = TempDir::new().unwrap();
    let staging = staged(&dir.path().join("out"), false);
    let before: Vec<String> = names(dir.path());
    assert!(before.iter().all(|n| n.starts_with(".out.aq-partial")), "{before:?}");
    staging.commit().unwrap();
    assert_eq!(names(dir.path()), ["out/", "out/config.json", "out/unet/", "out/unet/x.bin"]);
    assert_eq!(fs::read(dir.path().join("out/unet/x.bin")).unwrap(), b"new");
}

#[test]
fn an_existing_output_is_refused() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("folder/old"), "old");
    text(&dir.path().join("file"), "old");
    let before = snapshot(dir.path());
    for name in ["folder", "file"] {
        let output = dir.path().join(name);
        match Staging::create(&Disk::default(), &output, Existing { overwrite: false, resume: false }) {
            Err(IoError::OutputExists { path }) => assert_eq!(path, output),
            other => unreachable!("{other:?}"),
        }
        assert_eq!(snapshot(dir.path()), before);
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_an_existing_output() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("link");
    std::os::unix::fs::symlink("absent", &output).unwrap();
    assert!(matches!(
        Staging::create(&Disk::default(), &output, Existing { overwrite: false, resume: false }),
        Err(IoError::OutputExists { .. })
    ));
    // With overwrite the link is replaced, not what it points to.
    text(&dir.path().join("target/precious"), "kept");
    fs::remove_file(&output).unwrap();
    std::os::unix::fs::symlink("target", &output).unwrap();
    staged(&output, true).commit().unwrap();
    assert_eq!(fs::read(dir.path().join("target/precious")).unwrap(), b"kept");
    assert!(fs::symlink_metadata(&output).unwrap().is_dir());
}

#[test]
fn overwrite_keeps_the_old_output_until_the_new_one_is_complete() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    text(&output.join("old/file"), "old");
    let before = snapshot(dir.path());
    drop(staged(&output, true));
    assert_eq!(snapshot(dir.path()), before, "given up: the old output stands, nothing else is left");
    staged(&output, true).commit().unwrap();
    assert_eq!(names(dir.path()), ["out/", "out/config.json", "out/unet/", "out/unet/x.bin"]);
}

#[test]
fn overwrite_replaces_a_file_and_needs_nothing_to_replace() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("out"), "a file");
    staged(&dir.path().join("out"), true).commit().unwrap();
    staged(&dir.path().join("fresh"), true).commit().unwrap();
    assert_eq!(names(dir.path()).iter().filter(|n| n.ends_with("x.bin")).count(), 2);
}

#[test]
fn parents_are_made_and_removed_again() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("here/file"), "x");
    let before = snapshot(dir.path());
    let output = dir.path().join("here/a/b/out");
    drop(staged(&output, false));
    assert_eq!(snapshot(dir.path()), before);
    staged(&output, false).commit().unwrap();
    assert!(output.join("config.json").is_file());
    let mut names = names(&dir.path().join("here/a"));
    names.retain(|n| !n.starts_with("b/out/"));
    assert_eq!(names, ["b/"]);
}

#[test]
fn parents_that_somebody_else_uses_by_now_stay() {
    let dir = TempDir::new().unwrap();
    let staging = staged(&dir.path().join("a/b/out"), false);
    text(&dir.path().join("a/theirs"), "x");
    drop(staging);
    assert_eq!(names(dir.path()), ["a/", "a/theirs"]);
}

#[test]
fn an_output_below_a_file() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("file"), "x");
    let before = snapshot(dir.path());
    for output in ["file/out", "file/deeper/out"] {
        match Staging::create(&Disk::default(), &dir.path().join(output), Existing { overwrite: false, resume: false }) {
            Err(IoError::File { op: IoOp::Mkdir, .. }) => {}
            other => unreachable!("{output}: {other:?}"),
        }
        assert_eq!(snapshot(dir.path()), before);
    }
}

#[test]
fn a_second_job_on_the_same_output_is_told_so() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    let first = staged(&output, false);
    for overwrite in [false, true] {
        match Staging::create(&Disk::default(), &output, Existing { overwrite, resume: false }) {
            Err(IoError::Busy { path, pid }) => assert_eq!((path, pid), (output.clone(), Some(std::process::id()))),
            other => unreachable!("{other:?}"),
        }
    }
    assert!(staged(&dir.path().join("other"), false).commit().is_ok(), "another output is free");
    first.commit().unwrap();
    assert_eq!(fs::read(output.join("unet/x.bin")).unwrap(), b"new", "the first job was not disturbed");
    assert!(staged(&output, true).found == Found::Nothing, "and nothing is left of it");
}

#[test]
fn jobs_that_start_together_have_one_winner() {
    for round in 0..50 {
        let dir = TempDir::new().unwrap();
        let output = dir.path().join("missing/parents/out");
        let start = Barrier::new(4);
        let made: Vec<Result<Staging, IoError>> = thread::scope(|scope| {
            let job = || {
                start.wait();
                Staging::create(&Disk::default(), &output, Existing::default())
            };
            let jobs = [(); 4].map(|()| scope.spawn(job));
            jobs.into_iter().map(|job| job.join().unwrap()).collect()
        });
        assert_eq!(made.iter().filter(|m| m.is_ok()).count(), 1, "round {round}: {made:?}");
        assert!(made.iter().all(|m| matches!(m, Ok(_) | Err(IoError::Busy { .. }))), "round {round}: {made:?}");
    }
}

#[test]
fn jobs_that_start_as_others_end_are_alone_or_told() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    let alone = Mutex::new(());
    let job = || {
        for turn in 0..200 {
            match Staging::create(&Disk::default(), &output, Existing::default()) {
                Ok(staging) => {
                    let held = alone.try_lock().expect("two jobs hold one staging");
                    staging.write(Path::new("x"), format!("{turn}").as_bytes()).unwrap();
                    drop(held);
                    assert_eq!(staging.discard(), None);
                }
                Err(error) => assert!(matches!(error, IoError::Busy { .. }), "{error:?}"),
            }
        }
    };
    thread::scope(|scope| [(); 4].map(|()| scope.spawn(job)).into_iter().for_each(|job| job.join().unwrap()));
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn what_a_dead_job_left_is_swept() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join(".out.aq-partial/lock"), "4294967");
    text(&dir.path().join(".out.aq-partial/content/unet/half"), "stale");
    let staging = staged(&dir.path().join("out"), false);
    assert!(staging.found == Found::Swept);
    staging.commit().unwrap();
    assert_eq!(names(dir.path()), ["out/", "out/config.json", "out/unet/", "out/unet/x.bin"]);
}

#[test]
fn a_job_that_died_between_its_two_renames() {
    let dead = |replaced: &str| {
        let dir = TempDir::new().expect("a temporary folder");
        text(&dir.path().join(".out.aq-partial/lock"), "4294967");
        text(&dir.path().join(".out.aq-partial/content/x.bin"), "new");
        text(&dir.path().join(".out.aq-partial").join(replaced), "precious");
        dir
    };
    // The old output is the only one there is: it stands again, and is then refused or replaced like any other.
    for (replaced, name) in [("replaced/file", "out/file"), ("replaced", "out")] {
        let dir = dead(replaced);
        let output = dir.path().join("out");
        assert!(
            matches!(
                Staging::create(&Disk::default(), &output, Existing { overwrite: false, resume: false }),
                Err(IoError::OutputExists { .. })
            ),
            "{replaced}"
        );
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"precious");
        assert!(!dir.path().join(".out.aq-partial").exists());
        let dir = dead(replaced);
        drop(staged(&dir.path().join("out"), true));
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"precious");
        staged(&dir.path().join("out"), true).commit().unwrap();
        assert_eq!(names(dir.path()), ["out/", "out/config.json", "out/unet/", "out/unet/x.bin"]);
    }
    // The new output had its name already: the old one goes.
    let dir = dead("replaced/file");
    text(&dir.path().join("out/complete"), "new");
    drop(staged(&dir.path().join("out"), true));
    assert_eq!(names(dir.path()), ["out/", "out/complete"]);
    // It had, and somebody took it away since: half of the old one may be gone.
    let dir = dead("replaced/half");
    fs::remove_dir_all(dir.path().join(".out.aq-partial/content")).unwrap();
    drop(staged(&dir.path().join("out"), false));
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn a_journal_that_lost_its_beginning_is_none() {
    for (journal, found) in
        [("{}\n", Found::Resumed), ("{}", Found::Swept), ("\0\0\0\n{}\n", Found::Swept), ("{\"a\":\0\0}\n", Found::Swept)]
    {
        let dir = TempDir::new().unwrap();
        text(&dir.path().join(".out.aq-partial/content/x.bin"), "half");
        text(&dir.path().join(".out.aq-partial/journal.jsonl"), journal);
        let existing = Existing { overwrite: false, resume: true };
        let staging = Staging::create(&Disk::default(), &dir.path().join("out"), existing).unwrap();
        assert_eq!(staging.found, found, "{journal:?}");
    }
}

#[test]
fn carried_files_have_the_bytes_of_their_source() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("model/config.json"), "{\"a\": 1}");
    text(&dir.path().join("model/vae.safetensors"), "weights");
    let before = snapshot(&dir.path().join("model"));
    let output = dir.path().join("out");
    let staging = Staging::create(&Disk::default(), &output, Existing { overwrite: false, resume: false }).unwrap();
    staging.carry(&dir.path().join("model/config.json"), Path::new("config.json"), false, || Ok::<(), IoError>(())).unwrap();
    staging.carry(&dir.path().join("model/vae.safetensors"), Path::new("vae/vae.safetensors"), true, || Ok::<(), IoError>(())).unwrap();
    staging.commit().unwrap();
    assert_eq!(fs::read(output.join("vae/vae.safetensors")).unwrap(), b"weights");
    // Whoever edits a JSON of the output must not edit the source.
    fs::write(output.join("config.json"), "edited").unwrap();
    assert_eq!(snapshot(&dir.path().join("model")), before);
}

#[cfg(unix)]
#[test]
fn carried_links_become_files() {
    let dir = TempDir::new().unwrap();
    text(&dir.path().join("blobs/abc"), "weights");
    std::os::unix::fs::symlink("blobs/abc", dir.path().join("link")).unwrap();
    let output = dir.path().join("out");
    let staging = Staging::create(&Disk::default(), &output, Existing { overwrite: false, resume: false }).unwrap();
    for (to, weight) in [("w.safetensors", true), ("c.json", false)] {
        staging.carry(&dir.path().join("link"), Path::new(to), weight, || Ok::<(), IoError>(())).unwrap();
    }
    staging.commit().unwrap();
    for name in ["w.safetensors", "c.json"] {
        assert!(fs::symlink_metadata(output.join(name)).unwrap().is_file());
        assert_eq!(fs::read(output.join(name)).unwrap(), b"weights");
    }
}

#[test]
fn an_output_that_appears_meanwhile_is_not_replaced() {
    let dir = TempDir::new().expect("a temporary folder");
    let out = dir.path().join("out");
    let staging = staged(&out, false);
    fs::create_dir(&out).expect("a folder can be made");
    text(&out.join("precious"), "p");
    assert!(matches!(staging.commit(), Err(IoError::OutputExists { .. })));
    assert_eq!(names(dir.path()), ["out/", "out/precious"]);
}
