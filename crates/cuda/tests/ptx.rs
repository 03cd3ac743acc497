//! The committed PTX: made from these sources, for all drivers that are promised, and without an instruction that would change a bit.

use aq_cuda::launch::KERNELS;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::Path;

fn ptx() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ptx/kernels.ptx")).expect("it is committed")
}

/// As `scripts/ptx.py` does.
#[test]
fn it_was_made_from_these_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").file_name().into_string().expect("plain")).collect();
    names.sort();
    let mut hash = Sha256::new();
    for name in &names {
        let text = std::fs::read_to_string(folder.join(name)).expect("text");
        hash.update(format!("{name}\n{text}\n"));
    }
    let hex = hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    assert!(ptx().contains(&format!("// sources sha256 {hex}\n")), "the PTX is older than its sources: run scripts/ptx.sh");
}

#[test]
fn drivers_and_cards_that_are_promised_can_load_it() {
    let ptx = ptx();
    assert!(ptx.contains("\n.version 8.0\n") && ptx.contains("\n.target sm_70\n"));
    for name in KERNELS {
        assert!(ptx.contains(&format!(".entry {name}(")), "{name}");
    }
    assert_eq!(ptx.matches(".entry ").count(), KERNELS.len());
}

#[test]
fn nothing_is_contracted_approximated_or_flushed() {
    let ptx = ptx();
    let code = ptx.lines().filter(|line| !line.starts_with("//"));
    for line in code {
        for wrong in ["fma.", "mad.rn.f", ".ftz", ".approx", "div.full"] {
            assert!(!line.contains(wrong), "{line}");
        }
    }
}
