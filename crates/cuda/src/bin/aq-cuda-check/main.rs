//! Parity and speed of the kernels, on a machine with a driver and nothing else: `aq-cuda-check [parity] [bench] [--device N]`, both without a
//! word. Exit status 1 where a bit differs, 2 without a device.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for developers")]

mod bench;
mod parity;

use std::process::exit;

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let ordinal = words.iter().position(|w| w == "--device").map_or(0, |at| {
        let number = words.get(at + 1).and_then(|w| w.parse().ok()).expect("a number follows --device");
        words.drain(at..at + 2);
        number
    });
    let asked = |word: &str| words.is_empty() || words.iter().any(|w| w == word);
    let device = aq_cuda::open(ordinal).unwrap_or_else(|reason| {
        eprintln!("no device: {reason}");
        exit(2)
    });
    let (free, total) = device.memory().expect("the driver tells");
    println!("cuda:{ordinal} {}, {} of {} MiB free", device.name().expect("the driver tells"), free >> 20, total >> 20);
    if asked("parity") {
        match parity::run(&device) {
            Ok(compared) => println!("parity: {compared} comparisons, all bits equal"),
            Err(difference) => {
                eprintln!("parity: {difference}");
                exit(1);
            }
        }
    }
    if asked("bench") {
        bench::run(&device).expect("the device works");
    }
}
