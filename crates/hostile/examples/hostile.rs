//! Mutated bytes for every target: `node scripts/example.mjs hostile [--inputs N] [--seconds S] [--seed N] [TARGET...]`.
//!
//! Each target runs in a process of its own, so that one that is killed or aborts is told by name and its memory is its own. A target fails by
//! a panic that gets out, by more than 5 seconds for one file, by more than 300 MiB, or by its process dying; the file is kept in `hostile-failures`.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a command that prints a table for developers")]

use aq_hostile::mutate::mutated;
use aq_hostile::{Bench, MOST_MIB, MOST_TIME, TARGETS, Target, peak_mib};
use aq_testkit::SplitMix;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, exit};
use std::time::{Duration, Instant};

const FAILURES: &str = "hostile-failures";
/// Tells the process that it is the one that reads.
const ALONE: &str = "AQ_HOSTILE_TARGET";

struct Asked {
    inputs: u64,
    seconds: u64,
    seed: u64,
    targets: Vec<String>,
}

fn asked() -> Asked {
    let mut asked = Asked { inputs: 2000, seconds: 0, seed: 1, targets: vec![] };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|w| w.parse().ok()).expect("a number follows");
        match word.as_str() {
            "--inputs" => asked.inputs = number(),
            "--seconds" => asked.seconds = number(),
            "--seed" => asked.seed = number(),
            _ => asked.targets.push(word),
        }
    }
    let unknown = asked.targets.iter().find(|name| !TARGETS.iter().any(|t| t.name == **name));
    assert!(unknown.is_none(), "no target {unknown:?}; there are {:?}", TARGETS.map(|t| t.name));
    asked
}

fn main() {
    let asked = asked();
    if let Some(target) = std::env::var(ALONE).ok().and_then(|name| TARGETS.iter().find(|t| t.name == name)) {
        exit(i32::from(!run(target, &asked)));
    }
    let program = std::env::current_exe().expect("the system tells");
    let mut failed = 0;
    let chosen = TARGETS.iter().filter(|t| asked.targets.is_empty() || asked.targets.contains(&t.name.to_owned()));
    for target in chosen {
        let status = Command::new(&program).args(std::env::args().skip(1)).env(ALONE, target.name).status().expect("the program starts");
        if !status.success() {
            failed += 1;
            println!("{}: {status}; files that made it panic, or its last one, are in {FAILURES}", target.name);
        }
    }
    exit(i32::from(failed > 0));
}

/// Whether a target came through.
fn run(target: &Target, asked: &Asked) -> bool {
    // Panics that are caught inside are not worth a line each.
    std::panic::set_hook(Box::new(|_| ()));
    let (bench, seeds) = (Bench::new(target), (target.seeds)());
    let mut random = SplitMix::new(asked.seed);
    let (begun, mut count, mut sound, mut slowest, mut panics) = (Instant::now(), 0, 0u64, Duration::ZERO, 0);
    std::fs::create_dir_all(FAILURES).expect("a folder can be made");
    let current = Path::new(FAILURES).join(format!("{}.current", target.name));
    while count < asked.inputs || begun.elapsed() < Duration::from_secs(asked.seconds) {
        let bytes = mutated(&seeds[random.below(seeds.len())], &seeds, &mut random);
        // If the process dies, this is why.
        std::fs::write(&current, &bytes).expect("the file can be written");
        let at = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| bench.read(&bytes)));
        let took = at.elapsed();
        slowest = slowest.max(took);
        sound += u64::from(matches!(ended, Ok(true)));
        if ended.is_err() || took > MOST_TIME {
            panics += u64::from(ended.is_err());
            std::fs::copy(&current, Path::new(FAILURES).join(format!("{}-{count}", target.name))).expect("the file can be copied");
        }
        count += 1;
    }
    std::fs::remove_file(&current).expect("the file is there");
    let _ = std::fs::remove_dir(FAILURES); // only where nothing failed
    let peak = peak_mib();
    println!(
        "{:24} {count:8} files, {sound:7} passed, {:6.0} a second, slowest {:6.1} ms, {panics} panics, {} MiB",
        target.name,
        count as f64 / begun.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
        peak.map_or("?".into(), |p| p.to_string())
    );
    panics == 0 && slowest <= MOST_TIME && peak.is_none_or(|p| p <= MOST_MIB)
}
