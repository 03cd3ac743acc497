//! What each option accepts: the second lock on the door. The facade checks the same with the same words; one corpus of wrong
//! configurations (`__test__/fixtures/config-corpus.json`) is held against both.

use super::resolved::{Device, Layout};
use crate::error::{ConfigIssue, ErrorCode, visible};
use crate::recipe::Recipe;
use crate::share::Share;
use serde_json::{Map, Value};

/// What a timer can hold.
const MOST_MILLISECONDS: i64 = (1 << 31) - 1;
const MOST_NAMES: usize = 10_000;
const MOST_NAME_UNITS: usize = 1_000;
const REFUSED_NAMES: [&str; 3] = ["__proto__", "constructor", "prototype"];

/// What a value of an option may be.
enum Kind {
    OneOfNumbers(&'static [i64]),
    Integer(i64, i64),
    /// 0, or a number in this range.
    ZeroOr(i64, i64),
    Fraction,
    Positive,
    Boolean,
    OneOf(&'static [&'static str]),
    Device,
    /// A path with one of these extensions.
    Path(&'static [&'static str]),
    Names,
    Widths,
    /// A layout or `auto`, or a list of different layouts.
    Layouts,
    Recipe,
    Share,
}

struct Row {
    name: &'static str,
    kind: Kind,
    expected: &'static str,
    code: ErrorCode,
}

const fn row(name: &'static str, kind: Kind, expected: &'static str) -> Row {
    Row { name, kind, expected, code: ErrorCode::InvalidConfig }
}

const fn coded(name: &'static str, kind: Kind, expected: &'static str, code: ErrorCode) -> Row {
    Row { name, kind, expected, code }
}

const BOOLEAN: &str = "true or false";

/// In the order in which problems are told.
const TABLE: [Row; 33] = [
    coded("bitWidth", Kind::OneOfNumbers(&[2, 4, 8]), "2, 4, or 8", ErrorCode::InvalidBitWidth),
    coded("groupSize", Kind::OneOfNumbers(&[32, 64, 128, 256]), "32, 64, 128, or 256", ErrorCode::InvalidGroupSize),
    coded("numTimeGroups", Kind::Integer(1, 100), "an integer between 1 and 100", ErrorCode::InvalidTimeGroups),
    coded("minAccuracy", Kind::Fraction, "a number between 0.0 and 1.0", ErrorCode::InvalidAccuracy),
    row("modality", Kind::OneOf(&["text", "code", "image", "audio", "video"]), "'text', 'code', 'image', 'audio' or 'video'"),
    row("deploymentProfile", Kind::OneOf(&["edge", "local", "cloud"]), "'edge', 'local' or 'cloud'"),
    row(
        "calibration",
        Kind::Path(&["safetensors", "jsonl", "parquet", "arrow"]),
        "the path of a .safetensors, .jsonl, .parquet or .arrow file",
    ),
    row("calibrationSamples", Kind::Integer(1, 1_000_000), "an integer between 1 and 1000000"),
    row("enableTimeAware", Kind::Boolean, BOOLEAN),
    row("enableSpatial", Kind::Boolean, BOOLEAN),
    row("symmetric", Kind::Boolean, BOOLEAN),
    row("failFast", Kind::Boolean, BOOLEAN),
    row("overwrite", Kind::Boolean, BOOLEAN),
    row("method", Kind::OneOf(&["auto", "rtn", "mse", "gptq"]), "'auto', 'rtn', 'mse' or 'gptq'"),
    row("layout", Kind::Layouts, "'auto' or layout names"),
    row("ggufNames", Kind::OneOf(&["auto", "diffusers", "original"]), "'auto', 'diffusers' or 'original'"),
    row("ggufType", Kind::Recipe, "the name of a GGUF type such as 'Q4_K_M'"),
    row("plainDtype", Kind::OneOf(&["source", "f32", "f16", "bf16"]), "'source', 'f32', 'f16' or 'bf16'"),
    row("protectBlocks", Kind::OneOf(&["auto", "none"]), "'auto' or 'none'"),
    row("partition", Kind::Share, "a share such as '2/8'"),
    row("components", Kind::Names, "an array of component names"),
    row("layerBitWidths", Kind::Widths, "a record of tensor names or globs to bit widths"),
    row("skipLayers", Kind::Names, "an array of tensor names or globs"),
    row("enableMixedPrecision", Kind::Boolean, BOOLEAN),
    row("targetModelSizeMb", Kind::Positive, "a number greater than 0"),
    row("nonFinite", Kind::OneOf(&["error", "keep"]), "'error' or 'keep'"),
    row("resume", Kind::Boolean, BOOLEAN),
    row("maxMemoryLimitMb", Kind::Integer(16, 16_777_216), "an integer of at least 16"),
    row("device", Kind::Device, "'auto', 'cpu', 'cuda' or 'cuda:N'"),
    row("deviceFallback", Kind::Boolean, BOOLEAN),
    row("ioRetries", Kind::Integer(0, 10), "an integer between 0 and 10"),
    row("timeoutMs", Kind::Integer(1, MOST_MILLISECONDS), "a whole number of milliseconds, at least 1"),
    row("stallTimeoutMs", Kind::ZeroOr(1_000, MOST_MILLISECONDS), "a whole number of milliseconds, 0 or at least 1000"),
];
/// Last, as in the facade.
const NUM_THREADS: Row = row("numThreads", Kind::Integer(0, 1024), "an integer between 0 and 1024");

/// Everything that is wrong with a record of options.
pub fn check(options: &Map<String, Value>) -> Vec<ConfigIssue> {
    let mut issues = Vec::new();
    for name in options.keys().filter(|n| REFUSED_NAMES.contains(&n.as_str())) {
        issues.push(refused(name));
    }
    let rows = || TABLE.iter().chain([&NUM_THREADS]);
    for row in rows() {
        if let Some(value) = options.get(row.name) {
            row.check(value, &mut issues);
        }
    }
    for (name, value) in options {
        if !REFUSED_NAMES.contains(&name.as_str()) && !rows().any(|r| r.name == name) {
            let mut issue = ConfigIssue::new(ErrorCode::InvalidConfig, visible(name), "a known option", received(value));
            issue.message = unknown(name, &rows().map(|r| r.name).collect::<Vec<_>>());
            issues.push(issue);
        }
    }
    issues
}

fn refused(path: &str) -> ConfigIssue {
    let mut issue = ConfigIssue::new(ErrorCode::InvalidConfig, path, "a known option", "a refused name");
    let name = path.split('"').nth(1).unwrap_or(path);
    issue.message = format!("Refused option name \"{name}\".");
    issue
}

impl Row {
    fn check(&self, value: &Value, issues: &mut Vec<ConfigIssue>) {
        let mut refuse = |path: String, expected: &str, code| issues.push(ConfigIssue::new(code, path, expected, received(value)));
        let number = whole(value);
        let good = match &self.kind {
            Kind::OneOfNumbers(list) => number.is_some_and(|n| list.contains(&n)),
            Kind::Integer(low, high) => number.is_some_and(|n| (*low..=*high).contains(&n)),
            Kind::ZeroOr(low, high) => number.is_some_and(|n| n == 0 || (*low..=*high).contains(&n)),
            Kind::Fraction => value.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v)),
            Kind::Positive => value.as_f64().is_some_and(|v| v > 0.0 && v.is_finite()),
            Kind::Boolean => value.is_boolean(),
            Kind::OneOf(list) => value.as_str().is_some_and(|s| list.contains(&s)),
            Kind::Path(extensions) => value.as_str().is_some_and(|p| {
                let extension = std::path::Path::new(p).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
                !p.contains('\0') && extension.is_some_and(|e| extensions.contains(&e.as_str()))
            }),
            Kind::Share => value.as_str().and_then(Share::parse).is_some(),
            Kind::Recipe => value.as_str().and_then(Recipe::named).is_some(),
            Kind::Layouts => match value {
                Value::Array(names) => {
                    let known = |n: &Value| n.as_str().and_then(Layout::parse).is_some();
                    let doubled = |(i, n): (usize, &Value)| names[..i].contains(n);
                    !names.is_empty() && names.iter().all(known) && !names.iter().enumerate().any(doubled)
                }
                one => one.as_str().is_some_and(|s| s == "auto" || Layout::parse(s).is_some()),
            },
            Kind::Device => value.as_str().and_then(Device::parse).is_some(),
            Kind::Names => return self.names(value, issues),
            Kind::Widths => return self.widths(value, issues),
        };
        if !good {
            refuse(self.name.into(), self.expected, self.code);
        }
    }

    fn names(&self, value: &Value, issues: &mut Vec<ConfigIssue>) {
        let Some(list) = value.as_array().filter(|l| l.len() <= MOST_NAMES) else {
            issues.push(ConfigIssue::new(self.code, self.name, self.expected, received(value)));
            return;
        };
        for (i, element) in list.iter().enumerate().filter(|(_, e)| !e.as_str().is_some_and(is_name)) {
            issues.push(ConfigIssue::new(self.code, format!("{}[{i}]", self.name), self.expected, received(element)));
        }
    }

    fn widths(&self, value: &Value, issues: &mut Vec<ConfigIssue>) {
        let Some(record) = value.as_object() else {
            issues.push(ConfigIssue::new(self.code, self.name, self.expected, received(value)));
            return;
        };
        for (i, (name, width)) in record.iter().enumerate() {
            let path = format!("{}[\"{}\"]", self.name, visible(name));
            if REFUSED_NAMES.contains(&name.as_str()) {
                issues.push(refused(&path));
            } else if !is_name(name) || i >= MOST_NAMES {
                let received = received(&Value::String(name.clone()));
                issues.push(ConfigIssue::new(self.code, path, "the name of a tensor or a glob", received));
            } else if !whole(width).is_some_and(|w| [2, 4, 8, 16].contains(&w)) {
                issues.push(ConfigIssue::new(ErrorCode::InvalidBitWidth, path, "2, 4, 8, or 16", received(width)));
            }
        }
    }
}

/// A number without a fraction, whatever way it is written.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < (1i64 << 53) as f64)?;
    Some(number as i64)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\0') && name.encode_utf16().count() <= MOST_NAME_UNITS
}

/// A refused value as messages tell it: `3 (number)`, `"4" (string)`, `array of length 2`.
fn received(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => format!("{b} (boolean)"),
        Value::Number(n) => match n.as_f64() {
            Some(v) if v.fract() == 0.0 && v.abs() < 1e15 => format!("{} (number)", v as i64),
            _ => format!("{n} (number)"),
        },
        Value::String(text) => format!("\"{}\" (string)", visible(&text.chars().take(60).collect::<String>())),
        Value::Array(list) => format!("array of length {}", list.len()),
        Value::Object(_) => "object".into(),
    }
}

/// The sentence for a name that is no option, with the nearest one that is.
fn unknown(name: &str, known: &[&'static str]) -> String {
    let folded: String = name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect();
    let same = known.iter().find(|k| k.to_lowercase() == folded);
    let near = known.iter().map(|k| (strsim::levenshtein(name, k), k)).filter(|(d, _)| *d <= 2).min_by_key(|(d, _)| *d).map(|(_, k)| k);
    match same.or(near).filter(|_| name.len() <= 64) {
        Some(nearest) => format!("Unknown option \"{}\"; did you mean \"{nearest}\"?", visible(name)),
        None => format!("Unknown option \"{}\".", visible(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The facade's test holds the same file against its own checks.
    #[test]
    fn the_shared_corpus_of_wrong_configurations_is_refused_in_the_same_words() {
        let corpus: Vec<Value> =
            serde_json::from_str(include_str!("../../../../__test__/fixtures/config-corpus.json")).expect("the corpus is JSON");
        let mut checked = 0;
        for case in &corpus {
            if case["facadeOnly"] == true {
                continue;
            }
            let name = &case["name"];
            let config = case["config"].as_object().expect("an object");
            let found: Vec<Value> = check(config)
                .iter()
                .map(|i| serde_json::json!({"code": i.code.as_str(), "path": i.path, "expected": i.expected, "received": i.received}))
                .collect();
            let wanted = case["issues"].as_array().expect("a list");
            let strip = |v: &Value| {
                let mut v = v.clone();
                v.as_object_mut().map(|o| o.remove("message"));
                v
            };
            assert_eq!(found, wanted.iter().map(strip).collect::<Vec<_>>(), "{name}");
            for (issue, wanted) in check(config).iter().zip(wanted) {
                if let Some(message) = wanted["message"].as_str() {
                    assert_eq!(issue.message, message, "{name}");
                }
            }
            checked += 1;
        }
        assert!(checked > 100, "{checked}");
    }
}
