//! A folder as data: relative path to bytes, for comparing before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Relative path, with `/`, to content; folders end in `/` and have none, links hold what they point to.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Everything in a folder, hidden files included.
///
/// # Panics
/// If the folder cannot be read.
pub fn snapshot(root: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(root, "", &mut tree);
    tree
}

/// Names of everything in a folder, as in [`snapshot`].
pub fn names(root: &Path) -> Vec<String> {
    snapshot(root).into_keys().collect()
}

fn walk(folder: &Path, prefix: &str, tree: &mut Tree) {
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let entry = entry.expect("the folder can be listed");
        let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().to_string_lossy()));
        let kind = entry.file_type().expect("the entry has a type");
        if kind.is_dir() {
            let name = format!("{name}/");
            walk(&path, &name, tree);
            tree.insert(name, vec![]);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a link can be read");
            tree.insert(name, format!("-> {}", target.display()).into_bytes());
        } else if kind.is_file() {
            tree.insert(name, fs::read(&path).expect("a file can be read"));
        } else {
            tree.insert(name, b"special".to_vec());
        }
    }
}
