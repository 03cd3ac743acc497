//! Every file operation goes through `disk`: elsewhere it would be neither repeated nor stopped nor a place for faults.

use std::fs;
use std::path::Path;

/// `os.rs` asks the system about itself, before there is a job.
const ALLOWED: [&str; 2] = ["disk", "os.rs"];
const DOORS: [&str; 8] =
    ["fs::", "File::open", "File::create", "File::options", "OpenOptions", ".exists()", ".sync_all()", ".canonicalize()"];

fn look(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if ALLOWED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            look(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("sources are text");
        let code = text.lines().take_while(|l| !l.contains("#[cfg(test)]")).filter(|l| {
            !l.trim_start().starts_with("//")
                && !l.contains("use std::fs::{")
                && !l.contains("use std::fs::File;")
                && !l.contains("use std::fs::Metadata;")
        });
        for line in code.filter(|l| DOORS.iter().any(|d| l.replace("InputFile::open", "").contains(d))) {
            found.push(format!("{}: {}", path.display(), line.trim()));
        }
    }
}

#[test]
fn there_is_one_door() {
    let mut found = Vec::new();
    for source in ["src", "../engine/src"] {
        look(&Path::new(env!("CARGO_MANIFEST_DIR")).join(source), &mut found);
    }
    assert!(found.is_empty(), "file operations outside disk:\n{}", found.join("\n"));
}
